"""Criteria: what a ranking orders the inputs by. LRP under any composite, and the controls it has to beat."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..data import Split
from ..errors import InputError, check_choice
from ..lrp import COMPOSITES, STARTS, Composite, Explainer
from ..training import Encode
from .ranking import Ranking
from .statistics import STATISTICS, RelevanceStatistics


def measure_relevance(
    model: nn.Module,
    split: Split,
    *,
    composite: str | Composite = "lrp-0",
    start: str = "log-odds",
    encode: Encode | None = None,
    batch_size: int = 500,
    on_batch: Callable[[int], None] | None = None,
) -> RelevanceStatistics:
    """Relevance of every input for the true class of every image of `split`, reduced as it streams by.

    `encode` prepares the images (default: none), `on_batch(images done)` reports progress.
    """
    explainer = Explainer(model, composite)
    spec = getattr(model, "spec", None)
    n_classes = spec.n_classes if spec else int(split.labels.max()) + 1
    statistics: RelevanceStatistics | None = None
    for start_at in range(0, len(split), batch_size):
        part = split.take(torch.arange(start_at, min(start_at + batch_size, len(split))))
        inputs = encode(part.images) if encode else part.images
        relevance = explainer.relevance(inputs, part.labels, start)
        if statistics is None:
            statistics = RelevanceStatistics.empty(n_classes, relevance[0].numel())
        statistics.update(relevance, part.labels)
        if on_batch:
            on_batch(start_at + len(part))
    assert statistics is not None, "a split is never empty"
    return statistics


def pixel_variance(split: Split, batch_size: int = 5000) -> Tensor:
    """Variance of every pixel (in [0, 1]) over the images of `split`, [n_inputs]."""
    n = torch.zeros((), dtype=torch.float64)
    total = torch.zeros(split.pixels[0].numel(), dtype=torch.float64)
    squares = torch.zeros_like(total)
    for part in torch.split(split.pixels, batch_size):
        x = part.flatten(1).double() / 255
        n, total, squares = n + len(x), total + x.sum(0), squares + x.square().sum(0)
    return (squares / n - (total / n).square()).clamp(min=0)


CONTROLS: tuple[str, ...] = ("random", "variance")
"""Criteria that look at no network: what LRP has to beat."""

CRITERIA: tuple[str, ...] = (*COMPOSITES, *CONTROLS)


def rank(
    model: nn.Module | None,
    split: Split,
    *,
    criterion: str = "lrp-0",
    statistic: str = "mean-square",
    start: str = "log-odds",
    label: int | None = None,
    seed: int = 0,
    on_batch: Callable[[int], None] | None = None,
) -> Ranking:
    """Rank all inputs by `criterion`, measured on `split` (never the test split).

    A composite's name ranks by relevance under it, aggregated by `statistic` ("mean-square", "mean-abs" or
    "mean") over all classes or for one `label`; "variance" and "random" are controls and need no model.
    `seed` orders ties, and is the order of "random". Raises `InputError` for an unknown criterion.
    """
    check_choice("criterion", criterion, CRITERIA)
    shape = tuple(split.pixels.shape[1:])
    if criterion == "random":
        return Ranking.from_scores(criterion, torch.zeros(split.pixels[0].numel()), shape, seed=seed)
    if criterion == "variance":
        return Ranking.from_scores(criterion, pixel_variance(split), shape, seed=seed)
    if model is None:
        raise InputError(f"criterion {criterion!r} explains a network: give one")
    check_choice("statistic", statistic, STATISTICS)
    check_choice("start", start, STARTS)
    if label is not None and not bool((split.labels == label).any()):
        raise InputError(f"class {label} has no image here to rank by")
    statistics = measure_relevance(model, split, composite=criterion, start=start, on_batch=on_batch)
    return ranking_from(statistics, criterion, shape, statistic=statistic, label=label, seed=seed)


def ranking_from(
    statistics: RelevanceStatistics,
    criterion: str,
    shape: tuple[int, ...],
    *,
    statistic: str = "mean-square",
    label: int | None = None,
    seed: int = 0,
) -> Ranking:
    """The ranking that relevance statistics give."""
    return Ranking.from_scores(
        criterion,
        statistics.mean(statistic, label=label),
        shape,
        standard_error=statistics.standard_error(statistic, label=label),
        seed=seed,
    )
