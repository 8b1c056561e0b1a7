"""What a network trained on the images that are left can still tell: ROAR, and what the masks alone give away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data import Split
from ..errors import InputError
from ..extras import from_extra
from ..models import build_from_spec, needed_spec, spec_of
from ..training import Recipe, evaluate, fit
from .checks import check_share
from .curves import ORDERS
from .fills import PixelStatistics
from .removal import VARIANTS, Removal, each_block
from .statistics import mean_interval

if TYPE_CHECKING:
    import pandas as pd

Attribute = Callable[[Float[Tensor, "n *shape"]], Float[Tensor, "n *shape"]]
"""Gives the relevance of images; it knows no labels, so that none can leak from the test images."""


@dataclass(frozen=True)
class Retrain:
    """How networks are trained again: one for each of `seeds`, by `recipe` (default: the architecture's own).

    Raises `InputError` for no seeds.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        if not self.seeds:
            raise InputError("retraining needs at least one seed")


def roar(
    network: nn.Module,
    train: Split,
    test: Split,
    attribute: Attribute,
    removal: Removal,
    shares: Sequence[float],
    *,
    retrain: Retrain,
    on_network: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Remove and retrain (Hooker et al. 2019): the test accuracy of networks that never saw what was removed.

    At each share the most relevant inputs (order "MoRF") and the least relevant ones ("LeRF") are removed from training
    and test images alike, and networks of the same architecture are trained from scratch. Share 0 is the baseline.
    One row for each order and share: mean `accuracy` over seeds with Student's t interval (NaN for one seed).
    `on_network(networks trained)` reports progress. Raises `InputError` for a share that is not between 0 and 1, or a
    network that nobody can build again, before anything is trained.
    """
    with from_extra():
        import pandas as pd

    needed_spec(spec_of(network))
    for share in shares:
        check_share(share)
    relevance = [attribute(split.images) for split in (train, test)]
    statistics = PixelStatistics.of(train)
    progress = _Counter(on_network)
    rows = [_row("none", 0.0, _retrained(network, train, test, (train.images, test.images), retrain, progress))]
    for share in shares:
        made = [
            _made(split, scores, removal, share, statistics)
            for split, scores in zip((train, test), relevance, strict=True)
        ]
        for order in ORDERS:
            inputs = made[0].images[order], made[1].images[order]
            rows.append(_row(order, share, _retrained(network, train, test, inputs, retrain, progress)))
    return pd.DataFrame(rows)


def mask_leak(
    network: nn.Module,
    train: Split,
    test: Split,
    attribute: Attribute,
    removal: Removal,
    share: float = 0.15,
    *,
    retrain: Retrain,
    on_network: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """How much the masks alone tell about the class (Rong et al. 2022): a caution for ROAR.

    Networks are trained on the binary masks, 1 where a pixel was removed. One row for each order: mean test `accuracy`
    over seeds with Student's t interval, and `chance`, the share of the most frequent class among the test labels. An
    accuracy above chance is class information that a retrained network may read off the shape of what was removed.
    """
    with from_extra():
        import pandas as pd

    needed_spec(spec_of(network))
    check_share(share)
    statistics = PixelStatistics.of(train)
    made = [_made(split, attribute(split.images), removal, share, statistics) for split in (train, test)]
    chance = int(test.labels.bincount().max()) / len(test)
    progress = _Counter(on_network)
    rows = []
    for order in ORDERS:
        inputs = made[0].removed[order].float(), made[1].removed[order].float()
        accuracies = _retrained(network, train, test, inputs, retrain, progress)
        rows.append({**_row(order, share, accuracies), "chance": chance})
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class _Made:
    """The images of a split without a share of their inputs, and where those were, for each of `ORDERS`."""

    images: dict[str, Tensor]
    removed: dict[str, Tensor]


def _made(split: Split, attributions: Tensor, removal: Removal, share: float, statistics: PixelStatistics) -> _Made:
    made = _Made(
        {order: torch.empty_like(split.images) for order in ORDERS},
        {order: torch.empty_like(split.images, dtype=torch.bool) for order in ORDERS},
    )
    for rows, block in each_block(split.images, attributions, removal, share, statistics):
        for order, variant in (("MoRF", "unimportant-feature"), ("LeRF", "important-feature")):
            made.images[order][rows] = block.images[VARIANTS.index(variant)]
            made.removed[order][rows] = block.removed[VARIANTS.index(variant)]
    return made


class _Counter:
    """Counts the networks that are trained and tells who asked."""

    def __init__(self, on_network: Callable[[int], None] | None) -> None:
        self.done, self.on_network = 0, on_network

    def count(self) -> None:
        self.done += 1
        if self.on_network:
            self.on_network(self.done)


def _retrained(
    network: nn.Module, train: Split, test: Split, inputs: tuple[Tensor, Tensor], retrain: Retrain, progress: _Counter
) -> list[float]:
    """Test accuracy of one fresh network for each seed, trained and tested on `inputs` in place of the images."""
    accuracies = []
    for seed in retrain.seeds:
        fresh = build_from_spec(needed_spec(spec_of(network)), seed=seed)
        trained = fit(fresh, train, recipe=retrain.recipe, seed=seed, device="cpu", encode=lambda _: inputs[0])
        accuracies.append(evaluate(trained, test, device="cpu", encode=lambda _: inputs[1]).accuracy)
        progress.count()
    return accuracies


def _row(order: str, share: float, accuracies: list[float]) -> dict[str, str | float]:
    interval = mean_interval(accuracies)
    return {
        "order": order,
        "share": share,
        "seeds": len(accuracies),
        "accuracy": interval.estimate,
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
    }
