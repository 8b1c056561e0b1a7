"""What a kernel of two bags of words is, to support vector machines and to the relevance of words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError


def as_features(values: Any, what: str = "features") -> Float[Tensor, "n d"]:
    """Rows of finite numbers as a float64 tensor. Raises `InputError`."""
    if hasattr(values, "toarray") and not isinstance(values, Tensor):
        raise InputError(f"{what} must be a dense array, not a sparse matrix: call toarray() first")
    if isinstance(values, Tensor):
        rows = values.detach().double()
    else:
        array = np.asarray(values)
        if array.dtype.kind not in "buif":
            raise InputError(f"{what} must be an array of numbers, not {array.dtype}")
        rows = torch.from_numpy(np.array(array, dtype=np.float64))
    if rows.ndim != 2 or not rows.shape[1]:
        raise InputError(f"{what} must be rows of numbers of shape [n, d], not {tuple(rows.shape)}")
    if not bool(torch.isfinite(rows).all()):
        raise InputError(f"{what} must be finite numbers, and these hold NaN or infinity")
    return rows


class Kernel(ABC):
    """A kernel k(x, u) of two rows of features, which scikit-learn's SVC takes as its `kernel`.

    `needs_counts` says that features have to be at least 0.
    """

    needs_counts: ClassVar[bool] = False

    def __call__(self, x: Any, y: Any) -> NDArray[np.float64]:
        """k(x_i, y_j) [n, m] of rows x [n, d] and y [m, d]. Raises `InputError`."""
        first = self.checked(x)
        second = first if y is x else self.checked(y)
        if first.shape[1] != second.shape[1]:
            raise InputError(f"a kernel compares rows of one length, not of {first.shape[1]} and {second.shape[1]}")
        return np.asarray(self.matrix(first, second).numpy())

    def checked(self, values: Any, what: str = "features") -> Float[Tensor, "n d"]:
        """Features that this kernel takes, float64. Raises `InputError`."""
        rows = as_features(values, what)
        if self.needs_counts and bool((rows < 0).any()):
            raise InputError(
                f"{self} is for counts, which are never negative, and {what} go down to {float(rows.min()):.3g}"
            )
        return rows

    @abstractmethod
    def matrix(self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """k(x_i, u_j)."""

    def expansion(
        self, x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], c: Float[Tensor, "k m"]
    ) -> Float[Tensor, "n k"]:
        """sum_j c_kj k(x_i, u_j)."""
        return self.matrix(x, u) @ c.T

    @abstractmethod
    def at_zero(self, u: Float[Tensor, "m d"]) -> Float[Tensor, " m"]:
        """By which factor k(x, u_j) grows with features that x lacks and u_j has."""
