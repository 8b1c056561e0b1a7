"""Ways in which a network that convolves could make use of a mask, each built so that it can be counted and run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, LrpError
from ..models import build_from_spec, count_outputs, needed_spec, spec_of
from ..pruning import PixelMask, PrunedNetwork, build_pruned, prune_inputs
from ..pruning.crop import CONVOLUTIONS
from ..pruning.layers import Scatter
from ..pruning.mask import crop_mask
from ..pruning.sequences import named_layers
from ..training import Encode, selects_pixels

POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
COARSE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
"""By how many axes there are behind the channels."""

Built = tuple[nn.Module, Encode, tuple[int, ...]]
"""A network, what prepares full inputs for it, and the shape of one that is prepared."""


@dataclass(frozen=True)
class Way:
    """One way: `encode` makes what `network` takes out of full inputs, of `shape` each.

    `network` is None where the way is closed, and `why_not` says why.
    """

    name: str
    says: str
    network: nn.Module | None = None
    encode: Encode | None = None
    shape: tuple[int, ...] = ()
    why_not: str = ""


def find_ways(network: nn.Module, mask: PixelMask, seed: int = 0) -> tuple[Way, ...]:
    """Every way for a network and the inputs that are kept, the full network first.

    Weights are those of `network` in the full one, on the canvas and in the crop, and in the others fresh ones of this
    `seed`. Raises `InputError` for a network that has no convolution, is pruned already or is for other inputs.
    """
    if isinstance(network, PrunedNetwork):
        raise InputError("the network is pruned already: give the one that it was made from")
    if not any(isinstance(layer, CONVOLUTIONS) for layer in network.modules()):
        raise InputError(f"{type(network).__name__} has no convolution: measure_speed says what its smaller one saves")
    if len(mask.shape) < 2:
        raise InputError(f"inputs of shape {mask.shape} are no images or series, which convolutions need")
    count_outputs(network, mask.shape)
    return tuple(_way(name, says, partial(build, network, mask, seed)) for name, says, build in WAYS)


def _way(name: str, says: str, build: Callable[[], Built]) -> Way:
    try:
        network, encode, shape = build()
    except LrpError as error:
        return Way(name, says, why_not=str(error))
    return Way(name, says, network.eval(), encode, shape)


def _full(network: nn.Module, mask: PixelMask, seed: int) -> Built:
    return copy.deepcopy(network), _whole, mask.shape


@selects_pixels
def _whole(images: Tensor) -> Tensor:
    return images


def _canvas(network: nn.Module, mask: PixelMask, seed: int) -> Built:
    layers = [("scatter", Scatter(mask.indices, mask.shape)), ("network", copy.deepcopy(network))]
    return named_layers(layers), mask.apply, (len(mask),)


def _crop(network: nn.Module, mask: PixelMask, seed: int) -> Built:
    small = prune_inputs(network, mask)
    if small.structure == "canvas":
        raise InputError("this network cannot be cropped: it stays on the canvas")
    return small, mask.apply, (len(mask),)


def _box(network: nn.Module, mask: PixelMask, seed: int) -> Built:
    return _runs(_on_even_box(network, mask, seed), mask, network)


def _coarse(network: nn.Module, mask: PixelMask, seed: int) -> Built:
    spec = needed_spec(spec_of(network))
    channels, *size = mask.shape
    if any(side % 2 for side in size):
        raise InputError(f"half the resolution needs even sides, and these are {' x '.join(map(str, size))}")
    pool = partial(COARSE[len(size)], kernel_size=2)
    cells = pool(mask.keep[None].float())[0] > 0
    coarse = PixelMask(cells.flatten().nonzero().flatten(), (channels, *(side // 2 for side in size)))
    small = build_pruned(replace(spec, shape=coarse.shape), coarse, seed=seed)
    count_outputs(small, (len(coarse),))
    return small, lambda images: coarse.apply(pool(mask.remove(images))), (len(coarse),)


def _strided(network: nn.Module, mask: PixelMask, seed: int) -> Built:
    layers: list[tuple[str, Any]] = [*_on_even_box(network, mask, seed)]
    first = next((i for i, (_, layer) in enumerate(layers) if isinstance(layer, CONVOLUTIONS)), None)
    pool = next((i for i, (_, layer) in enumerate(layers) if isinstance(layer, POOLS)), None)
    if first is None or any(step != 1 for step in layers[first][1].stride):
        raise InputError("there is no first convolution with a stride of 1")
    if pool is None or pool < first:
        raise InputError("no pooling follows the first convolution, whose place a coarser stride could take")
    n_axes, stride = len(mask.shape) - 1, layers[pool][1].stride
    layers[first][1].stride = (stride,) * n_axes if isinstance(stride, int) else tuple(stride)
    del layers[pool]
    return _runs(layers, mask, network)


def _halved_first(network: nn.Module, mask: PixelMask, seed: int) -> Built:
    return _halved(network, mask, seed, only_first=True)


def _halved_all(network: nn.Module, mask: PixelMask, seed: int) -> Built:
    return _halved(network, mask, seed, only_first=False)


def _halved(network: nn.Module, mask: PixelMask, seed: int, *, only_first: bool) -> Built:
    """Half of the filters of the first convolution, or of all of them, and what reads them made to fit."""
    spec = spec_of(network)
    if spec is None or not spec.is_built_in:
        raise InputError("half of the filters are built for this project's own networks alone")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[tuple[str, nn.Module]] = []
        before, now, n_convolutions = 0, 0, 0
        for name, layer in _on_even_box(network, mask, seed):
            fitted = layer
            if isinstance(layer, CONVOLUTIONS):
                n_convolutions += 1
                halves = n_convolutions == 1 or not only_first
                maps = max(1, layer.out_channels // 2) if halves else layer.out_channels
                fitted = _convolution(layer, now or layer.in_channels, maps)
                before, now = layer.out_channels, maps
            elif isinstance(layer, NORMS):
                fitted = type(layer)(now)
            elif isinstance(layer, nn.Linear) and before:
                fitted = nn.Linear(layer.in_features // before * now, layer.out_features)
                before = 0
            elif before and any(True for _ in layer.parameters()):
                raise InputError(
                    f"half of the filters cannot be built where {type(layer).__name__} ({name}) reads them"
                )
            layers.append((name, fitted))
    return _runs(layers, mask, network)


def _convolution(layer: nn.Module, n_in: int, n_out: int) -> nn.Module:
    how = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
    return type(layer)(n_in, n_out, layer.kernel_size, **how)


def _on_even_box(network: nn.Module, mask: PixelMask, seed: int) -> list[tuple[str, nn.Module]]:
    """Fresh layers for the mask's bounding box, its odd sides one longer where there is room, behind a `Scatter`."""
    spec = needed_spec(spec_of(network))
    stretches = []
    for stretch, side in zip(mask.bounding_box(), mask.shape[1:], strict=True):
        is_odd = (stretch.stop - stretch.start) % 2
        stop = min(side, stretch.stop + is_odd)
        stretches.append(slice(stretch.start - (is_odd and stop == stretch.stop and stretch.start > 0), stop))
    box = crop_mask(mask, stretches, mask.channels)
    inner = build_from_spec(replace(spec, shape=box.shape), seed=seed)
    return [("scatter", Scatter(box.indices, box.shape)), *inner.named_children()]


