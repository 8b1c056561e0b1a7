"""From an estimator of scikit-learn to a network: which are read, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InputError
from .classifiers import read_machine, read_neighbours
from .network import Neuralised
from .readers import read_clusters, read_density, read_one_class

STIFFENED: dict[str, Callable[[Any, float | None], Neuralised]] = {
    "KMeans": read_clusters,
    "MiniBatchKMeans": read_clusters,
    "KNeighborsClassifier": read_neighbours,
}
"""Estimators whose soft minima may be of any stiffness."""

KERNELS: dict[str, Callable[[Any], Neuralised]] = {
    "OneClassSVM": read_one_class,
    "KernelDensity": read_density,
    "SVC": read_machine,
}
"""Estimators whose stiffness is that of their kernel."""


def neuralise(estimator: Any, *, stiffness: float | None = None) -> Neuralised:
    """A fitted estimator of scikit-learn as a network with the same answers, whose relevance can be asked for.

    It reads KMeans, MiniBatchKMeans, KNeighborsClassifier, OneClassSVM, KernelDensity and SVC; support vector machines
    with the rbf kernel. Its outputs [n, outputs] are contests in squared distances: `argmax` is the estimator's
    `predict` (a place in `classes`); of the one output of OneClassSVM and KernelDensity more is more of an outlier, and
    it is positive where `OneClassSVM.predict` is -1. `decide` gives the estimator's own numbers. Inputs of any shape
    are flattened. The estimator's numbers are copied, in its own precision.

    `stiffness` is that of the soft minima of k-means and of nearest neighbours, `math.inf` for hard ones; by default it
    is 1 / the mean size of a contest, and hard for a single neighbour. Raises `InputError` for an estimator that is not
    fitted or that cannot be read.

    >>> import torch
    >>> import lrp_core as lc
    >>> from sklearn.cluster import KMeans
    >>> x = torch.rand(60, 20, dtype=torch.float64)
    >>> clusters = KMeans(3, n_init=1, random_state=0).fit(x.numpy())
    >>> net = lc.neuralise(clusters)
    >>> bool((net(x).argmax(1).numpy() == clusters.predict(x.numpy())).all())
    True
    >>> lc.attribute(net, x).shape
    torch.Size([60, 20])
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    name = _name_of(estimator)
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise InputError(f"this {name} is not fitted: call fit(rows) first") from error
    if name in KERNELS:
        if stiffness is not None:
            raise InputError(f"the stiffness of {name} is that of its kernel: leave stiffness out")
        return KERNELS[name](estimator)
    if stiffness is not None and not (isinstance(stiffness, int | float) and stiffness > 0):
        raise InputError(f"stiffness is a number above 0, math.inf for hard minima, not {stiffness!r}")
    return STIFFENED[name](estimator, None if stiffness is None else float(stiffness))


def _name_of(estimator: Any) -> str:
    """The class that an estimator is read as: its own, or one that it is derived from."""
    for base in type(estimator).__mro__:
        if base.__module__.startswith("sklearn.") and base.__name__ in (*STIFFENED, *KERNELS):
            return base.__name__
    said = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
    raise InputError(f"{said} cannot be read as a network: give a fitted {', '.join(STIFFENED)}, {', '.join(KERNELS)}")
