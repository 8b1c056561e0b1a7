"""Groups of inputs, new kinds of files, and new rows for an export."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lrp_core as lc
from lrp_core.cli import main
from lrp_core.data import READERS, Dataset, InputGroup, Reader, Split, open_data, read_data, store
from lrp_core.data.files.contents import Contents, Part
from lrp_core.errors import InputError, StorageError
from lrp_core.registry import REGISTRIES
from lrp_core.study.export import predict as lc_predict

from ..support import ROOT
from .layouts import (
    COLOURS,
    N,
    ask,
    frame,
    make_csv,
    refused,
    table,
    write,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# What a data set keeps


def test_groups_are_kept_and_told_apart(own_cache: Path) -> None:
    raw, labels = table()
    split = Split(raw, labels)
    plain = Dataset("own", ("a", "b", "c"), split, split, split)
    grouped = Dataset(
        *("own", ("a", "b", "c"), split, split, split),
        groups=(InputGroup("pair", (0, 2), 1.5), InputGroup("rest", (1,))),
        imputed=((3, 0.25),),
        notes=("it was so",),
    )
    assert grouped.digest != plain.digest
    found = open_data("own", digest=store(grouped))
    assert (found.groups, found.imputed, found.notes) == (grouped.groups, grouped.imputed, grouped.notes)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: InputGroup("", (0,)), "needs a name"),
        (lambda: InputGroup("a", ()), "at least one input"),
        (lambda: InputGroup("a", (0, 0)), "each of its inputs once"),
        (lambda: InputGroup("a", (-1,)), "from 0 on"),
        (lambda: InputGroup("a", (0,), -1.0), "at least 0"),
        (lambda: InputGroup("a", (0,), float("nan")), "finite cost"),
    ],
)
def test_what_cannot_be_a_group(make: Callable[[], InputGroup], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ((InputGroup("a", (4,)),), "has input 4 of 4"),
        ((InputGroup("a", (0, 1)), InputGroup("b", (1,))), "input 1 is in the groups 'a' and 'b'"),
        ((InputGroup("a", (0,)), InputGroup("a", (1,))), "different names"),
    ],
)
def test_groups_that_do_not_fit(groups: tuple[InputGroup, ...], words: str) -> None:
    split = Split(*table())
    with pytest.raises(InputError, match=words):
        Dataset("own", ("a", "b", "c"), split, split, split, groups=groups)


def test_one_entry_is_enough_for_a_new_kind_of_file(tmp_path: Path) -> None:
    def read(path: Path, asked: Any) -> Contents:
        values, labels = table()
        return Contents(str(path), {"all": Part(values.astype(np.float32), labels)}, lambda _, i: f"{path}, row {i}")

    READERS.register("spectra", Reader("spectra of a device", (".spc",), read))
    try:
        assert read_data(write(tmp_path / "a.spc", "x")).shape == (4,)
        assert ".spc" in refused(write(tmp_path / "a.xyz", "x"))
    finally:
        REGISTRIES["kind of data"]._entries.pop("spectra")


def test_tables_need_no_pyarrow_unless_they_are_columns_on_disk(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", "x")
    code = (
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *rest: None if name.startswith('pyarrow') else find(name, *rest)\n"
        "import lrp_core as lc\n"
        f"assert len(lc.read_data({str(make_csv(tmp_path)[0])!r}).classes) == 3\n"
        f"try: lc.read_data({str(path)!r})\n"
        "except lc.LrpError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "this needs pyarrow, which is not installed: pip install 'lrp-core[parquet]'\n"


def test_storage_errors_are_told_from_refusals(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        read_data(tmp_path / "nowhere.csv")


# New rows


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A network that reads the first two sensors and the colour of a table, and the table."""
    rows = frame().assign(colour=[COLOURS[i % 3] for i in range(N)])
    rows.loc[[0, 7], "sensor 1"] = np.nan
    rows = rows[[*(c for c in rows.columns if c != "kind"), "kind"]]
    data = read_data(rows, impute="median", label="kind")
    network = lc.fit(lc.build_model("softmax", data), data, recipe=lc.Recipe(epochs=200))
    mask = lc.PixelMask.from_indices([0, 1, *data.groups[0].indices], data.shape)
    folder = tmp_path_factory.mktemp("exports") / "small"
    lc.export(lc.prune_inputs(network, mask), folder, data=data)
    return folder, rows


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_new_rows_need_only_the_columns_that_the_network_reads(
    suffix: str, exported: tuple[Path, pd.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, rows = exported
    few = rows[["colour", "sensor 1", "sensor 0"]].assign(note="not read")
    few.to_csv(tmp_path / "new.csv", index=False) if suffix == ".csv" else few.to_parquet(tmp_path / "new.parquet")
    found = ask(capsys, "predict", str(folder), str(tmp_path / f"new{suffix}"))["predictions"]
    assert [row["image"] for row in found] == [f"{tmp_path / 'new'}{suffix} row {i}" for i in range(N)]
    assert [row["class"] for row in found] == rows["kind"].tolist()
    card = json.loads((folder / "card.json").read_text())
    data = read_data(rows, impute="median", label="kind", standardise="no")
    assert card["input"]["imputed"] == {"1": pytest.approx(data.imputed[0][1])}
    _, expected = lc_predict(folder, data.test.raw)
    for probability, place in zip(expected.tolist(), data.test.indices.tolist(), strict=True):
        assert found[place]["confidence"] == pytest.approx(probability, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.drop(columns="sensor 0"), "lacks the columns 'sensor 0'"),
        (lambda rows: rows.drop(columns="colour"), "lacks the columns 'colour'"),
        (lambda rows: rows.assign(colour="violet"), "line 2, column 'colour' holds 'violet'"),
        (lambda rows: rows.assign(colour=None), "line 2, column 'colour' holds '(missing)'"),
        (lambda rows: rows.assign(**{"sensor 0": None}), "line 2 misses a value in column 'sensor 0'"),
        (lambda rows: rows.assign(**{"sensor 0": ["1"] * (N - 1) + ["x"]}), "column 'sensor 0' holds 'x'"),
    ],
)
def test_new_rows_that_cannot_be_read(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    words: str,
    exported: tuple[Path, pd.DataFrame],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, rows = exported
    change(rows).to_csv(tmp_path / "new.csv", index=False)
    assert main(["predict", str(folder), str(tmp_path / "new.csv")]) == 2
    assert words in capsys.readouterr().err


def test_data_of_other_classes_are_not_counted_as_wrong(
    exported: tuple[Path, pd.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, rows = exported
    rows.assign(kind=rows["kind"].map({"low": "a", "middle": "b", "high": "c"})).to_csv(tmp_path / "o.csv", index=False)
    assert main(["predict", str(folder), "--data", str(tmp_path / "o.csv"), "--impute", "median"]) == 2
    assert "give the data that it was made for" in capsys.readouterr().err
