"""Cutting inputs off a trained network: a dense one loses columns, a convolutional one runs on the bounding box."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn

from ..errors import InputError, UnsupportedLayer
from ..layers import Frame, Scatter
from ..models import Network
from .mask import PixelMask, crop_mask


def slice_dense(network: Network, mask: PixelMask, fill: float) -> nn.Sequential:
    """Keep the columns of the first layer that belong to kept pixels; removed ones become part of its bias."""
    layers = [(name, copy.deepcopy(layer)) for name, layer in _layers_of(network)]
    for i, (name, layer) in enumerate(layers):
        if isinstance(layer, nn.Linear):
            removed = torch.full((mask.n_inputs,), fill, dtype=torch.float64)
            layers[i] = (name, _take_columns(layer, mask.indices, removed))
            return named_layers(layers)
        if not (isinstance(layer, nn.Identity) or _flattens_all(layer)):
            break
    raise UnsupportedLayer(
        f"inputs can be cut off a network that starts with a dense layer, not off {type(layers[i][1]).__name__}"
    )


def _take_columns(layer: nn.Linear, columns: Tensor, constant: Tensor) -> nn.Linear:
    """`layer` on some of its inputs, the other ones holding `constant` [inputs] for ever."""
    old_bias: Tensor | None = layer.bias
    small = nn.Linear(
        len(columns), layer.out_features, bias=old_bias is not None or bool(constant.any()), device="meta"
    )
    rest = constant.to(layer.weight).index_fill(0, columns.to(layer.weight.device), 0)
    with torch.no_grad():
        small.weight = nn.Parameter(layer.weight[:, columns].clone())
        if small.bias is not None:
            shift = layer.weight @ rest
            small.bias = nn.Parameter(shift if old_bias is None else old_bias + shift)
    return small


@dataclass(frozen=True)
class _Window:
    """What depends on the kept pixels in a feature map: `top` to before `bottom`, `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int

    def through(self, layer: nn.Conv2d | nn.MaxPool2d, size: Sequence[int]) -> tuple[_Window, _Window]:
        """The window of the outputs of `layer` that depend on this one, and what they read of the padded input."""
        kernel, stride, padding, dilation = (
            _pair(v) for v in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        )
        outputs, reads = [], []
        for axis, (first, end) in enumerate(((self.top, self.bottom), (self.left, self.right))):
            k, s, p = dilation[axis] * (kernel[axis] - 1) + 1, stride[axis], padding[axis]
            n_out = (size[axis] + 2 * p - k) // s + 1
            low = max(0, -(-(first + p - k + 1) // s))
            low -= low * s > first + p  # a gap between kernels: start with the one before
            high = min(n_out, (end - 1 + p) // s + 1)
            outputs += [low, max(high, low)]
            reads += [low * s, max((high - 1) * s + k, end + p)]
        return _Window(*outputs), _Window(*reads)

    @property
    def is_empty(self) -> bool:
        return self.top >= self.bottom or self.left >= self.right


def slice_convolutional(network: Network, mask: PixelMask, fill: float) -> nn.Sequential:
    """The network on the bounding box, exact: what the kept pixels cannot reach is constant and is kept as such.

    Layer by layer, only the window of the feature map that depends on kept pixels is computed. Around it the
    map is what the network gives for an image of nothing but `fill`; as much of that as the next kernel
    reads is set around the window (`Frame`), and all the rest goes into the bias of the first dense layer.
    """
    rows, columns = mask.bounding_box()
    box = crop_mask(mask, rows, columns)
    window = _Window(rows.start, rows.stop, columns.start, columns.stop)
    layers: list[tuple[str, nn.Module]] = [("scatter", Scatter(box.indices, box.shape, fill))]
    reference = next(network.parameters())
    constant: Tensor | None = torch.full((1, *mask.shape), fill, dtype=reference.dtype, device=reference.device)
    reached: Tensor | None = None
    for name, original in _layers_of(network):
        layer = copy.deepcopy(original)
        if constant is None:
            layers.append((name, layer))
            continue
        if _slides(layer):
            after, reads = window.through(layer, constant.shape[2:])
            if after.is_empty:
                raise InputError(f"layer {name!r} reads none of the kept pixels: keep some nearer to the centre")
            if reads != window:
                layers.append((f"{name}_frame", _frame(layer, constant, window, reads)))
            layer.padding = (0, 0)
            window = after
        elif _flattens_all(layer):
            positions = torch.arange(constant[0].numel()).view(constant.shape[1:])
            reached = positions[:, window.top : window.bottom, window.left : window.right].flatten()
        elif isinstance(layer, nn.Linear) and reached is not None:
            layers.append((name, _take_columns(layer, reached, constant.flatten())))
            constant = None
            continue
        elif not isinstance(layer, nn.BatchNorm2d | nn.ReLU | nn.Dropout | nn.Identity):
            raise UnsupportedLayer(f"a convolutional network with {type(layer).__name__} ({name!r}) cannot be cropped")
        layers.append((name, layer))
        constant = _evaluate(original, constant)
    if constant is not None:
        raise UnsupportedLayer("a convolutional network without a dense layer after its feature maps cannot be cropped")
    return named_layers(layers)


def _layers_of(network: Network) -> list[tuple[str, nn.Module]]:
    """Every step of a sequence by name, also where one module stands in it twice."""
    return [(name, layer) for name, layer in network.named_modules(remove_duplicate=False) if name and "." not in name]


def _slides(layer: nn.Module) -> TypeGuard[nn.Conv2d | nn.MaxPool2d]:
    """Whether a layer moves a kernel over the image in the way that `_Window` follows."""
    match layer:
        case nn.Conv2d():
            return layer.padding_mode == "zeros"
        case nn.MaxPool2d():
            return not layer.ceil_mode and not layer.return_indices
    return False


def _flattens_all(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1)


def _frame(layer: nn.Conv2d | nn.MaxPool2d, constant: Tensor, window: _Window, reads: _Window) -> Frame:
    """What `layer` reads around the window: the constant map, and the layer's own padding around that."""
    top, left = _pair(layer.padding)
    outside = 0.0 if isinstance(layer, nn.Conv2d) else -torch.inf
    padded = nn.functional.pad(constant, (left, left, top, top), value=outside)[0]
    surround = padded[:, reads.top : reads.bottom, reads.left : reads.right]
    return Frame(surround, window.top + top - reads.top, window.left + left - reads.left)


@torch.no_grad()
def _evaluate(layer: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = copy.deepcopy(layer).eval()(x)
    return result


def _pair(value: int | tuple[int, ...] | str) -> tuple[int, int]:
    if isinstance(value, str):
        raise UnsupportedLayer(f"padding={value!r} is not supported here: give it as numbers")
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def named_layers(layers: Sequence[tuple[str, nn.Module]]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))
