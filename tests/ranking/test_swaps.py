"""Exchange, and the network of nearest neighbours that judges it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lrp_core.data import Dataset, Split
from lrp_core.errors import Cancelled, InputError
from lrp_core.ranking import Exchange, Ranking, exchange, rank
from lrp_core.ranking.neighbours import (
    Images,
    Neighbourhood,
    best_temperature,
    expected_error,
    find_neighbours,
)

from ..support import toy_split

pytestmark = pytest.mark.slow

N_INPUTS = 36


def some_images(n: int, seed: int = 0, n_inputs: int = 6, classes: int = 3) -> Images:
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=random)
    inputs = torch.rand(n, n_inputs, generator=random)
    inputs[:, 0] += labels
    return Images(inputs, labels)


def any_ranking(seed: int = 0) -> Ranking:
    return Ranking.from_scores("any", torch.zeros(N_INPUTS), (1, 6, 6), seed=seed)


class TestNeighbours:
    @given(
        n_queries=st.integers(1, 20),
        n_references=st.integers(1, 60),
        n_neighbours=st.integers(1, 8),
        columns=st.sets(st.integers(0, 5), min_size=1),
        seed=st.integers(0, 1000),
    )
    def test_are_those_of_an_exhaustive_search(
        self, n_queries: int, n_references: int, n_neighbours: int, columns: set[int], seed: int
    ) -> None:
        queries, references = some_images(n_queries, seed), some_images(n_references, seed + 1)
        chosen = sorted(columns)
        places, missing = find_neighbours(queries, references, chosen, n_neighbours)
        a, b = (images.inputs[:, chosen].double().numpy() for images in (queries, references))
        distances = ((a[:, None] - b[None]) ** 2).sum(2)
        own = (queries.labels[:, None] == references.labels[None]).numpy()
        for i in range(n_queries):
            for side, among in enumerate((own[i], ~own[i])):
                expected = np.sort(distances[i][among])[:n_neighbours]
                there = missing[side, :, i] == 0
                assert int(there.sum()) == len(expected)
                assert bool(missing[side, ~there, i].isinf().all())
                found = places[side, there, i].numpy()
                assert len(set(found)) == len(found)
                np.testing.assert_allclose(np.sort(distances[i][found]), expected, atol=1e-5)

    def test_among_many_references_the_nearest_is_always_found(self) -> None:
        """The nearest of all is the nearest of its group; the others are nearly so."""
        queries, references = some_images(40), some_images(9000, 1, classes=2)
        queries.labels.clamp_(max=1)
        places, _ = find_neighbours(queries, references, range(6), 5)
        distances = torch.cdist(queries.inputs.double(), references.inputs.double())
        for side in (0, 1):
            among = (queries.labels[:, None] == references.labels) ^ bool(side)
            every = distances.masked_fill(~among, torch.inf)
            found = every.gather(1, places[side].T)
            torch.testing.assert_close(found.amin(1), every.amin(1), atol=1e-3, rtol=0)
            assert bool(found.isfinite().all())
            assert float(found.mean() / every.topk(5, largest=False).values.mean()) < 1.05

    def test_a_swap_is_what_a_new_sum_over_columns_is(self) -> None:
        n = Neighbourhood(some_images(30), some_images(50, 1), [0, 2, 3], 4)
        swapped = n.swapped(n.distances, leaves=2, enters=5)
        torch.testing.assert_close(swapped, n.distances_on([0, 3, 5]), atol=1e-5, rtol=1e-5)

    def test_the_expected_error_is_the_vote_of_the_other_classes(self) -> None:
        distances = torch.rand(2, 3, 5, dtype=torch.float64)
        distances[0, 2, 1] = torch.inf
        votes = np.exp(-distances.numpy() / 0.3).sum(1)
        np.testing.assert_allclose(expected_error(distances, 0.3).numpy(), votes[1] / votes.sum(0), rtol=1e-9)

    def test_a_query_without_a_neighbour_of_its_class_is_wrong(self) -> None:
        distances = torch.ones(2, 3, 4)
        distances[0] = torch.inf
        assert expected_error(distances, 1.0).tolist() == [1.0] * 4

    def test_the_gradient_is_that_of_finite_differences(self) -> None:
        n = Neighbourhood(some_images(30), some_images(50, 1), [0, 2, 3], 4)
        n.squares, distances = n.squares.double(), n.distances.double()
        gradient, step = n.gradient(distances, 0.2), 1e-5
        for i in range(6):
            up, down = (expected_error(distances + s * n.squares[i], 0.2).mean() for s in (step, -step))
            assert float(gradient[i]) == pytest.approx(float(up - down) / (2 * step), rel=1e-4, abs=1e-9)

    def test_the_gradient_is_relevance_weighted_by_indecision(self) -> None:
        """R = (E_others[d] - E_own[d]) / T, each average over the votes of one side, written out in numpy."""
        n = Neighbourhood(some_images(30), some_images(50, 1), [0, 2, 3], 4)
        t, d = 0.2, n.distances.double().numpy()
        votes = np.exp(-d / t)
        share = votes / votes.sum(1, keepdims=True)
        relevance = ((share * n.squares.double().numpy()).sum(2) @ np.eye(30)).transpose(1, 0, 2)
        error = votes.sum(1)[1] / votes.sum((0, 1))
        expected = -(error * (1 - error) * (relevance[1] - relevance[0]) / t).mean(1)
        np.testing.assert_allclose(n.gradient(n.distances, t).numpy(), expected, rtol=1e-3, atol=1e-6)

    @given(scale=st.floats(0.01, 100))
    def test_the_temperature_scales_with_the_distances(self, scale: float) -> None:
        queries = some_images(60)
        distances = Neighbourhood(queries, some_images(200, 1), range(6), 5).distances
        assert best_temperature(distances * scale) == pytest.approx(scale * best_temperature(distances), rel=1e-3)

    def test_identical_images_have_a_temperature(self) -> None:
        assert best_temperature(torch.zeros(2, 3, 4)) > 0


def three_bits(n: int = 900, noise: int = 100) -> Split:
    """Eight classes, told apart by inputs 4, 17 and 30, and a little by 5, 18 and 31; the other 30 are noise."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 8
    pixels = torch.randint(0, noise, (n, N_INPUTS), generator=random)
    for bit, i in enumerate((4, 17, 30)):
        pixels[:, i + 1] += 50 * ((labels >> bit) & 1)
        pixels[:, i] = 140 * ((labels >> bit) & 1) + torch.randint(0, 110, (n,), generator=random)
    return Split(pixels.view(n, 1, 6, 6).to(torch.uint8), labels, torch.arange(n))


