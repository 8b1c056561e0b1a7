"""Results of heavy stages: kept on disk by `joblib.Memory`, and handed to machines that share no disk with this one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import update_wrapper
from importlib import import_module
from typing import Any

from joblib import Memory

from ..storage import cache_dir

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Result:
    """What a stage gave for a description."""

    stage: Stage
    described: Any
    value: Any

    @property
    def key(self) -> str:
        """Identifies the call; where the data lie (`root`) is not part of it."""
        return self.stage.key(self.described)


class NotStored(LookupError):
    """A stage that would have to be computed, where only stored results were asked for."""


_handed: dict[str, Any] = {}
_collected: list[Result] | None = None
_may_compute = True


class Stage:
    """A function of one description, whose results lie on disk. Made by `stage`; a call gives the result."""

    def __init__(self, function: Callable[[Any], Any], key_of: Callable[[Any], str]) -> None:
        self.function, self._key_of = function, key_of
        update_wrapper(self, function)

        def compute(key: str, described: Any) -> Any:
            if key in _handed:
                return _handed[key]
            if not _may_compute:
                raise NotStored(function.__name__)
            log.info("computing %s", function.__name__)
            return function(described)

        # joblib files results under these names; it must not look through to what is wrapped.
        compute.__module__, compute.__name__ = function.__module__, function.__name__
        compute.__qualname__ = function.__qualname__
        self._compute = compute

    def __call__(self, described: Any) -> Any:
        value = self._cached()(key=self._key_of(described), described=described)
        if _collected is not None:
            _collected.append(Result(self, described, value))
        return value

    def is_stored(self, described: Any) -> bool:
        """Whether the result is on disk, so that asking for it takes no time."""
        return bool(self._cached().check_call_in_cache(key=self._key_of(described), described=described))

    def key(self, described: Any) -> str:
        """Identifies the result among those of all stages."""
        return f"{self.function.__module__}.{self.function.__qualname__}:{self._key_of(described)}"

    def _cached(self) -> Any:
        cached = memory().cache(self._compute, ignore=["described"])
        # Else joblib deletes every result of the stage when `compute` reads differently, in a newer version of this
        # file say. What results are of is in their keys, and STAGE_VERSION says when all are stale.
        cached._func_code_info = (self.function.__qualname__, None, -1)
        return cached

    def __reduce__(self) -> tuple[Any, ...]:
        return _stage_named, (self.function.__module__, self.function.__qualname__)


def stage(key_of: Callable[[Any], str]) -> Callable[[Callable[[Any], Any]], Stage]:
    """Cache a function of one description on disk, under the key that `key_of` gives of it.

    It must be a function of a module, so that its name finds it in any process.
    """
    return lambda function: Stage(function, key_of)


def _stage_named(module: str, name: str) -> Stage:
    stage: Stage = getattr(import_module(module), name)
    return stage


def memory() -> Memory:
    """Where the results lie."""
    return Memory(cache_dir("stages"), verbose=0)


@contextmanager
def collecting() -> Iterator[list[Result]]:
    """Gives a list in which the result of every stage that is asked for inside appears, computed or not."""
    global _collected
    before, _collected = _collected, []
    try:
        yield _collected
    finally:
        _collected = before


@contextmanager
def only_stored() -> Iterator[None]:
    """Compute no stage inside: one that is not on disk raises `NotStored`."""
    global _may_compute
    before, _may_compute = _may_compute, False
    try:
        yield
    finally:
        _may_compute = before


def keep(results: Iterable[Result]) -> None:
    """Put results that another process computed into this one's cache."""
    for result in results:
        key = result.stage._key_of(result.described)
        _handed[key] = result.value
        try:
            result.stage(result.described)
        finally:
            del _handed[key]
