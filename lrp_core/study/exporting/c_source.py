"""A network as a C99 header whose forward pass allocates nothing, with an example; compiled and run to be checked."""

from __future__ import annotations

import math
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...data import Dataset
from ...errors import InputError, StorageError, storage_errors
from ...storage import write_atomic
from . import c_text
from .c_layers import Step, count_weights
from .deployed import standardisation
from .formats import find_compiler

MOST_WEIGHTS = 5_000_000
"""A header with more weights than these is tens of megabytes of text, which compilers take minutes for."""

FLAGS = ("-std=c99", "-O2", "-Wall", "-Werror")

Arrays = dict[str, tuple[str, np.ndarray]]
"""The constants of a step by their role: their type in C, and their values."""


@dataclass(frozen=True, eq=False)
class CNetwork:
    """What is written: the `steps` of a network, the positions of its `kept` inputs, and whether weights are bytes."""

    steps: Sequence[Step]
    kept: Sequence[int]
    data: Dataset
    is_int8: bool

    def write(self, folder: Path) -> None:
        """Write `network.h` and `example.c`. Raises `InputError` for a network that is too large for a header."""
        if (n := count_weights(self.steps)) > MOST_WEIGHTS:
            raise InputError(
                f"the network has {n:,} weights, and a C header holds up to {MOST_WEIGHTS:,}: choose onnx or pt2"
            )
        write_atomic(folder / "network.h", "".join(self._header()).encode())
        write_atomic(folder / "example.c", c_text.EXAMPLE.encode())

    def _header(self) -> Iterator[str]:
        data, target = self.data, self.data.target
        yield c_text.HEAD.format(
            weights="int8" if self.is_int8 else "float",
            gives="the number, in its own unit" if target else "a logit for each class, in the order of card.json",
            takes=c_text.RAW if data.scaler else c_text.PIXELS if data.train.is_bytes else c_text.NUMBERS,
            inputs=data.n_inputs,
            kept=len(self.kept),
            outputs=self.steps[-1].outputs,
            output="double" if target else "float",
            weight="signed char" if self.is_int8 else "float",
            memory=max(len(self.kept), *(max(step.inputs, step.outputs) for step in self.steps)),
        )
        names = list(dict.fromkeys(step.name for step in self.steps))
        if set(names) & set(c_text.SLIDING):
            yield c_text.WINDOW
        for name in names:
            given, times = ("const float *step, ", " * step[o]") if self.is_int8 else ("", "")
            yield c_text.FUNCTIONS[name].replace("@STEP@", given).replace("@TIMES@", times)
        yield "\n"
        taken, reads_all = standardisation(data), list(self.kept) == list(range(data.n_inputs))
        if not reads_all:
            yield _array("long", "network_kept", np.asarray(self.kept))
        for name, part in zip(("mean", "scale"), taken or (), strict=False):
            yield _array("double", f"network_{name}", part.flatten().numpy()[list(self.kept)])
        calls = []
        for i, step in enumerate(self.steps):
            arrays = self._arrays(step)
            yield from (_array(kind, f"network_{name}_{i}", values) for name, (kind, values) in arrays.items())
            if step.name in c_text.SLIDING:
                yield f"static const network_window network_window_{i} = {{{', '.join(map(str, step.numbers))}}};\n"
            calls.append(_call(i, step, arrays))
        take = "{0}" if taken is None else "(float)(({0} - network_mean[i]) / network_scale[i])"
        give = f"network_memory[{len(self.steps) % 2}][i]"
        yield c_text.TAIL.format(
            calls="".join(calls),
            give=give if target is None else f"{give} * {target.scale!r} + {target.mean!r}",
            take_kept=take.format("inputs[i]"),
            take=take.format("inputs[i]" if reads_all else "inputs[network_kept[i]]"),
        )

    def _arrays(self, step: Step) -> Arrays:
        """The constants of a step; weights as bytes, with the step between two of each output, where they are to be."""
        arrays: Arrays = {}
        for name, values in step.arrays.items():
            if name == "weights" and self.is_int8:
                largest = np.abs(values).max(1, initial=0)
                scale = np.where(largest > 0, largest / 127, 1)
                arrays["weights"] = ("signed char", np.rint(values / scale[:, None]).astype(np.int64))
                arrays["step"] = ("float", scale)
            elif name == "weights":
                arrays["weights"] = ("float", values)
            else:
                arrays[name] = ("long" if name == "places" else "float", values)
        return arrays


def run_c(folder: Path, raw: Tensor, *, kept: bool = False) -> tuple[Tensor, str]:
    """The outputs, float64, that the compiled example gives for raw inputs [n, ...], and the compiler that made it.

    With `kept`, these are the kept inputs alone. Raises `StorageError` if it does not compile or run here.
    """
    compiler = find_compiler()
    if compiler is None:
        raise InputError("there is no C compiler here: install one, gcc say, or choose another format")
    rows = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in raw.flatten(1).tolist())
    with storage_errors("compile C in", Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as place:
        program = str(Path(place) / "example")
        _run([compiler, *FLAGS, "example.c", "-o", program, "-lm"], folder)
        answer = _run([program, *(["kept"] if kept else [])], folder, rows)
    said = _run([compiler, "--version"], folder).splitlines()
    values = [[float(value) for value in line.split()] for line in answer.splitlines()]
    return torch.tensor(values, dtype=torch.float64), said[0] if said else compiler


def _run(command: Sequence[str], folder: Path, given: str = "") -> str:
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ends with code {done.returncode}"]
        reason = next((line for line in lines if "error" in line), lines[0])
        raise StorageError(f"the C files of the network do not work here, so they are not offered: {reason}")
    return done.stdout


def _call(i: int, step: Step, arrays: Arrays) -> str:
    """The line that runs a step, from one half of the memory to the other one."""
    given = [f"network_{name}_{i}" for name in arrays]
    if step.name in c_text.SLIDING:
        given.append(f"&network_window_{i}")
    else:
        given += map(str, step.numbers or (step.inputs, step.outputs))
    return f"    network_{step.name}(network_memory[{i % 2}], network_memory[{(i + 1) % 2}], {', '.join(given)});\n"


def _array(kind: str, name: str, values: np.ndarray) -> str:
    """A constant array in C; one without values holds a zero, since C has no empty ones."""
    flat = values.flatten().tolist() or [0]
    write = {"float": _float, "double": repr}.get(kind, str)
    texts = [write(value) for value in flat]
    lines = (", ".join(texts[start : start + 10]) for start in range(0, len(texts), 10))
    return f"static const {kind} {name}[] = {{\n    " + ",\n    ".join(lines) + "};\n"


def _float(value: float) -> str:
    """A number in C, exact in float."""
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if set(text) & set(".e") else f"{text}.0f"
