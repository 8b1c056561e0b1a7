"""Which columns of a table hold the labels, which the inputs, and whether these are pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from ...errors import InputError, check_choice
from .contents import Asked, check_inputs, listed
from .labels import look_like_classes
from .sheets import Sheet

LABEL_NAMES = ("label", "class", "target", "y")
"""Columns that are taken for the labels if nobody names one, whatever their case."""


def label_column(sheet: Sheet, asked: Asked) -> str:
    """The column of labels: the one asked for, or that looks like it. Raises `InputError`."""
    if asked.label is not None:
        for name, where in ((asked.groups_column, "groups_column"), *((name, "drop") for name in asked.drop)):
            if name == asked.label:
                raise InputError(f"{sheet.source} cannot have its labels in {name!r}, which is in {where}, too")
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


def labelled(sheets: Mapping[str, Sequence[Sheet]], label: str) -> tuple[dict[str, Sequence[Sheet]], list[str]]:
    """The parts that have labels; a test part without them, as competitions give it, is left out."""
    kept, notes = {}, []
    for which, part in sheets.items():
        if which == "test" and any(label not in sheet.columns for sheet in part):
            notes.append(f"{part[0].source} has no column {label!r} and was left out")
        else:
            kept[which] = part
    return kept, notes


def input_columns(sheet: Sheet, label: str, asked: Asked) -> list[str]:
    for name in (*asked.drop, *([asked.groups_column] if asked.groups_column is not None else [])):
        check_choice(f"column of {sheet.source}", name, sheet.columns)
    other = {label, asked.groups_column, *asked.drop}
    chosen = [name for name in sheet.columns if name not in other]
    if not chosen:
        raise InputError(f"{sheet.source} has no columns of inputs beside {listed(n for n in other if n)}")
    check_inputs(sheet.source, (len(chosen),))
    return chosen


def side_of(columns: Sequence[str]) -> int | None:
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
