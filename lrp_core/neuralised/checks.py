"""What is refused of an estimator, each in one sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError


def as_tensor(values: Any, what: str = "coefficients") -> Tensor:
    """An estimator's numbers in its own precision, at least float32. Raises `InputError` for sparse ones and NaN."""
    if hasattr(values, "toarray"):
        raise InputError(f"the {what} of this estimator are sparse: fit it on dense rows (rows.toarray())")
    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"the {what} of this estimator hold NaN or infinity: fit it on finite numbers")
    return torch.from_numpy(array.copy())


def check_rbf(estimator: Any) -> None:
    """Raise `InputError` for a support vector machine with another kernel, or one that was fitted on sparse rows."""
    name = type(estimator).__name__
    if estimator.kernel != "rbf":
        kernel = "a function of your own" if callable(estimator.kernel) else repr(estimator.kernel)
        raise InputError(f"{name} is read with the kernel 'rbf', not {kernel}: fit it with kernel='rbf'")
    if estimator._sparse:
        raise InputError(f"this {name} was fitted on sparse rows: fit it on dense ones (rows.toarray())")
    if not (math.isfinite(estimator._gamma) and estimator._gamma > 0):
        raise InputError(f"the gamma of this {name} is {estimator._gamma:g}: fit it with a number above 0")


def check_euclidean(estimator: Any, metric: Any) -> None:
    """Raise `InputError` for an estimator whose distances are others than Euclidean ones."""
    if metric not in ("euclidean", "l2"):
        raise InputError(f"{type(estimator).__name__} is read with the metric 'euclidean', not {metric!r}")
