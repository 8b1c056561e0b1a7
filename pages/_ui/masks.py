"""Which inputs stay: a picture for images, curves for series, bars for tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from . import charts_inputs, figures, pictures
from .formats import things

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy


def draw(opened: OpenedStudy, method: str, keep: int, seed: int) -> None:
    """The inputs that stay, in colour."""
    kind, pixels = opened.drawn_as, opened.words[0]
    if kind == "picture":
        st.image(
            pictures.mask(opened.rankings.kept(method, keep, seed), opened.images.mean(seed)),
            width=330,
            alt=f"The mean image, in colour where one of the {keep} {pixels} stays, else dimmed",
        )
        return
    if kind == "series":
        figure = charts_inputs.series(opened.images.means(seed), opened.rankings.table(method, keep, seed))
        alt = f"The mean series of each class, with a strip over what stays, {keep} of the {pixels}"
    else:
        figure = charts_inputs.ranked(opened.rankings.table(method, keep, seed))
        alt = f"The {pixels} by their score, in colour those that stay, {keep} of them"
    figures.draw(figure, key="mask", alt=alt)


def says(opened: OpenedStudy, keep: int) -> str:
    """What the drawing shows."""
    kind, n = opened.drawn_as, things(opened.n_groups, opened.words[0])
    of_classes = " of each class" if opened.data.classes else ""
    if kind == "picture":
        return f"Mean training image; in colour what stays, {keep} of {n}, grey what goes."
    if kind == "series":
        return f"Mean of the training rows{of_classes}; the strips are what stays, {keep} of {n}."
    shown = min(opened.n_groups, charts_inputs.MOST)
    some = "" if shown == opened.n_groups else f" Drawn are the first {shown}."
    costs = "" if opened.data.costs is None else ", beside each name what it costs"
    return f"In the order of their scores{costs}; in colour what stays, {keep} of {n}, grey what goes.{some}"


def between_measured(opened: OpenedStudy, method: str, keep: int) -> str:
    """Which mask "exchange" shows where it optimised none, as a sentence to end with."""
    keeps = opened.study.keeps
    if not method.endswith(", exchange") or keep in keeps:
        return ""
    near = min(keeps, key=lambda k: abs(k - keep))
    return f" exchange optimises measured numbers of {opened.words[0]} only: this mask follows its ranking for {near}."
