"""Arrays with names: `.npz` as Keras and scikit-learn's users write it, `.mat`, and what lies in memory in Python."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError, StorageError, check_choice, storage_errors
from .contents import PARTS, Asked, Contents, Part, check_size, listed
from .labels import one_each
from .shapes import as_bytes, channel_groups

_INPUTS = ("x", "data", "images", "image", "inputs", "input", "features", "pixels", "samples", "spectra", "fea")
_LABELS = ("y", "label", "labels", "target", "targets", "class", "classes", "gnd")
_INPUT_NAMES = ("feature_names", "input_names", "columns", "names")
_CLASS_NAMES = ("class_names", "target_names", "classes")


@dataclass(frozen=True, eq=False)
class Named:
    """Arrays by name, each with its shape and type, and read when it is asked for."""

    source: str
    shapes: dict[str, tuple[tuple[int, ...], str]]
    read: Callable[[str], np.ndarray]


_DAMAGED = (zipfile.BadZipFile, ValueError, EOFError, KeyError, zlib.error, RuntimeError)
"""What zipfile and numpy raise on archives that are broken off, changed, encrypted, or packed as they cannot."""


def read_npz(path: Path, asked: Asked) -> Contents:
    """Inputs and labels in a `.npz` file. Raises `StorageError` or `InputError` that names the array."""
    return read_named(open_npz(path), asked)


def open_npz(path: Path) -> Named:
    """The arrays in a `.npz` file, nothing unpickled. Raises `StorageError` or `InputError` that names the array."""
    with storage_errors("read", path):
        try:
            shapes = _npz_shapes(path)
        except _DAMAGED as error:
            raise StorageError(f"{path} is truncated, damaged, encrypted or no .npz file") from error

    def read(name: str) -> np.ndarray:
        shape, kind = shapes[name]
        check_size(f"{path}, array {name!r}", math.prod(shape) * np.dtype(kind).itemsize)
        with storage_errors("read", path):
            try:
                with np.load(path, allow_pickle=False) as file:
                    values: np.ndarray = file[name]
            except _DAMAGED as error:
                raise StorageError(f"{path}, array {name!r} is truncated or damaged") from error
        return values

    return Named(str(path), shapes, read)


def open_npy(path: Path) -> Named:
    """The one array in a `.npy` file, nothing unpickled. Raises `StorageError`."""
    with storage_errors("read", path), path.open("rb") as file:
        try:
            shape, kind = _npy_head(file)
        except _DAMAGED as error:
            raise StorageError(f"{path} is truncated or holds no plain array") from error

    def read(name: str) -> np.ndarray:
        check_size(path, math.prod(shape) * np.dtype(kind).itemsize)
        with storage_errors("read", path):
            try:
                values: np.ndarray = np.load(path, allow_pickle=False)
            except _DAMAGED as error:
                raise StorageError(f"{path} is truncated or holds no plain array") from error
        return values

    return Named(str(path), {"array": (shape, kind)}, read)


def _npz_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".npy"):
                with archive.open(entry) as file:
                    arrays[entry.filename.removesuffix(".npy")] = _npy_head(file)
    return arrays


def _npy_head(file: Any) -> tuple[tuple[int, ...], str]:
    """The shape and the type of an array, without its numbers."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return tuple(shape), dtype.str if not dtype.hasobject else "O"


def arrays_in_memory(arrays: Mapping[str, Any], asked: Asked, source: str) -> Contents:
    """Arrays or tensors in Python, which are copied and never changed."""
    own = {name: _array(name, values) for name, values in arrays.items()}
    shapes = {name: (values.shape, _kind(values)) for name, values in own.items()}
    return read_named(Named(source, shapes, lambda name: own[name].copy()), asked)


def _array(name: str, values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name!r} must be one array, with rows of one length: {error}") from error


def _kind(values: np.ndarray) -> str:
    """The type of an array; words and numbers that pandas keeps as objects are words."""
    plain = values.dtype.hasobject and values.ndim == 1
    if plain and all(v is None or isinstance(v, str | bytes | int | float | np.generic) for v in values.tolist()):
        return "<U1"
    return "O" if values.dtype.hasobject else values.dtype.str


