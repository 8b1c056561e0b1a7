"""What the page on feature removal shows, computed: pictures, what is left of them, and what a whole test set says."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Memory
from torch import Tensor

from ..data import Dataset, Split, load_dataset
from ..data.pictures import fit_image
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
from ..storage import cache_dir
from ..study import Study, Trial, trial_at
from ..study.stages import base_network, ranking_of

Report = Callable[[float, str], None]
"""Told how far the work is, from 0 to 1, and with what; it may raise `Cancelled`."""

_KEPT_ATTRIBUTIONS = 4
"""Criteria whose relevance over the test images stays in memory: about 31 MB each for MNIST."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image to look at: `pixels` [channels, height, width] in [0, 1], `label` its class or -1 where unknown.

    `said` tells what was done to a file to make it one.
    """

    pixels: np.ndarray
    label: int = -1
    said: tuple[str, ...] = ()


def picture_of_test(study: Study, index: int) -> Picture:
    """A test image. Raises `InputError` for an index out of range."""
    test = _data(study).test
    if not 0 <= index < len(test):
        raise InputError(f"there is no test image {index}: choose between 0 and {len(test) - 1}")
    part = test.take(torch.tensor([index]))
    return Picture(part.images[0].numpy(), int(part.labels[0]))


def picture_of_file(study: Study, content: bytes, name: str) -> Picture:
    """Any picture as the networks of a study take it. Raises `InputError` for what is no image, or too large."""
    channels, height, width = _data(study).shape
    fitted = fit_image(content, name, height, width)
    return Picture(np.tile(fitted.pixels.astype(np.float32), (channels, 1, 1)), said=fitted.said)


def wrong_indices(study: Study, seed: int, label: int | None = None) -> Sequence[int]:
    """Positions of the test images that the network of a seed gets wrong, all of them or those of one class."""
    labels = _data(study).test.labels
    wrong = _predictions(study, seed) != labels
    chosen: list[int] = (wrong if label is None else wrong & (labels == label)).nonzero().flatten().tolist()
    return chosen


@lru_cache(maxsize=8)
def _predictions(study: Study, seed: int) -> Tensor:
    network = _network(study, seed)
    with torch.inference_mode():
        return torch.cat([network(part).argmax(1) for part in torch.split(_data(study).test.images, 1000)]).clone()


def picture_relevance(study: Study, seed: int, picture: Picture, criterion: str, start: str) -> np.ndarray:
    """Relevance of every input for the class that the network says, [channels, height, width]."""
    return _attribute(study, seed, torch.tensor(picture.pixels)[None], criterion, start)[0].numpy().copy()


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


def remove_from_picture(
    study: Study, seed: int, picture: Picture, relevance: np.ndarray, removal: Removal, share: float
) -> RemovedPicture:
    """Take a share of a picture's inputs away, and ask the network again.

    Raises `InputError` for a share that is not between 0 and 1, or a picture that the scope leaves nothing of.
    """
    data, statistics = _data(study), _statistics(study)
    images, scores = torch.tensor(picture.pixels)[None], torch.tensor(relevance)[None]
    made = make_removed(images, scores, removal, share, statistics=statistics)
    found = remove_features(
        _network(study, seed), images, torch.tensor([picture.label]), scores, removal, share, statistics=statistics
    )
    return RemovedPicture(
        images=made.images[:, 0].sum(1).numpy(),
        removed=made.removed[:, 0].any(1).numpy(),
        table=found.per_image(),
        candidates=int(found.candidates[0]),
        finding=found.describe(0, data.classes),
    )


@dataclass(frozen=True, eq=False)
class MeasuredRemoval:
    """The experiment over the whole test set: `RemovalResult.table` with each class, and the finding in words."""

    table: pd.DataFrame
    finding: str


def measure_removal(
    study: Study, seed: int, criterion: str, start: str, removal: Removal, share: float, report: Report
) -> MeasuredRemoval:
    """What a share of the inputs is worth on the whole test set, from the cache if it was measured before."""
    key = _mask_trial(study, seed).key
    found: MeasuredRemoval = _cached(_measure_removal)(
        key, criterion, start, asdict(removal), share, study, seed, report
    )
    return found


def is_measured(study: Study, seed: int, criterion: str, start: str, removal: Removal, share: float) -> bool:
    """Whether `measure_removal` has its answer in the cache."""
    key = _mask_trial(study, seed).key
    return bool(
        _cached(_measure_removal).check_call_in_cache(
            key, criterion, start, asdict(removal), share, study, seed, _no_report
        )
    )


def _measure_removal(
    key: str, criterion: str, start: str, removal: dict[str, Any], share: float, study: Study, seed: int, report: Report
) -> MeasuredRemoval:
    data = _data(study)
    images, labels, n = data.test.images, data.test.labels, len(data.test)
    relevance = _kept_attribution(study, seed, criterion, start, None, lambda part: report(part / 2, "relevance"))
    found = remove_features(
        _network(study, seed),
        images,
        labels,
        relevance,
        Removal(**removal),
        share,
        statistics=_statistics(study),
        on_batch=lambda done: report(0.5 + done / n / 2, "removal"),
    )
    return MeasuredRemoval(found.table(data.classes), found.finding())


@dataclass(frozen=True, eq=False)
class MeasuredCurves:
    """`Curves.table` and `Curves.summary` of every criterion, the one with the largest area between first."""

    points: pd.DataFrame
    areas: pd.DataFrame


def measure_curves(
    study: Study,
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
    measure = _cached(_measure_curve)
    key = _mask_trial(study, seed).key
    found = []
    for place, criterion in enumerate(criteria):

        def part(done: float, doing: str, place: int = place, criterion: str = criterion) -> None:
            report((place + done) / len(criteria), f"{doing}, {criterion}")

        found.append(measure(key, criterion, start, asdict(removal), n_steps, n_images, study, seed, part))
    points, areas = (pd.concat(tables, ignore_index=True) for tables in zip(*found, strict=True))
    return MeasuredCurves(points, areas.sort_values("area_between", ascending=False, ignore_index=True))


def curves_are_measured(
    study: Study,
    seed: int,
    criteria: Sequence[str],
    start: str,
    removal: Removal,
    n_steps: int,
    n_images: int | None,
) -> bool:
    """Whether `measure_curves` has all of its answer in the cache."""
    key, measure = _mask_trial(study, seed).key, _cached(_measure_curve)
    return all(
        measure.check_call_in_cache(key, name, start, asdict(removal), n_steps, n_images, study, seed, _no_report)
        for name in criteria
    )


def _measure_curve(
    key: str,
    criterion: str,
    start: str,
    removal: dict[str, Any],
    n_steps: int,
    n_images: int | None,
    study: Study,
    seed: int,
    report: Report,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    test = _test_sample(study, n_images)
    relevance = _kept_attribution(study, seed, criterion, start, n_images, lambda part: report(part / 2, "relevance"))
    curves = perturbation_curves(
        _network(study, seed),
        test.images,
        test.labels,
        {criterion: relevance},
        Removal(**removal),
        n_steps,
        statistics=_statistics(study),
        on_batch=lambda done: report(0.5 + done / len(test) / 2, "curve"),
    )
    return curves.table(), curves.summary()


# What all of these need


def _data(study: Study) -> Dataset:
    return load_dataset(study.dataset, study.root)


def _test_sample(study: Study, n_images: int | None) -> Split:
    test = _data(study).test
    return test if n_images is None or n_images >= len(test) else test.sample(n_images, seed=0)


def _mask_trial(study: Study, seed: int) -> Trial:
    """The study's trial that ranks all inputs by relevance; its key says what network and what ranking that is."""
    data = _data(study)
    criterion = next((name for name in study.criteria if not CRITERIA[name].is_control), "lrp-0")
    return trial_at(study, data, method=criterion, keep=data.n_inputs, mode=study.modes[0], seed=seed)


