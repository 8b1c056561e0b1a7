"""How sure the result is: what the recommendation means, every method's curve, and two networks row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from . import charts_methods, figures, state, tables
from .data import ask
from .formats import PERCENT, count, one_way, p_value, things, title

if TYPE_CHECKING:
    from lrp_core.study.results import Recommendation
    from lrp_core.study.verdict import Verdict
    from lrp_core.views import OpenedStudy

MANY = 8
"""More methods than these are not all drawn unless someone asks for it."""


def show(opened: OpenedStudy, verdict: Verdict | None) -> None:
    """The part of the page, with its controls."""
    method, mode, seed, removed = state.choose(with_margin=True)
    keep = opened.keep_for(removed)
    recommended = opened.recommend(method, mode=mode, margin=state.value("margin") / 100)
    if recommended is not None:
        _recommended(opened, recommended, removed)
    _curves(opened, method, mode, keep, recommended)
    if verdict is not None and verdict.has_many:
        st.header("Beside the controls", anchor=False)
        tables.ahead(verdict.ahead, with_intervals=verdict.has_interval)
        st.caption(
            f"{title(opened.score)} of {method} minus that of each control, on test {opened.words[1]}, with "
            f"{things(verdict.keep, opened.words[0])} kept."
        )
    _tests(opened, method, mode, keep, seed)
    _points(opened)


def _recommended(opened: OpenedStudy, recommendation: Recommendation, removed: int) -> None:
    """The recommended threshold in words, what that means, and the way there."""
    if recommendation.row is None:
        st.warning(one_way(recommendation.sentence), icon=":material/block:")
        return
    there, pixels = opened.removed_for(int(recommendation.row["keep"])), opened.words[0]

    def move() -> None:
        st.session_state["removed"] = there

    box = st.success if recommendation.is_certain else st.info
    box(f"**Recommended:** {one_way(recommendation.sentence)}", icon=":material/recommend:")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Move the slider there",
            key="move",
            icon=":material/move_down:",
            on_click=move,
            disabled=removed == there,
            help=f"To {there}{PERCENT}: {int(recommendation.row['keep'])} of {things(opened.n_groups, pixels)} stay."
            if removed != there
            else "The slider stands there.",
        )
        st.caption(_meaning(opened, recommendation))


def _meaning(opened: OpenedStudy, recommendation: Recommendation) -> str:
    """What a recommendation is, in plain words."""
    margin = f"{100 * recommendation.margin:g} points"
    images = opened.words[1]
    if recommendation.is_certain:
        return (
            f"This is the furthest measured place where even the worst end of the interval loses no more than "
            f"{margin}. It was chosen on validation {images}; the first line of this page is from test {images}."
        )
    return (
        f"This is the furthest measured place that loses no more than {margin} with one seed. Another seed may say "
        "otherwise."
    )


def _curves(opened: OpenedStudy, method: str, mode: str, keep: int, recommended: Recommendation | None) -> None:
    """The curve of every method that is drawn, with intervals."""
    pixels, images, _ = opened.words
    st.header(f"{title(opened.score)} as {pixels} go", anchor=False)
    slot = st.container()
    curves = opened.curves(_drawn(opened, method), mode)
    with slot:
        figures.draw(
            charts_methods.score_curves(
                curves,
                opened.study.methods,
                chosen=method,
                marker=1 - keep / opened.n_groups,
                recommended=recommended.row if recommended is not None else None,
                height=380,
                score=opened.score,
                counted=pixels,
            ),
            key="curve",
            alt=f"Validation {opened.score} against the share removed; the line marks the slider, the ring the "
            "recommended threshold",
        )
    st.caption(
        f"On validation {images}. Points are measured, lines between them interpolated. {_bands(opened, curves)}"
    )


def _drawn(opened: OpenedStudy, method: str) -> tuple[str, ...]:
    """Which methods are drawn; the chosen one always is."""
    study = opened.study
    if len(study.methods) == 1:
        return study.methods
    controls = tuple(name for name in study.methods if name in charts_methods.CONTROL_COLORS)
    picked = st.multiselect(
        "Drawn",
        study.methods,
        study.methods if len(study.methods) <= MANY else opened.rankings.of_relevance()[:1] + controls,
        key=f"drawn-{study.key}",
        persist_state="session",
        placeholder="The chosen one alone",
        help="The chosen one is always drawn. One colour for each criterion; dashes tell strategies apart.",
    )
    return tuple(name for name in study.methods if name == method or name in picked)


def _bands(opened: OpenedStudy, curves: dict[str, pd.DataFrame]) -> str:
    """What the bands are, or why there are none."""
    study = opened.study
    if len(study.seeds) == 1:
        return "No bands: one seed gives no interval, because it does not show how far results scatter."
    over = "the seeds of masks and of training" if study.mask_seeds else "seeds"
    if study.resplit:
        over = "splits, which allow for the rows that these share"
    if len(curves) > charts_methods.MOST_BANDS:
        return f"Band: the chosen method's 95{PERCENT} interval over {over}; those of the others are in the table."
    return f"Bands: 95{PERCENT} intervals over {over}."


def _tests(opened: OpenedStudy, method: str, mode: str, keep: int, seed: int) -> None:
    """The small network against the full one on the same data, and whose the scatter is."""
    near = opened.nearest_keep(method, mode, keep)
    if near is None:
        return
    pixels, images, image = opened.words
    test = ask(opened, "against_baseline", method=method, mode=mode, keep=near, seed=seed)
    parts = ask(opened, "scatter", method=method, mode=mode, keep=near)
    if test is not None:
        st.header(f"{title(image)} by {image}", anchor=False)
        place = things(near, pixels) + ("" if near == keep else ", the measured number nearest to the slider's")
        st.markdown(
            f"**Seed {seed}, {place}:** of {count(test.n)} validation {images} {count(test.only_first)} are right only "
            f"with all {pixels}, {count(test.only_second)} only with the small network. If both were equally good, "
            f"chance alone would make them differ at least as much with p\u00a0{p_value(test.p_value)}.",
            help="McNemar's exact test of these two networks on the same data; it says nothing about other seeds.",
        )
    if parts is not None:
        st.header("Where scatter comes from", anchor=False)
        st.markdown(
            f"Each of {len(opened.study.mask_seeds)} masks was tried with each of {len(opened.study.seeds)} seeds. At "
            f"{things(near, pixels)} the {opened.score} scatters by {100 * parts.masks:.2f} points through the mask, "
            f"by {100 * parts.seeds:.2f} points through training, and by {100 * parts.rest:.2f} points through neither "
            "alone.",
            help=f"Standard deviations of a single network's {opened.score}, from the two-way random-effects model.",
        )


def _points(opened: OpenedStudy) -> None:
    """Every measured point as a table and as a file."""
    measured, study = opened.curve(), opened.study
    if measured.empty:
        st.info("No network is measured yet: this fills in as they are.", icon=":material/hourglass_top:")
        return
    st.header("Measured points", anchor=False)
    tables.curve(measured, with_intervals=len(study.seeds) > 1, score=opened.score, words=opened.words)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download as CSV",
            data=lambda: measured.to_csv(index=False).encode(),
            file_name=f"{study.dataset}-{study.architecture}-{study.key[:6]}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            help="Every column, shares between 0 and 1.",
        )
        st.caption(
            f"Difference: {opened.score} minus that of the full network of the same seed, in points."
            + ("" if len(study.seeds) > 1 else " No intervals: the study has one seed.")
        )
