"""What the pages show is what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lrp_core.data import Dataset
from lrp_core.errors import InputError
from lrp_core.lrp import attribute
from lrp_core.ranking import keep_for_share
from lrp_core.study import Study, plan, results, run_study, trial_at
from lrp_core.study.ledger import Ledger
from lrp_core.study.stages import base_network, ranking_of
from lrp_core.views import study as views

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
    trials = views.study_trials(study, ledger)
    table = results.curve(trials, 784)
    for _, trial in trials[trials["criterion"] != "none"].iterrows():
        choice: dict[str, Any] = {name: trial[name] for name in ("method", "mode", "keep", "seed")}
        found = views.threshold(study, table, **choice)
        assert found.cost.macs == trial["macs"]
        assert found.cost.bytes == trial["bytes"]
        assert found.full_cost.macs == trials[trials["criterion"] == "none"]["macs"].iloc[0]
        assert found.kept.sum() == trial["keep"]
        assert found.accuracy is not None
        assert found.removed == pytest.approx(1 - trial["keep"] / 784)
    grown = views.threshold(study, table, method="lrp-0", mode=study.modes[0], keep=101, seed=0)
    base = views.threshold(study, table, method="lrp-0", mode=study.modes[0], keep=100, seed=0)
    assert (base.kept <= grown.kept).all()


def test_the_mask_is_that_of_the_ranking(mnist: Dataset, ledger: Ledger) -> None:
    found = views.threshold(STUDY, results.curve(pd.DataFrame(), 784), method="lrp-0", mode="none", keep=50, seed=1)
    trial = trial_at(STUDY, mnist, method="lrp-0", keep=50, mode="none", seed=1)
    assert np.flatnonzero(found.kept).tolist() == ranking_of(trial.ranking).mask(50).indices.tolist()
    assert found.accuracy is None
    scores = views.study_ranking(STUDY, "lrp-0", 784, 1).scores.view(28, 28).numpy()
    assert scores[found.kept].min() >= scores[~found.kept].max()


def test_the_mean_image(mnist: Dataset) -> None:
    assert views.mean_image(STUDY) == pytest.approx(mnist.train.pixels.numpy().mean((0, 1)) / 255, rel=1e-5)


@pytest.mark.parametrize("study", [STUDY, CONV])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "epsilon-gamma-box"])
def test_an_explained_image_is_what_attribute_gives(
    study: Study, composite: str, mnist: Dataset, ledger: Ledger
) -> None:
    found = views.explain_image(study, seed=0, index=7, composite=composite)
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
    other = views.explain_image(study, seed=0, index=7, composite=composite, target=(found.target + 1) % 10)
    assert not np.array_equal(other.relevance, found.relevance)


def test_an_image_that_is_not_there(ledger: Ledger) -> None:
    for index in (-1, 10_000):
        with pytest.raises(InputError, match="between 0 and 9999"):
            views.explain_image(STUDY, seed=0, index=index, composite="epsilon")


def test_images_of_a_class(mnist: Dataset) -> None:
    chosen = views.image_indices(STUDY, 4)
    assert len(chosen) == 982
    assert set(mnist.test.labels[list(chosen)].tolist()) == {4}
    assert len(views.image_indices(STUDY)) == 10_000


def test_whether_the_baseline_is_there(ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert views.baseline_is_ready(STUDY, 1, ledger)
    assert not views.baseline_is_ready(STUDY, 1, Ledger(tmp_path_factory.mktemp("empty")))


@pytest.mark.parametrize("n_inputs", [7, 784, 3072])
def test_the_slider_s_place_for_a_keep(n_inputs: int) -> None:
    for keep in range(1, n_inputs + 1):
        percent = views.percent_removed(keep, n_inputs)
        assert keep_for_share(percent / 100, n_inputs) >= keep
        assert percent == 99 or keep_for_share((percent + 1) / 100, n_inputs) < keep
