"""What a reader is asked for, and what it finds: rows with their labels, before these become a data set."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..groups import InputGroup

PARTS: dict[str, str] = {
    **dict.fromkeys(["train", "training"], "train"),
    **dict.fromkeys(["validation", "valid", "val", "dev"], "validation"),
    **dict.fromkeys(["test", "testing", "t10k"], "test"),
}
"""What people call a part, and what it is called here. Rows that are in no part yet are "all"."""

MOST_INPUTS = 2**18
"""Inputs of one row: a picture of 512 x 512."""

MOST_COLUMNS = 2**16
"""Columns of a table, or of rows without a shape: more than gene expression has."""

_SHOWN = 100
"""Characters of a name that a sentence shows."""


@dataclass(frozen=True)
class Asked:
    """What a person said about the source, beside its path; the words are those of `read_data`."""

    label: str | None = None
    inputs: str | None = None
    groups_column: str | None = None
    drop: tuple[str, ...] = ()
    image_size: tuple[int, ...] | None = None
    series: tuple[int, int] | None = None
    header: bool | None = None

    def refuse(self, where: str, *names: str) -> None:
        """Raise `InputError` if one of these was given, since it says nothing about this kind of source."""
        for name in names:
            if getattr(self, name):
                raise InputError(f"{where} has no use for {name}: it is for {_FOR[name]}; leave it out")

    @property
    def picture(self) -> tuple[int, int, int] | None:
        """Channels, height and width that were asked for; 1 channel if only height and width were."""
        if self.image_size is None:
            return None
        channels = self.image_size[0] if len(self.image_size) == 3 else 1
        return channels, self.image_size[-2], self.image_size[-1]

    def __post_init__(self) -> None:
        if self.image_size is not None and self.series is not None:
            raise InputError("inputs are images or series: give image_size or series, not both")
        for name, size, lengths in (("image_size", self.image_size, (2, 3)), ("series", self.series, (2,))):
            if size is not None and (len(size) not in lengths or min(size) < 1):
                what = "(height, width) or (channels, height, width)" if lengths[-1] == 3 else "(channels, length)"
                raise InputError(f"{name} must be {what}, not {size}")


_FOR = {
    "label": "tables and named arrays",
    "inputs": "named arrays and tables of images",
    "groups_column": "tables and named arrays",
    "drop": "tables",
    "image_size": "images",
    "series": "series",
    "header": "text tables",
}


@dataclass(eq=False)
class Part:
    """Rows of one part: `inputs` [n, *shape] that may be written to, `labels` [n] and `belongs` [n] of any type."""

    inputs: np.ndarray
    labels: np.ndarray
    belongs: np.ndarray | None = None


@dataclass(eq=False)
class Contents:
    """What is in a source. `row` says where a row of a part is, `column` what an input is called.

    `missing` counts the missing values of columns that hold words; those of numbers are NaN. `classes` are the names
    of labels 0, 1, ..., where the source has some; `label` is what the labels are called.
    """

    source: str
    parts: dict[str, Part]
    row: Callable[[str, int], str]
    input_names: tuple[str, ...] | None = None
    groups: tuple[InputGroup, ...] = ()
    word_columns: tuple[InputGroup, ...] = ()
    classes: tuple[str, ...] | None = None
    label: str | None = None
    missing: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def column(self, position: int) -> str:
        """What a person calls an input."""
        return f"column {shown(self.input_names[position])}" if self.input_names is not None else f"input {position}"


def part_of(name: str) -> str | None:
    """The part that a file, folder or array is by its name: 'mnist_train.csv' is "train"."""
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    return next((PARTS[word] for word in words if word in PARTS), None)


def check_size(where: str | Path, n_bytes: int) -> None:
    """Refuse what would not fit into half of this machine's memory, before it is read. Raises `InputError`."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not every system says it
        memory = 2**34
    if n_bytes > memory // 2:
        raise InputError(
            f"{where} unpacks to {n_bytes / 1e9:,.1f} GB, more than half of this machine's memory: give fewer rows or "
            "columns"
        )


def check_inputs(where: str | Path, shape: tuple[int, ...]) -> None:
    """Raise `InputError` for more inputs in a row than any network here takes."""
    most = MOST_COLUMNS if len(shape) == 1 else MOST_INPUTS
    if math.prod(shape) > most:
        raise InputError(f"{where} has {math.prod(shape):,} inputs in a row, and {most:,} is the most: leave some out")


def shown(name: Any) -> str:
    """A name in quotes; of a long one the beginning."""
    text = str(name)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def listed(names: Any, most: int = 5) -> str:
    """A few names for a sentence, and how many more there are."""
    known = [shown(name) for name in names]
    return ", ".join(known[:most]) + (f" and {len(known) - most:,} more" if len(known) > most else "")
