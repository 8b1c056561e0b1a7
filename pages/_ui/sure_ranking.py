"""The order of the inputs: as a picture, scores and a table, and whether enough rows settle it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from lrp_core import views

from . import charts, charts_ranking, figures, frame, jobs, masks, networks, pictures, state
from .fields import field
from .formats import one_way, percent, things

if TYPE_CHECKING:
    import pandas as pd

    from lrp_core.ranking import Ranking
    from lrp_core.study.ledger import Run
    from lrp_core.views import OpenedStudy
    from lrp_core.views.ranking import RankingPicture


def choose(opened: OpenedStudy, run: Run) -> tuple[Ranking | None, str, int, int]:
    """The controls, and the ranking that they choose if it is there: with its method, its seed and how many stay."""
    with st.container(border=True):
        with st.container(horizontal=True):  # what has a label stands at the top, so that labels are on one line
            method = state.method()
            seed = state.seed()
        keep = opened.keep_for(state.removed())
    is_there = frame.has_ranking(opened, run, method, keep, seed)
    return opened.rankings.of(method, keep, seed) if is_there else None, method, seed, keep


def show(opened: OpenedStudy, run: Run) -> None:
    """The part of the page, with its controls."""
    ranking, method, seed, keep = choose(opened, run)
    if ranking is None:
        return
    pixels = opened.words[0]
    st.header(f"The order of the {pixels}", anchor=False)
    _draw(opened, ranking, method, seed, keep)
    between = masks.between_measured(opened, method, keep).strip()
    if between:
        st.caption(between)
    with frame.refusals():
        _settle(opened, method, seed)


def _draw(opened: OpenedStudy, ranking: Ranking, method: str, seed: int, keep: int) -> None:
    """The ranking as a picture, as scores in order, as a table and as files."""
    shown = views.picture_of_ranking(ranking, opened.rankings.named(ranking))
    left, right = st.columns([2, 3], gap="medium")
    with left:
        if opened.drawn_as == "picture":
            _maps(shown, method)
        else:
            st.markdown(f"**The {opened.words[0]} that come first**")
            masks.draw(opened, method, keep, seed)
            st.caption(masks.says(opened, keep))
    with right:
        _scores_in_order(opened.words[0], shown, keep)
    _table(opened.words[0], shown.table)
    _files(opened, ranking, shown.table, f"{method.replace(', ', '-')}-seed-{seed}")


def _table(pixels: str, order: pd.DataFrame) -> None:
    column = st.column_config.NumberColumn
    with st.expander("The order as a table", icon=":material/format_list_numbered:"):
        st.dataframe(
            order.drop(columns=[] if "channel" not in order or order["channel"].any() else ["channel"]),
            hide_index=True,
            column_config={
                "place": column("Place", help="1 is the most important", pinned=True),
                "name": st.column_config.TextColumn(pixels.removesuffix("s").capitalize()),
                "channel": column("Channel"),
                "row": column("Row", help="From the top, from 0"),
                "column": column("Column", help="From the left, from 0"),
                "score": column("Score", format="%.4g"),
                "standard_error": column("Standard error", format="%.3g"),
            },
            placeholder="–",
            key="order",
            alt=f"All {pixels} from the most to the least important, each with its score and standard error",
        )


def _files(opened: OpenedStudy, ranking: Ranking, order: pd.DataFrame, what: str) -> None:
    study = opened.study
    name = f"{study.dataset}-{study.architecture}-{what}"
    with st.container(horizontal=True):
        st.download_button(
            "Save the ranking", data=lambda: views.ranking_bytes(ranking), file_name=f"{name}.safetensors",
            mime="application/octet-stream", icon=":material/download:", on_click="ignore",
            help="A .safetensors file that this page and Ranking.load read back.",
        )  # fmt: skip
        st.download_button(
            "Save as CSV", data=lambda: order.to_csv(index=False).encode(), file_name=f"{name}.csv",
            mime="text/csv", icon=":material/download:", on_click="ignore",
            help=f"Place, name or position, score and standard error of all {opened.words[0]}.",
        )  # fmt: skip


def _maps(shown: RankingPicture, method: str) -> None:
    """Place, score or standard error of each pixel, as a picture with its scale in words."""
    kinds = ["Place", "Score"] + (["Standard error"] if shown.has_errors else [])
    if st.session_state.get("map") not in kinds:
        st.session_state["map"] = "Place"
    kind = st.segmented_control("Each pixel's", kinds, key="map", required=True, persist_state="session",
                                help="Standard errors are known where images were averaged over.")  # fmt: skip
    first = pictures.at(shown.place.argmin(), shown.place.shape[1])
    if kind == "Place":
        content = pictures.strength(1 - (shown.place - 1) / shown.place.max())
        text = f"Strong colour: most important. Place 1: {first} (counted from 0). The table has all of them."
    elif kind == "Score":
        content, text = _scores(shown)
    else:
        content = pictures.strength(shown.relative_error, charts.WARM)
        text = (
            f"As a share of the score; full colour is {percent(1, 0)} or more, where the score may just as well be "
            "zero."
        )
    st.image(content, width=360, alt=f"{kind} of each pixel by {method}")
    st.caption(text)


def _scores(shown: RankingPicture) -> tuple[bytes, str]:
    """The scores as a picture, by their powers of ten where they span decades, and its scale."""
    score = shown.score
    largest = float(np.abs(score).max())
    if not shown.spans_decades:
        content = pictures.signed(score) if (score < 0).any() else pictures.strength(score / (largest or 1.0))
        below = " Blue is below zero." if (score < 0).any() else ""
        return content, f"Full colour: {largest:.3g}. Zero is blank.{below}"
    least = float(score[score > 0].min())
    powers = np.log10(score / least, where=score > 0, out=np.full(score.shape, np.nan))
    return (
        pictures.strength(powers / np.log10(largest / least)),
        f"By powers of ten, from {least:.2g} to {largest:.2g}; pixels without a score are blank.",
    )


def _scores_in_order(pixels: str, shown: RankingPicture, keep: int) -> None:
    """Scores from the most to the least important input."""
    ties = int((shown.table["score"] == 0).sum())
    st.markdown("**Scores in order**")
    figures.draw(
        charts_ranking.in_order(shown.table, spans_decades=shown.spans_decades, marker=keep, height=390),
        key="scores",
        alt=f"Score of each of the {pixels} from the most to the least important; the line marks how many are kept",
    )
    cut = ", cut at a tenth of the score." if shown.spans_decades else "."
    st.caption(
        f"The line: {things(keep, pixels)} kept. "
        + (f"Band: two standard errors on either side{cut}" if shown.has_errors else "")
        + (f" {ties} {pixels} have a score of zero: their order was drawn at random." if ties > 1 else "")
    )


def _settle(opened: OpenedStudy, method: str, seed: int) -> None:
    """Whether the rows that the study ranks by suffice."""
    rankings, (pixels, images, _) = opened.rankings, opened.words
    st.header(f"Are these enough {images}?", anchor=False)
    criterion, _, strategy = method.partition(", ")
    if not rankings.can_settle(method):
        st.info(
            f"{criterion} is not averaged over explanations of {images}, so more {images} would change nothing.",
            icon=":material/info:",
        )
        return
    if strategy:
        st.caption(
            f"This is how the one-shot measurement by {criterion} settles; {strategy} measures "
            + ("with several networks." if strategy == "stability" else "again after every step, on what is left.")
        )
    is_measured = rankings.settling_is_measured(method, seed)
    if not is_measured and not networks.has_full(opened, seed, "This measurement"):
        return
    settling = jobs.ask(
        "settling",
        (rankings, criterion, seed),
        lambda report: rankings.measure_settling(method, seed, report),
        is_cached=is_measured,
    )
    if settling is None:
        return
    keeps = sorted(set(opened.study.keeps), reverse=True)
    if st.session_state.get("settled-keep") not in keeps:
        keep = opened.keep_for(state.value("removed"))
        st.session_state["settled-keep"] = min(keeps, key=lambda k: abs(k - keep))
    keep = st.session_state["settled-keep"]
    box = st.success if settling.suffices(settling.judged, keep) else st.warning
    box(one_way(settling.finding(keep, images, pixels)), icon=":material/rule:")
    field(st.selectbox, f"{pixels.capitalize()} kept", keeps, key="settled-keep", width=170,
          help=f"Count the overlap of so many {pixels}; the choices are the study's.")  # fmt: skip
    left, right = st.columns(2, gap="medium")
    with left:
        figures.draw(
            charts_ranking.settling(
                settling.table, keep, used=settling.used, enough=views.ENOUGH, counted=pixels, images=images
            ),
            key="agreement",
            alt=f"Rank correlation and overlap of two rankings against the number of {images} that each is made from",
        )
        st.caption(
            f"Two rankings from that many {images} each, none in common. Dotted: what counts as enough. The line: the "
            f"{settling.used:,} {images} that the study ranks by."
        )
    with right:
        figures.draw(
            charts_ranking.relative_error(settling.table, used=settling.used, images=images),
            key="errors",
            alt=f"Median standard error of the scores against the number of {images}",
        )
        st.caption(f"The standard error of half of the {pixels} is smaller than this share of their score. It halves "
                   f"with four times the {images}.")  # fmt: skip
