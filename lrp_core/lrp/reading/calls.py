"""From the functions and tensor methods that a network calls to the operations that they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from ...errors import UnsupportedLayer
from .. import normalisation
from ..affine import Affine, Convolution, Dense, Scale
from ..choices import Predicate
from ..operations import Activation, Identity, Multiple, Operation, Rectifier
from . import activations, joins, pooling, products
from .moves import CASTS, move
from .tracer import name_of

IDENTITIES = {"contiguous", "clone", "detach"}
DROPOUTS = {
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout"),
}
ALIASES = {*DROPOUTS, "contiguous", "detach"}
"""Calls that may give back the very tensor that they take."""
AUGMENTED = {"iadd", "isub", "imul", "itruediv"}
"""Operators that overwrite their left side: x += y."""


@dataclass(frozen=True)
class Call:
    """A traced call: the node, the nodes whose values it reads, and what turns a parameter's node into its tensor.

    `images` is the number of images that the network was read with, 0 without an example; `per_image` the rows that
    each of them has along the first axis of the value that the call works on.
    """

    node: fx.Node
    sources: list[fx.Node]
    constant: Callable[[Any], Any]
    images: int = 0
    per_image: int = 1

    @property
    def name(self) -> str:
        return name_of(self.node)

    def first(self) -> Any:
        """The value that the call works on."""
        return self.node.args[0] if self.node.args else self.node.kwargs.get("input", self.node.kwargs.get("self"))

    def arguments(self) -> list[Any]:
        """All but the first positional argument, which is the value that the call works on."""
        return [self._constants(a) for a in self.node.args[1:]]

    def options(self) -> dict[str, Any]:
        dropped = {"inplace", "input", "self"}
        return {key: self._constants(value) for key, value in self.node.kwargs.items() if key not in dropped}

    def has_symbols(self) -> bool:
        """Whether an argument other than the value is not known."""
        nodes: list[Any] = []
        fx.map_arg((self.arguments(), list(self.options().values())), nodes.append)
        return bool(nodes)

    def works_on_one_value(self) -> bool:
        """Whether the first argument is the only one that is computed from the network's input."""
        return len(self.sources) == 1 and self.first() is self.sources[0]

    def keeps_type(self) -> bool:
        """Whether the call is known to give values of the type that it takes."""
        if not self.images:
            return False
        before, after = self.sources[0].meta["value"], self.node.meta["value"]
        return bool(before.dtype == after.dtype and before.device == after.device)

    def _constants(self, value: Any) -> Any:
        return fx.map_arg(value, self.constant)


def from_call(call: Call) -> Affine | Operation | None:
    """The operation that a call is, None for one without a rule."""
    joined = joins.join(call)
    if joined is not None:
        return joined
    multiplied = products.product(call)
    if multiplied is not None:
        return multiplied
    if not call.works_on_one_value():
        return None
    moved = move(call)
    if moved is not None:
        return moved
    if call.has_symbols():
        return None
    name, arguments, options = call.name.rstrip("_"), call.arguments(), call.options()
    if name == "relu":
        return Rectifier()
    if name in IDENTITIES:
        return Identity()
    if name in CASTS:
        return _cast(call)
    if name in DROPOUTS:
        return Identity() if _is_off(arguments, options) else None
    if name in activations.BY_NAME:
        activation = activations.BY_NAME[name]
        return Activation(lambda a: activation.function(a, *arguments, **options), activation.never_negative)
    for convert in (products.elementwise, _elementwise, _layer, _normalisation, _pooling):
        operation = convert(name, arguments, options)
        if operation is not None:
            return operation
    return None


def _cast(call: Call) -> Operation | None:
    """A change of type: none at all, or of masks and whole numbers to those that networks compute with."""
    if call.keeps_type():
        return Identity()
    if not call.images or call.sources[0].meta["value"].is_floating_point():
        return None
    function: Any = getattr(Tensor, call.name) if call.node.op == "call_method" else call.node.target
    arguments, options = call.arguments(), call.options()
    change: Callable[[Tensor], Tensor] = lambda a: function(a, *arguments, **options)  # noqa: E731
    return Predicate(change) if call.sources[0].meta["value"].dtype == torch.bool else Activation(change)


def _elementwise(name: str, arguments: list[Any], options: dict[str, Any]) -> Operation | None:
    """Functions of each value that torch has no module for."""
    match name:
        case "neg" | "negative":
            return Multiple(-1.0)
        case "abs" | "absolute":
            return Activation(torch.abs, never_negative=True)
        case "pow" if len(arguments) == 1 and isinstance(arguments[0], int | float) and not options:
            power = arguments[0]
            return Activation(lambda a: a.pow(power), never_negative=power % 2 == 0)
        case "square" | "sqrt" | "exp":
            return Activation(getattr(torch, name), never_negative=True)
        case "rsqrt" | "reciprocal" | "log" | "log1p" | "expm1" | "erf" | "sin" | "cos":
            return Activation(getattr(torch, name))
        case "clamp" | "clip" | "clamp_min" | "clamp_max":
            function = getattr(torch, name)
            return Activation(lambda a: function(a, *arguments, **options))
        case "normalize" if arguments[1:2] != [0] and options.get("dim") != 0:
            return Activation(lambda a: F.normalize(a, *arguments, **options))  # its length is a constant to relevance
        case "prelu" if len(arguments) == 1 and isinstance(arguments[0], Tensor):
            return Activation(lambda a: F.prelu(a, arguments[0]))
    return None


