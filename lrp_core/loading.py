"""Networks of your own, from where you say they are: `net.py:build`, `module:build`, a `.pt2` program, or an export.

Code is run only because a person named it: on the command line, in Python, or in `LRP_NETWORK` and `LRP_WEIGHTS`,
through which the processes that a command starts know it too.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .cards import CARD, check_files, read_card, score_of
from .cards import WEIGHTS as EXPORTED
from .errors import InputError, StorageError, storage_errors
from .models import ARCHITECTURES, HasShape, ModelSpec, build_model, count_outputs, register_model
from .pruning import load_network
from .registry import load_module
from .state_dicts import load_state, read_state

NETWORK, WEIGHTS = "LRP_NETWORK", "LRP_WEIGHTS"
"""Environment variables that hand a network of your own, and its weights, to other processes."""

ASKED = ("spec", "shape", "n_inputs", "n_classes", "num_classes")
"""What a function that builds a network can ask for, by the names of its parameters."""


@dataclass(frozen=True, eq=False)
class NetworkFrom:
    """A builder that is a function of your own, and the weights that its networks get.

    `fingerprint` tells it from another one of the same name: results are kept under it.
    """

    place: str
    function: Callable[..., nn.Module] | nn.Module
    state: Mapping[str, Tensor] | None = None
    trained: bool = False
    fingerprint: str = ""
    weights: str | None = None
    dataset: str | None = None
    """The data set that an export was made for."""

    @property
    def is_trained(self) -> bool:
        """Whether it comes with its weights, so that it is the baseline as it is."""
        return self.trained or self.state is not None

    @property
    def is_fixed(self) -> bool:
        """Whether it cannot start afresh on other inputs, which training from scratch takes."""
        return self.is_trained or not self._asks

    def __call__(self, spec: ModelSpec) -> nn.Module:
        """The network for a spec's shape and number of classes. Raises `InputError` for one that does not fit it."""
        if self.dataset is not None and spec.dataset not in (None, self.dataset):
            raise InputError(f"{self.place} was made for the data set {self.dataset}, not {spec.dataset}")
        network = self._built(spec)
        if self.state is not None:
            load_state(network, self.state, self.place)
        if all(not parameter.is_meta for parameter in network.parameters()):
            n_classes = count_outputs(network, spec.shape)
            if n_classes != spec.n_classes:
                raise InputError(f"{self.place} tells {n_classes} classes apart, and the data have {spec.n_classes}")
        return network

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process reads the files itself."""
        return _builder, (self.place, self.weights)

    @property
    def _asks(self) -> tuple[str, ...]:
        """What of `ASKED` the function is called with."""
        if isinstance(self.function, nn.Module):
            return ()
        parameters = inspect.signature(self.function).parameters.values()
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [p.name for p in parameters if p.default is p.empty and p.kind not in kinds and p.name not in ASKED]
        if needed:
            raise InputError(
                f"{self.place} asks for {' and '.join(needed)}: a function that builds a network can ask for "
                f"{', '.join(ASKED)}, and gives its other parameters a default"
            )
        return tuple(p.name for p in parameters if p.name in ASKED)

    def _built(self, spec: ModelSpec) -> nn.Module:
        if isinstance(self.function, nn.Module):
            return copy.deepcopy(self.function)
        values = {
            "spec": spec,
            "shape": spec.shape,
            "n_inputs": torch.Size(spec.shape).numel(),
            "n_classes": spec.n_classes,
            "num_classes": spec.n_classes,
        }
        network = self.function(**{name: values[name] for name in self._asks})
        if not isinstance(network, nn.Module):
            raise InputError(f"{self.place} gives {type(network).__name__}, and not a network (torch.nn.Module)")
        return network


def open_network(
    place: str, data: HasShape | None = None, *, weights: str | Path | None = None, seed: int = 0
) -> nn.Module:
    """The network that a person names, for `data`.

    `place` is `FILE.py:FUNCTION`, `MODULE:FUNCTION`, a `.pt2` file that `torch.export.save` wrote, or the folder of an
    export of a network on all inputs. The function gives a `torch.nn.Module`; it is called with what its parameters
    ask for, of `ASKED`. `weights` is a file of its state dict, by safetensors or `torch.save`; nothing else is ever
    unpickled.

    A `.py` and a `.pt2` file run the code in them: name only what you trust. Raises `InputError` for a place, a
    network or weights that do not fit, `StorageError` for a file that cannot be read.
    """
    return build_model(use_network(place, weights), data, seed=seed)


def use_network(place: str, weights: str | Path | None = None) -> str:
    """Make a network of your own known by a name, in this process, and give the name; `open_network` says the rest."""
    where = _absolute(str(place))
    builder = _builder(where, None if weights is None else str(Path(weights).expanduser().resolve()))
    if Path(where).is_dir():  # its name could be that of one of the project's networks
        name = f"export:{Path(where).name}"
    else:
        name = Path(place).name.removesuffix(".pt2").replace(".py:", ":")
    name = name.replace(",", " ")
    register_model(name, builder)
    return name


def name_for_others(place: str, weights: str | Path | None = None) -> str:
    """`use_network`, in the processes that this one starts as well."""
    name = use_network(place, weights)
    os.environ[NETWORK] = _absolute(place)
    os.environ.pop(WEIGHTS, None)
    if weights is not None:
        os.environ[WEIGHTS] = str(Path(weights).expanduser().resolve())
    return name


def _use_named() -> None:
    """Make known what `LRP_NETWORK` names, if it does."""
    if place := os.environ.get(NETWORK):
        use_network(place, os.environ.get(WEIGHTS) or None)


ARCHITECTURES.load_first(_use_named)


def use_given(network: nn.Module) -> str:
    """Make a network that is given as an object known by a name: its class, and a digest of what it holds."""
    state = hashlib.blake2b(str(network).encode(), digest_size=4)
    for name, tensor in network.state_dict().items():
        state.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    name = f"{type(network).__name__.lower()}-{state.hexdigest()}"
    if name not in ARCHITECTURES:
        register_model(name, GivenNetwork(copy.deepcopy(network).cpu()))
    return name


@dataclass(frozen=True, eq=False)
class GivenNetwork:
    """A builder that gives copies of one network, weights and all: it cannot start afresh."""

    network: nn.Module
    is_fixed: bool = True
    fingerprint: str = ""
    """None is needed beside the name, which has a digest of the network."""

    def __call__(self, spec: ModelSpec) -> nn.Module:
        return copy.deepcopy(self.network)


def _absolute(place: str) -> str:
    """The same place from any folder."""
    file, colon, function = place.rpartition(":")
    if colon and file.endswith(".py"):
        return f"{Path(file).expanduser().resolve()}:{function}"
    path = Path(place).expanduser()
    return str(path.resolve()) if place.endswith(".pt2") or path.is_dir() else place


def _builder(place: str, weights: str | None) -> NetworkFrom:
    if Path(place).is_dir():
        return _exported(Path(place), weights)
    state = None if weights is None else read_state(weights)
    if place.endswith(".pt2"):
        path = Path(place)
        return NetworkFrom(place, _program(path), state, True, _digest(path.read_bytes(), weights), weights)
    if Path(place).suffix in (".onnx", ".pt", ".pth", ".safetensors", ".h5", ".keras"):
        raise InputError(_WAYS_OUT[Path(place).suffix].format(place=place))
    file, colon, name = place.rpartition(":")
    if not colon or not name.isidentifier():
        raise InputError(
            f"{place!r} names no function: say FILE.py:FUNCTION, MODULE:FUNCTION, a .pt2 file, or the folder of an "
            "export"
        )
    try:
        module = load_module(file)
    except Exception as error:
        raise InputError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if isinstance(function, nn.Module):
        raise InputError(
            f"{place} is a network, which every process would make again: name a function that gives it, and what it "
            "has learned as its weights"
        )
    if not callable(function):
        near = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        raise InputError(f"{file} has no function {name!r}: it has {', '.join(near) or 'none'}")
    code = getattr(module, "__file__", None)
    source = Path(code).read_bytes() if code else b""
    return NetworkFrom(place, function, state, False, _digest(source, weights), weights)


def _exported(folder: Path, weights: str | None) -> NetworkFrom:
    """The network on all inputs in the folder of an export."""
    if not (folder / CARD).is_file():
        raise InputError(f"{folder} is a folder without {CARD}: name the folder of an export, or FILE.py:FUNCTION")
    if weights is not None:
        raise InputError(f"{folder} is an export, which holds its own weights: leave --weights out")
    card = read_card(folder)
    check_files(folder, card)
    if "structure" in card["network"]:
        raise InputError(
            f"{folder} holds a network that reads {len(card['input']['kept_pixels'])} of "
            f"{math.prod(card['input']['shape'])} inputs by themselves, and a study starts from all of them: export "
            "the full network with --removed 0 and name that one"
        )
    if "class" in card["network"]:
        raise InputError(
            f"{folder} holds the weights of a {card['network']['class']}, which no file can build: name the function "
            f"that does, and {folder / EXPORTED} as its weights"
        )
    network = load_network(folder / EXPORTED)
    digest = card["files"][EXPORTED]["sha256"]
    return NetworkFrom(str(folder), network, None, True, digest, dataset=score_of(card)["dataset"])


_BARE = "{place} holds weights alone: name the function that builds the network, and this file as its weights"
_WAYS_OUT = {
    ".onnx": "{place} is an ONNX graph, which is not read here: pip install onnx2torch, and name a function of yours "
    "that gives onnx2torch.convert({place!r})",
    ".h5": "{place} is a Keras file: build the network in torch, and name the function",
    ".keras": "{place} is a Keras file: build the network in torch, and name the function",
    **dict.fromkeys((".pt", ".pth", ".safetensors"), _BARE),
}


def _program(path: Path) -> nn.Module:
    """The network in a file of `torch.export.save`."""
    from .lrp.reading.preparation import evaluated

    with storage_errors("read", path):
        path.open("rb").close()
    try:
        return evaluated(torch.export.load(path))
    except Exception as error:
        raise StorageError(f"{path} is damaged, or no program that torch.export.save wrote: {error}") from error


def _digest(source: bytes, weights: str | None) -> str:
    state = hashlib.blake2b(source, digest_size=6)
    if weights is not None:
        state.update(Path(weights).expanduser().read_bytes())
    return state.hexdigest()
