"""Pruning inputs and hidden units under one budget of MACs, beside what a reviewer would ask for.

python -m benchmarks.structured_pruning [--architecture mlp-300-100] [--budgets 0.15 0.1 0.05 0.02]
    [--contenders lrp-0 taylor weight-l2 ...] [--seeds 0 1 2 3 4] [--train-images N]
    [--distil] [--jobs 1] [--json]

Beside the registered networks there are resnet-16-32-64 and patches-64, a small transformer.

Figures are test accuracy in points, less that of the full network of the same seed, means over seeds with half the 95 %
interval. Every choice was made on validation images. All train without augmentation:

- A criterion (lrp-0, taylor, weight-l2, weight-l1, random): `lc.prune` over inputs and hidden units, per MAC saved.
- "lrp-0, not per MAC", "lrp-0, distilled": the same with one thing changed.
- "full, extra epochs": the full network, trained on for all epochs of the path and its end.
- "same shape, fresh": the shape that lrp-0 found, on its inputs, from fresh weights, trained for as many epochs in all.
- "hand-made": the architecture with all hidden widths scaled alike, on all inputs, of the same MACs, trained as long.
- "torch-pruning magnitude" and "torch-pruning taylor" (`pip install torch-pruning`): hidden units alone, as many rungs,
  epochs at each, and final epochs.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import Tensor, nn

import lrp_core as lc
from lrp_core.data import Dataset, load_dataset
from lrp_core.evaluation import mean_interval, measure_cost
from lrp_core.models import Network, build_model
from lrp_core.pruning import PrunedNetwork, shrink
from lrp_core.pruning.coupling import couple
from lrp_core.shrinking.path import ladder
from lrp_core.training import Recipe, Teacher, evaluate, fit, one_thread, recipe_for

from . import small_networks

CRITERIA = ("lrp-0", "taylor", "weight-l2", "weight-l1", "random")
CHANGED = ("lrp-0, not per MAC", "lrp-0, distilled")
CONTROLS = (
    "full, extra epochs",
    "same shape, fresh",
    "hand-made",
    "torch-pruning magnitude",
    "torch-pruning taylor",
)
CONTENDERS = (*CRITERIA, *CHANGED, *CONTROLS)


@dataclass(frozen=True)
class Plan:
    """How long all train: `rung` epochs at every rung, of `factor` times the cost before, and `last` at the end."""

    rung: int = 2
    last: int = 24
    factor: float = 0.8

    def descent(self, **changes: Any) -> lc.Descent:
        return lc.Descent(factor=self.factor, recipe=Recipe(self.rung, lr=1.5e-3, weight_decay=0.01), **changes)

    def rungs(self, full: float, budgets: Sequence[float], down_to: float) -> int:
        """How many rungs there are down to one of the budgets."""
        steps = ladder(full, [b * full for b in budgets], self.factor)
        return sum(step >= down_to * full * (1 - 1e-9) for step in steps)

    def final(self, architecture: str) -> Recipe:
        return replace(recipe_of(architecture), epochs=self.last)


def recipe_of(architecture: str) -> Recipe:
    """How a full network is trained: by the recipe of its architecture, or for those here by one for convolutions."""
    if architecture in small_networks.SMALL:
        return Recipe(epochs=8, batch_size=128, weight_decay=0.05)
    return recipe_for(architecture)


PLANS = {"mlp-300-100": Plan(), "lenet-5": Plan(1, 14), "cnn-32-64": Plan(1, 8)}
BUDGETS = {"mlp-300-100": (0.15, 0.1, 0.05, 0.02)}


@one_thread()
def run_seed(
    architecture: str,
    budgets: Sequence[float],
    contenders: Sequence[str],
    seed: int,
    images: int | None = None,
    *,
    distil: bool = False,
) -> list[dict[str, Any]]:
    """Every contender at every budget, for one seed, on all training images or so many of them."""
    small_networks.register()
    data, plan = load_dataset("mnist"), PLANS.get(architecture, Plan(1, 8))
    if images is not None:
        data = replace(data, train=data.train.sample(images, seed=seed))
    network = fit(
        build_model(architecture, data, seed=seed), data, recipe=recipe_of(architecture), seed=seed, device="cpu"
    )
    bench = _Bench(architecture, data, plan, tuple(sorted(budgets, reverse=True)), network, seed)
    if distil:
        bench = replace(bench, teacher=Teacher.of(network, data.train))
    rows = [bench.row("full", 1.0, network, 0.0)]
    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    for name in contenders:
        started = time.process_time()
        for budget, small in bench.contend(name):
            rows.append(bench.row(name, budget, small, time.process_time() - started))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


@dataclass(frozen=True, eq=False)
class _Bench:
    architecture: str
    data: Dataset
    plan: Plan
    budgets: tuple[float, ...]
    network: Network
    seed: int
    teacher: Teacher | None = None

    def row(self, name: str, budget: float, network: nn.Module, seconds: float) -> dict[str, Any]:
        """What is noted of a network."""
        encode = network.encode if isinstance(network, PrunedNetwork) else None
        shape = None if isinstance(network, PrunedNetwork) else self.data.shape
        parts = (("validation", self.data.validation), ("test", self.data.test))
        return {
            "contender": name,
            "budget": budget,
            "seed": self.seed,
            "macs": measure_cost(network, shape).macs,
            **{part: evaluate(network, split, device="cpu", encode=encode).accuracy for part, split in parts},
            "seconds": seconds,
        }

    def contend(self, name: str) -> list[tuple[float, nn.Module]]:
        """The networks of a contender, for each budget."""
        if name in CRITERIA:
            return self._pruned(criterion=name)
        made: dict[str, Callable[[], list[tuple[float, nn.Module]]]] = {
            "lrp-0, not per MAC": lambda: self._pruned(per_cost=False),
            "lrp-0, distilled": lambda: self._pruned(teacher=Teacher.of(self.network, self.data.train)),
            "full, extra epochs": self._full,
            "same shape, fresh": self._fresh,
            "hand-made": self._hand_made,
            "torch-pruning magnitude": lambda: self._torch_pruning("GroupMagnitudeImportance"),
            "torch-pruning taylor": lambda: self._torch_pruning("GroupTaylorImportance"),
        }
        return made[name]()

    def _pruned(
        self, criterion: str = "lrp-0", teacher: Teacher | None = None, **options: Any
    ) -> list[tuple[float, nn.Module]]:
        *above, last = (lc.Budget(macs=budget) for budget in self.budgets)
        pruning = lc.prune(
            self.network,
            self.data,
            budget=last,
            through=above,
            criterion=criterion,
            options=self.plan.descent(**options),
            recipe=self.plan.final(self.architecture),
            teacher=teacher or self.teacher,
            seed=self.seed,
        )
        return [(budget, pruning.at(lc.Budget(macs=budget))) for budget in self.budgets[:-1]] + [
            (self.budgets[-1], pruning.network)
        ]

    def _epochs(self, budget: float) -> int:
        """The epochs of the path and its end."""
        full = measure_cost(self.network).macs
        return self.plan.rung * self.plan.rungs(full, self.budgets, budget) + self.plan.last

    def _full(self) -> list[tuple[float, nn.Module]]:
        recipe = replace(recipe_of(self.architecture), epochs=self._epochs(self.budgets[-1]))
        return [(1.0, fit(self.network, self.data, recipe=recipe, seed=self.seed, device="cpu", teacher=self.teacher))]

    def _from_fresh(self, network: nn.Module, budget: float, encode: Any = None) -> nn.Module:
        """A network trained for as many epochs as the full one and its path together."""
        recipe = recipe_of(self.architecture)
        recipe = replace(recipe, epochs=recipe.epochs + self._epochs(budget))
        return fit(network, self.data, recipe=recipe, seed=self.seed, device="cpu", teacher=self.teacher, encode=encode)

    def _fresh(self) -> list[tuple[float, nn.Module]]:
        networks = []
        short = replace(self, plan=replace(self.plan, last=0))
        for budget, small in short._pruned():
            reset(small, self.seed)
            encode = small.encode if isinstance(small, PrunedNetwork) else None
            networks.append((budget, self._from_fresh(small, budget, encode)))
        return networks

    def _hand_made(self) -> list[tuple[float, nn.Module]]:
        return [
            (budget, self._from_fresh(scaled(self.network, self.data.shape, budget, self.seed), budget))
            for budget in self.budgets
            if budget >= least_scaled(self.network, self.data.shape)
        ]

    def _torch_pruning(self, importance: str) -> list[tuple[float, nn.Module]]:
        import torch_pruning as tp

        logging.getLogger("torch_pruning").setLevel(logging.ERROR)
        full = measure_cost(self.network).macs
        steps = ladder(full, [b * full for b in self.budgets], self.plan.factor)
        network: nn.Module = nn.Sequential(*copy.deepcopy(list(self.network.children())))
        example = self.data.train.take(torch.arange(2)).images
        found: list[tuple[float, nn.Module]] = []
        for limit in steps:
            last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
            pruner = tp.pruner.BasePruner(
                network.train(),
                example,
                importance=getattr(tp.importance, importance)(),
                global_pruning=True,
                pruning_ratio=1.0,
                max_pruning_ratio=0.95,
                iterative_steps=400,
                ignored_layers=[last],
            )
            for _ in range(400):
                if measure_cost(network, self.data.shape).macs <= limit:
                    break
                if "Taylor" in importance:
                    network.zero_grad()
                    sample = self.data.train.sample(min(1000, len(self.data.train)), seed=self.seed)
                    nn.functional.cross_entropy(network(sample.images), sample.labels).backward()
                pruner.step()
            network.zero_grad()
            rung = self.plan.descent().recipe
            network = fit(network, self.data, recipe=rung, seed=self.seed, device="cpu", teacher=self.teacher)
            for budget in self.budgets:
                if abs(limit - budget * full) < 1:
                    final = self.plan.final(self.architecture)
                    found.append(
                        (
                            budget,
                            fit(network, self.data, recipe=final, seed=self.seed, device="cpu", teacher=self.teacher),
                        )
                    )
        return found


def reset(network: nn.Module, seed: int) -> None:
    """Fresh weights for every layer, in place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in network.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # type: ignore[operator]


