"""A budget, and what a network costs at any widths of its layers, without building it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from torch import nn

from ..errors import InputError, check_choice
from ..evaluation import Cost, measure_cost
from ..pruning.units import Coupled, Coupling, Family

COUNTED = ("macs", "parameters", "bytes")
"""What is counted at any widths; milliseconds are measured."""


@dataclass(frozen=True)
class Budget:
    """What a network may cost, in one of four units.

    `macs`, `parameters` and `bytes` up to 1 are shares of the full network's, above 1 they are numbers. `milliseconds`
    are those of one input on this machine, measured. Raises `InputError` for none of them, several, or no positive
    number.

    >>> import lrp_core as lc
    >>> lc.Budget(macs=0.1).unit
    'macs'
    """

    macs: float | None = None
    parameters: float | None = None
    bytes: float | None = None
    milliseconds: float | None = None

    def __post_init__(self) -> None:
        given = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        if len(given) != 1:
            raise InputError(
                f"a budget has one of macs, parameters, bytes and milliseconds, not {' and '.join(given) or 'none'}"
            )
        value = getattr(self, given[0])
        if not (isinstance(value, int | float) and 0 < value < math.inf):
            raise InputError(f"a budget in {given[0]} is a positive number, not {value!r}")

    @classmethod
    def of(cls, unit: str, value: float) -> Budget:
        """A budget in a unit that is named. Raises `InputError` for an unknown one."""
        check_choice("unit of a budget", unit, [f.name for f in fields(cls)])
        return cls(**{unit: value})

    @property
    def unit(self) -> str:
        """The name of its unit."""
        return next(f.name for f in fields(self) if getattr(self, f.name) is not None)

    @property
    def value(self) -> float:
        """The number, or the share, that was given."""
        return float(getattr(self, self.unit))

    @property
    def is_counted(self) -> bool:
        """Whether it is counted, not measured."""
        return self.unit in COUNTED

    def limit(self, full: float) -> float:
        """The most that there may be, given what the full network takes."""
        return self.value * full if self.is_counted and self.value <= 1 else self.value

    def __str__(self) -> str:
        if self.is_counted and self.value <= 1:
            return f"{100 * self.value:g} % of the {_NAMES[self.unit]}"
        return f"{self.value:,g} {_NAMES[self.unit]}"


_NAMES = {"macs": "MACs", "parameters": "parameters", "bytes": "bytes", "milliseconds": "ms"}


class Meter:
    """What a network costs with some of its units gone: counted from the widths of its layers, one at a time.

    `rows` and `columns` are the present widths of every layer. All else of the network costs what it did.
    """

    def __init__(self, network: nn.Module, coupling: Coupling, shape: Sequence[int]) -> None:
        self.layers = coupling.layers
        self.rows = [len(layer.rows) for layer in self.layers]
        self.columns = [0 if layer.columns is None else len(layer.columns) for layer in self.layers]
        numbers = [p for p in network.parameters() if p.is_floating_point()]
        self.itemsize = numbers[0].element_size() if numbers else 4
        self.full: Cost = measure_cost(network, shape)
        self._rest = {unit: int(getattr(self.full, unit)) - self._counted(unit) for unit in COUNTED}

    def copy(self) -> Meter:
        """One that changes by itself."""
        twin = copy.copy(self)
        twin.rows, twin.columns = list(self.rows), list(self.columns)
        return twin

    def cost(self, unit: str) -> int:
        """The present cost."""
        return self._rest[unit] + self._counted(unit)

    def saved(self, family: Family, unit: str) -> int:
        """What removing one more unit of a family saves."""
        return sum(
            self._of(number, unit, self.rows[number], self.columns[number])
            - self._of(number, unit, self.rows[number] - rows, self.columns[number] - columns)
            for number, rows, columns in family.changes
        )

    def change(self, family: Family, units: int) -> None:
        """Take so many units of a family away; below 0 they come back."""
        for number, rows, columns in family.changes:
            self.rows[number] -= units * rows
            self.columns[number] -= units * columns

    def _counted(self, unit: str) -> int:
        return sum(self._of(i, unit, self.rows[i], self.columns[i]) for i in range(len(self.layers)))

    def _of(self, number: int, unit: str, rows: int, columns: int) -> int:
        layer: Coupled = self.layers[number]
        pairs = layer.pairs(rows, columns)
        if unit == "macs":
            return layer.pair_macs * pairs
        if unit == "parameters":
            return layer.pair_parameters * pairs + layer.row_parameters * rows
        return self.itemsize * (layer.pair_numbers * pairs + layer.row_numbers * rows)
