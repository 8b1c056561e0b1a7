"""What a person waits for: python -m benchmarks.waits [--browser] [--steps 20] [--json FILE]

In seconds: a quick study from an empty cache, the same study asked for again, and a reader of the ledger beside a
writer. With --browser also what a first visitor waits for, in Chromium, from a fresh server on an empty cache. Times in
seconds from the first request on: until the title is painted, and until the quick study is complete. Then in
milliseconds, from a key on the slider of the page Pruning until every number is drawn again (on Feature removal: the
sentence on the pictures): median, shortest and longest of so many steps.

The times hold for a machine that does nothing else. No test asserts a time; this is the place where one counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lrp_core as lc

if TYPE_CHECKING:
    from playwright.sync_api import Page

Figures = dict[str, Any]

GOAL = {"quick study, empty cache, s": 60.0, "the same study again, s": 2.0, "a reader beside a writer, s": 0.1}
"""Seconds that each may take on two free cores."""

LIMIT_MS = 600_000

# Milliseconds from a key on until `read()` gives something else altogether.
MEASURE = """(read) => new Promise((resolve) => {
  const look = eval(read), before = look(), start = performance.now();
  const observer = new MutationObserver(() => {
    const now = look();
    const isNew = now.length === before.length && now.every((value, i) => i === 1 || value !== before[i]);
    if (isNew) { observer.disconnect(); resolve(performance.now() - start); }
  });
  observer.observe(document.body, {subtree: true, childList: true, characterData: true});
})"""
METRICS = "() => [...document.querySelectorAll('[data-testid=stMetricValue]')].map((e) => e.innerText)"
SENTENCE = """() => [...document.querySelectorAll('[data-testid=stMarkdownContainer]')].map((e) => e.innerText)
  .filter((text) => text.startsWith('The network says') && text.includes('least relevant'))"""


def visit(steps: int) -> Figures:
    """What the first visitor waits for, in a fresh server on an empty cache."""
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import FLAGS, heading, serve, settle
    from tools.ensure_browser import on_path

    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder) / "cache") as server,
        sync_playwright() as driver,
    ):
        chromium = driver.chromium.launch(executable_path=on_path(), args=FLAGS)
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(LIMIT_MS)
        started = time.monotonic()
        page.goto(f"{server.url}/Pruning?removed=20")
        heading(page, "Pruning").wait_for()
        painted = time.monotonic() - started
        page.get_by_text("Complete").wait_for()
        complete = time.monotonic() - started
        settle(page, "Pruning")
        figures: Figures = {
            "page to title, s": round(painted, 2),
            "page to complete quick study, s": round(complete, 1),
        }
        figures |= _summed_up("slider to numbers, ms", _press(page, METRICS, steps))
        page.goto(f"{server.url}/Feature_removal?image=4&share=20")
        page.get_by_text("Between its two curves").wait_for()
        settle(page, "Feature removal")
        figures |= _summed_up("slider to pictures, ms", _press(page, SENTENCE, steps))
        chromium.close()
    return figures


def _press(page: Page, read: str, steps: int) -> list[float]:
    page.get_by_role("slider").focus()
    times = []
    for _ in range(steps):
        page.evaluate("([measure, read]) => { window.measured = eval(measure)(read); }", [MEASURE, f"({read})"])
        page.keyboard.press("ArrowRight")
        times.append(page.evaluate("window.measured"))
        page.wait_for_timeout(300)
    return times


def _summed_up(name: str, times: list[float]) -> Figures:
    return {name: {"median": round(statistics.median(times)), "min": round(min(times)), "max": round(max(times))}}


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
    parser.add_argument("--browser", action="store_true", help="measure the first visit in Chromium as well")
    parser.add_argument("--steps", type=int, default=20, help="of each slider, with --browser")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    figures = visit(arguments.steps) if arguments.browser else {}
    with tempfile.TemporaryDirectory() as folder:
        figures |= measure(Path(folder))
    for name, value in figures.items():
        print(f"{name:<34} {value}" + (f"   (goal: {GOAL[name]:g})" if name in GOAL else ""))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
