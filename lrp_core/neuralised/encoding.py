"""Images as counts of words, with the mapping that leads back to their patches and pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .patches import Layout


@dataclass(frozen=True, eq=False)
class Encoding:
    """`counts` [n, n_cells * n_words] of the words of each image, cell after cell, with sum 1 for each image.

    Patch l of an image maps to the words `words` [n, patches, nearest] with the weights m_d(l) in `weights` of the same
    shape, whose sum is 1 for each patch.
    """

    counts: NDArray[np.float64]
    words: NDArray[np.int32]
    weights: NDArray[np.float64]
    layout: Layout
    n_words: int

    def __len__(self) -> int:
        return len(self.counts)

    def to_patches(self, relevance: Any) -> NDArray[np.float64]:
        """Relevance of words [n, n_cells * n_words] to that of patches [n, patches] (Bach et al. 2015).

        R_l = sum of R_d m_d(l) / sum_l' m_d(l') over the words d that the image has, plus what lies on those that it
        lacks, in equal parts. Its sum is that of `relevance`. Raises `InputError` for another shape.
        """
        given = np.asarray(relevance, dtype=np.float64)
        if given.shape != self.counts.shape:
            raise InputError(
                f"relevance of words must have the shape of the counts, {self.counts.shape}, not {given.shape}"
            )
        present = self.counts > 0
        mass = self.counts * self.layout.n_patches * len(self.layout.grids)
        share = np.divide(given, mass, out=np.zeros_like(given), where=present)
        absent = np.where(present, 0.0, given).sum(1) / self.layout.n_patches
        total = np.repeat(absent[:, None], self.layout.n_patches, axis=1)
        for cells in self.layout.cells():
            places = (cells[:, None] * self.n_words + self.words).reshape(len(self), -1)
            total += (np.take_along_axis(share, places, 1).reshape(self.weights.shape) * self.weights).sum(2)
        return total

    def to_pixels(self, relevance: Any) -> NDArray[np.float64]:
        """Relevance of words [n, n_cells * n_words] to that of the images' values [n, *shape], with the same sum."""
        return self.layout.spread(self.to_patches(relevance))
