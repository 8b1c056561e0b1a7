"""Tables: columns of numbers, of words, and one of labels, read in chunks into one array of float32."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...errors import InputError
from ..groups import InputGroup
from .columns import input_columns, label_column, labelled, side_of
from .contents import Asked, Contents, Part, check_inputs, check_size, listed
from .shapes import as_bytes, channel_groups
from .sheets import Sheet, to_numbers

MOST_WORDS = 100
"""Different words in a column that become indicators; more are names or free text."""


_OTHER_NUMBER = r"[-+]?\d{1,3}(?:[,.' ]?\d{3})*(?:[,.]\d*)?\s*%?"
"""Numbers with decimal commas, marks of thousands or per cent signs."""


def read_tables(sheets: Mapping[str, Sequence[Sheet]], asked: Asked) -> Contents:
    """The rows of the sheets of each part. Raises `InputError` that names file, column or row."""
    first = next(iter(sheets.values()))[0]
    asked.refuse(first.source, "inputs")
    label = label_column(first, asked)
    sheets, notes = labelled(sheets, label)
    chosen = input_columns(first, label, asked)
    for sheet in (sheet for part in sheets.values() for sheet in part):
        if lacking := set(first.columns) - set(sheet.columns):
            raise InputError(f"{sheet.source} lacks the columns {listed(sorted(lacking))} of {first.source}")
    side = side_of(chosen)
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
    files: dict[str, list[int]]
    comma: bool

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
        at, sizes, worded, files = 0, dict[str, int](), set[str](), dict[str, list[int]]()
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
                files.setdefault(which, []).append(end - at)
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
            files,
            any(sheet.comma for sheet in every),
        )

    def contents(self, sheets: Mapping[str, Sequence[Sheet]], asked: Asked) -> Contents:
        """The inputs with indicators in the place of words."""
        source = next(iter(sheets.values()))[0].source
        row = _rows_of(sheets, self.files)
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
            if groups:
                notes.append(f"columns of words became indicators: {listed(group.name for group in groups)}")
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
        """A nameless first column of row numbers, each once and in any order, is what pandas wrote beside a table."""
        nameless = self.columns[0] in ("column 1", "Unnamed: 0", "__index_level_0__")
        if (
            nameless
            and self.columns[1:2] != ["column 2"]
            and len(self.columns) > 1
            and self.columns[0] not in self.words
        ):
            counted, starts = self.values[:, 0], np.cumsum([0, *self.sizes.values()]).tolist()
            whole = bool((counted == np.floor(counted)).all() and (counted >= 0).all())
            once = (len(np.unique(counted[a:b])) == b - a for a, b in itertools.pairwise(starts))
            if len(counted) > 2 and whole and all(once):
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
            numbers = to_numbers(words, self.comma)
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
            _check_no_numbers(words[~absent & ~numeric], row, name)
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
        check_inputs(source, (len(names),))
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


def _check_no_numbers(words: pd.Series, row: Callable[[int], str], name: str) -> None:
    """Raise `InputError` for numbers in another spelling, which would become as many indicators."""
    are_numbers = words.str.fullmatch(_OTHER_NUMBER).to_numpy(dtype=bool)
    if are_numbers.sum() * 2 >= len(words):
        odd = words[are_numbers]
        raise InputError(
            f"{row(int(odd.index[0]))}, column {name!r} holds {odd.iloc[0][:40]!r}: write numbers without marks of "
            "thousands or per cent, as 1234.5, or as 1234,5 between semicolons, or leave the column out (drop, --drop)"
        )


def _rows_of(sheets: Mapping[str, Sequence[Sheet]], sizes: Mapping[str, Sequence[int]]) -> Callable[[str, int], str]:
    """Where a row of a part is, in the file that it comes from."""

    def row(which: str, position: int) -> str:
        for sheet, size in zip(sheets[which], sizes[which], strict=True):
            if position < size:
                return sheet.row(position)
            position -= size
        raise IndexError(position)

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
