"""What can run a network and what it takes there: eager torch and ONNX Runtime, as float32 and as int8."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..pruning import PixelMask, save_network
from .timing import Run

TOLERANCE = 1e-3
"""How far the answers of a file may be from the network's, relative to the largest one."""

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Picking(nn.Module):
    """A network on kept inputs behind what picks them out of full ones [n, *shape].

    They are picked along the first axis, whole rows of memory at a time: ONNX Runtime does that in half the time that
    it takes along the second.
    """

    indices: Tensor

    def __init__(self, network: nn.Module, mask: PixelMask) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("indices", mask.indices)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.flatten(1).t().index_select(0, self.indices).t())
        return logits


def without_onnx() -> str:
    """Why ONNX Runtime cannot be measured here, with the line that installs it; empty if it can."""
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if not missing:
        return ""
    return f"ONNX Runtime was not measured, since {' and '.join(missing)} is missing: pip install {' '.join(missing)}"


def write_onnx(network: nn.Module, example: Tensor, path: Path) -> None:
    """Write `network` for batches like `example` [n >= 2, ...] of any size. Raises `InputError` where that fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's exporters, about their own future
            torch.onnx.export(
                network,
                (example,),
                path,
                input_names=["inputs"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises whatever it meets in a network of anybody's
        raise InputError(f"it cannot be written as ONNX: {_reason(error)}") from error


def quantise_onnx(path: Path, target: Path) -> None:
    """Write the same network with the weights of its dense layers as int8. Raises `InputError` where that fails."""
    from onnxruntime.quantization import quantize_dynamic

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it recommends a step that is for other networks
    try:
        # Dense layers alone: ONNX Runtime has no convolution of signed bytes.
        quantize_dynamic(path, target, op_types_to_quantize=["MatMul", "Gemm"])
    except Exception as error:  # onnx, onnxruntime and protobuf each raise their own
        raise InputError(f"ONNX Runtime cannot make it int8: {_reason(error)}") from error
    finally:
        logging.disable(before)


def onnx_session(path: Path, threads: int) -> Any:
    """A session of ONNX Runtime on the CPU with so many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions share no base
        raise InputError(f"ONNX Runtime refuses it: {_reason(error)}") from error


def onnx_run(session: Any, x: Tensor, n_outputs: int) -> Run:
    """A call of a session on a batch, its input and output bound beforehand: no array is made or copied in it."""
    import numpy as np
    import onnxruntime

    values = x.numpy()
    binding = session.io_binding()
    binding.bind_ortvalue_input("inputs", onnxruntime.OrtValue.ortvalue_from_numpy(values))
    answer = np.zeros((len(x), n_outputs), values.dtype)
    binding.bind_ortvalue_output("logits", onnxruntime.OrtValue.ortvalue_from_numpy(answer))
    return lambda: session.run_with_iobinding(binding)


@torch.no_grad()
def check_answers(session: Any, network: nn.Module, x: Tensor, *, exactly: bool) -> None:
    """Raise `InputError` if a session does not run on such inputs, or, where it is to be exact, answers otherwise."""
    try:
        answer = onnx_logits(session, x)
    except Exception as error:  # its own exceptions share no base
        raise InputError(f"ONNX Runtime does not run it: {_reason(error)}") from error
    expected = network(x)
    if answer.shape != expected.shape:
        raise InputError(f"in ONNX Runtime it gives {tuple(answer.shape)}, and in torch {tuple(expected.shape)}")
    if exactly and float((answer - expected).abs().max()) > TOLERANCE * max(1.0, float(expected.abs().max())):
        raise InputError("in ONNX Runtime it answers otherwise than in torch")


def onnx_logits(session: Any, inputs: Tensor, batch: int = 1000) -> Tensor:
    """Logits [n, outputs] of a session for inputs [n, ...]."""
    return torch.cat(
        [torch.from_numpy(session.run(None, {"inputs": part.numpy()})[0]) for part in torch.split(inputs, batch)]
    )


def as_int8(network: nn.Module) -> nn.Module:
    """A copy whose dense layers have int8 weights, and quantise their inputs as they run.

    Raises `InputError` if this torch has no dynamic quantisation any more, or no dense layer could be changed.
    """
    try:
        with _without_warnings():
            from torch.ao.quantization import quantize_dynamic
        quantise: Any = quantize_dynamic  # which torch has not typed
    except ImportError as error:
        raise InputError("this torch has no dynamic quantisation any more: ONNX Runtime's is measured alone") from error
    try:
        with _without_warnings():
            small: nn.Module = quantise(network, {nn.Linear}, dtype=torch.qint8)
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        raise InputError(f"torch cannot make it int8: {_reason(error)}") from error
    if not any("quantized" in type(layer).__module__ for layer in small.modules()):
        raise InputError("it has no dense layer, and int8 weights are for dense layers alone")
    return small


def file_bytes(network: nn.Module) -> int:
    """Bytes of the file that holds a network: of safetensors, or of torch's own kind for one of int8."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        if any("quantized" in type(layer).__module__ for layer in network.modules()):
            torch.save(network.state_dict(), path)
        else:
            save_network(network, path)
        return path.stat().st_size


def peak_bytes(run: Run) -> int:
    """The most memory that one call holds at once, without weights and inputs.

    It is the largest running sum of what torch's allocator was asked for and given back (`torch.profiler` with
    `profile_memory`), on the CPU.
    """
    from torch.profiler import ProfilerActivity, profile

    with tempfile.TemporaryDirectory() as folder, _quiet_profiler(), torch.inference_mode():
        run()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            run()
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    moved = [event for event in events if event.get("name") == "[memory]" and event["args"].get("Device Type") == 0]
    held = most = 0
    for event in sorted(moved, key=lambda event: event["ts"]):
        held += int(event["args"]["Bytes"])
        most = max(most, held)
    return most


@contextmanager
def _quiet_profiler() -> Iterator[None]:
    """Keep torch's profiler from writing to stderr that there is no GPU."""
    name = "KINETO_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ.setdefault(name, "99")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it will leave torch
        yield


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
