"""A study from what a person typed, and what running it would take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrp_core.data import Dataset, load_dataset
from lrp_core.errors import InputError
from lrp_core.ranking import CRITERIA, keep_for_share
from lrp_core.study import PRESETS, Study, plan, preset, run_study
from lrp_core.study.estimate import START_SECONDS, _laid_out, seconds_of_study, seconds_of_trial
from lrp_core.study.ledger import Ledger
from lrp_core.study.stages import rank_inputs, train_base
from lrp_core.views import draft as views_study

STUDY = Study(
    architecture="softmax", n_train=200, epochs=1, retrain_epochs=1, keeps=(100, 400), seeds=(0, 1), rank_images=50,
    criteria=("random", "variance"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "shares"), [("quick", "60 75 90"), ("full", "15 30 50 70 75 80 85 90 95")])
def test_the_shares_of_a_preset_are_those_that_people_say(mnist: Dataset, name: str, shares: str) -> None:
    assert views_study.write_shares(preset(name, mnist)) == shares


@given(st.lists(st.integers(1, 783), min_size=1, max_size=20, unique=True))
def test_keeps_come_back_from_their_shares(keeps: list[int]) -> None:
    study = replace(STUDY, keeps=tuple(keeps))
    shares = views_study.read_shares(views_study.write_shares(study))
    assert [keep_for_share(share, 784) for share in shares] == keeps


@pytest.mark.parametrize("text", ["15 30,50", " 15,30 ; 50 ", "15% 30 % 50%", "15\n30\n50 50.0"])
def test_shares_as_people_write_them(text: str) -> None:
    assert views_study.read_shares(text) == pytest.approx((0.15, 0.30, 0.50))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least a share"),
        (" , ", "at least a share"),
        ("10 abc", "'abc' is no number"),
        ("0", "above 0 and below 100"),
        ("100", "above 0 and below 100"),
        ("-5", "above 0 and below 100"),
        ("nan", "above 0 and below 100"),
        (" ".join(["1"] * 1001), "1001 values are more"),
    ],
)
def test_shares_that_are_none(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        views_study.read_shares(text)


@given(st.text(max_size=40))
def test_whatever_is_typed_is_shares_or_refused(text: str) -> None:
    try:
        shares = views_study.read_shares(text)
    except InputError:
        return
    assert shares
    assert all(0 < share < 1 for share in shares)


def test_seeds() -> None:
    assert views_study.read_seeds("3, 1 2 1") == (3, 1, 2)
    for text, said in (("", "at least a seed"), ("1 -2", "'-2' is no seed"), ("1.5", "no seed"), ("²", "no seed")):
        with pytest.raises(InputError, match=said):
            views_study.read_seeds(text)


def values(study: Study) -> dict[str, object]:
    return {name: getattr(study, name) for name in study.__dataclass_fields__ if name != "keeps"}


def test_the_offers_say_what_each_thing_is() -> None:
    offers = views_study.offers()
    for name, text in {**offers.criteria, **offers.strategies, **offers.composites}.items():
        assert text
        assert text != name
    assert set(offers.controls) == {name for name, one in CRITERIA.items() if one.is_control}
    assert set(offers.composites) == set(offers.criteria) - set(offers.controls)


def test_a_draft_is_the_study_that_was_meant(mnist: Dataset) -> None:
    drafted = views_study.draft_study((0.5, 0.8, 0.5), **values(STUDY))
    assert drafted == replace(STUDY, keeps=(392, 157))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"seeds": tuple(range(1000)), "mask_seeds": tuple(range(50))}, InputError, "100,000 networks are more than"),
        ({"n_train": 60_000}, InputError, "n_train must be between 1 and 50000"),
        ({"seeds": ()}, InputError, "at least one value in seeds"),
        ({"criteria": ("magic",)}, InputError, "unknown criterion 'magic'"),
        ({"dataset": "kmnist", "root": "/nowhere"}, InputError, "is not in a folder that this app may read"),
    ],
)
def test_a_draft_that_cannot_run(change: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        views_study.draft_study((0.5,), **(values(STUDY) | change))


def test_names(mnist: Dataset) -> None:
    for name in PRESETS:
        assert views_study.name_study(preset(name, mnist)) == name
    assert views_study.name_study(STUDY) == "random, variance, fine-tune, 2 seeds"
    large = replace(STUDY, criteria=("lrp-0", "random", "variance"), strategies=("one-shot", "elimination"),
                    modes=("none", "scratch"), seeds=(1,), mask_seeds=(1, 2))  # fmt: skip
    assert views_study.name_study(large) == "lrp-0, random + 1, elimination, none / scratch, 1 seed x 2 masks"


def test_what_a_study_would_take(tmp_path_factory: pytest.TempPathFactory) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("outlook"))
    nothing = views_study.outlook(STUDY, ledger, views_study.measured_timings(ledger))
    assert (nothing.total, nothing.there, nothing.timed) == (12, 0, 0)
    assert nothing.seconds is not None
    assert nothing.seconds > START_SECONDS
    assert nothing.basis == "a moment of training on this machine"

    list(run_study(STUDY, ledger, name="small", jobs=1))
    timings = views_study.measured_timings(ledger)
    trials = ledger.trials([t.key for t in plan(STUDY, load_dataset("mnist"))])
    own = trials[trials["method"] != "none"]["seconds"]
    assert sorted(timings["seconds"]) == pytest.approx(sorted(own))
    finished = views_study.outlook(STUDY, ledger, timings)
    assert (finished.there, finished.seconds) == (12, 0)

    larger = replace(STUDY, keeps=(50, 100, 400))
    found = views_study.outlook(larger, ledger, timings)
    assert (found.total, found.there, found.timed, found.is_alike) == (16, 12, 8, True)
    assert found.basis == "8 networks trained alike"
    assert found.seconds is not None
    assert START_SECONDS < found.seconds < nothing.seconds + START_SECONDS
    assert views_study.seconds_left(larger, ledger) == pytest.approx(found.seconds - START_SECONDS)
    assert views_study.seconds_left(STUDY, ledger) == 0
    longer = views_study.outlook(replace(STUDY, epochs=2), ledger, timings)
    assert (longer.there, longer.timed, longer.is_alike) == (0, 8, False)
    assert longer.basis == "8 networks trained with other settings"

    stopped = replace(STUDY, seeds=(0,), keeps=(400,), batch_size=64, patience=1)
    list(run_study(stopped, ledger, name="stopped early", jobs=1))
    timings = views_study.measured_timings(ledger)
    for study, timed in ((larger, 8), (stopped, 2)):
        found = views_study.outlook(study, ledger, timings)
        assert (found.timed, found.is_alike) == (timed, True), "None beside numbers is a value of its own"


def test_an_estimate_grows_with_passes_rows_networks_and_seeds(mnist: Dataset, own_cache: Path) -> None:
    small = replace(STUDY, architecture="mlp-300-100", criteria=("lrp-0",), strategies=("elimination",))

    def seconds(cores: int = 1, **changes: Any) -> float:
        return seconds_of_study(plan(replace(small, **changes), mnist), cores) - START_SECONDS

    first = seconds()
    assert seconds(cores=2) == pytest.approx(first / 2, rel=0.05)
    assert seconds(seeds=(0, 1, 2, 3)) == pytest.approx(2 * first)
    tuned = plan(small, mnist)[-1]
    longer = replace(tuned, retrain=replace(tuned.retrain, epochs=12 * tuned.retrain.epochs))
    rows = replace(longer, base=replace(longer.base, n_train=50_000))
    evaluated = seconds_of_trial(replace(tuned, mode="none"))
    assert seconds_of_trial(longer) - evaluated == pytest.approx(12 * (seconds_of_trial(tuned) - evaluated))
    assert seconds_of_trial(rows) - evaluated == pytest.approx(250 * (seconds_of_trial(longer) - evaluated))
    assert seconds(strategies=("one-shot",)) < first < seconds(strategies=("exchange",))
    assert seconds(fewest=100) < first
    assert seconds_of_study([], 2) == 0


def test_what_is_in_the_cache_is_no_longer_estimated(mnist: Dataset, own_cache: Path) -> None:
    trials = plan(replace(STUDY, criteria=("lrp-0",), seeds=(7,)), mnist)
    before = seconds_of_study(trials, 1)
    train_base(trials[0].base)
    trained = seconds_of_study(trials, 1)
    assert trained < before
    assert trials[-1].ranking is not None
    rank_inputs(trials[-1].ranking)
    assert seconds_of_study(trials, 1) < trained


def test_pieces_are_laid_out_on_cores_as_workers_take_them() -> None:
    assert _laid_out([], 2) == 0
    assert _laid_out([3, 1, 1, 1], 2) == 3
    assert _laid_out([1, 1, 3], 2) == 4
    assert _laid_out([2, 2, 2], 8) == 2


def test_a_network_that_is_not_known_here_has_no_estimate(own_cache: Path) -> None:
    ledger = Ledger(own_cache)
    values = STUDY.values() | {"architecture": "of-mine"}
    study = Study.from_values(values | {"own": {"architecture": "of-mine", "network": "0"}})
    assert views_study.outlook(study, ledger, views_study.measured_timings(ledger)).seconds is None


def test_timings_leave_out_what_cannot_be_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("foreign"))
    ledger.announce("x", "study", "of the future", {"quantum": True}, 3)
    ledger.announce("y", "study", "gone", {**values(STUDY), "keeps": [1], "dataset": "kmnist", "root": "/nowhere"}, 3)
    assert views_study.measured_timings(ledger).empty
    assert isinstance(views_study.measured_timings(ledger), pd.DataFrame)
