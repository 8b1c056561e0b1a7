"""How rules share relevance out: in proportion to what each input is said to contribute to each output.

With contributions n_jk of input j to output k, R_j = sum_k n_jk / d_k R_k, where d_k = sum_j n_jk + b_k + eps sign.
Rules differ in their n_jk alone: in the weights that they put for w_jk, and in what they put for a_j.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..errors import InputError
from .affine import Affine, Dense
from .relevance import Relevance, stabilise

STABILISER = 1e-12
"""Keeps denominators off zero where a rule has no epsilon of its own; relevance itself is unaffected by it."""

Bound = float | tuple[float, ...]
"""An end of the box that inputs lie in: one number, or one for each channel."""


Outputs = Literal["all", "rising", "falling"]
"""Which outputs a part of a rule is for: all of them, those with z_k >= 0, or those with z_k < 0."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Contributions(ABC):
    """What each input contributes to each output of one layer. All of it counts `weight` times."""

    proportional: ClassVar[bool] = True
    """Whether an input of zero gets no relevance."""

    eps: float = STABILISER
    weight: float = 1.0
    outputs: Outputs = "all"
    sign: int = 0
    """The sign that sum_j n_jk + b_k is known to have wherever there is relevance; 0 if it is not known."""
    nonnegative: bool = False
    """Whether the layer's inputs are known never to be negative."""

    @property
    def biased(self) -> Affine | None:
        """The layer whose bias is the b_k of d_k, if there is one."""
        return None

    def for_nonnegative_inputs(self) -> Contributions:
        """The same for inputs that are known never to be negative."""
        return replace(self, nonnegative=True)

    def for_nonnegative_outputs(self) -> Contributions | None:
        """The same for a layer of which only outputs above zero get relevance; None if nothing is left."""
        return None if self.outputs == "falling" else replace(self, outputs="all")

    @abstractmethod
    def total(self, a: Tensor, z: Tensor) -> Tensor:
        """sum_j n_jk + b_k, for the layer's inputs `a` and outputs `z`, in the shape of the latter; a new tensor."""

    @abstractmethod
    def gather(self, a: Tensor, s: Tensor) -> Relevance:
        """sum_k n_jk s_k, at the inputs."""

    def of_weights(self, a: Tensor, s: Tensor) -> Tensor:
        """n_jk s_k at every weight, summed over images and over the places that share it. Raises `InputError`."""
        raise InputError(f"{type(self).__name__} shares out nothing weight by weight: use another rule for the layer")

    def shares(self, a: Tensor, r: Relevance) -> Tensor:
        """s_k = R_k / d_k, for relevance `r` at the layer's outputs."""
        return self._restricted(r.over(self.denominator(self.total(a, r.values))), r)

    def denominator(self, total: Tensor) -> Tensor:
        """d_k, in the memory of sum_j n_jk + b_k."""
        eps = max(self.eps, torch.finfo(total.dtype).tiny)
        if self.sign > 0:
            return total.clamp_(min=0).add_(eps)
        return total.clamp_(max=0).sub_(eps) if self.sign < 0 else stabilise(total, eps)

    def _restricted(self, s: Tensor, r: Relevance) -> Tensor:
        """Shares with this part's weight, for the outputs that it is for."""
        if self.outputs != "all":
            s = s.masked_fill((r.values < 0) == (self.outputs == "rising"), 0)
        return s if self.weight == 1 else s.mul_(self.weight)

    def propagate(self, a: Tensor, r: Relevance) -> Relevance | None:
        """Relevance at the layer's inputs `a`, for relevance `r` at its outputs; None if it is for none of them."""
        if self.outputs == "falling" and not bool((r.values < 0).any()):
            return None
        return self.gather(a, self.shares(a, r))


