"""Picking what is looked at: a test image by class, by position, at random or among the wrong ones, or a picture."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from . import drawing, frame
from .data import ask
from .fields import field

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy, Picture

SOURCES = {"test": "Test image", "file": "Own picture", "drawing": "Drawing"}


@dataclass(frozen=True, eq=False)
class Picked:
    """What is looked at: the test image, or row, at an `index`; or a `picture`, which every image of classes is."""

    index: int | None
    picture: Picture | None = None

    def named(self, image: str) -> str:
        """What a person calls it."""
        return "the picture that you gave" if self.index is None else f"test {image} {self.index}"


def pick(opened: OpenedStudy, seed: int, *, is_trained: bool) -> Picked | None:
    """The controls, and what is picked; None as long as there is no picture.

    Only a network that `is_trained` can say which images it gets wrong.
    """
    if not (opened.are_images and opened.data.classes):
        return Picked(pick_test_image(opened, seed))
    sources = [SOURCES[name] for name in opened.removals.sources]
    if st.session_state.get("source") not in sources:  # another study may take other pictures
        st.session_state["source"] = sources[0]
    source = sources[0]
    if len(sources) > 1:
        source = st.segmented_control(
            "Picture", sources, key="source", required=True, persist_state="session", label_visibility="collapsed"
        )
    if source == SOURCES["test"]:
        index = pick_test_image(opened, seed, with_wrong=is_trained)
        if len(sources) == 1:
            st.caption(
                "There are test images alone: a picture file has pixels between 0 and 1 in one or three channels, "
                "and these data have not."
            )
        return Picked(index, ask(opened.removals, "picture_of_test", index=index, seed=seed))
    picture = _given(opened, is_file=source == SOURCES["file"])
    return None if picture is None else Picked(None, picture)


def _given(opened: OpenedStudy, *, is_file: bool) -> Picture | None:
    """The picture that a person uploads or draws, or None."""
    if is_file:
        file = st.file_uploader(
            "Picture file",
            type=["png", "jpg", "jpeg", "gif", "webp", "bmp"],
            max_upload_size=20,
            key="upload",
            help="Any size. It never leaves this server's memory. "
            + (
                "It is resized as your data's pictures are."
                if opened.study.digest
                else "It becomes grey, light on dark, and its ink is scaled and centred as in MNIST."
            ),
        )
        content, name = (file.getvalue(), file.name) if file else (None, "")
    else:
        content, name = drawing.sheet("sheet"), "the drawing"
        what = "a digit" if opened.study.dataset == "mnist" else "what the network knows"
        st.caption(f"Draw {what}, with mouse, finger, or Shift and the arrow keys.")
    if content is None:
        return None
    with frame.refusals():
        picture = ask(opened.removals, "picture_of_file", content=content, name=name, is_drawing=not is_file)
        if picture.notes and is_file:
            st.caption(f"What the network sees: {'; '.join(picture.notes)}.")
        return picture
    return None


def pick_test_image(opened: OpenedStudy, seed: int, *, with_wrong: bool = False) -> int:
    """The controls in one row, and the position of the image among the test images of a seed.

    `with_wrong` offers those that the seed's network gets wrong as well.
    """
    data, (_, images, image) = opened.images.data_of(seed), opened.words
    classes, n_images = data.classes, len(data.test)
    if st.session_state.get("image", 0) >= n_images:  # another seed's split may have had more
        st.session_state["image"] = n_images - 1

    def choices() -> list[int]:
        chosen = st.session_state.get("class")
        if with_wrong and st.session_state.get("wrong"):
            return ask(opened.removals, "wrong_indices", seed=seed, label=chosen)
        return ask(opened.images, "indices", seed=seed, label=chosen)

    def step(by: int) -> None:
        """Go to another of the images; `by` 0 draws one at random."""
        places, here = choices(), st.session_state["image"]
        if not places:
            return
        if by == 0:
            st.session_state["image"] = random.choice(places)  # any will do: nothing is computed from the draw
        elif by > 0:
            st.session_state["image"] = next((i for i in places if i > here), places[0])
        else:
            st.session_state["image"] = next((i for i in reversed(places) if i < here), places[-1])

    def settle() -> None:
        """Go to the next image that the choice of class allows, unless this one is."""
        if st.session_state["image"] not in choices():
            step(1)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        if classes:
            field(
                st.selectbox, "Class", [None, *range(len(classes))], key="class", width=120, on_change=settle,
                format_func=lambda i: "any" if i is None else classes[i],
                help=f"The buttons go through the test {images} of this class.",
            )  # fmt: skip
        index = field(st.number_input, f"Test {image}", 0, n_images - 1, key="image", width=150, in_url=True,
                      help=f"Its position among the {n_images:,} test {images}, from 0.")  # fmt: skip
        st.button("Previous", icon=":material/chevron_left:", on_click=step, args=(-1,))
        st.button("Next", icon=":material/chevron_right:", on_click=step, args=(1,))
        st.button("Random", icon=":material/shuffle:", on_click=step, args=(0,))
        if with_wrong:
            st.toggle(
                "Only wrong",
                key="wrong",
                persist_state="session",
                on_change=settle,
                help=f"The buttons go through the test {images} that this network gets wrong.",
            )
    if not choices():
        st.caption(f"The network gets none of these {images} wrong.")
    return int(index)
