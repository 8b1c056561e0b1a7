"""The heavy stages: a network trained on all inputs, and rankings of the inputs.

Their results are cached on disk under what describes them, the digest of the data and `STAGE_VERSION`, so that any
process that asks again gets them for nothing.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..data import Dataset, Split, open_data
from ..models import build_model
from ..ranking import Ranking, rank
from ..training import fit, one_thread
from .cache import memory, stage
from .trials import Base, RankingSpec, key_of

CACHE_LIMIT = 2 * 2**30
"""Bytes that cached stages may take, and as many again for the weights of trials; the oldest go first."""

_stage = stage(partial(key_of, without="root"))


def ranking_of(spec: RankingSpec) -> Ranking:
    """The ranking that `spec` describes, from the cache if it was made before."""
    scores, errors, order = (torch.from_numpy(np.array(array)) for array in rank_inputs(spec.essence))
    data = base_data(spec.base)
    return Ranking(spec.method.name, scores, errors, order, data.shape, data.grouping)


def prepare_base(base: Base) -> None:
    """Have the network of `base` trained and cached."""
    train_base(base)


def prepare_ranking(spec: RankingSpec) -> None:
    """Have what a ranking orders by computed and cached."""
    rank_inputs(spec.essence)


def is_cached(spec: RankingSpec) -> bool:
    """Whether this ranking is on disk already. The networks that it came from may be gone, or elsewhere."""
    return rank_inputs.is_stored(spec.essence)


def is_trained(base: Base) -> bool:
    """Whether the network of a base is on disk already."""
    return train_base.is_stored(base)


def base_data(base: Base) -> Dataset:
    """The data of a base: those that a coordinator sent here, else those on this machine's disk, split as it says.

    Raises `StorageError` if they are not the ones that the trial was planned for.
    """
    return open_data(base.dataset, base.root, base.digest, base.split)


@lru_cache(maxsize=2)
def training_split(base: Base) -> Split:
    """The training images of a base: all of them, or a stratified sample drawn with its seed."""
    data = base_data(base)
    return data.train if base.n_train is None else data.train.sample(base.n_train, seed=base.seed)


@lru_cache(maxsize=8)
def base_network(base: Base) -> Any:
    """The network trained on all inputs, from the cache if it was trained before. Do not change it."""
    network: nn.Module = build_model(base.architecture, base_data(base), seed=base.seed)
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in train_base(base).items()})
    return network.eval()


@_stage
@one_thread()
def train_base(base: Base) -> dict[str, np.ndarray]:
    """The weights of the network of a base, trained on all inputs."""
    network = build_model(base.architecture, base_data(base), seed=base.seed)
    held = base_data(base).validation
    network = fit(network, training_split(base), recipe=base.recipe, seed=base.seed, device="cpu", validation=held)
    return {name: value.numpy() for name, value in network.state_dict().items()}


@_stage
@one_thread()
def rank_inputs(spec: RankingSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, standard errors and order of a ranking, each [n_groups]."""
    split = training_split(spec.base)
    ranking = rank(
        [base_network(base) for base in spec.bases],
        split,
        criterion=spec.method.criterion,
        strategy=spec.method.strategy,
        statistic=spec.statistic,
        start=spec.start,
        images=spec.rank_images and min(spec.rank_images, len(split)),
        keep=spec.keep,
        fewest=spec.fewest,
        groups=base_data(spec.base).grouping,
        before=ranking_of(spec.improves) if spec.improves else None,
        seed=spec.base.seed,
    )
    return ranking.scores.numpy(), ranking.standard_error.numpy(), ranking.order.numpy()


def trim_cache(weights: Path) -> None:
    """Drop the oldest cached stages, and the oldest networks in `weights`, beyond `CACHE_LIMIT` bytes each."""
    memory().reduce_size(bytes_limit=CACHE_LIMIT)
    files = sorted(weights.glob("*.safetensors"), key=lambda f: f.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > CACHE_LIMIT:
            file.unlink(missing_ok=True)
