"""What a model does, recorded by `torch.fx`; with an example batch, sizes are numbers and every value is known.

Without an example, values are symbols: that is enough for networks whose forward asks for no size. With one, the
recording runs the model beside it, so that Python may branch on sizes, count with them and unpack them. Only
branches on values remain refused.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from ...errors import UnsupportedLayer
from ..attention import additive, by_width, causal
from .registry import registered
from .sizes import Sizes, sizes_of


class NeedsExample(UnsupportedLayer):
    """A network that can be read only with the sizes of its values known."""


ATTRIBUTES = {"ndim", "dtype", "device", "is_cuda", "layout", "is_sparse", "is_quantized", "is_nested", "itemsize"}
NUMBERS = {
    *("dim", "ndimension", "numel", "nelement", "is_floating_point", "is_complex", "is_contiguous", "stride"),
    *("element_size", "get_device", "is_tensor", "is_same_size"),
}
"""What may be asked of a value without looking at what it holds."""
CONSTANTS = {
    *("new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"),
    *("zeros_like", "ones_like", "full_like", "empty_like"),
}
"""Calls that take nothing of a value but its shape and type."""
PARTS = {"split", "chunk", "unbind", "tensor_split", "split_with_sizes", "unsafe_chunk", "unsafe_split"}
"""Calls that give several views of a value."""


def _add_product(base: Any, first: Any, second: Any, *, value: Any = 1) -> Any:
    return base + (first * second if value == 1 else value * first * second)


def _add_quotient(base: Any, first: Any, second: Any, *, value: Any = 1) -> Any:
    return base + (first / second if value == 1 else value * first / second)


def _masked_fill(values: Any, mask: Any, value: Any) -> Any:
    return torch.where(mask, value, values)


SPELLED_OUT: dict[str, Callable[..., Any]] = {
    "addcmul": _add_product,
    "addcdiv": _add_quotient,
    "masked_fill": _masked_fill,
}
"""Calls that are several steps, as these steps."""


def name_of(node: fx.Node) -> str:
    """The name of the function or method that a node calls."""
    if node.op == "call_method":
        return str(node.target)
    return function_name(node.target) if node.op == "call_function" else ""


def function_name(function: Any) -> str:
    """The name of a function; of an operator of a `torch.export` program that of the operator."""
    if isinstance(function, torch._ops.OpOverload):
        name: str = function.overloadpacket.__name__
        return name
    return str(getattr(function, "__name__", ""))


class Extremes(NamedTuple):
    """What a maximum or minimum along an axis gives."""

    values: Any
    indices: Any


_EXTREMES = {"max": torch.amax, "min": torch.amin}


class Part:
    """One of the several views that a call gives: `Part(1, torch.chunk, (2,), {})(x)` is the second half of x."""

    __name__ = "part"

    def __init__(self, index: int, function: Callable[..., Any], arguments: Any, options: Any) -> None:
        self.index, self.function, self.arguments, self.options = index, function, arguments, options

    def __call__(self, value: Tensor) -> Tensor:
        part: Tensor = self.function(value, *self.arguments, **self.options)[self.index]
        return part


class Proxy(fx.Proxy):
    """A value in the recording. Tells `x += y`, which overwrites x, from `x = x + y`."""

    def _overwriting(self, function: Callable[..., Any], other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    def __iadd__(self, other: Any) -> fx.Proxy:
        return self._overwriting(operator.iadd, other)

    def __isub__(self, other: Any) -> fx.Proxy:
        return self._overwriting(operator.isub, other)

    def __imul__(self, other: Any) -> fx.Proxy:
        return self._overwriting(operator.imul, other)

    def __itruediv__(self, other: Any) -> fx.Proxy:
        return self._overwriting(operator.itruediv, other)


class KnownProxy(Proxy):
    """A value in the recording that is known for the example batch."""

    @property
    def known(self) -> Tensor:
        value: Tensor = self.node.meta["value"]
        return value

    @property
    def shape(self) -> Sizes:
        return sizes_of(self.known, self.tracer.images)  # type: ignore[attr-defined]

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def __getattr__(self, name: str) -> Any:
        if name in ATTRIBUTES:
            return getattr(self.known, name)
        if name == "requires_grad":
            return False
        return super().__getattr__(name)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[fx.Proxy]:
        return iter(
            [self.tracer.create_proxy("call_function", operator.getitem, (self, i), {}) for i in range(len(self))]
        )


class Tracer(fx.Tracer):
    """Records a model, stopping at torch's own layers and at registered ones."""

    def __init__(self, example: Tensor | None = None) -> None:
        super().__init__()
        self.example = example
        self.images = 0 if example is None else len(example)
        self._running = False

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        if registered(module) is not None:
            return True
        return "forward" not in vars(module) and super().is_leaf_module(module, qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Proxy(node, self) if self.example is None else KnownProxy(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Parameters are constants: what is computed from them alone is computed at once."""
        return attr_val

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """The network's one input; arguments that have a default keep it."""
        name = type(self.root).__name__
        parameters = list(inspect.signature(self.root.forward).parameters.values())
        needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        if len(needed) > 1:
            raise UnsupportedLayer(f"{name} takes several inputs; relevance is for networks of one")
        if not parameters or parameters[0].kind is inspect.Parameter.VAR_KEYWORD:
            raise UnsupportedLayer(f"{name} takes no input: there is nothing to explain")
        first = (needed or parameters)[0]
        given = first.name if first.kind is not inspect.Parameter.VAR_POSITIONAL else "x"
        proxy = self.create_proxy("placeholder", given, (), {})
        if self.example is not None:
            proxy.node.meta["value"] = self.example.clone()

        def forward(root: Any, x: Any) -> Any:
            by_name = first.kind in (first.KEYWORD_ONLY, first.POSITIONAL_OR_KEYWORD)
            return type(root).forward(root, **{first.name: x}) if by_name else type(root).forward(root, x)

        return (forward if "forward" not in vars(self.root) else _instance_forward), [self.root, proxy]

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor):
            return self._constant(a)
        return super().create_arg(a)

    def _constant(self, tensor: Tensor) -> fx.Node:
        named = (*self.root.named_parameters(), *self.root.named_buffers())
        name = next((name for name, other in named if other is tensor), None) or self.tensor_attrs.get(tensor)
        if name is None:
            name = self.get_fresh_qualname("_tensor_constant")
            self.tensor_attrs[tensor] = name
            setattr(self.root, name, tensor.detach())
        return self.create_node("get_attr", name, (), {})

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if self._running or not _holds_proxy((args, kwargs)):
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, name: Any = None, type_expr: Any = None, *rest: Any
    ) -> Any:
        if kind == "call_function" and _is_own_python(target):
            return target(*args, **kwargs)
        called = ""
        if kind in ("call_function", "call_method"):
            called = target if isinstance(target, str) else function_name(target)
        if called in ("truediv", "div") and isinstance(args[0], int | float):
            return args[1].reciprocal() * args[0]
        spelled_out = {**SPELLED_OUT, "scaled_dot_product_attention": self._attention}.get(called)
        if spelled_out is not None:
            return spelled_out(*args, **kwargs)
        if called in ("__setitem__", "setitem", "copy_", "index_put_", "set_"):
            raise fx.proxy.TraceError("it assigns to a part of a tensor")
        if self.example is None or kind not in ("call_function", "call_method", "call_module"):
            return super().create_proxy(kind, target, args, kwargs, name, type_expr, *rest)
        if called in PARTS:
            return self._parts(kind, target, args, kwargs)
        if called in ("expand_as", "view_as", "reshape_as", "type_as"):
            given = [*args, *kwargs.values()]
            how = (given[1].dtype,) if called == "type_as" else given[1].shape
            method = "to" if called == "type_as" else called.removesuffix("_as")
            return self.create_proxy("call_method", method, (given[0], *how), {})
        value = self._value(kind, target, args, kwargs)
        if called in _EXTREMES and isinstance(value, tuple):
            places = torch.argmax if called == "max" else torch.argmin
            return Extremes(
                self.create_proxy("call_function", _EXTREMES[called], args, kwargs),
                self.create_proxy("call_function", places, args, kwargs),
            )
        if called in {*CONSTANTS, *NUMBERS, "size", "_assert"}:
            return _as_sizes(args[0], args[1:], kwargs) if called == "size" else value
        if not isinstance(value, Tensor | tuple | list):
            raise fx.proxy.TraceError(f"it takes {called or target!r} of a value")
        proxy = super().create_proxy(kind, target, args, kwargs, name, type_expr, *rest)
        proxy.node.meta["value"] = value
        return proxy if isinstance(value, Tensor) else self._several(proxy, value)

    def _attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        """torch's scaled_dot_product_attention in single steps."""
        if enable_gqa or dropout_p:
            raise UnsupportedLayer("attention with enable_gqa or dropout in evaluation has no relevance rule")
        scores = self.create_proxy("call_function", by_width, (query, scale), {}) @ key.transpose(-2, -1)
        if is_causal:
            scores = self.create_proxy("call_function", causal, (scores,), {})
        return masked(scores, attn_mask, allowed=True).softmax(-1) @ value

    def _several(self, proxy: Any, value: Any) -> Any:
        """The results of a call that gives several: each a value of its own."""
        return tuple(self.create_proxy("call_function", operator.getitem, (proxy, i), {}) for i in range(len(value)))

    def _parts(self, kind: str, target: Any, args: Any, kwargs: Any) -> tuple[Any, ...]:
        """Each of the views that a call gives, as a view by itself."""
        function = getattr(Tensor, target) if kind == "call_method" else target
        value, *arguments = args if args else (kwargs["input"],)
        options = {key: given for key, given in kwargs.items() if key != "input"}
        number = len(self._value("call_function", function, (value, *arguments), options))
        return tuple(
            self.create_proxy("call_function", Part(i, function, tuple(arguments), options), (value,), {})
            for i in range(number)
        )

    def _value(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        """What the call gives for the example batch."""
        given, named = map_aggregate((args, kwargs), _known)
        self._running = True
        try:
            if kind == "call_module":
                return self.root.get_submodule(target).forward(*given, **named)
            return getattr(given[0], target)(*given[1:], **named) if kind == "call_method" else target(*given, **named)
        finally:
            self._running = False


def masked(scores: Any, mask: Any, *, allowed: bool = False) -> Any:
    """Attention's scores less what a mask keeps out: where it is true, or with `allowed` where it is not, or added.

    Raises `NeedsExample` for one that is computed, as long as its type is not known.
    """
    if mask is None:
        return scores
    if isinstance(mask, fx.Proxy) and not isinstance(mask, KnownProxy):
        raise NeedsExample("attention by a mask that is computed is read with an example")
    if mask.dtype == torch.bool:
        mask = ~mask if allowed else mask
        return scores + additive(mask) if isinstance(mask, Tensor) else scores.masked_fill(mask, -torch.inf)
    return scores + mask


def _instance_forward(root: Any, x: Any) -> Any:
    return root.forward(x)


def _known(value: Any) -> Any:
    if not isinstance(value, fx.Proxy):
        return value
    if isinstance(value, KnownProxy):
        return value.known
    attribute: Any = value  # x.T, of which torch.fx does not know yet whether it will be called
    return getattr(attribute.root.known, attribute.attr)


def _as_sizes(value: Any, args: Any, kwargs: Any) -> Any:
    return value.size(*args, **kwargs)


def _holds_proxy(arguments: Any) -> bool:
    proxies = []
    map_aggregate(arguments, lambda a: proxies.append(a) if isinstance(a, fx.Proxy) else None)
    return bool(proxies)


def _is_own_python(function: Any) -> bool:
    """Whether a function that was marked as one whole for torch.fx is one of Python's, and no operation of torch's."""
    return inspect.isfunction(function) and str(function.__module__).split(".")[0] not in ("torch", "lrp_core")
