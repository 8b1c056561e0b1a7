"""Take the screenshots of docs/screenshots: python docs/make_screenshots.py [CACHE]

Starts the app on a free port with the given cache folder (default: the project's), waits until its study is
complete, and writes one small PNG for each page, in light colours, and the first page in dark ones as well.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page, sync_playwright  # noqa: E402

from tests.browser.conftest import FLAGS, serve  # noqa: E402
from tools.ensure_browser import on_path  # noqa: E402

TARGET = ROOT / "docs" / "screenshots"
SHOTS = (
    ("result", "", "light"),
    ("result-dark", "", "dark"),
    ("try-it", "Try_it", "light"),
    ("why", "Why?image=4", "light"),
    ("how-sure", "How_sure", "light"),
    ("studies", "Studies", "light"),
    ("budget", "Budget", "light"),
    ("savings", "Savings", "light"),
    ("export", "Export", "light"),
)
LIMIT = 220_000
"""Bytes that one picture may take."""


def main(cache: Path) -> None:
    """Write every picture."""
    TARGET.mkdir(exist_ok=True)
    with serve(cache) as server, sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=on_path(), args=FLAGS)
        for name, path, scheme in SHOTS:
            page = chromium.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
            page.goto(f"{server.url}/{path}")
            page.get_by_text("Complete").wait_for(timeout=300_000)
            _settle(page)
            finding = page.get_by_role("button", name="Find the path")
            if finding.count():
                finding.click()
                page.get_by_text("Trained networks").wait_for(timeout=300_000)
                _settle(page)
            prepare = page.get_by_role("button", name="Prepare export")
            if prepare.count() and name == "export":
                prepare.click()
                page.get_by_role("button", name="Download the network").wait_for(timeout=120_000)
            height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
            page.set_viewport_size({"width": 1280, "height": min(height, 1500)})
            _settle(page)
            file = TARGET / f"{name}.png"
            page.screenshot(path=file, animations="disabled")
            page.close()
            if file.stat().st_size > LIMIT:
                sys.exit(f"{file} takes {file.stat().st_size:,} bytes, more than {LIMIT:,}")


def _settle(page: Page) -> None:
    """Wait until no script runs and the charts have been drawn."""
    page.wait_for_function(
        "document.querySelector('[data-testid=stApp]').getAttribute('data-test-script-state') === 'notRunning'"
    )
    page.wait_for_timeout(1500)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "cache").resolve())
