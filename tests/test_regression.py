"""Numbers as a target: read, trained on, explained, ranked by, studied, exported and predicted again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score

import lrp_core as lc
from lrp_core import views
from lrp_core.cli import main
from lrp_core.data import Dataset, Split, Target, open_data, read_data, store
from lrp_core.errors import InputError, StorageError
from lrp_core.evaluation import r2_interval
from lrp_core.study import preset
from lrp_core.study.export import load_export, predict, predict_numbers
from lrp_core.study.finished import StudyResult
from lrp_core.training import evaluate

pytestmark = pytest.mark.slow

NEEDED = ["size", "rooms"]
RECIPE = lc.Recipe(epochs=30, batch_size=64)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("numbers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """A price of two columns; three others tell nothing."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(600, 5)), columns=["noise1", "size", "noise2", "rooms", "noise3"])
    return frame.assign(price=250_000 + 60_000 * frame["size"] + 40_000 * frame["rooms"] ** 2 + random.normal(600))


@pytest.fixture(scope="module")
def csv(folder: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(folder / "houses.csv", index=False)
    return folder / "houses.csv"


@pytest.fixture(scope="module")
def data(csv: Path) -> Dataset:
    return read_data(csv, label="price", task="regression")


@pytest.fixture(scope="module")
def result(data: Dataset) -> StudyResult:
    study = preset("quick", data, strategies=("one-shot", "elimination"), seeds=(0, 1), epochs=60)
    return lc.run(study, data=data, jobs=1)


def test_numbers_are_standardised_by_the_training_rows(data: Dataset, frame: pd.DataFrame) -> None:
    assert (data.classes, data.n_outputs, data.words.score) == ((), 1, "R²")
    assert data.target is not None
    train = frame["price"].to_numpy()[data.train.indices.numpy()]
    assert data.target.name == "price"
    assert (data.target.mean, data.target.scale) == pytest.approx((train.mean(), train.std()))
    for part in (data.train, data.validation, data.test):
        assert part.has_numbers
        expected = frame["price"].to_numpy()[part.indices.numpy()]
        assert np.allclose(data.target.restore(part.labels).numpy(), expected, rtol=1e-6)
    assert sorted(torch.cat([p.indices for p in (data.train, data.validation, data.test)]).tolist()) == list(range(600))
    assert any("at random" in note for note in data.notes)
    kept = open_data(data.name, digest=store(data))
    assert kept.target == data.target
    assert kept.digest == data.digest


def test_quantities_are_refused_as_classes_and_the_way_out_is_said(csv: Path) -> None:
    with pytest.raises(InputError, match="--task regression"):
        read_data(csv, label="price")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["1.5", "cheap", "2"] * 10, "row 1 .*'cheap', where a number"),
        ([1.0, np.nan, 2.0] * 10, "row 1 .*where a number"),
        ([3.0] * 30, "the number 3 in every row"),
        ([1.0, 1e300, 2.0] * 10, "more than float32"),
    ],
)
def test_labels_that_are_no_numbers(values: list[object], says: str) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        read_data((np.random.default_rng(0).normal(size=(30, 3)), np.array(values)), task="regression")
    assert "\n" not in str(refusal.value)


def test_kinds_of_labels_are_not_mixed() -> None:
    rows = torch.randn(6, 2)
    numbers, classes = Split(rows, torch.randn(6), numbers=True), Split(rows, [0, 1] * 3)
    with pytest.raises(InputError, match="say which with target="):
        Dataset("own", ("a", "b"), numbers, numbers, numbers)
    with pytest.raises(InputError, match="numbers=True"):
        Dataset("own", (), classes, classes, classes, target=Target())
    with pytest.raises(InputError, match="leave one of them out"):
        Dataset("own", ("a",), numbers, numbers, numbers, target=Target())
    with pytest.raises(InputError, match="no finite number"):
        Split(rows, torch.full((6,), torch.inf), numbers=True)
    with pytest.raises(InputError, match="one output, and the network has 2"):
        evaluate(lc.build_model("softmax", shape=(2,), n_classes=2), numbers)


