"""Small fitted estimators of every kind, and the dense maths that their networks are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.svm import SVC, OneClassSVM
from torch import Tensor

FEATURES = 7

MAKERS: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "k-means": lambda x, y: KMeans(5, n_init=1, random_state=0).fit(x),
    "k-means of two": lambda x, y: KMeans(2, n_init=1, random_state=0).fit(x),
    "mini-batches": lambda x, y: MiniBatchKMeans(4, n_init=1, random_state=0).fit(x),
    "mini-batches without labels": lambda x, y: MiniBatchKMeans(4, n_init=1, random_state=0, compute_labels=False).fit(
        x
    ),
    "one-class": lambda x, y: OneClassSVM(nu=0.3).fit(x),
    "one-class, narrow": lambda x, y: OneClassSVM(nu=0.05, gamma=20.0).fit(x),
    "density": lambda x, y: KernelDensity(bandwidth=0.2, leaf_size=len(x)).fit(x),
    "density, weighted": lambda x, y: KernelDensity(bandwidth="scott", leaf_size=len(x)).fit(
        x, sample_weight=np.arange(1, len(x) + 1.0)
    ),
    "svc of two": lambda x, y: SVC().fit(x, y % 2),
    "svc of two, weighted": lambda x, y: SVC(C=0.3, class_weight={0: 1, 1: 5}, gamma="auto").fit(x, y % 2),
    "svc of four": lambda x, y: SVC(C=3).fit(x, y),
    "svc of four, narrow": lambda x, y: SVC(C=100, gamma=30.0).fit(x, y),
    "neighbour": lambda x, y: KNeighborsClassifier(1).fit(x, y),
    "neighbours": lambda x, y: KNeighborsClassifier(5).fit(x, y),
    "neighbours, weighted": lambda x, y: KNeighborsClassifier(6, weights="distance").fit(x, y),
    "all rows as neighbours": lambda x, y: KNeighborsClassifier(len(x)).fit(x, y),
}

WITHOUT_LABELS = [name for name in MAKERS if name.startswith(("k-", "mini", "one", "dens"))]
ONE_OUTPUT = [name for name in MAKERS if name.startswith(("one", "dens"))]


def rows(n: int = 120, seed: int = 0, *, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the unit cube, or around it, and labels of four classes that they have something to do with."""
    random = np.random.default_rng(seed)
    x = 0.5 + spread * (random.random((n, FEATURES)) - 0.5)
    return x, ((x[:, 0] > 0.5) + 2 * (x[:, 1] + 0.3 * random.normal(size=n) > 0.5)).astype(np.int64)


def fitted(name: str, seed: int = 0) -> Any:
    return MAKERS[name](*rows(seed=seed))


def asked(n: int = 200, seed: int = 1) -> Tensor:
    """Rows to ask about: near those of the fit, around them, and far away."""
    near, around, far = (rows(n, seed + i, spread=s)[0] for i, s in enumerate((1.0, 2.0, 30.0)))
    return torch.from_numpy(np.concatenate([near, around, far[: n // 4]]))


def predicted(net: Any, x: Tensor) -> np.ndarray:
    """What the outputs of a network say, as the estimator's `predict` does."""
    z = net(x)
    if z.shape[1] == 1:
        return np.where(z[:, 0].numpy() > 0, -1, 1)
    return np.array(net.classes)[z.argmax(1).numpy()]


def dense_distances(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.square(x[:, None] - u[None]).sum(-1)


def dense_smin(h: np.ndarray, b: float | None) -> np.ndarray:
    """The soft minimum over the last axis."""
    return h.min(-1) if b is None else -logsumexp(-b * h, axis=-1) / b


def dense_rivals(h: np.ndarray, b: float | None) -> np.ndarray:
    """Each column against the soft mean of all others."""
    k = h.shape[1]
    others = np.stack([dense_smin(np.delete(h, g, 1), b) for g in range(k)], 1)
    return others + (0 if b is None else np.log(k - 1) / b) - h
