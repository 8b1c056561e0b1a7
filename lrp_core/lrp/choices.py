"""What is asked of values, and what is taken of one or of another by the answer: masks and where they apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .operations import Back, Operation, _checked_batch, _for_batch, _refuse
from .relevance import Relevance


@dataclass(frozen=True, eq=False)
class Predicate(Operation):
    """What is true or false of values, and the number that stands for it: no relevance passes."""

    function: Callable[..., Tensor]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        z = self.function(*inputs)
        _refuse(z.ndim < 1 or len(z) != len(inputs[0]))
        return z, lambda r: [Relevance.of(a, r.tensor.new_zeros(a.shape)) for a in inputs]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return True

    def gives_product(self, arriving: bool) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class Selection(Operation):
    """Values of `then` where `mask` is true, else of `other`: relevance goes to the one that was taken.

    Each of the three is a constant, or None in the place of a computed value; what constants get is absorbed.
    """

    mask: Tensor | None
    then: Tensor | float | None
    other: Tensor | float | None

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        given = iter(inputs)
        parts = [next(given) if p is None else _for_batch(p, inputs[0]) for p in (self.mask, self.then, self.other)]
        mask, then, other = parts
        assert isinstance(mask, Tensor), "a mask is a tensor"
        z = torch.where(mask, then, other)
        computed = [p is None for p in (self.mask, self.then, self.other)]

        def back(r: Relevance) -> Sequence[Relevance]:
            relevances = []
            if computed[0]:
                relevances.append(Relevance.of(mask, r.tensor.new_zeros(mask.shape)))
            for part, named, left in ((then, computed[1], ~mask), (other, computed[2], mask)):
                if named and isinstance(part, Tensor):
                    home = r.tensor.masked_fill(left, 0).sum_to_size(part.shape)
                    relevances.append(Relevance(part, home, is_factor=r.is_factor))
            return relevances

        return _checked_batch(z, *inputs), back
