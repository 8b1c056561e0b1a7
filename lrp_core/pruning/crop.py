"""Cutting inputs off a trained network: a dense one loses columns, a convolutional one runs on the bounding box."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn

from ..errors import InputError, UnsupportedLayer
from .layers import Frame, Scatter
from .mask import PixelMask, crop_mask
from .sequences import Named, check_hooks, copy_of_sequence, is_torchs_own, named_layers, runs_as, steps_of


def slice_dense(network: nn.Module, mask: PixelMask, fill: float) -> nn.Sequential | None:
    """Keep the columns of the first layer that belong to kept pixels; removed ones become part of its bias.

    None if `network` is no sequence that starts with a dense layer after nothing but views of all inputs in order.
    """
    is_vector = len(mask.shape) == 1
    for name, layer in steps_of(network) or ():
        if isinstance(layer, nn.Linear) and runs_as(layer, nn.Linear):
            if not is_vector or layer.in_features != mask.n_inputs:
                return None
            check_hooks(name, layer)
            body = copy_of_sequence(network)
            removed = torch.full((mask.n_inputs,), fill, dtype=torch.float64)
            body.set_submodule(name, take_columns(layer, mask.indices, removed, shifts=fill != 0))
            return body
        if not isinstance(layer, nn.Identity | nn.Dropout | nn.AlphaDropout) and not _flattens_all(layer):
            return None
        is_vector = is_vector or _flattens_all(layer)
    return None


def take_columns(layer: nn.Linear, columns: Tensor, constant: Tensor, shifts: bool) -> nn.Linear:
    """`layer` on some of its inputs, the others holding `constant` [inputs] forever; with a bias if it `shifts`."""
    weight = layer.weight
    old_bias: Tensor | None = layer.bias
    shifts = shifts or old_bias is not None
    rest = constant.to(weight).index_fill(0, columns.to(weight.device), 0)
    small = nn.Linear(max(1, len(columns)), layer.out_features, bias=shifts, device="meta").train(layer.training)
    small.in_features = len(columns)  # may be none, which torch warns of
    with torch.no_grad():
        small.weight = _like(weight, weight[:, columns.to(weight.device)].clone())
        if shifts:
            shift = weight @ rest
            small.bias = _like(
                weight if old_bias is None else old_bias, shift if old_bias is None else old_bias + shift
            )
    return small


def _like(parameter: Tensor, values: Tensor) -> nn.Parameter:
    """A parameter that is trained if `parameter` is."""
    return nn.Parameter(values, requires_grad=parameter.requires_grad)


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


def slice_convolutional(steps: Named, mask: PixelMask, fill: float) -> nn.Sequential:
    """Layers on the bounding box, exact: what the kept pixels cannot reach is constant and is kept as such.

    Layer by layer, only the window of the feature map that depends on kept pixels is computed. Around it the
    map is what the network gives for an image of nothing but `fill`; as much of that as the next kernel
    reads is set around the window (`Frame`), and all the rest goes into the bias of the first dense layer. Raises
    `UnsupportedLayer` for layers of other kinds before that, `InputError` if no kept pixel reaches it.
    """
    rows, columns = mask.bounding_box()
    box = crop_mask(mask, rows, columns)
    window = _Window(rows.start, rows.stop, columns.start, columns.stop)
    layers: list[tuple[str, nn.Module]] = [("scatter", Scatter(box.indices, box.shape, fill))]
    reference = next(p for _, layer in steps for p in layer.parameters())
    constant: Tensor | None = torch.full((1, *mask.shape), fill, dtype=reference.dtype, device=reference.device)
    reached: Tensor | None = None
    for dotted, original in steps:
        name = dotted.replace(".", "_")
        while name in dict(layers):
            name += "_"
        layer = copy.deepcopy(original)
        if constant is None:
            layers.append((name, layer))
            continue
        if not is_torchs_own(original):
            raise UnsupportedLayer(f"a convolutional network with {type(layer).__name__} ({name!r}) cannot be cropped")
        check_hooks(name, original)
        if _slides(layer):
            after, reads = window.through(layer, constant.shape[2:])
            if after.is_empty:
                raise InputError(f"layer {name!r} reads none of the kept pixels: keep some nearer to the centre")
            if reads != window:
                layers.append((f"{name}_frame", _frame(layer, constant, window, reads)))
            layer.padding = (0, 0)
            window = after
        elif _flattens_all(layer):
            positions = torch.arange(constant[0].numel(), device=constant.device).view(constant.shape[1:])
            reached = positions[:, window.top : window.bottom, window.left : window.right].flatten()
        elif isinstance(layer, nn.Linear) and reached is not None:
            layers.append((name, take_columns(layer, reached, constant.flatten(), shifts=True)))
            constant = None
            continue
        elif not isinstance(layer, nn.BatchNorm2d | nn.ReLU | nn.Dropout | nn.Identity):
            raise UnsupportedLayer(f"a convolutional network with {type(layer).__name__} ({name!r}) cannot be cropped")
        layers.append((name, layer))
        constant = _evaluate(original, constant)
    if constant is not None:
        raise UnsupportedLayer("a convolutional network without a dense layer after its feature maps cannot be cropped")
    return named_layers(layers)


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
