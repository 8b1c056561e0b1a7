"""New rows of a table, as the card of an export says that its network takes them; they need no labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import InputError
from ..groups import InputGroup
from .contents import Asked, listed
from .sheets import Sheet


@dataclass(frozen=True)
class Wanted:
    """The inputs by `names`: which are `needed`, what stands for the others, and what takes a missing value's place."""

    names: tuple[str, ...]
    groups: tuple[InputGroup, ...]
    needed: Collection[int]
    absent: Sequence[float]
    imputed: Mapping[int, float]


def read_rows(path: Path, wanted: Wanted, asked: Asked | None = None) -> Float[Tensor, "n inputs"]:
    """The rows of a table, float64, with columns found by their names; others are not read.

    Columns of inputs that are not needed may lack. Raises `InputError` for a column that is needed and is not there, or
    a value that is none.
    """
    sheet = _sheet(path, asked or Asked())
    indicators = {
        position: group for group in wanted.groups for position in group.indices if _is_of_words(group, wanted)
    }
    needed = [p for p in range(len(wanted.names)) if p in wanted.needed]
    columns = {p: indicators[p].name if p in indicators else wanted.names[p] for p in needed}
    if lacking := [name for name in dict.fromkeys(columns.values()) if name not in sheet.columns]:
        raise InputError(f"{path} lacks the columns {listed(lacking)}, which the network reads")
    numbers = _columns(sheet, [columns[p] for p in needed if p not in indicators], as_words=False)
    words = _columns(sheet, list(dict.fromkeys(columns[p] for p in needed if p in indicators)), as_words=True)
    n = len(next(iter((numbers | words).values()), ()))
    values = np.tile(np.array(wanted.absent, dtype=np.float64), (n, 1))
    for position in needed:
        if position in indicators:
            values[:, position] = _indicator(sheet, words[columns[position]], position, indicators[position], wanted)
        else:
            values[:, position] = _number(sheet, numbers[columns[position]], position, wanted)
    return torch.from_numpy(values)


def _sheet(path: Path, asked: Asked) -> Sheet:
    if path.suffix.lower() in (".csv", ".tsv"):
        from .text import open_text

        return open_text(path, asked)
    from .arrow import open_sheet

    return open_sheet(path)


def _is_of_words(group: InputGroup, wanted: Wanted) -> bool:
    """Whether the inputs of a group are the indicators of one column."""
    return all(wanted.names[position].startswith(f"{group.name}=") for position in group.indices)


def _columns(sheet: Sheet, names: Sequence[str], *, as_words: bool) -> dict[str, pd.Series]:
    texts: dict[str, list[pd.Series]] = {name: [] for name in names}
    frames: Iterator[tuple[int, pd.DataFrame]] = sheet.read(list(names), as_words, ()) if names else iter(())
    for _, frame in frames:
        for name in frame.columns:
            texts[name].append(frame[name])
    return {name: pd.concat(several, ignore_index=True) for name, several in texts.items() if several}


def _number(sheet: Sheet, column: pd.Series, position: int, wanted: Wanted) -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    name, missing = wanted.names[position], column.isna().to_numpy(dtype=bool)
    odd = ~missing & ~np.isfinite(numbers)
    if odd.any():
        row = int(odd.argmax())
        raise InputError(f"{sheet.row(row)}, column {name!r} holds {str(column.iloc[row])[:40]!r}, which is no number")
    if missing.any():
        if position not in wanted.imputed:
            raise InputError(f"{sheet.row(int(missing.argmax()))} misses a value in column {name!r}: fill it in")
        numbers[missing] = wanted.imputed[position]
    return numbers


def _indicator(sheet: Sheet, column: pd.Series, position: int, group: InputGroup, wanted: Wanted) -> np.ndarray:
    known = [wanted.names[p].removeprefix(f"{group.name}=") for p in group.indices]
    texts = column.astype(object).map(lambda value: str(value).strip(), na_action="ignore")
    words = texts.where(column.notna(), "(missing)").to_numpy(dtype=object)
    unknown = ~np.isin(words.astype(str), known)
    if unknown.any():
        row = int(unknown.argmax())
        raise InputError(
            f"{sheet.row(row)}, column {group.name!r} holds {words[row]!r}, which the network was not trained with: it "
            f"knows {listed(known)}"
        )
    return np.asarray(words == wanted.names[position].removeprefix(f"{group.name}="), dtype=np.float64)
