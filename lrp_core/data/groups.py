"""Inputs that are kept or dropped together: the samples of a sensor, the indicators of a column of words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True)
class InputGroup:
    """Inputs that are one thing to a person: the samples of a sensor, the indicators of a column of words.

    `indices` are positions in the flattened input, `cost` is what one has to spend on the group, in any unit. Raises
    `InputError` for a group without a name or inputs, an input that is named twice, or a cost below 0.
    """

    name: str
    indices: tuple[int, ...]
    cost: float | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.indices:
            raise InputError(
                f"a group of inputs needs a name and at least one input, not {self.name!r}, {self.indices}"
            )
        if min(self.indices) < 0 or len(set(self.indices)) < len(self.indices):
            raise InputError(f"the group {self.name!r} must name each of its inputs once, by a position from 0 on")
        if self.cost is not None and not (math.isfinite(self.cost) and self.cost >= 0):
            raise InputError(f"the group {self.name!r} needs a finite cost of at least 0, not {self.cost:g}")


@dataclass(frozen=True, eq=False)
class Grouping:
    """Which inputs are kept or dropped together: `of` [n_inputs] is the group of each input.

    Groups are numbered 0, 1, ... in the order of their first inputs. Raises `InputError` for other numbers.

    >>> import torch
    >>> grouping = Grouping(torch.tensor([0, 1, 1, 2, 0]))
    >>> grouping.sums(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    tensor([6., 5., 4.])
    >>> grouping.inputs_of([0, 2])
    tensor([0, 3, 4])
    """

    of: Int64[Tensor, " inputs"]

    def __post_init__(self) -> None:
        if self.of.ndim != 1 or not len(self.of) or not torch.equal(_in_order(self.of), self.of):
            raise InputError("groups of inputs must be numbered from 0 on, in the order of their first inputs")

    @classmethod
    def single(cls, n_inputs: int) -> Grouping:
        """Every input by itself."""
        return cls(torch.arange(n_inputs))

    @classmethod
    def from_groups(cls, groups: Sequence[InputGroup], n_inputs: int) -> Grouping:
        """These groups; an input that is in none of them is one by itself."""
        of = torch.arange(n_inputs)
        for group in groups:
            of[list(group.indices)] = min(group.indices)
        return cls(_in_order(of))

    @property
    def n_inputs(self) -> int:
        return len(self.of)

    def __len__(self) -> int:
        """Number of groups."""
        return self._n_groups

    @cached_property
    def _n_groups(self) -> int:
        return int(self.of.max()) + 1

    @property
    def is_single(self) -> bool:
        """Whether every input is by itself."""
        return len(self) == self.n_inputs

    def inputs_of(self, groups: Int64[Tensor, " k"] | Sequence[int]) -> Int64[Tensor, " m"]:
        """The inputs of some groups, in increasing order."""
        chosen = torch.zeros(len(self), dtype=torch.bool)
        chosen[torch.as_tensor(groups, dtype=torch.int64)] = True
        return chosen[self.of].nonzero().flatten()

    def groups_of(self, inputs: Int64[Tensor, " m"] | Sequence[int]) -> Int64[Tensor, " k"]:
        """The groups that have one of these inputs, in increasing order."""
        chosen = torch.zeros(len(self), dtype=torch.bool)
        chosen[self.of[torch.as_tensor(inputs, dtype=torch.int64)]] = True
        return chosen.nonzero().flatten()

    def sums(self, values: Shaped[Tensor, "*batch inputs"]) -> Shaped[Tensor, "*batch groups"]:
        """The sum of the values over the inputs of each group."""
        if self.is_single:
            return values
        return values.new_zeros(*values.shape[:-1], len(self)).index_add_(-1, self.of.to(values.device), values)

    def largest(self, values: Shaped[Tensor, " inputs"]) -> Shaped[Tensor, " groups"]:
        """The largest value among the inputs of each group."""
        if self.is_single:
            return values
        return values.new_empty(len(self)).scatter_reduce_(0, self.of, values, "amax", include_self=False)

    def spread(self, values: Shaped[Tensor, " groups"]) -> Shaped[Tensor, " inputs"]:
        """The value of its group for every input."""
        return values[self.of]

    def only(self, groups: Int64[Tensor, " k"]) -> Grouping:
        """The grouping of the inputs of some groups alone, both numbered from 0 on again."""
        return Grouping(_in_order(self.of[self.inputs_of(groups)]))


def check_groups(groups: Sequence[InputGroup], n_inputs: int) -> None:
    """Raise `InputError` for groups that have an input in common, one that is not there, or a name in common."""
    owner: dict[int, str] = {}
    for group in groups:
        if max(group.indices) >= n_inputs:
            raise InputError(f"the group {group.name!r} has input {max(group.indices)} of {n_inputs}")
        for position in group.indices:
            if position in owner:
                raise InputError(f"input {position} is in the groups {owner[position]!r} and {group.name!r}")
            owner[position] = group.name
    names = [group.name for group in groups]
    if len(set(names)) < len(names):
        raise InputError(f"groups of inputs need different names, not {', '.join(names)}")


def _in_order(of: Tensor) -> Tensor:
    """The same groups, numbered 0, 1, ... in the order of their first inputs."""
    _, numbers = torch.unique(of, return_inverse=True)
    first = torch.full((int(numbers.max()) + 1,), len(of)).scatter_reduce_(0, numbers, torch.arange(len(of)), "amin")
    places: Tensor = first.argsort().argsort()[numbers]
    return places
