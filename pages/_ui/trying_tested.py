"""The whole test set on the page to try a study out on: what breaks and heals, confusion, and class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from lrp_core import views

from . import figures, jobs, trying, trying_charts, trying_gallery
from .formats import count, percent, plain, points

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy, Pair, Predictions, Tested

KINDS = {"break": "Break", "heal": "Heal"}
ORDERS = {"sure": "The surest error first", "class": "By class"}
INKS = {"light": "#16212b", "dark": "#e8eef1"}
"""The colour of the page's text, which numbers on coloured cells need."""
PAGE = 24
"""Pictures that the gallery shows at once."""


def predicted(opened: OpenedStudy, pair: Pair | None) -> Predictions | None:
    """What both networks say of every test row; None as long as they are not here or being asked."""
    if pair is None:
        return None
    testing = opened.testing
    return jobs.ask(
        "try-test",
        (testing.token, pair.key),
        lambda report: testing.predictions(pair, report),
        is_cached=testing.are_predicted(pair),
    )


def gallery(
    opened: OpenedStudy, pair: Pair, tested: Tested | None, predictions: Predictions | None, *, can_open: bool
) -> None:
    """The test rows that only one of the networks gets right; for numbers, those whose error changed most."""
    shown = predictions if tested is None else tested
    if shown is None:
        return
    images, seed = opened.words[1], pair.small.base.seed
    tables = {kind: views.gallery(shown, kind, "sure", predictions) for kind in KINDS}
    if tested is not None:
        n, full, small = len(tested), int(tested.full_right.sum()), int(tested.small_right.sum())
        st.markdown(
            f"Of {count(n)} test {images} the full network has **{count(full)}** right ({percent(full / n)}) and the "
            f"small one **{count(small)}** ({percent(small / n)}): {count(len(tables['break']))} break, "
            f"{count(len(tables['heal']))} heal."
        )
    st.caption(
        f"Nothing is chosen by these {images}: the ranking comes from training {images}, and the share from "
        f"validation {images}."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Show those that", list(KINDS), key="try-kind", default="break", required=True, persist_state="session",
            format_func=lambda name: f"{KINDS[name]} ({count(len(tables[name]))})",
            help="Break: only the full network is right. Heal: only the small one is."
            if tested is not None
            else "Break: the error of the small network is larger. Heal: it is smaller.",
        )  # fmt: skip
        by = "class"
        if tested is not None and predictions is not None:
            by = st.segmented_control("Order", list(ORDERS), key="try-order", default="sure", required=True,
                                      persist_state="session", format_func=ORDERS.get)  # fmt: skip
    table = views.gallery(shown, kind, by, predictions)
    if table.empty:
        st.caption(f"No test {opened.words[2]} does.")
    elif opened.are_images and tested is not None:
        _pictures(opened, table, seed, kind, can_open=can_open)
    else:
        _listed(opened, table, kind, can_open=can_open)


def _open(index: int) -> None:
    """Show a test row above, from the next run on."""
    st.session_state["image"] = index
    st.session_state[trying.SOURCE] = trying.SOURCES["test"]
    st.session_state[trying.OPENED] = st.session_state.get(trying.OPENED, 0) + 1


def _pictures(opened: OpenedStudy, table: pd.DataFrame, seed: int, kind: str, *, can_open: bool) -> None:
    key = ("try-shown", opened.study.key, kind)
    n = min(len(table), st.session_state.get(str(key), PAGE))
    is_test = st.session_state.get(trying.SOURCE) == trying.SOURCES["test"]
    here = st.session_state.get("image") if can_open and is_test else None
    shown = table.head(n)
    pictures = opened.trying.thumbnails(shown["index"].tolist(), seed)
    tiles = trying_gallery.tiles(shown, pictures, opened.data.classes, kind, here)
    trying_gallery.draw(tiles, "try-gallery", _open if can_open else lambda index: None)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{count(n)} of {count(len(table))}." + (" A click opens one above." if can_open else ""))
        if n < len(table) and st.button("Show more", key="try-more", icon=":material/expand_more:"):
            st.session_state[str(key)] = n + PAGE
            st.rerun()


