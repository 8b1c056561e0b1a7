"""Results of heavy stages: kept on disk by `joblib.Memory`, and handed to machines that share no disk with this one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

from joblib import Memory
from joblib import hash as digest

from ..storage import cache_dir

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Result:
    """What a stage gave for its arguments."""

    stage: Callable[..., Any]
    arguments: dict[str, Any]
    value: Any

    @property
    def key(self) -> str:
        """Identifies the call; where the data lie (`root`) is not part of it."""
        return _key(self.stage, self.arguments)


class NotStored(LookupError):
    """A stage that would have to be computed, where only stored results were asked for."""


_handed: dict[str, Any] = {}
_collected: list[Result] | None = None
_may_compute = True
_computing: dict[Callable[..., Any], Callable[..., Any]] = {}
"""What `joblib.Memory` knows each stage by."""


def stage(function: Callable[..., Any]) -> Callable[..., Any]:
    """Cache a function on disk by its arguments, which are plain values given by name; `root` is not looked at.

    It must be a function of a module, so that its name finds it in any process.
    """

    @wraps(function)
    def compute(**arguments: Any) -> Any:
        key = _key(function, arguments)
        if key in _handed:
            return _handed[key]
        if not _may_compute:
            raise NotStored(function.__name__)
        log.info("computing %s", function.__name__)
        return function(**arguments)

    @wraps(function)
    def stored(**arguments: Any) -> Any:
        value = memory().cache(compute, ignore=["root"])(**arguments)
        if _collected is not None:
            _collected.append(Result(stored, arguments, value))
        return value

    _computing[stored] = compute
    return stored


def is_stored(stage: Callable[..., Any], arguments: dict[str, Any]) -> bool:
    """Whether the result of a stage is on disk, so that asking for it takes no time."""
    return bool(memory().cache(_computing[stage], ignore=["root"]).check_call_in_cache(**arguments))


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
        key = result.key
        _handed[key] = result.value
        try:
            result.stage(**result.arguments)
        finally:
            del _handed[key]


def _key(function: Callable[..., Any], arguments: dict[str, Any]) -> str:
    counted = {name: value for name, value in arguments.items() if name != "root"}
    return f"{function.__module__}.{function.__qualname__}:{digest(counted)}"
