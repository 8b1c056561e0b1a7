"""How each estimator without labels is read: clusters, outliers, densities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from .checks import as_tensor, check_euclidean, check_rbf
from .layers import Contest, Distances
from .network import Neuralised


def read_clusters(estimator: Any, stiffness: float | None) -> Neuralised:
    """k-means: each cluster against all others (Kauffmann et al. 2022), z_c = smin of the other distances - D_c."""
    centres = as_tensor(estimator.cluster_centers_, "cluster centres")
    n = len(centres)
    if n < 2:
        raise InputError("a single cluster has no other to be told from: fit at least two")
    if stiffness is None:
        stiffness = _stiffness_of(centres, getattr(estimator, "labels_", np.arange(n)))
    contest = Contest(n, [1] * n, "rivals", finite(stiffness)).filled(torch.arange(n), centres.new_zeros(n))
    return Neuralised(
        [("distances", Distances.around(centres)), ("contest", contest)],
        classes=range(n),
        made_from=type(estimator).__name__,
        measure="transform",
    )


def _stiffness_of(centres: Tensor, labels: np.ndarray) -> float:
    """1 / the squared distance from a centre to the nearest other, on average over the rows that were clustered.

    For rows of a cluster D_k - D_c is that on average, as they lie around its centre: it is the size of a contest.
    """
    apart = Distances.around(centres)(centres).fill_diagonal_(torch.inf).amin(1).double()
    share = torch.as_tensor(np.bincount(labels, minlength=len(centres)) / len(labels))
    mean = float(apart @ share)
    return 1 / mean if mean > 0 else math.inf


def finite(stiffness: float) -> float | None:
    """The stiffness of a layer: None, a hard minimum, for one that is infinite."""
    return None if math.isinf(stiffness) else stiffness


def read_one_class(estimator: Any) -> Neuralised:
    """One-class SVM (Kauffmann, Mueller, Montavon 2020): how much farther a row is from its support than is allowed.

    decision_function(x) = rho (exp(-gamma z(x)) - 1) for the offset rho: the output z is positive exactly for outliers.
    """
    check_rbf(estimator)
    coefficients = as_tensor(estimator.dual_coef_[0]).double()
    rho, gamma = float(estimator.offset_[0]), float(estimator._gamma)
    if rho <= 0:
        raise InputError(f"this OneClassSVM takes no row for an outlier (offset_ = {rho:g}): fit it with a larger nu")
    total = coefficients.sum()
    vectors = as_tensor(estimator.support_vectors_, "support vectors")
    allowed = -math.log(rho / float(total)) / gamma
    layers = _kernels(vectors, coefficients / total, gamma, allowed)
    return Neuralised(
        layers, classes=("outlier",), made_from=type(estimator).__name__, measure="decision_function", scale=rho
    )


def read_density(estimator: Any) -> Neuralised:
    """Kernel density: minus the logarithm of the density, as a squared distance.

    score_samples(x) = -z(x) / (2 h^2) for the bandwidth h.
    """
    if estimator.kernel != "gaussian":
        raise InputError(f"KernelDensity is read with the kernel 'gaussian', not {estimator.kernel!r}")
    check_euclidean(estimator, estimator.metric)
    rows = as_tensor(np.asarray(estimator.tree_.data), "rows")
    weights = estimator.tree_.sample_weight
    shares = torch.ones(len(rows)).double() if weights is None else as_tensor(np.asarray(weights), "weights").double()
    width = 2 * float(estimator.bandwidth_) ** 2
    normaliser = rows.shape[1] * math.log(math.pi * width) / 2
    layers = _kernels(rows, shares / shares.sum(), 1 / width, -normaliser * width)
    return Neuralised(layers, classes=("outlier",), made_from=type(estimator).__name__, measure="score_samples")


def _kernels(prototypes: Tensor, shares: Tensor, gamma: float, allowed: float) -> list[tuple[str, nn.Module]]:
    """-1/gamma log of a weighted mean of Gaussian kernels, less a constant that stands for what is allowed."""
    held = (shares > 0).nonzero().flatten()
    n = len(held)
    members = torch.cat([torch.tensor([n]), torch.arange(n)])
    offsets = torch.cat([shares.new_tensor([allowed]), -shares[held].log() / gamma]).to(prototypes.dtype)
    contest = Contest(n, [1, n], "pairs", gamma).filled(members, offsets)
    return [("distances", Distances.around(prototypes[held])), ("contest", contest)]
