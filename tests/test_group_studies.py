"""A study of groups of inputs with costs: from a table and a file of groups to an export that predicts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import lrp_core as lc
from lrp_core import views
from lrp_core.cli import main
from lrp_core.data import Dataset, read_data
from lrp_core.study import Ledger, preset
from lrp_core.study.export import load_export, predict
from lrp_core.study.finished import StudyResult

pytestmark = pytest.mark.slow

COSTS = {"chemistry": 30.0, "colour": 1.0, "ph": 2.0, "noise": 5.0}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("groups")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def csv(folder: Path) -> Path:
    """The class follows from the sum of three columns and a word; two columns are noise."""
    random = np.random.default_rng(0)
    values = random.normal(5, 2, size=(400, 6))
    colour = random.choice(["red", "white", "rose"], 400)
    score = values[:, :3].sum(1) - 15 + 3 * (colour == "red") - values[:, 3] / 4
    frame = pd.DataFrame(values, columns=["a", "b", "c", "ph", "n1", "n2"])
    frame["colour"], frame["quality"] = colour, np.where(score > 0, "good", "bad")
    frame.to_csv(folder / "wine.csv", index=False)
    return folder / "wine.csv"


@pytest.fixture(scope="module")
def groups(folder: Path) -> Path:
    lines = ["group,input,cost", "chemistry,a,30", "chemistry,b,", "chemistry,c,"]
    lines += ["colour,colour,1", "ph,ph,2", "noise,n1,5", "noise,n2,"]
    (folder / "groups.csv").write_text("\n".join(lines))
    return folder / "groups.csv"


@pytest.fixture(scope="module")
def data(csv: Path, groups: Path) -> Dataset:
    return read_data(csv, label="quality", input_groups=groups)


@pytest.fixture(scope="module")
def result(data: Dataset) -> StudyResult:
    study = preset("quick", data, criteria=("lrp-0", "random"), strategies=("elimination",), seeds=(0, 1), epochs=20)
    return lc.run(study, data=data, jobs=1)


def test_a_study_keeps_drops_and_pays_for_groups(data: Dataset, result: StudyResult) -> None:
    assert set(data.group_names) == set(COSTS)
    assert sorted(set(result.trials["keep"])) == [1, 2, 3, 4], "of a few groups, every number of them is tried"
    curve = result.curve()
    full = curve[curve["method"] == "none"].iloc[0]
    assert (full["keep"], full["removed"], full["input_cost"]) == (4, 0, sum(COSTS.values()))
    ranking = result.ranking(0, method="lrp-0, elimination")
    names = [data.group_names[i] for i in ranking.order.tolist()]
    assert names[0] == "chemistry"
    one = result.trials.query("method == 'lrp-0, elimination' and keep == 1 and seed == 0").iloc[0]
    assert one["input_cost"] == 30.0
    assert one["input_bytes"] == 12
    for row in result.trials.itertuples():
        if row.method != "none":
            kept = result.ranking(row.seed, method=row.method).order[: row.keep].tolist()
            assert row.input_cost == sum(COSTS[data.group_names[i]] for i in kept)


def test_what_is_recommended_is_said_of_groups(result: StudyResult) -> None:
    best = result.recommend("lrp-0, elimination", margin=0.9)
    assert best is not None
    assert "75 % of the groups can go, 1 of 4 are enough" in best.sentence


def test_the_pages_speak_of_groups(data: Dataset, result: StudyResult) -> None:
    opened = views.open_study(result.study, result.ledger)
    assert opened.words[0] == "groups"
    assert opened.keep_for(50) == 2
    place = opened.threshold(method="lrp-0, elimination", mode="fine-tune", keep=1, seed=0)
    assert (place.input_cost, place.full_input_cost, place.removed) == (30.0, 38.0, 0.75)
    table = opened.rankings.table("lrp-0, elimination", 2, 0)
    assert table["name"].tolist()[0] == "chemistry"
    assert table["inputs"].tolist()[0] == [0, 1, 2]
    assert table["kept"].tolist() == [True, True, False, False]
    assert dict(zip(table["name"], table["cost"], strict=True)) == COSTS
    explained = opened.images.explain(seed=0, index=3, composite="lrp-0")
    assert explained.of_groups.shape == (4,)
    assert np.isclose(explained.of_groups.sum(), explained.relevance.sum(), rtol=1e-4)


def test_an_export_names_its_groups_and_predicts(folder: Path, csv: Path, data: Dataset, result: StudyResult) -> None:
    network = result.network(keep=2, method="lrp-0, elimination")
    lc.export(network, folder / "small", data=data)
    _, card = load_export(folder / "small")
    kept = card["input"]["kept_groups"]
    assert kept[0] == "chemistry"
    assert len(kept) == 2
    assert card["cost"]["input_cost"] == sum(COSTS[name] for name in kept)
    assert card["cost"]["full_input_cost"] == 38.0
    frame = pd.read_csv(csv)
    needed = {"chemistry": ["a", "b", "c"], "noise": ["n1", "n2"]}
    new = frame[[column for name in kept for column in needed.get(name, [name])]].head(40)
    new.to_csv(folder / "new.csv", index=False)
    assert main(["predict", str(folder / "small"), str(folder / "new.csv"), "--json"]) == 0
    classes, _ = predict(folder / "small", by_hand(data, frame.head(40)))
    assert sum(c == q for c, q in zip(classes, frame["quality"].head(40), strict=True)) > 30


def by_hand(data: Dataset, frame: pd.DataFrame) -> torch.Tensor:
    """Rows as the card's names say, put together by hand."""
    assert data.input_names is not None
    columns = [
        frame[name] if name in frame else (frame["colour"] == name.removeprefix("colour=")).astype(float)
        for name in data.input_names
    ]
    return torch.tensor(np.stack(columns, 1))


def test_the_command_line_says_the_same(
    csv: Path, groups: Path, folder: Path, data: Dataset, result: StudyResult, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--data", str(csv), "--label", "quality", "--input-groups", str(groups)]
    words = ["--criteria", "lrp-0", "random", "--strategies", "elimination", "--seeds", "0", "1", "--epochs", "20"]
    assert main(["study", *asked, *words, "--jobs", "1", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["study"] == result.study.key, "the same study, so nothing was trained again"
    assert {row["input_cost"] for row in values["test"] if row["keep"] == 4} == {38.0}
    assert main(["study", *asked, *words, "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "cost" in said.splitlines()[1]
    assert "of the groups can go" in said
    assert main(["rank", *asked, "--strategy", "elimination", "--top", "2"]) == 0
    said = capsys.readouterr().out
    assert "most important groups first" in said
    assert "chemistry" in said.splitlines()[1]
    assert main(["export", *asked, "--removed", "50", "--output", str(folder / "half"), "--json"]) == 0
    capsys.readouterr()
    assert len(json.loads((folder / "half" / "card.json").read_text())["input"]["kept_groups"]) == 2
    assert main(["export", *asked, "--keep", "5", "--output", str(folder / "five")]) == 2
    assert "between 1 and 4" in capsys.readouterr().err


def test_cached_results_know_other_groups(csv: Path, data: Dataset, result: StudyResult) -> None:
    """The same values in other groups are other data: nothing is taken from the cache for them."""
    plain = read_data(csv, label="quality")
    assert plain.digest != data.digest
    assert preset("quick", plain).key != preset("quick", data).key
    assert Ledger().recorded(list(result.trials["key"]))
