"""Train one network, and evaluate one network."""

from .dense import DenseChain, find_dense_chain
from .evaluation import Evaluation, NumberEvaluation, evaluate, predict_logits
from .feeding import Encode, one_thread, pick_device, selects_pixels
from .fitting import fit
from .recipe import OPTIMIZERS, PRECISIONS, RECIPES, Recipe, recipe_for

__all__ = [
    "OPTIMIZERS",
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
