"""Which units go first: greedily the one that matters least for what it saves, and the best of them come back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..pruning.units import Family
from .budget import Meter


@dataclass(frozen=True)
class Floor:
    """How many units stay in any case: `least` of each pool, and `pool` says which each family is in.

    Inputs are one pool, and so are units of the same layers, however many places of these each takes.
    """

    pool: tuple[int, ...]
    least: tuple[int, ...]

    @classmethod
    def of(cls, families: Sequence[Family], share: float) -> Floor:
        """This share of every pool stays, and one unit."""
        keys = [() if family.inputs else tuple(n for n, rows, _ in family.changes if rows) for family in families]
        known = list(dict.fromkeys(keys))
        pool = tuple(known.index(key) for key in keys)
        sizes = [sum(len(f.units) for f, p in zip(families, pool, strict=True) if p == i) for i in range(len(known))]
        return cls(pool, tuple(max(1, math.ceil(share * size)) for size in sizes))

    def leaves_room(self, families: Sequence[Family]) -> bool:
        """Whether any unit can go."""
        left = list(self.least)
        for pool, family in zip(self.pool, families, strict=True):
            left[pool] -= len(family.units)
        return min(left, default=0) < 0


def least_cost(families: Sequence[Family], floor: Floor, meter: Meter, unit: str) -> int:
    """What is left with every pool at its floor, whatever the scores: of units of several costs, the dearest stay."""
    meter = meter.copy()
    stay = list(floor.least)
    for i in sorted(range(len(families)), key=lambda i: -meter.saved(families[i], unit)):
        kept = min(stay[floor.pool[i]], len(families[i].units))
        stay[floor.pool[i]] -= kept
        meter.change(families[i], len(families[i].units) - kept)
    return meter.cost(unit)


def choose(
    families: Sequence[Family],
    floor: Floor,
    scores: Tensor,
    present: Tensor,
    meter: Meter,
    unit: str,
    limit: float,
    *,
    per_cost: bool = True,
) -> list[int]:
    """The units that go until the network costs no more than `limit` of a `unit`, the first to go first.

    In every step the unit goes whose score [n_units] is smallest, for each unit of cost that it saves (`per_cost`) or
    by itself; the `floor` stays, even if the limit is not met then. Then the best come back that still fit. `meter` is
    left at the new widths.
    """
    queues = [_by_score(family, scores, present) for family in families]
    gone: list[list[int]] = [[] for _ in families]
    order: list[tuple[int, int]] = []
    prices = [meter.saved(family, unit) for family in families]
    touching = _touching(families)
    left = list(floor.least)
    for i, queue in enumerate(queues):
        left[floor.pool[i]] -= len(queue)  # below 0: so many may go
    while meter.cost(unit) > limit:
        open_ = [i for i, queue in enumerate(queues) if queue and left[floor.pool[i]] < 0 < prices[i]]
        if not open_:
            break
        i = min(open_, key=lambda j: float(scores[queues[j][0]]) / (prices[j] if per_cost else 1))
        gone[i].append(queues[i].pop(0))
        left[floor.pool[i]] += 1
        order.append((i, gone[i][-1]))
        meter.change(families[i], 1)
        for j in touching[i]:
            prices[j] = meter.saved(families[j], unit)
    back = _add_back(families, gone, scores, meter, unit, limit, per_cost=per_cost)
    return [number for _, number in order if number not in back]


def _add_back(
    families: Sequence[Family],
    gone: list[list[int]],
    scores: Tensor,
    meter: Meter,
    unit: str,
    limit: float,
    *,
    per_cost: bool,
) -> set[int]:
    """Bring the best units back, as long as any fits."""
    back: set[int] = set()
    while True:
        fitting: list[tuple[float, int]] = []
        for i, family in enumerate(families):
            if gone[i]:
                meter.change(family, -1)
                price = meter.saved(family, unit)
                fits = meter.cost(unit) <= limit
                meter.change(family, 1)
                if fits:
                    fitting.append((float(scores[gone[i][-1]]) / (price if per_cost and price else 1), i))
        if not fitting:
            return back
        _, best = max(fitting)
        meter.change(families[best], -1)
        back.add(gone[best].pop())


def _by_score(family: Family, scores: Tensor, present: Tensor) -> list[int]:
    units = family.units[present[family.units]]
    ordered: list[int] = units[torch.argsort(scores[units], stable=True)].tolist()
    return ordered


def _touching(families: Sequence[Family]) -> list[list[int]]:
    """For every family those whose savings change with it: they have a layer in common."""
    layers = [{number for number, _, _ in family.changes} for family in families]
    return [[j for j, others in enumerate(layers) if own & others] for own in layers]
