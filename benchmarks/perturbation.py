"""Perturbation curves side by side with Quantus' PixelFlipping, and on the whole test set.

python -m benchmarks.perturbation [--models lenet-5 ...] [--images 128] [--repeats 3] [--json FILE]

Same network, images, attributions (LRP-0), steps and black fill; both walk most relevant first and least relevant
first. Seconds are medians over the repeats.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lrp_core.data import Dataset, load_dataset
from lrp_core.evaluation import ORDERS, Removal, attribute_images, perturbation_curves
from lrp_core.models import Network
from lrp_core.storage import write_atomic
from lrp_core.study import plan, preset
from lrp_core.study.stages import base_network

TOLERANCE = 1e-4
"""How far two curves may be apart and still count as the same: single precision through a few layers."""


def trained(architecture: str, data: Dataset) -> Network:
    """The network of the full study, from the cache if it was trained before."""
    return base_network(plan(preset("full", data, architecture=architecture, seeds=(0,)), data)[0].base)


def timed(compute: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """What `compute` gives, and the median of its seconds."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        outcome = compute()
        seconds.append(time.perf_counter() - started)
    return outcome, statistics.median(seconds)


def with_quantus(network: Network, images: Tensor, labels: Tensor, relevance: Tensor, pixels: int) -> list[np.ndarray]:
    """Probability [n, steps] after every step of so many `pixels`, most and least relevant first."""
    from quantus import PixelFlipping

    metric = PixelFlipping(
        features_in_step=pixels,
        normalise=False,
        perturb_baseline="black",
        disable_warnings=True,
        default_plot_func=None,
    )
    return [
        np.array(
            metric(
                model=network,
                x_batch=images.numpy(),
                y_batch=labels.numpy(),
                a_batch=scores.numpy(),
                channel_first=True,
                softmax=True,
                device="cpu",
            )
        )
        for scores in (relevance, -relevance)
    ]


def with_this(network: Network, images: Tensor, labels: Tensor, relevance: Tensor, n_steps: int) -> list[np.ndarray]:
    """The same here."""
    curves = perturbation_curves(network, images, labels, {"lrp-0": relevance}, Removal(), n_steps, target=labels)
    return [curves.find("lrp-0", order).probability[:, 1:].numpy() for order in ORDERS]


def side_by_side(network: Network, data: Dataset, n_images: int, pixels: int, repeats: int) -> dict[str, Any]:
    """One row of the table: how far the curves are apart, and how long each took."""
    part = data.test.sample(n_images)
    images, labels = part.images, part.labels
    relevance = attribute_images(network, images, "lrp-0", target=labels)
    n_steps = data.n_inputs // pixels
    few = images[:4], labels[:4], relevance[:4]
    with_this(network, *few, n_steps)  # first calls import and allocate
    with_quantus(network, *few, data.n_inputs)
    ours, seconds = timed(lambda: with_this(network, images, labels, relevance, n_steps), repeats)
    theirs, quantus_seconds = timed(lambda: with_quantus(network, images, labels, relevance, pixels), repeats)
    difference = max(float(abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))
    return {
        "model": network.spec.architecture,
        "images": n_images,
        "pixels a step": pixels,
        "steps": n_steps,
        "largest difference": difference,
        "same curve": difference <= TOLERANCE,
        "seconds": seconds,
        "Quantus seconds": quantus_seconds,
        "times faster": quantus_seconds / seconds,
    }


def whole_test_set(network: Network, data: Dataset, n_steps: int, repeats: int) -> dict[str, Any]:
    """Both orders on every test image: seconds for the relevance and for the curves."""
    images, labels = data.test.images, data.test.labels
    relevance, before = timed(lambda: attribute_images(network, images, "lrp-0"), repeats)
    curves, seconds = timed(
        lambda: perturbation_curves(network, images, labels, {"lrp-0": relevance}, Removal(), n_steps), repeats
    )
    return {
        "model": network.spec.architecture,
        "images": len(images),
        "steps": n_steps,
        "orders": len(ORDERS),
        "relevance seconds": before,
        "curve seconds": seconds,
        "area between": curves.area_between("lrp-0").estimate,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["mlp-300-100"])
    parser.add_argument("--images", type=int, default=128, help="images for the comparison with Quantus")
    parser.add_argument(
        "--pixels", type=int, nargs="+", default=[1, 49], help="pixels a step; Quantus' default is 1; divisors of 784"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - prints it")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = load_dataset("mnist")
    if any(pixels < 1 or data.n_inputs % pixels for pixels in arguments.pixels):
        sys.exit(f"--pixels must divide {data.n_inputs}, so that both take the same steps")
    networks = [trained(name, data) for name in arguments.models]
    whole = [whole_test_set(network, data, 20, arguments.repeats) for network in networks]
    compared = [
        side_by_side(network, data, arguments.images, pixels, arguments.repeats)
        for network in networks
        for pixels in arguments.pixels
    ]
    values = {
        "threads": arguments.threads,
        "versions": {name: version(name) for name in ("torch", "numpy", "quantus")},
        "whole test set": whole,
        "beside Quantus": compared,
    }
    if arguments.json == "-":
        print(json.dumps(values, indent=2))
        return
    print(f"{arguments.threads} threads, " + ", ".join(f"{name} {v}" for name, v in values["versions"].items()))
    for table in (whole, compared):
        print(pd.DataFrame(table).to_string(index=False, float_format="{:.3g}".format), end="\n\n")
    if arguments.json:
        write_atomic(Path(arguments.json), json.dumps(values, indent=2).encode())


if __name__ == "__main__":
    main()