def _runs(layers: Sequence[tuple[str, nn.Module]], mask: PixelMask, network: nn.Module) -> Built:
    small = PrunedNetwork(named_layers(list(layers)), mask, 0.0, "fresh", spec_of(network))
    try:
        count_outputs(small, (len(mask),))
    except InputError as error:
        raise InputError("the maps no longer fit the layers behind them") from error
    return small, mask.apply, (len(mask),)


WAYS: tuple[tuple[str, str, Callable[[nn.Module, PixelMask, int], Built]], ...] = (
    ("full", "the full network on all inputs", _full),
    ("canvas", "the kept inputs on a canvas of the full size: it computes as much as before", _canvas),
    ("crop", "the mask's bounding box, computing exactly what the full network does on masked inputs", _crop),
    ("box", "the architecture built afresh for the bounding box, with even sides where there is room", _box),
    (
        "half resolution",
        "kept inputs averaged over cells of two by two, or two steps of a series, and the architecture built for the "
        "cells' box; allowed where every side is even and it runs on that box",
        _coarse,
    ),
    (
        "stride",
        "the box, with the first pooling left out and its stride given to the first convolution",
        _strided,
    ),
    ("half of the first filters", "the box, with half of the first convolution's filters", _halved_first),
    ("half of all filters", "the box, with half of every convolution's filters", _halved_all),
)
"""Every way: its name, what it is, and what builds it."""
