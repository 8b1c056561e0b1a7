"""Which networks the page shows: those of the slider's place, the nearest that are here, or how to get them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from . import jobs
from .formats import count, duration, percent, things

if TYPE_CHECKING:
    from lrp_core.study.ledger import Run
    from lrp_core.views import OpenedStudy, Pair, Standing

WANTED = "try-wanted"
"""Key of the session: the pair that somebody asked to have trained."""


def settle(opened: OpenedStudy, run: Run, standing: Standing) -> Pair | None:
    """Say what stands in for the place of the slider, and offer to train; the pair that can be asked, or None."""
    if standing.is_exact:
        return standing.shown
    asked = f"{percent(1 - standing.asked.keep / opened.n_groups, 0)} removed"
    if standing.shown is not None:
        _train(
            opened, standing.asked,
            f"The study has no network at {asked}. You see the nearest one that is here: it reads "
            f"{count(standing.shown.keep)} of {things(opened.n_groups, opened.words[0])}.",
            "Train exactly this one",
        )  # fmt: skip
        return standing.shown
    if standing.recorded is not None:
        pair, text = standing.recorded, (
            "This study was measured elsewhere, or its networks are no longer in the cache: the results are here, the "
            "networks are not. Trained again, they answer here."
        )  # fmt: skip
    elif run.is_active:
        st.info("The study is still running: its networks answer here as soon as they are trained. You need not wait.",
                icon=":material/hourglass_top:")  # fmt: skip
        return None
    else:
        pair = standing.asked
        text = "The study ended before its networks were trained. You can resume it, or train these two alone."
    _train(opened, pair, text, "Train these two networks here")
    return None


def _train(opened: OpenedStudy, pair: Pair, text: str, label: str) -> None:
    """What is missing, and the button that has it trained, or how far that is."""
    trying = opened.trying
    key = (trying.token, pair.key)
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/info: {text}", width="stretch")
        if st.session_state.get(WANTED) == key:
            jobs.ask("try-train", key, lambda report: trying.make(pair, report), is_cached=False)
            return
        seconds = trying.seconds_of(pair)
        takes = "" if seconds is None else f", about {duration(max(1, seconds))}"
        if st.button(f"{label}{takes}", key="try-train", icon=":material/model_training:",
                     help="They are kept, so that this is done once."):  # fmt: skip
            st.session_state[WANTED] = key
            st.rerun()
