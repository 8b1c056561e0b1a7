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
from ..study.stages import base_network
from .part import Part


@dataclass(frozen=True)
class ImageExplanation:
    """One image explained.

    `image` and `relevance` are [height, width]; `of_groups` [groups] is the relevance of each input, or group of
    inputs; `label` is a class or, like the network's `answer`, a number in its own unit; `probabilities` [classes];
    `layers` maps each layer to the relevance at its output, [maps, height, width] or [units]; `balance` has one row for
    each layer with weights: what arrived, what left, what was absorbed, and of that the shares of the bias and of
    epsilon; and of what left the share that a z-box gave for its bounds.
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

    def mean(self) -> np.ndarray:
        """Mean of the training images, [height, width]; of inputs that are no images, [1, inputs]."""
        return _mean(self.data)

    def means(self) -> dict[str, list[list[float]]]:
        """Mean of the training rows of each class, by its name: a list for each channel; of all rows for numbers."""
        train = self.data.train
        values, length = train.inputs.flatten(2 if len(self.data.shape) > 1 else 1), self.data.shape[-1]
        if train.has_numbers:
            return {"all rows": values.float().mean(0).reshape(-1, length).tolist()}
        return {
            name: values[train.labels == label].float().mean(0).reshape(-1, length).tolist()
            for label, name in enumerate(self.data.classes)
            if bool((train.labels == label).any())
        }

    def indices(self, label: int | None = None) -> list[int]:
        """Positions of the test images, all of them or those of one class."""
        labels = self.data.test.labels
        if label is None:
            return list(range(len(labels)))
        positions: list[int] = (labels == label).nonzero().flatten().tolist()
        return positions

    def explain(
        self, *, seed: int, index: int, composite: str, start: str = "logit", target: int | None = None
    ) -> ImageExplanation:
        """Explain one test image with the full network of a seed. Raises `InputError` for an index out of range."""
        test = self.data.test
        if not 0 <= index < len(test):
            raise InputError(f"there is no test image {index}: choose between 0 and {len(test) - 1}")
        part, number = test.take(torch.tensor([index])), self.data.target
        explanation = _explainer(self, seed, composite).explain(part.images, target, start)
        columns = ("layer", "rule", "arrived", "left", "bias", "epsilon", "box")
        rows = [[getattr(b, name) for name in columns[:2]] + [float(getattr(b, name)) for name in columns[2:]]
                for b in explanation.balance]  # fmt: skip
        balance = pd.DataFrame(rows, columns=list(columns))
        balance["absorbed"] = balance["arrived"] - balance["left"]
        return ImageExplanation(
            image=_drawn(part.images[0]),
            label=int(part.labels[0]) if number is None else float(number.restore(part.labels)[0]),
            target=int(explanation.target[0]),
            answer=None if number is None else float(number.restore(explanation.logits[0])[0]),
            probabilities=explanation.logits[0].softmax(0).numpy(),
            logits=explanation.logits[0].numpy(),
            relevance=_drawn(explanation.relevance[0]),
            of_groups=self.data.grouping.sums(explanation.relevance[0].flatten()).numpy(),
            layers={name: r[0].numpy() for name, r in explanation.layers.items()},
            balance=balance,
        )


def _drawn(values: Tensor) -> np.ndarray:
    """Values of one input as [height, width], summed over channels; of no image [1, inputs]."""
    return np.asarray(values.sum(0) if values.ndim == 3 else values.reshape(1, -1))


@lru_cache(maxsize=2)
def _mean(data: Dataset) -> np.ndarray:
    raw = data.train.raw.float()
    mean = raw.mean((0, 1)) if len(data.shape) == 3 else raw.mean(0).flatten()[None]
    return (mean.div(255) if data.train.is_bytes else mean).numpy()


@lru_cache(maxsize=16)
def _explainer(images: Images, seed: int, composite: str) -> Explainer:
    trial = plan(images.study, images.data)[images.study.seeds.index(seed)]
    return Explainer(base_network(trial.base), composite)
