"""From the functions and tensor methods that a network calls to the operations that they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from ...errors import UnsupportedLayer
from ..affine import Affine, Convolution, Dense, Scale
from ..operations import Activation, Concatenation, Identity, Multiple, Operation, Rearrangement, Rectifier, Sum
from . import activations, pooling

IDENTITIES = {"contiguous", "clone", "detach"}
DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
IN_ORDER = {"flatten", "unflatten", "squeeze", "unsqueeze"}
MOVING = {"permute", "transpose", "swapaxes", "movedim", "flip", "narrow", "select", "expand", "repeat"}
ALIASES = {*DROPOUTS, "contiguous", "detach"}
"""Calls that may give back the very tensor that they take."""
VIEWS = {*IN_ORDER, *MOVING, "view", "reshape", "getitem"} - {"flip", "repeat"}
SUMS = {"add": 1, "iadd": 1, "add_": 1, "sub": -1, "isub": -1, "sub_": -1}
"""By what the second of two branches is multiplied."""
MULTIPLES = {"mul", "imul", "mul_", "div", "truediv", "itruediv", "div_"}
AUGMENTED = {"iadd", "isub", "imul", "itruediv"}
"""Operators that overwrite their left side: x += y."""


@dataclass(frozen=True)
class Call:
    """A traced call: the node, the nodes whose values it reads, and what turns a parameter's node into its tensor."""

    node: fx.Node
    sources: list[fx.Node]
    constant: Callable[[Any], Any]

    @property
    def name(self) -> str:
        return name_of(self.node)

    def arguments(self) -> list[Any]:
        """All but the first positional argument, which is the value that the call works on."""
        return [self.constant(a) for a in self.node.args[1:]]

    def options(self) -> dict[str, Any]:
        dropped = {"inplace", "input"}
        return {key: self.constant(value) for key, value in self.node.kwargs.items() if key not in dropped}

    def works_on_one_value(self) -> bool:
        """Whether the first argument is the only one that is computed from the network's input."""
        first = self.node.args[0] if self.node.args else self.node.kwargs.get("input")
        return len(self.sources) == 1 and first is self.sources[0]


def name_of(node: fx.Node) -> str:
    """The name of the function or method that a node calls."""
    if node.op == "call_method":
        return str(node.target)
    return str(getattr(node.target, "__name__", "")) if node.op == "call_function" else ""


def from_call(call: Call) -> Affine | Operation | None:
    """The operation that a call is, None for one without a rule."""
    if call.name in SUMS:
        return _sum(call)
    if call.name in MULTIPLES:
        return _multiple(call)
    if call.name in ("cat", "concat", "concatenate"):
        return _concatenation(call.node)
    if not call.works_on_one_value():
        return None
    name = call.name.rstrip("_")
    arguments, options = call.arguments(), call.options()
    if name in ("view", "reshape"):
        return None if options else _reshape(_one_sequence(arguments))
    if any(isinstance(v, fx.Node) for value in (*arguments, *options.values()) for v in _each(value)):
        return None
    if name == "relu":
        return Rectifier()
    if name in IDENTITIES:
        return Identity()
    if name in DROPOUTS:
        return Identity() if _is_off(arguments, options) else None
    if name in activations.BY_NAME:
        activation = activations.BY_NAME[name]
        return Activation(lambda a: activation.function(a, *arguments, **options), activation.never_negative)
    for convert in (_layer, _pooling, _view):
        operation = convert(name, arguments, options)
        if operation is not None:
            return operation
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
        case "batch_norm":
            return _batch_norm(*arguments, **options)
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


def _pooling(name: str, arguments: list[Any], options: dict[str, Any]) -> Operation | None:
    if name == "mean":
        known = {{"dim": "axes", "axis": "axes"}.get(key, key): v for key, v in options.items()}
        return pooling.mean(*arguments, **known) if set(known) <= {"axes", "keepdim"} else None
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


# Views and moves of values, which leave the batch alone


def _view(name: str, arguments: list[Any], options: dict[str, Any]) -> Operation | None:
    if name == "getitem":
        return _slice(arguments[0])
    if name == "pad":
        return _pad(*arguments, **options)
    if name == "interpolate":
        moved = options.get("mode", "nearest") == "nearest"
        return Rearrangement(lambda a: F.interpolate(a, *arguments, **options)) if moved else None
    if name in IN_ORDER | MOVING and not _names_batch(name, arguments, options):
        method = getattr(torch.Tensor, name)
        named = [axis for axis in _axes(name, arguments, options) if axis < 0]
        return Rearrangement(
            lambda a: method(a, *arguments, **options),
            in_order=name in IN_ORDER,
            mixes=lambda axes: any(axis + axes + (name == "unsqueeze") == 0 for axis in named),
        )
    return None


