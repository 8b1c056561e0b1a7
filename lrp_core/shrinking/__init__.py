"""Pruning inputs and hidden units under one budget: what a smaller network keeps, and how it gets there."""

from .budget import COUNTED, Budget, Meter
from .descent import SCOPES, Descent, Pruning, prune
from .path import Path, Rung
from .scores import CONTROLS, score_units, unit_criteria

__all__ = [
    "CONTROLS",
    "COUNTED",
    "SCOPES",
    "Budget",
    "Descent",
    "Meter",
    "Path",
    "Pruning",
    "Rung",
    "prune",
    "score_units",
    "unit_criteria",
]
