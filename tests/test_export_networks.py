"""An export goes on as a network, and stands beside the full one that it was made from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from torch import nn

import lrp_core as lc
from lrp_core import loading
from lrp_core.cli import main
from lrp_core.data import Dataset, Split, Target
from lrp_core.errors import InputError, StorageError
from lrp_core.evaluation import measure_cost
from lrp_core.loading import open_network, use_network
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, prune_inputs
from lrp_core.study import plan, trial_at
from lrp_core.study.export import export, export_trial, load_export
from lrp_core.study.ledger import Ledger
from lrp_core.study.run import full_network_of
from lrp_core.study.stages import base_network
from lrp_core.training import Recipe, evaluate, fit

from .support import ROOT, check_sentence, frozen, unchanged

RECIPE = Recipe(epochs=3, batch_size=32, lr=1e-2)
MASK = PixelMask.from_indices([1, 8, 9, 14, 20, 28], (1, 6, 6))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(loading.NETWORK, raising=False)
    monkeypatch.delenv(loading.WEIGHTS, raising=False)


@pytest.fixture(scope="module")
def full(toy: Dataset) -> nn.Module:
    return fit(build_model("lenet-5", toy), toy, recipe=RECIPE, device="cpu")


@pytest.fixture
def folder(full: nn.Module, toy: Dataset, tmp_path: Path) -> Path:
    return export(full, tmp_path / "lenet-5", data=toy).folder


# Beside the full network


def test_the_card_stands_beside_the_full_network(full: nn.Module, toy: Dataset, tmp_path: Path) -> None:
    small = prune_inputs(full, MASK)
    card = export(small, tmp_path / "out", data=toy, full=full, margin=0.02).card
    scores = {
        part: [evaluate(net, getattr(toy, part), encode=encode, device="cpu").score for net, encode in
               ((small, small.encode), (full, None))]
        for part in ("validation", "test")
    }  # fmt: skip
    beside, cost = card["full_network"], measure_cost(full)
    assert beside["score"]["value"] == scores["test"][1]
    assert beside["score"]["split"] == "test"
    low, high = beside["score"]["interval_95"]
    assert low <= scores["test"][1] <= high
    assert (beside["macs"], beside["parameters"], beside["bytes"]) == (cost.macs, cost.parameters, cost.bytes)
    margin = card["margin"]
    assert margin["value"] == 0.02
    assert margin["difference"] == scores["validation"][0] - scores["validation"][1]
    assert margin["test_difference"] == scores["test"][0] - scores["test"][1]
    assert margin["kept"] == (margin["difference"] >= -0.02)
    assert load_export(tmp_path / "out")[1] == json.loads(json.dumps(card))
    for spoiled in ({"margin": None}, {"margin": margin | {"value": "much"}}, {"full_network": {}}):
        (tmp_path / "out" / "card.json").write_text(json.dumps(card | spoiled))
        with pytest.raises(StorageError, match="no card of this project"):
            load_export(tmp_path / "out")


class Fixed(nn.Module):
    """Says class 0, but for inputs whose first pixel is at least a threshold, of which it says the label in it."""

    def __init__(self, right: float) -> None:
        super().__init__()
        self.right = nn.Parameter(torch.tensor(right))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        label, dice = (255 * x.flatten(1)[:, 0]).round().long(), x.flatten(1)[:, 1]
        said = torch.where(dice < self.right, label, (label + 1) % 3)
        return torch.nn.functional.one_hot(said, 3).float()


def dice(n: int) -> Split:
    """Images whose first pixel is the label, and whose second runs evenly over [0, 1)."""
    labels = torch.arange(n) % 3
    raw = torch.zeros(n, 1, 6, 6)
    raw[:, 0, 0, 0], raw[:, 0, 0, 1] = labels / 255, torch.arange(n) / n
    return Split(raw, labels)


@pytest.mark.parametrize(
    ("right", "margin", "kept"),
    [(0.90, 0.1, True), (0.89, 0.1, False), (1.0, 0.0, True), (0.99, 0.0, False), (0.99, 0.005, False)],
)
def test_the_margin_is_decided_on_the_validation_split(right: float, margin: float, kept: bool, tmp_path: Path) -> None:
    """To the row: of 100, a margin of 0.1 allows ten. The test split, where all is lost, decides nothing."""
    data = Dataset("dice", ("a", "b", "c"), dice(30), dice(100), dice(50))
    card = export(Fixed(right), tmp_path / "out", data=data, full=Fixed(1.0), margin=margin).card
    assert card["margin"]["kept"] is kept
    assert card["margin"]["difference"] == pytest.approx(right - 1)
    worse = Dataset("worse", data.classes, data.train, data.validation, Split(dice(50).raw, (torch.arange(50) + 1) % 3))
    card = export(Fixed(right), tmp_path / "other", data=worse, full=Fixed(1.0), margin=margin).card
    assert card["margin"]["kept"] is kept


def test_numbers_are_compared_by_r2(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    values = torch.randn(90, 4, generator=random)
    answers = values[:, 0]
    parts = [Split(values[a:b], answers[a:b], numbers=True) for a, b in ((0, 30), (30, 60), (60, 90))]
    data = Dataset("numbers", (), *parts, target=Target("yield", 0.0, 1.0))
    network = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 0.1, 0, 0]]))
    network = nn.Sequential(network)
    small = prune_inputs(network, PixelMask.from_indices([0], (4,)))
    card = export(small, tmp_path / "out", data=data, full=network).card
    assert card["full_network"]["score"]["name"] == "R²"
    assert card["margin"]["difference"] > 0
    assert card["margin"]["kept"] is True


@pytest.mark.parametrize("margin", [-0.1, 1.5, float("nan")])
def test_margins_that_are_none(margin: float, full: nn.Module, toy: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="margin") as caught:
        export(full, tmp_path / "out", data=toy, margin=margin)
    check_sentence(caught.value)


def test_full_networks_that_are_none(full: nn.Module, toy: Dataset, tmp_path: Path) -> None:
    small = prune_inputs(full, MASK)
    with pytest.raises(InputError, match="the one that was given is pruned"):
        export(small, tmp_path / "out", data=toy, full=small)
    with pytest.raises(InputError, match="has 5 outputs"):
        export(small, tmp_path / "out", data=toy, full=nn.Sequential(nn.Flatten(), nn.Linear(36, 5)))
    assert list(tmp_path.iterdir()) == []


def test_speed_goes_into_the_card(full: nn.Module, toy: Dataset, tmp_path: Path) -> None:
    speed = {"timings": [{"batch": 1, "milliseconds": 0.5}], "machine": "this one"}
    assert export(full, tmp_path / "out", data=toy, speed=speed).card["speed"] == speed
    assert "speed" not in export(full, tmp_path / "other", data=toy).card


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["none", "fine-tune", "scratch"])
def test_a_trial_stands_beside_the_full_network_of_its_seed(
    mode: str, toy: Dataset, own_cache: Path, tmp_path: Path
) -> None:
    """Fine-tuned ones are compared with one that was fine-tuned for as long; the study's own figures say the same."""
    study = lc.preset(
        "quick", toy, architecture="softmax", keeps=(9,), modes=(mode,), seeds=(0, 1), rank_images=60, n_train=200
    )
    result = lc.run(study, data=toy, jobs=1)
    trial = trial_at(study, study.data(), method=study.methods[0], keep=9, mode=mode, seed=1)
    card = export_trial(trial, tmp_path / "out", result.ledger).card
    table = result.trials[result.trials["seed"] == 1]
    baseline = table[(table["method"] == "none") & (table["mode"] == ("fine-tune" if mode == "fine-tune" else "none"))]
    small = table[table["keep"] == 9]
    assert card["full_network"]["score"]["value"] == pytest.approx(float(baseline["test_score"].iloc[0]))
    difference = float(small["validation_score"].iloc[0]) - float(baseline["validation_score"].iloc[0])
    assert card["margin"]["difference"] == pytest.approx(difference)
    assert card["margin"]["value"] == 0.005


