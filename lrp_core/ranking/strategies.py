"""Strategies: how a criterion becomes a ranking, from a single measurement to sets improved by exchange.

A strategy is one object; the command line, studies, charts and benchmarks only call it. Your own is an object with the
same attributes and a `rank`:

    register_strategy(Twice("twice", "measured twice, the second time without the lower half"))
    lc.rank(model, split, strategy="twice")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import nn

from ..data import Dataset, Grouping, InputGroup, Split
from ..data.groups import check_groups
from ..errors import InputError
from ..lrp import Composite
from ..registry import Registry
from .criteria import Criterion, find_criterion
from .elimination import Elimination, eliminate
from .exchange import Exchange, exchange
from .ranking import Ranking, check_keep
from .refinement import Refinement, refine
from .relevance import answered, check_options, default_start, measure_relevance, ranking_from

SEED_STEP = 1_000_003
"""Between the seeds of a strategy's networks: far enough that two seeds that a person names have none in common."""


def _tell_nobody(text: str) -> None:
    """The default of `How.progress`."""


_ELIMINATION, _EXCHANGE, _REFINEMENT = Elimination(), Exchange(), Refinement()


@dataclass(frozen=True)
class How:
    """What a ranking is asked for with, beside the networks and the split.

    `images` is how many images relevance is measured on (None: all, or in elimination its own number), `label` the one
    class that counts, `keep` the number of inputs that a strategy optimises, if it does, `fewest` the number at which
    elimination ends (None: one), and `grouping` says which inputs are ranked as one (None: each by itself).
    `progress(what was done)` stops the ranking by raising (`Cancelled`, say), `on_batch(images done)` too.
    """

    criterion: Criterion
    statistic: str = "mean-square"
    start: str = "log-odds"
    label: int | None = None
    images: int | None = None
    keep: int | None = None
    grouping: Grouping | None = None
    seed: int = 0
    progress: Callable[[str], None] = _tell_nobody
    on_batch: Callable[[int], None] | None = None
    fewest: int | None = None


@runtime_checkable
class Strategy(Protocol):
    """How a criterion becomes a ranking.

    `name` and `says` are what pages and tables call it; `networks` is how many trained networks it looks at;
    `any_criterion` says that it takes criteria that explain no image, too; `per_keep` that it ranks for one number of
    inputs kept (`How.keep`); `follows` names the strategy whose ranking it improves, and gets as `before`.
    """

    @property
    def name(self) -> str: ...
    @property
    def says(self) -> str: ...
    @property
    def networks(self) -> int: ...
    @property
    def any_criterion(self) -> bool: ...
    @property
    def per_keep(self) -> bool: ...
    @property
    def follows(self) -> str | None: ...

    def rank(self, networks: Sequence[nn.Module], split: Split, how: How, before: Ranking | None = None) -> Ranking: ...


@dataclass(frozen=True)
class OneShot:
    """Relevance measured once, or a score computed once."""

    name: str = "one-shot"
    says: str = "relevance measured once"
    networks: ClassVar[int] = 1
    any_criterion: ClassVar[bool] = True
    per_keep: ClassVar[bool] = False
    follows: ClassVar[str | None] = None

    def rank(self, networks: Sequence[nn.Module], split: Split, how: How, before: Ranking | None = None) -> Ranking:
        network = networks[0] if networks else None
        criterion, shape = how.criterion, split.shape
        if criterion.score is not None:
            scores = criterion.score(network, split, how.seed)
            if how.grouping is not None:
                scores = criterion.of_groups(scores, how.grouping)
            return Ranking.from_scores(criterion.name, scores, shape, seed=how.seed, grouping=how.grouping)
        if network is None:
            raise InputError(f"criterion {criterion.name!r} explains a network: give one")
        split = answered(network, split)
        check_options(split, how.statistic, how.start, how.label)
        if how.images is not None and how.images != len(split):
            split = split.sample(how.images, seed=how.seed)
        statistics = measure_relevance(
            network,
            split,
            criterion=criterion,
            start=how.start,
            grouping=how.grouping,
            statistic=how.statistic,
            seed=how.seed,
            on_batch=how.on_batch,
        )
        how.progress(f"{len(split):,} images explained")
        return ranking_from(
            statistics,
            criterion.name,
            shape,
            statistic=how.statistic,
            label=how.label,
            seed=how.seed,
            grouping=how.grouping,
        )


@dataclass(frozen=True)
class Stability:
    """One-shot rankings of several networks, averaged by position."""

    name: str = "stability"
    says: str = "one-shot rankings averaged over several networks"
    networks: int = 3
    any_criterion: ClassVar[bool] = False
    per_keep: ClassVar[bool] = False
    follows: ClassVar[str | None] = None

    def rank(self, networks: Sequence[nn.Module], split: Split, how: How, before: Ranking | None = None) -> Ranking:
        rankings = []
        for i, (network, seed) in enumerate(zip(networks, seeds_of(how.seed, len(networks)), strict=True), start=1):
            rankings.append(OneShot().rank([network], split, replace(how, seed=seed, progress=_tell_nobody)))
            how.progress(f"ranked by network {i} of {len(networks)}")
        return average_rankings(rankings)


