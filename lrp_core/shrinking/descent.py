"""Prune inputs and hidden units of a network under one budget."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Dataset, Grouping, Split
from ..errors import InputError, LrpError, check_choice
from ..evaluation import forward_milliseconds, measure_cost
from ..lrp import STARTS, Composite
from ..models import spec_of
from ..pruning import PixelMask, PrunedNetwork, couple_checked, prune_inputs
from ..pruning.shrinking import check_shrinkable
from ..pruning.state import State, shape_taken
from ..pruning.units import Coupling, Family
from ..ranking.statistics import STATISTICS
from ..seeds import generator
from ..training import Recipe, Teacher, evaluate, fit, recipe_for
from .budget import COUNTED, Budget, Meter
from .path import Path, Rung, ladder
from .removal import Floor, choose, least_cost
from .scores import check_criterion, means_read, score_units

SCOPES: dict[str, str] = {
    "both": "inputs and hidden units",
    "inputs": "inputs alone",
    "hidden": "hidden units and filters alone",
}
"""What may go."""


@dataclass(frozen=True)
class Descent:
    """How a network goes down to a budget.

    Each rung costs `factor` times the one before. At each, units are scored on `explained` training rows, drawn for it,
    the least go, and the network trains by `recipe`. `floor` is the share of every layer's width that stays in any
    case. With `per_cost` a score counts for each unit of cost saved; with `fill_mean` a hidden unit that goes leaves
    its mean behind, which helps where nothing is trained.
    """

    factor: float = 0.73
    explained: int = 10_000
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=1, lr=1.5e-3, weight_decay=0.01))
    floor: float = 0.05
    per_cost: bool = True
    fill_mean: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise InputError(f"a rung costs between 0 and 1 times the one before, not {self.factor}")
        if self.explained < 1:
            raise InputError(f"units are scored on 1 or more rows, not {self.explained}")
        if not 0 <= self.floor <= 1:
            raise InputError(f"the floor of a layer is a share of its width, not {self.floor}")


@dataclass(frozen=True, eq=False)
class Pruning:
    """A smaller `network`, trained, and the `path` that led to it; `notes` say what could not go and why."""

    network: nn.Module
    path: Path
    notes: tuple[str, ...]
    _finish: Callable[[int, Recipe | None], nn.Module] = field(repr=False)

    def at(self, budget: Budget, *, recipe: Recipe | None = None) -> nn.Module:
        """The network at another counted budget on the same path, trained as `network` was or by a `recipe`.

        Raises `InputError` for a budget that the path does not reach.
        """
        return self._finish(self.path.removed_at(budget), recipe)


def prune(
    network: nn.Module,
    data: Dataset | Split,
    *,
    budget: Budget,
    scope: str = "both",
    criterion: str | Composite = "lrp-0",
    statistic: str = "mean-square",
    start: str = "log-odds",
    options: Descent | None = None,
    recipe: Recipe | None = None,
    teacher: Teacher | None = None,
    through: Sequence[Budget] = (),
    path: Path | None = None,
    seed: int = 0,
    on_rung: Callable[[Rung, int, int], None] | None = None,
) -> Pruning:
    """The smaller network that keeps to a `budget`, and its path: one order of inputs, hidden units and filters.

    `scope` says what may go: "inputs", "hidden" units and filters, or "both". Units go by their score
    (`score_units`) for each MAC, parameter or byte that they save. On the way the network trains a little after
    each step (`options.recipe`), at its end by `recipe` (default: its architecture's, for 8 epochs); 0 epochs train
    nothing. `data.train` is trained and scored on, `data.validation` only measured; the test split is never read.
    `teacher` has answers for the training rows, to be learned throughout. The path stops at each of the budgets in
    `through`, too: choose them beforehand for the networks that `Pruning.at` will be asked for. A `path` that is
    there already is not made again (`load_path`). `network` is not changed; the same seed, versions and thread
    count give the same result. `on_rung(rung, done, total)` reports progress, and stops by raising.

    A smaller network that reads fewer inputs is a `PrunedNetwork`, any other one is of the class of `network`. Raises
    `InputError` for a budget that cannot be met, with the smallest that can, and for unknown names;
    `UnsupportedLayer` for a network in which nothing can go, by the name of a layer.

    >>> import torch
    >>> import lrp_core as lc
    >>> split = lc.Split(torch.rand(60, 20), torch.arange(60) % 3)
    >>> net = lc.build_model("mlp-300-100", shape=(20,), n_classes=3)
    >>> small = lc.prune(net, split, budget=lc.Budget(macs=0.1), recipe=lc.Recipe(epochs=1)).network
    >>> lc.measure_cost(small).macs <= 0.1 * lc.measure_cost(net).macs
    True
    """
    check_choice("scope", scope, SCOPES)
    check_criterion(criterion)
    check_choice("statistic", statistic, STATISTICS)
    check_choice("start", start, STARTS)
    split = data.train if isinstance(data, Dataset) else data
    if len(split) == 0:
        raise InputError("there are no rows to prune by: the split is empty")
    shape = shape_taken(network, split.shape)
    grouping = data.grouping if isinstance(data, Dataset) else None
    walk = _Walk.open(network, split, shape, grouping, scope)
    walk = replace(
        walk,
        held=data.validation if isinstance(data, Dataset) and len(data.validation) else None,
        options=options or Descent(),
        how={"criterion": criterion, "statistic": statistic, "start": start},
        teacher=teacher,
        seed=seed,
    )
    path = path or walk.down(budget, through, on_rung)
    spec = spec_of(network)
    last = recipe or recipe_for(spec.architecture if spec else "", epochs=8)
    number = len(path.order) if not budget.is_counted else path.removed_at(budget)

    def finish(removed: int, other: Recipe | None = None) -> nn.Module:
        return walk.finish(path, removed, other or last)

    return Pruning(finish(number), path, tuple(walk.notes), finish)


def smallest_share(
    network: nn.Module, data: Dataset | Split, *, scope: str = "both", floor: float = 0.05, unit: str = "macs"
) -> float:
    """The smallest share of a counted unit that a network can be pruned to, with every layer at its floor.

    Raises `InputError` and `UnsupportedLayer` as `prune` does.
    """
    check_choice("scope", scope, SCOPES)
    split = data.train if isinstance(data, Dataset) else data
    shape = shape_taken(network, split.shape)
    walk = _Walk.open(network, split, shape, data.grouping if isinstance(data, Dataset) else None, scope)
    meter = Meter(network, walk.coupling, shape)
    return least_cost(walk.families, Floor.of(walk.families, floor), meter, unit) / meter.cost(unit)


@dataclass(frozen=True, eq=False)
class _Walk:
    """What stays the same on the way down."""

    network: nn.Module
    split: Split
    shape: tuple[int, ...]
    coupling: Coupling
    families: tuple[Family, ...]
    notes: list[str]
    options: Descent = field(default_factory=Descent)
    held: Split | None = None
    how: dict[str, object] = field(default_factory=dict)
    teacher: Teacher | None = None
    seed: int = 0

    @classmethod
    def open(
        cls, network: nn.Module, split: Split, shape: tuple[int, ...], grouping: Grouping | None, scope: str
    ) -> _Walk:
        """The units that may go in this scope."""
        groups = None if grouping is None else grouping.of
        coupling = couple_checked(network, shape, groups=groups)
        notes = [f"{name} keeps its width: {why}" for name, why in coupling.fixed.items()]
        families = coupling.families
        if scope != "hidden":
            free = [f for f in families if f.inputs and _saves(network, shape, coupling, f)]
            if scope == "inputs" and not free:
                raise InputError(
                    f"fewer inputs make {type(network).__name__} no cheaper: its first layers are not dense, or read "
                    "all of them as one; choose the scope hidden, or crop the inputs with prune_inputs"
                )
            if not free:
                notes.append("inputs stay: fewer of them would make the first layer no cheaper")
        if scope == "hidden":
            free = []
        if scope != "inputs":
            free += [f for f in families if not f.inputs]
        if not Floor.of(free, 0.0).leaves_room(free):
            check_shrinkable(network, coupling)
        return cls(network, split, shape, coupling, tuple(free), notes)

    def down(self, budget: Budget, through: Sequence[Budget], on_rung: Callable[[Rung, int, int], None] | None) -> Path:
        """All the way to the budget. Raises `InputError` for one that cannot be met."""
        if any(one.unit != budget.unit or not one.is_counted for one in through):
            raise InputError(f"the budgets on the way are in {budget.unit}, as the last one is")
        unit = budget.unit if budget.is_counted else "macs"
        meter = Meter(self.network, self.coupling, self.shape)
        full = meter.cost(unit)
        least = least_cost(self.families, self._floor, meter, unit)
        limits = [one.limit(full) for one in (*through, budget)] if budget.is_counted else [float(least)]
        if min(limits) < least:
            raise InputError(
                f"{budget} cannot be met: with every layer at its floor ({self.options.floor:.0%} of its width), "
                f"{least:,} are left, {least / full:.2%} of the full network's"
            )
        steps = ladder(full, limits, self.options.factor)
        state = State.start(self.network, self.coupling, self.shape, whole_modules=True)
        order: list[int] = []
        costs = {name: [meter.cost(name)] for name in COUNTED}
        rungs = [self._rung(state, meter, 0)]
        for number, limit in enumerate(steps, start=1):
            gone, is_last = self._next(state, meter.copy(), unit, limit, number), number == len(steps)
            if not budget.is_counted:
                gone, is_last = self._in_time(state, gone, budget, is_last)
            for one in gone:
                meter.change(self._family_of[one], 1)
                for name, values in costs.items():
                    values.append(meter.cost(name))
            order += gone
            state = self._step(state, gone, number)
            rungs.append(self._rung(state, meter, len(order)))
            if on_rung:
                on_rung(rungs[-1], number, len(steps))
            if is_last:
                break
        tensors = {name: torch.tensor(values, dtype=torch.int64) for name, values in costs.items()}
        return Path(self.coupling, torch.tensor(order, dtype=torch.int64), tensors, tuple(rungs))

    @cached_property
    def _family_of(self) -> dict[int, Family]:
        return {unit: family for family in self.families for unit in family.units.tolist()}

    @cached_property
    def _floor(self) -> Floor:
        return Floor.of(self.families, self.options.floor)

    def _next(self, state: State, meter: Meter, unit: str, limit: float, number: int) -> list[int]:
        """The units that go next."""
        scores = self._scores(state, number)
        per_cost = self.options.per_cost
        return choose(self.families, self._floor, scores, state.present, meter, unit, limit, per_cost=per_cost)

    def _scores(self, state: State, number: int) -> Tensor:
        sample = self.split.take(self._draw(number))
        how: Any = self.how
        return score_units(state.network, state.coupling, sample, encode=state.encode, seed=self._seed(number), **how)

    def _draw(self, number: int) -> Tensor:
        random = generator(self.seed, f"rows that rung {number} is scored on")
        return torch.randperm(len(self.split), generator=random)[: self.options.explained]

    def _seed(self, number: int) -> int:
        return int(torch.randint(2**31, (), generator=generator(self.seed, f"rung {number}")))

    def _step(self, state: State, gone: list[int], number: int) -> State:
        """What is left after units went, trained a little."""
        removed = torch.zeros(self.coupling.n_units, dtype=torch.bool)
        removed[gone] = True
        state = state.without(removed, self._means(state, number))
        return state.trained(self._fitted(state, self.options.recipe, self._seed(number)))

    def _means(self, state: State, number: int) -> dict[str, Tensor] | None:
        """What units leave behind, if they leave anything."""
        if not self.options.fill_mean:
            return None
        return means_read(state.network, state.coupling, self.split.take(self._draw(number)), state.encode)

    def _fitted(self, state: State, recipe: Recipe, seed: int) -> nn.Module:
        if recipe.epochs == 0:
            return state.network
        return fit(
            state.network,
            self.split,
            recipe=recipe,
            seed=seed,
            device="cpu",
            encode=state.encoding,
            validation=self.held,
            teacher=self.teacher,
        )

    def _in_time(self, state: State, gone: list[int], budget: Budget, is_last: bool) -> tuple[list[int], bool]:
        """Of the units that go next the fewest that keep to a budget in milliseconds, and whether any number does.

        Raises `InputError` if there are none left to go after them (`is_last`) and the budget is not met.
        """

        def takes(number: int) -> float:
            removed = torch.zeros(self.coupling.n_units, dtype=torch.bool)
            removed[gone[:number]] = True
            smaller, example = state.without(removed).small(), self.split.take(torch.arange(1)).images
            if isinstance(smaller, PrunedNetwork):
                example = smaller.encode(example.view(1, *self.shape))
            return forward_milliseconds(smaller, example)

        if takes(0) <= budget.value:
            return [], True
        time = takes(len(gone))
        if time > budget.value and is_last:
            raise InputError(
                f"{budget} cannot be met: with every layer at its floor, one input takes {time:.3g} ms on this machine"
            )
        if time > budget.value:
            return gone, False
        low, high = 0, len(gone)  # high is known to do
        while high - low > max(1, len(gone) // 32):
            middle = (low + high) // 2
            low, high = (low, middle) if takes(middle) <= budget.value else (middle, high)
        return gone[:high], True

    def _rung(self, state: State, meter: Meter, removed: int) -> Rung:
        score = math.nan
        if self.held is not None:
            score = evaluate(state.network, self.held, device="cpu", encode=state.encoding).score
        widths = {layer.name: len(layer.rows) for layer in state.coupling.layers if layer.columns is not None}
        weights = {name: value.detach().clone() for name, value in state.network.state_dict().items()}
        counts = {name: meter.cost(name) for name in COUNTED}
        return Rung(removed, **counts, inputs=len(state.mask), widths=widths, score=score, weights=weights)

    def finish(self, path: Path, removed: int, recipe: Recipe) -> nn.Module:
        """The network of a path after so many removals, from the rung above, trained to the end."""
        rung = path.rung_above(removed)
        start = State.start(self.network, self.coupling, self.shape, whole_modules=True)
        state = start.without(path.removed(rung.removed))
        network = copy.deepcopy(state.network)
        network.load_state_dict(rung.weights)
        state, more = state.trained(network), path.removed(removed) & ~path.removed(rung.removed)
        if bool(more.any()):
            state = state.without(more, self._means(state, path.rungs.index(rung) + 1))
        return state.trained(self._fitted(state, recipe, self.seed)).small()


def _saves(network: nn.Module, shape: tuple[int, ...], coupling: Coupling, family: Family) -> bool:
    """Whether the smaller network of fewer inputs saves what counting their weights says."""
    gone = coupling.inputs == family.units[0]
    if bool(gone.all()):
        return False
    try:
        small = prune_inputs(network, PixelMask((~gone).nonzero().flatten(), shape))
    except LrpError:
        return False
    meter = Meter(network, coupling, shape)
    return measure_cost(small).macs == meter.cost("macs") - meter.saved(family, "macs") < meter.cost("macs")
