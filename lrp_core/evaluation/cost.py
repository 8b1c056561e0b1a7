"""What a network costs: counted layer by layer, never estimated."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models import Network
from ..neuralised import Contest, Neuralised
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

    `macs` are those of its dense and convolutional layers, and of products of matrices wherever they stand; batch-norm,
    which folds into them, activations and pooling count none. Of an estimator, a distance counts one for each
    coordinate, and a kernel one for each prototype that takes part in a contest. `bytes` is what the weights and
    buffers take, `input_bytes` one input in float32.
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

    A copy runs one input on the meta device: nothing is computed, and the model is not touched. Products that a module
    computes itself, with `F.linear` say, are its own row. Raises `InputError` without a shape that it takes.

    >>> import lrp_core as lc
    >>> cost = lc.measure_cost(lc.build_model("mlp-300-100", shape=(784,), n_classes=10))
    >>> cost.macs, cost.parameters
    (266200, 266610)
    """
    if shape is None:
        shape = _own_shape(model)
    macs = _count_macs(model, shape)
    seen: set[int] = set()
    rows = []
    for name, layer in model.named_modules():
        own = [p for p in layer.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, own))
        stored = _stored(layer)
        if any(layer.children()) and not (own or stored or macs.get(name)):
            continue
        rows.append(
            LayerCost(
                name=name.removeprefix("body.") or type(model).__name__,
                kind=type(layer).__name__,
                macs=macs.get(name, 0) + (layer.terms if isinstance(layer, Contest) else 0),
                parameters=sum(p.numel() for p in own),
                bytes=sum(t.numel() * t.element_size() for t in stored),
            )
        )
    return Cost(tuple(rows), math.prod(shape))


def _own_shape(model: nn.Module) -> Sequence[int]:
    match model:
        case PrunedNetwork():
            return (len(model.mask),)
        case Network():
            return model.spec.shape
        case Neuralised():
            return model.shape
    raise InputError(
        f"give the shape of one input, measure_cost(network, shape): {type(model).__name__} does not say it"
    )


def _stored(layer: nn.Module) -> list[Tensor]:
    """The tensors that saving the layer itself writes, without those of the layers in it."""
    return [t for name, t in layer.state_dict().items() if "." not in name and isinstance(t, Tensor)]


@torch.no_grad()
def _count_macs(model: nn.Module, shape: Sequence[int]) -> Counter[str]:
    """Multiply-accumulates of every module itself by name, for one input, each time that it runs."""
    shadow = copy.deepcopy(model).to("meta").eval()
    macs: Counter[str] = Counter()
    from torch.utils.flop_counter import FlopCounterMode  # takes a quarter of a second to import

    counter = FlopCounterMode(display=False)
    running: list[list[int]] = []
    """For every module that runs, what had been counted before it, and what the modules in it have counted."""

    def enter(_module: nn.Module, _inputs: Any) -> None:
        running.append([counter.get_total_flops(), 0])

    def leave(name: str) -> None:
        before, inside = running.pop()
        flops = counter.get_total_flops() - before
        macs[name] += (flops - inside) // 2
        if running:
            running[-1][1] += flops

    for name, layer in shadow.named_modules():
        layer.register_forward_pre_hook(enter)
        layer.register_forward_hook(lambda _module, _inputs, _output, name=name: leave(name))
    dtype = next((p.dtype for p in shadow.parameters()), torch.float32)
    try:
        with counter:
            shadow(torch.zeros(1, *shape, device="meta", dtype=dtype))
    # A layer refuses a shape with any of these; a meta tensor lacks kernels and has no values to read.
    except (RuntimeError, ValueError, IndexError, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{type(model).__name__} does not take inputs of shape {tuple(shape)}: {reason}") from error
    return macs
