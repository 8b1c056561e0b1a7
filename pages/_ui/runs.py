"""Long work on the page: how far it is, how to stop it, how to go on."""

from __future__ import annotations

import time

import streamlit as st

from lrp_core import views
from lrp_core.errors import LrpError
from lrp_core.study import launch
from lrp_core.study.ledger import Ledger, Run

from .formats import duration, plain, throughput

POLL_SECONDS = 1.0
REFRESH_SECONDS = 2.5
"""How often at most a page is drawn again because results arrived."""

BADGES = {
    "starting": ("Starting", ":material/hourglass_top:", "blue"),
    "running": ("Running", ":material/progress_activity:", "blue"),
    "done": ("Complete", ":material/check_circle:", "green"),
    "failed": ("Failed", ":material/error:", "red"),
    "cancelled": ("Cancelled", ":material/cancel:", "orange"),
    "interrupted": ("Interrupted", ":material/power_off:", "orange"),
}


KINDS = {"export": "Export", "budgets": "Path to the budgets"}
"""What runs that are no studies are called."""


def badge(run: Run) -> None:
    """One line on how the run stands."""
    text, icon, color = BADGES[run.state]
    detail = f" · {run.total} networks in {duration(run.seconds)}" if run.state == "done" and run.total else ""
    st.badge(text + detail, icon=icon, color=color)


def show(ledger: Ledger, run: Run, others: list[Run], *, live: bool = False, only_others: bool = False) -> None:
    """The panel of the chosen run, unless it is complete, and of everything else that is active."""
    for shown in ([] if only_others or run.state == "done" else [run]) + others:
        panel(ledger, shown, live=live and shown.id == run.id)


def panel(ledger: Ledger, run: Run, *, live: bool = False, detailed: bool = False) -> None:
    """Progress and buttons of one run, polled as long as it is active; the page is drawn again when it ends.

    `detailed` adds its numbers, large, and shows a complete run as well.
    """
    poll = st.fragment(_panel, run_every=POLL_SECONDS if run.is_active else None)
    poll(ledger, run, live, detailed, time.monotonic())


def outdated(ledger: Ledger, run: Run) -> None:
    """A complete study without results: they were another version's, or the cache was cleared."""
    st.warning(
        "The results of this study are not in the ledger: another version of the program made them.",
        icon=":material/history:",
    )
    _resume(ledger, run, "Run it again")


def log_tail(ledger: Ledger, run: Run, lines: int = 20) -> str:
    """The last lines that the run's process said, or nothing."""
    path = launch.log_path(ledger, run.id)
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def _panel(ledger: Ledger, drawn: Run, live: bool, detailed: bool, drawn_at: float) -> None:
    try:
        run = ledger.run(drawn.id) or drawn
    except LrpError as error:
        st.error(str(error), icon=":material/error:")
        return
    is_due = live and run.done != drawn.done and time.monotonic() - drawn_at > REFRESH_SECONDS
    # The first results make pages possible that had nothing to show.
    if run.state != drawn.state or is_due or (run.done > 0) != (drawn.done > 0):
        st.rerun()
    with st.container(border=True, key=f"run-{run.id}"):
        if detailed:
            _numbers(run)
        if run.is_active:
            _active(ledger, run, detailed)
        elif run.state != "done":
            _stopped(ledger, run)


def _numbers(run: Run) -> None:
    """How far a study is, how fast and how long it takes, as large numbers."""
    st.markdown(f"**Study “{plain(run.name)}”**")
    with st.container(horizontal=True):
        total = f"of {run.total}" if run.total else "planning"
        st.metric("Networks done", f"{run.done}", total, delta_color="off", delta_arrow="off", border=True,
                  help="What was in the ledger already counts as done.")  # fmt: skip
        st.metric("Throughput", throughput(run.rate) if run.rate else "–", border=True, height="stretch",
                  help="Networks, on average.")  # fmt: skip
        if run.is_active:
            left = f"about {duration(run.seconds_left)}" if run.seconds_left is not None else "–"
            st.metric("Time left", left, border=True, height="stretch", help="At the rate so far.")
            st.metric("Running for", duration(run.seconds), border=True, height="stretch")
        else:
            st.metric("Took", duration(run.seconds), border=True, height="stretch",
                      help="Its latest run, up to the last network.")  # fmt: skip


def _active(ledger: Ledger, run: Run, detailed: bool) -> None:
    what = f"Study “{plain(run.name)}”" if run.kind == "study" else KINDS.get(run.kind, run.kind)
    stage = "starting its process" if run.state == "starting" else run.stage
    unit = "networks" if run.kind == "study" else "steps"
    count = f"{run.done} of {run.total} {unit} · " if run.total else ""
    left = f" · about {duration(run.seconds_left)} left" if run.seconds_left is not None else ""
    text = f"**{what}** · {stage} · {count}{duration(run.seconds)}{left}"
    if detailed:  # the numbers above say the rest
        text = stage[:1].upper() + stage[1:]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(min(run.progress, 1.0), text=text)
        # A callback: the panel may be drawn again, because the run has moved on, before it comes to this button.
        st.button("Cancel", key=f"cancel-{run.id}", icon=":material/stop_circle:", on_click=_cancel, args=(ledger, run),
                  help="Stop; what is finished is kept.")  # fmt: skip
    if error := st.session_state.pop(f"cancel-error-{run.id}", None):
        st.error(error, icon=":material/error:")


def _cancel(ledger: Ledger, run: Run) -> None:
    try:
        ledger.request_cancel(run.id)
        st.toast("Stopping: what is finished is kept", icon=":material/stop_circle:")
    except LrpError as error:
        st.session_state[f"cancel-error-{run.id}"] = plain(str(error))


def _stopped(ledger: Ledger, run: Run) -> None:
    what = f"The study “{plain(run.name)}”" if run.kind == "study" else f"The {KINDS.get(run.kind, run.kind).lower()}"
    kept = f" {run.done} of {run.total} networks are finished and kept." if run.kind == "study" and run.total else ""
    if run.state == "failed":
        st.error(f"{what} failed: {plain(run.message or 'no message')}.{kept}", icon=":material/error:")
    elif run.state == "interrupted":
        st.warning(f"{what} was interrupted: its process is gone.{kept}", icon=":material/power_off:")
    else:
        st.warning(f"{what} was cancelled.{kept}", icon=":material/cancel:")
    _resume(ledger, run, "Resume")
    if run.state in ("failed", "interrupted") and (tail := log_tail(ledger, run)):
        with st.expander("Last lines of its log", icon=":material/terminal:"):
            st.code(tail, language=None, wrap_lines=True)


def _resume(ledger: Ledger, run: Run, label: str) -> None:
    if st.button(label, key=f"resume-{run.id}", icon=":material/play_arrow:", help="What is finished is not repeated."):
        try:
            if run.kind == "export":
                launch.start_export(run.id, run.spec, ledger)
            elif run.kind == "budgets":
                launch.start_budgets(run.id, run.spec, ledger)
            else:
                launch.start_study(views.open_study(run.id, ledger).study, ledger, name=run.name)
        except LrpError as error:
            st.error(str(error), icon=":material/error:")
        else:
            st.rerun()
