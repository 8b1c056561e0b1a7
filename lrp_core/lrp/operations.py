"""The steps of a network that need no rule, because it is plain where their relevance goes. Nothing here uses autograd.

Running one gives its output and the way back: a function from relevance at the output to relevance at each input.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ..errors import InputError
from .relevance import Relevance

Back: TypeAlias = Callable[[Relevance], Sequence[Relevance]]
"""Relevance at the output of a step -> relevance at each of its inputs."""


Mixes: TypeAlias = Callable[[int], bool]
"""Whether an operation on values with so many axes would mix the images of a batch."""


def _never(axes: int) -> bool:
    return False


def _refuse(mixes: bool) -> None:
    if mixes:
        raise InputError("the operation would mix the images of the batch, which lie along the first axis")


def _checked_batch(z: Tensor, *inputs: Tensor) -> Tensor:
    """`z`, if broadcasting has put the batch of every input along its first axis."""
    _refuse(any(a.ndim != z.ndim or len(a) != len(z) for a in inputs))
    return z


class Operation(ABC):
    """One step of a network in evaluation mode, other than an affine one."""

    @abstractmethod
    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        """The step's output, and the way back."""

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """Whether the output is never negative, given for each of the inputs whether it never is."""
        return False

    def gives_product(self, arriving: bool) -> bool:
        """Whether relevance leaves as a product with the inputs' values, given whether it arrives as one."""
        return arriving


@dataclass(frozen=True, eq=False)
class Activation(Operation):
    """An element-wise nonlinearity, or dropout in evaluation mode: relevance passes unchanged."""

    function: Callable[[Tensor], Tensor]
    never_negative: bool = False

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        return self.function(a), lambda r: [Relevance.of(a, r.dense())]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return self.never_negative

    def gives_product(self, arriving: bool) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class Multiple(Operation):
    """Values times a constant, a number or a tensor that broadcasts: relevance passes unchanged."""

    constant: Tensor | float

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs

        def back(r: Relevance) -> Sequence[Relevance]:
            shared = r.tensor * self.constant if r.is_factor else r.tensor
            return [Relevance(a, shared.sum_to_size(a.shape), is_factor=r.is_factor)]

        return _checked_batch(a * self.constant, a), back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0] and bool((torch.as_tensor(self.constant) >= 0).all())


@dataclass(frozen=True, eq=False)
class Identity(Operation):
    """A step that does nothing: dropout in evaluation mode."""

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        return inputs[0], lambda r: [r]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Rectifier(Operation):
    """ReLU. With `in_place` it overwrites its input, which nothing else may read then.

    Relevance passes unchanged. Given as a product z c, it is a product with the inputs too, for the factor that
    ReLU's gradient masks.
    """

    in_place: bool = False

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        z = a.relu_() if self.in_place else a.relu()

        def back(r: Relevance) -> Sequence[Relevance]:
            if self.in_place:
                return [r]
            if not r.is_factor:
                return [Relevance.of(a, r.tensor)]
            return [Relevance.product(a, torch.ops.aten.threshold_backward(r.tensor, z, 0))]

        return z, back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class Rearrangement(Operation):
    """Values moved, left out or repeated, never changed: views, permutations, slices, padding with zeros.

    Relevance goes back to where each value came from. `in_order` says that values keep their order and number,
    `mixes(axes)` whether, of values with so many axes, images of the batch would be mixed.
    """

    function: Callable[[Tensor], Tensor]
    in_order: bool = False
    mixes: Mixes = _never

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        _refuse(self.mixes(a.ndim))
        z = self.function(a)
        _refuse(z.ndim < 1 or len(z) != len(a))
        return z, lambda r: [r.at(a, lambda t: self._home(t, a))]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0]

    def _home(self, moved: Tensor, a: Tensor) -> Tensor:
        if self.in_order:
            return moved.reshape(a.shape)
        # Positions count from 1, so that constants set in by padding, which are 0, come from nowhere.
        places = math.prod(a.shape[1:])
        positions = torch.arange(1, places + 1, device=a.device, dtype=torch.float64).view(1, *a.shape[1:])
        origin = self.function(positions).round().long().flatten()
        home = moved.new_zeros(len(moved), places + 1)
        return home.index_add_(1, origin, moved.reshape(len(moved), len(origin)))[:, 1:].reshape(a.shape)


@dataclass(frozen=True, eq=False)
class MaxPool(Operation):
    """Max-pooling: relevance goes to the winner, the first one where several are equal.

    `function(a)` gives the largest values and where they stood, `pullback(s, a, winners)` brings values back there.
    """

    function: Callable[[Tensor], tuple[Tensor, Tensor]]
    pullback: Callable[[Tensor, Tensor, Tensor], Tensor]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        z, winners = self.function(a)
        return z, lambda r: [r.at(a, lambda t: self.pullback(t, a, winners))]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Average(Operation):
    """Any average over places: a linear layer without bias, whose relevance is split by contribution.

    `pullback(s, a)` is the transposed layer.
    """

    function: Callable[[Tensor], Tensor]
    pullback: Callable[[Tensor, Tensor], Tensor]
    mixes: Mixes = _never

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        _refuse(self.mixes(a.ndim))
        z = self.function(a)
        return z, lambda r: [Relevance.product(a, self.pullback(r.over_values(), a))]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0]

    def gives_product(self, arriving: bool) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class Sum(Operation):
    """Branches added up: relevance is split in proportion to what each contributed; a constant takes its share away."""

    constant: Tensor | float = 0.0
    signs: tuple[int, ...] = (1, 1)

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        total: Tensor = sum((sign * a for sign, a in zip(self.signs, inputs, strict=True)), self.constant)  # type: ignore[assignment]

        def back(r: Relevance) -> Sequence[Relevance]:
            share = r.over_values()
            parts = [(sign * share).sum_to_size(a.shape) for sign, a in zip(self.signs, inputs, strict=True)]
            return [Relevance.product(a, part) for a, part in zip(inputs, parts, strict=True)]

        return _checked_batch(total, *inputs), back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        rising = isinstance(self.constant, int | float) and self.constant >= 0 and min(self.signs) > 0
        return rising and all(inputs)

    def gives_product(self, arriving: bool) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class Concatenation(Operation):
    """Branches side by side along `axis`: each gets the relevance of its part."""

    axis: int

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        _refuse(self.axis % inputs[0].ndim == 0)
        sizes = [a.shape[self.axis] for a in inputs]

        def back(r: Relevance) -> Sequence[Relevance]:
            parts = torch.split(r.tensor, sizes, self.axis)
            return [Relevance(a, part, is_factor=r.is_factor) for a, part in zip(inputs, parts, strict=True)]

        return torch.cat(inputs, self.axis), back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return all(inputs)
