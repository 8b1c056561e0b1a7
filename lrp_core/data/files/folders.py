"""Folders of pictures: one for each class, in `train/` and `test/` or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import InputError, StorageError, storage_errors
from .contents import PARTS, Asked, Contents, Part
from .images import Pictures

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".pgm", ".ppm"}


def holds_pictures(path: Path) -> bool:
    """Whether there are pictures in folders of this folder."""
    return path.is_dir() and any(_classes(folder) for folder in _parts(path).values())


def read_folders(path: Path, asked: Asked) -> Contents:
    """Every picture, with the name of its folder as its class. Raises `InputError` that names the file."""
    asked.refuse(str(path), "label", "inputs", "groups_column", "drop", "series", "header")
    pictures, places = Pictures(asked), dict[str, list[Path]]()
    with storage_errors("read", path):
        for which, folder in _parts(path).items():
            places[which] = [file for files in _classes(folder).values() for file in files]
            for file in places[which]:
                if not file.is_file():
                    raise StorageError(f"cannot read {file}: it is no file, or leads to none")
                with storage_errors("read", file):
                    content = file.read_bytes()
                pictures.add(content, str(file))
    values = pictures.finished(str(path))
    parts, start = {}, 0
    for which, files in places.items():
        names = np.array([file.parent.name for file in files], dtype=object)
        parts[which] = Part(values[start : start + len(files)], names)
        start += len(files)
    notes = ["labels: the names of the folders", *pictures.notes]
    return Contents(str(path), parts, lambda which, position: str(places[which][position]), notes=notes)


def _parts(path: Path) -> dict[str, Path]:
    """The folder of each part; the folder itself if it has none."""
    parts: dict[str, Path] = {}
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and folder.name.lower() in PARTS:
            which = PARTS[folder.name.lower()]
            if which in parts:
                raise InputError(f"{path} has two {which} folders, {parts[which].name} and {folder.name}: leave one")
            parts[which] = folder
    return parts if "train" in parts else {"all": path}


def _classes(path: Path) -> dict[str, list[Path]]:
    """The pictures in each folder, classes and files in the order of their names."""
    classes = {}
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            files = [
                f
                for f in folder.iterdir()
                if f.suffix.lower() in SUFFIXES and not f.name.startswith(".") and not f.is_dir()
            ]
            if files:
                classes[folder.name] = sorted(files)
    return classes
