"""Data as people have them: files, folders and arrays, read into a data set.

    data = lc.read_data("wine.csv", label="quality")
    data = lc.read_data("pictures/", image_size=(32, 32))
    data = lc.read_data((X, y))

One module for each kind of file, and one entry in `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import InputError, StorageError, storage_errors
from ...extras import from_extra
from ...registry import Registry
from ..groups import InputGroup
from ..splits import Dataset
from .contents import Asked, Contents, listed, part_of

Files = Mapping[str, Sequence[Path]]
"""The files of each part; those of no part are "all"."""


@dataclass(frozen=True)
class Reader:
    """A kind of file: what it `says` of itself, the `suffixes` of its names, and how it is read.

    `read` gets a file or folder and what was asked for. `fits` says whether a path is of this kind; left out, its
    suffix says so, and a folder is of this kind if such files are in it.
    """

    says: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, Asked], Contents]
    fits: Callable[[Path], bool] | None = None

    def is_for(self, path: Path) -> bool:
        """Whether this reader takes a path that exists."""
        if self.fits is not None:
            return self.fits(path)
        if path.is_dir():
            return bool(_files(path, self.suffixes))
        return path.suffix.lower() in self.suffixes


def _read_idx(path: Path, asked: Asked) -> Contents:
    from .idx import read_idx

    return read_idx(path, asked)


def _is_idx(path: Path) -> bool:
    from .idx import is_idx

    return is_idx(path)


def _read_npz(path: Path, asked: Asked) -> Contents:
    from .arrays import read_npz

    return read_npz(_only(path, (".npz",)), asked)


def _read_mat(path: Path, asked: Asked) -> Contents:
    from .mat import read_mat

    return read_mat(_only(path, (".mat",)), asked)


def _read_text(path: Path, asked: Asked) -> Contents:
    from .tables import read_tables
    from .text import open_text

    files = _parts(path, _TEXT)
    return read_tables({which: [open_text(file, asked) for file in part] for which, part in files.items()}, asked)


def _read_arrow(path: Path, asked: Asked) -> Contents:
    from .arrow import read_arrow

    asked.refuse(str(path), "header")
    return read_arrow(_parts(path, _ARROW), asked)


def _read_folders(path: Path, asked: Asked) -> Contents:
    from .folders import read_folders

    return read_folders(path, asked)


def _holds_pictures(path: Path) -> bool:
    from .folders import holds_pictures

    return holds_pictures(path)


_TEXT, _ARROW = (".csv", ".tsv"), (".parquet", ".arrow", ".feather")

READERS: Registry[Reader] = Registry(
    "kind of data",
    {
        "idx": Reader(
            "IDX files of images and labels, as MNIST has them, with or without gzip", (), _read_idx, _is_idx
        ),
        "npz": Reader("named NumPy arrays: x_train and y_train, X and y, or names of your own", (".npz",), _read_npz),
        "mat": Reader("named MATLAB arrays, up to version 7", (".mat",), _read_mat),
        "text": Reader("a table with a column of labels, separated by commas, semicolons or tabs", _TEXT, _read_text),
        "arrow": Reader("a table with a column of labels, or Hugging Face's tables of images", _ARROW, _read_arrow),
        "pictures": Reader("folders of pictures, one for each class", (), _read_folders, _holds_pictures),
    },
)
"""Every kind of file that is read, in the order in which they are tried."""


def read_data(
    source: Any,
    *,
    name: str | None = None,
    label: str | None = None,
    inputs: str | None = None,
    groups_column: str | None = None,
    drop: Sequence[str] = (),
    image_size: Sequence[int] | None = None,
    series: Sequence[int] | None = None,
    input_groups: str | Path | Sequence[InputGroup] | None = None,
    header: bool | None = None,
    impute: str | None = None,
    standardise: str | None = None,
    task: str = "classification",
    split_seed: int = 0,
) -> Dataset:
    """Read your own data: a file, a folder, a pandas frame, arrays `(inputs, labels)`, or arrays by name.

    `label` is the column, or the array, of labels (default: one called label, class, target or y, else a last column
    that looks like one) and `inputs` the array of inputs. With `task="regression"` labels are numbers to be predicted.
    Parts that the source has are kept; else rows are split into 70 % training, 15 % validation and 15 % test, drawn
    with `split_seed` and stratified by class. Rows with the same value in `groups_column` (patients, devices) stay in
    one part. `drop` are columns to leave out. `image_size` (height, width) or (channels, height, width) makes rows
    images, or resizes pictures; `series` (channels, length) makes them series.
    `input_groups` says which inputs are kept or dropped as one, and what they cost: `channels`, `windows:N`, `none`, a
    file, or `InputGroup` objects (default: the channels of series, and the indicators of each column of words).
    `header` says whether the first line of a text table names the columns; by default it is looked at.

    Missing numbers are refused unless `impute="median"`: that of their column over the training rows. `standardise` is
    "inputs" (the default for tables), "channels" (for series and for floats outside [0, 1]) or "no" (for pixels). Words
    become indicators, one group of inputs for each column. `notes` of the data set say what was understood.

    Raises `StorageError` for what is missing or damaged, and `InputError` for what cannot be used, each in one sentence
    that names file, row or column.

    >>> import lrp_core as lc
    >>> data = lc.read_data(([[1.0, 5.0], [2.0, 4.0]] * 10, ["low", "high"] * 10))
    >>> data.classes, data.shape, len(data.train)
    (('high', 'low'), (2,), 14)
    """
    asked = Asked(
        label,
        inputs,
        groups_column,
        tuple(drop),
        tuple(map(int, image_size)) if image_size is not None else None,
        _pair(series),
        header,
    )
    with from_extra():
        from .assemble import assemble
        from .grouping import groups_of

        contents, called = _find(source, asked)
        shape = next(iter(contents.parts.values())).inputs.shape[1:]
        contents.groups = groups_of(input_groups, shape, contents.input_names, contents.groups)
        if input_groups is not None and contents.groups:
            contents.notes.append(f"inputs are kept or dropped in groups: {listed(g.name for g in contents.groups)}")
        return assemble(contents, name or called, split_seed, impute, standardise, task)


def _pair(series: Sequence[int] | None) -> Any:
    return None if series is None else tuple(map(int, series))


def _find(source: Any, asked: Asked) -> tuple[Contents, str]:
    """What is in the source, and what it is called."""
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        return _read_path(path, asked), path.resolve().name.split(".")[0] or "own"
    import pandas as pd

    from .arrays import arrays_in_memory
    from .sheets import frame_of, frame_sheet
    from .tables import read_tables

    if isinstance(source, pd.DataFrame):
        return read_tables({"all": [frame_sheet(source, "the frame")]}, asked), "own"
    if isinstance(source, tuple) and len(source) == 2:
        first, labels = source
        if isinstance(first, pd.DataFrame):
            named = "label" if asked.label is None else asked.label
            frame = frame_of(first, labels, named)
            return read_tables({"all": [frame_sheet(frame, "the frame")]}, replace(asked, label=named)), "own"
        return arrays_in_memory({"X": first, "y": labels}, asked, "the data"), "own"
    if isinstance(source, Mapping):
        return arrays_in_memory(source, asked, "the data"), "own"
    raise InputError(
        "data are read from a path, a pandas frame, arrays (inputs, labels) or arrays by name, not from "
        f"{type(source).__name__}"
    )


def _read_path(path: Path, asked: Asked) -> Contents:
    with storage_errors("read", path):
        if not path.exists():
            raise StorageError(f"there is no file or folder {path}")
        if not path.is_file() and not path.is_dir():
            raise StorageError(f"{path} is neither a file nor a folder: name one of these")
        reader = next((reader for reader in READERS.values() if reader.is_for(path)), None)
    if reader is None:
        known = ", ".join(suffix for one in READERS.values() for suffix in one.suffixes)
        raise InputError(
            f"{path} is nothing that is read here: give {known}, a file or folder of IDX files, or a folder with a "
            "folder of pictures for each class"
        )
    return reader.read(path, asked)


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of a kind in a folder, or in its folder `data`."""
    files = sorted(
        f for f in folder.iterdir() if f.is_file() and f.suffix.lower() in suffixes and f.name[0] not in "._"
    )
    return files or (_files(folder / "data", suffixes) if (folder / "data").is_dir() else [])


def _only(path: Path, suffixes: Sequence[str]) -> Path:
    if path.is_file():
        return path
    files = _files(path, suffixes)
    if len(files) > 1:
        raise InputError(f"{path} holds {', '.join(file.name for file in files[:5])}: name one of them")
    return files[0]


def _parts(path: Path, suffixes: Sequence[str]) -> dict[str, list[Path]]:
    """The files of each part; a file that is named alone is all there is."""
    if path.is_file():
        return {"all": [path]}
    files = _files(path, suffixes)
    if len(files) == 1:
        return {"all": files}
    parts: dict[str, list[Path]] = {}
    for file in files:
        which = part_of(file.stem)
        if which is not None:
            parts.setdefault(which, []).append(file)
    if "train" not in parts:
        raise InputError(
            f"{path} holds {', '.join(file.name for file in files[:5])}: name one, or call one of them train"
        )
    return {which: parts[which] for which in ("train", "validation", "test") if which in parts}
