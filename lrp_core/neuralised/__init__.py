"""Estimators, clusters and kernel machines, as layers whose relevance can be followed."""

from typing import TYPE_CHECKING

from ..lazy import attach

_HOMES = {
    "AdditiveChi2": "additive",
    "BagOfWords": "bags",
    "Contest": "layers",
    "Distances": "layers",
    "Encoding": "encoding",
    "ExpChi2": "exponential",
    "Intersection": "additive",
    "KernelMachine": "machines",
    "Linear": "additive",
    "Neuralised": "network",
    "Rbf": "exponential",
    "ReadsInputs": "layers",
    "WordCounts": "word_relevance",
    "fit_machine": "machines",
    "neuralise": "reading",
    "read_machine": "machines",
    "refit": "refitting",
}

__all__ = [
    "AdditiveChi2",
    "BagOfWords",
    "Contest",
    "Distances",
    "Encoding",
    "ExpChi2",
    "Intersection",
    "KernelMachine",
    "Linear",
    "Neuralised",
    "Rbf",
    "ReadsInputs",
    "WordCounts",
    "fit_machine",
    "neuralise",
    "read_machine",
    "refit",
]

if TYPE_CHECKING:
    from .additive import AdditiveChi2, Intersection, Linear
    from .bags import BagOfWords
    from .encoding import Encoding
    from .exponential import ExpChi2, Rbf
    from .layers import Contest, Distances, ReadsInputs
    from .machines import KernelMachine, fit_machine, read_machine
    from .network import Neuralised
    from .reading import neuralise
    from .refitting import refit
    from .word_relevance import WordCounts

__getattr__, __dir__ = attach(__name__, _HOMES)
