"""What an export says of new inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...cards import scaler_of
from ...errors import InputError
from ...training import predict_logits
from .card import encoding


def outputs_for(network: nn.Module, card: dict[str, Any], images: Tensor) -> Tensor:
    """What the network of an export gives for raw inputs [n, *shape], or one of them: [n, outputs]."""
    shape = tuple(card["input"]["shape"])
    normalisation = card["input"]["normalisation"]
    are_pixels = "range" in normalisation
    if not are_pixels:
        images = images if images.is_floating_point() or images.is_complex() else images.float()
    elif images.dtype == torch.uint8:
        images = images.float() / 255
    if not images.is_floating_point():
        raise InputError(f"pixels must be bytes or numbers in [0, 1], not {images.dtype}")
    if images.ndim == len(shape):
        images = images[None]
    if tuple(images.shape[1:]) != shape:
        raise InputError(f"the network takes images of shape {shape}, not {tuple(images.shape[1:])}")
    if len(images) == 0:
        return torch.zeros(0, max(1, len(card["classes"])))
    if not bool(torch.isfinite(images).all()):
        raise InputError("the images hold NaN or infinity: clean them first")
    low, high = float(images.min()), float(images.max())
    if scaler := scaler_of(normalisation):
        images = scaler.apply(images)
    elif are_pixels and not 0 <= low <= high <= 1:
        raise InputError(f"pixels must lie in [0, 1], not in [{low:g}, {high:g}]: divide bytes by 255")
    images = images.to(next(network.parameters(), images).dtype)
    encode = encoding(network)
    return predict_logits(network, encode(images) if encode else images)
