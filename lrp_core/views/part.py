"""What all parts of an opened study share: the study, where its results lie, and its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib import Memory

from ..data import Dataset
from ..storage import cache_dir
from ..study import Study, Trial, trial_at
from ..study.export import read_card

Report = Callable[[float, str], None]
"""Told how far the work is, from 0 to 1, and with what; it may raise `Cancelled`."""


@dataclass(frozen=True)
class Part:
    """A study, and the folder of the ledger and the cache that its networks and rankings lie in."""

    study: Study
    folder: Path

    @property
    def token(self) -> tuple[Any, ...]:
        """What the answers of this part follow from, beside the arguments: a short key for a cache of them."""
        return str(self.folder), self.study.key

    @property
    def data(self) -> Dataset:
        """The data of the study. Raises `StorageError` if they are not here."""
        return self.study.data()

    def data_of(self, seed: int) -> Dataset:
        """The data as the network of a seed knows them: with its own split, if each seed of the study draws one."""
        return self.study.data(seed)

    def trial(self, method: str, keep: int, mode: str, seed: int) -> Trial:
        """The study's trial at any keep, on its grid or off it."""
        return trial_at(self.study, self.data, method=method, keep=keep, mode=mode, seed=seed)


@dataclass(frozen=True)
class PlannedExport:
    """An export that can be asked for: the id of its run, what its process reads, and the folder that it writes."""

    run: str
    spec: dict[str, Any]
    folder: Path

    def card(self) -> dict[str, Any]:
        """The card of the export once it is made. Raises `StorageError` if it cannot be read."""
        return read_card(self.folder)


def kept_on_disk(function: Callable[..., Any]) -> Any:
    """`function`, its answers kept among the stages on disk, so that what bounds those bounds them.

    They go by the arguments without `part`, `seed` and `report`, so the key of a trial has to stand for these.
    """
    return Memory(cache_dir("stages"), verbose=0).cache(function, ignore=["part", "seed", "report"])


def tell_nobody(done: float, doing: str) -> None:
    """A report that nobody asked for."""
