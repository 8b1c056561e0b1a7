"""What the network says of one image or row, and which inputs that came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from . import charts, charts_inputs, figures, pictures
from .formats import percent, plain
from .removal import Choice

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy
    from lrp_core.views.images import ImageExplanation

    from .picker import Picked


def show(
    opened: OpenedStudy, explanation: ImageExplanation, relevance: np.ndarray, picked: Picked, choice: Choice
) -> None:
    """The answer in words, the image beside its relevance, and how probable each class is.

    `relevance` [height, width] is what the picture shows; tables and series show that of each input, or group.
    """
    said = _of_class if opened.data.classes else _of_number
    explained = said(opened, explanation)
    if opened.are_images:
        picture, heat, *rest = st.columns(3 if opened.data.classes else 2, gap="medium")
        with picture:
            st.markdown("**The image**")
            st.image(pictures.image(explanation.image), width=240, alt=_named(opened, explanation, picked))
        with heat:
            _map(opened, relevance, explained, choice)
    else:
        heat, *rest = st.columns([3, 2] if opened.data.classes else 1, gap="medium")
        with heat:
            _bars(opened, explanation, explained)
    for column in rest:
        with column:
            _probabilities(opened, explanation)
    if opened.are_images and not opened.data.grouping.is_single and choice.has_layers:
        _groups(opened, explanation, explained)


def _of_class(opened: OpenedStudy, explanation: ImageExplanation) -> str:
    """The answer as a class; returns what is explained."""
    classes, predicted = [plain(name) for name in opened.data.classes], int(explanation.probabilities.argmax())
    sure = percent(float(explanation.probabilities[predicted]))
    st.header(f"The network says {classes[predicted]}, {sure} sure", anchor=False)
    verdict = "" if explanation.label < 0 else (
        "That is right. " if predicted == explanation.label
        else f"That is wrong: it is **{classes[int(explanation.label)]}**. "
    )  # fmt: skip
    explained = f"class {opened.data.classes[explanation.target]}"
    st.markdown(
        f"{verdict}Explained is class **{classes[explanation.target]}**: red {opened.words[0]} speak for it, blue "
        "ones against it."
    )
    return explained


def _of_number(opened: OpenedStudy, explanation: ImageExplanation) -> str:
    """The answer as a number; returns what is explained."""
    number = opened.data.target
    st.header(f"The network predicts {explanation.answer:.6g}", anchor=False)
    st.markdown(
        f"The network predicts **{explanation.answer:.6g}** for {plain(number.name)}; it is "
        f"**{explanation.label:.6g}**. Explained is why it is not the mean of the training rows, {number.mean:.6g}: "
        "red inputs raise it, blue ones lower it."
    )
    return f"{explanation.answer:.6g} against the mean of {number.mean:.6g}"


def _named(opened: OpenedStudy, explanation: ImageExplanation, picked: Picked) -> str:
    name = picked.named(opened.words[2])
    name = name[:1].upper() + name[1:]
    if opened.data.classes and explanation.label >= 0:
        return f"{name}, {opened.data.classes[int(explanation.label)]}"
    return name


def _map(opened: OpenedStudy, relevance: np.ndarray, explained: str, choice: Choice) -> None:
    """Relevance as a picture, with its scale in words: nothing lies over the picture."""
    st.markdown("**Its relevance**")
    st.image(
        pictures.signed(relevance),
        width=240,
        alt=f"Relevance of each pixel by {choice.criterion} for {explained}: red for it, blue against it",
    )
    largest = int(np.abs(relevance).argmax())
    where = pictures.at(largest, relevance.shape[1])
    channels = opened.data.shape[0]
    st.caption(
        f"Full colour: {abs(relevance.flat[largest]):.3g}, reached at {where} (counted from 0)."
        + (f" Each pixel is the sum over {channels} channels." if channels > 1 else "")
    )


def _bars(opened: OpenedStudy, explanation: ImageExplanation, explained: str) -> None:
    """Relevance of named inputs, or groups, as bars."""
    names = opened.group_names()
    st.markdown(f"**Relevance of each {opened.words[0].removesuffix('s')}**")
    held = explanation.image[0] if opened.data.grouping.is_single else None
    figures.draw(
        charts_inputs.signed(names, explanation.of_groups, held),
        key="heat",
        alt=f"Relevance of each input for {explained}: red for it, blue against it",
    )
    _cut(names, opened.words[0])


def _groups(opened: OpenedStudy, explanation: ImageExplanation, explained: str) -> None:
    """Relevance of groups of pixels as bars, below the picture."""
    names = opened.group_names()
    st.markdown("**Relevance of each group**")
    figures.draw(
        charts_inputs.signed(names, explanation.of_groups, None),
        key="groups",
        alt=f"Relevance of each group of pixels for {explained}: red for it, blue against it",
    )
    _cut(names, "groups")


def _cut(names: tuple[str, ...], counted: str) -> None:
    if len(names) > charts_inputs.MOST:
        st.caption(f"The {charts_inputs.MOST} of {len(names):,} {counted} with the most relevance.")


def _probabilities(opened: OpenedStudy, explanation: ImageExplanation) -> None:
    classes = opened.data.classes
    st.markdown("**What the network answers**")
    figures.draw(
        charts.probabilities(explanation.probabilities, classes, int(explanation.label), explanation.target),
        key="probabilities",
        alt=f"Probability of each class, highest for {classes[int(explanation.probabilities.argmax())]}",
    )
