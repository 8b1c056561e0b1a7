"""From what a network calls, module, function or method, to the operation that it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, fx, nn
from torch.nn import functional as F

from ...errors import UnsupportedLayer
from .. import normalisation
from ..affine import Affine, Convolution, Dense
from ..attention import Product, Softmax
from ..embedding import Embedding
from ..gates import Gate, GatedHalves
from ..operations import Activation, Identity, Operation, Rearrangement, Rectifier
from . import activations, calls, moves, pooling, products
from .registry import registered
from .tracer import CONSTANTS, PARTS, NeedsExample, name_of

IDENTITIES = (
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
)
MOVING_MODULES = (
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
    *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d, nn.CircularPad1d, nn.CircularPad2d),
    *(nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.CircularPad3d),
)
HINTS = {
    "softmax": "explain the logits, and leave the softmax out",
    "norm": "use batch-norm, which folds into its layer, or layer-norm",
    "dropout": "give F.dropout training=self.training, so that it is off in evaluation",
    "rnn": "use nn.LSTM, nn.GRU or nn.RNN",
    "matmul": "use nn.Linear or F.linear, with weights that are parameters",
}
SUPPORTED = (
    "linear, convolution, normalisation, attention, gates, recurrent layers, pooling, element-wise activation, "
    "reshape, sum, concatenation"
)


class Reader:
    """Reads the traced nodes of a model: which operation each of them is."""

    def __init__(self, model: nn.Module, images: int = 0) -> None:
        self.model = model
        self.images = images
        self.modules = dict(model.named_modules())

    def convert(self, node: fx.Node) -> tuple[Sequence[Affine | Operation], list[fx.Node]]:
        """The operations of a node, one after another, and the nodes whose values the first of them reads.

        Raises `UnsupportedLayer` if it has no rule, and `NeedsExample` if that cannot be told without an example.
        """
        sources = self.sources(node)
        operation: Affine | Operation | None
        try:
            if node.op == "call_module":
                operation = from_module(self.modules[str(node.target)])
            else:
                operation = calls.from_call(self._call(node, sources))
        except UnsupportedLayer as error:
            raise UnsupportedLayer(f"no relevance rule for {self.describe(node)}: {error}") from None
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise UnsupportedLayer(
                f"no relevance rule for {self.describe(node)} with its arguments: {error}"
            ) from error
        if isinstance(operation, Gate | Product):
            operation = products.with_signal(operation, sources, self)
        if isinstance(operation, Softmax) and not products.weighs(node, self):
            operation = None
        if operation is None:
            refused = f"no relevance rule for {self.describe(node)}: {_hint(node, self.modules)}"
            raise NeedsExample(refused) if self._depends_on_sizes(node) else UnsupportedLayer(refused)
        padding = _padding_before(self.modules[str(node.target)]) if node.op == "call_module" else None
        return ([operation] if padding is None else [padding, operation]), sources

    def _call(self, node: fx.Node, sources: list[fx.Node]) -> calls.Call:
        if not self.images or not sources:
            return calls.Call(node, sources, self.constant)
        value = sources[0].meta["value"]
        per_image = max(1, len(value) // self.images) if isinstance(value, Tensor) and value.ndim else 1
        return calls.Call(node, sources, self.constant, self.images, per_image)

    def _depends_on_sizes(self, node: fx.Node) -> bool:
        """Whether a node without an operation may have one once sizes are known."""
        if self.images:
            return False
        sizes = [n for n in node.all_input_nodes if n.op != "get_attr" and self.is_constant(n)]
        name = name_of(node)
        after_view = any(name_of(n) in moves.VIEWS | PARTS for n in node.all_input_nodes)
        moving = name in moves.ANY_MOVE and name != "getitem"
        if name == "getitem":
            index = node.args[1]
            several = any(name_of(n) in ("max", "min") for n in node.all_input_nodes)
            moving = after_view or several or (isinstance(index, tuple) and index[0] in (slice(None), Ellipsis))
        return bool(sizes) or moving or name in CONSTANTS | PARTS | {"max", "min"} | moves.CASTS

    def sources(self, node: fx.Node) -> list[fx.Node]:
        """The nodes whose values a node reads."""
        return [n for n in _inputs(node) if not self.is_constant(n)]

    def name(self, node: fx.Node) -> str:
        """The name of the function that a node is, as a call or as one of torch's modules."""
        if node.op != "call_module":
            return name_of(node).lstrip("_")
        module = self.modules[str(node.target)]
        activation = activations.of_module(module)
        if activation is not None:
            return activation.name
        return {nn.Softmax: "softmax", nn.LogSoftmax: "log_softmax"}.get(type(module), "")

    def axis(self, node: fx.Node) -> Any:
        """The axis that a softmax runs over, if it says so."""
        if node.op == "call_module":
            return getattr(self.modules[str(node.target)], "dim", None)
        return node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)

    def aliases(self, node: fx.Node) -> Literal["same", "view", ""]:
        """Whether the values of a node lie where those of its source do: the same ones, or a view of them."""
        module = self.modules[str(node.target)] if node.op == "call_module" else None
        name = name_of(node)
        if self.is_inplace(node) or isinstance(module, IDENTITIES) or name in calls.ALIASES:
            return "same"
        return "view" if isinstance(module, nn.Flatten | nn.Unflatten) or name in moves.VIEWS | {"part"} else ""

    def is_inplace(self, node: fx.Node) -> bool:
        """Whether later readers of the node's input see its output: relu written as a statement."""
        if node.op == "call_module":
            return bool(getattr(self.modules[str(node.target)], "inplace", False))
        name = name_of(node)
        overwriting = name.endswith("_") and not name.endswith("__")
        return bool(node.kwargs.get("inplace")) or overwriting or name in calls.AUGMENTED

    def is_constant(self, node: fx.Node) -> bool:
        """Whether a node is a parameter or a size, not a value computed from the inputs."""
        if node.op == "get_attr" or name_of(node) in ("size", "dim"):
            return True
        if name_of(node) == "getattr":
            return node.args[1] in ("shape", "dtype", "device", "ndim")
        inputs = _inputs(node)
        return node.op in ("call_function", "call_method") and bool(inputs) and all(map(self.is_constant, inputs))

    def constant(self, value: Any) -> Any:
        """The tensor behind a parameter's node; anything else as it is."""
        if isinstance(value, fx.Node) and value.op == "get_attr":
            tensor: Any = self.model
            for part in str(value.target).split("."):
                tensor = getattr(tensor, part)
            return tensor.detach().clone()
        return value

    def describe(self, node: fx.Node) -> str:
        """A node as messages name it."""
        if node.op == "call_module":
            return f"layer {node.target!r} ({str(self.modules[str(node.target)]).splitlines()[0]})"
        return f"operation {name_of(node)!r} ({node.name})"