@pytest.mark.slow
def test_a_trial_that_keeps_all_is_the_full_network(toy: Dataset, own_cache: Path, tmp_path: Path) -> None:
    study = lc.preset("quick", toy, architecture="lenet-5", keeps=(9,), seeds=(0,), rank_images=60, epochs=1)
    ledger = Ledger(tmp_path / "ledger")
    for mode in ("none", "fine-tune"):
        trial = trial_at(study, study.data(), method=study.methods[0], keep=36, mode=mode, seed=0)
        made = export_trial(trial, tmp_path / mode, ledger)
        assert made.card["input"]["kept_pixels"] == list(range(36))
        assert "full_network" not in made.card
        assert made.card["provenance"]["criterion"] == "none"
        found = load_export(made.folder)[0]
        assert unchanged(found, frozen(full_network_of(trial, ledger)))
        assert unchanged(found, frozen(base_network(plan(study, toy)[0].base))) == (mode == "none")
        assert open_network(str(made.folder), toy) is not None


# An export as a network


def test_an_export_of_a_full_network_is_opened(folder: Path, full: nn.Module, toy: Dataset) -> None:
    network = open_network(str(folder), toy)
    assert torch.equal(network(toy.test.images), full(toy.test.images))
    assert network.spec.architecture == "export:lenet-5", "its name is none of the project's own"
    assert use_network(f"{folder}/") == "export:lenet-5"
    small = lc.prune_inputs(network, MASK)
    assert torch.allclose(small(MASK.apply(toy.test.images)), full(MASK.remove(toy.test.images)), atol=1e-4)


