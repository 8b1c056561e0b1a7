"""A finished study as numbers alone, in one file of a few hundred kilobytes: what its page shows, without networks.

The file is a zip of `study.json` and of arrays, none of them pickled. What adopts it needs no torch, so that the first
page of the dashboard can; the rankings are put into the cache of stages by `measured.adopt_rankings`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
import zipfile
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import StorageError, storage_errors
from ..storage import checkout, write_atomic
from ..version import STAGE_VERSION
from .ledger import Ledger
from .runs import Run

VERSION = 1
"""Of the file; one of a later version is refused."""

MAX_BYTES, MAX_CONTENT = 8 * 2**20, 64 * 2**20
"""Of the file, and of what is unpacked of it."""

_STUDY, _PARTS, _RANKING = "study.json", ("validation", "test"), ("scores", "standard_errors", "order")
_SPEC = {
    **dict.fromkeys(("dataset", "architecture", "criterion", "strategy", "method", "mode"), str),
    **dict.fromkeys(("keep", "seed", "mask_seed"), int),
}
_RESULT = (*(f"{part}_{name}" for part in _PARTS for name in ("score", "loss", "images")), "macs", "seconds")
_MALFORMED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError, AttributeError),
    *(OverflowError, RecursionError, NotImplementedError, RuntimeError),
)

Row = tuple[str, dict[str, Any], dict[str, Any], float]
"""Of a trial: its key, its spec, its result, and when it finished in seconds since 1970."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A study that was measured: `key` and plain `values` of it, its trials, and its rankings by their keys.

    A ranking is (scores, standard errors, order), each [n_groups]. `provenance` says where it was measured, when, with
    what and for how long; `started` is in seconds since 1970, `seconds` how long it ran.
    """

    key: str
    name: str
    values: dict[str, Any]
    started: float
    seconds: float
    provenance: dict[str, Any]
    trials: tuple[Row, ...]
    rankings: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)

    def save(self, path: Path) -> int:
        """Write the file, atomically; gives its size in bytes. Raises `StorageError`, also for a result that is NaN."""
        arrays = {f"{part}_correct": _stacked([row[2].get(f"{part}_correct") for row in self.trials])
                  for part in _PARTS}  # fmt: skip
        arrays |= {
            name: np.stack([ranking[i] for ranking in self.rankings.values()]) if self.rankings else None
            for i, name in enumerate(_RANKING)
        }
        described = {
            "version": VERSION,
            "stages": STAGE_VERSION,
            **{name: getattr(self, name) for name in ("key", "name", "values", "started", "seconds", "provenance")},
            "rankings": list(self.rankings),
            "trials": [[key, spec, _plain(result), finished] for key, spec, result, finished in self.trials],
        }
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            try:
                _put(archive, _STUDY, json.dumps(described, allow_nan=False, separators=(",", ":")).encode())
            except ValueError as error:
                raise StorageError(f"a study with a result that is no number cannot be kept in {path}") from error
            for name, array in arrays.items():
                if array is not None:
                    _put(archive, f"{name}.npy", _as_npy(array))
        write_atomic(path, file.getvalue())
        return len(file.getvalue())


def read_bundle(path: Path) -> Bundle:
    """A study that `Bundle.save` wrote; nothing in the file is ever unpickled.

    Raises `StorageError` for a file that is missing, too large, of a later version, damaged, or of results that this
    version would measure otherwise.
    """
    return _parsed(_content(path), path)


def adopt(path: Path, ledger: Ledger) -> Run | None:
    """Enter the study of a file into the ledger as a finished run that can only be read; gives that run.

    None, and nothing changes, where the study ran here or a person has deleted it. Asking again costs little. Raises
    `StorageError` as `read_bundle` does, and where the cache cannot be written.
    """
    content = _content(path)
    digest = hashlib.sha256(content).hexdigest()
    for run in ledger.runs("study"):
        if run.provenance.get("sha256") == digest:
            return run
    bundle = _parsed(content, path)
    write_atomic(kept_at(ledger, bundle.key), content)
    total, ended = len(bundle.trials), bundle.started + bundle.seconds
    run = Run(
        id=bundle.key,
        kind="study",
        name=bundle.name,
        spec=bundle.values,
        state="done",
        stage="done",
        done=total,
        total=total,
        message="",
        started=bundle.started,
        updated=ended,
        stage_done=0,
        stage_started=bundle.started,
        provenance=bundle.provenance | {"sha256": digest},
    )
    return run if ledger.adopt(run, bundle.trials) else None


def kept_at(ledger: Ledger, key: str) -> Path:
    """Where the file of an adopted study is kept, for its rankings."""
    return ledger.folder / "studies" / f"{key}.zip"


def shipped() -> tuple[Path, ...]:
    """The files of measured studies that come with the project's checkout."""
    root = checkout()
    return tuple(sorted((root / "data" / "studies").glob("*.zip"))) if root else ()


