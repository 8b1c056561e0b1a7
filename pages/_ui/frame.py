"""What stands around every page: menu, title, study picker, progress of what runs, refusals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from lrp_core import views
from lrp_core.errors import LrpError
from lrp_core.study import launch
from lrp_core.study.ledger import Ledger, Run
from lrp_core.views.summary import adopt_shipped

from . import data, given, jobs, runs, shared, state, summaries
from .formats import duration, plain
from .registry import ICON, pages
from .words import GLOSSARY

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy
    from lrp_core.views.summary import Summary

NAME = "Input pruning by relevance"
QUICK = "quick"
"""The preset that starts by itself on the first visit, and what its study is called."""

STYLE = """<style>
[data-testid="stButtonGroup"] button[data-variant] { min-height: 2.5rem; }
[data-testid="stButtonGroup"] button[data-variant][data-selected] { color: inherit; }
[data-testid="stSliderThumbValue"] { color: inherit; }
</style>"""
"""Segmented controls as high as the lists beside them, so that labels stand in line; legible on dark pages."""


@dataclass(frozen=True)
class Studies:
    """What the page of studies shows: all runs, newest first, and the chosen one with its study if it can be read."""

    opened: OpenedStudy | None
    run: Run
    known: list[Run]
    ledger: Ledger


def open_page(title: str, subtitle: str, *, live: bool = False) -> tuple[OpenedStudy, Run]:
    """Draw the frame and return the study that the page is about, with its run; stop here if there is nothing yet.

    `live` has the page drawn again as results arrive. The title is painted before the numerics are loaded.
    """
    _head(title)
    st.title(title, anchor=False)
    st.caption(subtitle)
    ledger, known = _ledger()
    _warm_up()
    run = _pick(known)
    runs.show(ledger, run, _others(ledger, known, run), live=live)
    opened = _open(run, ledger, title)
    if opened is None:
        st.stop()
    return opened, run


def open_result(title: str) -> tuple[Summary, Run, Ledger]:
    """`open_page` for the first page, which reads a summary and does not wait for the numerics."""
    _head(title)
    ledger, known = _ledger()
    run = _pick(known)
    others = _others(ledger, known, run)
    try:
        if not summaries.is_quick(run, ledger) and not run.is_active:
            _warm_up()
        summary = summaries.of(run, ledger) if summaries.is_quick(run, ledger) else None
    except (LrpError, TypeError) as error:
        _unreadable(error)
        st.stop()
    if summary is None:
        st.title("The first networks are being trained", anchor=False)
        runs.show(ledger, run, others, live=True)
        st.info("What they find appears here by itself.", icon=":material/hourglass_top:")
        st.stop()
    _say(state.load(summary, title))
    if not summary.done and run.state == "done":
        st.title("This study has no results here", anchor=False)
        runs.outdated(ledger, run)
        st.stop()
    runs.show(ledger, run, others, live=True)
    if not run.is_active and not others:
        data.warm_up_soon()
    return summary, run, ledger


def open_studies(title: str, subtitle: str) -> Studies:
    """`open_page` for the page on which studies are watched and made: a study that cannot be read does not stop it."""
    _head(title)
    st.title(title, anchor=False)
    st.caption(subtitle)
    ledger, known = _ledger()
    _warm_up()
    run = _pick(known)
    runs.panel(ledger, run, detailed=True)
    runs.show(ledger, run, _others(ledger, known, run), only_others=True)
    return Studies(_open(run, ledger, title), run, known, ledger)


def _head(title: str) -> None:
    """Menu and the tab's title."""
    st.set_page_config(page_title=f"{title} · {NAME}", page_icon=ICON, layout="wide")
    # Opened as the very first page of a fresh server, a page runs alone, with a menu made of file names.
    # Registering the pages here as well gives that run the same menu, and every later one app.py.
    st.navigation(pages())
    st.html(STYLE)
    if warned := shared.warning():
        st.warning(warned, icon=":material/public:")