@dataclass(frozen=True)
class Eliminate:
    """The least relevant go, the network adapts, and all is measured again."""

    name: str = "elimination"
    says: str = "the least relevant go, the network adapts, and all is measured again"
    options: Elimination = _ELIMINATION
    networks: ClassVar[int] = 1
    any_criterion: ClassVar[bool] = False
    per_keep: ClassVar[bool] = False
    follows: ClassVar[str | None] = None

    def rank(self, networks: Sequence[nn.Module], split: Split, how: How, before: Ranking | None = None) -> Ranking:
        options = self.options if how.images is None else replace(self.options, explained=how.images)
        options = options if how.fewest is None else replace(options, fewest=how.fewest)
        return eliminate(
            networks[0],
            split,
            criterion=how.criterion,
            statistic=how.statistic,
            start=how.start,
            options=options,
            grouping=how.grouping,
            seed=how.seed,
            on_step=lambda left: how.progress(f"{left} inputs left"),
        )


@dataclass(frozen=True)
class Swap:
    """Elimination, then swaps that improve the set of exactly `keep` inputs."""

    name: str = "exchange"
    says: str = "elimination, then swaps that improve the set of exactly `keep` inputs: exchange and refinement"
    exchanging: Exchange = _EXCHANGE
    refining: Refinement = _REFINEMENT
    networks: ClassVar[int] = 1
    any_criterion: ClassVar[bool] = False
    per_keep: ClassVar[bool] = True
    follows: ClassVar[str | None] = "elimination"

    def rank(self, networks: Sequence[nn.Module], split: Split, how: How, before: Ranking | None = None) -> Ranking:
        if before is None:
            before = STRATEGIES["elimination"].rank(networks, split, replace(how, keep=None))
        keep = check_keep(how.keep, before.n_groups)
        exchanged = exchange(
            before,
            split,
            keep,
            options=self.exchanging,
            seed=how.seed,
            on_round=lambda number, error: how.progress(f"exchange round {number}: validation error {error:.4f}"),
        )
        return refine(
            exchanged,
            split,
            keep,
            options=self.refining,
            seed=how.seed,
            on_round=lambda number, loss: how.progress(f"refinement round {number}: validation loss {loss:.4f}"),
        )


STRATEGIES: Registry[Strategy] = Registry(
    "strategy", {one.name: one for one in (OneShot(), Stability(), Eliminate(), Swap())}
)
"""Every strategy by name."""


def register_strategy(strategy: Any) -> Strategy:
    """Make a strategy of your own known by its name, everywhere in this process. Raises `InputError`."""
    if not isinstance(strategy, Strategy):
        needed = ("name", "says", "networks", "any_criterion", "per_keep", "follows", "rank")
        missing = [name for name in needed if not hasattr(strategy, name)]
        raise InputError(f"{strategy!r} is no strategy: it lacks {', '.join(missing)}")
    if strategy.follows is not None:
        STRATEGIES.find(strategy.follows)
    return STRATEGIES.register(strategy.name, strategy)


def find_strategy(strategy: str | Strategy) -> Strategy:
    """The strategy of that name, or the given one. Raises `InputError` for an unknown name."""
    return STRATEGIES.find(strategy) if isinstance(strategy, str) else strategy


def seeds_of(seed: int, networks: int) -> tuple[int, ...]:
    """The seeds of so many networks, that of the ranking first."""
    return tuple((seed + i * SEED_STEP) % 2**32 for i in range(networks))


@dataclass(frozen=True)
class Method:
    """How inputs are ranked: the name of a criterion, and of the strategy that uses it.

    Raises `InputError` for an unknown name, or a strategy that does not take the criterion.
    """

    criterion: str
    strategy: str = "one-shot"

    def __post_init__(self) -> None:
        check_fit(find_criterion(self.criterion), find_strategy(self.strategy))

    @property
    def name(self) -> str:
        """What it is called in tables, charts and links: "lrp-0", or "lrp-0, elimination"."""
        return self.criterion if self.strategy == "one-shot" else f"{self.criterion}, {self.strategy}"

    @classmethod
    def named(cls, name: str) -> Method:
        """The method of that name."""
        criterion, _, strategy = name.partition(", ")
        return cls(criterion, strategy or "one-shot")


def check_fit(criterion: Criterion, strategy: Strategy) -> None:
    """Raise `InputError` if a strategy does not take a criterion."""
    if not (strategy.any_criterion or criterion.is_measured):
        raise InputError(
            f"criterion {criterion.name!r} explains no image, so it ranks inputs once: strategy {strategy.name!r} is "
            "for criteria that explain images"
        )


def combine(criteria: Sequence[str], strategies: Sequence[str]) -> tuple[Method, ...]:
    """Every criterion under every strategy; those that explain no image once, one-shot, whatever the strategies."""
    pairs = [
        (c, s if find_strategy(s).any_criterion or find_criterion(c).is_measured else "one-shot")
        for c in criteria
        for s in strategies
    ]
    return tuple(Method(*pair) for pair in dict.fromkeys(pairs))


