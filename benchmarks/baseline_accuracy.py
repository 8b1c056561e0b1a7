"""Test accuracy of every registered network with its default training on the full training split.

python -m benchmarks.baseline_accuracy --seeds 0 1 2 [--models lenet-5 ...] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import pandas as pd
from joblib import Parallel, delayed

from lrp_core.data import load_dataset
from lrp_core.evaluation import mean_interval
from lrp_core.models import ARCHITECTURES, architectures_for, build_model
from lrp_core.training import evaluate, fit, recipe_for

REACH = {"mlp-300-100": 0.979, "mlp-1000": 0.982, "lenet-5": 0.989, "cnn-32-64": 0.992}
"""What the default training has to reach on MNIST, as a mean over seeds."""


def train_one(architecture: str, seed: int, dataset: str) -> dict[str, Any]:
    """One network: its accuracies, and the seconds that its training took on one thread."""
    data = load_dataset(dataset)
    started = time.perf_counter()
    network = fit(build_model(architecture, data, seed=seed), data, seed=seed, device="cpu")
    seconds = time.perf_counter() - started
    accuracies = {
        part: evaluate(network, getattr(data, part), device="cpu").accuracy for part in ("validation", "test")
    }
    return {"model": architecture, "seed": seed, "seconds": seconds, **accuracies}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    of_images = list(architectures_for((1, 28, 28)))
    parser.add_argument("--models", nargs="+", default=of_images, choices=list(ARCHITECTURES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--jobs", type=int, default=-1, help="processes of one thread each; default: one for each core")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    runs = pd.DataFrame(
        Parallel(arguments.jobs, inner_max_num_threads=1)(
            delayed(train_one)(model, seed, arguments.dataset) for model in arguments.models for seed in arguments.seeds
        )
    )
    rows = []
    for model in arguments.models:
        own = runs[runs["model"] == model]
        test = mean_interval(own["test"].to_numpy())
        recipe = recipe_for(model)
        rows.append(
            {
                "model": model,
                "seeds": len(own),
                "epochs": recipe.epochs,
                "batch": recipe.batch_size,
                "validation": own["validation"].mean(),
                "test": test.estimate,
                "low": test.low,
                "high": test.high,
                "reach": REACH.get(model) if arguments.dataset == "mnist" else None,
                "seconds": own["seconds"].median(),
            }
        )
    if arguments.json:
        print(json.dumps({"rows": rows, "runs": runs.to_dict("records")}, indent=2))
    else:
        print(pd.DataFrame(rows).to_string(index=False, float_format=lambda x: f"{x:.4f}" if x < 1 else f"{x:.1f}"))


if __name__ == "__main__":
    main()
