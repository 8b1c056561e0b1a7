"""Normalisations by statistics of the very values: LayerNorm, RMSNorm, GroupNorm, InstanceNorm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .operations import Back
from .relevance import Relevance
from .ruled import DEFAULTS, OperationKind, Ruled, epsilon_of
from .rules import Pass, Rule


@dataclass(frozen=True, eq=False)
class Normalisation(Ruled):
    """z = (a - mean) / s * weight + bias with s^2 = variance + eps; not `centred`: z = a / s * weight + bias.

    `blocks` gives the values as [..., n], with mean and s taken over the last axis; weight and bias broadcast against
    the values; an `eps` of None is the number type's own. Zero and Epsilon: s is a constant, and what is left is a
    linear layer whose bias absorbs its share (Ali et al. 2022, sec. 3.2). Pass: R_j = R_k (Achtibat et al. 2024,
    prop. 3.4).
    """

    kind: ClassVar[OperationKind] = "normalisation"

    blocks: Callable[[Tensor], Tensor]
    weight: Tensor | None = None
    bias: Tensor | None = None
    eps: float | None = 1e-5
    centred: bool = True
    rule: Rule = DEFAULTS["normalisation"]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        blocks = self._centred(self.blocks(a))
        eps = torch.finfo(a.dtype).eps if self.eps is None else self.eps
        scale = blocks.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        z = (blocks * scale).reshape(a.shape)
        if self.weight is not None:
            z = z * self.weight
        if self.bias is not None:
            z = z + self.bias

        def back(r: Relevance) -> Sequence[Relevance]:
            if isinstance(self.rule, Pass):
                return [Relevance.of(a, r.dense())]
            share = r.over_values(epsilon_of(self.rule))
            share = share if self.weight is None else share * self.weight
            return [Relevance.product(a, self._centred(self.blocks(share) * scale).reshape(a.shape))]

        return z, back

    def gives_product(self, arriving: bool) -> bool:
        return not isinstance(self.rule, Pass)

    def _centred(self, blocks: Tensor) -> Tensor:
        return blocks - blocks.mean(-1, keepdim=True) if self.centred else blocks


def over_last_axes(
    axes: int, weight: Tensor | None, bias: Tensor | None, eps: float | None, *, centred: bool = True
) -> Normalisation:
    """LayerNorm, and without centring RMSNorm, over so many of the last axes."""
    return Normalisation(lambda a: a.flatten(-axes), weight, bias, eps, centred)


def over_groups(groups: int | None, weight: Tensor | None, bias: Tensor | None, eps: float) -> Normalisation:
    """GroupNorm of maps [n, channels, ...] in so many groups; InstanceNorm, each channel a group, for None."""
    return _Channelwise(lambda a: a.reshape(len(a), a.shape[1] if groups is None else groups, -1), weight, bias, eps)


@dataclass(frozen=True, eq=False)
class _Channelwise(Normalisation):
    """One whose weight and bias are given for each channel [channels]."""

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        shape = (-1, *[1] * (inputs[0].ndim - 2))
        weight, bias = (None if p is None else p.view(shape) for p in (self.weight, self.bias))
        return Normalisation(self.blocks, weight, bias, self.eps, self.centred, self.rule).run(*inputs)
