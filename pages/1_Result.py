"""What the study found: how many inputs the network needs, and what each place of the threshold means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages._ui import explorer, frame, registry, reports, state
from pages._ui.formats import between, count, percent, points, saved, things
from pages._ui.words import GLOSSARY

if TYPE_CHECKING:
    from lrp_core.study.results import Headline

# Beside the chosen method; the page How sure draws every method.
CONTROLS = 3
# An interval narrower than this has two decimals, or its ends would read alike.
NARROW = 0.004

summary, run, ledger = frame.open_result("Result")
inputs, images, image = summary.words
margin = state.value("margin") / 100


def finding() -> None:
    """The one sentence, and what it rests on."""
    best = summary.recommend(margin=margin)
    headline = None if best is None else summary.headline(best.method, mode=best.mode, margin=margin)
    so_far = "So far: " if run.is_active else ""
    if headline is None:
        st.title(f"{so_far}{'The first networks are being trained' if best is None else 'No share can go yet'}"
                 if run.is_active else f"No measured share of the {inputs} can go", anchor=False)  # fmt: skip
        if best is not None:
            st.markdown(best.sentence)
        return
    row = headline.row
    st.title(
        f"{so_far}{percent(row['removed'], 0)} of the {inputs} can go: {count(row['keep'])} of "
        f"{count(summary.n_groups)} are enough",
        anchor=False,
    )
    st.markdown(_accuracy(headline))


def _accuracy(headline: Headline) -> str:
    """What that costs in score and saves in work, on test data."""
    row, base, chosen = headline.row, headline.baseline, headline.recommendation
    name = summary.score[:1].upper() + summary.score[1:]
    saves = f" **{saved(row['macs'], base['macs'], 'fewer')}** multiplications." if row["macs"] < base["macs"] else ""
    seeds = (
        "" if chosen.is_certain else " One seed: there is no interval, and chance is not ruled out."
    )  # fmt: skip
    errors = (
        "" if summary.has_classes else
        f" The mean absolute error is {row['absolute_error']:.4g}, and {base['absolute_error']:.4g} with all {inputs}."
    )  # fmt: skip
    digits = 2 if row["difference_high"] - row["difference_low"] < NARROW else 1
    return (
        f"{name} **{points(row['difference'], digits)}** on test {images}"
        f"{between(row['difference_low'], row['difference_high'], digits)}: {percent(row['score'])}, and "
        f"{percent(base['score'])} with all {inputs}. Your margin is a loss of {100 * margin:g} points."
        f"{errors}{saves}{seeds}"
    )


def drawn(method: str) -> list[str]:
    """The methods whose curves stand beside the chosen one's: how far relevance is ahead is for the eye to see."""
    controls = [name for name in summary.methods if name not in summary.of_relevance]
    others = [name for name in summary.of_relevance if name != method][:1]
    return [name for name in summary.methods if name in {method, *others, *controls[:CONTROLS]}]


@st.fragment
def explore() -> None:
    method, mode = state.value("method"), state.value("mode")
    told = explorer.told(
        summary, method=method, mode=mode, removed=state.value("removed"), margin=margin, drawn=drawn(method)
    )
    explorer.show(told, "explorer", state.go_to)


def choices() -> None:
    """What else can be chosen, and where to go from here."""
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover("Method, seed and margin", icon=":material/tune:"):
            state.method()
            state.mode()
            with st.container(horizontal=True):
                state.seed()
                state.margin()
        st.page_link(registry.page("Try it"), label="Try the small network", icon=":material/draw:")
        st.page_link(registry.page("How sure"), label="How sure is this?", icon=":material/rule:")
        st.page_link(registry.page("Export"), label="Take it with you", icon=":material/download:")
        reports.button(run, ledger, margin)


with frame.refusals():
    finding()
    explore()
    choices()
    frame.measured_elsewhere(run, ledger)
    st.markdown(
        f":small[{GLOSSARY['LRP']} Averaged over the training data, that ranks the {inputs}; the least relevant go. "
        f"Every place was chosen on validation {images}; the test {images} only measured it. "
        f"Ranked by {state.value('method')}, small network: {state.value('mode')}, "
        f"{things(len(summary.seeds), 'splits' if summary.resplit else 'seeds')}.]"
    )
