"""Embeddings: whole numbers in, a vector for each out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from .operations import Back, Operation
from .relevance import Relevance


@dataclass(frozen=True, eq=False)
class Embedding(Operation):
    """Rows of `weight` [entries, values] for tokens [n, ...]: a token's relevance is the sum over its vector's axis.

    The axis is the last one; this is how relevance of words is told in Arras et al. 2017, sec. 3.2.
    """

    weight: Tensor

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (tokens,) = inputs
        return F.embedding(tokens, self.weight), lambda r: [Relevance.of(tokens, r.dense().sum(-1))]

    def gives_product(self, arriving: bool) -> bool:
        return False
