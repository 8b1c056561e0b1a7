"""What a table is before its numbers are taken: columns with names, and rows that come some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ...errors import InputError
from .contents import MOST_COLUMNS, listed
from .labels import one_each

CHUNK = 2**21
"""Cells that are read at a time."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """One file or frame: `most` rows at most, in `columns`.

    `read(columns, as_words, plain)` gives the position of a row and a frame of some rows from there on, with all or
    some of these columns, as words or as what they are, and `plain` ones as they are written. `row` says where a row
    is, `check` refuses rows of another length, and `classes` are the names of the labels 0, 1, ... in a column.
    `comma` says that numbers are written with a decimal comma.
    """

    source: str
    columns: tuple[str, ...]
    most: int
    read: Callable[[Sequence[str], bool, Sequence[str]], Iterator[tuple[int, pd.DataFrame]]]
    row: Callable[[int], str]
    check: Callable[[], None] = lambda: None
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    comma: bool = False

    def __post_init__(self) -> None:
        if len(self.columns) > MOST_COLUMNS:
            raise InputError(
                f"{self.source} has {len(self.columns):,} columns, and {MOST_COLUMNS:,} is the most: leave some out"
            )
        if len(set(self.columns)) < len(self.columns):
            twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
            raise InputError(f"{self.source} has several columns called {listed(twice)}: rename them")

    def renamed(self, names: Sequence[str]) -> Sheet:
        """The same table with other names for its columns, in their order."""
        own = dict(zip(names, self.columns, strict=True))
        back = {old: new for new, old in own.items()}

        def read(chosen: Sequence[str], as_words: bool, plain: Sequence[str]) -> Iterator[tuple[int, pd.DataFrame]]:
            for start, frame in self.read([own[name] for name in chosen], as_words, [own[name] for name in plain]):
                yield start, frame.rename(columns=back)

        return replace(self, columns=tuple(names), read=read)


def to_numbers(words: pd.Series, comma: bool) -> pd.Series:
    """The numbers that words are, NaN for others; with a decimal `comma`, a point is no part of a number."""
    if comma:
        texts = words.astype(object).map(str, na_action="ignore").astype("str")
        words = texts.mask(texts.str.contains(".", regex=False, na=False), "-").str.replace(",", ".", regex=False)
    return pd.to_numeric(words, errors="coerce")


def chunk_rows(n_columns: int) -> int:
    """Rows to read at a time."""
    return max(1, CHUNK // max(1, n_columns))


def frame_sheet(frame: pd.DataFrame, source: str) -> Sheet:
    """A pandas frame as a table, some rows at a time."""
    own = frame.reset_index(drop=True)
    own.columns = pd.Index([str(name) for name in frame.columns])
    step = chunk_rows(own.shape[1])

    def read(chosen: Sequence[str], as_words: bool, plain: Sequence[str]) -> Iterator[tuple[int, pd.DataFrame]]:
        for start in range(0, len(own), step):
            rows = own.iloc[start : start + step][list(chosen)]
            yield start, rows.map(str, na_action="ignore") if as_words else rows

    return Sheet(source, tuple(own.columns), len(own), read, lambda i: f"{source}, row {i:,} (counted from 0)")


def frame_of(inputs: pd.DataFrame, labels: Any, label: str) -> pd.DataFrame:
    """A frame of inputs with a column of labels beside them.

    Raises `InputError` for lengths that differ, or more than one label a row.
    """
    values = one_each(np.asarray(labels), "the frame")
    if len(values) != len(inputs):
        raise InputError(f"there are {len(inputs):,} rows of inputs and {len(values):,} labels: give one for each")
    # A column that is added to a wide frame, rather than joined, has pandas warn that this is slow.
    return pd.concat([inputs.drop(columns=label, errors="ignore"), pd.Series(values, inputs.index, name=label)], axis=1)
