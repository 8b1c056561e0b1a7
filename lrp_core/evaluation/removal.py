"""Does relevance find what matters? Remove the least relevant inputs, or the most relevant, and classify again.

For each image the *important-feature image* lacks the least relevant share of its inputs and the
*unimportant-feature image* the most relevant share (Collinsworth; 15 % there).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ..errors import check_choice
from ..extras import from_extra
from .checks import check_attributions, check_classes, check_images, check_share
from .fills import FILLS, Fill, PixelStatistics, make_fill
from .orders import RANKINGS, SCOPES, RemovalOrder, find_candidates, removal_order
from .statistics import Interval, mean_interval, wilson_interval

if TYPE_CHECKING:
    import pandas as pd

VARIANTS: tuple[str, ...] = ("original", "important-feature", "unimportant-feature")
"""The image as it is; without its least relevant inputs; without its most relevant ones."""

_IN_WORDS = {"all": "the inputs", "active": "the inputs that training images light", "lit": "the lit inputs"}

BLOCK = 500
"""Images that are ranked, filled and classified at a time."""


@dataclass(frozen=True)
class Removal:
    """How inputs are removed: those in `scope` are ordered by `ranking` and become `fill`; `seed` breaks ties.

    It also draws the noise of a fill that has some. Raises `InputError` for an unknown name.
    """

    ranking: str = "signed"
    scope: str = "all"
    fill: str = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("ranking", self.ranking, RANKINGS)
        check_choice("scope", self.scope, SCOPES)
        check_choice("fill", self.fill, FILLS)


@dataclass(frozen=True, eq=False)
class RemovedFeatures:
    """The images of one experiment: `images` [3, n, *shape] in the order of `VARIANTS`.

    `removed` [3, n, *shape] is True where a pixel was replaced, `tied` [3, n] how many of those were picked by the
    seed among equally relevant ones, `candidates` [n] the number of inputs that were in question.
    """

    images: Float[Tensor, "3 n *shape"]
    removed: Bool[Tensor, "3 n *shape"]
    tied: Int64[Tensor, "3 n"]
    candidates: Int64[Tensor, " n"]


@dataclass(frozen=True, eq=False)
class RemovalResult:
    """What a network says of the three images of every image; the first axis is that of `VARIANTS`.

    `labels` [n] are the true classes, negative where unknown; `predictions` [3, n] classes, `confidence` [3, n] the
    probability of each prediction, `original_confidence` [3, n] that of the class predicted for the original;
    `n_removed` and `tied` [3, n] are numbers of inputs, `candidates` [n] those that were in question.
    """

    removal: Removal
    share: float
    labels: Int64[Tensor, " n"]
    predictions: Int64[Tensor, "3 n"]
    confidence: Float[Tensor, "3 n"]
    original_confidence: Float[Tensor, "3 n"]
    n_removed: Int64[Tensor, "3 n"]
    tied: Int64[Tensor, "3 n"]
    candidates: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def correct(self) -> Bool[Tensor, "3 n"]:
        return self.predictions == self.labels

    @property
    def flipped(self) -> Bool[Tensor, "3 n"]:
        """Whether the prediction is another one than that of the original."""
        return self.predictions != self.predictions[0]

    def table(self, classes: Sequence[str] = ()) -> pd.DataFrame:
        """One row for each of `VARIANTS`, over all images (class "all") and, given their names, over each class.

        `confidence` and `original_confidence` are means over images with Student's t interval, `accuracy` and
        `flips` shares of the images with Wilson's interval, all at 95 % (`..._low`, `..._high`); `change` is the mean
        difference of `original_confidence` to the original, paired by image. `removed` and `tied` are mean
        numbers of inputs. A class without images has no rows.
        """
        with from_extra():
            import pandas as pd

        groups = [("all", torch.ones(len(self), dtype=torch.bool))]
        groups += [(name, self.labels == label) for label, name in enumerate(classes)]
        return pd.DataFrame(
            [
                {"class": name, "image": variant, **self._row(i, member)}
                for name, member in groups
                if bool(member.any())
                for i, variant in enumerate(VARIANTS)
            ]
        )

    def _row(self, i: int, member: Tensor) -> dict[str, Any]:
        n = int(member.sum())
        own = self.original_confidence[:, member].double()
        row: dict[str, Any] = {"images": n}
        for name, interval in (
            ("confidence", mean_interval(self.confidence[i, member].double().numpy())),
            ("original_confidence", mean_interval(own[i].numpy())),
            ("change", mean_interval((own[i] - own[0]).numpy())),
            ("accuracy", wilson_interval(int(self.correct[i, member].sum()), n)),
            ("flips", wilson_interval(int(self.flipped[i, member].sum()), n)),
        ):
            row |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
        row["removed"] = float(self.n_removed[i, member].double().mean())
        row["tied"] = float(self.tied[i, member].double().mean())
        return row

    @property
    def gap(self) -> Interval:
        """How much more confidence the important-feature image keeps in the original class, paired by image."""
        kept, lost = self.original_confidence[1].double(), self.original_confidence[2].double()
        return mean_interval((kept - lost).numpy())

    def finding(self) -> str:
        """The finding in words, with its numbers."""
        table = self.table().set_index("image")
        original, important, unimportant = (table.loc[variant] for variant in VARIANTS)
        gap = self.gap
        if len(self) == 1:
            verdict = "For this image the difference is"
        elif gap.low > 0:
            verdict = "The most relevant inputs matter more to the network than the least relevant ones"
        elif gap.high < 0:
            verdict = "The least relevant inputs matter more to the network than the most relevant ones"
        else:
            verdict = "No difference between the most and the least relevant inputs can be told apart from chance"
        share = f"{100 * self.share:.3g}%"
        return (
            f"Without the least relevant {share} of {_IN_WORDS[self.removal.scope]} the network is right on "
            f"{important['accuracy']:.1%} of the images ({original['accuracy']:.1%} with all of them) and its "
            f"confidence in its first answer is {important['original_confidence']:.1%} "
            f"({original['original_confidence']:.1%}); without the most relevant {share} it is right "
            f"on {unimportant['accuracy']:.1%}, at {unimportant['original_confidence']:.1%} confidence. {verdict}: "
            f"{100 * gap.estimate:+.1f} points of confidence{_range(gap)}."
        )

    def describe(self, i: int, classes: Sequence[str] = ()) -> str:
        """What happened to image `i`, in words; `classes` are the names of the classes."""
        readings, known = [], int(self.labels[i]) >= 0
        for variant in range(len(VARIANTS)):
            predicted = int(self.predictions[variant, i])
            name = classes[predicted] if classes else str(predicted)
            verdict = " (right)" if bool(self.correct[variant, i]) else " (wrong)"
            readings.append(f"{name} at {float(self.confidence[variant, i]):.1%} confidence{verdict if known else ''}")
        return (
            f"The network says {readings[0]}; "
            f"without the {int(self.n_removed[1, i])} least relevant inputs {readings[1]}; "
            f"without the {int(self.n_removed[2, i])} most relevant ones {readings[2]}."
        )

    def per_image(self) -> pd.DataFrame:
        """One row for each image and variant."""
        with from_extra():
            import pandas as pd

        n = len(self)
        return pd.DataFrame(
            {
                "index": np.tile(np.arange(n), len(VARIANTS)),
                "image": np.repeat(VARIANTS, n),
                "label": self.labels.repeat(len(VARIANTS)).numpy(),
                "prediction": self.predictions.flatten().numpy(),
                "confidence": self.confidence.flatten().numpy(),
                "original_confidence": self.original_confidence.flatten().numpy(),
                "correct": self.correct.flatten().numpy(),
                "flipped": self.flipped.flatten().numpy(),
                "removed": self.n_removed.flatten().numpy(),
                "tied": self.tied.flatten().numpy(),
            }
        )


def make_removed(
    images: Float[Tensor, "n *shape"],
    attributions: Float[Tensor, "n *shape"],
    removal: Removal,
    share: float = 0.15,
    *,
    statistics: PixelStatistics | None = None,
) -> RemovedFeatures:
    """The three images of every image, with `attributions` [n, *shape] saying what is relevant.

    `statistics` are those of the training images, which scope "active" and fill "mean" need. Raises `InputError` for a
    share that is not between 0 and 1, images that are not finite or are bytes, attributions that are of another shape
    or not finite, an image that the scope leaves nothing of, or a fill or scope that is for other values.
    """
    parts = [made for _, made in each_block(images, attributions, removal, share, statistics)]
    names = ("images", "removed", "tied")
    joined = {name: torch.cat([getattr(part, name) for part in parts], 1) for name in names}
    return RemovedFeatures(**joined, candidates=torch.cat([part.candidates for part in parts]))


def remove_features(
    model: nn.Module,
    images: Float[Tensor, "n *shape"],
    labels: Int64[Tensor, " n"],
    attributions: Float[Tensor, "n *shape"],
    removal: Removal,
    share: float = 0.15,
    *,
    statistics: PixelStatistics | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> RemovalResult:
    """Classify every image, its important-feature and its unimportant-feature image; changes neither model nor images.

    Arguments and errors are those of `make_removed`; images that the network does not take are refused too.
    `on_batch(images done)` reports progress.
    """
    check_images(images, model)
    check_classes("labels", images, labels)
    network = copy.deepcopy(model).eval()
    parts = []
    for rows, made in each_block(images, attributions, removal, share, statistics):
        with torch.inference_mode():
            logits = torch.stack([network(variant) for variant in made.images])
        p = logits.clone().double().softmax(2)
        confidence, predictions = p.max(2)
        original = p.gather(2, predictions[:1, :, None].expand(len(VARIANTS), -1, 1))[:, :, 0]
        parts.append(
            (predictions, confidence, original, made.removed.flatten(2).sum(2), made.tied, made.candidates[None])
        )
        if on_batch:
            on_batch(rows.stop)
    predictions, confidence, original, n_removed, tied, candidates = (
        torch.cat(batches, 1) for batches in zip(*parts, strict=True)
    )
    return RemovalResult(removal, share, labels, predictions, confidence, original, n_removed, tied, candidates[0])


def each_block(
    images: Tensor, attributions: Tensor, removal: Removal, share: float, statistics: PixelStatistics | None
) -> Iterator[tuple[slice, RemovedFeatures]]:
    """`make_removed`, some images at a time with their positions, so that memory does not grow with their number."""
    check_images(images)
    check_attributions(images, attributions)
    check_share(share)
    candidates = find_candidates(images, removal.scope, statistics)
    fill = make_fill(removal.fill, images, mean=statistics.mean if statistics else None, seed=removal.seed)
    for rows in blocks(len(images)):
        order = removal_order(
            attributions[rows], ranking=removal.ranking, candidates=of_rows(candidates, rows), seed=removal.seed
        )
        yield rows, _remove(images[rows], order, share, fill.take(rows))


def _remove(images: Tensor, order: RemovalOrder, share: float, fill: Fill) -> RemovedFeatures:
    nothing = torch.zeros_like(images, dtype=torch.bool)
    ends = [order.removed(share, least=least).view(images.shape) for least in (True, False)]
    ties = [order.tied(share, least=least) for least in (True, False)]
    return RemovedFeatures(
        torch.stack([images, *(fill.apply(images, removed) for removed in ends)]),
        torch.stack([nothing, *ends]),
        torch.stack([torch.zeros_like(ties[0]), *ties]),
        order.candidates,
    )


def blocks(n: int) -> Iterator[slice]:
    """The positions of `n` images, `BLOCK` at a time."""
    return (slice(at, min(at + BLOCK, n)) for at in range(0, n, BLOCK))


def of_rows(candidates: Tensor | None, rows: slice) -> Tensor | None:
    """The candidates of some of the images, where each has its own."""
    return candidates if candidates is None or len(candidates) == 1 else candidates[rows]


def _range(interval: Interval) -> str:
    if math.isnan(interval.low):
        return ""
    return f" (95 % interval {100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
