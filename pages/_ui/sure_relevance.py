"""Whether relevance finds what matters: pixels are taken away from the whole test set, a share or ever more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from lrp_core import views

from . import charts_removal, figures, frame, jobs, networks, removal, tables_relevance
from .fields import field
from .formats import PERCENT, one_way, percent
from .removal import Choice
from .why_removal import ties

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy


def show(opened: OpenedStudy) -> None:
    """The part of the page, with its controls."""
    with st.container(border=True):
        choice = removal.choose(opened, of_one=False, removes=True)
        share = removal.share()
    with frame.refusals():
        _over_test_set(opened, choice, share)
    with frame.refusals():
        _curves(opened, choice, share)


def _over_test_set(opened: OpenedStudy, choice: Choice, share: float) -> None:
    """The table over the whole test set."""
    st.header("Over the whole test set", anchor=False)
    removals, asked = opened.removals, choice.asked() | {"share": share}
    is_measured = removals.is_measured(**asked)
    if not is_measured and not networks.has_full(opened, choice.seed, "This measurement"):
        return
    measured = jobs.ask(
        "removal",
        (removals, asked),
        lambda report: removals.measure(**asked, report=report),
        is_cached=is_measured,
    )
    if measured is None:
        return
    names = removal.names(share)
    st.markdown(one_way(measured.finding))
    whole = measured.table[measured.table["class"] == "all"]
    tables_relevance.removal(whole, names)
    _, least, most = whole.to_dict("records")
    st.caption(
        f"In brackets: 95{PERCENT} intervals over images. Ties, as a mean over images: {ties(least, most)} "
        "The page Why shows one image."
    )
    with st.expander("Class by class", icon=":material/table_rows:"):
        tables_relevance.removal(measured.table[measured.table["class"] != "all"], names, by_class=True)


def _curves(opened: OpenedStudy, choice: Choice, share: float) -> None:
    """Perturbation curves of the chosen criterion and others."""
    st.header("Ever more pixels", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        others = field(
            st.multiselect, "Compared with", views.offers().removal_criteria,
            ["gradient-x-input", "data-set", "random"], key="others", width=400, max_selections=6,
            help="Each is measured with the same order, pixels and fill as above.",
        )  # fmt: skip
        measure = field(st.selectbox, "Shown", list(charts_removal.MEASURES), key="measure", width=150,
                        format_func=lambda name: charts_removal.MEASURES[name][0])  # fmt: skip
        n_images = field(
            st.selectbox, "Images", [500, 1000, None], 1, key="images", width=100,
            format_func=lambda n: f"{n:,}" if n else "all", help="Of the test set, each class in its proportion. ROAD, "
            "and all of them on a large network, take minutes.",
        )  # fmt: skip
        n_steps = field(st.selectbox, "Steps", [10, 20, 40], 1, key="steps", width=90,
                        help="In how many equal shares the pixels are removed.")  # fmt: skip
    criterion, removals = choice.criterion, opened.removals
    asked = choice.asked()
    del asked["criterion"]
    asked |= {"criteria": tuple(dict.fromkeys([criterion, *others])), "n_steps": n_steps, "n_images": n_images}
    is_measured = removals.curves_are_measured(**asked)
    if not is_measured and not opened.images.is_trained(choice.seed):
        return  # said above
    measured = jobs.ask(
        "curves",
        (removals, asked),
        lambda report: removals.measure_curves(**asked, report=report),
        is_cached=is_measured,
    )
    if measured is None:
        return
    best, own = measured.areas.iloc[0], measured.areas.set_index("criterion").loc[criterion]
    ahead = "" if best["criterion"] == criterion else (
        f" The largest is that of **{best['criterion']}**, **{best['area_between']:.3f}**."
    )  # fmt: skip
    st.markdown(
        f"Between its two curves **{criterion}** has an area of **{own['area_between']:.3f}** (between "
        f"{own['area_between_low']:.3f} and {own['area_between_high']:.3f}); a random order has none.{ahead}"
    )
    left, right = st.columns([3, 2], gap="medium")
    with left:
        figures.draw(
            charts_removal.perturbation(measured.points, measure, chosen=criterion, marker=share),
            key="curves",
            alt=f"{charts_removal.MEASURES[measure][1]} against the share of pixels removed, least and most relevant "
            "first, for each criterion; the line marks the slider",
        )
        st.caption(
            "Solid: least relevant first (LeRF), best when high. Dashed: most relevant first (MoRF), best when low. "
            f"Band: 95{PERCENT} interval over images. The line: {percent(share, 0)}."
        )
    with right:
        st.markdown("**Area between the curves**")
        figures.draw(
            charts_removal.areas(measured.areas, chosen=criterion),
            key="area-chart",
            alt=f"Area between the two curves of each criterion with its 95{PERCENT} interval, the largest on top",
        )
    tables_relevance.areas(measured.areas)
