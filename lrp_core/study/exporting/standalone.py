"""A folder that predicts by itself: `predict.py`, the network, and what they need, without this project."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...cards import sha256_of, stand_for_shares
from ...data import Dataset
from ...errors import StorageError, storage_errors
from ...storage import write_atomic
from . import standalone_predict
from .deployed import Deployed, Probe
from .formats import FORMATS
from .programs import write_onnx, write_program

README = """\
predict.py says what the network in this folder makes of new data.

    pip install -r requirements.txt
    python predict.py {example}
    python predict.py --help

It needs {needs}, and nothing else. {takes}
Rows hold all {inputs:,} inputs{order}, or only those that the network reads ({kept:,}).
settings.json says which these are; the numbers are those of the data, before anything is taken off them.
"""


def write_standalone(deployed: Deployed, probe: Probe, data: Dataset, card_input: dict[str, Any], folder: Path) -> None:
    """Write the folder: with an ONNX graph if the packages for one are here, else with a program of torch."""
    has_onnx = not FORMATS["onnx"].lacks
    name = "network.onnx" if has_onnx else "network.pt2"
    if has_onnx:
        write_onnx(deployed, probe.raw, folder / name, "standalone", "number" if data.target else "logits")
    else:
        write_program(deployed, probe.raw, folder / name, "standalone")
    normalisation = card_input["normalisation"]
    shares = "only" if "range" in normalisation else "also" if stand_for_shares(normalisation, data.shape) else "no"
    mean = normalisation.get("mean", [0.0] * data.n_inputs)
    settings = {
        "network": name,
        "sha256": sha256_of(folder / name),
        "inputs": data.n_inputs,
        "shape": list(data.shape),
        "kept": card_input["kept_pixels"],
        "names": list(data.input_names) if data.input_names is not None else None,
        "classes": list(data.classes),
        "target": data.target.name if data.target else None,
        "shares": shares,
        "absent": mean if len(mean) == data.n_inputs else [m for m in mean for _ in range(data.n_inputs // len(mean))],
        "imputed": {str(position): value for position, value in data.imputed},
        "words": [{"name": group.name, "indices": list(group.indices)} for group in data.word_columns],
    }
    needs = ("numpy", "onnxruntime") if has_onnx else ("numpy", "torch")
    is_picture = len(data.shape) == 3 and data.shape[0] in (1, 3) and shares != "no"
    texts = {
        "predict.py": Path(standalone_predict.__file__).read_text(encoding="utf-8"),
        "settings.json": json.dumps(settings, indent=1, allow_nan=False) + "\n",
        "requirements.txt": "".join(f"{package}>={_least(package)}\n" for package in needs),
        "README.txt": README.format(
            example="picture.png" if is_picture else "rows.csv" if len(data.shape) == 1 else "rows.npy",
            needs=" and ".join(needs),
            takes=f"It reads .csv, .npy and .npz files{', and .png pictures of the right size' if is_picture else ''}.",
            inputs=data.n_inputs,
            order=", by the names of their columns" if data.input_names is not None else " in their order",
            kept=len(card_input["kept_pixels"]),
        ),
    }
    for file, text in texts.items():
        write_atomic(folder / file, text.encode())


def _least(package: str) -> str:
    """The oldest version of a package that runs the folder: programs of torch are for what wrote them, and later."""
    return {"numpy": "2.0", "onnxruntime": "1.20"}.get(package) or version(package).split("+")[0]


def run_standalone(folder: Path, raw: Tensor) -> Tensor:
    """The outputs that `predict.py`, in a process of its own, gives for raw inputs, or a `StorageError` if it fails."""
    with storage_errors("run predict.py in", Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as place:
        np.save(file := Path(place) / "rows.npy", raw.numpy())
        done = subprocess.run(
            [sys.executable, "-I", "-B", str(folder / "predict.py"), str(file), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise StorageError(f"standalone/predict.py does not run here, so it is not offered: {reason}")
    return torch.tensor([row["outputs"] for row in json.loads(done.stdout)], dtype=torch.float64)
