"""Distillation: a small network learns what a larger one answers, beside or instead of the labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import Split
from ..errors import InputError
from .evaluation import predict_logits
from .feeding import Encode, encoded


@dataclass(frozen=True, eq=False)
class Teacher:
    """What a larger network answers for every training row: its `logits` [n, classes].

    The loss is (1 - w) times the cross-entropy of the labels and w T^2 times the divergence from the softened answers
    softmax(logits / T), with the `weight` w and the `temperature` T (Hinton, Vinyals and Dean 2015, sec. 2). Raises
    `InputError` for weights and temperatures that mean nothing, and for answers that are not finite.
    """

    logits: Float[Tensor, "n classes"]
    temperature: float = 2.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(f"the temperature of a teacher is above 0, not {self.temperature}")
        if not 0 <= self.weight <= 1:
            raise InputError(f"the weight of a teacher lies between 0 and 1, not {self.weight}")
        if not bool(self.logits.isfinite().all()):
            raise InputError("a teacher's answers must be finite, and some are NaN or infinite")

    @classmethod
    def of(
        cls,
        network: nn.Module,
        split: Split,
        *,
        temperature: float = 2.0,
        weight: float = 1.0,
        encode: Encode | None = None,
    ) -> Teacher:
        """What `network` answers for the rows of `split`, in their order. Raises `InputError` for numbers."""
        if split.has_numbers:
            raise InputError(_NUMBERS)
        return cls(predict_logits(network, encoded(split, encode)), temperature, weight)

    def for_rows(self, split: Split) -> Float[Tensor, "n classes"]:
        """The softened probabilities of every row. Raises `InputError` for numbers, or if there are not as many."""
        if split.has_numbers:
            raise InputError(_NUMBERS)
        if len(self.logits) != len(split):
            raise InputError(f"the teacher has answered for {len(self.logits):,} rows, there are {len(split):,}")
        return (self.logits.float() / self.temperature).softmax(1)

    def loss(
        self, outputs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], answers: Float[Tensor, "n classes"]
    ) -> Tensor:
        """The mean loss of a batch, given the answers for its rows. Raises `InputError` for other classes."""
        if outputs.shape != answers.shape:
            raise InputError(f"the teacher tells {answers.shape[1]} classes apart, the network {outputs.shape[1]}")
        soft = F.kl_div((outputs / self.temperature).log_softmax(1), answers, reduction="batchmean")
        return (1 - self.weight) * F.cross_entropy(outputs, labels) + self.weight * self.temperature**2 * soft


_NUMBERS = "a teacher's answers are probabilities of classes, and the rows have numbers"