def _reshape(shape: Sequence[Any]) -> Operation | None:
    """A reshape whose first axis is the batch: given as -1, or as a size read off the input."""
    first, *rest = shape
    if any(isinstance(size, fx.Node) for size in rest):
        return None
    if _is_batch_size(first) or first == -1:
        return Rearrangement(lambda a: a.reshape(len(a), *rest), in_order=True)
    return None


def _is_batch_size(value: Any) -> bool:
    """Whether a node is the number of images: x.size(0), x.size()[0] or x.shape[0]."""
    if not isinstance(value, fx.Node):
        return False
    sizes = value.args[0] if value.args else None
    of_shape = (
        isinstance(sizes, fx.Node)
        and name_of(sizes) in ("size", "getattr")
        and len(sizes.args) + (name_of(sizes) == "size") == 2
    )
    return value.args[1:] == (0,) and (name_of(value) == "size" or (name_of(value) == "getitem" and of_shape))


def _one_sequence(arguments: list[Any]) -> Sequence[Any]:
    """view(2, 3) and view((2, 3)) alike."""
    return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list | tuple) else arguments


def _slice(index: Any) -> Operation | None:
    """Indexing with whole numbers and slices that takes all of the batch."""
    whole = isinstance(index, tuple) and bool(index) and index[0] in (slice(None), Ellipsis)
    if not whole or not all(isinstance(part, int | slice) or part is Ellipsis for part in index):
        return None
    named = sum(part is not Ellipsis for part in index)
    return Rearrangement(lambda a: a[index], mixes=lambda axes: index[0] is Ellipsis and named >= axes)


def _pad(pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Operation | None:
    if mode == "constant" and value not in (None, 0):
        return None
    return Rearrangement(lambda a: F.pad(a, list(pad), mode), mixes=lambda axes: len(pad) // 2 >= axes)


def _names_batch(name: str, arguments: list[Any], options: dict[str, Any]) -> bool:
    """Whether a view touches the first axis, which is the batch, or an axis that cannot be told."""
    values = [v for value in (*arguments, *options.values()) for v in _each(value)]
    if any(not isinstance(value, int) for value in values):
        return True
    first = options.get("dim", options.get("start_dim", values[0] if values else 0))
    match name:
        case "permute":
            return bool(values[0] != 0)
        case "expand" | "repeat":
            return values[0] not in ((-1, 1) if name == "expand" else (1,))
        case "narrow" | "select" | "unflatten" | "unsqueeze" | "squeeze" | "flatten":
            return bool(first == 0)
    return 0 in values


def _axes(name: str, arguments: list[Any], options: dict[str, Any]) -> list[int]:
    """The axes that a view names, but for those of a permutation, whose first has to be 0."""
    values = [v for value in (*arguments, *options.values()) for v in _each(value)]
    match name:
        case "flip" | "transpose" | "swapaxes" | "movedim":
            return values
        case "narrow" | "select" | "unflatten" | "unsqueeze" | "squeeze" | "flatten":
            first = options.get("dim", options.get("start_dim", values[0] if values else 0))
            return list(_each(first))
    return []


def _each(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


# Joining branches, and constants


def _sum(call: Call) -> Operation | None:
    """A sum or difference of branches, or of one branch and a constant."""
    if len(call.node.args) != 2 or call.options().get("alpha", 1) != 1:
        return None
    sign = SUMS[call.name]
    left, right = (call.constant(value) for value in call.node.args)
    if isinstance(left, fx.Node) and isinstance(right, fx.Node):
        return Sum(signs=(1, sign)) if len(call.sources) == 2 else None
    if isinstance(left, fx.Node):
        return Sum(constant=sign * right, signs=(1,)) if isinstance(right, int | float | Tensor) else None
    return Sum(constant=left, signs=(sign,)) if isinstance(left, int | float | Tensor) else None


def _multiple(call: Call) -> Operation | None:
    """A branch times, or over, a constant."""
    if len(call.node.args) != 2 or call.options():
        return None
    left, right = (call.constant(value) for value in call.node.args)
    if len(call.sources) != 1 or isinstance(left, fx.Node) == isinstance(right, fx.Node):
        return None
    divides = "div" in call.name
    if isinstance(left, fx.Node):
        return Multiple(1 / right if divides else right) if isinstance(right, int | float | Tensor) else None
    return Multiple(left) if not divides and isinstance(left, int | float | Tensor) else None


def _concatenation(node: fx.Node) -> Operation | None:
    axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    parts = node.args[0] if node.args else node.kwargs.get("tensors")
    whole = isinstance(parts, list | tuple) and all(isinstance(part, fx.Node) for part in parts)
    return Concatenation(axis) if whole and isinstance(axis, int) and axis != 0 else None
