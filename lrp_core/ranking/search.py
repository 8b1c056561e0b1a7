"""One search for a better set of inputs: relevance proposes, images that no proposal looks at judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..data import Split, to_inputs
from ..errors import InputError
from .elimination import ranking_of_order
from .neighbours import Images
from .ranking import Ranking, check_keep

FEWEST_IMAGES = 6
"""Fewer images cannot be divided into queries, references and a validation part."""


@dataclass(frozen=True)
class Search:
    """How a set is improved in rounds.

    Each of at most `rounds` rounds makes `swaps` swaps. It counts if the judge's loss falls; if not, it is undone and
    the next one makes half as many, `least_swaps` at the least. It ends with no swaps left, or after `patience` rounds
    that were undone one after the other (None: never).
    """

    rounds: int
    swaps: int
    least_swaps: int = 0
    patience: int | None = None

    def improve(
        self,
        start: list[int],
        loss: float,
        step: Callable[[list[int], int], list[int]],
        judge: Callable[[list[int]], float],
        on_round: Callable[[int, float], None] | None,
    ) -> list[int]:
        """The best set found from `start`, whose loss is known: `step(set, swaps)` proposes, `judge(set)` decides."""
        best, swaps, undone = start, self.swaps, 0
        for number in range(1, self.rounds + 1):
            proposed = step(best, swaps)
            after = loss if set(proposed) == set(best) else judge(proposed)
            if after < loss:
                best, loss, undone = proposed, after, 0
            else:
                swaps, undone = max(self.least_swaps, swaps // 2), undone + 1
            if on_round:
                on_round(number, loss)
            if swaps == 0 or undone == self.patience:
                break
        return best


def check_counts(what: str, counts: Mapping[str, float]) -> None:
    """Raise `InputError` if one of the options of `what` is below 1, or `rounds` below 0."""
    for name, value in counts.items():
        least = 0 if name == "rounds" else 1
        if value < least:
            raise InputError(f"{name} of {what} must be at least {least}, not {value}")


def count_candidates(ranking: Ranking, split: Split, keep: int, *, per_input: int, least: int) -> int:
    """How many of the best inputs a search looks at: `per_input` for each one kept, at least `least`.

    Raises `InputError` for a keep beyond the inputs and for images that cannot judge sets of them.
    """
    check_keep(keep, ranking.n_groups)
    if split.shape != ranking.shape:
        raise InputError(f"the ranking is of inputs of shape {ranking.shape}, not {split.shape}")
    if len(split) < FEWEST_IMAGES:
        raise InputError(f"a search needs at least {FEWEST_IMAGES} images to choose and to judge by, not {len(split)}")
    if split.has_numbers:
        raise InputError("strategy 'exchange' tells classes apart, and these rows have numbers: use elimination")
    if int(split.labels.min()) == int(split.labels.max()):
        raise InputError("a search tells classes apart: it needs images of at least 2 classes")
    return min(ranking.n_groups, max(per_input * keep, least))


def candidates(ranking: Ranking, split: Split, n_pool: int) -> Images:
    """The rows of a split with the first `n_pool` of a ranking as their columns, in its order."""
    pool, grouping = ranking.order[:n_pool], ranking.grouping
    if grouping.is_single:
        return Images(vectors(split, pool), split.labels)
    inputs = grouping.inputs_of(pool)
    place = torch.empty(len(grouping), dtype=torch.int64).index_copy_(0, pool, torch.arange(n_pool))
    return Images(vectors(split, inputs), split.labels, place[grouping.of[inputs]])


def vectors(split: Split, columns: Tensor) -> Float[Tensor, "n columns"]:
    """Some of the inputs of a split, for distances between its rows.

    Distances are differences of large squares if the inputs lie far from 0, so numbers are taken from their mean.
    """
    picked = split.raw.flatten(1)[:, columns]
    return to_inputs(picked if split.is_bytes else picked.double() - picked.double().mean(0))


def put_first(ranking: Ranking, places: Sequence[int], n_pool: int, how: str) -> Ranking:
    """`ranking` with those of its first `n_pool` inputs that stand at `places` before all others, else in its order."""
    pool = ranking.order[:n_pool]
    chosen = torch.zeros(n_pool, dtype=torch.bool)
    chosen[list(places)] = True
    order = torch.cat([pool[chosen], pool[~chosen], ranking.order[n_pool:]])
    return ranking_of_order(f"{ranking.criterion}, {how}", order, ranking.shape, ranking.grouping)
