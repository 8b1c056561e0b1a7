"""The relevance of a kernel machine's inputs, as an operation of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UnsupportedLayer
from ..lrp.operations import Back, Operation
from ..lrp.relevance import Relevance
from .additive import Additive
from .exponential import Exponential
from .kernels import Kernel
from .roots import root_between


@dataclass(frozen=True, eq=False)
class Expansion(Operation):
    """f_k(x) = b_k + sum_i c_ki k(x, u_i), explained as Bach et al. 2015 do for bags of words.

    Kernels that are sums: R_d = b / d + sum_i c_i k_d(x_d, u_id). Exponential ones: the first Taylor term at a root x0,
    R_d = (x - x0)_d df/dx_d (x0) + f(x0) / d, whose sum is not f(x) where f is curved. x0 lies between x and the
    support vector of the other sign that is nearest to it, by the kernel. If all have the sign of f(x), x0 is the one
    of the smallest |f|, and f(x0) is not zero. With several outputs explained, each gets R_k / f_k of its own.
    """

    kernel: Kernel
    vectors: Float[Tensor, "m d"]
    coefficients: Float[Tensor, "classes m"]
    bias: Float[Tensor, " classes"]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (given,) = inputs
        x = self.kernel.checked(given, "inputs").to(self.vectors)
        z = self._outputs(x)

        def back(r: Relevance) -> Sequence[Relevance]:
            share = r.over_values()
            if isinstance(self.kernel, Additive):
                found = self.kernel.shares(x, self.vectors, self.coefficients, share)
                found += (share @ self.bias)[:, None] / x.shape[1]
            else:
                found = torch.zeros_like(x)
                for k in share.any(0).nonzero()[:, 0].tolist():
                    rows = share[:, k].nonzero()[:, 0]
                    found[rows] += share[rows, k, None] * self._taylor(x[rows], z[rows, k], k)
            return [Relevance.of(given, found.to(given))]

        return z, back

    def gives_product(self, arriving: bool) -> bool:
        return False

    def _outputs(self, x: Tensor) -> Tensor:
        return self.kernel.expansion(x, self.vectors, self.coefficients) + self.bias

    @cached_property
    def _at_vectors(self) -> Float[Tensor, "m classes"]:
        return self._outputs(self.vectors)

    def _taylor(self, x: Float[Tensor, "n d"], f: Float[Tensor, " n"], k: int) -> Float[Tensor, "n d"]:
        if not isinstance(self.kernel, Exponential):
            raise UnsupportedLayer(f"kernel {self.kernel} is neither a sum over features nor differentiable")
        needed = self.coefficients[k].nonzero()[:, 0]
        vectors, factors, bias = self.vectors[needed], self.coefficients[k, needed], self.bias[k]

        def output(rows: Tensor) -> Tensor:
            return self.kernel.matrix(rows, vectors) @ factors + bias

        other = self._other_side(x, f, vectors, self._at_vectors[needed, k])
        root, at_root = root_between(x, f, other, output)
        gradient = self.kernel.gradient(root, vectors, factors)
        return (x - root) * gradient + at_root[:, None] / x.shape[1]

    def _other_side(self, x: Tensor, f: Tensor, vectors: Tensor, at_vectors: Tensor) -> Tensor:
        """For each row, the nearest support vector of the other sign, or that of the smallest |f|."""
        nearness = self.kernel.matrix(x, vectors)
        same = (at_vectors > 0) == (f > 0)[:, None]
        chosen = nearness.masked_fill(same, -1.0).argmax(1)
        chosen[same.all(1)] = at_vectors.abs().argmin()
        return vectors[chosen]
