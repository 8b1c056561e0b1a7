"""A network as a list of steps that can be run forward, and through which relevance can be walked back.

`trace` reads a model through `torch.fx`, so modules and plain function calls look alike. Batch-norm is folded
into the layer before it. The model itself is only read.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from ..errors import UnsupportedLayer
from ..layers import Frame, Scatter


class Operation(ABC):
    """One step of a network in evaluation mode."""

    @abstractmethod
    def __call__(self, a: Tensor) -> Tensor:
        """The step itself."""

    def relevance(self, a: Tensor, z: Tensor, r: Tensor) -> Tensor:
        """Relevance at the inputs `a`, given relevance `r` at the outputs `z`, for a step that needs no rule."""
        raise UnsupportedLayer(f"{type(self).__name__} passes relevance on by a rule only")


@dataclass(frozen=True)
class Affine(Operation):
    """z = W a + b, dense or as a convolution: what relevance rules are about."""

    weight: Tensor
    bias: Tensor | None

    kind: Literal["dense", "convolution"] = field(init=False)

    @abstractmethod
    def pullback(self, s: Tensor, a: Tensor) -> Tensor:
        """W^T s, in the shape of the inputs `a`: sum_k w_jk s_k."""

    @abstractmethod
    def _replace(self, weight: Tensor, bias: Tensor | None) -> Affine: ...

    def map(self, change: Callable[[Tensor], Tensor]) -> Affine:
        """The same layer with `change` applied to its weights and its bias."""
        return self._replace(change(self.weight), None if self.bias is None else change(self.bias))

    def without_bias(self) -> Affine:
        return self._replace(self.weight, None)

    def scaled(self, factor: Tensor, shift: Tensor) -> Affine:
        """The layer followed by `z -> factor z + shift`, one factor and shift for each output channel."""
        bias = shift if self.bias is None else self.bias * factor + shift
        return self._replace(self.weight * factor.view(-1, *[1] * (self.weight.ndim - 1)), bias)


@dataclass(frozen=True)
class Dense(Affine):
    """A fully connected layer; weight [outputs, inputs]."""

    kind: Literal["dense", "convolution"] = field(default="dense", init=False)

    def __call__(self, a: Tensor) -> Tensor:
        return F.linear(a, self.weight, self.bias)

    def pullback(self, s: Tensor, a: Tensor) -> Tensor:
        return s @ self.weight

    def _replace(self, weight: Tensor, bias: Tensor | None) -> Dense:
        return Dense(weight, bias)


@dataclass(frozen=True)
class Convolution(Affine):
    """A 2-d convolution; weight [outputs, inputs / groups, height, width]."""

    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1

    kind: Literal["dense", "convolution"] = field(default="convolution", init=False)

    def __call__(self, a: Tensor) -> Tensor:
        return F.conv2d(a, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def pullback(self, s: Tensor, a: Tensor) -> Tensor:
        pulled: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
            a.shape, self.weight, s, self.stride, self.padding, self.dilation, self.groups
        )
        return pulled

    def _replace(self, weight: Tensor, bias: Tensor | None) -> Convolution:
        return Convolution(weight, bias, self.stride, self.padding, self.dilation, self.groups)


@dataclass(frozen=True)
class Activation(Operation):
    """An element-wise nonlinearity, or dropout in evaluation mode: relevance passes unchanged."""

    function: Callable[[Tensor], Tensor]

    def __call__(self, a: Tensor) -> Tensor:
        return self.function(a)

    def relevance(self, a: Tensor, z: Tensor, r: Tensor) -> Tensor:
        return r


@dataclass(frozen=True)
class Flatten(Operation):
    """[n, ...] -> [n, features]: relevance takes its former shape again."""

    def __call__(self, a: Tensor) -> Tensor:
        return a.flatten(1)

    def relevance(self, a: Tensor, z: Tensor, r: Tensor) -> Tensor:
        return r.reshape(a.shape)


@dataclass(frozen=True)
class MaxPool(Operation):
    """Max-pooling: relevance goes to the winner, the first one where several are equal."""

    kernel_size: Any
    stride: Any
    padding: Any
    dilation: Any
    ceil_mode: bool

    def __call__(self, a: Tensor) -> Tensor:
        return F.max_pool2d(a, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def relevance(self, a: Tensor, z: Tensor, r: Tensor) -> Tensor:
        _, winners = F.max_pool2d(
            a, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, return_indices=True
        )
        flat = a.new_zeros(*a.shape[:2], a.shape[2] * a.shape[3])
        return flat.scatter_add_(2, winners.flatten(2), r.flatten(2)).view(a.shape)


@dataclass(frozen=True)
class Scattering(Operation):
    """Kept pixels onto their canvas: relevance of the filled places is dropped, as they are no inputs."""

    layer: Scatter

    def __call__(self, a: Tensor) -> Tensor:
        return self.layer.forward(a)

    def relevance(self, a: Tensor, z: Tensor, r: Tensor) -> Tensor:
        return self.layer.gather(r)


@dataclass(frozen=True)
class Framing(Operation):
    """A map set into a constant surround: relevance of the surround is absorbed, like that of a bias."""

    layer: Frame

    def __call__(self, a: Tensor) -> Tensor:
        return self.layer.forward(a)

    def relevance(self, a: Tensor, z: Tensor, r: Tensor) -> Tensor:
        return self.layer.crop(r, like=a)


@dataclass(frozen=True)
class Step:
    """An operation, where it stands in the network: `source` is the step whose output it reads, -1 the input."""

    name: str
    operation: Operation
    source: int


def trace(model: nn.Module) -> list[Step]:
    """The steps of `model` in evaluation mode, in the order in which they run; the last one gives the logits.

    Raises `UnsupportedLayer` for what cannot be traced, or for an operation that has no relevance rule, by
    its name.
    """
    _check_hooks(model)
    model = _evaluated(model)
    try:
        nodes = list(_Tracer().trace(model).nodes)
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError, AttributeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise UnsupportedLayer(
            f"{type(model).__name__} cannot be traced by torch.fx ({reason}): write its forward "
            "without Python branches on values"
        ) from error
    modules = dict(model.named_modules())
    living = _living(nodes, modules)
    steps: list[Step] = []
    index: dict[fx.Node, int] = {}
    for node in (n for n in nodes if n in living):
        if node.op == "placeholder":
            if index:
                raise UnsupportedLayer(f"{type(model).__name__} takes several inputs; relevance is for networks of one")
            index[node] = -1
        elif node.op == "output":
            result = node.args[0]
            if not isinstance(result, fx.Node):
                raise UnsupportedLayer(
                    f"{type(model).__name__} returns {type(result).__name__}, not one tensor of logits"
                )
            return _live(steps, index[result])
        else:
            source = _single_source(node, index)
            index[node] = _append(steps, source, node, modules)
            if _is_inplace(node, modules):
                index[node.all_input_nodes[0]] = index[node]
    raise UnsupportedLayer(f"{type(model).__name__} returns nothing")


def _evaluated(model: nn.Module) -> nn.Module:
    """`model` in evaluation mode: a copy that shares its tensors, so that branches on `training` go the right way."""
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    twin = copy.deepcopy(model, shared).eval()
    return nn.Sequential(twin) if type(twin).__module__.startswith("torch.nn") and not list(twin.children()) else twin


def _check_hooks(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if module._forward_hooks:
            raise UnsupportedLayer(f"layer {name!r} has a forward hook, which an explanation would not see: remove it")


def _is_inplace(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether later readers of the node's input see its output: relu written as a statement."""
    if node.op == "call_module":
        return bool(getattr(modules[str(node.target)], "inplace", False))
    return node.target in (torch.relu_, F.relu_, "relu_") or bool(node.kwargs.get("inplace"))


