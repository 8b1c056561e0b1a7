"""A network that is one sequence of layers, nested or not: its steps by name, and which torch layers they are."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from ..errors import UnsupportedLayer
from .layers import Gather

Named = list[tuple[str, nn.Module]]


def steps_of(network: nn.Module) -> Named | None:
    """Every step of a sequence by its dotted name, also where one module stands in it twice; None for no sequence."""
    if not is_sequence(network):
        return None
    steps: Named = []
    for name, layer in network._modules.items():
        if layer is not None:
            inner = steps_of(layer)
            steps += [(name, layer)] if inner is None else [(f"{name}.{part}", step) for part, step in inner]
    return steps


def is_sequence(module: nn.Module) -> bool:
    """Whether a module does nothing but run its parts one after the other."""
    return isinstance(module, nn.Sequential) and runs_as(module, nn.Sequential)


def runs_as(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module runs the `forward` of `kind`: a subclass with its own computes something else."""
    return type(module).forward is kind.forward


def is_torchs_own(module: nn.Module) -> bool:
    """Whether a module is one of torch's layers or of this project's, and no subclass of your own."""
    return type(module).__module__.startswith("torch.nn.") or isinstance(module, Gather)


def copy_of_sequence(network: nn.Module) -> nn.Sequential:
    """The layers of a sequence, copied together, so that what they share they still share."""
    copied = copy.deepcopy(OrderedDict(network._modules))
    return nn.Sequential(OrderedDict((name, layer) for name, layer in copied.items() if layer is not None))


def named_layers(layers: Sequence[tuple[str, nn.Module]]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def check_hooks(name: str, layer: nn.Module) -> None:
    """Raise `UnsupportedLayer` for a layer whose hooks the smaller one would lose."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise UnsupportedLayer(f"layer {name!r} has a forward hook, which the smaller network would lose: remove it")
