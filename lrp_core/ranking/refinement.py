"""Refinement: what nearest neighbours have chosen, improved for classifiers with smooth boundaries.

An exchange (`exchange`) is judged by a vote of nearest neighbours. Here a few inputs enter a set and as many leave it,
judged by a network of kernels (`kernels`), which is solved for again with every change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from ..data import Split
from ..errors import InputError
from .kernels import KernelNetwork, Smoothness
from .neighbours import Images
from .ranking import Ranking
from .search import Search, candidates, check_counts, count_candidates, put_first


@dataclass(frozen=True)
class Refinement:
    """How a set is refined.

    Candidates are the best `pool` inputs for each one kept, at least `least_pool`. In each of at most `rounds`
    rounds `swaps` inputs enter, each the best of the `entering` that relevance proposes, and then as many leave,
    each the best of `leaving`. Every step is judged by a new network on `references` images, with `ridge`, and
    `queries` others. The round counts if the loss on `validation` other images falls, told by a network on
    `judges` images; if not, it is undone and the next ones exchange half as many, at least one. After `patience`
    rounds that were undone one after another it ends.
    """

    rounds: int = 12
    patience: int = 4
    swaps: int = 3
    entering: int = 2
    leaving: int = 5
    pool: int = 4
    least_pool: int = 100
    references: int = 1500
    queries: int = 5000
    judges: int = 2000
    validation: int = 8000
    ridge: float = 0.1

    def __post_init__(self) -> None:
        check_counts("a refinement", {name: value for name, value in vars(self).items() if name != "ridge"})
        if not self.ridge > 0:
            raise InputError(f"ridge of a refinement must be above 0, not {self.ridge}")


def refine(
    ranking: Ranking,
    split: Split,
    keep: int,
    *,
    options: Refinement | None = None,
    seed: int = 0,
    on_round: Callable[[int, float], None] | None = None,
) -> Ranking:
    """`ranking` with its first `keep` inputs refined to a better set of as many.

    Works on `split` alone (never the test split), of which a part is held out to judge. The new set comes first and
    the rest after it, both in the order of `ranking`, so that masks stay nested; only the mask of exactly `keep`
    inputs was optimised. The same seed, versions and thread count give the same ranking.

    `on_round(round, validation loss)` reports progress, the loss in nats, and stops by raising (`Cancelled`,
    say). Raises `InputError` for a keep beyond the inputs, images of another shape, fewer than 6 images or
    fewer than 2 classes.
    """
    options = options or Refinement()
    n_pool = count_candidates(ranking, split, keep, per_input=options.pool, least=options.least_pool)
    if keep == n_pool or options.rounds == 0:
        return ranking
    steps, first = _Steps(candidates(ranking, split, n_pool), options, seed), list(range(keep))
    smoothness = steps.judge.best_smoothness(first)

    def step(columns: list[int], swaps: int) -> list[int]:
        return steps.step(columns, min(swaps, n_pool - keep), smoothness)

    def judge(columns: list[int]) -> float:
        return steps.judge.loss(columns, smoothness)

    search = Search(options.rounds, options.swaps, least_swaps=1, patience=options.patience)
    best = search.improve(first, judge(first), step, judge, on_round)
    return put_first(ranking, best, n_pool, "refined")


class _Steps:
    """Steps from one set of candidates to another, and the `judge` of sets, on images that no step looks at."""

    def __init__(self, images: Images, options: Refinement, seed: int) -> None:
        self.random, self.options = torch.Generator().manual_seed(seed), options
        classes, labels = torch.unique(images.labels, return_inverse=True)
        self.images, self.n_classes = replace(images, labels=labels), len(classes)
        order = torch.randperm(len(images), generator=self.random)
        n_held = min(options.validation, len(images) // 3)
        self.rest = order[n_held:]
        self.judge = self._network(self.rest[: options.judges], order[:n_held])

    def step(self, columns: Sequence[int], swaps: int, smoothness: Smoothness) -> list[int]:
        """`columns` after some inputs entered, the best one each time, and then as many left."""
        inside = list(columns)
        for _ in range(swaps):
            network = self._draw()
            outside = sorted(set(range(self.images.n_columns)) - set(inside))
            # Relevance proposes to first order; then the best proposals are tried.
            slopes = network.gradient(inside, smoothness, outside).tolist()
            proposed = sorted(zip(slopes, outside, strict=True))[: self.options.entering]
            inside = min(([*inside, i] for _, i in proposed), key=lambda columns: network.loss(columns, smoothness))
        for _ in range(swaps):
            network = self._draw()
            slopes = network.gradient(inside, smoothness, inside).tolist()
            proposed = sorted(zip(slopes, inside, strict=True), reverse=True)[: self.options.leaving]
            remaining = ([j for j in inside if j != i] for _, i in proposed)
            inside = min(remaining, key=lambda columns: network.loss(columns, smoothness))
        return inside

    def _draw(self) -> KernelNetwork:
        """A network on other images than those of the step before."""
        drawn = self.rest[torch.randperm(len(self.rest), generator=self.random)]
        n_references = min(self.options.references, len(drawn) // 2)
        return self._network(drawn[:n_references], drawn[n_references:][: self.options.queries])

    def _network(self, references: torch.Tensor, queries: torch.Tensor) -> KernelNetwork:
        return KernelNetwork(
            self.images.take(references), self.images.take(queries), self.n_classes, self.options.ridge
        )