def _living(nodes: list[fx.Node], modules: dict[str, nn.Module]) -> set[fx.Node]:
    """What the output depends on, and the in-place operations on any of it."""
    living: set[fx.Node] = set()
    for node in reversed(nodes):
        changed = node.all_input_nodes if _is_inplace(node, modules) else []
        read = [*node.users, *changed, *(user for other in changed for user in other.users)]
        if node.op in ("output", "placeholder") or any(other in living for other in read):
            living.add(node)
    return living


class _Tracer(fx.Tracer):
    """Stops at the layers of this project too, not only at torch's own."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, Scatter | Frame) or super().is_leaf_module(module, qualified_name)


def _single_source(node: fx.Node, index: dict[fx.Node, int]) -> int:
    sources = [index[n] for n in node.all_input_nodes]
    if len(sources) != 1:
        raise UnsupportedLayer(f"{_describe(node)} joins {len(sources)} branches, which has no relevance rule here")
    return sources[0]


def _append(steps: list[Step], source: int, node: fx.Node, modules: dict[str, nn.Module]) -> int:
    """Add the operation of `node` to `steps`, and return the index of the step that gives its output."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            return _fold(steps, source, str(node.target), module)
        operation = _from_module(module)
    else:
        operation = _from_call(node)
    if operation is None:
        raise UnsupportedLayer(f"no relevance rule for {_describe(node, modules)}")
    name = str(node.target) if node.op == "call_module" else node.name
    again = sum(step.name == name or step.name.startswith(f"{name}@") for step in steps)
    name = f"{name}@{again + 1}" if again else name
    steps.append(Step(name, operation, source))
    return len(steps) - 1


