"""Sums of branches under a rule of their own: z+, epsilon, or by magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .contributions import STABILISER
from .operations import Back, Sum
from .relevance import Relevance
from .ruled import DEFAULTS, Magnitude, epsilon_of
from .rules import Rule, Zero, ZPlus


@dataclass(frozen=True, eq=False)
class SharedSum(Sum):
    """A sum as the linear layer z = sum_i sign_i a_i + constant.

    ZPlus: R_i = (sign_i a_i)+ / sum_i (sign_i a_i)+ R, the constant in neither, like the bias of a layer. Magnitude:
    R_i = |a_i| / (sum_i |a_i| + |constant|) R. Epsilon: R_i = sign_i a_i / (z + eps sign z) R.
    """

    rule: Rule = DEFAULTS["sum"]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        total, _ = super().run(*inputs)

        def back(r: Relevance) -> Sequence[Relevance]:
            share = self._share(r, inputs)
            factors = [self._towards(share, sign, a) for sign, a in zip(self.signs, inputs, strict=True)]
            return [Relevance.product(a, factor) for a, factor in zip(inputs, factors, strict=True)]

        return total, back

    def _share(self, r: Relevance, inputs: Sequence[Tensor]) -> Tensor:
        """R over the sum of what the rule counts of each branch."""
        match self.rule:
            case ZPlus():
                counted = [(sign * a).clamp(min=0) for sign, a in zip(self.signs, inputs, strict=True)]
            case Magnitude():
                counted = [*(a.abs() for a in inputs), self._constant(inputs).abs()]
            case _:
                return r.over_values(epsilon_of(self.rule))
        denominator = torch.zeros_like(r.values)
        for part in counted:
            denominator += part
        return r.over(denominator.add_(max(STABILISER, torch.finfo(denominator.dtype).tiny)))

    def _constant(self, inputs: Sequence[Tensor]) -> Tensor:
        """The constant in the shape of the sum."""
        nothing = [torch.zeros_like(a) for a in inputs]
        return super().run(*nothing)[0]

    def _towards(self, share: Tensor, sign: int, a: Tensor) -> Tensor:
        """What relevance at a branch is a multiple of, apart from its values."""
        match self.rule:
            case ZPlus():
                counts = sign * (sign * a > 0).to(a)
            case Magnitude():
                counts = torch.sign(a)
            case _:
                return (sign * share).sum_to_size(a.shape)
        return (counts * share).sum_to_size(a.shape)


def under(operation: Sum, rule: Rule) -> Sum:
    """A sum under a rule; in proportion, which is LRP-0, it stays what it is."""
    if isinstance(rule, Zero):
        return operation
    return SharedSum(**{field.name: getattr(operation, field.name) for field in fields(Sum)}, rule=rule)
