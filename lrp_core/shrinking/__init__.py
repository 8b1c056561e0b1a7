"""Pruning inputs and hidden units under one budget: what a smaller network keeps, and how it gets there."""

from .budget import COUNTED, Budget, Meter
from .descent import SCOPES, Descent, Pruning, prune, smallest_share
from .files import load_path, save_path
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
    "load_path",
    "prune",
    "save_path",
    "score_units",
    "smallest_share",
    "unit_criteria",
]
