"""Long work in a process of its own: it outlives the page, the browser tab and the server that asked for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import storage_errors
from ..storage import PROJECT
from .ledger import STARTUP_SECONDS, Ledger


def start_study(study: Any, ledger: Ledger, *, name: str = "study") -> bool:
    """Run a `Study`, or go on with it, in a process of its own; False if one is at it already."""
    return _start(study.key, "study", name, study.values(), ["study", "--resume", study.key], ledger)


def start_preset(name: str, ledger: Ledger) -> bool:
    """Run a preset study of MNIST in a process of its own, without loading what describes it; False if one is at it.

    The process announces its run by itself, some seconds later; until then this may be asked again.
    """
    path = ledger.folder / "locks" / f"preset-{name}"
    with storage_errors("write", path):
        try:
            if time.time() - path.stat().st_mtime < STARTUP_SECONDS:
                return False
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
    _spawn(["study", "--preset", name], log_path(ledger, f"preset-{name}"), ledger)
    return True


def start_export(run: str, spec: dict[str, Any], ledger: Ledger) -> bool:
    """Make the export that `spec` describes in a process of its own; False if one is at it already."""
    return _start(run, "export", "export", spec, ["export", "--resume", run], ledger)


def start_budgets(run: str, spec: dict[str, Any], ledger: Ledger) -> bool:
    """Prune a network to the budgets of a plan in a process of its own; False if one is at it already."""
    return _start(run, "budgets", "budgets", spec, ["prune", "--resume", run], ledger)


def log_path(ledger: Ledger, run: str) -> Path:
    """Where a process that was started here writes what it says."""
    return ledger.folder / "logs" / f"{run}.log"


def _start(run: str, kind: str, name: str, spec: dict[str, Any], command: Sequence[str], ledger: Ledger) -> bool:
    if not ledger.announce(run, kind, name, spec, total=0):
        return False
    _spawn(command, log_path(ledger, run), ledger)
    return True


def _spawn(command: Sequence[str], log: Path, ledger: Ledger) -> None:
    with storage_errors("write the log", log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            subprocess.Popen(
                [sys.executable, "-m", "lrp_core", *command],
                cwd=PROJECT,
                env={**os.environ, "LRP_CACHE": str(ledger.folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
