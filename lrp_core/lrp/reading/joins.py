"""Calls that join branches, with one another or with constants: sums, multiples, concatenations, the larger of two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from ...errors import UnsupportedLayer
from ..affine import Dense
from ..choices import Predicate, Selection
from ..gates import Quotient
from ..operations import Concatenation, Extreme, Multiple, Operation, Sum

if TYPE_CHECKING:
    from .calls import Call

SUMS = {"add": 1, "iadd": 1, "add_": 1, "radd": 1, "sub": -1, "isub": -1, "sub_": -1, "subtract": -1}
"""By what the second of two branches is multiplied."""
MULTIPLES = {"mul", "imul", "mul_", "multiply", "div", "truediv", "itruediv", "div_", "divide"}
CONCATENATIONS = {"cat", "concat", "concatenate", "stack"}
PREDICATES = {
    *("eq", "ne", "lt", "le", "gt", "ge", "logical_not", "invert", "bitwise_not", "logical_and", "and_", "bitwise_and"),
    *("logical_or", "or_", "bitwise_or", "logical_xor", "xor", "isfinite", "isnan", "isinf", "not_equal", "equal"),
}
"""Calls that tell whether something is true of values."""
EXTREMES = {"maximum": True, "max": True, "minimum": False, "min": False}


def join(call: Call) -> Operation | Dense | None:
    """The joining operation that a call is, None if it is none."""
    if call.name in SUMS:
        return _sum(call)
    if call.name == "rsub" and len(call.node.args) == 2:
        return _sum(call, swapped=True)
    if call.name in MULTIPLES:
        return _multiple(call)
    if call.name in PREDICATES:
        return _predicate(call)
    if call.name in ("where", "masked_fill_"):
        return _selection(call)
    if call.name in CONCATENATIONS:
        return _concatenation(call)
    if call.name in EXTREMES and len(call.node.args) == 2 and len(call.sources) == 2:
        return Extreme(largest=EXTREMES[call.name])
    return None


def _sum(call: Call, swapped: bool = False) -> Operation | None:
    """A sum or difference of branches, or of one branch and a constant."""
    if len(call.node.args) != 2:
        return None
    sign = -1 if swapped else SUMS[call.name] * call.options().get("alpha", 1)
    left, right = (_aligned(call, call.constant(value)) for value in call.node.args[:: -1 if swapped else 1])
    if isinstance(left, fx.Node) and isinstance(right, fx.Node):
        return Sum(signs=(1, sign)) if len(call.sources) == 2 else None
    if isinstance(left, fx.Node):
        return Sum(constant=sign * right, signs=(1,)) if isinstance(right, int | float | Tensor) else None
    return Sum(constant=left, signs=(sign,)) if isinstance(left, int | float | Tensor) else None


def _multiple(call: Call) -> Operation | None:
    """A branch times, or over, a constant."""
    if len(call.node.args) != 2 or call.options():
        return None
    if len(call.sources) == 2 and "div" in call.name:
        return Quotient()
    if len(call.sources) != 1:
        return None
    left, right = (_aligned(call, call.constant(value)) for value in call.node.args)
    if isinstance(left, fx.Node) == isinstance(right, fx.Node):
        return None
    divides = "div" in call.name
    if isinstance(left, fx.Node):
        return Multiple(1 / right if divides else right) if isinstance(right, int | float | Tensor) else None
    return Multiple(left) if not divides and isinstance(left, int | float | Tensor) else None


def _predicate(call: Call) -> Operation | None:
    """A question about values, that may compare them with constants."""
    function: Any = getattr(Tensor, call.name) if call.node.op == "call_method" else call.node.target
    given = [_aligned(call, call.constant(value)) for value in call.node.args]
    places = [place for place, value in enumerate(given) if value in call.sources]
    if call.options() or len(places) != len(call.sources) or _unknown(given, call):
        return None

    def ask(*values: Tensor) -> Tensor:
        filled = list(given)
        for place, value in zip(places, values, strict=True):
            filled[place] = value
        answer: Tensor = function(*filled)
        return answer

    return Predicate(ask)


def _selection(call: Call) -> Operation | None:
    """torch.where, and masked_fill in place by a mask that is known."""
    given = [_aligned(call, call.constant(value)) for value in call.node.args]
    if len(given) != 3 or call.options() or _unknown(given, call):
        return None
    if call.name == "where":
        return Selection(*(None if isinstance(value, fx.Node) else value for value in given))
    return Selection(given[1], given[2], None) if isinstance(given[1], Tensor) else None


def _unknown(given: list[Any], call: Call) -> bool:
    """Whether one of the arguments is neither a computed value nor a constant that is known."""
    return any(isinstance(value, fx.Node) and value not in call.sources for value in given)


def _concatenation(call: Call) -> Operation | None:
    node, stacks = call.node, call.name == "stack"
    axis = node.kwargs.get("dim", node.kwargs.get("axis", node.args[1] if len(node.args) > 1 else 0))
    parts = node.args[0] if node.args else node.kwargs.get("tensors")
    if not isinstance(parts, list | tuple) or not isinstance(axis, int) or axis == 0:
        return None
    constants: list[Tensor | None] = []
    for part in parts:
        if part in call.sources:
            constants.append(None)
            continue
        constant = _aligned(call, call.constant(part))
        if not isinstance(constant, Tensor):
            return None
        constants.append(constant)
    return Concatenation(axis, tuple(constants), stacks)


def _aligned(call: Call, constant: Any) -> Any:
    """A constant with one row for all images, if it was made with one for each: it is the same for any batch then.

    Raises `UnsupportedLayer` for one that differs between images, which no other batch would have.
    """
    if not isinstance(constant, Tensor) or not call.images:
        return constant
    values = [source.meta["value"] for source in call.sources]
    axes = max(value.ndim for value in values)
    rows = max(len(value) for value in values)
    if constant.ndim < axes or constant.ndim == 0 or len(constant) != rows or rows == 1:
        return constant
    by_image = constant.reshape(call.images, -1)
    if not torch.equal(by_image, by_image[:1].expand_as(by_image)):
        raise UnsupportedLayer("a constant takes part in it that differs between the images of a batch")
    return constant[: rows // call.images].clone()
