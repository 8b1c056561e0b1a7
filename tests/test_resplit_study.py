"""Studies whose seeds draw splits of their own: 83 rows of 2,308 columns, as of the genes that tumours express."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import lrp_core as lc
from lrp_core.cli import main
from lrp_core.data import Dataset, provide, read_data, withdraw
from lrp_core.errors import Cancelled, InputError
from lrp_core.ranking import rank
from lrp_core.study import Study, plan, preset, run_study, trial_at, trial_network
from lrp_core.study.export import export_trial, predict
from lrp_core.study.ledger import Ledger
from lrp_core.study.stages import base_data, base_network, ranking_of, training_split
from lrp_core.study.trials import Base, significant
from lrp_core.training import evaluate
from lrp_core.views import can_resplit, choice_of_data, name_study
from lrp_core.views.study import open_study

from .support import check_sentence

pytestmark = pytest.mark.slow

ROWS, COLUMNS, TELLING = (29, 25, 18, 11), 2308, 60

TINY: dict[str, Any] = {
    "architecture": "softmax",
    "epochs": 20,
    "retrain_epochs": 5,
    "keeps": (200, 1200),
    "seeds": (0, 1, 2),
    "criteria": ("lrp-0", "variance"),
}


def genes(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Columns of which each class has 60 that are higher in it."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(4), ROWS))
    values = random.normal(6, 2, (len(labels), COLUMNS))
    for code in range(4):
        values[labels == code, code * TELLING : (code + 1) * TELLING] += 2
    return values.astype(np.float32), labels


@pytest.fixture(scope="module")
def data() -> Dataset:
    return read_data(genes(), name="genes")


@pytest.fixture(scope="module")
def study(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(**TINY, resplit=True).on(data)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return Ledger(tmp_path_factory.mktemp("resplit"))


@pytest.fixture(scope="module")
def trials(study: Study, ledger: Ledger) -> pd.DataFrame:
    list(run_study(study, ledger, jobs=1))
    return lc.study_trials(study, ledger)


def test_each_seed_has_a_split_of_its_own(data: Dataset, study: Study, trials: pd.DataFrame, ledger: Ledger) -> None:
    """What a row says is so: measured again, with its network, on the test rows that this seed draws."""
    assert len(trials) == 2 * 3 + 3 * 2 * 2
    assert (trials["split"] == trials["seed"]).all()
    assert (trials["mask_seed"] == trials["seed"]).all()
    tested = {}
    for trial, (_, row) in zip(plan(study, data), trials.iterrows(), strict=True):
        split = data.resplit(trial.base.seed)
        network = trial_network(trial, ledger)
        encode = getattr(network, "encode", None)
        for part in ("validation", "test"):
            assert row[f"{part}_score"] == evaluate(network, getattr(split, part), encode=encode).score
        assert row["training_images"] == len(split.train) == 59
        tested[trial.base.seed] = set(split.test.indices.tolist())
    assert len(tested) == 3
    assert tested[0] != tested[1] != tested[2] != tested[0]


def test_nothing_of_a_seed_has_seen_its_test_rows(data: Dataset, study: Study) -> None:
    for strategies in (("one-shot",), ("stability",)):
        for trial in plan(replace(study, strategies=strategies), data):
            bases = {*trial.bases, *([trial.ranking.base, trial.ranking.essence.base] if trial.ranking else [])}
            for base in bases:
                assert base.split == trial.base.seed
                held_out = {
                    i
                    for part in ("validation", "test")
                    for i in getattr(data.resplit(base.split), part).indices.tolist()
                }
                assert not held_out & set(training_split(base).indices.tolist())
                assert base_data(base).digest == data.resplit(trial.base.seed).digest


@pytest.mark.parametrize("criterion", ["lrp-0", "variance"])
def test_masks_come_from_the_training_rows_of_the_same_split(criterion: str, data: Dataset, study: Study) -> None:
    """Also where no network is asked: two seeds without a network share one ranking only where they share the rows."""
    orders = []
    for seed in (0, 1):
        spec = trial_at(study, data, method=criterion, keep=200, mode="none", seed=seed).ranking
        assert spec is not None
        networks = [base_network(base) for base in spec.bases]
        expected = rank(networks, data.resplit(seed).train, criterion=criterion, seed=seed)
        assert torch.equal(ranking_of(spec).order, expected.order)
        orders.append(expected.order)
    assert not torch.equal(*orders)


def test_the_intervals_allow_for_shared_rows(data: Dataset, study: Study, trials: pd.DataFrame, ledger: Ledger) -> None:
    result = lc.StudyResult(study, ledger)
    for part in ("validation", "test"):
        table = result.curve(part)
        assert (table["splits"] == 3).all()
        own = trials[(trials["method"] == "lrp-0") & (trials["keep"] == 200)].sort_values("seed")
        full = trials[(trials["method"] == "none") & (trials["mode"] == "fine-tune")].sort_values("seed")
        differences = own[f"{part}_score"].to_numpy() - full[f"{part}_score"].to_numpy()
        row = table[(table["method"] == "lrp-0") & (table["keep"] == 200)].iloc[0]
        for values, low, high in (
            (own[f"{part}_score"].to_numpy(), row["low"], row["high"]),
            (differences, row["difference_low"], row["difference_high"]),
        ):
            half = stats.t.ppf(0.975, 2) * math.sqrt((1 / 3 + 12 / 59) * values.var(ddof=1))
            assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half))
    found = result.recommend("lrp-0", margin=0.9)
    assert found is not None
    assert found.row is not None
    assert "3 pairs of networks over 3 splits of the rows" in found.sentence
    none = result.recommend("variance", margin=0.2)
    assert none is not None
    assert none.row is None
    assert "over 3 splits of the rows). More splits would narrow" in none.sentence


def test_an_export_takes_the_raw_numbers(
    data: Dataset, study: Study, trials: pd.DataFrame, ledger: Ledger, tmp_path: Path
) -> None:
    """The card has the scaler of the split, its notes, and its accuracy; `predict` needs what the file held."""
    trial = trial_at(study, data, method="lrp-0", keep=200, mode="fine-tune", seed=2)
    made = export_trial(trial, tmp_path / "small", ledger)
    card = json.loads((made.folder / "card.json").read_text())
    assert card["provenance"]["split_seed"] == 2
    assert any("split here" in note and "seed 2" in note for note in card["data"]["notes"])
    (values, labels), rows = genes(), data.resplit(2).test.indices.numpy()
    classes, _ = predict(made.folder, torch.from_numpy(values[rows]))
    right = np.mean([name == data.classes[label] for name, label in zip(classes, labels[rows], strict=True)])
    assert right == pytest.approx(card["accuracy"]["value"])
    row = trials[trials["key"] == trial.key].iloc[0]
    assert row["test_score"] == card["accuracy"]["value"]
    again = read_data(genes(), split_seed=2, standardise="no").test
    assert predict(made.folder, again.inputs)[0] == classes


def test_a_run_that_stopped_goes_on(study: Study, trials: pd.DataFrame, tmp_path: Path) -> None:
    ledger, done = Ledger(tmp_path), 0
    steps = run_study(study, ledger, jobs=1)
    with pytest.raises(Cancelled):
        for done, _, _ in steps:
            if done == 4:
                ledger.request_cancel(study.key)
    assert 4 <= done < len(trials)
    there = ledger.recorded(trials["key"].tolist())
    ran = [trial.key for *_, trial in run_study(study, ledger, jobs=1)]
    assert sorted([*there, *ran]) == sorted(trials["key"])
    found = lc.study_trials(study, ledger)
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), trials.drop(columns="seconds"))


def test_pages_show_the_rows_of_the_seed(data: Dataset, study: Study, trials: pd.DataFrame, ledger: Ledger) -> None:
    opened = open_study(study, ledger)
    for seed in (0, 1):
        again = data.resplit(seed)
        test = again.test
        assert again.scaler is not None
        found = opened.images.explain(seed=seed, index=3, composite="epsilon")
        assert found.label == int(test.labels[3])
        assert found.image == pytest.approx(again.scaler.restore(test.inputs[3:4]).numpy(), rel=1e-4)
        network = base_network(plan(study, data)[seed].base)
        with torch.no_grad():
            assert found.logits == pytest.approx(network(test.inputs[3:4])[0].numpy(), abs=1e-4)
            wrong = (network(test.inputs).argmax(1) != test.labels).nonzero().flatten().tolist()
        assert opened.removals.wrong_indices(seed) == wrong
        assert opened.images.indices(seed, 2) == (test.labels == 2).nonzero().flatten().tolist()
        assert torch.equal(opened.removals.sample(None, seed).indices, test.indices)
        assert opened.images.mean(seed).ravel() == pytest.approx(np.array(again.scaler.mean), abs=1e-4)
    answers = opened.against_baseline("lrp-0", "fine-tune", 200, 1)
    assert answers is not None
    assert answers.n == 12


def test_a_worker_splits_what_it_was_sent(data: Dataset, study: Study, own_cache: Path) -> None:
    """It has neither the file nor the cache of the machine that sent the data."""
    sent = read_data(genes(1), name="sent")
    provide(sent)
    try:
        assert base_data(Base("sent", digest=sent.digest, split=5)).digest == sent.resplit(5).digest
    finally:
        withdraw(sent.digest)


# What it is called, and what cannot be


def test_other_studies_keep_their_keys(data: Dataset, study: Study) -> None:
    plain = replace(study, resplit=False)
    assert "resplit" not in significant(asdict(plain))
    assert plain.key != study.key
    for trial in plan(plain, data):
        assert "split" not in json.dumps(significant(asdict(trial)))
        assert "split" not in trial.row()
    assert {trial.key for trial in plan(plain, data)}.isdisjoint(trial.key for trial in plan(study, data))
    assert Study.from_values(json.loads(json.dumps(study.values()))) == study


def test_masks_of_other_splits_are_refused(data: Dataset, study: Study) -> None:
    with pytest.raises(InputError, match="has seen test rows") as caught:
        replace(study, mask_seeds=(0, 1))
    check_sentence(caught.value)
    with pytest.raises(InputError, match="mask of seed 1 cannot go with the network of seed 0") as caught:
        trial_at(study, data, method="lrp-0", keep=200, mode="none", seed=0, mask_seed=1)
    check_sentence(caught.value)


def test_given_parts_are_refused_before_anything_is_trained(mnist: Dataset, tmp_path: Path) -> None:
    for refused in (
        lambda: plan(Study(**TINY | {"keeps": (10,)}, resplit=True), mnist),
        lambda: preset("quick", mnist, resplit=True),
    ):
        with pytest.raises(InputError, match="given parts are kept") as caught:
            refused()
        check_sentence(caught.value)


def test_training_rows_are_counted_in_every_split() -> None:
    """Groups of several sizes: some splits have fewer training rows than the one that was read."""
    who = np.repeat(np.arange(30), [1 + i % 5 for i in range(30)])
    values = np.random.default_rng(0).normal(size=(len(who), 4))
    grouped = read_data({"X": values, "y": np.arange(len(who)) % 2, "who": who}, groups_column="who")
    sizes = [len(grouped.resplit(seed).train) for seed in range(6)]
    assert min(sizes) < max(sizes)
    study = Study(**TINY | {"keeps": (2,), "seeds": tuple(range(6)), "n_train": min(sizes)}, resplit=True).on(grouped)
    assert plan(study, grouped)
    with pytest.raises(InputError, match=f"n_train must be between 1 and {min(sizes)}"):
        plan(replace(study, n_train=max(sizes)), grouped)
    assert plan(preset("quick", grouped, seeds=range(6), resplit=True, keeps=(2,)), grouped)


# Presets and the command line


def test_presets_split_again_where_there_are_fewer_rows_than_inputs(data: Dataset) -> None:
    few = preset("quick", data)
    assert few.resplit
    assert few.seeds == tuple(range(10))
    assert name_study(few) == "quick"
    assert "2 splits" in name_study(replace(few, seeds=(0, 1)))
    assert can_resplit(choice_of_data(few))
    assert preset("full", data, seeds=(3, 4)).seeds == (3, 4)
    for changes in ({"resplit": False}, {"seeds": (3,)}, {"mask_seeds": (0, 1)}):
        assert not preset("quick", data, **changes).resplit
    assert preset("quick", data, resplit=False).seeds == Study(keeps=(1,)).seeds
    values, labels = genes()
    many = read_data((values[:, :80], labels), name="few columns")
    assert not preset("quick", many).resplit
    asked = preset("quick", many, resplit=True)
    assert asked.resplit
    assert len(asked.seeds) == 10
    given = replace(data, blocks=None)
    assert not preset("quick", given).resplit
    assert not can_resplit(choice_of_data(preset("quick", given)))


def test_a_preset_keeps_the_one_split_where_groups_are_too_few_for_some_seed() -> None:
    """Three patients, of whom one alone has both classes: it has to be the one that is trained on."""
    values, _ = genes()
    who = np.repeat([0, 1, 2], [5, 3, 11])
    kinds = np.repeat([1, 0, 1], [5, 6, 8])
    arrays = {"X": values[:19], "y": kinds, "who": who}
    readable, refused = [], []
    for seed in range(10):
        try:
            readable.append(read_data(arrays, groups_column="who", split_seed=seed))
        except InputError:
            refused.append(seed)
    assert readable
    assert refused
    assert not preset("quick", readable[0]).resplit
    with pytest.raises(InputError, match=f"seed {refused[0]}: add groups, choose another seed"):
        preset("quick", readable[0], resplit=True)


def test_the_command_line(tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values, labels = genes()
    np.savez(tmp_path / "genes.npz", X=values, y=labels)
    words = ["--model", "softmax", "--epochs", "10", "--retrain-epochs", "2", "--keeps", "200", "--criteria", "lrp-0"]
    read = ["--data", str(tmp_path / "genes.npz")]
    given = ["study", *read, *words, *["--seeds", "0", "1", "--jobs", "1", "--margin", "99"]]
    assert main(given) == 0
    said = capsys.readouterr()
    assert "there are fewer rows than inputs: each of 2 seeds draws its own split of the rows (--no-resplit" in said.err
    assert "over 2 splits of the rows" in said.out
    assert main([*given, "--no-resplit"]) == 0
    said = capsys.readouterr()
    assert "splits of the rows" not in said.out + said.err
    assert main([*given, "--resplit", "--mask-seeds", "0"]) == 2
    check_sentence(InputError(capsys.readouterr().err.strip()))
    assert main(["study", "--resplit", "--dataset", "mnist"]) == 2
    assert "given parts are kept" in capsys.readouterr().err
    rank_words = [
        "rank",
        "--data",
        str(tmp_path / "genes.npz"),
        "--model",
        "softmax",
        "--epochs",
        "2",
        "--images",
        "59",
    ]
    assert main(rank_words) == 0, "one seed has the one split"
