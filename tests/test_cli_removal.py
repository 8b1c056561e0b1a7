"""`python -m lrp_core remove`, as a person and as a machine use it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from lrp_core.cli import main
from lrp_core.data import Dataset
from lrp_core.evaluation import ORDERS, VARIANTS, Removal, attribute_images, remove_features
from lrp_core.models import build_model
from lrp_core.training import fit, recipe_for

from .test_cli import SMALL, ask, refusal

FEW = [*SMALL, "--images", "200"]


def test_the_table_is_that_of_the_core(capsys: pytest.CaptureFixture[str], mnist: Dataset) -> None:
    said = ask(capsys, "remove", *FEW, "--scopes", "lit", "--rankings", "magnitude", "--removed", "30")
    network = fit(
        build_model("softmax", mnist, seed=0),
        mnist.train.sample(300, seed=0),
        recipe=recipe_for("softmax", epochs=1),
        seed=0,
        device="cpu",
    )
    part = mnist.test.sample(200, seed=0)
    relevance = attribute_images(network, part.images, "lrp-0")
    expected = remove_features(network, part.images, part.labels, relevance, Removal("magnitude", "lit"), 0.3)
    assert [row["image"] for row in said["table"]] == list(VARIANTS)
    for row, (_, own) in zip(said["table"], expected.table().iterrows(), strict=True):
        for name in ("accuracy", "flips", "removed", "tied"):
            assert row[name] == pytest.approx(own[name])
        assert row["confidence"] == pytest.approx(own["confidence"], rel=1e-4)
    assert (said["images"], said["share"]) == (200, 0.3)
    assert said["findings"][0]["scope"] == "lit"
    assert "least relevant 30% of the lit inputs" in said["findings"][0]["finding"]


def test_what_a_person_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remove", *FEW]) == 0
    text = capsys.readouterr().out
    said = ask(capsys, "remove", *FEW)
    assert "softmax on mnist, 200 test images, seed 0: 15 % of the inputs removed" in text
    for row in said["table"]:
        assert f"{row['accuracy']:.2%}" in text
    for found in said["findings"]:
        assert found["finding"] in text
    assert [row["removed"] for row in said["table"]][:3] == [0, 118, 118]


def test_every_criterion_curve_and_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["remove", *FEW, "--criteria", "epsilon", "centre", "data-set", "--scopes", "all", "--per-class"]
    arguments += ["--fills", "zero", "road", "--curves", "--steps", "4"]
    assert main([*arguments, "--csv", str(tmp_path / "t.csv"), "--json", str(tmp_path / "t.json")]) == 0
    text = capsys.readouterr().out
    assert "everything written to" in text
    values = json.loads((tmp_path / "t.json").read_text())
    assert values == ask(capsys, *arguments)
    table = pd.read_csv(tmp_path / "t.csv", dtype={"class": str})
    assert len(table) == 3 * 2 * 3 * 11
    assert table["class"].unique().tolist() == ["all", *map(str, range(10))]
    pd.testing.assert_frame_equal(table, pd.DataFrame(values["table"])[table.columns], check_dtype=False, rtol=1e-6)
    curves = pd.read_csv(tmp_path / "t-curves.csv")
    assert len(curves) == 3 * 2 * len(ORDERS) * 5
    assert sorted(curves["criterion"].unique()) == ["centre", "data-set", "epsilon"]
    ends = curves[(curves["fill"] == "zero") & (curves["step"] == 4)]["probability"]
    assert ends.max() - ends.min() < 1e-6, "a black image is the same black image, whoever made it"
    areas = pd.read_csv(tmp_path / "t-areas.csv")
    assert set(zip(areas["criterion"], areas["fill"], strict=True)) == set(
        zip(curves["criterion"], curves["fill"], strict=True)
    )
    assert {f.name for f in tmp_path.iterdir()} == {"t.csv", "t-curves.csv", "t-areas.csv", "t.json"}


def test_training_again(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["remove", *FEW, "--criteria", "centre", "--scopes", "all", "--removed", "50"]
    said = ask(capsys, *arguments, "--roar", "30", "60", "--mask-leak", "--retrain-seeds", "0", "--retrain-epochs", "1")
    rows = [(row["trained_on"], row["order"], row["share"]) for row in said["retrained"]]
    assert rows == [
        ("roar", "none", 0),
        *(("roar", order, share) for share in (0.3, 0.6) for order in ORDERS),
        *(("masks", order, 0.5) for order in ORDERS),
    ]
    assert said["retrained"][-1]["accuracy"] <= said["retrained"][-1]["chance"], "one mask for all says nothing"
    assert said["retrained"][0]["accuracy_low"] is None


def test_a_dash_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    said = ask(capsys, "remove", *FEW, "--scopes", "lit")
    assert main(["remove", *FEW, "--scopes", "lit", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--removed", "0"], "above 0 and below 100 per cent, not 0"),
        (["--removed", "100"], "above 0 and below 100 per cent, not 100"),
        (["--removed", "nan"], "above 0 and below 100 per cent, not nan"),
        (["--roar", "50", "120"], "above 0 and below 100 per cent, not 120"),
        (["--criteria", "lrp0"], "unknown criterion 'lrp0': did you mean 'lrp-0'"),
        (["--start", "softmax"], "unknown start 'softmax'"),
        (["--rankings", "sign"], "unknown ranking 'sign': did you mean 'signed'"),
        (["--scopes", "dark"], "unknown scope 'dark'"),
        (["--fills", "black"], "unknown fill 'black'"),
        (["--steps", "0"], "--steps must be at least 1, not 0"),
        (["--images", "0"], "between 1 and 10000"),
        (["--model", "lenet"], "did you mean 'lenet-5'"),
        (["--dataset", "imagenet"], "unknown data set"),
    ],
)
def test_bad_arguments_are_one_sentence(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refusal(capsys, "remove", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said = refusal(capsys, "remove", *FEW, "--scopes", "lit", "--csv", str(tmp_path / "file" / "t.csv"))
    assert "cannot write" in said
