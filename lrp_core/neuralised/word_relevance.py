"""Bags of words as a layer of a network, so that relevance reaches pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..lrp import register
from ..lrp.operations import Back, Operation
from ..lrp.relevance import Relevance
from .bags import BagOfWords
from .encoding import Encoding


class WordCounts(nn.Module):
    """Images [n, *shape] to counts of words [n, n_cells * n_words], float64, by a fitted bag of words.

    `nn.Sequential(WordCounts(bag), machine)` takes images, and `lc.attribute` explains it by pixels: relevance of words
    goes to the patches that map to them, and from a patch in equal parts to its pixels (Bach et al. 2015).
    """

    def __init__(self, bag: BagOfWords) -> None:
        super().__init__()
        bag.get_feature_names_out()  # which refuses a bag that is not fitted
        self.bag = bag

    def encode(self, x: Float[Tensor, "n *shape"]) -> Encoding:
        return self.bag.encode(x.detach().cpu().numpy())

    def forward(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n counts"]:
        return torch.from_numpy(self.encode(x).counts).to(x.device)


@dataclass(frozen=True, eq=False)
class Counting(Operation):
    """Counts of words, whose relevance goes back to pixels."""

    layer: WordCounts

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (x,) = inputs
        encoding = self.layer.encode(x)

        def back(r: Relevance) -> Sequence[Relevance]:
            pixels = encoding.to_pixels(r.dense().cpu().numpy())
            return [Relevance.of(x, torch.from_numpy(pixels).to(x))]

        return torch.from_numpy(encoding.counts).to(x.device), back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return True

    def gives_product(self, arriving: bool) -> bool:
        return False


register(WordCounts, Counting)
