"""What a network costs: counted layer by layer, never estimated."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models import Network
from ..pruning import PrunedNetwork


@dataclass(frozen=True)
class LayerCost:
    """One layer: `macs` multiply-accumulates for one input, `parameters` weights and biases, `bytes` stored."""

    name: str
    kind: str
    macs: int
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Cost:
    """A network's cost for one input.

    `macs` are those of its dense and convolutional layers; batch-norm, which folds into them, activations and
    pooling count none. `bytes` is what the weights and buffers take, `input_bytes` one input in float32.
    """

    layers: tuple[LayerCost, ...]
    n_inputs: int

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def flops(self) -> int:
        """Two for each multiply-accumulate, biases not counted: the convention of `torch.utils.flop_counter`."""
        return 2 * self.macs

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def bytes(self) -> int:
        return sum(layer.bytes for layer in self.layers)

    @property
    def input_bytes(self) -> int:
        return 4 * self.n_inputs


def measure_cost(model: nn.Module, shape: Sequence[int] | None = None) -> Cost:
    """Count the cost of `model` for one input of `shape` (default: what a network of this project takes).

    A copy runs one input on the meta device: nothing is computed, and the model is not touched.
    """
    if shape is None:
        shape = _own_shape(model)
    sizes = _output_sizes(model, shape)
    layers = tuple(
        LayerCost(
            name=name.removeprefix("body."),
            kind=type(layer).__name__,
            macs=_macs(layer, sizes[name]) if name in sizes else 0,
            parameters=sum(p.numel() for p in layer.parameters(recurse=False)),
            bytes=sum(t.numel() * t.element_size() for t in _stored(layer)),
        )
        for name, layer in model.named_modules()
        if not any(layer.children())
    )
    return Cost(layers, math.prod(shape))


def _own_shape(model: nn.Module) -> Sequence[int]:
    match model:
        case PrunedNetwork():
            return (len(model.mask),)
        case Network():
            return model.spec.shape
    raise InputError(f"give the shape of one input: {type(model).__name__} does not say it")


def _macs(layer: nn.Module, output: torch.Size) -> int:
    if isinstance(layer, nn.Linear | nn.Conv2d):
        return math.prod(layer.weight.shape[1:]) * math.prod(output[1:])
    return 0


def _stored(layer: nn.Module) -> Iterator[Tensor]:
    """The tensors that saving the layer writes."""
    return (t for t in layer.state_dict().values() if isinstance(t, Tensor))


@torch.no_grad()
def _output_sizes(model: nn.Module, shape: Sequence[int]) -> dict[str, torch.Size]:
    """Output size of every layer that runs, by name."""
    sizes: dict[str, torch.Size] = {}
    shadow = copy.deepcopy(model).to("meta").eval()
    for name, layer in shadow.named_modules():
        layer.register_forward_hook(lambda _, __, output, name=name: sizes.__setitem__(name, output.shape))
    shadow(torch.zeros(1, *shape, device="meta"))
    return sizes
