"""One network pruned to several budgets of MACs: a path, and at each budget a network that is trained to its end.

The path is kept when it is done, and every network when it is trained: work that was stopped goes on from there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path as File
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from ..data import Dataset
from ..errors import InputError, StorageError, check_choice
from ..evaluation import measure_cost
from ..pruning import PixelMask, PrunedNetwork, couple_checked, load_network, save_network
from ..pruning.state import State, shape_taken
from ..shrinking import SCOPES, Budget, Descent, Path, Pruning, load_path, prune, save_path
from ..shrinking.scores import check_criterion
from ..storage import write_atomic
from ..training import Recipe, evaluate, fit, one_thread
from .describe import Study
from .describe import plan as plan_trials
from .export import Export, export
from .ledger import Ledger
from .stages import base_data, base_network, training_split
from .trials import Base, key_of

BUDGETS = (0.5, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02)
"""Shares of the MACs that a page asks for: those that the network reaches."""

FULL = 1.0
"""The share of the full network."""

Report = Callable[[str, int, int], None]
"""Told what is being done, and how many steps of how many are; it may raise `Cancelled`."""


@dataclass(frozen=True)
class BudgetPlan:
    """All that the networks follow from, as plain values.

    `base` is the full network; `budgets` are shares of its MACs, each above 0 and below 1; `scope`, `criterion`,
    `statistic`, `start`, `floor` and `factor` as in `prune`; `rung_epochs` train after each step and `epochs` at the
    end. Raises `InputError` for values that cannot be used.
    """

    base: Base
    budgets: tuple[float, ...] = (0.1,)
    scope: str = "both"
    criterion: str = "lrp-0"
    statistic: str = "mean-square"
    start: str = "log-odds"
    floor: float = 0.05
    factor: float = 0.73
    rung_epochs: int = 1
    epochs: int = 8

    def __post_init__(self) -> None:
        check_choice("scope", self.scope, SCOPES)
        check_criterion(self.criterion)
        if not self.budgets or not all(0 < share < 1 for share in self.budgets):
            raise InputError(
                f"budgets are shares of the MACs, between 0 and 1, not {', '.join(map(str, self.budgets)) or 'none'}"
            )
        object.__setattr__(self, "budgets", tuple(sorted(set(self.budgets), reverse=True)))
        self.descent()
        self.recipe()

    @property
    def key(self) -> str:
        """Identifies the path and its networks; where the data lie is not part of it."""
        return key_of(self, without="root")

    def descent(self) -> Descent:
        """How the network goes down. Raises `InputError`."""
        recipe = self.base.recipe
        rung = Recipe(
            epochs=self.rung_epochs,
            batch_size=recipe.batch_size,
            lr=recipe.lr / 2,
            weight_decay=0.01,
            precision=recipe.precision,
            optimizer=recipe.optimizer,
        )
        return Descent(factor=self.factor, recipe=rung, floor=self.floor)

    def recipe(self) -> Recipe:
        """How the networks are trained to their end. Raises `InputError`."""
        return replace(self.base.recipe, epochs=self.epochs)

    def values(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> BudgetPlan:
        """A plan from what `values` gave. Raises `StorageError` for one of another version."""
        try:
            base = dict(values["base"])
            base["recipe"] = Recipe(**base["recipe"])
            rest = {f.name: values[f.name] for f in fields(cls) if f.name not in ("base", "budgets")}
            return cls(Base(**base), tuple(values["budgets"]), **rest)
        except (KeyError, TypeError) as error:
            raise StorageError("this path was asked for by another version of the program: ask for it again") from error


def plan_budgets(study: Study, seed: int, *, budgets: tuple[float, ...] = BUDGETS, **changes: Any) -> BudgetPlan:
    """The plan for the full network that a study trains with a seed. Few rows are gone through more often."""
    data = study.data(seed)
    base = next(trial.base for trial in plan_trials(replace(study, seeds=(seed,)), study.data()))
    rows = base.n_train or len(data.train)
    more = min(20, max(1, math.ceil(10_000 / max(1, rows))))
    default: dict[str, Any] = {"rung_epochs": more, "epochs": 8 * more, "statistic": study.statistic}
    values = default | {"start": study.start} | {name: value for name, value in changes.items() if value is not None}
    return BudgetPlan(base, budgets, **values)


@dataclass(frozen=True)
class Pruned:
    """What a plan gave, read from disk.

    `networks` has a row for each budget: share, MACs, parameters, bytes, inputs, and the score on validation and test
    rows; `rungs` one for each network on the way, with the widths of its layers; `kept` [rungs, n_inputs] says which
    inputs each of these reads. `full` is the row of the full network, trained on for as many epochs as the smallest one
    and its path; `notes` say what could not go and why.
    """

    networks: pd.DataFrame
    rungs: pd.DataFrame
    kept: np.ndarray
    full: dict[str, Any]
    notes: tuple[str, ...]

    def at(self, share: float) -> int:
        """The number of the network on the way that costs at most this share of the MACs, as good as any."""
        fits = self.rungs.index[self.rungs["macs"] <= share * self.full["macs"] * (1 + 1e-9)]
        return int(fits[0]) if len(fits) else len(self.rungs) - 1


def folder_of(plan: BudgetPlan, ledger: Ledger) -> File:
    """Where a plan's path and networks lie."""
    return ledger.folder / "budgets" / plan.key


