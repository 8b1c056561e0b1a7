"""The same words give the same ranking, bit for bit, from Python, on the command line and in a study."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lrp_core as lc
from lrp_core.cli import main
from lrp_core.data import Dataset
from lrp_core.models import build_model
from lrp_core.ranking import CRITERIA, STRATEGIES, Method, Ranking, combine, seeds_of
from lrp_core.study import preset, trial_at
from lrp_core.study.stages import ranking_of
from lrp_core.training import Recipe, fit, one_thread, recipe_for

pytestmark = pytest.mark.slow

SEED, N_TRAIN, N_IMAGES, KEEP = 3, 200, 60, 100
METHODS = [
    *combine(tuple(CRITERIA), ("one-shot",)),
    *combine(("lrp-0", "gradient-x-input"), tuple(name for name in STRATEGIES if name != "one-shot")),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_python_command_line_and_study_rank_alike(mnist: Dataset, tmp_path: Path, method: Method) -> None:
    keep = KEEP if STRATEGIES[method.strategy].per_keep else None

    path = tmp_path / "ranking.safetensors"
    words = f"rank --model softmax --epochs 1 --train-images {N_TRAIN} --images {N_IMAGES} --seed {SEED}"
    words += f" --criterion {method.criterion} --strategy {method.strategy} --output {path}"
    assert main([*words.split(), *(["--keep", str(keep)] if keep else [])]) == 0
    on_command_line = Ranking.load(path)

    study = preset(
        "full",
        mnist,
        architecture="softmax",
        epochs=1,
        n_train=N_TRAIN,
        rank_images=N_IMAGES,
        seeds=(SEED,),
        criteria=(method.criterion,),
        strategies=(method.strategy,),
        keeps=(KEEP,),
    )
    spec = trial_at(study, mnist, method=method.name, keep=KEEP, mode="scratch", seed=SEED).ranking
    assert spec is not None
    in_study = ranking_of(spec)

    with one_thread():
        networks = [_network(mnist, seed) for seed in seeds_of(SEED, STRATEGIES[method.strategy].networks)]
        in_python = lc.rank(
            networks,
            mnist.train.sample(N_TRAIN, seed=SEED),
            criterion=method.criterion,
            strategy=method.strategy,
            images=N_IMAGES,
            keep=keep,
            seed=SEED,
        )
    for other in (on_command_line, in_study):
        assert torch.equal(in_python.order, other.order)
        assert torch.equal(in_python.scores, other.scores)
        torch.testing.assert_close(in_python.standard_error, other.standard_error, rtol=0, atol=0, equal_nan=True)


def _network(data: Dataset, seed: int) -> torch.nn.Module:
    recipe: Recipe = recipe_for("softmax", epochs=1)
    split = data.train.sample(N_TRAIN, seed=seed)
    network: torch.nn.Module = fit(
        build_model("softmax", data, seed=seed), split, recipe=recipe, seed=seed, device="cpu"
    )
    return network
