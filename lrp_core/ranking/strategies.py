"""Strategies: how a criterion becomes a ranking, from a single measurement to sets improved by exchange."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..data import Split
from ..errors import InputError, check_choice
from ..models import Network
from .criteria import CRITERIA, MEASURED, rank
from .elimination import Elimination, eliminate
from .exchange import Exchange, exchange
from .ranking import Ranking
from .refinement import Refinement, refine

STRATEGIES: dict[str, str] = {
    "one-shot": "relevance measured once",
    "stability": "one-shot rankings averaged over several networks",
    "elimination": "the least relevant go, the network adapts, and all is measured again",
    "exchange": "elimination, then swaps that improve the set of exactly `keep` inputs: exchange and refinement",
}
"""Every strategy, and what it does."""


@dataclass(frozen=True)
class Method:
    """How inputs are ranked: a criterion, and the strategy that uses it.

    Only criteria that explain images (`MEASURED`) have a choice of strategies. Raises `InputError` otherwise.
    """

    criterion: str
    strategy: str = "one-shot"

    def __post_init__(self) -> None:
        check_choice("criterion", self.criterion, CRITERIA)
        check_choice("strategy", self.strategy, tuple(STRATEGIES))
        if self.strategy != "one-shot" and self.criterion not in MEASURED:
            raise InputError(
                f"criterion {self.criterion!r} explains no image, so it is ranked by once: strategy "
                f"{self.strategy!r} is for {', '.join(MEASURED)}"
            )

    @property
    def name(self) -> str:
        """What it is called in tables, charts and links: "lrp-0", or "lrp-0, elimination"."""
        return self.criterion if self.strategy == "one-shot" else f"{self.criterion}, {self.strategy}"

    @classmethod
    def named(cls, name: str) -> Method:
        """The method of that name."""
        criterion, _, strategy = name.partition(", ")
        return cls(criterion, strategy or "one-shot")


def combine(criteria: Sequence[str], strategies: Sequence[str]) -> tuple[Method, ...]:
    """Every criterion under every strategy; those that explain no image once, one-shot, whatever the strategies."""
    pairs = [(c, s if c in MEASURED else "one-shot") for c in criteria for s in strategies]
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
    below = torch.stack([ranking.n_inputs - 1 - ranking.rank for ranking in rankings]).double()
    error = below.std(0) / len(rankings) ** 0.5 if len(rankings) > 1 else None
    return Ranking.from_scores(
        f"{rankings[0].criterion}, stability", below.mean(0), rankings[0].shape, standard_error=error
    )


def rank_by_strategy(
    strategy: str,
    networks: Sequence[Network],
    split: Split,
    *,
    keep: int | None = None,
    criterion: str = "lrp-0",
    statistic: str = "mean-square",
    start: str = "log-odds",
    elimination: Elimination | None = None,
    exchanging: Exchange | None = None,
    refining: Refinement | None = None,
    seed: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> Ranking:
    """Rank all inputs by one of `STRATEGIES`, on `split` (never the test split).

    `networks` are trained networks on all inputs: as many as there are for "stability", exactly one for the others.
    "exchange" needs `keep`, the number of inputs whose set it improves. `on_progress(what was done)` stops the
    ranking by raising (`Cancelled`, say). Raises `InputError` for an unknown name or a wrong number of networks.
    """
    check_choice("strategy", strategy, tuple(STRATEGIES))
    if not networks or (strategy != "stability" and len(networks) > 1):
        needed = "at least one network" if strategy == "stability" else "exactly one network"
        raise InputError(f"strategy {strategy!r} needs {needed}, not {len(networks)}")
    if (strategy == "exchange") != (keep is not None):
        raise InputError("strategy 'exchange' needs keep, the number of inputs to choose, and no other one takes it")

    def report(text: str) -> None:
        if on_progress:
            on_progress(text)

    if strategy in ("one-shot", "stability"):
        rankings = []
        for number, network in enumerate(networks, start=1):
            rankings.append(
                rank(network, split, criterion=criterion, statistic=statistic, start=start, seed=seed + number - 1)
            )
            report(f"ranked by network {number} of {len(networks)}")
        return rankings[0] if strategy == "one-shot" else average_rankings(rankings)
    eliminated = eliminate(
        networks[0],
        split,
        criterion=criterion,
        statistic=statistic,
        start=start,
        options=elimination,
        seed=seed,
        on_step=lambda left: report(f"{left} inputs left"),
    )
    if keep is None:
        return eliminated
    exchanged = exchange(
        eliminated,
        split,
        keep,
        options=exchanging,
        seed=seed,
        on_round=lambda number, error: report(f"exchange round {number}: validation error {error:.4f}"),
    )
    return refine(
        exchanged,
        split,
        keep,
        options=refining,
        seed=seed,
        on_round=lambda number, loss: report(f"refinement round {number}: validation loss {loss:.4f}"),
    )
