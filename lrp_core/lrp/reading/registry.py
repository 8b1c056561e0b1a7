"""Layer types that people bring along, and what turns a layer of each into the operation that it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from torch import nn

from ...errors import InputError
from ..affine import Affine
from ..operations import Operation

Layer = TypeVar("Layer", bound=nn.Module)
Convert: TypeAlias = Callable[[Layer], Affine | Operation]
"""A layer in evaluation mode -> its operation. It copies the tensors that it takes."""

_REGISTERED: dict[type[nn.Module], Convert[nn.Module]] = {}


def register(layer: type[Layer], convert: Convert[Layer]) -> None:
    """Have every layer of type `layer`, and of types derived from it, explained as the operation that `convert` gives.

    Such a layer is taken whole: its `forward` is not looked into. The registration closest to a layer's own type
    counts, and a later one for the same type replaces an earlier one. Raises `InputError` for what is no type of
    layer, or for a `convert` that cannot be called.
    """
    if not (isinstance(layer, type) and issubclass(layer, nn.Module)):
        raise InputError(f"register takes a type of layer, a subclass of torch.nn.Module, not {layer!r}")
    if not callable(convert):
        raise InputError(f"register takes a function from a {layer.__name__} to its operation, not {convert!r}")
    _REGISTERED[layer] = convert  # type: ignore[assignment]


def registered(module: nn.Module) -> Convert[nn.Module] | None:
    """What converts `module`, if its type or one that it is derived from has been registered."""
    return next((_REGISTERED[base] for base in type(module).__mro__ if base in _REGISTERED), None)


def own_layers() -> dict[type[nn.Module], Convert[nn.Module]]:
    """What people registered, for another process to register too; the layers of this project are known there."""
    project = __name__.partition(".")[0]
    return {layer: convert for layer, convert in _REGISTERED.items() if layer.__module__.partition(".")[0] != project}