@pytest.mark.slow
def test_a_study_goes_on_with_it(folder: Path, full: nn.Module, toy: Dataset, own_cache: Path, tmp_path: Path) -> None:
    """In other processes too: its baseline is the network of the export as it is."""
    get_reusable_executor().shutdown(wait=True)  # processes of an earlier test have its cache
    study = lc.preset(
        "quick", toy, architecture=use_network(str(folder)), keeps=(9,), modes=("none", "fine-tune"), seeds=(0,),
        epochs=0, rank_images=60,
    )  # fmt: skip
    result = lc.run(study, data=toy, jobs=2)
    baseline = result.trials[(result.trials["method"] == "none") & (result.trials["mode"] == "none")]
    assert float(baseline["test_score"].iloc[0]) == evaluate(full, toy.test, device="cpu").score
    made = export_trial(
        trial_at(study, study.data(), method=study.methods[0], keep=9, mode="none", seed=0),
        tmp_path / "smaller",
        result.ledger,
    )
    assert made.card["full_network"]["score"]["value"] == evaluate(full, toy.test, device="cpu").score


def test_an_export_of_a_pruned_network_says_what_to_do(full: nn.Module, toy: Dataset, tmp_path: Path) -> None:
    folder = export(prune_inputs(full, MASK), tmp_path / "small", data=toy).folder
    with pytest.raises(InputError, match=r"reads 6 of 36 inputs.*--removed 0") as caught:
        open_network(str(folder), toy)
    check_sentence(caught.value)


