"""The list of studies and what can be done with one; what the page asks of the core. torch is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from lrp_core.errors import LrpError
from lrp_core.study.ledger import Ledger, Run

from . import runs

if TYPE_CHECKING:
    from lrp_core.study import Study
    from lrp_core.views.draft import Outlook

POLL_SECONDS = 2.0


def choose(run: str) -> None:
    """Make a study the chosen one of all pages; for callbacks, which run before the picker is drawn."""
    st.session_state["study"] = run


def table(chosen: Run, known: list[Run], ledger: Ledger) -> None:
    """Every study in a table; selecting a row chooses it. Drawn again while one of them runs."""
    is_live = any(run.is_active for run in known)
    st.fragment(_table, run_every=POLL_SECONDS if is_live else None)(chosen, ledger)


def _table(chosen: Run, ledger: Ledger) -> None:
    known = ledger.runs("study")
    ids = [run.id for run in known]

    def select() -> None:
        rows = st.session_state["studies"]["selection"]["rows"]
        if rows and rows[0] < len(ids):
            choose(ids[rows[0]])

    if chosen.id in ids:
        st.session_state["studies"] = {"selection": {"rows": [ids.index(chosen.id)], "columns": [], "cells": []}}
    column = st.column_config
    st.dataframe(
        pd.DataFrame([_row(run) for run in known]),
        hide_index=True,
        column_config={
            "name": column.TextColumn("Name", pinned=True),
            "state": column.TextColumn("State"),
            "networks": column.TextColumn("Networks", help="Done, of how many", alignment="right"),
            "dataset": column.TextColumn("Data set"),
            "architecture": column.TextColumn("Network"),
            "methods": column.TextColumn("Ranked by", help="Criteria, and the strategies of those that have a choice"),
            "seeds": column.NumberColumn("Seeds"),
            "when": column.DatetimeColumn("Started", format="distance", help="Its latest run"),
            "seconds": column.NumberColumn("Took", format="duration", help="Its latest run"),
        },
        on_select=select,
        selection_mode="single-row",
        key="studies",
        alt="Every study with its data set, network, methods, seeds, state and duration; the chosen one is selected",
    )
    if st.session_state["study"] != chosen.id:
        st.rerun()


def _row(run: Run) -> dict[str, Any]:
    spec = run.spec
    strategies = [name for name in spec.get("strategies", ()) if name != "one-shot"]
    return {
        "name": run.name,
        "state": runs.BADGES[run.state][0],
        "networks": f"{run.done} of {run.total}" if run.total else "–",
        "dataset": spec["dataset"],
        "architecture": spec["architecture"],
        "seeds": len(spec["seeds"]),
        "when": pd.Timestamp(run.started, unit="s", tz="UTC"),
        "seconds": run.seconds,
        "methods": ", ".join(spec["criteria"]) + (f"; {', '.join(strategies)}" if strategies else ""),
    }


def delete(run: Run, known: list[Run], ledger: Ledger) -> None:
    """The button that takes a study out of the list, once that was confirmed."""

    def forget() -> None:
        from lrp_core.study.launch import log_path

        try:
            ledger.forget(run.id)
            log_path(ledger, run.id).unlink(missing_ok=True)
        except (LrpError, OSError) as error:
            st.session_state["delete-error"] = str(error)

    with st.popover("Delete", icon=":material/delete:", disabled=run.is_active,
                    help="It is running: cancel it first." if run.is_active else None):  # fmt: skip
        st.markdown(
            f"Take **{run.name}** out of the list? Its finished networks stay in the ledger, for other studies may "
            "share them: set it up again, and they are there at once."
            + (" It is the only study: the quick one takes its place." if len(known) == 1 else "")
        )
        st.button("Delete it", type="primary", icon=":material/delete:", key="delete", on_click=forget)
    if error := st.session_state.pop("delete-error", None):
        st.error(f"It could not be deleted: {error}.", icon=":material/error:")


# What the form asks of the core


def presets() -> tuple[str, ...]:
    """Names of the presets."""
    from lrp_core.study import PRESETS

    return tuple(PRESETS)


def preset(name: str) -> Study:
    """A preset, for MNIST."""
    from lrp_core import study
    from lrp_core.data import load_dataset

    return study.preset(name, load_dataset("mnist"))


def datasets() -> tuple[str, ...]:
    """Names of the data sets."""
    from lrp_core.data import DATASETS

    return tuple(DATASETS)


def architectures() -> tuple[str, ...]:
    """Names of the networks."""
    from lrp_core.models import ARCHITECTURES

    return tuple(ARCHITECTURES)


def criteria() -> tuple[str, ...]:
    """Names of all criteria."""
    from lrp_core.ranking import CRITERIA

    return CRITERIA


def strategies() -> dict[str, str]:
    """Every strategy, and what it does."""
    from lrp_core.ranking import STRATEGIES

    return STRATEGIES


def precisions() -> list[str]:
    """What products can be computed in when networks are trained."""
    from lrp_core.training import PRECISIONS

    return list(PRECISIONS)


def statistics() -> tuple[str, ...]:
    """How relevance can be reduced over images."""
    from lrp_core.ranking import STATISTICS

    return STATISTICS


def write_shares(study: Study) -> str:
    """What a study removes, in per cent."""
    from lrp_core.views import draft as views_study

    return views_study.write_shares(study)


def read_seeds(text: str) -> tuple[int, ...]:
    """Seeds from text."""
    from lrp_core.views import draft as views_study

    return views_study.read_seeds(text)


def draft(shares: str, values: dict[str, Any]) -> Study:
    """The study of these shares in per cent and these other values. Raises `LrpError` for one that cannot run."""
    from lrp_core.views import draft as views_study

    return views_study.draft_study(views_study.read_shares(shares), **values)


def default_name(study: Study) -> str:
    """A name made of a study's parts."""
    from lrp_core.views import draft as views_study

    return views_study.name_study(study)


def outlook(study: Study, known: list[Run], ledger: Ledger) -> Outlook:
    """What running a study would take."""
    from lrp_core.views import draft as views_study

    # Timings hardly change while a study runs: read again when one was started or ended.
    stamp = tuple((run.id, run.state) for run in known)
    return views_study.outlook(study, ledger, _timings(ledger.folder, stamp))


@st.cache_data(max_entries=4, show_spinner=False)
def _timings(folder: Path, stamp: tuple) -> pd.DataFrame:
    from lrp_core.views import draft as views_study

    return views_study.measured_timings(Ledger(folder))


def start(study: Study, ledger: Ledger, name: str) -> None:
    """Run a study in a process of its own, or go on with it."""
    from lrp_core.study.launch import start_study

    start_study(study, ledger, name=name)
