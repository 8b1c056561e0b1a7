"""The workers of a Dask scheduler, through joblib: they share neither the disk nor the memory of this machine.

Data and the results of stages go to each worker once, as a plugin of it: the scheduler hands it to workers that join
later, too.
"""

from __future__ import annotations

import logging
import platform
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np
import torch
from distributed import Client, Worker, WorkerPlugin
from distributed.comm.core import CommClosedError
from joblib import Parallel
from joblib._dask import DaskDistributedBackend

from ...data import Dataset, provide, withdraw
from ...errors import LrpError, StorageError
from ...version import __version__
from ..cache import NotStored, Result, collecting, keep, only_stored
from ..trials import STAGE_VERSION
from .pool import Item, Steps
from .stream import Stream

ANSWER_SECONDS = 10
"""How long a scheduler may take to answer, and its first worker to appear."""

IDLE_SECONDS = 60
"""How long a study waits for new workers after the last one is gone."""

log = logging.getLogger(__name__)

T = TypeVar("T")

_sent: dict[str, str | None] = {}
"""What was sent to this process, if it is a worker that fits: its name, and the digest of the data set in it."""


def versions() -> dict[str, str]:
    """What has to be the same wherever the trials of a study run."""
    return {
        "lrp_core": __version__,
        "stages": str(STAGE_VERSION),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": version("scikit-learn"),  # which draws samples and splits
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }


def open_cluster(scheduler: str, data: Dataset) -> Cluster:
    """The workers of a scheduler, with the data sent to them.

    Raises `StorageError` if the scheduler does not answer or has no workers, `LrpError` if the workers are not fit.
    """
    try:
        client = Client(scheduler, timeout=ANSWER_SECONDS, set_as_default=False, name="lrp_core")
    except (OSError, ValueError) as error:
        raise StorageError(
            f"the scheduler {scheduler} does not answer: check the address, start it with 'dask scheduler', or fall "
            "back to this machine"
        ) from error
    try:
        try:
            client.wait_for_workers(1, timeout=ANSWER_SECONDS)
        except TimeoutError as error:
            raise StorageError(
                f"the scheduler {scheduler} has no workers: start some with 'dask worker {scheduler} --nthreads 1', or "
                "fall back to this machine"
            ) from error
        _check_workers(client)
        return Cluster(client, scheduler, data)
    except BaseException:
        client.close()
        raise


class Cluster(Stream):
    """The workers that a client's scheduler has, as long as the context is open; their number may change."""

    def __init__(self, client: Client, scheduler: str, data: Dataset) -> None:
        super().__init__(jobs=-1)
        self.client, self.scheduler = client, scheduler
        self.token = uuid.uuid4().hex[:12]
        self._names: list[str] = []
        self._had_workers = time.monotonic()
        # Without what a data set and its splits have computed of themselves.
        parts = {name: replace(getattr(data, name)) for name in ("train", "validation", "test")}
        try:
            self._send(data=replace(data, **parts))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take back what was sent, and leave the workers to others."""
        try:
            for name in self._names:
                self.client.unregister_worker_plugin(name)
        except (OSError, RuntimeError, ValueError) as error:
            log.info("the scheduler was gone before the workers could be cleaned up: %s", error)
        finally:
            self.client.close()

    def run(self, function: Callable[[T], Any], items: Iterable[Item[T]]) -> Steps[tuple[Item[T], Any]]:
        try:
            yield from super().run(partial(_on_worker, self.token, function), items)
        except (CancelledError, CommClosedError) as error:
            raise self._lost() from error

    def prepare(self, function: Callable[[T], Any], items: Iterable[Item[T]]) -> Steps[tuple[Item[T], Any]]:
        """What is in this machine's cache is not computed again; all of it is sent to every worker at the end."""
        missing: list[Item[T]] = []
        results: dict[str, Result] = {}
        for item in items:
            try:
                with only_stored(), collecting() as collected:
                    value = function(item[1])
            except NotStored:
                missing.append(item)
            else:
                results |= {result.key: result for result in collected}
                yield item, value
        with closing(self.run(partial(_collected, function), missing)) as steps:
            for done in steps:
                if done is None:
                    yield None
                    continue
                item, (value, collected) = done
                keep(collected)
                results |= {result.key: result for result in collected}
                yield item, value
        if results:
            self._send(results=list(results.values()))

    def _send(self, data: Dataset | None = None, results: Iterable[Result] = ()) -> None:
        name = f"{self.token}-{len(self._names)}"
        self._names.append(name)
        self.client.register_plugin(_Sent(name, versions(), data, tuple(results)), name=name)

    def _parallel(self) -> Parallel:
        backend = _Backend(client=self.client)
        return Parallel(-1, backend=backend, return_as="generator_unordered", batch_size=1)

    def _check(self) -> None:
        if self.client.status != "running":
            raise self._lost()
        for future in list(self.client.futures.values()):
            if future.status == "error":
                raise LrpError(f"the scheduler gave up on a trial: {future.exception}")
        now = time.monotonic()
        if self.client.nthreads():
            self._had_workers = now
        elif now - self._had_workers > IDLE_SECONDS:
            raise StorageError(f"the scheduler {self.scheduler} has had no workers for {IDLE_SECONDS} s: start some")

    def _lost(self) -> StorageError:
        return StorageError(f"the connection to the scheduler {self.scheduler} is lost: start it again, and go on")


