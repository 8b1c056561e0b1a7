"""What attention is made of, beside layers: softmax, and products of two matrices that are both computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .operations import Back, _checked_batch, _refuse
from .relevance import Relevance
from .ruled import DEFAULTS, OperationKind, Ruled, SignalTakesAll, epsilon_of
from .rules import Rule


@dataclass(frozen=True, eq=False)
class Softmax(Ruled):
    """s = softmax(x) along `axis`.

    Constant: no relevance reaches x. Taylor: R_i = x_i (R_i - s_i sum_j R_j), and 0 where x_i is masked out by
    -inf.
    """

    kind: ClassVar[OperationKind] = "softmax"

    axis: int
    rule: Rule = DEFAULTS["softmax"]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (x,) = inputs
        _refuse(self.axis % x.ndim == 0)
        s = x.softmax(self.axis)

        def back(r: Relevance) -> Sequence[Relevance]:
            if self.rule == DEFAULTS["softmax"]:
                return [Relevance.of(x, torch.zeros_like(x))]
            arrived = r.dense()
            finite = x.masked_fill(x == -torch.inf, 0)
            return [Relevance.of(x, finite * (arrived - s * arrived.sum(self.axis, keepdim=True)))]

        return s, back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return True

    def gives_product(self, arriving: bool) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class Product(Ruled):
    """O = A V, a product of matrices over the last two axes. `signal` is the factor that is no attention: 0, 1 or None.

    SignalTakesAll: R_V = V * A^T (R / (O + eps sign O)), the same mirrored for the signal A. Uniform, and where there
    is no telling which is the signal: R_A = A * ((R / (2 O + eps sign O)) V^T) and R_V = V * (A^T (R / (2 O + ...))).
    """

    kind: ClassVar[OperationKind] = "product"

    signal: int | None = None
    equation: tuple[str, str, str] | None = None
    """The indices of A, V and O, for a product spelled out with torch.einsum."""
    rule: Rule = DEFAULTS["product"]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        a, v = inputs
        o = self._product(a, v)

        def back(r: Relevance) -> Sequence[Relevance]:
            eps, alone = epsilon_of(self.rule), isinstance(self.rule, SignalTakesAll) and self.signal is not None
            share = r.over_values(eps) if alone else r.over_values(eps / 2) / 2
            nothing = {1 - self.signal} if alone and self.signal is not None else set()
            pulled = [
                torch.zeros_like(x) if factor in nothing else towards(share, other).sum_to_size(x.shape)
                for factor, (x, other, towards) in enumerate(
                    ((a, v, self._towards_first), (v, a, self._towards_second))
                )
            ]
            return [Relevance.product(x, factor) for x, factor in zip((a, v), pulled, strict=True)]

        return o, back

    def _product(self, a: Tensor, v: Tensor) -> Tensor:
        if self.equation is None:
            _refuse(min(a.ndim, v.ndim) < 3)
            return _checked_batch(a @ v, a, v)
        first, second, out = self.equation
        o: Tensor = torch.einsum(f"{first},{second}->{out}", a, v)
        return o

    def _towards_first(self, share: Tensor, v: Tensor) -> Tensor:
        if self.equation is None:
            return share @ v.mT
        first, second, out = self.equation
        pulled: Tensor = torch.einsum(f"{out},{second}->{first}", share, v)
        return pulled

    def _towards_second(self, share: Tensor, a: Tensor) -> Tensor:
        if self.equation is None:
            return a.mT @ share
        first, second, out = self.equation
        pulled: Tensor = torch.einsum(f"{out},{first}->{second}", share, a)
        return pulled

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return all(inputs)

    def gives_product(self, arriving: bool) -> bool:
        return True


def by_width(query: Tensor, scale: float | None) -> Tensor:
    """Queries times `scale`, by default one over the root of their width."""
    return query * (query.shape[-1] ** -0.5 if scale is None else scale)


def causal(scores: Tensor) -> Tensor:
    """Scores [..., L, S] with -inf wherever a later key would be seen."""
    return scores + scores.new_full(scores.shape[-2:], float("-inf")).triu(1)


def additive(mask: Any) -> Any:
    """A mask as what is added to the scores: -inf where attention is not allowed."""
    if mask is None:
        return 0.0
    if isinstance(mask, Tensor) and mask.dtype == torch.bool:
        return torch.zeros(mask.shape, device=mask.device).masked_fill(mask, -torch.inf)
    return mask
