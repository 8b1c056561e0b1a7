"""Which inputs stay: a picture for images, curves for series, bars for tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from . import charts, charts_inputs

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy


def draw(opened: OpenedStudy, method: str, keep: int, seed: int) -> None:
    """The inputs that stay, in colour."""
    if opened.are_images:
        figure = charts.mask(opened.rankings.kept(method, keep, seed), opened.images.mean(), 330)
        alt = f"The mean image: {keep} pixels that stay in colour, the others dimmed"
    elif len(opened.data.shape) == 2:
        figure = charts_inputs.series(opened.images.means(), opened.rankings.table(method, keep, seed))
        alt = f"The mean series of each class: {keep} values that stay in colour"
    else:
        figure = charts_inputs.ranked(opened.rankings.table(method, keep, seed))
        alt = f"The inputs by their score, the {keep} that stay in colour"
    st.plotly_chart(figure, config=charts.CONFIG, key="mask", alt=alt)


def says(opened: OpenedStudy, keep: int) -> str:
    """What the drawing shows."""
    if opened.are_images:
        return f"Mean training image; the {keep} pixels that stay in colour, the others grey."
    if len(opened.data.shape) == 2:
        return f"Mean of each class over the training rows; the {keep} values that stay are marked below."
    shown = min(opened.n_inputs, charts_inputs.MOST)
    some = "" if shown == opened.n_inputs else f" The first {shown} of {opened.n_inputs:,} are drawn."
    return f"Inputs in their order by score; the {keep} that stay in colour, the others grey.{some}"
