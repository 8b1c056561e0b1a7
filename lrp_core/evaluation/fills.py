"""Fills: what a removed pixel becomes.

A network cannot be given a hole; whatever stands in its place says something too. Zero is MNIST's background and
hides in it, so a finding is to be read over several fills.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from ..data import Split
from ..errors import InputError, check_choice
from ..extras import from_extra
from ..seeds import generator

FILLS: tuple[str, ...] = ("zero", "mean", "noise", "blur", "road")
"""zero; the pixel's mean over the training images; uniform noise in [0, 1]; the image blurred; ROAD's imputation."""

BLUR_SIGMA = 2.0
"""Standard deviation of the Gaussian blur, in pixels."""

ROAD_NOISE = 0.01
"""Standard deviation of the noise that ROAD adds to what it imputes, with pixels in [0, 1]."""

_FORWARD = (((0, 1), 1 / 6), ((1, -1), 1 / 12), ((1, 0), 1 / 6), ((1, 1), 1 / 12))
"""Half of ROAD's eight neighbours, (row, column) and weight; the other half are these seen from the other side."""

_UNKNOWNS = 100_000
"""About how many removed pixels are solved for at once: what bounds the memory."""


@dataclass(frozen=True, eq=False)
class PixelStatistics:
    """What training images tell of every pixel: its `mean` [*shape], and the share of them that light it, [*shape]."""

    mean: Float[Tensor, "*shape"]
    lit_share: Float[Tensor, "*shape"]

    @classmethod
    def of(cls, split: Split, batch_size: int = 5000) -> PixelStatistics:
        kind, unit = (torch.int64, 255) if split.is_bytes else (torch.float64, 1)
        total = torch.zeros(split.shape, dtype=kind)
        lit = torch.zeros(split.shape, dtype=torch.int64)
        for part in torch.split(split.raw, batch_size):
            total += part.sum(0, dtype=kind)
            lit += (part > 0).sum(0)
        return cls((total.double() / (unit * len(split))).float(), (lit.double() / len(split)).float())


@dataclass(frozen=True, eq=False)
class Fill:
    """A fill made for a set of images.

    `values` [n, *shape], or [1, *shape] for all images alike, is what each pixel becomes when it is removed; for ROAD
    it is the noise that is added to the imputed pixel. `mean` [*shape] stands in where ROAD has no pixel left to
    impute from.
    """

    name: str
    values: Float[Tensor, "m *shape"]
    mean: Float[Tensor, "*shape"] | None = None

    @property
    def depends_on_mask(self) -> bool:
        """Whether a removed pixel's value depends on which others are removed."""
        return self.name == "road"

    def take(self, rows: slice | Tensor) -> Fill:
        """The fill of some of the images."""
        return self if len(self.values) == 1 else Fill(self.name, self.values[rows], self.mean)

    def changes(self, images: Float[Tensor, "n *shape"]) -> Bool[Tensor, "n *shape"]:
        """Where the removal of a pixel can change an image at all."""
        return torch.ones_like(images, dtype=torch.bool) if self.depends_on_mask else self.values != images

    def apply(self, images: Float[Tensor, "n *shape"], removed: Bool[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """The images with every pixel in `removed` replaced; all others are bitwise what they were."""
        values = impute(images, removed, self.mean) + self.values if self.depends_on_mask else self.values
        return torch.where(removed, values.to(images.dtype), images)


def make_fill(
    name: str, images: Float[Tensor, "n *shape"], *, mean: Float[Tensor, "*shape"] | None = None, seed: int = 0
) -> Fill:
    """The fill of that name for a set of images, or of other inputs.

    "mean" needs the `mean` image of the training images, "road" uses it where nothing else is left. `seed` draws the
    noise of "noise" and "road", which are for values in [0, 1]: image i has the same noise however many pixels it
    loses. Raises `InputError` for an unknown name, or where a fill needs what it is not given.
    """
    check_choice("fill", name, FILLS)
    random = generator(seed, f"fill {name}")
    shape = tuple(images.shape[1:])
    if mean is not None and tuple(mean.shape) != shape:
        raise InputError(f"the mean image has shape {tuple(mean.shape)}, the images have {shape}")
    if name in ("blur", "road") and len(shape) != 3:
        raise InputError(f"fill {name!r} needs images (channels, height, width), not inputs of shape {shape}")
    if name in ("noise", "road") and images.numel():
        low, high = (float(end) for end in images.aminmax())
        if not 0 <= low <= high <= 1:
            raise InputError(
                f"the noise of fill {name!r} is for values in [0, 1], not in [{low:g}, {high:g}]: use mean"
            )
    match name:
        case "zero":
            values = images.new_zeros(1, *shape)
        case "mean":
            if mean is None:
                raise InputError("fill 'mean' needs the mean of the training images: give their pixel statistics")
            values = mean[None].to(images.dtype)
        case "noise":
            values = torch.rand(images.shape, generator=random)
        case "blur":
            values = _blurred(images)
        case _:
            values = ROAD_NOISE * torch.randn(images.shape, generator=random)
    return Fill(name, values, mean)


def _blurred(images: Tensor) -> Tensor:
    with from_extra():  # rarely needed, and slow to import
        from scipy.ndimage import gaussian_filter

    return torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, BLUR_SIGMA, BLUR_SIGMA), mode="nearest"))


