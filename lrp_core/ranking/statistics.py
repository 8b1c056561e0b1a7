"""Relevance over a data set, reduced image by image: memory does not grow with the number of images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from ..errors import InputError, check_choice

_ROWS = 5
"""Sums that are kept of R, in this order: R, |R|, R^2, R^4 and R|R|."""

_DEGREES = (1, 1, 2, 4, 2)
"""By which power of a factor each of them grows."""

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
    rows: tuple[int, ...] = tuple(range(_ROWS))
    """Those of the sums that are kept; the others are NaN, and so is a statistic that needs them."""

    @classmethod
    def empty(cls, n_classes: int, n_inputs: int, statistic: str | None = None) -> RelevanceStatistics:
        """No images so far, for all statistics, or for the one that will be asked for, which is quicker."""
        rows = tuple(range(_ROWS))
        if statistic is not None:
            check_choice("statistic", statistic, STATISTICS)
            rows = tuple(sorted({row for moment in _MOMENTS[statistic.removeprefix(_MAXIMUM)] for row in moment}))
        sums = torch.full((_ROWS, n_classes, n_inputs), torch.nan, dtype=torch.float64)
        sums[list(rows)] = 0
        return cls(sums, torch.zeros(n_classes, dtype=torch.int64), rows)

    def update(self, relevance: Shaped[Tensor, "n *shape"], labels: Int64[Tensor, " n"]) -> None:
        """Add a batch: relevance of each image and the class that it counts for.

        Within a batch, powers and their sums are taken in the relevance's own precision, at least float32, of
        relevance over the batch's largest, so that no fourth power vanishes; batches are added up in float64.
        """
        r = relevance.detach().flatten(1).cpu()
        r = r if r.dtype == torch.float64 else r.float()
        labels = labels.cpu()
        if r.numel():
            largest = max(abs(float(end)) for end in torch.aminmax(r))
            scale = largest if 0 < largest < math.inf else 1.0
            member = torch.nn.functional.one_hot(labels, len(self.counts)).to(r.dtype).T
            powers = _powers(r / scale, self.rows)
            sums = (member @ powers.flatten(1)).view(len(self.counts), len(self.rows), -1)
            for place, row in enumerate(self.rows):
                self.sums[row].add_(sums[:, place].double(), alpha=scale ** _DEGREES[row])
        self.counts += labels.bincount(minlength=len(self.counts))

    def merge(self, other: RelevanceStatistics) -> RelevanceStatistics:
        """The statistics of both samples together. Raises `InputError` if they are of other classes or inputs."""
        if self.sums.shape != other.sums.shape:
            raise InputError(
                f"statistics of {tuple(self.sums.shape[1:])} and of {tuple(other.sums.shape[1:])} classes and inputs "
                "cannot be merged"
            )
        rows = tuple(row for row in self.rows if row in other.rows)
        return RelevanceStatistics(self.sums + other.sums, self.counts + other.counts, rows)

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


def _powers(r: Tensor, rows: tuple[int, ...]) -> Tensor:
    """The values that the sums are of, side by side in one tensor [n, rows, inputs]."""
    powers = r.new_empty(len(r), len(rows), r.shape[1])
    for place, row in enumerate(rows):
        out = powers[:, place]
        match row:
            case 0:
                out.copy_(r)
            case 1:
                torch.abs(r, out=out)
            case 2:
                torch.mul(r, r, out=out)
            case 3:
                torch.mul(r, r, out=out).square_()
            case _:
                torch.abs(r, out=out).mul_(r)
    return powers


def check_one_class(statistic: str, label: int) -> None:
    """Raise `InputError` for a statistic that one class alone does not have."""
    if statistic.startswith(_MAXIMUM):
        raise InputError(f"statistic {statistic!r} is taken over all classes: leave class {label} out")


def _mean_and_error(sums: Tensor, counts: Tensor, statistic: str) -> tuple[Tensor, Tensor]:
    """Mean and standard error from sums [5, ...] over as many images as `counts` says; NaN where that is too few."""
    first, second = (_combined(sums, combination) / counts for combination in _MOMENTS[statistic])
    error = ((second - first.square()).clamp(min=0) / (counts - 1)).sqrt()
    return first, error.where(counts > 1, torch.nan)


def _combined(sums: Tensor, combination: _Combination) -> Tensor:
    return torch.stack([factor * sums[row] for row, factor in combination.items()]).sum(0)
