"""Processes of this machine, through joblib; what is common to all backends."""

from __future__ import annotations

import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, Generic, TypeVar

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from torch import nn

from ...errors import LrpError
from ...lrp import register
from ...lrp.reading import own_layers
from ...registry import add_entries, load_plugins, own_entries

POLL_SECONDS = 0.5
"""How long a caller waits at most before it can look around."""

LOSSES = 3
"""So many times in a row may a worker process die before any result came; then it is not by chance."""

STOP_SECONDS = 10

T = TypeVar("T")
Item = tuple[str, T]
Steps = Generator[T | None, None, None]


class Pool:
    """`jobs` processes of one thread each; one job is this process itself."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def run(self, function: Callable[[T], Any], items: Iterable[Item[T]]) -> Steps[tuple[Item[T], Any]]:
        """(item, function(value)) for every item (key, value), as they finish; None now and then while waiting.

        Items are taken as processes get free. What a killed process was at is done again by a new one. Closing the
        iterator stops what is in flight, unless it runs in this process. Raises what a call raises, and `LrpError`
        if processes die again and again.
        """
        if self.jobs == 1:
            for item in items:
                yield item, function(item[1])
            return
        own, layers = own_entries(), own_layers()
        if own or layers:
            function = _With(own, layers, function)
        source = iter(items)
        in_flight: dict[int, Item[T]] = {}
        numbers = itertools.count()
        losses = 0
        while True:
            stopped = threading.Event()
            calls = self._calls(function, source, in_flight, numbers, stopped)
            try:
                with closing(self._results(calls, stopped)) as results:
                    for finished in results:
                        if finished is None:
                            yield None
                        else:
                            number, value = finished
                            losses = 0
                            yield in_flight.pop(number), value
                return
            except TerminatedWorkerError as error:
                losses += 1
                if losses == LOSSES:
                    raise LrpError(
                        f"worker processes were killed {LOSSES} times in a row, perhaps because memory ran out: "
                        f"go on with fewer jobs than {self.jobs}"
                    ) from error

    def prepare(self, function: Callable[[T], Any], items: Iterable[Item[T]]) -> Steps[tuple[Item[T], Any]]:
        """The same for a function of which only the stages that it caches (`caching`) are wanted, by all processes."""
        return self.run(function, items)

    def _calls(
        self,
        function: Callable[[T], Any],
        source: Iterator[Item[T]],
        in_flight: dict[int, Item[T]],
        numbers: Iterator[int],
        stopped: threading.Event,
    ) -> Iterator[Any]:
        """What is in flight without a process first, then the source; joblib asks for the next when one is free."""
        for number, (_, value) in list(in_flight.items()):
            yield delayed(_numbered)(number, function, value)
        while not stopped.is_set():
            item = next(source, None)
            if item is None:
                return
            number = next(numbers)
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
                # What joblib does when its own iterator is closed. Processes may be killed at any time, since
                # everything is written whole or not at all; Dask drops what waits, and the results of the rest.
                parallel._abort()
            thread.join(STOP_SECONDS)

    def _parallel(self) -> Parallel:
        return Parallel(
            self.jobs,
            backend="loky",
            return_as="generator_unordered",
            pre_dispatch="n_jobs",
            batch_size=1,
            inner_max_num_threads=1,
            initializer=_follow,
            initargs=(os.getpid(),),
        )

    def _check(self) -> None:
        """Raise if there is nothing to wait for any more; joblib itself notices when a process of this machine dies."""


def _follow(coordinator: int) -> None:
    """Have this process end with its coordinator, also if that is killed: loky's would wait for work forever."""

    def watch() -> None:
        while os.getppid() == coordinator:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    load_plugins()


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


def _numbered(number: int, function: Callable[[T], Any], value: T) -> tuple[int, Any]:
    return number, function(value)
