"""The files of the named data sets: found, verified by MD5, unpacked, and read through torchvision."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import pickle
import shutil
import tempfile
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import StorageError, storage_errors
from ..extras import from_extra
from ..storage import cache_dir, data_folders, write_atomic

if TYPE_CHECKING:
    from torchvision.datasets import MNIST


@dataclass(frozen=True)
class Source:
    """How torchvision knows a data set: class and arguments, the first label, whether images lie on their side."""

    cls_name: str
    options: tuple[tuple[str, Any], ...] = ()
    first_label: int = 0
    transposed: bool = False

    @property
    def cls(self) -> type[MNIST]:
        with from_extra():  # takes seconds to import: only when data are read
            from torchvision import datasets

        torchvision_class: type[MNIST] = getattr(datasets, self.cls_name)
        return torchvision_class

    @property
    def archives(self) -> dict[str, str]:
        """File name and MD5 of every archive that the data set consists of."""
        cls: Any = self.cls
        if self.cls_name == "EMNIST":
            return {"gzip.zip": cls.md5}
        if self.cls_name == "QMNIST":
            return {url.rsplit("/", 1)[1]: md5 for part in ("train", "test") for url, md5 in cls.resources[part]}
        return dict(cls.resources)

    def open(self, root: Path, *, train: bool, download: bool = False) -> MNIST:
        return self.cls(str(root), train=train, download=download, **dict(self.options))

    def read(self, name: str, root: Path | None, *, download: bool = False) -> Raw:
        """Find, verify, unpack and read the files. Raises `StorageError` for a missing, truncated or altered one."""
        folder, files = _find_files(name, self, root, download)
        try:
            train, test = (self.open(folder, train=flag) for flag in (True, False))
        except _UNREADABLE as error:
            raise StorageError(
                f"the {name} files under {folder} cannot be read: they are truncated or altered"
            ) from error
        classes = tuple(str(c).split(" - ")[0] for c in train.classes[self.first_label :])  # '7 - seven': 7 says it
        return Raw(classes, _tensors(name, self, train), _tensors(name, self, test), files)


ARCHIVES: dict[str, Source] = {
    "mnist": Source("MNIST"),
    "fashion-mnist": Source("FashionMNIST"),
    "kmnist": Source("KMNIST"),
    "qmnist": Source("QMNIST"),
    "emnist-digits": Source("EMNIST", (("split", "digits"),), transposed=True),
    "emnist-letters": Source("EMNIST", (("split", "letters"),), first_label=1, transposed=True),
    "emnist-balanced": Source("EMNIST", (("split", "balanced"),), transposed=True),
}


CONTENTS: dict[str, dict[str, str]] = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
"""MD5 of what is in the archives, where it is known: Debian and Kaggle packed the official files in other ways."""


@dataclass(frozen=True, eq=False)
class Raw:
    """A data set as it was published: inputs [n, *shape] and labels [n] for training and for the test.

    `files` are the ones that it was read from, `input_names` the names of the inputs, where they have some.
    """

    classes: tuple[str, ...]
    train: tuple[Any, Any]
    test: tuple[Any, Any]
    files: tuple[Path, ...] = ()
    input_names: tuple[str, ...] | None = None


_UNREADABLE = (
    *(RuntimeError, ValueError, AssertionError, TypeError, KeyError, OSError, EOFError),
    *(pickle.UnpicklingError, http.client.HTTPException),
)
"""What torchvision raises for files that are missing, truncated or something else."""


def _tensors(name: str, source: Source, part: MNIST) -> tuple[Tensor, Tensor]:
    """Pixels [n, 1, h, w] and labels [n] of one torchvision data set, upright and counted from zero."""
    pixels, labels = part.data.unsqueeze(1), part.targets
    if labels.ndim == 2:  # QMNIST: the class is the first of eight columns
        labels = labels[:, 0]
    if source.transposed:
        pixels = pixels.transpose(2, 3)
    labels = labels.long() - source.first_label
    if len(pixels) != len(labels) or len(labels) == 0:
        raise StorageError(f"the {name} files hold {len(pixels)} images but {len(labels)} labels: get them again")
    n_classes = len(part.classes) - source.first_label
    if int(labels.min()) < 0 or int(labels.max()) >= n_classes:
        raise StorageError(f"the {name} label file holds a class outside 0..{n_classes - 1}: get it again")
    return pixels.contiguous(), labels.contiguous()


def _find_files(name: str, source: Source, root: Path | None, download: bool) -> tuple[Path, tuple[Path, ...]]:
    """A torchvision root in which every file of `source` is unpacked and verified, and the files that it came from."""
    cache = cache_dir("data")
    raw = cache / source.cls_name / "raw"
    if root is not None and not root.is_dir():
        raise StorageError(f"{root} is not a folder: name the one that holds the {name} files")
    roots = [*data_folders(name), cache] if root is None else [root]
    folders = [folder for base in roots for folder in (base / source.cls_name / "raw", base / "raw", base)]
    archives = source.archives
    for folder in folders:
        paths = {archive: _spelled(name, folder, archive) for archive in archives}
        checksums = {path: md5 for path, md5 in zip(paths.values(), archives.values(), strict=True) if path is not None}
        if len(checksums) == len(archives):
            try:
                _unpack(name, checksums, raw)
            except StorageError:
                if not download:
                    raise
                break
            return cache, tuple(checksums)
    for candidate in roots:
        if _is_unpacked(source, candidate):
            return candidate, tuple(sorted((candidate / source.cls_name / "raw").iterdir()))
    if download:
        _download(name, source, cache)
        return cache, tuple(sorted(raw.iterdir()))
    missing = [a for a in archives if not any(_spelled(name, folder, a) for folder in folders)]
    where = f"in {root}" if root else "here"
    raise StorageError(
        f"{name} is not complete {where}: {', '.join(missing)} missing; give the folder that holds what is missing "
        "(root, --data-root or LRP_DATA), or allow the download (download=True, --download)"
    )


def _spelled(name: str, folder: Path, archive: str) -> Path | None:
    """An archive in a folder, or what it holds if that can be verified, by the names that people's programs give it."""
    names = [archive]
    if (stem := archive.removesuffix(".gz")) in CONTENTS.get(name, {}):
        names += [stem, *(other.replace("-idx", ".idx") for other in (archive, stem))]
    return next((folder / one for one in names if (folder / one).is_file()), None)


