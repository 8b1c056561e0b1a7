"""Estimators that are no neural networks, as layers whose relevance can be followed."""

from typing import TYPE_CHECKING

from ..lazy import attach

_HOMES = {
    "Contest": "layers",
    "Distances": "layers",
    "Neuralised": "network",
    "ReadsInputs": "layers",
    "neuralise": "reading",
    "refit": "refitting",
}

__all__ = [
    "Contest",
    "Distances",
    "Neuralised",
    "ReadsInputs",
    "neuralise",
    "refit",
]

if TYPE_CHECKING:
    from .layers import Contest, Distances, ReadsInputs
    from .network import Neuralised
    from .reading import neuralise
    from .refitting import refit

__getattr__, __dir__ = attach(__name__, _HOMES)
