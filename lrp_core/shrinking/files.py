"""A path as a safetensors file: what went in which order, and the networks on its way. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path as File
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import StorageError, storage_errors
from ..pruning.units import Coupling
from ..storage import write_atomic
from .budget import COUNTED
from .path import Path, Rung

_ORDER, _COSTS, _META = "order", "costs.", "lrp_core_path"


def save_path(path: Path, file: File) -> None:
    """Write a path, atomically."""
    tensors: dict[str, Tensor] = {_ORDER: path.order} | {_COSTS + unit: path.costs[unit] for unit in COUNTED}
    rungs = []
    for number, rung in enumerate(path.rungs):
        tensors |= {f"{number}.{name}": value.clone().contiguous() for name, value in rung.weights.items()}
        rungs.append({name: value for name, value in asdict(rung).items() if name != "weights"})
    text = json.dumps({"units": path.coupling.n_units, "rungs": rungs})
    write_atomic(file, save(tensors, {_META: f"{_checksum(text, tensors)} {text}"}))


def load_path(file: File, coupling: Coupling) -> Path:
    """Read a path of the network with these units. Raises `StorageError` for a file that is damaged, or of another."""
    with storage_errors("read", file):
        file.open("rb").close()
    try:
        with safe_open(file, framework="pt") as opened:
            stated, text = (opened.metadata() or {})[_META].split(" ", 1)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if _checksum(text, tensors) != stated:
            raise ValueError("checksum")
        described: dict[str, Any] = json.loads(text)
        if described["units"] != coupling.n_units:
            raise ValueError("units")
        rungs = tuple(_rung(one, number, tensors) for number, one in enumerate(described["rungs"]))
        return Path(coupling, tensors[_ORDER], {unit: tensors[_COSTS + unit] for unit in COUNTED}, rungs)
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise StorageError(f"{file} is damaged, or the path of another network: delete it, and it is made again") from (
            error
        )


def _rung(described: dict[str, Any], number: int, tensors: dict[str, Tensor]) -> Rung:
    start = f"{number}."
    weights = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    return Rung(**described, weights=weights)


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    state = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        state.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        state.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()
