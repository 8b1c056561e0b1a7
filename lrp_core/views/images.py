"""The images of a study, and what its networks see in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data import Dataset
from ..errors import InputError
from ..lrp import Explainer
from ..study import plan
from ..study.stages import base_network, prepare_base, train_base
from ..study.trials import Base
from .part import Part, Report


@dataclass(frozen=True)
class ImageExplanation:
    """One image explained.

    `image`, as it is seen, and `relevance` are [height, width]; `of_groups` [groups] is the relevance of each input,
    or group of inputs; `label` is a class or, like the network's `answer`, a number in its own unit; `probabilities`
    [classes]; `layers` maps each layer to the relevance at its output, [maps, height, width], [units], or for series
    [maps, length] and [positions, features]; `balance` has one row for each layer with weights: what arrived, what
    left, what was absorbed, and of that the shares of the bias and of epsilon; and of what left the share that a z-box
    gave for its bounds.
    """

    image: np.ndarray
    label: int | float
    target: int
    answer: float | None
    probabilities: np.ndarray
    logits: np.ndarray
    relevance: np.ndarray
    of_groups: np.ndarray
    layers: dict[str, np.ndarray]
    balance: pd.DataFrame


@dataclass(frozen=True)
class Images(Part):
    """The images of an opened study."""

    def mean(self, seed: int) -> np.ndarray:
        """Mean of the training images of a seed, [height, width], as it is seen; of no images, [1, inputs]."""
        return _mean(self.data_of(seed))

    def means(self, seed: int) -> dict[str, list[list[float]]]:
        """Mean of the training rows of each class, by its name: a list for each channel; of all rows for numbers."""
        data = self.data_of(seed)
        train, length = data.train, data.shape[-1]
        if train.has_numbers:
            of = {"all rows": torch.ones(len(train), dtype=torch.bool)}
        else:
            of = {name: train.labels == label for label, name in enumerate(data.classes)}
        means = {name: train.inputs[rows].float().mean(0, keepdim=True) for name, rows in of.items() if rows.any()}
        return {name: _in_own_unit(data, mean).reshape(-1, length).tolist() for name, mean in means.items()}

    def indices(self, seed: int, label: int | None = None) -> list[int]:
        """Positions of the test images of a seed, all of them or those of one class."""
        labels = self.data_of(seed).test.labels
        if label is None:
            return list(range(len(labels)))
        positions: list[int] = (labels == label).nonzero().flatten().tolist()
        return positions

    def explain(
        self, *, seed: int, index: int, composite: str, start: str = "logit", target: int | None = None
    ) -> ImageExplanation:
        """Explain one test image with the full network of a seed. Raises `InputError` for an index out of range."""
        test, number = self.data_of(seed).test, self.data.target
        if not 0 <= index < len(test):
            raise InputError(f"there is no test image {index}: choose between 0 and {len(test) - 1}")
        part = test.take(torch.tensor([index]))
        label = int(part.labels[0]) if number is None else float(number.restore(part.labels)[0])
        return self._explained(part.images, label, seed, composite, start, target)

    def explain_picture(
        self, *, pixels: np.ndarray, label: int, seed: int, composite: str, start: str, target: int | None
    ) -> ImageExplanation:
        """Explain a picture [channels, height, width] as the networks take it; `label` is -1 where nobody knows it."""
        return self._explained(torch.tensor(pixels)[None], label, seed, composite, start, target)

    def is_trained(self, seed: int) -> bool:
        """Whether the full network of a seed is on this machine: of a study measured elsewhere it may not be."""
        return train_base.is_stored(self._base(seed))

    def train(self, seed: int, report: Report) -> None:
        """Have the full network of a seed on this machine: the same weights that the study had."""
        report(0.1, f"training the full network of seed {seed}")
        prepare_base(self._base(seed))

    def _base(self, seed: int) -> Base:
        return plan(self.study, self.data)[self.study.seeds.index(seed)].base

    def _explained(
        self, inputs: Tensor, label: int | float, seed: int, composite: str, start: str, target: int | None
    ) -> ImageExplanation:
        number = self.data.target
        explanation = _explainer(self, seed, composite).explain(inputs, target, start)
        columns = ("layer", "rule", "arrived", "left", "bias", "epsilon", "box")
        rows = [[getattr(b, name) for name in columns[:2]] + [float(getattr(b, name)) for name in columns[2:]]
                for b in explanation.balance]  # fmt: skip
        balance = pd.DataFrame(rows, columns=list(columns))
        balance["absorbed"] = balance["arrived"] - balance["left"]
        return ImageExplanation(
            image=as_seen(self.data_of(seed), inputs)[0],
            label=label,
            target=int(explanation.target[0]),
            answer=None if number is None else float(number.restore(explanation.logits[0])[0]),
            probabilities=explanation.logits[0].softmax(0).numpy(),
            logits=explanation.logits[0].numpy(),
            relevance=_flat(explanation.relevance[0]),
            of_groups=self.data.grouping.sums(explanation.relevance[0].flatten()).numpy(),
            layers={name: r[0].numpy() for name, r in explanation.layers.items()},
            balance=balance,
        )


def as_seen(data: Dataset, inputs: Tensor) -> np.ndarray:
    """Inputs [n, *shape] of a data set as a person sees them, in their own unit; of no images [n, 1, inputs].

    Images [n, height, width] are the mean over their channels. Of standardised ones 0 is the least value and 1 the
    greatest, on one scale for all n.
    """
    values = _in_own_unit(data, inputs)
    if values.ndim < 4:
        return values.reshape(len(values), 1, -1).numpy()
    images = values.mean(1)
    if data.scaler is not None:
        low, high = float(images.min()), float(images.max())
        images = (images - low) / ((high - low) or 1.0)
    return images.numpy()


def _in_own_unit(data: Dataset, inputs: Tensor) -> Tensor:
    return inputs if data.scaler is None else data.scaler.restore(inputs)


def _flat(relevance: Tensor) -> np.ndarray:
    """Relevance of one input as [height, width], summed over channels; of no image [1, inputs]."""
    return np.asarray(relevance.sum(0) if relevance.ndim == 3 else relevance.reshape(1, -1))


@lru_cache(maxsize=2)
def _mean(data: Dataset) -> np.ndarray:
    mean = data.train.raw.float().mean(0, keepdim=True)
    return np.asarray(as_seen(data, mean.div(255) if data.train.is_bytes else mean)[0])


@lru_cache(maxsize=16)
def _explainer(images: Images, seed: int, composite: str) -> Explainer:
    return Explainer(base_network(images._base(seed)), composite)
