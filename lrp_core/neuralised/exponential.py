"""Kernels exp(-gamma D) of a distance D that is a sum over the features: they are differentiable, and no sums."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .kernels import Kernel


@dataclass(frozen=True)
class Exponential(Kernel):
    """exp(-gamma D(x, u)), D the sum over the features of a distance. Raises `InputError` unless 0 < gamma < inf."""

    gamma: float = 1.0

    def __post_init__(self) -> None:
        gamma: Any = self.gamma
        if isinstance(gamma, bool) or not isinstance(gamma, int | float) or not 0 < gamma < float("inf"):
            raise InputError(f"gamma must be a number above 0, not {gamma!r}")

    @abstractmethod
    def distances(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """D(x_i, u_j)."""

    @abstractmethod
    def slopes(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], a: Float[Tensor, "n m"]) -> Float[Tensor, "n d"]:
        """sum_i a_i dD(x, u_i) / dx_d, with coefficients `a` of each row's own; 0 where x_d = 0 may stand in its place.

        The relevance of such a feature does not ask for it: it is multiplied by x_d - x0_d = 0.
        """

    def matrix(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return self.distances(x, u).mul_(-self.gamma).exp_()

    def at_zero(self, u: Float[Tensor, "m d"]) -> Float[Tensor, " m"]:
        return self.matrix(u.new_zeros(1, u.shape[1]), u)[0]

    def gradient(
        self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], a: Float[Tensor, " m"]
    ) -> Float[Tensor, "n d"]:
        """sum_i a_i dk(x, u_i) / dx_d, with the same gaps as `slopes`."""
        return -self.gamma * self.slopes(x, u, self.matrix(x, u) * a)


@dataclass(frozen=True)
class Rbf(Exponential):
    """k(x, u) = exp(-gamma sum_d (x_d - u_d)^2)."""

    def distances(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        squares = (x**2).sum(1)[:, None] + (u**2).sum(1)
        return torch.addmm(squares, x, u.T, alpha=-2).clamp_(min=0)

    def slopes(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], a: Float[Tensor, "n m"]) -> Float[Tensor, "n d"]:
        return 2 * (x * a.sum(1, keepdim=True) - a @ u)


@dataclass(frozen=True)
class ExpChi2(Exponential):
    """k(x, u) = exp(-gamma sum_d (x_d - u_d)^2 / (x_d + u_d)), scikit-learn's `chi2_kernel`."""

    needs_counts: ClassVar[bool] = True

    def distances(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """By (x - u)^2 / (x + u) = x + u - 4 x u / (x + u), of which the last is 0 where x is."""
        columns = u.T.contiguous()
        found = x.new_zeros(len(x), len(u))
        for row, result in zip(x, found, strict=True):
            present = row.nonzero()[:, 0]
            own, others = row[present, None], columns[present]
            torch.sum(others.div(own + others).mul_(own), 0, out=result)
        return found.mul_(-4).add_(x.sum(1)[:, None]).add_(u.sum(1)).clamp_(min=0)

    def slopes(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], a: Float[Tensor, "n m"]) -> Float[Tensor, "n d"]:
        """By (x - u)(x + 3 u) / (x + u)^2 = 1 - (2 u / (x + u))^2."""
        columns = u.T.contiguous()
        found = torch.zeros_like(x)
        for row, result, weights in zip(x, found, a, strict=True):
            present = row.nonzero()[:, 0]
            others = columns[present]
            result[present] = weights.sum() - others.div(row[present, None] + others).mul_(2).square_() @ weights
        return found
