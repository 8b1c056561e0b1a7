"""The examples run from a checkout as a person starts them, print what they promise, and leave what they name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from .support import PATIENCE, ROOT

FASHION = Path("/usr/share/datasets/fashion-mnist")

pytestmark = pytest.mark.slow


def run_example(name: str, folder: Path) -> str:
    """What an example prints in its tiny setting; the results are in `folder`."""
    environment = os.environ | {"LRP_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py", folder, "--quick"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_table(said: str, folder: Path, keeps: set[int], controls: set[str]) -> None:
    """The printed table has a column for each method, and the file has their numbers."""
    header = said.splitlines()[0]
    assert all(name in header for name in ("lrp-0, elimination", *controls))
    results = pd.read_csv(folder / "results.csv", keep_default_na=False)
    pruned = results[results["method"] != "none"]
    assert set(pruned["method"]) == {"lrp-0, elimination", "lrp-0", *controls}
    assert set(pruned["keep"]) == keeps
    for row in pruned.itertuples():
        line = next(line for line in said.splitlines() if line.split()[:1] == [str(row.keep)])
        assert f"{100 * float(row.score):.1f} ±" in line


def card_of(folder: Path) -> dict:
    return json.loads((folder / "small" / "card.json").read_text())


def test_breast_cancer(tmp_path: Path) -> None:
    said = run_example("breast_cancer", tmp_path)
    check_table(said, tmp_path, {1, 3}, {"variance", "anova-f", "extra-trees", "random"})
    card = card_of(tmp_path)
    kept = card["input"]["kept_groups"]
    assert len(kept) == 3
    columns = pd.read_csv(tmp_path / "new.csv").columns
    assert len(columns) == 9, "the new rows have the columns that are needed, and no others"
    assert all(any(name in column for name in kept) for column in columns)
    assert f"price {card['cost']['input_cost']:g} of 18" in said
    assert said.count("new.csv row") == 5
    assert "in truth: " in said


def test_skip_connection(tmp_path: Path) -> None:
    said = run_example("skip_connection", tmp_path)
    controls = {"variance", "centre", "anova-f", "extra-trees", "random"}
    check_table(said, tmp_path, {4}, controls)
    results = pd.read_csv(tmp_path / "results.csv")
    assert results["macs"].nunique() == 1, "on a canvas nothing is saved but inputs"
    assert results["input_bytes"].nunique() == 2
    assert "it is no cheaper" in said
    [again] = [line.split()[2] for line in said.splitlines() if line.startswith("built again: ")]
    assert int(again.replace(",", "")) < results["macs"].iloc[0], "tiles that lie together make a smaller picture"
    tiles = [line for line in said.splitlines() if set(line) == {" ", "#", "."}]
    assert "".join(tiles).count("#") == 4
    assert len(card_of(tmp_path)["input"]["kept_groups"]) == 4
    assert "predicted: " in said


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"the files of Fashion-MNIST are not in {FASHION}")
def test_fashion_mnist(tmp_path: Path) -> None:
    said = run_example("fashion_mnist", tmp_path)
    check_table(said, tmp_path, {25, 50}, {"variance", "anova-f", "extra-trees", "random"})
    assert len(card_of(tmp_path)["input"]["kept_pixels"]) == 50
    assert said.count("new.npy[") == 3
