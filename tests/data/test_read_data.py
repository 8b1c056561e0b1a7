"""Data from files as people have them: read through the command line, studied, exported, and broken on purpose."""

from __future__ import annotations

import gzip
import io
import json
import re
import shlex
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import lrp_core as lc
from lrp_core.cli import main
from lrp_core.data import READERS, Dataset, InputGroup, Reader, Split, open_data, read_data, store
from lrp_core.data.files import contents as limits
from lrp_core.data.files.arrays import _role
from lrp_core.data.files.contents import Contents, Part
from lrp_core.data.files.labels import classes_of
from lrp_core.errors import InputError, LrpError, StorageError
from lrp_core.registry import REGISTRIES
from lrp_core.study.export import predict as lc_predict

from ..support import ROOT, check_sentence
from .idx import pack

pytestmark = pytest.mark.slow

COLOURS = ("red", "green", "blue")
N = 60


def table(n: int = N, columns: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Numbers far from zero of which the first two columns tell the class, and the three classes in turn."""
    labels = np.arange(n) % 3
    values = np.random.default_rng(seed).normal(10, 1, (n, columns))
    values[:, 0] += 8 * (labels == 1)
    values[:, 1] += 8 * (labels == 2)
    return values, labels


def frame(n: int = N, **more: Any) -> pd.DataFrame:
    values, labels = table(n, **more)
    named = pd.DataFrame(values, columns=[f"sensor {i}" for i in range(values.shape[1])])
    return named.assign(kind=[("low", "middle", "high")[i] for i in labels])


def pictures(n: int = N, size: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, size, size], each of three classes bright in its own band of rows."""
    labels = np.arange(n) % 3
    images = np.random.default_rng(seed).integers(0, 90, (n, size, size))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 120
    return images.astype(np.uint8), labels


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def write_folders(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / COLOURS[label]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:03}.png").write_bytes(png(image))


def make_csv(folder: Path) -> tuple[Path, list[str]]:
    frame().to_csv(folder / "wine.csv", index=False)
    return folder / "wine.csv", ["--label", "kind"]


def make_worded(folder: Path) -> tuple[Path, list[str]]:
    """With gaps, patients, a column of notes and a name that needs quotes, so that every option has something to do."""
    rows = frame(90).assign(patient=[f"p{i // 3}" for i in range(90)], note=[f"note {i}" for i in range(90)])
    rows.loc[[3, 4], "sensor 3"] = np.nan
    rows.to_csv(folder / "my wine.csv", index=False)
    words = ["--label", "kind", "--groups-column", "patient", "--drop", "note", "--impute", "median"]
    return folder / "my wine.csv", [*words, "--header", "--standardise", "inputs", "--split-seed", "3"]


def make_semicolons(folder: Path) -> tuple[Path, list[str]]:
    """As spreadsheets write tables where the decimal mark is a comma."""
    frame().to_csv(folder / "wine.csv", index=False, sep=";", decimal=",", encoding="utf-8-sig")
    return folder / "wine.csv", []


def make_tsv(folder: Path) -> tuple[Path, list[str]]:
    frame().to_csv(folder / "wine.tsv", index=False, sep="\t")
    return folder / "wine.tsv", []


def make_kaggle(folder: Path) -> tuple[Path, list[str]]:
    images, labels = pictures()
    named = pd.DataFrame(images.reshape(N, -1), columns=[f"pixel{i}" for i in range(64)])
    named.insert(0, "label", labels)
    named.to_csv(folder / "train.csv", index=False)
    named.drop(columns="label").to_csv(folder / "test.csv", index=False)
    return folder, []


def make_parquet(folder: Path) -> tuple[Path, list[str]]:
    pytest.importorskip("pyarrow")
    frame().to_parquet(folder / "wine.parquet")
    return folder / "wine.parquet", []


def make_arrow(folder: Path) -> tuple[Path, list[str]]:
    pytest.importorskip("pyarrow")
    frame().to_feather(folder / "wine.arrow")
    return folder / "wine.arrow", []


def make_stream(folder: Path) -> tuple[Path, list[str]]:
    """As `datasets` keeps a table in its cache."""
    pyarrow = pytest.importorskip("pyarrow")
    rows = pyarrow.Table.from_pandas(frame())
    with pyarrow.OSFile(str(folder / "wine.arrow"), "wb") as file, pyarrow.ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows, max_chunksize=25)
    return folder / "wine.arrow", []


