"""Products of two values that are both computed: gates, attention, and which factor is the signal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx, nn

from ..attention import Product, Softmax, by_width, causal
from ..gates import Gate, GatedHalves, Quotient
from ..operations import Activation, Operation
from .joins import PREDICATES
from .moves import ANY_MOVE, CASTS
from .tracer import name_of

if TYPE_CHECKING:
    from .calls import Call
    from .modules import Reader

GATES = {"mul", "imul", "mul_", "multiply"}
MATRIX_PRODUCTS = {"matmul", "bmm"}
STEERING = {
    **dict.fromkeys(("softmax", "sigmoid", "hardsigmoid", "reciprocal", "rsqrt"), 3),
    **dict.fromkeys(("relu6", "tanh", "hardtanh", "clamp", "erf"), 2),
    **dict.fromkeys(("relu", "gelu", "silu", "elu", "hardswish", "mish", "leaky_relu", "softplus", "softsign"), 1),
}
"""How surely a function says that what it gives is a gate; of two factors, the one that says so more surely is."""
SCALING = {"add", "radd", "sub", "rsub", "mul", "div", "truediv", "add_", "sub_", "mul_", "div_", "iadd", "imul"}
THROUGH_MASKS = {*ANY_MOVE, *CASTS, *SCALING, "sum", "clamp", "clamp_min", "clip", "maximum", "contiguous", "mean"}
THROUGH = {*ANY_MOVE, "dropout", "contiguous", "clone", "to", "type_as", "float", "interpolate", "pad"}


def product(call: Call) -> Operation | None:
    """The product of two computed values that a call is, before it is known which of them is the signal."""
    if call.name == "einsum" and len(call.sources) == 2:
        return _einsum(call.node.args)
    if len(call.node.args) != 2 or len(call.sources) != 2:
        return None
    if call.name in GATES:
        return Gate()
    return Product() if call.name in MATRIX_PRODUCTS else None


def _einsum(arguments: Any) -> Product | None:
    """A product of two with every index named, the batch first in all three."""
    if len(arguments) != 3 or not isinstance(arguments[0], str):
        return None
    equation = arguments[0].replace(" ", "")
    sides, _, out = equation.partition("->")
    a, _, v = sides.partition(",")
    named = all(len(set(part)) == len(part) and part.isalpha() for part in (a, v, out))
    if not named or not a[0] == v[0] == out[0] or not (set(a) <= {*v, *out} and set(v) <= {*a, *out}):
        return None
    return Product(equation=(a, v, out))


def with_signal(operation: Gate | Product, sources: list[fx.Node], reader: Reader) -> Operation:
    """The product, told which factor is the signal: the one that is less surely a gate, if there is one."""
    masks = [is_mask(source, reader) for source in sources]
    if isinstance(operation, Quotient):
        return replace(operation, mask=masks[1])
    if isinstance(operation, Gate) and sum(masks) == 1:
        return replace(operation, signal=masks.index(False), mask=True)
    first, second = (_steering(source, reader) for source in sources)
    if isinstance(operation, Product):
        first, second = (rank if rank == STEERING["softmax"] else 0 for rank in (first, second))
    signal = None if first == second else int(first > second)
    return replace(operation, signal=signal)


def is_mask(node: fx.Node, reader: Reader) -> bool:
    """Whether values say what is true of others, or count that."""
    while True:
        name = name_of(node).rstrip("_")
        if name in PREDICATES or name_of(node) in PREDICATES:
            return True
        sources = reader.sources(node)
        if name not in THROUGH_MASKS or len(sources) != 1:
            return False
        (node,) = sources


def weighs(node: fx.Node, reader: Reader) -> bool:
    """Whether a softmax weighs anything: whether its values find their way into a product, as those of attention."""
    seen, waiting = {node}, [node]
    while waiting:
        for user in waiting.pop().users:
            factors = len(reader.sources(user))
            if factors == 2 and name_of(user) in GATES | MATRIX_PRODUCTS | {"einsum"}:
                return True
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return False


def _steering(node: fx.Node, reader: Reader) -> int:
    """How surely a value comes out of something that makes gates, at most moved or scaled by a constant after it."""
    while True:
        name = reader.name(node).rstrip("_")
        if name in STEERING:
            return STEERING[name]
        sources = reader.sources(node)
        module = reader.modules.get(str(node.target)) if node.op == "call_module" else None
        passing = name in THROUGH or name_of(node) in SCALING or isinstance(module, nn.Identity | nn.Dropout)
        if not passing or len(sources) != 1:
            return 0
        (node,) = sources


def elementwise(name: str, arguments: list[Any], options: dict[str, Any]) -> Operation | None:
    """Softmax and GLU as calls."""
    match name:
        case "softmax":
            axis = options.get("dim", arguments[0] if arguments else None)
            return Softmax(axis) if isinstance(axis, int) else None
        case "glu":
            return GatedHalves(int(options.get("dim", arguments[0] if arguments else -1)))
        case "by_width" | "causal":
            function: Callable[..., Tensor] = by_width if name == "by_width" else causal
            return Activation(lambda a: function(a, *arguments))
    return None