def network_file(plan: BudgetPlan, share: float, ledger: Ledger) -> File:
    """Where the network of a budget lies once it is trained."""
    return folder_of(plan, ledger) / f"{share:g}.safetensors"


@one_thread()
def run_budgets(plan: BudgetPlan, ledger: Ledger, report: Report) -> Pruned:
    """Make what is not there yet: the path, and the network at each budget.

    Raises `InputError` for a budget that cannot be met, `UnsupportedLayer` for a network in which nothing can go.
    """
    full, data, folder = base_network(plan.base), base_data(plan.base), folder_of(plan, ledger)
    total = 2 + len(plan.budgets)
    report("training on all inputs", 0, total)
    prepared = with_training_rows(data, plan)
    file = folder / "path.safetensors"
    path = _known(full, data, file)

    def tell(rung: Any, done: int, of: int) -> None:
        report(f"on the way: {rung.macs:,} MACs left (step {done} of {of})", 0, total)

    *above, last = (Budget(macs=share) for share in plan.budgets)
    pruning = prune(
        full,
        prepared,
        budget=last,
        through=above,
        scope=plan.scope,
        criterion=plan.criterion,
        statistic=plan.statistic,
        start=plan.start,
        options=plan.descent(),
        recipe=replace(plan.recipe(), epochs=0),
        path=path,
        seed=plan.base.seed,
        on_rung=tell,
    )
    if path is None:
        save_path(pruning.path, file)
    report("training the full network for as long", 1, total)
    _train_full(plan, prepared, len(pruning.path.rungs) - 1, ledger)
    for number, share in enumerate(plan.budgets, start=2):
        report(f"training at {share:.3g} of the MACs", number, total)
        _train(plan, pruning, prepared, share, ledger)
    report("done", total, total)
    found = read_budgets(plan, ledger)
    assert found is not None, "all of it was just written"
    return found


def with_training_rows(data: Dataset, plan: BudgetPlan) -> Dataset:
    """The data with the training rows that the full network was trained on."""
    return replace(data, train=training_split(plan.base))


def _known(full: nn.Module, data: Dataset, file: File) -> Path | None:
    """The path that was made before, if it is there and whole."""
    if not file.exists():
        return None
    shape = shape_taken(full, data.shape)
    try:
        return load_path(file, couple_checked(full, shape, groups=data.grouping.of))
    except StorageError:
        file.unlink(missing_ok=True)
        return None


def _train_full(plan: BudgetPlan, data: Dataset, steps: int, ledger: Ledger) -> None:
    """Train the full network on for all epochs of the path and its end, unless it is there: what others are held to."""
    if _is_there(plan, FULL, ledger):
        return
    recipe = replace(plan.recipe(), epochs=steps * plan.rung_epochs + plan.epochs)
    network = fit(
        base_network(plan.base), data, recipe=recipe, seed=plan.base.seed, device="cpu", validation=data.validation
    )
    _write(plan, FULL, network, data, ledger)


