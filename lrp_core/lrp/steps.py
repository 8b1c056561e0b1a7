"""A network as a list of steps, and who reads whom."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .affine import Affine
from .operations import Operation


@dataclass(frozen=True, eq=False)
class Step:
    """An operation, and where it stands: `sources` are the steps whose outputs it reads, -1 is the network's input."""

    name: str
    operation: Affine | Operation
    sources: tuple[int, ...]


def reading_the_input(steps: list[Step]) -> set[int]:
    """The layers with weights that read nothing but the network's input, at most moved, pooled or normalised."""
    raw = {-1}
    affine: set[int] = set()
    for i, step in enumerate(steps):
        if all(source in raw for source in step.sources):
            (affine if isinstance(step.operation, Affine) else raw).add(i)
    return affine


def readers(steps: list[Step], i: int) -> list[int]:
    """The steps that read the output of step `i`."""
    return [j for j, step in enumerate(steps) if i in step.sources]


def leading_to(steps: list[Step], last: int) -> tuple[list[Step], dict[int, int]]:
    """Only the steps that step `last` depends on, and the new number of each by its old one; -1 stays."""
    needed = {last}
    for i in range(last, -1, -1):
        if i in needed:
            needed.update(source for source in steps[i].sources if source >= 0)
    place = {-1: -1} | {old: new for new, old in enumerate(sorted(needed))}
    return [replace(steps[i], sources=tuple(place[s] for s in steps[i].sources)) for i in sorted(needed)], place
