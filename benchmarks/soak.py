"""Many visitors at once: python -m benchmarks.soak [--sessions 50] [--seconds 120] [--cache FOLDER] [--json FILE]

Real browser tabs, each a session of its own, open pages and move the slider, one action after another in turn, while
the server's memory is read. Prints the 95th percentile of an action, the server's memory after everyone has come and
at the end, and how many lines of its log speak of an error. Exits with 1 if a line does, if a page shows an exception,
or if memory grew by more than a tenth.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.browser.conftest import Server

FLAT = 0.10
"""Share by which the server's memory may grow once everyone is there."""
TITLES = ("Result", "How sure", "Studies", "Savings", "Result")
WRONG = re.compile(r"Traceback|Error|Exception")


def resident(server: Server) -> int:
    """Bytes of memory of the server's process, without the studies that it started."""
    port = server.url.rsplit(":", 1)[1]
    found = [
        process.info["memory_info"].rss
        for process in psutil.process_iter(["cmdline", "memory_info"])
        if f"--server.port={port}" in (process.info["cmdline"] or ())
    ]
    return max(found)


def act(page: Page, turn: int) -> None:
    """What one visitor does in one turn: go to another page, or move the slider where there is one."""
    if page.title().startswith("Result") and turn % 3:
        page.locator("input[type=range]").first.focus()
        for _ in range(5):
            page.keyboard.press("ArrowLeft" if turn % 2 else "ArrowRight")
        return
    title = TITLES[turn % len(TITLES)]
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=title, exact=True).click()
    page.wait_for_function("(title) => document.title.startsWith(title) && document.querySelector('h1')", arg=title)


def rounds(pages: list[Page], seconds: float) -> Iterator[float]:
    """Seconds that each action took, until the time is over and everyone had a turn at least."""
    end, turn = time.monotonic() + seconds, 0
    while time.monotonic() < end or turn == 0:
        for number, page in enumerate(pages):
            started = time.monotonic()
            act(page, turn + number)
            yield time.monotonic() - started
        turn += 1


def soak(chromium: Browser, server: Server, sessions: int, seconds: float) -> dict[str, Any]:
    """So many sessions for so long; what was seen."""
    pages = []
    for _ in range(sessions):
        page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.set_default_timeout(120_000)
        page.goto(server.url)
        page.locator("h1").first.wait_for()
        pages.append(page)
    warm_up = list(rounds(pages, seconds / 4))
    before = resident(server)
    times = list(rounds(pages, seconds))
    after = resident(server)
    exceptions = sum(page.get_by_test_id("stException").count() for page in pages)
    wrong = [line for line in server.log.read_text(errors="replace").splitlines() if WRONG.search(line)]
    return {
        "sessions": sessions,
        "actions": len(warm_up) + len(times),
        "action, median, s": round(statistics.median(times), 2),
        "action, 95th percentile, s": round(statistics.quantiles(times, n=20)[-1], 2),
        "memory before, MB": round(before / 1e6),
        "memory after, MB": round(after / 1e6),
        "growth": round(after / before - 1, 3),
        "exceptions on pages": exceptions,
        "wrong lines in the log": wrong[:20],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--cache", type=Path, help="a cache folder with finished studies; default: an empty one")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import FLAGS, serve
    from tools.ensure_browser import on_path

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=on_path(), args=FLAGS)
        with serve(arguments.cache or Path(folder) / "cache") as server:
            seen = soak(chromium, server, arguments.sessions, arguments.seconds)
        chromium.close()
    for name, value in seen.items():
        print(f"{name:<28} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(seen, indent=2))
    sys.exit(bool(seen["exceptions on pages"] or seen["wrong lines in the log"] or seen["growth"] > FLAT))


if __name__ == "__main__":
    main()
