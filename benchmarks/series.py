"""How the networks do on series: a burst of one of four frequencies, anywhere in the middle, under noise.

python -m benchmarks.series [--models cnn-1d transformer-1d] [--rows 400 2000] [--seeds 0 1 2] [--jobs 2]

Of three channels the first has the burst, the second half of it, and the third noise alone. Accuracy is that of 1,000
validation series: recipes were chosen by it. Seconds are those of one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed

from lrp_core.data import Split
from lrp_core.evaluation import mean_interval, measure_cost
from lrp_core.models import architectures_for, build_model
from lrp_core.training import evaluate, fit, recipe_for

FREQUENCIES = (0.06, 0.10, 0.16, 0.25)
"""In cycles for each step, one for each class."""


def bursts(n: int, seed: int, length: int = 100) -> Split:
    """Series [n, 3, length] and their classes, which take turns."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % len(FREQUENCIES)
    x = torch.randn(n, 3, length, generator=random)
    centre = length * (0.25 + 0.5 * torch.rand(n, 1, generator=random))
    phase = 2 * math.pi * torch.rand(n, 1, generator=random)
    steps = torch.arange(length)
    angle = 2 * math.pi * torch.tensor(FREQUENCIES)[labels, None] * steps + phase
    envelope = (-(((steps - centre) / (0.06 * length)) ** 2) / 2).exp()
    x[:, 0] += 2 * envelope * angle.sin()
    x[:, 1] += envelope * angle.cos()
    return Split(x, labels, torch.arange(n))


def train_one(architecture: str, rows: int, seed: int) -> dict[str, Any]:
    train, validation = bursts(rows, 1), bursts(1000, 2)
    network = build_model(architecture, shape=train.shape, n_classes=len(FREQUENCIES), seed=seed)
    started = time.perf_counter()
    trained = fit(network, train, recipe=recipe_for(architecture), seed=seed, device="cpu")
    seconds = time.perf_counter() - started
    accuracy = evaluate(trained, validation, device="cpu").accuracy
    macs = measure_cost(network).macs
    return {"model": architecture, "rows": rows, "accuracy": accuracy, "seconds": seconds, "macs": macs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(architectures_for((3, 100))))
    parser.add_argument("--rows", nargs="+", type=int, default=[400, 2000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=-1, help="processes of one thread each; default: one for each core")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cells = [(model, rows, seed) for model in arguments.models for rows in arguments.rows for seed in arguments.seeds]
    runs = pd.DataFrame(Parallel(arguments.jobs, inner_max_num_threads=1)(delayed(train_one)(*cell) for cell in cells))
    table = []
    for (model, rows), own in runs.groupby(["model", "rows"], sort=False):
        mean = mean_interval(own["accuracy"].to_numpy())
        row = {"model": model, "rows": rows, "accuracy": mean.estimate, "low": mean.low, "high": mean.high}
        table.append(row | {"seconds": own["seconds"].median(), "macs": int(own["macs"].iloc[0])})
    if arguments.json:
        print(json.dumps({"rows": table, "runs": runs.to_dict("records")}, indent=2))
    else:
        print(pd.DataFrame(table).to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
