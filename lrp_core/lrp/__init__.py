"""Layer-wise relevance propagation: rules, composites, and the engine that walks a network back."""

from .affine import Affine
from .composites import COMPOSITES, At, Composite, find_composite
from .contributions import BySign, ByWeight, Contributions, InBox, OfLayer, Weighted
from .engine import Explainer
from .explanation import Balance, Explanation
from .operations import Operation
from .prepared import attribute
from .reading import register
from .ruled import OPERATION_RULES, Constant, Magnitude, SignalTakesAll, Taylor, Uniform
from .rules import RULES, AlphaBeta, Epsilon, Flat, Gamma, Pass, Rule, WSquare, ZBox, Zero, ZPlus
from .starts import STARTS

__all__ = [
    "COMPOSITES",
    "OPERATION_RULES",
    "RULES",
    "STARTS",
    "Affine",
    "AlphaBeta",
    "At",
    "Balance",
    "BySign",
    "ByWeight",
    "Composite",
    "Constant",
    "Contributions",
    "Epsilon",
    "Explainer",
    "Explanation",
    "Flat",
    "Gamma",
    "InBox",
    "Magnitude",
    "OfLayer",
    "Operation",
    "Pass",
    "Rule",
    "SignalTakesAll",
    "Taylor",
    "Uniform",
    "WSquare",
    "Weighted",
    "ZBox",
    "ZPlus",
    "Zero",
    "attribute",
    "find_composite",
    "register",
]
