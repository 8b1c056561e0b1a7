"""Exchange: improve a set of inputs by swaps that relevance proposes and held-out images judge.

Elimination never takes anything back. Here an input that is in leaves for one that is out, judged by a network
of nearest neighbours (`neighbours`), for which a swap costs one addition and no training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import Split
from .neighbours import Images, Neighbourhood, best_temperature, expected_error, find_neighbours
from .ranking import Ranking
from .search import Search, candidates, check_counts, count_candidates, put_first


@dataclass(frozen=True)
class Exchange:
    """How inputs are exchanged.

    Candidates are the best `pool` inputs for each one kept, at least `least_pool`. In each of at most `rounds`
    rounds `queries` images look up `neighbours` others of their own class and as many of other classes among
    `references` images; up to `swaps` swaps are made, each the best of the `leaving` x `entering` that relevance
    proposes. The round counts if the error on `validation` other images falls; if not, it is undone and the
    next ones make half as many swaps, until there is none left to make.
    """

    rounds: int = 12
    swaps: int = 8
    leaving: int = 10
    entering: int = 20
    pool: int = 4
    least_pool: int = 100
    queries: int = 10_000
    references: int = 20_000
    validation: int = 10_000
    neighbours: int = 10

    def __post_init__(self) -> None:
        check_counts("an exchange", vars(self))


MEMORY = 400 * 2**20
"""Bytes that the squared differences of one round may take: with many candidates, fewer queries are asked."""


def exchange(
    ranking: Ranking,
    split: Split,
    keep: int,
    *,
    options: Exchange | None = None,
    seed: int = 0,
    on_round: Callable[[int, float], None] | None = None,
) -> Ranking:
    """`ranking` with its first `keep` inputs exchanged for a better set of as many.

    Works on `split` alone (never the test split), of which a part is held out to judge. The new set comes first and
    the rest after it, both in the order of `ranking`, so that masks stay nested; only the mask of exactly `keep`
    inputs was optimised. The same seed, versions and thread count give the same ranking.

    `on_round(round, validation error)` reports progress, the error in [0, 1], and stops by raising (`Cancelled`,
    say). Raises `InputError` for a keep beyond the inputs, images of another shape, fewer than 6 images or
    fewer than 2 classes.
    """
    options = options or Exchange()
    n_pool = count_candidates(ranking, split, keep, per_input=options.pool, least=options.least_pool)
    random = torch.Generator().manual_seed(seed)
    if keep == n_pool:
        return ranking
    images = candidates(ranking, split, n_pool)
    order = torch.randperm(len(split), generator=random)
    n_held = min(options.validation, len(split) // 6)
    held_out, rest = images.take(order[:n_held]), order[n_held:]
    n_queries = min(options.queries, len(rest) // 2, max(1, MEMORY // (n_pool * 2 * options.neighbours * 4)))
    known = images.take(rest[: options.references])

    def validate(columns: list[int]) -> float:
        return float(expected_error(_distances(held_out, known, columns, options.neighbours), temperature).mean())

    def step(columns: list[int], swaps: int) -> list[int]:
        nonlocal rest
        rest = rest[torch.randperm(len(rest), generator=random)]
        queries = images.take(rest[:n_queries])
        references = images.take(rest[n_queries:][: options.references])
        neighbourhood = Neighbourhood(queries, references, columns, options.neighbours)
        return _swap(neighbourhood, columns, temperature, swaps, options)

    first = list(range(keep))
    temperature = best_temperature(_distances(held_out, known, first, options.neighbours))
    search = Search(options.rounds, options.swaps)
    best = search.improve(first, validate(first), step, validate, on_round)
    return put_first(ranking, best, n_pool, f"exchange at {keep}")


def _swap(
    neighbourhood: Neighbourhood, columns: list[int], temperature: float, n_swaps: int, options: Exchange
) -> list[int]:
    """`columns` after up to `n_swaps` swaps that lower the expected error of the queries, the best one each time."""
    inside, distances = list(columns), neighbourhood.distances

    def error_of(changed: Tensor) -> float:
        return float(expected_error(changed, temperature).mean())

    error = error_of(distances)
    for _ in range(n_swaps):
        gradient = neighbourhood.gradient(distances, temperature).tolist()
        outside = sorted(set(range(len(gradient))) - set(inside), key=lambda i: gradient[i])
        leaving = sorted(inside, key=lambda i: -gradient[i])[: 2 * options.leaving]
        # Relevance proposes to first order; then single removals and additions are tried, and the best ones in pairs.
        leaving = sorted(leaving, key=lambda i: error_of(distances - neighbourhood.squares[i]))[: options.leaving]
        without = distances - neighbourhood.squares[leaving[0]]
        entering = outside[: 2 * options.entering]
        entering = sorted(entering, key=lambda i: error_of(without + neighbourhood.squares[i]))[: options.entering]
        after, leaves, enters = min(
            (error_of(neighbourhood.swapped(distances, a, b)), a, b) for a in leaving for b in entering
        )
        if after >= error:
            break
        error, distances = after, neighbourhood.swapped(distances, leaves, enters)
        inside[inside.index(leaves)] = enters
    return inside


def _distances(queries: Images, references: Images, columns: list[int], n_neighbours: int) -> Tensor:
    """Squared distances [2, m, n] to the nearest references on `columns`."""
    places, missing = find_neighbours(queries, references, columns, n_neighbours)
    chosen = queries.inputs_of(columns)
    asked, known = queries.inputs[:, chosen], references.inputs[:, chosen]
    rows = [(known[row] - asked).square().sum(1) for row in places.flatten(0, 1)]
    return torch.stack(rows).view(places.shape) + missing
