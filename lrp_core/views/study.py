"""What the pages show, computed: one call for each thing, plain arrays and tables out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..data import Dataset, load_dataset
from ..errors import InputError
from ..evaluation import Cost, Interval, measure_cost
from ..lrp import Explainer
from ..models import ModelSpec, build_from_spec
from ..pruning import build_pruned
from ..ranking import Ranking, keep_for_share
from ..study import Study, Trial, plan, trial_at
from ..study.describe import RankingSpec
from ..study.ledger import Ledger
from ..study.results import expected_accuracy
from ..study.stages import base_network, is_cached, ranking_of


def study_trials(study: Study, ledger: Ledger) -> pd.DataFrame:
    """The finished trials of a study, one row each, baselines included; empty as long as there are none."""
    data = load_dataset(study.dataset, study.root)
    return ledger.trials([trial.key for trial in plan(study, data)])


@dataclass(frozen=True)
class Threshold:
    """What one position of the slider means.

    `kept` is bool [height, width] (or [inputs] for flat data), `cost` that of the smaller network and
    `full_cost` that of the network on all inputs, `accuracy` what the measured curve lets expect.
    """

    keep: int
    n_inputs: int
    kept: np.ndarray
    cost: Cost
    full_cost: Cost
    accuracy: Interval | None
    baseline: Interval | None

    @property
    def removed(self) -> float:
        """Share of the inputs removed."""
        return 1 - self.keep / self.n_inputs


def threshold(study: Study, table: pd.DataFrame, *, method: str, mode: str, keep: int, seed: int) -> Threshold:
    """The mask, the cost and the expected accuracy of a study at any keep; the mask is that of one seed."""
    kept, cost, full_cost = _structure(study, method, mode, keep, seed)
    n_inputs = load_dataset(study.dataset, study.root).n_inputs
    return Threshold(
        keep,
        n_inputs,
        kept,
        cost,
        full_cost,
        expected_accuracy(table, method, mode, keep),
        expected_accuracy(table, "none", "none", n_inputs),
    )


@lru_cache(maxsize=512)
def _structure(study: Study, method: str, mode: str, keep: int, seed: int) -> tuple[np.ndarray, Cost, Cost]:
    data = load_dataset(study.dataset, study.root)
    mask = _ranking_at(study, data, method, keep, seed).mask(keep)
    spec = ModelSpec(study.architecture, data.shape, len(data.classes), data.name)
    small = build_pruned(spec, mask, structure="fresh" if mode == "scratch" else "sliced")
    return mask.keep.any(0).numpy(), measure_cost(small), measure_cost(build_from_spec(spec))


def percent_removed(keep: int, n_inputs: int) -> int:
    """The largest whole per cent of the inputs that can be removed so that at least `keep` of them stay."""
    return max(percent for percent in range(100) if keep_for_share(percent / 100, n_inputs) >= keep)


def mean_image(study: Study) -> np.ndarray:
    """Mean of the training images, [height, width] in [0, 1]."""
    return _mean_image(load_dataset(study.dataset, study.root))


@lru_cache(maxsize=2)
def _mean_image(data: Dataset) -> np.ndarray:
    return data.train.pixels.float().mean((0, 1)).div(255).numpy()


def study_ranking(study: Study, method: str, keep: int, seed: int) -> Ranking:
    """The ranking that the masks of a study follow from. It is computed where `ranking_is_ready` says that it is not.

    Only "exchange" ranks differently for each `keep`.
    """
    return _ranking_at(study, load_dataset(study.dataset, study.root), method, keep, seed)


def ranking_is_ready(study: Study, method: str, keep: int, seed: int) -> bool:
    """Whether the ranking of a seed is cached, so that asking for it takes no time."""
    data = load_dataset(study.dataset, study.root)
    return is_cached(_spec_at(study, data, method, keep, seed))


def _ranking_at(study: Study, data: Dataset, method: str, keep: int, seed: int) -> Ranking:
    return ranking_of(_spec_at(study, data, method, keep, seed))


def _spec_at(study: Study, data: Dataset, method: str, keep: int, seed: int) -> RankingSpec:
    spec = trial_at(study, data, method=method, keep=keep, mode=study.modes[0], seed=seed).ranking
    assert spec is not None, "only a baseline has no ranking"
    return spec


@dataclass(frozen=True)
class ImageExplanation:
    """One image explained.

    `image` and `relevance` are [height, width]; `probabilities` [classes]; `layers` maps each layer to the
    relevance at its output, [maps, height, width] or [units]; `balance` has one row for each layer with
    weights: what arrived, what left, what was absorbed, and of that the shares of the bias and of epsilon; and
    of what left the share that a z-box gave for its bounds.
    """

    image: np.ndarray
    label: int
    target: int
    probabilities: np.ndarray
    logits: np.ndarray
    relevance: np.ndarray
    layers: dict[str, np.ndarray]
    balance: pd.DataFrame


def explain_image(
    study: Study, *, seed: int, index: int, composite: str, start: str = "logit", target: int | None = None
) -> ImageExplanation:
    """Explain one test image with the baseline network of a study. Raises `InputError` for an index out of range."""
    data = load_dataset(study.dataset, study.root)
    if not 0 <= index < len(data.test):
        raise InputError(f"there is no test image {index}: choose between 0 and {len(data.test) - 1}")
    part = data.test.take(torch.tensor([index]))
    explainer = _explainer(study, seed, composite)
    found = explainer.explain(part.images, target, start)
    balance = pd.DataFrame(
        {
            "layer": [b.layer for b in found.balance],
            "rule": [b.rule for b in found.balance],
            "arrived": [float(b.arrived) for b in found.balance],
            "left": [float(b.left) for b in found.balance],
            "bias": [float(b.bias) for b in found.balance],
            "epsilon": [float(b.epsilon) for b in found.balance],
            "box": [float(b.box) for b in found.balance],
        }
    )
    balance["absorbed"] = balance["arrived"] - balance["left"]
    return ImageExplanation(
        image=part.images[0].sum(0).numpy(),
        label=int(part.labels[0]),
        target=int(found.target[0]),
        probabilities=found.logits[0].softmax(0).numpy(),
        logits=found.logits[0].numpy(),
        relevance=found.relevance[0].sum(0).numpy(),
        layers={name: r[0].numpy() for name, r in found.layers.items()},
        balance=balance,
    )


@lru_cache(maxsize=16)
def _explainer(study: Study, seed: int, composite: str) -> Explainer:
    data = load_dataset(study.dataset, study.root)
    trial = plan(study, data)[study.seeds.index(seed)]
    return Explainer(base_network(trial.base), composite)


def export_folder(ledger: Ledger, trial: Trial) -> Path:
    """Where the export of a trial that a page asked for lies once it is made."""
    return ledger.folder / "exports" / trial.key


def baseline_is_ready(study: Study, seed: int, ledger: Ledger) -> bool:
    """Whether the network of a seed on all inputs has been trained: its row is in the ledger."""
    data = load_dataset(study.dataset, study.root)
    trial = plan(study, data)[study.seeds.index(seed)]
    return bool(ledger.recorded([trial.key]))


def image_indices(study: Study, label: int | None = None) -> Sequence[int]:
    """Positions of the test images, all of them or those of one class."""
    labels = load_dataset(study.dataset, study.root).test.labels
    chosen: list[int] = list(range(len(labels))) if label is None else (labels == label).nonzero().flatten().tolist()
    return chosen