def test_folders_that_cannot_be_opened(folder: Path, toy: Dataset, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"is a folder without card\.json") as caught:
        open_network(str(tmp_path / "empty"), toy)
    check_sentence(caught.value)
    with pytest.raises(InputError, match="leave --weights out"):
        open_network(str(folder), toy, weights=folder / "weights.safetensors")
    with pytest.raises(InputError, match="the folder of an export"):
        open_network(str(tmp_path / "nowhere"), toy)
    fewer = Dataset("fewer", ("a", "b"), *[Split(toy.train.raw, toy.train.labels % 2)] * 3)
    with pytest.raises(InputError, match="tells 3 classes apart, and the data have 2"):
        open_network(str(folder), fewer)
    larger = Dataset("larger", toy.classes, *[Split(torch.rand(30, 1, 9, 9), torch.arange(30) % 3)] * 3)
    with pytest.raises(InputError, match="does not take inputs"):
        open_network(str(folder), larger)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(StorageError, match="its checksum is not the one") as broken:
        open_network(str(folder), toy)
    check_sentence(broken.value)


def test_an_export_is_for_the_data_that_it_was_made_for(folder: Path) -> None:
    class Named:
        name, shape, classes = "fashion_mnist", (1, 6, 6), ("a", "b", "c")

    with pytest.raises(InputError, match="was made for the data set toy, not fashion_mnist") as caught:
        open_network(str(folder), Named())
    check_sentence(caught.value)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(36, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.first(x.flatten(1))))


def test_weights_of_a_module_of_your_own_are_named_with_their_function(toy: Dataset, tmp_path: Path) -> None:
    folder = export(Residual(), tmp_path / "own", data=toy).folder
    with pytest.raises(
        InputError, match=r"weights of a Residual, which no file can build.*weights\.safetensors"
    ) as caught:
        open_network(str(folder), toy)
    check_sentence(caught.value)
    folder = export(prune_inputs(Residual().eval(), MASK), tmp_path / "less", data=toy).folder
    with pytest.raises(InputError, match="reads 6 of 36 inputs"):
        open_network(str(folder), toy)


@pytest.mark.slow
def test_the_command_line_goes_on_with_an_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The full network out, a study of it, a smaller one out of that; each command as a person types it."""
    monkeypatch.setenv("LRP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    quick = ["--model", "softmax", "--epochs", "1", "--train-images", "300"]
    assert main(["export", *quick, "--removed", "0", "--mode", "none", "--output", "full"]) == 0
    capsys.readouterr()
    words = ["--network", "full/", "--criteria", "lrp-0", "--keeps", "100", "--seeds", "0", "--modes", "none"]
    words += ["--images", "50", "--train-images", "300"]
    assert main(["study", *words, "--jobs", "1", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["test"]
    card = json.loads((tmp_path / "full" / "card.json").read_text())
    [baseline] = [row for row in table if row["method"] == "none"]
    assert baseline["score"] == pytest.approx(card["accuracy"]["value"])
    small = ["--network", "full", "--keep", "100", "--mode", "none", "--train-images", "300", "--images", "50"]
    assert main(["export", *small, "--margin", "99", "--output", "small"]) == 0
    said = capsys.readouterr().out
    assert "within your margin of 99 points" in said
    assert "the network on all inputs: test accuracy" in said
    small[3] = "5"
    assert main(["export", *small, "--margin", "0", "--output", "again", "--formats", "state-dict"]) == 0
    said = capsys.readouterr().out
    assert "outside your margin of 0 points" in said
    assert "state_dict.pt" in said
    assert main(["export", *small, "--margin", "101", "--output", "more"]) == 2
    assert "--margin is points of accuracy, from 0 to 100, and not 101" in capsys.readouterr().err
    assert main(["study", "--network", "small", "--jobs", "1"]) == 2
    assert "reads 100 of 784 inputs" in capsys.readouterr().err


@pytest.mark.slow
def test_the_dashboard_takes_an_export(folder: Path, toy: Dataset, tmp_path: Path) -> None:
    data = export(build_model("softmax", lc.load_dataset("mnist")), tmp_path / "digits", data=lc.load_dataset("mnist"))
    code = (
        "from lrp_core.cli.dashboard import given_study\n"
        f"study = given_study(('--network', {str(data.folder)!r}))\n"
        "print(study.architecture, study.epochs)"
    )
    environment = os.environ | {"LRP_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "export:digits 0", done.stderr
