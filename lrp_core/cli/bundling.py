"""The command `bundle`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, StorageError
from ..storage import write_atomic
from .shared import Answer, check_suffix

if TYPE_CHECKING:
    from ..study.ledger import Ledger, Run


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--study", required=True, metavar="ID", help="a complete study, by its id or its name ('info' lists them)"
    )
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .zip file to write")
    command.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    command.add_argument(
        "--command",
        dest="measured_by",
        default="",
        metavar="TEXT",
        help="what was typed to measure it, for who reads it elsewhere; a preset is known by itself",
    )


def bundle(arguments: argparse.Namespace) -> Answer:
    from ..study import Study
    from ..study.bundle import read_bundle
    from ..study.ledger import Ledger
    from ..study.measured import write_bundle
    from ..views import open_study, packed, summarise

    path = arguments.output
    check_suffix(path, ".zip")
    if path.exists() and not arguments.overwrite:
        raise StorageError(f"{path} exists already: choose another file, or say --overwrite")
    ledger = Ledger()
    run = _asked(ledger, arguments.study)
    study = Study.from_values(run.spec)
    size = write_bundle(study, ledger, path, command=arguments.measured_by)
    summary = packed(summarise(open_study(study, ledger)))
    write_atomic(path.with_suffix(".npz"), summary)
    written = read_bundle(path)
    values = {
        "study": written.key,
        "name": written.name,
        "output": str(path),
        "bytes": size,
        "summary_bytes": len(summary),
        "trials": len(written.trials),
        "rankings": len(written.rankings),
        "provenance": written.provenance,
    }
    text = (
        f"study {written.key} ({written.name}): {len(written.trials)} networks and {len(written.rankings)} rankings, "
        f"as numbers alone\n  written to {path}, {size:,} bytes, with its summary beside it, {len(summary):,} bytes"
    )
    return Answer(values, text)


def _asked(ledger: Ledger, study: str) -> Run:
    """The run of that id, or the latest of that name."""
    runs = ledger.runs("study")
    found = next((run for run in runs if run.id == study), None) or next((r for r in runs if r.name == study), None)
    if found is None:
        known = ", ".join(f"{run.id} ({run.name})" for run in runs[:5]) or "none yet"
        raise InputError(f"there is no study {study!r}; known ones: {known}")
    return found
