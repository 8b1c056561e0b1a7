"""Networks made of torch's own layers, and of those of estimators, as plain values for JSON, and back.

Only what is on a list is ever built.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..neuralised.layers import Contest, Distances, NeighbourVotes, Votes
from .sequences import is_sequence

LAYERS: dict[str, type[nn.Module]] = {
    layer.__name__: layer
    for layer in (
        *(nn.Linear, nn.Flatten, nn.Unflatten, nn.Identity),
        *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm),
        *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh),
        *(nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.LogSigmoid),
        *(nn.Softmax, nn.LogSoftmax),
        *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
        *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
        *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad2d),
        *(Distances, Contest, NeighbourVotes, Votes),
    )
}
"""The layers that a file may ask for, by name."""

SEQUENCE = "Sequential"
MAX_LAYERS = 10_000


def describe_layers(network: nn.Module) -> list[dict[str, Any]] | None:
    """The layers of a sequence, nested or not, in order: name, type and arguments; None for any other network."""
    if not is_sequence(network):
        return None
    described: list[dict[str, Any]] = []
    for name, layer in network._modules.items():
        if layer is None:
            return None
        inner = describe_layers(layer)
        if inner is not None:
            described.append({"name": name, "type": SEQUENCE, "layers": inner})
            continue
        arguments = _arguments_of(layer)
        if arguments is None:
            return None
        described.append({"name": name, "type": type(layer).__name__, "arguments": arguments})
    return described


def build_layers(described: Any, *, device: str = "meta") -> nn.Sequential:
    """The sequence that `describe_layers` described, with fresh weights; on the device "meta" it takes no memory.

    Raises `InputError` for layers that are not on the list, or arguments that theirs do not take.
    """
    network = nn.Sequential()
    if not isinstance(described, list) or not 1 <= len(described) <= MAX_LAYERS:
        raise InputError(f"a network is described by a list of 1 to {MAX_LAYERS:,} layers")
    for layer in described:
        name = layer["name"]
        if not isinstance(name, str) or not name or "." in name or hasattr(network, name):
            raise InputError(f"{name!r} cannot be the name of a layer")
        network.add_module(name, _build(layer, device))
    return network


def _build(described: dict[str, Any], device: str) -> nn.Module:
    kind = described["type"]
    if kind == SEQUENCE:
        return build_layers(described["layers"], device=device)
    if not isinstance(kind, str) or kind not in LAYERS:
        raise InputError(f"a file may not ask for a layer of type {kind!r}")
    layer, given = LAYERS[kind], described["arguments"]
    if not isinstance(given, dict) or set(given) - set(_parameters_of(layer)):
        raise InputError(f"{kind} does not take the arguments {given!r}")
    if not all(_is_plain(value) for value in given.values()):
        raise InputError(f"the arguments of a layer are numbers, names and lists of them, not {given!r}")
    with torch.device(device):
        return layer(**{name: _tuple(value) for name, value in given.items()})


def _arguments_of(layer: nn.Module) -> dict[str, Any] | None:
    """How to call a layer's type to have one like it, None if plain values cannot say how."""
    if LAYERS.get(type(layer).__name__) is not type(layer):
        return None
    arguments = {
        name: getattr(layer, name) is not None if name == "bias" else getattr(layer, name)
        for name in _parameters_of(type(layer))
    }
    arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
    return arguments if all(_is_plain(value) for value in arguments.values()) else None


def _parameters_of(layer: type[nn.Module]) -> list[str]:
    """The arguments that say what a layer is, without those that say where its weights are."""
    parameters = inspect.signature(layer.__init__).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return [name for name in named if name not in ("self", "device", "dtype")]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(part, int | float) for part in value)
    return value is None or isinstance(value, bool | int | float | str)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
