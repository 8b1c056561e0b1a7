"""Processes of this machine, each with a place in the line of the cache folder (`turns.py`)."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from operator import length_hint
from typing import Any, Generic, TypeVar

from torch import nn

from ...errors import LrpError
from ...lrp import register
from ...lrp.reading import own_layers
from ...registry import add_entries, own_entries
from ..turns import Turn, inside
from .worker import Gone, Worker

POLL_SECONDS = 0.5
"""How long a caller waits at most before it can look around."""

IDLE_SECONDS = 2.0
"""For so long a process without work keeps its place from others: between stages it soon has work again."""

LOSSES = 3
"""So many times in a row may a worker process die before any result came; then it is not by chance."""

T = TypeVar("T")
Item = tuple[str, T]
Steps = Generator[T | None, None, None]


class Pool:
    """Up to `jobs` processes of one thread each; one job is this process itself.

    Each has a place of `turn`; without one, nobody is asked.
    """

    def __init__(self, jobs: int, turn: Turn | None = None) -> None:
        self.jobs, self.turn = jobs, turn
        self._workers: list[Worker] = []
        self._answers: queue.SimpleQueue[tuple[Worker, Any, BaseException | None]] = queue.SimpleQueue()
        self._worked = time.monotonic()

    def run(self, function: Callable[[T], Any], items: Iterable[Item[T]]) -> Steps[tuple[Item[T], Any]]:
        """(item, function(value)) for every item (key, value), as they finish; None now and then while waiting.

        Items are taken as processes and places get free. What a killed process was at is done again by a new one.
        Closing the iterator kills what is in flight, unless it runs in this process. Raises what a call raises, and
        `LrpError` if processes die again and again.
        """
        return self._here(function, items) if self.jobs == 1 else self._elsewhere(function, items)

    def prepare(self, function: Callable[[T], Any], items: Iterable[Item[T]]) -> Steps[tuple[Item[T], Any]]:
        """The same for a function of which only the stages that it caches (`caching`) are wanted, by all processes."""
        return self.run(function, items)

    def rest(self) -> None:
        """Let others have the places while there is nothing to do here."""
        self._want(0)
        self._give_back(set(self._workers))

    def close(self) -> None:
        """Kill the processes, and give their places back."""
        while self._workers:
            self._workers.pop().kill()
        if self.turn is not None:
            self.turn.end()

    def _here(self, function: Callable[[T], Any], items: Iterable[Item[T]]) -> Steps[tuple[Item[T], Any]]:
        source = iter(items)
        while True:
            if self.turn is not None:
                self.turn.want(1)
                if self.turn.must_give():
                    self.turn.give()
                while not (self.turn.holds or self.turn.take()):
                    if length_hint(items, 1) == 0:  # others have done it meanwhile
                        return
                    time.sleep(POLL_SECONDS)
                    yield None
            item = next(source, None)
            if item is None:
                return
            with inside():
                value = function(item[1])
            self._worked = time.monotonic()
            yield item, value

    def _elsewhere(self, function: Callable[[T], Any], items: Iterable[Item[T]]) -> Steps[tuple[Item[T], Any]]:
        function = with_own(function)
        flight = _Flight(items, self.jobs)
        try:
            while True:
                self._want(flight.useful)
                self._give_back(set(self._workers) - set(flight.busy))
                self._dispatch(function, flight)
                if not flight.busy and flight.is_empty:
                    return
                try:
                    worker, result, error = self._answers.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    yield None
                    continue
                if isinstance(error, Gone):
                    self._died(worker, flight)
                elif worker in flight.busy:  # not one that was killed meanwhile
                    item = flight.busy.pop(worker)
                    self._worked = time.monotonic()
                    if error is not None:
                        raise error
                    flight.losses = 0
                    yield item, result
        finally:
            for worker in flight.busy:
                self._workers.remove(worker)
                worker.kill()
                self._give()

    def _dispatch(self, function: Callable[[Any], Any], flight: _Flight[Any]) -> None:
        """Give work to processes without any, and start more as far as there are places and work."""
        idle = [worker for worker in self._workers if worker not in flight.busy]
        while not flight.is_empty and (idle or len(self._workers) < self.jobs):
            if not idle:
                if self.turn is not None and self.turn.holds <= len(self._workers) and not self.turn.take():
                    return
                idle.append(Worker(self._answers))
                self._workers += idle
            item = flight.next()
            if item is not None:
                worker = idle.pop()
                flight.busy[worker] = item
                worker.send(function, item[1])

    def _died(self, worker: Worker, flight: _Flight[Any]) -> None:
        """Have what a process was at that died done again."""
        worker.kill()
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        self._give()
        if worker in flight.busy:
            flight.again.append(flight.busy.pop(worker))
            flight.losses += 1
        if flight.losses == LOSSES:
            raise LrpError(
                f"worker processes were killed {LOSSES} times in a row, perhaps because memory ran out: "
                f"go on with fewer jobs than {self.jobs}"
            )

    def _want(self, n: int) -> None:
        if self.turn is not None and (n > self.turn.holds or time.monotonic() - self._worked > IDLE_SECONDS):
            self.turn.want(n)

    def _give_back(self, idle: set[Worker]) -> None:
        """Give places back that are others' by now, and with each a process that has no work."""
        while self.turn is not None and self.turn.must_give():
            if idle:
                worker = idle.pop()
                self._workers.remove(worker)
                worker.kill()
            elif self.turn.holds <= len(self._workers):
                return
            self.turn.give()

    def _give(self) -> None:
        if self.turn is not None:
            self.turn.give()


class _Flight(Generic[T]):
    """What one `run` is at: the item of each process that is busy, and what is still to come."""

    def __init__(self, items: Iterable[Item[T]], jobs: int) -> None:
        self._items, self._jobs = items, jobs
        self._source: Iterator[Item[T]] = iter(items)
        self.busy: dict[Worker, Item[T]] = {}
        self.again: list[Item[T]] = []
        self.losses = 0
        self._is_exhausted = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is still to come."""
        return not self.again and (self._is_exhausted or length_hint(self._items, self._jobs) == 0)

    @property
    def useful(self) -> int:
        """How many processes could be at work, as far as that is known."""
        more = 0 if self.is_empty else length_hint(self._items, self._jobs)
        return min(self._jobs, max(more, len(self.busy) + len(self.again)))

    def next(self) -> Item[T] | None:
        """The next item; None if there is none for now."""
        if self.again:
            return self.again.pop()
        item = next(self._source, None)
        self._is_exhausted = item is None
        return item


def with_own(function: Callable[[T], Any]) -> Callable[[T], Any]:
    """The function with what was added to registries in this process, for another one to call."""
    own, layers = own_entries(), own_layers()
    return _With(own, layers, function) if own or layers else function


class _With(Generic[T]):
    """A function, and what it needs in the registries of another process."""

    def __init__(
        self, own: dict[str, dict[str, object]], layers: dict[type[nn.Module], Any], function: Callable[[T], Any]
    ) -> None:
        self.own, self.layers, self.function = own, layers, function

    def __call__(self, value: T) -> Any:
        add_entries(self.own)
        for layer, convert in self.layers.items():
            register(layer, convert)
        return self.function(value)
