"""The smaller network that needs only the inputs that are kept.

It takes the kept inputs alone, [n, k]. A dense first layer keeps their columns only, on every path from the input; a
sequence that convolves runs on their bounding box. Neither computes with the other inputs at all. Any other network
that convolves gets them back on a canvas: it computes the same, and as much as before. Where removed inputs are 0, a
first convolution loses the channels that have no kept one.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any, Literal, no_type_check

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from ..errors import InputError, UnsupportedLayer, check_choice
from ..models import ModelSpec, build_from_spec, count_outputs, needed_spec, spec_of
from ..training import selects_pixels
from .crop import CONVOLUTIONS, slice_convolutional, slice_dense
from .descriptions import describe_layers
from .layers import Scatter
from .mask import PixelMask, crop_mask
from .rewriting import is_sliced, slice_paths
from .sequences import named_layers, steps_of
from .shrinking import Widths, widths_of

Structure = Literal["sliced", "fresh", "canvas"]
STRUCTURES: tuple[Structure, ...] = ("sliced", "fresh")
"""What can be asked for; "canvas" is what pruning leaves of a network that cannot be made smaller."""


class PrunedNetwork(nn.Module):
    """A network on the kept inputs alone: `forward` takes [n, k] and gives logits.

    `structure` says how `body` came about: "sliced" out of a trained network, whose function on masked inputs it
    computes, with fewer columns or channels, or on the bounding box; "canvas", the trained network as it is behind a
    layer that puts kept inputs back into their places; or "fresh" for the kept inputs. `spec` is that of the full
    network, if it has one; `layers` describes the full one, if it is made of torch's own layers alone; `made_from` is
    the name of its class. `widths` are those of layers that have lost hidden units (see `shrinking`).
    """

    def __init__(
        self,
        body: nn.Module,
        mask: PixelMask,
        fill: float,
        structure: Structure,
        spec: ModelSpec | None = None,
        layers: list[dict[str, Any]] | None = None,
        made_from: str = "",
        widths: Widths | None = None,
    ) -> None:
        super().__init__()
        if not math.isfinite(fill):
            raise InputError(f"removed pixels can be filled with a finite number only, not {fill}")
        self.body = body
        self.mask, self.fill, self.structure, self.spec = mask, fill, structure, spec
        self.layers, self.made_from = layers, made_from
        self.widths: Widths = dict(widths or {})

    @no_type_check  # torch.fx traces it with a proxy
    def forward(self, kept: Tensor) -> Tensor:
        logits: Tensor = self.body(kept)
        return logits

    @selects_pixels
    def encode(self, images: Shaped[Tensor, "n *shape"]) -> Shaped[Tensor, "n k"]:
        """What the network takes, out of full images."""
        return self.mask.apply(images)

    @property
    def note(self) -> str:
        """What a person should know about what pruning saved, empty if there is nothing to say."""
        if self.structure != "canvas":
            return ""
        return "Removed inputs are not asked for, but the network still computes on all places: it is no cheaper."


def prune_inputs(network: nn.Module, mask: PixelMask, *, fill: float = 0.0) -> PrunedNetwork:
    """The smaller network that computes on the kept inputs what `network` computes on the masked ones.

    Takes any module whose first layers are dense or convolutional on every path from the input, if torch.fx can trace
    it. Removed inputs count as `fill`. The weights are copies; `network` is not changed. In evaluation mode
    `small(mask.apply(x)) == network(mask.remove(x, fill))` up to rounding. Raises `InputError` if the mask is
    for another input shape, `UnsupportedLayer` for a network that starts with something else, by its name.

    >>> import torch
    >>> import lrp_core as lc
    >>> net = lc.build_model("mlp-300-100", shape=(20,), n_classes=3)
    >>> mask = lc.PixelMask(torch.tensor([2, 3, 7]), (20,))
    >>> small, x = lc.prune_inputs(net, mask), torch.rand(5, 20)
    >>> torch.allclose(small(mask.apply(x)), net(mask.remove(x)), atol=1e-5)
    True
    """
    if isinstance(network, PrunedNetwork):
        raise InputError("the network is pruned already: prune the one that it was made from")
    spec = spec_of(network)
    if spec is not None:
        _check_mask(spec, mask)
    else:
        count_outputs(network, mask.shape)
    body, structure = _pruned(network, mask, fill)
    layers = None if spec is not None and spec.is_built_in else describe_layers(network)
    small = PrunedNetwork(body, mask, fill, structure, spec, layers, type(network).__name__, widths_of(network))
    small.train(network.training)
    if spec is None:
        _check_same(network, small)
    return small


def _pruned(network: nn.Module, mask: PixelMask, fill: float) -> tuple[nn.Module, Structure]:
    steps = steps_of(network)
    if steps is not None:
        dense = slice_dense(network, mask, fill)
        if dense is not None:
            return dense, "sliced"
        convolves = any(isinstance(layer, CONVOLUTIONS) for _, layer in steps)
        whole = len(mask) == mask.n_inputs and spec_of(network) is None
        if convolves and len(mask.shape) > 1 and not whole:
            try:
                return slice_convolutional(steps, mask, fill), "sliced"
            except UnsupportedLayer:
                pass  # of another kind than those that can be cropped: it may still run on a canvas
    body, has_canvas = slice_paths(network, mask, fill)
    return body, "canvas" if has_canvas else "sliced"


@torch.no_grad()
def _check_same(network: nn.Module, small: PrunedNetwork) -> None:
    """Raise `UnsupportedLayer` if the smaller network does not compute what the full one does.

    torch.fx does not see all that Python can do. Networks of the project are tested; others are tried on a few inputs.
    """
    first = next(network.parameters(), torch.zeros(()))
    if first.is_meta:
        return
    random = torch.Generator().manual_seed(0)
    x = torch.rand(3, *small.mask.shape, generator=random, dtype=torch.float64).to(first)
    full, less = (copy.deepcopy(model).eval() for model in (network, small))
    expected, actual = full(small.mask.remove(x, small.fill)), less(small.mask.apply(x))
    close = max(1e-9, 100 * torch.finfo(expected.dtype).eps) * max(1.0, float(expected.abs().max()))
    if actual.shape != expected.shape or not torch.allclose(actual, expected, rtol=0.01, atol=close, equal_nan=True):
        raise UnsupportedLayer(
            f"{type(network).__name__} cannot be pruned: the same inputs do not always give the same logits, or its "
            "forward does what torch.fx does not see"
        )


def loses_columns(network: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether pruning makes the first layers of `network` smaller, input by input: they are dense on every path."""
    if slice_dense(network, PixelMask.full(shape), 0.0) is not None:
        return True
    return not any(isinstance(layer, CONVOLUTIONS) for layer in network.modules()) and is_sliced(network, shape)


