"""New files for an export: in other spellings than its data had, and broken."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lrp_core as lc
from lrp_core.cli import main
from lrp_core.data import read_data

from .idx import pack
from .layouts import ask, frame, pictures, png, table, write, write_folders
from .test_layout_faults import claims, zipped
from .test_layouts_to_export import by_hand

pytestmark = pytest.mark.slow

NEW = frame(6, seed=5).drop(columns="kind")
TEXT = NEW.to_csv(index=False)
IMAGES = pictures(6, seed=5)[0]


def export(folder: Path, source: Any, **how: Any) -> Path:
    """An untrained network of some data that reads half of its inputs: what it is given is what counts here."""
    data = read_data(source, name="own", **how)
    kept = range(0, data.n_inputs, 2)
    network = lc.prune_inputs(lc.build_model("softmax", data), lc.PixelMask.from_indices(list(kept), data.shape))
    lc.export(network, folder, data=data)
    return folder


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("exports")
    rows, labels = table()
    images, classes = pictures()
    headless = write(folder / "headless.csv", frame()[["kind", *NEW.columns]].to_csv(index=False, header=False))
    deep = images.astype(np.int32) * 16
    gaps = frame()
    gaps.loc[[0, 7], "sensor 2"] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder / "cache"))
        yield {
            "table": export(folder / "table", frame()),
            "gaps": export(folder / "gaps", gaps, impute="median", label="kind"),
            "headless": export(folder / "headless", headless, label="column 1"),
            "arrays": export(folder / "arrays", (rows, labels)),
            "series": export(folder / "series", (np.tile(rows, 3).reshape(60, 2, 6), labels)),
            "images": export(folder / "images", (images, classes)),
            "deep images": export(folder / "deep", (deep, classes)),
            "standardised images": export(folder / "standardised", (images, classes), standardise="channels"),
            "colour": export(folder / "colour", (np.stack([images] * 3, 1), classes)),
        }


def text(content: str, name: str = "new.csv") -> Callable[[Path], Path]:
    return lambda folder: write(folder / name, content)


def array(values: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.save(folder / "new.npy", values)
        return folder / "new.npy"

    return make


def archive(**arrays: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez(folder / "new.npz", **arrays)
        return folder / "new.npz"

    return make


def flat(images: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(images.reshape(len(images), -1), columns=[f"pixel{i}" for i in range(64)])


ROWS = NEW.to_numpy()
GAP = np.where(np.arange(24).reshape(6, 4) == 6, np.nan, ROWS)
SERIES = np.tile(ROWS, 3).reshape(6, 2, 6)
DEEP = IMAGES.astype(np.int32) * 16
PIXELS = flat(IMAGES).to_csv(index=False)
COLOUR = np.stack([IMAGES] * 3, 1)

SPELLINGS: dict[str, tuple[str, Callable[[Path], Path], np.ndarray, list[str]]] = {
    "decimal commas": ("table", text(NEW.to_csv(index=False, sep=";", decimal=",")), ROWS, []),
    "columns in another order": ("table", text(NEW.iloc[:, ::-1].to_csv(index=False)), ROWS, []),
    "labels and row numbers beside": ("table", text(NEW.assign(kind="?").to_csv()), ROWS, []),
    "an array for a table": ("table", array(ROWS), ROWS, []),
    "one row alone": ("table", array(ROWS[0]), ROWS[:1], []),
    "rows last": ("table", array(ROWS.T), ROWS, []),
    "arrays of which one is asked for": ("table", archive(a=ROWS, b=ROWS + 1), ROWS + 1, ["--inputs", "b"]),
    "an array beside the labels": ("table", archive(readings=ROWS, verdict=np.arange(6)), ROWS, ["--label", "verdict"]),
    "a gap in an array": (
        "gaps",
        array(GAP),
        GAP,
        [],
    ),
    "no header, and no labels before": ("headless", text(NEW.to_csv(index=False, header=False)), ROWS, []),
    "no header, labels before": (
        "headless",
        text(NEW.to_csv(header=False).replace("\n0,", "\nx,")),
        ROWS,
        ["--no-header"],
    ),
    "samples first": ("series", array(SERIES.transpose(0, 2, 1)), SERIES, []),
    "flat series": ("series", array(SERIES.reshape(6, 12)), SERIES, []),
    "bytes kept as whole numbers": ("images", array(IMAGES.astype(np.int64)), IMAGES, []),
    "bytes kept as floats": ("images", array(IMAGES.astype(np.float64)), IMAGES, []),
    "shares of bytes": ("images", array(IMAGES / 255), IMAGES, []),
    "pixels in a table": ("images", text(PIXELS), IMAGES, []),
    "pixels without names": ("images", text(flat(IMAGES).to_csv(index=False, header=False)), IMAGES, ["--no-header"]),
    "pixels and labels": ("images", text(flat(IMAGES).assign(label=1).to_csv(index=False)), IMAGES, []),
    "pixels and numbers of rows": (
        "images",
        text(flat(IMAGES).assign(id=7).to_csv(index=False)),
        IMAGES,
        ["--drop", "id"],
    ),
    "channels last": ("colour", array(COLOUR.transpose(0, 2, 3, 1)), COLOUR, []),
    "whole numbers that are no bytes": (
        "deep images",
        array(DEEP),
        DEEP,
        [],
    ),
    "bytes that were standardised": ("standardised images", array(IMAGES), IMAGES / 255, []),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_the_same_numbers_in_other_spellings(
    case: str, exports: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, make, values, words = SPELLINGS[case]
    answers = ask(capsys, "predict", str(exports[kind]), str(make(tmp_path)), *words)["predictions"]
    classes, shares = by_hand(exports[kind], values)
    assert [row["class"] for row in answers] == classes
    assert [row["confidence"] for row in answers] == pytest.approx(shares.tolist(), abs=1e-5)


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "new.csv")
    return folder / "new.csv"


def bomb(folder: Path) -> Path:
    zipped(folder / "new.npz", X=claims((10**9, 10**6)))
    return folder / "new.npz"


def raw(content: bytes, name: str) -> Callable[[Path], Path]:
    return lambda folder: write(folder / name, content)


BROKEN: dict[str, tuple[str, Callable[[Path], Path], list[str], str]] = {
    "a row too long": ("table", text(TEXT + "1,2,3,4,5\n"), [], "line 8 has 5 fields"),
    "a row too short": ("table", text(TEXT + "1,2\n"), [], "line 8 has 2 fields"),
    "a value missing": ("table", text(TEXT + "1,2,,4\n"), [], "line 8 misses a value in column 'sensor 2'"),
    "infinity": ("table", text(TEXT + "1,2,inf,4\n"), [], "line 8, column 'sensor 2' holds"),
    "more than float32": (
        "table",
        text(TEXT + "1e300,2,3,4\n"),
        [],
        "line 8, column 'sensor 0' holds infinity or more",
    ),
    "a decimal point among commas": (
        "table",
        text(NEW.to_csv(index=False, sep=";", decimal=",") + "1,5;1;2.5;3\n"),
        [],
        "line 8, column 'sensor 2' holds '2.5', which is no number",
    ),
    "marks of thousands": ("table", text(TEXT + '"1,000",1,2,3\n'), [], "column 'sensor 0' holds '1,000'"),
    "not UTF-8": ("table", raw(TEXT.encode() + b"\xe9,1,2,3\n", "new.csv"), [], "line 8 holds the byte 0xE9"),
    "nothing": ("table", text(""), [], "is empty"),
    "a header alone": ("table", text(TEXT.splitlines()[0]), [], "a header and no rows"),
    "no rows": ("table", array(ROWS[:0]), [], "holds no rows"),
    "a column of one name twice": ("table", text(TEXT.replace("sensor 1", "sensor 0")), [], "several columns called"),
    "a pipe": ("table", pipe, [], "neither a file nor a folder"),
    "no file": ("table", lambda folder: folder / "new.png", [], "No such file"),
    "a picture": ("table", raw(png(IMAGES[0]), "new.png"), [], r"takes inputs of shape \(4,\)"),
    "an empty folder": ("table", lambda folder: folder, [], "a folder without pictures or IDX files"),
    "a column too few": ("table", array(ROWS[:, :3]), [], r"of shape \(6, 3\), and the network takes rows of \(4,\)"),
    "NaN in an array": ("table", array(ROWS * np.nan), [], r"row 0 \(counted from 0\) holds NaN in input 'sensor 0'"),
    "words in an array": ("table", array(ROWS.astype(str)), [], "holds <U.*, not numbers"),
    "objects": ("table", archive(X=np.array([{}])), [], "array 'X' holds objects"),
    "an archive that claims 8 PB": ("table", bomb, [], "array 'X' unpacks to 8,000,000.0 GB"),
    "an array that claims 8 PB": ("table", raw(claims((10**9, 10**6)), "new.npy"), [], "unpacks to 8,000,000.0 GB"),
    "an array that breaks off": ("table", raw(claims((9, 4)), "new.npy"), [], "truncated"),
    "two arrays": ("table", archive(a=ROWS, b=ROWS), [], r"holds 'a' \(6, 4\), 'b' \(6, 4\): name the array"),
    "labels alone": (
        "images",
        raw(pack(np.arange(3, dtype=np.uint8)), "a-labels-idx1-ubyte"),
        [],
        "holds labels: name",
    ),
    "IDX that breaks off": (
        "images",
        raw(gzip.compress(pack(IMAGES))[:-30], "a-images-idx3-ubyte.gz"),
        [],
        "truncated or damaged",
    ),
    "a pixel too few": (
        "images",
        text(flat(IMAGES).iloc[:, 1:].to_csv(index=False)),
        [],
        "63 columns, and .* 64 pixels",
    ),
    "numbers above bytes": ("images", array(IMAGES.astype(int) + 200), [], r"row 0 .*holds \d+, and pixels are"),
    "numbers below bytes": ("images", array(IMAGES.astype(int) - 200), [], r"row 0 .*holds -\d+, and pixels are"),
    "numbers between bytes": ("images", array(IMAGES + 0.5), [], "divide bytes by 255"),
    "a word among pixels": (
        "images",
        text(flat(IMAGES).astype(object).assign(pixel3="x").to_csv(index=False)),
        [],
        "line 2, column 'pixel3' holds 'x'",
    ),
    "a table for arrays": ("arrays", text(TEXT), [], "not made of columns with names: give arrays"),
    "an option of reading": ("table", text(TEXT), ["--impute", "median"], "--impute is for --data"),
    "a seed": ("table", text(TEXT), ["--split-seed", "3"], "--split-seed is for --data"),
    "an array of a table": ("table", text(TEXT), ["--inputs", "X"], "has no use for inputs"),
    "a header of an array": ("table", array(ROWS), ["--header"], "has no use for header"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_new_files_that_cannot_be_taken(
    case: str, exports: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, make, words, expected = BROKEN[case]
    path = make(tmp_path)
    assert main(["predict", str(exports[kind]), str(path), *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert re.search(expected, line), line
    assert str(path) in line or words


def test_a_broken_file_hides_no_other(
    exports: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = write(tmp_path / "good.csv", TEXT), write(tmp_path / "bad\n.csv", TEXT + "1,2\n")
    np.save(tmp_path / "more.npy", ROWS)
    assert main(["predict", str(exports["table"]), str(bad), str(good), str(tmp_path / "more.npy")]) == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 12
    (line,) = captured.err.splitlines()
    assert "bad\\n.csv, line 8 has 2 fields" in line


def test_folders_of_pictures_are_predicted_one_by_one(
    exports: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folders(tmp_path, IMAGES, np.arange(6) % 3)
    answers = ask(capsys, "predict", str(exports["images"]), str(tmp_path))["predictions"]
    order = sorted(tmp_path.rglob("*.png"))
    assert [row["image"] for row in answers] == list(map(str, order))
    classes, shares = by_hand(exports["images"], IMAGES[[int(path.stem) for path in order]])
    assert [row["class"] for row in answers] == classes
    assert [row["confidence"] for row in answers] == pytest.approx(shares.tolist(), abs=1e-5)


def test_chosen_wavelengths_are_known_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their names are numbers with gaps, and no row of values."""
    rows, labels = table(columns=12)
    spectra = pd.DataFrame(rows, columns=[str(1100 + 2 * i) for i in range(12)])
    folder = export(tmp_path / "bands", (spectra, labels), series=(1, 12), input_groups="windows:3")
    kept = [0, 2, 4, 6, 8, 10]
    whole, chosen = (
        write(tmp_path / f"{name}.csv", spectra.iloc[:6, columns].to_csv(index=False))
        for name, columns in (("whole", range(12)), ("chosen", [*kept[:3], 5, *kept[3:]]))
    )
    answers = []
    for file in (whole, chosen):
        assert main(["predict", str(folder), str(file), "--json"]) == 0
        answers.append([row["confidence"] for row in json.loads(capsys.readouterr().out)["predictions"]])
    assert len(answers[0]) == 6
    assert answers[1] == pytest.approx(answers[0])
