"""A small finished study in a ledger of its own: seconds to make, once for all tests of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lrp_core.data import Dataset
from lrp_core.study import Study, preset, run_study
from lrp_core.study.ledger import Ledger
from lrp_core.views.study import OpenedStudy, open_study

PAGES = Path(__file__).resolve().parents[2] / "pages"

SMALL = Study(
    n_train=300, architecture="softmax", keeps=(100, 400), seeds=(1, 2), rank_images=100, epochs=1, retrain_epochs=1
)


@dataclass(frozen=True)
class Stage:
    """A ledger and the study in it."""

    ledger: Ledger
    study: Study

    @property
    def opened(self) -> OpenedStudy:
        """The study, as a page asks it."""
        return open_study(self.study, self.ledger)

    def open(self, page: str, **query: str) -> AppTest:
        """Run a page as a visitor would open it."""
        [file] = PAGES.glob(f"*_{page.replace(' ', '_')}.py")
        app = AppTest.from_file(str(file), default_timeout=120)
        for key, value in query.items():
            app.query_params[key] = value
        return app.run()


def staged(folder: Path, data: Dataset, name: str = "own", **changes: Any) -> Iterator[Stage]:
    """A quick study of data, with changes, finished in a cache of its own while a test looks at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder))
        study = preset("quick", data, architecture="softmax", **changes)
        for _ in run_study(study, Ledger(folder), name=name, jobs=1):
            pass
        yield Stage(Ledger(folder), study)


@pytest.fixture(scope="session")
def small_cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder))
        for _ in run_study(SMALL, Ledger(folder), name="small", jobs=1):
            pass
    return folder


@pytest.fixture
def small(small_cache, monkeypatch) -> Stage:
    """The finished study."""
    monkeypatch.setenv("LRP_CACHE", str(small_cache))
    return Stage(Ledger(small_cache), SMALL)


@pytest.fixture
def single(small_cache, monkeypatch) -> Stage:
    """A study of one seed, of trials that are there already; its run goes away again."""
    monkeypatch.setenv("LRP_CACHE", str(small_cache))
    ledger = Ledger(small_cache)
    study = replace(SMALL, seeds=(1,))
    for _ in run_study(study, ledger, name="single", jobs=1):
        pass
    yield Stage(ledger, study)
    ledger.forget(study.key)


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Ledger:
    """A ledger with nothing in it."""
    monkeypatch.setenv("LRP_CACHE", str(tmp_path))
    return Ledger(tmp_path)
