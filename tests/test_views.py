"""What the pages show is what was measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrp_core import views
from lrp_core.data import Dataset
from lrp_core.errors import InputError
from lrp_core.ledger import Ledger
from lrp_core.lrp import attribute
from lrp_core.stages import base_network
from lrp_core.study import Study, plan, run_study, trial_at, trial_ranking

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


def rows(*places: tuple[str, str, int, int, float]) -> pd.DataFrame:
    """Trials of (criterion, mode, keep, seed, accuracy); the test set says half a point less."""
    return pd.DataFrame(
        [
            {"criterion": c, "mode": m, "keep": k, "seed": s}
            | {f"validation_{n}": a for n in ("accuracy", "confidence", "loss")}
            | {f"test_{n}": a - 0.005 for n in ("accuracy", "confidence", "loss")}
            | dict.fromkeys(("macs", "flops", "parameters", "bytes", "input_bytes"), 10 * k)
            for c, m, k, s, a in places
        ]
    )


TRIALS = rows(
    ("none", "none", 784, 0, 0.98),
    ("none", "none", 784, 1, 0.97),
    ("lrp-0", "scratch", 392, 0, 0.978),
    ("lrp-0", "scratch", 392, 1, 0.969),
    ("lrp-0", "scratch", 100, 0, 0.90),
    ("random", "scratch", 392, 0, 0.95),
)


def test_the_curve_is_mean_and_interval_over_seeds() -> None:
    table = views.curve(TRIALS, 784, "test")
    assert table[["criterion", "keep", "seeds"]].values.tolist() == [
        ["none", 784, 2],
        ["lrp-0", 392, 2],
        ["lrp-0", 100, 1],
        ["random", 392, 1],
    ]
    both = table.iloc[1]
    assert both["accuracy"] == pytest.approx((0.973 + 0.964) / 2)
    low, high = stats.t.interval(0.95, 1, loc=0.9685, scale=stats.sem([0.973, 0.964]))
    assert (both["low"], both["high"]) == (pytest.approx(low), pytest.approx(high))
    assert both["removed"] == 0.5
    assert math.isnan(table.iloc[2]["low"])


def test_no_trials_give_an_empty_curve() -> None:
    assert views.curve(pd.DataFrame(), 784).empty
    assert views.headline(pd.DataFrame(), 784, "lrp-0") is None


@given(keep=st.integers(1, 784))
def test_expected_accuracy_is_exact_on_the_grid_and_between_its_neighbours_off_it(keep: int) -> None:
    table = views.curve(TRIALS, 784)
    found = views.expected_accuracy(table, "lrp-0", "scratch", keep)
    points = {100: 0.90, 392: 0.9735, 784: 0.975}
    if keep < 100:
        assert found is None
    else:
        assert found is not None
        below = max(k for k in points if k <= keep)
        above = min(k for k in points if k >= keep)
        assert points[below] - 1e-12 <= found.estimate <= points[above] + 1e-12
        if below == above:
            assert found.estimate == pytest.approx(points[keep])


def test_the_headline_chooses_on_validation_and_reports_the_test_set() -> None:
    found = views.headline(TRIALS, 784, "lrp-0")
    assert found is not None
    assert found.row["keep"] == 392
    assert found.row["accuracy"] == pytest.approx(0.9685)
    assert found.baseline["accuracy"] == pytest.approx(0.97)
    assert views.headline(TRIALS, 784, "random") is None
    generous = views.headline(TRIALS, 784, "lrp-0", margin=0.2)
    assert generous is not None
    assert generous.row["keep"] == 100


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ledger = Ledger(tmp_path_factory.mktemp("views"))
    for study in (STUDY, CONV):
        list(run_study(study, ledger, jobs=1))
    return ledger


@pytest.mark.parametrize("study", [STUDY, CONV])
def test_the_slider_shows_the_cost_that_the_trial_measured(study: Study, ledger: Ledger) -> None:
    trials = views.study_trials(study, ledger)
    table = views.curve(trials, 784)
    for _, trial in trials[trials["criterion"] != "none"].iterrows():
        choice: dict[str, Any] = {name: trial[name] for name in ("criterion", "mode", "keep", "seed")}
        found = views.threshold(study, table, **choice)
        assert found.cost.macs == trial["macs"]
        assert found.cost.bytes == trial["bytes"]
        assert found.full_cost.macs == trials[trials["criterion"] == "none"]["macs"].iloc[0]
        assert found.kept.sum() == trial["keep"]
        assert found.accuracy is not None
        assert found.removed == pytest.approx(1 - trial["keep"] / 784)
    grown = views.threshold(study, table, criterion="lrp-0", mode=study.modes[0], keep=101, seed=0)
    base = views.threshold(study, table, criterion="lrp-0", mode=study.modes[0], keep=100, seed=0)
    assert (base.kept <= grown.kept).all()


def test_the_mask_is_that_of_the_ranking(mnist: Dataset, ledger: Ledger) -> None:
    found = views.threshold(STUDY, views.curve(pd.DataFrame(), 784), criterion="lrp-0", mode="none", keep=50, seed=1)
    trial = trial_at(STUDY, mnist, criterion="lrp-0", keep=50, mode="none", seed=1)
    assert np.flatnonzero(found.kept).tolist() == trial_ranking(trial).mask(50).indices.tolist()
    assert found.accuracy is None
    scores = views.importance(STUDY, "lrp-0", 1)
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
