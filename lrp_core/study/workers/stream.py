"""Calls that run through `joblib.Parallel`, with results that can be waited for a little at a time."""

from __future__ import annotations

import itertools
import queue
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

from joblib import Parallel, delayed

from .pool import POLL_SECONDS, Item, Pool, Steps, T, with_own

STOP_SECONDS = 2
"""How long leaving waits for what cannot be interrupted."""


class Stream(Pool):
    """A pool whose calls go to another backend of joblib, which has a queue of its own."""

    def run(self, function: Callable[[T], Any], items: Iterable[Item[T]]) -> Steps[tuple[Item[T], Any]]:
        function = with_own(function)
        in_flight: dict[int, Item[T]] = {}
        stopped = threading.Event()
        calls = self._calls(function, iter(items), in_flight, stopped)
        with closing(self._results(calls, stopped)) as results:
            for finished in results:
                if finished is None:
                    yield None
                else:
                    number, value = finished
                    yield in_flight.pop(number), value

    def _calls(
        self,
        function: Callable[[T], Any],
        source: Iterator[Item[T]],
        in_flight: dict[int, Item[T]],
        stopped: threading.Event,
    ) -> Iterator[Any]:
        """joblib asks for the next when a worker is free."""
        for number in itertools.count():
            item = None if stopped.is_set() else next(source, None)
            if item is None:
                return
            in_flight[number] = item
            yield delayed(_numbered)(number, function, item[1])

    def _results(self, calls: Iterator[Any], stopped: threading.Event) -> Steps[tuple[int, Any]]:
        """joblib's results, received by a thread, since its own iterator cannot be left while it waits."""
        results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        parallel = self._parallel()
        started = threading.Event()

        def receive() -> None:
            try:
                steps = parallel(calls)
                started.set()
                for result in steps:
                    results.put((result, None))
                results.put((None, None))
            except BaseException as error:
                results.put((None, error))

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        is_over = False
        try:
            while True:
                try:
                    result, error = results.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    self._check()
                    yield None
                    continue
                is_over = result is None
                if error is not None:
                    raise error
                if is_over:
                    return
                yield result
        finally:
            stopped.set()
            if not is_over and started.wait(STOP_SECONDS):
                # What joblib does when its own iterator is closed: what waits is dropped, and the rest's results.
                parallel._abort()
            thread.join(STOP_SECONDS)

    @abstractmethod
    def _parallel(self) -> Parallel:
        """What runs the calls."""

    @abstractmethod
    def _check(self) -> None:
        """Raise if there is nothing to wait for any more."""


def _numbered(number: int, function: Callable[[T], Any], value: T) -> tuple[int, Any]:
    return number, function(value)
