"""The heavy stages: a network trained on all inputs, its relevance over a sample, and rankings of the inputs.

Their results are cached on disk by plain values, the digest of the data and `STAGE_VERSION`, so that any process
that asks again gets them for nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data import Dataset, Split, load_dataset, provided
from ..errors import StorageError
from ..models import Network, build_model
from ..ranking import (
    MEASURED,
    NEED_NETWORK,
    Elimination,
    Method,
    Ranking,
    RelevanceStatistics,
    average_rankings,
    control_scores,
    eliminate,
    exchange,
    measure_relevance,
    ranking_from,
    refine,
)
from ..training import Recipe, fit, one_thread
from .cache import is_stored, memory, stage
from .describe import STAGE_VERSION, Base, RankingSpec, significant

CACHE_LIMIT = 2 * 2**30
"""Bytes that cached stages may take, and as many again for the weights of trials; the oldest go first."""


def ranking_of(spec: RankingSpec) -> Ranking:
    """The ranking that `spec` describes; what took time to measure is cached."""
    base, method = spec.base, spec.method
    shape = base_data(base).shape
    if method.criterion not in MEASURED:
        return Ranking.from_scores(method.name, base_scores(base, method.criterion), shape, seed=base.seed)
    if method.strategy == "one-shot":
        return _measured(spec, base, shape)
    if method.strategy == "stability":
        return average_rankings([_measured(spec, base, shape) for base in spec.bases])
    scores = _rank_by_elimination(**_plain_ranking(spec))
    return Ranking.from_scores(method.name, torch.from_numpy(np.array(scores)), shape)


def prepare_ranking(spec: RankingSpec) -> None:
    """Have what a ranking orders by computed and cached."""
    ranking_of(spec)


def is_cached(spec: RankingSpec) -> bool:
    """Whether what took time for this ranking is on disk already, networks included."""
    criterion, strategy = spec.method.criterion, spec.method.strategy
    if criterion not in MEASURED:
        needed = [(_score_control, {"criterion": criterion, **_plain(_control_base(spec.base, criterion))})]
    elif strategy in ("one-shot", "stability"):
        measured = {"criterion": criterion, "start": spec.start, "n_images": spec.rank_images}
        needed = [(_measure_relevance, {**measured, **_plain(base)}) for base in spec.bases]
    else:
        needed = [(_rank_by_elimination, _plain_ranking(spec))]
    networks = [(_train_base, _plain(base)) for base in spec.bases]
    return all(is_stored(stage, values) for stage, values in networks + needed)


def _measured(spec: RankingSpec, base: Base, shape: tuple[int, ...]) -> Ranking:
    """The one-shot ranking of one network."""
    criterion = spec.method.criterion
    statistics = relevance_statistics(base, criterion, spec.start, spec.rank_images)
    return ranking_from(statistics, criterion, shape, statistic=spec.statistic, seed=base.seed)


def base_data(base: Base) -> Dataset:
    """The data of a base: those that a coordinator sent here, else those on this machine's disk.

    Raises `StorageError` if they are not the ones that the trial was planned for.
    """
    data = provided(base.digest) or load_dataset(base.dataset, base.root)
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
    _train_base(**_plain(base))


@lru_cache(maxsize=8)
def base_network(base: Base) -> Network:
    """The network trained on all inputs, from the cache if it was trained before. Do not change it."""
    data = base_data(base)
    network = build_model(base.architecture, data, seed=base.seed)
    weights = _train_base(**_plain(base))
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return network.eval()


def relevance_statistics(base: Base, criterion: str, start: str, n_images: int | None) -> RelevanceStatistics:
    """Relevance over `n_images` of the training images (None: all) of a base, from the cache if measured before.

    `criterion` is one of those that explain images (`MEASURED`): a composite, or a gradient.
    """
    sums, counts = _measure_relevance(criterion=criterion, start=start, n_images=n_images, **_plain(base))
    return RelevanceStatistics(torch.from_numpy(np.array(sums)), torch.from_numpy(np.array(counts)))


def base_scores(base: Base, criterion: str) -> torch.Tensor:
    """Scores [n_inputs] of a control that explains no image, from the cache if computed before.

    They are of all training images of the base, and of its network if the control looks at one. Those that do not
    are the same for all networks of a seed, and computed once.
    """
    return torch.from_numpy(np.array(_score_control(criterion=criterion, **_plain(_control_base(base, criterion)))))


def _control_base(base: Base, criterion: str) -> Base:
    """What a control depends on: without a network, the data and the seed alone."""
    if criterion in NEED_NETWORK:
        return base
    return Base(base.dataset, base.root, base.digest, base.n_train, seed=base.seed)


@stage
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


@stage
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


@stage
@one_thread()
def _score_control(version: int, root: str | None, criterion: str, **values: Any) -> np.ndarray:
    base = _from_plain(root, values)
    network = base_network(base) if criterion in NEED_NETWORK else None
    return control_scores(criterion, network, training_split(base), seed=base.seed).numpy()


@stage
@one_thread()
def _rank_by_elimination(
    version: int,
    root: str | None,
    criterion: str,
    statistic: str,
    start: str,
    rank_images: int | None,
    keep: int | None,
    **values: Any,
) -> np.ndarray:
    """Scores of elimination, or if there is a `keep`, of the exchange and refinement that improve on it."""
    base = _from_plain(root, values)
    split = training_split(base)
    spec = RankingSpec(base, Method(criterion, "exchange"), statistic, start, rank_images, keep)
    if keep is not None and spec.improves is not None:
        exchanged = exchange(ranking_of(spec.improves), split, keep, seed=base.seed)
        return refine(exchanged, split, keep, seed=base.seed).scores.numpy()
    ranking = eliminate(
        base_network(base),
        split,
        criterion=criterion,
        statistic=statistic,
        start=start,
        options=Elimination() if rank_images is None else Elimination(explained=rank_images),
        seed=base.seed,
    )
    return ranking.scores.numpy()


def _plain(base: Base) -> dict[str, Any]:
    values = asdict(base)
    return significant({"version": STAGE_VERSION, **values, **values.pop("recipe")})


def _plain_ranking(spec: RankingSpec) -> dict[str, Any]:
    measured = {"statistic": spec.statistic, "start": spec.start, "rank_images": spec.rank_images}
    return {"criterion": spec.method.criterion, "keep": spec.keep, **measured, **_plain(spec.base)}


def _from_plain(root: str | None, values: dict[str, Any]) -> Base:
    recipe = Recipe(**{name: values[name] for name in asdict(Recipe()) if name in values})
    names = ("dataset", "digest", "n_train", "architecture", "seed")
    return Base(root=root, recipe=recipe, **{name: values[name] for name in names})


def trim_cache(weights: Path) -> None:
    """Drop the oldest cached stages, and the oldest networks in `weights`, beyond `CACHE_LIMIT` bytes each."""
    memory().reduce_size(bytes_limit=CACHE_LIMIT)
    files = sorted(weights.glob("*.safetensors"), key=lambda f: f.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > CACHE_LIMIT:
            file.unlink(missing_ok=True)
