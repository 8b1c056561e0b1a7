"""Strategies by name, and the average of several rankings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrp_core.data import Split
from lrp_core.errors import Cancelled, InputError
from lrp_core.models import Network, build_model
from lrp_core.ranking import (
    STRATEGIES,
    Elimination,
    Exchange,
    Ranking,
    Refinement,
    Strategy,
    average_rankings,
    eliminate,
    exchange,
    rank,
    refine,
    seeds_of,
)

from ..support import toy_split

QUICK = Elimination(drop=0.5, updates=2, explained=40)
SWAPS = Exchange(rounds=2, swaps=2, neighbours=3)
REFINED = Refinement(rounds=2, references=30, queries=30)


def network(seed: int = 0) -> Network:
    return build_model("mlp-300-100", shape=(1, 6, 6), n_classes=3, seed=seed).eval()


@pytest.fixture(scope="module")
def split() -> Split:
    return toy_split(90)


def random_ranking(seed: int, n: int = 12) -> Ranking:
    return Ranking.from_scores("any", torch.zeros(n), (n,), seed=seed)


def quick(strategy: str) -> Strategy:
    """The strategy of that name with the options of these tests."""
    options = {"elimination": {"options": QUICK}, "exchange": {"exchanging": SWAPS, "refining": REFINED}}
    return replace(STRATEGIES[strategy], **options.get(strategy, {}))


class TestAverage:
    @given(seeds=st.lists(st.integers(0, 10**6), min_size=2, max_size=6))
    def test_orders_by_mean_position(self, seeds: list[int]) -> None:
        rankings = [random_ranking(seed) for seed in seeds]
        mean = average_rankings(rankings)
        positions = torch.stack([r.rank for r in rankings]).double()
        expected = positions.mean(0)
        assert bool((expected[mean.order].diff() >= -1e-9).all())
        torch.testing.assert_close(mean.scores, 11 - expected)
        torch.testing.assert_close(mean.standard_error, positions.std(0) / len(seeds) ** 0.5)

    @given(seed=st.integers(0, 10**6), times=st.integers(1, 4))
    def test_of_the_same_ranking_is_that_ranking(self, seed: int, times: int) -> None:
        ranking = random_ranking(seed)
        mean = average_rankings([ranking] * times)
        assert torch.equal(mean.order, ranking.order)
        assert bool(mean.standard_error.isnan().all()) == (times == 1)

    def test_none_is_refused(self) -> None:
        with pytest.raises(InputError, match="at least one"):
            average_rankings([])

    def test_other_shapes_are_refused(self) -> None:
        with pytest.raises(InputError, match="different shapes"):
            average_rankings([random_ranking(0, 12), random_ranking(0, 13)])


class TestByName:
    def test_is_what_its_parts_give(self, split: Split) -> None:
        one, two = network(0), network(1)
        eliminated = eliminate(one, split, options=QUICK, seed=5)
        exchanged = exchange(eliminated, split, 7, options=SWAPS, seed=5)
        expected = {
            "one-shot": rank(one, split, seed=5),
            "stability": average_rankings([rank(one, split, seed=5), rank(two, split, seed=seeds_of(5, 2)[1])]),
            "elimination": eliminated,
            "exchange": refine(exchanged, split, 7, options=REFINED, seed=5),
        }
        assert set(expected) == set(STRATEGIES)
        for strategy, ranking in expected.items():
            networks = [one, two] if strategy == "stability" else [one]
            keep = 7 if strategy == "exchange" else None
            before = eliminated if strategy == "exchange" else None
            found = rank(networks, split, strategy=quick(strategy), keep=keep, before=before, seed=5)
            assert torch.equal(found.order, ranking.order), strategy

    def test_the_criterion_reaches_every_strategy(self, split: Split) -> None:
        for strategy in ("one-shot", "elimination"):
            orders = {
                tuple(rank(network(), split, strategy=quick(strategy), **changes).order.tolist())
                for changes in ({}, {"criterion": "epsilon-plus"}, {"statistic": "mean"}, {"start": "logit"})
            }
            assert len(orders) > 2

    def test_progress_is_told_and_can_stop_it(self, split: Split) -> None:
        told: list[str] = []
        rank([network(), network(1)], split, strategy="stability", on_progress=told.append)
        assert told == ["ranked by network 1 of 2", "ranked by network 2 of 2"]

        def stop(text: str) -> None:
            raise Cancelled(text)

        for strategy, keep in (("one-shot", None), ("elimination", None), ("exchange", 5)):
            with pytest.raises(Cancelled):
                rank(network(), split, strategy=quick(strategy), keep=keep, on_progress=stop)

    @pytest.mark.parametrize(
        ("strategy", "n_networks", "keep", "words"),
        [
            ("eliminate", 1, None, "did you mean 'elimination'"),
            ("one-shot", 0, None, "explains a network"),
            ("elimination", 2, None, "exactly one network, not 2"),
            ("stability", 0, None, "explains a network"),
            ("exchange", 1, None, "needs keep"),
            ("elimination", 1, 5, "leave keep out"),
        ],
    )
    def test_refusals(self, split: Split, strategy: str, n_networks: int, keep: int | None, words: str) -> None:
        with pytest.raises(InputError, match=words):
            rank([network()] * n_networks, split, strategy=strategy, keep=keep)
