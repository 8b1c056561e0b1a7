"""The list of studies, and what can be done with one."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from lrp_core.errors import LrpError
from lrp_core.study import launch
from lrp_core.study.ledger import Ledger, Run

from . import runs

POLL_SECONDS = 2.0


def choose(run: str) -> None:
    """Make a study the chosen one of all pages; for callbacks, which run before the picker is drawn."""
    st.session_state["study"] = run


def name(run: Run, ledger: Ledger) -> None:
    """Rename a study, and keep a note with it."""

    def save() -> None:
        try:
            ledger.rename(run.id, st.session_state[f"name-{run.id}"], st.session_state[f"note-{run.id}"])
        except LrpError as error:
            st.session_state["rename-error"] = str(error)

    with st.popover("Rename or note", icon=":material/edit:"):
        st.text_input("Name", run.name, max_chars=60, key=f"name-{run.id}")
        st.text_area("Note", run.remark, max_chars=2000, key=f"note-{run.id}", height=100,
                     placeholder="What it was for, and what you learned")  # fmt: skip
        st.button("Save", type="primary", key=f"save-{run.id}", on_click=save)
    if error := st.session_state.pop("rename-error", None):
        st.error(error, icon=":material/error:")


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
            "note": column.TextColumn("Note"),
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
        "note": run.remark,
        "when": pd.Timestamp(run.started, unit="s", tz="UTC"),
        "seconds": run.seconds,
        "methods": ", ".join(spec["criteria"]) + (f"; {', '.join(strategies)}" if strategies else ""),
    }


def delete(run: Run, known: list[Run], ledger: Ledger) -> None:
    """The button that takes a study out of the list, once that was confirmed."""

    def forget() -> None:
        try:
            ledger.forget(run.id)
            launch.log_path(ledger, run.id).unlink(missing_ok=True)
        except (LrpError, OSError) as error:
            st.session_state["delete-error"] = str(error)

    with st.popover("Delete", icon=":material/delete:", disabled=run.is_active,
                    help="It is running: cancel it first." if run.is_active else None):  # fmt: skip
        st.markdown(
            f"Take **{run.name}** out of the list? Its finished networks stay in the ledger, because other "
            "studies may share them: set it up again, and they are there at once."
            + (" It is the only study: the quick one takes its place." if len(known) == 1 else "")
        )
        st.button("Delete it", type="primary", icon=":material/delete:", key="delete", on_click=forget)
    if error := st.session_state.pop("delete-error", None):
        st.error(f"It could not be deleted: {error}.", icon=":material/error:")
