"""A network as the steps of a C program: one layer after the other, on one row, in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ...errors import UnsupportedLayer
from ...lrp.reading.tracer import name_of
from ...pruning import PrunedNetwork
from ...pruning.layers import Frame, Gather, Scatter
from ...pruning.paths import evaluated_copy, trace

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
IDLE = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
IDLE_CALLS = {"flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "contiguous", "dropout", "detach"}
RELUS = {"relu", "relu_"}
_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVERAGE = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
POOLS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "max_pool1d": (nn.MaxPool1d, _MAX),
    "max_pool2d": (nn.MaxPool2d, _MAX),
    "avg_pool1d": (nn.AvgPool1d, _AVERAGE),
    "avg_pool2d": (nn.AvgPool2d, (*_AVERAGE, "divisor_override")),
}
"""Functions that pool, as layers, with the names of what they are called with."""


@dataclass(frozen=True, eq=False)
class Step:
    """One function of the C program: its `name`, the numbers that it is called with, and its arrays by their role.

    `inputs` and `outputs` count the numbers of one row before and after it; `channels` those that it gives.
    """

    name: str
    inputs: int
    outputs: int
    numbers: tuple[int, ...] = ()
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    channels: int = 0


def steps_of_network(network: nn.Module, example: Tensor) -> list[Step]:
    """The steps from what a network takes [n, ...] to its logits; batch-norm is folded into the layer before it.

    Raises `UnsupportedLayer` that names the first layer which a C program does not hold, or where paths meet.
    """
    twin = evaluated_copy(network.body if isinstance(network, PrunedNetwork) else network).cpu().float()
    return _Reader(twin, trace(twin)).read(example.float())


class _Reader(fx.Interpreter):
    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(network, graph=graph)
        self.extra_traceback = False  # refusals are one sentence
        self.steps: list[Step] = []
        self.last: fx.Node | None = None

    @torch.no_grad()
    def read(self, example: Tensor) -> list[Step]:
        """Run a row, and note what every node does to it."""
        self.run(example[:1])
        return self.steps

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "placeholder":
            self.last = n
        elif n.op != "output" and isinstance(value, Tensor):
            before = [node for node in n.all_input_nodes if isinstance(self.env[node], Tensor)]
            if before != [self.last] or n.op == "get_attr":
                raise UnsupportedLayer(f"{_called(n, self.module)} joins paths or reads weights by itself: {_ALONE}")
            self._add(n, self.env[before[0]], value)
            self.last = n
        return value

    def _add(self, n: fx.Node, x: Tensor, y: Tensor) -> None:
        layer = self.module.get_submodule(str(n.target)) if n.op == "call_module" else None
        step = _call(n, x, y) if layer is None else _layer(layer, x, y)
        if isinstance(layer, BATCH_NORMS) and layer.running_mean is not None:
            scale, shift = _affine(layer)
            if self.steps and _folds(self.steps[-1], len(scale)):
                self.steps[-1] = _folded(self.steps[-1], scale, shift)
                return
            arrays = {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}
            step = Step("affine", x.numel(), y.numel(), (len(scale), x[0, 0].numel()), arrays)
        if step is None:
            raise UnsupportedLayer(f"{_called(n, self.module)} has no form in C: {_ALONE}")
        if step.name:
            self.steps.append(step)


_ALONE = (
    "a C file holds sequences of dense layers, convolutions, batch-norm, ReLU, max- and average-pooling; choose onnx "
    "or pt2"
)


def _called(node: fx.Node, network: Any) -> str:
    if node.op == "call_module":
        return f"layer {node.target!r} ({type(network.get_submodule(str(node.target))).__name__})"
    return f"operation {name_of(node) or node.op!r} ({node.name})"


def _call(node: fx.Node, x: Tensor, y: Tensor) -> Step | None:
    """A function or method of tensors."""
    name = name_of(node)
    if name in POOLS and len(node.all_input_nodes) == 1:
        kind, names = POOLS[name]
        return _layer(kind(**dict(zip(names, node.args[1:], strict=False)) | node.kwargs), x, y)
    if name in RELUS and not node.args[1:] and not node.kwargs.get("inplace"):
        return Step("relu", x.numel(), y.numel())
    if name in IDLE_CALLS and torch.equal(x.flatten(), y.flatten()):
        return Step("", x.numel(), y.numel())
    return None


def _layer(layer: nn.Module, x: Tensor, y: Tensor) -> Step | None:
    """A layer of torch or of this project that has a form in C, by its exact type: a subclass may do anything."""
    size = (x.numel(), y.numel())
    kind = type(layer)
    if isinstance(layer, IDLE) and kind.__module__.startswith("torch.nn."):
        return Step("", *size)
    if kind is nn.ReLU:
        return Step("relu", *size)
    if isinstance(layer, nn.Linear) and kind is nn.Linear and x.ndim == 2:
        return Step("dense", *size, (), _weights(layer.weight, layer.bias), layer.out_features)
    if isinstance(layer, nn.Conv1d | nn.Conv2d) and kind in (nn.Conv1d, nn.Conv2d) and layer.padding_mode == "zeros":
        numbers = (*_window(layer, x, y), layer.groups, 0, 0)
        return Step("convolution", *size, numbers, _weights(layer.weight, layer.bias), layer.out_channels)
    if kind in (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d):
        pool: Any = layer
        if kind in (nn.MaxPool1d, nn.MaxPool2d):
            return Step("max_pool", *size, (*_window(layer, x, y), 1, 0, 0))
        divisor = getattr(pool, "divisor_override", None) or 0
        return Step("average_pool", *size, (*_window(layer, x, y), 1, int(pool.count_include_pad), divisor))
    if kind in (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d):
        return Step("adaptive_pool", *size, (x.shape[1], *_area(x), *_area(y)))
    if isinstance(layer, Scatter):
        canvas = np.full(y.numel(), layer.fill, np.float32)
        return Step("scatter", *size, (), {"constant": canvas, "places": _places(layer.positions)})
    if isinstance(layer, Gather):
        return Step("gather", *size, (), {"places": _places(layer.positions)})
    if isinstance(layer, Frame):
        labels = torch.arange(1.0, x.numel() + 1).view(x.shape)
        framed = Frame(torch.zeros_like(layer.surround), *layer.starts)(labels).flatten()
        places = torch.zeros(x.numel(), dtype=torch.int64)
        places[framed[framed > 0].long() - 1] = framed.nonzero().flatten()
        surround = layer.surround.flatten().float().numpy()
        return Step("scatter", *size, (), {"constant": surround, "places": _places(places)})
    return None


def _places(positions: Tensor) -> np.ndarray:
    return positions.cpu().numpy().astype(np.int64)


def _weights(weight: Tensor, bias: Tensor | None) -> dict[str, np.ndarray]:
    rows = weight.detach().double().flatten(1).numpy()
    shift = np.zeros(len(rows)) if bias is None else bias.detach().double().numpy()
    return {"weights": rows, "bias": shift}


def _window(layer: Any, x: Tensor, y: Tensor) -> tuple[int, ...]:
    """The numbers of a moving window: maps and their sizes before and after, kernel, stride, padding, dilation."""
    n = x.ndim - 2
    kernel, stride, padding = (_each(value, n) for value in (layer.kernel_size, layer.stride, layer.padding))
    dilation = _each(getattr(layer, "dilation", 1), n)
    if layer.padding == "same":
        padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    one = (1,) * (2 - n)
    parts = ((x.shape[1], *_area(x), y.shape[1], *_area(y)), *((*one, *part) for part in (kernel, stride)))
    return tuple(int(v) for part in (*parts, ((0,) * (2 - n) + padding), (*one, *dilation)) for v in part)


def _area(maps: Tensor) -> tuple[int, int]:
    sizes = tuple(maps.shape[2:])
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _each(value: Any, n: int) -> tuple[int, ...]:
    if isinstance(value, str):
        return (0,) * n
    return (int(value),) * n if isinstance(value, int) else tuple(int(v) for v in value)


def _affine(layer: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Batch-norm in evaluation, as what it multiplies each channel by and then adds, float64."""
    assert layer.running_mean is not None, "asked before"
    assert layer.running_var is not None, "the one comes with the other"
    scale = 1 / np.sqrt(layer.running_var.double().numpy() + layer.eps)
    if layer.affine:
        scale = scale * layer.weight.detach().double().numpy()
    shift = -layer.running_mean.double().numpy() * scale
    return scale, shift + (layer.bias.detach().double().numpy() if layer.affine else 0)


def _folds(step: Step, channels: int) -> bool:
    return step.name in ("dense", "convolution") and step.channels == channels


def _folded(step: Step, scale: np.ndarray, shift: np.ndarray) -> Step:
    arrays = {"weights": step.arrays["weights"] * scale[:, None], "bias": step.arrays["bias"] * scale + shift}
    return replace(step, arrays=arrays)


def count_weights(steps: Sequence[Step]) -> int:
    """How many weights the steps hold."""
    return sum(math.prod(step.arrays["weights"].shape) for step in steps if "weights" in step.arrays)
