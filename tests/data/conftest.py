"""A small stand-in for a named data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import idx


@pytest.fixture
def kmnist(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[idx.Published, Path]:
    """A small stand-in for KMNIST, and the folder of its archives."""
    published = idx.publish("kmnist")
    published.register(monkeypatch)
    return published, published.write(tmp_path / "kmnist")
