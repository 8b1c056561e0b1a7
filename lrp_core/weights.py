"""Networks as safetensors files that say themselves how to build what they hold. Nothing is ever unpickled."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .errors import LrpError, StorageError, storage_errors
from .models import ARCHITECTURES, ModelSpec, Network, build_from_spec
from .pruning import PixelMask, PrunedNetwork, build_pruned
from .storage import write_atomic

MAX_PARAMETERS = 2**28
"""A file that asks for a larger network than this (1 GiB of float32) is refused before anything is built."""

_MASK = "mask.indices"
_META = "lrp_core"


def describe(network: Network | PrunedNetwork) -> dict[str, Any]:
    """Everything but the tensors that `build_network` needs, as plain values for JSON."""
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
    content: bytes = save(tensors, metadata={_META: json.dumps(describe(network))})
    return content


def load_network(path: Path) -> Network | PrunedNetwork:
    """Read a network back, in evaluation mode.

    Raises `StorageError` for a file that is missing, truncated, not of this project, or whose tensors do not
    fit what it describes.
    """
    with storage_errors("read", path):
        size = path.stat().st_size
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})[_META])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise StorageError(f"{path} ({size:,} bytes) is truncated, damaged or no network of this project") from error
    try:
        network = build_network(description, tensors.pop(_MASK, None))
        network.load_state_dict(tensors, strict=True)
    except (LrpError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StorageError(f"{path} does not fit what it says it holds: {reason}") from error
    return network.eval()


def build_network(description: dict[str, Any], indices: torch.Tensor | None) -> Network | PrunedNetwork:
    """An untrained network of the described form; `indices` are the kept pixels of a pruned one."""
    model = description["model"]
    spec = ModelSpec(
        str(model["architecture"]),
        tuple(int(s) for s in model["shape"]),
        int(model["n_classes"]),
        model.get("dataset"),
    )
    _check_size(spec)
    if indices is None:
        return build_from_spec(spec)
    mask = PixelMask.from_indices(indices, spec.shape)
    return build_pruned(spec, mask, fill=float(description["fill"]), structure=description["structure"])


def _check_size(spec: ModelSpec) -> None:
    if spec.architecture in ARCHITECTURES and spec.shape and min(spec.shape) > 0 and math.prod(spec.shape) < 2**31:
        with torch.device("meta"):
            n_parameters = sum(p.numel() for p in build_from_spec(spec).parameters())
        if n_parameters <= MAX_PARAMETERS:
            return
        raise StorageError(f"a network of {n_parameters:,} parameters is more than the {MAX_PARAMETERS:,} allowed")
    raise StorageError(f"no network of architecture {spec.architecture!r} for inputs of shape {spec.shape} is known")
