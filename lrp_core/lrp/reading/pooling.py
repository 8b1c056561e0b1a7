"""Pooling in one, two or three dimensions, from the arguments that torch's modules and functions take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ..operations import Average, MaxPool, Operation, Rearrangement

aten = torch.ops.aten


def max_pool(
    spatial: int, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> MaxPool:
    forward, backward = (
        (aten.max_pool3d_with_indices, aten.max_pool3d_with_indices_backward)
        if spatial == 3
        else (aten.max_pool2d_with_indices, aten.max_pool2d_with_indices_backward)
    )
    stride = kernel if stride is None or stride == [] else stride
    sizes = [_per_axis(v, spatial, neutral) for v, neutral in ((kernel, 1), (stride, 1), (padding, 0), (dilation, 1))]
    return _max(spatial, lambda a: forward(a, *sizes, ceil_mode), lambda s, a, i: backward(s, a, *sizes, ceil_mode, i))


def adaptive_max_pool(spatial: int, size: Any) -> MaxPool | None:
    if not _is_size(size):
        return None
    forward, backward = (
        (aten.adaptive_max_pool3d, aten.adaptive_max_pool3d_backward)
        if spatial == 3
        else (aten.adaptive_max_pool2d, aten.adaptive_max_pool2d_backward)
    )
    size = _per_axis(size, spatial, 1)
    return _max(spatial, lambda a: forward(a, size), backward)


def average_pool(
    spatial: int,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Average:
    forward, backward = (
        (aten.avg_pool3d, aten.avg_pool3d_backward) if spatial == 3 else (aten.avg_pool2d, aten.avg_pool2d_backward)
    )
    stride = kernel if stride is None or stride == [] else stride
    sizes = [_per_axis(v, spatial, neutral) for v, neutral in ((kernel, 1), (stride, 1), (padding, 0))]
    options = (*sizes, ceil_mode, count_include_pad, divisor_override)
    return _average(spatial, lambda a: forward(a, *options), lambda s, a: backward(s, a, *options))


def adaptive_average_pool(spatial: int, size: Any) -> Average | None:
    if not _is_size(size):
        return None
    forward, backward = (
        (aten._adaptive_avg_pool3d, aten._adaptive_avg_pool3d_backward)
        if spatial == 3
        else (aten._adaptive_avg_pool2d, aten._adaptive_avg_pool2d_backward)
    )
    size = _per_axis(size, spatial, 1)
    return _average(spatial, lambda a: forward(a, size), backward)


def mean(axes: Any = None, keepdim: bool = False) -> Operation | None:
    """The mean over axes other than the first, which is the batch."""
    chosen = [axes] if isinstance(axes, int) else list(axes or [])
    if not chosen or 0 in chosen:
        return None

    def pullback(s: Tensor, a: Tensor) -> Tensor:
        number = torch.Size([a.shape[axis] for axis in chosen]).numel()
        return ((s if keepdim else _unsqueezed(s, chosen, a.ndim)) / number).expand(a.shape)

    return Average(
        lambda a: a.mean(chosen, keepdim=keepdim), pullback, mixes=lambda axes: any(axis + axes == 0 for axis in chosen)
    )


def total(axes: Any = None, keepdim: bool = False) -> Operation | None:
    """The sum over axes other than the first, which is the batch."""
    chosen = [axes] if isinstance(axes, int) else list(axes or [])
    if not chosen or 0 in chosen:
        return None

    def pullback(s: Tensor, a: Tensor) -> Tensor:
        return (s if keepdim else _unsqueezed(s, chosen, a.ndim)).expand(a.shape)

    return Average(
        lambda a: a.sum(chosen, keepdim=keepdim), pullback, mixes=lambda axes: any(axis + axes == 0 for axis in chosen)
    )


def largest(axes: Any = None, keepdim: bool = False) -> Operation | None:
    """The largest value along one axis other than the first: relevance goes to the first that has it."""
    return _extreme(axes, keepdim, torch.max)


def smallest(axes: Any = None, keepdim: bool = False) -> Operation | None:
    """The smallest value along one axis other than the first."""
    return _extreme(axes, keepdim, torch.min)


def _extreme(axes: Any, keepdim: bool, function: Callable[..., Any]) -> Operation | None:
    chosen = [axes] if isinstance(axes, int) else list(axes or [])
    if not chosen or 0 in chosen:
        return None

    def flat(a: Tensor) -> Tensor:
        """The chosen axes as the last one."""
        return a.movedim(chosen, list(range(-len(chosen), 0))).flatten(-len(chosen))

    def pool(a: Tensor) -> tuple[Tensor, Tensor]:
        if any(axis % a.ndim == 0 for axis in chosen):
            raise InputError("the operation would mix the images of the batch, which lie along the first axis")
        z, winners = function(flat(a), -1)
        return (_unsqueezed(z, chosen, a.ndim) if keepdim else z), winners

    def pullback(s: Tensor, a: Tensor, winners: Tensor) -> Tensor:
        folded = flat(a)
        home = torch.zeros_like(folded).scatter_(-1, winners.unsqueeze(-1), s.reshape(winners.shape).unsqueeze(-1))
        last = list(range(-len(chosen), 0))
        sizes = [a.shape[axis] for axis in chosen]
        unfolded: Tensor = home.view(*home.shape[:-1], *sizes).movedim(last, chosen)
        return unfolded

    return MaxPool(pool, pullback)


def _unsqueezed(s: Tensor, axes: list[int], ndim: int) -> Tensor:
    """Values with the axes back that were reduced away."""
    for place in sorted(axis % ndim for axis in axes):
        s = s.unsqueeze(place)
    return s


OVER_AXES: dict[str, Callable[..., Operation | None]] = {
    "mean": mean,
    "sum": total,
    "amax": largest,
    "amin": smallest,
}


def interpolation(
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Operation:
    """Resizing: a move of values where the mode is nearest, else a linear layer without bias."""

    def function(a: Tensor) -> Tensor:
        sizes = list(size) if isinstance(size, list | tuple) else size
        return F.interpolate(a, sizes, scale_factor, mode, align_corners, recompute_scale_factor, antialias)

    return (
        Rearrangement(function)
        if mode.startswith("nearest")
        else Average(function, transposed(function), signed=mode == "bicubic")
    )


def transposed(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The transpose of a linear function, by torch's own derivative of it: values at its outputs, and its inputs."""

    def pullback(s: Tensor, a: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.zeros(a.shape, dtype=a.dtype, device=a.device, requires_grad=True)
            (pulled,) = torch.autograd.grad(function(x), x, s.clone())
        result: Tensor = pulled
        return result

    return pullback


PoolBack = Callable[[Tensor, Tensor, Tensor], Tensor]


def _max(spatial: int, forward: Callable[[Tensor], tuple[Tensor, Tensor]], backward: PoolBack) -> MaxPool:
    """A max-pooling; one over a single axis runs as one over two, the first of them of length 1."""
    if spatial > 1:
        return MaxPool(forward, backward)

    def pool(a: Tensor) -> tuple[Tensor, Tensor]:
        z, winners = forward(a.unsqueeze(-2))
        return z.squeeze(-2), winners

    return MaxPool(pool, lambda s, a, i: backward(s.unsqueeze(-2), a.unsqueeze(-2), i).squeeze(-2))


def _average(
    spatial: int, forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor, Tensor], Tensor]
) -> Average:
    """An average; one over a single axis runs as one over two, the first of them of length 1."""
    if spatial > 1:
        return Average(forward, backward)
    return Average(
        lambda a: forward(a.unsqueeze(-2)).squeeze(-2),
        lambda s, a: backward(s.unsqueeze(-2), a.unsqueeze(-2)).squeeze(-2),
    )


def _per_axis(value: Any, spatial: int, neutral: int) -> list[int]:
    """One value for each axis, of which there are at least two."""
    values = [value] * spatial if isinstance(value, int) else list(value)
    values = values * spatial if len(values) == 1 else values
    return [neutral, *values] if spatial == 1 else values


def _is_size(size: Any) -> bool:
    """Whether an output size is all numbers: None, which keeps an axis as it is, is not supported."""
    return isinstance(size, int) or all(isinstance(s, int) for s in size)
