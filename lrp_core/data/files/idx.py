"""IDX files (LeCun et al. 1998), with or without gzip: MNIST and whatever was published in its form."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...errors import InputError, StorageError, storage_errors
from .arrays import shaped
from .contents import Asked, Contents, Part, check_size, part_of

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_NAME = re.compile(r"(images|labels)[-._]idx\d", re.IGNORECASE)
_LARGEST_HEADER = 8
"""Axes that an array here has at most."""


def is_idx(path: Path) -> bool:
    """Whether a file is in IDX format by its name, or a folder has such files of images."""
    if path.is_dir():
        return any(_role(file) == "images" for file in path.iterdir())
    return _role(path) is not None or path.suffix.lower() == ".idx"


def read_idx(path: Path, asked: Asked) -> Contents:
    """The images and labels of a folder, or of one file of images with its labels beside it.

    Raises `StorageError` for a file that is missing, truncated or in another format.
    """
    asked.refuse(str(path), "label", "inputs", "groups_column", "drop", "header")
    folder = path if path.is_dir() else path.parent
    with storage_errors("read", folder):
        files = sorted(file for file in folder.iterdir() if _role(file))
    labels = {_stem(file): file for file in files if _role(file) == "labels"}
    images = [file for file in files if _role(file) == "images"] if path.is_dir() else [path]
    if path.is_file() and _role(path) == "labels":
        raise InputError(f"{path} holds labels: name the file of images, or the folder of both")
    if path.is_file() and _role(path) is None:
        raise InputError(
            f"{path} does not say where its labels are: call it NAME-images-idx3-ubyte, and the file of labels beside "
            "it NAME-labels-idx1-ubyte"
        )
    parts: dict[str, Part] = {}
    places: dict[str, Path] = {}
    for file in images:
        which = (part_of(file.name) or "all") if path.is_dir() else "all"
        if which in parts:
            if _stem(file) == _stem(places[which]):
                continue  # the same, packed and unpacked
            raise InputError(
                f"{folder} has two files of {which} images, {places[which].name} and {file.name}: name one"
            )
        if _stem(file) not in labels:
            raise StorageError(
                f"{file} has no file of labels beside it: add {file.name.replace('images-idx3', 'labels-idx1')}"
            )
        values, targets = read_file(file), read_file(labels[_stem(file)])
        if targets.ndim == 2:  # QMNIST: the class is the first of eight columns
            targets = targets[:, 0]
        parts[which], places[which] = Part(values, targets), file
    if list(parts) == ["test"]:
        parts = {"all": parts["test"]}
        places = {"all": places["test"]}
    found_all = Contents(str(path), parts, lambda which, i: f"{places[which]}, image {i:,} (counted from 0)")
    found_all.notes.append("labels: the IDX files beside the images")
    return shaped(found_all, asked)


def images_in(path: Path) -> list[Path]:
    """The files of images in a folder, or the one that is named. Raises `InputError` for one of labels."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if _role(file) == "images")
    if _role(path) == "labels":
        raise InputError(f"{path} holds labels: name the file of images")
    return [path]


def read_file(path: Path) -> np.ndarray:
    """The array in one IDX file, in this machine's byte order. Raises `StorageError`."""
    with storage_errors("read", path), _opened(path) as file:
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not 1 <= head[3] <= _LARGEST_HEADER:
            raise StorageError(f"{path} is no IDX file, or damaged: get it again")
        dtype = np.dtype(_TYPES[head[2]])
        shape = tuple(np.frombuffer(file.read(4 * head[3]).ljust(4 * head[3], b"\0"), ">u4").tolist())
        size = math.prod(shape) * dtype.itemsize
        check_size(path, size)
        content = bytearray(size)
        got = 0
        with memoryview(content) as view:
            while got < size and (n := file.readinto(view[got:])):  # type: ignore[attr-defined]
                got += n
        if got < size or file.read(1):
            raise StorageError(f"{path} holds {'fewer' if got < size else 'more'} values than {shape}: get it again")
    values = np.frombuffer(content, dtype).reshape(shape)
    return values if dtype.isnative or dtype.itemsize == 1 else values.astype(dtype.newbyteorder("="))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.open(file) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise StorageError(f"{path} is truncated or damaged: get it again") from error


def _role(path: Path) -> str | None:
    """ "images" or "labels" by the name of a file."""
    match = _NAME.search(path.name)
    return match[1].lower() if match and not path.is_dir() else None


def _stem(path: Path) -> str:
    """What images and their labels have in common in their names."""
    return path.name.lower()[: _NAME.search(path.name.lower()).start()]  # type: ignore[union-attr]
