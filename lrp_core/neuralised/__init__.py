"""Models other than networks that can be explained as networks are."""

from ..lazy import attach

_HOMES = {
    "AdditiveChi2": "additive",
    "BagOfWords": "bags",
    "Encoding": "encoding",
    "ExpChi2": "exponential",
    "Intersection": "additive",
    "KernelMachine": "machines",
    "Linear": "additive",
    "Rbf": "exponential",
    "WordCounts": "word_relevance",
    "fit_machine": "machines",
    "read_machine": "machines",
}

__getattr__, __dir__ = attach(__name__, _HOMES)
