"""What attention is made of, beside layers: softmax, and products of two matrices that are both computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

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
                return [Relevance.product(x, torch.zeros_like(x))]
            arrived = r.dense()
            finite = x.masked_fill(x == -torch.inf, 0)
            return [Relevance.of(x, finite * (arrived - s * arrived.sum(self.axis, keepdim=True)))]

        return s, back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return True

    def gives_product(self, arriving: bool) -> bool:
        return self.rule == DEFAULTS["softmax"]


@dataclass(frozen=True, eq=False)
class Product(Ruled):
    """O = A V, a product of matrices over the last two axes. `signal` is the factor that is no attention: 0, 1 or None.

    SignalTakesAll: R_V = V * A^T (R / (O + eps sign O)), the same mirrored for the signal A. Uniform, and where there
    is no telling which is the signal: R_A = A * ((R / (2 O + eps sign O)) V^T) and R_V = V * (A^T (R / (2 O + ...))).
    """

    kind: ClassVar[OperationKind] = "product"

    signal: int | None = None
    rule: Rule = DEFAULTS["product"]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        a, v = inputs
        _refuse(min(a.ndim, v.ndim) < 3)
        o = _checked_batch(a @ v, a, v)

        def back(r: Relevance) -> Sequence[Relevance]:
            eps, alone = epsilon_of(self.rule), isinstance(self.rule, SignalTakesAll) and self.signal is not None
            share = r.over_values(eps) if alone else r.over_values(eps / 2) / 2
            pulled = [
                torch.zeros_like(a) if alone and self.signal == 1 else (share @ v.mT).sum_to_size(a.shape),
                torch.zeros_like(v) if alone and self.signal == 0 else (a.mT @ share).sum_to_size(v.shape),
            ]
            return [Relevance.product(x, factor) for x, factor in zip((a, v), pulled, strict=True)]

        return o, back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return all(inputs)

    def gives_product(self, arriving: bool) -> bool:
        return True
