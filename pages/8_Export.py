"""Take the small network away."""

import streamlit as st

from lrp_core.study import launch
from pages._ui import data, export_card, frame, runs, state
from pages._ui.data import ask
from pages._ui.formats import percent, points, things

opened, _ = frame.open_page(
    "Export",
    "Take the small network with you, in files that others can run, and a card that says what they are and how good.",
)
study, ledger = opened.study, opened.ledger


def expected(keep: int) -> None:
    """What score to expect of this network beside the full one, and the way to the recommended one."""
    margin = state.value("margin") / 100
    score, full, best = ask(opened, "expected", method=method, mode=mode, keep=keep, margin=margin)
    if score is None or full is None:
        st.info(
            f"The study has no network this small: what {opened.score} to expect is not known.", icon=":material/help:"
        )
    else:
        lost = score.estimate - full.estimate
        said = (
            f"Expected {opened.score}: {percent(score.estimate)}, {points(lost)} against the full network's "
            f"{percent(full.estimate)} (validation {opened.words[1]})."
        )
        if lost < -margin:
            st.warning(f"{said} That is outside your margin of {100 * margin:g} points.", icon=":material/warning:")
        else:
            st.markdown(said)
    if best is not None and best.row is not None:
        there = opened.removed_for(int(best.row["keep"]))
        if there != removed:
            st.button(
                f"Take the recommended one: {there}\u00a0% removed", icon=":material/recommend:",
                on_click=state.go_to, args=(there,),
            )  # fmt: skip
    else:
        st.caption("Nothing is recommended for this method: no measured share stays within your margin.")


with frame.refusals():
    n_groups = opened.n_groups
    method, mode, seed, removed = state.choose()
    keep = opened.keep_for(removed)
    choice = {"method": method, "keep": keep, "mode": mode, "seed": seed}
    export = opened.export(**choice)
    folder, run = export.folder, ledger.run(export.run)
    st.markdown(
        f"Network **{study.architecture}** on **{study.dataset}**, reading **{keep}** of "
        f"{things(n_groups, opened.words[0])} ({percent(keep / n_groups, 0)}), ranked by **{method}**, small network "
        f"**{mode}**, seed **{seed}**."
    )
    expected(keep)
    is_active = bool(run and run.is_active)
    is_there = (folder / "card.json").exists() and not is_active
    if run and not is_active and run.state != "done":
        runs.panel(ledger, run)
    if is_there:
        card = export.card()
        with st.container(horizontal=True, vertical_alignment="center"):
            st.download_button(
                "Download the network",
                data=lambda: data.zipped(folder, export_card.readme(card)),
                file_name=f"{study.dataset}-{study.architecture}-{keep}-{opened.words[0]}.zip",
                mime="application/zip",
                type="primary",
                icon=":material/download:",
                on_click="ignore",
                help=f"A zip file with {', '.join(sorted(card['files']))}, card.json and README.txt.",
            )
            st.badge("Read back and measured again before it was offered", icon=":material/verified:", color="green")
        export_card.show(card)
    if not is_active:
        if is_there:
            st.subheader("Prepare it in other formats", anchor=False)
        else:
            st.caption(
                "Preparing trains this one network, and the full one beside it, if the study has not. Every file is "
                f"written, read back and run on validation {opened.words[1]}, and the {opened.score} is measured "
                "again: some seconds, in a process of its own."
            )
        formats = export_card.choose_formats(list(card["files"]) if is_there else [])
        measure = st.checkbox(
            "Measure how fast both networks are on this machine", key="measure-speed",
            help="Some 20 seconds more. The card then has the times, in torch and ONNX Runtime.",
        )  # fmt: skip
        label = "Prepare again" if is_there else "Prepare export"
        if st.button(label, type="secondary" if is_there else "primary", icon=":material/inventory_2:"):
            launch.start_export(export.run, opened.export(**choice, formats=formats, measure=measure).spec, ledger)
            st.rerun()