def _official_name(path: Path) -> str:
    """The name that torchvision gives to a file, or to what is in it."""
    return path.name.removesuffix(".gz").replace(".idx", "-idx")


def _is_unpacked(source: Source, root: Path) -> bool:
    try:
        source.open(root, train=True)
        source.open(root, train=False)
    except _UNREADABLE:
        return False
    return True


def _download(name: str, source: Source, cache: Path) -> None:
    """Fetch what is missing; an archive that broke off, and what was unpacked of it, is fetched again."""
    raw, archives = cache / source.cls_name / "raw", source.archives
    broken = [raw / a for a, md5 in archives.items() if (raw / a).is_file() and _md5(raw / a) != md5]
    if broken or (raw.is_dir() and not _is_unpacked(source, cache)):
        for file in [*broken, *(f for f in raw.iterdir() if f.is_file() and f.name not in archives)]:
            file.unlink(missing_ok=True)
    try:
        source.open(cache, train=True, download=True)
        source.open(cache, train=False, download=True)
    except _UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StorageError(f"{name} could not be downloaded ({reason}): give the folder that holds it") from error


def _unpack(name: str, archives: dict[Path, str], raw: Path) -> None:
    """Unpack verified `archives` (path -> MD5) into `raw`, unless that was done and nothing changed since."""
    record = raw / "unpacked.json"
    expected = {_official_name(path): md5 for path, md5 in archives.items()}
    contents = CONTENTS.get(name, {})
    for path, md5 in archives.items():
        with storage_errors("read", path):
            if _md5(path) != md5 and _content_md5(path) != contents.get(_official_name(path)):
                raise StorageError(f"{path} is truncated or altered (its MD5 is not {md5}): get the {name} file again")
    if _matches(record, expected):
        return
    with storage_errors("unpack the data into", raw):
        raw.mkdir(parents=True, exist_ok=True)
        files: dict[str, str] = {}
        with tempfile.TemporaryDirectory(dir=raw) as scratch:
            for path in archives:
                for unpacked in _extract(path, Path(scratch)):
                    files[unpacked.name] = _md5(unpacked)
                    unpacked.replace(raw / unpacked.name)
    write_atomic(record, json.dumps({"archives": expected, "files": files}, indent=1).encode())


def _matches(record: Path, archives: dict[str, str]) -> bool:
    try:
        done = json.loads(record.read_text())
        return bool(done["archives"] == archives) and all(
            _md5(record.parent / name) == md5 for name, md5 in done["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _extract(archive: Path, into: Path) -> list[Path]:
    if archive.suffix == ".zip":  # EMNIST: one zip of gzip files
        shutil.unpack_archive(archive, into)
        return [file for inner in into.rglob("*.gz") for file in _extract(inner, into)]
    target = into / _official_name(archive)
    with _opened(archive) as packed, target.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    return [target]


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    """A file for reading, unpacked if it is packed."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _content_md5(path: Path) -> str:
    """MD5 of what is in a file, or nothing if that cannot be read."""
    try:
        with _opened(path) as file:
            state = hashlib.md5(usedforsecurity=False)
            for block in iter(lambda: file.read(2**20), b""):
                state.update(block)
            return state.hexdigest()
    except (OSError, EOFError, zlib.error):
        return ""


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
