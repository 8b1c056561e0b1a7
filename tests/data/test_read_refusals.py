"""Data that are broken on purpose are refused in a sentence that says where."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrp_core.cli import main
from lrp_core.data.files import contents as limits

from .idx import pack
from .layouts import (
    KINDS,
    N,
    make_csv,
    pictures,
    png,
    refused,
    table,
    write,
    write_folders,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# What is refused


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
    assert "100,001 columns" in refused(pd.DataFrame(np.zeros((6, 100_001))).rename(columns={100_000: "y"}))


def test_a_quantity_is_no_class_yet(tmp_path: Path) -> None:
    values, _ = table()
    priced = pd.DataFrame(values, columns=list("abcd")).rename(columns={"d": "price"})
    priced.to_csv(path := tmp_path / "houses.csv", index=False)
    assert "does not say which column holds the labels" in refused(path)
    assert "say task='regression'" in refused(path, label="price")
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
