"""Networks as safetensors files that say themselves how to build what they hold. Nothing is ever unpickled."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import InputError, LrpError, StorageError, storage_errors
from ..models import ModelSpec, build_from_spec, spec_of
from ..storage import write_atomic
from .descriptions import build_layers, describe_layers
from .mask import PixelMask
from .network import PrunedNetwork, build_pruned, prune_inputs
from .shrinking import Widths, resize, widths_of

MAX_INPUTS = 2**24
"""A file that describes a network on more inputs than these is refused before anything is built."""

_MASK = "mask.indices"
_META = "lrp_core"


def describe(network: nn.Module) -> dict[str, Any]:
    """Everything but the tensors that is needed to build it again, as plain values for JSON.

    One of the project's networks is known by its spec, one of torch's own layers by a list of them. Of any other one
    there is only the name of its class: it has to be given again to `load_network`. Of one that has lost hidden units
    there are the widths that its layers are left with, beside what it was made from.
    """
    pruned = network if isinstance(network, PrunedNetwork) else None
    spec = pruned.spec if pruned else spec_of(network)
    layers = pruned.layers if pruned else describe_layers(network)
    if spec is not None and (spec.is_built_in or layers is None):
        description: dict[str, Any] = {"model": asdict(spec)}
    elif layers is not None:
        description = {"layers": layers}
    else:
        description = {"class": type(network).__name__ if pruned is None else pruned.made_from}
    if widths := widths_of(network):
        description["widths"] = {name: list(sizes) for name, sizes in widths.items()}
    if pruned is None:
        return description
    shape = {} if "model" in description else {"shape": list(pruned.mask.shape)}
    return description | shape | {"structure": pruned.structure, "fill": pruned.fill}


def save_network(network: nn.Module, path: Path) -> None:
    """Write a network's weights, and for a pruned one its kept inputs, to one safetensors file, atomically.

    Raises `InputError` for a network that stores something else than tensors.
    """
    write_atomic(path, to_bytes(network))


def to_bytes(network: nn.Module) -> bytes:
    """What `save_network` writes."""
    tensors = {}
    for name, tensor in network.state_dict().items():
        if not isinstance(tensor, Tensor):
            raise InputError(f"{name!r} of {type(network).__name__} is no tensor: it cannot be saved without pickle")
        # A copy, as layers may share weights, and a file holds every tensor for itself.
        tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(network, PrunedNetwork):
        tensors[_MASK] = network.mask.indices
    description = json.dumps(describe(network))
    return _with_metadata(save(tensors), {"format": "pt", _META: f"{checksum(description, tensors)} {description}"})


def _with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """A safetensors file with metadata, in this order: the library writes several entries in a random one."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps({"__metadata__": metadata} | json.loads(content[8 : 8 + size]), separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def checksum(description: str, tensors: dict[str, Tensor]) -> str:
    """Digest of all that a file holds: a flipped bit in a shape can describe another network just as well."""
    state = hashlib.blake2b(description.encode(), digest_size=16)
    for name in sorted(tensors):
        state.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        state.update(tensors[name].flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def load_network(path: Path, network: nn.Module | None = None) -> nn.Module:
    """Read a network back, in evaluation mode.

    A file that holds a module of your own, other than a sequence of torch's layers, needs `network`: one that was
    built in the same way, before pruning. It is not changed. Raises `StorageError` for a file that is missing,
    truncated, not of this project, or whose tensors do not fit what it describes; nothing larger than the file itself
    is allocated before that is known. Raises `InputError` if `network` is missing.
    """
    with storage_errors("read", path):
        size = path.stat().st_size
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        stated, text = meta[_META].split(" ", 1)
        if checksum(text, tensors) != stated:
            raise ValueError("checksum")
        description = json.loads(text)
    except (SafetensorError, *_MALFORMED, OSError) as error:
        raise StorageError(f"{path} ({size:,} bytes) is truncated, damaged or no network of this project") from error
    if network is None and isinstance(description, dict) and "class" in description:
        raise InputError(
            f"{path} holds a network of the class {str(description['class'])[:100]!r}, which no file can build: give "
            "one that was built in the same way, network=..."
        )
    try:
        rebuilt = _skeleton(description, tensors.pop(_MASK, None), network)
        _check_types(rebuilt, tensors)
        rebuilt.load_state_dict(tensors, strict=True, assign=True)
    except (LrpError, RuntimeError, *_MALFORMED) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StorageError(f"{path} does not fit what it says it holds: {reason}") from error
    return rebuilt.eval()


_MALFORMED = (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)
"""What reading values of the wrong kind out of somebody's JSON raises."""


def _skeleton(description: dict[str, Any], indices: Tensor | None, given: nn.Module | None) -> nn.Module:
    """A network of the described form whose tensors take no memory; `indices` are the kept inputs of a pruned one.

    One that is `given` is taken, as a copy, in place of what the description would build.
    """
    if indices is not None and indices.dtype != torch.int64:
        raise InputError(f"the kept pixels must be int64 positions, not {indices.dtype}")
    if "model" in description and given is None:
        return _of_spec(description, indices)
    if isinstance(given, PrunedNetwork):
        if indices is None or not torch.equal(indices, given.mask.indices):
            raise InputError("the network that was given is pruned to other inputs: give the full one")
        return copy.deepcopy(given)
    full: nn.Module = build_layers(description["layers"]) if given is None else copy.deepcopy(given)
    if widths := _widths_of(description):
        full = resize(full, widths)
    if indices is None:
        return full
    shape = _shape_of(description["model"]["shape"] if "model" in description else description["shape"])
    small = prune_inputs(full, PixelMask(indices, shape), fill=float(description["fill"]))
    if small.structure != description["structure"]:
        raise InputError(f"pruned, the network is {small.structure!r}, not {description['structure']!r}")
    return small


def _of_spec(description: dict[str, Any], indices: Tensor | None) -> nn.Module:
    """A network that can be built by the name of its architecture."""
    model = description["model"]
    dataset = model["dataset"]
    if dataset is not None and not isinstance(dataset, str):
        raise InputError(f"a data set is known by its name, not as {dataset!r}")
    shape = _shape_of(model["shape"])
    spec = ModelSpec(str(model["architecture"]), shape, int(model["n_classes"]), dataset)
    widths = _widths_of(description)
    if indices is None or widths:
        full: nn.Module = resize(build_from_spec(spec, device="meta"), widths)
    if indices is None:
        return full
    mask, fill = PixelMask(indices, spec.shape), float(description["fill"])
    structure: Any = "sliced" if description["structure"] == "canvas" else description["structure"]
    if widths:
        small = prune_inputs(full, mask, fill=fill)
    else:
        small = build_pruned(spec, mask, fill=fill, structure=structure, device="meta")
    if small.structure != description["structure"]:
        raise InputError(f"pruned, the network is {small.structure!r}, not {description['structure']!r}")
    return small


def _widths_of(description: dict[str, Any]) -> Widths:
    """The widths that layers are left with, where a description says any. Raises `InputError` for no whole numbers."""
    widths = description.get("widths", {})
    if not isinstance(widths, dict):
        raise InputError(f"widths are those of layers by name, not {widths!r}")
    for name, sizes in widths.items():
        rows, columns = sizes
        if type(rows) is not int or (columns is not None and type(columns) is not int):
            raise InputError(f"the widths of a layer are whole numbers, not {sizes!r} of {name!r}")
    return {name: (rows, columns) for name, (rows, columns) in widths.items()}


def _shape_of(sizes: Any) -> tuple[int, ...]:
    shape = tuple(int(s) for s in sizes)
    if math.prod(shape) > MAX_INPUTS:
        raise InputError(f"{math.prod(shape):,} inputs are more than the {MAX_INPUTS:,} that are allowed")
    return shape


def _check_types(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Weights are floating point of one kind; counters are what they are in torch."""
    kinds = {tensors[name].dtype for name, p in network.named_parameters() if name in tensors}
    if len(kinds) > 1 or not all(kind.is_floating_point for kind in kinds):
        raise InputError(f"weights must be floating point of one kind, not {', '.join(sorted(map(str, kinds)))}")
    for name, buffer in network.named_buffers():
        if name in tensors and tensors[name].is_floating_point() != buffer.is_floating_point():
            raise InputError(f"{name} must not be {tensors[name].dtype}")
