"""Train one network, and evaluate one network."""

from .dense import DenseChain, find_dense_chain
from .distillation import Teacher
from .evaluation import Evaluation, NumberEvaluation, evaluate, predict_logits
from .feeding import Encode, loss_of, one_thread, pick_device, selects_pixels
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
    "Teacher",
    "evaluate",
    "find_dense_chain",
    "fit",
    "loss_of",
    "one_thread",
    "pick_device",
    "predict_logits",
    "recipe_for",
    "selects_pixels",
]
