"""What a network has learned, read from the files that people have. Only tensors are ever unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .errors import InputError, StorageError, storage_errors


def read_state(path: str | Path) -> dict[str, Tensor]:
    """A state dict from a safetensors file, or one of `torch.save`, of which only tensors are ever unpickled.

    It may lie in a checkpoint under "state_dict", "model" or "weights"; what wrappers put before names is taken off.
    Raises `StorageError` for a file that holds none.
    """
    path = Path(path).expanduser()
    with storage_errors("read", path):
        path.open("rb").close()
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise StorageError(f"{path} is damaged, or no safetensors file: {error}") from error
    except Exception as error:
        raise StorageError(
            f"{path} holds something else than tensors, or is damaged: save the network's state_dict() with "
            f"safetensors or torch.save ({(str(error).splitlines() or [''])[0]})"
        ) from error
    for key in ("state_dict", "model_state_dict", "model", "weights"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise StorageError(
            f"{path} holds no state dict: save the network's state_dict() with safetensors or torch.save"
        )
    state: dict[str, Tensor] = dict(content)
    for prefix in ("_orig_mod.", "module."):
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def load_state(network: nn.Module, state: Mapping[str, Tensor], place: str) -> None:
    """Give a network its tensors. Raises `InputError` for others than it has; `place` says where it comes from."""
    own = network.state_dict()
    lacking, over = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    other = sorted(n for n in set(own) & set(state) if own[n].shape != state[n].shape)
    if lacking or over or other:
        parts = [f"it lacks {_few(lacking)}"] if lacking else []
        parts += [f"it has {_few(over)} too"] if over else []
        parts += [f"{n} is {tuple(state[n].shape)}, not {tuple(own[n].shape)}" for n in other[:1]]
        raise InputError(f"the weights do not fit the network of {place}: {', '.join(parts)}")
    if all(not value.is_meta for value in own.values()):
        network.load_state_dict(dict(state))


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