def _fold(steps: list[Step], source: int, name: str, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> int:
    """Fold a batch-norm into the layer whose output it reads."""
    before = steps[source].operation if source >= 0 else None
    shared = sum(step.source == source for step in steps)
    if not isinstance(before, Affine) or shared or norm.running_mean is None or norm.running_var is None:
        raise UnsupportedLayer(
            f"batch-norm {name!r} does not directly follow a linear or convolutional layer of its own with running "
            "statistics, so that it cannot be folded"
        )
    factor = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight.detach()
    shift = -norm.running_mean * factor
    if norm.bias is not None:
        shift = shift + norm.bias.detach()
    steps.append(Step(steps[source].name, before.scaled(factor, shift), steps[source].source))
    return len(steps) - 1


def _live(steps: list[Step], last: int) -> list[Step]:
    """Only the steps that the last one depends on, renumbered."""
    needed = []
    at = last
    while at >= 0:
        needed.append(at)
        at = steps[at].source
    needed.reverse()
    return [Step(steps[i].name, steps[i].operation, position - 1) for position, i in enumerate(needed)]


def _from_module(module: nn.Module) -> Operation | None:
    match module:
        case nn.Linear():
            return Dense(module.weight.detach().clone(), None if module.bias is None else module.bias.detach().clone())
        case nn.Conv2d() if module.padding_mode == "zeros":
            padding = module.padding
            if isinstance(padding, str):
                padding = _named_padding(padding, module)
            return Convolution(
                module.weight.detach().clone(),
                None if module.bias is None else module.bias.detach().clone(),
                module.stride,
                padding,
                module.dilation,
                module.groups,
            )
        case nn.MaxPool2d() if not module.return_indices:
            return MaxPool(module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
        case nn.Flatten() if (module.start_dim, module.end_dim) == (1, -1):
            return Flatten()
        case nn.ReLU():
            return Activation(torch.relu)
        case nn.Dropout() | nn.Dropout2d() | nn.Identity():
            return Activation(_identity)
        case Scatter():
            return Scattering(module)
        case Frame():
            return Framing(module)
    return None


def _from_call(node: fx.Node) -> Operation | None:
    """Functions and methods that do what a supported module does."""
    if node.target in (torch.relu, F.relu, torch.relu_, "relu", "relu_"):
        return Activation(torch.relu)
    if node.target in (F.dropout, F.dropout2d):
        return Activation(_identity)
    arguments = [*node.args[1:], *node.kwargs.values()]
    if node.target in (torch.flatten, "flatten") and arguments in ([1], [1, -1]):
        return Flatten()
    return None


def _identity(a: Tensor) -> Tensor:
    return a


def _named_padding(padding: str, module: nn.Conv2d) -> tuple[int, ...]:
    totals = [d * (k - 1) if padding == "same" else 0 for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    if any(total % 2 for total in totals):
        raise UnsupportedLayer(f"padding='same' of an even kernel {module.kernel_size} is uneven: pad explicitly")
    return tuple(total // 2 for total in totals)


def _describe(node: fx.Node, modules: dict[str, nn.Module] | None = None) -> str:
    if modules is not None and node.op == "call_module":
        return f"layer {node.target!r} ({modules[str(node.target)]})"
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return f"operation {target!r} ({node.name})"
