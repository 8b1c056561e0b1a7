"""One nested sequence of removals, from the full network down to a budget, and the networks on its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..pruning.units import Coupling
from .budget import Budget


@dataclass(frozen=True, eq=False)
class Rung:
    """A network on the way down: how many units are `removed`, what it costs, its `widths`, and how good it is.

    `weights` are those of its layers, on the inputs that are left; `score` is measured on validation rows (accuracy, or
    R^2 of numbers), NaN where there are none.
    """

    removed: int
    macs: int
    parameters: int
    bytes: int
    inputs: int
    widths: dict[str, int]
    score: float
    weights: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Path:
    """Which units go, the first to go first: `order` [n_removed], numbers of units of the full network's `coupling`.

    `costs` [n_removed + 1] is what the network costs after so many removals, for each counted unit of a budget.
    """

    coupling: Coupling
    order: Tensor
    costs: dict[str, Tensor]
    rungs: tuple[Rung, ...]

    def removed_at(self, budget: Budget) -> int:
        """How many units have to go for a counted `budget`.

        Raises `InputError` for one that the path does not reach, with the smallest that it does.
        """
        if not budget.is_counted:
            raise InputError("a path knows counted budgets; one in milliseconds is measured while pruning")
        costs = self.costs[budget.unit]
        fits = costs <= budget.limit(float(costs[0]))
        if not bool(fits.any()):
            least = float(costs[-1])
            raise InputError(
                f"the path ends at {least:,.0f} {budget.unit} ({least / float(costs[0]):.2%} of the full network's), "
                f"above {budget}: prune to a smaller budget"
            )
        return int(fits.nonzero()[0])

    def removed(self, number: int) -> Tensor:
        """The units that are gone after so many removals, bool [n_units]."""
        gone = torch.zeros(self.coupling.n_units, dtype=torch.bool)
        gone[self.order[:number]] = True
        return gone

    def rung_above(self, number: int) -> Rung:
        """The last network on the way that had no more than so many units removed."""
        return [rung for rung in self.rungs if rung.removed <= number][-1]


def ladder(full: float, limits: Sequence[float], factor: float) -> list[float]:
    """Costs to go down by: each at most about `factor` of the one before, and all `limits` among them.

    >>> ladder(100.0, [40.0], 0.7)
    [63.24555320336759, 40.0]
    """
    steps: list[float] = []
    above = full
    for limit in sorted(set(limits), reverse=True):
        if limit >= above:
            continue
        number = max(1, round(float(torch.tensor(limit / above).log() / torch.tensor(factor).log())))
        steps += [above * (limit / above) ** (i / number) for i in range(1, number)] + [limit]
        above = limit
    return steps