class _Backend(DaskDistributedBackend):  # type: ignore[misc]
    """joblib's backend for Dask, but for one worker."""

    def effective_n_jobs(self, n_jobs: int) -> int:
        """At least two: given one worker, joblib would compute everything here."""
        return max(2, int(super().effective_n_jobs(n_jobs)))


class _Sent(WorkerPlugin):
    """What a coordinator sends to each worker: a data set, or results of stages."""

    def __init__(self, name: str, needed: dict[str, str], data: Dataset | None, results: tuple[Result, ...]) -> None:
        self.name, self.needed, self.data, self.results = name, needed, data, results

    def setup(self, worker: Worker) -> None:
        """Take it in. A worker that does not fit stays without, and refuses the tasks that it is given."""
        _check_worker(worker.address, worker.state.nthreads, versions(), self.needed)
        if self.data is not None:
            provide(self.data)
            log.info("received data set %s", self.data.digest)
        keep(self.results)
        _sent[self.name] = self.data.digest if self.data is not None else None

    def teardown(self, worker: Worker) -> None:
        digest = _sent.pop(self.name, None)
        if digest and digest not in _sent.values():  # another coordinator may have sent the same data
            withdraw(digest)


def _on_worker(token: str, function: Callable[[T], Any], value: T) -> Any:
    if f"{token}-0" not in _sent:
        raise LrpError(f"a worker on {platform.node()} does not fit this study: its log says why")
    return function(value)


def _collected(function: Callable[[T], Any], value: T) -> tuple[Any, list[Result]]:
    """What a function gives, and the results of all stages that it asked for."""
    with collecting() as collected:
        result = function(value)
    return result, list({one.key: one for one in collected}.values())


def _check_workers(client: Client) -> None:
    try:
        descriptions = client.run(_describe)
    except (ImportError, AttributeError) as error:
        raise LrpError(f"a worker has another version of this project ({error}): install the same on all") from error
    for address, (threads, theirs) in descriptions.items():
        _check_worker(address, threads, theirs, versions())


def _describe(dask_worker: Worker) -> tuple[int, dict[str, str]]:
    return dask_worker.state.nthreads, versions()


def _check_worker(address: str, threads: int, theirs: dict[str, str], needed: dict[str, str]) -> None:
    wrong = [
        f"{name} {theirs.get(name)} instead of {version}"
        for name, version in needed.items()
        if theirs.get(name) != version
    ]
    if wrong:
        raise LrpError(f"the worker {address} has {', '.join(wrong)}: install the same versions on all machines")
    if threads != 1:
        raise LrpError(
            f"the worker {address} runs {threads} tasks at a time: start it with --nthreads 1 --nworkers {threads}"
        )
