"""Every layout, broken in every way that fits it: one sentence on the command line that says where, and exit code 2."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lrp_core.cli import main
from lrp_core.data import read_data

from .idx import pack
from .layouts import frame, pictures, png, table, write, write_folders, write_stream

pytestmark = pytest.mark.slow

ROWS = "".join(f"{i},{i % 7},{'ab'[i % 2]}\n" for i in range(20))
TABLE = "a,b,kind\n" + ROWS


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def sentence(path: Path, words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command is refused with."""
    assert main(["train", "--data", str(path), "--model", "softmax", "--epochs", "1", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert len(line) < 600 + len(str(path))
    return line


# Tables of text


def column(cells: Callable[[int], str], n: int = 30) -> str:
    return "a,b,kind\n" + "".join(f"{cells(i)},{i % 7},{'ab'[i % 2]}\n" for i in range(n))


TEXTS: dict[str, tuple[str | bytes, list[str], str]] = {
    "a mark of UTF-8 alone": ("\ufeff", [], "is empty"),
    "a mark of UTF-8 and blank lines": ("\ufeff\n\n", [], "is empty"),
    "UTF-16": (TABLE.encode("utf-16"), [], "line 1 holds the byte 0xFF"),
    "Windows-1252 far down": (
        b"a,b,kind\n" + ROWS.encode() * 8000 + "1,2,€\n".encode("cp1252"),
        [],
        "line 160002 holds the byte 0x80",
    ),
    "two columns, a row too long": ("x,kind\n" + "1,a\n2,b\n" * 9 + "3,a,9\n", [], "line 20 has 3 fields"),
    "a row too long, two columns asked for": (TABLE + "3,1,a,9\n", ["--drop", "b"], "line 22 has 4 fields"),
    "two columns, a row too short": ("x,kind\n" + "1,a\n2,b\n" * 9 + "3\n", [], "line 20 has 1 fields"),
    "decimal commas in quotes": (
        column(lambda i: f'"{i % 4},5"'),
        [],
        r"line 2, column 'a' holds '0,5': write numbers",
    ),
    "decimal commas alone": (column(lambda i: f"{i},5"), [], "line 2 has 4 fields and the first line 3"),
    "marks of thousands": (column(lambda i: f'"{i * 100:,}"'), [], "line 12, column 'a' holds '1,000': write numbers"),
    "points for thousands": (
        column(lambda i: f"{i}.000").replace(",", ";").replace(";3;", ";3,5;"),
        [],
        "line 2, column 'a' holds '0.000': write numbers",
    ),
    "a decimal point among decimal commas": (
        column(lambda i: f"{i},5" if i != 9 else "9.5").replace(",", ";").replace(";5;", ",5;"),
        [],
        "line 11, column 'a' holds '9.5' where most rows hold a number",
    ),
    "per cent": (column(lambda i: f"{i % 5}%"), [], "line 2, column 'a' holds '0%'"),
    "dates": (column(lambda i: f"2020-01-{i + 1:02}"), [], "column 'a' holds 30 different words"),
    "words for row numbers": (column(lambda i: f"r{i}").replace("a,b", ",b"), [], "column 'column 1' holds 30"),
    "a value missing": (TABLE + "NaN,2,a\n", [], r"column 'a' \(1 row\), first in .*line 22: fill"),
    "1,000 classes of a row each": (
        "a,kind\n" + "".join(f"{i},c{i}\n" for i in range(1000)),
        ["--label", "kind"],
        "1,000 different labels in 1,000 rows",
    ),
    "a text for a label": (TABLE + f"1,2,{'x' * 5000}\n", [], "a label of 5,000 characters, 'x{100}...'"),
    "a cell without an end": (TABLE + "1," + "x" * 200_000 + ",a\n", [], "field larger than field limit"),
    "a line break in a label": (TABLE + '1,2,"c\nd"\n', [], r"1 row of class 'c\\nd'"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(range(256)), [], "packed file or a spreadsheet"),
    "gzip": (gzip.compress(TABLE.encode()), [], "packed file or a spreadsheet"),
    "a page of the web": ("<html><body>not here</body></html>\n", [], "a header and no rows"),
    "no row but zero bytes": (b"\0" * 500, [], "a header and no rows"),
    "labels that are groups": (
        TABLE,
        ["--label", "kind", "--groups-column", "kind"],
        "'kind', which is in groups_column",
    ),
    "labels that are left out": (TABLE, ["--label", "kind", "--drop", "kind"], "'kind', which is in drop, too"),
    "100,000 columns": ("1," * 99_999 + "1\n" + "1," * 99_999 + "1\n", [], "100,000 columns, and 65,536 is the most"),
    "a square that lacks a pixel": (
        "label," + ",".join(f"pixel{i}" for i in range(63)) + "\n" + f"0,{'3,' * 62}3\n" * 9,
        ["--image-size", "8x8"],
        "63 inputs in a row, which are not 1x8x8 = 64",
    ),
}


@pytest.mark.parametrize("case", TEXTS)
def test_broken_tables_of_text(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, words, expected = TEXTS[case]
    line = sentence(path := write(tmp_path / "broken.csv", content), words, capsys)
    assert re.search(expected, line), line
    assert str(path) in line


def test_tables_as_programs_write_them(tmp_path: Path) -> None:
    """Marks, line ends, names and row numbers that are odd, and change nothing."""
    plain = read_data(write(tmp_path / "t.csv", TABLE)).digest
    for content in ("\ufeff" + TABLE, TABLE.replace("\n", "\r\n"), TABLE.replace("\n", "\r"), TABLE + "\n\n"):
        assert read_data(write(tmp_path / "t.csv", content)).digest == plain
    order = np.random.default_rng(0).permutation(20)
    shuffled = pd.read_csv(io.StringIO(TABLE)).set_index(order)
    assert read_data(write(tmp_path / "t.csv", shuffled.to_csv())).digest == plain, "row numbers in any order"
    late = ";".join(["a", "b", "kind"]) + "\n" + "".join(f"{i};{i}{',5' * (i > 9)};{'ab'[i % 2]}\n" for i in range(30))
    data = read_data(write(tmp_path / "t.csv", late), standardise="no")
    assert sorted(
        data.train.raw[:, 1].tolist() + data.test.raw[:, 1].tolist() + data.validation.raw[:, 1].tolist()
    ) == [i + 0.5 * (i > 9) for i in range(30)]
    assert not any("became indicators" in note for note in data.notes)
    large = "".join(f"{i},{i % 7},{10**30 + i % 2}\n" for i in range(20))
    assert read_data(write(tmp_path / "t.csv", "a,b,kind\n" + large), label="kind").classes == (
        str(10**30),
        str(10**30 + 1),
    )


def test_row_numbers_of_parts_are_no_input(tmp_path: Path) -> None:
    """Each file counts its own rows, and a part that has been drawn from a table has gaps in its numbers."""
    frame().to_csv(tmp_path / "train.csv")
    frame(seed=1).iloc[::2].to_csv(tmp_path / "test.csv")
    assert read_data(tmp_path).input_names == tuple(f"sensor {i}" for i in range(4))
    frame(seed=1).set_index(np.arange(60) // 2).to_csv(tmp_path / "test.csv")
    assert len(read_data(tmp_path).input_names or ()) == 5, "a number that comes twice counts no rows"


def test_the_file_of_a_part_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame().to_csv(tmp_path / "train-0.csv", index=False)
    for value, words in ((np.inf, "line 7, column 'sensor 1' holds infinity"), (np.nan, "first in .*line 7: fill")):
        rows = frame()
        rows.loc[5, "sensor 1"] = value
        for name in ("train-1.csv", "test.csv"):
            rows.to_csv(tmp_path / name, index=False)
            line = sentence(tmp_path, [], capsys)
            assert re.search(words, line), line
            assert str(tmp_path / name) in line
            (tmp_path / name).unlink()


@pytest.mark.parametrize("name", ["bad\nname **x**.csv", "\x1b[31mred.csv", b"\xff.csv"])
def test_a_name_cannot_write_lines_of_its_own(
    name: str | bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / os.fsdecode(name), TABLE + "1,2,c\n")
    line = sentence(path, [], capsys)
    assert line.isprintable()
    assert "1 row of class 'c'" in line


# What is no file


def make_odd(kind: str, folder: Path) -> Path:
    path = folder / "x.csv"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a loop":
        path.symlink_to(path)
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("a folder", "nothing that is read here"),
        ("a loop", "there is no file or folder"),
        ("a pipe", "neither a file nor a folder"),
        ("zeros without end", "neither a file nor a folder"),
    ],
)
def test_what_only_looks_like_a_file(kind: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = sentence(path := make_odd(kind, tmp_path), [], capsys)
    assert words in line
    assert str(path) in line


# Arrays

X, Y = table()[0], np.arange(60) % 3


def saved(path: Path, **arrays: Any) -> None:
    np.savez(path, **arrays)


def zipped(path: Path, **entries: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def claims(shape: Any, kind: str = "<f8") -> bytes:
    """The head of an array that holds nothing."""
    head = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


def encrypted(path: Path) -> None:
    zipped(path, X=npy(X), y=npy(Y))
    content = bytearray(path.read_bytes())
    for mark, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for match in re.finditer(re.escape(mark), bytes(content)):
            content[match.start() + flag] |= 1
    path.write_bytes(content)


ARCHIVES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "claims 8 PB": (lambda p: zipped(p, X=claims((10**9, 10**6)), y=npy(Y)), "array 'X' unpacks to 8,000,000.0 GB"),
    "claims 8 TB of labels": (lambda p: zipped(p, X=npy(X), y=claims((10**12,))), "array 'y' unpacks to 8,000.0 GB"),
    "claims more than it has": (lambda p: zipped(p, X=claims((60, 4)), y=npy(Y)), "array 'X' is truncated"),
    "claims fewer than none": (lambda p: zipped(p, X=claims((-1, 4)), y=npy(Y)), "array 'X' is truncated"),
    "claims rows beyond counting": (lambda p: zipped(p, X=claims((2**70, 4)), y=npy(Y)), "array 'X' unpacks to"),
    "has a head without an end": (
        lambda p: zipped(p, X=b"\x93NUMPY\x01\x00" + struct.pack("<H", 60_000) + b"(" * 60_000, y=npy(Y)),
        "truncated, damaged",
    ),
    "is encrypted": (encrypted, "truncated, damaged, encrypted"),
    "holds pickles": (
        lambda p: zipped(p, X=claims((60,), "|O") + b"cos\nsystem\n(S'true'\ntR.", y=npy(Y)),
        "array 'X' holds objects, .*never unpickled",
    ),
    "holds structures": (
        lambda p: saved(p, X=np.zeros(60, [("a", "f4"), ("b", "i4")]), y=Y),
        "array 'X' holds .*V8, and numbers",
    ),
    "holds dates": (lambda p: saved(p, X=np.zeros((60, 4), "M8[s]"), y=Y), r"array 'X' holds datetime64\[s\]"),
    "has no rows": (lambda p: saved(p, X=X[:0], y=Y[:0]), "holds no rows"),
    "has no columns": (lambda p: saved(p, X=X[:, :0], y=Y), r"rows of shape \(0,\), without inputs"),
    "has 100,000 columns": (lambda p: saved(p, X=np.zeros((9, 100_000)), y=Y[:9]), "100,000 inputs in a row"),
    "has no labels": (lambda p: saved(p, X=X), r"the arrays 'X' \(60, 4\), and none"),
    "has a row without a label": (lambda p: saved(p, X=X, y=Y[:-1]), "60 rows, and there are 59 labels"),
    "has a class of one row": (lambda p: saved(p, X=X, y=np.r_[Y[:-1], 9]), "1 row of class '9'"),
    "has NaN": (
        lambda p: saved(p, X=np.where(X > 15, np.nan, X), y=Y),
        r"input 0 \(20 rows\).* first in .*row 1 \(counted from 0\)",
    ),
    "has infinity": (
        lambda p: saved(p, X=np.where(X > 15, np.inf, X), y=Y),
        r"array 'X', row 1 \(counted from 0\), input 0 holds infinity",
    ),
    "has infinity for a label": (
        lambda p: saved(p, X=X, y=np.where(Y == 1, np.inf, Y)),
        r"row 1 \(counted from 0\) has infinity as its label",
    ),
    "has labels that are not UTF-8": (
        lambda p: saved(p, X=X, y=np.array([b"b", b"a\xff"] * 30)),
        r"row 1 \(counted from 0\) has a label that is not UTF-8",
    ),
    "has parts of two widths": (
        lambda p: saved(p, x_train=X, y_train=Y, x_test=X[:, :3], y_test=Y),
        r"rows of shape \(3,\), not \(4,\)",
    ),
    "has parts of two scales": (
        lambda p: saved(p, x_train=pictures()[0], y_train=Y, x_test=pictures()[0] / 255, y_test=Y),
        "bytes in its train part and other numbers in its test part",
    ),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_broken_arrays(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, expected = ARCHIVES[case]
    make(tmp_path / "broken.npz")
    line = sentence(tmp_path / "broken.npz", [], capsys)
    assert re.search(expected, line), line
    assert str(tmp_path / "broken.npz") in line


def test_bytes_in_one_part_and_whole_numbers_in_another_are_one_scale(tmp_path: Path) -> None:
    images, labels = pictures()
    for kind in (np.int64, np.float32):
        saved(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images.astype(kind), y_test=labels)
        data = read_data(tmp_path / "a.npz")
        assert data.test.is_bytes
        assert np.array_equal(data.test.raw[:, 0].numpy(), images)


def test_a_part_without_labels_is_left_out_and_named(tmp_path: Path) -> None:
    saved(tmp_path / "a.npz", x_train=X, y_train=Y, x_test=X)
    assert any("'x_test'" in note and "left out" in note for note in read_data(tmp_path / "a.npz").notes)


def test_samples_of_square_series_stay_in_their_channels() -> None:
    values = np.arange(12 * 25.0).reshape(12, 5, 5)
    data = read_data((values, np.arange(12) % 2), series=(5, 5), standardise="no")
    assert np.array_equal(data.train.raw.numpy(), values[data.train.indices])


def test_broken_matlab_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from scipy import io as matlab
    from scipy import sparse

    head = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM" + bytes(388) + b"\x89HDF\r\n\x1a\n"
    path = tmp_path / "broken.mat"
    for arrays, words in (
        (head, "MATLAB 7.3 file: save it with"),
        ({"X": {"a": 1}, "y": Y}, "array 'X' holds objects, cells or structures"),
        ({"X": X * 1j, "y": Y}, "array 'X' holds complex128"),
        ({"X": sparse.csc_matrix((2 * 10**9, 100)), "y": Y}, "array 'X' unpacks to 1,600.0 GB"),
        ({"X": X, "y": Y[:-1]}, "60 rows, and there are 59 labels"),
        ({"X": X}, "none are called as inputs and labels"),
        ({}, "holds no arrays"),
    ):
        path.write_bytes(arrays) if isinstance(arrays, bytes) else matlab.savemat(path, arrays)
        line = sentence(path, [], capsys)
        assert words in line
        assert str(path) in line


# Columns on disk

KINDS = ["a", "b"] * 30


def with_features(label: np.ndarray, features: Any) -> Any:
    import pyarrow

    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pyarrow.table({"x": X[:, 0], "label": label}).replace_schema_metadata(metadata)


def not_utf8() -> Any:
    import pyarrow

    _, offsets, data = pyarrow.array([b"a\xff", b"b", b"c"]).buffers()
    words = pyarrow.Array.from_buffers(pyarrow.string(), 3, [None, offsets, data])
    return pyarrow.table({"x": np.arange(30.0), "kind": pyarrow.concat_arrays([words] * 10)})


def some_images(last: bytes | None) -> Any:
    images, labels = pictures()
    return [{"bytes": png(image), "path": "a"} for image in images[:-1]] + [{"bytes": last, "path": "q.png"}], labels


COLUMNS: dict[str, tuple[Callable[[], dict[str, Any]], list[str], str]] = {
    "lists": (lambda: {"x": X[:, 0], "l": [[1, 2]] * 60, "kind": KINDS}, [], "column 'l' holds list"),
    "structures": (lambda: {"x": X[:, 0], "l": [{"q": 1}] * 60, "kind": KINDS}, [], "column 'l' holds struct"),
    "a column without a value": (
        lambda: {"x": X[:, 0], "n": [None] * 60, "kind": KINDS},
        [],
        r"column 'n' \(60 rows\), first in .*row 0",
    ),
    "nothing to impute from": (
        lambda: {"x": X[:, 0], "n": [None] * 60, "kind": KINDS},
        ["--impute", "median"],
        "no value in column 'n' to impute from",
    ),
    "labels missing": (
        lambda: {"x": X[:, 0], "kind": ["a", None, "b"] * 20},
        ["--label", "kind"],
        r"row 1 \(counted from 0\) has no label",
    ),
    "dates": (
        lambda: {"x": X[:, 0], "t": pd.date_range("2020", periods=60), "kind": KINDS},
        [],
        "column 't' holds 60 different words",
    ),
    "infinity": (
        lambda: {"x": np.where(X[:, 0] > 15, np.inf, X[:, 0]), "kind": KINDS},
        [],
        "row 1 .*column 'x' holds inf",
    ),
    "a class of one row": (lambda: {"x": X[:, 0], "kind": [*KINDS[:-1], "c"]}, [], "1 row of class 'c'"),
    "no rows": (lambda: {"x": X[:0, 0], "kind": KINDS[:0]}, [], "holds no rows"),
    "bytes that are no images": (
        lambda: {"x": X[:, 0], "b": [b"ab"] * 60, "kind": KINDS},
        [],
        "row 0 .*no picture that can be read",
    ),
    "images without labels": (lambda: {"image": some_images(b"")[0]}, [], "no column of labels beside the images"),
    "an image missing": (
        lambda: dict(zip(("image", "label"), some_images(None), strict=True)),
        [],
        r"row 59 \(counted from 0\) holds no image in 'image'",
    ),
    "a broken image": (
        lambda: dict(zip(("image", "label"), some_images(b"zz"), strict=True)),
        [],
        r"row 59 \(counted from 0\) is no picture",
    ),
}


@pytest.mark.parametrize("case", COLUMNS)
@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_broken_columns(suffix: str, case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    make, words, expected = COLUMNS[case]
    path = write_columns(tmp_path / f"broken{suffix}", pyarrow.table(make()))
    line = sentence(path, words, capsys)
    assert re.search(expected, line), line
    assert str(path) in line


def test_100_000_columns_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    path = write_columns(tmp_path / "wide.arrow", pyarrow.table({f"c{i}": [1] for i in range(100_000)}))
    assert f"{path} has 100,000 columns, and 65,536 is the most" in sentence(path, [], capsys)


def write_columns(path: Path, rows: Any) -> Path:
    from pyarrow import feather, parquet

    if path.suffix == ".arrow":
        return write_stream(path, rows)
    (parquet.write_table if path.suffix == ".parquet" else feather.write_feather)(rows, path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_columns_that_lie_about_themselves(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    path = tmp_path / f"broken{suffix}"
    twice = pyarrow.Table.from_arrays([pyarrow.array(X[:, 0])] * 2 + [pyarrow.array(KINDS)], names=["x", "x", "kind"])
    named = {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    for rows, words in (
        (not_utf8(), "words that are not UTF-8"),
        (twice, "several columns called 'x'"),
        (with_features(Y, named), "names 2 classes, counted from 0 on, and has the label 2"),
        (with_features(Y - 1, named), "and has the label -1"),
    ):
        line = sentence(write_columns(path, rows), [], capsys)
        assert words in line
        assert str(path) in line
    assert read_data(write_columns(path, with_features(Y, {"label": None}))).classes == ("0", "1", "2")


def test_a_column_of_bytes_can_be_left_out_of_a_table(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    path = write_columns(tmp_path / "a.parquet", pyarrow.table({"x": X[:, 0], "b": [b"ab"] * 60, "kind": KINDS}))
    assert read_data(path, drop=("b",)).input_names == ("x",)


# IDX

IMAGES, LABELS = pack(pictures()[0]), pack(Y.astype(np.uint8))


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (IMAGES, None, "has no file of labels beside it: add train-labels"),
        (gzip.compress(IMAGES)[:-40], LABELS, "truncated or damaged"),
        (gzip.compress(IMAGES)[:-8] + bytes(8), LABELS, "truncated or damaged"),
        (gzip.compress(IMAGES + bytes(10**8)), LABELS, "holds more values than (60, 8, 8)"),
        (gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**10, 2**10)), LABELS, "unpacks to 2,251,799.8 GB"),
        (struct.pack(">HBB8I", 0, 8, 8, *[2**32 - 1] * 8), LABELS, "more than half of this machine's memory"),
        (b"\0\0\x0a\3" + IMAGES[4:], LABELS, "is no IDX file"),
        (IMAGES, pack(Y[:-1].astype(np.uint8)), "60 rows of inputs and 59 labels"),
        (IMAGES, pack(np.r_[Y[:-1], 9].astype(np.uint8)), "1 row of class '9'"),
        (IMAGES, IMAGES, "labels of shape (60, 8, 8)"),
        (pack(pictures()[0][:0]), pack(Y[:0].astype(np.uint8)), "holds no rows"),
        (
            b"\0\0\x0d\3" + struct.pack(">3I", 60, 8, 8) + np.full((60, 8, 8), np.nan, ">f4").tobytes(),
            LABELS,
            "train-images-idx3-ubyte, image 0 (counted from 0): fill",
        ),
        (
            struct.pack(">HBB3I", 0, 8, 3, 3, 600, 600) + bytes(1_080_000),
            pack(np.arange(3, dtype=np.uint8)),
            "360,000 inp",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",  # of bytes, names would hold the time of packing
)
def test_broken_idx_files(
    images: bytes, labels: bytes | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "train-images-idx3-ubyte", images)
    if labels is not None:
        write(tmp_path / "train-labels-idx1-ubyte", labels)
    line = sentence(tmp_path, [], capsys)
    assert words in line
    assert str(tmp_path) in line


def test_an_idx_file_that_does_not_say_where_its_labels_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.idx", IMAGES)
    assert "call it NAME-images-idx3-ubyte" in sentence(path, [], capsys)


# Pictures


def encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def tall(rows: int) -> bytes:
    """A picture one pixel wide, whole, of a few hundred bytes for each million of its rows."""
    pixels = zlib.compressobj(9)
    packed = b"".join(pixels.compress(bytes(2 * 10**6)) for _ in range(rows // 10**6)) + pixels.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 1, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def with_text(size: int) -> bytes:
    """A picture with a text that unpacks to so many bytes."""
    content, packed = png(pictures()[0][0]), b"a\0\0" + zlib.compress(bytes(size))
    chunk = struct.pack(">I", len(packed)) + b"zTXt" + packed + struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    return content[:33] + chunk + content[33:]


BROKEN_PICTURES: dict[str, tuple[Callable[[], bytes], str, list[str], str]] = {
    "a text": (lambda: b"%PDF-1.4", "zzz.png", [], "is no picture that can be read"),
    "nothing": (lambda: b"", "zzz.png", [], "is no picture that can be read"),
    "half a JPEG": (lambda: encoded(Image.new("L", (8, 8)), "JPEG")[:200], "zzz.jpg", [], "is no picture"),
    "half a GIF": (lambda: encoded(Image.new("L", (8, 8)), "GIF")[:20], "zzz.gif", [], "is no picture"),
    "a text that unpacks to 50 MB": (lambda: with_text(50_000_000), "zzz.png", [], "is no picture"),
    "1 x 40,000,000": (lambda: tall(40_000_000), "zzz.png", [], "40000000 x 1 pixels"),
    "1 x 41,000,000": (lambda: tall(41_000_000), "zzz.png", ["--image-size", "8x8"], "1 x 41,000,000 pixels"),
    "NaN": (lambda: encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"), "z.tif", [], "no picture"),
    "another size": (lambda: png(np.zeros((9, 8), np.uint8)), "zzz.png", [], "has 9 x 8 pixels and"),
}


@pytest.mark.parametrize("case", BROKEN_PICTURES)
def test_broken_pictures(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, name, words, expected = BROKEN_PICTURES[case]
    write_folders(tmp_path, *pictures())
    path = write(tmp_path / "red" / name, make())
    line = sentence(tmp_path, words, capsys)
    assert expected in line
    assert str(path) in line


def test_odd_places_among_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folders(tmp_path, *pictures())
    write(tmp_path / "red" / "folder.png" / "note.txt", "x")
    assert len(read_data(tmp_path).classes) == 3, "a folder is no picture, whatever its name"
    for link in (lambda path: path.symlink_to(path), os.mkfifo):
        link(path := tmp_path / "red" / "zzz.png")
        assert f"cannot read {path}" in sentence(tmp_path, [], capsys)
        path.unlink()


def test_pictures_of_every_mode_are_the_grey_that_they_show(tmp_path: Path) -> None:
    """Wrong suffixes, animations, palettes, two bytes a pixel, transparency: all read as one picture is."""
    image = pictures()[0][0] // 2 * 2
    grey = Image.fromarray(image)
    deep = image.astype(np.uint16) * 257
    dark = (image // 128).astype(np.uint16)  # of two bytes, and so black
    opaque = Image.merge("LA", (grey, Image.new("L", grey.size, 255)))
    frames = io.BytesIO()
    grey.save(frames, "GIF", save_all=True, append_images=[Image.new("L", (8, 8), 9)])
    for name, content, expected in (
        ("bmp.png", encoded(grey, "BMP"), image),
        ("animated.gif", frames.getvalue(), image),
        ("palette.png", encoded(grey.convert("P"), "PNG"), image),
        ("deep.png", encoded(Image.fromarray(deep), "PNG"), image),
        ("deep.tif", encoded(Image.fromarray(deep), "TIFF"), image),
        ("dark.png", encoded(Image.fromarray(dark), "PNG"), np.zeros_like(image)),
        ("shares.tif", encoded(Image.fromarray((image / 255).astype(np.float32)), "TIFF"), image),
        ("opaque.png", encoded(opaque, "PNG"), image),
    ):
        folder = tmp_path / name
        for kind in ("one", "other"):
            for i in range(3):
                write(folder / kind / f"{i}.{name.rsplit('.')[-1]}", content)
        assert np.array_equal(read_data(folder).train.raw[0, 0].numpy(), expected), name