def check_plain(source: str | Path, name: str, kind: str) -> None:
    """Raise `InputError` for an array that holds neither numbers nor words."""
    if kind == "O":
        raise InputError(
            f"{source}, array {name!r} holds objects, cells or structures, which are never unpickled: save it as plain "
            "numbers"
        )
    if np.dtype(kind).kind not in "buifUS":
        raise InputError(f"{source}, array {name!r} holds {np.dtype(kind)}, and numbers or words are needed")


def read_named(named: Named, asked: Asked) -> Contents:
    """Inputs and labels by the names of arrays."""
    asked.refuse(named.source, "drop", "header")
    pairs = _pairs(named, asked)
    parts: dict[str, Part] = {}
    for which, (inputs, labels) in pairs.items():
        for name in (inputs, labels):
            check_plain(named.source, name, named.shapes[name][1])
        values, targets = named.read(inputs), named.read(labels)
        if values.dtype.kind not in "buif":
            raise InputError(f"{named.source}, array {inputs!r} holds {values.dtype}, not numbers")
        targets = one_each(targets, f"{named.source}, array {labels!r}")
        parts[which] = Part(_rows_first(values, len(targets), f"{named.source}, array {inputs!r}"), targets)
    if asked.groups_column is not None:
        check_choice(f"array of {named.source}", asked.groups_column, named.shapes)
        check_plain(named.source, asked.groups_column, named.shapes[asked.groups_column][1])
        source = "all" if "all" in parts else "train"
        belongs = np.ravel(named.read(asked.groups_column))
        parts[source].belongs = belongs
        if len(belongs) != len(parts[source].inputs):
            raise InputError(f"{named.source}, array {asked.groups_column!r} needs a group for each row")
    places = {which: f"{named.source}, array {inputs!r}" for which, (inputs, _) in pairs.items()}
    found_all = Contents(named.source, parts, lambda which, i: f"{places[which]}, row {i:,} (counted from 0)")
    found_all.notes.append(
        "read from the arrays " + ", ".join(f"{inputs!r} and {labels!r}" for inputs, labels in pairs.values())
    )
    taken = {name for pair in pairs.values() for name in pair}
    if left := [name for name in named.shapes if name not in taken and role_of(name)[0] != "all" and role_of(name)[1]]:
        found_all.notes.append(f"left out, since one of inputs and labels lacks: {listed(left)}")
    found_all.classes = _names(named, _CLASS_NAMES, taken, None)
    shaped(found_all, asked)
    n = math.prod(next(iter(found_all.parts.values())).inputs.shape[1:])
    found_all.input_names = _names(named, _INPUT_NAMES, taken, n)
    return found_all


def _pairs(named: Named, asked: Asked) -> dict[str, tuple[str, str]]:
    """The arrays of inputs and labels of each part."""
    if not named.shapes:
        raise InputError(f"{named.source} holds no arrays")
    for name in (asked.inputs, asked.label):
        if name is not None:
            check_choice(f"array of {named.source}", name, named.shapes)
    roles: dict[str, dict[str, str]] = {}
    for name in named.shapes:
        which, role = role_of(name)
        if role is not None:
            roles.setdefault(which, {}).setdefault(role, name)
    if asked.inputs is not None or asked.label is not None:
        guessed = roles.get("all", {})
        pair = (asked.inputs or guessed.get("inputs"), asked.label or guessed.get("labels"))
        if pair[0] is not None and pair[1] is not None:
            return {"all": (pair[0], pair[1])}
    pairs = {which: (r["inputs"], r["labels"]) for which, r in roles.items() if {"inputs", "labels"} <= set(r)}
    if "train" in pairs:
        return {which: pairs[which] for which in ("train", "validation", "test") if which in pairs}
    if "all" in pairs:
        return {"all": pairs["all"]}
    known = ", ".join(f"{name!r} {shape}" for name, (shape, _) in list(named.shapes.items())[:8])
    raise InputError(
        f"{named.source} holds the arrays {known}, and none are called as inputs and labels are (X and y, x_train "
        "and y_train): name them (inputs=, label=; --inputs, --label)"
    )


