"""A network as a list of steps, read through `torch.fx`, so that modules and plain function calls look alike.

Batch-norm is folded into the layer before it, or else after it (see `folding`). The model itself is only read.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

from torch import fx, nn

from ..errors import UnsupportedLayer
from ..layers import Frame, Scatter
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
    living = _living(nodes, reader)
    for node in (n for n in nodes if n in living and not reader.is_constant(n)):
        if node.op == "placeholder":
            if index:
                raise UnsupportedLayer(f"{type(model).__name__} takes several inputs; relevance is for networks of one")
            index[node] = -1
        elif node.op == "output":
            return _needed(steps, index[_output_of(node, model)])
        else:
            operation, sources = reader.convert(node)
            steps.append(Step(_name_of(node, steps), operation, tuple(index[source] for source in sources)))
            index[node] = len(steps) - 1
            if reader.is_inplace(node):
                index[sources[0]] = index[node]
    raise UnsupportedLayer(f"{type(model).__name__} returns nothing")


def readers(steps: list[Step], i: int) -> list[int]:
    """The steps that read the output of step `i`."""
    return [j for j, step in enumerate(steps) if i in step.sources]


class _Tracer(fx.Tracer):
    """Stops at the layers of this project too, not only at torch's own."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, Scatter | Frame) or super().is_leaf_module(module, qualified_name)


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
        if module._forward_hooks:
            raise UnsupportedLayer(f"layer {name!r} has a forward hook, which an explanation would not see: remove it")


def _living(nodes: list[fx.Node], reader: Reader) -> set[fx.Node]:
    """What the output depends on, and the in-place operations on any of it."""
    living: set[fx.Node] = set()
    for node in reversed(nodes):
        changed = node.all_input_nodes if reader.is_inplace(node) else []
        read = [*node.users, *changed, *(user for other in changed for user in other.users)]
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
