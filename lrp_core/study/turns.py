"""Whose turn it is: one line for all work on a cache folder, whichever process started it.

Work takes its turn in the order in which it was started, exports before the rest: the first has every place that it
can use, the next ones have what it leaves. Whoever has had `TURN_SECONDS` while others wait goes to the end of the
line, when what it is at is finished. A place is one process that trains.

A piece of work stands in line by a ticket, a small file that says how many places it holds and could use; who gets
which place follows from the tickets alone. Its process holds a lock beside it (`holders.py`), so a ticket counts for
nothing from the moment its process is gone, and renews it, so that a process which was stopped holds up nobody.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import InputError, storage_errors
from .holders import hold, is_alive

TURN_SECONDS = 300.0
"""How long work goes on while other work waits for its first place."""

POLL_SECONDS = 0.5
"""How often whoever is next in line looks."""

LOOK_SECONDS = 0.2
"""How often at most whoever is at work looks whether others wait."""

BEAT_SECONDS = 2.0
STALE_SECONDS = 20.0
"""A ticket is renewed so often, and counts for nothing if it was not for so long: its process was stopped."""

MUTEX_SECONDS = 2.0

WORKERS = "LRP_WORKERS"
INSIDE = "LRP_PLACE"
"""Set in a process that has a place: work that it starts itself takes no other one."""

_inside: ContextVar[bool] = ContextVar("inside", default=False)


def places() -> int:
    """How many processes may train at once: `LRP_WORKERS`, or else one for each core. Raises `InputError`."""
    given = os.environ.get(WORKERS, "").strip()
    if not given:
        return os.cpu_count() or 1
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"{WORKERS} is the number of processes that may train at once, 1 or more, and not {given!r}")
    return int(given)


@dataclass(frozen=True)
class Ticket:
    """Where a piece of work stands: it `holds` places and could use `wants`, in line `since`, at work since `began`."""

    name: str
    run: str
    kind: str
    since: float
    wants: int = 0
    holds: int = 0
    began: float = 0.0

    @property
    def is_waiting(self) -> bool:
        return self.wants > 0 and self.holds == 0


@dataclass(frozen=True)
class Standing:
    """Where a run stands: `places` processes work on it, or it is waiting for work of the kinds `before` it."""

    run: str
    kind: str
    places: int
    is_waiting: bool = False
    before: tuple[str, ...] = ()

    def sentence(self) -> str:
        """What a person reads of a run that waits.

        >>> Standing("r", "study", 0, True, ("study", "export", "study")).sentence()
        'waiting: 2 studies and 1 export before this one'
        >>> Standing("r", "export", 0, True).sentence()
        'waiting: next, when a network in training is finished'
        """
        if not self.before:
            return "waiting: next, when a network in training is finished"
        names = {"study": ("study", "studies"), "budgets": ("path to budgets", "paths to budgets")}
        counts = {kind: self.before.count(kind) for kind in dict.fromkeys(self.before)}
        parts = [f"{n} {names.get(kind, (kind, kind + 's'))[n != 1]}" for kind, n in counts.items()]
        return f"waiting: {' and '.join(parts)} before this one"


def read_line(folder: Path) -> list[Ticket]:
    """The tickets of all who are alive and at it, in the order of the line."""
    tickets = []
    for path in folder.glob("*.ticket"):
        try:
            is_stale = time.time() - path.stat().st_mtime > STALE_SECONDS
            ticket = Ticket(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            continue  # it was just taken away, or is of another version
        if not is_alive(folder, ticket.name):
            path.unlink(missing_ok=True)
        elif not is_stale:
            tickets.append(ticket)
    return sorted(tickets, key=_order)


def _order(ticket: Ticket) -> tuple[bool, float, str]:
    return ticket.kind != "export", ticket.since, ticket.name


def shares(line: Sequence[Ticket], n_places: int) -> dict[str, int]:
    """How many places each ticket may hold, by its name.

    >>> line = [Ticket(name, name, "study", 0.0, wants) for name, wants in (("a", 3), ("b", 4), ("c", 1))]
    >>> shares(line, 5)
    {'a': 3, 'b': 2, 'c': 0}
    """
    found = {}
    for ticket in line:
        found[ticket.name] = min(ticket.wants, n_places)
        n_places -= found[ticket.name]
    return found


def standings(folder: Path) -> list[Standing]:
    """Where each run stands that is at work here or waits, in the order of the line."""
    line = [ticket for ticket in read_line(folder) if ticket.wants or ticket.holds]
    kinds: dict[str, str] = {}
    found = []
    for ticket in line:
        if ticket.run in kinds:
            continue
        own = [other for other in line if other.run == ticket.run]
        held = sum(other.holds for other in own)
        waits = held == 0 and any(other.is_waiting for other in own)
        found.append(Standing(ticket.run, ticket.kind, held, waits, tuple(kinds.values()) if waits else ()))
        kinds[ticket.run] = ticket.kind
    return found


def is_inside() -> bool:
    """Whether this is part of work that has a place already."""
    return _inside.get() or INSIDE in os.environ


@contextmanager
def inside() -> Iterator[None]:
    """Mark what this thread does inside as part of work that has a place."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


