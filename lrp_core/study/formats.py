"""Files of a network that run without this project: a `torch.export` program, and ONNX."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, StorageError

TOLERANCE = 1e-4
"""How far the logits of a file may be from the network's, relative to the largest one."""


@dataclass(frozen=True)
class Format:
    """A kind of file: its name in the folder, how it is written, how it answers, and the packages that it takes."""

    file: str
    write: Callable[[nn.Module, Tensor, Path], None]
    run: Callable[[Path, Tensor], Tensor]
    needs: tuple[str, ...] = ()


def write_format(name: str, network: nn.Module, example: Tensor, folder: Path) -> Path:
    """Write a network for inputs like `example` [n, ...] in one format, and check what the file answers.

    The file takes batches of any size. Raises `InputError` for packages that are missing or a network that the format
    cannot hold, `StorageError` for a file that answers otherwise than the network.
    """
    form = FORMATS[name]
    twin = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    path = folder / form.file
    check_packages(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's exporters, about their own future
            form.write(twin, example[:2], path)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"the network cannot be written as {name}: {reason}") from error
    with torch.no_grad():
        for batch in (example, example[:1]):
            expected, answer = twin(batch), form.run(path, batch)
            if answer.shape != expected.shape or _distance(answer, expected) > TOLERANCE:
                raise StorageError(f"{path.name} answers otherwise than the network: it is not offered")
    return path


def check_packages(name: str) -> None:
    """Raise `InputError` that says what to install for a format."""
    missing = [package for package in FORMATS[name].needs if find_spec(package) is None]
    if missing:
        raise InputError(
            f"the format {name} needs {' and '.join(missing)}: pip install {' '.join(FORMATS[name].needs)}"
        )


def _distance(answer: Tensor, expected: Tensor) -> float:
    return float((answer - expected).abs().max()) / max(1.0, float(expected.abs().max()))


def _write_pt2(network: nn.Module, example: Tensor, path: Path) -> None:
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=_any_batch()), path)


def _run_pt2(path: Path, x: Tensor) -> Tensor:
    logits: Tensor = torch.export.load(path).module()(x)
    return logits


def _write_onnx(network: nn.Module, example: Tensor, path: Path) -> None:
    torch.onnx.export(
        network,
        (example,),
        path,
        input_names=["inputs"],
        output_names=["logits"],
        dynamic_shapes=_any_batch(),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _run_onnx(path: Path, x: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"inputs": x.numpy()})[0])


def _any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)


FORMATS: dict[str, Format] = {
    "pt2": Format("network.pt2", _write_pt2, _run_pt2),
    "onnx": Format("network.onnx", _write_onnx, _run_onnx, ("onnx", "onnxscript", "onnxruntime")),
}
"""What can be written beside the weights."""