@dataclass(frozen=True, eq=False)
class OfLayer(Contributions):
    """n_jk = a_j w_jk, so that sum_j n_jk + b_k is what the layer has computed."""

    layer: Affine

    @property
    def biased(self) -> Affine | None:
        return self.layer

    def total(self, a: Tensor, z: Tensor) -> Tensor:
        return z.clone()

    def shares(self, a: Tensor, r: Relevance) -> Tensor:
        return self._restricted(r.over_values(self.eps), r)

    def gather(self, a: Tensor, s: Tensor) -> Relevance:
        return Relevance.product(a, self.layer.pullback(s, a), nonnegative=self.nonnegative)

    def of_weights(self, a: Tensor, s: Tensor) -> Tensor:
        return self.layer.weight * self.layer.onto_weights(s, a)


@dataclass(frozen=True, eq=False)
class Weighted(Contributions):
    """n_jk = a_j v_jk, for a layer with other weights v."""

    layer: Affine

    @property
    def biased(self) -> Affine | None:
        return self.layer

    def total(self, a: Tensor, z: Tensor) -> Tensor:
        return self.layer(a)

    def gather(self, a: Tensor, s: Tensor) -> Relevance:
        return Relevance.product(a, self.layer.pullback(s, a), nonnegative=self.nonnegative)

    def of_weights(self, a: Tensor, s: Tensor) -> Tensor:
        return self.layer.weight * self.layer.onto_weights(s, a)


@dataclass(frozen=True, eq=False)
class BySign(Contributions):
    """n_jk = a_j+ v_jk + a_j- u_jk: weights v for positive inputs, u for negative ones; v has the bias."""

    positive: Affine
    negative: Affine

    @property
    def biased(self) -> Affine | None:
        return self.positive

    def for_nonnegative_inputs(self) -> Contributions:
        return Weighted(
            layer=self.positive,
            eps=self.eps,
            weight=self.weight,
            outputs=self.outputs,
            sign=self.sign,
            nonnegative=True,
        )

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

    def of_weights(self, a: Tensor, s: Tensor) -> Tensor:
        sides = ((self.positive, a.clamp(min=0)), (self.negative, a.clamp(max=0)))
        return torch.stack([layer.weight * layer.onto_weights(s, part) for layer, part in sides]).sum(0)


@dataclass(frozen=True, eq=False)
class InBox(Contributions):
    """n_jk = (a_j - l) w_jk+ + (a_j - h) w_jk-: how far an input stands from where it would raise z_k the least.

    The sum over j is z_k - b_k less what the layer would give for l where w_jk > 0 and for h elsewhere, its least.
    """

    proportional = False

    low: Bound
    high: Bound
    layer: Affine
    positive: Affine
    negative: Affine

    def total(self, a: Tensor, z: Tensor) -> Tensor:
        if isinstance(self.layer, Dense):
            least = self._least(a)
            total = z - least
            margin = least.abs() if self.layer.bias is None else least.abs() + self.layer.bias.abs()
            if bool((total.flatten(0, -2).amin(0) > 1e-3 * margin).all()):  # else too much has cancelled out
                return total
        x = self._from_ends(a)
        return self._both(x) if self._both else self.positive(x[0]).add_(self.negative(x[1]))

    def _least(self, a: Tensor) -> Tensor:
        """What the layer would give for inputs at the ends of the box that make it least: [1, *outputs]."""
        low, high = (_bound(bound, a) + torch.zeros_like(a[:1]) for bound in (self.low, self.high))
        least = self.positive(low).add_(self.negative(high))
        return least if self.layer.bias is None else least.add_(self.layer.along_outputs(self.layer.bias, least))

    def at_zero(self, a: Tensor) -> Tensor:
        """What inputs of zero contribute in all: the part that stands for the bounds, not for a_j w_jk."""
        zero = torch.zeros_like(a[:1])
        return self.total(zero, self.layer(zero))

    def gather(self, a: Tensor, s: Tensor) -> Relevance:
        positive, negative = self.positive.pullback(s, a), self.negative.pullback(s, a)
        from_low = a if self.low == 0 else a - _bound(self.low, a)
        return Relevance.of(a, positive.mul_(from_low).addcmul_(a - _bound(self.high, a), negative))

    def of_weights(self, a: Tensor, s: Tensor) -> Tensor:
        sides = ((self.positive, a - _bound(self.low, a)), (self.negative, a - _bound(self.high, a)))
        return torch.stack([layer.weight * layer.onto_weights(s, part) for layer, part in sides]).sum(0)

    @cached_property
    def _both(self) -> Affine | None:
        """One kernel for the positive and the negative weights."""
        return self.positive.beside(self.negative)

    def _from_ends(self, a: Tensor) -> Tensor:
        """a - l and a - h, side by side if one kernel takes them both, else stacked."""
        ends = [a - _bound(self.low, a), a - _bound(self.high, a)]
        return torch.cat(ends, self.layer.input_axis) if self._both else torch.stack(ends)

    def shares(self, a: Tensor, r: Relevance) -> Tensor:
        if self._holds(a):
            return super(InBox, replace(self, sign=1)).shares(a, r)
        warnings.warn(
            f"inputs reach from {a.min():.3g} to {a.max():.3g}, outside the box [{self.low}, {self.high}] of the "
            "z-box rule: relevance may change its sign there; give the rule the bounds of your inputs",
            stacklevel=2,
        )
        return super().shares(a, r)

    def _holds(self, a: Tensor) -> bool:
        """Whether all inputs lie in the box."""
        if isinstance(self.low, tuple) or isinstance(self.high, tuple) or not a.numel():
            return not bool(((a < _bound(self.low, a)) | (a > _bound(self.high, a))).any())
        least, greatest = torch.aminmax(a)
        return float(least) >= self.low and float(greatest) <= self.high