def test_evaluation_is_scikit_learns(data: Dataset) -> None:
    network = lc.fit(lc.build_model("mlp-300-100", data), data, recipe=RECIPE, device="cpu")
    measured = evaluate(network, data.test, device="cpu")
    predicted = network(data.test.inputs)[:, 0].detach().double().numpy()
    actual = data.test.labels.double().numpy()
    assert measured.score == pytest.approx(r2_score(actual, predicted), abs=1e-9)
    assert measured.mae == pytest.approx(mean_absolute_error(actual, predicted), abs=1e-9)
    assert measured.score > 0.8
    interval = r2_interval(measured.errors, actual)
    assert interval.estimate == pytest.approx(measured.score)
    random = np.random.default_rng(1)
    rows = [random.integers(len(actual), size=len(actual)) for _ in range(2000)]
    drawn = [r2_score(actual[r], predicted[r]) for r in rows]
    assert (interval.low, interval.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)


def test_training_minimises_the_squared_error() -> None:
    """A linear network on a linear problem finds what least squares does."""
    rows = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    numbers = rows @ torch.tensor([1.0, -2.0, 0.5, 0.0]) + 0.3
    split = Split(rows, numbers, numbers=True)
    recipe = lc.Recipe(epochs=120, batch_size=50, lr=0.02, weight_decay=0.0)
    network = lc.fit(lc.build_model("softmax", shape=(4,), n_classes=1), split, recipe=recipe, device="cpu")
    assert torch.allclose(network.logits.weight[0], torch.tensor([1.0, -2.0, 0.5, 0.0]), atol=1e-3)
    assert network.logits.bias.item() == pytest.approx(0.3, abs=1e-3)


def test_relevance_is_that_of_the_prediction_minus_its_mean(data: Dataset) -> None:
    """The mean is 0 for the network, so relevance of a piecewise linear one without bias sums to the difference."""
    network = lc.fit(lc.build_model("mlp-300-100", data), data, recipe=RECIPE, device="cpu")
    part = data.train.take(torch.arange(40))
    relevance = lc.attribute(network, part.inputs, composite="lrp-0")
    gradient = torch.autograd.functional.jacobian(lambda x: network(x).sum(0), part.inputs)[0]
    assert torch.allclose(relevance, gradient * part.inputs, atol=1e-4)
    for criterion in ("lrp-0", "gradient-x-input"):
        ranking = lc.rank(network, part, criterion=criterion)
        assert torch.allclose(ranking.scores, relevance.double().square().mean(0), rtol=1e-3), criterion
    with pytest.raises(InputError, match="no classes"):
        lc.rank(network, part, label=0)
    with pytest.raises(InputError, match="use elimination"):
        lc.rank(network, part, strategy="exchange", keep=2)


@pytest.mark.parametrize("criterion", ["anova-f", "mutual-information", "extra-trees"])
def test_controls_of_numbers_find_what_matters(criterion: str, data: Dataset) -> None:
    first = lc.rank(None, data.train, criterion=criterion).order[:2].tolist()
    names = {data.input_names[i] for i in first} if data.input_names else set()
    assert "size" in names
    if criterion != "anova-f":  # which sees no squares
        assert names == set(NEEDED)


def test_a_study_of_numbers_speaks_of_r2(data: Dataset, result: StudyResult) -> None:
    trials = result.trials
    assert trials["test_score"].between(-1, 1).all()
    assert "test_correct" not in trials
    curve = result.curve("test")
    assert {"score", "absolute_error", "loss"} <= set(curve)
    full = curve[curve["method"] == "none"].iloc[0]
    assert full["score"] > 0.8
    assert 0 < full["absolute_error"] < 40_000
    best = result.recommend("lrp-0, elimination", margin=0.05)
    assert best is not None
    assert best.row is not None
    assert "R² +" in best.sentence
    ranking = result.ranking(0, method="lrp-0, elimination")
    assert {data.input_names[i] for i in ranking.order[:2].tolist()} == set(NEEDED)  # type: ignore[index]