def _is_off(arguments: list[Any], options: dict[str, Any]) -> bool:
    """Whether a dropout call has training=False; its default is True, whatever the module's mode."""
    return not (arguments[1] if len(arguments) > 1 else options.get("training", True))


# Layers as functions


def _layer(name: str, arguments: list[Any], options: dict[str, Any]) -> Affine | None:
    match name:
        case "linear":
            return _linear(*arguments, **options)
        case "conv1d" | "conv2d" | "conv3d":
            return _convolution(int(name[-2]), *arguments, **options)
        case "conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d":
            return _transposed_convolution(int(name[-2]), *arguments, **options)
        case "batch_norm" if len(arguments) == 8:  # the operator of exported programs: weight, bias, mean, variance
            return _batch_norm(*arguments[2:4], *arguments[:2], *arguments[4:7])
        case "batch_norm":
            return _batch_norm(*arguments, **options)
        case "matmul" | "mm" if len(arguments) == 1 and isinstance(arguments[0], Tensor) and arguments[0].ndim == 2:
            return Dense(arguments[0].t().contiguous(), None)
    return None


def _linear(weight: Any, bias: Any = None) -> Dense | None:
    return Dense(weight, bias) if isinstance(weight, Tensor) else None


def _convolution(
    spatial: int,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Convolution | None:
    if not isinstance(weight, Tensor):
        return None
    stride, dilation = (_per_axis(v, spatial) for v in (stride, dilation))
    if isinstance(padding, str):
        padding = padding_of(padding, tuple(weight.shape[2:]), dilation)
    return Convolution(weight, bias, stride, _per_axis(padding, spatial), dilation, groups)


def _transposed_convolution(
    spatial: int,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Convolution | None:
    if not isinstance(weight, Tensor):
        return None
    stride, padding, output_padding, dilation = (
        _per_axis(v, spatial) for v in (stride, padding, output_padding, dilation)
    )
    return Convolution(weight, bias, stride, padding, dilation, groups, True, output_padding)


def _per_axis(value: Any, spatial: int) -> tuple[int, ...]:
    return (value,) * spatial if isinstance(value, int) else tuple(value) * (spatial if len(value) == 1 else 1)


def padding_of(mode: str, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """The padding that a convolution calls "same" or "valid". Raises `UnsupportedLayer` where it is not the same on
    both sides.
    """
    totals = [d * (k - 1) if mode == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
    if any(total % 2 for total in totals):
        raise UnsupportedLayer(f"padding='same' of an even kernel {kernel} is uneven: pad explicitly")
    return tuple(total // 2 for total in totals)


def _batch_norm(
    mean: Any,
    variance: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Scale | None:
    return None if training else scale(mean, variance, weight, bias, eps)


def scale(mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Scale:
    """A batch-norm as a layer of its own. Raises `UnsupportedLayer` if it takes its statistics from the batch."""
    if mean is None or variance is None:
        raise UnsupportedLayer("without running statistics it depends on the batch: give it some")
    factor = torch.rsqrt(variance.detach() + eps) * (1 if weight is None else weight.detach())
    shift = -mean.detach() * factor
    return Scale(factor, shift if bias is None else shift + bias.detach())


def _normalisation(name: str, arguments: list[Any], options: dict[str, Any]) -> Operation | None:
    match name:
        case "layer_norm":
            return _layer_norm(*arguments, **options)
        case "rms_norm":
            return _rms_norm(*arguments, **options)
        case "group_norm":
            return _group_norm(*arguments, **options)
    return None


def _layer_norm(shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any, **__: Any) -> Operation:
    return normalisation.over_last_axes(1 if isinstance(shape, int) else len(shape), weight, bias, eps)


def _rms_norm(shape: Any, weight: Any = None, eps: float | None = None) -> Operation:
    return normalisation.over_last_axes(1 if isinstance(shape, int) else len(shape), weight, None, eps, centred=False)


def _group_norm(groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any, **__: Any) -> Operation:
    return normalisation.over_groups(groups, weight, bias, eps)


def _pooling(name: str, arguments: list[Any], options: dict[str, Any], by_example: bool = False) -> Operation | None:
    if name in pooling.OVER_AXES:
        known = {{"dim": "axes", "axis": "axes"}.get(key, key): v for key, v in options.items()}
        return pooling.OVER_AXES[name](*arguments, **known) if set(known) <= {"axes", "keepdim"} else None
    if name == "interpolate":
        return pooling.interpolation(*arguments, **options)
    if options.pop("return_indices", False) or name[-2:] not in ("1d", "2d", "3d"):
        return None
    options = {{"kernel_size": "kernel", "output_size": "size"}.get(key, key): v for key, v in options.items()}
    makers: dict[str, Callable[..., Operation | None]] = {
        "max_pool": pooling.max_pool,
        "adaptive_max_pool": pooling.adaptive_max_pool,
        "avg_pool": pooling.average_pool,
        "adaptive_avg_pool": pooling.adaptive_average_pool,
    }
    maker = makers.get(name[:-2])
    return maker(int(name[-2]), *arguments, **options) if maker else None
