"""What cannot be read is refused in one sentence that says what would be right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.cluster import DBSCAN, KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.svm import SVC, SVR, OneClassSVM

import lrp_core as lc
from lrp_core.errors import InputError
from lrp_core.neuralised.layers import Distances

from ..support import check_sentence
from .estimators import MAKERS, asked, fitted, rows

X, Y = rows()


def spoilt(name: str, attribute: str) -> Any:
    """A fitted estimator with NaN in what it has learnt."""
    estimator = fitted(name)
    getattr(estimator, attribute)[0] = np.nan
    return estimator


REFUSED = {
    "of another kind": (lambda: LogisticRegression().fit(X, Y), "LogisticRegression cannot be read.*KMeans.*SVC"),
    "clusters without centres": (lambda: DBSCAN().fit(X), "DBSCAN cannot be read"),
    "a regression": (lambda: SVR().fit(X, Y), "SVR cannot be read"),
    "nothing": (lambda: None, "NoneType cannot be read"),
    "a class": (lambda: KMeans, "KMeans cannot be read as a network: give a fitted KMeans"),
    "a network": (lambda: torch.nn.Linear(2, 2), "Linear cannot be read"),
    "k-means that is not fitted": (lambda: KMeans(3), "KMeans is not fitted"),
    "a machine that is not fitted": (SVC, "SVC is not fitted"),
    "a density that is not fitted": (KernelDensity, "KernelDensity is not fitted"),
    "one cluster": (lambda: KMeans(1).fit(X), "single cluster"),
    "a linear machine": (lambda: SVC(kernel="linear").fit(X, Y), "'rbf', not 'linear'"),
    "a polynomial one-class machine": (lambda: OneClassSVM(kernel="poly").fit(X), "'rbf', not 'poly'"),
    "a precomputed kernel": (lambda: SVC(kernel="precomputed").fit(X @ X.T, Y), "'rbf', not 'precomputed'"),
    "a kernel of one's own": (lambda: SVC(kernel=lambda a, b: a @ b.T).fit(X, Y), "'rbf', not a function of your own"),
    "a machine of sparse rows": (lambda: SVC().fit(csr_matrix(X), Y), "sparse rows"),
    "a one-class machine of sparse rows": (lambda: OneClassSVM().fit(csr_matrix(X)), "sparse rows"),
    "neighbours of sparse rows": (lambda: KNeighborsClassifier().fit(csr_matrix(X), Y), "sparse"),
    "ties broken otherwise": (lambda: SVC(break_ties=True).fit(X, Y), "break_ties=False"),
    "a density of another kernel": (lambda: KernelDensity(kernel="tophat").fit(X), "'gaussian', not 'tophat'"),
    "a density of another metric": (lambda: KernelDensity(metric="manhattan").fit(X), "'euclidean', not 'manhattan'"),
    "neighbours of another metric": (lambda: KNeighborsClassifier(p=1).fit(X, Y), "'euclidean', not 'manhattan'"),
    "neighbours of another power": (lambda: KNeighborsClassifier(p=3).fit(X, Y), "'euclidean', not 'minkowski'"),
    "neighbours with weights of one's own": (
        lambda: KNeighborsClassifier(weights=lambda d: d).fit(X, Y),
        "'uniform' or 'distance'",
    ),
    "neighbours with several labels": (lambda: KNeighborsClassifier().fit(X, np.stack([Y, Y], 1)), "one label"),
    "neighbours of one class": (lambda: KNeighborsClassifier().fit(X, 0 * Y), "one class 0"),
    "centres of NaN": (lambda: spoilt("k-means", "cluster_centers_"), "cluster centres .* NaN"),
    "vectors of NaN": (lambda: spoilt("svc of four", "support_vectors_"), "support vectors .* NaN"),
    "outliers' vectors of NaN": (lambda: spoilt("one-class", "support_vectors_"), "support vectors .* NaN"),
    "neighbours of NaN": (lambda: spoilt("neighbours", "_fit_X"), "rows .* NaN"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_in_one_sentence(what: str) -> None:
    make, said = REFUSED[what]
    with pytest.raises(InputError, match=said) as caught:
        lc.neuralise(make())
    check_sentence(caught.value)


@pytest.mark.parametrize("stiffness", [0, -1.0, float("nan"), "hard"])
@pytest.mark.usefixtures("unchecked")
def test_a_stiffness_that_is_none(stiffness: Any) -> None:
    with pytest.raises(InputError, match="number above 0") as caught:
        lc.neuralise(fitted("k-means"), stiffness=stiffness)
    check_sentence(caught.value)


@pytest.mark.parametrize("name", ["one-class", "density", "svc of two"])
def test_a_stiffness_where_the_kernel_has_one(name: str) -> None:
    with pytest.raises(InputError, match="that of its kernel") as caught:
        lc.neuralise(fitted(name), stiffness=1.0)
    check_sentence(caught.value)


@pytest.mark.parametrize("name", MAKERS)
def test_inputs_with_nan_or_of_another_size(name: str) -> None:
    net, x = lc.neuralise(fitted(name)), asked(5)
    holed = x.clone()
    holed[1, 2] = torch.nan
    for given, said in ((holed, "NaN"), (x[:, :3], "fitted on 7 inputs")):
        with pytest.raises(InputError, match=said) as caught:
            lc.attribute(net, given)
        check_sentence(caught.value)


def test_a_one_class_machine_that_takes_nothing_for_an_outlier() -> None:
    estimator = fitted("one-class")
    estimator.offset_ = np.array([-0.5])
    with pytest.raises(InputError, match="larger nu") as caught:
        lc.neuralise(estimator)
    check_sentence(caught.value)


def test_prototypes_are_not_trained() -> None:
    smaller = Distances.around(torch.rand(3, 4)).take_inputs(torch.tensor([1]), torch.zeros(4))
    for layer in (lc.neuralise(fitted("svc of four")), smaller):
        assert not any(p.requires_grad for p in layer.parameters())
