"""How rules share relevance out: in proportion to what each input is said to contribute to each output.

With contributions n_jk of input j to output k, R_j = sum_k n_jk / d_k R_k, where d_k = sum_j n_jk + b_k + eps sign.
Rules differ in their n_jk alone: in the weights that they put for w_jk, and in what they put for a_j.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..errors import InputError
from .affine import Affine
from .relevance import Relevance, stabilise

STABILISER = 1e-9
"""Keeps denominators off zero where a rule has no epsilon of its own; relevance itself is unaffected by it."""

Bound = float | tuple[float, ...]
"""An end of the box that inputs lie in: one number, or one for each channel."""


Outputs = Literal["all", "rising", "falling"]
"""Which outputs a part of a rule is for: all of them, those with z_k >= 0, or those with z_k < 0."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Contributions(ABC):
    """What each input contributes to each output of one layer. All of it counts `weight` times."""

    eps: float = STABILISER
    weight: float = 1.0
    outputs: Outputs = "all"

    @property
    def biased(self) -> Affine | None:
        """The layer whose bias is the b_k of d_k, if there is one."""
        return None

    def for_nonnegative_inputs(self) -> Contributions:
        """The same for inputs that are known never to be negative."""
        return self

    def for_nonnegative_outputs(self) -> Contributions | None:
        """The same for a layer of which only outputs above zero get relevance; None if nothing is left."""
        return None if self.outputs == "falling" else replace(self, outputs="all")

    @abstractmethod
    def total(self, a: Tensor, z: Tensor) -> Tensor:
        """sum_j n_jk + b_k, for the layer's inputs `a` and outputs `z`, in the shape of the latter."""

    @abstractmethod
    def gather(self, a: Tensor, s: Tensor) -> Relevance:
        """sum_k n_jk s_k, at the inputs."""

    def shares(self, a: Tensor, r: Relevance) -> tuple[Tensor, Tensor]:
        """s_k = R_k / d_k, for relevance `r` at the layer's outputs, and the denominators d_k."""
        denominator = stabilise(self.total(a, r.values), self.eps)
        s = r.over(denominator)
        if self.weight != 1:
            s = s * self.weight
        if self.outputs != "all":
            s = s.masked_fill((r.values < 0) == (self.outputs == "rising"), 0)
        return s, denominator

    def propagate(self, a: Tensor, r: Relevance) -> Relevance | None:
        """Relevance at the layer's inputs `a`, for relevance `r` at its outputs; None if it is for none of them."""
        if self.outputs == "falling" and not bool((r.values < 0).any()):
            return None
        return self.gather(a, self.shares(a, r)[0])


@dataclass(frozen=True, eq=False)
class OfLayer(Contributions):
    """n_jk = a_j w_jk, so that sum_j n_jk + b_k is what the layer has computed."""

    layer: Affine

    @property
    def biased(self) -> Affine | None:
        return self.layer

    def total(self, a: Tensor, z: Tensor) -> Tensor:
        return z

    def gather(self, a: Tensor, s: Tensor) -> Relevance:
        return Relevance.product(a, self.layer.pullback(s, a))


@dataclass(frozen=True, eq=False)
class Weighted(OfLayer):
    """n_jk = a_j v_jk, for a layer with other weights v."""

    def total(self, a: Tensor, z: Tensor) -> Tensor:
        return self.layer(a)


@dataclass(frozen=True, eq=False)
class BySign(Contributions):
    """n_jk = a_j+ v_jk + a_j- u_jk: weights v for positive inputs, u for negative ones; v has the bias."""

    positive: Affine
    negative: Affine

    @property
    def biased(self) -> Affine | None:
        return self.positive

    def for_nonnegative_inputs(self) -> Contributions:
        return Weighted(self.positive, eps=self.eps, weight=self.weight, outputs=self.outputs)

    def total(self, a: Tensor, z: Tensor) -> Tensor:
        if not bool((a < 0).any()):
            return self.positive(a)
        return self.positive(a.clamp(min=0)).add_(self.negative(a.clamp(max=0)))

    def gather(self, a: Tensor, s: Tensor) -> Relevance:
        negative = a < 0
        factor = self.positive.pullback(s, a)
        if bool(negative.any()):
            factor = torch.where(negative, self.negative.pullback(s, a), factor)
        return Relevance.product(a, factor)


