"""A registry of architectures: name -> network, for any input shape and number of classes.

A network of your own needs no entry here. With one (`register_model`) it can also be built again, which training from
scratch takes.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .errors import InputError, check_choice
from .registry import Registry


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a network again: architecture, shape of one input, number of classes.

    A network with 1 output predicts a number.

    `shape` is (channels, height, width), or (features,) for networks on a flat vector. `dataset` names the
    data set that it was built for, if that is one that loads by its name.
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


Layers = list[tuple[str, nn.Module]]


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


def _mlp(*hidden: int) -> Builder:
    def build(spec: ModelSpec) -> Layers:
        layers: Layers = [("flatten", nn.Flatten())]
        width = math.prod(spec.shape)
        for i, n in enumerate(hidden, start=1):
            layers += [(f"fc{i}", nn.Linear(width, n)), (f"relu{i}", nn.ReLU())]
            width = n
        return [*layers, ("logits", nn.Linear(width, spec.n_classes))]

    return build


def _lenet_5(spec: ModelSpec) -> Layers:
    """LeCun et al. 1998 with ReLU and max-pooling: 6 and 16 maps of 5x5, then 120 and 84 units."""
    channels, *size = _image_shape(spec)
    first, size1 = _pool(size)
    padding = (0 if size1[0] >= 6 else 2, 0 if size1[1] >= 6 else 2)
    second, size2 = _pool([s + 2 * p - 4 for s, p in zip(size1, padding, strict=True)])
    return [
        ("conv1", nn.Conv2d(channels, 6, 5, padding=2)),
        ("relu1", nn.ReLU()),
        ("pool1", first),
        ("conv2", nn.Conv2d(6, 16, 5, padding=padding)),
        ("relu2", nn.ReLU()),
        ("pool2", second),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(16 * math.prod(size2), 120)),
        ("relu3", nn.ReLU()),
        ("fc2", nn.Linear(120, 84)),
        ("relu4", nn.ReLU()),
        ("logits", nn.Linear(84, spec.n_classes)),
    ]


def _cnn_32_64(spec: ModelSpec) -> Layers:
    """Two blocks of 3x3 convolution, batch-norm, ReLU and max-pooling, then 128 units with dropout."""
    channels, *size = _image_shape(spec)
    layers: Layers = []
    for i, maps in enumerate((32, 64), start=1):
        pool, size = _pool(size)
        layers += [
            (f"conv{i}", nn.Conv2d(channels, maps, 3, padding=1)),
            (f"bn{i}", nn.BatchNorm2d(maps)),
            (f"relu{i}", nn.ReLU()),
            (f"pool{i}", pool),
        ]
        channels = maps
    return [
        *layers,
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(channels * math.prod(size), 128)),
        ("relu3", nn.ReLU()),
        ("dropout", nn.Dropout(0.5)),
        ("logits", nn.Linear(128, spec.n_classes)),
    ]


def _image_shape(spec: ModelSpec) -> tuple[int, ...]:
    if len(spec.shape) != 3:
        raise InputError(
            f"{spec.architecture} needs images (channels, height, width), not inputs of shape {spec.shape}"
        )
    return spec.shape


def _pool(size: Sequence[int]) -> tuple[nn.Module, list[int]]:
    """2x2 max-pooling and the size it leaves; an axis that is only one pixel long is not pooled."""
    kernel = tuple(min(2, s) for s in size)
    return nn.MaxPool2d(kernel), [s // k for s, k in zip(size, kernel, strict=True)]


ARCHITECTURES: Registry[Builder] = Registry(
    "model",
    {
        "softmax": _mlp(),
        "mlp-300-100": _mlp(300, 100),
        "mlp-1000": _mlp(1000),
        "lenet-5": _lenet_5,
        "cnn-32-64": _cnn_32_64,
    },
)
"""Every architecture by name: `ModelSpec` -> layers with names, or a whole module."""


def register_model(name: str, builder: Builder) -> Builder:
    """Make an architecture of your own known by its name, everywhere in this process.

    `builder(spec)` gives a network for inputs of `spec.shape` and `spec.n_classes` classes. For training on kept inputs
    from scratch it is asked for inputs of the shape (k,), or, if the network convolves, for the bounding box of the
    kept inputs. Raises `InputError` for a name that is taken, or a builder that cannot be called.
    """
    if not callable(builder):
        raise InputError(f"register_model takes a function from a ModelSpec to a network, not {builder!r}")
    return ARCHITECTURES.register(name, builder)
