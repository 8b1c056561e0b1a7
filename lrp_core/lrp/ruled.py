"""Operations that a composite may give a rule: sums, normalisations, softmax, products, gates, recurrent layers.

Each has a default, so that a composite that speaks of layers with weights alone explains them too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

from ..errors import InputError
from .affine import Affine
from .contributions import Contributions
from .operations import Operation, Sum
from .rules import Epsilon, Pass, Rule, Zero, ZPlus

OperationKind = Literal["sum", "normalisation", "softmax", "product", "gate", "recurrent"]

R = TypeVar("R", bound="Ruled")


class OperationRule(Rule):
    """A rule that has a meaning for operations alone, not for layers with weights."""

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        raise InputError(f"rule {self} is for operations such as products, not for a {layer.kind} layer")


def _check_epsilon(eps: float) -> None:
    if not 0 <= eps < math.inf:
        raise InputError(f"epsilon must be 0 or more, not {eps}")


@dataclass(frozen=True)
class SignalTakesAll(OperationRule):
    """One factor of a product is a constant, and the other takes all relevance (Arras et al. 2017, sec. 3.1).

    In products of matrices, sum_j A_ij V_jk is a linear layer with the weights A, by LRP-epsilon (Ali et al. 2022);
    an `eps` of 0 stands for LRP-0. Where neither factor can be told to be a gate or attention, both get half.
    """

    eps: float = 0.0

    def __post_init__(self) -> None:
        _check_epsilon(self.eps)


@dataclass(frozen=True)
class Uniform(OperationRule):
    """Both factors of a product get half (Achtibat et al. 2024, prop. 3.3): of each A_ij V_jk in products of matrices,
    in proportion to 2 O_ik + eps.
    """

    eps: float = 0.0

    def __post_init__(self) -> None:
        _check_epsilon(self.eps)


@dataclass(frozen=True)
class Constant(OperationRule):
    """Softmax as a constant, through which no relevance flows (Ali et al. 2022, sec. 3.2)."""


@dataclass(frozen=True)
class Taylor(OperationRule):
    """Softmax by its Taylor expansion at x (Achtibat et al. 2024, prop. 3.1): R_i = x_i (R_i - s_i sum_j R_j)."""


@dataclass(frozen=True)
class Magnitude(OperationRule):
    """A sum shares out by magnitude: R_a = |a| / (|a| + |b|) R. A constant added takes its share away."""


OPERATION_RULES: dict[OperationKind, dict[str, type[Rule]]] = {
    "sum": {"lrp-0": Zero, "epsilon": Epsilon, "z-plus": ZPlus, "magnitude": Magnitude},
    "normalisation": {"lrp-0": Zero, "epsilon": Epsilon, "pass": Pass},
    "softmax": {"constant": Constant, "taylor": Taylor},
    "product": {"signal-takes-all": SignalTakesAll, "uniform": Uniform},
    "gate": {"signal-takes-all": SignalTakesAll, "uniform": Uniform},
    "recurrent": {"lrp-0": Zero, "epsilon": Epsilon},
}
"""For each kind of operation the rules that have a meaning for it."""

DEFAULTS: dict[OperationKind, Rule] = {
    "sum": Zero(),
    "normalisation": Epsilon(),
    "softmax": Constant(),
    "product": SignalTakesAll(),
    "gate": SignalTakesAll(),
    "recurrent": Epsilon(),
}
"""What an operation gets where the composite says nothing of it."""


class Ruled(Operation):
    """An operation that a composite may give one of the rules of its kind; a dataclass with the field `rule`."""

    kind: ClassVar[OperationKind]
    rule: Rule

    def under(self: R, rule: Rule) -> R:
        """The same operation under another rule."""
        return replace(self, rule=rule)  # type: ignore[type-var]


def kind_of(operation: Affine | Operation) -> OperationKind | None:
    """The kind of an operation that a composite may give a rule; None for any other.

    A constant added to a single branch is a bias and no sum of branches.
    """
    if isinstance(operation, Ruled):
        return operation.kind
    return "sum" if isinstance(operation, Sum) and len(operation.signs) > 1 else None


def epsilon_of(rule: Rule) -> float:
    """The epsilon of a rule that has one, 0 for LRP-0."""
    return float(getattr(rule, "eps", 0.0))