def _ledger() -> tuple[Ledger, list[Run]]:
    """The ledger and its studies; on the first visit there is one that was measured, and the quick one begins."""
    try:
        ledger = Ledger()
        known = ledger.runs("study")
        if not known and not given.words():
            launch.start_preset(QUICK, ledger)
            known = adopt_shipped(ledger)
            if not known:
                with st.spinner("Starting the first study", show_time=True):
                    known = _wait_for_first(ledger)
        known = _with_given(known, ledger)
    except LrpError as error:
        refuse(error)
        st.stop()
    if not known:
        st.info("There is no study yet, and none could be started: see the server's log.", icon=":material/info:")
        st.stop()
    return ledger, known


def _wait_for_first(ledger: Ledger, seconds: float = 60.0) -> list[Run]:
    """The studies, once the first of them has made itself known."""
    end = time.monotonic() + seconds
    while not (known := ledger.runs("study")) and time.monotonic() < end:
        time.sleep(0.2)
    return known


def _warm_up() -> None:
    """Load the numerics, once for each server."""
    if not data.is_warm():
        with st.spinner("Loading the libraries: a few seconds, once after the server starts", show_time=True):
            data.warm_up()


def _others(ledger: Ledger, known: list[Run], run: Run) -> list[Run]:
    """Whatever else is at work."""
    active = (one for one in (*known, *ledger.runs("export"), *ledger.runs("budgets")) if one.is_active)
    return [one for one in active if one.id != run.id]


def _with_given(known: list[Run], ledger: Ledger) -> list[Run]:
    """The studies with that of the data and network which the dashboard was started with; each session begins there."""
    if not given.words():
        return known
    _warm_up()
    study = given.study()
    if study is None:
        return known
    if study.key not in {run.id for run in known}:
        launch.start_study(study, ledger, name=f"quick, {study.dataset}")
        known = ledger.runs("study")
    if "study" not in st.session_state and "study" not in st.query_params:
        st.session_state["study"] = study.key
    return known


def _open(run: Run, ledger: Ledger, title: str) -> OpenedStudy | None:
    """The study of a run with the controls of the page settled, or None with the reason why it cannot be read."""
    try:
        opened = views.open_study(run.id, ledger)
        summary = summaries.of(run, ledger)
    except (LrpError, TypeError) as error:
        _unreadable(error)
        return None
    _say(state.load(summary, title))
    with refusals():
        if run.state == "done" and opened.trials().empty:
            runs.outdated(ledger, run)
    return opened


def _unreadable(error: Exception) -> None:
    if isinstance(error, LrpError):
        refuse(error)
    st.error("This study cannot be read here: choose another one, or set it up again.", icon=":material/error:")


def _say(notes: list[str]) -> None:
    """What a link asks for and does not get, in one line."""
    if notes:
        st.info(" ".join(notes), icon=":material/link_off:")


@contextmanager
def refusals() -> Iterator[None]:
    """Show any refusal of the core as its sentence; what is drawn outside stays usable."""
    try:
        yield
    except LrpError as error:
        refuse(error)


def not_yet(seed: int) -> None:
    """Say that what a page shows needs a network that is not there."""
    st.info(
        f"The network of seed {seed} is not trained yet: this fills in when it is.", icon=":material/hourglass_top:"
    )


def has_ranking(opened: OpenedStudy, run: Run, method: str, keep: int, seed: int) -> bool:
    """Whether what a page shows is there at once; if not, what is missing is said or made here."""
    rankings = opened.rankings
    own = rankings.seed_of(seed)
    if not opened.baseline_is_ready(seed):
        not_yet(seed)
    elif rankings.is_ready(method, keep, seed):
        return True
    elif run.state == "done":
        # Older stages leave the cache when it is full: elimination takes too long to be made again unasked for.
        st.info(f"The ranking by {method}, seed {own}, is no longer in the cache.", icon=":material/history:")
        key = (rankings, method, keep, own)
        if st.session_state.get("rank-again") == key:
            jobs.ask("rank", key, lambda report: rankings.of(method, keep, seed), is_cached=False)
        elif st.button("Rank again", icon=":material/play_arrow:", help="Seconds, or for elimination a minute."):
            st.session_state["rank-again"] = key
            st.rerun()
    else:
        text = "this fills in when it is" if run.is_active else "resume the study to have it ranked"
        st.info(
            f"The {opened.words[0]} are not ranked by {method}, seed {own}, yet: {text}.",
            icon=":material/hourglass_top:",
        )
    return False