def scaled(network: nn.Module, shape: tuple[int, ...], budget: float, seed: int) -> nn.Module:
    """The architecture with all hidden widths scaled alike to the most that fits the budget, from fresh weights."""
    coupling = couple(network, shape)
    full = measure_cost(network, shape).macs
    share, step = 0.5, 0.25
    best = _thinned(network, coupling, 0.0)
    for _ in range(12):
        small = _thinned(network, coupling, share)
        fits = measure_cost(small, shape).macs <= budget * full
        best, share = (small, share + step) if fits else (best, share - step)
        step /= 2
    reset(best, seed)
    return best


def least_scaled(network: nn.Module, shape: tuple[int, ...]) -> float:
    """The share of MACs that is left with one unit a layer."""
    small = _thinned(network, couple(network, shape), 0.0)
    return measure_cost(small, shape).macs / measure_cost(network, shape).macs


def _thinned(network: nn.Module, coupling: Any, share: float) -> nn.Module:
    removed = torch.zeros(coupling.n_units, dtype=torch.bool)
    for family in coupling.families:
        if not family.inputs:
            units: Tensor = family.units
            removed[units[max(1, round(share * len(units))) :]] = True
    return shrink(network, coupling, removed)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy less that of the full network of the same seed, in points: means and half the 95 % interval."""
    full = rows[rows["contender"] == "full"].set_index("seed")["test"]
    rows = rows[rows["contender"] != "full"].copy()
    rows["difference"] = 100 * (rows["test"] - rows["seed"].map(full))
    found = []
    for (name, budget), group in rows.groupby(["contender", "budget"], sort=False):
        interval = mean_interval(group["difference"].to_numpy())
        half = (interval.high - interval.low) / 2
        found.append({"contender": name, "budget": budget, "points": group["difference"].mean(), "half": half,
                      "macs": group["macs"].mean(), "seeds": len(group)})  # fmt: skip
    return pd.DataFrame(found)


def table(rows: pd.DataFrame) -> str:
    """The summary as Markdown, a column for each budget."""
    cells = summary(rows)
    full = rows[rows["contender"] == "full"]["test"]
    budgets = sorted(cells["budget"].unique(), reverse=True)
    lines = [f"full network: {100 * full.mean():.2f} % on test, {len(full)} seeds", ""]
    lines += ["| contender | " + " | ".join(f"{100 * budget:g} % of MACs" for budget in budgets) + " |"]
    lines += ["|---|" + "---:|" * len(budgets)]
    for name in cells["contender"].unique():
        row = []
        for budget in budgets:
            cell = cells[(cells["contender"] == name) & (cells["budget"] == budget)]
            if len(cell):
                points, half = float(cell["points"].iloc[0]), float(cell["half"].iloc[0])
                row.append(f"{points:+.2f} ± {half:.2f}" if math.isfinite(half) else f"{points:+.2f}")
            else:
                row.append("")
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0], prog="benchmarks.structured_pruning")
    parser.add_argument("--architecture", default="mlp-300-100", help="network (default: %(default)s)")
    parser.add_argument("--budgets", type=float, nargs="+", help="shares of the MACs")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--train-images", type=int, help="train on so many images (default: all)")
    parser.add_argument("--distil", action="store_true", help="have every contender learn the full network's answers")
    parser.add_argument("--jobs", type=int, default=1, help="seeds that run at once, on one thread each")
    parser.add_argument("--json", action="store_true", help="print all rows as JSON")
    arguments = parser.parse_args()
    budgets = arguments.budgets or BUDGETS.get(arguments.architecture, (0.5, 0.2))
    found = Parallel(n_jobs=arguments.jobs)(
        delayed(run_seed)(
            arguments.architecture,
            budgets,
            arguments.contenders,
            seed,
            arguments.train_images,
            distil=arguments.distil,
        )
        for seed in arguments.seeds
    )
    rows = pd.DataFrame([row for part in found for row in part])
    print(json.dumps(rows.to_dict("records"), indent=1) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
