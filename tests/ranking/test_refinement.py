"""Refinement, and the network of kernels that judges it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge

from lrp_core.data import Dataset
from lrp_core.errors import Cancelled, InputError
from lrp_core.ranking import Ranking, Refinement, kernels, rank, refine
from lrp_core.ranking.kernels import KernelNetwork, Smoothness
from lrp_core.ranking.neighbours import Images

from ..support import toy_split
from .test_swaps import N_INPUTS, any_ranking, some_images, three_bits

pytestmark = pytest.mark.slow

SMOOTHNESS = Smoothness(width=1.5, temperature=0.2)


def in_double(images: Images, weights: torch.Tensor | None = None) -> Images:
    """The images in double precision, every input scaled so that its squared differences have this weight."""
    inputs = images.inputs.double()
    return Images(inputs if weights is None else inputs * weights.sqrt(), images.labels)


def network(weights: torch.Tensor | None = None) -> KernelNetwork:
    references, queries = some_images(50), some_images(40, 1)
    return KernelNetwork(in_double(references, weights), in_double(queries, weights), 3, ridge=0.1)


@pytest.fixture(scope="class")
def several_blocks() -> Iterator[None]:
    """Few queries at a time, the last ones fewer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "BLOCK", 7)
        yield


@pytest.mark.usefixtures("several_blocks")
class TestKernels:
    @given(columns=st.sets(st.integers(0, 5), min_size=1), width=st.floats(0.3, 5), temperature=st.floats(0.05, 1))
    def test_the_loss_is_that_of_scikit_learns_kernel_ridge(
        self, columns: set[int], width: float, temperature: float
    ) -> None:
        chosen, made = sorted(columns), network()
        ridge = KernelRidge(alpha=0.1, kernel="rbf", gamma=1 / width)
        targets = np.eye(3)[made.references.labels.numpy()] - 1 / 3
        fitted = ridge.fit(made.references.inputs[:, chosen].numpy(), targets)
        outputs = fitted.predict(made.queries.inputs[:, chosen].numpy()) / temperature
        right = outputs[np.arange(40), made.queries.labels.numpy()]
        expected = (np.log(np.exp(outputs).sum(1)) - right).mean()
        assert made.loss(chosen, Smoothness(width, temperature)) == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("columns", [[0], [0, 2, 3], [5, 0, 1, 2]])
    def test_the_gradient_is_that_of_finite_differences(self, columns: list[int]) -> None:
        """For inputs that are in with the weight 1, and for inputs that are out with the weight 0."""
        among, step = [3, 0, 5, 1], 1e-5
        found = network().gradient(columns, SMOOTHNESS, among)
        for i, slope in zip(among, found.tolist(), strict=True):
            weights = torch.ones(6, dtype=torch.float64)
            base = 1.0 if i in columns else step
            losses = []
            for change in (step, -step):
                weights[i] = base + change
                losses.append(network(weights).loss(sorted({*columns, i}), SMOOTHNESS))
            assert slope == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-3, abs=1e-6)

    def test_single_precision_is_enough(self) -> None:
        references, queries = some_images(400), some_images(300, 1)
        single = KernelNetwork(references, queries, 3, 0.1)
        double = KernelNetwork(in_double(references), in_double(queries), 3, 0.1)
        assert single.loss([0, 1], SMOOTHNESS) == pytest.approx(double.loss([0, 1], SMOOTHNESS), rel=1e-3)
        np.testing.assert_allclose(
            single.gradient([0, 1], SMOOTHNESS, range(6)).numpy(),
            double.gradient([0, 1], SMOOTHNESS, range(6)).numpy(),
            atol=1e-4,
        )

    @pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
    def test_the_width_scales_with_the_squared_distances(self, scale: float) -> None:
        weights = torch.full((6,), scale, dtype=torch.float64)
        found, expected = (n.best_smoothness(range(6)) for n in (network(weights), network()))
        assert found.width == pytest.approx(scale * expected.width)
        assert found.temperature == expected.temperature

    def test_the_smoothness_found_is_the_best_one(self) -> None:
        made = network()
        best = made.best_smoothness([0, 1, 2])
        losses = [
            made.loss([0, 1, 2], Smoothness(best.width * factor, best.temperature * colder))
            for factor in (0.5, 1, 2)
            for colder in (0.5, 1, 2)
        ]
        assert made.loss([0, 1, 2], best) <= min(losses) * 1.05


QUICK = Refinement(rounds=3, swaps=2, leaving=3, references=30, queries=60, judges=40)


