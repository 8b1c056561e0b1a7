"""Inputs without labels, from any kind of file that is read here, as the network of an export takes them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ...errors import InputError, StorageError, check_choice
from .arrays import Named, check_plain, open_npy, open_npz, role_of
from .contents import Asked
from .folders import SUFFIXES as PICTURES
from .idx import images_in, is_idx, read_file
from .images import Pictures
from .rows import Wanted, filled, read_pixels, read_rows

TEXT, COLUMNS, ARRAYS = (".csv", ".tsv"), (".parquet", ".arrow", ".feather"), (".npz", ".npy", ".mat")


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Rows of one file: `inputs` [n, *shape], what each is called, and notes on what was done to them."""

    inputs: Tensor
    names: list[str]
    notes: tuple[str, ...] = ()


def files_of(path: Path) -> list[Path]:
    """The files that a path stands for: the IDX files or pictures of a folder, else itself. Raises `InputError`."""
    if not path.is_dir():
        if path.exists() and not path.is_file():
            raise StorageError(f"{path} is neither a file nor a folder: name one of these")
        return [path]
    if is_idx(path):
        return images_in(path)
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in PICTURES and f.name[0] != "." and not f.is_dir())
    if odd := next((f for f in files if not f.is_file()), None):
        raise StorageError(f"cannot read {odd}: it is no file, or leads to none")
    if not files:
        raise InputError(f"{path} is a folder without pictures or IDX files of images: name the files to predict")
    return files


def holds_rows(path: Path) -> bool:
    """Whether a file is of a kind that holds rows, a table, arrays or IDX, and not one picture."""
    return path.suffix.lower() in (*TEXT, *COLUMNS, *ARRAYS) or is_idx(path)


def read_unlabelled(path: Path, wanted: Wanted, asked: Asked) -> Unlabelled:
    """The inputs in a file: the numbers that the data held before anything was taken off them; pixels in [0, 1].

    Labels need not be there. Raises `StorageError` for what is missing or damaged, and `InputError` for what does not
    fit the network, each in one sentence that names file, row or column.
    """
    suffix = path.suffix.lower()
    if suffix not in TEXT:
        asked.refuse(str(path), "header")
    if suffix in (*TEXT, *COLUMNS):
        return _from_table(path, wanted, asked)
    if is_idx(path):
        asked.refuse(str(path), "label", "inputs", "drop")
        values, where = read_file(images_in(path)[0]), str(path)
    else:
        asked.refuse(str(path), "drop")
        values, where = _from_arrays(path, asked)
    values = _fitted(values, wanted.shape, where)
    if not len(values):
        raise InputError(f"{where} holds no rows")
    names = [str(path)] if len(values) == 1 else [f"{path}[{i}]" for i in range(len(values))]
    return Unlabelled(filled(values, wanted, lambda i: f"{where}, row {i:,} (counted from 0)"), names)


def _from_table(path: Path, wanted: Wanted, asked: Asked) -> Unlabelled:
    notes: list[str] = []
    if path.suffix.lower() in TEXT:
        from .text import open_text

        read = () if wanted.names is None else [wanted.names[position] for position in wanted.needed]
        sheet, images = open_text(path, asked, read), None
    else:
        from .arrow import open_images, open_sheet

        images = open_images(path, asked) if wanted.names is None else None
        sheet = open_sheet(path)
    if images is not None:
        taken = Pictures(Asked(image_size=_picture(wanted.shape, str(path))))
        for where, content in images:
            taken.add(content, where)
        inputs = filled(taken.finished(str(path)), wanted, sheet.row)
        notes = taken.notes
    elif wanted.names is not None:
        asked.refuse(str(path), "inputs")
        inputs = read_rows(sheet, wanted).view(-1, *wanted.shape)
    elif len(wanted.shape) == 3:
        asked.refuse(str(path), "inputs")
        inputs = filled(read_pixels(sheet, wanted, asked), wanted, sheet.row)
    else:
        raise InputError(
            f"{path} is a table, and the export was not made of columns with names: give arrays (.npz, .npy, .mat)"
        )
    if not len(inputs):
        raise InputError(f"{path} holds no rows")
    return Unlabelled(
        inputs, [f"{path} row {i}" for i in range(len(inputs))], tuple(f"{path}: {note}" for note in notes)
    )


def _picture(shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(f"{where} holds pictures, and the network takes inputs of shape {shape}")
    return shape


def _from_arrays(path: Path, asked: Asked) -> tuple[np.ndarray, str]:
    """The array of inputs in a file, and where it is."""
    suffix = path.suffix.lower()
    if suffix == ".mat":
        from .mat import open_mat

        named = open_mat(path)
    else:
        named = open_npz(path) if suffix == ".npz" else open_npy(path)
    name = _inputs_of(named, asked)
    where = str(path) if suffix == ".npy" else f"{path}, array {name!r}"
    check_plain(named.source, name, named.shapes[name][1])
    values = named.read(name)
    if values.dtype.kind not in "buif":
        raise InputError(f"{where} holds {values.dtype}, not numbers")
    return values, where


def _inputs_of(named: Named, asked: Asked) -> str:
    """The array of inputs: the one asked for, that is called so, or is the only one beside the labels."""
    for name in (asked.inputs, asked.label):
        if name is not None:
            check_choice(f"array of {named.source}", name, named.shapes)
    if asked.inputs is not None:
        return asked.inputs
    roles = {name: role_of(name)[1] for name in named.shapes if name != asked.label}
    for fits in (
        [name for name, role in roles.items() if role == "inputs"],
        [name for name, role in roles.items() if role is None],
    ):
        if len(fits) == 1:
            return fits[0]
    known = ", ".join(f"{name!r} {shape}" for name, (shape, _) in list(named.shapes.items())[:8]) or "nothing"
    raise InputError(f"{named.source} holds {known}: name the array to predict (--inputs)")


def _fitted(values: np.ndarray, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Rows [n, *shape]: one row may come alone, channels last, flat, and the rows last as MATLAB's users put them."""
    turned = [values, *([np.moveaxis(values, -1, 0)] if values.ndim > 1 else [])]
    rows = next((rows for one in turned if (rows := _rows(one, shape)) is not None), None)
    if rows is None:
        raise InputError(f"{where} holds {values.dtype} of shape {values.shape}, and the network takes rows of {shape}")
    return rows


def _rows(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The values as rows [n, *shape], or None if they are none."""
    last = (*shape[1:], shape[0])
    for n, own in ((len(values) if values.ndim else 0, values.shape[1:]), (1, values.shape)):
        if own in (shape, (math.prod(shape),)) or (len(shape) == 3 and (1, *own) == shape):
            return values.reshape(n, *shape)
        if len(shape) > 1 and own == last:
            return np.moveaxis(values.reshape(n, *own), -1, 1)
    return None
