"""What the parts of a study are called where people read of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """`counted` is what is kept or removed, `score` what networks are judged by."""

    counted: str = "inputs"
    score: str = "accuracy"
