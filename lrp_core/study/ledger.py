"""The ledger: every trial and every run in one SQLite file, written as they finish and read live by the pages.

SQLite runs in WAL mode, so that readers never wait for the writer. Weights lie beside it as safetensors.
The processes at work on a run are its holders (`holders.py`): a run that says "running" without a living holder was
killed, whatever the machine has done since. A holder claims what it computes, so that no other one computes it too.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, StorageError, storage_errors
from ..storage import cache_dir
from .holders import hold, is_alive
from .runs import Run, State
from .tickets import Standing, standings
from .turns import Turn

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["STARTUP_SECONDS", "VERSION", "Ledger", "Run", "State"]

VERSION = 4
"""Of the tables below; kept in the file as `user_version`."""

STARTUP_SECONDS = 60
"""A run that was started and that no process has taken up after so long is not going to."""

STOPPED = "cancelled; what was done is kept"

_MIGRATIONS = (
    (
        """CREATE TABLE IF NOT EXISTS runs (
            id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, spec TEXT NOT NULL, state TEXT NOT NULL,
            stage TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER NOT NULL, message TEXT NOT NULL,
            started REAL NOT NULL, updated REAL NOT NULL, cancel INTEGER NOT NULL DEFAULT 0
        ) STRICT""",
        """CREATE TABLE IF NOT EXISTS trials (
            key TEXT PRIMARY KEY, spec TEXT NOT NULL, result TEXT NOT NULL, finished REAL NOT NULL
        ) STRICT""",
    ),
    (
        "ALTER TABLE runs ADD COLUMN stage_done INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN stage_started REAL NOT NULL DEFAULT 0",
        "CREATE TABLE holders (name TEXT PRIMARY KEY, run TEXT NOT NULL) STRICT",
        "CREATE TABLE claims (key TEXT PRIMARY KEY, holder TEXT NOT NULL) STRICT",
    ),
    (
        "ALTER TABLE runs ADD COLUMN provenance TEXT NOT NULL DEFAULT ''",
        """CREATE TABLE adopted (
            run TEXT NOT NULL, key TEXT NOT NULL, spec TEXT NOT NULL, result TEXT NOT NULL, finished REAL NOT NULL,
            PRIMARY KEY (run, key)
        ) STRICT""",
        "CREATE TABLE dismissed (run TEXT PRIMARY KEY) STRICT",
    ),
    ("CREATE TABLE remarks (run TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT",),
)
"""What turns each version of the tables into the next one, from an empty file on."""

_COLUMNS = (
    "id, kind, name, spec, state, stage, done, total, message, started, updated, stage_done, stage_started, provenance"
)


class Ledger:
    """Trials and runs under one folder (default: the cache). Any number of processes may open it.

    A file that an older version wrote is brought up to date. Raises `StorageError` if the file is damaged, was
    written by a newer version, or cannot be written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_dir()
        self.path = self.folder / "ledger.sqlite"
        self._locks = self.folder / "locks"
        with storage_errors("write to the cache folder", self.folder):
            self._locks.mkdir(parents=True, exist_ok=True)
        with self._connect() as database:
            version = _version(database)
            if version > VERSION:
                raise StorageError(
                    f"{self.path} was written by a newer version (tables {version}, this one knows {VERSION}): update, "
                    "or set LRP_CACHE to another folder"
                )
            if version < VERSION:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("BEGIN IMMEDIATE")
                for statements in _MIGRATIONS[_version(database) :]:  # another process may have been faster
                    for statement in statements:
                        database.execute(statement)
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

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A connection that no other process writes beside, for what is read to hold when it is written."""
        with self._connect() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database

    # Trials

    def record_trial(self, key: str, spec: dict[str, Any], result: dict[str, Any]) -> None:
        """Write a finished trial and drop its claim; one that is there already stays as it is."""
        with self._change() as database:
            database.execute(
                "INSERT OR IGNORE INTO trials VALUES (?, ?, ?, ?)",
                (key, json.dumps(spec), json.dumps(result), time.time()),
            )
            database.execute("DELETE FROM claims WHERE key = ?", (key,))

    def recorded(self, keys: Sequence[str]) -> set[str]:
        """Which of these trials are there, measured here: what was adopted counts as done for nothing that runs."""
        return {key for (key,) in self._select("key", keys)}

    def claim(self, key: str, holder: str) -> bool:
        """Whether `holder` (see `running`) is to compute `key`, the key of a trial or of anything else.

        False if the trial is recorded, or another living holder has claimed it; a dead one's claim is taken over.
        """
        with self._change() as database:
            if database.execute("SELECT 1 FROM trials WHERE key = ?", (key,)).fetchone():
                return False
            row = database.execute("SELECT holder FROM claims WHERE key = ?", (key,)).fetchone()
            if row and row[0] != holder and is_alive(self._locks, row[0]):
                return False
            database.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (key, holder))
            return True

    def release(self, key: str, holder: str) -> None:
        """Drop a claim: what was claimed is computed, or left to others."""
        with self._connect() as database:
            database.execute("DELETE FROM claims WHERE key = ? AND holder = ?", (key, holder))

    def trials(self, keys: Sequence[str]) -> pd.DataFrame:
        """Trials as a table, one row for each of `keys` that is there, in that order: its spec and its result.

        What was measured here goes before what was adopted with a study from elsewhere.
        """
        import pandas as pd  # which who waits for a turn can do without

        records = self._select("key, spec, result", keys, "adopted") + self._select("key, spec, result", keys)
        rows = {key: json.loads(spec) | _with_score(json.loads(result)) for key, spec, result in records}
        return pd.DataFrame([{"key": key, **rows[key]} for key in keys if key in rows])

    def rows(self, keys: Sequence[str]) -> tuple[tuple[str, dict[str, Any], dict[str, Any], float], ...]:
        """Trials that were measured here, in the order of `keys`: key, spec, result, and when each finished."""
        rows = {row[0]: row for row in self._select("key, spec, result, finished", keys)}
        return tuple(
            (key, json.loads(rows[key][1]), _with_score(json.loads(rows[key][2])), rows[key][3])
            for key in keys
            if key in rows
        )

    def _select(self, columns: str, keys: Sequence[str], table: str = "trials") -> list[tuple[Any, ...]]:
        with self._connect() as database:
            return database.execute(
                f"SELECT {columns} FROM {table} WHERE key IN (SELECT value FROM json_each(?))",
                (json.dumps(list(keys)),),
            ).fetchall()

    # Runs

    def announce(
        self, run: str, kind: str, name: str, spec: dict[str, Any], total: int, *, take_over: bool = False
    ) -> bool:
        """Enter a run that a process is about to be started for; False if one is active already.

        Raises `StorageError` if a study that was measured elsewhere has its place, unless it is to `take_over`.
        """
        with self._change() as database:
            runs = self._runs(database, "id = ?", run)
            if runs and runs[0].is_active:
                return False
            if runs and runs[0].is_read_only and not take_over:
                raise StorageError(
                    f"{runs[0].name!r} was measured elsewhere and is only read here: repeat it with other seeds, or "
                    "delete it first"
                )
            _enter(database, run, kind, name, spec, "starting", total)
            return True

    @contextmanager
    def running(
        self, run: str, kind: str, name: str, spec: dict[str, Any], total: int, *, share: bool = False
    ) -> Iterator[str | None]:
        """Be a holder of a run while inside; gives the holder's name, for `claim`.

        If another process holds the run, it is shared if both can (`share`); else this gives None and does nothing. The
        run takes the place of one that was measured elsewhere, whose trials go.
        The run ends as "done" with the first holder that comes to the end, as "cancelled" (on request, or on Ctrl-C
        in the last holder) or "failed" with the last holder's error.
        """
        with hold(self._locks) as holder:
            if not self._join(holder, run, kind, name, spec, total, share):
                yield None
                return
            try:
                yield holder
            except (KeyboardInterrupt, GeneratorExit, Cancelled):
                self._leave(holder, run, "cancelled", STOPPED)
                raise
            except BaseException as error:
                self._leave(holder, run, "failed", str(error) or type(error).__name__)
                raise
            else:
                self._leave(holder, run, "done")

    def report(self, run: str, stage: str, done: int) -> None:
        """Say how far the run is. Raises `Cancelled` if that was asked for."""
        now = time.time()
        with self._connect() as database:
            database.execute(
                "UPDATE runs SET stage_done = ?, stage_started = ? WHERE id = ? AND state = 'running' AND stage != ?",
                (done, now, run, stage),
            )
            database.execute(
                "UPDATE runs SET stage = ?, done = ?, updated = ? WHERE id = ? AND state = 'running'",
                (stage, done, now, run),
            )
        self.check_cancelled(run)

    def note(self, run: str, message: str) -> None:
        """Leave a message about a run that goes on."""
        self._update(run, message=message)

    def check_cancelled(self, run: str) -> None:
        """Raise `Cancelled` if the run was asked to stop."""
        with self._connect() as database:
            row = database.execute("SELECT cancel FROM runs WHERE id = ?", (run,)).fetchone()
        if row and row[0]:
            raise Cancelled(STOPPED)

    def is_cancelled(self, run: str) -> bool:
        """Whether a run was asked to stop that is not over yet."""
        with self._connect() as database:
            asked = "SELECT 1 FROM runs WHERE id = ? AND cancel AND state IN ('starting', 'running')"
            return database.execute(asked, (run,)).fetchone() is not None

    def fail(self, run: str, message: str) -> None:
        """Say why a run that was announced never began."""
        self._update(run, state="failed", message=message)

    def end_cancelled(self, run: str) -> None:
        """Say that a run was stopped before it began, or by a process that could not wait for its work to stop."""
        with self._change() as database:
            runs = self._runs(database, "id = ?", run)
            if runs and runs[0].state not in ("done", "failed", "cancelled"):
                sql = "UPDATE runs SET state = 'cancelled', message = ?, updated = ? WHERE id = ?"
                database.execute(sql, (STOPPED, time.time(), run))

    def turn(self, run: str, kind: str, since: float | None = None) -> Turn:
        """A place in the line of all work on this folder, for a run that was started at `since` (None: now)."""
        return Turn(self._locks, run, kind, since)

    def queue(self) -> list[Standing]:
        """Everything that is at work on this machine or waits for its turn, in the order of the line."""
        return standings(self._locks)

    def request_cancel(self, run: str) -> None:
        """Ask all who work on a run to stop; they do within seconds. What was measured elsewhere stays as it is."""
        with self._connect() as database:
            database.execute("UPDATE runs SET cancel = 1 WHERE id = ? AND provenance = ''", (run,))

    def runs(self, kind: str = "study") -> list[Run]:
        """The latest run of every piece of work of a kind, newest first."""
        with self._connect() as database:
            return self._runs(database, "kind = ? ORDER BY started DESC, id", kind)

    def run(self, run: str) -> Run | None:
        """One run, or None if there was none."""
        with self._connect() as database:
            runs = self._runs(database, "id = ?", run)
        return runs[0] if runs else None

    def rename(self, run: str, name: str, remark: str | None = None) -> None:
        """Call a run something else, and keep what a person remarks about it. Raises `StorageError` for no name."""
        if not name.strip():
            raise StorageError("a study needs a name: at least one letter")
        with self._connect() as database:
            database.execute("UPDATE runs SET name = ? WHERE id = ?", (name.strip()[:200], run))
            if remark is not None:
                database.execute("INSERT OR REPLACE INTO remarks VALUES (?, ?)", (run, remark[:10_000]))

    def forget(self, run: str) -> None:
        """Take a run out of the list; its trials stay, unless it was measured elsewhere, and it is not adopted again.

        Raises `StorageError` if it is active.
        """
        with self._change() as database:
            runs = self._runs(database, "id = ?", run)
            if runs and runs[0].is_active:
                raise StorageError(f"{runs[0].name!r} is running: cancel it before you delete it")
            database.execute("DELETE FROM runs WHERE id = ?", (run,))
            database.execute("DELETE FROM remarks WHERE run = ?", (run,))
            database.execute("DELETE FROM adopted WHERE run = ?", (run,))
            database.execute("INSERT OR IGNORE INTO dismissed VALUES (?)", (run,))

    def adopt(self, run: Run, trials: Iterable[tuple[str, dict[str, Any], dict[str, Any], float]]) -> bool:
        """Enter a finished run that was measured elsewhere, with its trials (key, spec, result, when it finished).

        False, and nothing changes, if a run from here has its place, or a person has deleted it.
        """
        rows = [(run.id, key, json.dumps(spec), json.dumps(result), at) for key, spec, result, at in trials]
        values = [getattr(run, name) for name in _COLUMNS.split(", ")]
        values = [json.dumps(value) if isinstance(value, dict) else value for value in values]
        with self._change() as database:
            there = self._runs(database, "id = ?", run.id)
            gone = database.execute("SELECT 1 FROM dismissed WHERE run = ?", (run.id,)).fetchone()
            if gone or (there and not there[0].is_read_only):
                return False
            database.execute("DELETE FROM adopted WHERE run = ?", (run.id,))
            marks = ", ".join("?" for _ in values)
            database.execute(f"INSERT OR REPLACE INTO runs ({_COLUMNS}) VALUES ({marks})", values)
            database.executemany("INSERT INTO adopted VALUES (?, ?, ?, ?, ?)", rows)
            return True

    def _runs(self, database: sqlite3.Connection, where: str, value: str) -> list[Run]:
        remarks = dict(database.execute("SELECT run, text FROM remarks").fetchall())
        runs = []
        for row in database.execute(f"SELECT {_COLUMNS} FROM runs WHERE {where}", (value,)).fetchall():
            values = dict(zip(_COLUMNS.split(", "), row, strict=True))
            dictionaries = {name: json.loads(values[name] or "{}") for name in ("spec", "provenance")}
            runs.append(Run(**values | dictionaries, remark=remarks.get(values["id"], "")))
        line = {one.run: one for one in self.queue()} if any(run.is_active for run in runs) else {}
        return [self._as_it_stands(database, run, line.get(run.id)) if run.is_active else run for run in runs]

    def _as_it_stands(self, database: sqlite3.Connection, run: Run, standing: Standing | None) -> Run:
        """An active run with its place in line, or as interrupted where nobody is at it."""
        if standing is not None and standing.is_waiting:
            return replace(run, state="running", stage=standing.sentence(), before=len(standing.before))
        if standing is not None:
            return replace(run, state="running")
        is_late = run.state == "running" or time.time() - run.updated > STARTUP_SECONDS
        return replace(run, state="interrupted") if is_late and not self._is_held(database, run.id) else run

    def _is_held(self, database: sqlite3.Connection, run: str) -> bool:
        names = database.execute("SELECT name FROM holders WHERE run = ?", (run,)).fetchall()
        return any(is_alive(self._locks, name) for (name,) in names)

    def _join(self, holder: str, run: str, kind: str, name: str, spec: dict[str, Any], total: int, share: bool) -> bool:
        with self._change() as database:
            is_held = self._is_held(database, run)
            if is_held and not share:
                return False
            if not is_held:  # whoever is left there is dead
                database.execute("DELETE FROM claims WHERE holder IN (SELECT name FROM holders WHERE run = ?)", (run,))
                database.execute("DELETE FROM holders WHERE run = ?", (run,))
            database.execute("INSERT INTO holders VALUES (?, ?)", (holder, run))
            row = database.execute("SELECT state FROM runs WHERE id = ?", (run,)).fetchone()
            if not (is_held and row and row[0] == "running"):
                _enter(database, run, kind, name, spec, "running", total)
            return True

    def _leave(self, holder: str, run: str, state: State, message: str | None = None) -> None:
        """End the run, unless it was stopped only here and others go on with it."""
        with self._change() as database:
            database.execute("DELETE FROM claims WHERE holder = ?", (holder,))
            database.execute("DELETE FROM holders WHERE name = ?", (holder,))
            row = database.execute("SELECT state, cancel FROM runs WHERE id = ?", (run,)).fetchone()
            if not row or row[0] != "running":
                return
            if state == "done" or (state == "cancelled" and row[1]) or not self._is_held(database, run):
                database.execute(
                    "UPDATE runs SET state = ?, updated = ?, stage = CASE ? WHEN 'done' THEN 'done' ELSE stage END, "
                    "message = coalesce(?, message) WHERE id = ?",
                    (state, time.time(), state, message, run),
                )

    def _update(self, run: str, **values: str | int | float) -> None:
        values["updated"] = time.time()
        columns = ", ".join(f"{name} = ?" for name in values)
        with self._connect() as database:
            database.execute(f"UPDATE runs SET {columns} WHERE id = ?", (*values.values(), run))


def _with_score(result: dict[str, Any]) -> dict[str, Any]:
    """A result as it is called today: older versions knew no score but accuracy."""
    return {name.replace("_accuracy", "_score"): value for name, value in result.items()}


def _version(database: sqlite3.Connection) -> int:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    return version


def _enter(
    database: sqlite3.Connection, run: str, kind: str, name: str, spec: dict[str, Any], state: str, total: int
) -> None:
    now = time.time()
    # A process that takes up what was announced finds whether that was cancelled meanwhile.
    asked = "SELECT cancel FROM runs WHERE id = ? AND state = 'starting' AND ? = 'running'"
    (cancel,) = database.execute(asked, (run, state)).fetchone() or (0,)
    database.execute("DELETE FROM adopted WHERE run = ?", (run,))
    database.execute(
        "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, 'starting', 0, ?, '', ?, ?, ?, 0, ?, '')",
        (run, kind, name, json.dumps(spec), state, total, now, now, cancel, now),
    )
