"""The steps of a network that need no rule, because it is plain where their relevance goes. Nothing here uses autograd.

Running one gives its output and the way back: a function from relevance at the output to relevance at each input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ..errors import InputError
from ..layers import Frame, Scatter
from .relevance import Relevance

Back: TypeAlias = Callable[[Relevance], Sequence[Relevance]]
"""Relevance at the output of a step -> relevance at each of its inputs."""


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

    @property
    def absorbs(self) -> bool:
        """Whether a constant takes a share of the relevance, which reaches no input."""
        return False


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
            return [Relevance(a, r.tensor * self.constant if r.is_factor else r.tensor, is_factor=r.is_factor)]

        return a * self.constant, back

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

    Relevance goes back to where each value came from. `in_order` says that values keep their order and number.
    """

    function: Callable[[Tensor], Tensor]
    in_order: bool = False

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        z = self.function(a)
        if z.ndim < 1 or len(z) != len(a):
            raise InputError(f"a view of shape {tuple(z.shape)} mixes the {len(a)} images of the batch")
        return z, lambda r: [r.at(a, lambda t: self._home(t, a))]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0]

    def _home(self, moved: Tensor, a: Tensor) -> Tensor:
        if self.in_order:
            return moved.reshape(a.shape)
        # Positions count from 1, so that constants set in by padding, which are 0, come from nowhere.
        positions = torch.arange(1, a[:1].numel() + 1, device=a.device, dtype=torch.float64).view(1, *a.shape[1:])
        origin = self.function(positions).round().long().flatten()
        home = moved.new_zeros(len(moved), positions.numel() + 1)
        return home.index_add_(1, origin, moved.reshape(len(moved), -1))[:, 1:].reshape(a.shape)


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

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
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
            return [Relevance.product(a, sign * share) for sign, a in zip(self.signs, inputs, strict=True)]

        return total, back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        rising = isinstance(self.constant, int | float) and self.constant >= 0 and min(self.signs) > 0
        return rising and all(inputs)

    def gives_product(self, arriving: bool) -> bool:
        return True

    @property
    def absorbs(self) -> bool:
        return isinstance(self.constant, Tensor) or self.constant != 0


@dataclass(frozen=True, eq=False)
class Concatenation(Operation):
    """Branches side by side along `axis`: each gets the relevance of its part."""

    axis: int

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        sizes = [a.shape[self.axis] for a in inputs]

        def back(r: Relevance) -> Sequence[Relevance]:
            parts = torch.split(r.tensor, sizes, self.axis)
            return [Relevance(a, part, is_factor=r.is_factor) for a, part in zip(inputs, parts, strict=True)]

        return torch.cat(inputs, self.axis), back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return all(inputs)


@dataclass(frozen=True, eq=False)
class Scattering(Operation):
    """Kept pixels onto their canvas: relevance of the filled places is dropped, as they are no inputs."""

    layer: Scatter

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        return self.layer.forward(a), lambda r: [r.at(a, self.layer.gather)]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0] and self.layer.fill >= 0

    @property
    def absorbs(self) -> bool:
        return self.layer.fill != 0


@dataclass(frozen=True, eq=False)
class Framing(Operation):
    """A map set into a constant surround: relevance of the surround is absorbed, like that of a bias."""

    layer: Frame

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        return self.layer.forward(a), lambda r: [r.at(a, lambda t: self.layer.crop(t, like=a))]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0] and bool((self.layer.surround >= 0).all())

    @property
    def absorbs(self) -> bool:
        return bool(self.layer.surround.any())