def test_an_export_of_numbers_predicts_them(
    folder: Path, frame: pd.DataFrame, data: Dataset, result: StudyResult
) -> None:
    network = result.network(keep=2, method="lrp-0, elimination")
    lc.export(network, folder / "small", data=data)
    loaded, card = load_export(folder / "small")
    assert card["target"]["name"] == "price"
    assert card["score"]["name"] == "R²"
    assert card["score"]["value"] == evaluate(network, data.test, encode=network.encode, device="cpu").score
    assert card["score"]["interval_95"][0] < card["score"]["value"] < card["score"]["interval_95"][1]
    rows = torch.tensor(frame[list(data.input_names or ())].to_numpy())[:50]
    numbers = predict_numbers(folder / "small", rows)
    assert data.scaler is not None
    standardised = (rows - torch.tensor(data.scaler.mean)) / torch.tensor(data.scaler.scale)
    with torch.no_grad():
        outputs = loaded(loaded.encode(standardised.float()))[:, 0]
    assert data.target is not None
    assert np.allclose(numbers, outputs.double().numpy() * data.target.scale + data.target.mean, rtol=1e-6)
    assert r2_score(frame["price"][:50], numbers) > 0.7
    with pytest.raises(InputError, match="use predict_numbers"):
        predict(folder / "small", rows)
    broken = json.loads((folder / "small" / "card.json").read_text())
    broken["target"]["scale"] = 0.0
    (folder / "small" / "card.json").write_text(json.dumps(broken))
    with pytest.raises(StorageError, match="no card"):
        load_export(folder / "small")


def test_every_command_takes_numbers(
    csv: Path, folder: Path, frame: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--data", str(csv), "--label", "price", "--task", "regression"]
    assert main(["train", *asked, "--epochs", "60", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["test_r2"] > 0.5
    assert values["test_interval_95"][0] <= values["test_r2"] <= values["test_interval_95"][1]
    assert main(["export", *asked, "--keep", "2", "--strategy", "elimination", "--output", str(folder / "two")]) == 0
    assert "test R² " in (out := capsys.readouterr().out)
    assert "--task regression" in out, "what tries the export has to read the data in the same way"
    frame[NEEDED].head(20).to_csv(folder / "new.csv", index=False)
    assert main(["predict", str(folder / "two"), str(folder / "new.csv"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    assert r2_score(frame["price"].head(20), [row["number"] for row in rows]) > 0.5
    assert main(["predict", str(folder / "two"), str(folder / "new.csv")]) == 0
    assert f"{rows[0]['number']:.6g}" in capsys.readouterr().out.splitlines()[0]
    assert main(["predict", str(folder / "two"), *asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["r2"] > 0.5
    assert main(["remove", *asked, "--epochs", "1"]) == 2
    assert "numbers to predict" in capsys.readouterr().err


def test_opened_studies_and_pictures_of_numbers(data: Dataset, result: StudyResult, frame: pd.DataFrame) -> None:
    opened = views.open_study(result.study, result.ledger)
    assert opened.score == "R²"
    explained = opened.images.explain(seed=0, index=3, composite="lrp-0")
    assert explained.label == pytest.approx(frame["price"][int(data.test.indices[3])], rel=1e-5)
    assert explained.answer == pytest.approx(explained.label, rel=0.4)
    picture = views.picture_of_data(data)
    assert picture.summary == "600 rows of 5 inputs, numbers to predict"
    train = frame["price"].to_numpy()[data.train.indices.numpy()]
    assert picture.parts["training"].tolist() == pytest.approx([420, train.min(), train.mean(), train.max()], rel=1e-5)
    assert opened.against_baseline("lrp-0", "fine-tune", 2, 0) is None


def test_numbers_are_split_again_and_centred_anew(data: Dataset, frame: pd.DataFrame) -> None:
    again = data.resplit(7)
    assert again.target is not None
    train = frame["price"].to_numpy()[again.train.indices.numpy()]
    assert (again.target.mean, again.target.scale) == pytest.approx((train.mean(), train.std()), rel=1e-5)
    assert sorted(again.train.indices.tolist()) != sorted(data.train.indices.tolist())
    for part in (again.train, again.validation, again.test):
        expected = frame["price"].to_numpy()[part.indices.numpy()]
        assert np.allclose(again.target.restore(part.labels).numpy(), expected, rtol=1e-5)
    assert data.resplit(0) is data
