"""A network as a list of steps, read through `torch.fx`, so that modules and plain function calls look alike.

Batch-norm is folded into the layer before it, or else after it (see `folding`). The model itself is only read.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import fx, nn

from ..errors import UnsupportedLayer
from ..layers import Frame, Gather, Scatter
from .affine import Affine
from .convert import Reader
from .operations import Operation


@dataclass(frozen=True, eq=False)
class Step:
    """An operation, and where it stands: `sources` are the steps whose outputs it reads, -1 is the network's input."""

    name: str
    operation: Affine | Operation
    sources: tuple[int, ...]


def trace(model: nn.Module) -> list[Step]:
    """The steps of `model` in evaluation mode, in the order in which they run; the last one gives the output.

    Raises `UnsupportedLayer` for what cannot be traced, or for an operation that has no relevance rule, by
    its name.
    """
    _check_hooks(model)
    evaluated = _evaluated(model)
    nodes = _traced_nodes(evaluated)
    reader = Reader(evaluated)
    steps: list[Step] = []
    index: dict[fx.Node, int] = {}
    memory = _Memory(nodes, reader)
    living = _living(nodes, reader, memory)
    for node in (n for n in nodes if n in living and not reader.is_constant(n)):
        if node.op == "placeholder":
            if index:
                raise UnsupportedLayer(f"{type(model).__name__} takes several inputs; relevance is for networks of one")
            index[node] = -1
        elif node.op == "output":
            result = _output_of(node, model)
            if result not in index:
                raise UnsupportedLayer(f"{type(model).__name__} returns a constant: there is nothing to explain")
            return _needed(steps, index[result])
        else:
            operation, sources = reader.convert(node)
            steps.append(Step(_name_of(node, steps), operation, tuple(index[source] for source in sources)))
            index[node] = len(steps) - 1
            if reader.is_inplace(node):
                index |= dict.fromkeys(memory.overwritten(node), index[node])
    raise UnsupportedLayer(f"{type(model).__name__} returns nothing")


class _Memory:
    """Which nodes share the memory of their values, so that an in-place operation on one is seen through the others."""

    def __init__(self, nodes: list[fx.Node], reader: Reader) -> None:
        self.order = {node: i for i, node in enumerate(nodes)}
        self.base = {node: node for node in nodes}
        self.same = dict(self.base)
        for node in nodes:
            sources = reader.sources(node)
            if sources and reader.aliases(node):
                self.base[node] = self.base[sources[0]]
            if sources and reader.aliases(node) == "same":
                self.same[node] = self.same[sources[0]]

    def sharing(self, node: fx.Node) -> list[fx.Node]:
        """All nodes whose values lie where those of `node` do, it among them."""
        return [other for other in self.order if self.base[other] is self.base[node]]

    def read_later(self, other: fx.Node, node: fx.Node) -> bool:
        """Whether anything after `node` reads `other`."""
        return any(self.order[user] > self.order[node] for user in other.users)

    def overwritten(self, node: fx.Node) -> list[fx.Node]:
        """The nodes whose values are those of `node`, once it has overwritten its source.

        Raises `UnsupportedLayer` if others, that are views of them or that they are views of, are read later.
        """
        before = [other for other in self.sharing(node) if self.order[other] < self.order[node]]
        equal = [other for other in before if self.same[other] is self.same[node]]
        for other in before:
            if other not in equal and self.read_later(other, node):
                raise UnsupportedLayer(
                    f"operation {node.name!r} changes in place what it shares with {other.name!r}, one a view of the "
                    "other, and that is read later: write it out of place"
                )
        return equal


def readers(steps: list[Step], i: int) -> list[int]:
    """The steps that read the output of step `i`."""
    return [j for j, step in enumerate(steps) if i in step.sources]


class _Proxy(fx.Proxy):
    """Tells `x += y`, which overwrites x, from `x = x + y`."""

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


class _Tracer(fx.Tracer):
    """Stops at the layers of this project too, not only at torch's own."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, Scatter | Frame | Gather) or super().is_leaf_module(module, qualified_name)


def _traced_nodes(model: nn.Module) -> list[fx.Node]:
    try:
        return list(_Tracer().trace(model).nodes)
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError, AttributeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise UnsupportedLayer(
            f"{type(model).__name__} cannot be traced by torch.fx ({reason}): write its forward "
            "without Python branches on values"
        ) from error


def _evaluated(model: nn.Module) -> nn.Module:
    """`model` in evaluation mode: a copy that shares its tensors, so that branches on `training` go the right way."""
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    twin = copy.deepcopy(model, shared).eval()
    return nn.Sequential(twin) if type(twin).__module__.startswith("torch.nn") and not list(twin.children()) else twin


def _check_hooks(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise UnsupportedLayer(f"layer {name!r} has a forward hook, which an explanation would not see: remove it")


def _living(nodes: list[fx.Node], reader: Reader, memory: _Memory) -> set[fx.Node]:
    """What the output depends on, and the in-place operations on any of it."""
    living: set[fx.Node] = set()
    for node in reversed(nodes):
        changed = memory.sharing(node) if reader.is_inplace(node) else []
        read = [*node.users, *(user for other in changed for user in other.users)]
        if node.op in ("output", "placeholder") or any(other in living for other in read):
            living.add(node)
    return living


def _output_of(node: fx.Node, model: nn.Module) -> fx.Node:
    result = node.args[0]
    if not isinstance(result, fx.Node):
        raise UnsupportedLayer(f"{type(model).__name__} returns {type(result).__name__}, not one tensor of logits")
    return result


def _name_of(node: fx.Node, steps: list[Step]) -> str:
    """The module's name, or that of the function call; a second use of a module is told from the first."""
    name = str(node.target) if node.op == "call_module" else node.name
    again = sum(step.name == name or step.name.startswith(f"{name}@") for step in steps)
    return f"{name}@{again + 1}" if again else name


def _needed(steps: list[Step], last: int) -> list[Step]:
    """Only the steps that the last one depends on."""
    if last < 0:
        raise UnsupportedLayer("the network returns its input: there is nothing to explain")
    needed = {last}
    for i in range(last, -1, -1):
        if i in needed:
            needed.update(source for source in steps[i].sources if source >= 0)
    place = {-1: -1} | {old: new for new, old in enumerate(sorted(needed))}
    return [replace(steps[i], sources=tuple(place[source] for source in steps[i].sources)) for i in sorted(needed)]