@dataclass(frozen=True, eq=False)
class InBox(Contributions):
    """n_jk = (a_j - l) w_jk+ + (a_j - h) w_jk-: how far an input stands from where it would raise z_k the least."""

    low: Bound
    high: Bound
    positive: Affine
    negative: Affine

    def total(self, a: Tensor, z: Tensor) -> Tensor:
        return self.positive(a - _bound(self.low, a)).add_(self.negative(a - _bound(self.high, a)))

    def gather(self, a: Tensor, s: Tensor) -> Relevance:
        up, down = self.positive.pullback(s, a), self.negative.pullback(s, a)
        return Relevance.of(a, (a - _bound(self.low, a)).mul_(up).add_((a - _bound(self.high, a)).mul_(down)))

    def shares(self, a: Tensor, r: Relevance) -> tuple[Tensor, Tensor]:
        below, above = a < _bound(self.low, a), a > _bound(self.high, a)
        if bool((below | above).any()):
            warnings.warn(
                f"inputs reach from {a.min():.3g} to {a.max():.3g}, outside the box [{self.low}, {self.high}] of the "
                "z-box rule: relevance may change its sign there; give the rule the bounds of your inputs",
                stacklevel=2,
            )
        return super().shares(a, r)


@dataclass(frozen=True, eq=False)
class ByWeight(Contributions):
    """n_jk = v_jk, whatever the inputs are."""

    layer: Affine

    def total(self, a: Tensor, z: Tensor) -> Tensor:
        return self.layer(torch.ones_like(a[:1])).expand_as(z)

    def gather(self, a: Tensor, s: Tensor) -> Relevance:
        return Relevance.of(a, self.layer.pullback(s, a))


@dataclass(frozen=True, eq=False)
class Unchanged(Contributions):
    """R_j = R_k, for a layer with as many inputs as outputs."""

    def total(self, a: Tensor, z: Tensor) -> Tensor:
        if a.shape != z.shape:
            raise InputError(
                f"rule pass needs a layer with as many outputs as inputs, not {tuple(a.shape)} and {tuple(z.shape)}"
            )
        return z

    def gather(self, a: Tensor, s: Tensor) -> Relevance:
        return Relevance.of(a, s)

    def propagate(self, a: Tensor, r: Relevance) -> Relevance:
        self.total(a, r.values)
        return Relevance.of(a, r.dense())


def propagate(parts: Sequence[Contributions], a: Tensor, r: Relevance) -> Relevance:
    """Relevance at a layer's inputs `a`, for relevance `r` at its outputs, by all `parts` of a rule together."""
    found = [given for given in (part.propagate(a, r) for part in parts) if given is not None]
    return sum(found[1:], found[0])


def absorbed(parts: Sequence[Contributions], a: Tensor, r: Relevance) -> dict[str, Tensor]:
    """Relevance that did not reach the inputs, for each image [n]: the shares of the biases and of epsilon.

    Beside them "box", which did reach them: what z-box gave to inputs for the bounds of the box, not for a_j w_jk.
    """
    found = {name: r.tensor.new_zeros(len(a)) for name in ("bias", "epsilon", "box")}
    for part in parts:
        if isinstance(part, Unchanged):
            continue
        s, denominator = part.shares(a, r)
        layer = part.biased
        if layer is not None and layer.bias is not None:
            found["bias"] += (s * layer.along_outputs(layer.bias, s)).flatten(1).sum(1)
        found["epsilon"] += (s * (denominator - part.total(a, r.values))).flatten(1).sum(1)
        if isinstance(part, InBox):
            found["box"] += (s * part.total(torch.zeros_like(a[:1]), r.values)).flatten(1).sum(1)
    return found


def _bound(bound: Bound, a: Tensor) -> Tensor | float:
    if not isinstance(bound, tuple):
        return bound
    if len(bound) != a.shape[1]:
        raise InputError(f"the box has {len(bound)} bounds, and the inputs {a.shape[1]} channels")
    return a.new_tensor(bound).view(-1, *[1] * (a.ndim - 2))
