"""Attributions: what each input of each image is worth to the network, by LRP and by what LRP has to beat."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..errors import InputError, check_choice
from ..lrp import STARTS, Composite
from ..ranking import CRITERIA, Criterion, Ranking, explaining_criterion
from .checks import check_classes, check_images

DATA_SET = "data-set"
"""In place of a criterion: the inputs as a study ranks them over training images, one order for every image."""


def removal_criteria() -> tuple[str, ...]:
    """Names of what inputs of single images can be removed by: every criterion that explains images, and `DATA_SET`."""
    return (*(name for name, criterion in CRITERIA.items() if criterion.explain), DATA_SET)


def attribute_images(
    model: nn.Module,
    images: Float[Tensor, "n *shape"],
    criterion: str | Composite | Criterion | Ranking,
    *,
    target: Int64[Tensor, " n"] | None = None,
    start: str = "logit",
    seed: int = 0,
    batch_size: int = 500,
    on_batch: Callable[[int], None] | None = None,
) -> Float[Tensor, "n *shape"]:
    """The attribution of every image under a criterion, in the shape of `images`; larger is more relevant.

    `criterion` is a name of the registry, a composite or a criterion of your own, if it explains images; gradients
    explain the same function of the logits as relevance does, which `start` names (for "one-hot" the logit). A
    `Ranking` is one mask for the whole data set: every image gets its order. `target` [n] is the explained class
    (default: the predicted one); `seed` is that of criteria that draw something. `on_batch(images done)` reports
    progress. Raises `InputError` for an unknown criterion, and for images that are not finite, that are bytes, or that
    the network does not take.
    """
    check_images(images, model)
    if target is not None:
        check_classes("classes to explain", images, target)
    shape = tuple(images.shape[1:])
    if isinstance(criterion, Ranking):
        if criterion.n_inputs != images[0].numel():
            raise InputError(f"the ranking is of {criterion.n_inputs} inputs, an image has {images[0].numel()}")
        places = criterion.grouping.spread(criterion.n_groups - criterion.rank)
        return places.view(shape).to(images.dtype).expand_as(images)
    check_choice("start", start, STARTS)
    explain = explaining_criterion(criterion).explain_with(model, seed)
    batches = []
    for at in range(0, len(images), batch_size):
        part = slice(at, at + batch_size)
        batches.append(explain(images[part], None if target is None else target[part], start))
        if on_batch:
            on_batch(min(at + batch_size, len(images)))
    return torch.cat(batches)
