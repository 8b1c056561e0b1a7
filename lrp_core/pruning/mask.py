"""Which inputs are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from ..errors import InputError
from ..training import selects_pixels
from .layers import Scatter


@dataclass(frozen=True, eq=False)
class PixelMask:
    """The inputs that are kept: `indices` [k] are flat positions in an input of `shape`, in increasing order.

    Reads like a scikit-learn feature selector: `get_support`, `apply` (transform), `scatter` (inverse).
    """

    indices: Int64[Tensor, " k"]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        n = self.n_inputs
        if self.indices.ndim != 1 or not 1 <= len(self.indices) <= n:
            raise InputError(f"a mask must keep between 1 and {n} inputs, not {self.indices.numel()}")
        ordered = bool((self.indices.diff() > 0).all())
        if not ordered or int(self.indices[0]) < 0 or int(self.indices[-1]) >= n:
            raise InputError(f"mask indices must be distinct, increasing and between 0 and {n - 1}")

    @classmethod
    def from_indices(cls, indices: Sequence[int] | Tensor | np.ndarray, shape: Sequence[int]) -> PixelMask:
        """Keep the inputs at these flat positions, whole numbers in any order."""
        positions = torch.as_tensor(indices)
        if positions.numel() and (
            positions.is_floating_point() or positions.is_complex() or positions.dtype == torch.bool
        ):
            raise InputError(f"mask indices must be whole numbers, the positions of kept inputs, not {positions.dtype}")
        return cls(positions.to(torch.int64).flatten().sort().values, tuple(shape))

    @classmethod
    def full(cls, shape: Sequence[int]) -> PixelMask:
        """Keep everything."""
        return cls(torch.arange(math.prod(shape)), tuple(shape))

    @property
    def n_inputs(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        """Number of inputs kept."""
        return len(self.indices)

    @property
    def removed_share(self) -> float:
        """Share of the inputs that is removed, in [0, 1)."""
        return 1 - len(self) / self.n_inputs

    @property
    def keep(self) -> Bool[Tensor, "*shape"]:
        """True where an input is kept, in the shape of one input."""
        support = torch.zeros(self.n_inputs, dtype=torch.bool)
        support[self.indices] = True
        return support.view(self.shape)

    def get_support(self) -> np.ndarray:
        """bool array of shape [n_inputs], True where an input is kept, as scikit-learn's selectors give it."""
        return self.keep.flatten().numpy()

    @selects_pixels
    def apply(self, images: Shaped[Tensor, "n *shape"]) -> Shaped[Tensor, "n k"]:
        """The kept pixels of each image. Raises `InputError` for images of another shape."""
        self._check(images)
        return images.flatten(1).index_select(1, self.indices.to(images.device))

    def scatter(self, kept: Shaped[Tensor, "n k"], fill: float = 0.0) -> Shaped[Tensor, "n *shape"]:
        """Images with the kept pixels in their places and `fill` elsewhere: `scatter(apply(x)) == x * keep`."""
        if kept.ndim != 2 or kept.shape[1] != len(self):
            raise InputError(f"expected kept pixels of shape [n, {len(self)}], not {tuple(kept.shape)}")
        return Scatter(self.indices.to(kept.device), self.shape, fill).forward(kept)

    def remove(self, images: Shaped[Tensor, "n *shape"], fill: float = 0.0) -> Shaped[Tensor, "n *shape"]:
        """The images with every removed pixel set to `fill`, in their full shape."""
        self._check(images)
        return torch.where(self.keep.to(images.device), images, fill)

    @property
    def channels(self) -> Int64[Tensor, " kept"]:
        """The channels of images or series that have a kept input, in increasing order."""
        return self.keep.flatten(1).any(1).nonzero().flatten()

    def bounding_box(self) -> tuple[slice, ...]:
        """Of every axis behind the channels, the shortest stretch that holds every kept input.

        Those are rows and columns of images, and steps of series. Raises `InputError` for inputs that are vectors.
        """
        if len(self.shape) < 2:
            raise InputError(f"inputs of shape {self.shape} are no images or series and have no bounding box")
        grid = self.keep.any(0)
        places = grid.nonzero()
        first, last = places.amin(0).tolist(), places.amax(0).tolist()
        return tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))

    def _check(self, images: Tensor) -> None:
        if tuple(images.shape[1:]) != self.shape:
            raise InputError(
                f"the mask is for inputs of shape {self.shape}; got a batch of shape {tuple(images.shape)} "
                f"(expected [n, {', '.join(map(str, self.shape))}])"
            )


def crop_mask(mask: PixelMask, box: Sequence[slice], channels: Tensor | None = None) -> PixelMask:
    """The mask inside a box, on some channels or all."""
    inside = mask.keep[(slice(None) if channels is None else channels, *box)]
    return PixelMask(inside.flatten().nonzero().flatten(), tuple(inside.shape))
