"""Which units go first: greedily the one that matters least for what it saves, and the best of them come back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..pruning.units import Family
from .budget import Meter


def floors(families: Sequence[Family], floor: float) -> list[int]:
    """How many units every family keeps at least: this share of them, and one."""
    return [max(1, math.ceil(floor * len(family.units))) for family in families]


def least_cost(families: Sequence[Family], least: Sequence[int], meter: Meter, unit: str) -> int:
    """What is left with every family at its floor."""
    meter = meter.copy()
    for family, stay in zip(families, least, strict=True):
        meter.change(family, max(0, len(family.units) - stay))
    return meter.cost(unit)


def choose(
    families: Sequence[Family],
    least: Sequence[int],
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
    by itself; of every family `least` stay, even if the limit is not met then. Then the best come back that still fit.
    `meter` is left at the new widths.
    """
    queues = [_by_score(family, scores, present) for family in families]
    gone: list[list[int]] = [[] for _ in families]
    order: list[tuple[int, int]] = []
    prices = [meter.saved(family, unit) for family in families]
    touching = _touching(families)
    while meter.cost(unit) > limit:
        open_ = [i for i, queue in enumerate(queues) if len(queue) > least[i] and prices[i] > 0]
        if not open_:
            break
        i = min(open_, key=lambda j: float(scores[queues[j][0]]) / (prices[j] if per_cost else 1))
        gone[i].append(queues[i].pop(0))
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
