"""Whose turn it is: one line for all work on a cache folder, whichever process started it.

Work takes its turn in the order in which it was started, exports before the rest: the first has every place that it
can use, the next ones have what it leaves. Whoever has had `TURN_SECONDS` while others wait goes to the end of the
line, when what it is at is finished. A place is one process that trains.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import storage_errors
from .holders import hold
from .tickets import Ticket, order_of, places, read_line, shares

TURN_SECONDS = 300.0
"""How long work goes on while other work waits for its first place."""

POLL_SECONDS = 0.5
"""How often whoever is next in line looks."""

LOOK_SECONDS = 0.2
"""How often at most whoever is at work looks whether others wait."""

BEAT_SECONDS = 2.0
"""How often a ticket is renewed; `STALE_SECONDS` is many times that."""

MUTEX_SECONDS = 2.0

INSIDE = "LRP_PLACE"
"""Set in a process that has a place: work that it starts itself takes no other one."""

_inside: ContextVar[bool] = ContextVar("inside", default=False)


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
        return sorted([*others, self._ticket], key=order_of)

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
