"""A network of kernels: what a set of inputs is worth to a smooth classifier, told in a tenth of a second.

Kernel ridge regression with the radial kernel k(x, z) = exp(-D / w), D the squared distance on some of the inputs
and w the width, fits one output for each class to references, and is judged by queries. Written out, it is a
network of two layers: a layer of kernels, then a linear one, a = (K + ridge I)^-1 Y, solved for exactly rather
than trained (Rasmussen and Williams 2006, chapter 2). A vote of nearest neighbours (`neighbours`) hears only what
is near; this network is of the kind of support vector machines and of trained networks, whose boundaries are smooth.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        return float(self._cross_entropy(self._solve(columns, smoothness.width).outputs, smoothness.temperature))

    def gradient(self, columns: Sequence[int], smoothness: Smoothness, among: Sequence[int]) -> Float[Tensor, " among"]:
        """First-order change of the loss with the weight of each input of `among` in all squared distances.

        The sum over pairs of images of dL/dk * k * -d / width, d being their squared difference in that input:
        gradient x input of the kernels' exponents, split up among the inputs. The references' outputs are solved
        for again, to first order: an input that is in has no advantage over one that is out.
        """
        solved = self._solve(columns, smoothness.width)
        with torch.enable_grad():
            outputs = solved.outputs.requires_grad_()
            (slope,) = torch.autograd.grad(self._cross_entropy(outputs, smoothness.temperature), outputs)
        adjoint = torch.cholesky_solve((slope.T @ solved.across).T, solved.factor)
        chosen = torch.tensor(among)
        a, b = self.references.inputs[:, chosen], self.queries.inputs[:, chosen]
        across = _weighted_squares(solved.across * (slope @ solved.weights.T), b, a)
        within = _weighted_squares(solved.within * (adjoint @ solved.weights.T), a, a)
        return (within - across) / smoothness.width

    def best_smoothness(self, columns: Sequence[int]) -> Smoothness:
        """The candidates of the least loss."""
        inputs = self.references.inputs[:, torch.tensor(columns)]
        scale = len(columns) * float(inputs.var(correction=0)) or 1.0
        found = []
        for width in (factor * scale for factor in WIDTHS):
            outputs = self._solve(columns, width).outputs
            found += [(float(self._cross_entropy(outputs, t)), width, t) for t in TEMPERATURES]
        return Smoothness(*min(found)[1:])

    def _solve(self, columns: Sequence[int], width: float) -> _Solved:
        chosen = torch.tensor(columns)
        a, b = self.references.inputs[:, chosen], self.queries.inputs[:, chosen]
        within, across = _kernel(a, a, width), _kernel(b, a, width)
        factor = torch.linalg.cholesky(within + self.ridge * torch.eye(len(a), dtype=a.dtype))
        weights = torch.cholesky_solve(self.targets, factor)
        return _Solved(within, across, factor, weights, (weights.T @ across.T).T)

    def _cross_entropy(self, outputs: Tensor, temperature: float) -> Tensor:
        return cross_entropy(outputs / temperature, self.queries.labels)


@dataclass(frozen=True, eq=False)
class _Solved:
    """Kernels within the references [n, n] and across from queries [m, n], and the network fitted with them."""

    within: Tensor
    across: Tensor
    factor: Tensor
    weights: Tensor
    outputs: Tensor


def _kernel(a: Tensor, b: Tensor, width: float) -> Tensor:
    """exp(-squared distance / width) of every row of a [m, inputs] from every row of b [n, inputs]."""
    products = torch.addmm(b.square().sum(1), a, b.T, alpha=-2).add_(a.square().sum(1)[:, None])
    return products.div_(-width).exp_()


def _weighted_squares(weights: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The sum over rows j of a [m, inputs] and k of b [n, inputs] of weights[j, k] (a[j] - b[k])^2."""
    return weights.sum(1) @ a.square() + weights.sum(0) @ b.square() - 2 * (a * (weights @ b)).sum(0)
