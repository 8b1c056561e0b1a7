"""The threshold: which pixels go, what that saves, what accuracy it leaves, and how far one can go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from pages._ui import charts, charts_methods, frame, masks, state, tables
from pages._ui.data import ask
from pages._ui.formats import change, count, interval, p_value, percent, points, size, things, title

if TYPE_CHECKING:
    from lrp_core.study.results import Recommendation
    from lrp_core.views.study import Threshold

opened, run = frame.open_page(
    "Pruning",
    "Move the threshold: the least relevant inputs go first, and the numbers follow at once.",
    live=True,
)
study = opened.study
pixels, images, image = opened.words
# More methods than these are not all drawn unless someone asks for it.
MANY = 8


@st.fragment
def explore() -> None:
    method, mode, seed, removed = state.choose(opened, with_margin=True)
    keep = opened.keep_for(removed)
    recommended = opened.recommend(method, mode=mode, margin=state.value("margin") / 100)
    if recommended is not None:
        recommend(recommended, removed)
    if not frame.has_ranking(opened, run, method, keep, seed):
        return
    with frame.refusals():
        metrics(opened.threshold(method=method, mode=mode, keep=keep, seed=seed))
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.markdown(f"**Which {pixels} stay**")
        masks.draw(opened, method, keep, seed)
        st.caption(
            f"{masks.says(opened, keep)} Mask of seed {opened.rankings.seed_of(seed)}.{between_measured(method, keep)}"
        )
    with right:
        st.markdown(f"**{title(opened.score)} as {pixels} go** (validation {images})")
        slot = st.container()
        drawn = pick_drawn(method)
        curves = opened.curves(drawn, mode)
        slot.plotly_chart(
            charts_methods.score_curves(
                curves,
                study.methods,
                chosen=method,
                marker=1 - keep / opened.n_groups,
                recommended=recommended.row if recommended is not None else None,
                height=350,
                score=opened.score,
                counted=pixels,
            ),
            config=charts.CONFIG,
            key="curve",
            alt=f"Validation {opened.score} against the share removed; the line marks the slider, the ring the "
            "recommended threshold",
        )
        st.caption(f"Points are measured, lines between them interpolated. {bands(curves)}")
    tests(method, mode, keep, seed)


def recommend(recommendation: Recommendation, removed: int) -> None:
    """The recommended threshold in words, and the way there."""
    if recommendation.row is None:
        st.warning(recommendation.sentence, icon=":material/block:")
        return
    there = opened.removed_for(int(recommendation.row["keep"]))

    def move() -> None:
        st.session_state["removed"] = there

    text_column, button_column = st.columns([4, 1], vertical_alignment="center")
    with text_column:
        text = f"**Recommended:** {recommendation.sentence}"
        if recommendation.is_certain:
            st.success(text, icon=":material/recommend:")
        else:
            st.info(text, icon=":material/recommend:")
    with button_column:
        st.button(
            "Move the slider there",
            key="move",
            width="stretch",
            wrap=True,
            icon=":material/move_down:",
            on_click=move,
            disabled=removed == there,
            help=f"To {there} %: {int(recommendation.row['keep'])} of {things(opened.n_groups, pixels)} stay."
            if removed != there
            else "The slider stands there.",
        )


def metrics(threshold: Threshold) -> None:
    """What the slider's place means, in numbers."""
    small, full = threshold.cost, threshold.full_cost
    with st.container(horizontal=True):
        st.metric(
            f"{pixels.capitalize()} kept",
            count(threshold.keep),
            f"of {threshold.n_groups}",
            delta_color="off",
            delta_arrow="off",
            border=True,
            help=f"The {pixels} that the smaller network reads.",
        )
        expected, baseline = threshold.score, threshold.baseline
        st.metric(
            f"Expected {opened.score}",
            percent(expected.estimate) if expected else "not measured",
            points(expected.estimate - baseline.estimate) if expected and baseline else None,
            border=True,
            help=f"On validation {images}, interpolated between the measured points of the curve. "
            + (interval(expected.low, expected.high) if expected else "The study has no network this small."),
        )
        st.metric("MACs", count(small.macs), change(small.macs, full.macs), delta_color="inverse", border=True,
                  help=f"Multiply-accumulates for one {image}; the full network: {count(full.macs)}.")  # fmt: skip
        st.metric("Parameters", count(small.parameters), change(small.parameters, full.parameters),
                  delta_color="inverse", border=True,
                  help=f"Weights and biases; the full network: {count(full.parameters)}.")  # fmt: skip
        st.metric("Weights", size(small.bytes), change(small.bytes, full.bytes), delta_color="inverse", border=True,
                  help=f"Bytes as float32; the full network: {size(full.bytes)}.")  # fmt: skip
        st.metric(f"One {image}", size(small.input_bytes), change(small.input_bytes, full.input_bytes),
                  delta_color="inverse", border=True,
                  help=f"Bytes of one {image} as float32; the full network: {size(full.input_bytes)}.")  # fmt: skip
        if threshold.input_cost is not None:
            st.metric("Cost of inputs", f"{threshold.input_cost:,.6g}",
                      change(threshold.input_cost, threshold.full_input_cost), delta_color="inverse", border=True,
                      help=f"What the {pixels} that are read cost, as the data say; all of them: "
                      f"{threshold.full_input_cost:,.6g}.")  # fmt: skip


