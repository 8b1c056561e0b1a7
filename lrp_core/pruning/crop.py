"""Cutting inputs off a trained network: a dense one loses columns, a convolutional one runs on the bounding box."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

import torch
from torch import Tensor, nn

from ..errors import InputError, UnsupportedLayer
from ..neuralised.layers import ReadsInputs
from .layers import Frame, Scatter
from .mask import PixelMask, crop_mask
from .sequences import Named, check_hooks, copy_of_sequence, is_torchs_own, named_layers, runs_as, steps_of

Convolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d
Pooling: TypeAlias = nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def slice_dense(network: nn.Module, mask: PixelMask, fill: float) -> nn.Sequential | None:
    """Keep the columns of the first layer that belong to kept pixels; removed ones become part of its bias.

    So do the coordinates of prototypes, and removed ones become part of their distances' offsets. None if `network` is
    no sequence that starts with such a layer after nothing but views of all inputs in order.
    """
    is_vector = len(mask.shape) == 1
    for name, layer in steps_of(network) or ():
        if isinstance(layer, ReadsInputs) or (isinstance(layer, nn.Linear) and runs_as(layer, nn.Linear)):
            if not is_vector or layer.in_features != mask.n_inputs:
                return None
            check_hooks(name, layer)
            body = copy_of_sequence(network)
            removed = torch.full((mask.n_inputs,), fill, dtype=torch.float64)
            if isinstance(layer, ReadsInputs):
                small: nn.Module = layer.take_inputs(mask.indices, removed)
            else:
                small = take_columns(layer, mask.indices, removed, shifts=fill != 0)
            body.set_submodule(name, small)
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


def take_channels(layer: Convolution, channels: Tensor) -> Convolution:
    """`layer` on some of its input channels: exact if the others are always 0."""
    small = copy.deepcopy(layer)
    small.weight = _like(layer.weight, layer.weight.detach()[:, channels.to(layer.weight.device)].clone())
    small.in_channels = len(channels)
    return small


def needed_channels(layer: nn.Module | None, mask: PixelMask, fill: float) -> Tensor | None:
    """The channels that a first convolution still reads, None if it reads all of them as they are.

    A channel without a kept input is `fill` everywhere. As 0 it adds nothing to any place of the map; any other number
    would add something else near the padding than in the middle.
    """
    if fill != 0 or not isinstance(layer, CONVOLUTIONS) or not is_torchs_own(layer) or layer.groups != 1:
        return None
    return mask.channels if len(mask.channels) < mask.shape[0] else None


@dataclass(frozen=True)
class _Window:
    """What depends on the kept inputs in a feature map: for each axis, from the first place to before the end."""

    spans: tuple[tuple[int, int], ...]

    def through(self, layer: Convolution | Pooling, size: Sequence[int]) -> tuple[_Window, _Window]:
        """The window of the outputs of `layer` that depend on this one, and what they read of the padded input."""
        given = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        kernel, stride, padding, dilation = (_each(value, len(size)) for value in given)
        outputs, reads = [], []
        for axis, (first, end) in enumerate(self.spans):
            k, s, p = dilation[axis] * (kernel[axis] - 1) + 1, stride[axis], padding[axis]
            n_out = (size[axis] + 2 * p - k) // s + 1
            low = max(0, -(-(first + p - k + 1) // s))
            low -= low * s > first + p  # a gap between kernels: start with the one before
            high = min(n_out, (end - 1 + p) // s + 1)
            outputs.append((low, max(high, low)))
            reads.append((low * s, max((high - 1) * s + k, end + p)))
        return _Window(tuple(outputs)), _Window(tuple(reads))

    @property
    def is_empty(self) -> bool:
        return any(first >= end for first, end in self.spans)

    def of(self, maps: Tensor) -> Tensor:
        """This part of maps [channels, *size]."""
        return maps[(slice(None), *(slice(first, end) for first, end in self.spans))]


def slice_convolutional(steps: Named, mask: PixelMask, fill: float) -> nn.Sequential:
    """Layers on the bounding box, exact: what the kept inputs cannot reach is constant and is kept as such.

    Layer by layer, only the window of the feature map that depends on kept inputs is computed. Around it the
    map is what the network gives for an input of nothing but `fill`; as much of that as the next kernel
    reads is set around the window (`Frame`), and all the rest goes into the bias of the first dense layer. Channels
    without a kept input are left out (`needed_channels`). Raises `UnsupportedLayer` for layers of other kinds before
    that, `InputError` if no kept input reaches it.
    """
    stretches = mask.bounding_box()
    channels = needed_channels(_first(steps), mask, fill)
    box = crop_mask(mask, stretches, channels)
    window = _Window(tuple((stretch.start, stretch.stop) for stretch in stretches))
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
                raise InputError(f"layer {name!r} reads none of the kept inputs: keep some nearer to the centre")
            around = constant
            if channels is not None and isinstance(layer, CONVOLUTIONS):
                layer, around, channels = take_channels(layer, channels), constant[:, channels], None
            if reads != window:
                layers.append((f"{name}_frame", _frame(layer, around, window, reads)))
            layer.padding = (0,) * len(window.spans)
            window = after
        elif _flattens_all(layer):
            positions = torch.arange(constant[0].numel(), device=constant.device).view(constant.shape[1:])
            reached = window.of(positions).flatten()
        elif isinstance(layer, nn.Linear) and reached is not None:
            layers.append((name, take_columns(layer, reached, constant.flatten(), shifts=True)))
            constant = None
            continue
        elif not isinstance(layer, nn.ReLU | nn.Dropout | nn.Identity) and not (
            isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and reached is None
        ):
            raise UnsupportedLayer(f"a convolutional network with {type(layer).__name__} ({name!r}) cannot be cropped")
        layers.append((name, layer))
        constant = _evaluate(original, constant)
    if constant is not None:
        raise UnsupportedLayer("a convolutional network without a dense layer after its feature maps cannot be cropped")
    return named_layers(layers)


def _first(steps: Named) -> nn.Module | None:
    """The first layer that does anything in evaluation."""
    return next((layer for _, layer in steps if not isinstance(layer, nn.Identity | nn.Dropout)), None)


def _slides(layer: nn.Module) -> TypeGuard[Convolution | Pooling]:
    """Whether a layer moves a kernel over the input in the way that `_Window` follows."""
    match layer:
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return layer.padding_mode == "zeros"
        case nn.MaxPool1d() | nn.MaxPool2d() | nn.MaxPool3d():
            return not layer.ceil_mode and not layer.return_indices
    return False


def _flattens_all(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1)


def _frame(layer: Convolution | Pooling, constant: Tensor, window: _Window, reads: _Window) -> Frame:
    """What `layer` reads around the window: the constant map, and the layer's own padding around that."""
    padding = _each(layer.padding, len(window.spans))
    outside = 0.0 if isinstance(layer, CONVOLUTIONS) else -torch.inf
    sides = [side for p in reversed(padding) for side in (p, p)]
    surround = reads.of(nn.functional.pad(constant, sides, value=outside)[0])
    spans = zip(window.spans, padding, reads.spans, strict=True)
    return Frame(surround, *(first + p - start for (first, _), p, (start, _) in spans))


@torch.no_grad()
def _evaluate(layer: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = copy.deepcopy(layer).eval()(x)
    return result


def _each(value: int | tuple[int, ...] | str, n_axes: int) -> tuple[int, ...]:
    if isinstance(value, str):
        raise UnsupportedLayer(f"padding={value!r} is not supported here: give it as numbers")
    return (value,) * n_axes if isinstance(value, int) else tuple(value)
