"""Which inputs stay: a picture for images, curves for series, bars for tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from . import charts, charts_inputs

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy


def draw(opened: OpenedStudy, method: str, keep: int, seed: int) -> None:
    """The inputs that stay, in colour."""
    kind, pixels = opened.drawn_as, opened.words[0]
    if kind == "picture":
        figure = charts.mask(opened.rankings.kept(method, keep, seed), opened.images.mean(), 330)
        alt = f"The mean image: {keep} {pixels} that stay in colour, the others dimmed"
    elif kind == "series":
        figure = charts_inputs.series(opened.images.means(), opened.rankings.table(method, keep, seed))
        alt = f"The mean series of each class: {keep} {pixels} that stay in colour"
    else:
        figure = charts_inputs.ranked(opened.rankings.table(method, keep, seed))
        alt = f"The {pixels} by their score, the {keep} that stay in colour"
    st.plotly_chart(figure, config=charts.CONFIG, key="mask", alt=alt)


def says(opened: OpenedStudy, keep: int) -> str:
    """What the drawing shows."""
    kind, pixels = opened.drawn_as, opened.words[0]
    if kind == "picture":
        return f"Mean training image; the {keep} {pixels} that stay in colour, the others grey."
    if kind == "series":
        return f"Mean of each class over the training rows; the {keep} {pixels} that stay are marked below."
    shown = min(opened.n_groups, charts_inputs.MOST)
    some = "" if shown == opened.n_groups else f" The first {shown} of {opened.n_groups:,} are drawn."
    return f"{pixels.capitalize()} in their order by score; the {keep} that stay in colour, the others grey.{some}"
