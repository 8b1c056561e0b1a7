"""Networks as safetensors files that say themselves how to build what they hold. Nothing is ever unpickled."""

from __future__ import annotations

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
from ..models import ModelSpec, Network, build_from_spec
from ..storage import write_atomic
from .mask import PixelMask
from .network import PrunedNetwork, build_pruned

MAX_INPUTS = 2**24
"""A file that describes a network on more inputs than these is refused before anything is built."""

_MASK = "mask.indices"
_META = "lrp_core"


def describe(network: Network | PrunedNetwork) -> dict[str, Any]:
    """Everything but the tensors that is needed to build it again, as plain values for JSON."""
    description: dict[str, Any] = {"model": asdict(network.spec)}
    if isinstance(network, PrunedNetwork):
        description |= {"structure": network.structure, "fill": network.fill}
    return description


def save_network(network: Network | PrunedNetwork, path: Path) -> None:
    """Write a network's weights, and for a pruned one its kept pixels, to one safetensors file, atomically."""
    write_atomic(path, to_bytes(network))


def to_bytes(network: Network | PrunedNetwork) -> bytes:
    """What `save_network` writes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if isinstance(network, PrunedNetwork):
        tensors[_MASK] = network.mask.indices
    description = json.dumps(describe(network))
    content: bytes = save(tensors, metadata={_META: f"{checksum(description, tensors)} {description}"})
    return content


def checksum(description: str, tensors: dict[str, Tensor]) -> str:
    """Digest of all that a file holds: a flipped bit in a shape can describe another network just as well."""
    state = hashlib.blake2b(description.encode(), digest_size=16)
    for name in sorted(tensors):
        state.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        state.update(tensors[name].flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def load_network(path: Path) -> Network | PrunedNetwork:
    """Read a network back, in evaluation mode.

    Raises `StorageError` for a file that is missing, truncated, not of this project, or whose tensors do not
    fit what it describes; nothing larger than the file itself is allocated before that is known.
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
    try:
        network = _skeleton(description, tensors.pop(_MASK, None))
        _check_types(network, tensors)
        network.load_state_dict(tensors, strict=True, assign=True)
    except (LrpError, RuntimeError, *_MALFORMED) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StorageError(f"{path} does not fit what it says it holds: {reason}") from error
    return network.eval()


_MALFORMED = (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)
"""What reading values of the wrong kind out of somebody's JSON raises."""


def _skeleton(description: dict[str, Any], indices: Tensor | None) -> Network | PrunedNetwork:
    """A network of the described form whose tensors take no memory; `indices` are the kept pixels of a pruned one."""
    model = description["model"]
    dataset = model["dataset"]
    if dataset is not None and not isinstance(dataset, str):
        raise InputError(f"a data set is known by its name, not as {dataset!r}")
    shape = tuple(int(s) for s in model["shape"])
    if math.prod(shape) > MAX_INPUTS:
        raise InputError(f"{math.prod(shape):,} inputs are more than the {MAX_INPUTS:,} that are allowed")
    spec = ModelSpec(str(model["architecture"]), shape, int(model["n_classes"]), dataset)
    if indices is None:
        network: Network = build_from_spec(spec, device="meta")
        return network
    if indices.dtype != torch.int64:
        raise InputError(f"the kept pixels must be int64 positions, not {indices.dtype}")
    mask, fill = PixelMask(indices, spec.shape), float(description["fill"])
    return build_pruned(spec, mask, fill=fill, structure=description["structure"], device="meta")


def _check_types(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Weights are floating point of one kind; counters are what they are in torch."""
    kinds = {tensors[name].dtype for name, p in network.named_parameters() if name in tensors}
    if len(kinds) > 1 or not all(kind.is_floating_point for kind in kinds):
        raise InputError(f"weights must be floating point of one kind, not {', '.join(sorted(map(str, kinds)))}")
    for name, buffer in network.named_buffers():
        if name in tensors and tensors[name].is_floating_point() != buffer.is_floating_point():
            raise InputError(f"{name} must not be {tensors[name].dtype}")
