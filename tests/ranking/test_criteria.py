"""What a ranking orders by: relevance over a split, measured in batches, and the controls."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lrp_core.data import Split
from lrp_core.errors import InputError, NonFiniteRelevance, UnsupportedLayer
from lrp_core.lrp import COMPOSITES, STARTS, attribute
from lrp_core.models import Network, build_model
from lrp_core.pruning import prune_inputs
from lrp_core.ranking import (
    CRITERIA,
    STATISTICS,
    measure_relevance,
    pixel_variance,
    rank,
    ranking_from,
)

from ..support import CONTROLS, MEASURED, NEED_NETWORK, frozen, unchanged

pytestmark = pytest.mark.slow

SHAPE = (1, 6, 6)
N_CLASSES = 4


def fake_split(n: int = 30, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Split:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, *shape), generator=random, dtype=torch.uint8)
    pixels[:, :, 0] = 0
    labels = torch.randint(0, N_CLASSES, (n,), generator=random)
    return Split(pixels, labels, torch.arange(n))


def network(name: str = "mlp-300-100") -> Network:
    return build_model(name, shape=SHAPE, n_classes=N_CLASSES, seed=1).eval()


class Bessel(nn.Module):
    """Something that has gradients and no rule."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


class TestMeasure:
    @pytest.mark.parametrize("start", STARTS)
    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_is_the_relevance_of_every_image_for_its_true_class(self, composite: str, start: str) -> None:
        model, split = network("lenet-5"), fake_split()
        statistics = measure_relevance(model, split, criterion=composite, start=start, batch_size=7)
        relevance = attribute(model, split.images, target=split.labels, composite=composite, start=start)
        r = relevance.double().flatten(1).numpy()
        for label in (None, *range(N_CLASSES)):
            chosen = r if label is None else r[split.labels.numpy() == label]
            for statistic, values in (
                ("mean", chosen),
                ("mean-abs", abs(chosen)),
                ("mean-square", chosen**2),
                ("mean-positive", chosen.clip(0)),
            ):
                expected, scale = values.mean(0), abs(values).max()
                actual = statistics.mean(statistic, label=label).numpy()
                np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * scale)

    def test_the_batch_size_does_not_matter(self) -> None:
        model, split = network(), fake_split(23)
        expected = measure_relevance(model, split, batch_size=23)
        for batch_size in (1, 5, 22, 1000):
            actual = measure_relevance(model, split, batch_size=batch_size)
            assert torch.equal(actual.counts, expected.counts)
            scale = float(expected.sums.abs().max())
            torch.testing.assert_close(actual.sums, expected.sums, rtol=1e-3, atol=1e-6 * scale)

    def test_the_defaults_are_lrp_0_from_the_log_odds(self) -> None:
        model, split = network(), fake_split()
        expected = measure_relevance(model, split, criterion="lrp-0", start="log-odds")
        assert torch.equal(measure_relevance(model, split).sums, expected.sums)

    def test_progress_counts_the_images_done(self) -> None:
        done: list[int] = []
        measure_relevance(network(), fake_split(23), batch_size=10, on_batch=done.append)
        assert done == [10, 20, 23]

    def test_a_class_without_images_still_counts_as_one(self) -> None:
        split = fake_split()
        only = split.take((split.labels == 1).nonzero().flatten())
        statistics = measure_relevance(network(), only)
        assert statistics.counts.tolist() == [0, len(only), 0, 0]
        assert statistics.mean(label=3).isnan().all()

    def test_a_model_of_ones_own_has_as_many_classes_as_labels(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, N_CLASSES))
        assert len(measure_relevance(model, fake_split()).counts) == N_CLASSES

    def test_a_pruned_network_takes_what_encode_gives(self) -> None:
        model, split = network(), fake_split()
        mask = rank(model, split).mask(keep=12)
        small = prune_inputs(model, mask)
        statistics = measure_relevance(small, split, encode=small.encode)
        assert statistics.sums.shape == (5, N_CLASSES, 12)
        r = attribute(small, mask.apply(split.images), target=split.labels, composite="lrp-0", start="log-odds")
        torch.testing.assert_close(
            statistics.mean("mean"), r.double().mean(0), rtol=1e-3, atol=1e-4 * float(r.abs().max())
        )

    def test_labels_beyond_the_networks_classes_are_refused(self) -> None:
        split = fake_split()
        split.labels[3] = N_CLASSES
        with pytest.raises(InputError, match=f"between 0 and {N_CLASSES - 1}"):
            measure_relevance(network(), split)

    def test_a_network_that_cannot_be_explained_is_refused_before_any_image(self) -> None:
        done: list[int] = []
        with pytest.raises(UnsupportedLayer, match="bessel_j0"):
            measure_relevance(nn.Sequential(network(), Bessel()), fake_split(), on_batch=done.append)
        assert not done

    @pytest.mark.parametrize("n", [40, 400])
    def test_never_more_than_one_batch_of_images_is_alive(self, n: int) -> None:
        """Counted by weak references: memory does not grow with the sample, and the split keeps no float copy."""
        alive: list[weakref.ref[Tensor]] = []
        most = 0

        def encode(images: Tensor) -> Tensor:
            nonlocal most
            assert len(images) <= 20
            copy = images.clone()
            alive.append(weakref.ref(copy))
            most = max(most, sum(ref() is not None for ref in alive))
            return copy

        gc.disable()
        try:
            split = fake_split(n)
            measure_relevance(network(), split, encode=encode, batch_size=20)
        finally:
            gc.enable()
        assert len(alive) == n // 20
        assert most <= 2
        assert "images" not in vars(split)


