"""Finished splits on disk: read in a moment, without torchvision, and mapped so that all processes share one copy.

A prepared file is only used while the files that it was made from are there unchanged (by size and time of
change) and while its own content has the digest that it was written with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import LrpError
from ..storage import cache_dir, write_atomic
from .groups import InputGroup
from .scaler import Scaler
from .splits import Dataset, Split
from .target import Target

VERSION = 1
"""Of the file format and of how splits are drawn."""

_SPLITS = ("train", "validation", "test")
_PARTS = {"pixels": "raw", "labels": "labels", "indices": "indices"}
"""What the tensors of a split are called in a file."""

_BLOCKS = "blocks"
"""The tensor of data that were split here."""


def read(name: str, root: Path | None, split_seed: int) -> Dataset | None:
    """The prepared data set, or None if there is none that still holds."""
    path = _path(name, root, split_seed)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["data"])
            if any(_stamp(Path(source)) != stamp for source, stamp in meta["files"].items()):
                return None
            train, validation, test = (Split(*(file.get_tensor(f"{s}.{part}") for part in _PARTS)) for s in _SPLITS)
            data = Dataset(name, tuple(meta["classes"]), train, validation, test).named()
    except (SafetensorError, LrpError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return data if data.digest == meta.get("digest") else None


def write(data: Dataset, root: Path | None, split_seed: int, files: tuple[Path, ...]) -> None:
    """Keep `data`, which was made from `files`."""
    tensors = _tensors(data)
    stamps = {str(file): _stamp(file) for file in files}
    meta = {"classes": data.classes, "digest": data.digest, "files": stamps}
    write_atomic(_path(data.name, root, split_seed), save(tensors, metadata={"data": json.dumps(meta)}))


def is_kept(digest: str) -> bool:
    """Whether there is a file of data of your own with this digest."""
    return _own_path(digest).is_file()


def read_own(digest: str) -> Dataset | None:
    """Data of your own that were kept under this digest, or None if there are none that still hold."""
    path = _own_path(digest)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["data"])
            target = Target(*meta["target"]) if meta.get("target") else None
            train, validation, test = (
                Split(*(file.get_tensor(f"{s}.{part}") for part in _PARTS), numbers=target is not None) for s in _SPLITS
            )
            names, scaler = meta["input_names"], meta["scaler"]
            data = Dataset(
                meta["name"],
                tuple(meta["classes"]),
                train,
                validation,
                test,
                input_names=None if names is None else tuple(names),
                scaler=None if scaler is None else Scaler(*map(tuple, scaler)),
                groups=_groups(meta.get("groups", ())),
                word_columns=_groups(meta.get("word_columns", ())),
                imputed=tuple((position, value) for position, value in meta.get("imputed", ())),
                notes=tuple(meta.get("notes", ())),
                target=target,
                blocks=file.get_tensor(_BLOCKS) if _BLOCKS in file.keys() else None,  # noqa: SIM118 - no dictionary
            )
    except (SafetensorError, LrpError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return data if data.digest == digest else None


def write_own(data: Dataset) -> None:
    """Keep data of your own under their digest."""
    path = _own_path(data.digest)
    if path.is_file() and read_own(data.digest) is not None:
        return
    scaler = None if data.scaler is None else [data.scaler.mean, data.scaler.scale]
    meta = {
        "name": data.name,
        "classes": data.classes,
        "input_names": data.input_names,
        "scaler": scaler,
        "groups": [[group.name, group.indices, group.cost] for group in data.groups],
        "word_columns": [[column.name, column.indices, column.cost] for column in data.word_columns],
        "imputed": data.imputed,
        "notes": data.notes,
        "target": data.target and [data.target.name, data.target.mean, data.target.scale],
    }
    write_atomic(path, save(_tensors(data), metadata={"data": json.dumps(meta)}))


def _groups(values: Iterable[Any]) -> tuple[InputGroup, ...]:
    return tuple(InputGroup(name, tuple(indices), cost) for name, indices, cost in values)


@dataclass(frozen=True)
class Kept:
    """Data of your own that lie in the cache: their digest, name, rows in all parts, shape of an input, and classes.

    `can_resplit` says that their rows were split here, and can be split again.
    """

    digest: str
    name: str
    rows: int
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    can_resplit: bool


def kept_data() -> list[Kept]:
    """All data of your own in the cache, the newest first; files that cannot be read are left out."""
    files = sorted(cache_dir("data").glob("own-*.safetensors"), key=lambda file: -file.stat().st_mtime)
    kept = []
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                meta = json.loads(file.metadata()["data"])
                sizes = [file.get_slice(f"{split}.pixels").get_shape() for split in _SPLITS]
                drawn = _BLOCKS in file.keys()  # noqa: SIM118 - no dictionary
            digest = path.stem.removeprefix("own-")
            shape, rows = tuple(sizes[0][1:]), sum(size[0] for size in sizes)
            kept.append(Kept(digest, str(meta["name"]), rows, shape, tuple(map(str, meta["classes"])), drawn))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return kept


def _tensors(data: Dataset) -> dict[str, Tensor]:
    """Every tensor by the name that it has in a file; safetensors takes none that share memory, as parts of one do."""
    tensors: dict[str, Tensor] = {}
    stored = set()
    for split in _SPLITS:
        for part, field in _PARTS.items():
            tensor = getattr(getattr(data, split), field).contiguous()
            place = tensor.untyped_storage().data_ptr()
            tensors[f"{split}.{part}"] = tensor.clone() if place in stored else tensor
            stored.add(place)
    if data.blocks is not None:
        tensors[_BLOCKS] = data.blocks.contiguous()
    return tensors


def _own_path(digest: str) -> Path:
    return cache_dir("data") / f"own-{digest}.safetensors"


def _path(name: str, root: Path | None, split_seed: int) -> Path:
    place = hashlib.blake2b(json.dumps([VERSION, str(root), split_seed]).encode(), digest_size=6).hexdigest()
    return cache_dir("data") / f"{name}-{place}.safetensors"


def _stamp(file: Path) -> list[int]:
    """Size and time of change: what tells whether a file is still the one that was read."""
    try:
        status = file.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
