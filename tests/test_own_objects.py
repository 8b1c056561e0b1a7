"""Criteria, strategies, composites and networks of your own in a study: computed as they are, known by their names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lrp_core as lc
from lrp_core.data import Dataset, Split
from lrp_core.errors import InputError
from lrp_core.lrp import At, Composite, Epsilon, Rule, Weighted
from lrp_core.models import ARCHITECTURES
from lrp_core.ranking import CRITERIA, STRATEGIES, How, OneShot, Ranking, rank
from lrp_core.study import Ledger, Study, plan, trial_at
from lrp_core.study.stages import ranking_of

from .support import ROOT

QUICK = {"n_train": 200, "epochs": 1, "retrain_epochs": 1, "rank_images": 60, "keeps": (50,), "seeds": (0,)}


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    """Registries as they were."""
    registries = (CRITERIA, STRATEGIES, ARCHITECTURES)
    before = [dict(registry._entries) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry._entries = entries


@dataclass(frozen=True)
class Backwards:
    """The ranking that is given, upside down."""

    name: str = "backwards"
    says: str = "the least relevant first"
    networks: int = 1
    any_criterion: bool = False
    per_keep: bool = False
    follows: str | None = None

    def rank(self, networks: Sequence[nn.Module], split: Split, how: How, before: Ranking | None = None) -> Ranking:
        ranking = OneShot().rank(networks, split, how)
        return Ranking.from_scores("backwards", -ranking.rank.double() * -1, ranking.shape)


@dataclass(frozen=True)
class Absolute(Rule):
    def prepare(self, layer):
        return [Weighted(layer=layer.without_bias().map(abs))]


def squares(model: nn.Module):
    def attribute(images: Tensor, labels: Tensor | None, start: str) -> Tensor:
        return images.square()

    return attribute


MINE = Composite(At(Absolute(), position=0), At(Epsilon()))


def test_a_strategy_of_ones_own_is_computed_as_it_is(mnist: Dataset, tmp_path: Path) -> None:
    """Not as another one under its label."""
    study = Study(architecture="softmax", criteria=("lrp-0",), strategies=("one-shot", Backwards()), **QUICK)
    assert study.methods == ("lrp-0", "lrp-0, backwards")
    result = lc.run(study, Ledger(tmp_path), jobs=1)
    forwards, backwards = (result.ranking(0, method=name) for name in study.methods)
    assert torch.equal(forwards.order.flip(0), backwards.order)
    assert set(result.trials["method"]) == {"none", *study.methods}


def test_criteria_of_ones_own_are_sent_to_other_processes(mnist: Dataset, tmp_path: Path) -> None:
    criteria = (lc.Criterion("squares", "by the square of each pixel", explain=squares), MINE)
    study = Study(architecture="softmax", criteria=criteria, **QUICK)
    result = lc.run(study, Ledger(tmp_path), jobs=2)
    assert set(result.trials["criterion"]) == {"none", *study.criteria}
    split = mnist.train.sample(200, seed=0)
    expected = rank(nn.Identity(), split, criterion="squares", images=60, seed=0)
    assert torch.equal(result.ranking(0, method="squares").order, expected.order)


def test_another_criterion_of_the_same_name_is_another_trial(mnist: Dataset) -> None:
    def key() -> str:
        return trial_at(study, mnist, method="mine", keep=50, mode="none", seed=0).key

    lc.register_criterion(lc.Criterion("mine", "by squares", explain=squares))
    study = Study(architecture="softmax", criteria=("mine",), **QUICK)
    first = key()
    lc.register_criterion(lc.Criterion("mine", "by squares", explain=squares))
    assert key() == first
    lc.register_criterion(lc.Criterion("mine", "by nothing", score=lambda model, split, seed: split.pixels[0].double()))
    assert key() != first


def test_the_same_composite_has_the_same_name_and_another_one_another(mnist: Dataset) -> None:
    again = Composite(At(Absolute(), position=0), At(Epsilon()))
    other = Composite(At(Absolute(), position=0), At(Epsilon(1e-3)))
    names = [Study(criteria=(one,), keeps=(50,)).criteria[0] for one in (MINE, again, other)]
    assert names[0] == names[1] != names[2]
    assert Study(criteria=(lc.lrp.COMPOSITES["epsilon"],), keeps=(50,)).criteria == ("epsilon",)


def test_a_criterion_that_does_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="does nothing"):
        lc.Criterion("idle", "at leisure")
    with pytest.raises(InputError, match="lacks name, says"):
        lc.register_strategy(object())
    with pytest.raises(InputError, match="this project's own"):
        lc.register_criterion(lc.Criterion("variance", "otherwise", explain=squares))


def test_a_study_can_be_read_where_its_objects_are_not_known(mnist: Dataset, tmp_path: Path) -> None:
    criterion = lc.Criterion("squares", "by the square of each pixel", explain=squares)
    study = Study(architecture="softmax", criteria=(criterion,), strategies=("one-shot", Backwards()), **QUICK)
    ledger = Ledger(tmp_path)
    lc.run(study, ledger, jobs=1)
    code = f"""
        import json
        from pathlib import Path
        import lrp_core as lc
        from lrp_core.study import Ledger, Study, plan
        from lrp_core.study.finished import StudyResult
        ledger = Ledger(Path({str(tmp_path)!r}))
        study = Study.from_values(ledger.run({study.key!r}).spec)
        result = StudyResult(study, ledger)
        try:
            result.ranking(7)
            refused = ""
        except lc.LrpError as error:
            refused = str(error)
        print(json.dumps([[t.key for t in plan(study, study.data())], result.trials["method"].tolist(), refused]))
    """
    import textwrap

    environment = {name: value for name, value in os.environ.items() if name != "LRP_PLUGINS"}
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    keys, methods, refused = json.loads(said.stdout)
    assert keys == [trial.key for trial in plan(study, mnist)]
    assert methods == ["none", "none", "squares", "squares, backwards"]
    assert "LRP_PLUGINS" in refused


def test_checks_come_before_the_first_trial(mnist: Dataset, tmp_path: Path) -> None:
    """`run_study` refuses when it is called, not when its steps are asked for."""
    study = Study(architecture="softmax", **QUICK)
    with pytest.raises(InputError, match="backend"):
        lc.run_study(study, Ledger(tmp_path), backend="spark")
    with pytest.raises(InputError, match="784"):
        lc.run_study(Study(architecture="softmax", keeps=(900,)), Ledger(tmp_path))


def test_a_result_answers_what_the_ledger_holds(mnist: Dataset, tmp_path: Path) -> None:
    study = Study(architecture="softmax", criteria=("lrp-0", "variance"), **QUICK)
    seen: list[int] = []
    result = lc.run(study, Ledger(tmp_path), jobs=1, on_trial=lambda done, total, trial: seen.append(done))
    assert seen == [1, 2, 3, 4]
    assert len(result.trials) == 4
    assert set(result.curve("test")["method"]) == {"none", "lrp-0", "variance"}
    trial = trial_at(study, mnist, method="variance", keep=50, mode="fine-tune", seed=0)
    assert trial.ranking is not None
    assert torch.equal(result.ranking(0, method="variance").order, ranking_of(trial.ranking).order)
    assert len(result.network(50, method="variance").mask) == 50
    assert result.network(seed=0)(mnist.test.images[:2]).shape == (2, 10)
    best = result.recommend(margin=0.9)
    assert best is not None
    assert best.method in study.methods
    with pytest.raises(InputError, match="has no method 'weight'"):
        result.ranking(0, method="weight")


def test_a_preset_by_its_name_needs_data() -> None:
    with pytest.raises(InputError, match="give data="):
        lc.run("quick")
