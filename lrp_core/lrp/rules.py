"""The rules of layer-wise relevance propagation: the maths and nothing else.

A layer computes z_k = sum_j a_j w_jk + b_k. Relevance R_k arrives at its outputs, R_j leaves at its inputs.
Every rule shares R_k out among the inputs in proportion to contributions n_jk (see `contributions`):

    R_j = sum_k n_jk / d_k R_k,    d_k = sum_j n_jk + b_k + eps sign

and says here which weights and inputs these are made of. A rule is prepared once for each layer, which is
where modified weights are made. x+ stands for max(x, 0), x- for min(x, 0), and sign(0) = +1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .affine import Affine
from .contributions import Bound, BySign, ByWeight, Contributions, InBox, OfLayer, Unchanged


def positive(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def negative(x: Tensor) -> Tensor:
    return x.clamp(max=0)


class Rule(ABC):
    """A relevance rule with its parameters. One's own is a subclass with a `prepare` of a few lines."""

    @abstractmethod
    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        """What the inputs of `layer` contribute; relevance by several parts is added up."""


@dataclass(frozen=True)
class Zero(Rule):
    """LRP-0 (Bach et al. 2015, eq. 56): n_jk = a_j w_jk, and R_k goes nowhere where z_k is zero."""

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        return [OfLayer(layer, eps=0)]


@dataclass(frozen=True)
class Epsilon(Rule):
    """LRP-epsilon (Bach et al. 2015, eq. 58): n_jk = a_j w_jk, d_k = z_k + eps sign z_k."""

    eps: float = 1e-6

    def __post_init__(self) -> None:
        if not 0 < self.eps < math.inf:
            raise InputError(f"epsilon must be above 0, not {self.eps}; use lrp-0 for no epsilon at all")

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        return [OfLayer(layer, eps=self.eps)]


@dataclass(frozen=True)
class Gamma(Rule):
    """LRP-gamma (Montavon et al. 2019, sec. 10.2.3): n_jk = a_j (w_jk + g w_jk+), with b_k + g b_k+ in d_k.

    For inputs and outputs of either sign (Andeol et al. 2021): negative inputs are weighted by w_jk + g w_jk-,
    so that the contributions that raise z_k count 1 + g times; where z_k < 0, those that lower it.
    """

    gamma: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < math.inf:
            raise InputError(f"gamma must be 0 or more, not {self.gamma}")

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        raised = layer.map(lambda p: p + self.gamma * positive(p))
        lowered = layer.map(lambda p: p + self.gamma * negative(p))
        return [
            BySign(raised, lowered.without_bias(), outputs="rising", sign=1),
            BySign(lowered, raised.without_bias(), outputs="falling", sign=-1),
        ]


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """alpha-beta (Bach et al. 2015, eq. 60), alpha - beta = 1: alpha times n_jk = (a_j w_jk)+ minus beta times
    n_jk = (a_j w_jk)-, each with its own d_k.

    With `bias`, as in the equation, b_k+ and b_k- stand in the two d_k and absorb their shares. Without, they stand
    in neither, and all relevance reaches the inputs, which is what the rule is mostly used for.
    """

    alpha: float = 2.0
    beta: float = 1.0
    bias: bool = False

    def __post_init__(self) -> None:
        if not (self.beta >= 0 and math.isclose(self.alpha - self.beta, 1)):
            raise InputError(f"alpha - beta must be 1 and beta 0 or more, not alpha={self.alpha}, beta={self.beta}")

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        up, down = ((layer if self.bias else layer.without_bias()).map(part) for part in (positive, negative))
        rise = BySign(up, down.without_bias(), weight=self.alpha, sign=1)
        return [rise, BySign(down, up.without_bias(), weight=-self.beta, sign=-1)] if self.beta else [rise]


@dataclass(frozen=True)
class ZPlus(Rule):
    """z+ (Montavon et al. 2017, eq. 8): n_jk = (a_j w_jk)+, which is alpha-beta with alpha 1 and beta 0."""

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        return AlphaBeta(1, 0).prepare(layer)


@dataclass(frozen=True)
class WSquare(Rule):
    """w^2 (Montavon et al. 2017, eq. 7): n_jk = w_jk^2, whatever the inputs are."""

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        return [ByWeight(layer.without_bias().map(torch.square), sign=1)]


@dataclass(frozen=True)
class Flat(Rule):
    """flat (Lapuschkin et al. 2019): n_jk = 1 in the receptive field of k, whatever inputs and weights are."""

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        return [ByWeight(layer.without_bias().map(torch.ones_like), sign=1)]


@dataclass(frozen=True)
class ZBox(Rule):
    """z-box (Montavon et al. 2017, eq. 9), for inputs in [low, high], one number or one for each channel:

    n_jk = a_j w_jk - l w_jk+ - h w_jk- = (a_j - l) w_jk+ + (a_j - h) w_jk-.
    """

    low: Bound | Sequence[float] | Tensor = 0.0
    high: Bound | Sequence[float] | Tensor = 1.0

    def __post_init__(self) -> None:
        low, high = (_checked_bound(bound) for bound in (self.low, self.high))
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        if isinstance(low, tuple) and isinstance(high, tuple) and len(low) != len(high):
            raise InputError(
                f"the box has {len(low)} lower and {len(high)} upper bounds: one of each for every channel"
            )
        ends = [torch.tensor(bound, dtype=torch.float64) for bound in (low, high)]
        if not bool((ends[0] < ends[1]).all()) or not all(bool(end.isfinite().all()) for end in ends):
            raise InputError(f"the box needs low < high, not [{self.low}, {self.high}]")

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        up, down = (layer.without_bias().map(part) for part in (positive, negative))
        return [InBox(_checked_bound(self.low), _checked_bound(self.high), layer, up, down)]


def _checked_bound(bound: Bound | Sequence[float] | Tensor) -> Bound:
    return tuple(float(v) for v in bound) if isinstance(bound, Sequence | Tensor) else float(bound)


@dataclass(frozen=True)
class Pass(Rule):
    """R_j = R_k, for a layer that has as many inputs as outputs."""

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        return [Unchanged()]


RULES: dict[str, type[Rule]] = {
    "lrp-0": Zero,
    "epsilon": Epsilon,
    "gamma": Gamma,
    "alpha-beta": AlphaBeta,
    "z-plus": ZPlus,
    "w-square": WSquare,
    "flat": Flat,
    "z-box": ZBox,
    "pass": Pass,
}
