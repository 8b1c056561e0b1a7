"""Waiting for one's turn among everything that works on the same cache folder, and being stopped meanwhile."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import Cancelled, InputError, StorageError
from .shared import stopped_by_sigterm

if TYPE_CHECKING:
    from ..study.ledger import Ledger, Run
    from ..study.turns import Turn

WATCH_SECONDS = 0.25
GRACE_SECONDS = 0.5
"""How long a process that was asked to stop may take to do so by itself, and again after a signal."""


@contextmanager
def announced(ledger: Ledger, run: str, kind: str) -> Iterator[Run]:
    """A run that is in the ledger; if it is refused or stopped before it begins, the ledger says so."""
    entry = ledger.run(run)
    if entry is None or entry.kind != kind:
        known = ", ".join(r.id for r in ledger.runs(kind)[:5]) or "none yet"
        raise InputError(f"there is no {kind} {run!r} to go on with; known ones: {known}")
    if entry.is_read_only:
        raise InputError(f"{entry.name!r} was measured elsewhere, to its end: there is nothing to go on with")
    ledger.announce(run, kind, entry.name, entry.spec, entry.total)  # nothing happens if a page did
    try:
        yield entry
    except (Cancelled, KeyboardInterrupt):
        if _is_starting(ledger, run):
            ledger.end_cancelled(run)
        raise
    except Exception as error:
        if _is_starting(ledger, run):
            ledger.fail(run, str(error))
        raise


def _is_starting(ledger: Ledger, run: str) -> bool:
    now = ledger.run(run)
    return now is not None and now.state == "starting"


@contextmanager
def in_line(ledger: Ledger, run: str, kind: str, *, wants: int = 1, since: float | None = None) -> Iterator[Turn]:
    """A place in line for a run, which is the first or the next one inside: what takes memory is loaded there.

    Who sees stderr is told what it waits for. A run that is cancelled stops, wherever it is.
    """
    said = ""

    def look() -> None:
        nonlocal said
        ledger.check_cancelled(run)
        standing = next((one for one in ledger.queue() if one.run == run and one.is_waiting), None)
        if standing is not None and standing.sentence() != said:
            said = standing.sentence()
            sys.stderr.write(f"{said}\n")
            sys.stderr.flush()

    with stopped_on_request(ledger, run), ledger.turn(run, kind, since) as turn:
        turn.want(wants)
        turn.wait(look, until_next=True)
        if not turn.holds:
            look()
        yield turn


@contextmanager
def at_work(ledger: Ledger, run: str, kind: str) -> Iterator[None]:
    """One process's place for work that a person waits for at the command line, and that is no run of the ledger."""
    from ..study.turns import inside

    with in_line(ledger, run, kind) as turn:
        turn.wait(lambda: None)
        with inside():
            yield


@contextmanager
def stopped_on_request(ledger: Ledger, run: str) -> Iterator[None]:
    """Stop what runs inside, as Ctrl-C does, on SIGTERM and when the run is cancelled, whatever it is at.

    Work of which Python sees nothing for long, one large product say, is ended with its process: everything that is
    kept is written whole or not at all.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return
    over, asked = threading.Event(), threading.Event()

    def watch() -> None:
        while not _is_cancelled(ledger, run):
            if over.wait(WATCH_SECONDS):
                return
        asked.set()
        if over.wait(GRACE_SECONDS):
            return
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        if not over.wait(GRACE_SECONDS):
            ledger.end_cancelled(run)
            os._exit(130)

    with stopped_by_sigterm():
        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            over.set()
            if asked.is_set():  # the signal may have come while the ledger was told
                ledger.end_cancelled(run)


def _is_cancelled(ledger: Ledger, run: str) -> bool:
    try:
        return ledger.is_cancelled(run)
    except StorageError:  # who works on it says so
        return False
