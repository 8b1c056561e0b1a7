"""Budgets, what is counted, and which units go for one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lrp_core as lc
from lrp_core.errors import InputError
from lrp_core.evaluation import measure_cost
from lrp_core.pruning import couple
from lrp_core.shrinking import COUNTED, Budget, Descent, Meter
from lrp_core.shrinking.path import ladder
from lrp_core.shrinking.removal import Floor, choose, least_cost

from ..support import check_sentence
from .networks import NETWORKS, built

MEASURED = {name: (*built(name), couple(*built(name))) for name in ("dense", "residual", "skips", "concatenated")}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_full_network_costs_what_is_measured_and_units_save_what_they_say(name: str) -> None:
    network, shape = built(name)
    coupling = couple(network, shape)
    meter, cost = Meter(network, coupling, shape), measure_cost(network, shape)
    for unit in COUNTED:
        assert meter.cost(unit) == getattr(cost, unit)
        for family in coupling.families:
            before, saved, twin = meter.cost(unit), meter.saved(family, unit), meter.copy()
            twin.change(family, 1)
            assert twin.cost(unit) == before - saved
            assert saved >= 0
            twin.change(family, -1)
            assert (twin.cost(unit), meter.cost(unit)) == (before, before)


@pytest.mark.parametrize("name", MEASURED)
@settings(max_examples=8)
@given(data=st.data())
def test_budgets_are_kept_and_missed_by_less_than_any_unit_that_went(name: str, data: st.DataObject) -> None:
    network, shape, coupling = MEASURED[name]
    families = coupling.families
    unit = data.draw(st.sampled_from(COUNTED))
    floor = data.draw(st.sampled_from([0.0, 0.05, 0.4, 1.0]))
    per_cost = data.draw(st.booleans())
    seed = data.draw(st.integers(0, 99))
    scores = torch.rand(coupling.n_units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scores[:3] = scores[3]
    meter = Meter(network, coupling, shape)
    stays = Floor.of(families, floor)
    end = least_cost(families, stays, meter, unit)
    full = meter.cost(unit)
    assert end <= full
    limit = data.draw(st.floats(end, full))
    present = torch.ones(coupling.n_units, dtype=torch.bool)
    gone = choose(families, stays, scores, present, meter, unit, limit, per_cost=per_cost)
    assert meter.cost(unit) <= limit
    assert len(set(gone)) == len(gone)
    fresh = Meter(network, coupling, shape)
    left = [0] * len(stays.least)
    for family, pool in zip(families, stays.pool, strict=True):
        mine = [one for one in gone if one in family.units]
        left[pool] += len(family.units) - len(mine)
        assert scores[mine].tolist() == sorted(scores[mine].tolist())
        kept = [one for one in family.units.tolist() if one not in mine]
        assert not mine or float(scores[mine].max()) <= float(scores[kept].min())
        fresh.change(family, len(mine))
    assert fresh.cost(unit) == meter.cost(unit)
    assert all(number >= least for number, least in zip(left, stays.least, strict=True))
    for family in families:
        if any(one in family.units for one in gone):
            fresh.change(family, -1)
            assert fresh.cost(unit) > limit
            fresh.change(family, 1)
    if gone:
        assert floor < 1


def test_what_is_worth_least_for_its_cost_goes_first() -> None:
    network, shape, coupling = MEASURED["dense"]
    families, scores = coupling.families, torch.ones(coupling.n_units, dtype=torch.float64)
    scores[70] = 0
    meter = Meter(network, coupling, shape)
    price = meter.saved(families[1], "macs")
    present = torch.ones(coupling.n_units, dtype=torch.bool)
    gone = choose(families, Floor.of(families, 0.05), scores, present, meter, "macs", meter.cost("macs") - price)
    assert gone == [70]


def test_those_that_are_gone_do_not_go_again() -> None:
    network, shape, coupling = MEASURED["skips"]
    scores = torch.arange(coupling.n_units, dtype=torch.float64)
    present = torch.ones(coupling.n_units, dtype=torch.bool)
    present[:5] = False
    meter = Meter(network, coupling, shape)
    meter.change(coupling.families[0], 5)
    gone = choose(coupling.families, Floor.of(coupling.families, 0.5), scores, present, meter, "macs", 0)
    assert not set(gone) & set(range(5))
    assert len([one for one in gone if one < 10]) == 0  # at its floor


def test_inputs_of_several_sizes_are_one_pool() -> None:
    """Groups of inputs, each of another size, can all go but one."""
    network = lc.build_model("softmax", shape=(9,), n_classes=3)
    coupling = couple(network, (9,), groups=torch.tensor([0, 1, 1, 2, 2, 2, 3, 3, 3]))
    families = coupling.families
    assert [len(family.units) for family in families] == [1, 1, 2]
    floor = Floor.of(families, 0.0)
    assert floor == Floor((0, 0, 0), (1,))
    assert floor.leaves_room(families)
    assert not Floor.of(families, 1.0).leaves_room(families)
    meter = Meter(network, coupling, (9,))
    assert least_cost(families, floor, meter, "macs") == 9
    scores = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    gone = choose(families, floor, scores, torch.ones(4, dtype=torch.bool), meter, "macs", 9, per_cost=False)
    assert gone == [3, 2]


# Budgets


@pytest.mark.parametrize("unit", [*COUNTED, "milliseconds"])
def test_one_unit_at_a_time(unit: str) -> None:
    budget = Budget.of(unit, 0.25)
    assert budget == Budget(**{unit: 0.25})
    assert (budget.unit, budget.value, budget.is_counted) == (unit, 0.25, unit in COUNTED)
    assert budget.limit(200.0) == (50.0 if unit in COUNTED else 0.25)
    assert Budget.of(unit, 70).limit(200.0) == 70.0
    assert Budget.of(unit, 1).limit(200.0) == (200.0 if unit in COUNTED else 1.0)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"macs": 0.5, "bytes": 0.5},
        {"macs": 0},
        {"macs": -1},
        {"parameters": math.nan},
        {"bytes": math.inf},
        {"milliseconds": 0},
        {"milliseconds": -0.1},
        {"macs": "half"},
        {"macs": [0.5]},
    ],
    ids=str,
)
def test_other_budgets_are_refused(given: dict, unchecked: None) -> None:
    with pytest.raises(InputError) as caught:
        Budget(**given)
    check_sentence(caught.value)


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(InputError, match="grams") as caught:
        Budget.of("grams", 1)
    check_sentence(caught.value)


@pytest.mark.parametrize(
    "given",
    [{"factor": 0}, {"factor": 1}, {"factor": math.nan}, {"explained": 0}, {"floor": -0.1}, {"floor": 1.5}],
    ids=str,
)
def test_descents_that_lead_nowhere_are_refused(given: dict) -> None:
    with pytest.raises(InputError) as caught:
        Descent(**given)
    check_sentence(caught.value)


@given(
    full=st.floats(10, 1e9),
    shares=st.lists(st.floats(0.01, 1.2), min_size=1, max_size=4),
    factor=st.floats(0.05, 0.95),
)
def test_a_ladder_goes_down_to_every_limit(full: float, shares: list[float], factor: float) -> None:
    limits = [share * full for share in shares]
    steps = ladder(full, limits, factor)
    assert {limit for limit in limits if limit < full} <= set(steps)
    assert all(after < before for before, after in zip([full, *steps], steps, strict=False))
    assert all(after >= before * factor**1.6 for before, after in zip([full, *steps], steps, strict=False))
    assert not steps or math.isclose(steps[-1], min(limits))
