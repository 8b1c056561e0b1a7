"""Gates: products, value by value, of two branches that are both computed from the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from .operations import Back, _checked_batch, _refuse
from .relevance import Relevance
from .ruled import DEFAULTS, OperationKind, Ruled, SignalTakesAll
from .rules import Rule


@dataclass(frozen=True, eq=False)
class Gate(Ruled):
    """z = a b. `signal` says which factor is the signal, 0 or 1, or None where that cannot be told.

    SignalTakesAll: R_signal = R and R_gate = 0 (Arras et al. 2017, sec. 3.1). Uniform, and where there is no telling:
    half each (Achtibat et al. 2024, prop. 3.3). Where the other factor is a `mask`, the signal takes all in any case.
    """

    kind: ClassVar[OperationKind] = "gate"

    signal: int | None = None
    mask: bool = False
    rule: Rule = DEFAULTS["gate"]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        a, b = inputs

        def back(r: Relevance) -> Sequence[Relevance]:
            return [_part(r, a, b, self._share(0)), _part(r, b, a, self._share(1))]

        return _checked_batch(a * b, a, b), back

    def _share(self, factor: int) -> float:
        if self.signal is None or not (self.mask or isinstance(self.rule, SignalTakesAll)):
            return 0.5
        return float(factor == self.signal)

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return all(inputs)


def _part(r: Relevance, own: Tensor, other: Tensor, share: float) -> Relevance:
    """The share of one factor."""
    if not share:
        return Relevance.of(own, r.tensor.new_zeros(own.shape))
    if r.is_factor:
        return Relevance.product(own, (share * r.tensor * other).sum_to_size(own.shape))
    return Relevance.of(own, (share * r.tensor).sum_to_size(own.shape))


@dataclass(frozen=True, eq=False)
class Quotient(Gate):
    """z = a / b: the signal a times the gate 1 / b, as where values are divided by their sum or their length."""

    signal: int | None = 0

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        a, b = inputs
        z = a / b

        def back(r: Relevance) -> Sequence[Relevance]:
            return [_part(r, a, b.to(z.dtype).reciprocal(), self._share(0)), _part(r, b, z / b, self._share(1))]

        return _checked_batch(z, a, b), back


@dataclass(frozen=True, eq=False)
class GatedHalves(Ruled):
    """GLU (Dauphin et al. 2017, sec. 3): the first half of the values along `axis` times the sigmoid of the second."""

    kind: ClassVar[OperationKind] = "gate"

    axis: int = -1
    rule: Rule = DEFAULTS["gate"]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (x,) = inputs
        _refuse(self.axis % x.ndim == 0)
        if x.shape[self.axis] % 2:
            raise InputError(f"GLU halves an axis, and axis {self.axis} has {x.shape[self.axis]} values")
        signal, steering = x.chunk(2, self.axis)
        gate = steering.sigmoid()

        def back(r: Relevance) -> Sequence[Relevance]:
            parts = [part.dense() for part in Gate(0, rule=self.rule).run(signal, gate)[1](r)]
            return [Relevance.of(x, torch.cat(parts, self.axis))]

        return signal * gate, back

    def gives_product(self, arriving: bool) -> bool:
        return False
