"""Controls: what a ranking by relevance has to beat. Each gives one score for each input, without explaining images.

Scores are float64 [inputs], larger for what is kept first; equal ones are left to the seed of the ranking. Where
chance plays a part it comes from a seed, never from a global random state.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data import Split
from ..errors import InputError, UnsupportedLayer
from ..extras import from_extra
from ..lrp.affine import Affine
from ..lrp.folding import fold_scales
from ..lrp.given import refusing_misfits
from ..lrp.operations import Identity, Rearrangement
from ..lrp.reading import trace
from ..seeds import check_seed

BLUR = 0.1
"""Standard deviation of the smoothed random control's blur, as a share of the longer side of the image."""

SAMPLE = 10_000
"""Images, at most, on which mutual information and randomised trees are computed."""

N_TREES = 100

GREY_LEVELS = 16
"""Levels to which bytes are reduced before their mutual information with the class is counted."""


# Of the shape alone


def centre_distance(shape: tuple[int, ...]) -> Float[Tensor, " inputs"]:
    """Minus the squared distance of every pixel from the image's centre: kept pixels form a disc.

    `shape` is (channels, height, width). Raises `InputError` for inputs that are no images: a vector has no centre.
    """
    channels, *size = _image_shape("centre", shape)
    rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in size)
    return -(rows[:, None].square() + columns.square()).expand(channels, *size).flatten()


def smooth_noise(shape: tuple[int, ...], seed: int, blur: float = BLUR) -> Float[Tensor, " inputs"]:
    """Gaussian noise blurred within every channel: kept pixels form random blobs, as smooth as a relevance map.

    The blur goes round the edges, so that no place of the image is favoured. `blur` is its standard deviation as a
    share of the longer side. Raises `InputError` for inputs that are no images, or a blur that is no share.
    """
    with from_extra():
        from scipy.ndimage import gaussian_filter

    _, height, width = _image_shape("smooth-random", shape)
    if not 0 <= blur <= 1:
        raise InputError(f"blur is a share of the image between 0 and 1, not {blur}")
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
    return torch.from_numpy(gaussian_filter(noise, blur * max(height, width), mode="wrap", axes=(1, 2))).flatten()


