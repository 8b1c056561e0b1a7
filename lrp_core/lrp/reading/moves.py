"""Calls that move values and leave them as they are: views, permutations, slices, padding, shuffles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from ..operations import Operation, Rearrangement
from .sizes import for_any_batch
from .tracer import name_of

if TYPE_CHECKING:
    from .calls import Call

IN_ORDER = {"flatten", "unflatten", "squeeze", "unsqueeze"}
MOVING = {"permute", "transpose", "swapaxes", "movedim", "flip", "narrow", "select", "expand", "repeat"}
VIEWS = {*IN_ORDER, *MOVING, "view", "reshape", "getitem"} - {"flip", "repeat"}
RESHAPING = {*IN_ORDER, "view", "reshape", "view_as", "reshape_as", "_unsafe_view"}
"""Those that keep values in their order, and in number."""
ANY_MOVE = {
    *MOVING,
    *RESHAPING,
    *("getitem", "part", "roll", "fliplr", "flipud", "rot90", "t", "tile", "swapdims", "moveaxis", "expand_as"),
    *("repeat_interleave", "index_select", "slice", "adjoint", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("native_channel_shuffle", "take_along_dim", "unfold", "diagonal", "broadcast_to", "tril", "triu", "getattr"),
    *("constant_pad_nd", "alias", "lift_fresh_copy"),
}
"""Calls that move values, leave them out, repeat them or replace them by zero, in a network that is read by example."""
CASTS = {"to", "type_as", "type", "float", "double", "half", "bfloat16", "cpu", "cuda", "int", "long"}
"""Calls that do nothing to values that are of that type already."""
TRANSPOSED = {"T", "mT", "H", "mH", "data"}


def move(call: Call) -> Operation | None:
    """The move that a call is."""
    if call.images:
        return _move_by_example(call)
    name, arguments, options = call.name.rstrip("_"), call.arguments(), call.options()
    if name in ("view", "reshape"):
        return None if options else _reshape(_one_sequence(arguments))
    if call.has_symbols():
        return None
    if name == "getitem":
        return _slice(arguments[0])
    if name == "pad":
        return _pad(*arguments, **options)
    if name in ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"):
        return Rearrangement(lambda a: getattr(F, name)(a, *arguments, **options))
    if name in IN_ORDER | MOVING and not _names_batch(name, arguments, options):
        method = getattr(torch.Tensor, name)
        named = [axis for axis in _axes(name, arguments, options) if axis < 0]
        return Rearrangement(
            lambda a: method(a, *arguments, **options),
            in_order=name in IN_ORDER,
            mixes=lambda axes: any(axis + axes + (name == "unsqueeze") == 0 for axis in named),
        )
    return None


# With an example: any move is one, and where the batch went is found out by moving it.


def _move_by_example(call: Call) -> Operation | None:
    name = call.name.rstrip("_") if call.name.endswith("_") else call.name
    if name == "getattr" and call.node.args[1] not in TRANSPOSED:
        return None
    if name == "pad":
        return _pad(*call.arguments(), **call.options())
    if name not in ANY_MOVE:
        return None
    function: Any = getattr(Tensor, call.name) if call.node.op == "call_method" else call.node.target
    if name == "unfold" and function is not Tensor.unfold:
        return None
    if name in ("view", "_unsafe_view"):
        function = Tensor.reshape  # the memory of values may be laid out otherwise here than in the network
    moved = for_any_batch(function, tuple(call.arguments()), call.options(), call.per_image)
    return Rearrangement(moved, in_order=name in RESHAPING, known=True)


def keeps_batch(function: Callable[[Tensor], Tensor], shape: Sequence[int], images: int) -> bool:
    """Whether a move leaves every image's values together, image after image along the first axis.

    Found by moving the images' numbers, counted from 1: zeros are what padding sets in.
    """
    numbers = torch.arange(1, images + 1, dtype=torch.float64)
    per_image = shape[0] // images
    before = numbers.repeat_interleave(per_image).view(-1, *[1] * (len(shape) - 1)).expand(*shape).contiguous()
    after = function(before)
    if after.ndim < 1 or len(after) % images or not len(after):
        return False
    grouped = after.reshape(images, -1)
    return bool(((grouped == numbers[:, None]) | (grouped == 0)).all())


# Without one: only moves that are known to leave the batch alone.


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
