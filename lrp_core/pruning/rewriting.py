"""A smaller network out of the graph of a larger one: dense layers that read inputs keep the columns of kept ones.

What reads the input as a whole, a convolution above all, gets it on a canvas, with removed inputs in it.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ..errors import UnsupportedLayer
from ..lrp.reading.tracer import name_of
from .crop import CONVOLUTIONS, Convolution, needed_channels, take_channels, take_columns
from .layers import Gather, Scatter
from .mask import PixelMask, crop_mask
from .paths import DROPOUTS, Joined, Paths, asks_for_batch_size, evaluated_copy, follow, trace
from .sequences import check_hooks, named_layers

PASSING = (nn.Identity, *DROPOUTS)
"""Layers behind which the inputs are as they were."""


def slice_paths(network: nn.Module, mask: PixelMask, fill: float) -> tuple[nn.Module, bool]:
    """`network` on the kept inputs, and whether any part of it still reads them on a canvas.

    Raises `UnsupportedLayer` for a network that cannot be traced, or in which something else than a dense or
    convolutional layer reads inputs first, by its name.
    """
    for name, layer in network.named_modules():
        check_hooks(name or type(network).__name__, layer)
    twin = evaluated_copy(network)
    graph = trace(twin)
    _name_dropouts(twin, graph)
    paths = follow(twin, graph, mask.shape)
    if len(mask) == mask.n_inputs:  # the very same computation, to the last bit
        views = [("view", nn.Unflatten(1, mask.shape))] if len(mask.shape) > 1 else []
        return named_layers([*views, ("network", copy.deepcopy(network))]), bool(paths.whole)
    if not paths.dense:
        return _on_canvas(network, twin, graph, paths, mask, fill)
    _Rewriter(twin, graph, paths, mask, fill).rewrite()
    small = fx.GraphModule(twin, graph, type(network).__name__)
    small.delete_all_unused_submodules()
    return small, bool(paths.whole)


def _on_canvas(
    network: nn.Module, twin: nn.Module, graph: fx.Graph, paths: Paths, mask: PixelMask, fill: float
) -> tuple[nn.Module, bool]:
    """`network` behind a layer that puts kept inputs back into their places, and whether it is as it was.

    It is not if its first convolutions lose the channels that have no kept input.
    """
    copied, canvas = copy.deepcopy(network), mask
    readers = _readers(copied, twin, graph, paths)
    needed = [needed_channels(layer, mask, fill) for layer in readers.values()]
    loses = bool(needed) and all(channels is not None for channels in needed)
    if loses:
        for name, layer in readers.items():
            copied.set_submodule(name, take_channels(layer, mask.channels))
        canvas = crop_mask(mask, [slice(None)] * (len(mask.shape) - 1), mask.channels)
    body = named_layers([("scatter", Scatter(canvas.indices, canvas.shape, fill)), ("network", copied)])
    return body, not loses


def _readers(network: nn.Module, twin: nn.Module, graph: fx.Graph, paths: Paths) -> dict[str, Convolution]:
    """The layers of `network` that read the inputs, by name, if these are convolutions and the inputs come as they are.

    Empty for any other network: where inputs are moved about first, or weights are used a second time.
    """
    before = set(paths.known)
    users = {user for node in before for user in node.users}
    moved = [node for node in before if node.op != "placeholder"]
    if any(node.op != "call_module" or not isinstance(twin.get_submodule(str(node.target)), PASSING) for node in moved):
        return {}
    if any(not asks_for_batch_size(user) for user in users - before - set(paths.whole)):
        return {}
    modules = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    weights = Counter(id(parameter) for _, parameter in network.named_parameters(remove_duplicate=False))
    readers = {}
    for node in paths.whole:
        layer = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, CONVOLUTIONS) or modules[str(node.target)] > 1 or weights[id(layer.weight)] > 1:
            return {}
        readers[str(node.target)] = layer
    return readers


def is_sliced(network: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether every layer that reads inputs of `shape` first can lose columns, so that fewer inputs cost less."""
    twin = evaluated_copy(network)
    try:
        graph = trace(twin)
        _name_dropouts(twin, graph)
        paths = follow(twin, graph, shape)
        _check_shared(twin, graph, paths)
    except UnsupportedLayer:
        return False
    return bool(paths.dense) and not paths.whole