def _listed(opened: OpenedStudy, table: pd.DataFrame, kind: str, *, can_open: bool) -> None:
    """The rows in a table, of which one can be chosen."""
    classes, number = opened.data.classes, opened.data.target
    shown = pd.DataFrame({opened.words[2]: table["index"]})
    if number is None:
        for name, column in (("true", "label"), ("full network", "full"), ("small network", "small")):
            shown[name] = [classes[place] if place >= 0 else "not known" for place in table[column]]
        if table["sure"].notna().any():
            shown["how sure of its error"] = [percent(sure) for sure in table["sure"]]
    else:
        for name, column in ((number.name, "label"), ("full network", "full"), ("small network", "small")):
            shown[name] = table[column]
        shown["larger error by" if kind == "break" else "smaller error by"] = table["sure"]
    chosen = st.dataframe(
        shown, key=f"try-list-{kind}", hide_index=True, height=min(400, 38 + 35 * len(shown)),
        alt=f"The test rows that {kind}, a row each",
        **({"on_select": "rerun", "selection_mode": "single-row"} if can_open else {}),
    )  # fmt: skip
    if not can_open:
        return
    rows = chosen.selection.rows
    if rows and rows[0] < len(table):
        index = int(table["index"].iloc[rows[0]])
        if st.session_state.get("try-row") != (kind, index):
            st.session_state["try-row"] = (kind, index)
            st.session_state["try-open-next"] = index
            st.rerun()


def open_next() -> None:
    """Show the row that was chosen in the list during the last run: before the widgets of this one are drawn."""
    index = st.session_state.pop("try-open-next", None)
    if index is not None:
        _open(index)


def matrices(opened: OpenedStudy, predictions: Predictions, recorded: Tested | None) -> None:
    """Confusion before and after, and the difference; for numbers, what is predicted against what is true."""
    classes, number = opened.data.classes, opened.data.target
    if number is not None:
        figures.draw(
            trying_charts.numbers(predictions.labels, predictions.full, predictions.small, number.name),
            key="try-numbers",
            alt=f"Predicted {number.name} of both networks against the true one, over the test rows",
        )  # fmt: skip
        errors = [float(np.abs(said - predictions.labels).mean()) for said in (predictions.full, predictions.small)]
        st.caption(
            f"The mean absolute error over {count(len(predictions.labels))} test rows is {errors[0]:.4g} before and "
            f"{errors[1]:.4g} after."
        )
        return
    n = len(classes)
    before, after = (views.confusion(predictions.labels, said, n) for said in (predictions.full, predictions.small))
    ink = INKS.get(st.context.theme.type, INKS["light"])
    columns = st.columns(3, gap="medium")
    drawn = (
        ("Full network", trying_charts.confusion(before, classes, ink), "full"),
        ("Small network", trying_charts.confusion(after, classes, ink), "small"),
        ("Difference", trying_charts.change(after - before, classes, ink), "change"),
    )
    for column, (title, figure, key) in zip(columns, drawn, strict=True):
        with column:
            st.markdown(f"**{title}**")
            figures.draw(
                figure, key=f"try-{key}",
                alt=f"{title}: how many test {opened.words[1]} of each class, down, get each answer, across",
            )  # fmt: skip
    worst = np.unravel_index(np.argmax(after - before - 1e9 * np.eye(n)), (n, n))
    rise = int((after - before)[worst])
    most = (
        f" Most new errors: {rise} more of class {plain(classes[worst[0]])} are taken for {plain(classes[worst[1]])}."
    )
    st.caption(
        "Rows are the true classes, columns the answers. In the difference, red is a change for the worse, blue one "
        "for the better." + (most if rise > 0 else "")
    )
    _compare(opened, predictions, recorded)


def _compare(opened: OpenedStudy, predictions: Predictions, recorded: Tested | None) -> None:
    """Say so where networks that were trained here again answer otherwise than those that were measured."""
    if recorded is None:
        return
    here = views.Tested.of(predictions)
    differ = int(((here.full_right != recorded.full_right) | (here.small_right != recorded.small_right)).sum())
    if differ:
        st.info(
            f"These networks were trained here again. On {count(differ)} test {opened.words[1]} they are not right or "
            "wrong where those of the study were: another machine rounds otherwise.",
            icon=":material/info:",
        )


def by_class(opened: OpenedStudy, tested: Tested) -> None:
    """What breaks and heals in each class."""
    table = tested.by_class(opened.data.classes)
    figures.draw(
        trying_charts.class_changes(table), key="try-classes",
        alt=f"For each class the test {opened.words[1]} that break, that heal, and the change that is left",
    )  # fmt: skip
    known = table[table["rows"] > 0]
    share = known["change"] / known["rows"]
    worst, best = share.idxmin(), share.idxmax()
    st.caption(
        f"The diamond is the change that is left. It is worst for class {known['class'][worst]} "
        f"({points(share[worst])}) and best for class {known['class'][best]} ({points(share[best])})."
    )
