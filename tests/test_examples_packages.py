"""The examples whose data other packages carry: they run to a prediction, and refuse in a sentence without the package.

They skip where the package is not installed: `pip install --no-deps chemotools ISLP`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import lrp_core as lc

from .support import ROOT

EXAMPLES = ROOT / "examples"
PACKAGES = {"coffee_spectra": "chemotools", "khan_genes": "ISLP"}
INPUTS = {"chemotools": "datasets/data/coffee_spectra.csv", "ISLP": "data/Khan_xtest.csv"}


def _run(
    command: list[str | Path], folder: Path, packages: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command in a folder of its own; with `packages`, these folders of packages alone lie beside the project's."""
    paths = [str(ROOT), *(packages if packages is not None else [p for p in sys.path if p])]
    environment = os.environ | {"LRP_CACHE": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", params=PACKAGES)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, str]:
    """An example, the folder that it ran in, and what it said."""
    if find_spec(PACKAGES[request.param]) is None:
        pytest.skip(f"pip install --no-deps {PACKAGES[request.param]}")
    folder = tmp_path_factory.mktemp(request.param)
    done = _run([sys.executable, EXAMPLES / f"{request.param}.py", "out", "--quick"], folder)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return request.param, folder, done.stdout


@pytest.mark.slow
def test_it_says_what_each_method_reaches(story: tuple[str, Path, str]) -> None:
    _, _, said = story
    rows = [line for line in said.splitlines() if "±" in line]
    assert {"none", "lrp-0"} < {line.split("  ")[0] for line in rows}
    figures = [re.findall(r"([\d.]+) ± [\d.]+", line) for line in rows]
    assert [len(line) for line in figures] == [1] + [2] * (len(rows) - 1)  # all inputs, then two numbers of them
    assert all(0 <= float(figure) <= 100 for line in figures for figure in line)
    assert said.count("of the rows") == 2  # two recommendations, over splits


@pytest.mark.slow
def test_the_export_predicts_a_new_file_as_the_example_did(story: tuple[str, Path, str]) -> None:
    """From raw numbers, in a table as an instrument writes it."""
    name, folder, said = story
    package = find_spec(PACKAGES[name])
    assert package is not None
    assert package.submodule_search_locations
    inputs = Path(package.submodule_search_locations[0]) / INPUTS[PACKAGES[name]]
    network, card = lc.load_export(folder / "out" / "small")
    kept = card["input"]["kept_pixels"]
    assert f"reads {len(kept)} of" in said
    rows = pd.read_csv(inputs).head(4)
    rows.iloc[:, kept].to_csv(folder / "new.csv", index=False)
    done = _run([sys.executable, "-m", "lrp_core", "predict", "out/small", "new.csv"], folder)
    assert done.returncode == 0, done.stderr
    answers = re.findall(r"row \d: (\w+) ", done.stdout)
    # The same by hand: what the card says is taken off the numbers, then the network.
    how = card["input"]["normalisation"]
    values = (rows.to_numpy() - np.array(how.get("mean", 0.0))) / np.array(how["scale"])
    classes = network(torch.tensor(values[:, kept], dtype=torch.float32)).argmax(1)
    assert answers == [card["classes"][i] for i in classes.tolist()]


@pytest.mark.slow
@pytest.mark.parametrize("example", PACKAGES)
def test_without_the_package_it_says_how_to_get_it(example: str, tmp_path: Path) -> None:
    package = PACKAGES[example]
    # A package of that name without the data in it shadows the one that may be installed.
    (tmp_path / "empty" / package).mkdir(parents=True)
    (tmp_path / "empty" / package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    done = _run([sys.executable, EXAMPLES / f"{example}.py"], tmp_path, [str(tmp_path / "empty")])
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"pip install --no-deps {package}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "cache").exists()