class TestRefinement:
    @settings(max_examples=30)
    @given(keep=st.integers(1, N_INPUTS), seed=st.integers(0, 1000), n=st.integers(6, 120))
    def test_is_nested_and_has_exactly_keep_before_the_rest(self, keep: int, seed: int, n: int) -> None:
        before = any_ranking(seed)
        after = refine(before, toy_split(n, seed=seed), keep, options=QUICK, seed=seed)
        assert after.order.sort().values.tolist() == list(range(N_INPUTS))
        for part in (after.order[:keep], after.order[keep:]):
            assert bool((before.rank[part].diff() > 0).all()), "inside and outside the set, the order is that of before"
        assert len(after.mask(keep)) == keep

    def test_finds_the_inputs_that_tell_the_classes_apart(self) -> None:
        """Of 36 inputs three tell the classes apart, and the ranking puts them last."""
        informative = [4, 17, 30]
        scores = torch.ones(N_INPUTS)
        scores[informative] = 0
        worst = Ranking.from_scores("worst", scores, (1, 6, 6))
        assert set(refine(worst, three_bits(), 3).order[:3].tolist()) == set(informative)

    def test_the_seed_alone_decides(self) -> None:
        split, before = three_bits(), any_ranking()
        torch.manual_seed(1)
        first = refine(before, split, 6, options=QUICK, seed=3)
        assert not torch.equal(first.order, before.order), "nothing was exchanged"
        state = torch.random.get_rng_state()
        assert torch.equal(refine(before, split, 6, options=QUICK, seed=3).order, first.order)
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_the_names_of_the_classes_do_not_matter(self) -> None:
        split = three_bits()
        renamed = replace(split, labels=split.labels * 7 + 5)
        orders = [refine(any_ranking(), part, 6, options=QUICK).order.tolist() for part in (split, renamed)]
        assert orders[0] == orders[1]

    def test_the_validation_loss_never_rises_and_patience_ends_it(self) -> None:
        seen: list[float] = []
        options = replace(QUICK, rounds=50, patience=2)
        refine(any_ranking(), three_bits(), 3, options=options, on_round=lambda number, loss: seen.append(loss))
        assert seen == sorted(seen, reverse=True)
        assert seen[-1] < seen[0]
        assert len(seen) < 50
        assert seen[-1] == seen[-3] < seen[-4]

    def test_no_rounds_change_nothing(self) -> None:
        before = any_ranking()
        assert torch.equal(refine(before, toy_split(60), 6, options=Refinement(rounds=0)).order, before.order)

    def test_keeping_everything_changes_nothing(self) -> None:
        before = any_ranking()
        assert torch.equal(refine(before, toy_split(60), N_INPUTS).order, before.order)

    def test_a_class_with_a_single_image_is_no_obstacle(self) -> None:
        split = toy_split(90)
        split.labels[0] = 7
        order = refine(any_ranking(), split, 5, options=QUICK).order
        assert order.sort().values.tolist() == list(range(N_INPUTS))

    def test_constant_inputs_are_no_obstacle(self) -> None:
        split = toy_split(90)
        split.pixels[:] = 7
        before = any_ranking()
        assert torch.equal(refine(before, split, 5, options=QUICK).order, before.order)

    def test_candidates_are_the_best_of_the_ranking_alone(self) -> None:
        before = any_ranking()
        after = refine(before, toy_split(200), 4, options=replace(QUICK, pool=2, least_pool=1))
        assert set(after.order[:4].tolist()) <= set(before.order[:8].tolist())
        assert after.order[8:].tolist() == before.order[8:].tolist()

    def test_what_raises_in_the_progress_report_stops_it(self) -> None:
        def stop(number: int, loss: float) -> None:
            raise Cancelled("enough")

        with pytest.raises(Cancelled, match="enough"):
            refine(any_ranking(), toy_split(60), 5, options=QUICK, on_round=stop)


class TestRefusals:
    @pytest.mark.parametrize("keep", [0, -1, 37])
    def test_a_keep_outside_the_inputs(self, keep: int) -> None:
        with pytest.raises(InputError, match=f"between 1 and 36, not {keep}"):
            refine(any_ranking(), toy_split(60), keep)

    def test_images_of_another_shape(self) -> None:
        with pytest.raises(InputError, match="of inputs of shape"):
            refine(any_ranking(), toy_split(60, size=9), 5)

    @pytest.mark.parametrize("name", ["patience", "swaps", "entering", "leaving", "pool", "references", "validation"])
    def test_options_that_cannot_be(self, name: str) -> None:
        changes: dict[str, Any] = {name: 0}
        with pytest.raises(InputError, match=f"{name} of a refinement must be at least 1, not 0"):
            Refinement(**changes)

    def test_rounds_that_cannot_be(self) -> None:
        with pytest.raises(InputError, match="rounds of a refinement must be at least 0, not -1"):
            Refinement(rounds=-1)

    @pytest.mark.parametrize("ridge", [0.0, float("nan")])
    def test_a_ridge_that_cannot_be(self, ridge: float) -> None:
        with pytest.raises(InputError, match=f"ridge of a refinement must be above 0, not {ridge}"):
            Refinement(ridge=ridge)


@pytest.mark.slow
def test_on_mnist_nearest_neighbours_do_better_with_the_refined_pixels(mnist: Dataset) -> None:
    part = mnist.train.sample(9000, seed=0)
    before = rank(None, part, criterion="variance")
    after = refine(before, part, 25, options=Refinement(rounds=4))

    def accuracy(ranking: Ranking) -> float:
        chosen = ranking.order[:25]
        a, b = (s.pixels.flatten(1)[:, chosen].float() for s in (mnist.validation, part))
        nearest = torch.cat([torch.cdist(rows, b).argmin(1) for rows in a.split(1000)])
        return float((part.labels[nearest] == mnist.validation.labels).double().mean())

    assert accuracy(after) > accuracy(before) + 0.03
