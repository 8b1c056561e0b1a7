"""Picking a test image: by class, by position, at random, and among those that the network gets wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from . import data

if TYPE_CHECKING:
    from lrp_core.study import Study


def pick_test_image(study: Study, wrong: Callable[[int | None], list[int]] | None = None) -> int:
    """The controls in one row, and the position of the image. `wrong` gives the misclassified ones of a class."""
    _, _, classes = data.facts(study)
    n_images = len(data.image_indices(study, None))

    def choices() -> list[int]:
        only = wrong if wrong is not None and st.session_state.get("wrong") else None
        chosen = st.session_state.get("class")
        return only(chosen) if only else data.image_indices(study, chosen)

    def step(by: int) -> None:
        """Go to another of the images; `by` 0 draws one at random."""
        found, here = choices(), st.session_state["image"]
        if not found:
            return
        if by == 0:
            st.session_state["image"] = random.choice(found)  # any will do: nothing is computed from the draw
        elif by > 0:
            st.session_state["image"] = next((i for i in found if i > here), found[0])
        else:
            st.session_state["image"] = next((i for i in reversed(found) if i < here), found[-1])

    def settle() -> None:
        """Go to the next image that the choice of class allows, unless this one is."""
        if st.session_state["image"] not in choices():
            step(1)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=130):
            st.selectbox(
                "Class",
                [None, *range(len(classes))],
                format_func=lambda i: "any" if i is None else classes[i],
                key="class",
                persist_state="session",
                on_change=settle,
                help="The buttons go through the test images of this class.",
            )
        with st.container(width=170):
            index = st.number_input(
                "Test image",
                0,
                n_images - 1,
                0,
                key="image",
                bind="query-params",
                help=f"Its position among the {n_images:,} test images, from 0.",
            )
        st.button("Previous", icon=":material/chevron_left:", on_click=step, args=(-1,))
        st.button("Next", icon=":material/chevron_right:", on_click=step, args=(1,))
        st.button("Random", icon=":material/shuffle:", on_click=step, args=(0,))
        if wrong is not None:
            st.toggle(
                "Only misclassified",
                key="wrong",
                persist_state="session",
                on_change=settle,
                help="The buttons go through the test images that this network gets wrong.",
            )
    if not choices():
        st.caption("The network gets none of these images wrong.")
    return int(index)
