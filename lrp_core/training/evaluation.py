"""Evaluate one network: on classes, or on numbers."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import Split
from ..errors import InputError
from .feeding import Encode, check_not_empty, encoded, pick_device, to_floats


@dataclass(frozen=True)
class NumberEvaluation:
    """How well a network predicts numbers on one split.

    `r2` is the coefficient of determination, 1 - sum of squared errors / sum of squares around the split's own mean
    (NaN where all numbers are alike), `mae` the mean absolute error and `loss` the mean squared one, both of the
    numbers as the split has them; `errors` [n] is prediction minus number.
    """

    n: int
    r2: float
    mae: float
    loss: float
    errors: np.ndarray

    @property
    def score(self) -> float:
        """What networks are judged by: R^2."""
        return self.r2

    @classmethod
    def of(cls, outputs: Float[Tensor, "n outputs"], labels: Tensor) -> NumberEvaluation:
        """What outputs are worth. Raises `InputError` for a network with several outputs."""
        if outputs.shape[1] != 1:
            raise InputError(f"a number is predicted by one output, and the network has {outputs.shape[1]}")
        numbers = labels.double()
        errors = outputs[:, 0].double() - numbers
        around = float((numbers - numbers.mean()).square().sum())
        r2 = 1 - float(errors.square().sum()) / around if around else math.nan
        return cls(len(labels), r2, float(errors.abs().mean()), float(errors.square().mean()), errors.numpy())


@dataclass(frozen=True)
class Evaluation:
    """How a network does on one split: all shares in [0, 1].

    `confidence` is the mean softmax probability of the predicted class, `per_class` the accuracy of each
    class (NaN where the split has none of it), `correct` whether each image was classified right.
    """

    n: int
    accuracy: float
    loss: float
    confidence: float
    per_class: tuple[float, ...]
    correct: np.ndarray

    @property
    def score(self) -> float:
        """What networks are judged by: the accuracy."""
        return self.accuracy


def evaluate(
    model: nn.Module, split: Split, *, device: str = "auto", encode: Encode | None = None, batch_size: int = 1000
) -> Any:
    """Accuracy, cross-entropy, confidence and per-class accuracy of `model` on `split`; changes nothing.

    Gives an `Evaluation`, or a `NumberEvaluation` for a split whose labels are numbers; both have a `score`.

    >>> import torch
    >>> import lrp_core as lc
    >>> split = lc.Split(torch.rand(60, 20), torch.arange(60) % 3)
    >>> net = lc.build_model("softmax", shape=(20,), n_classes=3)
    >>> evaluation = lc.evaluate(net, split, device="cpu")
    >>> evaluation.n, 0 <= evaluation.accuracy <= 1
    (60, True)
    """
    check_not_empty(split)
    logits = predict_logits(model, encoded(split, encode), device=device, batch_size=batch_size)
    if split.has_numbers:
        return NumberEvaluation.of(logits, split.labels)
    log_p = logits.double().log_softmax(1)
    correct = logits.argmax(1) == split.labels
    hits, counts = (
        torch.bincount(labels, minlength=logits.shape[1]).double() for labels in (split.labels[correct], split.labels)
    )
    return Evaluation(
        n=len(split),
        accuracy=float(correct.double().mean()),
        loss=float(F.nll_loss(log_p, split.labels)),
        confidence=float(log_p.amax(1).exp().mean()),
        per_class=tuple((hits / counts).tolist()),
        correct=correct.numpy(),
    )


def predict_logits(
    model: nn.Module, inputs: Shaped[Tensor, "n *shape"], *, device: str = "auto", batch_size: int = 1000
) -> Float[Tensor, "n classes"]:
    """Logits of `inputs`, on the CPU, computed in batches in evaluation mode; the model is left as it was.

    Bytes are taken as pixels, and become floats in [0, 1].
    """
    target = pick_device(device)
    network = copy.deepcopy(model).to(target).eval()
    with torch.inference_mode():
        logits = [network(to_floats(batch.to(target))).cpu() for batch in torch.split(inputs, batch_size)]
    return torch.cat(logits).clone()  # out of inference mode, so that the result is a tensor like any other
