"""How much two rankings agree, and how a ranking settles as more images are looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..data import Grouping, Split
from ..errors import InputError
from ..extras import from_extra
from ..lrp import Composite
from ..shares import keep_for_share
from .criteria import Criterion, explaining_criterion
from .ranking import Ranking, check_keep
from .relevance import check_options, classes_of, explain_rows, n_classes_of, ranking_from
from .statistics import RelevanceStatistics

if TYPE_CHECKING:
    import pandas as pd

SHARES = (0.5, 0.8, 0.9, 0.95)
"""Shares of the inputs removed, for which the overlap of two rankings is told if nothing else is asked for."""


@dataclass(frozen=True)
class Comparison:
    """How much two rankings of the same inputs agree.

    `spearman` and `kendall` are rank correlations in [-1, 1] (NaN for a single input), `overlap` maps a number of
    inputs kept to the share in [0, 1] of them that both rankings keep; by chance it is keep / n_inputs.
    """

    spearman: float
    kendall: float
    overlap: dict[int, float]


def compare(a: Ranking, b: Ranking, keeps: Sequence[int] | None = None) -> Comparison:
    """Rank correlations of two rankings, and their overlap at each of `keeps` (default: what `SHARES` leave).

    It is the orders that are compared, since masks follow from them: equal scores count in the order in which the
    ranking's seed put them. Raises `InputError` for rankings of different inputs or groups, or a keep beyond them.
    """
    with from_extra():  # a second to import, and only needed here
        from scipy import stats

    if a.n_inputs != b.n_inputs:
        raise InputError(f"rankings of {a.n_inputs} and of {b.n_inputs} inputs cannot be compared")
    if not torch.equal(a.grouping.of, b.grouping.of):
        raise InputError("rankings of different groups of inputs cannot be compared: rank both by the same groups")
    n = a.n_groups
    keeps = _keeps(keeps, n)
    if n == 1:
        return Comparison(math.nan, math.nan, dict.fromkeys(keeps, 1.0))
    places = a.rank.numpy(), b.rank.numpy()
    overlap = {keep: len(set(a.order[:keep].tolist()) & set(b.order[:keep].tolist())) / keep for keep in keeps}
    return Comparison(float(stats.spearmanr(*places)[0]), float(stats.kendalltau(*places)[0]), overlap)


def settling(
    model: nn.Module,
    split: Split,
    *,
    criterion: str | Composite | Criterion = "lrp-0",
    statistic: str = "mean-square",
    start: str = "log-odds",
    label: int | None = None,
    sizes: Sequence[int] | None = None,
    keeps: Sequence[int] | None = None,
    grouping: Grouping | None = None,
    seed: int = 0,
    batch_size: int = 500,
    on_batch: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """How well a ranking is determined by n images: two rankings from n images each, none in common, compared.

    For every n in `sizes` (default: half of the images, half of that, and so on) the table has rows `images` (n),
    `measure`, `keep` and `value`: the measures "spearman" and "kendall", "overlap" at each of `keeps`, and "error",
    the median over inputs of the standard error as a share of the score, in the first half, where the score is not
    zero; `keep` is missing for all but "overlap". Larger halves contain the smaller ones: one pass over
    the data gives them all, and two sets of sums are all that is held. `seed` draws the halves and orders ties;
    with a `label`, only images of that class count. `on_batch(images done)` reports progress.

    Raises `InputError` for a criterion that does not explain images, or a size that is not 1 to half of the images.
    """
    with from_extra():
        import pandas as pd

    how = explaining_criterion(criterion)
    check_options(split, statistic, start, label)
    if label is not None:
        split = split.take((split.labels == label).nonzero().flatten())
    sizes = _sizes(sizes, len(split) // 2)
    grouping, shape = grouping or Grouping.single(math.prod(split.shape)), split.shape
    keeps = _keeps(keeps, len(grouping))
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    attribute, n_classes = how.explain_with(model, seed), n_classes_of(model, split)
    halves = [(order[i::2], RelevanceStatistics.empty(n_classes, len(grouping))) for i in range(2)]
    rows: list[tuple[int, str, int | None, float]] = []
    done = 0
    for before, n in zip((0, *sizes), sizes, strict=False):
        for positions, statistics in halves:
            for batch in torch.split(positions[before:n], batch_size):
                part = split.take(batch)
                relevance = explain_rows(attribute, part.images, part, start)
                statistics.update(grouping.sums(relevance), classes_of(part))
                done += len(part)
                if on_batch:
                    on_batch(done)
        first, second = (
            ranking_from(statistics, how.name, shape, statistic=statistic, label=label, seed=seed, grouping=grouping)
            for _, statistics in halves
        )
        comparison = compare(first, second, keeps)
        rows += [(n, "spearman", None, comparison.spearman), (n, "kendall", None, comparison.kendall)]
        rows += [(n, "overlap", keep, value) for keep, value in comparison.overlap.items()]
        rows.append((n, "error", None, _relative_error(first)))
    return pd.DataFrame(rows, columns=["images", "measure", "keep", "value"]).astype({"keep": "Int64"})


def _keeps(keeps: Sequence[int] | None, n: int) -> list[int]:
    if keeps is None:
        keeps = [keep_for_share(share, n) for share in SHARES]
    return sorted({check_keep(keep, n) for keep in keeps})


def _sizes(sizes: Sequence[int] | None, most: int) -> list[int]:
    """Sizes of the halves, smallest first."""
    if most < 1:
        raise InputError("two halves need at least two images")
    if sizes is None:
        sizes = [most >> k for k in range(most.bit_length()) if most >> k >= min(most, 16)]
    for size in sizes:
        if not 1 <= size <= most:
            raise InputError(f"each half can have 1 to {most} images, not {size}")
    if not sizes:
        raise InputError("give at least one number of images")
    return sorted(set(sizes))


def _relative_error(ranking: Ranking) -> float:
    """Median standard error as a share of the score; NaN where no score or no error is known."""
    scored: Tensor = ranking.scores != 0
    if not bool(scored.any()):
        return math.nan
    return float((ranking.standard_error[scored] / ranking.scores[scored].abs()).median())
