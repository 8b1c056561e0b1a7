"""Relevance over a data set: what a criterion says of every image, reduced as it streams by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..data import Grouping, Split
from ..errors import InputError, check_choice
from ..lrp import STARTS, Composite
from ..neuralised.network import Neuralised
from ..training import Encode, predict_logits
from .criteria import Criterion, explaining_criterion
from .gradients import Attribute
from .ranking import Ranking
from .statistics import STATISTICS, RelevanceStatistics, check_one_class


def measure_relevance(
    model: nn.Module,
    split: Split,
    *,
    criterion: str | Composite | Criterion = "lrp-0",
    start: str = "log-odds",
    encode: Encode | None = None,
    grouping: Grouping | None = None,
    statistic: str | None = None,
    batch_size: int = 500,
    seed: int = 0,
    on_batch: Callable[[int], None] | None = None,
) -> RelevanceStatistics:
    """Relevance of every input for the true class of every image of `split`, reduced as it streams by.

    Where labels are numbers, it is relevance for the prediction, whatever the start.

    With a `grouping`, of every group: the relevance of a group for an image is the sum over its inputs, since relevance
    is conserved.

    `criterion` is one that explains images: a composite, a gradient, or one of your own. `encode` prepares the images
    (default: none), `statistic` is the only one that will be asked for (None: any may be), and `on_batch(images done)`
    reports progress.
    """
    attribute = explaining_criterion(criterion).explain_with(model, seed)
    statistics: RelevanceStatistics | None = None
    for start_at in range(0, len(split), batch_size):
        part = split.take(torch.arange(start_at, min(start_at + batch_size, len(split))))
        inputs = encode(part.images) if encode else part.images
        relevance = explain_rows(attribute, inputs, part, start)
        if grouping is not None:
            relevance = grouping.sums(relevance)
        if statistics is None:
            statistics = RelevanceStatistics.empty(n_classes_of(model, split), relevance.shape[1], statistic)
        statistics.update(relevance, classes_of(part))
        if on_batch:
            on_batch(start_at + len(part))
    if statistics is None:
        raise InputError("there are no images to measure relevance on: the split is empty")
    return statistics


def default_start(model: nn.Module) -> str:
    """Where relevance starts unless it is said: of an estimator every output is a contest with the others already."""
    return "logit" if isinstance(model, Neuralised) else "log-odds"


def answered(model: nn.Module, split: Split) -> Split:
    """The rows with what the model answers in place of labels, if it has learnt from none: clusters, or a number."""
    if not isinstance(model, Neuralised) or model.supervised or not len(split):
        return split
    outputs = predict_logits(model, split.raw)
    labels = outputs.argmax(1) if outputs.shape[1] > 1 else outputs[:, 0].float()
    return Split.checked(split.raw, labels, split.indices)


def n_classes_of(model: nn.Module, split: Split) -> int:
    """How many classes a network tells apart; for one without a `spec`, as many as there are labels."""
    spec = getattr(model, "spec", None)
    return spec.n_classes if spec else int(classes_of(split).max()) + 1


def classes_of(split: Split) -> Int64[Tensor, " n"]:
    """The class that each row counts for: its own, or 0 where numbers are predicted."""
    return torch.zeros(len(split), dtype=torch.int64) if split.has_numbers else split.labels


def explain_rows(
    attribute: Attribute, inputs: Float[Tensor, "n *shape"], part: Split, start: str
) -> Float[Tensor, "n inputs"]:
    """What is relevant for the class of each row, or for the number that is predicted, which has no other start."""
    if part.has_numbers:
        return attribute(inputs, None, "logit").flatten(1)
    return attribute(inputs, part.labels, start).flatten(1)


def check_options(split: Split, statistic: str, start: str, label: int | None) -> None:
    """Raise `InputError` for a statistic or start that is none, or a label that cannot be ranked by."""
    check_choice("statistic", statistic, STATISTICS)
    check_choice("start", start, STARTS)
    if label is not None and split.has_numbers:
        raise InputError(f"rows have numbers and no classes: leave class {label} out")
    if label is not None:
        check_one_class(statistic, label)
        if not bool((split.labels == label).any()):
            raise InputError(f"class {label} has no image here to rank by")


def ranking_from(
    statistics: RelevanceStatistics,
    criterion: str,
    shape: tuple[int, ...],
    *,
    statistic: str = "mean-square",
    label: int | None = None,
    seed: int = 0,
    grouping: Grouping | None = None,
) -> Ranking:
    """The ranking that relevance statistics give; `criterion` is the name that it bears."""
    return Ranking.from_scores(
        criterion,
        statistics.mean(statistic, label=label),
        shape,
        standard_error=statistics.standard_error(statistic, label=label),
        seed=seed,
        grouping=grouping,
    )
