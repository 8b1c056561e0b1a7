"""Relevance over a data set, reduced image by image: memory does not grow with the number of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from ..errors import InputError, check_choice

_ROWS = 5
"""Sums that are kept of R, in this order: R, |R|, R^2, R^4 and R|R|."""

_Combination = dict[int, float]
"""Rows of the sums, and the factor that each is taken with."""

_MOMENTS: dict[str, tuple[_Combination, _Combination]] = {
    "mean-abs": ({1: 1}, {2: 1}),
    "mean": ({0: 1}, {2: 1}),
    "mean-square": ({2: 1}, {3: 1}),
    "mean-positive": ({0: 0.5, 1: 0.5}, {2: 0.5, 4: 0.5}),
}
"""For each mean its first and its second moment: R+ = (R + |R|) / 2, and its square is (R^2 + R|R|) / 2."""

_MAXIMUM = "max-"

STATISTICS: tuple[str, ...] = (*_MOMENTS, *(_MAXIMUM + name for name in _MOMENTS))
"""Means over images of |R|, R, R^2 and R+ = max(R, 0); with "max-" the largest of the classes' own means."""


@dataclass(eq=False)
class RelevanceStatistics:
    """Sums of R, |R|, R^2, R^4 and R|R| for every class and input, in float64, and how many images went in.

    `sums` is [5, classes, inputs], `counts` [classes]. Made by `empty`, filled by `update`, joined by `merge`.
    """

    sums: Float[Tensor, "5 classes inputs"]
    counts: Int64[Tensor, " classes"]

    @classmethod
    def empty(cls, n_classes: int, n_inputs: int) -> RelevanceStatistics:
        sums = torch.zeros(_ROWS, n_classes, n_inputs, dtype=torch.float64)
        return cls(sums, torch.zeros(n_classes, dtype=torch.int64))

    def update(self, relevance: Shaped[Tensor, "n *shape"], labels: Int64[Tensor, " n"]) -> None:
        """Add a batch: relevance of each image and the class that it counts for."""
        r = relevance.detach().flatten(1).to("cpu", torch.float64)
        member = torch.nn.functional.one_hot(labels.cpu(), len(self.counts)).to(torch.float64).T
        size, squared = r.abs(), r.square()
        for row, values in enumerate((r, size, squared, squared.square(), r * size)):
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
        """The statistic of every input over all images, or over those of class `label` (NaN if there are none).

        A "max-" statistic is the largest of the means of the classes that have images.
        """
        return self._estimate(statistic, label)[0]

    def standard_error(self, statistic: str = "mean-square", *, label: int | None = None) -> Float[Tensor, " inputs"]:
        """Standard error of `mean`: the sample standard deviation over the root of n; NaN for fewer than 2 images.

        For a "max-" statistic that of the class which has the largest mean, as if it had been chosen beforehand.
        """
        return self._estimate(statistic, label)[1]

    def _estimate(self, statistic: str, label: int | None) -> tuple[Tensor, Tensor]:
        """The mean of every input, and its standard error."""
        check_choice("statistic", statistic, STATISTICS)
        if label is not None and not 0 <= label < len(self.counts):
            raise InputError(f"class {label} is not between 0 and {len(self.counts) - 1}")
        if not statistic.startswith(_MAXIMUM):
            counts = self.counts.sum() if label is None else self.counts[label]
            return _mean_and_error(self.sums.sum(1) if label is None else self.sums[:, label], counts, statistic)
        if label is not None:
            check_one_class(statistic, label)
        means, errors = _mean_and_error(self.sums, self.counts[:, None], statistic.removeprefix(_MAXIMUM))
        best = means.where(self.counts[:, None] > 0, -torch.inf).argmax(0, keepdim=True)
        return means.gather(0, best)[0], errors.gather(0, best)[0]


def check_one_class(statistic: str, label: int) -> None:
    """Raise `InputError` for a statistic that cannot be had of one class alone."""
    if statistic.startswith(_MAXIMUM):
        raise InputError(f"statistic {statistic!r} is taken over all classes: leave class {label} out")


def _mean_and_error(sums: Tensor, counts: Tensor, statistic: str) -> tuple[Tensor, Tensor]:
    """Mean and standard error from sums [5, ...] over as many images as `counts` says; NaN where that is too few."""
    first, second = (_combined(sums, combination) / counts for combination in _MOMENTS[statistic])
    error = ((second - first.square()).clamp(min=0) / (counts - 1)).sqrt()
    return first, error.where(counts > 1, torch.nan)


def _combined(sums: Tensor, combination: _Combination) -> Tensor:
    return torch.stack([factor * sums[row] for row, factor in combination.items()]).sum(0)
