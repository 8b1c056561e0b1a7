"""Bags of words and kernel machines once more, in plain loops: what the equations say and nothing else."""

from __future__ import annotations

import math

import numpy as np


def patches(image: np.ndarray, size: int, stride: int) -> list[tuple[int, int, np.ndarray]]:
    """Row and column of the upper left corner of each patch of an image [c, h, w], and its values."""
    _, height, width = image.shape
    return [
        (y, x, image[:, y : y + size, x : x + size].ravel())
        for y in range(0, height - size + 1, stride)
        for x in range(0, width - size + 1, stride)
    ]


def assignment(patch: np.ndarray, vocabulary: np.ndarray, nearest: int, softness: float) -> dict[int, float]:
    """m_w(l): the weight of each word for one patch."""
    distances = [float(((patch - word) ** 2).sum()) for word in vocabulary]
    order = sorted(range(len(vocabulary)), key=lambda w: distances[w])[:nearest]
    raw = (
        {w: math.exp(-(distances[w] - distances[order[0]]) / (softness or 1e-300)) for w in order}
        if nearest > 1
        else {order[0]: 1.0}
    )
    raw = {w: value for w, value in raw.items() if value >= 1e-12}
    return {w: value / sum(raw.values()) for w, value in raw.items()}


def mapping(image: np.ndarray, bag: object) -> np.ndarray:
    """m_d(l) for each dimension d of the counts and each patch l [counts, patches]."""
    n_words = len(bag.vocabulary_)
    found = patches(image, bag.size, bag.stride)
    _, height, width = image.shape
    m = np.zeros((sum(g * g for g in bag.grids) * n_words, len(found)))
    for place, (y, x, values) in enumerate(found):
        patch = (values - values.mean()) / (values.std() + bag.contrast_) if bag.normalise else values
        weights = assignment(patch, bag.vocabulary_, bag.nearest, bag.softness_)
        first = 0
        for g in bag.grids:
            row = int((y + bag.size / 2) * g / height)
            column = int((x + bag.size / 2) * g / width)
            for word, weight in weights.items():
                m[(first + row * g + column) * n_words + word, place] = weight
            first += g * g
    return m


def words_to_patches(relevance: np.ndarray, m: np.ndarray) -> np.ndarray:
    """R_l of one image from R_d and m_d(l)."""
    n_patches = m.shape[1]
    found = np.zeros(n_patches)
    for d, r in enumerate(relevance):
        mass = m[d].sum()
        for place in range(n_patches):
            found[place] += r * m[d, place] / mass if mass > 0 else r / n_patches
    return found


def patches_to_pixels(relevance: np.ndarray, image: np.ndarray, size: int, stride: int) -> np.ndarray:
    """R_q of one image [c, h, w] from R_l."""
    found = np.zeros(image.shape)
    for r, (y, x, values) in zip(relevance, patches(image, size, stride), strict=True):
        found[:, y : y + size, x : x + size] += r / len(values)
    return found


PARTS = {
    "Intersection": min,
    "AdditiveChi2": lambda a, b: 2 * a * b / (a + b) if a + b else 0.0,
    "Linear": lambda a, b: a * b,
}

DISTANCES = {
    "ExpChi2": lambda a, b: (a - b) ** 2 / (a + b) if a + b else 0.0,
    "Rbf": lambda a, b: (a - b) ** 2,
}


def kernel(kind: object, x: np.ndarray, u: np.ndarray) -> float:
    name = type(kind).__name__
    if name in PARTS:
        return math.fsum(PARTS[name](a, b) for a, b in zip(x, u, strict=True))
    return math.exp(-kind.gamma * math.fsum(DISTANCES[name](a, b) for a, b in zip(x, u, strict=True)))


def output(machine: object, x: np.ndarray, k: int) -> float:
    """f_k(x) of one row."""
    layer = machine.expansion
    terms = [
        c * kernel(machine.kernel, x, u)
        for c, u in zip(layer.coefficients[k].tolist(), layer.vectors.numpy(), strict=True)
    ]
    return math.fsum([float(layer.bias[k]), *terms])


def exact_relevance(machine: object, x: np.ndarray, k: int) -> np.ndarray:
    """R_d = b / V + sum_i c_i k_d(x_d, u_id)."""
    layer, part = machine.expansion, PARTS[type(machine.kernel).__name__]
    return np.array(
        [
            float(layer.bias[k]) / len(x)
            + math.fsum(
                c * part(x[d], u[d]) for c, u in zip(layer.coefficients[k].tolist(), layer.vectors.numpy(), strict=True)
            )
            for d in range(len(x))
        ]
    )
