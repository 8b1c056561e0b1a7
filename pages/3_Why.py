"""One answer explained: which inputs it came from, what happens without them, and what each layer did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages._ui import frame, networks, picker, removal, state, why_answer, why_layers, why_removal
from pages._ui.data import ask

if TYPE_CHECKING:
    from lrp_core.views.images import ImageExplanation

opened, _ = frame.open_page("Why", "Which inputs one answer came from, and what happens without them.")


def explain(picked: picker.Picked, choice: removal.Choice) -> ImageExplanation:
    """The answer of the full network, explained by rules; what is no rule shares its answer alone."""
    how = {
        "seed": choice.seed,
        "composite": choice.criterion if choice.has_layers else removal.RULES,
        "start": choice.start,
        "target": choice.target,
    }
    if picked.picture is None:
        return ask(opened.images, "explain", index=picked.index, **how)
    return ask(opened.images, "explain_picture", pixels=picked.picture.pixels, label=picked.picture.label, **how)


def story() -> None:
    """From the image to the layers."""
    removes = opened.are_images and opened.data.target is None
    seed = state.value("seed")
    is_trained = opened.baseline_is_ready(seed) and opened.images.is_trained(seed)
    with st.container(border=True):
        picked = picker.pick(opened, seed, is_trained=is_trained)
        choice = removal.choose(opened, of_one=True, removes=removes)
    if not networks.has_full(opened, choice.seed, "An explanation"):
        return
    if picked is None:
        st.info("The answer appears here as soon as there is a picture.", icon=":material/image:")
        return
    explanation = explain(picked, choice)
    if picked.picture is None:
        why_answer.show(opened, explanation, explanation.relevance, picked, choice)
        st.caption(why_removal.NO_CLASSES if opened.data.target is not None else why_removal.NO_IMAGES)
    else:
        scores = ask(
            opened.removals, "relevance", pixels=picked.picture.pixels, seed=choice.seed, criterion=choice.criterion,
            start=choice.start, target=explanation.target,
        )  # fmt: skip
        why_answer.show(opened, explanation, scores.sum(0), picked, choice)
        why_removal.show(opened, picked.picture, scores, choice)
    why_layers.show(opened, explanation, choice)


with frame.refusals():
    story()
