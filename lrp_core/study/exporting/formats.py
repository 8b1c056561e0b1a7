"""The formats of an export: what each is for, the files that it has, and what it takes to write and check it here."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec

from ...cards import WEIGHTS
from ...errors import InputError, check_choice

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
COMPILERS = ("cc", "gcc", "clang")


@dataclass(frozen=True)
class Format:
    """A kind of file: what it `says` of itself to a person, its main `file`, and the packages that it takes.

    `compiles` says that what it writes is compiled to be checked.
    """

    name: str
    says: str
    file: str
    packages: tuple[str, ...] = ()
    compiles: bool = False

    @property
    def lacks(self) -> str:
        """What is missing here to write and check it, empty if nothing is."""
        missing = [package for package in self.packages if find_spec(package) is None]
        if missing:
            return " and ".join(missing)
        return "a C compiler" if self.compiles and find_compiler() is None else ""

    @property
    def remedy(self) -> str:
        """The line that installs what it takes."""
        return "apt install gcc" if self.compiles else "pip install 'lrp-core[onnx]'"


FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format("safetensors", "The weights. Always written; this project reads them back.", WEIGHTS),
        Format(
            "state-dict",
            "The weights for torch.load(..., weights_only=True) and load_state_dict.",
            "state_dict.pt",
        ),
        Format(
            "pt2",
            "A program that torch alone runs. Takes the kept inputs, standardised where the data are.",
            "network.pt2",
        ),
        Format(
            "onnx",
            "For ONNX Runtime and others, in two files: one takes the kept inputs, one takes all. Both take raw "
            "numbers and standardise them.",
            "network.onnx",
            ONNX_PACKAGES,
        ),
        Format(
            "standalone",
            "A folder with predict.py, which reads .csv, .npy, .npz and .png files and needs nothing of this project.",
            "standalone/predict.py",
        ),
        Format(
            "c",
            "A C99 header with float weights for devices without Python, and an example that uses it.",
            "c/network.h",
            compiles=True,
        ),
        Format(
            "c-int8",
            "The same with weights of one byte each: a quarter of the size, and close to the same answers.",
            "c-int8/network.h",
            compiles=True,
        ),
    )
}
"""Every format by its name; the first is always written."""


def check_formats(names: Collection[str]) -> list[str]:
    """The formats that were asked for, each once. Raises `InputError` for none, an unknown one, or what is missing."""
    names = [names] if isinstance(names, str) else names
    for name in names:
        check_choice("export format", name, FORMATS)
        if lacks := FORMATS[name].lacks:
            raise InputError(f"the format {name} needs {lacks}, which is not here: {FORMATS[name].remedy}")
    if not names:
        raise InputError(f"an export needs at least one format: choose from {', '.join(FORMATS)}")
    return list(dict.fromkeys(names))


def find_compiler() -> str | None:
    """The C compiler of this machine, None if there is none."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)
