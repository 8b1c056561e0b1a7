"""Writing a network in each format, and running what was written before it is offered."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...cards import WEIGHTS, sha256_of
from ...data import Dataset
from ...errors import StorageError, storage_errors
from ...pruning import PrunedNetwork
from ...pruning.files import describe, load_network, save_network
from . import standalone
from .c_layers import steps_of_network
from .c_source import CNetwork, run_c
from .deployed import Deployed, Kind, Probe, in_batches
from .formats import FORMATS
from .programs import open_onnx, open_program, run_state, write_onnx, write_program, write_state

TOLERANCES = (1e-5, 2e-5, 5e-5, 1e-4)
"""How far the logits of a file may be from the network's, relative to the largest one: the first if that is possible.

Sums of many numbers in float32 differ by more, in another order, for some networks. The card says which was taken.
"""

C_MACS = 2_000_000_000
"""Multiply-accumulates that a C file is checked with, at 100 rows or more."""

LEAST_EQUAL, MOST_APART = 0.9, 0.1
"""With weights of one byte, so many rows must get the same class; numbers may differ by so much of the largest one."""


@dataclass(frozen=True, eq=False)
class Making:
    """An export in the making: a network, its data, rows to check files with, and the folder they are written to."""

    network: nn.Module
    data: Dataset
    probe: Probe
    card: dict[str, Any]
    folder: Path

    def weights(self) -> dict[str, Any]:
        """`weights.safetensors`: what the card says of it, by its name."""
        path = self.folder / WEIGHTS
        save_network(self.network, path)
        found = load_network(path, self.network) if "class" in describe(self.network) else load_network(path)
        check = self._check(WEIGHTS, self.probe.distance(in_batches(found, self.probe.encoded)), _torch())
        return {WEIGHTS: self._entry(WEIGHTS, "safetensors", self._encoded(), check)}

    def file(self, name: str) -> dict[str, Any]:
        """The files of a format: what the card says of each, by its name. Raises `InputError` and `StorageError`."""
        makers: dict[str, Callable[[], dict[str, Any]]] = {
            "safetensors": self.weights,
            "state-dict": self._state,
            "pt2": self._pt2,
            "onnx": self._onnx,
            "standalone": self._standalone,
            "c": lambda: self._c(is_int8=False),
            "c-int8": lambda: self._c(is_int8=True),
        }
        return makers[name]()

    def _state(self) -> dict[str, Any]:
        name = FORMATS["state-dict"].file
        write_state(self.network, self.folder / name)
        logits = in_batches(lambda batch: run_state(self.network, self.folder / name, batch), self.probe.encoded)
        return {
            name: self._entry(
                name, "state-dict", self._encoded(), self._check(name, self.probe.distance(logits), _torch())
            )
        }

    def _pt2(self) -> dict[str, Any]:
        name = FORMATS["pt2"].file
        write_program(self.network, self.probe.encoded, self.folder / name, "pt2")
        logits = in_batches(open_program(self.folder / name), self.probe.encoded)
        return {
            name: self._entry(name, "pt2", self._encoded(), self._check(name, self.probe.distance(logits), _torch()))
        }

    def _onnx(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        kinds: tuple[tuple[str, Kind, Tensor], ...] = (
            ("network.onnx", "kept", self.probe.kept),
            ("network-full.onnx", "full", self.probe.raw),
        )
        for name, kind, raw in kinds:
            output = "number" if self.data.target else "logits"
            write_onnx(Deployed(self.network, self.data, kind), raw, self.folder / name, "onnx", output)
            answers = in_batches(open_onnx(self.folder / name), raw)
            check = self._check(name, self.probe.distance_of_answers(answers), f"onnxruntime {version('onnxruntime')}")
            made[name] = self._entry(name, "onnx", self._raw(kind, raw), check)
        return made

    def _standalone(self) -> dict[str, Any]:
        folder = self._subfolder("standalone")
        deployed = Deployed(self.network, self.data, "full")
        standalone.write_standalone(deployed, self.probe, self.data, self.card["input"], folder)
        distance = self.probe.distance_of_answers(standalone.run_standalone(folder, self.probe.raw))
        name = FORMATS["standalone"].file
        check = self._check(name, distance, f"python {sys.version_info.major}.{sys.version_info.minor}")
        return {
            **self._others(folder, "standalone"),
            name: self._entry(name, "standalone", self._raw("full", self.probe.raw), check),
        }

    def _c(self, *, is_int8: bool) -> dict[str, Any]:
        form = "c-int8" if is_int8 else "c"
        folder, name = self._subfolder(form), FORMATS[form].file
        # A plain loop takes its time: as many rows as it runs in seconds.
        probe = self.probe.fewer(max(100, C_MACS // max(1, self.card["cost"]["macs"])))
        kept = self.card["input"]["kept_pixels"]
        CNetwork(steps_of_network(self.network, probe.encoded), kept, self.data, is_int8).write(folder)
        answers, compiler = run_c(folder, probe.raw)
        answers_of_kept, _ = run_c(folder, probe.kept[:10], kept=True)
        if not torch.equal(answers[:10], answers_of_kept):
            raise StorageError(f"{name} answers otherwise when it is given the kept inputs alone: it is not offered")
        if is_int8:
            check = self._check_int8(name, probe, answers, compiler)
        else:
            check = self._check(name, probe.distance_of_answers(answers), compiler) | {"rows": len(probe)}
        return {**self._others(folder, form), name: self._entry(name, form, self._raw("full", probe.raw), check)}

    def _check(self, name: str, distance: float, runner: str) -> dict[str, Any]:
        """What was measured, with the least tolerance that it keeps. Raises `StorageError` if that is none."""
        tolerance = next((one for one in TOLERANCES if distance <= one), None)
        if tolerance is None:
            raise StorageError(f"{name} answers otherwise than the network, by {distance:.1g}: it is not offered")
        wider = {} if tolerance == TOLERANCES[0] else {"note": "sums in float32 differ by more than 1e-05 here"}
        return {
            "rows": len(self.probe),
            "largest_difference": distance,
            "tolerance": tolerance,
            "with": runner,
            **wider,
        }

    def _check_int8(self, name: str, probe: Probe, answers: Tensor, runner: str) -> dict[str, Any]:
        """The same of rounded weights: how many rows keep their class, and how far answers are."""
        equal = float((answers.argmax(1) == probe.logits.argmax(1)).double().mean())
        distance = probe.distance_of_answers(answers)
        is_far = distance > MOST_APART if self.data.target else equal < LEAST_EQUAL
        if is_far or not math.isfinite(distance):
            said = f"differs by {distance:.1%} of the largest number" if self.data.target else (
                f"gives {1 - equal:.1%} of the rows another class")  # fmt: skip
            raise StorageError(f"{name} {said}: weights of one byte are too coarse for this network, choose c")
        return {
            "rows": len(probe),
            **({} if self.data.target else {"equal_classes": equal}),
            "largest_difference": distance,
            "tolerance": None,
            "with": runner,
        }

    def _entry(self, name: str, form: str, taken: dict[str, Any], check: dict[str, Any]) -> dict[str, Any]:
        output = {"shape": ["n", self.probe.logits.shape[1]], "units": "logits"}
        if self.data.target and form in ("onnx", "standalone", "c", "c-int8"):
            output["units"] = f"{self.data.target.name}, in its own unit"
        elif self.data.target:
            output["units"] = f"({self.data.target.name} - mean) / scale, with the mean and scale of the target"
        path = self.folder / name
        return {"sha256": sha256_of(path), "format": form, "input": taken, "output": output, "check": check}

    def _encoded(self) -> dict[str, Any]:
        """What a file takes that is the network alone."""
        units = "standardised: (raw - mean) / scale" if self.data.scaler else self._units()
        kind = "kept" if isinstance(self.network, PrunedNetwork) else "full"
        dtype = str(self.probe.encoded.dtype).removeprefix("torch.")
        return {"kind": kind, "shape": ["n", *self.probe.encoded.shape[1:]], "dtype": dtype, "units": units}

    def _raw(self, kind: Kind, raw: Tensor) -> dict[str, Any]:
        """What a file takes that standardises by itself."""
        return {"kind": kind, "shape": ["n", *raw.shape[1:]], "dtype": "float32", "units": self._units()}

    def _units(self) -> str:
        if self.data.train.is_bytes:
            return "pixels in [0, 1]: bytes divided by 255"
        return (
            "the numbers of the data, before anything was taken off them"
            if self.data.scaler
            else "the numbers of the data"
        )

    def _subfolder(self, name: str) -> Path:
        folder = self.folder / name
        with storage_errors("create", folder):
            folder.mkdir()
        return folder

    def _others(self, folder: Path, form: str) -> dict[str, Any]:
        """What lies beside the main file of a format, under its checksum."""
        return {
            f"{folder.name}/{path.name}": {"sha256": sha256_of(path), "format": form}
            for path in sorted(folder.iterdir())
            if f"{folder.name}/{path.name}" != FORMATS[form].file
        }


def make_files(making: Making, formats: Collection[str]) -> dict[str, Any]:
    """Write the weights and each other format; gives what the card says of every file, by its name."""
    files = making.weights()
    for name in formats:
        if name != "safetensors":
            files |= making.file(name)
    return files


def _torch() -> str:
    return f"torch {version('torch')}"