def refuse(error: LrpError) -> None:
    """Show one refusal."""
    st.error(plain(_sentence(str(error))), icon=":material/error:")


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def _pick(known: list[Run]) -> Run:
    """The study picker; the choice is part of the URL. A link may name a study by its id, or as it is called."""
    ids = [run.id for run in known]
    linked = st.query_params.get("study")
    found = None if linked is None else _named(linked, known)
    is_new = linked != st.session_state.get("linked-study")
    if st.session_state.get("study") not in ids or (is_new and found is not None):
        st.session_state["study"] = found or _first(known).id
    by_id = {run.id: run for run in known}
    if is_new and linked is not None and found is None:
        shown = by_id[st.session_state["study"]].name
        st.info(f"No study here is called “{plain(linked[:80])}”: shown is {plain(shown)}.", icon=":material/link_off:")
    with st.sidebar:
        chosen = st.selectbox(
            "Study",
            ids,
            key="study",
            format_func=lambda run: _label(by_id[run], known),
            help="Every study in the ledger, newest first. The page Studies makes more of them.",
            persist_state="session",
        )
        run = by_id[chosen]
        spec = run.spec
        seeds, each = len(spec["seeds"]), "split" if spec.get("resplit") else "seed"
        images = f"{spec['n_train']:,}" if spec.get("n_train") else "all"
        precision = spec.get("precision", "float32")
        st.markdown(
            f":small[Data **{plain(spec['dataset'])}**, network **{plain(spec['architecture'])}**, "
            f"{seeds} {each}{'' if seeds == 1 else 's'}, "
            f"{images} training {'rows' if spec.get('digest') else 'images'}"
            + (f", trained in {precision}]" if precision != "float32" else "]")
        )
        runs.badge(run)
        with st.popover("What the words mean", icon=":material/menu_book:", type="tertiary"):
            st.markdown("  \n".join(f"**{term}:** {text}" for term, text in GLOSSARY.items()))
    st.session_state["linked-study"] = chosen
    if linked != chosen:
        st.query_params["study"] = chosen
    return run


def _first(known: list[Run]) -> Run:
    """The study that a visitor sees first: the newest of their own, else one that was measured in full."""
    own = [run for run in known if not run.is_read_only and run.name != QUICK]
    return next(iter(own + [run for run in known if run.is_read_only] + known))


def measured_elsewhere(run: Run, ledger: Ledger) -> None:
    """Where a study comes from that was not measured here, and the way to repeat it."""
    if not run.is_read_only:
        return
    said = run.provenance
    machine = plain(str(said.get("machine", "another machine")))
    day = plain(str(said.get("measured", ""))[:10])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/inventory: Measured {day} on {machine}, in {duration(run.seconds)}: opened read-only.",
                    width="stretch")  # fmt: skip
        text = "The same study with other seeds, in a process of its own: an independent replication."
        st.button("Repeat it here, live", icon=":material/replay:", on_click=_repeat, args=(run, ledger), help=text)
    if error := st.session_state.pop("repeat-error", None):
        st.error(error, icon=":material/error:")


def _repeat(run: Run, ledger: Ledger) -> None:
    try:
        study = views.repeat_of(views.open_study(run.id, ledger).study)
        launch.start_study(study, ledger, name=f"{run.name}, repeated")
        st.session_state["study"] = study.key
    except LrpError as error:
        st.session_state["repeat-error"] = plain(str(error))


def _named(linked: str, known: list[Run]) -> str | None:
    """The study that a link means: by its id, the beginning of one, or its name; the newest of several."""
    exact = [run.id for run in known if run.id == linked]
    begun = [run.id for run in known if len(linked) >= 6 and run.id.startswith(linked)]
    called = [run.id for run in known if run.name == linked]
    return next(iter(exact + begun + called), None)


def _label(run: Run, known: list[Run]) -> str:
    label = f"{run.name} · {run.spec['dataset']} · {run.spec['architecture']}"
    twins = [other for other in known if (other.name, other.spec["dataset"]) == (run.name, run.spec["dataset"])]
    return label if len(twins) < 2 else f"{label} · {run.id[:6]}"
