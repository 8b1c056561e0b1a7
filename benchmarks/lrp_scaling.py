"""How the cost of relevance grows: with the number of images, with the MACs of the network, and in memory.

python -m benchmarks.lrp_scaling [--threads 2] [--plot FILE.png] [--json FILE]

Ranks 1,000 to 60,000 MNIST images with mlp-300-100 in one pass (LRP-0 from the log-odds, mean of R^2), and explains
batches of 500 images with dense networks of growing width. Memory is how much the peak of a fresh process
grows while it ranks, over what it held before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from lrp_core.data import Split, load_dataset
from lrp_core.lrp import Explainer
from lrp_core.models import build_model
from lrp_core.ranking import measure_relevance

COUNTS = (1_000, 2_000, 6_000, 20_000, 60_000)
WIDTHS = (32, 64, 128, 256, 512, 1024, 2048)


def training_images() -> Split:
    """The 60,000 official training images."""
    data = load_dataset("mnist")
    both = (data.train, data.validation)
    return Split(*(torch.cat([getattr(s, part) for s in both]) for part in ("pixels", "labels", "indices")))


def median_seconds(run: Callable[[], Any], rounds: int) -> float:
    run()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def by_images(rounds: int) -> list[dict[str, float]]:
    """Seconds and microseconds an image to rank the first n training images."""
    images = training_images()
    model = build_model("mlp-300-100", shape=(1, 28, 28), n_classes=10)
    rows = []
    for n in COUNTS:
        part = Split(images.pixels[:n], images.labels[:n], images.indices[:n])
        seconds = median_seconds(lambda part=part: measure_relevance(model, part), rounds)
        rows.append({"images": n, "seconds": seconds, "us/image": seconds / n * 1e6, "growth MB": memory_growth(n)})
    return rows


def by_macs(rounds: int) -> list[dict[str, float]]:
    """Microseconds an image to explain dense networks 784-w-w-10, and the MACs of their forward pass."""
    images = load_dataset("mnist").test.take(torch.arange(500)).images.flatten(1)
    rows = []
    for width in WIDTHS:
        model = nn.Sequential(
            *(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
        )
        explainer = Explainer(model, "lrp-0")
        seconds = median_seconds(lambda e=explainer, x=images: e.relevance(x), rounds)
        macs = sum(layer.weight.numel() for layer in model if isinstance(layer, nn.Linear))
        rows.append({"width": width, "MACs": macs, "us/image": seconds / len(images) * 1e6})
    return rows


def memory_growth(n: int) -> float:
    """MB by which the peak of a fresh process grows while it ranks `n` images (Linux only, else NaN)."""
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    command = [sys.executable, "-m", "benchmarks.lrp_scaling", "--memory", str(n)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def report_memory(n: int) -> None:
    """Print by how many MB this process's peak grew while it ranked `n` images."""
    images = training_images()
    model = build_model("mlp-300-100", shape=(1, 28, 28), n_classes=10)
    measure_relevance(model, images.take(torch.arange(1000)))  # libraries and buffers that every run has
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mb()
    measure_relevance(model, Split(images.pixels[:n], images.labels[:n], images.indices[:n]))
    print(peak_mb() - before)


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def draw(images: pd.DataFrame, macs: pd.DataFrame, file: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.semilogx(images["images"], images["us/image"], "o-", color="#b2182b")
    left.set(xlabel="images ranked (mlp-300-100)", ylabel="µs an image", ylim=(0, None), title="flat in the images")
    right.loglog(macs["MACs"], macs["us/image"], "o-", color="#2166ac")
    largest = macs.iloc[-1]
    right.loglog(macs["MACs"], macs["MACs"] * largest["us/image"] / largest["MACs"], ":", color="#888888")
    right.set(xlabel="MACs of the network (dotted: proportional)", ylabel="µs an image", title="linear in the MACs")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plot", metavar="FILE", help="draw both curves there")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory:
        report_memory(arguments.memory)
        return
    images, macs = pd.DataFrame(by_images(arguments.rounds)), pd.DataFrame(by_macs(arguments.rounds))
    for table in (images, macs):
        print(table.to_string(index=False, float_format="{:.2f}".format), end="\n\n")
    if arguments.plot:
        draw(images, macs, arguments.plot)
    if arguments.json:
        figures = {"images": images.to_dict("records"), "macs": macs.to_dict("records")}
        Path(arguments.json).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
