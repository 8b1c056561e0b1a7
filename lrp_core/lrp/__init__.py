"""Layer-wise relevance propagation: rules, composites, and the engine that walks a network back."""

from .composites import COMPOSITES, At, Composite, find_composite
from .engine import Balance, Explainer, Explanation, attribute
from .rules import RULES, AlphaBeta, Epsilon, Flat, Gamma, Pass, Rule, WSquare, ZBox, Zero, ZPlus
from .starts import STARTS

__all__ = [
    "COMPOSITES",
    "RULES",
    "STARTS",
    "AlphaBeta",
    "At",
    "Balance",
    "Composite",
    "Epsilon",
    "Explainer",
    "Explanation",
    "Flat",
    "Gamma",
    "Pass",
    "Rule",
    "WSquare",
    "ZBox",
    "ZPlus",
    "Zero",
    "attribute",
    "find_composite",
]
