"""What can be settled once for a network and its rules, so that no batch has to find it out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from . import sums
from .affine import Affine
from .composites import Composite
from .contributions import Contributions
from .operations import Average, Operation, Rectifier, Sum
from .ruled import Ruled, kind_of
from .rules import Rule
from .steps import Step, readers


def prepare_rules(steps: list[Step], rules: Mapping[int, Rule]) -> dict[int, list[Contributions]]:
    """What the inputs of every layer contribute under its rule."""
    return {i: list(rule.prepare(_layer(steps, i))) for i, rule in rules.items()}


def ruled_operations(steps: list[Step], composite: Composite) -> list[Step]:
    """Every operation that a composite may give a rule under its own."""
    return [replace(step, operation=_under(step, composite)) for step in steps]


def _under(step: Step, composite: Composite) -> Affine | Operation:
    kind = kind_of(step.operation)
    if kind is None:
        return step.operation
    rule = composite.rule_for_operation(kind, step.name)
    if isinstance(step.operation, Ruled):
        return step.operation.under(rule)
    assert isinstance(step.operation, Sum), "what has a kind is a sum or has a rule of its own"
    return sums.under(step.operation, rule)


def rectify_in_place(steps: list[Step], parts: Mapping[int, list[Contributions]]) -> list[Step]:
    """Let every ReLU overwrite its input that can.

    It can if nothing else reads that, and if relevance arrives as a product: then it is zero wherever the ReLU
    cut, and no denominator is asked for there.
    """
    product = [False] * len(steps)
    for i in reversed(range(len(steps))):
        following = [(j, steps[j].operation) for j in readers(steps, i)]
        product[i] = bool(following) and all(
            all(p.proportional for p in parts[j])
            if isinstance(operation, Affine)
            else operation.gives_product(product[j])
            for j, operation in following
        )

    def can_overwrite(i: int) -> bool:
        source = steps[i].sources[0]
        return (
            isinstance(steps[i].operation, Rectifier)
            and source >= 0
            and isinstance(steps[source].operation, Affine | Sum | Average)
            and readers(steps, source) == [i]
            and product[i]
        )

    in_place = Rectifier(in_place=True)
    return [replace(step, operation=in_place) if can_overwrite(i) else step for i, step in enumerate(steps)]


def simplify(steps: list[Step], parts: Mapping[int, list[Contributions]]) -> dict[int, list[Contributions]]:
    """The same contributions, made simpler by what is known about the signs of inputs and outputs."""
    nonnegative = {-1: False}
    for i, step in enumerate(steps):
        inputs = [nonnegative[source] for source in step.sources]
        nonnegative[i] = not isinstance(step.operation, Affine) and step.operation.nonnegative(inputs)
    cut = {step.sources[0] for step in steps if isinstance(step.operation, Rectifier) and step.operation.in_place}
    simpler = {}
    for i, some in parts.items():
        known = [part.for_nonnegative_outputs() for part in some] if i in cut else some
        left = [part for part in known if part is not None]
        simpler[i] = [part.for_nonnegative_inputs() for part in left] if nonnegative[steps[i].sources[0]] else left
    return simpler


def _layer(steps: list[Step], i: int) -> Affine:
    layer = steps[i].operation
    assert isinstance(layer, Affine)
    return layer
