"""A number that networks predict, in the place of classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True)
class Target:
    """A number as networks see it: (number - `mean`) / `scale`, with `mean` and `scale` those of the training rows.

    A prediction of 0 is then the mean, so that relevance, which sums to the prediction, explains how far it is from
    the mean. Raises `InputError` for a scale that nothing can be divided by.
    """

    name: str = "number"
    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"a target needs a finite mean and a scale above 0, not {self.mean:g} and {self.scale:g}")

    def restore(self, predicted: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The numbers themselves, float64, from what networks see."""
        return predicted.double() * self.scale + self.mean
