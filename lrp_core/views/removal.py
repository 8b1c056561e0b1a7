"""What the page on feature removal shows, computed: pictures, what is left of them, and what a whole test set says."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..data import Dataset, Split
from ..data.pictures import picture_of
from ..errors import InputError, check_choice
from ..evaluation import (
    DATA_SET,
    PixelStatistics,
    Removal,
    attribute_images,
    make_removed,
    perturbation_curves,
    removal_criteria,
    remove_features,
)
from ..ranking import CRITERIA, Ranking
from ..study import Trial
from ..study.stages import base_network, ranking_of
from .images import as_seen
from .part import Part, Report, kept_on_disk, tell_nobody

__all__ = ["Picture", "Removal", "Removals"]

_KEPT_ATTRIBUTIONS = 4
"""Criteria whose relevance over the test images stays in memory: about 31 MB each for MNIST."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image to look at: `pixels` [channels, height, width] in [0, 1], `label` its class or -1 where unknown.

    `notes` say what was done to a file to make it one.
    """

    pixels: np.ndarray
    label: int = -1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class RemovedPicture:
    """A picture, and it without its least and its most relevant inputs.

    `images` [3, height, width] and `removed` (bool, of the same shape) are in the order of the rows of `table`:
    image (one of `VARIANTS`), prediction, confidence, original_confidence (that of the class first predicted), correct,
    flipped, removed, tied, where `removed` and `tied` are numbers of inputs. `candidates` inputs were in question;
    `finding` is all of it in words.
    """

    images: np.ndarray
    removed: np.ndarray
    table: pd.DataFrame
    candidates: int
    finding: str


@dataclass(frozen=True, eq=False)
class MeasuredRemoval:
    """The experiment over the whole test set: `RemovalResult.table` with each class, and the finding in words."""

    table: pd.DataFrame
    finding: str


@dataclass(frozen=True, eq=False)
class MeasuredCurves:
    """`Curves.table` and `Curves.summary` of every criterion, the one with the largest area between first."""

    points: pd.DataFrame
    areas: pd.DataFrame


@dataclass(frozen=True)
class Removals(Part):
    """Removal of features under an opened study: of single pictures at once, of the whole test set with patience."""

    def picture_of_test(self, index: int, seed: int) -> Picture:
        """A test image of a seed. Raises `InputError` for an index out of range."""
        test = self.data_of(seed).test
        if not 0 <= index < len(test):
            raise InputError(f"there is no test image {index}: choose between 0 and {len(test) - 1}")
        part = test.take(torch.tensor([index]))
        return Picture(part.images[0].numpy(), int(part.labels[0]))

    @property
    def sources(self) -> tuple[str, ...]:
        """Where a picture can come from: "test", and with pixels between 0 and 1 a "file"; a "drawing" if grey."""
        data = self.data
        if data.scaler is not None or data.shape[0] not in (1, 3):
            return ("test",)
        return ("test", "file", "drawing") if data.shape[0] == 1 else ("test", "file")

    def picture_of_file(self, content: bytes, name: str, *, is_drawing: bool = False) -> Picture:
        """Any picture as the networks of the study take it.

        For a data set of the project, and a drawing, it is made as MNIST was; for your own it is resized, as `predict`
        does. Raises `InputError` for what is no image, or too large.
        """
        as_mnist = is_drawing or not self.study.digest
        picture, notes = picture_of(content, name, self.data.shape, as_mnist=as_mnist)
        return Picture(picture[0].numpy().astype(np.float32), notes=tuple(notes))

    def wrong_indices(self, seed: int, label: int | None = None) -> list[int]:
        """Positions of the test images that the network of a seed gets wrong, all of them or those of one class."""
        labels = self.data_of(seed).test.labels
        wrong = _predictions(self, seed) != labels
        chosen: list[int] = (wrong if label is None else wrong & (labels == label)).nonzero().flatten().tolist()
        return chosen

    def relevance(
        self, pixels: np.ndarray, seed: int, criterion: str, start: str, target: int | None = None
    ) -> np.ndarray:
        """Relevance of every input [channels, height, width] of a picture for a class; None: what the network says."""
        of = None if target is None else torch.tensor([target])
        return self.attribute(torch.tensor(pixels)[None], seed, criterion, start, target=of)[0].numpy().copy()

    def remove(
        self, picture: Picture, relevance: np.ndarray, seed: int, removal: Removal, share: float
    ) -> RemovedPicture:
        """Take a share of a picture's inputs away, and ask the network again.

        Raises `InputError` for a share that is not between 0 and 1, or a picture that the scope leaves nothing of.
        """
        data = self.data_of(seed)
        statistics = _statistics(data)
        images, scores = torch.tensor(picture.pixels)[None], torch.tensor(relevance)[None]
        made = make_removed(images, scores, removal, share, statistics=statistics)
        outcome = remove_features(
            self.network(seed), images, torch.tensor([picture.label]), scores, removal, share, statistics=statistics
        )
        return RemovedPicture(
            images=as_seen(data, made.images[:, 0]),
            removed=made.removed[:, 0].any(1).numpy(),
            table=outcome.per_image(),
            candidates=int(outcome.candidates[0]),
            finding=outcome.describe(0, data.classes),
        )

    def measure(
        self, seed: int, criterion: str, start: str, removal: Removal, share: float, report: Report
    ) -> MeasuredRemoval:
        """What a share of the inputs is worth on the whole test set, from the cache if it was measured before."""
        measure, key = kept_on_disk(_measure_removal), self.ranked(seed).key
        measured: MeasuredRemoval = measure(key, criterion, start, asdict(removal), share, self, seed, report)
        return measured

    def is_measured(self, seed: int, criterion: str, start: str, removal: Removal, share: float) -> bool:
        """Whether `measure` has its answer in the cache."""
        asked = (self.ranked(seed).key, criterion, start, asdict(removal), share, self, seed, tell_nobody)
        return bool(kept_on_disk(_measure_removal).check_call_in_cache(*asked))

    def measure_curves(
        self,
        seed: int,
        criteria: Sequence[str],
        start: str,
        removal: Removal,
        n_steps: int,
        n_images: int | None,
        report: Report,
    ) -> MeasuredCurves:
        """MoRF and LeRF curves over `n_images` of the test images (None: all), from the cache where measured before."""
        if not criteria:
            raise InputError("a curve needs at least one criterion")
        measure, key = kept_on_disk(_measure_curve), self.ranked(seed).key
        pairs = []
        for place, criterion in enumerate(criteria):

            def tell(done: float, doing: str, place: int = place, criterion: str = criterion) -> None:
                report((place + done) / len(criteria), f"{doing}, {criterion}")

            pairs.append(measure(key, criterion, start, asdict(removal), n_steps, n_images, self, seed, tell))
        points, areas = (pd.concat(tables, ignore_index=True) for tables in zip(*pairs, strict=True))
        return MeasuredCurves(points, areas.sort_values("area_between", ascending=False, ignore_index=True))

    def curves_are_measured(
        self, seed: int, criteria: Sequence[str], start: str, removal: Removal, n_steps: int, n_images: int | None
    ) -> bool:
        """Whether `measure_curves` has all of its answer in the cache."""
        is_there = partial(kept_on_disk(_measure_curve).check_call_in_cache, self.ranked(seed).key)
        asked = (start, asdict(removal), n_steps, n_images, self, seed, tell_nobody)
        return all(is_there(name, *asked) for name in criteria)

    def network(self, seed: int) -> nn.Module:
        """The study's network on all inputs, of a seed."""
        network: nn.Module = base_network(self.ranked(seed).base)
        return network

    def ranked(self, seed: int) -> Trial:
        """The study's trial that ranks all inputs by relevance; its key says what network and what ranking that is."""
        criterion = next((name for name in self.study.criteria if not CRITERIA[name].is_control), "lrp-0")
        return self.trial(criterion, self.data.n_groups, self.study.modes[0], seed)

    def attribute(
        self,
        images: Tensor,
        seed: int,
        criterion: str,
        start: str,
        on_batch: Callable[[int], None] | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """What every input of images [n, channels, height, width] is worth under a criterion, in their shape."""
        check_choice("criterion", criterion, removal_criteria())
        of: str | Ranking = criterion
        if criterion == DATA_SET:
            spec = self.ranked(seed).ranking
            assert spec is not None, "only a baseline has no ranking"
            of = ranking_of(spec)
        return attribute_images(
            self.network(seed), images, of, target=target, start=start, seed=seed, on_batch=on_batch
        )

    def sample(self, n_images: int | None, seed: int) -> Split:
        """So many of the test images of a seed, each class in its proportion; None: all."""
        test = self.data_of(seed).test
        return test if n_images is None or n_images >= len(test) else test.sample(n_images, seed=0)


def _measure_removal(
    key: str, criterion: str, start: str, removal: dict[str, Any], share: float, part: Removals, seed: int,
    report: Report,
) -> MeasuredRemoval:  # fmt: skip
    data = part.data_of(seed)
    n = len(data.test)
    outcome = remove_features(
        part.network(seed),
        data.test.images,
        data.test.labels,
        _kept_attribution(part, seed, criterion, start, None, lambda done: report(done / 2, "relevance")),
        Removal(**removal),
        share,
        statistics=_statistics(data),
        on_batch=lambda done: report(0.5 + done / n / 2, "removal"),
    )
    return MeasuredRemoval(outcome.table(data.classes), outcome.finding())


def _measure_curve(
    key: str,
    criterion: str,
    start: str,
    removal: dict[str, Any],
    n_steps: int,
    n_images: int | None,
    part: Removals,
    seed: int,
    report: Report,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    test = part.sample(n_images, seed)
    relevance = _kept_attribution(part, seed, criterion, start, n_images, lambda done: report(done / 2, "relevance"))
    curves = perturbation_curves(
        part.network(seed),
        test.images,
        test.labels,
        {criterion: relevance},
        Removal(**removal),
        n_steps,
        statistics=_statistics(part.data_of(seed)),
        on_batch=lambda done: report(0.5 + done / len(test) / 2, "curve"),
    )
    return curves.table(), curves.summary()


@lru_cache(maxsize=8)
def _predictions(part: Removals, seed: int) -> Tensor:
    network = part.network(seed)
    with torch.inference_mode():
        return torch.cat(
            [network(images).argmax(1) for images in torch.split(part.data_of(seed).test.images, 1000)]
        ).clone()


@lru_cache(maxsize=2)
def _statistics(data: Dataset) -> PixelStatistics:
    return PixelStatistics.of(data.train)


_kept: OrderedDict[tuple[str, str, str, int | None], Tensor] = OrderedDict()
_keeping = threading.Lock()


def _kept_attribution(
    part: Removals, seed: int, criterion: str, start: str, n_images: int | None, report: Callable[[float], None]
) -> Tensor:
    """The relevance of the test images, which many shares, scopes and fills go by."""
    key = (part.ranked(seed).key, criterion, start, n_images)
    with _keeping:
        relevance = _kept.get(key)
    if relevance is None:
        images = part.sample(n_images, seed).images
        relevance = part.attribute(images, seed, criterion, start, lambda done: report(done / len(images)))
    with _keeping:
        _kept[key] = relevance
        _kept.move_to_end(key)
        while len(_kept) > _KEPT_ATTRIBUTIONS:
            _kept.popitem(last=False)
    return relevance
