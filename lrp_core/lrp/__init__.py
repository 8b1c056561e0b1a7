"""Layer-wise relevance propagation: rules, composites, and the engine that walks a network back."""

from .composites import COMPOSITES, Composite, find_composite
from .engine import STARTS, Balance, Explainer, Explanation, attribute
from .rules import RULES, Epsilon, Gamma, Rule, ZBox, Zero, ZPlus

__all__ = [
    "COMPOSITES",
    "RULES",
    "STARTS",
    "Balance",
    "Composite",
    "Epsilon",
    "Explainer",
    "Explanation",
    "Gamma",
    "Rule",
    "ZBox",
    "ZPlus",
    "Zero",
    "attribute",
    "find_composite",
]
