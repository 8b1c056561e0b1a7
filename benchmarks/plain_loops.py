"""The loops that one would write for a study of many small networks, and what they take.

(a) goes over tensors in memory, (b) over torchvision's MNIST through a DataLoader; `benchmarks.sweep` says more.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from lrp_core.data import Split, load_dataset
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, build_pruned
from lrp_core.training import Recipe
from lrp_core.training.recipe import WARM_UP

from .processes import Seconds

ARCHITECTURE = "mlp-300-100"


@dataclass(frozen=True)
class Cell:
    """One network that a plain loop trains for `epochs` of the recipe's."""

    keep: int
    seed: int
    epochs: int
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Timing:
    """What a plain loop took for the epochs of a cell and for evaluating it; its accuracy if trained in full."""

    keep: int
    seed: int
    epochs: int
    training: Seconds
    evaluation: Seconds
    test: float | None

    def in_full(self, epochs: int, kind: str) -> float:
        """Seconds of a kind, "clock" or "worked", for so many epochs and the evaluation."""
        return float(getattr(self.training, kind) * epochs / self.epochs + getattr(self.evaluation, kind))


def train_plainly(network: nn.Module, batches: Callable[[], Any], n_batches: int, recipe: Recipe, epochs: int) -> None:
    """The loop of a tutorial: `batches()` are those of one epoch."""
    optimizer = torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, total_steps=recipe.epochs * n_batches, pct_start=WARM_UP
    )
    for _ in range(epochs):
        for x, y in batches():
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
            schedule.step()


def time_cell(cell: Cell, recipe: Recipe, parts: dict[str, Callable[[], Any]], n_batches: int) -> Timing:
    """Train one cell and evaluate it; `parts` give the batches of an epoch, and of the two splits to evaluate on."""
    data = load_dataset("mnist")
    mask = PixelMask.from_indices(cell.columns, data.shape)
    network = build_pruned(build_model(ARCHITECTURE, data).spec, mask, seed=cell.seed)
    torch.manual_seed(cell.seed)
    started = Seconds.now()
    train_plainly(network, parts["train"], n_batches, recipe, cell.epochs)
    trained = Seconds.now()
    accuracies = {}
    network.eval()
    with torch.no_grad():
        for part in ("validation", "test"):
            hits = torch.cat([network(x).argmax(1) == y for x, y in parts[part]()])
            accuracies[part] = hits.double().mean().item()
    finished = Seconds.now()
    in_full = cell.epochs == recipe.epochs
    test = accuracies["test"] if in_full else None
    return Timing(cell.keep, cell.seed, cell.epochs, trained.since(started), finished.since(trained), test)


def loop_over_tensors(cells: list[Cell], recipe: Recipe, root: Path) -> list[Timing]:
    """(a); it needs no `root`."""
    data = load_dataset("mnist")
    timings = []
    for cell in cells:
        columns = torch.tensor(cell.columns)
        tensors = {part: _tensors(getattr(data, part), columns) for part in ("train", "validation", "test")}

        def shuffled(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
            order = torch.randperm(len(y))
            for start in range(0, len(y), recipe.batch_size):
                rows = order[start : start + recipe.batch_size]
                yield x[rows], y[rows]

        parts: dict[str, Callable[[], Any]] = {
            "train": lambda tensors=tensors: shuffled(*tensors["train"]),
            "validation": lambda tensors=tensors: [tensors["validation"]],
            "test": lambda tensors=tensors: [tensors["test"]],
        }
        timings.append(time_cell(cell, recipe, parts, -(-len(data.train) // recipe.batch_size)))
    return timings


def _tensors(split: Split, columns: Tensor) -> tuple[Tensor, Tensor]:
    return split.images.flatten(1)[:, columns], split.labels


def loop_over_loader(cells: list[Cell], recipe: Recipe, root: Path) -> list[Timing]:
    """(b); `root` is torchvision's."""
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    data = load_dataset("mnist")
    official = {train: MNIST(str(root), train=train, transform=ToTensor()) for train in (True, False)}
    loaders = {
        part: DataLoader(
            Subset(official[part != "test"], getattr(data, part).indices.tolist()),
            batch_size=recipe.batch_size,
            shuffle=part == "train",
            num_workers=2,
        )
        for part in ("train", "validation", "test")
    }
    timings = []
    for cell in cells:
        columns = torch.tensor(cell.columns)

        def kept(part: str, columns: Tensor = columns) -> Iterator[tuple[Tensor, Tensor]]:
            for images, labels in loaders[part]:
                yield images.flatten(1)[:, columns], labels

        parts = {part: lambda part=part, kept=kept: kept(part) for part in loaders}
        timings.append(time_cell(cell, recipe, parts, len(loaders["train"])))
    return timings


def loader_cells(keeps: Sequence[int], seed: int, epochs: int, full: int) -> list[tuple[int, int, int]]:
    """(keep, seed, epochs) of what (b) is measured on: the middle keep in full, the two ends for `epochs`."""
    ordered = sorted(set(keeps))
    middle = ordered[len(ordered) // 2]
    return [(keep, seed, full if keep == middle else epochs) for keep in sorted({ordered[0], middle, ordered[-1]})]


def extrapolate(timings: Sequence[Timing], keeps: Sequence[int], epochs: int, kind: str = "clock") -> dict[int, float]:
    """Seconds of a network trained in full, for every keep: medians of its timings, and linear between these keeps."""
    at = sorted({t.keep for t in timings})
    measured = [statistics.median(t.in_full(epochs, kind) for t in timings if t.keep == keep) for keep in at]
    return {keep: float(np.interp(keep, at, measured)) for keep in keeps}