class TestVariance:
    @given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 1000))
    @settings(deadline=None, max_examples=30)
    def test_is_numpys(self, n: int, batch_size: int, seed: int) -> None:
        split = fake_split(n, seed, (2, 3, 2))
        expected = (split.pixels.numpy().reshape(n, -1) / 255.0).var(0)
        actual = pixel_variance(split, batch_size)
        assert actual.shape == (12,)
        np.testing.assert_allclose(actual.numpy(), expected, atol=1e-12)

    def test_a_constant_pixel_has_none(self) -> None:
        split = fake_split(300)
        split.pixels[:, :, 2, 3] = 201
        variance = pixel_variance(split, 7).view(SHAPE)
        assert (variance >= 0).all()
        assert not variance[:, 0].any()
        assert float(variance[0, 2, 3]) < 1e-12

    def test_ranks_the_constant_pixels_last(self) -> None:
        split = fake_split(50)
        ranked = rank(None, split, criterion="variance")
        assert set(ranked.order[-6:].tolist()) == set(range(6))
        np.testing.assert_allclose(
            ranked.scores.numpy(), (split.pixels.numpy().reshape(50, -1) / 255.0).var(0), atol=1e-12
        )


class TestRank:
    def test_criteria_are_all_composites_and_the_controls(self) -> None:
        assert set(CRITERIA) == {*COMPOSITES, *CONTROLS}
        assert set(CONTROLS) == {
            *("random", "centre", "smooth-random", "variance", "non-constant", "weight"),
            *("gradient", "gradient-x-input", "integrated-gradients", "smoothgrad"),
            *("anova-f", "mutual-information", "extra-trees"),
        }
        assert len(CRITERIA) == len(set(CRITERIA))
        assert set(MEASURED) == {*COMPOSITES, "gradient", "gradient-x-input", "integrated-gradients", "smoothgrad"}
        assert set(NEED_NETWORK) == {*MEASURED, "weight"}

    @pytest.mark.parametrize("criterion", CRITERIA)
    def test_what_needs_a_network_says_so_and_the_rest_looks_at_none(self, criterion: str) -> None:
        split = fake_split()
        if criterion in NEED_NETWORK:
            with pytest.raises(InputError, match=f"'{criterion}' explains a network"):
                rank(None, split, criterion=criterion)
            others = [
                rank(build_model("mlp-1000", shape=SHAPE, n_classes=N_CLASSES, seed=s), split, criterion=criterion)
                for s in (1, 2)
            ]
            assert not torch.equal(others[0].scores, others[1].scores)
        else:
            alone = rank(None, split, criterion=criterion, seed=3)
            assert torch.equal(alone.order, rank(network(), split, criterion=criterion, seed=3).order)

    @pytest.mark.parametrize("criterion", CRITERIA)
    def test_global_random_states_neither_matter_nor_change(self, criterion: str) -> None:
        model, split = network("lenet-5"), fake_split()
        orders = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            before, of_numpy = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
            orders.append(rank(model, split, criterion=criterion, seed=5).order)
            assert torch.equal(torch.get_rng_state(), before)
            assert np.random.get_state()[1].tolist() == of_numpy  # noqa: NPY002
        assert torch.equal(*orders)

    @pytest.mark.parametrize("criterion", NEED_NETWORK)
    def test_no_criterion_changes_the_network(self, criterion: str) -> None:
        model = network("cnn-32-64").train()
        before = frozen(model)
        rank(model, fake_split(), criterion=criterion)
        assert model.training
        assert unchanged(model, before)
        assert all(p.grad is None and p.requires_grad for p in model.parameters())

    @pytest.mark.parametrize("statistic", STATISTICS)
    @pytest.mark.parametrize("criterion", COMPOSITES)
    def test_by_relevance(self, criterion: str, statistic: str) -> None:
        model, split = network(), fake_split()
        ranked = rank(model, split, criterion=criterion, statistic=statistic)
        statistics = measure_relevance(model, split, criterion=criterion, start="log-odds")
        assert torch.equal(ranked.scores, statistics.mean(statistic))
        assert torch.equal(ranked.standard_error, statistics.standard_error(statistic))
        assert (ranked.scores[ranked.order].diff() <= 0).all()
        assert ranked.criterion == criterion
        assert ranked.shape == SHAPE
        assert ranked.mask(keep=5).shape == SHAPE

    def test_for_one_class(self) -> None:
        model, split = network(), fake_split()
        only = split.take((split.labels == 2).nonzero().flatten())
        torch.testing.assert_close(
            rank(model, split, label=2).scores, measure_relevance(model, only).mean(), rtol=1e-3, atol=1e-9
        )
        assert not torch.equal(rank(model, split, label=2).order, rank(model, split).order)

    def test_the_start_matters(self) -> None:
        model, split = network(), fake_split()
        assert not torch.equal(rank(model, split, start="logit").scores, rank(model, split).scores)

    @pytest.mark.parametrize("criterion", CRITERIA)
    def test_the_same_seed_gives_the_same_ranking(self, criterion: str) -> None:
        model, split = network(), fake_split()
        first = rank(model, split, criterion=criterion, seed=4)
        assert torch.equal(first.order, rank(model, split, criterion=criterion, seed=4).order)

    def test_pixels_that_are_always_zero_are_ordered_by_the_seed(self) -> None:
        model, split = network(), fake_split()
        orders = [rank(model, split, seed=seed).order for seed in range(4)]
        assert all(set(order[-6:].tolist()) == set(range(6)) for order in orders)
        assert len({tuple(order[-6:].tolist()) for order in orders}) > 1
        assert len({tuple(order[:-6].tolist()) for order in orders}) == 1

    def test_random_is_a_permutation_that_differs_by_seed(self) -> None:
        split = fake_split()
        orders = [rank(None, split, criterion="random", seed=seed).order.tolist() for seed in range(20)]
        assert all(sorted(order) == list(range(36)) for order in orders)
        assert len({tuple(order) for order in orders}) == 20
        assert len({order[0] for order in orders}) > 5
        other = rank(None, fake_split(seed=9), criterion="random", seed=3)
        assert other.order.tolist() == orders[3], "the images do not matter"

    def test_the_network_is_not_changed(self) -> None:
        model, split = network().train(), fake_split()
        before = [parameter.detach().clone() for parameter in model.parameters()]
        pixels = split.pixels.clone()
        rank(model, split)
        assert model.training
        assert all(torch.equal(p, then) for p, then in zip(model.parameters(), before, strict=True))
        assert all(p.grad is None for p in model.parameters())
        assert torch.equal(split.pixels, pixels)

    def test_a_diverged_network_is_refused(self) -> None:
        model = network()
        with torch.no_grad():
            model[1].weight[0, 0] = float("nan")
        with pytest.raises(NonFiniteRelevance, match=r"'fc1'.*diverged"):
            rank(model, fake_split())

    def test_a_class_without_images_is_refused(self) -> None:
        split = fake_split()
        only = split.take((split.labels == 1).nonzero().flatten())
        with pytest.raises(InputError) as refused:
            rank(network(), only, label=3)
        assert "class 3" in str(refused.value), "the network has not diverged: there are no images"

    def test_relevance_needs_a_network(self) -> None:
        with pytest.raises(InputError, match="'epsilon' explains a network"):
            rank(None, fake_split(), criterion="epsilon")

    def test_an_unknown_criterion_names_all(self) -> None:
        with pytest.raises(InputError, match="did you mean 'variance'") as refused:
            rank(None, fake_split(), criterion="varianz")
        assert all(name in str(refused.value) for name in CRITERIA)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"statistic": "median"}, "unknown statistic 'median'"),
            ({"label": N_CLASSES}, "class 4 "),
            ({"label": -1}, "class -1 "),
            ({"label": 1, "statistic": "max-mean"}, "leave class 1 out"),
            ({"start": "loggit"}, "unknown start 'loggit'"),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_told_before_the_work_is_done(self, wrong: dict[str, Any], says: str) -> None:
        """Relevance over a whole training set takes minutes: a misspelt option must not cost them."""
        done: list[int] = []
        with pytest.raises(InputError, match=says):
            rank(network(), fake_split(), on_batch=done.append, **wrong)
        assert not done

    def test_from_statistics_at_hand(self) -> None:
        model, split = network(), fake_split()
        statistics = measure_relevance(model, split)
        ranked = ranking_from(statistics, "lrp-0", SHAPE, statistic="mean-abs", label=1, seed=2)
        expected = rank(model, split, statistic="mean-abs", label=1, seed=2)
        assert torch.equal(ranked.order, expected.order)
        assert torch.equal(ranked.standard_error, expected.standard_error)
