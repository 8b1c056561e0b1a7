"""A measured study in one file: whole, broken and hostile ones, and the ledger that adopts it."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lrp_core import views
from lrp_core.data import load_dataset, store
from lrp_core.errors import InputError, StorageError
from lrp_core.study import Ledger, Study, launch, plan, preset, run_study
from lrp_core.study.bundle import Bundle, adopt, kept_at, read_bundle, shipped
from lrp_core.study.measured import adopt_rankings, repeat_of, write_bundle
from lrp_core.study.results import recommend
from lrp_core.study.stages import is_cached, is_trained
from tests.support import ROOT, toy_dataset

Member = dict[str, bytes]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Ledger, Path]:
    """A small study that has run, its ledger, and its file; its data are kept wherever they are asked for."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder))
        study = Study(keeps=(5, 10), strategies=("elimination", "one-shot"), seeds=(0, 1), epochs=1, retrain_epochs=1,
                      architecture="softmax", rank_images=60).on(toy_dataset())  # fmt: skip
        ledger = Ledger(folder)
        list(run_study(study, ledger, name="toy", jobs=1))
        write_bundle(study, ledger, folder / "toy.zip", command="by hand")
    return study, ledger, folder / "toy.zip"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Another cache, which has the data and nothing else."""
    monkeypatch.setenv("LRP_CACHE", str(tmp_path))
    store(toy_dataset())
    return Ledger(tmp_path)


def keys_of(study: Study) -> list[str]:
    return [trial.key for trial in plan(study, toy_dataset())]


def test_a_study_that_is_adopted_says_what_it_said(measured: tuple[Study, Ledger, Path], elsewhere: Ledger) -> None:
    study, ledger, path = measured
    run = adopt(path, elsewhere)
    assert run is not None
    assert elsewhere.run(study.key) == run
    assert (run.id, run.name, run.kind, run.state, run.done) == (study.key, "toy", "study", "done", run.total)
    assert run.is_read_only
    assert not run.is_active
    assert run.provenance["command"] == "by hand"
    assert run.provenance["digest"] == toy_dataset().digest
    assert Study.from_values(run.spec) == study
    pd.testing.assert_frame_equal(ledger.trials(keys_of(study)), elsewhere.trials(keys_of(study)), check_like=True)
    assert not elsewhere.recorded(keys_of(study)), "nothing of it counts as done"
    before = views.open_study(study, ledger).curve("test")
    pd.testing.assert_frame_equal(views.open_study(study.key, elsewhere).curve("test"), before)


def test_its_rankings_are_ready_without_its_networks(
    measured: tuple[Study, Ledger, Path], elsewhere: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, ledger, path = measured
    run = adopt(path, elsewhere)
    assert run is not None
    specs = {trial.ranking for trial in plan(study, toy_dataset()) if trial.ranking}
    assert not any(map(is_cached, specs))
    opened = views.open_study(study.key, elsewhere)
    assert all(map(is_cached, specs))
    assert not any(is_trained(base) for spec in specs for base in spec.bases)
    assert adopt_rankings(run, elsewhere) == 0
    for method in study.methods:
        assert opened.rankings.is_ready(method, 5, 1)
    there = opened.rankings.of("lrp-0, elimination", 5, 1)
    assert opened.baseline_is_ready(1)
    assert not opened.has_network(1)
    monkeypatch.setenv("LRP_CACHE", str(ledger.folder))
    here = views.open_study(study, ledger).rankings.of("lrp-0, elimination", 5, 1)
    assert there.order.tolist() == here.order.tolist()
    assert there.scores.tolist() == here.scores.tolist()


def test_what_is_adopted_is_neither_started_nor_cancelled_and_a_repetition_is_another_study(
    measured: tuple[Study, Ledger, Path], elsewhere: Ledger
) -> None:
    study, _, path = measured
    before = adopt(path, elsewhere)
    with pytest.raises(StorageError, match="measured elsewhere"):
        launch.start_study(study, elsewhere)
    elsewhere.request_cancel(study.key)
    elsewhere.check_cancelled(study.key)
    assert elsewhere.run(study.key) == before
    again = views.repeat_of(study)
    assert again.seeds == (100, 101)
    assert not set(keys_of(again)) & set(keys_of(study))
    assert views.outlook(again, elsewhere, views.measured_timings(elsewhere)).there == 0
    assert elsewhere.announce(again.key, "study", "again", again.values(), 3)


@pytest.mark.parametrize(
    ("seeds", "masks", "expected"),
    [
        ((0, 1, 2), (), ((100, 101, 102), ())),
        ((0, 100), (7,), ((200, 300), (207,))),
        ((99, 0), (), ((199, 100), ())),
        ((2**32 - 1,), (), None),
    ],
)
def test_a_repetition_has_no_seed_of_the_study(
    seeds: tuple[int, ...], masks: tuple[int, ...], expected: tuple[tuple[int, ...], ...] | None
) -> None:
    study = Study(keeps=(5,), seeds=seeds, mask_seeds=masks)
    if expected is None:
        with pytest.raises(InputError, match="seed must be"):
            repeat_of(study)
        return
    again = repeat_of(study)
    assert (again.seeds, again.mask_seeds) == expected


def test_a_study_that_really_runs_takes_the_place_of_the_adopted_one(
    measured: tuple[Study, Ledger, Path], elsewhere: Ledger
) -> None:
    study, _, path = measured
    adopt(path, elsewhere)
    steps = run_study(study, elsewhere, jobs=1)
    next(steps)
    steps.close()
    run = elsewhere.run(study.key)
    assert run is not None
    assert (run.is_read_only, run.state) == (False, "cancelled")
    assert 0 < len(elsewhere.trials(keys_of(study))) < run.total
    assert adopt(path, elsewhere) is None, "it never overwrites what a person has"
    assert elsewhere.run(study.key) == run


def test_a_study_that_a_person_deleted_is_not_adopted_again(
    measured: tuple[Study, Ledger, Path], elsewhere: Ledger
) -> None:
    study, _, path = measured
    assert adopt(path, elsewhere) == adopt(path, elsewhere)
    elsewhere.forget(study.key)
    assert elsewhere.trials(keys_of(study)).empty
    assert adopt(path, elsewhere) is None
    assert elsewhere.run(study.key) is None


def test_two_processes_adopt_at_once_and_torch_is_not_loaded(
    measured: tuple[Study, Ledger, Path], elsewhere: Ledger
) -> None:
    study, _, path = measured
    code = (
        "import sys; from pathlib import Path; from lrp_core.study.bundle import adopt; "
        "from lrp_core.study.ledger import Ledger; "
        f"print(adopt(Path({str(path)!r}), Ledger(Path({str(elsewhere.folder)!r}))).id, 'torch' in sys.modules)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in processes] == [f"{study.key} False"] * 3
    with closing(sqlite3.connect(elsewhere.path)) as database:
        assert database.execute("SELECT count(*) FROM adopted").fetchone()[0] == len(keys_of(study))


def test_timings_of_another_machine_are_not_gone_by(measured: tuple[Study, Ledger, Path], elsewhere: Ledger) -> None:
    adopt(measured[2], elsewhere)
    assert views.measured_timings(elsewhere).empty


def test_only_a_complete_study_becomes_a_file(
    measured: tuple[Study, Ledger, Path], elsewhere: Ledger, tmp_path: Path
) -> None:
    study, _, path = measured
    with pytest.raises(InputError, match="run it first"):
        write_bundle(study, elsewhere, tmp_path / "none.zip")
    adopt(path, elsewhere)
    with pytest.raises(InputError, match="not been measured here"):
        write_bundle(study, elsewhere, tmp_path / "none.zip")
    assert not (tmp_path / "none.zip").exists()


def test_without_its_file_a_study_still_has_its_curves(measured: tuple[Study, Ledger, Path], elsewhere: Ledger) -> None:
    study, _, path = measured
    run = adopt(path, elsewhere)
    assert run is not None
    kept_at(elsewhere, study.key).unlink()
    with pytest.raises(StorageError, match="cannot read"):
        adopt_rankings(run, elsewhere)
    assert len(views.open_study(study.key, elsewhere).curve())


# Broken and hostile files


def members(path: Path) -> Member:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The file with another `study.json`."""
    files = members(path)
    described = json.loads(files["study.json"])
    change(described)
    return zipped(target, files | {"study.json": json.dumps(described).encode()})


