"""Data sets: named ones with train, validation and test splits, and your own.

MNIST ships with the project (`data/mnist`); its siblings load by name from a folder, or through torchvision's own
download where there is a network. Your own is a `Dataset` of three splits, or an object whose `read()` gives what there
is, made known by `register_dataset`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from ..errors import InputError, StorageError
from ..extras import from_extra
from ..registry import Registry
from ..storage import cache_dir
from ..words import Words
from . import prepared
from .archives import ARCHIVES, Raw, Source
from .files import READERS, Reader, read_data
from .groups import Grouping, InputGroup
from .scaler import Scaler
from .splits import Dataset, Split, to_images, to_inputs
from .target import Target

__all__ = [
    "DATASETS",
    "READERS",
    "DataSource",
    "Dataset",
    "Grouping",
    "InputGroup",
    "Raw",
    "Reader",
    "Scaler",
    "Split",
    "Target",
    "Words",
    "load_dataset",
    "open_data",
    "provide",
    "provided",
    "read_data",
    "register_dataset",
    "store",
    "stored_data",
    "to_images",
    "to_inputs",
    "withdraw",
]

VALIDATION_SHARE = 1 / 6
"""Share of the official training set that becomes the validation split: 10,000 of MNIST's 60,000."""


@runtime_checkable
class DataSource(Protocol):
    """Where a data set of your own comes from."""

    def read(self) -> Raw:
        """Training and test data with their labels; a validation split is drawn from the training data."""
        ...


DATASETS: Registry[DataSource | Source] = Registry("data set", ARCHIVES)
"""Every data set that loads by name."""


def register_dataset(name: str, source: DataSource) -> DataSource:
    """Make a data set of your own known by its name, everywhere in this process. Raises `InputError`."""
    if not isinstance(source, DataSource):
        raise InputError(f"a data set needs a read() that gives Raw(classes, train, test), not {source!r}")
    DATASETS.register(name, source)
    return source


def load_dataset(
    name: str = "mnist", root: str | Path | None = None, *, split_seed: int = 0, download: bool = False
) -> Dataset:
    """Load a data set by name, with a stratified, seeded train / validation split.

    `root` is a folder with the archives (`*.gz`, EMNIST's `gzip.zip`) or with torchvision's unpacked layout. Without
    one, `$LRP_DATA/<name>`, `$LRP_DATA`, `data/<name>` of the checkout and the cache are tried. `download=True` lets
    torchvision fetch what is lacking. A given `root` is only read. Archives are verified by MD5 and unpacked under
    `cache/data`, and the finished splits kept there: from then on all processes share one copy in memory. The last two
    data sets asked for stay loaded. A data set of your own is read each time, and has no `root`.

    A path in place of a name, one with a folder in it, is what `read_data` makes of it.

    Raises `InputError` for an unknown name and `StorageError` for a missing, truncated or altered file.
    """
    if root is None and len(Path(name).parts) > 1:
        return read_data(name, split_seed=split_seed)
    source = DATASETS.find(name)
    if not isinstance(source, Source):
        if root is not None:
            raise InputError(f"data set {name!r} is read by its own read(): leave the folder {root} out")
        raw = source.read()
        if not isinstance(raw, Raw):
            raise InputError(
                f"read() of data set {name!r} must give Raw(classes, train, test), not {type(raw).__name__}"
            )
        return _split(name, raw, split_seed)
    folder = Path(root).expanduser().resolve() if root is not None else None
    given = os.environ.get("LRP_DATA") if folder is None else None
    return _load(name, folder, split_seed, download, cache_dir("data"), given)


_provided: dict[str, Dataset] = {}


def provide(data: Dataset) -> None:
    """Hold a data set that another machine sent, for `provided` to find by its digest."""
    _provided[data.digest] = data


def provided(digest: str) -> Dataset | None:
    """The data set of this digest if another machine sent it here, else None."""
    return _provided.get(digest)


def withdraw(digest: str) -> None:
    """Forget a data set that was sent here; nothing happens if there is none."""
    _provided.pop(digest, None)


@lru_cache(maxsize=2)
def _load(name: str, root: Path | None, split_seed: int, download: bool, cache: Path, given: str | None) -> Dataset:
    """`cache` is where the files go, `given` is `LRP_DATA`: other folders are another data set to remember."""
    place = root if given is None else Path(given)
    dataset = prepared.read(name, place, split_seed)
    if dataset is None:
        source = DATASETS.find(name)
        assert isinstance(source, Source), "the others are not cached"
        raw = source.read(name, root, download=download)
        dataset = _split(name, raw, split_seed).named()
        prepared.write(dataset, place, split_seed, raw.files)
    return dataset


def _split(name: str, raw: Raw, split_seed: int) -> Dataset:
    """A data set with a stratified validation split drawn from the training data."""
    with from_extra():  # seconds to import, and rarely needed
        from sklearn.model_selection import train_test_split

    everything = Split(*raw.train)
    try:
        kept, held_out = train_test_split(
            torch.arange(len(everything)).numpy(),
            test_size=round(len(everything) * VALIDATION_SHARE),
            stratify=everything.labels.numpy(),
            random_state=split_seed,
        )
    except ValueError as error:
        raise StorageError(f"{name} has too few images of some class to be split: {error}") from error
    return Dataset(
        name,
        raw.classes,
        train=everything.take(torch.from_numpy(kept).sort().values),
        validation=everything.take(torch.from_numpy(held_out).sort().values),
        test=Split(*raw.test),
        input_names=raw.input_names,
    )


def open_data(name: str, root: str | None = None, digest: str = "", split: int | None = None) -> Dataset:
    """The data of a study: those of this digest that were sent or stored here, else the named ones on this disk.

    With `split`, their rows are drawn again with this seed (`Dataset.resplit`). Raises `StorageError` if there are
    none, or if they have another digest, `InputError` if they cannot be split again.
    """
    if split is not None:
        return _split_again(open_data(name, root, digest), split)
    kept = provided(digest)
    if kept is None and digest and prepared.is_kept(digest):
        kept = _stored(digest, cache_dir("data"))
    if kept is not None:
        return kept if kept.name == name else replace(kept, name=name)
    if digest and name not in DATASETS:
        raise StorageError(
            f"the data set {name!r} of this study is not here: give it again, as run(study, data=...), and it is kept"
        )
    data = load_dataset(name, root)
    if digest and data.digest != digest:
        raise StorageError(f"the {name} files are not the ones that this study was planned with")
    return data


def store(data: Dataset) -> str:
    """Keep data of your own under the cache folder, for all processes; gives the digest that `open_data` takes."""
    prepared.write_own(data)
    return data.digest


def stored_data() -> list[prepared.Kept]:
    """What `store` has kept under this cache folder, the newest first."""
    return prepared.kept_data()


@lru_cache(maxsize=2)
def _split_again(data: Dataset, seed: int) -> Dataset:
    return data.resplit(seed)


@lru_cache(maxsize=4)
def _stored(digest: str, cache: Path) -> Dataset | None:
    """`cache` is where the files are; another folder has other ones."""
    return prepared.read_own(digest)
