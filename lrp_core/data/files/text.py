"""Text tables: `.csv` and `.tsv`, as spreadsheets and programs write them."""

from __future__ import annotations

import csv
import itertools
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import InputError, StorageError, storage_errors
from .contents import MOST_COLUMNS, Asked
from .sheets import Sheet, chunk_rows

SUFFIXES = (".csv", ".tsv", ".txt")

_MISSING = [*("", "#N/A", "#NA", "N/A", "NA", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "n/a", "None", "<NA>", "?")]
"""What stands for a missing value in a column of inputs. A label may be called None; only an empty one is missing."""


_PEEK = 100
"""Rows in which a decimal comma is looked for."""


def open_text(path: Path, asked: Asked, known: Collection[str] = ()) -> Sheet:
    """The table in a file; a first row that has all names of `known` columns is its header.

    Raises `StorageError` if it cannot be read, `InputError` for rows that differ in length.
    """
    with storage_errors("read", path):
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(2**16)
        if not start.removeprefix(b"\xef\xbb\xbf").strip():
            raise InputError(f"{path} is empty")
        if start.startswith((b"PK\x03\x04", b"\x1f\x8b")):
            raise InputError(f"{path} is a packed file or a spreadsheet: unpack it, or save it as .csv")
        separator = _separator(path, start)
        lines = _count_lines(path)
    first = list(itertools.islice(_records(path, separator), _PEEK if separator == ";" else 3))
    names, has_header = _header([cells for _, cells in first], asked.header, known)
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{path} has {len(names):,} columns, and {MOST_COLUMNS:,} is the most: leave some out")
    for line, cells in first[1:]:
        _check_length(path, line, cells, names)
    if has_header and len(first) < 2:
        raise InputError(f"{path} has a header and no rows")
    comma = separator == ";" and any(re.fullmatch(r"\s*-?\d+,\d+\s*", cell) for _, row in first for cell in row)
    read = partial(_read, path, separator, "," if comma else ".", names, has_header)
    check = partial(_check_lengths, path, separator, names)
    row = partial(_row, path, separator, has_header)
    return Sheet(str(path), names, min(lines, size), read, row, check, comma=comma)


def _read(
    path: Path,
    separator: str,
    decimal: str,
    names: tuple[str, ...],
    has_header: bool,
    columns: Sequence[str],
    as_words: bool,
    plain: Sequence[str],
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Some rows at a time. Classes and groups of rows are `plain`: 01 is not 1, and NA may be a country."""
    few = not plain  # with some columns alone, pandas does not see that a row is too long
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.DtypeWarning)
        with storage_errors("read", path):
            try:
                frames = pd.read_csv(
                    path,
                    sep=separator,
                    decimal=decimal,
                    header=0 if has_header else None,
                    names=list(names),
                    usecols=list(columns) if few else None,
                    index_col=False,
                    dtype=str if as_words else None,
                    converters=dict.fromkeys(plain, _marked),
                    na_values=_MISSING,
                    keep_default_na=False,
                    skipinitialspace=True,
                    encoding="utf-8-sig",
                    chunksize=chunk_rows(len(names)),
                )
                with frames:
                    start = 0
                    for frame in frames:
                        for name in plain:
                            frame[name] = frame[name].str[1:]
                        yield start, frame if len(columns) == frame.shape[1] else frame[list(columns)]
                        start += len(frame)
            except UnicodeDecodeError as error:
                raise _not_utf8(path) from error
            except pd.errors.EmptyDataError as error:
                raise InputError(f"{path} holds no rows") from error
            except pd.errors.ParserError as error:
                match = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
                if match:
                    raise _ragged(path, int(match[2]), int(match[3]), int(match[1])) from error
                reason = str(error).strip().splitlines()[-1]
                raise StorageError(f"{path} is no table ({reason}): is a quote not closed?") from error


def _marked(cell: str) -> str:
    """A cell that pandas does not take for a missing value, unless it is empty."""
    return f"={text}" if (text := cell.strip()) else ""


def _separator(path: Path, start: bytes) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    line = start.lstrip().splitlines()[0].decode("utf-8", "replace")
    line = re.sub(r'"[^"]*"', "", line)
    return max(",;\t", key=line.count)


def _count_lines(path: Path) -> int:
    """At least as many lines as the table has rows."""
    with path.open("rb") as file:
        blocks = iter(partial(file.read, 2**22), b"")
        return 1 + max(map(sum, zip(*((b.count(b"\n"), b.count(b"\r")) for b in blocks), strict=True)))


def _records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank, with the number of the line that it ends in."""
    with storage_errors("read", path):
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
                for cells in reader:
                    if cells:
                        yield reader.line_num, cells
        except UnicodeDecodeError as error:
            raise _not_utf8(path) from error
        except csv.Error as error:
            raise StorageError(f"{path} is no table that can be read: {error}") from error


def _header(first: Sequence[Sequence[str]], asked: bool | None, known: Collection[str]) -> tuple[tuple[str, ...], bool]:
    """Names of the columns, and whether the file says them.

    A first row with numbers in it is no header, unless its numbers count up in equal steps as wavelengths do, or are
    the names of all `known` columns: a few wavelengths that were chosen have gaps between them.
    """
    cells = [cell.strip() for cell in first[0]]
    numbers = [number for cell in cells if (number := _number(cell)) is not None]
    steps = np.diff(numbers)
    counts_up = len(steps) > 1 and bool((steps > 0).all()) and bool(np.allclose(steps, steps[0], rtol=0.02))
    has_known = bool(known) and set(known) <= set(cells)
    has_header = asked if asked is not None else (not numbers or counts_up or has_known)
    if not has_header:
        return tuple(f"column {i}" for i in range(1, len(cells) + 1)), False
    return tuple(cell or f"column {i}" for i, cell in enumerate(cells, 1)), True


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _check_length(path: Path, line: int, cells: Sequence[str], names: Sequence[str]) -> None:
    if len(cells) != len(names):
        raise _ragged(path, line, len(cells), len(names))


def _check_lengths(path: Path, separator: str, names: Sequence[str]) -> None:
    for line, cells in _records(path, separator):
        _check_length(path, line, cells, names)


def _ragged(path: Path, line: int, fields: int, expected: int) -> InputError:
    return InputError(f"{path}, line {line} has {fields} fields and the first line {expected}: every row needs as many")


def _row(path: Path, separator: str, has_header: bool, position: int) -> str:
    """Where a row is; the file is read again, since a row may take several lines."""
    line, _ = next(
        itertools.islice(_records(path, separator), position + has_header, None), (position + has_header + 1, [])
    )
    return f"{path}, line {line}"


def _not_utf8(path: Path) -> StorageError:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return StorageError(
                    f"{path}, line {number} holds the byte 0x{byte:02X}, which is not UTF-8: save the table as UTF-8"
                )
    return StorageError(f"{path} is not UTF-8: save the table as UTF-8")