def _network(study: Study, seed: int) -> Any:
    return base_network(_mask_trial(study, seed).base)


def _mask_ranking(study: Study, seed: int) -> Ranking:
    spec = _mask_trial(study, seed).ranking
    assert spec is not None, "only a baseline has no ranking"
    return ranking_of(spec)


def _statistics(study: Study) -> PixelStatistics:
    return _statistics_of(_data(study))


@lru_cache(maxsize=2)
def _statistics_of(data: Dataset) -> PixelStatistics:
    return PixelStatistics.of(data.train)


def _attribute(
    study: Study, seed: int, images: Tensor, criterion: str, start: str, on_batch: Callable[[int], None] | None = None
) -> Tensor:
    check_choice("criterion", criterion, removal_criteria())
    of: str | Ranking = _mask_ranking(study, seed) if criterion == DATA_SET else criterion
    return attribute_images(_network(study, seed), images, of, start=start, seed=seed, on_batch=on_batch)


_kept: OrderedDict[tuple[str, str, str, int | None], Tensor] = OrderedDict()
_keeping = threading.Lock()


def _kept_attribution(
    study: Study, seed: int, criterion: str, start: str, n_images: int | None, report: Callable[[float], None]
) -> Tensor:
    """The relevance of the test images, which many shares, scopes and fills go by."""
    key = (_mask_trial(study, seed).key, criterion, start, n_images)
    with _keeping:
        found = _kept.get(key)
    if found is None:
        images = _test_sample(study, n_images).images
        found = _attribute(study, seed, images, criterion, start, lambda done: report(done / len(images)))
    with _keeping:
        _kept[key] = found
        _kept.move_to_end(key)
        while len(_kept) > _KEPT_ATTRIBUTIONS:
            _kept.popitem(last=False)
    return found


def _cached(function: Callable[..., Any]) -> Any:
    """Among the stages on disk, so that what bounds those bounds this; the key stands for study and seed."""
    return Memory(cache_dir("stages"), verbose=0).cache(function, ignore=["study", "seed", "report"])


def _no_report(part: float, doing: str) -> None:
    """Tell nobody."""
