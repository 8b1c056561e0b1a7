"""Bags of words over kernels on MNIST: accuracy on fewer words, and what the relevance of words costs.

python -m benchmarks.bags_of_words [--train 3000] [--seeds 0 1 2] [--keeps 392 196 98 49] [--json]

For each seed a bag of words (8 x 8 patches, 196 words in each of 4 quadrants) learns from `--train` images of the
training split, and so do a machine with the histogram-intersection kernel, and every ranking. "refit" is a machine
fitted on the kept columns, "masked" the full one without the kernel parts of the others. Accuracy is that on the test
split. C, normalisation, soft assignment and the start of relevance were chosen on 2,000 images of the validation
split, with seed 0. Then, for each kernel, one machine: seconds for 1,000 validation images on one thread, and how much
of each output its relevance adds up to.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lrp_core.data import Dataset, Split, load_dataset
from lrp_core.evaluation import mean_interval
from lrp_core.lrp import Explainer
from lrp_core.neuralised import (
    AdditiveChi2,
    BagOfWords,
    ExpChi2,
    Intersection,
    KernelMachine,
    Linear,
    Rbf,
    fit_machine,
)
from lrp_core.ranking import rank
from lrp_core.training import one_thread

BAGS: dict[str, dict[str, Any]] = {
    "plain, hard": {"normalise": False},
    "normalised, soft": {"nearest": 4},
}
"""The options of the bags of words: the first as in Bach et al. 2015, the second the best on validation images."""

C = 10.0

CRITERIA = ("lrp-0", "variance", "frequency", "anova-f", "extra-trees", "random")
"""Frequency is how often a word is counted, the special control for bags of words."""

AGAIN = ("lrp-0", "extra-trees")
"""Criteria that also rank step by step: what is left after each number of words is fitted and ranked again."""

KERNELS = (Intersection(), AdditiveChi2(), Linear(), ExpChi2(1.0), Rbf(1.0))


def accuracy(machine: KernelMachine, counts: Tensor, labels: Tensor) -> float:
    return float((machine(counts).argmax(1) == labels).double().mean())


def order_by(criterion: str, machine: KernelMachine, counts: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Positions of words from the most to the least important, by training images alone."""
    if criterion == "frequency":
        return counts.mean(0).argsort(descending=True)
    return rank(machine, Split(counts, labels), criterion=criterion, seed=seed).order


def run_one(data: Dataset, bag_name: str, train: int, keeps: list[int], seed: int) -> list[dict[str, Any]]:
    """One bag, one seed: accuracy on all words, and on fewer by every criterion."""
    part = data.train.sample(train, seed=seed)
    bag = BagOfWords(random_state=seed, **BAGS[bag_name]).fit(part.raw.numpy())
    counts, test = (torch.from_numpy(bag.transform(one.raw.numpy())) for one in (part, data.test))
    full = fit_machine(counts, part.labels.numpy(), Intersection(), c=C)
    whole = accuracy(full, test, data.test.labels)
    common = {"bag": bag_name, "seed": seed}
    rows = [{**common, "criterion": "all", "keep": counts.shape[1], "refit": whole, "masked": whole}]
    for criterion, again in [*((one, False) for one in CRITERIA), *((one, True) for one in AGAIN)]:
        columns, machine = torch.arange(counts.shape[1]), full
        for i, keep in enumerate(sorted(keeps, reverse=True)):
            if again or i == 0:
                columns = columns[order_by(criterion, machine, counts[:, columns], part.labels, seed)]
            columns = columns[:keep]
            machine = fit_machine(counts[:, columns], part.labels.numpy(), Intersection(), c=C)
            row = {
                **common,
                "criterion": f"{criterion}, step by step" if again else criterion,
                "keep": keep,
                "refit": accuracy(machine, test[:, columns], data.test.labels),
                "masked": accuracy(full.keep(columns), test[:, columns], data.test.labels),
            }
            print(json.dumps(row), file=sys.stderr, flush=True)
            rows.append(row)
    return rows


def run_kernels(data: Dataset, train: int) -> list[dict[str, Any]]:
    """For each kernel accuracy on validation images, seconds for relevance of 1,000, and what it adds up to."""
    part, few = data.train.sample(train, seed=0), data.validation.sample(1000, seed=0)
    bag = BagOfWords(random_state=0).fit(part.raw.numpy())
    counts, asked = (torch.from_numpy(bag.transform(one.raw.numpy())) for one in (part, few))
    encoding = bag.encode(few.raw.numpy())
    rows = []
    for kernel in KERNELS:
        machine = fit_machine(counts, part.labels.numpy(), kernel, c=C)
        explainer = Explainer(machine, "lrp-0")
        started = time.perf_counter()
        explanation = explainer.explain(asked)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        pixels = encoding.to_pixels(explanation.relevance)
        f = explanation.logits.max(1).values
        share = (explanation.relevance.sum(1) / f).numpy()
        rows.append(
            {
                "kernel": type(kernel).__name__,
                "validation accuracy": accuracy(machine, asked, few.labels),
                "vectors": len(machine.expansion.vectors),
                "seconds to words": seconds,
                "seconds to pixels": time.perf_counter() - started,
                "median sum R / f": float(np.median(share)),
                "quartiles": [float(q) for q in np.quantile(share, (0.25, 0.75))],
                "largest |f - sum R|": float((f - explanation.relevance.sum(1)).abs().max()),
                "words to pixels": float(abs(pixels.sum((1, 2, 3)) - explanation.relevance.sum(1).numpy()).max()),
            }
        )
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, and half the width of their 95 % intervals."""
    rows = []
    for (bag, criterion, keep), own in runs.groupby(["bag", "criterion", "keep"], sort=False):
        row: dict[str, Any] = {"bag": bag, "criterion": criterion, "keep": keep, "seeds": len(own)}
        for way in ("refit", "masked"):
            values = own[way].to_numpy()
            row[way] = values.mean()
            row[f"{way} +-"] = mean_interval(values).high - values.mean() if len(values) > 1 else None
        rows.append(row)
    return pd.DataFrame(rows)


@one_thread()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=3000, help="images of the training split that are learnt from")
    parser.add_argument("--keeps", nargs="+", type=int, default=[392, 196, 98, 49])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--bags", nargs="+", default=list(BAGS), choices=list(BAGS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    data = load_dataset("mnist")
    kernels = run_kernels(data, arguments.train)
    runs = pd.DataFrame(
        [
            row
            for seed in arguments.seeds
            for bag in arguments.bags
            for row in run_one(data, bag, arguments.train, arguments.keeps, seed)
        ]
    )
    summary = summarise(runs)
    if arguments.json:
        rows = json.loads(summary.to_json(orient="records"))
        print(json.dumps({"kernels": kernels, "rows": rows, "runs": runs.to_dict("records")}, indent=2))
    else:
        print(pd.DataFrame(kernels).to_string(index=False))
        print(summary.to_string(index=False, float_format=lambda v: f"{100 * v:.2f}"))


if __name__ == "__main__":
    main()
