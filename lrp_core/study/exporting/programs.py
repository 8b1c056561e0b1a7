"""Files of torch and of ONNX: a state dict, a `torch.export` program, and graphs for ONNX Runtime."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError, StorageError
from ...storage import write_atomic


def write_state(network: nn.Module, path: Path) -> None:
    """Write a network's tensors by their names, and nothing else, as `torch.save` does."""
    state = {}
    for name, tensor in network.state_dict().items():
        if not isinstance(tensor, Tensor):
            raise InputError(f"{name!r} of {type(network).__name__} is no tensor: it cannot be saved without pickle")
        state[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def run_state(network: nn.Module, path: Path, inputs: Tensor) -> Tensor:
    """What a copy of `network` gives once it has the tensors in the file."""
    twin = copy.deepcopy(network).cpu().eval()
    twin.load_state_dict({name: torch.full_like(value, 1) for name, value in twin.state_dict().items()})
    twin.load_state_dict(torch.load(path, weights_only=True))
    logits: Tensor = twin(inputs)
    return logits


def write_program(network: nn.Module, example: Tensor, path: Path, what: str) -> None:
    """Write a `torch.export` program for batches of any size. Raises `InputError` for what cannot be exported."""
    buffer = io.BytesIO()
    with _refusing(what):
        torch.export.save(torch.export.export(_ready(network), (example[:2],), dynamic_shapes=_any_batch()), buffer)
    write_atomic(path, buffer.getvalue())


def open_program(path: Path) -> nn.Module:
    """The network in a `torch.export` program."""
    module: nn.Module = torch.export.load(path).module()
    return module


def write_onnx(network: nn.Module, example: Tensor, path: Path, what: str, output: str) -> None:
    """Write an ONNX graph for batches of any size, from "inputs" to `output`. Raises `InputError` as above."""
    with _refusing(what):
        program: Any = torch.onnx.export(
            _ready(network),
            (example[:2],),
            input_names=["inputs"],
            output_names=[output],
            dynamic_shapes=_any_batch(),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        content = program.model_proto.SerializeToString()
    write_atomic(path, content)


def open_onnx(path: Path) -> Any:
    """What runs an ONNX graph: a function of a batch of inputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(None, {"inputs": batch.numpy()})[0])


def _ready(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).cpu().eval().requires_grad_(False)


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn whatever torch's exporters raise into one sentence, and keep quiet what they say about their own future."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError as error:
        raise StorageError(f"the network cannot be written as {what}: {error.strerror or error}") from error
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"the network cannot be written as {what}: {reason}") from error


def _any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)
