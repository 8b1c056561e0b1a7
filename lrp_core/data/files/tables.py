"""Tables: columns of numbers, of words, and one of labels, read in chunks into one array of float32."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...errors import InputError, check_choice
from ..groups import InputGroup
from .contents import Asked, Contents, Part, check_inputs, check_size, listed
from .labels import look_like_classes
from .shapes import as_bytes, channel_groups
from .sheets import Sheet

LABEL_NAMES = ("label", "class", "target", "y")
"""Columns that are taken for the labels if nobody names one, whatever their case."""

MOST_COLUMNS = 2**16
"""Columns of a table: more than gene expression has."""

MOST_WORDS = 100
"""Different words in a column that become indicators; more are names or free text."""


def read_tables(sheets: Mapping[str, Sequence[Sheet]], asked: Asked) -> Contents:
    """The rows of the sheets of each part. Raises `InputError` that names file, column or row."""
    first = next(iter(sheets.values()))[0]
    asked.refuse(first.source, "inputs")
    label = label_column(first, asked)
    sheets, notes = _labelled(sheets, label)
    chosen = _input_columns(first, label, asked)
    for sheet in (sheet for part in sheets.values() for sheet in part):
        if lacking := set(first.columns) - set(sheet.columns):
            raise InputError(f"{sheet.source} lacks the columns {listed(sorted(lacking))} of {first.source}")
    side = _side(chosen)
    try:
        numbers = _Numbers.read(sheets, chosen, label, asked, np.uint8 if side else np.float32)
    except _NoBytes:
        side = side if chosen[0] != "column 2" else None  # nothing but its values said that it is a picture
        numbers = _Numbers.read(sheets, chosen, label, asked, np.float32)
    contents = numbers.contents(sheets, asked)
    contents.classes, contents.label = first.classes.get(label), label
    contents.notes[:0] = [*notes, f"labels: column {label!r}"]
    _shape(contents, asked, side)
    return contents


def label_column(sheet: Sheet, asked: Asked) -> str:
    """The column of labels: the one asked for, or that looks like it. Raises `InputError`."""
    if asked.label is not None:
        return check_choice(f"column of {sheet.source}", asked.label, sheet.columns)
    free = [name for name in sheet.columns if name != asked.groups_column and name not in asked.drop]
    if not free:
        raise InputError(f"{sheet.source} has no columns but those that are left out")
    lower = {name.lower(): name for name in reversed(free)}
    for name in LABEL_NAMES:
        if name in lower:
            return lower[name]
    _, peek = next(sheet.read(list(dict.fromkeys([free[0], free[-1]])), False, ()), (0, pd.DataFrame()))
    if not len(peek):
        raise InputError(f"{sheet.source} holds no rows")
    if _are_pixels(free, sheet) and look_like_classes(peek[free[0]]):
        return free[0]
    if look_like_classes(peek[free[-1]]):
        return free[-1]
    raise InputError(
        f"{sheet.source} does not say which column holds the labels: name it (label=, --label), one of "
        f"{listed(sheet.columns)}"
    )


def _are_pixels(columns: Sequence[str], sheet: Sheet) -> bool:
    """Whether a table without a header is a label and a square picture in each row, as MNIST is passed around."""
    side = math.isqrt(len(columns) - 1)
    if not (columns[0] == "column 1" and side >= 8 and side * side == len(columns) - 1):
        return False
    _, peek = next(sheet.read(columns, False, ()))
    numbers = peek.select_dtypes("number")
    return numbers.shape == peek.shape and bool(((numbers >= 0) & (numbers <= 255)).all(axis=None))


def _labelled(sheets: Mapping[str, Sequence[Sheet]], label: str) -> tuple[dict[str, Sequence[Sheet]], list[str]]:
    """The parts that have labels; a test part without them, as competitions give it, is left out."""
    kept, notes = {}, []
    for which, part in sheets.items():
        if which == "test" and any(label not in sheet.columns for sheet in part):
            notes.append(f"{part[0].source} has no column {label!r} and was left out")
        else:
            kept[which] = part
    return kept, notes


def _input_columns(sheet: Sheet, label: str, asked: Asked) -> list[str]:
    for name in (*asked.drop, *([asked.groups_column] if asked.groups_column is not None else [])):
        check_choice(f"column of {sheet.source}", name, sheet.columns)
    other = {label, asked.groups_column, *asked.drop}
    chosen = [name for name in sheet.columns if name not in other]
    if not chosen:
        raise InputError(f"{sheet.source} has no columns of inputs beside {listed(n for n in other if n)}")
    check_inputs(sheet.source, (len(chosen),), MOST_COLUMNS)
    return chosen


def _side(columns: Sequence[str]) -> int | None:
    """The side of the square picture that columns called pixel0, pixel1, ... or 1x1, 1x2, ... hold."""
    side = math.isqrt(len(columns))
    if side < 4 or side * side != len(columns):
        return None
    count = [re.fullmatch(r"(?:pixel|px)[ _]?(\d+)", name, re.IGNORECASE) for name in columns]
    if all(count):
        places = [int(match[1]) for match in count if match]
        return side if places == list(range(places[0], places[0] + len(places))) else None
    if list(columns) == [f"{row}x{column}" for row in range(1, side + 1) for column in range(1, side + 1)]:
        return side
    return side if side >= 8 and columns[0] == "column 2" else None


class _NoBytes(Exception):
    """Columns that were taken for pixels hold something else."""


@dataclass(eq=False)
class _Numbers:
    """All rows of all parts: `values` [n, columns], where columns of words are NaN, and what those hold."""

    columns: list[str]
    values: np.ndarray
    labels: pd.Series
    belongs: pd.Series | None
    sizes: dict[str, int]
    words: dict[str, pd.Series]

    @classmethod
    def read(
        cls, sheets: Mapping[str, Sequence[Sheet]], columns: list[str], label: str, asked: Asked, dtype: Any
    ) -> _Numbers:
        every = [sheet for part in sheets.values() for sheet in part]
        most = sum(sheet.most for sheet in every)
        check_size(every[0].source, most * len(columns) * np.dtype(dtype).itemsize)
        values = np.empty((most, len(columns)), dtype)
        place = {name: position for position, name in enumerate(columns)}
        kept = [label] if asked.groups_column is None else [label, asked.groups_column]
        at, sizes, worded = 0, dict[str, int](), set[str]()
        aside: dict[str, list[pd.Series]] = {name: [] for name in kept}
        for which, part in sheets.items():
            start = at
            for sheet in part:
                needed = [name for name in sheet.columns if name in place or name in kept or name == sheet.columns[-1]]
                gaps, end = False, at
                for first, frame in sheet.read(needed, False, kept):
                    end = at + first + len(frame)
                    inputs = frame[[name for name in frame.columns if name in place]]
                    worded |= _fill(values[at + first : end], inputs, [place[name] for name in inputs.columns])
                    for name in (name for name in kept if name in frame.columns):
                        aside[name].append(frame[name])
                    if sheet.columns[-1] in frame.columns:
                        gaps |= bool(frame[sheet.columns[-1]].isna().any())
                if gaps:  # as rows that are cut short leave them
                    sheet.check()
                at = end
            sizes[which] = at - start
        if not at:
            raise InputError(f"{every[0].source} holds no rows")
        rest = {name: pd.concat(several, ignore_index=True) for name, several in aside.items()}
        texts: dict[str, list[pd.Series]] = {name: [] for name in columns if name in worded}
        for sheet in every if texts else ():
            for _, frame in sheet.read(list(texts), True, ()):
                for name in frame.columns:
                    texts[name].append(frame[name])
        words = {name: pd.concat(several, ignore_index=True) for name, several in texts.items()}
        return cls(
            columns,
            values[:at],
            rest[label],
            rest[asked.groups_column] if asked.groups_column is not None else None,
            sizes,
            words,
        )

    def contents(self, sheets: Mapping[str, Sequence[Sheet]], asked: Asked) -> Contents:
        """The inputs with indicators in the place of words."""
        source = next(iter(sheets.values()))[0].source
        row = _rows_of(sheets)
        starts = dict(zip(self.sizes, np.cumsum([0, *self.sizes.values()]).tolist(), strict=False))

        def row_of_all(position: int) -> str:
            which = next(w for w in reversed(starts) if starts[w] <= position)
            return row(which, position - starts[which])

        notes: list[str] = []
        self._leave_out_index(notes)
        names, blocks = list(self.columns), self.values
        groups: tuple[InputGroup, ...] = ()
        missing: dict[str, int] = {}
        if self.words:
            names, groups, missing, blocks = self._with_indicators(source, row_of_all)
            notes.append(f"columns of words became indicators: {listed(self.words)}")
        parts = {
            which: Part(
                blocks[starts[which] : starts[which] + n],
                self.labels.iloc[starts[which] : starts[which] + n].to_numpy(),
                None if self.belongs is None else self.belongs.iloc[starts[which] : starts[which] + n].to_numpy(),
            )
            for which, n in self.sizes.items()
        }
        return Contents(source, parts, row, tuple(names), groups, groups, missing=missing, notes=notes)

    def _leave_out_index(self, notes: list[str]) -> None:
        """A nameless first column that counts the rows is what pandas wrote beside a table."""
        nameless = self.columns[0] in ("column 1", "Unnamed: 0", "__index_level_0__")
        if (
            nameless
            and self.columns[1:2] != ["column 2"]
            and len(self.columns) > 1
            and self.columns[0] not in self.words
        ):
            counted = self.values[:, 0]
            if len(counted) > 2 and (counted == np.arange(len(counted)) + counted[0]).all():
                self.columns, self.values = self.columns[1:], np.ascontiguousarray(self.values[:, 1:])
                notes.append("the nameless column that counts the rows was left out")

    def _with_indicators(
        self, source: str, row: Callable[[int], str]
    ) -> tuple[list[str], tuple[InputGroup, ...], dict[str, int], np.ndarray]:
        kinds: dict[str, tuple[np.ndarray, list[str]]] = {}
        missing: dict[str, int] = {}
        for position, name in enumerate(self.columns):
            if name not in self.words:
                continue
            words = self.words[name].map(lambda value: str(value).strip(), na_action="ignore")
            numbers = pd.to_numeric(words, errors="coerce")
            absent, numeric = words.isna().to_numpy(), numbers.notna().to_numpy()
            if numeric.sum() == (~absent).sum():
                self.values[:, position] = numbers.to_numpy(dtype=np.float32, na_value=np.nan)
                continue
            if numeric.sum() * 2 >= (~absent).sum():
                odd = int((~absent & ~numeric).argmax())
                raise InputError(
                    f"{row(odd)}, column {name!r} holds {str(words.iloc[odd])[:40]!r} where most rows hold a number: "
                    "correct it, or leave the column out (drop, --drop)"
                )
            codes, distinct = pd.factorize(words, sort=True)
            if len(distinct) > min(MOST_WORDS, max(2, len(words) // 2)):
                raise InputError(
                    f"{source}, column {name!r} holds {len(distinct):,} different words in {len(words):,} rows, too "
                    "many for kinds of something: leave it out (drop, --drop)"
                )
            if absent.any():
                missing[f"column {name!r}"] = int(absent.sum())
            kinds[name] = codes, [*map(str, distinct), *(["(missing)"] if absent.any() else [])]
        names, groups, places = [], [], []
        for position, name in enumerate(self.columns):
            if name not in kinds:
                names.append(name)
                places.append((position, -1))
                continue
            _, words_of = kinds[name]
            groups.append(InputGroup(name, tuple(range(len(names), len(names) + len(words_of)))))
            names += [f"{name}={word}" for word in words_of]
            places += [(position, code) for code in range(len(words_of))]
        check_inputs(source, (len(names),), MOST_COLUMNS)
        values = np.empty((len(self.values), len(names)), np.float32)
        for column, (position, code) in enumerate(places):
            if code < 0:
                values[:, column] = self.values[:, position]
            else:
                codes, words_of = kinds[self.columns[position]]
                values[:, column] = np.where(codes < 0, len(words_of) - 1, codes) == code
        return names, tuple(groups), missing, values


def _fill(into: np.ndarray, frame: pd.DataFrame, places: Sequence[int]) -> set[str]:
    """Put the numbers of some rows in their places; gives the columns that hold none."""
    if not places:
        return set()
    numeric = np.array([getattr(dtype, "kind", "O") in "buif" for dtype in frame.dtypes])
    others = frame.loc[:, ~numeric]
    worded = set(others.columns[others.notna().any().to_numpy(dtype=bool)])
    if into.dtype == np.uint8 and worded:
        raise _NoBytes
    numbers = np.full(frame.shape, np.nan, np.float32)
    with np.errstate(over="ignore"):
        numbered = frame if numeric.all() else frame.loc[:, numeric]
        numbers[:, numeric] = numbered.to_numpy(dtype=np.float32, na_value=np.nan)
    if into.dtype == np.uint8 and not ((numbers >= 0) & (numbers <= 255) & (numbers == np.floor(numbers))).all():
        raise _NoBytes
    into[:, places] = numbers
    return worded


def _rows_of(sheets: Mapping[str, Sequence[Sheet]]) -> Callable[[str, int], str]:
    """Where a row of a part is; of several files of one part, how many rows come before is not known."""

    def row(which: str, position: int) -> str:
        part = sheets[which]
        if len(part) == 1:
            return part[0].row(position)
        return f"{part[0].source} and the files beside it, row {position:,} (counted from 0)"

    return row


def _shape(contents: Contents, asked: Asked, side: int | None) -> None:
    """Give the rows the shape of pictures or series, if that is what they are."""
    size = asked.picture or ((1, side, side) if side else None)
    shape = size or asked.series
    if shape is None:
        return
    n = next(iter(contents.parts.values())).inputs.shape[1]
    if math.prod(shape) != n:
        what = "x".join(map(str, shape))
        raise InputError(f"{contents.source} has {n:,} inputs in a row, which are not {what} = {math.prod(shape):,}")
    if contents.groups:
        raise InputError(
            f"{contents.source} has columns of words ({listed(g.name for g in contents.groups)}), which are no samples"
        )
    for part in contents.parts.values():
        part.inputs = part.inputs.reshape(len(part.inputs), *shape)
    if size is not None:
        contents.input_names = None
        contents.notes.append(f"rows are images of {' x '.join(map(str, shape[1:] if shape[0] == 1 else shape))}")
        as_bytes(contents)
    elif asked.series is not None:
        contents.groups = channel_groups(asked.series, contents.input_names)