QUICK = Exchange(rounds=3, swaps=3, leaving=3, entering=4, neighbours=4)


class TestExchange:
    @given(keep=st.integers(1, N_INPUTS), seed=st.integers(0, 1000), n=st.integers(6, 120))
    def test_is_nested_and_has_exactly_keep_before_the_rest(self, keep: int, seed: int, n: int) -> None:
        before = any_ranking(seed)
        after = exchange(before, toy_split(n, seed=seed), keep, options=QUICK, seed=seed)
        assert after.order.sort().values.tolist() == list(range(N_INPUTS))
        for part in (after.order[:keep], after.order[keep:]):
            positions = before.rank[part]
            assert bool((positions.diff() > 0).all()), "inside and outside the set, the order is that of before"
        assert len(after.mask(keep)) == keep

    def test_finds_the_inputs_that_tell_the_classes_apart(self) -> None:
        """Of 36 inputs three tell the classes apart, and the ranking puts them last."""
        informative = [4, 17, 30]
        scores = torch.ones(N_INPUTS)
        scores[informative] = 0
        worst = Ranking.from_scores("worst", scores, (1, 6, 6))
        assert set(exchange(worst, three_bits(), 3).order[:3].tolist()) == set(informative)

    def test_permuted_inputs_give_the_permuted_set(self) -> None:
        split, before = three_bits(), any_ranking(1)
        permutation = torch.randperm(N_INPUTS, generator=torch.Generator().manual_seed(5))
        moved = Split(split.pixels.flatten(1)[:, permutation].view(-1, 1, 6, 6), split.labels, split.indices)
        scores = before.scores.clone()
        scores[before.order] = torch.arange(N_INPUTS, 0, -1, dtype=torch.float64)
        straight = Ranking.from_scores("any", scores, (1, 6, 6))
        elsewhere = Ranking.from_scores("any", scores[permutation], (1, 6, 6))
        expected = exchange(straight, split, 5, seed=2)
        assert expected.order[:5].tolist() != straight.order[:5].tolist(), "nothing was exchanged"
        assert permutation[exchange(elsewhere, moved, 5, seed=2).order].tolist() == expected.order.tolist()

    def test_the_seed_alone_decides(self) -> None:
        split, before = three_bits(), any_ranking()
        torch.manual_seed(1)
        first = exchange(before, split, 6, seed=3)
        assert not torch.equal(first.order, before.order), "nothing was exchanged"
        state = torch.random.get_rng_state()
        assert torch.equal(exchange(before, split, 6, seed=3).order, first.order)
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_the_validation_error_never_rises(self) -> None:
        seen: list[tuple[int, float]] = []
        options = Exchange(swaps=1)
        exchange(
            any_ranking(), three_bits(), 3, options=options, on_round=lambda number, error: seen.append((number, error))
        )
        assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
        errors = [error for _, error in seen]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < errors[0]

    def test_no_rounds_change_nothing(self) -> None:
        before = any_ranking()
        assert torch.equal(exchange(before, toy_split(60), 6, options=Exchange(rounds=0)).order, before.order)

    def test_keeping_everything_changes_nothing(self) -> None:
        before = any_ranking()
        assert torch.equal(exchange(before, toy_split(60), N_INPUTS).order, before.order)

    def test_a_class_with_a_single_image_is_no_obstacle(self) -> None:
        split = toy_split(90)
        split.labels[0] = 7
        order = exchange(any_ranking(), split, 5, options=QUICK).order
        assert order.sort().values.tolist() == list(range(N_INPUTS))

    def test_constant_inputs_are_no_obstacle(self) -> None:
        split = toy_split(90)
        split.pixels[:] = 7
        before = any_ranking()
        assert torch.equal(exchange(before, split, 5, options=QUICK).order, before.order)

    def test_candidates_are_the_best_of_the_ranking_alone(self) -> None:
        before = any_ranking()
        after = exchange(before, toy_split(200), 4, options=Exchange(pool=2, least_pool=1))
        assert set(after.order[:4].tolist()) <= set(before.order[:8].tolist())
        assert after.order[8:].tolist() == before.order[8:].tolist()

    def test_what_raises_in_the_progress_report_stops_it(self) -> None:
        def stop(number: int, error: float) -> None:
            raise Cancelled("enough")

        with pytest.raises(Cancelled, match="enough"):
            exchange(any_ranking(), toy_split(60), 5, options=QUICK, on_round=stop)