def role_of(name: str) -> tuple[str, str | None]:
    """The part and the role of an array by its name: 'x_train', 'train_images' and 'XTrain' are inputs to train on."""
    words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3_\2\4", name).lower()
    tokens = [token for token in re.split(r"[^a-z0-9]+", words) if token]
    which = next((PARTS[token] for token in tokens if token in PARTS), "all")
    rest = [token for token in tokens if token not in PARTS]
    role = {"inputs": _INPUTS, "labels": _LABELS}
    return which, next((r for r, names in role.items() if len(rest) == 1 and rest[0] in names), None)


def _rows_first(values: np.ndarray, n: int, where: str) -> np.ndarray:
    """The inputs with a row for each label; MATLAB's users put the rows last."""
    if values.ndim < 2:
        raise InputError(f"{where} has shape {values.shape}: a row for each example is needed, [n, ...]")
    if len(values) != n and values.shape[-1] == n:
        values = np.moveaxis(values, -1, 0)
    if len(values) != n:
        raise InputError(f"{where} has {len(values):,} rows, and there are {n:,} labels: one is needed for each row")
    return values


def _names(named: Named, known: tuple[str, ...], taken: set[str], n: int | None) -> tuple[str, ...] | None:
    """Names that lie beside the arrays, if there are as many as needed."""
    for name in known:
        if name in named.shapes and name not in taken and named.shapes[name][1].lstrip("<>|=")[:1] in ("U", "S"):
            values = [
                v.decode() if isinstance(v, bytes) else str(v).strip() for v in np.ravel(named.read(name)).tolist()
            ]
            if n is None or len(values) == n:
                return tuple(values)
    return None


def shaped(contents: Contents, asked: Asked) -> Contents:
    """Inputs [n, columns], [n, channels, length] or [n, channels, height, width]: bytes for pixels, else float32."""
    for which, part in contents.parts.items():
        if part.inputs.dtype.kind not in "buif":
            raise InputError(f"{contents.source} holds {part.inputs.dtype}, not numbers")
        part.inputs = _layout(part.inputs, asked, contents.source)
        first = next(iter(contents.parts.values())).inputs
        if part.inputs.shape[1:] != first.shape[1:]:
            raise InputError(
                f"the {which} part of {contents.source} has rows of shape {part.inputs.shape[1:]}, not "
                f"{first.shape[1:]}"
            )
    parts = list(contents.parts.values())
    shape = parts[0].inputs.shape[1:]
    pixels = len(shape) == 3 or asked.image_size is not None
    for part in parts:
        kept = pixels and part.inputs.dtype == np.uint8
        with np.errstate(over="ignore"):
            part.inputs = np.require(part.inputs, np.uint8 if kept else np.float32, ["C", "W"])
    if pixels:
        as_bytes(contents)
    elif len(shape) == 2:
        contents.groups = channel_groups((shape[0], shape[1]), None)
    return contents


def _layout(values: np.ndarray, asked: Asked, source: str) -> np.ndarray:
    """Rows in the shape that networks take them in."""
    shape = values.shape[1:]
    wanted = asked.picture or asked.series
    if wanted is not None:
        if (
            asked.image_size is not None
            and len(shape) == 3
            and (*shape[:2], shape[2]) == (*wanted[1:], wanted[0]) != wanted
        ):
            return np.moveaxis(values, -1, 1)
        if asked.image_size is not None and len(asked.image_size) == 2 and len(shape) == 3:
            values = _channels_first(values)
            wanted = (values.shape[1], *asked.image_size)
        if asked.series is not None and shape == asked.series[::-1] != asked.series:
            return np.moveaxis(values, -1, 1)
        if math.prod(values.shape[1:]) != math.prod(wanted):
            raise InputError(
                f"{source} has rows of shape {shape}, which are not {'x'.join(map(str, wanted))} = "
                f"{math.prod(wanted):,} inputs"
            )
        return values.reshape(len(values), *wanted)
    if len(shape) == 2 and (values.dtype == np.uint8 or shape[0] == shape[1]):
        return values[:, None]
    if len(shape) == 3:
        return _channels_first(values)
    if not 1 <= len(shape) <= 3:
        raise InputError(f"{source} has rows of shape {shape}: columns, series or images are taken")
    return values


def _channels_first(values: np.ndarray) -> np.ndarray:
    """Images [n, channels, height, width], which may have come with the channels last."""
    if values.shape[3] in (1, 3, 4) and values.shape[1] not in (1, 3):
        return np.moveaxis(values, -1, 1)
    return values
