"""MATLAB's `.mat` files up to version 7, through scipy in a process of its own: a damaged file can end that process."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError, StorageError, storage_errors
from ...extras import from_extra
from .arrays import Named, read_named
from .contents import Asked, Contents, check_size

_READ = """
import json, sys
import numpy as np
from scipy import io

path, name, target = sys.argv[1:]
try:
    if not name:
        print(json.dumps([[name, list(shape), kind] for name, shape, kind in io.whosmat(path)]))
    else:
        values = io.loadmat(path, variable_names=[name])[name]
        np.save(target, values if isinstance(values, np.ndarray) else values.toarray(), allow_pickle=False)
except NotImplementedError:
    print("7.3")
"""

_TYPES = {
    **{f"{sign}int{bits}": f"<{sign[:1] or 'i'}{bits // 8}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "double": "<f8",
    "single": "<f4",
    "logical": "|b1",
    "char": "<U1",
    "sparse": "<f8",
}


def read_mat(path: Path, asked: Asked) -> Contents:
    """Inputs and labels in a file. Raises `StorageError` or `InputError` that names the array."""
    return read_named(open_mat(path), asked)


def open_mat(path: Path) -> Named:
    """The arrays in a file. Raises `StorageError` or `InputError` that names the array."""
    with from_extra():
        if find_spec("scipy") is None:
            raise ModuleNotFoundError("No module named 'scipy'", name="scipy")
    with storage_errors("read", path), path.open("rb"):
        pass
    said = _child(path, "", "")
    if said == "7.3":
        raise InputError(f"{path} is a MATLAB 7.3 file: save it with save(..., '-v7')")
    listing: list[Any] = json.loads(said)
    shapes = {name: (tuple(shape), _TYPES.get(kind, "O")) for name, shape, kind in listing}

    def read(name: str) -> np.ndarray:
        shape, _ = shapes[name]
        check_size(f"{path}, array {name!r}", math.prod(shape) * 8)
        with tempfile.TemporaryDirectory() as folder:
            _child(path, name, target := str(Path(folder) / "array.npy"))
            values: np.ndarray = np.load(target, allow_pickle=False)
        return np.char.rstrip(values) if values.dtype.kind == "U" else values

    return Named(str(path), shapes, read)


def _child(path: Path, name: str, target: str) -> str:
    """What the process says. Raises `StorageError` if it ends before it has read the file."""
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(path), name, target], capture_output=True, text=True, check=False
    )
    if done.returncode:
        what = f"{path}, array {name!r}" if name else path
        raise StorageError(f"{what} is truncated, damaged or no .mat file")
    return done.stdout.strip()