def zipped(target: Path, files: Member) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target


def npy(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def _set(*place: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(described: dict[str, Any]) -> None:
        at: Any = described
        for step in place[:-1]:
            at = at[step]
        at[place[-1]] = to

    return change


CHANGES = {
    "a later version": (_set("version", to=2), "newer than this program's"),
    "a version that is none": (_set("version", to="1"), "damaged"),
    "results of another stage version": (_set("stages", to=4), "stage version 4"),
    "no number": (_set("trials", 0, 2, "test_score", to=float("nan")), "NaN is no result"),
    "an infinity": (_set("trials", 0, 2, "macs", to=float("inf")), "Infinity is no result"),
    "text for a number": (_set("trials", 0, 2, "test_score", to="0.9"), "test_score"),
    "a truth for a number": (_set("trials", 0, 2, "macs", to=True), "macs"),
    "no images": (_set("trials", 0, 2, "test_images", to=0), "test_images"),
    "too many images": (_set("trials", 0, 2, "test_images", to=10**6), "test_correct"),
    "a trial twice": (lambda d: d["trials"].append(d["trials"][0]), "keys"),
    "no trials": (_set("trials", to=[]), "trials"),
    "half a trial": (lambda d: d["trials"][0].pop(), "damaged"),
    "a key that is a path": (_set("key", to="../../ledger.sqlite00000"), "keys"),
    "a folder of another machine": (_set("values", "root", to="/etc"), "values"),
    "an unknown column": (_set("trials", 0, 1, "colour", to="red"), "a trial"),
    "a time to come": (_set("started", to=1e12), "times"),
    "a ranking too many": (lambda d: d["rankings"].append("0" * 24), "rankings"),
    "no provenance": (_set("provenance", to={}), "provenance"),
    "a name of no length": (_set("name", to=""), "name"),
    "a list for the whole": (lambda d: d.clear(), "damaged"),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_a_file_that_says_what_cannot_be_is_refused_in_one_sentence(
    measured: tuple[Study, Ledger, Path], elsewhere: Ledger, tmp_path: Path, name: str
) -> None:
    change, says = CHANGES[name]
    path = rewritten(measured[2], tmp_path / "bad.zip", change)
    with pytest.raises(StorageError, match=says) as refusal:
        adopt(path, elsewhere)
    assert "\n" not in str(refusal.value)
    assert elsewhere.runs() == []
    assert not kept_at(elsewhere, measured[0].key).exists()


def arrays(change: dict[str, np.ndarray | bytes | None]) -> Callable[[Member], Member]:
    def changed(files: Member) -> Member:
        new = {name: npy(value) if isinstance(value, np.ndarray) else value for name, value in change.items()}
        return {name: content for name, content in (files | new).items() if content is not None}

    return changed


N_RANKINGS, N_INPUTS = 8, 36
FILES: dict[str, Callable[[Member], Member]] = {
    "another name": lambda files: files | {"../evil.npy": b"x"},
    "no description": lambda files: {name: content for name, content in files.items() if name != "study.json"},
    "no JSON": lambda files: files | {"study.json": b"{"},
    "nested without end": lambda files: files | {"study.json": b"[" * 100_000},
    "a zip bomb": lambda files: files | {"scores.npy": bytes(65 * 2**20)},
    "pickled objects": lambda files: files | {"scores.npy": npy(np.array([[{}]], object), allow_pickle=True)},
    "a head of too much": lambda files: files | {"scores.npy": npy(np.zeros((1, 1))).replace(b"(1, 1)", b"(9, 9)")},
    "a damaged array": lambda files: files | {"order.npy": files["order.npy"][:-5]},
    "scores that are no numbers": arrays({"scores.npy": np.full((N_RANKINGS, N_INPUTS), np.nan)}),
    "errors without end": arrays({"standard_errors.npy": np.full((N_RANKINGS, N_INPUTS), np.inf)}),
    "an order with a place twice": arrays({"order.npy": np.zeros((N_RANKINGS, N_INPUTS), np.uint8)}),
    "rankings of too few": arrays({"scores.npy": np.zeros((N_RANKINGS - 1, N_INPUTS))}),
    "answers of too few": arrays({"test_correct.npy": np.zeros((3, 8), np.uint8)}),
    "no order": arrays({"order.npy": None}),
}


@pytest.mark.parametrize("name", list(FILES))
def test_a_file_of_other_members_is_refused(
    measured: tuple[Study, Ledger, Path], elsewhere: Ledger, tmp_path: Path, name: str
) -> None:
    path = zipped(tmp_path / "bad.zip", FILES[name](members(measured[2])))
    with pytest.raises(StorageError, match="truncated, damaged or no measured study"):
        adopt(path, elsewhere)
    assert elsewhere.runs() == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(measured: tuple[Study, Ledger, Path], tmp_path: Path, share: float) -> None:
    content = measured[2].read_bytes()
    path = tmp_path / "half.zip"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(StorageError, match="truncated"):
        read_bundle(path)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        read_bundle(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("a study")
    with pytest.raises(StorageError, match="no measured study"):
        read_bundle(tmp_path / "text.zip")
    (tmp_path / "large.zip").write_bytes(bytes(9 * 2**20))
    with pytest.raises(StorageError, match="more than the"):
        read_bundle(tmp_path / "large.zip")


def test_a_file_is_read_back_as_it_was_written(measured: tuple[Study, Ledger, Path], tmp_path: Path) -> None:
    first = read_bundle(measured[2])
    first.save(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == measured[2].read_bytes(), "the same study is the same file"
    nan = replace(first, trials=(*first.trials[:-1], (*first.trials[-1][:2], {"test_score": float("nan")}, 1.0)))
    with pytest.raises(StorageError, match="no number"):
        nan.save(tmp_path / "nan.zip")
    assert isinstance(first, Bundle)


# What comes with the project


def test_the_study_that_comes_with_the_project_is_the_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist = load_dataset("mnist")
    monkeypatch.setenv("LRP_CACHE", str(tmp_path))
    (path,) = shipped()
    assert path.stat().st_size < 400_000
    bundle, study = read_bundle(path), preset("full", mnist)
    trials = plan(study, mnist)
    assert bundle.key == study.key
    assert Study.from_values(bundle.values) == study
    assert {row[0] for row in bundle.trials} == {trial.key for trial in trials}
    assert bundle.provenance["digest"] == mnist.digest
    ledger = Ledger(tmp_path)
    run = adopt(path, ledger)
    assert run is not None
    assert adopt_rankings(run, ledger) == len(bundle.rankings)
    assert all(is_cached(trial.ranking) for trial in trials if trial.ranking)
    found = recommend(ledger.trials([t.key for t in trials]), mnist.n_groups, "lrp-0, elimination")
    assert found is not None
    assert found.row is not None
    assert found.is_certain
    assert found.margin == 0.005
    assert found.row["removed"] >= 0.75
    assert views.name_study(study) == "full"
