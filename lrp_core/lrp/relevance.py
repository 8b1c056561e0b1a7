"""Relevance on its way back, kept as a product wherever a rule allows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Relevance:
    """Relevance R at the values a of one place in the network, either itself or as the factor c of R = a c.

    Most rules give R_j = a_j sum_k w_jk R_k / d_k, and all that a rule ever does with relevance is to divide it
    by a denominator d. So the multiplication by a waits until it meets that division: a c / d, which is c itself
    where d = a. This saves the passes over memory, and it is exact where a is zero and a c / a would be 0 / 0.
    """

    values: Tensor
    tensor: Tensor
    is_factor: bool

    @classmethod
    def product(cls, values: Tensor, factor: Tensor) -> Relevance:
        """R = values * factor."""
        return cls(values, factor, True)

    @classmethod
    def of(cls, values: Tensor, relevance: Tensor) -> Relevance:
        """R = relevance, at `values`."""
        return cls(values, relevance, False)

    def dense(self) -> Tensor:
        """R itself."""
        return self.values * self.tensor if self.is_factor else self.tensor

    def over(self, denominator: Tensor) -> Tensor:
        """R / denominator, taken as 0 where the denominator is 0 (but c, and not 0 / 0, for `values` itself)."""
        if not self.is_factor:
            return (self.tensor / denominator).masked_fill_(denominator == 0, 0)
        if denominator is self.values:
            return self.tensor
        return (self.values / denominator).mul_(self.tensor)

    def at(self, values: Tensor, route: Callable[[Tensor], Tensor]) -> Relevance:
        """The same at the `values` that these ones are copies of; `route` brings every copy's share home."""
        return Relevance(values, route(self.tensor), self.is_factor)

    def __add__(self, other: Relevance) -> Relevance:
        if self.is_factor and other.is_factor:
            return Relevance.product(self.values, self.tensor + other.tensor)
        return Relevance.of(self.values, self.dense() + other.dense())


def stabilise(z: Tensor, eps: float) -> Tensor:
    """z + eps sign(z), with sign(0) = +1: a denominator that is never closer to zero than eps."""
    if not eps:
        return z
    distance = z.new_full((), max(eps, torch.finfo(z.dtype).tiny))
    return torch.where(z < 0, -distance, distance).add_(z)
