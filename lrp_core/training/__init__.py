"""Fit one network, and evaluate one network."""

from .dense import DenseChain, find_dense_chain
from .fitting import (
    Encode,
    Evaluation,
    evaluate,
    fit,
    one_thread,
    pick_device,
    predict_logits,
    selects_pixels,
)
from .recipe import OPTIMIZERS, PRECISIONS, RECIPES, Recipe, recipe_for

__all__ = [
    "OPTIMIZERS",
    "PRECISIONS",
    "RECIPES",
    "DenseChain",
    "Encode",
    "Evaluation",
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
