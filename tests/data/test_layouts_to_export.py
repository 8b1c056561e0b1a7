"""From a file of every layout, through the command line alone, to an export that predicts new files of that layout."""

from __future__ import annotations

import gzip
import json
import math
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import lrp_core as lc
from lrp_core.cli import main
from lrp_core.data import open_data, read_data
from lrp_core.study.export import load_export

from ..support import PATIENCE, ROOT
from .idx import pack
from .layouts import COLOURS, KINDS, ask, frame, image_rows, pictures, png, table, write_stream

pytestmark = pytest.mark.slow

NEW, WORDS = 12, ("low", "middle", "high")
FEW = ("--model", "softmax", "--epochs", "200")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def rows() -> np.ndarray:
    return table(NEW, seed=5)[0]


def images() -> np.ndarray:
    return pictures(NEW, seed=5)[0]


def unlabelled() -> pd.DataFrame:
    return frame(NEW, seed=5).drop(columns="kind")


def pixels() -> pd.DataFrame:
    return pd.DataFrame(images().reshape(NEW, -1), columns=[f"pixel{i}" for i in range(64)])


def to_csv(name: str, **how: Any) -> Callable[[Path], tuple[Path, np.ndarray]]:
    def make(folder: Path) -> tuple[Path, np.ndarray]:
        unlabelled().to_csv(folder / name, index=False, **how)
        return folder / name, rows()

    return make


def to_columns(name: str) -> Callable[[Path], tuple[Path, np.ndarray]]:
    def make(folder: Path) -> tuple[Path, np.ndarray]:
        (unlabelled().to_parquet if name.endswith("parquet") else unlabelled().to_feather)(folder / name)
        return folder / name, rows()

    return make


def new_worded(folder: Path) -> tuple[Path, np.ndarray]:
    given = unlabelled()
    given.loc[2, "sensor 3"] = np.nan
    given.to_csv(folder / "new.csv", index=False)
    return folder / "new.csv", given.to_numpy()


def new_pixels(folder: Path) -> tuple[Path, np.ndarray]:
    pixels().to_csv(folder / "new.csv", index=False)
    return folder / "new.csv", images()


def new_stream(folder: Path) -> tuple[Path, np.ndarray]:
    import pyarrow

    return write_stream(folder / "new.arrow", pyarrow.Table.from_pandas(unlabelled())), rows()


def new_image_table(folder: Path) -> tuple[Path, np.ndarray]:
    from pyarrow import parquet

    parquet.write_table(image_rows(images(), np.zeros(NEW)).select(["image"]), folder / "new.parquet")
    return folder / "new.parquet", images()


def new_image_stream(folder: Path) -> tuple[Path, np.ndarray]:
    return write_stream(folder / "new.arrow", image_rows(images(), np.zeros(NEW)).select(["image"])), images()


def to_npz(values: Callable[[], np.ndarray], name: str) -> Callable[[Path], tuple[Path, np.ndarray]]:
    def make(folder: Path) -> tuple[Path, np.ndarray]:
        np.savez(folder / "new.npz", **{name: values()})
        return folder / "new.npz", values()

    return make


def series() -> np.ndarray:
    return table(NEW, 12, seed=5)[0].reshape(NEW, 2, 6)


def new_mat(folder: Path) -> tuple[Path, np.ndarray]:
    from scipy import io

    io.savemat(folder / "new.mat", {"X": rows()})
    return folder / "new.mat", rows()


def new_turned_mat(folder: Path) -> tuple[Path, np.ndarray]:
    from scipy import io

    coloured = np.stack([images()] * 3, 1)
    io.savemat(folder / "new.mat", {"X": coloured.transpose(2, 3, 1, 0)})
    return folder / "new.mat", coloured


def new_idx(folder: Path) -> tuple[Path, np.ndarray]:
    (folder / "new-images-idx3-ubyte.gz").write_bytes(gzip.compress(pack(images())))
    return folder / "new-images-idx3-ubyte.gz", images()


