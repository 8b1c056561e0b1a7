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


def _for_batch(constant: Tensor | float, a: Tensor) -> Tensor | float:
    """A constant that has the rows of one image, for all images in `a`; any other one as it is."""
    if isinstance(constant, Tensor) and constant.ndim == a.ndim and 1 < len(constant) < len(a):
        return constant.repeat(len(a) // len(constant), *[1] * (a.ndim - 1))
    return constant


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

    def entropy(self, inputs: Sequence[Tensor], arrived: Relevance) -> Tensor | None:
        """Relevance that the entropy of soft minima absorbs, for each image [n]; None where there are none."""
        return None


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
        constant = _for_batch(self.constant, a)

        def back(r: Relevance) -> Sequence[Relevance]:
            shared = r.tensor * constant if r.is_factor else r.tensor
            return [Relevance(a, shared.sum_to_size(a.shape), is_factor=r.is_factor)]

        return _checked_batch(a * constant, a), back

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
    `mixes(axes)` whether, of values with so many axes, images of the batch would be mixed; `known` that it has been
    seen not to mix them, though an image may have more or fewer rows afterwards.
    """

    function: Callable[[Tensor], Tensor]
    in_order: bool = False
    mixes: Mixes = _never
    known: bool = False

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        _refuse(self.mixes(a.ndim))
        z = self.function(a)
        _refuse(z.ndim < 1 or (len(z) != len(a) and not self.known))
        return z, lambda r: [r.at(a, lambda t: self._home(t, a))]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0]

    def _home(self, moved: Tensor, a: Tensor) -> Tensor:
        if self.in_order:
            return moved.reshape(a.shape)
        # Positions count from 1, so that constants set in by padding, which are 0, come from nowhere.
        if self.known:
            positions = torch.arange(1, a.numel() + 1, device=a.device, dtype=torch.float64).view(a.shape)
            origin = self.function(positions).long().flatten()
            return moved.new_zeros(a.numel() + 1).index_add_(0, origin, moved.flatten())[1:].view(a.shape)
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
    signed: bool = False
    """Whether some of the weights are negative, as those of bicubic interpolation."""

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        _refuse(self.mixes(a.ndim))
        z = self.function(a)
        return z, lambda r: [Relevance.product(a, self.pullback(r.over_values(), a))]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0] and not self.signed

    def gives_product(self, arriving: bool) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class Sum(Operation):
    """Branches added up: relevance is split in proportion to what each contributed; a constant takes its share away."""

    constant: Tensor | float = 0.0
    signs: tuple[int, ...] = (1, 1)

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        constant = _for_batch(self.constant, inputs[0])
        total: Tensor = sum((sign * a for sign, a in zip(self.signs, inputs, strict=True)), constant)  # type: ignore[assignment]

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
    """Branches side by side along `axis`, a new one with `stacked`: each gets the relevance of its part.

    `constants`, where there are any, holds None in the place of each branch, and what stands in the others; their
    relevance is absorbed, like that of a bias.
    """

    axis: int
    constants: tuple[Tensor | None, ...] = ()
    stacked: bool = False

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        axis = self.axis % (inputs[0].ndim + self.stacked)
        _refuse(axis == 0)
        given = iter(inputs)
        constants = self.constants or (None,) * len(inputs)
        parts = [next(given) if c is None else self._rows(c, inputs[0]) for c in constants]
        places = [i for i, c in enumerate(constants) if c is None]
        if self.stacked:
            parts = [part.unsqueeze(axis) for part in parts]
        sizes = [part.shape[axis] for part in parts]

        def back(r: Relevance) -> Sequence[Relevance]:
            shares = torch.split(r.tensor, sizes, axis)
            homes = [shares[i].squeeze(axis) if self.stacked else shares[i] for i in places]
            return [Relevance(a, home, is_factor=r.is_factor) for a, home in zip(inputs, homes, strict=True)]

        return torch.cat(parts, axis), back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return all(inputs) and all(c is None or bool((c >= 0).all()) for c in self.constants)

    @staticmethod
    def _rows(constant: Tensor, a: Tensor) -> Tensor:
        return constant.to(a).repeat(len(a) // len(constant), *[1] * (constant.ndim - 1))


@dataclass(frozen=True, eq=False)
class Extreme(Operation):
    """The larger (or the smaller) of two branches, value by value: relevance goes to the winner, the first if equal."""

    largest: bool = True

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        a, b = inputs
        z = torch.maximum(a, b) if self.largest else torch.minimum(a, b)
        won = z == a

        def back(r: Relevance) -> Sequence[Relevance]:
            shares = (r.tensor.masked_fill(~won, 0), r.tensor.masked_fill(won, 0))
            homes = [share.sum_to_size(v.shape) for share, v in zip(shares, inputs, strict=True)]
            return [Relevance(v, home, is_factor=r.is_factor) for v, home in zip(inputs, homes, strict=True)]

        return _checked_batch(z, a, b), back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return any(inputs) if self.largest else all(inputs)
