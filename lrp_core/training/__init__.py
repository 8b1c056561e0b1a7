"""Fit one network, and evaluate one network."""

from .dense import DenseChain, find_dense_chain
from .fitting import (
    PRECISIONS,
    RECIPES,
    Encode,
    Evaluation,
    NumberEvaluation,
    Recipe,
    evaluate,
    fit,
    one_thread,
    pick_device,
    predict_logits,
    recipe_for,
    selects_pixels,
)

__all__ = [
    "PRECISIONS",
    "RECIPES",
    "DenseChain",
    "Encode",
    "Evaluation",
    "NumberEvaluation",
    "Recipe",
    "evaluate",
    "find_dense_chain",
    "fit",
    "one_thread",
    "pick_device",
    "predict_logits",
    "recipe_for",
    "selects_pixels",
]
