"""The data sets' files, written and read without torchvision: an oracle, and small stand-ins for the siblings."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

TYPES = {8: ">u1", 12: ">i4"}
N_CLASSES = {"emnist-letters": 26, "emnist-balanced": 47}
FOLDERS = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "qmnist": "QMNIST",
    "emnist-digits": "EMNIST",
    "emnist-letters": "EMNIST",
    "emnist-balanced": "EMNIST",
}


def pack(array: np.ndarray) -> bytes:
    """An array in IDX format."""
    code = {"u": 8, "i": 12}[array.dtype.kind]
    head = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return head + array.astype(TYPES[code]).tobytes()


def unpack(content: bytes) -> np.ndarray:
    """The array in an IDX file."""
    zero, code, ndim = struct.unpack(">HBB", content[:4])
    shape = struct.unpack(f">{ndim}I", content[4 : 4 + 4 * ndim])
    assert zero == 0
    return np.frombuffer(content, TYPES[code], offset=4 + 4 * ndim).reshape(shape)


@dataclass
class Published:
    """A made-up data set: upright images [n, h, w], labels from zero, and the archives as they would be published."""

    name: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    archives: dict[str, bytes]
    unpacked: dict[str, bytes]

    def resources(self) -> dict[str, str]:
        return {name: hashlib.md5(content).hexdigest() for name, content in self.archives.items()}

    def register(self, patch: pytest.MonkeyPatch) -> None:
        """Make torchvision expect these files instead of the published ones."""
        cls = getattr(datasets, FOLDERS[self.name])
        sums = self.resources()
        if cls is datasets.EMNIST:
            patch.setattr(cls, "md5", sums["gzip.zip"])
        elif cls is datasets.QMNIST:
            names = list(sums)
            pairs = [(f"https://example.org/{name}", sums[name]) for name in names]
            patch.setattr(cls, "resources", {"train": pairs[:2], "test": pairs[2:]})
        else:
            patch.setattr(cls, "resources", list(sums.items()))

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.archives.items():
            (folder / name).write_bytes(content)
        return folder

    def write_unpacked(self, root: Path) -> Path:
        folder = root / FOLDERS[self.name] / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.unpacked.items():
            (folder / name).write_bytes(content)
        return root

    def as_json(self) -> str:
        return json.dumps(list(self.resources().items()))


def publish(name: str, *, seed: int = 0, n_train: int | None = None, n_test: int = 60) -> Published:
    """A small stand-in for a data set: 12 training images a class, 5 pixels high and 7 wide, in uneven order."""
    random = np.random.default_rng(seed)
    classes = N_CLASSES.get(name, 10)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = random.permutation(np.arange(n) % classes).astype(np.uint8)
        return random.integers(0, 256, (n, 5, 7), dtype=np.uint8), labels

    train, test = part(n_train or 12 * classes), part(n_test)
    files: dict[str, bytes] = {}
    for which, (images, labels) in (("train", train), ("test", test)):
        if name.startswith("emnist"):
            stem = f"emnist-{name.removeprefix('emnist-')}-{which}"
            first = 1 if name == "emnist-letters" else 0
            files[f"{stem}-images-idx3-ubyte"] = pack(images.transpose(0, 2, 1))
            files[f"{stem}-labels-idx1-ubyte"] = pack(labels + np.uint8(first))
        elif name == "qmnist":
            full = random.integers(-5, 100_000, (len(labels), 8), dtype=np.int32)
            full[:, 0] = labels
            files[f"qmnist-{which}-images-idx3-ubyte"] = pack(images)
            files[f"qmnist-{which}-labels-idx2-int"] = pack(full)
        else:
            stem = "train" if which == "train" else "t10k"
            files[f"{stem}-images-idx3-ubyte"] = pack(images)
            files[f"{stem}-labels-idx1-ubyte"] = pack(labels)
    return Published(name, train, test, archived(name, files), files)


def archived(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """`files` as they are published: gzip files, EMNIST's in one zip."""
    zipped = {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in files.items()}
    if not name.startswith("emnist"):
        return zipped
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file, content in zipped.items():
            archive.writestr(zipfile.ZipInfo(f"gzip/{file}"), content)
    return {"gzip.zip": buffer.getvalue()}
