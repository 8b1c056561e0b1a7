"""One ranking beside another one, of the same study or from a file: what both keep, and where they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from lrp_core import views

from . import charts_ranking, figures, frame, pictures, sure_ranking
from .fields import field
from .formats import plain, things

if TYPE_CHECKING:
    from lrp_core.ranking import Ranking
    from lrp_core.study.ledger import Run
    from lrp_core.views import OpenedStudy

MOST_NAMES = 15


def show(opened: OpenedStudy, run: Run) -> None:
    """The part of the page, with its controls."""
    first, method, seed, keep = sure_ranking.choose(opened, run)
    if first is None:
        return
    with frame.refusals():
        chosen = _choose_other(opened, method, seed, keep)
        if chosen is not None:
            _compare(opened, first, f"{method}, seed {seed}", keep, *chosen)


def _choose_other(opened: OpenedStudy, method: str, seed: int, keep: int) -> tuple[Ranking, str] | None:
    """The ranking to compare with, and what to call it; None while there is none."""
    source = st.segmented_control("Compare with", ["One of this study", "A file"], key="other-source", required=True,
                                  default="One of this study", persist_state="session")  # fmt: skip
    if source == "A file":
        file = st.file_uploader(
            "Ranking file", type=["safetensors"], max_upload_size=views.MAX_FILE_BYTES // 2**20, key="ranking-file",
            help="One that was saved on this page, by `rank --output` or by Ranking.save.",
        )  # fmt: skip
        return (views.ranking_of_file(file.getvalue(), file.name), plain(file.name)) if file else None
    methods, seeds = opened.study.methods, opened.study.seeds
    with st.container(horizontal=True, vertical_alignment="bottom"):
        other = field(st.selectbox, "Ranked by", methods, len(methods) - 1, key="other-method", width=260)
        other_seed = field(st.selectbox, "Seed", seeds, len(seeds) - 1, key="other-seed", width=110,
                           disabled=len(seeds) == 1)  # fmt: skip
    if (other, other_seed) == (method, seed):
        st.info("This is the ranking above: choose another method or seed.", icon=":material/info:")
        return None
    if not opened.rankings.is_ready(other, keep, other_seed):
        st.info(f"The ranking by {other}, seed {other_seed}, is not there yet.", icon=":material/hourglass_top:")
        return None
    return opened.rankings.of(other, keep, other_seed), f"{other}, seed {other_seed}"


def _compare(opened: OpenedStudy, first: Ranking, one: str, keep: int, second: Ranking, other: str) -> None:
    """Both rankings in numbers, a curve and pictures or names."""
    agreement = views.agreement(first, second)
    apart = views.kept_apart(first, second, keep)
    pixels, both = opened.words[0], keep - len(apart[0])
    st.header(f"{one} beside {other}", anchor=False)
    st.markdown(
        f"**{one}** and **{other}** correlate with **{agreement.spearman:.3f}** (Spearman) and "
        f"**{agreement.kendall:.3f}** (Kendall); 1 is the same order, 0 no relation. Each keeps "
        f"{things(keep, pixels)}, and **{both}** of them {'is' if both == 1 else 'are'} the same."
    )
    drawn = opened.drawn_as == "picture"
    curve, mask, shift = st.columns(3 if drawn else [2, 1, 1], gap="medium")
    with curve:
        st.markdown(f"**{pixels.capitalize()} in common**")
        figures.draw(
            charts_ranking.overlap(agreement.overlap, marker=1 - keep / first.n_groups, counted=pixels),
            key="overlap",
            alt=f"Share of the {pixels} kept that both rankings have in common, against the share removed",
        )
    if not drawn:
        _names(opened, apart, (mask, shift), (one, other))
        return
    with mask:
        st.markdown("**Who keeps which**")
        st.image(
            pictures.kept_by(views.kept_by(first, second, keep)),
            width=300,
            alt=f"The {keep} {pixels} that each ranking keeps: {both} both",
        )
        st.caption(f"Grey: both. Green: only {one}. Orange: only {other}.")
    with shift:
        st.markdown("**Places apart**")
        st.image(
            pictures.signed(agreement.shift),
            width=300,
            alt="How many places each pixel stands further up in the first ranking, or in the second",
        )
        furthest = int(np.abs(agreement.shift).max())
        st.caption(f"Red: further up by {one}. Blue: by {other}. Full colour: {things(furthest, 'places')}.")


def _names(opened: OpenedStudy, apart: tuple[list[int], list[int]], places: tuple, rankings: tuple[str, str]) -> None:
    """What only one of the two keeps, by name."""
    names = opened.group_names()
    for place, only, ranking in zip(places, apart, rankings, strict=True):
        with place:
            st.markdown(f"**Only {ranking}**")
            ones = [names[i] for i in only]
            st.text("\n".join(ones[:MOST_NAMES]) or "none")  # a name is no Markdown
            if len(ones) > MOST_NAMES:
                st.caption(f"and {len(ones) - MOST_NAMES:,} more")
