"""Composites: which rule at which layer, as data.

A composite is a list of assignments; the first one that fits a layer gives its rule. One's own is as short:

    Composite(At(ZBox(0, 1), position=0), At(Flat(), name="stem.*"), At(Gamma(0.1), kind="convolution"), At(Epsilon()))
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..errors import InputError, UnsupportedLayer, check_choice
from .affine import Affine, Kind
from .rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, Zero, ZPlus


@dataclass(frozen=True)
class At:
    """A rule and where it applies: to a kind of layer, to names that match a pattern, to a position; or everywhere.

    `position` counts the layers that need a rule: 0 is the first, -1 the last. `name` is a shell pattern.
    """

    rule: Rule
    kind: Kind | None = None
    name: str | None = None
    position: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise InputError(f"At takes a rule such as Epsilon(), not {self.rule!r}")

    def __str__(self) -> str:
        where = [
            f"every {self.kind} layer" if self.kind else "",
            f"layers named {self.name!r}" if self.name else "",
            _ordinal(self.position) if self.position is not None else "",
        ]
        return f"{self.rule} at {' and '.join(filter(None, where)) or 'every layer'}"

    def fits(self, layer: Affine, name: str, position: int, total: int) -> bool:
        return (
            (self.kind is None or layer.kind == self.kind)
            and (self.name is None or fnmatchcase(name, self.name))
            and (self.position is None or self.position in (position, position - total))
        )


class Composite:
    """An ordered list of assignments."""

    def __init__(self, *assignments: At) -> None:
        if not all(isinstance(assignment, At) for assignment in assignments):
            raise InputError("a composite is made of assignments, At(rule, ...)")
        self.assignments = assignments

    def rules_for(self, layers: list[tuple[str, Affine]]) -> list[Rule]:
        """The rule of every layer that needs one. Raises `UnsupportedLayer` for a layer that none fits."""
        found = []
        for position, (name, layer) in enumerate(layers):
            rule = next((a.rule for a in self.assignments if a.fits(layer, name, position, len(layers))), None)
            if rule is None:
                raise UnsupportedLayer(
                    f"the composite has no rule for layer {name!r} ({layer.kind}): add At(rule, ...)"
                )
            found.append(rule)
        return found

    def __str__(self) -> str:
        """Says which rule goes where; each assignment is for the layers that those before it have left."""
        return ", then ".join(map(str, self.assignments))

    def __repr__(self) -> str:
        return f"Composite({', '.join(map(repr, self.assignments))})"


def _ordinal(position: int) -> str:
    return {0: "the first layer", -1: "the last layer"}.get(position, f"layer number {position}")


def _layers(convolution: Rule, dense: Rule, first: Rule | None = None) -> Composite:
    """The usual form; a batch-norm that stands by itself goes with the dense layers."""
    beginning = [At(first, position=0)] if first is not None else []
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
    "w2": _layers(ZPlus(), Epsilon(), first=WSquare()),
}


def find_composite(composite: str | Composite) -> Composite:
    """The composite of that name, or the given one. Raises `InputError` for an unknown name."""
    if isinstance(composite, Composite):
        return composite
    return COMPOSITES[check_choice("composite", composite, COMPOSITES)]
