"""What the page to try a study out on shows, computed: the full and the small network's answers to one input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from ..data import Dataset
from ..errors import InputError, NonFiniteRelevance, UnsupportedLayer
from ..lrp import Explainer
from ..pruning import PixelMask, PrunedNetwork
from ..study import Trial, make_network, plan, trial_network, weights_path
from ..study.ledger import Ledger
from ..study.results import baseline_mode
from ..study.stages import base_network, is_cached, ranking_of, train_base
from ..training import Recipe, one_thread
from .images import as_seen
from .part import Part, Report, tell_nobody

THUMBNAIL = 64
"""Pixels of the longer side that a small picture has at most."""


@dataclass(frozen=True)
class Pair:
    """A small network, and the full one that it is compared with: of its seed, and fine-tuned where it is."""

    small: Trial
    full: Trial

    @property
    def keep(self) -> int:
        """How many inputs, or groups of them, the small network reads."""
        return self.small.keep

    @property
    def key(self) -> str:
        """Stands for both in a cache."""
        return f"{self.small.key}-{self.full.key}"

    @classmethod
    def of(cls, small: Trial, n_groups: int) -> Pair:
        """The pair that a small network belongs to."""
        mode = baseline_mode(small.mode)
        retrain = small.retrain if mode == "fine-tune" else Recipe(epochs=0)
        return cls(small, replace(small, keep=n_groups, mode=mode, ranking=None, retrain=retrain))


@dataclass(frozen=True)
class Standing:
    """What there is to show at one place of the slider.

    `asked` is the pair of the place itself, `shown` the nearest one whose networks are here, and `recorded` the nearest
    one whose results are in the ledger; each of these None where there is none.
    """

    asked: Pair
    shown: Pair | None
    recorded: Pair | None

    @property
    def is_exact(self) -> bool:
        """Whether what is shown is what was asked for."""
        return self.shown == self.asked


@dataclass(frozen=True, eq=False)
class Answer:
    """What one network says of one input, and which inputs it says so because of.

    `kept` bool [inputs] is what it reads. `says` is its class and `probabilities` [classes]; where numbers are
    predicted, `number` in its own unit, the others None and empty. `relevance` [inputs] is that of each input for the
    class or number that it says, 0 where it does not read; `of_groups` [groups] their sums. Both are None where this
    network cannot be explained, and `why_not` says why.
    """

    kept: np.ndarray
    says: int | None
    number: float | None
    probabilities: np.ndarray
    relevance: np.ndarray | None
    of_groups: np.ndarray | None
    why_not: str = ""

    @property
    def sure(self) -> float | None:
        """The probability of the class that it says."""
        return None if self.says is None else float(self.probabilities[self.says])


@dataclass(frozen=True)
class Trying(Part):
    """Pairs of networks of an opened study, full and small, to be asked about any input."""

    @property
    def ledger(self) -> Ledger:
        """Where the results are."""
        return Ledger(self.folder)

    def pair(self, *, method: str, mode: str, keep: int, seed: int) -> Pair:
        """The networks at one place of the slider, there or not."""
        return Pair.of(self.trial(method, keep, mode, seed), self.data.n_groups)

    def standing(self, *, method: str, mode: str, keep: int, seed: int) -> Standing:
        """What can be shown at a place at once: its own networks, or the nearest ones of the study that are here."""
        asked = self.pair(method=method, mode=mode, keep=keep, seed=seed)
        keeps = sorted(self.study.keeps, key=lambda measured: (abs(measured - keep), -measured))
        grid = [self.pair(method=method, mode=mode, keep=measured, seed=seed) for measured in keeps]
        near = [asked, *(pair for pair in grid if pair != asked)]
        there = self.ledger.recorded([trial.key for pair in near for trial in (pair.small, pair.full)])
        return Standing(
            asked,
            next((pair for pair in near if self.is_ready(pair)), None),
            next((pair for pair in near if {pair.small.key, pair.full.key} <= there), None),
        )

    def is_ready(self, pair: Pair) -> bool:
        """Whether both networks are here, or follow from what is here without training."""
        return not self._missing(pair)

    def _missing(self, pair: Pair) -> list[str]:
        """What has to be made first, as a person reads it, in the order in which it is made."""
        small, full = pair.small, pair.full
        assert small.ranking is not None, "the small network of a pair has a ranking"
        needs_base = full.mode == "none" or small.mode == "none"
        missing = []
        if needs_base and not train_base.is_stored(full.base):
            missing.append("the full network")
        if full.mode != "none" and not self._is_kept(full):
            missing.append("the full network")
        if small.mode == "none" and not self._is_kept(small) and not is_cached(small.ranking):
            missing.append("the ranking")
        if small.mode != "none" and not self._is_kept(small):
            missing.append("the small network")
        return missing

    def _is_kept(self, trial: Trial) -> bool:
        return weights_path(self.ledger, trial).exists() and bool(self.ledger.recorded([trial.key]))

    def make(self, pair: Pair, report: Report = tell_nobody) -> bool:
        """Train what is missing of a pair, and keep it for later; its results are recorded as a study's are."""
        report(0.05, "training the full network")
        base_network(pair.full.base)
        if pair.full.mode != "none":
            trial_network(pair.full, self.ledger)
        report(0.5, "ranking, and training the small network")
        assert pair.small.ranking is not None, "the small network of a pair has a ranking"
        ranking_of(pair.small.ranking)
        if pair.small.mode != "none":
            trial_network(pair.small, self.ledger)
        return True

    def seconds_of(self, pair: Pair) -> float | None:
        """What `make` takes by what the study's own networks took, an epoch at a time; None if none was trained yet."""
        recipes = {trial.key: trial.retrain.epochs for trial in plan(self.study, self.data) if trial.retrain.epochs}
        rows = self.ledger.trials(list(recipes))
        if rows.empty:
            return None
        per_epoch = float(np.median([row["seconds"] / recipes[row["key"]] for row in rows.to_dict("records")]))
        epochs = 0 if train_base.is_stored(pair.full.base) else pair.full.base.recipe.epochs
        epochs += sum(trial.retrain.epochs for trial in (pair.full, pair.small) if not self._is_kept(trial))
        return per_epoch * epochs

    def network(self, trial: Trial) -> nn.Module:
        """The network of a trial of a pair, which is trained first if it is not here. Do not change it."""
        network: nn.Module = _network(self, trial)
        return network

    def kept(self, pair: Pair) -> np.ndarray:
        """What the small network reads, bool [inputs]."""
        return _mask(self, pair.small).keep.flatten().numpy()

    def answers(self, pair: Pair, inputs: np.ndarray, composite: str = "epsilon-plus") -> tuple[Answer, Answer]:
        """What the full and the small network of a pair say of one input of the shape of the data, as networks take it.

        Raises `InputError` for another shape or an unknown composite.
        """
        if inputs.shape != self.data.shape:
            raise InputError(f"the networks take an input of shape {self.data.shape}, not {inputs.shape}")
        x = torch.tensor(inputs, dtype=torch.float32)[None]
        with one_thread():  # several wait for each other longer than one input takes
            return self._answer(pair.full, x, composite), self._answer(pair.small, x, composite)

    def _answer(self, trial: Trial, x: Tensor, composite: str) -> Answer:
        network, mask = self.network(trial), _mask(self, trial)
        given = network.encode(x) if isinstance(network, PrunedNetwork) else x
        with torch.inference_mode():
            output = network(given)[0].clone()
        number = self.data.target
        says = None if number is not None else int(output.argmax())
        relevance, of_groups, why_not = None, None, ""
        try:
            found = _explainer(self, trial, composite).relevance(given, says)
        except (UnsupportedLayer, NonFiniteRelevance) as error:
            why_not = str(error)
        else:
            spread = mask.scatter(found) if isinstance(network, PrunedNetwork) else found
            relevance = spread[0].flatten().numpy().copy()
            of_groups = self.data.grouping.sums(spread[0].flatten()).numpy().copy()
        return Answer(
            kept=mask.keep.flatten().numpy(),
            says=says,
            number=None if number is None else float(number.restore(output)[0]),
            probabilities=output.softmax(0).numpy() if number is None else np.zeros(0),
            relevance=relevance,
            of_groups=of_groups,
            why_not=why_not,
        )

    def row(self, index: int, seed: int) -> np.ndarray:
        """A test row of a seed as networks take it, in the shape of the data. Raises `InputError` for none such."""
        test = self.data_of(seed).test
        if not 0 <= index < len(test):
            raise InputError(f"there is no test row {index}: choose between 0 and {len(test) - 1}")
        return test.take(torch.tensor([index])).inputs[0].numpy()

    def label(self, index: int, seed: int) -> int | float:
        """The class of a test row of a seed, or its number in its own unit."""
        label, number = self.data_of(seed).test.labels[index : index + 1], self.data.target
        return int(label[0]) if number is None else float(number.restore(label)[0])

    def seen(self, inputs: np.ndarray, seed: int) -> np.ndarray:
        """An image as a person sees it, uint8 [height, width, 1 or 3]; any other input in its own unit, flat."""
        data, x = self.data_of(seed), torch.tensor(inputs, dtype=torch.float32)[None]
        seen: np.ndarray = colours(data, x)[0] if len(data.shape) == 3 else as_seen(data, x)[0, 0]
        return seen

    def by_group(self, answers: tuple[Answer, Answer], inputs: np.ndarray, seed: int, most: int = 12) -> pd.DataFrame:
        """The inputs, or groups of them, that matter most to either network: name, value, kept, full and small.

        `full` and `small` are relevance as a share of the largest of both, from -1 to 1 (NaN where it is not known);
        `value` is what the input holds in its own unit, NaN for a group of several.
        """
        grouping, data = self.data.grouping, self.data_of(seed)
        held = as_seen(data, torch.tensor(inputs, dtype=torch.float32)[None])[0].flatten()
        size = grouping.sums(torch.ones(data.n_inputs)).numpy()
        known = len(held) == data.n_inputs  # of images, colours are seen as one
        value = grouping.sums(torch.tensor(held)).numpy() if known else np.full(len(size), np.nan)
        table = pd.DataFrame({"name": self.data.group_names, "value": np.where(size == 1, value, np.nan)})
        table["kept"] = grouping.sums(torch.tensor(answers[1].kept).float()).numpy() > 0
        for name, answer in zip(("full", "small"), answers, strict=True):
            table[name] = np.nan if answer.of_groups is None else answer.of_groups
        largest = table[["full", "small"]].abs().max(axis=1).fillna(0)
        table[["full", "small"]] /= float(largest.max()) or 1.0
        order = np.argsort(-largest.to_numpy(), kind="stable")[:most]
        return table.iloc[order].reset_index(drop=True)

    def thumbnails(self, positions: Sequence[int], seed: int) -> list[bytes]:
        """Test images of a seed as PNG files, `THUMBNAIL` pixels high or wide at most."""
        data = self.data_of(seed)
        if not len(positions):
            return []
        return [_png(image) for image in colours(data, data.test.take(torch.tensor(list(positions))).inputs)]


