"""The benchmark of budgets: its contenders cost what they may, and its table says what was measured."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from benchmarks import small_networks
from benchmarks import structured_pruning as bench
from lrp_core.data import Dataset
from lrp_core.evaluation import measure_cost
from lrp_core.models import build_model
from lrp_core.pruning import PrunedNetwork
from lrp_core.training import Recipe

from .support import toy_split


@pytest.fixture
def contest() -> bench._Bench:
    data = Dataset("toys", ("top", "middle", "bottom"), *(toy_split(n, seed=n) for n in (90, 40, 40)))
    network = build_model("mlp-300-100", data)
    return bench._Bench("mlp-300-100", data, bench.Plan(1, 1), (0.4, 0.1), network, 0)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(bench, "recipe_for", lambda architecture: Recipe(epochs=1))


@pytest.mark.parametrize("name", [*bench.CRITERIA, *bench.CHANGED, "same shape, fresh", "hand-made"])
def test_every_contender_keeps_to_the_budget(contest, name):
    full = measure_cost(contest.network).macs
    found = contest.contend(name)
    assert [budget for budget, _ in found] == [0.4, 0.1]
    for budget, network in found:
        shape = None if isinstance(network, PrunedNetwork) else contest.data.shape
        assert 0.5 * budget * full < measure_cost(network, shape).macs <= budget * full


@pytest.mark.parametrize("name", ["torch-pruning magnitude", "torch-pruning taylor"])
def test_torch_pruning_keeps_to_the_budget(contest, name):
    pytest.importorskip("torch_pruning")
    full = measure_cost(contest.network).macs
    for budget, network in contest.contend(name):
        assert measure_cost(network, contest.data.shape).macs <= budget * full


def test_the_full_network_gets_the_epochs_of_path_and_end(contest, monkeypatch):
    given = []
    monkeypatch.setattr(bench, "fit", lambda network, data, *, recipe, **_: given.append(recipe.epochs) or network)
    [(share, network)] = contest.contend("full, extra epochs")
    assert share == 1.0
    assert network is contest.network
    rungs = len(bench.ladder(1.0, [0.4, 0.1], contest.plan.factor))
    assert given == [rungs * contest.plan.rung + contest.plan.last]


def test_a_fresh_network_has_other_weights_than_the_one_it_is_like(contest):
    network = build_model("mlp-300-100", contest.data, seed=3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    bench.reset(network, 4)
    assert all(not torch.equal(value, before[name]) for name, value in network.state_dict().items())
    again = {name: value.clone() for name, value in network.state_dict().items()}
    bench.reset(network, 4)
    assert all(torch.equal(value, again[name]) for name, value in network.state_dict().items())


def test_the_table_is_of_differences_to_the_full_network_of_the_same_seed():
    rows = [
        {"contender": name, "budget": budget, "seed": seed, "macs": 10, "test": test}
        for name, budget, seed, test in (
            ("full", 1.0, 0, 0.9),
            ("full", 1.0, 1, 0.8),
            ("lrp-0", 0.1, 0, 0.89),
            ("lrp-0", 0.1, 1, 0.77),
        )
    ]
    found = bench.summary(pd.DataFrame(rows))
    assert found["points"].tolist() == pytest.approx([-2.0])
    assert found["seeds"].tolist() == [2]
    text = bench.table(pd.DataFrame(rows))
    assert "| lrp-0 | -2.00 ± 12.71 |" in text
    assert "85.00 % on test, 2 seeds" in text


def test_the_small_networks_can_be_pruned(contest):
    small_networks.register()
    for name in small_networks.SMALL:
        network = build_model(name, shape=(1, 28, 28), n_classes=3)
        share = 0.5 if "resnet" in name else 0.8
        x = torch.rand(40, 1, 28, 28)
        data = bench.lc.Split(x, torch.arange(40) % 3)
        options = bench.lc.Descent(recipe=Recipe(epochs=0))
        small = bench.lc.prune(network, data, budget=bench.lc.Budget(macs=share), options=options, recipe=Recipe(0))
        full = measure_cost(network, (1, 28, 28)).macs
        assert 0.9 * share * full < measure_cost(small.network, (1, 28, 28)).macs <= share * full
        assert small.network(x[:2]).shape == (2, 3)


def test_plans_say_how_many_rungs_lead_to_a_budget():
    plan = replace(bench.Plan(), factor=0.5)
    assert plan.rungs(100.0, (0.5, 0.25), 0.5) == 1
    assert plan.rungs(100.0, (0.5, 0.25), 0.25) == 2
