"""Relevance on its way back, kept as a product wherever a rule allows it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

Route = Callable[[Tensor], Tensor]


class Relevance:
    """Relevance R at the values a of one place in the network, either itself or as the factor c of R = a c.

    Most rules give R_j = a_j sum_k w_jk R_k / d_k, and all that a rule ever does with relevance is to divide it
    by a denominator d. So the multiplication by a waits until it meets that division: a c / d, which is c itself
    where d = a. This saves passes over memory, and it is exact where a is zero and a c / a would be 0 / 0.

    `values` are a, `tensor` is c if `is_factor` and else R, both in the shape of the values, and `nonnegative` says
    that no value is below zero, as far as is known.
    """

    def __init__(self, values: Tensor, tensor: Tensor, *, is_factor: bool, nonnegative: bool = False) -> None:
        self.values = values
        self._tensor = tensor
        self.is_factor = is_factor
        self.nonnegative = nonnegative

    @classmethod
    def product(cls, values: Tensor, factor: Tensor, *, nonnegative: bool = False) -> Relevance:
        """R = values * factor."""
        return cls(values, factor, is_factor=True, nonnegative=nonnegative)

    @classmethod
    def of(cls, values: Tensor, relevance: Tensor) -> Relevance:
        """R = relevance, at `values`."""
        return cls(values, relevance, is_factor=False)

    @property
    def tensor(self) -> Tensor:
        return self._tensor

    def dense(self) -> Tensor:
        """R itself."""
        return self.values * self.tensor if self.is_factor else self.tensor

    def over(self, denominator: Tensor) -> Tensor:
        """R / denominator, which is not zero anywhere, and whose memory may be used for the result."""
        if not self.is_factor:
            return torch.div(self.tensor, denominator, out=denominator)
        return torch.div(self.values, denominator, out=denominator).mul_(self.tensor)

    def over_values(self, eps: float = 0.0) -> Tensor:
        """R / (a + eps sign(a)), and 0 where that is 0 / 0."""
        if eps:
            eps = max(eps, torch.finfo(self.values.dtype).tiny)
            return self.over(self.values + eps if self.nonnegative else stabilise(self.values, eps))
        if self.is_factor and self.nonnegative:
            masked: Tensor = torch.ops.aten.threshold_backward(self.tensor, self.values, 0)
            return masked
        share = self.tensor if self.is_factor else self.tensor / self.values
        return share.masked_fill(self.values == 0, 0)

    def at(self, values: Tensor, route: Route) -> Relevance:
        """The same at the `values` that these ones are copies of; `route` brings every copy's share home."""
        return _Routed(values, self, route)

    def __add__(self, other: Relevance) -> Relevance:
        if self.is_factor and other.is_factor:
            return Relevance.product(self.values, self.tensor + other.tensor, nonnegative=self.nonnegative)
        return Relevance.of(self.values, self.dense() + other.dense())


class _Routed(Relevance):
    """Relevance at values that others are copies of, not yet brought home from there.

    Dividing it by the values themselves can be done where it is now: there are often fewer copies than values,
    as after max-pooling.
    """

    def __init__(self, values: Tensor, copies: Relevance, route: Route) -> None:
        self.values = values
        self.is_factor = copies.is_factor
        self.nonnegative = copies.nonnegative
        self._copies, self._route = copies, route

    @cached_property
    def _tensor(self) -> Tensor:  # type: ignore[override]
        return self._route(self._copies.tensor)

    def over_values(self, eps: float = 0.0) -> Tensor:
        return self._route(self._copies.over_values(eps))


def stabilise(z: Tensor, eps: float) -> Tensor:
    """z + eps sign(z), with sign(0) = +1: a denominator that is never closer to zero than eps. A tensor of its own."""
    distance = z.new_full((), max(eps, torch.finfo(z.dtype).tiny))
    return torch.where(z < 0, -distance, distance).add_(z)
