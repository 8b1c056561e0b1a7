"""The rules of layer-wise relevance propagation: the maths and nothing else.

A layer computes z_k = sum_j a_j w_jk + b_k. Relevance R_k arrives at its outputs, R_j leaves at its inputs.
Every rule is prepared once for a layer, which is where modified weights are made, and gives a function
(a, z, R_k) -> R_j. x+ stands for max(x, 0), x- for min(x, 0), and sign(0) = +1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..errors import InputError
from .graph import Affine

Propagate = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(a, z, R_k) -> R_j: inputs and outputs of the layer, relevance at its outputs -> relevance at its inputs."""

STABILISER = 1e-9
"""Added to the denominators of rules that have no epsilon of their own; relevance itself is unaffected by it."""


@runtime_checkable
class Rule(Protocol):
    """A relevance rule with its parameters."""

    def prepare(self, layer: Affine) -> Propagate:
        """Make what the rule needs of `layer` once, and return the function that propagates through it."""
        ...


def stabilise(z: Tensor, eps: float) -> Tensor:
    """z + eps sign(z), with sign(0) = +1: a denominator that is never closer to zero than eps."""
    return z + eps * (1 - 2 * (z < 0).to(z.dtype))


def positive(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def negative(x: Tensor) -> Tensor:
    return x.clamp(max=0)


@dataclass(frozen=True)
class Epsilon:
    """LRP-epsilon (Bach et al. 2015, eq. 58): R_j = a_j sum_k w_jk R_k / (z_k + eps sign z_k)."""

    eps: float = 1e-6

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise InputError(f"epsilon must be above 0, not {self.eps}; use lrp-0 for no epsilon at all")

    def prepare(self, layer: Affine) -> Propagate:
        def propagate(a: Tensor, z: Tensor, r: Tensor) -> Tensor:
            return a * layer.pullback(r / stabilise(z, self.eps), a)

        return propagate


@dataclass(frozen=True)
class Zero:
    """LRP-0 (Bach et al. 2015, eq. 56): R_j = a_j sum_k w_jk R_k / z_k, and nothing where z_k is zero."""

    def prepare(self, layer: Affine) -> Propagate:
        def propagate(a: Tensor, z: Tensor, r: Tensor) -> Tensor:
            return a * layer.pullback((r / z).masked_fill_(z == 0, 0), a)

        return propagate


@dataclass(frozen=True)
class Gamma:
    """LRP-gamma (Montavon et al. 2019, sec. 10.2.3):

    R_j = sum_k a_j (w_jk + g w_jk+) / (sum_j a_j (w_jk + g w_jk+) + b_k + g b_k+) R_k.

    Negative inputs are weighted by w_jk + g w_jk- instead (Andeol et al. 2021), so that in either case the
    contributions that raise z_k are the ones that count 1 + g times.
    """

    gamma: float = 0.25

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise InputError(f"gamma must be 0 or more, not {self.gamma}")

    def prepare(self, layer: Affine) -> Propagate:
        raised = layer.map(lambda p: p + self.gamma * positive(p))
        lowered = layer.map(lambda w: w + self.gamma * negative(w)).without_bias()
        return _by_sign(raised, lowered)


@dataclass(frozen=True)
class ZPlus:
    """z+ (Montavon et al. 2017, eq. 8; alpha 1, beta 0): R_j = sum_k (a_j w_jk)+ / sum_j (a_j w_jk)+ R_k."""

    def prepare(self, layer: Affine) -> Propagate:
        return _by_sign(layer.without_bias().map(positive), layer.without_bias().map(negative))


@dataclass(frozen=True)
class ZBox:
    """z-box (Montavon et al. 2017, eq. 9), for inputs in [low, high], element by element:

    R_j = sum_k (x_j w_jk - l w_jk+ - h w_jk-) / sum_j (x_j w_jk - l w_jk+ - h w_jk-) R_k.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError(f"the box needs low < high, not [{self.low}, {self.high}]")

    def prepare(self, layer: Affine) -> Propagate:
        up, down = layer.without_bias().map(positive), layer.without_bias().map(negative)

        def propagate(a: Tensor, z: Tensor, r: Tensor) -> Tensor:
            above, below = a - self.low, a - self.high
            s = r / stabilise(up(above) + down(below), STABILISER)
            return above * up.pullback(s, a) + below * down.pullback(s, a)

        return propagate


def _by_sign(for_positive: Affine, for_negative: Affine) -> Propagate:
    """Propagate in proportion to a+ w1 + a- w2: two sets of weights, one for each sign of the input."""

    def propagate(a: Tensor, z: Tensor, r: Tensor) -> Tensor:
        if not bool((a < 0).any()):
            return a * for_positive.pullback(r / stabilise(for_positive(a), STABILISER), a)
        up, down = positive(a), negative(a)
        s = r / stabilise(for_positive(up) + for_negative(down), STABILISER)
        return up * for_positive.pullback(s, a) + down * for_negative.pullback(s, a)

    return propagate


RULES: dict[str, type[Zero] | type[Epsilon] | type[Gamma] | type[ZPlus] | type[ZBox]] = {
    "lrp-0": Zero,
    "epsilon": Epsilon,
    "gamma": Gamma,
    "z-plus": ZPlus,
    "z-box": ZBox,
}