def _content(path: Path) -> bytes:
    with storage_errors("read", path), path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise StorageError(f"{path} has more than the {MAX_BYTES:,} bytes that a measured study may have")
    return content


def _parsed(content: bytes, path: Path) -> Bundle:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = _unpacked(archive)
        described = json.loads(files.pop(_STUDY), parse_constant=_no_constant)
        version, stages = described["version"], described["stages"]
        if isinstance(version, int) and version > VERSION:
            raise StorageError(f"{path} is of version {version}, newer than this program's: update it")
        if version == VERSION and stages != STAGE_VERSION:
            raise StorageError(
                f"{path} holds results of stage version {stages}, and this program computes version {STAGE_VERSION}: "
                "measure the study again"
            )
        _check(version == VERSION, "version")
        return _checked(described, {name: _array(file, name) for name, file in files.items()})
    except StorageError:
        raise
    except _MALFORMED as error:
        raise StorageError(
            f"{path} ({len(content):,} bytes) is truncated, damaged or no measured study of this project: {error}"
        ) from error


def _unpacked(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """What the members hold, never more in all than `MAX_CONTENT`, whatever they say of their size."""
    known = {_STUDY, *(f"{part}_correct.npy" for part in _PARTS), *(f"{name}.npy" for name in _RANKING)}
    names = archive.namelist()
    _check(len(names) == len(set(names)) and set(names) <= known and _STUDY in names, "the names of its members")
    left, files = MAX_CONTENT, {}
    for name in names:
        with archive.open(name) as member:
            files[name] = member.read(left + 1)
        left -= len(files[name])
        _check(left >= 0, f"it unpacks to more than {MAX_CONTENT:,} bytes")
    return files


def _array(file: bytes, name: str) -> np.ndarray:
    """The array of a member whose head says no more than there is."""
    stream = io.BytesIO(file)
    _check(np.lib.format.read_magic(stream) == (1, 0), name)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    size = dtype.itemsize
    for side in shape:
        size *= side
    _check(not dtype.hasobject and not is_fortran and len(shape) == 2 and size == len(file) - stream.tell(), name)
    return np.frombuffer(file, dtype, offset=stream.tell()).reshape(shape)


def _checked(described: dict[str, Any], arrays: dict[str, np.ndarray]) -> Bundle:
    """What the file says, if it is what a study would say."""
    values, provenance = described["values"], described["provenance"]
    _check(isinstance(values, dict) and values.get("root", 0) is None, "values")
    plain = isinstance(provenance, dict) and all(type(value) in (str, int, float) for value in provenance.values())
    _check(plain and len(provenance) > 0, "provenance")
    _check(isinstance(described["name"], str) and 0 < len(described["name"]) <= 200, "name")
    started, seconds = (float(described[name]) for name in ("started", "seconds"))
    _check(0 < started < time.time() + 86_400 and 0 <= seconds < 1e9, "times")
    trials, keys = described["trials"], described["rankings"]
    _check(isinstance(trials, list) and isinstance(keys, list) and len(trials) > 0, "trials")
    for key in (described["key"], *keys, *(trial[0] for trial in trials)):
        _check(isinstance(key, str) and re.fullmatch("[0-9a-f]{24}", key) is not None, "keys")
    _check(len({trial[0] for trial in trials}) == len(trials) and len(set(keys)) == len(keys), "keys")
    rows = tuple(_checked_trial(*trial) for trial in trials)
    for part in _PARTS:
        _add_correct(rows, part, arrays.pop(f"{part}_correct.npy", None))
    rankings = _checked_rankings(keys, arrays)
    return Bundle(described["key"], described["name"], values, started, seconds, provenance, rows, rankings)


def _checked_trial(key: str, spec: dict[str, Any], result: dict[str, Any], finished: float) -> Row:
    for name, kind in _SPEC.items():
        _check(type(spec[name]) is kind, f"{name} of a trial")
    _check(set(spec) - set(_SPEC) <= {"split"} and type(spec.get("split", 0)) is int, "a trial")
    _check(all(name in result for name in _RESULT), "a result")
    read: dict[str, Any] = {}
    for name, value in result.items():
        _check(re.fullmatch("[a-z0-9_]{1,40}", name) is not None and not name.endswith("_correct"), "a result")
        if isinstance(value, list):  # a class that a split has no image of has no accuracy
            _check(all(one is None or _is_number(one) for one in value), name)
            read[name] = [float("nan") if one is None else one for one in value]
        else:
            _check(_is_number(value), name)
            read[name] = value
    for part in _PARTS:
        _check(type(read[f"{part}_images"]) is int and read[f"{part}_images"] > 0, f"{part}_images")
    _check(spec["keep"] > 0 and _is_number(finished) and finished > 0, "a trial")
    return key, spec, read, float(finished)


def _add_correct(rows: tuple[Row, ...], part: str, packed: np.ndarray | None) -> None:
    """Which images each network classified right, as the ledger holds it."""
    if packed is None:
        return
    widths = [-(-row[2][f"{part}_images"] // 8) for row in rows]
    _check(packed.dtype == np.uint8 and packed.shape == (len(rows), max(widths)), f"{part}_correct")
    for (_, _, result, _), bits, width in zip(rows, packed, widths, strict=True):
        result[f"{part}_correct"] = b64encode(bits[:width].tobytes()).decode()


def _checked_rankings(keys: list[str], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if not keys:
        _check(not arrays, "rankings")
        return {}
    scores, errors, order = (arrays[f"{name}.npy"] for name in _RANKING)
    _check(scores.dtype == errors.dtype == np.float64 and order.dtype.kind in "iu", "rankings")
    _check(scores.shape == errors.shape == order.shape and len(scores) == len(keys), "rankings")
    _check(bool(np.isfinite(scores).all()) and not bool(np.isinf(errors).any()), "scores")  # few have standard errors
    _check(bool((np.sort(order, 1) == np.arange(order.shape[1])).all()), "order")
    rows = zip(scores.astype(float), errors.astype(float), order.astype(np.int64), strict=True)
    return dict(zip(keys, rows, strict=True))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no result")


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """A result for JSON: classes without images have no accuracy, and what was right lies in arrays."""
    return {
        name: [None if np.isnan(value) else value for value in values] if isinstance(values, list) else values
        for name, values in result.items()
        if not name.endswith("_correct")
    }


def _stacked(packed: list[str | None]) -> np.ndarray | None:
    """The packed answers of all trials, the shorter ones filled up with 0; None for numbers, which have none."""
    rows = [np.frombuffer(b64decode(text), np.uint8) for text in packed if text is not None]
    if not rows:
        return None
    width = max(map(len, rows))
    return np.stack([np.pad(row, (0, width - len(row))) for row in rows])


def _as_npy(array: np.ndarray) -> bytes:
    if array.dtype.kind == "i":
        array = array.astype(np.min_scalar_type(int(array.max())))
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a member that is dated like every other, so that the same study gives the same file."""
    archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)