def pick_drawn(method: str) -> tuple[str, ...]:
    """Which methods are drawn; the chosen one always is."""
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


def bands(curves: dict[str, pd.DataFrame]) -> str:
    """What the bands are, or why there are none."""
    if len(study.seeds) == 1:
        return "No bands: one seed gives no interval, because it does not show how far results scatter."
    over = "the seeds of masks and of training" if study.mask_seeds else "seeds"
    if study.resplit:
        over = "splits, which allow for the rows that these share"
    if len(curves) > charts_methods.MOST_BANDS:
        return f"Band: the chosen method's 95 % interval over {over}; those of the others are in the table."
    return f"Bands: 95 % intervals over {over}."


def between_measured(method: str, keep: int) -> str:
    """Which mask "exchange" shows where it optimised none."""
    if not method.endswith(", exchange") or keep in study.keeps:
        return ""
    near = min(study.keeps, key=lambda k: abs(k - keep))
    return f" exchange optimises measured numbers of {pixels} only: this mask follows its ranking for {near}."


def tests(method: str, mode: str, keep: int, seed: int) -> None:
    """The smaller network against the full one image by image, and whose the scatter is."""
    near = opened.nearest_keep(method, mode, keep)
    if near is None:
        return
    test = ask(opened, "against_baseline", method=method, mode=mode, keep=near, seed=seed)
    if test is not None:
        place = things(near, pixels) + ("" if near == keep else ", the measured number nearest to the slider's")
        st.markdown(
            f"**Seed {seed}, {place}:** of {count(test.n)} validation {images} {count(test.only_first)} are right only "
            f"with all {pixels}, {count(test.only_second)} only with the smaller network. If both were equally good, "
            f"chance alone would make them differ at least as much with p\u00a0{p_value(test.p_value)}.",
            help="McNemar's exact test of these two networks on the same data; it says nothing about other seeds.",
        )
    parts = ask(opened, "scatter", method=method, mode=mode, keep=near)
    if parts is not None:
        st.markdown(
            f"**Where scatter comes from:** each of {len(study.mask_seeds)} masks was tried with each of "
            f"{len(study.seeds)} seeds. At {things(near, pixels)} the {opened.score} scatters by "
            f"{100 * parts.masks:.2f} points through the mask, by {100 * parts.seeds:.2f} points through training, "
            f"and by {100 * parts.rest:.2f} points through neither alone.",
            help=f"Standard deviations of a single network's {opened.score}, from the two-way random-effects model.",
        )


with frame.refusals():
    explore()
    st.caption(
        f"This is {opened.score} on validation {images}, which is for choosing. Final figures on test {images} are on "
        "the overview and in the card of every export."
    )
    measured = opened.curve()
    if not measured.empty:
        st.subheader("Measured points", anchor=False)
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
