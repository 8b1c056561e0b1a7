"""How each estimator with labels is read: support vector machines and nearest neighbours."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .checks import as_tensor, check_euclidean, check_rbf
from .layers import Contest, Distances, NeighbourVotes, Votes
from .network import Neuralised
from .readers import finite

SAMPLE = 500
"""From how many training rows the stiffness of a contest of neighbours is taken."""


def read_machine(estimator: Any) -> Neuralised:
    """SVC (Bley et al. 2025): between every two classes a contest of their support vectors, then their vote.

    z = 1/gamma (log P - log N), where P and N are the sums of |coefficient| kernel over both sides; the intercept is
    one more term of the sum on the side of its sign.
    """
    check_rbf(estimator)
    n = len(estimator.classes_)
    if n > 2 and estimator.break_ties:
        raise InputError("an SVC of more than two classes is read with its votes: fit it with break_ties=False")
    vectors = as_tensor(estimator.support_vectors_, "support vectors")
    coefficients = as_tensor(estimator.dual_coef_).numpy()
    intercepts = as_tensor(estimator.intercept_, "intercepts").numpy()
    if n == 2:  # scikit-learn turns them, so that the second class is the positive one
        coefficients, intercepts = -coefficients, -intercepts
    gamma, ends = float(estimator._gamma), np.cumsum([0, *estimator.n_support_])
    members, offsets, sizes = [], [], []
    for (i, j), intercept in zip(itertools.combinations(range(n), 2), intercepts, strict=True):
        for one, row, sign in ((i, j - 1, 1), (j, i, -1)):
            of_class = np.arange(ends[one], ends[one + 1])
            weights = sign * coefficients[row, of_class]
            places, weights = of_class[weights > 0], weights[weights > 0]
            if sign * intercept > 0:
                places, weights = np.append(places, len(vectors)), np.append(weights, abs(intercept))
            if not len(places):
                raise InputError(f"the classes {i} and {j} of this SVC are told apart by no support vector")
            members.append(places)
            offsets.append(-np.log(weights) / gamma)
            sizes.append(len(places))
    contest = Contest(len(vectors), sizes, "pairs", gamma).filled(
        torch.from_numpy(np.concatenate(members)), torch.from_numpy(np.concatenate(offsets)).to(vectors)
    )
    return Neuralised(
        [("distances", Distances.around(vectors)), ("contest", contest), ("votes", Votes(n))],
        classes=estimator.classes_.tolist(),
        made_from=type(estimator).__name__,
        measure="decision_function",
        supervised=True,
    )


def read_neighbours(estimator: Any, stiffness: float | None) -> Neuralised:
    """Nearest neighbours (Bley et al. 2025): the rows of a class against those of all others, then the vote.

    A single neighbour makes the minima hard.
    """
    if estimator.outputs_2d_:
        raise InputError("KNeighborsClassifier is read with one label for each row, not several")
    check_euclidean(estimator, estimator.effective_metric_)
    if estimator.weights not in ("uniform", "distance"):
        raise InputError("KNeighborsClassifier is read with weights='uniform' or 'distance', not a function")
    n = len(estimator.classes_)
    if n < 2:
        raise InputError(f"all rows are of the one class {estimator.classes_[0]}: there is no other to tell it from")
    rows = as_tensor(estimator._fit_X, "rows")
    if stiffness is None:
        stiffness = math.inf if estimator.n_neighbors == 1 else _stiffness_of(estimator)
    labels = np.asarray(estimator._y).ravel()
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=n).tolist()
    weighted = estimator.weights == "distance"
    contest = NeighbourVotes(len(rows), sizes, int(estimator.n_neighbors), weighted, finite(stiffness))
    contest.filled(torch.from_numpy(order), rows.new_zeros(len(rows)))
    return Neuralised(
        [("distances", Distances.around(rows)), ("contest", contest)],
        classes=estimator.classes_.tolist(),
        made_from=type(estimator).__name__,
        measure="predict_proba",
        supervised=True,
    )


def _stiffness_of(estimator: Any) -> float:
    """1 / how much farther the last voting neighbour is than the first, in squared distance, on average over rows."""
    rows = estimator._fit_X[:: math.ceil(len(estimator._fit_X) / SAMPLE)]
    least = min(estimator.n_neighbors + 1, estimator.n_samples_fit_)
    squares = np.square(estimator.kneighbors(rows, least)[0].astype(np.float64))
    mean = float(np.mean(squares[:, -1] - squares[:, min(1, least - 1)]))
    return 1 / mean if mean > 0 else math.inf
