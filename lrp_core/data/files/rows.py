"""New rows, as the card of an export says that its network takes them; they need no labels."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import InputError
from ..groups import InputGroup
from .columns import LABEL_NAMES
from .contents import Asked, listed
from .sheets import Sheet, to_numbers

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Wanted:
    """The inputs that a network takes: the `shape` of one, and the `names` of its numbers, if they have some.

    `needed` are the positions that are read, `absent` what stands for each of the others, `imputed` what takes the
    place of a missing value. `in_shares` says that bytes stand for numbers in [0, 1], `only_shares` that nothing else
    was trained with.
    """

    shape: tuple[int, ...]
    names: tuple[str, ...] | None
    groups: tuple[InputGroup, ...]
    needed: Collection[int]
    absent: Sequence[float]
    imputed: Mapping[int, float]
    in_shares: bool
    only_shares: bool

    def called(self, position: int) -> str:
        """What a person calls an input."""
        return f"input {position}" if self.names is None else f"input {self.names[position]!r}"


def read_rows(sheet: Sheet, wanted: Wanted) -> Float[Tensor, "n inputs"]:
    """The rows of a table, float64, with columns found by their names; others are not read.

    Columns of inputs that are not needed may lack. Raises `InputError` for a column that is needed and is not there, a
    value that is none, or a row of another length, whose values would be in the wrong columns.
    """
    assert wanted.names is not None, "the columns are found by them"
    sheet.check()
    by_place = not set(wanted.names) <= set(sheet.columns) and _count_up(sheet.columns) and _count_up(wanted.names)
    if by_place and len(sheet.columns) == len(wanted.names):  # the labels stood before them, and have gone
        sheet = sheet.renamed(wanted.names)
    indicators = {
        position: group for group in wanted.groups for position in group.indices if _is_of_words(group, wanted)
    }
    needed = [p for p in range(len(wanted.names)) if p in wanted.needed]
    columns = {p: indicators[p].name if p in indicators else wanted.names[p] for p in needed}
    if lacking := [name for name in dict.fromkeys(columns.values()) if name not in sheet.columns]:
        raise InputError(f"{sheet.source} lacks the columns {listed(lacking)}, which the network reads")
    numbers = _columns(sheet, [columns[p] for p in needed if p not in indicators], as_words=False)
    words = _columns(sheet, list(dict.fromkeys(columns[p] for p in needed if p in indicators)), as_words=True)
    n = len(next(iter((numbers | words).values()), ()))
    values = np.tile(np.array(wanted.absent, dtype=np.float64), (n, 1))
    for position in needed:
        if position in indicators:
            values[:, position] = _indicator(sheet, words[columns[position]], position, indicators[position], wanted)
        else:
            values[:, position] = _number(
                sheet, numbers[columns[position]], columns[position], wanted.imputed.get(position)
            )
    return torch.from_numpy(values)


def read_pixels(sheet: Sheet, wanted: Wanted, asked: Asked) -> np.ndarray:
    """The rows of a table of pixels [n, inputs], by the order of its columns; one of labels may be among them.

    Raises `InputError` for another number of columns, or a cell that holds no number.
    """
    sheet.check()
    n = math.prod(wanted.shape)
    columns = [name for name in sheet.columns if name != asked.label and name not in asked.drop]
    if asked.label is None and len(columns) == n + 1:
        lower = {name.lower(): name for name in reversed(columns)}
        columns = [name for name in columns if name != next((lower[k] for k in LABEL_NAMES if k in lower), None)]
    if len(columns) != n:
        raise InputError(
            f"{sheet.source} has {len(columns):,} columns, and the network takes {n:,} pixels: give a column for each, "
            "in their order, and name others to leave out (--label, --drop)"
        )
    numbers = _columns(sheet, columns, as_words=False)
    values = np.empty((len(next(iter(numbers.values()), ())), n))
    for position, name in enumerate(columns):
        values[:, position] = _number(sheet, numbers[name], name, wanted.imputed.get(position))
    return values


def filled(values: np.ndarray, wanted: Wanted, row: Callable[[int], str]) -> Tensor:
    """Numbers [n, *shape] as the network takes them, float64, or float32 in [0, 1] for pixels.

    Raises `InputError` for a value that is missing or infinite, or is no pixel, with its row.
    """
    flat = values.reshape(len(values), math.prod(wanted.shape))
    if flat.dtype.kind == "f":
        flat = flat.astype(np.float64)
        unread = np.setdiff1d(np.arange(flat.shape[1]), list(wanted.needed))
        flat[:, unread] = np.array(wanted.absent, dtype=np.float64)[unread]
        for position, value in wanted.imputed.items():
            flat[np.isnan(flat[:, position]), position] = value
        if not (np.abs(flat) <= _LARGEST).all():
            place, position = map(int, np.argwhere(~(np.abs(flat) <= _LARGEST))[0])
            what = "NaN" if np.isnan(flat[place, position]) else "infinity or more than float32 can hold"
            raise InputError(f"{row(place)} holds {what} in {wanted.called(position)}: correct it")
    if wanted.in_shares:
        flat = _shares(flat, wanted.only_shares, row)
    return torch.from_numpy(np.require(flat, None if flat.dtype == np.float32 else np.float64, ["C", "W"])).view(
        -1, *wanted.shape
    )


def _shares(flat: np.ndarray, only: bool, row: Callable[[int], str]) -> np.ndarray:
    """Bytes, also such as are kept as other numbers, in [0, 1]; numbers in [0, 1] as they are."""
    whole = bool((flat == np.floor(flat)).all()) and (flat.dtype.kind in "ui" or bool((flat > 1).any()))
    top = 255 if whole else 1
    outside = (flat < 0) | (flat > top)
    if outside.any():
        if not only:
            return flat
        place, position = map(int, np.argwhere(outside)[0])
        raise InputError(
            f"{row(place)} holds {flat[place, position]:g}, and pixels are whole numbers from 0 to 255 or lie in "
            "[0, 1]: divide bytes by 255"
        )
    return flat.astype(np.float32) / np.float32(top)


def _count_up(names: Sequence[str]) -> bool:
    """Whether columns have no names but their places."""
    return all(re.fullmatch(r"column \d+", name) for name in names)


def _is_of_words(group: InputGroup, wanted: Wanted) -> bool:
    """Whether the inputs of a group are the indicators of one column."""
    names = wanted.names or ()
    return all(names[position].startswith(f"{group.name}=") for position in group.indices)


def _columns(sheet: Sheet, names: Sequence[str], *, as_words: bool) -> dict[str, pd.Series]:
    texts: dict[str, list[pd.Series]] = {name: [] for name in names}
    frames: Iterator[tuple[int, pd.DataFrame]] = sheet.read(list(names), as_words, ()) if names else iter(())
    for _, frame in frames:
        for name in frame.columns:
            texts[name].append(frame[name])
    return {name: pd.concat(several, ignore_index=True) for name, several in texts.items() if several}


def _number(sheet: Sheet, column: pd.Series, name: str, imputed: float | None) -> np.ndarray:
    spelled = sheet.comma and not pd.api.types.is_numeric_dtype(column.dtype)
    numbers = to_numbers(column, spelled).to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    missing = column.isna().to_numpy(dtype=bool)
    odd = ~missing & ~(np.abs(numbers) <= _LARGEST)
    if odd.any():
        row = int(odd.argmax())
        if not np.isnan(numbers[row]):
            raise InputError(
                f"{sheet.row(row)}, column {name!r} holds infinity or more than float32 can hold: correct it"
            )
        raise InputError(f"{sheet.row(row)}, column {name!r} holds {str(column.iloc[row])[:40]!r}, which is no number")
    if missing.any():
        if imputed is None:
            raise InputError(f"{sheet.row(int(missing.argmax()))} misses a value in column {name!r}: fill it in")
        numbers[missing] = imputed
    return numbers


def _indicator(sheet: Sheet, column: pd.Series, position: int, group: InputGroup, wanted: Wanted) -> np.ndarray:
    names = wanted.names or ()
    known = [names[p].removeprefix(f"{group.name}=") for p in group.indices]
    texts = column.astype(object).map(lambda value: str(value).strip(), na_action="ignore")
    words = texts.where(column.notna(), "(missing)").to_numpy(dtype=object)
    unknown = ~np.isin(words.astype(str), known)
    if unknown.any():
        row = int(unknown.argmax())
        raise InputError(
            f"{sheet.row(row)}, column {group.name!r} holds {words[row]!r}, which the network was not trained with: it "
            f"knows {listed(known)}"
        )
    return np.asarray(words == names[position].removeprefix(f"{group.name}="), dtype=np.float64)
