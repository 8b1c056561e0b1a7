"""Composites: which rule at which layer, as data.

A composite is a list of assignments; the first one that fits a layer gives its rule. One's own is as short:

    Composite(At(ZBox(0, 1), position=0), At(Flat(), name="stem.*"), At(Gamma(0.1), kind="convolution"), At(Epsilon()))
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import get_args

from ..errors import InputError, UnsupportedLayer, check_choice
from .affine import Affine, Kind
from .rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, Zero, ZPlus

KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class At:
    """A rule and where it applies: to a kind of layer, to names that match a pattern, to a position; or everywhere.

    `position` counts the layers that need a rule: 0 is the first, -1 the last; it is exactly one. `name` is a shell
    pattern. With `input` it applies to every layer that reads the network's input, before which there is no other
    layer: several in a network that looks at its input with kernels of several sizes.
    """

    rule: Rule
    kind: Kind | None = None
    name: str | None = None
    position: int | None = None
    input: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise InputError(f"At takes a rule such as Epsilon(), not {self.rule!r}")
        if self.kind is not None:
            check_choice("kind of layer", self.kind, KINDS)

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
            (reads_input or not self.input)
            and (self.kind is None or layer.kind == self.kind)
            and (self.name is None or fnmatchcase(name, self.name))
            and (self.position is None or self.position in (position, position - total))
        )


class Composite:
    """An ordered list of assignments."""

    def __init__(self, *assignments: At) -> None:
        if not all(isinstance(assignment, At) for assignment in assignments):
            raise InputError("a composite is made of assignments, At(rule, ...)")
        self.assignments = assignments

    def rules_for(self, layers: list[tuple[str, Affine]], reading: Collection[int] = ()) -> list[Rule]:
        """The rule of every layer that needs one; `reading` are the places of those that read the network's input.

        Raises `UnsupportedLayer` for a layer that none fits, and `InputError` for an assignment to a name or position
        that the network does not have.
        """
        self._check([name for name, _ in layers])
        found = []
        for position, (name, layer) in enumerate(layers):
            where = (layer, name, position, len(layers), position in reading)
            rule = next((a.rule for a in self.assignments if a.fits(*where)), None)
            if rule is None:
                raise UnsupportedLayer(
                    f"the composite has no rule for layer {name!r} ({layer.kind}): add At(rule, ...)"
                )
            found.append(rule)
        return found

    def _check(self, names: list[str]) -> None:
        """Raise `InputError` for an assignment that can fit no layer of the network, whatever is before it."""
        for a in self.assignments:
            if a.name is not None and not any(fnmatchcase(name, a.name) for name in names):
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
    "w2": _layers(ZPlus(), Epsilon(), first=WSquare()),
}


def find_composite(composite: str | Composite) -> Composite:
    """The composite of that name, or the given one. Raises `InputError` for an unknown name."""
    if isinstance(composite, Composite):
        return composite
    return COMPOSITES[check_choice("composite", composite, COMPOSITES)]
