"""How often intervals over splits of the same rows hold the true value: python -m benchmarks.resampling [--json]

Each repetition makes new rows of two Gaussian classes and splits them several times as `Dataset.resplit` does. A
nearest-centroid classifier learns from the training rows, once from all inputs and once from those that differ most
between the classes, and is tested on the test rows. What is estimated is the accuracy of such a classifier, and the
difference between the two, over all data sets of this size: the mean over all repetitions, on fresh rows.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from lrp_core.data.drawing import draw_parts
from lrp_core.evaluation import Interval, mean_interval, resampled_interval

FRESH = 500
"""New rows in each repetition, on which the true accuracy of its classifiers is measured."""


def make(n: int, inputs: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two classes in turn; one input in five tells a little about the class."""
    labels = np.arange(n) % 2
    values = random.standard_normal((n, inputs))
    values[:, ::5] += 0.6 * labels[:, None]
    return values, labels


def answers(train: tuple[np.ndarray, np.ndarray], values: np.ndarray, keep: int) -> np.ndarray:
    """The class of the nearest centroid for each row, by the `keep` inputs whose class means differ most."""
    centroids = np.stack([train[0][train[1] == code].mean(0) for code in (0, 1)])
    best = np.argsort(-np.abs(centroids[0] - centroids[1]), kind="stable")[:keep]
    distances = ((values[:, None, best] - centroids[None, :, best]) ** 2).sum(2)
    return np.asarray(distances.argmin(1))


def coverage(rows: int, inputs: int, splits: int, repetitions: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Share of the 95 % intervals that hold the true value, and their mean half-width: plain, and corrected."""
    random = np.random.default_rng(seed)
    keeps = (inputs, max(1, inputs // 5))
    measured, true = np.empty((repetitions, splits, 2)), np.empty((repetitions, splits, 2))
    sizes = (0, 0)
    for repetition in range(repetitions):
        (values, labels), fresh = make(rows, inputs, random), make(FRESH, inputs, random)
        for split in range(splits):
            places = draw_parts("rows", labels, np.arange(rows), ("a", "b"), ("test", "validation"), split)
            train, test = ((values[places[which]], labels[places[which]]) for which in ("train", "test"))
            sizes = (len(test[1]), len(train[1]))
            for which, keep in enumerate(keeps):
                measured[repetition, split, which] = (answers(train, test[0], keep) == test[1]).mean()
                true[repetition, split, which] = (answers(train, fresh[0], keep) == fresh[1]).mean()
    found = {}
    for name, take in (("accuracy", lambda two: two[..., 0]), ("difference", lambda two: two[..., 1] - two[..., 0])):
        target = float(take(true).mean())
        for kind, intervals in (
            ("plain", [mean_interval(one) for one in take(measured)]),
            ("corrected", [resampled_interval(one, *sizes) for one in take(measured)]),
        ):
            found[f"{name}, {kind}"] = _summary(intervals, target)
    return found


def _summary(intervals: list[Interval], target: float) -> dict[str, float]:
    held = [one.low <= target <= one.high for one in intervals]
    return {
        "true": target,
        "coverage": float(np.mean(held)),
        "half width": float(np.mean([(one.high - one.low) / 2 for one in intervals])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="How often intervals over splits hold the true value.")
    parser.add_argument("--rows", type=int, default=83)
    parser.add_argument("--inputs", type=int, default=50)
    parser.add_argument("--splits", type=int, nargs="+", default=[5, 10, 30])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    found = {n: coverage(arguments.rows, arguments.inputs, n, arguments.repetitions) for n in arguments.splits}
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for n, table in found.items():
        for name, row in table.items():
            print(
                f"{n:>3} splits  {name:<22} holds it in {row['coverage']:.1%}, +- {100 * row['half width']:.1f} points "
                f"around {row['true']:.3f}"
            )


if __name__ == "__main__":
    main()