class TestRefusals:
    @pytest.mark.parametrize("keep", [0, -1, 37])
    def test_a_keep_outside_the_inputs(self, keep: int) -> None:
        with pytest.raises(InputError, match=f"between 1 and 36, not {keep}"):
            exchange(any_ranking(), toy_split(60), keep)

    def test_images_of_another_shape(self) -> None:
        with pytest.raises(InputError, match="of inputs of shape"):
            exchange(any_ranking(), toy_split(60, size=9), 5)

    @pytest.mark.parametrize("n", [0, 5])
    def test_too_few_images(self, n: int) -> None:
        with pytest.raises(InputError, match=f"at least 6 images to choose and to judge by, not {n}"):
            exchange(any_ranking(), toy_split(60).take(torch.arange(n)), 5)

    def test_a_single_class(self) -> None:
        split = toy_split(60)
        only: Tensor = (split.labels == 1).nonzero().flatten()
        with pytest.raises(InputError, match="at least 2 classes"):
            exchange(any_ranking(), split.take(only), 5)

    @pytest.mark.parametrize("name", ["swaps", "leaving", "pool", "queries", "validation", "neighbours"])
    def test_options_that_cannot_be(self, name: str) -> None:
        changes: dict[str, Any] = {name: 0}
        with pytest.raises(InputError, match=f"{name} of an exchange must be at least 1, not 0"):
            Exchange(**changes)

    def test_rounds_that_cannot_be(self) -> None:
        with pytest.raises(InputError, match="rounds of an exchange must be at least 0, not -1"):
            Exchange(rounds=-1)


@pytest.mark.slow
def test_on_mnist_nearest_neighbours_do_better_with_the_exchanged_pixels(mnist: Dataset) -> None:
    part = mnist.train.sample(9000, seed=0)
    before = rank(None, part, criterion="variance")
    after = exchange(before, part, 25)

    def accuracy(ranking: Ranking) -> float:
        chosen = ranking.order[:25]
        a, b = (s.pixels.flatten(1)[:, chosen].float() for s in (mnist.validation, part))
        nearest = torch.cat([torch.cdist(rows, b).argmin(1) for rows in a.split(1000)])
        return float((part.labels[nearest] == mnist.validation.labels).double().mean())

    assert accuracy(after) > accuracy(before) + 0.05
