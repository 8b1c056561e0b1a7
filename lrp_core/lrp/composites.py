"""Composites: which rule at which layer, as data."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import check_choice
from .graph import Affine
from .rules import Epsilon, Gamma, Rule, ZBox, Zero, ZPlus


@dataclass(frozen=True)
class Composite:
    """A rule for convolutions, one for dense layers, and optionally one for the first of all layers."""

    convolution: Rule
    dense: Rule
    first: Rule | None = None

    def rule_for(self, layer: Affine, *, is_first: bool) -> Rule:
        if is_first and self.first is not None:
            return self.first
        return self.convolution if layer.kind == "convolution" else self.dense


COMPOSITES: dict[str, Composite] = {
    "lrp-0": Composite(convolution=Zero(), dense=Zero()),
    "epsilon": Composite(convolution=Epsilon(), dense=Epsilon()),
    "epsilon-plus": Composite(convolution=ZPlus(), dense=Epsilon()),
    "epsilon-gamma-box": Composite(first=ZBox(0.0, 1.0), convolution=Gamma(0.25), dense=Epsilon()),
    "gamma": Composite(convolution=Gamma(0.25), dense=Gamma(0.25)),
}


def find_composite(composite: str | Composite) -> Composite:
    """The composite of that name, or the given one. Raises `InputError` for an unknown name."""
    if isinstance(composite, Composite):
        return composite
    return COMPOSITES[check_choice("composite", composite, COMPOSITES)]
