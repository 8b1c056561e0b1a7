"""Work of seconds that is not a study: a thread of the server does it, so that a slider beside it stays quick.

What it finds, the core keeps on disk; so a job that is lost with the server or the tab is only asked for again. A job
that no page looks at any more is given up, and holds up nobody.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from lrp_core.errors import Cancelled

POLL_SECONDS = 0.4
IDLE_SECONDS = 0.5
"""How long work waits for a slider to come to rest before it begins."""

GONE_SECONDS = 3.0
"""How long work goes on for a tab that is closed: one that is loaded again is back sooner."""

UNSEEN_SECONDS = 20.0
"""How long work goes on that an open tab does not look at: it shows another page. On a busy machine a page may take
long to be drawn before it looks for the first time."""

Work = Callable[[Callable[[float, str], None]], Any]
"""Takes a function that it tells how far it is, from 0 to 1, and with what; returns what it found."""

_lines: defaultdict[str, list[Job]] = defaultdict(list)
"""One piece of work at a time for each slot, whoever asks: long work in one must not hold up another."""

_moved = threading.Condition()
"""Guards `_lines`; told when a job in one of them is over."""


class Job:
    """One piece of work: `part` of it is done, from 0 to 1, and what it is `doing`; then there is a `result`."""

    def __init__(self, slot: str, key: Any, work: Work) -> None:
        self.key, self.part, self.doing = key, 0.0, "waiting for other work"
        self.result: Any = None
        self.error: Exception | None = None
        self._work, self._line = work, _lines[slot]
        self._over, self._cancelled = threading.Event(), threading.Event()
        self._session = _session()
        self.is_abandoned = False
        self.look()
        with _moved:
            self._line.append(self)
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def cancel(self) -> None:
        """Have the work stop at its next report."""
        self._cancelled.set()

    def look(self) -> None:
        """Say that a page still looks at it."""
        self._seen = time.monotonic()

    @property
    def is_given_up(self) -> bool:
        """Whether it was cancelled, or nobody has looked at it for long."""
        unseen = time.monotonic() - self._seen
        if unseen > UNSEEN_SECONDS or (unseen > GONE_SECONDS and not _is_open(self._session)):
            self.is_abandoned = True
            self._cancelled.set()
        return self._cancelled.is_set()

    def _run(self) -> None:
        try:
            self._cancelled.wait(IDLE_SECONDS)
            with _moved:
                while not self._is_next():
                    _moved.wait(POLL_SECONDS)
            self._report(0.0, "starting")
            self.result = self._work(self._report)
        except Exception as error:  # whatever it is belongs to the page that asked, not to this thread
            self.error = error
        finally:
            with _moved:
                self._line.remove(self)
                self._over.set()
                _moved.notify_all()

    def _is_next(self) -> bool:
        """Whether all that came before is over or given up; work that is given up may take long to notice."""
        before = self._line[: self._line.index(self)]
        return self.is_given_up or all(job.is_given_up for job in before)

    def _report(self, part: float, doing: str) -> None:
        if self.is_given_up:
            raise Cancelled("no longer asked for")
        self.part, self.doing = min(part, 1.0), doing


def ask(slot: str, key: Any, work: Work, *, is_cached: bool) -> Any:
    """What `work(report)` returns for `key`, or None while it is at it: then its progress is drawn here.

    What `is_cached` is had at once. A session has one job in each slot: with another key the one before is given up.
    Errors of the work are raised.
    """
    place = f"job-{slot}"
    job: Job | None = st.session_state.get(place)
    if job is None or job.key != key or (job.is_abandoned and isinstance(job.error, Cancelled)):
        if job is not None:
            job.cancel()
            del st.session_state[place]
        if is_cached:
            return work(lambda part, doing: None)
        job = st.session_state[place] = Job(slot, key, work)
    job.look()
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
    job.look()
    if job.is_over:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(job.part, text=f"Measuring · {job.doing}")
        if st.button("Cancel", key=f"cancel-{slot}", icon=":material/stop_circle:"):
            job.cancel()


def _session() -> str | None:
    """The session that asks, or None where there is none: in a test, say."""
    context = get_script_run_ctx(suppress_warning=True)
    return context.session_id if context is not None else None


def _is_open(session: str | None) -> bool:
    """Whether a session's tab is open, as far as the server knows."""
    return session is None or not runtime.exists() or runtime.get_instance().is_active_session(session)
