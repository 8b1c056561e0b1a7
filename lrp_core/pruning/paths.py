"""What a network does with its inputs before its first layers, followed through `torch.fx`: residual and functional
networks, several paths from the input, parts of it, concatenations.

A label goes along with every input, so that each first layer tells which input each of its columns reads. Only what
stands before the first layers has to be known; behind them anything may come that can be traced.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ..errors import InputError, UnsupportedLayer
from ..lrp.reading.registry import registered
from ..lrp.reading.tracer import Proxy, name_of
from .layers import Gather
from .sequences import is_torchs_own, runs_as

MOVES = {
    *("flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "permute", "transpose", "swapaxes", "movedim"),
    *("flip", "narrow", "select", "chunk", "split", "unbind", "getitem", "contiguous", "clone", "detach", "cat"),
    *("concat", "concatenate", "stack", "expand", "repeat", "tile", "pad", "t", "index_select", "roll"),
}
"""Functions and methods that only move values, leave some out, repeat them or set zeros beside them."""

MOVING_LAYERS = (
    *(nn.Flatten, nn.Unflatten, nn.Identity, nn.ZeroPad1d, nn.ZeroPad2d, nn.PixelUnshuffle, nn.PixelShuffle),
    Gather,
)
DROPOUTS = (nn.Dropout, nn.AlphaDropout)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLVING = {*("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")}
JOINS = {"cat", "concat", "concatenate"}


class Tracer(fx.Tracer):
    """Takes torch's own layers whole, and registered ones, as explanations do.

    Unlike there, what a network computes from its parameters stays a computation, so that they can be trained.
    """

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return registered(module) is not None or super().is_leaf_module(module, qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Proxy(node, self)


@dataclass(frozen=True, eq=False)
class Moved:
    """Values of the input alone: `labels` [2, ...] count them from 1 for two images, 0 is a constant zero.

    `dropouts` are the layers that they went through.
    """

    labels: Tensor
    dropouts: tuple[str, ...] = ()

    def keeps_images_apart(self, n_inputs: int) -> bool:
        """Whether the two images still lie along the first axis, with the same inputs at the same places."""
        if self.labels.ndim < 1 or len(self.labels) != 2:
            return False
        first, second = self.labels
        return bool((first <= n_inputs).all()) and bool((torch.where(first > 0, first + n_inputs, 0) == second).all())


@dataclass(frozen=True, eq=False)
class Joined:
    """Vectors side by side: labels [width] of inputs, or the node of what other layers gave and its width."""

    parts: tuple[Tensor | tuple[fx.Node, int], ...]
    dropouts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(len(part) if isinstance(part, Tensor) else part[1] for part in self.parts)


@dataclass(eq=False)
class Paths:
    """Where the input goes: the dense layers that read vectors of it, and the nodes that read it as a whole.

    `known` are the nodes before them, `values` what every node gives for two images.
    """

    known: dict[fx.Node, Moved | Joined | list[Moved]] = field(default_factory=dict)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    dense: dict[fx.Node, Joined] = field(default_factory=dict)
    whole: list[fx.Node] = field(default_factory=list)


def trace(network: nn.Module) -> fx.Graph:
    """The graph of a network in its present mode. Raises `UnsupportedLayer` for what cannot be traced."""
    try:
        return Tracer().trace(network)
    # The network's own code runs on stand-ins for tensors, and fails on them in any of these ways.
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError, AttributeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise UnsupportedLayer(
            f"{type(network).__name__} cannot be traced by torch.fx ({reason}): write its forward "
            "without Python branches on values"
        ) from error


def follow(network: nn.Module, graph: fx.Graph, shape: Sequence[int]) -> Paths:
    """Follow inputs of `shape` to the first layers of `network`, which is in evaluation mode.

    Raises `UnsupportedLayer` that names what else reads an input, `InputError` for inputs that it does not take.
    """
    return _Follower(network, graph, shape).run()


class _Follower(fx.Interpreter):
    """Runs two images through the graph, to know all sizes, and labels through what only moves them."""

    def __init__(self, network: nn.Module, graph: fx.Graph, shape: Sequence[int]) -> None:
        super().__init__(network, garbage_collect_values=False, graph=graph)
        self.extra_traceback = False  # refusals stay one sentence
        self.network, self.shape = network, tuple(shape)
        self.paths = Paths()

    def run(self) -> Paths:  # type: ignore[override]
        first = next(self.network.parameters(), torch.zeros(()))
        images = torch.zeros(2, *self.shape, dtype=first.dtype, device=first.device)
        try:
            with torch.no_grad():
                super().run(images)
        except InputError:
            raise
        except (RuntimeError, IndexError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{type(self.network).__name__} does not take inputs of shape {self.shape} in batches: {reason}"
            ) from error
        self.paths.values = self.env
        return self.paths

    def run_node(self, n: fx.Node) -> Any:
        read = [self.paths.known[source] for source in n.all_input_nodes if source in self.paths.known]
        if n.op == "placeholder":
            if self.paths.known:
                raise UnsupportedLayer(f"{type(self.network).__name__} takes several inputs, where one is needed")
            labels = torch.arange(1, 2 * math.prod(self.shape) + 1).view(2, *self.shape)
            self.paths.known[n] = Moved(labels)
        elif n.op == "output":
            if read:
                raise UnsupportedLayer(f"{type(self.network).__name__} returns inputs of its own as they are")
        elif read and not _asks_for_a_size(n):
            self._note(n, read)
        return super().run_node(n)

    def _note(self, node: fx.Node, read: list[Moved | Joined | list[Moved]]) -> None:
        """What a node that reads inputs makes of them."""
        layer = self.submodules[str(node.target)] if node.op == "call_module" else None
        name = name_of(node)
        if name in JOINS and self._joins_others(node):
            self.paths.known[node] = self._joined(node)
        elif isinstance(layer, (nn.Identity, *DROPOUTS)) and isinstance(read[0], Moved | Joined):
            through = () if isinstance(layer, nn.Identity) else (str(node.target),)
            self.paths.known[node] = replace(read[0], dropouts=(*read[0].dropouts, *through))
        elif _is_linear(node, layer):
            vector = _vector(read[0]) if len(read) == 1 and self._reads_it_as_input(node) else None
            if vector is None:
                self._reads_whole(node, read)
            else:
                self.paths.dense[node] = vector
        elif _convolves(node, layer):
            self._reads_whole(node, read)
        elif self._moves(layer, name) and all(not isinstance(value, Joined) for value in read):
            self.paths.known[node] = self._move(node, read)
        else:
            raise UnsupportedLayer(
                f"{self._describe(node)} reads inputs that no layer has read before: inputs can be cut off a network "
                "that starts with dense or convolutional layers on every path from the input"
            )

    def _moves(self, layer: nn.Module | None, name: str) -> bool:
        return name in MOVES if layer is None else isinstance(layer, MOVING_LAYERS) and is_torchs_own(layer)

    def _reads_whole(self, node: fx.Node, read: list[Moved | Joined | list[Moved]]) -> None:
        if not all(isinstance(value, Moved) for value in read):
            raise UnsupportedLayer(f"{self._describe(node)} reads inputs beside values of other layers")
        self.paths.whole.append(node)

    def _reads_it_as_input(self, node: fx.Node) -> bool:
        """Whether the input is not the weight or bias of the layer."""
        first = node.args[0] if node.args else node.kwargs.get("input")
        return isinstance(first, fx.Node) and first in self.paths.known

    def _move(self, node: fx.Node, read: list[Moved | Joined | list[Moved]]) -> Moved | list[Moved]:
        """Run a node on labels."""

        def labels_of(source: fx.Node) -> Any:
            value = self.paths.known.get(source)
            if isinstance(value, Moved):
                return value.labels.double()  # some moves are not there for whole numbers
            return [part.labels.double() for part in value] if isinstance(value, list) else self.env[source]

        args, kwargs = fx.map_arg((node.args, node.kwargs), labels_of)
        if node.op == "call_module":
            result = self.submodules[str(node.target)](*args, **kwargs)
        elif node.op == "call_method":
            result = getattr(args[0], str(node.target))(*args[1:], **kwargs)
        else:
            function: Any = node.target
            result = function(*args, **kwargs)
        dropouts = tuple(name for value in read for name in _dropouts(value))
        several = isinstance(result, tuple | list)
        moved = [Moved(part.round().long(), dropouts) for part in (result if several else [result])]
        others = [source for source in node.all_input_nodes if source not in self.paths.known]
        if (
            any(not self._is_index(source) for source in others)
            or not all(part.keeps_images_apart(math.prod(self.shape)) for part in moved)
            or _writes_constants(node)
        ):
            raise UnsupportedLayer(f"{self._describe(node)} does more than move the inputs of each image")
        return moved if several else moved[0]

    def _is_index(self, source: fx.Node) -> bool:
        """Whether what a move reads beside inputs says where to, and is the same for all images: a size, positions."""
        value = self.env[source]
        return not isinstance(value, Tensor) or (source.op == "get_attr" and not value.is_floating_point())

    def _joins_others(self, node: fx.Node) -> bool:
        return any(not isinstance(self.paths.known.get(part), Moved) for part in _parts(node))

    def _joined(self, node: fx.Node) -> Joined:
        """Inputs beside what other layers gave, as vectors."""
        parts: list[Tensor | tuple[fx.Node, int]] = []
        for part in _parts(node):
            value = self.paths.known.get(part)
            if value is None:
                given = self.env[part]
                if not isinstance(given, Tensor) or given.ndim != 2:
                    raise UnsupportedLayer(f"{self._describe(node)} joins inputs with maps of other layers")
                parts.append((part, given.shape[1]))
                continue
            vector = None if isinstance(value, list) else _vector(value)
            if vector is None or _axis(node) not in (1, -1) or vector.dropouts:
                raise UnsupportedLayer(f"{self._describe(node)} joins inputs with values of other layers")
            parts += vector.parts
        return Joined(tuple(parts))

    def _describe(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return f"layer {node.target!r} ({type(self.submodules[str(node.target)]).__name__})"
        return f"operation {name_of(node)!r} ({node.name})"


def _vector(value: Moved | Joined | list[Moved]) -> Joined | None:
    """Inputs [n, width], one behind the other; None for other shapes."""
    if isinstance(value, Moved):
        return Joined((value.labels[0],), value.dropouts) if value.labels.ndim == 2 else None
    return value if isinstance(value, Joined) else None


def _dropouts(value: Moved | Joined | list[Moved]) -> tuple[str, ...]:
    return tuple(name for part in value for name in part.dropouts) if isinstance(value, list) else value.dropouts


def _parts(node: fx.Node) -> list[fx.Node]:
    parts: Any = node.args[0] if node.args else node.kwargs.get("tensors", ())
    return [part for part in parts if isinstance(part, fx.Node)] if isinstance(parts, list | tuple) else []


def _axis(node: fx.Node) -> Any:
    return node.kwargs.get("dim", node.kwargs.get("axis", node.args[1] if len(node.args) > 1 else 0))


def _writes_constants(node: fx.Node) -> bool:
    """Whether padding sets other values than zeros beside the inputs, which labels of 0 stand for."""
    value = node.kwargs.get("value", node.args[3] if len(node.args) > 3 else None)
    return name_of(node) == "pad" and value not in (None, 0)


def _is_linear(node: fx.Node, layer: nn.Module | None) -> bool:
    if layer is not None:
        return isinstance(layer, nn.Linear) and runs_as(layer, nn.Linear)
    return node.op == "call_function" and node.target in (F.linear, torch.ops.aten.linear.default)


def _convolves(node: fx.Node, layer: nn.Module | None) -> bool:
    if layer is not None:
        return isinstance(layer, CONVOLUTIONS) and is_torchs_own(layer)
    return name_of(node) in CONVOLVING


def _asks_for_a_size(node: fx.Node) -> bool:
    """Whether a node reads the shape of its input, not its values."""
    if name_of(node) == "getattr":
        return node.args[1] in ("shape", "dtype", "device", "ndim")
    return name_of(node) in ("size", "sym_size", "dim", "numel", "len")


def asks_for_batch_size(node: fx.Node) -> bool:
    """Whether a node is the number of images, or their shape of which no more than that is read."""
    if name_of(node) == "size" and (node.args[1:] == (0,) or node.kwargs.get("dim") == 0):
        return True
    shape = name_of(node) == "size" and len(node.args) == 1 and not node.kwargs
    if not shape and not (name_of(node) == "getattr" and node.args[1] == "shape"):
        return name_of(node) == "getattr" and node.args[1] in ("dtype", "device")
    return all(user.target is operator.getitem and user.args[1] == 0 for user in node.users)


def evaluated_copy(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode; a single layer stands in a sequence of its own, so that it is not looked into."""
    twin = copy.deepcopy(network).eval()
    return nn.Sequential(twin) if is_torchs_own(twin) and not list(twin.children()) else twin
