"""The line of all work on a cache folder, as it is read: who stands where, and how many places each may have.

A piece of work stands in line by a ticket, a small file that says how many places it holds and could use; who gets
which place follows from the tickets alone. Its process holds a lock beside it (`holders.py`), so a ticket counts for
nothing from the moment its process is gone, and renews it, so that a process which was stopped holds up nobody.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .holders import is_alive

STALE_SECONDS = 20.0
"""A ticket that was not renewed for so long counts for nothing: its process was stopped."""

WORKERS = "LRP_WORKERS"


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
    return sorted(tickets, key=order_of)


def order_of(ticket: Ticket) -> tuple[bool, float, str]:
    """What tickets are sorted by: exports first, then by when they came."""
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