def average_rankings(rankings: Sequence[Ranking]) -> Ranking:
    """The ranking by mean position in several rankings of the same inputs.

    The score of an input is the mean number of inputs below it, the standard error that of this mean over the
    rankings (NaN for a single one). Raises `InputError` for none, or for inputs of different shapes.
    """
    if not rankings:
        raise InputError("there is no ranking to average: give at least one")
    shapes = {ranking.shape for ranking in rankings}
    if len(shapes) > 1:
        raise InputError(f"rankings of inputs of different shapes cannot be averaged: {sorted(shapes)}")
    first = rankings[0]
    if not all(torch.equal(ranking.grouping.of, first.grouping.of) for ranking in rankings):
        raise InputError("rankings of different groups of inputs cannot be averaged")
    below = torch.stack([ranking.n_groups - 1 - ranking.rank for ranking in rankings]).double()
    error = below.std(0) / len(rankings) ** 0.5 if len(rankings) > 1 else None
    return Ranking.from_scores(
        f"{first.criterion}, stability", below.mean(0), first.shape, standard_error=error, grouping=first.grouping
    )


def rank(
    model: nn.Module | Sequence[nn.Module] | None,
    split: Split | Dataset,
    *,
    criterion: str | Composite | Criterion = "lrp-0",
    strategy: str | Strategy = "one-shot",
    statistic: str = "mean-square",
    start: str | None = None,
    label: int | None = None,
    images: int | None = None,
    keep: int | None = None,
    fewest: int | None = None,
    groups: Sequence[InputGroup] | Grouping = (),
    before: Ranking | None = None,
    seed: int = 0,
    on_batch: Callable[[int], None] | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Ranking:
    """Rank all inputs, or groups of them, by `criterion` under `strategy`, on `split` (never the test split).

    The same words give the same ranking here, on the command line and in a study. `model` is a trained network on all
    inputs, several of them for "stability", or None for a criterion that looks at no network. Criteria that explain
    images are aggregated by `statistic` (see `STATISTICS`) over all classes or for one `label` (one-shot), measured on
    `images` of the split (None: all; in elimination its own number in each step); the others take none of this. A
    strategy that chooses a set needs `keep`. Elimination ends with `fewest` inputs (None: with one), and orders these
    by their relevance then. `groups` are inputs that are ranked as one; of a data set, whose training
    split is then used, they are its own. `before` saves it the ranking that it starts from. `seed` orders ties, and
    draws what else is drawn. `on_batch(images done)` and `on_progress(what was done)` stop by raising.

    `start` is "log-odds" unless it is said; of an estimator (`neuralise`) "logit", since each of its outputs is a
    contest with the others already. One that has learnt from no labels is asked about its own answers.

    Raises `InputError` for an unknown name, or what this model or split cannot give.

    >>> import torch
    >>> import lrp_core as lc
    >>> split = lc.Split(torch.rand(60, 20), torch.arange(60) % 3)
    >>> net = lc.build_model("mlp-300-100", shape=(20,), n_classes=3)
    >>> ranking = lc.rank(net, split, criterion="lrp-0")
    >>> len(ranking.mask(keep=5).indices)
    5
    """
    how, plan = find_criterion(criterion), find_strategy(strategy)
    check_fit(how, plan)
    if isinstance(split, Dataset):
        groups, split = groups or split.grouping, split.train
    grouping = groups if isinstance(groups, Grouping) else _grouping(groups, split)
    if grouping.n_inputs != math.prod(split.shape):
        raise InputError(f"the groups are of {grouping.n_inputs} inputs, the split has {math.prod(split.shape)}")
    networks = [model] if isinstance(model, nn.Module) else list(model or ())
    needs_network = how.is_measured or how.needs_network
    if needs_network and not networks:
        raise InputError(f"criterion {how.name!r} explains a network: give one")
    if len(networks) > 1 and plan.networks == 1:
        raise InputError(f"strategy {plan.name!r} needs exactly one network, not {len(networks)}")
    if plan.per_keep != (keep is not None):
        raise InputError(
            f"strategy {plan.name!r} needs keep, the number of inputs to choose"
            if plan.per_keep
            else f"strategy {plan.name!r} ranks for every number of inputs: leave keep out"
        )
    if label is not None and not isinstance(plan, OneShot):
        raise InputError(f"strategy {plan.name!r} ranks by all classes: leave label {label} out")
    if images is not None and not 1 <= images <= len(split):
        raise InputError(f"relevance can be measured on 1 to {len(split):,} images of this split, not {images}")
    if start is None:
        start = default_start(networks[0]) if networks else "log-odds"
    tell = on_progress or _tell_nobody
    request = How(how, statistic, start, label, images, keep, grouping, seed, tell, on_batch, fewest)
    return plan.rank(networks, split, request, before)


def _grouping(groups: Sequence[InputGroup], split: Split) -> Grouping:
    check_groups(groups, math.prod(split.shape))
    return Grouping.from_groups(groups, math.prod(split.shape))
