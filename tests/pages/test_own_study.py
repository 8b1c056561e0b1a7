"""Everything of your own goes from numbers to a prediction from outside, and the dashboard shows it by its names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrp_core.study import Study
from lrp_core.study.ledger import Ledger

from ..support import ROOT
from .conftest import Stage

NAMES = ("mixed", "mixed, halves", "range")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The script, run in a folder of its own, and what it said."""
    folder = tmp_path_factory.mktemp("outside")
    environment = os.environ | {"LRP_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "everything_of_your_own.py", folder],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "cache", done.stdout


@pytest.mark.slow
def test_it_finds_the_columns_that_tell(story: tuple[Path, str]) -> None:
    _, said = story
    assert "kept: sensor 2, sensor 5" in said
    for name in NAMES:
        assert name in said


@pytest.mark.slow
def test_the_dashboard_shows_it_where_its_objects_are_not_known(
    story: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, said = story
    monkeypatch.setenv("LRP_CACHE", str(folder))
    ledger = Ledger(folder)
    run = ledger.run(said.split()[-1])
    assert run is not None
    stage = Stage(ledger, Study.from_values(run.spec))
    for page in ("Result", "How sure"):
        app = stage.open(page, study=run.id)
        assert not app.exception, page
        assert all("PLUGINS" in error.value for error in app.error), page
        assert "mixed" in app.session_state["facts"].methods, page
        assert app.title, page
