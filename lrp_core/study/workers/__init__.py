"""Where the calls of a study run: in processes of this machine, or on the workers of a Dask scheduler."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import InputError, StorageError, check_choice
from ..tickets import places
from ..turns import Turn
from .pool import POLL_SECONDS, Item, Pool, Steps

if TYPE_CHECKING:
    from ...data import Dataset
    from ..ledger import Ledger

__all__ = ["BACKENDS", "Pool", "check_backend", "claimed", "open_pool"]

BACKENDS: tuple[str, ...] = ("loky", "dask")

log = logging.getLogger(__name__)

T = TypeVar("T")


def check_backend(backend: str, *, jobs: int | None, scheduler: str | None) -> None:
    """Raise `InputError` for a backend that is not one of `BACKENDS`, or not installed, or options that do not fit."""
    check_choice("backend", backend, BACKENDS)
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs must be at least 1, not {jobs}")
    if backend == "loky" and scheduler:
        raise InputError(f"the scheduler {scheduler} needs the backend dask")
    if backend == "dask":
        if not scheduler:
            raise InputError("the backend dask needs the address of a scheduler, such as tcp://192.0.2.1:8786")
        if jobs is not None:
            raise InputError("the backend dask has as many jobs as the scheduler has workers: leave jobs out")
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise InputError("the backend dask is not installed: pip install -r requirements-dask.txt") from error


@contextmanager
def open_pool(
    data: Dataset,
    *,
    backend: str = "loky",
    jobs: int | None = None,
    scheduler: str | None = None,
    fall_back: bool = False,
    note: Callable[[str], None] = log.warning,
    turn: Turn | None = None,
) -> Iterator[Pool]:
    """Processes for calls that work on `data`: up to `jobs` here (default: as many as may train), or a scheduler's.

    Each here has a place of `turn`; those of a scheduler need none. With `fall_back`, `note` is told if the scheduler
    does not answer, and the processes are here after all; otherwise `StorageError` is raised.
    """
    if backend == "dask":
        from .cluster import open_cluster

        try:
            cluster = open_cluster(str(scheduler), data)
        except StorageError as error:
            if not fall_back:
                raise
            note(f"{error}; going on with the processes of this machine")
        else:
            with cluster:
                yield cluster
            return
    pool = Pool(1 if turn is not None and turn.is_nested else jobs or places(), turn)
    try:
        yield pool
    finally:
        pool.close()


class _Free(Iterator[Item[T]]):
    """What is left and no other process has claimed; it is claimed as it is taken."""

    def __init__(self, left: dict[str, T], ledger: Ledger, holder: str) -> None:
        self._left = left
        self._source = (item for item in list(left.items()) if item[0] in left and ledger.claim(item[0], holder))

    def __next__(self) -> Item[T]:
        return next(self._source)

    def __length_hint__(self) -> int:
        return len(self._left)


def claimed(
    pool: Pool,
    run: Callable[[Callable[[T], Any], Iterator[Item[T]]], Steps[tuple[Item[T], Any]]],
    function: Callable[[T], Any],
    left: dict[str, T],
    ledger: Ledger,
    holder: str,
) -> Steps[tuple[str, Any]]:
    """Key and result of `function` for what is `left`, as they finish, until the caller has taken all of it out.

    `run` is the pool's. Each call is claimed first, so that two processes never compute the same; those that another
    one has claimed are looked at again later. None comes about once a second, for the caller to look around.
    """
    while left:
        with closing(run(function, _Free(left, ledger, holder))) as steps:
            for step in steps:
                yield step and (step[0][0], step[1])
        if left:
            pool.rest()
            time.sleep(POLL_SECONDS)
            yield None