def _image_shape(criterion: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 3:
        raise InputError(f"criterion {criterion!r} needs images (channels, height, width), not inputs of shape {shape}")
    return shape


# Of the images


def pixel_variance(split: Split, batch_size: int = 5000) -> Tensor:
    """Variance of every pixel (in [0, 1]) over the images of `split`, [n_inputs]."""
    n = torch.zeros((), dtype=torch.float64)
    total = torch.zeros(split.pixels[0].numel(), dtype=torch.float64)
    squares = torch.zeros_like(total)
    # Numbers may have a mean far from zero, where the difference of two large squares is all rounding.
    offset = split.raw[:1].flatten(1).double()
    for part in torch.split(split.pixels, batch_size):
        x = part.flatten(1).double()
        x = x / 255 if split.is_bytes else x - offset
        n, total, squares = n + len(x), total + x.sum(0), squares + x.square().sum(0)
    return (squares / n - (total / n).square()).clamp(min=0)


def varies(split: Split) -> Float[Tensor, " inputs"]:
    """1 for every pixel that differs anywhere in `split`, 0 for one that is the same in all images."""
    pixels = split.pixels.flatten(1)
    return (pixels.amax(0) != pixels.amin(0)).double()


def anova_f(split: Split, n_columns: int = 100) -> Float[Tensor, " inputs"]:
    """F of a one-way analysis of variance of every pixel by class (Fisher), scikit-learn's `f_classif`.

    Where labels are numbers, F of a linear regression on every pixel, `f_regression`.

    Over all images, `n_columns` pixels at a time. A constant pixel, for which F is 0 / 0, gets 0; one that never
    varies within a class, for which F is infinite, the largest number there is. Raises `InputError` unless there are
    two classes or more, and more images than classes.
    """
    with from_extra():
        from sklearn.feature_selection import f_classif, f_regression

    score = f_regression if split.has_numbers else f_classif
    labels = _different_labels("anova-f", split)
    scores = torch.zeros(split.pixels[0].numel(), dtype=torch.float64)
    changing = varies(split).nonzero().flatten()
    for start in range(0, len(changing), n_columns):
        columns = changing[start : start + n_columns]
        pixels = _near_zero(split, columns).numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            scores[columns] = torch.from_numpy(score(pixels, labels)[0])
    return scores.nan_to_num()


def mutual_information(split: Split, seed: int = 0, n_images: int = SAMPLE) -> Float[Tensor, " inputs"]:
    """Mutual information of every pixel and the class in nats, scikit-learn's `mutual_info_classif`.

    Where labels are numbers, they are put into `GREY_LEVELS` classes of as many rows each.

    Counted, not estimated from neighbours: bytes are put into `GREY_LEVELS` levels of equal width, and numbers into as
    many levels of equal width between the least and the largest of each input. For speed it is
    taken over a stratified sample of at most `n_images` images, drawn with `seed`. Raises `InputError` as `anova_f`.
    """
    with from_extra():
        from sklearn.feature_selection import mutual_info_classif

    sample = _sample(split, n_images, seed)
    labels = _different_labels("mutual-information", sample)
    if sample.has_numbers:
        labels = np.searchsorted(np.quantile(labels, np.arange(1, GREY_LEVELS) / GREY_LEVELS), labels)
    if sample.is_bytes:
        levels = sample.raw.flatten(1).numpy() // (256 // GREY_LEVELS)
    else:
        values = sample.raw.flatten(1).double()
        low, high = values.aminmax(dim=0)
        width = (high - low).where(high > low, 1.0)
        levels = ((values - low) / width * GREY_LEVELS).floor().clamp(max=GREY_LEVELS - 1).to(torch.int64).numpy()
    return torch.from_numpy(mutual_info_classif(levels, labels, discrete_features=True)).double()


def extra_trees(split: Split, seed: int = 0, n_images: int = SAMPLE) -> Float[Tensor, " inputs"]:
    """Importance of every pixel in extremely randomised trees, scikit-learn's `ExtraTreesClassifier`.

    Where labels are numbers, `ExtraTreesRegressor`, and the mean decrease is that of their variance.

    The mean decrease of Gini impurity over `N_TREES` trees (Geurts et al. 2006). For speed they are grown on a
    stratified sample of at most `n_images` images; `seed` draws it and grows them. Raises `InputError` as `anova_f`.
    """
    with from_extra():
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    sample = _sample(split, n_images, seed)
    labels = _different_labels("extra-trees", sample)
    trees = (ExtraTreesRegressor if sample.has_numbers else ExtraTreesClassifier)(N_TREES, random_state=seed, n_jobs=1)
    columns = torch.arange(sample.raw[0].numel())
    pixels = sample.raw.flatten(1) if sample.is_bytes else _near_zero(sample, columns)
    return torch.from_numpy(trees.fit(pixels.numpy(), labels).feature_importances_)


def _near_zero(split: Split, columns: Tensor) -> Tensor:
    """Some inputs in float64; numbers far from zero are moved to it, where squares and float32 lose nothing."""
    pixels = split.raw.flatten(1)[:, columns].double()
    return pixels if split.is_bytes else pixels - pixels[:1]


def _sample(split: Split, n_images: int, seed: int) -> Split:
    check_seed(seed)
    return split if len(split) <= n_images else split.sample(n_images, seed=seed)


def _different_labels(criterion: str, split: Split) -> np.ndarray:
    labels: np.ndarray = split.labels.numpy()
    if split.has_numbers:
        if len(labels) < 3 or labels.min() == labels.max():
            raise InputError(f"criterion {criterion!r} needs at least three rows with different numbers")
        return labels.astype(np.float64)
    n_classes = len(np.unique(labels))
    if n_classes < 2 or len(labels) <= n_classes:
        raise InputError(
            f"criterion {criterion!r} compares classes: it needs at least two, and more images than classes, "
            f"not {len(labels)} images of {n_classes}"
        )
    return labels


# Of the network's weights


def first_weights(model: nn.Module, shape: tuple[int, ...]) -> Float[Tensor, " inputs"]:
    """The sum of |weight| over all connections of the first layer that leave each input of `shape`.

    For a dense layer these are the columns' L1 norms. In a convolution a weight counts once for each place at which
    it reads the pixel: the same sum over the columns of the matrix that the convolution is, by which pixels at the
    border have fewer connections. A batch-norm directly before or after the layer is folded in. Raises
    `UnsupportedLayer` where anything but a rearrangement of the inputs stands before the first layer.
    """
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    inputs = torch.zeros(1, *shape, dtype=dtype, requires_grad=True)
    with torch.enable_grad(), refusing_misfits(inputs):
        first = _first_layers(model, inputs)
        if not first:
            raise UnsupportedLayer("criterion 'weight' sums the weights of the first layer, and the network has none")
        (sums,) = torch.autograd.grad(torch.stack(first).sum(), inputs)
    return sums.double().flatten()


def _first_layers(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """For each layer that reads the inputs, the sum of its outputs with |weight| for its weights."""
    values: dict[int, Tensor] = {-1: inputs}
    first = []
    for i, step in enumerate(fold_scales(trace(model))):
        operation, reached = step.operation, [values[source] for source in step.sources if source in values]
        if not reached:
            continue
        if isinstance(operation, Affine):
            z = operation.map(torch.abs)(reached[0])
            if operation.kind == "scale":
                values[i] = z
            else:
                first.append(z.sum())
        elif isinstance(operation, Rearrangement | Identity):
            values[i] = operation.run(*reached)[0]
        else:
            raise UnsupportedLayer(
                f"criterion 'weight' is about a first layer that reads the inputs themselves, and {step.name!r} "
                f"({type(operation).__name__}) reads them too"
            )
    return first