def make_image_table(folder: Path) -> tuple[Path, list[str]]:
    """As `datasets` publishes images: files of parts, and the names of the classes beside the columns."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(COLOURS)}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    (folder / "data").mkdir()
    for part, seed in (("train", 0), ("test", 1)):
        images, labels = pictures(seed=seed)
        column = [{"bytes": png(image), "path": None} for image in images]
        rows = pyarrow.table({"image": column, "label": labels}).replace_schema_metadata(metadata)
        parquet.write_table(rows, folder / "data" / f"{part}-00000-of-00001.parquet")
    return folder, []


def make_npz(folder: Path) -> tuple[Path, list[str]]:
    (x, y), (x_test, y_test) = pictures(), pictures(seed=1)
    np.savez_compressed(folder / "mnist.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return folder / "mnist.npz", []


def make_named_npz(folder: Path) -> tuple[Path, list[str]]:
    values, labels = table()
    np.savez(folder / "own.npz", readings=values, verdict=labels + 1, other=labels)
    return folder / "own.npz", ["--inputs", "readings", "--label", "verdict"]


def make_series(folder: Path) -> tuple[Path, list[str]]:
    values, labels = table(columns=12)
    np.savez(folder / "series.npz", X=values.reshape(N, 2, 6), y=labels)
    return folder / "series.npz", []


def make_mat(folder: Path) -> tuple[Path, list[str]]:
    from scipy import io

    values, labels = table()
    io.savemat(folder / "own.mat", {"X": values, "y": labels + 1})
    return folder / "own.mat", []


def make_idx(folder: Path) -> tuple[Path, list[str]]:
    for part, seed in (("train", 0), ("t10k", 1)):
        images, labels = pictures(seed=seed)
        packed = gzip.compress(pack(images)) if part == "train" else pack(images)
        name = f"{part}-images-idx3-ubyte.gz" if part == "train" else f"{part}-images.idx3-ubyte"
        (folder / name).write_bytes(packed)
        (folder / name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")).write_bytes(
            pack(labels.astype(np.uint8))
        )
    return folder, []


def make_folders(folder: Path) -> tuple[Path, list[str]]:
    write_folders(folder, *pictures())
    return folder, []


def make_parted_folders(folder: Path) -> tuple[Path, list[str]]:
    write_folders(folder / "training", *pictures())
    write_folders(folder / "testing", *pictures(seed=1))
    return folder, ["--image-size", "8x8"]


KINDS: dict[str, tuple[Callable[[Path], tuple[Path, list[str]]], tuple[int, ...], tuple[int, int, int]]] = {
    "csv": (make_csv, (4,), (42, 9, 9)),
    "csv with every word": (make_worded, (4,), (60, 15, 15)),
    "csv with semicolons": (make_semicolons, (4,), (42, 9, 9)),
    "tsv": (make_tsv, (4,), (42, 9, 9)),
    "Kaggle's pixels": (make_kaggle, (1, 8, 8), (42, 9, 9)),
    "parquet": (make_parquet, (4,), (42, 9, 9)),
    "arrow": (make_arrow, (4,), (42, 9, 9)),
    "arrow stream": (make_stream, (4,), (42, 9, 9)),
    "table of images": (make_image_table, (1, 8, 8), (50, 10, 60)),
    "npz": (make_npz, (1, 8, 8), (50, 10, 60)),
    "npz with names": (make_named_npz, (4,), (42, 9, 9)),
    "series": (make_series, (2, 6), (42, 9, 9)),
    "mat": (make_mat, (4,), (42, 9, 9)),
    "idx": (make_idx, (1, 8, 8), (50, 10, 60)),
    "folders": (make_folders, (1, 8, 8), (42, 9, 9)),
    "folders of parts": (make_parted_folders, (1, 8, 8), (50, 10, 60)),
}


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_studied_and_exported(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a file on the command line to an export that predicts, and the words of `export` ask for the same data."""
    make, shape, sizes = KINDS[kind]
    folder = tmp_path / "given"
    folder.mkdir()
    path, words = make(folder)
    asked = ["--data", str(path), *words]
    few = ["--model", "softmax", "--epochs", "200"]
    keep = str(int(np.prod(shape)) // 2)
    found = ask(capsys, "study", *asked, *few, "--keeps", keep, "--seeds", "0", "--criteria", "lrp-0", "--jobs", "1")
    assert found["trials"] == 2
    data = open_data(found["spec"]["dataset"], digest=found["spec"]["digest"])
    assert data.shape == shape
    assert (len(data.train), len(data.validation), len(data.test)) == sizes
    assert [split.labels.unique().tolist() for split in (data.train, data.validation, data.test)] == [[0, 1, 2]] * 3
    assert main(["export", *asked, *few, "--keep", keep, "--output", str(tmp_path / "small")]) == 0
    said = capsys.readouterr().out
    command = shlex.split(said.split("python -m lrp_core ")[1])
    answer = ask(capsys, *command[:-2])
    assert len(answer["predictions"]) == sizes[2]
    card = json.loads((tmp_path / "small" / "card.json").read_text())
    assert answer["accuracy"] == pytest.approx(card["accuracy"]["value"], abs=1e-9)
    assert answer["accuracy"] > 0.6


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


# What is refused


def refused(path: object, **options: Any) -> str:
    """The one sentence that reading is refused with."""
    with pytest.raises(LrpError) as caught:
        read_data(path, **options)
    check_sentence(caught.value)
    return str(caught.value)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


ROWS = "".join(f"{i},{i % 7},{'ab'[i % 2]}\n" for i in range(20))

BROKEN_TABLES = {
    "a row too long at once": ("a,b,kind\n1,2,a,9\n" + ROWS, "line 2 has 4 fields and the first line 3"),
    "a row too long": ("a,b,kind\n" + ROWS + "1,2,a,9\n", "line 22 has 4 fields and the first line 3"),
    "a row too short": ("a,b,kind\n" + ROWS + "1,2\n" + ROWS, "line 22 has 2 fields"),
    "a word among numbers": ("a,b,kind\n" + ROWS + "x7,2,a\n", "line 22, column 'a' holds 'x7' where most rows hold"),
    "a label missing": ("a,b,kind\n" + ROWS + "1,2,\n", "line 22 has no label"),
    "all labels missing": ("a,b,kind\n" + "1,2,\n" * 9, "does not say which column|has no label"),
    "a class with one row": ("a,b,kind\n" + ROWS + "1,2,c\n", "1 row of class 'c', and 3 are needed"),
    "one class": ("a,b,kind\n" + "1,2,a\n" * 9, "does not say which column holds the labels"),
    "NaN": ("a,b,kind\n" + ROWS + "NaN,2,a\n,3,b\n", r"misses values in column 'a' \(2 rows\)"),
    "infinity": ("a,b,kind\n" + ROWS + "inf,2,a\n", "line 22, column 'a' holds infinity"),
    "more than float32": ("a,b,kind\n" + ROWS + "1e39,2,a\n", "line 22, column 'a' holds infinity or more"),
    "not UTF-8": (b"a,b,kind\n" + ROWS.encode() + b"1,2,caf\xe9\n", "line 22 holds the byte 0xE9"),
    "a header that is not UTF-8": (b"caf\xe9,b,kind\n" + ROWS.encode(), "line 1 holds the byte 0xE9"),
    "a quote not closed": ('a,b,kind\n1,2,"a\n' + ROWS, "is a quote not closed|has 3 fields|no rows|line"),
    "nothing": ("", "is empty"),
    "a header alone": ("a,b,kind\n", "has a header and no rows"),
    "names of rows": ("a,who,kind\n" + "".join(f"{i},person {i},{'ab'[i % 2]}\n" for i in range(9)), "different words"),
    "no inputs": ("kind\n" + "a\nb\n" * 9, "no columns of inputs"),
    "columns of one name": ("a,a,kind\n" + ROWS, "several columns called 'a'"),
    "a column without a value": (
        "a,b,kind\n" + "".join(f"{i},,{'ab'[i % 2]}\n" for i in range(9)),
        "misses values in column 'b'",
    ),
}


@pytest.mark.parametrize("case", BROKEN_TABLES)
def test_broken_tables_are_refused_in_a_sentence(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:

    content, words = BROKEN_TABLES[case]
    path = write(tmp_path / "broken.csv", content)
    said = refused(path)
    assert re.search(words, said), said
    assert str(path) in said
    assert main(["train", "--data", str(path), "--model", "softmax"]) == 2
    assert capsys.readouterr().err == f"train: {said}\n"


def test_too_many_columns_are_refused_before_they_are_read(tmp_path: Path) -> None:
    header = ",".join(f"c{i}" for i in range(100_000))
    path = write(tmp_path / "wide.csv", f"{header}\n{','.join(['1'] * 100_000)}\n")
    assert "100,000 columns" in refused(path)
    assert "100,000 inputs in a row" in refused(pd.DataFrame(np.zeros((6, 100_001))).rename(columns={100_000: "y"}))


def test_a_quantity_is_no_class_yet(tmp_path: Path) -> None:
    values, _ = table()
    priced = pd.DataFrame(values, columns=list("abcd")).rename(columns={"d": "price"})
    priced.to_csv(path := tmp_path / "houses.csv", index=False)
    assert "does not say which column holds the labels" in refused(path)
    assert "only classes can be predicted so far" in refused(path, label="price")
    assert "different numbers" in refused((values, np.arange(N)))


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = make_csv(tmp_path)[0]
    assert "did you mean 'kind'" in refused(path, label="kin")
    assert "'sensor 3'" in refused(path, groups_column="sensor3")
    assert "unknown column" in refused(path, drop=("colour",))
    assert "unknown way to impute 'mean'" in refused(path, impute="mean")
    assert "unknown way to standardise" in refused(path, standardise="yes")
    assert "has no use for inputs" in refused(path, inputs="x")
    assert "not both" in refused(path, image_size=(2, 2), series=(1, 4))
    assert "image_size must be" in refused(path, image_size=(4,))
    assert "which are not 1x3x3 = 9" in refused(path, image_size=(3, 3))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": np.zeros((9, 2)), "y": np.array([{}] * 9)}, "array 'y' holds objects"),
        ({"X": np.zeros((9, 2), complex), "y": np.zeros(9)}, "array 'X' holds complex128"),
        (
            {"X": np.zeros((9, 2)), "y": np.array([1.0, np.nan, 2.0] * 3)},
            "array 'X', row 1 (counted from 0) has no label",
        ),
        ({"X": np.array([["a"]] * 9), "y": np.zeros(9)}, "array 'X' holds <U1, not numbers"),
        ({"X": np.zeros((9, 2)), "y": np.zeros(8)}, "9 rows, and there are 8 labels"),
        ({"X": np.zeros(9), "y": np.zeros(9)}, "a row for each example"),
        ({"X": np.zeros((9, 2)), "y": np.zeros(9)}, "the label '0' in every row"),
        ({"X": np.zeros((9, 2)), "y": np.array([0.5, 1.5, 2] * 3)}, "quantities"),
        ({"X": np.full((9, 2), np.nan), "y": np.arange(9) % 3}, "misses values in input 0"),
        ({"X": np.zeros((9, 2, 2, 2, 2)), "y": np.arange(9) % 3}, "columns, series or images"),
        ({"left": np.zeros((9, 2)), "right": np.zeros((9, 2))}, "name them"),
        ({}, "holds no arrays"),
    ],
)
def test_broken_arrays_are_refused_in_a_sentence(arrays: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "broken.npz", **arrays)
    said = refused(tmp_path / "broken.npz")
    assert words in said
    assert "broken.npz" in said


