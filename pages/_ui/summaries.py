"""The summaries of studies: read where they are current, made where they are not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lrp_core import views
from lrp_core.errors import StorageError
from lrp_core.views.summary import Summary, read_summary, summary_path, write_summary

from .data import is_warm

if TYPE_CHECKING:
    from lrp_core.study.ledger import Ledger, Run


def at_hand(run: Run, ledger: Ledger) -> Summary | None:
    """The summary of a run without the numerics: the one on disk, or None; of an active run it may be seconds old."""
    found = _read(run, ledger)
    return found if found is not None and (run.is_active or found.done >= run.done) else None


def of(run: Run, ledger: Ledger) -> Summary:
    """The summary of a run, made now if none is at hand. Raises `LrpError` for a study that cannot be read."""
    found = at_hand(run, ledger)
    if found is not None:
        return found
    # What joined a finished study later, an export's network say, leaves its count of trials behind: made once more,
    # a summary stays as it is until the run changes.
    made = _made(run.id, run.done, run.updated, ledger.folder)
    with contextlib.suppress(StorageError):
        write_summary(made, ledger.folder)
    return made


def is_quick(run: Run, ledger: Ledger) -> bool:
    """Whether `of` takes no time."""
    return at_hand(run, ledger) is not None or is_warm()


def _read(run: Run, ledger: Ledger) -> Summary | None:
    try:
        stamp = os.stat(summary_path(ledger.folder, run.id)).st_mtime_ns
    except OSError:
        return None
    return _reader(stamp)(ledger.folder, run.id)


@lru_cache(maxsize=32)
def _reader(_stamp: int) -> Callable[[Path, str], Summary | None]:
    """`read_summary`, remembered for files written at one time."""
    return lru_cache(maxsize=4)(read_summary)


@lru_cache(maxsize=32)
def _made(key: str, _done: int, _updated: float, folder: Path) -> Summary:
    from lrp_core.study.ledger import Ledger

    opened = views.open_study(key, Ledger(folder))
    return views.summarise(opened)