def build_pruned(
    spec: ModelSpec | None,
    mask: PixelMask,
    *,
    fill: float = 0.0,
    structure: Structure = "fresh",
    seed: int = 0,
    device: str = "cpu",
) -> PrunedNetwork:
    """An untrained network for the kept inputs of the architecture in `spec`, for training from scratch.

    "fresh": the architecture as it is built for k inputs, or, if it convolves, for the mask's bounding box in the
    channels that have a kept input, with the removed inputs in it set to `fill`. "sliced": of the form that
    `prune_inputs` gives. On the device "meta" its weights take no memory. Raises `InputError` for no spec, and for one
    that nobody can build.
    """
    spec = needed_spec(spec)
    _check_mask(spec, mask)
    check_choice("structure", structure, STRUCTURES)
    if structure == "sliced":
        return prune_inputs(build_from_spec(spec, seed=seed, device=device), mask, fill=fill)
    layers: list[tuple[str, nn.Module]] = []
    shape: tuple[int, ...] = (len(mask),)
    if len(mask.shape) > 1 and _convolves(spec):
        box = _fresh_box(spec, mask)
        layers, shape = [("scatter", Scatter(box.indices, box.shape, fill))], box.shape
    inner = build_from_spec(replace(spec, shape=shape), seed=seed, device=device)
    return PrunedNetwork(named_layers([*layers, *inner.named_children()]), mask, fill, "fresh", spec)


def _check_mask(spec: ModelSpec, mask: PixelMask) -> None:
    if mask.shape != spec.shape:
        raise InputError(f"the mask is for inputs of shape {mask.shape}, the network for {spec.shape}")


def _convolves(spec: ModelSpec) -> bool:
    return any(isinstance(layer, CONVOLUTIONS) for layer in build_from_spec(spec, device="meta").modules())


def _fresh_box(spec: ModelSpec, mask: PixelMask) -> PixelMask:
    """The mask inside its bounding box, on the channels that have a kept input.

    An architecture of your own may be made for a fixed number of channels: one that does not run on fewer gets all.
    """
    stretches = mask.bounding_box()
    box = crop_mask(mask, stretches, mask.channels)
    if not spec.is_built_in and len(mask.channels) < mask.shape[0]:
        try:
            count_outputs(build_from_spec(replace(spec, shape=box.shape), device="meta"), box.shape)
        except InputError:
            return crop_mask(mask, stretches)
    return box
