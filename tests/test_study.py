"""A study is a function of its description: whatever happens on the way, the table is the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrp_core.data import Dataset
from lrp_core.errors import Cancelled, InputError, StorageError
from lrp_core.pruning import PrunedNetwork
from lrp_core.pruning.files import load_network
from lrp_core.ranking import CRITERIA, Method, rank
from lrp_core.study import (
    MODES,
    PRESETS,
    Study,
    plan,
    preset,
    run_study,
    run_trial,
    stages,
    trial_at,
    trial_network,
    weights_path,
)
from lrp_core.study.ledger import Ledger
from lrp_core.study.results import paired
from lrp_core.study.run import _stages, make_network
from lrp_core.study.stages import (
    base_network,
    ranking_of,
    training_split,
)
from lrp_core.study.trials import ADDED, Base, RankingSpec, Trial, key_of, significant
from lrp_core.training import PRECISIONS, evaluate, fit, one_thread
from lrp_core.training.stopping import Held

from .support import MEASURED, toy_dataset

pytestmark = pytest.mark.slow

TINY: dict[str, Any] = {
    "architecture": "softmax",
    "n_train": 300,
    "epochs": 1,
    "retrain_epochs": 1,
    "rank_images": 100,
    "keeps": (100, 400),
    "seeds": (0, 1),
}


def tiny(**changes: Any) -> Study:
    return Study(**{**TINY, **changes})


def table_of(study: Study, data: Dataset, ledger: Ledger) -> pd.DataFrame:
    """What a study found, without what it took."""
    return ledger.trials([trial.key for trial in plan(study, data)]).drop(columns="seconds")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return Ledger(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def finished(mnist: Dataset, ledger: Ledger) -> pd.DataFrame:
    steps = list(run_study(tiny(modes=MODES), ledger, jobs=2))
    assert [done for done, *_ in steps] == list(range(1, len(steps) + 1))
    assert {total for _, total, _ in steps} == {len(steps)}
    return table_of(tiny(modes=MODES), mnist, ledger)


def test_the_grid_is_complete(finished: pd.DataFrame) -> None:
    assert len(finished) == 2 * 2 + 2 * 3 * 2 * 3
    places = finished[["criterion", "keep", "mode", "seed"]].value_counts()
    assert (places == 1).all()
    assert set(finished["criterion"]) == {"none", "lrp-0", "random", "variance"}
    baseline = finished[finished["criterion"] == "none"]
    assert baseline["keep"].tolist() == [784] * 4
    assert baseline["mode"].tolist() == ["none", "none", "fine-tune", "fine-tune"]


def test_the_full_network_is_tuned_for_as_long(mnist: Dataset, ledger: Ledger, finished: pd.DataFrame) -> None:
    """Of what is fine-tuned, the difference is to the full network after the same further training, not before it."""
    study = tiny(modes=MODES)
    [tuned] = [t for t in plan(study, mnist) if (t.method, t.mode, t.base.seed) == ("none", "fine-tune", 1)]
    smaller = trial_at(study, mnist, method="lrp-0", keep=100, mode="fine-tune", seed=1)
    assert tuned.retrain == smaller.retrain
    data = mnist.train.sample(study.n_train, seed=1)
    expected = fit(base_network(tuned.base), data, recipe=tuned.retrain, seed=1, device="cpu")
    kept = load_network(weights_path(ledger, tuned))
    assert torch.allclose(kept.logits.weight, expected.logits.weight, atol=1e-6)
    assert not torch.equal(kept.logits.weight, base_network(tuned.base).logits.weight)
    by_key = paired(finished).set_index("key")
    for mode in MODES:
        small = by_key.loc[trial_at(study, mnist, method="lrp-0", keep=100, mode=mode, seed=1).key]
        full = by_key[(by_key["method"] == "none") & (by_key["seed"] == 1)].set_index("mode")["validation_score"]
        other = full["fine-tune" if mode == "fine-tune" else "none"]
        assert small["difference"] == pytest.approx(small["validation_score"] - other)


def test_what_a_trial_says_is_so(mnist: Dataset, ledger: Ledger, finished: pd.DataFrame) -> None:
    """Accuracy, confidence, per-class accuracy and cost once more, from the stored weights."""
    study = tiny(modes=MODES)
    for criterion, keep, mode in (("lrp-0", 100, "fine-tune"), ("random", 400, "none"), ("variance", 100, "scratch")):
        trial = trial_at(study, mnist, method=criterion, keep=keep, mode=mode, seed=1)
        row = finished[finished["key"] == trial.key].iloc[0]
        network = load_network(weights_path(ledger, trial))
        assert isinstance(network, PrunedNetwork)
        assert torch.equal(network.mask.indices, ranking_of(trial.ranking).mask(keep).indices)
        for part, split in (("validation", mnist.validation), ("test", mnist.test)):
            with torch.no_grad():
                logits = network(split.images.flatten(1)[:, network.mask.indices])
            assert row[f"{part}_score"] == (logits.argmax(1) == split.labels).double().mean().item()
            assert row[f"{part}_confidence"] == pytest.approx(logits.softmax(1).amax(1).mean().item(), rel=1e-5)
            assert row[f"{part}_per_class"][3] == pytest.approx(
                (logits.argmax(1) == split.labels)[split.labels == 3].double().mean().item()
            )
        assert row["macs"] == 10 * keep
        assert row["parameters"] == 10 * keep + 10
        assert row["bytes"] == 4 * (10 * keep + 10)
        assert row["input_bytes"] == 4 * keep


def test_the_baseline_is_the_full_network(mnist: Dataset, finished: pd.DataFrame) -> None:
    baseline = plan(tiny(modes=MODES), mnist)[0]
    assert baseline.method == "none"
    found = evaluate(base_network(baseline.base), mnist.validation).accuracy
    assert finished[finished["key"] == baseline.key]["validation_score"].item() == found


def test_asking_again_costs_nothing(
    mnist: Dataset, ledger: Ledger, finished: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrp_core.study.run.open_pool", lambda *_, **__: pytest.fail("a process was started"))
    assert list(run_study(tiny(modes=MODES), ledger, jobs=2)) == []
    run = ledger.run(tiny(modes=MODES).key)
    assert run is not None
    assert (run.state, run.done, run.total) == ("done", len(finished), len(finished))


def test_studies_share_their_trials(mnist: Dataset, ledger: Ledger, finished: pd.DataFrame) -> None:
    larger = tiny(modes=("fine-tune",), keeps=(100, 200, 400), seeds=(0,))
    ran = [trial.keep for *_, trial in run_study(larger, ledger, jobs=1)]
    assert ran == [200, 200, 200]


def test_the_number_of_processes_changes_nothing(mnist: Dataset, finished: pd.DataFrame, tmp_path: Path) -> None:
    study = tiny(modes=MODES, seeds=(1,))
    ledger = Ledger(tmp_path)
    list(run_study(study, ledger, jobs=1))
    alone = table_of(study, mnist, ledger).set_index("key")
    pd.testing.assert_frame_equal(alone, finished.set_index("key").loc[alone.index])


def test_lost_weights_are_made_again(mnist: Dataset, ledger: Ledger, finished: pd.DataFrame) -> None:
    study = tiny(modes=MODES)
    trial = trial_at(study, mnist, method="lrp-0", keep=100, mode="fine-tune", seed=0)
    path = weights_path(ledger, trial)
    whole = path.read_bytes()
    for damage in (None, whole[: len(whole) // 2], b"", b"garbage"):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        network = trial_network(trial, ledger)
        assert isinstance(network, PrunedNetwork)
        assert path.read_bytes() == whole


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
@pytest.mark.parametrize("attempt", range(4))
def test_a_study_killed_at_any_moment_goes_on_where_it_was(
    mnist: Dataset, finished: pd.DataFrame, tmp_path: Path, attempt: int
) -> None:
    """kill -9 at five random moments, twenty in all; then every trial is there once and none differs.

    A study that was complete before is checked and begun again, so that each kill meets one at work.
    """
    study = tiny(modes=MODES)
    keys = [trial.key for trial in plan(study, mnist)]
    command = [
        *(sys.executable, "-m", "lrp_core", "study", "--model", "softmax", "--train-images", "300", "--epochs", "1"),
        *("--retrain-epochs", "1", "--images", "100", "--keeps", "100", "400", "--seeds", "0", "1"),
        *("--modes", *MODES, "--jobs"),
    ]
    chance = random.Random(attempt)
    folders: list[Path] = []
    kills = count = 0
    while kills < 5:
        if not folders or count == len(keys):
            folders.append(tmp_path / str(len(folders)))
            count = 0
        ledger = Ledger(folders[-1])
        process = subprocess.Popen(
            [*command, str(1 + kills % 2)],
            env={**os.environ, "LRP_CACHE": str(folders[-1])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Half of the moments are counted from the start, half from a trial, so that none is rare on a busy machine.
        seconds, aim = time.monotonic() + chance.uniform(1, 7), count + chance.randint(1, 12)
        by_time = chance.random() < 0.5
        while process.poll() is None and not (
            time.monotonic() > seconds if by_time else len(ledger.recorded(keys)) >= aim
        ):
            time.sleep(chance.uniform(0, 0.1))
        if process.poll() is None:
            chance.choice([os.kill, os.killpg])(process.pid, signal.SIGKILL)  # its workers follow it, or die with it
            process.wait()
            kills += 1
            run = ledger.run(study.key)
            assert run is None or run.state == "interrupted" or run.done == run.total
        assert process.returncode in (0, -signal.SIGKILL)
        before, count = count, len(ledger.recorded(keys))
        assert count >= before
    for folder in folders:
        ledger = Ledger(folder)
        list(run_study(study, ledger, jobs=1))
        table = table_of(study, mnist, ledger)
        assert table["key"].is_unique
        pd.testing.assert_frame_equal(table, finished)


def test_cancelling_keeps_what_is_done(mnist: Dataset, tmp_path: Path) -> None:
    study = tiny(criteria=("random",))
    ledger = Ledger(tmp_path)
    with pytest.raises(Cancelled):
        for done, *_ in run_study(study, ledger, jobs=1):
            if done == 3:
                ledger.request_cancel(study.key)
    run = ledger.run(study.key)
    assert run is not None
    assert run.state == "cancelled"
    kept = len(table_of(study, mnist, ledger))
    assert 3 <= kept < 8
    assert len(list(run_study(study, ledger, jobs=1))) == 8 - kept


def test_changed_data_are_noticed(mnist: Dataset) -> None:
    trial = plan(tiny(), mnist)[0]
    other = replace(trial, base=replace(trial.base, digest="0" * 32))
    assert other.key != trial.key
    with pytest.raises(StorageError, match="not the ones"):
        run_trial(other)


def test_a_cached_ranking_is_the_one_that_is_computed(mnist: Dataset) -> None:
    base = plan(tiny(), mnist)[0].base
    spec = RankingSpec(base, Method("epsilon"), start="logit", rank_images=50)
    first, again = ranking_of(spec), ranking_of(spec)
    for name in ("scores", "standard_error", "order"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    with one_thread():
        expected = rank(
            base_network(base), training_split(base), criterion="epsilon", start="logit", images=50, seed=base.seed
        )
    assert torch.equal(first.scores, expected.scores)
    assert torch.equal(first.standard_error, expected.standard_error)
    assert not torch.equal(first.scores, ranking_of(replace(spec, start="contrast")).scores)


@pytest.mark.parametrize("criterion", ["gradient-x-input", "weight", "anova-f", "centre"])
def test_every_kind_of_control_can_be_studied(mnist: Dataset, tmp_path: Path, criterion: str) -> None:
    """With one network for each seed, if it looks at one; and the ranking is the one that `rank` gives."""
    study = tiny(criteria=(criterion,), keeps=(100,), modes=("none",), statistic="mean-positive")
    ledger = Ledger(tmp_path)
    list(run_study(study, ledger, jobs=1))
    table = table_of(study, mnist, ledger)
    assert table["criterion"].tolist() == ["none"] * 2 + [criterion] * 2
    for seed in (0, 1):
        trial = trial_at(study, mnist, method=criterion, keep=100, mode="none", seed=seed)
        split = training_split(trial.base)
        if criterion in MEASURED:
            split = split.sample(100, seed=seed)
        with one_thread():
            network = base_network(trial.base)
            expected = rank(network, split, criterion=criterion, statistic="mean-positive", seed=seed)
        assert torch.equal(ranking_of(trial.ranking).order, expected.order)
        assert torch.equal(ranking_of(trial.ranking).scores, expected.scores)
        found = load_network(weights_path(ledger, trial))
        assert isinstance(found, PrunedNetwork)
        assert torch.equal(found.mask.indices, expected.mask(100).indices)


def test_what_a_control_does_not_depend_on_is_not_part_of_its_trial(mnist: Dataset) -> None:
    """Other images or another statistic for relevance do not make its trials new ones."""
    changed = tiny(rank_images=50, statistic="mean", start="logit")
    for criterion in CRITERIA:
        keys = {
            trial_at(study, mnist, method=criterion, keep=100, mode="none", seed=0).key for study in (tiny(), changed)
        }
        assert len(keys) == (2 if criterion in MEASURED else 1)


def test_controls_without_a_network_are_computed_once_for_all_networks(mnist: Dataset, own_cache: Path) -> None:
    base = plan(tiny(), mnist)[0].base
    for architecture in ("softmax", "mlp-1000"):
        ranking_of(RankingSpec(replace(base, architecture=architecture), Method("non-constant")))
    assert len(list((own_cache / "stages").rglob("output.pkl"))) == 1


def test_the_studies_that_run_by_themselves_have_the_two_plain_controls() -> None:
    assert Study(keeps=(1,)).criteria == ("lrp-0", "random", "variance")


changes = st.fixed_dictionaries(
    {},
    optional={
        "n_train": st.sampled_from([200, 400]),
        "architecture": st.sampled_from(["mlp-300-100", "lenet-5"]),
        "criteria": st.sampled_from([("lrp-0",), ("random", "variance")]),
        "keeps": st.sampled_from([(50,), (10, 700)]),
        "modes": st.sampled_from([("scratch",), ("none", "fine-tune")]),
        "seeds": st.sampled_from([(3,), (4, 5)]),
        "statistic": st.sampled_from(["mean-abs", "max-mean-positive"]),
        "start": st.just("logit"),
        "rank_images": st.sampled_from([None, 10]),
        "epochs": st.just(2),
        "retrain_epochs": st.just(3),
        "precision": st.just("bfloat16"),
        "optimizer": st.just("sgd"),
        "batch_size": st.just(64),
        "lr": st.just(0.01),
        "patience": st.just(2),
    },
)


@given(changes)
def test_a_description_survives_json_and_identifies_the_study(change: dict[str, Any]) -> None:
    import json

    study = tiny(**change)
    back = Study.from_values(json.loads(json.dumps(asdict(study))))
    assert back == study
    assert back.key == study.key
    assert (study.key == tiny().key) == (study == tiny())


def _names_in(values: dict[str, Any]) -> set[str]:
    inner = (_names_in(value) for value in values.values() if isinstance(value, dict))
    return set(values).union(*inner)


def test_a_preset_takes_ranges_and_lists(mnist: Dataset) -> None:
    study = preset("quick", mnist, seeds=range(2), keeps=[200, 100], mask_seeds=range(3), criteria=["variance"])
    tuples = {"seeds": (0, 1), "keeps": (200, 100), "mask_seeds": (0, 1, 2), "criteria": ("variance",)}
    assert study == preset("quick", mnist, **tuples)
    assert study.key == preset("quick", mnist, **tuples).key


def test_fields_that_were_added_leave_keys_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests that an earlier version gave, with its number of the stages: only that number invalidates results."""
    monkeypatch.setattr("lrp_core.study.trials.STAGE_VERSION", 4)
    assert Study(keeps=(100, 400)).key == "517708bde84c3d6dc080855d"
    assert Study(keeps=(100,), architecture="lenet-5", epochs=3).key == "1e97e683cd3c889d516ea6e9"
    assert key_of(Base(), without="root") == "12b89f2a75168ec0efe4bb69"
    assert Trial(Base(), 400, "fine-tune").key == "d2ecbe75899c03c6237a13ea"


