"""What stands around every page: menu, title, study picker, progress of what runs, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from lrp_core.errors import LrpError
from lrp_core.ledger import Ledger, Run

from . import data, runs, state
from .registry import ICON, pages

if TYPE_CHECKING:
    from lrp_core.study import Study

NAME = "Input pruning by relevance"


@dataclass(frozen=True)
class Open:
    """What a page shows: the chosen run and its study, and where the ledger lies."""

    study: Study
    run: Run
    ledger: Ledger

    @property
    def source(self) -> tuple[Study, Path, float]:
        """The values that the cached functions of `data` take first."""
        return self.study, self.ledger.folder, self.run.updated


def open_page(title: str, subtitle: str, *, live: bool = False) -> Open:
    """Draw the frame and return what the page is about; the script stops here if there is nothing yet.

    `live` has the page drawn again as results arrive. The title is painted before the numerics are loaded.
    """
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
            with st.spinner("Loading the numerics: a few seconds, once after the server starts", show_time=True):
                if not known:
                    data.start_quick_study(ledger)
                data.warm_up()
        elif not known:
            data.start_quick_study(ledger)
        known = known or ledger.runs("study")
        active = [run for run in (*known, *ledger.runs("export")) if run.is_active]
    except LrpError as error:
        refuse(error)
        st.stop()
    if not known:
        st.info("There is no study yet, and none could be started: see the server's log.", icon=":material/info:")
        st.stop()
    run = _pick(known)
    runs.show(ledger, run, [other for other in active if other.id != run.id], live=live)
    try:
        study = data.study_of(run)
    except (LrpError, TypeError) as error:
        st.error(f"This study was made by another version of the program and cannot be read: {error}")
        st.stop()
    state.load(study, title)
    with refusals():
        if run.state == "done" and data.trials(study, ledger.folder, run.updated).empty:
            runs.outdated(ledger, run)
    return Open(study, run, ledger)


@contextmanager
def refusals() -> Iterator[None]:
    """Show any refusal of the core as its sentence; what is drawn outside stays usable."""
    try:
        yield
    except LrpError as error:
        refuse(error)


def not_yet(seed: int) -> None:
    """Say that what a page shows needs a network that is not there."""
    st.info(f"The network of seed {seed} is not trained yet: this fills when it is.", icon=":material/hourglass_top:")


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
            help="Every study in the ledger, newest first. More of them: `python -m lrp_core study --help`.",
            persist_state="session",
        )
        run = by_id[chosen]
        spec = run.spec
        seeds = len(spec["seeds"])
        images = f"{spec['n_train']:,}" if spec.get("n_train") else "all"
        st.caption(
            f"Data set **{spec['dataset']}** · network **{spec['architecture']}** · "
            f"{seeds} {'seed' if seeds == 1 else 'seeds'} · "
            f"{images} training images"
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
