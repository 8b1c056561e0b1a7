"""Composites: which rule at which layer, as data.

A composite is a list of assignments; the first one that fits a layer gives its rule. One's own is as short:

    Composite(At(ZBox(0, 1), position=0), At(Flat(), name="stem.*"), At(Gamma(0.1), kind="convolution"), At(Epsilon()))
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import get_args

from ..errors import InputError, UnsupportedLayer, check_choice
from .affine import Affine, Kind
from .ruled import (
    DEFAULTS,
    OPERATION_RULES,
    Constant,
    OperationKind,
    OperationRule,
    SignalTakesAll,
    Taylor,
    Uniform,
)
from .rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, Zero, ZPlus

KINDS: tuple[str, ...] = (*get_args(Kind), *get_args(OperationKind))


@dataclass(frozen=True)
class At:
    """A rule and where it applies: to a kind of layer, to names that match a pattern, to a position; or everywhere.

    `position` counts the layers that need a rule: 0 is the first, -1 the last; it is exactly one. `name` is a shell
    pattern. With `input` it applies to every layer that reads the network's input, before which there is no other
    layer: several in a network that looks at its input with kernels of several sizes.
    """

    rule: Rule
    kind: Kind | OperationKind | None = None
    name: str | None = None
    position: int | None = None
    input: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise InputError(f"At takes a rule such as Epsilon(), not {self.rule!r}")
        if self.kind is not None:
            check_choice("kind of layer", self.kind, KINDS)
            self._check_rule(self.kind)

    def _check_rule(self, kind: str) -> None:
        known: dict[str, type[Rule]] = OPERATION_RULES.get(kind, {})  # type: ignore[call-overload]
        if known and not isinstance(self.rule, tuple(known.values())):
            raise InputError(f"{self.rule} is no rule for a {kind}: choose among {', '.join(map(repr, known))}")
        if not known and isinstance(self.rule, OperationRule):
            raise InputError(f"{self.rule} is for operations such as products, not for a {kind} layer")

    def __str__(self) -> str:
        where = [
            f"every {self.kind} layer" if self.kind else "",
            f"layers named {self.name!r}" if self.name else "",
            _ordinal(self.position) if self.position is not None else "",
            "every layer that reads the input" if self.input else "",
        ]
        return f"{self.rule} at {' and '.join(filter(None, where)) or 'every layer'}"

    def fits(self, layer: Affine, name: str, position: int, total: int, reads_input: bool = False) -> bool:
        return (
            not isinstance(self.rule, OperationRule)
            and (reads_input or not self.input)
            and (self.kind is None or layer.kind == self.kind)
            and (self.name is None or fnmatchcase(name, self.name))
            and (self.position is None or self.position in (position, position - total))
        )

    def fits_operation(self, kind: OperationKind, name: str) -> bool:
        """Whether this says which rule an operation of that kind and name gets.

        A sum only if it is asked for by its kind; the others too where the rule has a meaning for them.
        """
        asked = self.kind == kind or (
            self.kind is None and kind != "sum" and isinstance(self.rule, tuple(OPERATION_RULES[kind].values()))
        )
        return (
            asked and self.position is None and not self.input and (self.name is None or fnmatchcase(name, self.name))
        )


class Composite:
    """An ordered list of assignments."""

    def __init__(self, *assignments: At) -> None:
        if not all(isinstance(assignment, At) for assignment in assignments):
            raise InputError("a composite is made of assignments, At(rule, ...)")
        self.assignments = assignments

    def rules_for(
        self, layers: list[tuple[str, Affine]], reading: Collection[int] = (), operations: Sequence[str] = ()
    ) -> list[Rule]:
        """The rule of every layer that needs one; `reading` are the places of those that read the network's input,
        `operations` the names of the steps without weights that a composite may give a rule.

        Raises `UnsupportedLayer` for a layer that none fits, and `InputError` for an assignment to a name or position
        that the network does not have.
        """
        self._check([name for name, _ in layers], operations)
        rules = []
        for position, (name, layer) in enumerate(layers):
            where = (layer, name, position, len(layers), position in reading)
            rule = next((a.rule for a in self.assignments if a.fits(*where)), None)
            if rule is None:
                raise UnsupportedLayer(
                    f"the composite has no rule for layer {name!r} ({layer.kind}): add At(rule, ...)"
                )
            rules.append(rule)
        return rules

    def rule_for_operation(self, kind: OperationKind, name: str) -> Rule:
        """The rule of an operation of that kind and name: that of the first assignment that fits, or the default."""
        return next((a.rule for a in self.assignments if a.fits_operation(kind, name)), DEFAULTS[kind])

    def _check(self, names: list[str], operations: Sequence[str]) -> None:
        """Raise `InputError` for an assignment that can fit no layer of the network, whatever is before it."""
        for a in self.assignments:
            if a.name is not None and not any(fnmatchcase(name, a.name) for name in (*names, *operations)):
                raise InputError(f"no layer is named {a.name!r}: choose among {', '.join(map(repr, names))}")
            if a.position is not None and not -len(names) <= a.position < len(names):
                raise InputError(f"the network has {len(names)} layers with weights, and none at position {a.position}")

    def __str__(self) -> str:
        """Says which rule goes where; each assignment is for the layers that those before it have left."""
        return ", then ".join(map(str, self.assignments))

    def __repr__(self) -> str:
        return f"Composite({', '.join(map(repr, self.assignments))})"


def _ordinal(position: int) -> str:
    return {0: "the first layer", -1: "the last layer"}.get(position, f"layer number {position}")


def _layers(convolution: Rule, dense: Rule, first: Rule | None = None) -> Composite:
    """The usual form; a batch-norm that stands by itself goes with the dense layers."""
    beginning = [At(first, input=True)] if first is not None else []
    return Composite(*beginning, At(convolution, kind="convolution"), At(dense))


COMPOSITES: dict[str, Composite] = {
    "lrp-0": Composite(At(Zero())),
    "epsilon": Composite(At(Epsilon())),
    "epsilon-plus": _layers(ZPlus(), Epsilon()),
    "epsilon-plus-flat": _layers(ZPlus(), Epsilon(), first=Flat()),
    "epsilon-gamma-box": _layers(Gamma(0.25), Epsilon(), first=ZBox(0.0, 1.0)),
    "epsilon-alpha2-beta1": _layers(AlphaBeta(2, 1), Epsilon()),
    "epsilon-alpha2-beta1-flat": _layers(AlphaBeta(2, 1), Epsilon(), first=Flat()),
    "gamma": Composite(At(Gamma(0.25))),
    "cp-lrp": Composite(
        At(Constant(), kind="softmax"),
        At(SignalTakesAll(1e-6), kind="product"),
        At(SignalTakesAll(), kind="gate"),
        At(Epsilon()),
    ),
    "attn-lrp": Composite(
        At(Taylor(), kind="softmax"),
        At(Uniform(1e-6), kind="product"),
        At(Uniform(), kind="gate"),
        At(Epsilon(), kind="sum"),
        At(Epsilon()),
    ),
    "w2": _layers(ZPlus(), Epsilon(), first=WSquare()),
}


def find_composite(composite: str | Composite) -> Composite:
    """The composite of that name, or the given one. Raises `InputError` for an unknown name."""
    if isinstance(composite, Composite):
        return composite
    return COMPOSITES[check_choice("composite", composite, COMPOSITES)]
