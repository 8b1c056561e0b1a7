"""Named image data sets with train, validation and test splits, read through torchvision.

MNIST ships with the project (`data/mnist`); its siblings load by name from a folder, or through torchvision's
own download where there is a network.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from ..errors import StorageError, check_choice
from ..extras import from_extra
from ..storage import cache_dir
from . import prepared
from .archives import DATASETS, read_raw
from .splits import Dataset, Split, to_images

__all__ = [
    "DATASETS",
    "Dataset",
    "Split",
    "load_dataset",
    "open_data",
    "provide",
    "provided",
    "store",
    "to_images",
    "withdraw",
]

VALIDATION_SHARE = 1 / 6
"""Share of the official training set that becomes the validation split: 10,000 of MNIST's 60,000."""


def load_dataset(
    name: str = "mnist", root: str | Path | None = None, *, split_seed: int = 0, download: bool = False
) -> Dataset:
    """Load a data set by name, with a stratified, seeded train / validation split.

    `root` is a folder with the archives (`*.gz`, EMNIST's `gzip.zip`) or with torchvision's unpacked layout;
    MNIST needs none. `download=True` lets torchvision fetch what is lacking. A given `root` is only read. Archives
    are verified by MD5 and unpacked under `cache/data`, and the finished splits kept there: from then on all
    processes share one copy in memory. The last two data sets asked for stay loaded.

    Raises `InputError` for an unknown name and `StorageError` for a missing, truncated or altered file.
    """
    check_choice("data set", name, DATASETS)
    folder = Path(root).expanduser().resolve() if root is not None else None
    return _load(name, folder, split_seed, download, cache_dir("data"))


_provided: dict[str, Dataset] = {}


def provide(data: Dataset) -> None:
    """Have a data set at hand that another machine sent, for `provided` to find by its digest."""
    _provided[data.digest] = data


def provided(digest: str) -> Dataset | None:
    """The data set of this digest if another machine sent it here, else None."""
    return _provided.get(digest)


def withdraw(digest: str) -> None:
    """Forget a data set that was sent here; nothing happens if there is none."""
    _provided.pop(digest, None)


@lru_cache(maxsize=2)
def _load(name: str, root: Path | None, split_seed: int, download: bool, cache: Path) -> Dataset:
    """`cache` is where the files go; another folder is another data set to remember."""
    found = prepared.read(name, root, split_seed)
    return _split(name, root, split_seed, download) if found is None else found


def _split(name: str, root: Path | None, split_seed: int, download: bool) -> Dataset:
    with from_extra():  # seconds to import, and rarely needed
        from sklearn.model_selection import train_test_split

    raw = read_raw(name, root, download=download)
    pixels, labels = raw.train
    try:
        kept, held_out = train_test_split(
            torch.arange(len(labels)).numpy(),
            test_size=round(len(labels) * VALIDATION_SHARE),
            stratify=labels.numpy(),
            random_state=split_seed,
        )
    except ValueError as error:
        raise StorageError(f"{name} has too few images of some class to be split: {error}") from error
    everything = Split(pixels, labels, torch.arange(len(labels)))
    data = Dataset(
        name,
        raw.classes,
        train=everything.take(torch.from_numpy(kept).sort().values),
        validation=everything.take(torch.from_numpy(held_out).sort().values),
        test=Split(*raw.test, torch.arange(len(raw.test[1]))),
        is_named=True,
    )
    prepared.write(data, root, split_seed, raw.files)
    return data


def open_data(name: str, root: str | None = None, digest: str = "") -> Dataset:
    """The data of a study: those of this digest that were sent here, else the named ones on this machine's disk.

    Raises `StorageError` if they have another digest.
    """
    data = provided(digest) or load_dataset(name, root)
    if digest and data.digest != digest:
        raise StorageError(f"the {name} files are not the ones that this study was planned with")
    return data


def store(data: Dataset) -> str:
    """Keep data of one's own for `open_data` to find by the digest that this returns."""
    provide(data)
    return data.digest
