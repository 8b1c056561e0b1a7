"""Attributions: what each input of each image is worth to the network, by LRP and by what LRP has to beat."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..errors import InputError, check_choice
from ..lrp import COMPOSITES, STARTS, Explainer
from ..ranking import Ranking
from ..ranking.attributions import Slope, gradient, gradient_x_input, integrated_gradients, slope_of
from .checks import check_classes, check_images, generator

BASELINES: tuple[str, ...] = (
    "gradient",
    "gradient-x-input",
    "integrated-gradients",
    "smoothgrad",
    "random",
    "centre-disc",
)
"""What an LRP composite is compared with; the last two look neither at the network nor at the image."""

ATTRIBUTIONS: tuple[str, ...] = (*COMPOSITES, *BASELINES)

PATH_STEPS = 32
"""Points on the straight path from the black image on which integrated gradients are taken (midpoint rule)."""

SMOOTHGRAD_SAMPLES = 32
SMOOTHGRAD_NOISE = 0.15
"""Standard deviation of SmoothGrad's noise, with pixels in [0, 1]: 10 to 20 % of the range (Smilkov et al. 2017)."""


def attribute_images(
    model: nn.Module,
    images: Float[Tensor, "n *shape"],
    criterion: str | Ranking,
    *,
    target: Int64[Tensor, " n"] | None = None,
    start: str = "logit",
    seed: int = 0,
    batch_size: int = 500,
    on_batch: Callable[[int], None] | None = None,
) -> Float[Tensor, "n *shape"]:
    """The attribution of every image under a criterion, in the shape of `images`; larger is more relevant.

    A composite's name gives LRP relevance; "gradient", "gradient-x-input", "integrated-gradients" (Sundararajan et
    al. 2017, from black) and "smoothgrad" (Smilkov et al. 2017) explain the same function of the logits, which `start`
    names (for "one-hot" the logit); "random" differs from image to image; "centre-disc" falls with the distance from
    the centre. A `Ranking` is one mask for the whole data set: every image gets its order. `target` [n] is the
    explained class (default: the predicted one); `seed` draws "random" and SmoothGrad's noise, which is the same for
    all images. `on_batch(images done)` reports progress. Raises `InputError` for an unknown criterion, and for images
    that are not in [0, 1] or that the network does not take.
    """
    check_images(images, model)
    if target is not None:
        check_classes("classes to explain", images, target)
    shape = tuple(images.shape[1:])
    if isinstance(criterion, Ranking):
        if criterion.n_inputs != images[0].numel():
            raise InputError(f"the ranking is of {criterion.n_inputs} inputs, an image has {images[0].numel()}")
        return (criterion.n_inputs - criterion.rank).view(shape).to(images.dtype).expand_as(images)
    check_choice("criterion", criterion, ATTRIBUTIONS)
    check_choice("start", start, STARTS)
    if criterion == "random":
        return torch.rand(images.shape, generator=generator(seed, "random relevance"))
    if criterion == "centre-disc":
        return _nearness(shape).to(images.dtype).expand_as(images)
    network = copy.deepcopy(model).eval().requires_grad_(False)
    explain = _explain_with(network, criterion, start, shape, seed)
    found = []
    for at in range(0, len(images), batch_size):
        part = slice(at, at + batch_size)
        found.append(explain(images[part], None if target is None else target[part]))
        if on_batch:
            on_batch(min(at + batch_size, len(images)))
    return torch.cat(found)


def _explain_with(
    network: nn.Module, criterion: str, start: str, shape: tuple[int, ...], seed: int
) -> Callable[[Tensor, Tensor | None], Tensor]:
    """What explains one batch for the given classes, or for the predicted ones."""
    if criterion in COMPOSITES:
        explainer = Explainer(network, criterion)
        return lambda x, target: explainer.relevance(x, target, start)

    def smooth(x: Tensor, slope: Slope) -> Tensor:
        random = generator(seed, "smoothgrad")
        noise = SMOOTHGRAD_NOISE * torch.randn(SMOOTHGRAD_SAMPLES, *shape, generator=random).to(x.dtype)
        return sum((slope(x + one) for one in noise), torch.zeros_like(x)) / SMOOTHGRAD_SAMPLES

    methods: dict[str, Callable[[Tensor, Slope], Tensor]] = {
        "gradient": gradient,
        "gradient-x-input": gradient_x_input,
        "integrated-gradients": partial(integrated_gradients, steps=PATH_STEPS),
        "smoothgrad": smooth,
    }
    method = methods[criterion]

    def explain(x: Tensor, target: Tensor | None) -> Tensor:
        with torch.no_grad():
            classes = network(x).argmax(1) if target is None else target
        return method(x, slope_of(network, classes, start))

    return explain


def _nearness(shape: tuple[int, ...]) -> Tensor:
    """How much nearer to the centre of its image every pixel is than the corners."""
    if len(shape) != 3:
        raise InputError(f"a centre disc needs images (channels, height, width), not inputs of shape {shape}")
    rows, columns = (torch.arange(size) - (size - 1) / 2 for size in shape[1:])
    distance = (rows[:, None].square() + columns.square()).sqrt()
    return (distance.max() - distance).expand(shape)
