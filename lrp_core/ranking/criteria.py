"""Criteria: what a ranking orders the inputs by. LRP under any composite, and the controls it has to beat."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..data import Split
from ..errors import InputError, check_choice
from ..lrp import COMPOSITES, STARTS, Composite
from ..training import Encode
from .attributions import ATTRIBUTIONS, attributor
from .controls import OF_DATA, OF_WEIGHTS
from .ranking import Ranking
from .statistics import STATISTICS, RelevanceStatistics, check_one_class

CONTROLS: tuple[str, ...] = (*OF_DATA, *OF_WEIGHTS, *ATTRIBUTIONS)
"""What LRP has to beat, without a network and with one."""

CRITERIA: tuple[str, ...] = (*COMPOSITES, *CONTROLS)

MEASURED: tuple[str, ...] = (*COMPOSITES, *ATTRIBUTIONS)
"""Criteria that explain image after image; a statistic, a start and a label are for these alone."""

NEED_NETWORK: tuple[str, ...] = (*MEASURED, *OF_WEIGHTS)
"""Criteria that look at a network."""


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

    `composite` may also be one of `ATTRIBUTIONS`, whose contributions then take relevance's place. `encode` prepares
    the images (default: none), `on_batch(images done)` reports progress.
    """
    attribute = attributor(model, composite)
    statistics: RelevanceStatistics | None = None
    for start_at in range(0, len(split), batch_size):
        part = split.take(torch.arange(start_at, min(start_at + batch_size, len(split))))
        inputs = encode(part.images) if encode else part.images
        relevance = attribute(inputs, part.labels, start)
        if statistics is None:
            statistics = RelevanceStatistics.empty(n_classes_of(model, split), relevance[0].numel())
        statistics.update(relevance, part.labels)
        if on_batch:
            on_batch(start_at + len(part))
    assert statistics is not None, "a split is never empty"
    return statistics


def n_classes_of(model: nn.Module, split: Split) -> int:
    """How many classes a network tells apart; for one of one's own, as many as there are labels."""
    spec = getattr(model, "spec", None)
    return spec.n_classes if spec else int(split.labels.max()) + 1


def control_scores(criterion: str, model: nn.Module | None, split: Split, *, seed: int = 0) -> Tensor:
    """Scores [n_inputs] of a control that explains no image, float64; `seed` is that of chance and of samples.

    Raises `InputError` if the control cannot be had of these images, or needs a network and none is given.
    """
    check_choice("control", criterion, (*OF_DATA, *OF_WEIGHTS))
    if criterion in OF_DATA:
        return OF_DATA[criterion](split, seed)
    return OF_WEIGHTS[criterion](check_network(model, criterion), tuple(split.pixels.shape[1:]))


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

    A composite's name ranks by relevance under it, and one of `ATTRIBUTIONS` by gradients, aggregated by
    `statistic` (see `STATISTICS`) over all classes or for one `label`. The other controls take none of this, and
    only those in `NEED_NETWORK` look at the model. `seed` orders ties, is the order of "random", and draws what
    else a control draws. Raises `InputError` for an unknown criterion, or one that this model or split cannot give.
    """
    check_choice("criterion", criterion, CRITERIA)
    shape = tuple(split.pixels.shape[1:])
    if criterion not in MEASURED:
        return Ranking.from_scores(criterion, control_scores(criterion, model, split, seed=seed), shape, seed=seed)
    model = check_network(model, criterion)
    check_options(split, statistic, start, label)
    statistics = measure_relevance(model, split, composite=criterion, start=start, on_batch=on_batch)
    return ranking_from(statistics, criterion, shape, statistic=statistic, label=label, seed=seed)


def check_options(split: Split, statistic: str, start: str, label: int | None) -> None:
    """Raise `InputError` for a statistic or start that is none, or a label that cannot be ranked by."""
    check_choice("statistic", statistic, STATISTICS)
    check_choice("start", start, STARTS)
    if label is not None:
        check_one_class(statistic, label)
        if not bool((split.labels == label).any()):
            raise InputError(f"class {label} has no image here to rank by")


def check_network(model: nn.Module | None, criterion: str) -> nn.Module:
    """`model` if there is one, else `InputError`."""
    if model is None:
        raise InputError(f"criterion {criterion!r} explains a network: give one")
    return model


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
