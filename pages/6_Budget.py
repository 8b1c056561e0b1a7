"""A budget of MACs: inputs and hidden units go together, until the network costs no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from lrp_core.study import launch
from pages._ui import charts, charts_budget, data, export_card, figures, frame, runs, state
from pages._ui.data import ask
from pages._ui.fields import field
from pages._ui.formats import change, count, percent, points, size, things, title

if TYPE_CHECKING:
    from lrp_core.study.budgets import BudgetPlan, Pruned
    from lrp_core.views.budgets import Place

opened, _ = frame.open_page(
    "Budget",
    "Say what the network may cost: inputs and hidden units go together, those first that matter least for what they "
    "cost.",
)
study, ledger, budgets = opened.study, opened.ledger, opened.budgets
pixels, images, image = opened.words


MOST_NAMES = 30  # of inputs that are no picture


def choose() -> tuple[str, str, int]:
    """What may go, by what, and of which network."""
    with st.container(border=True, horizontal=True, vertical_alignment="bottom"):
        scopes, criteria = budgets.scopes(), budgets.criteria()
        scope = st.segmented_control(
            "What may go", list(scopes), default="both", key="scope", required=True, persist_state="session",
            format_func=lambda name: {"inputs": pixels}.get(name, name),
            help=" ".join(f"{name}: {text}." for name, text in scopes.items()),
        )  # fmt: skip
        names = list(criteria)
        criterion = field(
            st.selectbox, "By", names, names.index("lrp-0"), key="unit-criterion", width=220,
            help="Each score is divided by the MACs that are saved. A composite's name: relevance under it. "
            + " ".join(f"{name}: {text}." for name, text in criteria.items() if " composite" not in text),
        )  # fmt: skip
        seed = state.seed()
    return scope, criterion, seed


def metrics(place: Place, found: Pruned) -> None:
    """What the slider's place means, in numbers."""
    full = found.full
    with st.container(horizontal=True):
        is_known = place.score == place.score
        st.metric(
            f"Expected {opened.score}",
            percent(place.score) if is_known else "not measured",
            points(place.score - full["score"]) if is_known else None,
            border=True,
            help=f"On validation {images}, between networks that were trained to their end on both sides. The full "
            f"network: {percent(full['score'])}.",
        )
        for name, label, text in (
            ("macs", "MACs", f"Multiply-accumulates for one {image}."),
            ("parameters", "Parameters", "Weights and biases."),
            ("bytes", "Weights", "Bytes as float32."),
        ):
            now, before = getattr(place, name), full[name]
            shown = size if name == "bytes" else count
            st.metric(label, shown(now), change(now, before), delta_color="inverse", border=True,
                      help=f"{text} The full network: {shown(before)}.")  # fmt: skip
        st.metric(
            f"{title(pixels) if opened.data.groups else 'Inputs'} read", count(place.inputs), f"of {full['inputs']:,}",
            delta_color="off", delta_arrow="off", border=True, help="What the small network is given.",
        )  # fmt: skip


@st.fragment
def explore(found: Pruned, seed: int) -> None:
    """The slider over the path, and what each place means."""
    shares = {i: macs / found.full["macs"] for i, macs in enumerate(found.rungs["macs"])}
    trained = found.networks["macs"].min() / found.full["macs"]
    start = found.at(max(0.1, trained))
    number = st.select_slider(
        "MACs left", list(shares), start, key=f"rung-{len(shares)}", persist_state="session",
        format_func=lambda i: f"{100 * shares[i]:.3g} %",
        help="One path: what is gone at a larger budget is gone at every small one. Arrow keys work.",
    )  # fmt: skip
    place = budgets.place(found, number)
    metrics(place, found)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.markdown(f"**What stays: {things(place.inputs, 'inputs')}, and in each layer**")
        if opened.drawn_as == "picture":
            kept = place.kept.any(0)
            figures.draw(
                charts.mask(kept, opened.images.mean(seed), 260), key="budget-mask",
                alt=f"The mean image, in colour where one of the {place.inputs} inputs stays, else dimmed",
            )  # fmt: skip
        else:
            more = len(place.names) - MOST_NAMES
            st.markdown(", ".join(place.names[:MOST_NAMES]) + (f" and {more:,} more" if more > 0 else ""))
        st.dataframe(
            place.widths.assign(share=100 * place.widths["left"] / place.widths["full"]),
            hide_index=True,
            column_config={
                "layer": st.column_config.TextColumn("Layer"),
                "full": st.column_config.NumberColumn("Units", format="localized"),
                "left": st.column_config.NumberColumn("Stay", format="localized"),
                "share": st.column_config.ProgressColumn("Share", format="%.0f %%", min_value=0, max_value=100),
            },
        )
    with right:
        st.markdown(f"**{title(opened.score)} under a budget** (validation {images})")
        figures.draw(
            charts_budget.path(found.networks, found.rungs, found.full, marker=place.macs, score=opened.score),
            key="path",
            name="budget",
            alt=f"Validation {opened.score} against the MACs that are left; the line marks the slider",
        )
        st.caption(
            "Solid: trained to its end at a budget. Dotted: on the way, trained for a moment only. Dashed: the full "
            "network. Test figures are in the table below; nothing is chosen by them."
        )


