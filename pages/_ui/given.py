"""What the dashboard was started with: data and a network of your own, behind `--`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrp_core.study import Study


def words() -> tuple[str, ...]:
    """What stands behind `--` on the command line."""
    script, *rest = sys.argv
    return tuple(rest) if Path(script).name == "app.py" else ()


def study() -> Study | None:
    """The quick study of what was named, or None. Raises `LrpError` for what cannot be read, every time."""
    if not words():
        return None
    from lrp_core.cli.dashboard import given_study  # loads the numerics, which takes seconds

    return given_study(words())


def folders() -> tuple[Path, ...]:
    """The folders that a visitor may name, beside those that are always allowed. Raises `InputError`."""
    if not words():
        return ()
    from lrp_core.cli.dashboard import given_folders

    return given_folders(words())
