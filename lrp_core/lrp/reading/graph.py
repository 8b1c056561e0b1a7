"""A network as a list of steps, read through `torch.fx`, so that modules and plain function calls look alike.

Batch-norm is folded into the layer before it, or else after it (see `folding`). The model itself is only read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, fx, nn

from ...errors import UnsupportedLayer
from ..operations import Identity, Operation, Rearrangement
from ..steps import Step, leading_to
from .modules import Reader
from .moves import keeps_batch
from .preparation import evaluated
from .rewriting import rewritten
from .tracer import NeedsExample, Tracer


def trace(model: nn.Module, example: Tensor | None = None) -> list[Step]:
    """The steps of `model` in evaluation mode, in the order in which they run; the last one gives the output.

    With an `example`, two or more images, it is read with sizes known: for images of that size, and any number of
    them. Raises `UnsupportedLayer` for what cannot be traced, or for an operation that has no relevance rule, by its
    name; `NeedsExample` where it takes an example to tell.
    """
    return trace_logits(evaluated(model), example)[0]


@dataclass(frozen=True)
class Ending:
    """What a network makes of its logits at its end: how it is called, and the function."""

    says: str
    function: Callable[[Tensor], Tensor]


def trace_logits(model: nn.Module, example: Tensor | None = None) -> tuple[list[Step], Ending | None]:
    """The steps to the logits of a network that is in evaluation mode, and what it makes of them, if anything."""
    images = 0 if example is None else len(example)
    model = rewritten(model)
    nodes = _traced_nodes(model, example)
    reader = Reader(model, images)
    steps = _Steps(model, reader)
    memory = _Memory(nodes, reader)
    living = _living(nodes, reader, memory)
    ending = None
    for node in (n for n in nodes if n in living and not reader.is_constant(n)):
        if node.op == "placeholder":
            if steps.index:
                raise UnsupportedLayer(f"{type(model).__name__} takes several inputs; relevance is for networks of one")
            steps.index[node] = -1
        elif node.op == "output":
            result = _output_of(node, model)
            if result not in steps.index:
                raise UnsupportedLayer(f"{type(model).__name__} returns a constant: there is nothing to explain")
            return _needed(steps.steps, steps.index[result]), ending
        elif _is_final(node, reader):
            source = reader.sources(node)[0]
            ending = Ending(reader.describe(node), _ending_of(reader.name(node), reader.axis(node)))
            steps.index[node] = steps.index[source]
        else:
            steps.add(node)
            if reader.is_inplace(node):
                steps.index |= dict.fromkeys(memory.overwritten(node), steps.index[node])
    raise UnsupportedLayer(f"{type(model).__name__} returns nothing")


FINAL = {"softmax", "log_softmax", "sigmoid", "logsigmoid", "log_sigmoid"}
"""What turns logits into probabilities, or their logarithms, at the end of a classifier."""


def _is_final(node: fx.Node, reader: Reader) -> bool:
    """Whether a node turns the logits into the network's output, after which at most their shape is changed."""
    if reader.name(node) not in FINAL or len(node.users) != 1 or len(reader.sources(node)) != 1:
        return False
    if reader.axis(node) == 0:
        return False
    (user,) = node.users
    while user.op != "output":
        if not reader.aliases(user) or reader.is_inplace(user) or len(user.users) != 1:
            return False
        (user,) = user.users
    return True


def _ending_of(name: str, axis: int | None) -> Callable[[Tensor], Tensor]:
    if "softmax" in name:
        return lambda z: getattr(torch, name)(z, -1 if axis is None else axis)
    return torch.sigmoid if name == "sigmoid" else torch.nn.functional.logsigmoid


class _Steps:
    """The steps so far, and for each node the step that gives its value."""

    def __init__(self, model: nn.Module, reader: Reader) -> None:
        self.reader = reader
        self.steps: list[Step] = []
        self.index: dict[fx.Node, int] = {}
        self._moved: dict[fx.Node, tuple[fx.Node, Move]] = {}
        """Values whose images do not lie along the first axis, as moves of values whose images do."""

    def add(self, node: fx.Node) -> None:
        """Read a node. Raises `UnsupportedLayer`."""
        if isinstance(node.meta.get("value"), tuple | list):
            return  # each of its results has a node of its own
        operations, sources = self.reader.convert(node)
        if self.reader.images and isinstance(operations[0], Rearrangement | Identity) and len(operations) == 1:
            whole, sources = self._whole_move(node, operations[0], sources[0])
            if whole is None:
                return
            operations = [whole]
        for source in sources:
            if source in self._moved:
                raise UnsupportedLayer(
                    f"operation {node.name!r} works on values of which the images do not lie along the first axis"
                )
        reads = tuple(self.index[source] for source in sources)
        name = _name_of(node, self.steps)
        for i, operation in enumerate(operations):
            last = i == len(operations) - 1
            self.steps.append(Step(name if last else f"{name}.padding", operation, reads))
            reads = (len(self.steps) - 1,)
        self.index[node] = len(self.steps) - 1

    def _whole_move(
        self, node: fx.Node, operation: Rearrangement | Identity, source: fx.Node
    ) -> tuple[Operation | None, list[fx.Node]]:
        """A move, with those before it that had put the images elsewhere; None as long as they lie elsewhere."""
        before = self._moved.get(source)
        if before is None and isinstance(operation, Identity):
            return operation, [source]
        move = operation.function if isinstance(operation, Rearrangement) else _unmoved
        base, function = (source, move) if before is None else (before[0], _after(before[1], move))
        if not keeps_batch(function, base.meta["value"].shape, self.reader.images):
            self._moved[node] = (base, function)
            return None, []
        in_order = before is None and isinstance(operation, Rearrangement) and operation.in_order
        return Rearrangement(function, in_order=in_order, known=True), [base]


Move: TypeAlias = Callable[[Tensor], Tensor]


def _unmoved(a: Tensor) -> Tensor:
    return a


def _after(first: Move, second: Move) -> Move:
    return lambda a: second(first(a))


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


_RECORDING = threading.RLock()
"""torch.fx replaces what all modules' calls go through while it records: one recording at a time."""


def _traced_nodes(model: nn.Module, example: Tensor | None) -> list[fx.Node]:
    try:
        with _RECORDING, torch.no_grad():
            return list(Tracer(example).trace(model).nodes)
    except UnsupportedLayer:
        raise
    except (
        fx.proxy.TraceError,
        TypeError,
        RuntimeError,
        ValueError,
        AttributeError,
        NameError,
        NotImplementedError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        refused = (
            f"{type(model).__name__} cannot be traced by torch.fx ({reason}): write its forward "
            "without Python branches on values"
        )
        raise (NeedsExample if example is None else UnsupportedLayer)(refused) from error


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
    return leading_to(steps, last)[0]
