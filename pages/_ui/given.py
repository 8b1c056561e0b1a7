"""What the dashboard was started with: data and a network of your own, behind `--`."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrp_core.study import Study


def is_any() -> bool:
    """Whether data or a network were named."""
    return bool(_words())


def study() -> Study | None:
    """The quick study of what was named, or None. Raises `LrpError` for what cannot be read, every time."""
    return _study(_words()) if is_any() else None


def _words() -> tuple[str, ...]:
    script, *words = sys.argv
    return tuple(words) if Path(script).name == "app.py" else ()


@lru_cache(maxsize=1)
def _study(words: tuple[str, ...]) -> Study | None:
    from lrp_core.cli.dashboard import given_study

    return given_study(words)
