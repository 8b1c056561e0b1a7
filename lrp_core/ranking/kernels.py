"""A network of kernels: what a set of inputs is worth to a smooth classifier, told in a tenth of a second.

Kernel ridge regression with the radial kernel k(x, z) = exp(-D / w), D the squared distance on some of the inputs
and w the width, fits one output for each class to references, and is judged by queries. Written out, it is a
network of two layers: a layer of kernels, then a linear one, a = (K + ridge I)^-1 Y, solved for exactly rather
than trained (Rasmussen and Williams 2006, chapter 2). A vote of nearest neighbours (`neighbours`) hears only what
is near; this network is of the kind of support vector machines and of trained networks, whose boundaries are smooth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from .neighbours import Images

WIDTHS: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
"""Candidates for the width, in multiples of the number of inputs times their variance: support vector machines
take the multiple 1 (scikit-learn's gamma="scale")."""

TEMPERATURES: tuple[float, ...] = (0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
"""Candidates for the temperature that outputs are divided by, where 1 is the output for the right class."""


BLOCK = 256
"""Queries whose kernels are computed together."""


@dataclass(frozen=True)
class Smoothness:
    """The kernel's width, a squared distance, and the temperature of the softmax."""

    width: float
    temperature: float


class KernelNetwork:
    """Kernel ridge regression on `references` for any set of inputs, and its loss on `queries`.

    Labels must lie in 0 to n_classes - 1. `ridge` is added to the kernel matrix's diagonal, which is 1.
    """

    def __init__(self, references: Images, queries: Images, n_classes: int, ridge: float) -> None:
        self.references, self.queries, self.ridge = references, queries, ridge
        self.targets = one_hot(references.labels, n_classes).to(references.inputs) - 1 / n_classes

    def loss(self, columns: Sequence[int], smoothness: Smoothness) -> float:
        """Mean cross-entropy of the queries, in nats, with these inputs."""
        fitted = self._fit(columns, smoothness.width)
        return float(self._cross_entropy(self._outputs(fitted, smoothness.width), smoothness.temperature))

    def gradient(self, columns: Sequence[int], smoothness: Smoothness, among: Sequence[int]) -> Float[Tensor, " among"]:
        """First-order change of the loss with the weight of each input of `among` in all squared distances.

        The sum over pairs of images of dL/dk * k * -d / width, d being their squared difference in that input:
        gradient x input of the kernels' exponents, split up among the inputs. The references' outputs are solved
        for again, to first order: an input that is in has no advantage over one that is out.
        """
        fitted, width = self._fit(columns, smoothness.width), smoothness.width
        chosen = self.references.inputs_of(among)
        known, asked = self.references.inputs[:, chosen], self.queries.inputs[:, chosen]
        across, target = torch.zeros(len(chosen), dtype=known.dtype), torch.zeros_like(fitted.weights)
        for rows, kernel in self._kernels(fitted, width):
            outputs = _times(kernel, fitted.weights) / smoothness.temperature
            slope = outputs.softmax(1) - one_hot(self.queries.labels[rows], outputs.shape[1])
            slope /= smoothness.temperature * len(self.queries.labels)
            target += (slope.T @ kernel).T
            across += _weighted_squares(kernel.mul_(slope @ fitted.weights.T), asked[rows], known)
        adjoint = torch.cholesky_solve(target, fitted.factor)
        within = _weighted_squares(fitted.within * (adjoint @ fitted.weights.T), known, known)
        slopes: Tensor = (within - across) / width
        if self.references.column is None:
            return slopes
        return slopes.new_zeros(self.references.n_columns).index_add_(0, self.references.column[chosen], slopes)[
            torch.tensor(among)
        ]

    def best_smoothness(self, columns: Sequence[int]) -> Smoothness:
        """The candidates of the least loss."""
        inputs = self.references.inputs[:, self.references.inputs_of(columns)]
        scale = inputs.shape[1] * float(inputs.var(correction=0)) or 1.0
        candidates = []
        for width in (factor * scale for factor in WIDTHS):
            outputs = self._outputs(self._fit(columns, width), width)
            candidates += [(float(self._cross_entropy(outputs, t)), width, t) for t in TEMPERATURES]
        return Smoothness(*min(candidates)[1:])

    def _fit(self, columns: Sequence[int], width: float) -> _Fitted:
        chosen = self.references.inputs_of(columns)
        known, asked = self.references.inputs[:, chosen], self.queries.inputs[:, chosen]
        within = _kernel(known, known, width)
        factor = torch.linalg.cholesky(within + self.ridge * torch.eye(len(known), dtype=known.dtype))
        return _Fitted(known, asked, within, factor, torch.cholesky_solve(self.targets, factor))

    def _kernels(self, fitted: _Fitted, width: float) -> Iterator[tuple[slice, Tensor]]:
        """Kernels of few queries at a time with all references, which stay in the cache."""
        for start in range(0, len(fitted.queries), BLOCK):
            rows = slice(start, start + BLOCK)
            yield rows, _kernel(fitted.queries[rows], fitted.references, width)

    def _outputs(self, fitted: _Fitted, width: float) -> Tensor:
        return torch.cat([_times(kernel, fitted.weights) for _, kernel in self._kernels(fitted, width)])

    def _cross_entropy(self, outputs: Tensor, temperature: float) -> Tensor:
        return cross_entropy(outputs / temperature, self.queries.labels)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """References [n, k] and queries [m, k], kernels within the references [n, n], and the network fitted with them."""

    references: Tensor
    queries: Tensor
    within: Tensor
    factor: Tensor
    weights: Tensor


def _kernel(a: Tensor, b: Tensor, width: float) -> Tensor:
    """exp(-squared distance / width) of every row of a [m, inputs] from every row of b [n, inputs]."""
    products = torch.addmm(b.square().sum(1), a, b.T, alpha=-2).add_(a.square().sum(1)[:, None])
    return products.div_(-width).exp_()


def _times(kernel: Tensor, weights: Tensor) -> Tensor:
    """kernel @ weights, as a product from the left: with few columns on the right it would take twice as long."""
    return (weights.T @ kernel.T).T


def _weighted_squares(weights: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The sum over rows j of a [m, inputs] and k of b [n, inputs] of weights[j, k] (a[j] - b[k])^2."""
    return weights.sum(1) @ a.square() + weights.sum(0) @ b.square() - 2 * (a * (weights @ b)).sum(0)
