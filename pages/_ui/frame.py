"""What stands around every page: menu, title, study picker, progress of what runs, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from lrp_core import views
from lrp_core.errors import LrpError
from lrp_core.study import launch
from lrp_core.study.ledger import Ledger, Run

from . import data, given, jobs, runs, state
from .registry import ICON, pages

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy

NAME = "Input pruning by relevance"


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
    ledger, known, active = _paint(title, subtitle)
    run = _pick(known)
    runs.show(ledger, run, [other for other in active if other.id != run.id], live=live)
    opened = _open(run, ledger, title)
    if opened is None:
        st.stop()
    return opened, run


def open_studies(title: str, subtitle: str) -> Studies:
    """`open_page` for the page on which studies are watched and made: a study that cannot be read does not stop it."""
    ledger, known, active = _paint(title, subtitle)
    run = _pick(known)
    runs.panel(ledger, run, detailed=True)
    runs.show(ledger, run, [other for other in active if other.id != run.id], only_others=True)
    return Studies(_open(run, ledger, title), run, known, ledger)


def _paint(title: str, subtitle: str) -> tuple[Ledger, list[Run], list[Run]]:
    """Menu and title; the ledger, its studies and whatever is active, once the numerics are loaded."""
    st.set_page_config(page_title=f"{title} · {NAME}", page_icon=ICON, layout="wide")
    # Opened as the very first page of a fresh server, a page runs alone, with a menu made of file names.
    # Registering the pages here as well gives that run the same menu, and every later one app.py.
    st.navigation(pages())
    st.title(title, anchor=False)
    st.caption(subtitle)
    try:
        ledger = Ledger()
        known = ledger.runs("study")
        if not data.is_warm():
            with st.spinner("Loading the libraries: a few seconds, once after the server starts", show_time=True):
                if not known and not given.words():
                    _start_quick_study(ledger)
                data.warm_up()
        elif not known and not given.words():
            _start_quick_study(ledger)
        known = _with_given(known, ledger) or ledger.runs("study")
        active = [run for run in (*known, *ledger.runs("export"), *ledger.runs("budgets")) if run.is_active]
    except LrpError as error:
        refuse(error)
        st.stop()
    if not known:
        st.info("There is no study yet, and none could be started: see the server's log.", icon=":material/info:")
        st.stop()
    return ledger, known, active


def _start_quick_study(ledger: Ledger) -> None:
    """Start the study that a first visitor finds; nothing happens if it is running already."""
    launch.start_study(views.preset_study("quick"), ledger, name="quick")


def _with_given(known: list[Run], ledger: Ledger) -> list[Run]:
    """The studies with that of the data and network which the dashboard was started with; each session begins there."""
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
    except (LrpError, TypeError) as error:
        st.error(f"This study was made by another version of the program and cannot be read: {error}")
        return None
    state.load(opened, title)
    with refusals():
        if run.state == "done" and opened.trials().empty:
            runs.outdated(ledger, run)
    return opened


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
    st.error(_sentence(str(error)), icon=":material/error:")


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def _pick(known: list[Run]) -> Run:
    """The study picker; the choice is part of the URL unless it is the newest."""
    ids = [run.id for run in known]
    if st.session_state.get("study") not in ids:
        linked = st.query_params.get("study")
        st.session_state["study"] = linked if linked in ids else ids[0]
    by_id = {run.id: run for run in known}
    with st.sidebar:
        chosen = st.selectbox(
            "Study",
            ids,
            key="study",
            format_func=lambda run: _label(by_id[run], known),
            help="Every study in the ledger, newest first. The page Study makes more of them.",
            persist_state="session",
        )
        run = by_id[chosen]
        spec = run.spec
        seeds, each = len(spec["seeds"]), "split" if spec.get("resplit") else "seed"
        images = f"{spec['n_train']:,}" if spec.get("n_train") else "all"
        precision = spec.get("precision", "float32")
        st.caption(
            f"Data set **{spec['dataset']}** · network **{spec['architecture']}** · "
            f"{seeds} {each}{'' if seeds == 1 else 's'} · "
            f"{images} training {'rows' if spec.get('digest') else 'images'}"
            + (f" · trained in {precision}" if precision != "float32" else "")
        )
        runs.badge(run)
    if chosen == ids[0]:
        st.query_params.pop("study", None)
    elif st.query_params.get("study") != chosen:
        st.query_params["study"] = chosen
    return run


def _label(run: Run, known: list[Run]) -> str:
    label = f"{run.name} · {run.spec['dataset']} · {run.spec['architecture']}"
    twins = [other for other in known if (other.name, other.spec["dataset"]) == (run.name, run.spec["dataset"])]
    return label if len(twins) < 2 else f"{label} · {run.id[:6]}"
