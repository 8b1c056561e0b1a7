"""Units: what can only go as a whole, inputs and hidden ones, and which outputs and inputs of layers each is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

STAYS = -1
"""In the place of a unit: what cannot be removed."""


@dataclass(frozen=True, eq=False)
class Coupled:
    """A layer's part in the units: the unit of each of its outputs, `rows`, and of each of its inputs, `columns`.

    `STAYS` is that of none. `pair_macs` are multiply-accumulates for one input, `pair_numbers` weights, of one output
    with one input; `row_numbers` is what else is stored for each output. `pair_parameters` and `row_parameters` are
    those of them that are parameters and counted nowhere else. A layer that scales (a batch-norm) has no columns. One
    that `follows` has as many groups as inputs: its outputs are its inputs', so that it reads none by itself.
    """

    name: str
    rows: Tensor
    columns: Tensor | None
    pair_macs: int = 0
    pair_parameters: int = 0
    pair_numbers: int = 0
    row_parameters: int = 0
    row_numbers: int = 0
    groups: int = 1
    follows: bool = False
    is_convolution: bool = False
    is_transposed: bool = False

    def pairs(self, rows: int, columns: int) -> int:
        """How many outputs are joined with how many inputs by weights, at these widths."""
        return rows if self.follows else rows * columns // self.groups

    def only(self, stays: Tensor) -> Coupled:
        """What is left of it where of the units only those stay for which `stays` [n_units] is true."""
        kept = torch.cat([stays, torch.ones(1, dtype=torch.bool)])
        columns = None if self.columns is None else self.columns[kept[self.columns]]
        return replace(self, rows=self.rows[kept[self.rows]], columns=columns)


@dataclass(frozen=True, eq=False)
class Family:
    """Units [n] that stand at as many places of the same layers: removing any of them saves the same.

    `changes` are the layer's number, and how many of its outputs and inputs a unit takes along; `inputs` is how many of
    the network's inputs a unit is.
    """

    units: Tensor
    changes: tuple[tuple[int, int, int], ...]
    inputs: int


@dataclass(frozen=True, eq=False)
class Coupling:
    """The units of a network: `inputs` [n_inputs] says which unit each input is, `layers` which their weights are.

    `fixed` says of layers that keep their width why.
    """

    n_units: int
    inputs: Tensor
    layers: tuple[Coupled, ...]
    fixed: dict[str, str] = field(default_factory=dict)

    @property
    def is_input(self) -> Tensor:
        """For each unit whether it stands for inputs, bool [n_units]."""
        reading = torch.zeros(self.n_units + 1, dtype=torch.bool)
        reading[self.inputs] = True
        return reading[:-1]

    @property
    def families(self) -> tuple[Family, ...]:
        """All units, by what they take along, in the order in which they are met."""
        places: list[dict[int, list[int]]] = [{} for _ in range(self.n_units)]
        for number, layer in enumerate(self.layers):
            for role, units in enumerate((layer.rows, layer.columns)):
                if units is not None:
                    for unit, count in enumerate(_counts(units, self.n_units)):
                        if count:
                            places[unit].setdefault(number, [0, 0])[role] = count
        found: dict[tuple[object, ...], list[int]] = {}
        for unit, inputs in enumerate(_counts(self.inputs, self.n_units)):
            changes = tuple((number, *both) for number, both in places[unit].items())
            if changes or inputs:
                found.setdefault((inputs, changes), []).append(unit)
        return tuple(Family(torch.tensor(units), key[1], key[0]) for key, units in found.items())  # type: ignore[arg-type]

    def only(self, stays: Tensor) -> Coupling:
        """The same units in the network of which those are gone that do not stay; `stays` is bool [n_units]."""
        kept = torch.cat([stays, torch.ones(1, dtype=torch.bool)])
        return replace(
            self, inputs=self.inputs[kept[self.inputs]], layers=tuple(layer.only(stays) for layer in self.layers)
        )

    def layer(self, name: str) -> Coupled:
        return next(layer for layer in self.layers if layer.name == name)


def _counts(units: Tensor, n_units: int) -> list[int]:
    counts: list[int] = torch.bincount(units[units >= 0], minlength=n_units).tolist()
    return counts
