"""What the networks of a study become under a budget: paths, and the networks on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..lrp import COMPOSITES
from ..models import build_model
from ..shrinking import CONTROLS, SCOPES, smallest_share
from ..study.budgets import BUDGETS, BudgetPlan, Pruned, folder_of, plan_budgets, read_budgets
from ..study.ledger import Ledger
from .part import Part, PlannedExport


@dataclass(frozen=True)
class Place:
    """What one position of the slider means: the network on the way, and what a trained one there lets expect.

    `widths` has a row for each layer: its outputs in the full network and here; `kept` says which inputs are read, in
    the shape of one input, and `names` what they, or their groups, are called. `score` is that on validation rows,
    between the trained networks on both sides.
    """

    macs: int
    parameters: int
    bytes: int
    inputs: int
    score: float
    widths: pd.DataFrame
    kept: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class Budgets(Part):
    """Paths of a study's networks."""

    def scopes(self) -> dict[str, str]:
        """What may go, and what each says."""
        return dict(SCOPES)

    def criteria(self) -> dict[str, str]:
        """What units can go by, and what each says."""
        return dict.fromkeys(COMPOSITES, "by relevance under this composite") | CONTROLS

    def plan(self, *, scope: str, criterion: str, seed: int) -> BudgetPlan:
        """The plan of a path, with those of `BUDGETS` that the network reaches.

        Raises `InputError` where it reaches none, and for a scope in which nothing can go.
        """
        least = _least(self, scope, seed)
        budgets = tuple(share for share in BUDGETS if share >= least) or (round(least, 3) + 0.001,)
        return plan_budgets(self.study, seed, budgets=budgets, scope=scope, criterion=criterion)

    def run_of(self, plan: BudgetPlan) -> tuple[str, dict[str, Any]]:
        """The id of the run that makes a path, and what its process reads: for `launch.start_budgets`."""
        return f"budgets-{plan.key}", plan.values()

    def export(
        self, plan: BudgetPlan, share: float, formats: Sequence[str] = ("safetensors",), *, measure: bool = False
    ) -> PlannedExport:
        """The export of the network of a budget in some formats, for `launch.start_export`."""
        spec = {"plan": plan.values(), "share": share, "formats": list(formats), "measure": measure}
        folder = budget_export_folder(plan, share, Ledger(self.folder))
        return PlannedExport(f"export-{plan.key}-{share:g}", spec, folder)

    def found(self, *, scope: str, criterion: str, seed: int) -> Pruned | None:
        """What there is of a path so far; None before its first network is trained."""
        plan = self.plan(scope=scope, criterion=criterion, seed=seed)
        folder = folder_of(plan, Ledger(self.folder))
        written = tuple(sorted((file.name, file.stat().st_mtime_ns) for file in folder.glob("*")))
        return _read(self, plan, written) if written else None

    def place(self, found: Pruned, number: int) -> Place:
        """The network on the way at a position of the slider."""
        row, first = found.rungs.iloc[number], found.rungs.iloc[0]
        names = [column for column in found.rungs.columns if column.startswith("width ")]
        widths = pd.DataFrame(
            {
                "layer": [name.removeprefix("width ") for name in names],
                "full": [int(first[name]) for name in names],
                "left": [int(row[name]) for name in names],
            }
        )
        macs, parameters, size, inputs = (int(row[name]) for name in ("macs", "parameters", "bytes", "inputs"))
        kept = found.kept[number].reshape(self.data.shape)
        groups = self.data.grouping.groups_of(found.kept[number].nonzero()[0].tolist())
        called = tuple(self.data.group_names[i] for i in groups.tolist())
        return Place(macs, parameters, size, inputs, expected_score(found, macs), widths, kept, called)


def budget_export_folder(plan: BudgetPlan, share: float, ledger: Ledger) -> Path:
    """Where the export of a budget that a page asked for lies once it is made."""
    return ledger.folder / "exports" / f"{plan.key}-{share:g}"


def expected_score(found: Pruned, macs: int) -> float:
    """The validation score of a trained network of so many MACs, interpolated between those that were trained.

    It goes by the logarithm of the MACs; beyond the smallest network it is NaN.
    """
    columns = ["macs", "score"]
    known = pd.concat([found.networks[columns], pd.DataFrame([found.full])[columns]]).sort_values("macs")
    x, y = (known[column].to_numpy(dtype=float) for column in columns)
    return float(np.interp(np.log(macs), np.log(x), y, left=np.nan))


@lru_cache(maxsize=16)
def _read(budgets: Budgets, plan: BudgetPlan, written: tuple[tuple[str, int], ...]) -> Pruned | None:
    return read_budgets(plan, Ledger(budgets.folder))


@lru_cache(maxsize=64)
def _least(budgets: Budgets, scope: str, seed: int) -> float:
    data = budgets.data_of(seed)
    return smallest_share(build_model(budgets.study.architecture, data), data, scope=scope)