def _train(plan: BudgetPlan, pruning: Pruning, data: Dataset, share: float, ledger: Ledger) -> None:
    """Train the network of one budget, and write it and its row, unless they are there."""
    if not _is_there(plan, share, ledger):
        network = pruning.at(Budget(macs=share), recipe=plan.recipe())
        _write(plan, share, network, data, ledger, notes=list(pruning.notes))


def _is_there(plan: BudgetPlan, share: float, ledger: Ledger) -> bool:
    return _row_file(plan, share, ledger).exists() and network_file(plan, share, ledger).exists()


def _write(plan: BudgetPlan, share: float, network: nn.Module, data: Dataset, ledger: Ledger, **more: Any) -> None:
    """Write a network, and after it the row that says how good it is and what it costs."""
    pruned = network if isinstance(network, PrunedNetwork) else None
    cost = measure_cost(network, None if pruned else data.shape)
    parts = (("score", data.validation), ("test_score", data.test))
    row = {
        "share": share,
        "macs": cost.macs,
        "parameters": cost.parameters,
        "bytes": cost.bytes,
        "inputs": len(pruned.mask) if pruned else data.n_inputs,
        **{
            name: evaluate(network, split, device="cpu", encode=pruned.encode if pruned else None).score
            for name, split in parts
        },
    }
    save_network(network, network_file(plan, share, ledger))
    write_atomic(_row_file(plan, share, ledger), json.dumps(row | more).encode())


def _row_file(plan: BudgetPlan, share: float, ledger: Ledger) -> File:
    return folder_of(plan, ledger) / f"{share:g}.json"


def read_budgets(plan: BudgetPlan, ledger: Ledger) -> Pruned | None:
    """What a plan gave so far; None before its path and its first network are there. Raises `StorageError`."""
    rows = []
    for share in (FULL, *plan.budgets):
        try:
            rows.append(json.loads(_row_file(plan, share, ledger).read_bytes()))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise StorageError(f"{_row_file(plan, share, ledger)} is damaged: delete it and prune again") from error
    file = folder_of(plan, ledger) / "path.safetensors"
    if len(rows) < 2 or rows[0]["share"] != FULL or not file.exists():
        return None
    full, data = base_network(plan.base), base_data(plan.base)
    shape = shape_taken(full, data.shape)
    coupling = couple_checked(full, shape, groups=data.grouping.of)
    path = load_path(file, coupling)
    state = State.start(full, coupling, shape, whole_modules=True)
    kept = np.stack([_kept(state, path, rung.removed) for rung in path.rungs])
    rungs = pd.DataFrame(
        [
            {"macs": r.macs, "parameters": r.parameters, "bytes": r.bytes, "inputs": r.inputs, "score": r.score}
            | {f"width {name}": width for name, width in r.widths.items()}
            for r in path.rungs
        ]
    )
    networks = pd.DataFrame([{name: value for name, value in row.items() if name != "notes"} for row in rows[1:]])
    return Pruned(networks, rungs, kept, rows[0], tuple(rows[1]["notes"]))


def _kept(state: State, path: Path, removed: int) -> np.ndarray:
    gone = replace(state, removed=path.removed(removed))
    mask: PixelMask = gone.mask
    support: np.ndarray = mask.get_support()
    return support


def budget_network(plan: BudgetPlan, share: float, ledger: Ledger) -> nn.Module:
    """The trained network of a budget. Raises `StorageError` if it is not there."""
    full = base_network(plan.base)
    return load_network(network_file(plan, share, ledger), full)


def export_budget(
    plan: BudgetPlan,
    share: float,
    folder: str | File,
    ledger: Ledger,
    *,
    overwrite: bool = False,
    formats: Collection[str] = ("safetensors",),
) -> Export:
    """Export the network of a budget, beside the full one. Raises `StorageError` if it is not trained yet."""
    base = plan.base
    provenance = {
        "mode": "budget",
        "budget": {"macs": share},
        "seed": base.seed,
        "criterion": plan.criterion,
        "scope": plan.scope,
        "statistic": plan.statistic,
        "start": plan.start,
        "training_images": base.n_train or "all",
        "training": asdict(base.recipe),
        "retraining": asdict(plan.recipe()),
    }
    return export(
        budget_network(plan, share, ledger),
        folder,
        data=base_data(base),
        provenance=provenance,
        overwrite=overwrite,
        formats=formats,
    )