class _Rewriter:
    """Changes the graph and the modules of `twin` in place; its input is then [n, k]."""

    def __init__(self, twin: nn.Module, graph: fx.Graph, paths: Paths, mask: PixelMask, fill: float) -> None:
        self.twin, self.graph, self.paths, self.mask, self.fill = twin, graph, paths, mask, fill
        self.kept = next(node for node in graph.nodes if node.op == "placeholder")
        self.place = torch.full((mask.n_inputs + 1,), -1)
        self.place[mask.indices + 1] = torch.arange(len(mask))
        self.made: dict[tuple[Any, ...], fx.Node] = {}
        """What layers read alike they read together: the same inputs, after one and the same dropout."""
        self.sliced: dict[fx.Node, fx.Node] = {}
        """What stands for each dense layer now, for those that read one beside inputs."""

    def rewrite(self) -> None:
        _check_shared(self.twin, self.graph, self.paths)
        for node, vector in self.paths.dense.items():
            self._slice(node, vector)
        reads = set(self.made.values())
        for node in list(self.graph.nodes):
            asks = node not in reads and asks_for_batch_size(node)
            if asks and node.all_input_nodes[0] in self.paths.known:
                node.replace_input_with(node.all_input_nodes[0], self.kept)
                reads.add(node)
        self._erase_unread()
        left = [user for user in self.kept.users if user not in reads]
        if left:
            with self.graph.inserting_after(self.kept):
                name = _added(self.twin, "scatter", Scatter(self.mask.indices, self.mask.shape, self.fill))
                canvas = self.graph.call_module(name, (self.kept,))
            for user in left:
                user.replace_input_with(self.kept, canvas)
        self.graph.lint()

    def _slice(self, node: fx.Node, vector: Joined) -> None:
        """Let a dense layer read the kept inputs alone."""
        layer = _layer_of(self.twin, node)
        parts, columns, constant = self._select(vector)
        small = take_columns(layer, columns, constant, shifts=self.fill != 0)
        with self.graph.inserting_before(node):
            read = [self._gathered(part) if isinstance(part, Tensor) else self.sliced.get(part, part) for part in parts]
            value = read[0] if len(read) == 1 else self._once(("cat", *read), lambda: self._cat(read))
            for dropout in vector.dropouts:
                value = self._once((dropout, value), partial(self.graph.call_module, dropout, (value,)))
            if node.op == "call_module":
                name = str(node.target)
                self.twin.set_submodule(name, small)
            else:
                name = _added(self.twin, f"{node.name}_sliced", small)
            sliced = self._once((node,), partial(self.graph.call_module, name, (value,)))
        node.replace_all_uses_with(sliced)
        self.graph.erase_node(node)
        self.sliced[node] = sliced

    def _once(self, key: tuple[Any, ...], make: Callable[[], fx.Node]) -> fx.Node:
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def _cat(self, parts: list[fx.Node]) -> fx.Node:
        joined: fx.Node = self.graph.call_function(torch.cat, (parts, 1))
        return joined

    def _gathered(self, positions: Tensor) -> fx.Node:
        """The kept inputs at these positions, all of them as they come."""
        if torch.equal(positions, torch.arange(len(self.mask))):
            kept: fx.Node = self.kept
            return kept

        def make() -> fx.Node:
            return self.graph.call_module(_added(self.twin, "inputs", Gather(positions)), (self.kept,))

        return self._once(("gather", *positions.tolist()), make)

    def _select(self, vector: Joined) -> tuple[list[Tensor | fx.Node], Tensor, Tensor]:
        """What the layer reads now, positions of kept inputs or a node; which columns; and what the others hold."""
        parts: list[Tensor | fx.Node] = []
        columns: list[Tensor] = []
        constant = torch.full((len(vector),), self.fill, dtype=torch.float64)
        start = 0
        for part in vector.parts:
            if isinstance(part, Tensor):
                constant[start : start + len(part)][part == 0] = 0
                positions = self.place[part]
                columns.append(start + (positions >= 0).nonzero().flatten())
                parts.append(positions[positions >= 0])
                start += len(part)
            else:
                node, width = part
                columns.append(torch.arange(start, start + width))
                parts.append(node)
                start += width
        return parts, torch.cat(columns), constant

    def _erase_unread(self) -> None:
        """Take out what stood before the layers and is not read any more."""
        for node in reversed(list(self.graph.nodes)):
            is_size = node in self.paths.values and not isinstance(self.paths.values[node], Tensor)
            idle = node in self.paths.known or is_size or node.op == "get_attr"
            if idle and not node.users and node.op not in ("placeholder", "output"):
                self.graph.erase_node(node)


