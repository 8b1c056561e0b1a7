"""Studies that rank by several strategies, and whose masks come from the networks of other seeds."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrp_core.data import Dataset
from lrp_core.errors import InputError, StorageError
from lrp_core.pruning import PrunedNetwork
from lrp_core.ranking import (
    CRITERIA,
    STRATEGIES,
    Elimination,
    Method,
    average_rankings,
    combine,
    eliminate,
    exchange,
    rank,
    refine,
)
from lrp_core.study import Study, make_network, plan, run_study, trial_at
from lrp_core.study.ledger import Ledger
from lrp_core.study.stages import base_network, is_cached, ranking_of, training_split
from lrp_core.study.trials import RankingSpec
from lrp_core.training import evaluate, one_thread

from .support import MEASURED

pytestmark = pytest.mark.slow

TINY: dict[str, Any] = {
    "architecture": "softmax",
    "criteria": ("lrp-0",),
    "n_train": 200,
    "epochs": 1,
    "retrain_epochs": 1,
    "rank_images": 50,
    "keeps": (100,),
    "seeds": (0,),
}
"""Fifty images explained in each of fifty steps of an elimination take a second."""


def tiny(**changes: Any) -> Study:
    return Study(**{**TINY, **changes})


def spec_of(study: Study, data: Dataset, method: str, seed: int = 0) -> RankingSpec:
    spec = trial_at(study, data, method=method, keep=100, mode="none", seed=seed).ranking
    assert spec is not None
    return spec


# Names


@given(criterion=st.sampled_from(list(CRITERIA)), strategy=st.sampled_from(list(STRATEGIES)))
def test_a_name_says_criterion_and_strategy(criterion: str, strategy: str) -> None:
    if strategy != "one-shot" and criterion not in MEASURED:
        with pytest.raises(InputError, match="explains no image"):
            Method(criterion, strategy)
        return
    method = Method(criterion, strategy)
    assert Method.named(method.name) == method
    assert (method.name == criterion) == (strategy == "one-shot")


@pytest.mark.parametrize("name", ["", "lrp0", "lrp-0, eliminate", "lrp-0,elimination", ", elimination"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(InputError, match="unknown"):
        Method.named(name)


@given(
    st.lists(st.sampled_from(list(CRITERIA)), min_size=1, max_size=6),
    st.lists(st.sampled_from(list(STRATEGIES)), min_size=1, max_size=5),
)
def test_controls_are_ranked_by_once(criteria: list[str], strategies: list[str]) -> None:
    found = combine(criteria, strategies)
    assert len(set(found)) == len(found)
    assert {method.criterion for method in found} == set(criteria)
    for criterion in set(criteria):
        own = {method.strategy for method in found if method.criterion == criterion}
        assert own == (set(strategies) if criterion in MEASURED else {"one-shot"})


# Rankings


@pytest.mark.parametrize("criterion", ["lrp-0", "gradient-x-input"])
def test_a_study_ranks_as_the_strategies_do(mnist: Dataset, criterion: str) -> None:
    study = tiny(seeds=(3,))
    base = plan(study, mnist)[0].base
    split = training_split(base)
    sample = split.sample(50, seed=3)
    with one_thread():
        network = base_network(base)
        one_shot = rank(network, sample, criterion=criterion, seed=3)
        eliminated = eliminate(network, split, criterion=criterion, options=Elimination(explained=50), seed=3)
        exchanged = refine(exchange(eliminated, split, 100, seed=3), split, 100, seed=3)
    expected = {"": one_shot, ", elimination": eliminated, ", exchange": exchanged}
    for suffix, ranking in expected.items():
        spec = spec_of(study, mnist, criterion + suffix, seed=3)
        found = ranking_of(spec)
        assert found.criterion == criterion + suffix
        assert torch.equal(found.order, ranking.order)
        assert is_cached(spec)


def test_stability_averages_networks_of_seeds_of_their_own(mnist: Dataset) -> None:
    study = tiny(seeds=(0, 1))
    specs = [spec_of(study, mnist, "lrp-0, stability", seed) for seed in (0, 1)]
    for seed, spec in enumerate(specs):
        assert len(spec.bases) == 3
        assert spec.bases[0].seed == seed
        split = training_split(spec.base)
        with one_thread():
            single = [rank(base_network(base), split, images=50, seed=base.seed) for base in spec.bases]
        assert torch.equal(ranking_of(spec).order, average_rankings(single).order)
    assert not {base.seed for base in specs[0].bases} & {base.seed for base in specs[1].bases}


def test_exchange_is_for_the_keep_and_between_keeps_for_the_nearest(mnist: Dataset) -> None:
    study = tiny(keeps=(50, 100))
    for keep, nearest in ((50, 50), (100, 100), (60, 50), (90, 100), (784, 100), (1, 50)):
        trial = trial_at(study, mnist, method="lrp-0, exchange", keep=keep, mode="none", seed=0)
        assert trial.ranking is not None
        assert trial.ranking.keep == nearest
        assert trial.ranking.improves == spec_of(study, mnist, "lrp-0, elimination")
    on_grid = [t for t in plan(replace(study, strategies=("exchange",)), mnist) if t.ranking]
    assert [(t.keep, t.ranking.keep) for t in on_grid if t.ranking] == [(50, 50), (100, 100)]


def test_what_is_not_cached_is_known(mnist: Dataset, own_cache: Path) -> None:
    study = tiny(seeds=(11,))
    names = ("lrp-0", "lrp-0, stability", "lrp-0, elimination", "weight", "anova-f", "gradient")
    specs = [spec_of(study, mnist, name, seed=11) for name in names]
    assert not any(is_cached(spec) for spec in specs)
    for number, spec in enumerate(specs):
        ranking_of(spec)
        assert is_cached(spec)
        assert not is_cached(replace(spec, base=replace(spec.base, seed=12))), names[number]


# Studies


@pytest.mark.slow
def test_a_study_of_every_strategy(mnist: Dataset, tmp_path: Path) -> None:
    study = tiny(criteria=("lrp-0", "random"), strategies=tuple(STRATEGIES), modes=("none",))
    ledger = Ledger(tmp_path)
    list(run_study(study, ledger, jobs=2))
    table = ledger.trials([trial.key for trial in plan(study, mnist)])
    assert table["method"].tolist() == ["none", *study.methods]
    assert study.methods == ("lrp-0", "lrp-0, stability", "lrp-0, elimination", "lrp-0, exchange", "random")
    assert table["strategy"].tolist() == ["none", *STRATEGIES, "one-shot"]
    assert list(run_study(study, ledger, jobs=2)) == []


def test_masks_and_training_have_seeds_of_their_own(mnist: Dataset, tmp_path: Path) -> None:
    study = tiny(seeds=(0, 1), mask_seeds=(5, 6, 7), modes=("scratch", "none"))
    trials = plan(study, mnist)
    assert len(trials) == 2 + 2 * 3 * 2
    assert len({trial.key for trial in trials}) == len(trials)
    ledger = Ledger(tmp_path)
    list(run_study(study, ledger, jobs=2))
    table = ledger.trials([trial.key for trial in trials])
    pruned = table[table["method"] != "none"]
    assert set(zip(pruned["seed"], pruned["mask_seed"], strict=True)) == {(s, m) for s in (0, 1) for m in (5, 6, 7)}
    explained = [spec_of(tiny(seeds=(m,)), mnist, "lrp-0", seed=m) for m in (5, 6, 7)]
    assert {trial.ranking for trial in trials if trial.ranking} == set(explained), "a mask is that of its own network"
    for trial in trials[2:]:
        assert trial.ranking is not None
        network, encode = make_network(trial)
        assert isinstance(network, PrunedNetwork)
        assert torch.equal(network.mask.indices, ranking_of(trial.ranking).mask(100).indices)
        row = table[table["key"] == trial.key].iloc[0]
        assert row["test_score"] == evaluate(network, mnist.test, encode=encode).accuracy
        assert row["seed"] == trial.base.seed
    other = trial_at(study, mnist, method="lrp-0", keep=100, mode="none", seed=1)
    assert other.ranking is not None
    assert other.ranking.base.seed == 5


def test_a_mask_seed_that_is_the_seed_is_the_same_trial(mnist: Dataset) -> None:
    apart = {trial.key for trial in plan(tiny(seeds=(0, 1), mask_seeds=(0, 1)), mnist)}
    together = {trial.key for trial in plan(tiny(seeds=(0, 1)), mnist)}
    assert together < apart


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strategies": ()}, "strategies"),
        ({"strategies": ("eliminate",)}, "did you mean 'elimination'"),
        ({"mask_seeds": (-1,)}, "seed"),
    ],
)
def test_what_cannot_be_studied(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        tiny(**change)


def test_a_control_has_no_strategies(mnist: Dataset) -> None:
    with pytest.raises(InputError, match="criterion 'variance' explains no image"):
        trial_at(tiny(), mnist, method="variance, elimination", keep=100, mode="none", seed=0)


def test_a_study_of_a_newer_version_is_refused() -> None:
    values = json.loads(json.dumps(asdict(tiny()))) | {"temperature": 1.0}
    with pytest.raises(StorageError, match="newer version: temperature"):
        Study.from_values(values)