RECIPE = {"optimizer": "sgd", "batch_size": 64, "lr": 0.01, "patience": 2}


def test_the_recipe_reaches_every_network(mnist: Dataset) -> None:
    for trial in plan(tiny(modes=("fine-tune", "scratch"), **RECIPE), mnist):
        for base in trial.bases:
            assert {name: getattr(base.recipe, name) for name in RECIPE} == RECIPE
        if trial.ranking:
            assert {name: getattr(trial.retrain, name) for name in RECIPE if name != "lr"}.items() <= RECIPE.items()
            assert trial.retrain.lr == (0.005 if trial.mode == "fine-tune" else 0.01)


def test_full_and_smaller_networks_stop_by_the_validation_images(
    mnist: Dataset, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    given: list[tuple[int, int]] = []

    class Watched(Held):
        def __init__(self, inputs: torch.Tensor, labels: torch.Tensor, patience: int) -> None:
            given.append((inputs[0].numel(), len(labels)))
            assert torch.equal(labels, mnist.validation.labels)
            super().__init__(inputs, labels, patience)

    monkeypatch.setattr("lrp_core.training.fitting.Held", Watched)
    trial = plan(tiny(modes=("scratch",), criteria=("variance",), keeps=(50,), patience=1), mnist)[-1]
    make_network(trial)
    assert given == [(784, len(mnist.validation)), (50, len(mnist.validation))]


def test_precision_reaches_every_network_and_its_key(mnist: Dataset) -> None:
    exact, fast = (plan(tiny(modes=("fine-tune", "scratch"), precision=name), mnist) for name in PRECISIONS)
    assert {trial.retrain.precision for trial in fast if trial.ranking} == {"bfloat16"}
    assert {base.recipe.precision for trial in fast for base in trial.bases} == {"bfloat16"}
    assert not {trial.key for trial in exact} & {trial.key for trial in fast}


def test_results_from_before_there_was_a_choice_of_precision_stay_valid(mnist: Dataset) -> None:
    """A key is that of the fields there were then; a description of then is read, and means float32."""
    study = tiny()
    values = asdict(study)
    added = {name: values.pop(name) for name in ADDED if name in values}
    assert added == {name: value for name, value in ADDED.items() if name not in ("own", "split")}
    assert Study.from_values(values) == study
    assert significant(asdict(study)) == values
    for trial in plan(study, mnist):
        assert not set(ADDED) & {"precision", "optimizer", "patience"} & _names_in(significant(asdict(trial)))
    assert "precision" in str(significant(asdict(tiny(precision="bfloat16"))))


@given(changes)
def test_every_trial_of_a_plan_is_its_own(mnist: Dataset, change: dict[str, Any]) -> None:
    study = tiny(**change)
    trials = plan(study, mnist)
    assert len({trial.key for trial in trials}) == len(trials)
    seeds, cells = len(study.seeds), len(study.criteria) * len(study.keeps) * len(study.modes)
    assert len(trials) == seeds * (1 + ("fine-tune" in study.modes) + cells)
    assert [t.method for t in trials[:seeds]] == ["none"] * seeds


def test_early_results_span_the_curve(mnist: Dataset) -> None:
    trials = plan(tiny(keeps=tuple(range(50, 750, 50)), criteria=("random",), seeds=(0,)), mnist)
    first = [trial.keep for trial in trials if trial.ranking][:3]
    assert first == [50, 700, 350]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keeps": ()}, "keeps"),
        ({"criteria": ()}, "criteria"),
        ({"seeds": ()}, "seeds"),
        ({"modes": ()}, "modes"),
        ({"criteria": ("lrp0",)}, "did you mean 'lrp-0'"),
        ({"architecture": "mlp-300"}, "unknown model"),
        ({"modes": ("finetune",)}, "unknown mode"),
        ({"statistic": "median"}, "unknown statistic"),
        ({"start": "softmax"}, "unknown start"),
        ({"seeds": (-1,)}, "seed"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam': did you mean 'adamw'"),
        ({"patience": 0}, "patience is a number of epochs, at least 1"),
        ({"lr": 0.0}, "lr above 0"),
        ({"batch_size": 0}, "batch_size at least 1"),
        ({"precision": "bf16"}, "unknown precision 'bf16': did you mean 'bfloat16'"),
        ({"epochs": -1}, "epochs"),
    ],
)
def test_what_cannot_be_studied_is_refused_at_once(mnist: Dataset, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan(tiny(**change), mnist)


@pytest.mark.parametrize("keep", [0, -1, 785])
def test_a_keep_beyond_the_inputs_is_refused(mnist: Dataset, keep: int) -> None:
    with pytest.raises(InputError, match="between 1 and 784"):
        plan(tiny(keeps=(keep,)), mnist)


@pytest.mark.parametrize("name", ["n_train", "rank_images"])
def test_more_images_than_there_are_is_refused(mnist: Dataset, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} must be between 1 and 50000"):
        plan(tiny(**{name: 50_001}), mnist)


def test_presets(mnist: Dataset) -> None:
    for name in PRESETS:
        study = preset(name, mnist)
        assert {"lrp-0", "random", "variance"} <= set(study.criteria)
        assert study.methods[0] == "lrp-0, elimination"
        assert (study.n_train, study.modes) == (None, ("scratch",))
        assert len(study.seeds) > 1, "there are intervals"
        assert plan(study, mnist)
    full = preset("full", mnist)
    assert [round(1 - keep / 784, 2) for keep in full.keeps] == [0.15, 0.3, 0.5, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert len(full.seeds) >= 5
    quick = preset("quick", mnist)
    assert quick.fewest == min(quick.keeps)
    assert preset("quick", mnist, keeps=(300, 100)).fewest == 100
    assert preset("quick", mnist, strategies=("one-shot",)).fewest is None
    assert preset("quick", mnist, epochs=1).epochs == 1
    with pytest.raises(InputError, match="quick, full"):
        preset("large", mnist)


def test_the_quick_study_suits_itself_to_the_data_and_the_network(mnist: Dataset, own_cache: Path) -> None:
    for architecture in ("lenet-5", "mlp-1000"):
        large = preset("quick", mnist, architecture=architecture)
        assert (large.n_train, large.modes, large.strategies) == (10_000, ("fine-tune",), ("one-shot",))
        assert (large.lr, large.fewest) == (None, None)
    few = preset("quick", toy_dataset())
    assert (few.modes, few.strategies) == (("fine-tune",), ("elimination", "one-shot"))
    assert (few.lr, few.n_train, few.epochs) == (None, 240, 200)
    half = replace(mnist, name="half of it", train=mnist.train.take(torch.arange(25_000)))
    assert (preset("quick", half).epochs, preset("quick", mnist).epochs) == (6, 3)


def test_the_first_seed_has_its_quick_trials_before_what_takes_long(mnist: Dataset) -> None:
    study = preset("quick", mnist)
    left = {trial.key: trial for trial in plan(study, mnist)}
    stages = _stages(left, 2)
    names = ["training on all inputs", "ranking", "trials"]
    assert [name for name, _, _ in stages] == [*names, *names]
    assert [[base.seed for base in needed.values()] for name, _, needed in stages if name == names[0]] == [[0, 1], [2]]
    assert [name for name, _, _ in _stages(left, -1)] == [*names, "ranking", "trials"]
    early, late = stages[2][2], stages[5][2]
    assert early | late == left
    assert all(trial.base.seed == 0 for trial in early.values())
    assert {trial.method for trial in early.values()} == {"none", "lrp-0", "random", "variance"}
    one_shot = {key: trial for key, trial in left.items() if "elimination" not in trial.method}
    assert [name for name, _, _ in _stages(one_shot, 2)] == ["training on all inputs", "ranking", "trials"]


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_stage_is_computed_again(
    mnist: Dataset, own_cache: Path, damage: bytes | None, recwarn: pytest.WarningsRecorder
) -> None:
    base = replace(plan(tiny(), mnist)[0].base, seed=7)
    base_network.cache_clear()
    first = {name: value.clone() for name, value in base_network(base).state_dict().items()}
    stored = list((own_cache / "stages").rglob("output.pkl"))
    assert len(stored) == 1
    stored[0].write_bytes(stored[0].read_bytes()[:200] if damage is None else damage)
    base_network.cache_clear()
    again = base_network(base).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_cache_stays_within_its_limit(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = own_cache / "weights"
    weights.mkdir(parents=True)
    for i in range(6):
        (weights / f"{i}.safetensors").write_bytes(b"x" * 1000)
        os.utime(weights / f"{i}.safetensors", (i, i))
    monkeypatch.setattr(stages, "CACHE_LIMIT", 3500)
    stages.trim_cache(weights)
    assert sorted(file.name for file in weights.iterdir()) == [f"{i}.safetensors" for i in (3, 4, 5)]


def test_naming_something_twice_changes_nothing(mnist: Dataset) -> None:
    once = plan(tiny(), mnist)
    twice = plan(
        tiny(criteria=tiny().criteria * 2, keeps=(400, 100, 400), seeds=(0, 1, 0), modes=("fine-tune",) * 2), mnist
    )
    assert [t.key for t in twice] == [t.key for t in once]