class Turn:
    """A piece of work's place in line, for as long as the context is open. Its methods raise `StorageError`.

    Work that is part of other work (`is_inside`) does not stand in line: the place of that one is its own.
    """

    def __init__(self, folder: Path, run: str, kind: str, since: float | None = None) -> None:
        self._folder, self._nested = folder, is_inside()
        self._ticket = Ticket("", run, kind, time.time() if since is None else since)
        self._holder, self._guard, self._over = ExitStack(), threading.RLock(), threading.Event()
        self._looked = 0.0

    def __enter__(self) -> Turn:
        if not self._nested:
            self._enter()
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._guard:
            self._path.unlink(missing_ok=True)
            self._holder.close()

    @property
    def holds(self) -> int:
        """How many places it has."""
        return self._ticket.holds

    @property
    def is_nested(self) -> bool:
        return self._nested

    def want(self, n: int) -> None:
        """Say how many processes could work on it now."""
        if n != self._ticket.wants:
            self._change(wants=n)

    def take(self) -> bool:
        """Take one more place; False while it is another one's."""
        if self._nested:
            is_free = not self.holds
            self._change(holds=1)
            return is_free
        with _alone(self._folder):
            line, n = self._line(), places()
            if shares(line, n)[self._ticket.name] <= self.holds or sum(one.holds for one in line) >= n:
                return False
            began = self._ticket.began if self.holds else time.time()
            self._change(holds=self.holds + 1, began=began)
        return True

    def must_give(self) -> bool:
        """Whether a place has to be given back, once what is at work there is finished."""
        now = time.monotonic()
        if self._nested or not self.holds or now - self._looked < LOOK_SECONDS:
            return False
        line, n = self._line(), places()
        mine = shares(line, n)
        others = [one for one in line if one.name != self._ticket.name]
        if time.time() - self._ticket.began > TURN_SECONDS and any(
            one.is_waiting and mine[one.name] == 0 for one in others
        ):
            self._change(since=time.time(), began=time.time())
            mine = shares(self._line(), n)
        is_wanted = any(mine[one.name] > one.holds for one in others)
        if self.holds > mine[self._ticket.name] and (is_wanted or sum(one.holds for one in line) > n):
            return True
        self._looked = now
        return False

    def give(self) -> None:
        """Give one place back."""
        self._change(holds=max(0, self.holds - 1))

    def wait(self, check: Callable[[], None], *, until_next: bool = False) -> None:
        """Return when the first place is there; `until_next`: or when no more than one piece of work comes before.

        `check` is called now and then, and may raise.
        """
        while not (self.holds or self.take()):
            line = self._line()
            before = len({one.run for one in line[: [one.name for one in line].index(self._ticket.name)]})
            if until_next and before <= 1:
                return
            looked = time.monotonic()
            # Far back, little changes: thirty who wait and look all the time would keep a core busy.
            while time.monotonic() - looked < min(before, 6) * POLL_SECONDS:
                check()
                time.sleep(POLL_SECONDS)

    def end(self) -> None:
        """Give every place back, and want none."""
        self._change(holds=0, wants=0)

    def go_on(self, check: Callable[[], None]) -> None:
        """Let others have the place if it is theirs by now, and wait for the next one."""
        if self.must_give():
            self.give()
        if not self.holds:
            self.wait(check)

    # The ticket

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._ticket.name}.ticket"

    def _enter(self) -> None:
        with storage_errors("write to the cache folder", self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._ticket = replace(self._ticket, name=self._holder.enter_context(hold(self._folder)))
        self._write()

    def _line(self) -> list[Ticket]:
        """The line with this ticket as it is, whatever has happened to its file."""
        others = [ticket for ticket in read_line(self._folder) if ticket.name != self._ticket.name]
        return sorted([*others, self._ticket], key=_order)

    def _change(self, **values: float) -> None:
        with self._guard:
            self._ticket = replace(self._ticket, **values)  # type: ignore[arg-type]
            if not self._nested:
                self._write()

    def _write(self) -> None:
        with storage_errors("write to the cache folder", self._folder):
            scratch = self._path.with_suffix(".new")
            scratch.write_text(json.dumps(asdict(self._ticket)))
            scratch.replace(self._path)

    def _beat(self) -> None:
        """Renew the ticket, and make it again if somebody deleted it or its lock."""
        while not self._over.wait(BEAT_SECONDS):
            with self._guard, suppress(OSError):
                if self._over.is_set():
                    return
                if self._path.exists() and self._path.with_suffix(".lock").exists():
                    os.utime(self._path)
                else:
                    self._path.unlink(missing_ok=True)
                    self._holder.close()
                    self._enter()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only one inside, as far as it goes: a process that was stopped there holds up the others only so long.

    Two who take a place at once have one too many between them: `must_give` mends that.
    """
    lock = FileLock(folder / "line.lock")
    try:
        with storage_errors("write to the cache folder", folder), suppress(Timeout):
            lock.acquire(timeout=MUTEX_SECONDS, poll_interval=0.01)
        yield
    finally:
        lock.release()
