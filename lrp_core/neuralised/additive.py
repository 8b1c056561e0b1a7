"""Kernels that are sums over the features, k(x, u) = sum_d k_d(x_d, u_d): their relevance is exact.

In all of them k_d(0, u_d) = 0: a word that an image lacks adds nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from .kernels import Kernel


class Additive(Kernel):
    """A sum over the features of `part`, the kernel of one feature."""

    @abstractmethod
    def part(self, x: Tensor, u: Tensor) -> Tensor:
        """k_d(x_d, u_d), element by element, for x_d that are not 0."""

    def at_zero(self, u: Float[Tensor, "m d"]) -> Float[Tensor, " m"]:
        return u.new_ones(len(u))

    def matrix(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        columns = u.T.contiguous()
        found = x.new_zeros(len(x), len(u))
        for row, result in zip(x, found, strict=True):
            present = row.nonzero()[:, 0]
            torch.sum(self.part(row[present, None], columns[present]), 0, out=result)
        return found

    def shares(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], a: Float[Tensor, "n m"]) -> Float[Tensor, "n d"]:
        """sum_i a_i k_d(x_d, u_id) for each feature d, with coefficients `a` of each row's own."""
        columns = u.T.contiguous()
        found = torch.zeros_like(x)
        for row, result, weights in zip(x, found, a, strict=True):
            present = row.nonzero()[:, 0]
            result[present] = self.part(row[present, None], columns[present]) @ weights
        return found


@dataclass(frozen=True)
class Intersection(Additive):
    """Histogram intersection: k(x, u) = sum_d min(x_d, u_d)."""

    needs_counts: ClassVar[bool] = True

    def part(self, x: Tensor, u: Tensor) -> Tensor:
        return torch.minimum(x, u)


@dataclass(frozen=True)
class AdditiveChi2(Additive):
    """Additive chi2: k(x, u) = sum_d 2 x_d u_d / (x_d + u_d) (Vedaldi and Zisserman 2012).

    For rows of one sum this is 1/2 of that sum of both plus 1/2 scikit-learn's `additive_chi2_kernel`, which is
    - sum_d (x_d - u_d)^2 / (x_d + u_d).
    """

    needs_counts: ClassVar[bool] = True

    def part(self, x: Tensor, u: Tensor) -> Tensor:
        return 2 * x * (u / (x + u))


@dataclass(frozen=True)
class Linear(Additive):
    """k(x, u) = sum_d x_d u_d."""

    def part(self, x: Tensor, u: Tensor) -> Tensor:
        return x * u

    def matrix(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return x @ u.T

    def shares(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], a: Float[Tensor, "n m"]) -> Float[Tensor, "n d"]:
        return x * (a @ u)
