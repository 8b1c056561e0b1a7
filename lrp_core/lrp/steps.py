"""A network as a list of steps, and who reads whom."""

from __future__ import annotations

from dataclasses import dataclass

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
    found: set[int] = set()
    for i, step in enumerate(steps):
        if all(source in raw for source in step.sources):
            (found if isinstance(step.operation, Affine) else raw).add(i)
    return found


def readers(steps: list[Step], i: int) -> list[int]:
    """The steps that read the output of step `i`."""
    return [j for j, step in enumerate(steps) if i in step.sources]