@pytest.mark.parametrize("name", ["a.npz", "a.mat", "a.parquet", "a.arrow", "train-images-idx3-ubyte.gz", "a.csv"])
def test_what_is_cut_off_or_something_else_is_refused(name: str, tmp_path: Path) -> None:
    write(tmp_path / "train-labels-idx1-ubyte", pack(np.zeros(3, np.uint8)))
    for content in (b"", b"\x00\x01\x02garbage" * 9, b"PK\x03\x04" + bytes(50), b"\x1f\x8b\x08" + bytes(30)):
        path = write(tmp_path / name, content)
        assert str(path) in refused(path)


@pytest.mark.parametrize("kind", ["npz", "mat", "parquet", "arrow", "idx"])
def test_a_file_that_breaks_off_is_refused(kind: str, tmp_path: Path) -> None:
    path, _ = KINDS[kind][0](tmp_path)
    path = next(file for file in sorted(path.iterdir()) if "train-images" in file.name) if path.is_dir() else path
    content = path.read_bytes()
    for length in (len(content) // 3, len(content) - 9):
        path.write_bytes(content[:length])
        assert str(path) in refused(path)


def test_matlab_cells_are_refused(tmp_path: Path) -> None:
    from scipy import io

    cells = np.empty((1, 9), dtype=object)
    cells[:] = "a"
    io.savemat(tmp_path / "cells.mat", {"X": np.zeros((9, 2)), "y": cells})
    assert "array 'y' holds objects, cells or structures" in refused(tmp_path / "cells.mat")


def bomb(columns: int, rows: int) -> bytes:
    """A PNG of a few hundred bytes that says that it is huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bomb(50_000, 50_000), "50,000 x 50,000 pixels: at most 40 million"),
        (bomb(8_000, 8_000), "8,000 x 8,000 pixels: at most 40 million"),
        (b"no picture", "is no picture that can be read"),
        (png(np.zeros((8, 8), np.uint8))[:40], "is no picture that can be read"),
        (png(np.zeros((9, 8), np.uint8)), "has 9 x 8 pixels"),
    ],
)
def test_broken_pictures_are_refused_by_name(content: bytes, words: str, tmp_path: Path) -> None:
    write_folders(tmp_path, *pictures())
    path = write(tmp_path / "red" / "zzz.png", content)
    assert words in refused(tmp_path)
    assert str(path) in refused(tmp_path)
    if "pixels: at most" in words:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        rows = pyarrow.table({"image": [{"bytes": content}] * 4, "label": [0, 0, 1, 1]})
        parquet.write_table(rows, tmp_path / "bombs.parquet")
        assert words in refused(tmp_path / "bombs.parquet")


def test_a_class_with_one_picture_is_named(tmp_path: Path) -> None:
    write_folders(tmp_path, *pictures())
    write(tmp_path / "violet" / "one.png", png(np.zeros((8, 8), np.uint8)))
    assert "1 row of class 'violet'" in refused(tmp_path)


def test_what_unpacks_to_more_than_memory_is_refused_before_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.os, "sysconf", lambda name: 40)
    for kind in ("npz", "mat", "csv", "parquet", "idx"):
        folder = tmp_path / kind
        folder.mkdir()
        path, _ = KINDS[kind][0](folder)
        assert "more than half of this machine's memory" in refused(path)


def test_nothing_and_nothing_known(tmp_path: Path) -> None:
    assert "there is no file or folder" in refused(tmp_path / "nowhere.csv")
    assert "nothing that is read here" in refused(write(tmp_path / "a.xlsx", "x"))
    (tmp_path / "empty").mkdir()
    assert "nothing that is read here" in refused(tmp_path / "empty")
    assert "not from int" in refused(3)
    two = tmp_path / "two"
    for name in ("one.csv", "other.csv"):
        write(two / name, "a,kind\n" + "1,a\n2,b\n" * 9)
    assert "call one of them train" in refused(two)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "3"], "--label says how --data is read: give --data PATH"),
        (["--impute", "median"], "--impute says how --data is read"),
        (["--data", "{}", "--data-root", "/tmp"], "--data-root and --download are for a data set by name"),
    ],
)
def test_words_that_do_not_belong_together(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_csv(tmp_path)[0]
    assert main(["rank", *(word.format(path) for word in words)]) == 2
    captured = capsys.readouterr().err
    assert said in captured
    assert ("--for-class" in captured) == ("--label" in words)


# What becomes of what is read


def test_numbers_are_standardised_by_the_training_rows_alone(tmp_path: Path) -> None:
    path = make_csv(tmp_path)[0]
    plain, scaled = read_data(path, standardise="no"), read_data(path)
    expected = plain.standardised()
    assert scaled.scaler == expected.scaler
    for one, other in ((scaled.train, expected.train), (scaled.test, expected.test)):
        assert torch.equal(one.raw, other.raw)
        assert torch.equal(one.indices, other.indices)
    assert scaled.input_names == tuple(f"sensor {i}" for i in range(4))
    assert scaled.classes == ("high", "low", "middle")


def test_rows_stay_with_their_labels_and_positions(tmp_path: Path) -> None:
    values, labels = table(200)
    data = read_data((values, labels), standardise="no")
    splits = (data.train, data.validation, data.test)
    assert sorted(torch.cat([split.indices for split in splits]).tolist()) == list(range(200))
    for split in splits:
        assert np.array_equal(split.raw.numpy(), values[split.indices].astype(np.float32))
        assert np.array_equal(split.labels.numpy(), labels[split.indices])
    assert read_data((values, labels)).digest == read_data((values, labels)).digest
    assert read_data((values, labels), split_seed=1).digest != read_data((values, labels)).digest


def test_what_was_given_in_python_is_not_changed() -> None:
    values, labels = table()
    values = values.astype(np.float32)
    before = values.copy()
    for given_data in ((values, labels), {"X": torch.from_numpy(values), "y": labels}, frame()):
        read_data(given_data)
    assert np.array_equal(values, before)
    named = frame()
    read_data(named)
    assert named.equals(frame())


def test_frames_arrays_and_files_are_the_same_data(tmp_path: Path) -> None:
    path = make_csv(tmp_path)[0]
    table_of = pd.read_csv(path)
    inputs = table_of.drop(columns="kind")
    from_file = read_data(path, name="own")
    assert read_data(table_of).digest == from_file.digest
    assert read_data((inputs, table_of["kind"]), label="kind").digest == from_file.digest
    unnamed = read_data((inputs.to_numpy(), table_of["kind"].to_numpy()))
    assert unnamed.input_names is None
    assert torch.equal(unnamed.train.raw, from_file.train.raw)


def test_words_become_indicators_in_one_group(tmp_path: Path) -> None:
    rows = frame().assign(colour=[COLOURS[i % 3] for i in range(N)], wet=["yes", "no"] * 30)
    rows = rows[["colour", "sensor 0", "wet", "sensor 1", "kind"]]
    rows.to_csv(tmp_path / "mixed.csv", index=False)
    for source in (tmp_path / "mixed.csv", rows, rows.astype({"colour": "category"})):
        data = read_data(source, standardise="no")
        assert data.input_names == (
            *("colour=blue", "colour=green", "colour=red", "sensor 0"),
            *("wet=no", "wet=yes", "sensor 1"),
        )
        assert data.groups == (InputGroup("colour", (0, 1, 2)), InputGroup("wet", (4, 5)))
        for split in (data.train, data.validation, data.test):
            for row, place in zip(split.raw.tolist(), split.indices.tolist(), strict=True):
                assert row[:3] == [float(rows["colour"][place] == c) for c in ("blue", "green", "red")]
                assert row[4:6] == [float(rows["wet"][place] == w) for w in ("no", "yes")]
                assert row[3] == pytest.approx(rows["sensor 0"][place])


def test_missing_values_are_imputed_from_the_training_rows(tmp_path: Path) -> None:
    rows = frame().assign(colour=[COLOURS[i % 3] for i in range(N)])
    rows.loc[[0, 7, 30, 31], "sensor 2"] = np.nan
    rows.loc[[4, 5], "colour"] = None
    rows = rows[[*(c for c in rows.columns if c != "kind"), "kind"]]
    rows.to_csv(tmp_path / "gaps.csv", index=False)
    said = refused(tmp_path / "gaps.csv")
    assert "column 'sensor 2' (4 rows)" in said
    assert "column 'colour' (2 rows)" in said
    data = read_data(tmp_path / "gaps.csv", impute="median", standardise="no")
    median = float(rows["sensor 2"].iloc[data.train.indices.tolist()].median())
    assert data.imputed == ((2, pytest.approx(median, rel=1e-6)),)
    for split in (data.train, data.validation, data.test):
        for row, place in zip(split.raw.tolist(), split.indices.tolist(), strict=True):
            expected = median if place in (0, 7, 30, 31) else rows["sensor 2"][place]
            assert row[2] == pytest.approx(expected, rel=1e-6)
            assert row[data.input_names.index("colour=(missing)")] == (place in (4, 5))
    assert any("training median" in note for note in data.notes)
    network = lc.fit(lc.build_model("softmax", data), data, recipe=lc.Recipe(epochs=1))
    card = lc.export(network, tmp_path / "small", data=data).card
    assert card["input"]["imputed"] == {"2": pytest.approx(median, rel=1e-6)}
    assert card["input"]["groups"][0]["name"] == "colour"
    assert any("training median" in note for note in card["data"]["notes"])
    rows["sensor 2"] = np.nan
    assert "no value in column 'sensor 2'" in refused(rows, impute="median", label="kind")


def test_groups_of_rows_stay_together(tmp_path: Path) -> None:
    rows = frame(120).assign(patient=[f"p{i // 6}" for i in range(120)])
    rows.to_csv(tmp_path / "patients.csv", index=False)
    data = read_data(tmp_path / "patients.csv", label="kind", groups_column="patient")
    patients = [set(rows["patient"][split.indices.tolist()]) for split in (data.train, data.validation, data.test)]
    assert sum(map(len, patients)) == 20
    assert patients[0] | patients[1] | patients[2] == set(rows["patient"])
    assert all(patients)
    assert data.input_names == tuple(f"sensor {i}" for i in range(4))
    again = read_data(tmp_path / "patients.csv", label="kind", groups_column="patient", split_seed=3)
    assert again.digest != data.digest
    few = rows.assign(patient=["a", "b"] * 60)
    assert "2 different groups of rows" in refused(few, label="kind", groups_column="patient")
    alone = rows.assign(patient=rows["kind"])
    assert "so few groups of rows that none is left to train on" in refused(
        alone, label="kind", groups_column="patient"
    )
    rows.loc[5, "patient"] = None
    assert "row 5 (counted from 0) is in no group" in refused(rows, label="kind", groups_column="patient")


@given(
    st.integers(3, 9),
    st.integers(1, 4),
    st.lists(st.integers(0, 3), min_size=12, max_size=60),
    st.integers(0, 5),
)
def test_no_group_of_rows_is_in_two_parts(n_groups: int, seed: int, labels: list[int], split_seed: int) -> None:
    belongs = np.random.default_rng(seed).integers(0, n_groups, len(labels))
    arrays = {"X": np.arange(len(labels), dtype=float)[:, None], "y": np.array(labels), "who": belongs}
    try:
        data = read_data(arrays, groups_column="who", split_seed=split_seed)
    except InputError as error:
        check_sentence(error)
        return
    found = [set(belongs[split.indices.numpy()].tolist()) for split in (data.train, data.validation, data.test)]
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]
    assert set(data.train.labels.tolist()) == set(range(len(data.classes)))


def test_fewer_rows_than_columns(tmp_path: Path) -> None:
    values, labels = table(24, 500)
    data = read_data((values, labels))
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 4)
    network = lc.fit(lc.build_model("softmax", data), data, recipe=lc.Recipe(epochs=5))
    assert len(lc.rank(network, data.train).order) == 500


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (["b", "a", "b", "c", "a", "c"], ("a", "b", "c"), [1, 0, 1, 2, 0, 2]),
        (np.array([1, 10, 2, 10, 1, 2], dtype=np.uint8), ("1", "2", "10"), [0, 2, 1, 2, 0, 1]),
        (np.array([1.0, 3.0, 1.0, 3.0]), ("1", "3"), [0, 1, 0, 1]),
        (["1", "10", "2.0", "10", "1", "2"], ("1", "2", "10"), [0, 2, 1, 2, 0, 1]),
        ([True, False, True, False], ("False", "True"), [1, 0, 1, 0]),
        (np.array([[3], [4], [3], [4]]), ("3", "4"), [0, 1, 0, 1]),
        (np.array([[0, 1], [1, 0], [0, 1], [1, 0]]), ("0", "1"), [1, 0, 1, 0]),
        (np.array([-1, 1, -1, 1]), ("-1", "1"), [0, 1, 0, 1]),
        ([b"no", b"yes", b"no", b"yes"], ("no", "yes"), [0, 1, 0, 1]),
        (pd.Series(["x", "y"] * 2, index=[5, 6, 7, 8]).astype("category"), ("x", "y"), [0, 1, 0, 1]),
    ],
)
def test_labels_are_taken_as_people_have_them(labels: Any, classes: tuple[str, ...], codes: list[int]) -> None:
    found, names = classes_of(labels, "it", str)
    assert names == classes
    assert found.tolist() == codes
    assert found.dtype == np.int64


def test_labels_that_pandas_keeps_as_objects() -> None:
    values, _ = table(12)
    words = pd.Series(["b", "a", "b"] * 4, dtype=object)
    assert read_data((values, words)).classes == ("a", "b")
    words[5] = None
    assert "row 5 (counted from 0) has no label" in refused((values, words))
    assert "holds objects" in refused((values, np.array([{}] * 12)))


def test_a_class_without_a_row_is_none_of_the_data() -> None:
    found, names = classes_of(np.array([0, 2, 0, 2]), "it", str, ("cat", "dog", "owl"))
    assert (found.tolist(), names) == ([0, 1, 0, 1], ("cat", "owl"))


def test_a_class_may_be_called_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,kind\n" + "1,None\n2,NA\n" * 9)
    assert read_data(path, label="kind").classes == ("NA", "None")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("x_train", ("train", "inputs")),
        ("y_test", ("test", "labels")),
        ("train_images", ("train", "inputs")),
        ("val_labels", ("validation", "labels")),
        ("X", ("all", "inputs")),
        ("XTrain", ("train", "inputs")),
        ("target", ("all", "labels")),
        ("weights", ("all", None)),
    ],
)
def test_arrays_are_known_by_their_names(name: str, role: tuple[str, str | None]) -> None:
    assert _role(name) == role


@pytest.mark.parametrize(
    ("values", "shape", "is_bytes"),
    [
        (np.zeros((9, 5)), (5,), False),
        (np.zeros((9, 5), np.uint8), (5,), False),
        (np.zeros((9, 4, 4), np.uint8), (1, 4, 4), True),
        (np.zeros((9, 4, 6), np.uint8), (1, 4, 6), True),
        (np.full((9, 4, 4), 200, np.int32), (1, 4, 4), True),
        (np.full((9, 4, 4), 200.0), (1, 4, 4), True),
        (np.full((9, 4, 4), 0.5), (1, 4, 4), False),
        (np.zeros((9, 2, 50)), (2, 50), False),
        (np.zeros((9, 4, 4, 3), np.uint8), (3, 4, 4), True),
        (np.zeros((9, 3, 4, 4), np.uint8), (3, 4, 4), True),
        (np.zeros((9, 4, 4, 1), np.uint8), (1, 4, 4), True),
    ],
)
def test_arrays_get_the_shape_that_networks_take(values: np.ndarray, shape: tuple[int, ...], is_bytes: bool) -> None:
    data = read_data((values, np.arange(9) % 3))
    assert data.shape == shape
    assert data.train.is_bytes == is_bytes


def test_colours_stay_where_they_are(tmp_path: Path) -> None:
    last = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
    labels = np.arange(12) % 2
    data = read_data((last, labels))
    assert np.array_equal(data.test.raw.numpy(), last[data.test.indices].transpose(0, 3, 1, 2))
    write_folders(tmp_path, last, labels)
    from_files = read_data(tmp_path)
    assert from_files.shape == (3, 5, 4)
    where = {i: last[int(i)] for i in range(12)}
    first = [i for i in range(12) if labels[i] == 1] + [i for i in range(12) if labels[i] == 0]
    for split in (from_files.train, from_files.test):
        for raw, place in zip(split.raw.numpy(), split.indices.tolist(), strict=True):
            assert np.array_equal(raw, where[first[place]].transpose(2, 0, 1))
    assert read_data(tmp_path, image_size=(1, 5, 4)).shape == (1, 5, 4)
    assert read_data(tmp_path, image_size=(10, 8)).shape == (3, 10, 8)


def test_rows_of_a_table_become_images_or_series_on_request(tmp_path: Path) -> None:
    values, labels = table(columns=12)
    names = [f"{sensor} {i}" for sensor in ("left", "right") for i in range(6)]
    rows = pd.DataFrame(values, columns=names).assign(y=labels)
    series = read_data(rows, series=(2, 6))
    assert series.shape == (2, 6)
    assert series.groups == (InputGroup("left", tuple(range(6))), InputGroup("right", tuple(range(6, 12))))
    assert series.input_names == tuple(names)
    assert len(series.scaler.mean) == 2
    image = read_data(rows, image_size=(3, 4))
    assert image.shape == (1, 3, 4)
    assert image.input_names is None
    assert not image.train.is_bytes
    turned = values.reshape(N, 2, 6).transpose(0, 2, 1)
    assert torch.equal(read_data((turned, labels), series=(2, 6)).test.raw, series.test.raw)
    assert read_data((values, labels), series=(3, 4)).groups[2] == InputGroup("channel 2", (8, 9, 10, 11))


def test_a_table_without_a_header(tmp_path: Path) -> None:
    images, labels = pictures()
    rows = np.column_stack([labels, images.reshape(N, -1)])
    np.savetxt(tmp_path / "mnist_train.csv", rows, fmt="%d", delimiter=",")
    data = read_data(tmp_path / "mnist_train.csv")
    assert data.shape == (1, 8, 8)
    assert np.array_equal(data.train.raw[:, 0].numpy(), images[data.train.indices])
    frame().to_csv(tmp_path / "iris.csv", index=False, header=False)
    plain = read_data(tmp_path / "iris.csv")
    assert plain.input_names == ("column 1", "column 2", "column 3", "column 4")
    assert len(plain.train) + len(plain.validation) + len(plain.test) == N
    wavelengths = frame().rename(columns={f"sensor {i}": str(1100 + 2 * i) for i in range(4)})
    wavelengths.to_csv(tmp_path / "spectra.csv", index=False)
    assert read_data(tmp_path / "spectra.csv").input_names == ("1100", "1102", "1104", "1106")
    named = read_data(tmp_path / "iris.csv", header=True)
    assert len(named.train) + len(named.validation) + len(named.test) == N - 1


def test_pixels_are_known_by_their_names_and_values(tmp_path: Path) -> None:
    images, labels = pictures()
    grid = [f"{row}x{column}" for row in range(1, 9) for column in range(1, 9)]
    rows = pd.DataFrame(images.reshape(N, -1), columns=grid).assign(label=labels)
    assert torch.equal(read_data(rows).train.raw, read_data((images, labels)).train.raw)
    shares = read_data(rows.assign(**{name: rows[name] / 255 for name in grid}))
    assert shares.shape == (1, 8, 8)
    assert not shares.train.is_bytes
    assert shares.scaler is None
    torch.testing.assert_close(shares.train.inputs, read_data(rows).train.inputs)
    assert read_data(rows.rename(columns={"1x1": "other"})).shape == (64,)


def test_shards_of_one_part_follow_each_other(tmp_path: Path) -> None:
    rows = frame(90)
    for i, (start, end) in enumerate(((0, 40), (40, 60))):
        rows[start:end].to_parquet(tmp_path / f"train-0000{i}-of-00002.parquet")
    rows[60:].to_parquet(tmp_path / "test-00000-of-00001.parquet")
    data = read_data(tmp_path, standardise="no")
    assert (len(data.train), len(data.validation), len(data.test)) == (50, 10, 30)
    expected = torch.tensor(rows.drop(columns="kind").to_numpy()[data.train.indices], dtype=torch.float32)
    assert torch.equal(data.train.raw, expected)


def test_the_index_that_pandas_wrote_is_no_input(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "wine.csv")
    data = read_data(tmp_path / "wine.csv")
    assert data.input_names == tuple(f"sensor {i}" for i in range(4))
    assert any("counts the rows" in note for note in data.notes)


def test_the_official_fashion_mnist_of_debian() -> None:
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("the package dataset-fashion-mnist is not installed")
    data = read_data(folder)
    assert (len(data.train), len(data.validation), len(data.test)) == (50_000, 10_000, 10_000)
    assert data.shape == (1, 28, 28)


def test_large_tables_are_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of words and numbers, types that change from chunk to chunk, in pieces of a few cells."""
    from lrp_core.data.files import arrow, sheets

    rows = frame().assign(colour=[COLOURS[i % 3] if i < 40 else str(i % 2) for i in range(N)])
    rows.to_csv(tmp_path / "a.csv", index=False)
    rows.to_parquet(tmp_path / "a.parquet", row_group_size=17)
    whole = read_data(tmp_path / "a.csv", label="kind")
    for module in (sheets, arrow):
        monkeypatch.setattr(module, "CHUNK", 40)
    for name in ("a.csv", "a.parquet"):
        assert read_data(tmp_path / name, label="kind").digest == whole.digest


def test_parts_of_a_table_keep_together(tmp_path: Path) -> None:
    rows = frame(90)
    rows[:60].to_csv(tmp_path / "train.csv", index=False)
    rows[60:].to_csv(tmp_path / "test.csv", index=False)
    data = read_data(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (50, 10, 30)
    assert data.test.indices.tolist() == list(range(30))
    both = rows.assign(patient=["a", "b", "c"] * 30)
    for name, part in (("train", both[:60]), ("test", both[60:])):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    assert "group of rows 'a' in its train and its test part" in refused(
        tmp_path, label="kind", groups_column="patient"
    ).replace("'b'", "'a'").replace("'c'", "'a'")
    rows[:60].to_csv(tmp_path / "train.csv", index=False)
    rows[60:].drop(columns="sensor 1").to_csv(tmp_path / "test.csv", index=False)
    assert "lacks the columns 'sensor 1'" in refused(tmp_path)
    rows[60:].assign(kind="other").to_csv(tmp_path / "test.csv", index=False)
    assert "the training part of" in refused(tmp_path)
    assert "class 'other'" in refused(tmp_path)


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
