"""How long a study will take here, from a moment of real work on this machine.

A pass over rows takes so many seconds a row. That depends on the network and, on a straight line, on the share of the
inputs that it reads: a few batches at two shares tell. What is timed is kept as long as the process lives. A stage ends
with its last piece, so pieces are laid out on the cores in the order in which workers take them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import torch
from torch import nn

from ..data import Dataset
from ..models import build_model
from ..pruning import build_pruned
from ..pruning.network import loses_columns
from ..ranking import Elimination, Ranking, find_criterion, find_strategy
from ..ranking.controls import SAMPLE
from ..ranking.relevance import measure_relevance
from ..training import evaluate, fit, one_thread
from .stages import base_data, is_cached, is_trained
from .trials import Base, RankingSpec, Trial

START_SECONDS = 6.0
"""Until the processes of a study are at work: each imports torch and opens the data."""

TOGETHER = 1.4
"""How many times as long a network takes while every core trains one: they share caches, memory and clock."""

FEW = 0.1
"""The share of the inputs at which a smaller network is timed; between this one and all of them cost is a line."""

TIMED_SECONDS, ROWS = 0.1, (250, 1000)
"""How long passes are timed, and the numbers of rows on which a criterion that explains no image is.

All of it in processor time: other work on this machine would else make it many times as long.
"""

SEARCH_SECONDS = 150.0
"""What swaps take on 50,000 rows: an exchange and a refinement, whose rounds end when nothing is gained any more."""

_SAMPLED = ("extra-trees", "mutual-information")


@dataclass(frozen=True)
class Line:
    """Seconds a row of a network that reads a share of the inputs."""

    at_few: float
    at_all: float

    def at(self, share: float) -> float:
        """Never below what half of the fewest timed take."""
        slope = (self.at_all - self.at_few) / (1 - FEW)
        return max(self.at_few / 2, self.at_few + slope * (share - FEW))


class _Enough(Exception):
    """Enough was timed."""


def seconds_of_study(trials: Iterable[Trial], cores: int, factor: float = 1.0) -> float:
    """How long what is left of a study takes on `cores` cores: these trials, and what of theirs is not in the cache.

    `factor` is how many times as long networks take to train as a moment of it says. Raises `InputError` for a network
    or criterion of your own that is not known here.
    """
    trials = list(trials)
    if not trials:
        return 0.0
    bases = dict.fromkeys(base for trial in trials for base in trial.bases if not is_trained(base))
    rankings: dict[RankingSpec, None] = {}
    for trial in trials:
        spec = trial.ranking and trial.ranking.essence
        while spec and not is_cached(spec):
            rankings[spec] = None
            spec = spec.improves
    stages = [
        [factor * _training(base, base.recipe.epochs, 1.0) for base in bases],
        [factor * seconds_of_ranking(spec) for spec in rankings if spec.improves is None],
        [factor * seconds_of_ranking(spec) for spec in rankings if spec.improves is not None],
        [factor * seconds_of_trial(trial) for trial in trials],
    ]
    return START_SECONDS + sum(_laid_out(pieces, cores) for pieces in stages)


def seconds_of_trial(trial: Trial) -> float:
    """How long one process takes to train and evaluate the network of a trial, when all else is there."""
    data = base_data(trial.base)
    share = trial.keep / data.n_groups
    rows = len(data.validation) + len(data.test)
    evaluated = rows * _line(_alike(trial.base), "evaluate", "").at(share)
    return evaluated + (0.0 if trial.mode == "none" else _training(trial.base, trial.retrain.epochs, share))


def seconds_of_ranking(spec: RankingSpec) -> float:
    """How long one process takes to rank, when networks and the ranking that is improved are there."""
    data, criterion, strategy = base_data(spec.base), find_criterion(spec.method.criterion), find_strategy(
        spec.method.strategy
    )  # fmt: skip
    n_train = spec.base.n_train or len(data.train)
    if not criterion.is_measured:
        fixed, by_row = _score_seconds(_alike(spec.base), criterion.name)
        return fixed + by_row * min(n_train, SAMPLE if criterion.name in _SAMPLED else n_train)
    if spec.improves is not None:
        return SEARCH_SECONDS * min(1.0, n_train / 50_000)
    explaining = _line(_alike(spec.base), "explain", criterion.name)
    options = getattr(strategy, "options", None)
    if not isinstance(options, Elimination):
        return strategy.networks * min(n_train, spec.rank_images or n_train) * explaining.at(1.0)
    options = replace(options, explained=spec.rank_images or options.explained, fewest=spec.fewest or options.fewest)
    training, is_sliced = _line(_alike(spec.base), "train", ""), _is_sliced(_alike(spec.base))
    explained, drawn = (min(n_train, n) for n in (options.explained, options.updates * options.batch_size))
    trained = options.recipe(drawn).epochs * drawn
    seconds, left = 0.0, data.n_groups
    while left > options.fewest:
        seconds += explained * explaining.at(left / data.n_groups if is_sliced else 1.0)
        left = options.after(left, data.n_groups)
        seconds += trained * training.at(left / data.n_groups if is_sliced else 1.0)
    return seconds


def _training(base: Base, epochs: int, share: float) -> float:
    rows = base.n_train or len(base_data(base).train)
    return epochs * rows * _line(_alike(base), "train", "").at(share)


def _alike(base: Base) -> Base:
    """A base that is timed for all that take as long: seeds, passes and learning rates do not count."""
    recipe = replace(base.recipe, epochs=1, lr=1e-4, patience=None)
    return replace(base, seed=0, n_train=None, recipe=recipe)


@lru_cache(maxsize=64)
def _line(base: Base, work: str, criterion: str) -> Line:
    return Line(*(_timed(work, base, criterion, share) for share in (FEW, 1.0)))


def _timed(work: str, base: Base, criterion: str, share: float) -> float:
    data = base_data(base)
    network, encode = _network(base, data, share)
    rows = data.train.take(torch.randperm(len(data.train))[: 2 * base.recipe.batch_size])
    with one_thread():
        if work == "train":
            return _train_seconds(network, rows, base, encode) / len(rows)
        if work == "evaluate":
            return _median(lambda: evaluate(network, rows, encode=encode, device="cpu")) / len(rows)
        how = find_criterion(criterion)
        return _median(lambda: measure_relevance(network, rows, criterion=how, encode=encode)) / len(rows)


def _network(base: Base, data: Dataset, share: float) -> tuple[nn.Module, Callable[..., torch.Tensor] | None]:
    """An untrained network that reads a share of the inputs: time goes by the shape alone."""
    full = build_model(base.architecture, data, seed=0)
    if share == 1.0:
        return full, None
    scores = torch.rand(data.n_groups, generator=torch.Generator().manual_seed(0))
    ranking = Ranking.from_scores("random", scores, data.shape, grouping=data.grouping)
    small = build_pruned(full.spec, ranking.mask(max(1, round(share * data.n_groups))), structure="sliced")
    return small, small.encode


def _train_seconds(network: nn.Module, rows: object, base: Base, encode: object) -> float:
    """Seconds of one pass, the median of those that fit into `TIMED_SECONDS`; the first one warms up."""
    marks: list[float] = []

    def mark(*_: object) -> None:
        marks.append(time.thread_time())
        if len(marks) > 3 and marks[-1] - marks[0] > TIMED_SECONDS:
            raise _Enough

    with suppress(_Enough):
        fit(network, rows, recipe=replace(base.recipe, epochs=10_000), on_epoch=mark, encode=encode, device="cpu")  # type: ignore[arg-type]
    return _middle([after - before for before, after in pairwise(marks)])


def _median(work: Callable[[], object]) -> float:
    """Seconds of a call, the median of those that fit into `TIMED_SECONDS`; the first one warms up."""
    work()
    taken: list[float] = []
    while len(taken) < 2 or sum(taken) < TIMED_SECONDS:
        started = time.thread_time()
        work()
        taken.append(time.thread_time() - started)
    return _middle(taken)


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


@lru_cache(maxsize=64)
def _is_sliced(base: Base) -> bool:
    """Whether elimination makes the network smaller step by step; any other one sees what is gone as 0."""
    data = base_data(base)
    return loses_columns(build_model(base.architecture, data, seed=0), data.shape)


@lru_cache(maxsize=64)
def _score_seconds(base: Base, criterion: str) -> tuple[float, float]:
    """Of a criterion that explains no image: seconds whatever the rows, and seconds a row."""
    data, score = base_data(base), find_criterion(criterion).score
    assert score is not None, "criteria that are not measured have a score"
    network = build_model(base.architecture, data, seed=0)
    few, more = (min(n, len(data.train)) for n in ROWS)
    taken = []
    with one_thread():
        for n in (few, more):
            sample = data.train if n == len(data.train) else data.train.sample(n, seed=0)
            started = time.thread_time()
            score(network, sample, 0)
            taken.append(time.thread_time() - started)
    by_row = max(0.0, taken[1] - taken[0]) / (more - few) if more > few else 0.0
    return max(0.0, taken[1] - by_row * more), by_row


def _laid_out(pieces: Iterable[float], cores: int) -> float:
    """When the last piece is done, if each core takes the next as soon as it is free."""
    ends = [0.0] * cores
    for piece in pieces:
        first = min(range(cores), key=ends.__getitem__)
        ends[first] += piece
    return max(ends)
