"""Which inputs of the data are one thing, and what each costs, as a person says it: a word, a file, or objects."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import InputError, storage_errors
from ..groups import InputGroup, check_groups
from .contents import listed
from .shapes import channel_groups

AskedGroups = str | Path | Sequence[InputGroup]
"""A word (`channels`, `windows:N`, `none`), a file, or the groups themselves."""

_COLUMNS = ("group", "input", "cost")


def groups_of(
    asked: AskedGroups | None, shape: tuple[int, ...], names: Sequence[str] | None, known: Sequence[InputGroup]
) -> tuple[InputGroup, ...]:
    """The groups of inputs of a `shape`; `names` are those of the inputs, `known` the groups that the data have.

    `channels`: one for each channel. `windows:N`: one for N neighbours in a channel or a table, for N x N pixels of an
    image with all their channels. `none`: every input by itself, and a column of words as its indicators. A file is
    a CSV table with a column `group`, and `input`, `cost` or both (see docs/data.md). Raises `InputError`.
    """
    if asked is None:
        return tuple(known)
    if not isinstance(asked, str | Path):
        if not all(isinstance(group, InputGroup) for group in asked):
            raise InputError(f"input_groups takes a word, a file, or InputGroup objects, not {list(asked)[:3]}")
        chosen = tuple(asked)
    elif str(asked) == "none":
        chosen = tuple(group for group in known if len(shape) == 1)
    elif str(asked) == "channels":
        chosen = _channels(shape, names)
    elif str(asked).startswith("windows:"):
        chosen = _windows(str(asked).removeprefix("windows:"), shape)
    else:
        chosen = _of_file(Path(asked).expanduser(), shape, names, known)
    check_groups(chosen, math.prod(shape))
    return chosen


def _channels(shape: tuple[int, ...], names: Sequence[str] | None) -> tuple[InputGroup, ...]:
    if len(shape) < 2 or shape[0] == 1:
        raise InputError(
            f"inputs of shape {shape} have no channels to group by: say windows:N, or name a file with groups"
        )
    return channel_groups((shape[0], math.prod(shape[1:])), names)


def _windows(text: str, shape: tuple[int, ...]) -> tuple[InputGroup, ...]:
    longest = max(shape[-2:]) if len(shape) == 3 else shape[-1]
    if not text.isdecimal() or not 1 <= int(text) <= longest:
        raise InputError(f"windows:N needs a whole number of neighbours from 1 to {longest}, not {text!r}")
    size, places = int(text), np.arange(math.prod(shape)).reshape(shape)
    groups = []
    if len(shape) == 3:
        for top in range(0, shape[1], size):
            for left in range(0, shape[2], size):
                part = places[:, top : top + size, left : left + size]
                name = f"{_span('row', top, part.shape[1])}, {_span('column', left, part.shape[2])}"
                groups.append(InputGroup(name, tuple(part.flatten().tolist())))
        return tuple(groups)
    for channel, row in enumerate(places.reshape(-1, shape[-1])):
        where = f"channel {channel}, " if len(places.shape) > 1 and shape[0] > 1 else ""
        for start in range(0, shape[-1], size):
            part = row[start : start + size]
            kind = "value" if len(shape) > 1 else "input"
            groups.append(InputGroup(where + _span(kind, start, len(part)), tuple(part.tolist())))
    return tuple(groups)


def _span(kind: str, start: int, length: int) -> str:
    return f"{kind} {start}" if length == 1 else f"{kind}s {start}-{start + length - 1}"


def _of_file(
    path: Path, shape: tuple[int, ...], names: Sequence[str] | None, known: Sequence[InputGroup]
) -> tuple[InputGroup, ...]:
    """The groups that a file names, and those known ones of which no input was put into another."""
    rows = _rows(path)
    places = _places(shape, names, known)
    members: dict[str, list[int]] = {}
    costs: dict[str, float] = {}
    for line, row in rows:
        where, group = f"{path} line {line}", row.get("group", "")
        if not group:
            raise InputError(f"{where} names no group: write its name into the column 'group'")
        given = row.get("input", "")
        inputs = places.get(given or group) or _range(given, math.prod(shape))
        if inputs is not None:
            members.setdefault(group, []).extend(inputs)
        elif given or group not in members:
            raise InputError(
                f"{where} names {given or group!r}, which is no input, column or group of the data: they have "
                f"{listed(places)}"
            )
        if row.get("cost"):
            cost = _cost(where, row["cost"])
            if costs.setdefault(group, cost) != cost:
                raise InputError(f"{where} gives the group {group!r} another cost than before, {cost:g}: give it one")
    chosen = tuple(InputGroup(name, tuple(sorted(set(inputs))), costs.get(name)) for name, inputs in members.items())
    taken = {position for group in chosen for position in group.indices}
    return tuple(replace(group) for group in known if not taken & set(group.indices)) + chosen


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a file, each with its line, as text without blanks."""
    with storage_errors("read", path):
        content = path.read_bytes()
    try:
        reader = csv.reader(content.decode("utf-8-sig").splitlines())
        table = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no table of text in UTF-8, separated by commas: {error}") from error
    header = [cell.lower() for cell in table[0][1]] if table else []
    if "group" not in header or not set(header) <= set(_COLUMNS) or len(set(header)) < len(header):
        raise InputError(
            f"{path} must begin with a line that names its columns, group and input, cost or both, not "
            f"{', '.join(header[:5]) or 'nothing'}"
        )
    for line, cells in table[1:]:
        if len(cells) != len(header):
            raise InputError(f"{path} line {line} has {len(cells)} cells where the first line has {len(header)}")
    if len(table) == 1:
        raise InputError(f"{path} names no groups: add a line for each group, or for each of its inputs")
    return [(line, dict(zip(header, cells, strict=True))) for line, cells in table[1:]]


def _places(
    shape: tuple[int, ...], names: Sequence[str] | None, known: Sequence[InputGroup]
) -> dict[str, tuple[int, ...]]:
    """What a file may name, and the inputs that it is."""
    named = [] if names is None else [(name, (i,)) for i, name in enumerate(names)]
    return dict(named) | {group.name: group.indices for group in known}


def _range(text: str, n_inputs: int) -> tuple[int, ...] | None:
    """The inputs from one position to another, "10-19", or at one position; None for anything else."""
    first, _, last = text.partition("-")
    last = last or first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) < n_inputs):
        return None
    return tuple(range(int(first), int(last) + 1))


def _cost(where: str, text: str) -> float:
    try:
        cost = float(text)
    except ValueError:
        cost = math.nan
    if not (math.isfinite(cost) and cost >= 0):
        raise InputError(f"{where} gives the cost {text!r}: write a number of at least 0")
    return cost
