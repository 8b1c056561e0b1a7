"""The smaller network that needs only the inputs that are kept.

It takes the kept pixels alone, [n, k], and does not compute with the others at all: a dense first layer keeps their
columns only; a convolutional network runs on their bounding box.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, no_type_check

from jaxtyping import Shaped
from torch import Tensor, nn

from ..errors import InputError, check_choice
from ..layers import Scatter
from ..models import ModelSpec, Network, build_from_spec
from ..training import selects_pixels
from .crop import named_layers, slice_convolutional, slice_dense
from .mask import PixelMask, crop_mask

Structure = Literal["sliced", "fresh"]
STRUCTURES: tuple[Structure, ...] = ("sliced", "fresh")


class PrunedNetwork(nn.Module):
    """A network on the kept pixels alone: `forward` takes [n, k] and gives logits.

    `spec` is that of the full network, `structure` says how `body` came about: "sliced" out of a trained
    network, whose function on masked images it computes, or "fresh" for the kept pixels.
    """

    def __init__(
        self, body: nn.Sequential, spec: ModelSpec, mask: PixelMask, fill: float, structure: Structure
    ) -> None:
        super().__init__()
        if not math.isfinite(fill):
            raise InputError(f"removed pixels can be filled with a finite number only, not {fill}")
        self.body = body
        self.spec, self.mask, self.fill, self.structure = spec, mask, fill, structure

    @no_type_check  # torch.fx traces it with a proxy
    def forward(self, kept: Tensor) -> Tensor:
        logits: Tensor = self.body(kept)
        return logits

    @selects_pixels
    def encode(self, images: Shaped[Tensor, "n *shape"]) -> Shaped[Tensor, "n k"]:
        """What the network takes, out of full images."""
        return self.mask.apply(images)


def prune_inputs(network: Network, mask: PixelMask, *, fill: float = 0.0) -> PrunedNetwork:
    """The smaller network that computes on the kept pixels what `network` computes on the masked image.

    Removed pixels count as `fill`. The weights are copies; `network` is not changed. In evaluation mode
    `small(mask.apply(x)) == network(mask.remove(x, fill))` up to rounding. Raises `InputError` if the mask is
    for another input shape, `UnsupportedLayer` for a network that is not a sequence of known layers.

    >>> import torch
    >>> import lrp_core as lc
    >>> net = lc.build_model("mlp-300-100", shape=(20,), n_classes=3)
    >>> mask = lc.PixelMask(torch.tensor([2, 3, 7]), (20,))
    >>> small, x = lc.prune_inputs(net, mask), torch.rand(5, 20)
    >>> torch.allclose(small(mask.apply(x)), net(mask.remove(x)), atol=1e-5)
    True
    """
    _check_mask(network.spec, mask)
    if len(mask.shape) == 3 and any(isinstance(layer, nn.Conv2d) for layer in network):
        body = slice_convolutional(network, mask, fill)
    else:
        body = slice_dense(network, mask, fill)
    return PrunedNetwork(body, network.spec, mask, fill, "sliced").train(network.training)


def build_pruned(
    spec: ModelSpec,
    mask: PixelMask,
    *,
    fill: float = 0.0,
    structure: Structure = "fresh",
    seed: int = 0,
    device: str = "cpu",
) -> PrunedNetwork:
    """An untrained network for the kept pixels of the architecture in `spec`, for training from scratch.

    "fresh": the architecture as it is built for k inputs, or, if it needs images, for the mask's bounding
    box with the removed pixels in it set to `fill`. "sliced": of the form that `prune_inputs` gives. On the
    device "meta" its weights take no memory.
    """
    _check_mask(spec, mask)
    check_choice("structure", structure, STRUCTURES)
    if structure == "sliced":
        return prune_inputs(build_from_spec(spec, seed=seed, device=device), mask, fill=fill)
    layers: list[tuple[str, nn.Module]] = []
    shape: tuple[int, ...] = (len(mask),)
    if _needs_images(spec):
        box = crop_mask(mask, *mask.bounding_box())
        layers, shape = [("scatter", Scatter(box.indices, box.shape, fill))], box.shape
    inner = build_from_spec(replace(spec, shape=shape), seed=seed, device=device)
    return PrunedNetwork(named_layers([*layers, *inner.named_children()]), spec, mask, fill, "fresh")


def _check_mask(spec: ModelSpec, mask: PixelMask) -> None:
    if mask.shape != spec.shape:
        raise InputError(f"the mask is for inputs of shape {mask.shape}, the network for {spec.shape}")


def _needs_images(spec: ModelSpec) -> bool:
    return any(isinstance(layer, nn.Conv2d) for layer in build_from_spec(spec, device="meta"))
