"""A real server on a cache of its own, and a real browser."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Error, expect, sync_playwright

from tests.support import PATIENCE
from tools.ensure_browser import on_path

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=120_000)

# Streamlit's client asks below a page's own path first, and falls back to the root.
KNOWN_ERRORS = re.compile(r"status of 404")


@dataclass(frozen=True)
class Server:
    """A running app: where it answers, and its cache folder."""

    url: str
    cache: Path
    log: Path


@contextlib.contextmanager
def serve(cache: Path) -> Iterator[Server]:
    """The app on a free port, with `cache` as its cache folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cache.mkdir(parents=True, exist_ok=True)
    log = cache / "server.log"
    command = [
        sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}", "--server.address=127.0.0.1",
        "--server.fileWatcherType=none",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "LRP_CACHE": str(cache)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(url, process, log)
        yield Server(url, cache, log)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def _wait_until_healthy(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
            return
        time.sleep(0.1)
    pytest.fail(f"the server did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def browser():
    """Chromium from PATH, else Playwright's own. Without one, CI fails and anyone else is told."""
    with sync_playwright() as driver:
        try:
            chromium = driver.chromium.launch(executable_path=on_path(), args=FLAGS)
        except Error as error:
            reason = f"NO BROWSER: the browser tests did not run ({str(error).splitlines()[0]})"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """One server with an empty cache for the session; the tests of a file visit it in order."""
    with serve(tmp_path_factory.mktemp("served") / "cache") as running:
        yield running


@pytest.fixture
def open_page(browser, server):
    """Open pages in tabs of their own; at the end none may have logged an error or shown an exception."""
    pages, errors = [], []

    def open_at(path: str = "", *, width: int = 1280, dark: bool = False):
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                errors.append(message.text)
                if message.type == "error" and not KNOWN_ERRORS.search(message.text)
                else None
            ),
        )
        page.goto(f"{server.url}/{path}")
        pages.append(page)
        return page

    yield open_at
    shown = [text for page in pages for text in page.get_by_test_id("stException").all_inner_texts()]
    for page in pages:
        page.close()
    assert not shown
    assert not errors


def heading(page, name: str):
    """A page's title; that of the first page is what was found."""
    if name == "Result":
        return page.get_by_role("heading", level=1).first
    return page.get_by_role("heading", name=name, level=1, exact=True)


# The script ends before everything it sent is drawn: the client loads and mounts some elements later.
STILL = """() => new Promise((resolve) => {
  const app = document.querySelector('[data-testid=stApp]');
  let last = '', since = performance.now();
  const look = () => {
    const now = app.getAttribute('data-test-script-state') + app.innerHTML;
    if (now !== last) { last = now; since = performance.now(); }
    const isStill = performance.now() - since > 300 && !app.querySelector('[data-testid=stSkeleton]');
    if (isStill && now.startsWith('notRunning')) resolve(true);
    else setTimeout(look, 50);
  };
  look();
})"""


def settle(page, name: str) -> None:
    """Wait until a page is drawn: its title is there, no script runs, and nothing has changed for a moment."""
    heading(page, name).wait_for()
    page.wait_for_function(STILL)


def go(page, name: str) -> None:
    page.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()
    settle(page, name)


def menu(page) -> list[str]:
    page.get_by_test_id("stSidebarNavLink").first.wait_for()
    return [text.splitlines()[-1] for text in page.get_by_test_id("stSidebarNavLink").all_inner_texts()]


def icons(page) -> int:
    return page.locator("[data-testid=stSidebarNavLink] [data-testid=stIconMaterial]").count()


def choose(page, title: str, label: str, option: str) -> None:
    """Choose in a list by keyboard: a click that first scrolls a list into view only focuses it."""
    settle(page, title)
    box = page.get_by_role("combobox", name=re.compile(label))
    box.focus()
    box.press_sequentially(option)
    page.get_by_role("option", name=option, exact=True).wait_for()
    page.keyboard.press("Enter")
