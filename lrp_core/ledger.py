"""The ledger: every trial and every run in one SQLite file, written as they finish and read live by the pages.

SQLite runs in WAL mode, so that readers never wait for the writer. Weights lie beside it as safetensors.
A run holds an operating-system lock as long as its process lives: a run that says "running" without holding
it was killed, whatever the machine has done since.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from filelock import FileLock, Timeout

from .errors import Cancelled, StorageError, storage_errors
from .storage import cache_dir

VERSION = 1
"""Of the tables below; kept in the file as `user_version`."""

State = Literal["starting", "running", "done", "failed", "cancelled", "interrupted"]

STARTUP_SECONDS = 60
"""A run that was started and has not taken its lock after so long is not going to."""

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, spec TEXT NOT NULL, state TEXT NOT NULL,
    stage TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER NOT NULL, message TEXT NOT NULL,
    started REAL NOT NULL, updated REAL NOT NULL, cancel INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS trials (
    key TEXT PRIMARY KEY, spec TEXT NOT NULL, result TEXT NOT NULL, finished REAL NOT NULL
) STRICT;
"""


_COLUMNS = "id, kind, name, spec, state, stage, done, total, message, started, updated"


@dataclass(frozen=True)
class Run:
    """The latest run of a piece of long work: a study or an export.

    `done` of `total` steps, and the `stage` it is in; `started` and `updated` are seconds since 1970.
    """

    id: str
    kind: str
    name: str
    spec: dict[str, Any]
    state: State
    stage: str
    done: int
    total: int
    message: str
    started: float
    updated: float

    @property
    def is_active(self) -> bool:
        """Whether a process is working on it, or about to."""
        return self.state in ("starting", "running")

    @property
    def progress(self) -> float:
        """Share of the steps that are done, in [0, 1]."""
        return self.done / self.total if self.total else 0.0

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return (time.time() if self.is_active else self.updated) - self.started

    @property
    def rate(self) -> float | None:
        """Steps a second since it started; None before the first one, and where it began with all of them done."""
        return self.done / self.seconds if self.done and self.seconds > 1 else None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None before the first step, and when nothing is at it."""
        return (self.total - self.done) / self.rate if self.is_active and self.rate else None


class Ledger:
    """Trials and runs under one folder (default: the cache). Any number of processes may open it.

    Raises `StorageError` if the file is damaged, was written by a newer version, or cannot be written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_dir()
        self.path = self.folder / "ledger.sqlite"
        with storage_errors("write to the cache folder", self.folder):
            (self.folder / "locks").mkdir(parents=True, exist_ok=True)
        with self._connect() as database:
            found = database.execute("PRAGMA user_version").fetchone()[0]
            if found > VERSION:
                raise StorageError(
                    f"{self.path} was written by a newer version (tables {found}, this one knows {VERSION}): update, "
                    "or set LRP_CACHE to another folder"
                )
            if found < VERSION:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(_TABLES)
                database.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """A connection whose work is committed at the end, and whose errors say which file and what to do."""
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as database, database:
                database.execute("PRAGMA synchronous = NORMAL")
                yield database
        except sqlite3.DatabaseError as error:
            reason = str(error)
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in reason:
                raise StorageError(f"cannot use the ledger {self.path}: {reason}") from error
            raise StorageError(
                f"the ledger {self.path} is damaged ({reason}): move it away, and its trials are run again"
            ) from error

    # Trials

    def record_trial(self, key: str, spec: dict[str, Any], result: dict[str, Any]) -> None:
        """Write a finished trial; one that is there already stays as it is."""
        with self._connect() as database:
            database.execute(
                "INSERT OR IGNORE INTO trials VALUES (?, ?, ?, ?)",
                (key, json.dumps(spec), json.dumps(result), time.time()),
            )

    def recorded(self, keys: Sequence[str]) -> set[str]:
        """Which of these trials are there."""
        return {key for key, *_ in self._select(keys)}

    def trials(self, keys: Sequence[str]) -> pd.DataFrame:
        """Trials as a table, one row for each of `keys` that is there, in that order: its spec and its result."""
        rows = {key: json.loads(spec) | json.loads(result) for key, spec, result in self._select(keys)}
        return pd.DataFrame([{"key": key, **rows[key]} for key in keys if key in rows])

    def _select(self, keys: Sequence[str]) -> list[tuple[str, str, str]]:
        with self._connect() as database:
            return database.execute(
                "SELECT key, spec, result FROM trials WHERE key IN (SELECT value FROM json_each(?))",
                (json.dumps(list(keys)),),
            ).fetchall()

    # Runs

    def announce(self, run: str, kind: str, name: str, spec: dict[str, Any], total: int) -> bool:
        """Enter a run that a process is about to be started for; False if one is active already."""
        with self._connect() as database:
            database.execute("BEGIN IMMEDIATE")
            row = database.execute(f"SELECT {_COLUMNS} FROM runs WHERE id = ?", (run,)).fetchone()
            if row and self._run(row).is_active:
                return False
            self._enter(database, run, kind, name, spec, "starting", total)
            return True

    @contextmanager
    def running(self, run: str, kind: str, name: str, spec: dict[str, Any], total: int) -> Iterator[bool]:
        """Hold a run while inside; gives False, and does nothing, if another process holds it.

        The run ends as "done", "cancelled" (on `Cancelled` or Ctrl-C) or "failed" with the error's text.
        """
        lock = self._lock(run)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise StorageError(f"cannot write to the cache folder {self.folder}: {error.strerror or error}") from error
        with lock:
            with self._connect() as database:
                self._enter(database, run, kind, name, spec, "running", total)
            try:
                yield True
            except (KeyboardInterrupt, Cancelled):
                self._update(run, state="cancelled", message="cancelled; what was done is kept")
                raise
            except BaseException as error:
                self._update(run, state="failed", message=str(error) or type(error).__name__)
                raise
            else:
                self._update(run, state="done", stage="done")

    def report(self, run: str, stage: str, done: int) -> None:
        """Say how far the run is. Raises `Cancelled` if that was asked for."""
        self._update(run, stage=stage, done=done)
        with self._connect() as database:
            row = database.execute("SELECT cancel FROM runs WHERE id = ?", (run,)).fetchone()
        if row and row[0]:
            raise Cancelled("cancelled; what was done is kept")

    def fail(self, run: str, message: str) -> None:
        """Say why a run that was announced never began."""
        self._update(run, state="failed", message=message)

    def request_cancel(self, run: str) -> None:
        """Ask a run to stop after the steps in progress."""
        with self._connect() as database:
            database.execute("UPDATE runs SET cancel = 1 WHERE id = ?", (run,))

    def runs(self, kind: str = "study") -> list[Run]:
        """The latest run of every piece of work of a kind, newest first."""
        with self._connect() as database:
            rows = database.execute(
                f"SELECT {_COLUMNS} FROM runs WHERE kind = ? ORDER BY started DESC, id", (kind,)
            ).fetchall()
        return [self._run(row) for row in rows]

    def run(self, run: str) -> Run | None:
        """One run, or None if there was none."""
        with self._connect() as database:
            row = database.execute(f"SELECT {_COLUMNS} FROM runs WHERE id = ?", (run,)).fetchone()
        return self._run(row) if row else None

    def forget(self, run: str) -> None:
        """Take a run out of the list; its trials stay. Raises `StorageError` if it is active."""
        with self._connect() as database:
            database.execute("BEGIN IMMEDIATE")
            row = database.execute(f"SELECT {_COLUMNS} FROM runs WHERE id = ?", (run,)).fetchone()
            if row and self._run(row).is_active:
                raise StorageError(f"{row[2]!r} is running: cancel it before you delete it")
            database.execute("DELETE FROM runs WHERE id = ?", (run,))

    def _enter(
        self, database: sqlite3.Connection, run: str, kind: str, name: str, spec: dict[str, Any], state: str, total: int
    ) -> None:
        now = time.time()
        # A process that takes up what was announced finds whether that was cancelled meanwhile.
        asked = "SELECT cancel FROM runs WHERE id = ? AND state = 'starting' AND ? = 'running'"
        cancel = database.execute(asked, (run, state)).fetchone() or (0,)
        database.execute(
            "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, 'starting', 0, ?, '', ?, ?, ?)",
            (run, kind, name, json.dumps(spec), state, total, now, now, *cancel),
        )

    def _run(self, row: tuple[Any, ...]) -> Run:
        run, kind, name, spec, state, stage, done, total, message, started, updated = row
        is_late = time.time() - updated > STARTUP_SECONDS
        if (state == "running" or (state == "starting" and is_late)) and not self._is_held(run):
            state = "interrupted"
        return Run(run, kind, name, json.loads(spec), state, stage, done, total, message, started, updated)

    def _update(self, run: str, **values: str | int | float) -> None:
        values["updated"] = time.time()
        columns = ", ".join(f"{name} = ?" for name in values)
        with self._connect() as database:
            database.execute(f"UPDATE runs SET {columns} WHERE id = ?", (*values.values(), run))

    def _lock(self, run: str) -> FileLock:
        return FileLock(self.folder / "locks" / f"{run}.lock")

    def _is_held(self, run: str) -> bool:
        lock = self._lock(run)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False
        lock.release()
        return False
