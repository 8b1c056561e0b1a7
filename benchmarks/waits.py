"""What a person waits for: python -m benchmarks.waits [--json FILE]

In seconds: a quick study from an empty cache, the same study asked for again, and a reader of the ledger beside a
writer. What a visitor of the dashboard waits for, `benchmarks.pages` measures.

The times hold for a machine that does nothing else. No test asserts a time; this is the place where one counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import lrp_core as lc

Figures = dict[str, Any]

GOAL = {"quick study, empty cache, s": 60.0, "the same study again, s": 2.0, "a reader beside a writer, s": 0.1}
"""Seconds that each may take on two free cores."""


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return round(time.perf_counter() - started, 3)


def measure(folder: Path) -> Figures:
    """What study and ledger take, with everything that is computed in `folder`."""
    os.environ["LRP_CACHE"] = str(folder)

    def study() -> None:
        list(lc.run_study(lc.preset("quick", lc.load_dataset("mnist")), lc.Ledger(folder)))

    def read() -> None:
        lc.Ledger(folder).recorded(["any"])

    first, again, beside = GOAL
    figures: Figures = {first: seconds(study), again: seconds(study)}
    with closing(sqlite3.connect(lc.Ledger(folder).path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        figures[beside] = seconds(read)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder))
    for name, value in figures.items():
        print(f"{name:<34} {value}" + (f"   (goal: {GOAL[name]:g})" if name in GOAL else ""))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
