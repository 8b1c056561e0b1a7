"""The benchmark of studies: what it counts, what it extrapolates, and that its plain loops train the same networks."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain_loops, processes, sweep
from benchmarks.plain_loops import Timing
from benchmarks.processes import Seconds
from lrp_core.data import Dataset
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, build_pruned
from lrp_core.training import PRECISIONS, Recipe, evaluate, fit


def timing(keep: int, training: float, *, epochs: int = 4, seed: int = 0, test: float | None = None) -> Timing:
    return Timing(keep, seed, epochs, Seconds(training, 2 * training), Seconds(1.0, 1.5), test)


@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100", "mlp-1000"])
def test_macs_of_training_are_what_torch_counts(architecture: str) -> None:
    spec = build_model(architecture, shape=(1, 8, 8), n_classes=10).spec
    network = build_pruned(spec, PixelMask.from_indices(range(0, 64, 3), spec.shape))
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(5, 22)).sum().backward()
    assert 5 * sweep.training_macs(network) * 2 == counter.get_total_flops()


def test_the_products_are_those_of_training() -> None:
    spec = build_model("mlp-300-100", shape=(1, 28, 28), n_classes=10).spec
    network = build_pruned(spec, PixelMask.from_indices(range(39), spec.shape))
    shapes = sweep.products(39, (300, 100), 10, 256)
    assert sum(m * k * n for m, k, n in shapes) == 256 * sweep.training_macs(network)
    assert len(shapes) == 8
    assert all(sweep.products_rate(shapes, 0.01, precision) > 0 for precision in PRECISIONS)


def test_what_was_not_measured_follows_from_what_was() -> None:
    measured = [timing(100, 8.0, epochs=4), timing(100, 10.0, epochs=4, seed=1), timing(300, 6.0, epochs=2)]
    found = plain_loops.extrapolate(measured, [100, 200, 300], 4)
    assert found == pytest.approx({100: 10.0, 200: 11.5, 300: 13.0})
    assert plain_loops.extrapolate(measured, [100], 4, "worked") == pytest.approx({100: 19.5})


@pytest.mark.parametrize(
    ("keeps", "expected"),
    [
        ([784, 10, 50, 300], [(10, 3, 2), (300, 3, 16), (784, 3, 2)]),
        ([5, 784], [(5, 3, 2), (784, 3, 16)]),
        ([7], [(7, 3, 16)]),
    ],
)
def test_the_loader_is_measured_at_both_ends_and_in_full_between(
    keeps: list[int], expected: list[tuple[int, int, int]]
) -> None:
    assert plain_loops.loader_cells(keeps, 3, 2, 16) == expected


def test_the_summary_counts_a_core_for_each_network() -> None:
    trials = pd.DataFrame(
        {
            "criterion": ["none", "lrp-0", "lrp-0"],
            "keep": [784, 100, 100],
            "seed": [0, 0, 1],
            "seconds": [0.2, 4.0, 6.0],
            "test_score": [0.983, 0.97, 0.98],
        }
    )
    plain = [timing(784, 20.0, test=0.981), timing(100, 9.0, test=0.971)]
    table, points = sweep.summarise(trials, plain, [timing(100, 49.0, epochs=2)], 4, 2)
    full, small = table.to_dict("records")
    assert (full["keep"], full["networks"], small["networks"]) == (784, 1, 2)
    assert pd.isna(full["study s"]), (
        "the baseline is trained before the trials, so its seconds are not those of training"
    )
    assert small["study s"] == 2.5
    assert small["x (a)"] == pytest.approx(10 / 2.5)
    assert small["x (b)"] == pytest.approx(99 / 2.5)
    assert (small["(a) on"], small["(b) on"], full["(b) on"]) == ("1 of 2", "2/4 epochs", "-")
    assert points == pytest.approx((0.2 - 0.1) / 2)


def test_the_plain_loop_trains_what_fit_trains(toy: Dataset) -> None:
    """The same recipe, though in other words: as good on average over seeds, and far from untrained."""
    recipe = Recipe(epochs=4, batch_size=32, lr=1e-2)
    x, y = toy.train.images, toy.train.labels
    for seed in range(3):
        network = build_model("softmax", toy, seed=seed)
        ours = fit(network, toy, recipe=recipe, seed=seed, device="cpu")
        random = torch.Generator().manual_seed(seed)

        def batches(random: torch.Generator = random) -> list[tuple[torch.Tensor, torch.Tensor]]:
            return [(x[rows], y[rows]) for rows in torch.split(torch.randperm(len(y), generator=random), 32)]

        plain_loops.train_plainly(network, batches, 8, recipe, recipe.epochs)
        for found, expected in zip(ours.parameters(), network.parameters(), strict=True):
            assert torch.allclose(found, expected, atol=1e-4)
        assert evaluate(ours, toy.test, device="cpu").accuracy > 0.95


def test_memory_is_read_per_process(tmp_path: Path) -> None:
    total, resident = processes.resident(os.getpid(), "smaps_rollup")
    by_mapping = processes.resident(os.getpid(), "smaps")
    assert 0 < total <= resident
    assert by_mapping[1] == pytest.approx(resident, rel=0.1)
    assert processes.resident(os.getpid(), "smaps", str(tmp_path)) == (0, 0)
    file = tmp_path / "mapped"
    file.write_bytes(bytes(1 << 22))
    mapped = torch.from_file(str(file), shared=False, size=1 << 22, dtype=torch.uint8)
    assert int(mapped.sum()) == 0
    assert processes.resident(os.getpid(), "smaps", str(tmp_path))[1] == 1 << 22
    assert processes.resident(2**30, "smaps") == (0, 0)
    assert os.getpid() in processes.descendants(os.getppid())
