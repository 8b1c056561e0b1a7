"""The benchmark of bags of words: what its tables are made of."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

import lrp_core as lc
from benchmarks.bags_of_words import AGAIN, CRITERIA, run_kernels, run_one, summarise

pytestmark = pytest.mark.slow


def test_every_criterion_is_measured_on_every_number_of_words(mnist: lc.Dataset) -> None:
    data = replace(mnist, test=mnist.test.sample(500))
    runs = pd.DataFrame(run_one(data, "plain, hard", 300, [49, 98], 0))
    assert len(runs) == 1 + 2 * (len(CRITERIA) + len(AGAIN))
    table = summarise(runs).set_index(["criterion", "keep"])
    assert table.loc[("all", 784), "refit"] > 0.85
    assert table.loc[("lrp-0", 98), "refit"] > table.loc[("random", 98), "refit"]
    first = runs.set_index(["criterion", "keep"])
    assert first.loc[("lrp-0", 98), "refit"] == first.loc[("lrp-0, step by step", 98), "refit"]


def test_kernels_that_are_sums_conserve_and_the_others_say_what_they_do_not(mnist: lc.Dataset) -> None:
    rows = {row["kernel"]: row for row in run_kernels(mnist, 200)}
    for name in ("Intersection", "AdditiveChi2", "Linear"):
        assert rows[name]["largest |f - sum R|"] < 1e-11
    for name in ("ExpChi2", "Rbf"):
        assert rows[name]["largest |f - sum R|"] > 1e-3
    assert all(row["words to pixels"] < 1e-11 for row in rows.values())
