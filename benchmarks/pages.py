"""What a visitor waits for, in Chromium: python -m benchmarks.pages [--steps 50] [--cache FOLDER] [--json FILE]

From a fresh server on an empty cache: seconds until the first number, until the quick study has its first three small
networks, and until it is complete (with --cache the studies of that folder are there already, and nothing is started).
Then, with everything there:

- opening: seconds from the request to the first number, on a server that was just started;
- page switch: seconds from a click in the menu until the page has its title and nothing of it is still drawn;
- slider: milliseconds from a key to the changed number, as the browser's own clock has it, median of so many steps;
- burst: milliseconds from the last of 15 keys until the address says where the slider stands.

Medians with the shortest and longest. The times hold for a machine that does nothing else. No test asserts a time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrp_core.study.ledger import Ledger, Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.browser.conftest import Server

Figures = dict[str, Any]

GOALS = {
    "page view to first small networks, s": 15.0,
    "page view to complete quick study, s": 60.0,
    "opening, s": 2.0,
    "page switch, s": 0.7,
    "slider, ms": 150.0,
    "burst, ms": 1500.0,
}
"""What each may take on two free cores, as a median."""

LIMIT_MS = 600_000
TITLES = ("Try it", "Why", "How sure", "Studies")
TILE = ".tile b"

# The slider's component lives in a shadow root: it is found through every element that has one.
DEEP = """const deep = (selector) => {
  const roots = [...document.querySelectorAll('*')].map((e) => e.shadowRoot).filter(Boolean);
  return [document, ...roots].map((root) => root.querySelector(selector)).find(Boolean);
};"""
STEP = f"""(back) => new Promise((resolve) => {{
  {DEEP}
  const range = deep('input[type=range]'), tiles = deep('.tiles'), before = deep('{TILE}').textContent;
  const start = performance.now();
  new MutationObserver((_, observer) => {{
    if (deep('{TILE}').textContent === before) return;
    observer.disconnect();
    requestAnimationFrame(() => resolve(performance.now() - start));
  }}).observe(tiles, {{subtree: true, childList: true, characterData: true}});
  range.value = Number(range.value) + (back ? -1 : 1);
  range.dispatchEvent(new Event('input', {{bubbles: true}}));
}})"""


def first_number(page: Page, url: str) -> float:
    """Seconds until the first page has a number."""
    started = time.monotonic()
    page.goto(url)
    page.locator(TILE).first.wait_for()
    return time.monotonic() - started


def switches(page: Page) -> list[float]:
    """Seconds for each switch between pages, there and back."""
    times = []
    for title in (*TITLES, "Result") * 3:
        started = time.monotonic()
        page.get_by_test_id("stSidebarNav").get_by_role("link", name=title, exact=True).click()
        page.wait_for_function(
            """(title) => document.title.startsWith(title) && document.querySelector('h1')
              && !document.querySelector('[data-stale=true]')
              && !document.querySelector('[data-test-script-state=running]')""",
            arg=title,
        )
        times.append(time.monotonic() - started)
        page.wait_for_timeout(1500)
    return times[len(TITLES) + 1 :]  # the first round loads what the later ones have


def slide(page: Page, steps: int) -> tuple[list[float], list[float]]:
    """Milliseconds of single steps, and after bursts until the address follows."""
    page.locator(TILE).first.wait_for()
    page.wait_for_timeout(1500)
    singles = []
    for step in range(steps):
        singles.append(page.evaluate(STEP, step % 20 >= 10))
        page.wait_for_timeout(60)
    bursts = []
    page.locator("input[type=range]").focus()
    for key in ("ArrowLeft", "ArrowRight") * 3:
        page.wait_for_timeout(1500)
        before = page.url
        for _ in range(15):
            page.keyboard.press(key)
        started = time.monotonic()
        page.wait_for_function("(before) => location.href !== before", arg=before)
        bursts.append(1000 * (time.monotonic() - started))
    return singles, bursts


def measure(chromium: Browser, server: Server, steps: int, *, is_fresh: bool) -> Figures:
    """All of it on one server, whose first visitor this is."""
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(LIMIT_MS)
    started = time.monotonic()
    figures: Figures = {"page view to first number, s": first_number(page, server.url)}
    if is_fresh:
        figures["page view to first small networks, s"] = _until(server, started, lambda run: run.done > 3)
        figures["page view to complete quick study, s"] = _until(server, started, lambda run: run.state == "done")
    opened = []
    for _ in range(5):
        other = chromium.new_context().new_page()
        other.set_default_timeout(LIMIT_MS)
        opened.append(first_number(other, server.url))
        other.context.close()
    figures["opening, s"] = _summed_up(opened, 2)
    figures["page switch, s"] = _summed_up(switches(page), 2)
    singles, bursts = slide(page, steps)
    figures["slider, ms"] = _summed_up(singles, 1)
    figures["burst, ms"] = _summed_up(bursts, 0)
    return figures


def _until(server: Server, started: float, is_there: Callable[[Run], bool]) -> float:
    """Seconds until the quick study has come this far."""
    while time.monotonic() - started < LIMIT_MS / 1000:
        runs = [run for run in Ledger(server.cache).runs("study") if run.name == "quick"]
        if any(is_there(run) for run in runs):
            return time.monotonic() - started
        if any(not run.is_active for run in runs):
            raise SystemExit(f"the quick study is {runs[0].state}: {runs[0].message}")
        time.sleep(0.1)
    raise SystemExit("the quick study did not come so far")


def _summed_up(times: list[float], digits: int) -> dict[str, float]:
    values = {"median": statistics.median(times), "min": min(times), "max": max(times)}
    return {name: round(value, digits) for name, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50, help="of the slider")
    parser.add_argument("--cache", type=Path, help="a cache folder with finished studies; default: an empty one")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import FLAGS, serve
    from tools.ensure_browser import on_path

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=on_path(), args=FLAGS)
        with serve(arguments.cache or Path(folder) / "cache") as server:
            figures = measure(chromium, server, arguments.steps, is_fresh=arguments.cache is None)
        chromium.close()
    for name, value in figures.items():
        shown = value if isinstance(value, dict) else round(value, 1)
        print(f"{name:<38} {shown}" + (f"   (goal: {GOALS[name]:g})" if name in GOALS else ""))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
