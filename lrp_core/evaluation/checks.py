"""What the experiments on single images share: refusals at the edge."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models import Network


def check_images(images: Tensor, model: nn.Module | None = None) -> None:
    """Raise `InputError` unless these are finite floats, at least one row, of the shape that `model` takes.

    Images that only hold whole numbers above 1 are bytes that someone forgot to divide, and refused too.
    """
    if len(images) == 0:
        raise InputError("there are no images to work with")
    if not images.is_floating_point() or not bool(torch.isfinite(images).all()) or _are_bytes(images):
        raise InputError("images must be finite values in [0, 1]: look for NaN, and divide bytes by 255")
    if isinstance(model, Network) and tuple(images.shape[1:]) != model.spec.shape:
        raise InputError(
            f"the network takes inputs of shape {model.spec.shape}, the images are of {tuple(images.shape[1:])}"
        )


def _are_bytes(images: Tensor) -> bool:
    if images.ndim != 4:
        return False
    low, high = (float(end) for end in images.aminmax())
    return low >= 0 and 1 < high <= 255 and bool((images == images.round()).all())


def check_attributions(images: Tensor, attributions: Tensor) -> None:
    """Raise `InputError` unless every input of every image has a finite relevance."""
    if attributions.shape != images.shape:
        raise InputError(
            f"the attributions are of shape {tuple(attributions.shape)}, the images of {tuple(images.shape)}"
        )
    if not bool(torch.isfinite(attributions).all()):
        raise InputError("the attributions hold NaN or infinity: the network may have diverged")


def check_classes(kind: str, images: Tensor, classes: Tensor) -> None:
    """Raise `InputError` unless there is one class for each image."""
    if classes.shape != (len(images),) or classes.is_floating_point():
        raise InputError(
            f"expected {len(images)} {kind}, one whole number for each image, not {classes.dtype} of shape "
            f"{tuple(classes.shape)}"
        )


def check_share(share: float) -> None:
    """Raise `InputError` unless a share of the inputs goes and a share stays."""
    if not 0 < share < 1:
        raise InputError(f"the share removed must be above 0 and below 1, not {share}")
