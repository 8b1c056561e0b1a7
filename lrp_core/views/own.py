"""Data of your own that a page is given: what was understood of a file, and a table to look at."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data import Dataset, Split, read_data
from ..errors import InputError
from ..study import Study, preset

UPLOADS = ("csv", "tsv", "parquet", "npz", "mat")
"""Endings of the files that a page takes; nothing in them is ever unpickled."""

MAX_UPLOAD = 200 * 2**20
"""Bytes that a file may have: larger data are read from a path, by the command line's `--data`."""

MAX_DRAWN = 1000


@dataclass(frozen=True, eq=False)
class DataPicture:
    """What was understood of data.

    `parts` has a row for each class with its rows in each part, or for numbers how many there are, the least, mean and
    greatest; `inputs` has one for each input (the first thousand) with its range over the training rows, and `notes`
    are what was made of them.
    """

    summary: str
    parts: pd.DataFrame
    inputs: pd.DataFrame
    notes: tuple[str, ...]


def read_upload(content: bytes, name: str, *, group_file: tuple[bytes, str] | None = None, **how: Any) -> Dataset:
    """The data in a file of that name; `how` is what `read_data` takes, `group_file` a file of groups, with its name.

    Raises `InputError` and `StorageError` as that does, with the file's own name.
    """
    if len(content) > MAX_UPLOAD:
        raise InputError(
            f"{name} has {len(content):,} bytes, more than the {MAX_UPLOAD:,} that a page takes: read it from its "
            "path, with --data"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (Path(name).name or "data")
        path.write_bytes(content)
        if group_file is not None:
            (groups := Path(folder) / "groups" / (Path(group_file[1]).name or "groups.csv")).parent.mkdir()
            groups.write_bytes(group_file[0])
            how["input_groups"] = groups
        try:
            return read_data(path, **how)
        except Exception as error:
            _say_without(error, folder)
            raise


def own_study(data: Dataset) -> Study:
    """The quick study of data of your own, which are kept from then on."""
    return preset("quick", data)


def columns_of(content: bytes, name: str) -> list[str]:
    """The names of columns, or arrays, in a file, for a choice of labels; none if they cannot be told."""
    suffix = Path(name).suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            head = io.StringIO(content[: 2**20].decode("utf-8-sig", errors="replace").splitlines()[0])
            return [str(column) for column in pd.read_csv(head, sep=None, engine="python", nrows=0).columns]
        if suffix == ".parquet":
            from pyarrow import parquet

            return [str(column) for column in parquet.read_schema(io.BytesIO(content)).names]
        if suffix == ".npz":
            import zipfile

            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return [member.removesuffix(".npy") for member in archive.namelist()]
    except Exception:  # whatever is wrong with the file, reading it says so
        return []
    return []


def picture_of_data(data: Dataset) -> DataPicture:
    """What there is to see of a data set before it is studied."""
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    parts = pd.DataFrame({name: _labels_of(split, data) for name, split in splits.items()})
    parts.insert(0, "class" if data.target is None else data.target.name, data.classes or _OF_NUMBERS)
    values = data.train.inputs.flatten(1)[:, :MAX_DRAWN].double()
    mean: Any = 0.0
    scale: Any = 1.0
    if data.scaler is not None and len(data.scaler.mean) == data.n_inputs:
        mean, scale = (np.array(numbers[:MAX_DRAWN]) for numbers in (data.scaler.mean, data.scaler.scale))
    n = min(data.n_inputs, MAX_DRAWN)
    inputs = pd.DataFrame({"input": [data.name_of_input(i) for i in range(n)]})
    if data.groups:
        inputs["group"] = [data.group_names[i] for i in data.grouping.of[:n].tolist()]
    if data.costs is not None:
        inputs["cost of the group"] = data.costs[data.grouping.of[:n]].numpy()
    for name, numbers in (("least", values.amin(0)), ("mean", values.mean(0)), ("greatest", values.amax(0))):
        inputs[name] = numbers.numpy() * scale + mean
    rows = sum(len(split) for split in splits.values())
    kind = {1: f"{data.n_inputs:,} inputs", 2: f"series of {data.shape[0]} x {data.shape[-1]:,}"}.get(
        len(data.shape), "images of " + " x ".join(map(str, data.shape[1:]))
    )
    groups = f" in {data.n_groups:,} groups" if data.groups else ""
    labels = f"{len(data.classes)} classes" if data.target is None else "numbers to predict"
    summary = f"{rows:,} rows of {kind}{groups}, {labels}"
    return DataPicture(summary, parts, inputs, tuple(data.notes))


_OF_NUMBERS = ("rows", "least", "mean", "greatest")


def _labels_of(split: Split, data: Dataset) -> list[float]:
    """Rows of each class in a split, or of what kind the numbers are."""
    if data.target is None:
        return split.labels.bincount(minlength=len(data.classes)).tolist()
    numbers = data.target.restore(split.labels)
    return [len(numbers), float(numbers.min()), float(numbers.mean()), float(numbers.max())]


def _say_without(error: Exception, folder: str) -> None:
    """Take the folder that a file was put in off what is said of it."""
    error.args = tuple(
        a.replace(f"{folder}/groups/", "").replace(f"{folder}/", "") if isinstance(a, str) else a for a in error.args
    )