def new_pictures(folder: Path) -> tuple[Path, np.ndarray]:
    for i, image in enumerate(images()):
        (folder / f"{i:03}.png").write_bytes(png(image))
    return folder, images()


NEW_FILES: dict[str, Callable[[Path], tuple[Path, np.ndarray]]] = {
    "csv": to_csv("new.csv"),
    "csv with every word": new_worded,
    "csv with semicolons": to_csv("new.csv", sep=";", decimal=",", encoding="utf-8-sig"),
    "tsv": to_csv("new.tsv", sep="\t"),
    "Kaggle's pixels": new_pixels,
    "csv in parts": to_csv("new.csv"),
    "parquet": to_columns("new.parquet"),
    "arrow": to_columns("new.arrow"),
    "feather": to_columns("new.feather"),
    "arrow stream": new_stream,
    "table of images": new_image_table,
    "stream of images": new_image_stream,
    "npz": to_npz(images, "x_test"),
    "npz with names": to_npz(rows, "readings"),
    "series": to_npz(series, "arr_0"),
    "mat": new_mat,
    "mat with rows last": new_turned_mat,
    "idx": new_idx,
    "folders": new_pictures,
    "folders of parts": new_pictures,
}
"""A file of each layout without labels, and the numbers in it as they should be read."""


