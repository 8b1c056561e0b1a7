"""The command `report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, StorageError
from .shared import Answer, check_suffix

if TYPE_CHECKING:
    from ..study.ledger import Ledger, Run


def report_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--study", required=True, metavar="ID", help="a study, by its id or by its name ('info' lists them)"
    )
    command.add_argument(
        "--margin",
        type=float,
        default=0.5,
        metavar="POINTS",
        help="accuracy that may be lost, for what the report recommends",
    )
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .html file to write")
    command.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    command.add_argument(
        "--address", metavar="URL", help="of a dashboard that has the study, for a link back: http://127.0.0.1:8501"
    )


def report(arguments: argparse.Namespace) -> Answer:
    """Write a study as one HTML file."""
    from ..report import write_page
    from ..storage import write_atomic
    from ..study.ledger import Ledger
    from ..views.reporting import content_of
    from ..views.study import open_study

    path: Path = arguments.output
    check_suffix(path, ".html", ".htm")
    if path.exists() and not arguments.overwrite:
        raise StorageError(f"{path} exists already: choose another file, or say --overwrite")
    ledger = Ledger()
    run = find_study(ledger, arguments.study)
    content = content_of(open_study(run.id, ledger), margin=arguments.margin / 100, address=arguments.address)
    page = write_page(content).encode()
    write_atomic(path, page)
    values = {"study": run.id, "file": str(path), "bytes": len(page), "finding": content.finding}
    return Answer(values, f"{content.finding}\n{path}: {len(page):,} bytes")


def find_study(ledger: Ledger, asked: str) -> Run:
    """The study of that id or, if it is the only one, of that name. Raises `InputError`."""
    known = ledger.runs("study")
    found = [run for run in known if run.id == asked] or [run for run in known if run.name == asked]
    if len(found) > 1:
        ids = ", ".join(f"{run.id} ({run.spec['dataset']})" for run in found[:5])
        raise InputError(f"{len(found)} studies are called {asked!r}: name one by its id, {ids}")
    if not found:
        names = ", ".join(f"{run.id} ({run.name})" for run in known[:5]) or "none yet"
        raise InputError(f"there is no study {asked!r}; known ones: {names}")
    return found[0]
