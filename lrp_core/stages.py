"""The heavy stages: a network trained on all inputs, its relevance over a sample, and the scores of controls.

Their results are cached on disk by plain values, the digest of the data and `STAGE_VERSION`, so that any process
that asks again gets them for nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Memory

from .data import Dataset, Split, load_dataset
from .errors import StorageError
from .models import Network, build_model
from .ranking import NEED_NETWORK, RelevanceStatistics, control_scores, measure_relevance
from .storage import cache_dir
from .training import Recipe, fit, one_thread

STAGE_VERSION = 3
"""Part of every cache key and trial key: raise it when a change makes results differ."""

CACHE_LIMIT = 2 * 2**30
"""Bytes that cached stages may take, and as many again for the weights of trials; the oldest go first."""


@dataclass(frozen=True)
class Base:
    """What a trial starts from: data, architecture and training. Its baseline is the network trained on all inputs."""

    dataset: str = "mnist"
    root: str | None = None
    digest: str = ""
    n_train: int | None = None
    architecture: str = "mlp-300-100"
    recipe: Recipe = Recipe()
    seed: int = 0


def base_data(base: Base) -> Dataset:
    """The data of a base. Raises `StorageError` if they are not the ones that the trial was planned for."""
    data = load_dataset(base.dataset, base.root)
    if base.digest and data.digest != base.digest:
        raise StorageError(f"the {base.dataset} files are not the ones that this study was planned with")
    return data


@lru_cache(maxsize=2)
def training_split(base: Base) -> Split:
    """The training images of a base: all of them, or a stratified sample drawn with its seed."""
    data = base_data(base)
    return data.train if base.n_train is None else data.train.sample(base.n_train, seed=base.seed)


def prepare_base(base: Base) -> None:
    """Have the baseline of `base` trained and cached."""
    base_network(base)


@lru_cache(maxsize=8)
def base_network(base: Base) -> Network:
    """The network trained on all inputs, from the cache if it was trained before. Do not change it."""
    data = base_data(base)
    network = build_model(base.architecture, data, seed=base.seed)
    weights = _memory().cache(_train_base, ignore=["root"])(**_plain(base))
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return network.eval()


def relevance_statistics(base: Base, criterion: str, start: str, n_images: int | None) -> RelevanceStatistics:
    """Relevance over `n_images` of the training images (None: all) of a base, from the cache if measured before.

    `criterion` is one of those that explain images (`MEASURED`): a composite, or a gradient.
    """
    measure = _memory().cache(_measure_relevance, ignore=["root"])
    sums, counts = measure(criterion=criterion, start=start, n_images=n_images, **_plain(base))
    return RelevanceStatistics(torch.from_numpy(np.array(sums)), torch.from_numpy(np.array(counts)))


def base_scores(base: Base, criterion: str) -> torch.Tensor:
    """Scores [n_inputs] of a control that explains no image, from the cache if computed before.

    They are of all training images of the base, and of its network if the control looks at one. Those that do not
    are the same for all networks of a seed, and computed once.
    """
    if criterion not in NEED_NETWORK:
        base = Base(base.dataset, base.root, base.digest, base.n_train, seed=base.seed)
    score = _memory().cache(_score_control, ignore=["root"])
    return torch.from_numpy(np.array(score(criterion=criterion, **_plain(base))))


@one_thread()
def _train_base(version: int, root: str | None, **values: Any) -> dict[str, np.ndarray]:
    base = _from_plain(root, values)
    network = fit(
        build_model(base.architecture, base_data(base), seed=base.seed),
        training_split(base),
        recipe=base.recipe,
        seed=base.seed,
        device="cpu",
    )
    return {name: value.numpy() for name, value in network.state_dict().items()}


@one_thread()
def _measure_relevance(
    version: int, root: str | None, criterion: str, start: str, n_images: int | None, **values: Any
) -> tuple[np.ndarray, np.ndarray]:
    base = _from_plain(root, values)
    split = training_split(base)
    if n_images is not None and n_images < len(split):
        split = split.sample(n_images, seed=base.seed)
    statistics = measure_relevance(base_network(base), split, composite=criterion, start=start)
    return statistics.sums.numpy(), statistics.counts.numpy()


@one_thread()
def _score_control(version: int, root: str | None, criterion: str, **values: Any) -> np.ndarray:
    base = _from_plain(root, values)
    network = base_network(base) if criterion in NEED_NETWORK else None
    return control_scores(criterion, network, training_split(base), seed=base.seed).numpy()


def _plain(base: Base) -> dict[str, Any]:
    values = asdict(base)
    return {"version": STAGE_VERSION, **values, **values.pop("recipe")}


def _from_plain(root: str | None, values: dict[str, Any]) -> Base:
    recipe = Recipe(**{name: values[name] for name in asdict(Recipe())})
    names = ("dataset", "digest", "n_train", "architecture", "seed")
    return Base(root=root, recipe=recipe, **{name: values[name] for name in names})


def _memory() -> Memory:
    return Memory(cache_dir("stages"), verbose=0)


def trim_cache(weights: Path) -> None:
    """Drop the oldest cached stages, and the oldest networks in `weights`, beyond `CACHE_LIMIT` bytes each."""
    _memory().reduce_size(bytes_limit=CACHE_LIMIT)
    files = sorted(weights.glob("*.safetensors"), key=lambda f: f.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > CACHE_LIMIT:
            file.unlink(missing_ok=True)
