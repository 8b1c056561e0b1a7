"""Kernels that are sums over the features, k(x, u) = sum_d k_d(x_d, u_d): their relevance is exact.

In all of them k_d(0, u_d) = 0: a word that an image lacks adds nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
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

    def terms(self, x: Float[Tensor, " n"], u: Float[Tensor, " m"], c: Float[Tensor, "k m"]) -> Float[Tensor, "n k"]:
        """sum_j c_kj k_d(x_i, u_j) of one feature, for different x_i above 0 and different u_j, both rising."""
        return self.part(x[:, None], u) @ c.T

    def expansion(
        self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], c: Float[Tensor, "k m"]
    ) -> Float[Tensor, "n k"]:
        total = x.new_zeros(len(x), len(c))
        for _, rows, terms in self._by_feature(x, u, c):
            total.index_add_(0, rows, terms)
        return total

    def shares(
        self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], c: Float[Tensor, "k m"], share: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n d"]:
        """sum_k share_ik sum_j c_kj k_d(x_id, u_jd) for each feature d."""
        found = torch.zeros_like(x)
        for d, rows, terms in self._by_feature(x, u, c):
            found[rows, d] = (terms * share[rows]).sum(1)
        return found

    def _by_feature(self, x: Tensor, u: Tensor, c: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each feature, the rows of x that have it, and its terms in their outputs [rows, k].

        A feature's terms are a function of its value alone, worked out once for each value that occurs (after Maji,
        Berg and Malik 2008).
        """
        for d, (column, others) in enumerate(zip(x.T.contiguous(), u.T.contiguous(), strict=True)):
            rows, known = column.nonzero()[:, 0], others.nonzero()[:, 0]
            if len(rows) and len(known):
                asked, place = column[rows].unique(return_inverse=True)
                values, group = others[known].unique(return_inverse=True)
                weights = c.new_zeros(len(c), len(values)).index_add_(1, group, c[:, known])
                yield d, rows, self.terms(asked, values, weights)[place]


@dataclass(frozen=True)
class Intersection(Additive):
    """Histogram intersection: k(x, u) = sum_d min(x_d, u_d)."""

    needs_counts: ClassVar[bool] = True

    def part(self, x: Tensor, u: Tensor) -> Tensor:
        return torch.minimum(x, u)

    def terms(self, x: Float[Tensor, " n"], u: Float[Tensor, " m"], c: Float[Tensor, "k m"]) -> Float[Tensor, "n k"]:
        """Vectors below x_i count with their own value, those above with x_i."""
        below = torch.searchsorted(u, x)
        before = torch.nn.functional.pad(torch.stack([c, c * u]).cumsum(2), (1, 0))
        return (before[1][:, below] + x * (before[0][:, -1:] - before[0][:, below])).T


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

    def expansion(
        self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], c: Float[Tensor, "k m"]
    ) -> Float[Tensor, "n k"]:
        return x @ (c @ u).T

    def shares(
        self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], c: Float[Tensor, "k m"], share: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n d"]:
        return x * (share @ (c @ u))
