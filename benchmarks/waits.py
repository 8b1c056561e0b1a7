"""Seconds that a person waits for: python -m benchmarks.waits [--json]

A quick study from an empty cache, the same study asked for again, and a reader of the ledger beside a writer. No test
asserts a time; these are the places where one counts.
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

import lrp_core as lc

GOAL = {"quick study, empty cache": 60.0, "the same study again": 2.0, "a reader beside a writer": 0.1}
"""Seconds that each may take on two free cores."""


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(folder: Path) -> dict[str, float]:
    """What each takes, in seconds, with everything that is computed in `folder`."""
    os.environ["LRP_CACHE"] = str(folder)

    def study() -> None:
        list(lc.run_study(lc.preset("quick", lc.load_dataset("mnist")), lc.Ledger(folder)))

    def read() -> None:
        lc.Ledger(folder).recorded(["any"])

    taken = {name: seconds(study) for name in list(GOAL)[:2]}
    with closing(sqlite3.connect(lc.Ledger(folder).path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        taken[list(GOAL)[2]] = seconds(read)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds that a person waits for.")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken = measure(Path(folder))
    if arguments.json:
        print(json.dumps(taken, indent=2))
        return
    for name, value in taken.items():
        print(f"{name:<28} {value:8.2f} s   (goal: {GOAL[name]:g} s)")


if __name__ == "__main__":
    main()