def by_hand(export: Path, given: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Classes and probabilities of new rows, standardised and cut with what the card says and nothing else of ours."""
    network, card = load_export(export)
    taken, values = card["input"], given.reshape(len(given), -1).astype(np.float64)
    n, how = math.prod(taken["shape"]), taken["normalisation"]
    for position, value in taken.get("imputed", {}).items():
        values[np.isnan(values[:, int(position)]), int(position)] = value
    if "mean" in how:
        each = n // len(how["mean"])
        values = (values - np.repeat(how["mean"], each)) / np.repeat(how["scale"], each)
    else:
        values = values * how["scale"] + how["offset"]
    with torch.no_grad():
        answers = network(torch.from_numpy(values[:, taken["kept_pixels"]]).float()).numpy()
    shares = np.exp(answers) / np.exp(answers).sum(1, keepdims=True)
    return [card["classes"][i] for i in answers.argmax(1)], shares.max(1)


def check_new_files(export: Path, given: Path, values: np.ndarray, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """`predict` on a file gives what the network says of its numbers."""
    answers = ask(capsys, "predict", str(export), str(given))["predictions"]
    classes, shares = by_hand(export, values)
    assert [row["class"] for row in answers] == classes
    assert [row["confidence"] for row in answers] == pytest.approx(shares.tolist(), abs=1e-4)
    return classes


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_is_studied_exported_and_predicted(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The words that `export` prints ask for the same data, and new files without labels get the classes they are."""
    make, shape, sizes = KINDS[kind]
    (folder := tmp_path / "given").mkdir()
    path, words = make(folder)
    asked = ["--data", str(path), *words]
    keep = str((shape[0] if len(shape) == 2 else int(np.prod(shape))) // 2)  # of series, whole channels are kept
    study = ask(capsys, "study", *asked, *FEW, "--keeps", keep, "--seeds", "0", "--criteria", "lrp-0", "--jobs", "1")
    assert study["trials"] == 4, "the full network and, at that place, elimination, the ranking and random"
    data = open_data(study["spec"]["dataset"], digest=study["spec"]["digest"])
    assert data.shape == shape
    assert (len(data.train), len(data.validation), len(data.test)) == sizes
    assert [split.labels.unique().tolist() for split in (data.train, data.validation, data.test)] == [[0, 1, 2]] * 3
    small = tmp_path / "small"
    assert main(["export", *asked, *FEW, "--keep", keep, "--output", str(small)]) == 0
    printed = capsys.readouterr().out
    answer = ask(capsys, *shlex.split(printed.split("python -m lrp_core ")[1])[:-2])
    assert len(answer["predictions"]) == sizes[2]
    card = json.loads((small / "card.json").read_text())
    assert answer["accuracy"] == pytest.approx(card["accuracy"]["value"], abs=1e-9)
    assert answer["accuracy"] > 0.6

    (new := tmp_path / "new").mkdir()
    given, values = NEW_FILES[kind](new)
    classes = check_new_files(small, given, values, capsys)
    known = next((names for names in (WORDS, COLOURS) if set(names) == set(card["classes"])), card["classes"])
    assert np.mean([name == known[i % 3] for i, name in enumerate(classes)]) > 0.6
    assert len(classes) == NEW


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_as_a_program(kind: str, tmp_path: Path) -> None:
    """The same in processes of their own: nothing but what was asked for on stdout, and one line for a refusal."""

    def run(*words: object, rc: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lrp_core", *map(str, words)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == rc, done.stderr
        return done

    path, _ = KINDS[kind][0](tmp_path)
    few = ["--data", path, "--model", "softmax", "--epochs", "1"]
    alone = ["--seeds", 0, "--criteria", "variance", "--modes", "none", "--jobs", 1, "--json"]
    assert json.loads(run("study", *few, "--keeps", 2, *alone).stdout)["trials"] == 2
    run("export", *few, "--keep", 2, "--criterion", "variance", "--mode", "none", "--output", tmp_path / "small")
    (new := tmp_path / "new").mkdir()
    given, values = NEW_FILES[kind](new)
    answers = json.loads(run("predict", tmp_path / "small", given, "--json").stdout)["predictions"]
    assert [row["class"] for row in answers] == by_hand(tmp_path / "small", values)[0]
    given.write_bytes(given.read_bytes()[:-9] + b"\xff")
    for refusal in (run("predict", tmp_path / "small", given, rc=2), run("study", "--data", given, rc=2)):
        assert refusal.stdout == ""
        (line,) = refusal.stderr.splitlines()
        assert str(given) in line


@pytest.mark.parametrize("source", ["arrays", "tensors", "frame", "frame and column", "arrays by name"])
def test_data_in_python_are_studied_exported_and_predicted(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values, labels = table()
    named = frame()
    given = {
        "arrays": (values, labels),
        "tensors": (torch.from_numpy(values), torch.from_numpy(labels)),
        "frame": named,
        "frame and column": (named.drop(columns="kind"), named["kind"]),
        "arrays by name": {"X": values, "y": labels},
    }[source]
    data = read_data(given)
    study = lc.preset("quick", data, architecture="softmax", seeds=(0,), keeps=(2,), criteria=("lrp-0",), epochs=200)
    network = lc.run(study, jobs=1).network(2)
    lc.export(network, tmp_path / "small", data=data)
    make = to_csv("new.csv") if "frame" in source else to_npz(rows, "X")
    classes = check_new_files(tmp_path / "small", *make(tmp_path), capsys)
    assert len(set(classes)) == 3


def test_the_official_fashion_mnist_of_debian(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("the package dataset-fashion-mnist is not installed")
    few = ["--model", "softmax", "--epochs", "5", "--train-images", "2000"]
    asked = ["--data", str(folder), *few]
    alone = ["--seeds", "0", "--criteria", "variance", "--modes", "none", "--jobs", "1"]
    study = ask(capsys, "study", *asked, "--keeps", "100", *alone)
    data = open_data(study["spec"]["dataset"], digest=study["spec"]["digest"])
    assert (len(data.train), len(data.validation), len(data.test)) == (50_000, 10_000, 10_000)
    assert data.shape == (1, 28, 28)
    words = ["--keep", "100", "--criterion", "variance", "--mode", "none", "--output", str(tmp_path / "small")]
    assert main(["export", *asked, *words]) == 0
    capsys.readouterr()
    raw, labels = data.test.raw.numpy(), data.test.labels.tolist()
    classes = check_new_files(tmp_path / "small", folder / "t10k-images-idx3-ubyte.gz", raw, capsys)
    assert np.mean([name == data.classes[label] for name, label in zip(classes, labels, strict=True)]) > 0.3
