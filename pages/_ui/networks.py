"""The full network of a seed: whether it is on this machine, and the offer to train it here if it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from . import frame, jobs
from .formats import duration

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy

ASKED = "train-full"
"""Where the session remembers which network someone asked for."""


def has_full(opened: OpenedStudy, seed: int, what: str) -> bool:
    """Whether the full network of a seed can be asked at once; if not, say so and offer to train it.

    `what` needs the network, as the beginning of a sentence.
    """
    if not opened.baseline_is_ready(seed):
        frame.not_yet(seed)
        return False
    images = opened.images
    if images.is_trained(seed):
        return True
    key = (images, seed)
    if st.session_state.get(ASKED) == key:
        if jobs.ask("train", key, lambda report: images.train(seed, report), is_cached=False) is not None:
            del st.session_state[ASKED]
            st.rerun()
        return False
    st.info(
        f"{what} asks the full network of seed {seed}. Its results are here, its weights are not.",
        icon=":material/model_training:",
    )
    if st.button(
        f"Train this network here{_takes(opened)}",
        key="train-here",
        icon=":material/play_arrow:",
        help="The same data, first weights and steps as in the study.",
    ):
        st.session_state[ASKED] = key
        st.rerun()
    return False


def _takes(opened: OpenedStudy) -> str:
    """About how long that takes, by what the networks of the study took, as the end of a label."""
    table, study = opened.trials(), opened.study
    scratch = table.loc[table["mode"] == "scratch", "seconds"]
    tuned = table.loc[(table["mode"] == "fine-tune") & (table["method"] != "none"), "seconds"]
    if len(scratch):
        return f", about {duration(max(1, scratch.median()))}"
    if len(tuned):
        return f", about {duration(max(1, tuned.median() * study.epochs / study.retrain_epochs))}"
    return ""
