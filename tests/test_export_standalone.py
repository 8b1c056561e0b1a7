"""The folder that predicts by itself: in a process without this project, from every kind of file that it reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lrp_core.data import Dataset, InputGroup, Split, Target
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, prune_inputs
from lrp_core.study.export import export, predict, predict_numbers
from lrp_core.study.exporting import formats

pytestmark = pytest.mark.slow

KEPT = [1, 8, 9, 14, 20, 28]

ALONE = """
import runpy, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(name + " is not to be needed")

sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script where some packages cannot be imported."""


def run(
    folder: Path, *words: object, blocked: tuple[str, ...] = ("lrp_core", "torch", "pandas", "PIL")
) -> subprocess.CompletedProcess[str]:
    """Call predict.py of an export in a process that does not find this project, nor most packages."""
    script = str(folder / "standalone" / "predict.py")
    return subprocess.run(
        [sys.executable, "-I", "-c", ALONE.replace("{blocked}", repr(blocked)), script, *map(str, words)],
        cwd=folder.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )


def rows(folder: Path, *words: object, **options: Any) -> list[dict[str, Any]]:
    done = run(folder, *words, "--json", **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(folder: Path, *words: object) -> str:
    """The one sentence with which a call is refused."""
    done = run(folder, *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("predict.py: ")
    return done.stderr


@pytest.fixture(scope="module")
def pictures(toy: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = prune_inputs(build_model("lenet-5", toy, seed=1), PixelMask.from_indices(KEPT, (1, 6, 6)), fill=0.25)
    return export(small, tmp_path_factory.mktemp("pictures") / "out", data=toy, formats=("standalone",)).folder


def table(*, number: bool = False) -> Dataset:
    """Three columns of numbers, one with a value to impute, and the two indicators of a column of words."""
    random = torch.Generator().manual_seed(0)
    values = torch.randn(120, 3, generator=random) * torch.tensor([1.0, 10.0, 0.1]) + torch.tensor([7.0, 100.0, 0.0])
    red = (torch.arange(120) % 2).float()[:, None]
    values = torch.cat([values, red, 1 - red], 1)
    answers: Any = values[:, 0] - 7 if number else torch.arange(120) % 3
    parts = [Split(values[a:b], answers[a:b], numbers=number) for a, b in ((0, 60), (60, 90), (90, 120))]
    words = (InputGroup("colour", (3, 4)),)
    names = ("width", "height, in mm", "depth", "colour=red", "colour=blue")
    target = Target("yield", 400.0, 25.0) if number else None
    data = Dataset(
        "table",
        () if number else ("thin", "thick", "broad"),
        *parts,
        input_names=names,
        groups=words,
        word_columns=words,
        imputed=((1, 99.5),),
        target=target,
    )
    return data.standardised()


def exported_table(folder: Path, **options: Any) -> tuple[Path, Dataset]:
    data = table(**options)
    torch.manual_seed(5)
    network = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, data.n_outputs)).eval()
    small = prune_inputs(network, PixelMask.from_indices([0, 1, 3, 4], (5,)))
    return export(small, folder / "out", data=data, formats=("standalone",)).folder, data


# What it reads


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
@pytest.mark.parametrize("kind", ["bytes", "shares", "flat", "kept"])
def test_arrays_and_tables_of_pixels(suffix: str, kind: str, pictures: Path, toy: Dataset, tmp_path: Path) -> None:
    images = toy.test.raw[:7].numpy()
    given = {
        "bytes": images,
        "shares": toy.test.images[:7].numpy(),
        "flat": images.reshape(7, 36).astype(np.int64),
        "kept": images.reshape(7, 36)[:, KEPT],
    }[kind]
    file = tmp_path / f"new.{suffix}"
    if suffix == "npy":
        np.save(file, given)
    elif suffix == "npz":
        np.savez(file, given)
    else:
        np.savetxt(file, given.reshape(7, -1), fmt="%.9g", delimiter=",")
    found = rows(pictures, file)
    classes, shares = predict(pictures, toy.test.images[:7])
    assert [row["class"] for row in found] == classes
    assert np.allclose([row["probability"] for row in found], shares, atol=1e-6)
    assert found[3]["row"] == f"{file} row 3"


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_pictures(mode: str, pictures: Path, toy: Dataset, tmp_path: Path) -> None:
    """Written by another program, with whatever filters that takes."""
    for i in range(3):
        picture = Image.fromarray(toy.test.raw[i, 0].numpy())
        if mode == "P":
            picture = picture.quantize(256)
        picture.convert(mode).save(tmp_path / f"{i}.png", optimize=True)
    found = rows(pictures, *(tmp_path / f"{i}.png" for i in range(3)))
    assert [row["class"] for row in found] == predict(pictures, toy.test.images[:3])[0]
    assert [row["row"] for row in found] == [str(tmp_path / f"{i}.png") for i in range(3)]


def test_coloured_pictures_of_every_filter(tmp_path: Path) -> None:
    import zlib

    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    parts = [Split(torch.from_numpy(random.integers(0, 256, (20, 3, 5, 4), dtype=np.uint8)), torch.arange(20) % 2)] * 3
    data = Dataset("colours", ("a", "b"), *parts)
    torch.manual_seed(0)
    folder = export(
        nn.Sequential(nn.Flatten(), nn.Linear(60, 2)), tmp_path / "out", data=data, formats=("standalone",)
    ).folder
    lines = b"".join(bytes([kind]) + _filtered(pixels, kind, y) for y, kind in enumerate((0, 1, 2, 3, 4)))
    header = (4).to_bytes(4, "big") + (5).to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    content = b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )
    (tmp_path / "new.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert (np.asarray(Image.open(tmp_path / "new.png")) == pixels).all()
    [row] = rows(folder, tmp_path / "new.png")
    assert row["class"] == predict(folder, torch.from_numpy(pixels.transpose(2, 0, 1).copy()))[0][0]
    np.save(tmp_path / "same.npy", pixels.transpose(2, 0, 1))
    assert row["outputs"] == rows(folder, tmp_path / "same.npy")[0]["outputs"]


def _filtered(pixels: np.ndarray, kind: int, y: int) -> bytes:
    """A line of a PNG file with a filter, by the definition in the standard."""
    row = pixels[y].astype(int)
    up = pixels[y - 1].astype(int) if y else np.zeros_like(row)
    left, corner = (np.vstack([np.zeros((1, 3), int), line[:-1]]) for line in (row, up))
    guess = left + up - corner
    away = np.stack([abs(guess - left), abs(guess - up), abs(guess - corner)])
    paeth = np.choose(away.argmin(0), [left, up, corner])
    return ((row - (0, left, up, (left + up) // 2, paeth)[kind]) % 256).astype(np.uint8).tobytes()


def test_tables_with_names_words_and_gaps(tmp_path: Path) -> None:
    folder, data = exported_table(tmp_path)
    raw = data.scaler.restore(data.test.inputs[:3])
    lines = [f"{r[1]:.9g},{'red' if r[3] > 0.5 else 'blue'},{r[0]:.9g},note" for r in raw]
    file = tmp_path / "new.csv"
    file.write_text('"height, in mm",colour,width,more\n' + "\n".join(lines) + "\n")
    raw[:, 2] = 5e8  # the network does not read it
    expected = predict(folder, raw)
    found = rows(folder, file)
    assert [row["class"] for row in found] == expected[0]
    assert np.allclose([row["probability"] for row in found], expected[1], atol=1e-6)
    file.write_text('\ufeff"height, in mm",colour,width\n,red,7.5\n')
    [row] = rows(folder, file)
    gap = predict(folder, torch.tensor([7.5, 99.5, 0, 1, 0]))
    assert (row["class"], pytest.approx(row["probability"], abs=1e-6)) == (gap[0][0], gap[1][0])


def test_numbers_in_their_own_unit(tmp_path: Path) -> None:
    folder, data = exported_table(tmp_path, number=True)
    raw = data.scaler.restore(data.test.inputs[:4])
    np.save(tmp_path / "new.npy", raw.numpy())
    found = rows(folder, tmp_path / "new.npy")
    assert np.allclose([row["number"] for row in found], predict_numbers(folder, raw), rtol=1e-6)
    said = run(folder, tmp_path / "new.npy").stdout.splitlines()
    assert said[0] == f"{tmp_path / 'new.npy'} row 0: {found[0]['number']:.6g}"


def test_what_a_person_reads(pictures: Path, toy: Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", toy.test.raw[0].numpy())
    [name], [share] = predict(pictures, toy.test.images[0])
    assert run(pictures, tmp_path / "one.npy").stdout == f"{tmp_path / 'one.npy'}: {name} ({share:.1%})\n"
    help_text = run(pictures, "--help").stdout
    assert "--json" in help_text
    assert "FILE" in help_text
    readme = (pictures / "standalone" / "README.txt").read_text()
    assert "python predict.py picture.png" in readme
    assert (pictures / "standalone" / "requirements.txt").read_text().startswith("numpy>=")


def test_without_onnx_it_is_a_program_of_torch(toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnx" else object())
    small = prune_inputs(build_model("softmax", toy, seed=1), PixelMask.from_indices(KEPT, (1, 6, 6)))
    folder = export(small, tmp_path / "out", data=toy, formats=("standalone",)).folder
    assert "torch" in (folder / "standalone" / "requirements.txt").read_text()
    np.save(tmp_path / "new.npy", toy.test.raw[:5].numpy())
    found = rows(folder, tmp_path / "new.npy", blocked=("lrp_core",))
    assert [row["class"] for row in found] == predict(folder, toy.test.images[:5])[0]


# What it refuses


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("new.npy", np.zeros((2, 1, 6, 7)), r"has the shape (2, 1, 6, 7), and rows must be [n, 1, 6, 6], or the 6 "),
        ("new.npy", np.zeros((2, 35)), "has the shape (2, 35)"),
        ("new.npy", np.zeros(()), "has the shape ()"),
        ("new.npy", np.full((1, 36), 300), "other numbers than pixels"),
        ("new.npy", np.full((1, 36), -0.5), "other numbers than pixels"),
        ("new.npy", np.full((2, 36), np.nan), "row 0 (counted from 0) holds no finite number in input 1"),
        ("new.npy", np.array(["a", "b"]), "and no numbers"),
        ("new.npy", np.array([{"a": 1}], dtype=object), "is damaged, or no file of numpy"),
        ("new.npy", b"", "is damaged, or no file of numpy"),
        ("new.npz", b"PK\x03\x04 and no more", "is damaged, or no file of numpy"),
        ("new.csv", b"", "holds no rows"),
        ("new.csv", b"1,2,3\n", "has 3 columns, and rows have 36, or the 6 that the network reads"),
        ("new.csv", b"1,2,3,4,5,6\n1,2,3,4,5\n", "row 1 (counted from 0) has 5 cells, and the first line has 6"),
        ("new.csv", b"a,b,c,d,e,f\n1,2,3,4,5,x\n", "column f holds 'x', which is no number"),
        ("new.csv", b"\xff\xfe\x00", "is no table of text"),
        ("new.png", b"\x89PNG\r\n\x1a\n", "is damaged, or no PNG picture"),
        ("new.jpg", b"", "of a kind that is not read"),
    ],
    ids=str,
)
def test_files_that_do_not_fit(name: str, content: Any, words: str, pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content, allow_pickle=True)
    assert words in refusal(pictures, file)


def test_pictures_that_do_not_fit(pictures: Path, tmp_path: Path) -> None:
    Image.new("L", (7, 6)).save(tmp_path / "wide.png")
    assert "is 7x6 pixels, and the network takes 6x6" in refusal(pictures, tmp_path / "wide.png")
    Image.new("RGBA", (6, 6)).save(tmp_path / "clear.png")
    assert "without transparency" in refusal(pictures, tmp_path / "clear.png")
    Image.new("L", (6, 6)).save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: content.index(b"IDAT") + 8])
    assert "is damaged, or no PNG picture" in refusal(pictures, tmp_path / "cut.png")


def test_columns_that_lack_and_words_that_are_not_known(tmp_path: Path) -> None:
    folder, _ = exported_table(tmp_path)
    file = tmp_path / "new.csv"
    file.write_text("width,colour\n1,red\n")
    assert "lacks the columns height, in mm, which the network reads" in refusal(folder, file)
    file.write_text('width,"height, in mm",colour\n1,2,green\n')
    assert "column colour holds 'green', which the network was not trained with" in refusal(folder, file)
    file.write_text('width,"height, in mm",colour\n,2,red\n')
    assert "holds no finite number in input 'width'" in refusal(folder, file)


def test_one_bad_file_hides_no_other(pictures: Path, toy: Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", toy.test.raw[:2].numpy())
    done = run(pictures, tmp_path / "none.npy", tmp_path / "good.npy", "--json")
    assert done.returncode == 2
    assert done.stderr == f"predict.py: there is no file {tmp_path / 'none.npy'}\n"
    assert len(json.loads(done.stdout)) == 2


def test_arrays_are_named_where_there_are_several(pictures: Path, toy: Dataset, tmp_path: Path) -> None:
    images = toy.test.raw[:2].numpy()
    np.savez(tmp_path / "several.npz", one=images, other=images)
    assert "holds the arrays one, other: name that of the inputs with --array NAME" in refusal(
        pictures, tmp_path / "several.npz"
    )
    assert len(rows(pictures, tmp_path / "several.npz", "--array", "other")) == 2
    np.savez(tmp_path / "likely.npz", x_test=images, y_test=np.zeros(2))
    assert len(rows(pictures, tmp_path / "likely.npz")) == 2


def test_a_network_that_was_changed_is_not_run(toy: Dataset, tmp_path: Path) -> None:
    folder = export(build_model("softmax", toy), tmp_path / "out", data=toy, formats=("standalone",)).folder
    np.save(tmp_path / "new.npy", toy.test.raw[:2].numpy())
    network = folder / "standalone" / "network.onnx"
    network.write_bytes(network.read_bytes()[:-1])
    assert "its checksum is not the one in settings.json" in refusal(folder, tmp_path / "new.npy")
    network.unlink()
    assert "lacks a part of the export" in refusal(folder, tmp_path / "new.npy")
