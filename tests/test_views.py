"""What the pages show is what was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lrp_core.data import Dataset
from lrp_core.errors import InputError
from lrp_core.lrp import attribute
from lrp_core.ranking import keep_for_share
from lrp_core.study import Study, plan, run_study, trial_at
from lrp_core.study.ledger import Ledger
from lrp_core.study.stages import base_network, ranking_of
from lrp_core.views.study import OpenedStudy, open_study, percent_removed, study_trials

pytestmark = pytest.mark.slow

STUDY = Study(
    architecture="mlp-300-100",
    n_train=300,
    epochs=1,
    retrain_epochs=1,
    rank_images=100,
    keeps=(100, 400),
    seeds=(0, 1),
    criteria=("lrp-0", "random"),
)
CONV = Study(architecture="lenet-5", n_train=200, epochs=1, rank_images=50, keeps=(100,), seeds=(0,), modes=("none",))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ledger = Ledger(tmp_path_factory.mktemp("views"))
    for study in (STUDY, CONV):
        list(run_study(study, ledger, jobs=1))
    return ledger


@pytest.mark.parametrize("study", [STUDY, CONV])
def test_the_slider_shows_the_cost_that_the_trial_measured(study: Study, ledger: Ledger) -> None:
    opened = open_study(study, ledger)
    trials = opened.trials()
    for _, trial in trials[trials["criterion"] != "none"].iterrows():
        choice: dict[str, Any] = {name: trial[name] for name in ("method", "mode", "keep", "seed")}
        found = opened.threshold(**choice)
        assert found.cost.macs == trial["macs"]
        assert found.cost.bytes == trial["bytes"]
        assert found.full_cost.macs == trials[trials["criterion"] == "none"]["macs"].iloc[0]
        assert opened.rankings.kept(trial["method"], trial["keep"], trial["seed"]).sum() == trial["keep"]
        assert found.score is not None
        assert found.removed == pytest.approx(1 - trial["keep"] / 784)
    assert (opened.rankings.kept("lrp-0", 100, 0) <= opened.rankings.kept("lrp-0", 101, 0)).all()


def test_the_mask_is_that_of_the_ranking(mnist: Dataset, ledger: Ledger) -> None:
    opened = open_study(STUDY, ledger)
    kept = opened.rankings.kept("lrp-0", 50, 1)
    trial = trial_at(STUDY, mnist, method="lrp-0", keep=50, mode="none", seed=1)
    assert np.flatnonzero(kept).tolist() == ranking_of(trial.ranking).mask(50).indices.tolist()
    assert opened.threshold(method="lrp-0", mode="none", keep=50, seed=1).score is None
    scores = opened.rankings.of("lrp-0", 784, 1).scores.view(28, 28).numpy()
    assert scores[kept].min() >= scores[~kept].max()


def test_the_mean_image(mnist: Dataset, ledger: Ledger) -> None:
    assert open_study(STUDY, ledger).images.mean() == pytest.approx(
        mnist.train.pixels.numpy().mean((0, 1)) / 255, rel=1e-5
    )


@pytest.mark.parametrize("study", [STUDY, CONV])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "epsilon-gamma-box"])
def test_an_explained_image_is_what_attribute_gives(
    study: Study, composite: str, mnist: Dataset, ledger: Ledger
) -> None:
    images = open_study(study, ledger).images
    found = images.explain(seed=0, index=7, composite=composite)
    network = base_network(plan(study, mnist)[0].base)
    image = mnist.test.images[7:8]
    expected = attribute(network, image, composite=composite)
    assert torch.equal(torch.from_numpy(found.relevance), expected[0, 0])
    assert np.array_equal(found.image, image[0, 0].numpy())
    assert found.label == int(mnist.test.labels[7])
    assert found.target == int(found.logits.argmax())
    assert found.probabilities.sum() == pytest.approx(1)
    assert found.balance["arrived"].iloc[-1] == pytest.approx(found.logits[found.target], rel=1e-5)
    assert found.balance["left"].iloc[0] == pytest.approx(found.relevance.sum(), rel=1e-4)
    assert (found.balance["absorbed"] == found.balance["arrived"] - found.balance["left"]).all()
    other = images.explain(seed=0, index=7, composite=composite, target=(found.target + 1) % 10)
    assert not np.array_equal(other.relevance, found.relevance)


def test_an_image_that_is_not_there(ledger: Ledger) -> None:
    for index in (-1, 10_000):
        with pytest.raises(InputError, match="between 0 and 9999"):
            open_study(STUDY, ledger).images.explain(seed=0, index=index, composite="epsilon")


def test_images_of_a_class(mnist: Dataset, ledger: Ledger) -> None:
    images = open_study(STUDY, ledger).images
    chosen = images.indices(4)
    assert len(chosen) == 982
    assert set(mnist.test.labels[chosen].tolist()) == {4}
    assert len(images.indices()) == 10_000


def test_whether_the_baseline_is_there(ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert open_study(STUDY, ledger).baseline_is_ready(1)
    assert not open_study(STUDY, Ledger(tmp_path_factory.mktemp("empty"))).baseline_is_ready(1)


@pytest.mark.parametrize("n_inputs", [7, 784, 3072])
def test_the_slider_s_place_for_a_keep(n_inputs: int) -> None:
    for keep in range(1, n_inputs + 1):
        percent = percent_removed(keep, n_inputs)
        assert keep_for_share(percent / 100, n_inputs) >= keep
        assert percent == 99 or keep_for_share((percent + 1) / 100, n_inputs) < keep


def test_an_opened_study_is_a_key_that_the_results_change(ledger: Ledger) -> None:
    opened = open_study(STUDY, ledger)
    assert opened == open_study(STUDY.key, ledger)
    assert hash(opened) == hash(open_study(STUDY.key, ledger))
    assert opened.token == open_study(STUDY.key, ledger).token
    later = OpenedStudy(STUDY, ledger.folder, opened.revision + 1)
    assert later.token != opened.token
    assert later.rankings.token == opened.rankings.token, "rankings do not follow from results"
    assert opened.token != open_study(CONV, ledger).token
    with pytest.raises(InputError, match="no study 'nonsense'"):
        open_study("nonsense", ledger)


def test_tables_are_the_caller_s_own(ledger: Ledger) -> None:
    opened = open_study(STUDY, ledger)
    before = opened.curve()["score"].tolist()
    for table in (opened.trials(), opened.curve()):
        table["score" if "score" in table else "seed"] = 0
    assert opened.curve()["score"].tolist() == before
    pd.testing.assert_frame_equal(opened.trials(), study_trials(STUDY, ledger))


def test_without_a_run_the_trials_are_read_each_time(tmp_path_factory: pytest.TempPathFactory, ledger: Ledger) -> None:
    empty = Ledger(tmp_path_factory.mktemp("later"))
    assert open_study(STUDY, empty).trials().empty
    source = study_trials(STUDY, ledger)
    empty.record_trial(source["key"].iloc[0], {}, {"seed": 0})
    assert len(open_study(STUDY, empty).trials()) == 1


@pytest.mark.parametrize("margin", [0.0, 0.02, 0.05, 0.5])
def test_the_best_method_lets_most_inputs_go(ledger: Ledger, margin: float) -> None:
    opened = open_study(replace(STUDY, criteria=("lrp-0", "epsilon")), ledger)
    each = [one for name in ("lrp-0", "epsilon") if (one := opened.recommend(name, margin=margin)) is not None]
    best = opened.recommend(margin=margin)
    assert best is not None
    keeps = [int(one.row["keep"]) for one in each if one.row is not None]
    assert (best.row is None) == (not keeps)
    assert best.row is None or int(best.row["keep"]) == min(keeps)
    headline = opened.headline(margin=margin)
    assert (headline is None) == (not keeps)
    assert headline is None or headline.recommendation.method == best.method
