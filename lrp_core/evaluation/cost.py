"""What a network costs: counted layer by layer, never estimated."""

from __future__ import annotations

import copy
import math
from collections import Counter
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

    >>> import lrp_core as lc
    >>> cost = lc.measure_cost(lc.build_model("mlp-300-100", shape=(784,), n_classes=10))
    >>> cost.macs, cost.parameters
    (266200, 266610)
    """
    if shape is None:
        shape = _own_shape(model)
    macs = _count_macs(model, shape)
    layers = tuple(
        LayerCost(
            name=name.removeprefix("body."),
            kind=type(layer).__name__,
            macs=macs.get(name, 0),
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


def _stored(layer: nn.Module) -> Iterator[Tensor]:
    """The tensors that saving the layer writes."""
    return (t for t in layer.state_dict().values() if isinstance(t, Tensor))


@torch.no_grad()
def _count_macs(model: nn.Module, shape: Sequence[int]) -> Counter[str]:
    """Multiply-accumulates of every layer by name, for one input, each time that the layer runs."""
    macs: Counter[str] = Counter()

    def count(name: str, layer: nn.Linear | nn.Conv2d, output: Tensor) -> None:
        macs[name] += math.prod(layer.weight.shape[1:]) * math.prod(output.shape[1:])

    shadow = copy.deepcopy(model).to("meta").eval()
    for name, layer in shadow.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(lambda layer, _, output, name=name: count(name, layer, output))
    dtype = next((p.dtype for p in shadow.parameters()), torch.float32)
    shadow(torch.zeros(1, *shape, device="meta", dtype=dtype))
    return macs
