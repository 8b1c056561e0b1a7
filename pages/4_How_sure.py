"""The order of the inputs: what it is, whether enough images settle it, and how far another one agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from lrp_core import views
from pages._ui import charts, charts_ranking, frame, jobs, masks, state
from pages._ui.fields import field
from pages._ui.formats import things

if TYPE_CHECKING:
    import pandas as pd

    from lrp_core.ranking import Ranking
    from lrp_core.views.ranking import RankingPicture

opened, run = frame.open_page("Ranking", "The order of the inputs: how sure is it, and does another one agree?")
pixels, images, _ = opened.words
study, rankings = opened.study, opened.rankings
MOST_NAMES = 15


def draw(ranking: Ranking, method: str, seed: int, keep: int) -> None:
    """The ranking as a picture, as scores in order, as a table and as files."""
    shown = views.picture_of_ranking(ranking, rankings.named(ranking))
    order = shown.table
    left, right = st.columns([2, 3], gap="medium")
    with left:
        if opened.drawn_as == "picture":
            maps(shown, method)
        else:
            st.markdown(f"**The {pixels} that come first**")
            masks.draw(opened, method, keep, seed)
            st.caption(masks.says(opened, keep))
    with right:
        scores_in_order(shown, order, keep)
    with st.expander("The order as a table", icon=":material/format_list_numbered:"):
        column = st.column_config.NumberColumn
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
    name = f"{study.dataset}-{study.architecture}-{method.replace(', ', '-')}-seed-{seed}"
    with st.container(horizontal=True):
        st.download_button(
            "Save the ranking", data=lambda: views.ranking_bytes(ranking), file_name=f"{name}.safetensors",
            mime="application/octet-stream", icon=":material/download:", on_click="ignore",
            help="A .safetensors file that this page and Ranking.load read back.",
        )  # fmt: skip
        st.download_button(
            "Save as CSV", data=lambda: order.to_csv(index=False).encode(), file_name=f"{name}.csv",
            mime="text/csv", icon=":material/download:", on_click="ignore",
            help=f"Place, name or position, score and standard error of all {pixels}.",
        )  # fmt: skip


def maps(shown: RankingPicture, method: str) -> None:
    """Place, score or standard error of each pixel, as a map."""
    kinds = ["Place", "Score"] + (["Standard error"] if shown.has_errors else [])
    if st.session_state.get("map") not in kinds:
        st.session_state["map"] = "Place"
    kind = st.segmented_control("Each pixel's", kinds, key="map", required=True, persist_state="session",
                                help="Standard errors are known where images were averaged over.")  # fmt: skip
    if kind == "Place":
        figure, text = charts_ranking.places(shown.place), "Strong colour: most important."
    elif kind == "Score":
        figure = charts_ranking.scores(shown.score, spans_decades=shown.spans_decades)
        text = "Powers of ten; pixels without a score are blank." if shown.spans_decades else "Zero is blank."
    else:
        figure = charts_ranking.errors(shown.relative_error)
        text = "As a share of the score; above 100 % the score may just as well be zero."
    st.plotly_chart(figure, config=charts.CONFIG, key="ranking", alt=f"{kind} of each pixel by {method}")
    st.caption(text)


def scores_in_order(shown: RankingPicture, order: pd.DataFrame, keep: int) -> None:
    """Scores from the most to the least important input."""
    ties = int((shown.table["score"] == 0).sum())
    st.markdown("**Scores in order**")
    st.plotly_chart(
        charts_ranking.in_order(order, spans_decades=shown.spans_decades, marker=keep, height=390),
        config=charts.CONFIG,
        key="scores",
        alt=f"Score of each of the {pixels} from the most to the least important; the line marks how many are kept",
    )
    st.caption(
        f"The line: {things(keep, pixels)} kept. "
        + (
            (
                "Band: two standard errors on either side"
                + (", cut at a tenth of the score." if shown.spans_decades else ".")
            )
            if shown.has_errors
            else ""
        )
        + (f" {ties} {pixels} have a score of zero: their order was drawn at random." if ties > 1 else "")
    )


def settle(method: str, seed: int) -> None:
    """Whether the images that the study ranks by suffice."""
    st.subheader(f"Are these enough {images}?", anchor=False)
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
    settling = jobs.ask(
        "settling",
        (rankings, criterion, seed),
        lambda report: rankings.measure_settling(method, seed, report),
        is_cached=rankings.settling_is_measured(method, seed),
    )
    if settling is None:
        return
    keeps = sorted(set(study.keeps), reverse=True)
    if st.session_state.get("settled-keep") not in keeps:
        keep = opened.keep_for(state.value("removed"))
        st.session_state["settled-keep"] = min(keeps, key=lambda k: abs(k - keep))
    keep = st.session_state["settled-keep"]
    box = st.success if settling.suffices(settling.judged, keep) else st.warning
    box(settling.finding(keep, images, pixels), icon=":material/rule:")
    field(st.selectbox, f"{pixels.capitalize()} kept", keeps, key="settled-keep", width=170,
          help=f"Count the overlap of so many {pixels}; the choices are the study's.")  # fmt: skip
    left, right = st.columns(2, gap="medium")
    with left:
        st.plotly_chart(
            charts_ranking.settling(
                settling.table, keep, used=settling.used, enough=views.ENOUGH, counted=pixels, images=images
            ),
            config=charts.CONFIG,
            key="agreement",
            alt=f"Rank correlation and overlap of two rankings against the number of {images} that each is made from",
        )
        st.caption(
            f"Two rankings from that many {images} each, none in common. Dotted: what counts as enough. The line: the "
            f"{settling.used:,} {images} that the study ranks by."
        )
    with right:
        st.plotly_chart(
            charts_ranking.relative_error(settling.table, used=settling.used, images=images),
            config=charts.CONFIG,
            key="errors",
            alt=f"Median standard error of the scores against the number of {images}",
        )
        st.caption(f"The standard error of half of the {pixels} is smaller than this. It halves with four times the "
                   f"{images}.")  # fmt: skip


def choose_other(method: str, seed: int, keep: int) -> tuple[Ranking, str] | None:
    """The ranking to compare with, and what to call it; None while there is none."""
    source = st.segmented_control("Compare with", ["One of this study", "A file"], key="other-source", required=True,
                                  default="One of this study", persist_state="session")  # fmt: skip
    if source == "A file":
        file = st.file_uploader(
            "Ranking file", type=["safetensors"], max_upload_size=views.MAX_FILE_BYTES // 2**20, key="ranking-file",
            help="One that was saved on this page, by `rank --output` or by Ranking.save.",
        )  # fmt: skip
        return (views.ranking_of_file(file.getvalue(), file.name), file.name) if file else None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        methods, seeds = study.methods, study.seeds
        other = field(st.selectbox, "Ranked by", methods, len(methods) - 1, key="other-method", width=260)
        other_seed = field(st.selectbox, "Seed", seeds, len(seeds) - 1, key="other-seed", width=110,
                           disabled=len(seeds) == 1)  # fmt: skip
    if (other, other_seed) == (method, seed):
        st.info("This is the ranking above: choose another method or seed.", icon=":material/info:")
        return None
    if not rankings.is_ready(other, keep, other_seed):
        st.info(f"The ranking by {other}, seed {other_seed}, is not there yet.", icon=":material/hourglass_top:")
        return None
    return rankings.of(other, keep, other_seed), f"{other}, seed {other_seed}"


def compare(first: Ranking, method: str, seed: int, keep: int) -> None:
    """The ranking beside another one."""
    st.subheader("Does another ranking agree?", anchor=False)
    chosen = choose_other(method, seed, keep)
    if chosen is None:
        return
    second, name = chosen
    agreement = views.agreement(first, second)
    apart = views.kept_apart(first, second, keep)
    both = keep - len(apart[0])
    st.markdown(
        f"**{method}, seed {seed}** and **{name}** correlate with **{agreement.spearman:.3f}** (Spearman) and "
        f"**{agreement.kendall:.3f}** (Kendall); 1 is the same order, 0 no relation. Each keeps "
        f"{things(keep, pixels)}, and **{both}** of them {'is' if both == 1 else 'are'} the same."
    )
    drawn = opened.drawn_as == "picture"
    curve, mask, shift = st.columns(3 if drawn else [2, 1, 1], gap="medium")
    with curve:
        st.markdown(f"**{pixels.capitalize()} in common**")
        st.plotly_chart(
            charts_ranking.overlap(agreement.overlap, marker=1 - keep / first.n_groups, counted=pixels),
            config=charts.CONFIG,
            key="overlap",
            alt=f"Share of the {pixels} kept that both rankings have in common, against the share removed",
        )
    if not drawn:
        names = opened.group_names()
        for place, only, title in zip((mask, shift), apart, (f"Only {method}", f"Only {name}"), strict=True):
            with place:
                st.markdown(f"**{title}**")
                ones = [names[i] for i in only]
                st.text("\n".join(ones[:MOST_NAMES]) or "none")  # a name is no Markdown
                if len(ones) > MOST_NAMES:
                    st.caption(f"and {len(ones) - MOST_NAMES:,} more")
        return
    with mask:
        st.markdown("**Who keeps which**")
        st.plotly_chart(
            charts_ranking.kept(views.kept_by(first, second, keep)),
            config=charts.CONFIG,
            key="who",
            alt=f"The {keep} {pixels} that each ranking keeps: {both} both",
        )
        st.caption(f"Grey: both. Green: only {method}, seed {seed}. Orange: only {name}.")
    with shift:
        st.markdown("**Places apart**")
        st.plotly_chart(
            charts_ranking.shift(agreement.shift),
            config=charts.CONFIG,
            key="shift",
            alt="How many places each pixel stands further up in the first ranking, or in the second",
        )
        st.caption(f"Red: further up by {method}, seed {seed}. Blue: by {name}.")


with frame.refusals():
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            chosen_method = state.method(opened)
            chosen_seed = state.seed(opened)
        n_kept = opened.keep_for(state.removed(opened))
    if not frame.has_ranking(opened, run, chosen_method, n_kept, chosen_seed):
        st.stop()
    shown_ranking = rankings.of(chosen_method, n_kept, chosen_seed)
    draw(shown_ranking, chosen_method, chosen_seed, n_kept)
    with frame.refusals():
        settle(chosen_method, chosen_seed)
    with frame.refusals():
        compare(shown_ranking, chosen_method, chosen_seed, n_kept)
