"""Relevance over a data set, reduced image by image: memory does not grow with the number of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from ..errors import InputError, check_choice

Statistic = Literal["mean-abs", "mean", "mean-square"]

_POWERS: dict[str, tuple[int, int]] = {"mean-abs": (1, 2), "mean": (0, 2), "mean-square": (2, 3)}
"""For each statistic the rows of the accumulated sums that hold its first and its second moment."""

STATISTICS: tuple[str, ...] = tuple(_POWERS)


@dataclass(eq=False)
class RelevanceStatistics:
    """Sums of R, |R|, R^2 and R^4 for every class and input, in float64, and how many images went in.

    `sums` is [4, classes, inputs], `counts` [classes]. Made by `empty`, filled by `update`, joined by `merge`.
    """

    sums: Float[Tensor, "4 classes inputs"]
    counts: Int64[Tensor, " classes"]

    @classmethod
    def empty(cls, n_classes: int, n_inputs: int) -> RelevanceStatistics:
        return cls(torch.zeros(4, n_classes, n_inputs, dtype=torch.float64), torch.zeros(n_classes, dtype=torch.int64))

    def update(self, relevance: Shaped[Tensor, "n *shape"], labels: Int64[Tensor, " n"]) -> None:
        """Add a batch: relevance of each image and the class that it counts for."""
        r = relevance.detach().flatten(1).to("cpu", torch.float64)
        member = torch.nn.functional.one_hot(labels.cpu(), len(self.counts)).to(torch.float64).T
        squared = r.square()
        for row, values in enumerate((r, r.abs(), squared, squared.square())):
            self.sums[row] += member @ values
        self.counts += labels.cpu().bincount(minlength=len(self.counts))

    def merge(self, other: RelevanceStatistics) -> RelevanceStatistics:
        """The statistics of both samples together. Raises `InputError` if they are of other classes or inputs."""
        if self.sums.shape != other.sums.shape:
            raise InputError(
                f"statistics of {tuple(self.sums.shape[1:])} and of {tuple(other.sums.shape[1:])} classes and inputs "
                "cannot be merged"
            )
        return RelevanceStatistics(self.sums + other.sums, self.counts + other.counts)

    def mean(self, statistic: str = "mean-square", *, label: int | None = None) -> Float[Tensor, " inputs"]:
        """The statistic of every input over all images, or over those of class `label` (NaN if there are none)."""
        return self._moments(statistic, label)[0]

    def standard_error(self, statistic: str = "mean-square", *, label: int | None = None) -> Float[Tensor, " inputs"]:
        """Standard error of `mean`: the sample standard deviation over the root of n; NaN for fewer than 2 images."""
        first, second, n = self._moments(statistic, label)
        if n < 2:
            return torch.full_like(first, torch.nan)
        return ((second - first.square()).clamp(min=0) / (n - 1)).sqrt()

    def _moments(self, statistic: str, label: int | None) -> tuple[Tensor, Tensor, int]:
        check_choice("statistic", statistic, STATISTICS)
        if label is not None and not 0 <= label < len(self.counts):
            raise InputError(f"class {label} is not between 0 and {len(self.counts) - 1}")
        if label is None:
            sums, n = self.sums.sum(1), int(self.counts.sum())
        else:
            sums, n = self.sums[:, label], int(self.counts[label])
        first, second = (sums[row] / n if n else torch.full_like(sums[row], torch.nan) for row in _POWERS[statistic])
        return first, second, n
