"""The smaller estimator that is trained again: its own `fit`, on fewer columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError


def refit(estimator: Any, columns: Any, rows: Any, labels: Any = None) -> Any:
    """A new estimator like `estimator`, fitted to the `columns` of `rows` [n, ...] alone, flattened first.

    `columns` are positions [k] in a flattened row, as `PixelMask.indices`, or bool [inputs]. k-means starts from the
    cut centres of the fitted one, once; all others fit as they would for the first time, so that a gamma of "scale" is
    that of the fewer columns. There may be more support vectors than before. Raises `InputError` for columns that are
    none, and for rows or labels that cannot be fitted to.

    >>> import torch
    >>> import lrp_core as lc
    >>> from sklearn.cluster import KMeans
    >>> x = torch.rand(60, 20)
    >>> small = lc.refit(KMeans(3, n_init=1, random_state=0).fit(x.numpy()), [2, 3, 7], x)
    >>> small.cluster_centers_.shape
    (3, 3)
    """
    from sklearn.base import clone
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise InputError(f"this {type(estimator).__name__} is not fitted: call fit(rows) first") from error
    except TypeError as error:
        raise InputError(f"refit takes a fitted estimator of scikit-learn, not {type(estimator).__name__}") from error
    flat = _rows(rows)
    chosen = _columns(columns, flat.shape[1])
    fresh = clone(estimator)
    if hasattr(estimator, "cluster_centers_"):
        if estimator.cluster_centers_.shape[1] != flat.shape[1]:
            raise InputError(
                f"the centres are of {estimator.cluster_centers_.shape[1]} inputs, and the rows have {flat.shape[1]}: "
                "give the full rows"
            )
        fresh.set_params(init=estimator.cluster_centers_[:, chosen], n_init=1)
    return fresh.fit(flat[:, chosen], *_labels(estimator, labels, len(flat)))


def _rows(rows: Any) -> np.ndarray:
    if hasattr(rows, "toarray"):
        raise InputError("rows to fit to are dense: give rows.toarray()")
    array = np.asarray(rows)
    if array.ndim < 2 or not len(array):
        raise InputError(f"rows to fit to are [n, ...] with at least one row, not of shape {array.shape}")
    if not np.isfinite(array).all():
        raise InputError("the rows hold NaN or infinity: clean them first")
    return array.reshape(len(array), -1)


def _columns(columns: Any, n: int) -> np.ndarray:
    """Positions of columns, in increasing order."""
    array = np.asarray(columns)
    if array.dtype == np.bool_ and array.size == n:
        array = array.ravel().nonzero()[0]
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
        raise InputError(f"columns are positions [k], or bool [{n}], with at least one column, not {columns!r:.60}")
    chosen = np.unique(array)
    if len(chosen) != len(array) or chosen[0] < 0 or chosen[-1] >= n:
        raise InputError(f"columns are distinct positions between 0 and {n - 1}, not {array.min()}..{array.max()}")
    return chosen


def _labels(estimator: Any, labels: Any, n: int) -> tuple[np.ndarray, ...]:
    """The labels to fit to, none for an estimator that learns without."""
    if not hasattr(estimator, "classes_"):
        return ()
    if labels is None:
        raise InputError(f"{type(estimator).__name__} learns from labels: give them")
    array = np.asarray(labels)
    if array.shape != (n,):
        raise InputError(f"there are {n} rows, and labels of shape {array.shape}")
    if len(np.unique(array)) < 2:
        raise InputError("all labels are the same: there is nothing to tell apart")
    return (array,)