def table(found: Pruned) -> None:
    """The trained networks in numbers."""
    full = found.full
    rows = found.networks.assign(
        share=100 * found.networks["share"],
        difference=100 * (found.networks["score"] - full["score"]),
        score=100 * found.networks["score"],
        test_score=100 * found.networks["test_score"],
        test_difference=100 * (found.networks["test_score"] - full["test_score"]),
    )
    st.subheader("Trained networks", anchor=False)
    st.dataframe(
        rows[["share", "macs", "inputs", "bytes", "score", "difference", "test_score", "test_difference"]],
        hide_index=True,
        column_config={
            "share": st.column_config.NumberColumn("Budget", format="%.3g %%", help="Share of the full network's MACs"),
            "macs": st.column_config.NumberColumn("MACs", format="localized"),
            "inputs": st.column_config.NumberColumn("Inputs", format="localized"),
            "bytes": st.column_config.NumberColumn("Weights (bytes)", format="localized"),
            "score": st.column_config.NumberColumn("Validation", format="%.2f %%"),
            "difference": st.column_config.NumberColumn("Difference", format="%+.2f", help="Points"),
            "test_score": st.column_config.NumberColumn("Test", format="%.2f %%"),
            "test_difference": st.column_config.NumberColumn("Difference on test", format="%+.2f"),
        },
    )
    st.caption(
        f"Full network: {percent(full['score'], 2)} on validation, {percent(full['test_score'], 2)} on test {images}, "
        f"{count(full['macs'])} MACs; it was trained on for as many epochs as the smallest network and its path. One "
        "network each: seeds differ by a few tenths of a point."
    )
    for note in found.notes:
        st.caption(f"Note: {note}.")


def take_away(plan: BudgetPlan, found: Pruned) -> None:
    """Export one of the trained networks."""
    st.subheader("Take one with you", anchor=False)
    shares = found.networks["share"].tolist()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        share = field(
            st.selectbox, "Network", shares, len(shares) - 1, key=f"budget-{plan.key}", width=220,
            format_func=lambda one: f"{100 * one:g} % of the MACs",
        )  # fmt: skip
    export = budgets.export(plan, share)
    asked = ledger.run(export.run)
    is_active = bool(asked and asked.is_active)
    is_there = (export.folder / "card.json").exists() and not is_active
    if asked and not is_active and asked.state != "done":
        runs.panel(ledger, asked)
    if is_there:
        card = export.card()
        st.download_button(
            "Download the network",
            data=lambda: data.zipped(export.folder, export_card.readme(card)),
            file_name=f"{study.dataset}-{study.architecture}-{100 * share:g}-percent.zip",
            mime="application/zip",
            type="primary",
            icon=":material/download:",
            on_click="ignore",
        )
        with st.expander("Its card", icon=":material/description:"):
            export_card.show(card)
    if not is_active:
        formats = export_card.choose_formats(list(card["files"]) if is_there else [])
        label = "Prepare again" if is_there else "Prepare export"
        if st.button(label, icon=":material/inventory_2:"):
            launch.start_export(export.run, budgets.export(plan, share, formats).spec, ledger)
            st.rerun()


with frame.refusals():
    scope, criterion, seed = choose()
    if not opened.baseline_is_ready(seed):
        frame.not_yet(seed)
        st.stop()
    choice = {"scope": scope, "criterion": criterion, "seed": seed}
    plan = ask(budgets, "plan", **choice)
    run_id, spec = budgets.run_of(plan)
    run = ledger.run(run_id)
    if run is not None and run.state != "done":
        if not run.is_active:  # what is active stands at the top of every page
            runs.panel(ledger, run)
        st.stop()
    found = budgets.found(**choice) if run is not None else None
    if found is None:
        st.caption(
            f"Finding the path takes from seconds to minutes: the network goes down step by step, trains a little "
            f"after each, and at {things(len(spec['budgets']), 'budgets')} to its end, in a process of its own."
        )
        if st.button("Find the path", type="primary", icon=":material/compress:"):
            launch.start_budgets(run_id, spec, ledger)
            st.rerun()
        st.stop()
    explore(found, seed)
    table(found)
    take_away(plan, found)