def _layer_of(twin: nn.Module, node: fx.Node) -> nn.Linear:
    """The dense layer that a node is, made of its parameters if it is a function."""
    if node.op == "call_module":
        layer = twin.get_submodule(str(node.target))
        assert isinstance(layer, nn.Linear)
        return layer
    given = inspect.signature(_linear).bind(*node.args, **node.kwargs).arguments
    weight, bias = (_parameter(twin, given.get(name)) for name in ("weight", "bias"))
    if weight is None or (bias is None and given.get("bias") is not None):
        raise UnsupportedLayer(
            f"operation 'linear' ({node.name}) reads inputs with weights that are not parameters: use nn.Linear"
        )
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = weight
    if bias is not None:
        layer.bias = bias
    return layer


def _linear(input: Any, weight: Any, bias: Any = None) -> None:
    """The arguments of `torch.nn.functional.linear`, which has no signature to ask for."""


def _parameter(twin: nn.Module, node: Any) -> nn.Parameter | None:
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    owner, _, name = str(node.target).rpartition(".")
    tensor = getattr(twin.get_submodule(owner), name)
    return tensor if isinstance(tensor, nn.Parameter) else None


def _check_shared(twin: nn.Module, graph: fx.Graph, paths: Paths) -> None:
    """Raise `UnsupportedLayer` for a first layer whose weights are used elsewhere too: only one could shrink."""
    uses: Counter[int] = Counter()
    for node in graph.nodes:
        if node.op == "call_module":
            uses.update({id(parameter) for parameter in twin.get_submodule(str(node.target)).parameters()})
        elif node.op == "get_attr":
            parameter = _parameter(twin, node)
            uses.update({id(parameter): len(node.users)} if parameter is not None else {})
    for node in paths.dense:
        layer = _layer_of(twin, node)
        if any(uses[id(parameter)] > 1 for parameter in layer.parameters()):
            name = str(node.target) if node.op == "call_module" else node.name
            raise UnsupportedLayer(
                f"layer {name!r} reads inputs, and its weights are used elsewhere too: give it weights of its own"
            )


def _name_dropouts(twin: nn.Module, graph: fx.Graph) -> None:
    """Make layers of functional dropouts, which a graph would else hold in one mode forever.

    Raises `UnsupportedLayer` if training takes another way than evaluation in anything else.
    """
    training = list(trace(twin.train()).nodes)
    twin.eval()
    evaluating = list(graph.nodes)
    if [(node.op, node.target) for node in training] != [(node.op, node.target) for node in evaluating]:
        raise UnsupportedLayer(
            f"{type(twin).__name__} takes another path in training than in evaluation: only one could be kept"
        )
    training_dependent = [
        a for a, b in zip(evaluating, training, strict=True) if repr((a.args, a.kwargs)) != repr((b.args, b.kwargs))
    ]
    for node in training_dependent:
        if node.target is not F.dropout:
            raise UnsupportedLayer(
                f"operation {name_of(node)!r} ({node.name}) is told whether the network trains: use a layer of torch.nn"
            )
    for node in training_dependent:
        bound = inspect.signature(F.dropout).bind(*node.args, **node.kwargs)
        bound.apply_defaults()
        dropout = nn.Dropout(bound.arguments["p"], bound.arguments["inplace"]).eval()
        with graph.inserting_before(node):
            layer = graph.call_module(_added(twin, f"{node.name}_layer", dropout), (bound.arguments["input"],))
        node.replace_all_uses_with(layer)
        graph.erase_node(node)


def _added(twin: nn.Module, name: str, layer: nn.Module) -> str:
    """Add a layer, under a name that is free. Gives the name."""
    while hasattr(twin, name):
        name += "_"
    twin.add_module(name, layer)
    return name
