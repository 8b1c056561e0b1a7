"""Picking a test image: by class, by position, at random, and among those that the network gets wrong."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import streamlit as st

from .data import ask
from .fields import field

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy


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
                st.selectbox, "Class", [None, *range(len(classes))], key="class", width=130, on_change=settle,
                format_func=lambda i: "any" if i is None else classes[i],
                help=f"The buttons go through the test {images} of this class.",
            )  # fmt: skip
        index = field(st.number_input, f"Test {image}", 0, n_images - 1, key="image", width=170, in_url=True,
                      help=f"Its position among the {n_images:,} test {images}, from 0.")  # fmt: skip
        st.button("Previous", icon=":material/chevron_left:", on_click=step, args=(-1,))
        st.button("Next", icon=":material/chevron_right:", on_click=step, args=(1,))
        st.button("Random", icon=":material/shuffle:", on_click=step, args=(0,))
        if with_wrong:
            st.toggle(
                "Only misclassified",
                key="wrong",
                persist_state="session",
                on_change=settle,
                help=f"The buttons go through the test {images} that this network gets wrong.",
            )
    if not choices():
        st.caption(f"The network gets none of these {images} wrong.")
    return int(index)