def impute(
    images: Shaped[Tensor, "n c h w"],
    removed: Bool[Tensor, "n c h w"],
    mean: Shaped[Tensor, "c h w"] | None = None,
) -> Float[Tensor, "n c h w"]:
    """ROAD's linear imputation without its noise (Rong et al. 2022).

    Every removed pixel is the weighted mean of its neighbours, known or themselves removed: 1/6 for the four direct
    and 1/12 for the four diagonal ones, in proportion at the border. The removed pixels of all images together are one
    sparse linear system; numbered row by row it is banded, symmetric and positive definite. A channel without any
    pixel left has nothing to impute from: it becomes `mean`, and `InputError` is raised if there is none.
    """
    n, channels, height, width = images.shape
    known = images.double().masked_fill(removed, 0.0).flatten(0, 1).numpy()
    holes: np.ndarray = removed.flatten(0, 1).numpy()
    empty = np.asarray(holes.reshape(len(holes), -1).all(1))
    if empty.any():
        if mean is None:
            raise InputError(
                f"image {int(empty.argmax()) // channels} has no pixel left to impute from: give the mean image"
            )
        stand_in = np.tile(mean.double().numpy(), (n, 1, 1))
        known[empty] = stand_in[empty]
        holes = holes & ~empty[:, None, None]
    step = max(1, _UNKNOWNS // (height * width))
    for start in range(0, len(holes), step):
        part = slice(start, start + step)
        known[part][holes[part]] = _solve(known[part], holes[part])
    return torch.from_numpy(known).view(images.shape).to(images.dtype)


def _solve(known: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """The values of the removed pixels (True in `holes`) of maps [m, height, width], in row-major order."""
    with from_extra():
        from scipy.linalg import solveh_banded

    n = int(holes.sum())
    if n == 0:
        return np.empty(0)
    number = np.zeros(holes.shape, dtype=np.int64)
    number[holes] = np.arange(n)
    weights = np.zeros(holes.shape)
    sums = np.zeros(holes.shape)
    links = []
    for (down, right), weight in _FORWARD:
        here, there = _shifted(holes.shape, down, right)
        for one, other in ((here, there), (there, here)):
            weights[one] += weight
            sums[one] += weight * known[other]
        both = holes[here] & holes[there]
        links.append((number[here][both], number[there][both], weight))
    bandwidth = max((int((j - i).max()) for i, j, _ in links if len(i)), default=0)
    band = np.zeros((bandwidth + 1, n))
    band[bandwidth] = weights[holes]
    for i, j, weight in links:
        band[bandwidth - (j - i), j] = -weight
    solved: np.ndarray = solveh_banded(band, sums[holes], overwrite_ab=True, overwrite_b=True, check_finite=False)
    return solved


def _shifted(shape: tuple[int, ...], down: int, right: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where all pixels are that have a neighbour `down` and `right` of them, and where those neighbours are."""
    _, height, width = shape
    rows = slice(0, max(0, height - down)), slice(down, height)
    columns = slice(max(0, -right), width - max(0, right)), slice(max(0, right), width - max(0, -right))
    return (slice(None), rows[0], columns[0]), (slice(None), rows[1], columns[1])
