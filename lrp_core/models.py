"""A registry of architectures: name -> network, for any input shape and number of classes.

A network of your own needs no entry here. With one (`register_model`) it can also be built again, which training from
scratch takes.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .architectures import Layers, cnn_1d, cnn_32_64, lenet_5, mlp, transformer_1d
from .errors import InputError, check_choice
from .registry import Registry


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a network again: architecture, shape of one input, number of classes.

    A network with 1 output predicts a number.

    `shape` is (channels, height, width) for images, (channels, length) for series, or (features,) for networks on a
    flat vector. `dataset` names the data set that it was built for, if that is one that loads by its name.
    """

    architecture: str
    shape: tuple[int, ...]
    n_classes: int
    dataset: str | None = None

    @property
    def is_built_in(self) -> bool:
        """Whether every copy of this project can build it."""
        return ARCHITECTURES.is_built_in(self.architecture)


class Network(nn.Sequential):
    """A registered architecture; layers are named, and `spec` says how to build it again."""

    def __init__(self, spec: ModelSpec, layers: Layers) -> None:
        super().__init__(OrderedDict(layers))
        self.spec = spec


@runtime_checkable
class HasShape(Protocol):
    """What `build_model` reads off a data set."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def classes(self) -> Sequence[str]: ...


def build_model(
    architecture: str,
    data: HasShape | None = None,
    *,
    shape: Sequence[int] | None = None,
    n_classes: int | None = None,
    seed: int = 0,
) -> Network:
    """A freshly initialised network for `data`, or for inputs of `shape` and `n_classes` classes (1 for a number).

    The same `seed` gives the same weights; torch's global random state is left as it was. Raises
    `InputError` for an unknown architecture, or a shape that it cannot take.
    """
    check_choice("model", architecture, ARCHITECTURES)
    if data is not None:
        shape = data.shape if shape is None else shape
        n_classes = len(data.classes) or 1 if n_classes is None else n_classes
    if shape is None or n_classes is None:
        raise InputError("build_model needs a data set, or both shape and n_classes")
    spec = ModelSpec(architecture, tuple(int(s) for s in shape), int(n_classes), _name_of(data))
    return build_from_spec(spec, seed=seed)


def _name_of(data: HasShape | None) -> str | None:
    """The name under which anyone can load these data again; data of your own have none, whatever they are called."""
    return data.name if data is not None and getattr(data, "is_named", True) else None


def build_from_spec(spec: ModelSpec, *, seed: int = 0, device: str = "cpu") -> Network:
    """`build_model` for a spec that is there already; on the device "meta" it takes no memory."""
    builder = ARCHITECTURES[check_choice("model", spec.architecture, ARCHITECTURES)]
    if not spec.shape or min(spec.shape) < 1:
        raise InputError(f"cannot build a network for inputs of shape {spec.shape}: every size must be at least 1")
    if spec.n_classes < 1:
        raise InputError(f"cannot build a network for {spec.n_classes} classes: give at least 2, or 1 for a number")
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        return Network(spec, as_layers(builder(spec)))


@lru_cache(maxsize=64)
def check_takes(architecture: str, shape: tuple[int, ...]) -> None:
    """Raise `InputError` if one of the project's networks cannot be built for inputs of `shape`.

    One of your own is not asked: it may take its time.
    """
    if ARCHITECTURES.is_built_in(architecture):
        build_from_spec(ModelSpec(architecture, shape, n_classes=2), device="meta")


def architectures_for(shape: Sequence[int]) -> tuple[str, ...]:
    """The names of the networks for inputs of `shape`; those of your own are all among them.

    >>> import lrp_core.models
    >>> lrp_core.models.architectures_for((20,))
    ('softmax', 'mlp-300-100', 'mlp-1000')
    """
    names = []
    for name in ARCHITECTURES:
        try:
            check_takes(name, tuple(shape))
        except InputError:
            continue
        names.append(name)
    return tuple(names)


Builder = Callable[[ModelSpec], Layers | nn.Module]
"""Makes a network for a spec's shape and number of classes: its layers, by name and in order, or any module."""


def as_layers(built: Layers | nn.Module) -> Layers:
    """A network as named layers; a module that is no plain sequence is one. Raises `InputError` for no network."""
    if isinstance(built, nn.Sequential) and type(built).forward is nn.Sequential.forward:
        return [(name, layer) for name, layer in built._modules.items() if layer is not None]
    if isinstance(built, nn.Module):
        return [("network", built)]
    if not isinstance(built, list | tuple):
        raise InputError(f"a builder gives layers with their names, or a module, not {type(built).__name__}")
    return list(built)


def spec_of(network: nn.Module) -> ModelSpec | None:
    """How to build a network again, None for one of your own."""
    spec = getattr(network, "spec", None)
    return spec if isinstance(spec, ModelSpec) else None


def needed_spec(spec: ModelSpec | None) -> ModelSpec:
    """`spec`, for what trains from scratch. Raises `InputError` if there is none."""
    if spec is None:
        raise InputError(
            "to train a network of your own from scratch, say how to build it: register_model(name, builder), then "
            "build_model(name, data)"
        )
    return spec


@torch.no_grad()
def count_outputs(model: nn.Module, shape: Sequence[int]) -> int:
    """How many classes `model` tells apart: the logits that it gives for one input of `shape`.

    A copy runs, so that `model` is not touched. Raises `InputError` if it does not take such an input, or gives
    something else than logits [1, classes].
    """
    twin = copy.deepcopy(model).eval()
    first = next(twin.parameters(), torch.zeros(()))
    try:
        logits = twin(torch.zeros(1, *shape, dtype=first.dtype, device=first.device))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{type(model).__name__} does not take inputs of shape {tuple(shape)} in batches: {reason}"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"{type(model).__name__} gives {given} for one input, where logits [1, classes] are needed")
    return logits.shape[1]


ARCHITECTURES: Registry[Builder] = Registry(
    "model",
    {
        "softmax": mlp(),
        "mlp-300-100": mlp(300, 100),
        "mlp-1000": mlp(1000),
        "lenet-5": lenet_5,
        "cnn-32-64": cnn_32_64,
        "cnn-1d": cnn_1d,
        "transformer-1d": transformer_1d,
    },
)
"""Every architecture by name: `ModelSpec` -> layers with names, or a whole module."""


def register_model(name: str, builder: Builder) -> Builder:
    """Make an architecture of your own known by its name, everywhere in this process.

    `builder(spec)` gives a network for inputs of `spec.shape` and `spec.n_classes` classes. For training on kept inputs
    from scratch it is asked for inputs of the shape (k,), or, if the network convolves, for the bounding box of the
    kept inputs, in the channels that have any. Raises `InputError` for a name that is taken, or a builder that cannot
    be called.
    """
    if not callable(builder):
        raise InputError(f"register_model takes a function from a ModelSpec to a network, not {builder!r}")
    return ARCHITECTURES.register(name, builder)
