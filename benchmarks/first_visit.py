"""What a first visitor waits for: the page, the quick study, and the numbers under the slider.

python -m benchmarks.first_visit [--steps 20] [--json FILE]

A fresh server on an empty cache, visited by Chromium. Times in seconds from the first request on: until the title is
painted, and until the quick study is complete; then in milliseconds, from a key on the slider of the page Pruning until
every number is drawn again (on Feature removal: the sentence on the pictures), median, shortest and longest
of so many steps. They hold for a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import FLAGS, heading, serve, settle
from tools.ensure_browser import on_path

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


def measure(steps: int) -> dict[str, Any]:
    """Every time, by what was waited for."""
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
        figures = {"title, s": round(painted, 2), "quick study complete, s": round(complete, 1)}
        figures |= _summed_up("slider to numbers, ms", _step(page, METRICS, steps))
        page.goto(f"{server.url}/Feature_removal?image=4&share=20")
        page.get_by_text("Between its two curves").wait_for()
        settle(page, "Feature removal")
        figures |= _summed_up("slider to pictures, ms", _step(page, SENTENCE, steps))
        chromium.close()
    return figures


def _step(page: Page, read: str, steps: int) -> list[float]:
    page.get_by_role("slider").focus()
    times = []
    for _ in range(steps):
        page.evaluate("([measure, read]) => { window.measured = eval(measure)(read); }", [MEASURE, f"({read})"])
        page.keyboard.press("ArrowRight")
        times.append(page.evaluate("window.measured"))
        page.wait_for_timeout(300)
    return times


def _summed_up(name: str, times: list[float]) -> dict[str, Any]:
    return {name: {"median": round(statistics.median(times)), "min": round(min(times)), "max": round(max(times))}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="of each slider")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    figures = measure(arguments.steps)
    for name, value in figures.items():
        print(f"{name}: {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
