"""Labels: which values of a network stand for the same unit, so that none can go without the others.

A label is a whole number that goes along with a value. `NOTHING` stands beside constant zeros, `FIXED` beside what
cannot be removed; labels that are joined stand for one unit from then on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

NOTHING, FIXED = 0, 1


class Labels:
    """Sets of labels, joined as they are found to belong together (union-find, smallest label first)."""

    def __init__(self) -> None:
        self._parent = np.arange(2)

    def fresh(self, number: int) -> Tensor:
        """So many new labels, [number]."""
        start = len(self._parent)
        self._parent = np.concatenate([self._parent, np.arange(start, start + number)])
        return torch.arange(start, start + number)

    def join(self, first: Tensor, second: Tensor) -> None:
        """Make one of every label of `first` and the one in its place in `second`; both broadcast."""
        a, b = (t.reshape(-1).numpy() for t in broadcast(first, second))
        real = (a != NOTHING) & (b != NOTHING)
        a, b = a[real], b[real]
        while True:
            a, b = self._roots(a), self._roots(b)
            low, high = np.minimum(a, b), np.maximum(a, b)
            apart = low < high
            if not apart.any():
                return
            np.minimum.at(self._parent, high[apart], low[apart])

    def fix(self, labels: Tensor) -> None:
        """Say that none of these can be removed."""
        self.join(labels, torch.tensor(FIXED))

    def of(self, labels: Tensor) -> Tensor:
        """The label that each is known by now."""
        return torch.from_numpy(self._roots(labels.reshape(-1).numpy())).view(labels.shape)

    def along(self, labels: Tensor, axis: int) -> Tensor:
        """One label for each place along `axis`, after joining all that lie at that place."""
        rows = labels.movedim(axis, 0).flatten(1)
        first = rows.amax(1, keepdim=True)
        self.join(rows, first)
        return self.of(first[:, 0])

    def vary(self, labels: Tensor, axis: int) -> bool:
        """Whether different labels lie along `axis`, beside those of zeros."""
        now = self.of(labels)
        least = now.masked_fill(now == NOTHING, len(self._parent)).amin(axis)
        return bool((least < now.amax(axis)).any())

    def differ_along(self, labels: Tensor, axis: int) -> bool:
        """Whether `axis`, of those behind the first, is the only one along which labels differ."""
        return not any(self.vary(labels, other) for other in range(1, labels.ndim) if other != axis)

    def pooled(self, pool: Callable[[Tensor], Tensor], labels: Tensor, *, largest: bool) -> Tensor:
        """Labels behind a pooling: places that are pooled are joined, as channels where they are.

        `pool` takes the largest of some places (`largest`) or a weighted mean of them.
        """
        for axis in (None, 1, -1):
            if axis is not None:
                self.along(labels, axis)
            labels = self.of(labels)
            behind = _alike(pool, labels, largest=largest)
            if behind is not None:
                return behind
        self.fix(labels)
        shape = pool(labels.double()).shape
        return torch.full(shape, FIXED)

    def _roots(self, labels: np.ndarray) -> np.ndarray:
        roots: np.ndarray = self._parent[labels]
        while True:
            further: np.ndarray = self._parent[roots]
            if np.array_equal(further, roots):
                return roots
            roots = further


def broadcast(*tensors: Tensor) -> list[Tensor]:
    """All in one shape."""
    shape = np.broadcast_shapes(*(tuple(t.shape) for t in tensors))
    return [t.expand(shape) for t in tensors]


def _alike(pool: Callable[[Tensor], Tensor], labels: Tensor, *, largest: bool) -> Tensor | None:
    """What a pooling makes of labels, if all that it pools are alike."""
    something = labels != NOTHING
    exact = labels.double()
    if largest:
        most, least = pool(exact), -pool(-exact.masked_fill(~something, torch.inf))
        return most.long() if torch.equal(most, least.masked_fill(most == NOTHING, NOTHING)) else None
    share = pool(something.double())
    known, place = torch.unique(labels, return_inverse=True)
    order, mean = known, share
    for seed in range(2):  # in two random orders no labels lie so close by that rounding hides the difference
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
        numbers = ((order[place].double() + 1) / len(known)).masked_fill(~something, 0)
        mean, square = pool(numbers) / share, pool(numbers.square()) / share
        if bool((square - mean.square() > 1e-12).any()):
            return None
    behind = torch.full((len(known) + 1,), NOTHING)
    behind[order + 1] = known
    return behind[(mean * len(known)).nan_to_num(0).round().long()]
