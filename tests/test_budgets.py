"""Networks under several budgets: what is kept of the work, what it says, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lrp_core.cli import main
from lrp_core.data import Dataset
from lrp_core.errors import Cancelled, InputError, StorageError
from lrp_core.evaluation import measure_cost
from lrp_core.pruning import PrunedNetwork
from lrp_core.study import Study, budgets, preset
from lrp_core.study.budgets import BudgetPlan, budget_network, folder_of, plan_budgets, read_budgets, run_budgets
from lrp_core.study.export import load_export
from lrp_core.study.ledger import Ledger
from lrp_core.views import open_study
from lrp_core.views.budgets import expected_score

from .support import is_one_sentence, toy_split


@pytest.fixture
def data() -> Dataset:
    return Dataset("toys", ("top", "middle", "bottom"), *(toy_split(n, seed=n) for n in (120, 60, 60)))


@pytest.fixture
def study(data: Dataset, own_cache: Path) -> Study:
    return preset("quick", data, architecture="mlp-300-100", epochs=2, seeds=(0,))


@pytest.fixture
def plan(study: Study) -> BudgetPlan:
    return plan_budgets(study, 0, budgets=(0.1, 0.3), rung_epochs=1, epochs=2)


def tell_nobody(doing: str, done: int, total: int) -> None:
    pass


def stopped_at(step: int) -> Callable[[str, int, int], None]:
    def report(doing: str, done: int, total: int) -> None:
        if done >= step:
            raise Cancelled("enough")

    return report


def test_what_a_plan_gives(plan, data):
    ledger = Ledger()
    found = run_budgets(plan, ledger, tell_nobody)
    full = measure_cost(budget_network(plan, budgets.FULL, ledger), data.shape)
    assert found.full["macs"] == full.macs
    assert found.full["inputs"] == data.n_inputs
    assert found.networks["share"].tolist() == [0.3, 0.1]
    for row in found.networks.to_dict("records"):
        network = budget_network(plan, row["share"], ledger)
        cost = measure_cost(network)
        kept = len(network.mask) if isinstance(network, PrunedNetwork) else data.n_inputs
        assert row["inputs"] == kept
        assert network(torch.rand(2, *([kept] if kept < 36 else data.shape))).shape == (2, 3)
        assert (row["macs"], row["parameters"], row["bytes"]) == (cost.macs, cost.parameters, cost.bytes)
        assert 0.9 * row["share"] * full.macs < cost.macs <= row["share"] * full.macs
        assert 0 <= row["score"] <= 1
        assert 0 <= row["test_score"] <= 1
    assert found.rungs["macs"].is_monotonic_decreasing
    assert (found.kept.sum(1) == found.rungs["inputs"]).all()
    assert found.rungs.iloc[-1]["width fc1"] < 300
    assert found.at(0.3) < found.at(0.1) == len(found.rungs) - 1


@pytest.mark.parametrize("step", [1, 2, 3])
def test_work_that_was_stopped_goes_on(plan, step, monkeypatch):
    ledger = Ledger()
    with pytest.raises(Cancelled):
        run_budgets(plan, ledger, stopped_at(step))
    files = {file: file.stat().st_mtime_ns for file in folder_of(plan, ledger).iterdir()}
    assert len(files) == 1 + 2 * (step - 1), "the path, and a network with its row for each step after it"
    if step < 3:
        assert read_budgets(plan, ledger) is None, "without a network at a budget there is nothing to show"
    found = run_budgets(plan, ledger, tell_nobody)
    assert all(file.stat().st_mtime_ns == written for file, written in files.items()), "made once"
    assert len(found.networks) == 2


def test_the_same_plan_gives_the_same_networks_and_costs_no_time_again(plan, monkeypatch):
    ledger = Ledger()
    found = run_budgets(plan, ledger, tell_nobody)
    monkeypatch.setattr(budgets, "fit", lambda *a, **k: pytest.fail("nothing is trained again"))
    again = run_budgets(plan, ledger, tell_nobody)
    assert again.networks.equals(found.networks)
    assert again.rungs.equals(found.rungs)


def test_a_damaged_path_is_made_again_and_damaged_results_are_refused(plan):
    ledger = Ledger()
    found = run_budgets(plan, ledger, tell_nobody)
    path = folder_of(plan, ledger) / "path.safetensors"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        read_budgets(plan, ledger)
    assert run_budgets(plan, ledger, tell_nobody).rungs.equals(found.rungs)
    row = folder_of(plan, ledger) / "0.1.json"
    row.write_text('{"share": 0.')
    with pytest.raises(StorageError, match=r"0\.1\.json") as refused:
        read_budgets(plan, ledger)
    assert is_one_sentence(refused.value)


def test_plans_go_through_json_and_have_keys_of_their_own(plan):
    assert BudgetPlan.from_values(json.loads(json.dumps(plan.values()))) == plan
    others = [replace(plan, criterion="taylor"), replace(plan, scope="hidden"), replace(plan, budgets=(0.2,))]
    assert len({plan.key, *(other.key for other in others)}) == 4
    values = plan.values()
    del values["floor"]
    with pytest.raises(StorageError, match="another version"):
        BudgetPlan.from_values(values)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"budgets": ()}, "none"),
        ({"budgets": (1.0,)}, "between 0 and 1"),
        ({"budgets": (0.5, -1)}, "between 0 and 1"),
        ({"scope": "all"}, "scope"),
        ({"criterion": "variance"}, "criterion"),
        ({"floor": 2.0}, "floor"),
        ({"factor": 1.0}, "rung"),
        ({"epochs": -1}, "epochs"),
    ],
)
def test_plans_that_cannot_be(plan, changes, says):
    with pytest.raises(InputError, match=says) as refused:
        replace(plan, **changes)
    assert is_one_sentence(refused.value)


def test_few_rows_are_gone_through_more_often(study):
    plan = plan_budgets(study, 0)
    assert plan.rung_epochs == 20
    assert plan.epochs == 160


def test_expected_scores_lie_between_measured_ones(plan):
    found = run_budgets(plan, Ledger(), tell_nobody)
    for row in found.networks.to_dict("records"):
        assert expected_score(found, row["macs"]) == pytest.approx(row["score"])
    assert expected_score(found, found.full["macs"]) == pytest.approx(found.full["score"])
    low, high = sorted(found.networks["score"])
    middle = expected_score(found, int((found.networks["macs"].prod()) ** 0.5))
    assert low - 1e-9 <= middle <= high + 1e-9
    smallest = expected_score(found, int(found.networks["macs"].min() / 2))
    assert smallest != smallest, "beyond what was trained nothing is expected"


def test_an_opened_study_offers_what_its_network_reaches(study, own_cache):
    opened = open_study(study, Ledger())
    plan = opened.budgets.plan(scope="both", criterion="lrp-0", seed=0)
    assert 0.1 in plan.budgets
    assert min(plan.budgets) == 0.02
    assert opened.budgets.found(scope="both", criterion="lrp-0", seed=0) is None
    inputs = opened.budgets.plan(scope="inputs", criterion="lrp-0", seed=0)
    assert 0.02 not in inputs.budgets, "inputs alone leave the hidden layers as they are"
    short = replace(plan, rung_epochs=1, epochs=1)
    found = run_budgets(short, Ledger(), tell_nobody)
    place = opened.budgets.place(found, len(found.rungs) - 1)
    assert place.kept.shape == study.data().shape
    assert place.kept.sum() == place.inputs
    assert place.widths["left"].le(place.widths["full"]).all()
    assert place.macs <= 0.02 * found.full["macs"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    x = torch.rand(300, 8, generator=torch.Generator().manual_seed(0))
    kinds = ["high" if row[0] + row[3] > 1 else "low" for row in x]
    lines = [",".join(f"in{i}" for i in range(8)) + ",kind"]
    lines += [",".join(f"{value:.4f}" for value in row) + f",{kind}" for row, kind in zip(x, kinds, strict=True)]
    file = tmp_path / "table.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


SHORT = ["--epochs", "3", "--rung-epochs", "1", "--final-epochs", "2"]


def test_the_command_prunes_exports_and_predicts(table, own_cache, tmp_path, capsys):
    words = ["--data", str(table), "--label", "kind"]
    folder = tmp_path / "small"
    assert main(["prune", *words, "--budgets", "30", "10", *SHORT, "--output", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["share"] for row in said["networks"]] == [0.3, 0.1]
    assert said["folder"] == str(folder)
    network, card = load_export(folder)
    assert measure_cost(network).macs == card["cost"]["macs"] == said["networks"][1]["macs"]
    assert card["provenance"]["budget"] == {"macs": 0.1}
    assert main(["predict", str(folder), *words, "--limit", "3"]) == 0
    capsys.readouterr()
    assert main(["prune", *words, "--budgets", "30", "10", *SHORT]) == 0
    text = capsys.readouterr().out
    assert "full" in text
    assert "points on validation" in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--budgets", "0.01"], "cannot be met"),
        (["--budgets", "120"], "between 0 and 1"),
        (["--scope", "all"], "scope"),
        (["--criterion", "variance"], "criterion for units"),
        (["--resume", "nothing"], "no path"),
    ],
)
def test_the_command_refuses_in_one_sentence(table, own_cache, capsys, more, says):
    assert main(["prune", "--data", str(table), "--label", "kind", *SHORT, *more]) == 2
    captured = capsys.readouterr()
    said = captured.err.strip().splitlines()[-1]
    assert says in said
    assert not captured.out
    assert is_one_sentence(said.removeprefix("prune: "))