@dataclass(frozen=True, eq=False)
class ByWeight(Contributions):
    """n_jk = v_jk, whatever the inputs are."""

    proportional = False

    layer: Affine

    def total(self, a: Tensor, z: Tensor) -> Tensor:
        return self.layer(torch.ones_like(a[:1])).expand_as(z).clone()

    def gather(self, a: Tensor, s: Tensor) -> Relevance:
        return Relevance.of(a, self.layer.pullback(s, a))

    def of_weights(self, a: Tensor, s: Tensor) -> Tensor:
        return self.layer.weight * self.layer.onto_weights(s, torch.ones_like(a))


@dataclass(frozen=True, eq=False)
class Unchanged(Contributions):
    """R_j = R_k, for a layer with as many inputs as outputs."""

    proportional = False

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
    shared = [given for given in (part.propagate(a, r) for part in parts) if given is not None]
    return sum(shared[1:], shared[0])


def of_weights(parts: Sequence[Contributions], a: Tensor, r: Relevance) -> Tensor:
    """Relevance of a layer's weights, in their shape, by all `parts` of a rule together: see `Explainer`."""
    return torch.stack([part.of_weights(a, part.shares(a, r)) for part in parts]).sum(0)


def absorbed(parts: Sequence[Contributions], a: Tensor, r: Relevance) -> dict[str, Tensor]:
    """Relevance that did not reach the inputs, for each image [n]: the shares of the biases and of epsilon.

    Without an epsilon, what went nowhere because z_k is zero counts as that of an epsilon that is next to nothing.
    Beside them "box", which did reach them: what z-box gave to inputs for the bounds of the box, not for a_j w_jk.
    """
    absorbed_by = {name: r.tensor.new_zeros(len(a)) for name in ("bias", "epsilon", "box")}
    for part in parts:
        if isinstance(part, Unchanged):
            continue
        s, total = part.shares(a, r), part.total(a, r.values)
        layer = part.biased
        if layer is not None and layer.bias is not None:
            absorbed_by["bias"] += (s * layer.along_outputs(layer.bias, s)).flatten(1).sum(1)
        lost = part.denominator(total.clone()) - total
        kept = s * lost if part.eps else r.dense().masked_fill(total != 0, 0)
        absorbed_by["epsilon"] += kept.flatten(1).sum(1)
        if isinstance(part, InBox):
            absorbed_by["box"] += (s * part.at_zero(a)).flatten(1).sum(1)
    return absorbed_by


def _bound(bound: Bound, a: Tensor) -> Tensor | float:
    if not isinstance(bound, tuple):
        return bound
    if len(bound) != a.shape[1]:
        raise InputError(f"the box has {len(bound)} bounds, and the inputs {a.shape[1]} channels")
    return a.new_tensor(bound).view(-1, *[1] * (a.ndim - 2))
