"""Local patches of images: where they lie, what they hold, and which pixels they cover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError


def as_images(values: Any) -> NDArray[Any]:
    """Images [n, *shape] as an array of numbers: bytes stand for numbers in [0, 1], as everywhere in this project.

    `shape` is (height, width) or (channels, height, width). Raises `InputError`.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "buif":
        raise InputError(f"images must be an array of numbers, not {array.dtype}")
    if array.ndim not in (3, 4):
        raise InputError(
            f"images must be of shape [n, height, width] or [n, channels, height, width], not {tuple(array.shape)}"
        )
    if not len(array):
        raise InputError("there are no images: give at least one")
    array = array / 255.0 if array.dtype == np.uint8 else array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise InputError("images must be finite numbers, and these hold NaN or infinity: fill or drop such images")
    return array


@dataclass(frozen=True)
class Layout:
    """Square patches of `size` pixels, one every `stride` pixels each way, on images of one `shape`.

    Each patch takes all channels. With `grids` (g, ...) the image is divided into g x g cells for each of them, and a
    patch lies in the cell of its centre. Raises `InputError` for what no image of this shape has.
    """

    shape: tuple[int, ...]
    size: int
    stride: int
    grids: tuple[int, ...]

    def __post_init__(self) -> None:
        if 0 in self.shape:
            raise InputError(f"each image must hold at least one pixel, not shape {self.shape}")
        if self.size > min(self.height, self.width):
            raise InputError(
                f"images of {self.height} x {self.width} pixels are smaller than a patch of {self.size} x {self.size}: "
                "choose a smaller size"
            )

    @property
    def channels(self) -> int:
        return self.shape[0] if len(self.shape) == 3 else 1

    @property
    def height(self) -> int:
        return self.shape[-2]

    @property
    def width(self) -> int:
        return self.shape[-1]

    @property
    def rows(self) -> int:
        """How many patches lie above each other."""
        return (self.height - self.size) // self.stride + 1

    @property
    def columns(self) -> int:
        return (self.width - self.size) // self.stride + 1

    @property
    def n_patches(self) -> int:
        return self.rows * self.columns

    @property
    def area(self) -> int:
        """How many values of an image a patch covers, over all channels."""
        return self.channels * self.size**2

    @property
    def n_cells(self) -> int:
        return sum(g * g for g in self.grids)

    def cells(self) -> NDArray[np.int64]:
        """The cell of each patch in each grid [grids, patches], counted on from grid to grid."""
        found = []
        first = 0
        for g in self.grids:
            row, column = (
                (self.stride * np.arange(many) + self.size / 2) * g // whole
                for many, whole in ((self.rows, self.height), (self.columns, self.width))
            )
            found.append((first + row[:, None] * g + column).astype(np.int64).ravel())
            first += g * g
        return np.stack(found)

    def cut(self, images: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values of all patches [n, patches, area] of `images` [n, *shape]."""
        whole = images.reshape(-1, self.channels, self.height, self.width)
        windows = np.lib.stride_tricks.sliding_window_view(whole, (self.size, self.size), axis=(2, 3))
        windows = windows[:, :, :: self.stride, :: self.stride].transpose(0, 2, 3, 1, 4, 5)
        return windows.reshape(len(images), self.n_patches, self.area)

    def spread(self, relevance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Relevance of patches [n, patches] to that of the values that they cover [n, *shape], in equal parts.

        R_q = sum of R_l / |area(l)| over the patches l that cover q (Bach et al. 2015).
        """
        share = relevance.reshape(-1, self.rows, self.columns) / self.area
        total = np.zeros((len(share), self.height, self.width))
        for y in range(self.size):
            for x in range(self.size):
                total[
                    :,
                    y : y + self.stride * (self.rows - 1) + 1 : self.stride,
                    x : x + self.stride * (self.columns - 1) + 1 : self.stride,
                ] += share
        return np.repeat(total[:, None], self.channels, axis=1).reshape(len(share), *self.shape)

    def names(self, n_words: int) -> list[str]:
        """What each count of a word in a cell is called, in the order of the counts."""
        return [
            f"word {word}" + ("" if g == 1 else f", row {cell // g}, column {cell % g} of {g} x {g}")
            for g in self.grids
            for cell in range(g * g)
            for word in range(n_words)
        ]


def check_whole(name: str, value: Any, least: int = 1) -> int:
    """`value` as a whole number of at least `least`. Raises `InputError`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def check_grids(grids: Any) -> tuple[int, ...]:
    """Sizes of grids, each once. Raises `InputError`."""
    if isinstance(grids, str) or not isinstance(grids, Sequence) or not len(grids):
        raise InputError(f"grids must be sizes of grids such as (2,) for quadrants or (1, 2), not {grids!r}")
    sizes = tuple(check_whole("each of grids", g) for g in grids)
    if len(set(sizes)) < len(sizes):
        raise InputError(f"grids must name each size once, not {grids!r}")
    return sizes


def images_in_block(layout: Layout, n_words: int, values: int = 2**22) -> int:
    """How many images to take at once, so that no array holds many more than `values` numbers."""
    return max(1, math.floor(values / (layout.n_patches * max(n_words, layout.area))))
