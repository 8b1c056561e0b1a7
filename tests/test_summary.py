"""The summary of a study says what the study says, and is read without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrp_core import views
from lrp_core.errors import StorageError
from lrp_core.study import Study, run_study
from lrp_core.study.ledger import Ledger
from lrp_core.views.summary import Summary, packed, read_summary, summary_path, unpacked, write_summary

SMALL = Study(
    n_train=300, architecture="softmax", keeps=(100, 400), seeds=(1, 2), rank_images=100, epochs=1, retrain_epochs=1
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder))
        for _ in run_study(SMALL, Ledger(folder), jobs=1):
            pass
    return folder


@pytest.fixture
def opened(cache: Path, monkeypatch: pytest.MonkeyPatch) -> views.OpenedStudy:
    monkeypatch.setenv("LRP_CACHE", str(cache))
    return views.open_study(SMALL, Ledger(cache))


@pytest.fixture
def summary(opened: views.OpenedStudy) -> Summary:
    return views.summarise(opened)


def test_it_says_what_the_study_says(opened: views.OpenedStudy, summary: Summary) -> None:
    assert (summary.done, summary.total, summary.is_complete) == (len(opened.trials()), len(opened.trials()), True)
    pd.testing.assert_frame_equal(summary.validation, opened.curve())
    pd.testing.assert_frame_equal(summary.test, opened.curve("test"))
    assert (summary.methods, summary.words, summary.n_groups) == (SMALL.methods, opened.words, opened.n_groups)
    for margin in (0.0, 0.05, 0.5):
        own, theirs = summary.recommend(margin=margin), opened.recommend(margin=margin)
        assert own is not None and theirs is not None  # noqa: PT018
        assert own.sentence == theirs.sentence
        heads = summary.headline(margin=margin), opened.headline(margin=margin)
        assert (heads[0] is None) == (heads[1] is None)
        if heads[0] is not None and heads[1] is not None:
            assert heads[0].row["score"] == heads[1].row["score"]


def test_places_give_the_masks(opened: views.OpenedStudy, summary: Summary) -> None:
    for method in SMALL.methods:
        for keep in (1, 100, 333, 784):
            kept = opened.rankings.kept(method, keep, SMALL.seeds[0])
            place = summary.places_at(method, keep)
            assert place is not None
            np.testing.assert_array_equal(place < keep, kept.ravel())


def test_three_examples_of_different_classes(summary: Summary) -> None:
    assert summary.samples.shape == (3, 28, 28)
    assert len(set(summary.sample_names)) == 3
    assert 0 <= summary.samples.min() < summary.samples.max() <= 1


def test_it_comes_back_as_it_was_written(summary: Summary, tmp_path: Path) -> None:
    write_summary(summary, tmp_path)
    found = read_summary(tmp_path, summary.key)
    assert found is not None
    pd.testing.assert_frame_equal(found.validation, summary.validation)
    np.testing.assert_allclose(found.samples, summary.samples, atol=1 / 255)
    assert found.places.keys() == summary.places.keys()
    for method, known in found.places.items():
        for (keep, array), (other, expected) in zip(known, summary.places[method], strict=True):
            assert keep == other
            np.testing.assert_array_equal(array, expected)
    plain = {"validation", "test", "samples", "places"}
    for name in vars(summary).keys() - plain:
        assert getattr(found, name) == getattr(summary, name), name
    assert summary_path(tmp_path, summary.key).stat().st_size < 60_000


def test_a_study_without_a_network_has_a_summary_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRP_CACHE", str(cache))
    none = views.summarise(views.open_study(replace(SMALL, seeds=(7, 8), n_train=301), Ledger(cache)))
    assert none.done == 0
    assert none.recommend() is None
    assert none.headline() is None
    back = unpacked(packed(none))
    assert not len(back.validation)
    # The control needs no network, but nobody has ranked by it yet.
    assert back.places_at("lrp-0", 10) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: b"PK\x03\x04" + content[4:60],
        lambda content: content.replace(b"json.npy", b"json.nop"),
        lambda content: b"\x80\x04." + content,
    ],
)
def test_a_damaged_summary_is_none(summary: Summary, tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    path = summary_path(tmp_path, summary.key)
    path.parent.mkdir()
    path.write_bytes(spoil(packed(summary)))
    assert read_summary(tmp_path, summary.key) is None
    with pytest.raises(StorageError):
        unpacked(path.read_bytes())


def test_it_is_read_without_torch(summary: Summary, tmp_path: Path) -> None:
    write_summary(summary, tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from lrp_core.study.ledger import Ledger\n"
        "from lrp_core.views.summary import read_summary\n"
        f"found = read_summary(Path({str(tmp_path)!r}), {summary.key!r})\n"
        "assert found.recommend(margin=0.5) is not None\n"
        "print(*(name for name in ('torch', 'scipy', 'sklearn', 'joblib') if name in sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "LRP_CACHE": str(tmp_path)})  # fmt: skip
    assert said.stdout.strip() == ""
