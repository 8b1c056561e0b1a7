"""Have a browser for the tests: the one on PATH, Playwright's own, Debian's package, or Playwright's download.

Without one this fails in CI. Elsewhere it is a loud notice, and the browser tests are skipped.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def on_path() -> str | None:
    """A Chromium that is installed on this machine, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def find_browser() -> str | None:
    """A Chromium on PATH, or the one that Playwright downloaded earlier; None if there is neither."""
    if found := on_path():
        return found
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def main() -> int:
    if find_browser():
        return 0
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "chromium")
    if not find_browser():
        _run(sys.executable, "-m", "playwright", "install", "chromium")
    if find_browser():
        return 0
    sys.stderr.write(
        "\n*** No Chromium is installed and none could be installed: install one, or run "
        "'playwright install chromium'. ***\n\n"
    )
    return 1 if os.environ.get("CI") else 0


def _run(*command: str) -> None:
    subprocess.run(command, check=False, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


if __name__ == "__main__":
    sys.exit(main())
