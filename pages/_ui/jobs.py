"""Work of seconds that is not a study: a thread of the server does it, so that a slider beside it stays quick.

What it finds, the core keeps on disk; so a job that is lost with the server or the tab is only asked for again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import streamlit as st

from lrp_core.errors import Cancelled

POLL_SECONDS = 0.4
IDLE_SECONDS = 0.5
"""How long work waits for a slider to come to rest before it begins."""

Work = Callable[[Callable[[float, str], None]], Any]
"""Takes a function that it tells how far it is, from 0 to 1, and with what; returns what it found."""

_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""One piece of work at a time for each slot, whoever asks: long work in one must not hold up another."""


class Job:
    """One piece of work: `part` of it is done, from 0 to 1, and what it is `doing`; then there is a `result`."""

    def __init__(self, slot: str, key: Any, work: Work) -> None:
        self.key, self.part, self.doing = key, 0.0, "waiting for other work"
        self.result: Any = None
        self.error: Exception | None = None
        self._work, self._turn = work, _turns[slot]
        self._over, self._cancelled = threading.Event(), threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def cancel(self) -> None:
        """Have the work stop at its next report."""
        self._cancelled.set()

    def _run(self) -> None:
        try:
            self._cancelled.wait(IDLE_SECONDS)
            with self._turn:
                self._report(0.0, "starting")
                self.result = self._work(self._report)
        except Exception as error:  # whatever it is belongs to the page that asked, not to this thread
            self.error = error
        finally:
            self._over.set()

    def _report(self, part: float, doing: str) -> None:
        if self._cancelled.is_set():
            raise Cancelled("no longer asked for")
        self.part, self.doing = min(part, 1.0), doing


def ask(slot: str, key: Any, work: Work, *, is_cached: bool) -> Any:
    """What `work(report)` returns for `key`, or None while it is at it: then its progress is drawn here.

    What `is_cached` is had at once. A session has one job in each slot: with another key the one before is given up.
    Errors of the work are raised.
    """
    place = f"job-{slot}"
    job: Job | None = st.session_state.get(place)
    if job is None or job.key != key:
        if job is not None:
            job.cancel()
            del st.session_state[place]
        if is_cached:
            return work(lambda part, doing: None)
        job = st.session_state[place] = Job(slot, key, work)
    if not job.is_over:
        st.fragment(_progress, run_every=POLL_SECONDS)(slot, job)
        return None
    if isinstance(job.error, Cancelled):
        if st.button("Measure", key=f"again-{slot}", icon=":material/play_arrow:"):
            del st.session_state[place]
            st.rerun()
        return None
    if job.error is not None:
        raise job.error
    return job.result


def _progress(slot: str, job: Job) -> None:
    if job.is_over:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(job.part, text=f"Measuring · {job.doing}")
        if st.button("Cancel", key=f"cancel-{slot}", icon=":material/stop_circle:"):
            job.cancel()
