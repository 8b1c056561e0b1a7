"""Bags of words: images as counts of the words of a vocabulary of local patches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import NotFittedError

from ..errors import InputError
from .encoding import Encoding
from .patches import Layout, as_images, check_grids, check_whole, images_in_block

NEGLIGIBLE = 1e-12
"""Weights below this count as none: relevance divided by a sum of such weights would lose its digits."""


class Unfitted(InputError, NotFittedError):  # type: ignore[misc]
    """A bag of words that has no vocabulary yet."""


class BagOfWords(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Images to counts of visual words, as a transformer of scikit-learn.

    Patches of `size` x `size` pixels, one every `stride` pixels, are compared with `n_words` words: the centres that
    k-means finds among `n_patches` patches of the images given to `fit`. With `normalise`, each patch has its mean
    taken off and is divided by its standard deviation, to which a third of the root mean square of all of them is
    added. A patch counts for its `nearest` words: for 1 the nearest alone (hard assignment), for more with weights
    proportional to exp(-D / D0), D the squared distance and D0 its mean to the nearest word (soft assignment, as in
    Liu, Wang and Liu 2011). Words are counted in each cell of each of the `grids`: (1,) the whole image, (2,)
    quadrants, (1, 2) both. The counts of an image have the sum 1.

    >>> import numpy as np
    >>> from lrp_core import BagOfWords
    >>> images = np.random.default_rng(0).random((20, 12, 12))
    >>> bag = BagOfWords(size=4, n_words=6).fit(images)
    >>> bag.transform(images).shape
    (20, 24)
    """

    def __init__(
        self,
        *,
        size: int = 8,
        stride: int = 2,
        n_words: int = 196,
        grids: tuple[int, ...] = (2,),
        nearest: int = 1,
        normalise: bool = True,
        n_patches: int = 100_000,
        random_state: Any = 0,
    ) -> None:
        self.size = size
        self.stride = stride
        self.n_words = n_words
        self.grids = grids
        self.nearest = nearest
        self.normalise = normalise
        self.n_patches = n_patches
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> BagOfWords:
        """Learn the vocabulary from images [n, height, width] or [n, channels, height, width].

        Sets `vocabulary_` [n_words, values of a patch], `softness_` (D0), `contrast_` (what is added to the standard
        deviations) and `layout_`. Raises `InputError` for images
        smaller than a patch, for fewer patches than words, and for numbers that are not finite.
        """
        images = as_images(X)
        layout = Layout(
            images.shape[1:],
            check_whole("size", self.size),
            check_whole("stride", self.stride),
            check_grids(self.grids),
        )
        n_words = check_whole("n_words", self.n_words)
        if check_whole("nearest", self.nearest) > n_words:
            raise InputError(f"nearest must be at most n_words = {n_words}, not {self.nearest}")
        patches = self._sample(images, layout, check_whole("n_patches", self.n_patches, n_words))
        if len(patches) < n_words:
            raise InputError(
                f"{len(patches)} patches are too few for {n_words} words: give more images or ask for fewer"
            )
        self.contrast_ = float(np.sqrt(patches.var(1).mean())) / 3 or 1.0
        patches = self._prepared(patches)
        means = MiniBatchKMeans(n_words, random_state=self.random_state, n_init=1, batch_size=4096, max_iter=50)
        self.vocabulary_: NDArray[np.float64] = np.asarray(means.fit(patches).cluster_centers_, dtype=np.float64)
        self.softness_ = float(self._distances(patches).min(1).clip(0).mean())
        self.layout_ = layout
        return self

    def encode(self, X: Any) -> Encoding:
        """The counts of images of the fitted shape, and how patches map to words. Raises `InputError`."""
        layout, images = self._fitted(), as_images(X)
        if images.shape[1:] != layout.shape:
            raise InputError(f"this bag of words was fitted on images of shape {layout.shape}, not {images.shape[1:]}")
        n_words, k = len(self.vocabulary_), self.nearest
        counts = np.empty((len(images), layout.n_cells * n_words))
        words = np.empty((len(images), layout.n_patches, k), dtype=np.int32)
        weights = np.ones((len(images), layout.n_patches, k))
        step = images_in_block(layout, n_words)
        cells = layout.cells()
        for start in range(0, len(images), step):
            block = slice(start, start + step)
            patches = layout.cut(images[block])
            found, weight = self._assign(self._prepared(patches.reshape(-1, layout.area)))
            words[block] = found.reshape(len(patches), -1, k)
            if weight is not None:
                weights[block] = weight.reshape(len(patches), -1, k)
            counts[block] = _count(words[block], weights[block], cells, layout.n_cells * n_words, n_words)
        return Encoding(counts, words, weights, layout, n_words)

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Counts [n, n_cells * n_words] of images of the fitted shape. Raises `InputError`."""
        return self.encode(X).counts

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """What each count is called: its word, and the cell that it was counted in."""
        return np.array(self._fitted().names(len(self.vocabulary_)), dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    def _fitted(self) -> Layout:
        layout: Layout | None = getattr(self, "layout_", None)
        if layout is None:
            raise Unfitted("this bag of words has no vocabulary yet: call fit with images first")
        return layout

    def _sample(self, images: NDArray[np.float64], layout: Layout, many: int) -> NDArray[np.float64]:
        """At most `many` patches, drawn from images that were drawn, equally many from each."""
        from sklearn.utils import check_random_state

        random = check_random_state(self.random_state)
        each = max(1, min(layout.n_patches, round(many / len(images))))
        chosen = random.permutation(len(images))[: -(-many // each)]
        taken = []
        for start in range(0, len(chosen), step := images_in_block(layout, 1)):
            patches = layout.cut(images[chosen[start : start + step]])
            places = random.random(patches.shape[:2]).argsort(1)[:, :each]
            taken.append(np.take_along_axis(patches, places[:, :, None], 1).reshape(-1, layout.area))
        return np.concatenate(taken)[:many]

    def _prepared(self, patches: NDArray[np.float64]) -> NDArray[np.float64]:
        """Patches [n, values] as they are compared with words."""
        if not self.normalise:
            return patches
        centred: NDArray[np.float64] = patches - patches.mean(1, keepdims=True)
        deviations = np.sqrt(np.einsum("nd,nd->n", centred, centred) / centred.shape[1])
        centred /= deviations[:, None] + self.contrast_
        return centred

    def _distances(self, patches: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared distances [n, n_words] of patches to the words."""
        distances = patches @ (-2 * self.vocabulary_.T)
        distances += (self.vocabulary_**2).sum(1)
        distances += (patches**2).sum(1)[:, None]
        return distances

    def _assign(self, patches: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64] | None]:
        """The words that each patch counts for [n, nearest], and its weights if it counts for several."""
        distances = self._distances(patches)
        if self.nearest == 1:
            return distances.argmin(1)[:, None], None
        words = distances.argpartition(self.nearest - 1, axis=1)[:, : self.nearest]
        near = np.take_along_axis(distances, words, 1)
        weights = np.exp((near.min(1, keepdims=True) - near) / max(self.softness_, np.finfo(np.float64).tiny))
        weights[weights < NEGLIGIBLE] = 0.0
        return words, weights / weights.sum(1, keepdims=True)


def _count(
    words: NDArray[np.int32],
    weights: NDArray[np.float64],
    cells: NDArray[np.int64],
    n_counts: int,
    n_words: int,
) -> NDArray[np.float64]:
    """Weights summed for each image, cell and word, divided so that those of an image have the sum 1."""
    n, n_patches, _ = words.shape
    total: NDArray[np.float64] = np.zeros(n * n_counts)
    for cell in cells:
        places = np.arange(n)[:, None, None] * n_counts + cell[:, None] * n_words + words
        total += np.bincount(places.ravel(), weights.ravel(), n * n_counts)
    counts: NDArray[np.float64] = total.reshape(n, n_counts) / (n_patches * len(cells))
    return counts
