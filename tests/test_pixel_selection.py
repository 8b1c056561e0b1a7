"""The pixel selection benchmark: what it measures on, and that it refuses to report from a harness that is off."""

from __future__ import annotations

import runpy

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import pixel_selection
from lrp_core.data import Dataset
from lrp_core.evaluation import mean_interval
from lrp_core.ranking import STRATEGIES

from .support import CONTROLS, toy_split


def split_in_two(n: int = 90) -> Dataset:
    """A data set whose official training images were divided at random."""
    official = toy_split(n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    train, validation = (official.take(part.sort().values) for part in (order[20:], order[:20]))
    return Dataset("toy", ("top", "middle", "bottom"), train, validation, toy_split(60, seed=3))


def test_the_official_training_set_is_put_together_again() -> None:
    official, found = toy_split(90), pixel_selection.official_train(split_in_two())
    assert torch.equal(found.indices, torch.arange(90))
    assert torch.equal(found.pixels, official.pixels)
    assert torch.equal(found.labels, official.labels)


@pytest.mark.parametrize("strategy", [*STRATEGIES, *CONTROLS])
def test_every_strategy_gives_a_ranking_for_every_keep(strategy: str) -> None:
    found = pixel_selection.select(split_in_two(), strategy, [3, 7], 1, "softmax")
    assert list(found) == [3, 7]
    for ranking, seconds in found.values():
        assert ranking.order.sort().values.tolist() == list(range(36))
        assert seconds.clock > 0
        assert seconds.worked > 0


def test_the_selection_never_sees_the_test_images() -> None:
    data = split_in_two()
    other = Dataset(data.name, data.classes, data.train, data.validation, toy_split(60, seed=9).take(torch.arange(7)))
    first, second = (pixel_selection.select(d, "exchange", [4], 0, "softmax")[4][0].order for d in (data, other))
    assert torch.equal(first, second)


@pytest.mark.parametrize("classifier", pixel_selection.CLASSIFIERS)
def test_classifiers_are_scored_on_the_test_images(classifier: str) -> None:
    """Rows that tell the classes apart give full marks, a single noisy pixel far fewer."""
    data = split_in_two()
    assert pixel_selection.score(data, torch.arange(36), classifier, 0) == 1.0
    assert pixel_selection.score(data, torch.tensor([0]), classifier, 0) < 0.9


def test_a_harness_that_is_off_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = dict(pixel_selection.GATE)
    monkeypatch.setattr(pixel_selection, "score", lambda data, columns, name, seed: expected[name])
    assert pixel_selection.check_gate(split_in_two()) == expected
    expected["svc"] += 1e-4
    with pytest.raises(SystemExit, match="not that of the published figures"):
        pixel_selection.check_gate(split_in_two())


def test_processes_are_sent_functions_by_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of __main__ would be sent by value, which fails: what runs is the module under its own name."""
    called = []
    monkeypatch.setattr(pixel_selection, "main", lambda: called.append("main"))
    monkeypatch.setattr("sys.argv", ["pixel_selection", "--help"])
    with pytest.warns(RuntimeWarning, match="found in sys.modules"):
        runpy.run_module("benchmarks.pixel_selection", run_name="__main__")
    assert called == ["main"]


def test_the_summary_is_the_mean_over_seeds() -> None:
    values = [0.9, 0.92, 0.97]
    runs = pd.DataFrame(
        {
            "strategy": "exchange",
            "keep": 50,
            "seed": [0, 1, 2],
            "seconds": [1.0, 2.0, 6.0],
            "worked": 1.0,
            "svc": values,
        }
    ).assign(**{"1-nn": values, "et": values})
    (row,) = pixel_selection.summarise(runs).to_dict("records")
    assert row["svc"] == pytest.approx(0.93)
    assert row["et +-"] == pytest.approx(mean_interval(np.array(values)).high - 0.93)
    assert (row["seeds"], row["seconds"], row["slowest"]) == (3, 3.0, 6.0)
