"""Columns on disk: `.parquet`, `.arrow` and `.feather`, tables as well as Hugging Face's tables of images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import InputError, StorageError, storage_errors
from ...extras import from_extra
from .columns import label_column
from .contents import Asked, Contents, Part
from .images import Pictures
from .sheets import CHUNK, Sheet
from .tables import read_tables

SUFFIXES = (".parquet", ".arrow", ".feather")


class _Columns:
    """One file: its schema, its number of rows, and its rows some at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(path):
            if path.suffix.lower() == ".parquet":
                from pyarrow import parquet

                with parquet.ParquetFile(path) as file:
                    self.schema, self.n = file.schema_arrow, file.metadata.num_rows
            else:
                with self._open() as file:
                    self.schema = file.schema
                    self.n = sum(batch.num_rows for batch in _batches(file))

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """An Arrow file, or the stream of batches that Hugging Face's `datasets` writes under the same name."""
        import pyarrow

        with pyarrow.memory_map(str(self.path)) as source:
            try:
                file = pyarrow.ipc.open_file(source)
            except pyarrow.ArrowInvalid:
                source.seek(0)
                file = pyarrow.ipc.open_stream(source)
            yield file

    def tables(self, columns: Sequence[str], cells: int) -> Iterator[tuple[int, Any]]:
        """About so many cells at a time: the position of their first row, and some rows and columns."""
        with _readable(self.path):
            if self.path.suffix.lower() == ".parquet":
                yield from self._blocks(columns, cells)
                return
            with self._open() as file:
                start, rows = 0, max(1, cells // max(1, len(columns)))
                for batch in _batches(file):
                    chosen = batch.select(list(columns))
                    chosen.validate(full=True)  # else a damaged file leads outside of it
                    for first in range(0, chosen.num_rows, rows):
                        yield start + first, chosen.slice(first, rows)
                    start += batch.num_rows

    def _blocks(self, columns: Sequence[str], cells: int) -> Iterator[tuple[int, Any]]:
        """A Parquet file keeps its columns apart: some of them at a time take little memory, however many rows."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.path, pre_buffer=False) as file:
            start = 0
            for group in range(file.num_row_groups):
                n = file.metadata.row_group(group).num_rows
                step = max(2, cells // max(1, n))
                for first in range(0, len(columns), step):
                    table = file.read_row_group(group, columns=list(columns[first : first + step]))
                    table.validate(full=True)  # words that are not UTF-8 are met here, and not later
                    yield start, table
                start += n

    def rows(self, columns: Sequence[str], most: int) -> Iterator[Any]:
        """At most so many rows at a time, with all of these columns."""
        if self.path.suffix.lower() != ".parquet":
            yield from (table for _, table in self.tables(columns, most * len(columns)))
            return
        from pyarrow import parquet

        with _readable(self.path), parquet.ParquetFile(self.path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=most, columns=list(columns)):
                batch.validate(full=True)
                yield batch

    def classes(self) -> dict[str, tuple[str, ...]]:
        """Names of the labels 0, 1, ... that Hugging Face's `datasets` keeps beside the columns."""
        try:
            features = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"]
            return {name: tuple(map(str, f["names"])) for name, f in features.items() if f.get("_type") == "ClassLabel"}
        except (KeyError, ValueError, TypeError, AttributeError):
            return {}


def _batches(file: Any) -> Iterator[Any]:
    if hasattr(file, "num_record_batches"):
        return (file.get_batch(i) for i in range(file.num_record_batches))
    return iter(file)


def read_arrow(files: Mapping[str, Sequence[Path]], asked: Asked) -> Contents:
    """The rows of the files of each part. Raises `StorageError` for files that cannot be read, `InputError` else."""
    with from_extra():
        import pyarrow  # noqa: F401

    opened = {which: [_Columns(path) for path in paths] for which, paths in files.items()}
    first = next(iter(opened.values()))[0]
    pictures = _column_of_images(first, asked)
    if pictures is not None:
        return _pictures(opened, pictures, asked)
    for field in first.schema:
        if _is_nested(field) and field.name not in asked.drop:
            raise InputError(
                f"{first.path}, column {field.name!r} holds {field.type}, and one number or word a row is needed: "
                "leave it out (drop, --drop)"
            )
    return read_tables({which: [_sheet(one) for one in part] for which, part in opened.items()}, asked)


def open_sheet(path: Path) -> Sheet:
    """The table in a file. Raises `StorageError` if it cannot be read."""
    with from_extra():
        import pyarrow  # noqa: F401

    return _sheet(_Columns(path))


def open_images(path: Path, asked: Asked) -> Iterator[tuple[str, bytes]] | None:
    """Where each image in a table is, and its file; None if there is no column of images. Raises `InputError`."""
    with from_extra():
        import pyarrow  # noqa: F401

    file = _Columns(path)
    name = _column_of_images(file, asked)
    return None if name is None else _cells(file, name)


def _column_of_images(file: _Columns, asked: Asked) -> str | None:
    """The column asked for, else the first that holds images, else None."""
    names = [field.name for field in file.schema if _holds_pictures(field) and field.name not in asked.drop]
    if asked.inputs is not None and asked.inputs not in names:
        raise InputError(
            f"{file.path} has no column {asked.inputs!r} of images"
            + (f": choose of {', '.join(names)}" if names else "; inputs= names one")
        )
    return asked.inputs or (names[0] if names else None)


def _cells(file: _Columns, name: str) -> Iterator[tuple[str, bytes]]:
    position = 0
    for batch in file.rows([name], 500):
        for value in batch.column(name).to_pylist():
            yield _image(file, name, position, value)
            position += 1


def _image(file: _Columns, name: str, position: int, value: Any) -> tuple[str, bytes]:
    """Where an image is, and the content of its file. Raises `InputError` if there is none."""
    where = f"{file.path}, row {position:,} (counted from 0)"
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        raise InputError(f"{where} holds no image in {name!r}")
    return where, content


def _sheet(columns: _Columns) -> Sheet:
    names = tuple(map(str, columns.schema.names))

    def read(chosen: Sequence[str], as_words: bool, plain: Sequence[str]) -> Iterator[tuple[int, pd.DataFrame]]:
        for start, table in columns.tables(chosen, CHUNK):
            with _readable(columns.path):
                frame = _frame(table)
            yield start, frame.map(str, na_action="ignore") if as_words else frame

    def row(position: int) -> str:
        return f"{columns.path}, row {position:,} (counted from 0)"

    return Sheet(str(columns.path), names, columns.n, read, row, classes=columns.classes())


def _frame(table: Any) -> pd.DataFrame:
    """Columns as pandas has them, without what pandas wrote beside them: an index is a column, too."""
    frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    return frame


def _holds_pictures(field: Any) -> bool:
    """Whether a column holds the bytes of files, alone or as `datasets` keeps images: with a path beside them."""
    from pyarrow import types

    if types.is_struct(field.type):
        return bool(field.type.get_field_index("bytes") >= 0)
    return bool(types.is_binary(field.type) or types.is_large_binary(field.type))


def _is_nested(field: Any) -> bool:
    from pyarrow import types

    return bool(types.is_nested(field.type) or types.is_binary(field.type) or types.is_large_binary(field.type))


def _pictures(opened: Mapping[str, Sequence[_Columns]], name: str, asked: Asked) -> Contents:
    asked.refuse(str(next(iter(opened.values()))[0].path), "drop", "series")
    first = next(iter(opened.values()))[0]
    sheet = _sheet(first)
    plain = [column for column in sheet.columns if not _is_nested(first.schema.field(column))]
    if not plain:
        raise InputError(f"{first.path} has no column of labels beside the images")
    label = label_column(
        Sheet(sheet.source, tuple(plain), sheet.most, sheet.read, sheet.row, classes=sheet.classes), asked
    )
    kept = [label] if asked.groups_column is None else [label, asked.groups_column]
    pictures = Pictures(asked)
    parts: dict[str, tuple[list[pd.DataFrame], int]] = {}
    for which, files in opened.items():
        tables, n = [], 0
        for file in files:
            if lacking := {name, *kept} - set(file.schema.names):
                raise InputError(f"{file.path} lacks the column {min(lacking)!r}")
            for batch in file.rows([name, *kept], 500):
                for position, value in enumerate(batch.column(name).to_pylist(), n):
                    where, content = _image(file, name, position, value)
                    pictures.add(content, where)
                with _readable(file.path):
                    tables.append(_frame(batch.select(kept)))
                n += batch.num_rows
        parts[which] = tables, n
    values = pictures.finished(str(first.path))
    read: dict[str, Part] = {}
    start = 0
    for which, (tables, n) in parts.items():
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=kept)
        belongs = None if asked.groups_column is None else table[asked.groups_column].to_numpy()
        read[which] = Part(values[start : start + n], table[label].to_numpy(), belongs)
        start += n
    notes = [f"images: column {name!r}; labels: column {label!r}", *pictures.notes]
    return Contents(
        str(first.path),
        read,
        lambda which, position: f"{opened[which][0].path}, row {position:,} (counted from 0)",
        classes=first.classes().get(label),
        notes=notes,
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        with storage_errors("read", path):
            try:
                yield
            except OSError as error:
                if error.errno is not None or isinstance(error, StorageError):
                    raise
                raise pyarrow.ArrowInvalid(str(error)) from error  # Parquet's own, of damage
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        if isinstance(error, UnicodeDecodeError) or "UTF8" in str(error):
            raise StorageError(f"{path} holds words that are not UTF-8: write them as UTF-8") from error
        raise StorageError(f"{path} is truncated, damaged or no {path.suffix[1:].capitalize()} file") from error
