"""The removal experiment on one image: what the network says without the least and without the most relevant pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from . import frame, pictures, removal
from .formats import percent, plain, points
from .removal import Choice

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy, Picture

NO_CLASSES = (
    "The experiment with one image measures how sure a network is of its class as pixels go, and these data have "
    "numbers to predict. The page Result shows what is left of R² as inputs go."
)
NO_IMAGES = (
    "The experiment with one image takes pixels of images away, and these data are no images. The command line takes "
    "inputs of tables and series away: `python -m lrp_core remove --data PATH --scopes all`."
)


@st.fragment
def show(opened: OpenedStudy, picture: Picture, scores: np.ndarray, choice: Choice) -> None:
    """Three pictures named by what was removed, each with what the network says; `scores` is [channels, h, w]."""
    title = st.container()
    share = removal.share()
    # All channels of a pixel go on their own: what is counted is what the network reads.
    counted = "pixels" if opened.data.shape[0] == 1 else "inputs"
    title.header(f"Take {percent(share, 0)} of the {counted} away", anchor=False)
    with frame.refusals():
        found = opened.removals.remove(picture, scores, choice.seed, choice.removal, share)
        classes = [plain(name) for name in opened.data.classes]
        rows = found.table.to_dict("records")
        original, least, most = rows
        st.markdown(_finding(original, least, most, classes, counted))
        names = removal.names(share)
        columns = st.columns(3, gap="medium")
        for place, (column, row) in enumerate(zip(columns, rows, strict=True)):
            name, says = names[row["image"]], row["prediction"]
            with column:
                st.markdown(f"**{name}**")
                st.image(
                    pictures.image(found.images[place], found.removed[place]),
                    width=240,
                    alt=f"{name}, {row['removed']} {counted} removed: the network says {opened.data.classes[says]}",
                )
                st.markdown(f"The network says **{classes[says]}** {_verdict(row, picture.label, classes)}")
                st.markdown(_sure(row, original, classes))
        st.caption(
            f"{least['removed']} of {found.candidates} {counted} go, tinted in the pictures. {ties(least, most)}"
        )


def _finding(
    original: Mapping[str, Any], least: Mapping[str, Any], most: Mapping[str, Any], classes: Sequence[str], counted: str
) -> str:
    """What happened, in a sentence for each of the two."""
    first = classes[original["prediction"]]

    def became(row: Mapping[str, Any]) -> str:
        if not row["flipped"]:
            return f"the answer stays **{first}**, at {percent(row['confidence'])}"
        return f"the answer becomes **{classes[row['prediction']]}**, at {percent(row['confidence'])}"

    return (
        f"Without the {least['removed']} least relevant {counted} {became(least)}. Without the {most['removed']} most "
        f"relevant ones {became(most)}. Before, it was {percent(original['confidence'])} for {first}."
    )


def _sure(row: Mapping[str, Any], original: Mapping[str, Any], classes: Sequence[str]) -> str:
    """How sure the network is of what it says, and of what it said first."""
    sure, kept = row["confidence"], row["original_confidence"]
    if row["image"] == "original":
        return f"{percent(sure)} sure"
    change = points(kept - original["original_confidence"])
    if not row["flipped"]:
        return f"{percent(sure)} sure, {change}"
    return f"{percent(sure)} sure; {percent(kept)} for {classes[original['prediction']]}, {change}"


def _verdict(row: Mapping[str, Any], label: int, classes: Sequence[str]) -> str:
    """Right or wrong, as a badge; for a picture whose class nobody knows, whether the answer stayed."""
    if label >= 0:
        return ":green-badge[right]" if row["correct"] else f":red-badge[wrong: it is {classes[label]}]"
    if row["image"] == "original":
        return ""
    return ":orange-badge[another answer]" if row["flipped"] else ":gray-badge[the same answer]"


def ties(least: Mapping[str, Any], most: Mapping[str, Any]) -> str:
    """How many of the removed pixels the seed picked, in words; both are rows with `removed` and `tied`."""
    if not least["tied"] and not most["tied"]:
        return "No choice between pixels of equal relevance was left to chance."
    return (
        f"{least['tied']:.0f} of the {least['removed']:.0f} least relevant ones and {most['tied']:.0f} of the "
        f"{most['removed']:.0f} most relevant ones were picked by the seed from pixels of equal relevance, which "
        "are common: blank pixels have a relevance of zero."
    )
