"""The house: what stands where, and that one entry is enough to be found everywhere."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lrp_core as lc

from .support import ROOT

pytestmark = pytest.mark.slow

CORE = sorted((ROOT / "lrp_core").rglob("*.py"))


@pytest.mark.parametrize("folder", ["lrp_core", "pages"])
def test_data_are_opened_in_one_place(folder: str) -> None:
    """`load_dataset(` is for `data/` and the command line; a study opens its own."""
    allowed = (ROOT / "lrp_core" / "data", ROOT / "lrp_core" / "cli")
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not path.is_relative_to(allowed[0]) and not path.is_relative_to(allowed[1])
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and "load_dataset" in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))
    ]
    assert calls == []


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in lc.__all__:
        assert (getattr(lc, name).__doc__ or "").strip(), name


def test_every_module_says_what_it_gives() -> None:
    silent = [str(p.relative_to(ROOT)) for p in CORE if not ast.get_docstring(ast.parse(p.read_text()))]
    assert silent == []


def test_nothing_is_registered_without_behaviour() -> None:
    """A strategy ranks, a criterion explains or scores, and each says what it is: no name falls through to another."""
    from lrp_core.ranking import CRITERIA, STRATEGIES

    for name, strategy in STRATEGIES.items():
        assert strategy.name == name
        assert callable(strategy.rank)
        assert strategy.says
    for name, criterion in CRITERIA.items():
        assert criterion.name == name
        assert criterion.explain or criterion.score
        assert criterion.says


ONE_OF_EACH = """
import torch
from torch import nn
import lrp_core as lc
from lrp_core.data import Raw
from lrp_core.lrp import COMPOSITES, At, Composite, Epsilon
from lrp_core.ranking import OneShot

COMPOSITES["own-composite"] = Composite(At(Epsilon(0.1)))
lc.register_criterion(
    lc.Criterion("own-criterion", "by their own", score=lambda model, split, seed: split.raw[0].double())
)
lc.register_strategy(OneShot("own-strategy", "in their own way"))
lc.register_model("own-network", lambda spec: [("flatten", nn.Flatten()), ("last", nn.Linear(4, spec.n_classes))])


class Own:
    def read(self):
        return Raw(("a", "b"), (torch.rand(60, 4), torch.arange(60) % 2), (torch.rand(20, 4), torch.arange(20) % 2))


lc.register_dataset("own-data", Own())
"""

LISTS = """
import json
import lrp_core as lc
from lrp_core.evaluation import removal_criteria
from lrp_core.models import ARCHITECTURES
from lrp_core.data import DATASETS
from lrp_core.ranking import CRITERIA, STRATEGIES, find_criterion, Method
data = lc.load_dataset("own-data")
study = lc.preset("quick", data, architecture="own-network", criteria=("own-criterion", "own-composite"),
                  strategies=("own-strategy",), keeps=(2,), seeds=(0,), epochs=1, retrain_epochs=1, n_train=40,
                  rank_images=20)
result = lc.run(study, jobs=1)
print(json.dumps({
    "criteria": list(CRITERIA), "strategies": list(STRATEGIES), "networks": list(ARCHITECTURES), "data": list(DATASETS),
    "removal": list(removal_criteria()), "methods": sorted(set(result.trials["method"])),
}))
"""


def test_one_entry_of_each_kind_is_found_everywhere(tmp_path: Path) -> None:
    """In Python, on the command line (`info`, `rank`) and in a study, from one file that LRP_PLUGINS names."""
    plugin = tmp_path / "one_of_each.py"
    plugin.write_text(ONE_OF_EACH)
    environment = os.environ | {"LRP_PLUGINS": str(plugin), "LRP_CACHE": str(tmp_path / "cache")}

    def said(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    lists = json.loads(said("-c", LISTS).splitlines()[-1])
    assert {"own-criterion", "own-composite"} <= set(lists["criteria"])
    assert "own-strategy" in lists["strategies"]
    assert "own-network" in lists["networks"]
    assert "own-data" in lists["data"]
    assert "own-composite" in lists["removal"], "it explains images"
    assert lists["methods"] == ["none", "own-composite, own-strategy", "own-criterion, own-strategy"]
    info = said("-m", "lrp_core", "info")
    for name in ("own-criterion", "own-composite", "own-strategy", "own-network", "own-data"):
        assert name in info
    ranked = json.loads(
        said(
            *("-m", "lrp_core", "rank", "--dataset", "own-data", "--model", "own-network"),
            *("--epochs", "1", "--json"),
            *("--criterion", "own-composite", "--strategy", "own-strategy"),
        )
    )
    assert sorted(ranked["order"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("module", ["lrp_core", "lrp_core.study", "lrp_core.study.ledger", "lrp_core.study.launch"])
def test_what_reads_the_ledger_does_not_wait_for_torch(module: str) -> None:
    importlib.import_module(module)
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