def _hint(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """What would help."""
    name = type(modules[str(node.target)]).__name__ if node.op == "call_module" else name_of(node)
    name = name.lower()
    return next((hint for part, hint in HINTS.items() if part in name), f"supported are {SUPPORTED}")


def _inputs(node: fx.Node) -> list[fx.Node]:
    """Every node among the arguments, as often as it stands there."""
    nodes: list[fx.Node] = []

    def note(argument: fx.Node) -> fx.Node:
        nodes.append(argument)
        return argument

    fx.map_arg((node.args, node.kwargs), note)
    return nodes


def from_module(module: nn.Module) -> Affine | Operation | None:
    """The operation that a module is in evaluation mode, None for one without a rule."""
    convert = registered(module)
    if convert is not None:
        return convert(module)
    if isinstance(module, MOVING_MODULES):
        return Rearrangement(module.forward)
    if isinstance(module, IDENTITIES):
        return Identity()
    activation = activations.of_module(module)
    if activation is not None:
        return Activation(_out_of_place(module), activation.never_negative)
    readings = (_layer, _normalisation, _attending, _pooling, _other)
    return next((operation for operation in (read(module) for read in readings) if operation is not None), None)


def _layer(module: nn.Module) -> Affine | None:
    match module:
        case nn.Linear():
            return Dense(_copied(module.weight), _copied(module.bias))
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return _convolution(module)
        case nn.ConvTranspose1d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():
            return replace(_convolution(module), transposed=True, output_padding=tuple(module.output_padding))
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d() | nn.SyncBatchNorm():
            return calls.scale(module.running_mean, module.running_var, module.weight, module.bias, module.eps)
        case nn.InstanceNorm1d() | nn.InstanceNorm2d() | nn.InstanceNorm3d() if module.track_running_stats:
            return calls.scale(module.running_mean, module.running_var, module.weight, module.bias, module.eps)
    return None


def _pooling(module: nn.Module) -> Operation | None:
    match module:
        case nn.MaxPool1d() | nn.MaxPool2d() | nn.MaxPool3d() if not module.return_indices:
            sizes = (module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
            return pooling.max_pool(_spatial(module), *sizes)
        case nn.AdaptiveMaxPool1d() | nn.AdaptiveMaxPool2d() | nn.AdaptiveMaxPool3d() if not module.return_indices:
            return pooling.adaptive_max_pool(_spatial(module), module.output_size)
        case nn.AvgPool1d() | nn.AvgPool2d() | nn.AvgPool3d():
            sizes = (module.kernel_size, module.stride, module.padding, module.ceil_mode, module.count_include_pad)
            return pooling.average_pool(_spatial(module), *sizes, getattr(module, "divisor_override", None))
        case nn.AdaptiveAvgPool1d() | nn.AdaptiveAvgPool2d() | nn.AdaptiveAvgPool3d():
            return pooling.adaptive_average_pool(_spatial(module), module.output_size)
    return None


def _other(module: nn.Module) -> Operation | None:
    match module:
        case nn.ReLU():
            return Rectifier()
        case nn.PReLU():
            weight = _copied(module.weight)
            return Activation(lambda a: F.prelu(a, weight))
        case nn.Flatten() if module.start_dim != 0:
            return Rearrangement(module.forward, in_order=True)
        case nn.Unflatten() if module.dim != 0:
            return Rearrangement(module.forward, in_order=True)
        case nn.Upsample():
            return pooling.interpolation(
                module.size, module.scale_factor, module.mode, module.align_corners, module.recompute_scale_factor
            )
    return None


def _normalisation(module: nn.Module) -> Operation | None:
    match module:
        case nn.LayerNorm():
            weight, bias = _copied(module.weight), _copied(module.bias)
            return normalisation.over_last_axes(len(module.normalized_shape), weight, bias, module.eps)
        case nn.RMSNorm():
            weight = _copied(module.weight)
            return normalisation.over_last_axes(len(module.normalized_shape), weight, None, module.eps, centred=False)
        case nn.GroupNorm():
            weight, bias = _copied(module.weight), _copied(module.bias)
            return normalisation.over_groups(module.num_groups, weight, bias, module.eps)
        case nn.InstanceNorm1d() | nn.InstanceNorm2d() | nn.InstanceNorm3d():
            return normalisation.over_groups(None, _copied(module.weight), _copied(module.bias), module.eps)
    return None


def _attending(module: nn.Module) -> Operation | None:
    match module:
        case nn.Softmax() if module.dim is not None:
            return Softmax(module.dim)
        case nn.Softmax2d():
            return Softmax(-3)
        case nn.GLU():
            return GatedHalves(module.dim)
        case nn.Embedding() if module.max_norm is None:
            return Embedding(_copied(module.weight))
    return None


def _convolution(module: Any) -> Convolution:
    return Convolution(
        weight=_copied(module.weight),
        bias=_copied(module.bias),
        stride=tuple(module.stride),
        padding=_padding(module),
        dilation=tuple(module.dilation),
        groups=module.groups,
    )


def _copied(tensor: Tensor | None) -> Any:
    """A copy without gradient, so that later changes of the model are not seen half-way."""
    return None if tensor is None else tensor.detach().clone()


def _spatial(module: nn.Module) -> int:
    """How many axes a pooling layer runs over: the digit in its name."""
    return int(next(c for base in type(module).__mro__ for c in base.__name__ if c.isdigit()))


def _padding_before(module: nn.Module) -> Rearrangement | None:
    """What a convolution sets around its input, if that is anything but zeros."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) or module.padding_mode == "zeros":
        return None
    mode, around = module.padding_mode, list(module._reversed_padding_repeated_twice)
    return Rearrangement(lambda a: F.pad(a, around, mode))


def _padding(module: Any) -> tuple[int, ...]:
    if module.padding_mode != "zeros":
        return (0,) * len(module.kernel_size)
    if not isinstance(module.padding, str):
        return tuple(module.padding)
    return calls.padding_of(module.padding, module.kernel_size, module.dilation)


def _out_of_place(module: nn.Module) -> Callable[[Tensor], Tensor]:
    twin: Any = copy.copy(module)
    if hasattr(twin, "inplace"):
        twin.inplace = False
    forward: Callable[[Tensor], Tensor] = twin.forward
    return forward