def colours(data: Dataset, inputs: Tensor) -> np.ndarray:
    """Images [n, channels, height, width] as they are seen: uint8 [n, height, width, 3], or 1 for grey ones.

    Of other numbers of channels than 1 and 3 the mean is shown. Of standardised images 0 is the least value and 255 the
    greatest, on one scale for all n.
    """
    values = inputs if data.scaler is None else data.scaler.restore(inputs)
    if values.shape[1] not in (1, 3):
        values = values.mean(1, keepdim=True)
    if data.scaler is not None:
        low, high = float(values.min()), float(values.max())
        values = (values - low) / ((high - low) or 1.0)
    return np.asarray((values.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1))


def _png(image: np.ndarray) -> bytes:
    picture = Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0])
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@lru_cache(maxsize=16)
def _network(part: Trying, trial: Trial) -> Any:
    if trial.ranking is None and trial.mode == "none":
        return base_network(trial.base)
    if trial.mode == "none" and not part._is_kept(trial):
        return make_network(trial)[0].eval()  # slicing: nothing is trained
    return trial_network(trial, part.ledger).eval()


@lru_cache(maxsize=16)
def _mask(part: Trying, trial: Trial) -> PixelMask:
    network = _network(part, trial)
    return network.mask if isinstance(network, PrunedNetwork) else PixelMask.full(part.data.shape)


@lru_cache(maxsize=8)
def _explainer(part: Trying, trial: Trial, composite: str) -> Explainer:
    return Explainer(_network(part, trial), composite)
