"""One small file of every layout that is read, and what it holds."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lrp_core.cli import main
from lrp_core.data import read_data
from lrp_core.errors import LrpError

from ..support import check_sentence
from .idx import pack

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


def make_feather(folder: Path) -> tuple[Path, list[str]]:
    pytest.importorskip("pyarrow")
    frame().to_feather(folder / "wine.feather")
    return folder / "wine.feather", []


def make_parts(folder: Path) -> tuple[Path, list[str]]:
    frame().to_csv(folder / "train_wine.csv", index=False)
    frame(seed=1).to_csv(folder / "test_wine.csv", index=False)
    return folder, []


def make_stream(folder: Path) -> tuple[Path, list[str]]:
    """As `datasets` keeps a table in its cache."""
    pyarrow = pytest.importorskip("pyarrow")
    return write_stream(folder / "wine.arrow", pyarrow.Table.from_pandas(frame())), []


def write_stream(path: Path, rows: Any) -> Path:
    import pyarrow

    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows, max_chunksize=25)
    return path


def make_image_table(folder: Path) -> tuple[Path, list[str]]:
    """As `datasets` publishes images: files of parts, and the names of the classes beside the columns."""
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (folder / "data").mkdir()
    for part, seed in (("train", 0), ("test", 1)):
        parquet.write_table(image_rows(*pictures(seed=seed)), folder / "data" / f"{part}-00000-of-00001.parquet")
    return folder, []


def make_image_stream(folder: Path) -> tuple[Path, list[str]]:
    """As `datasets` keeps images in its cache."""
    pytest.importorskip("pyarrow")
    return write_stream(folder / "colours.arrow", image_rows(*pictures())), []


def image_rows(images: np.ndarray, labels: np.ndarray) -> Any:
    import pyarrow

    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(COLOURS)}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    column = [{"bytes": png(image), "path": None} for image in images]
    return pyarrow.table({"image": column, "label": labels}).replace_schema_metadata(metadata)


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


def make_turned_mat(folder: Path) -> tuple[Path, list[str]]:
    """Images with the rows last, as Street View House Numbers has them."""
    from scipy import io

    images, labels = pictures()
    io.savemat(folder / "turned.mat", {"X": np.stack([images] * 3, 3).transpose(1, 2, 3, 0), "y": labels + 1})
    return folder / "turned.mat", []


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
    "csv in parts": (make_parts, (4,), (50, 10, 60)),
    "parquet": (make_parquet, (4,), (42, 9, 9)),
    "arrow": (make_arrow, (4,), (42, 9, 9)),
    "feather": (make_feather, (4,), (42, 9, 9)),
    "arrow stream": (make_stream, (4,), (42, 9, 9)),
    "table of images": (make_image_table, (1, 8, 8), (50, 10, 60)),
    "stream of images": (make_image_stream, (1, 8, 8), (42, 9, 9)),
    "npz": (make_npz, (1, 8, 8), (50, 10, 60)),
    "npz with names": (make_named_npz, (4,), (42, 9, 9)),
    "series": (make_series, (2, 6), (42, 9, 9)),
    "mat": (make_mat, (4,), (42, 9, 9)),
    "mat with rows last": (make_turned_mat, (3, 8, 8), (42, 9, 9)),
    "idx": (make_idx, (1, 8, 8), (50, 10, 60)),
    "folders": (make_folders, (1, 8, 8), (42, 9, 9)),
    "folders of parts": (make_parted_folders, (1, 8, 8), (50, 10, 60)),
}


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


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
