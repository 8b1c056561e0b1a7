"""Controls against scikit-learn, dense matrices and hand cases."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mutual_info_score
from torch import nn

from lrp_core.data import Split
from lrp_core.errors import InputError, UnsupportedLayer
from lrp_core.models import build_model
from lrp_core.ranking import rank
from lrp_core.ranking.controls import (
    BLUR,
    GREY_LEVELS,
    anova_f,
    centre_distance,
    extra_trees,
    first_weights,
    mutual_information,
    smooth_noise,
    varies,
)

from ..support import CONTROLS, IMAGE_NETWORKS, check_sentence, stir, toy_split


def split_of(pixels: np.ndarray, labels: list[int]) -> Split:
    """Images of one row from an array [n, inputs]."""
    n, width = pixels.shape
    x = torch.from_numpy(pixels.astype(np.uint8)).view(n, 1, 1, width)
    return Split(x, torch.tensor(labels), torch.arange(n))


@st.composite
def splits(draw: st.DrawFn) -> Split:
    """Two to four classes of at least two images each, on up to six pixels of few values, some of them constant."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_classes = draw(st.integers(2, 4))
    n, width = draw(st.integers(2 * n_classes, 40)), draw(st.integers(1, 6))
    pixels = random.integers(0, draw(st.sampled_from([2, 5, 256])), (n, width))
    pixels[:, random.random(width) < 0.2] = 7
    return split_of(pixels, [i % n_classes for i in range(n)])


class TestCentre:
    @given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
    @settings(deadline=None, max_examples=30)
    def test_is_the_distance_from_the_middle(self, channels: int, height: int, width: int) -> None:
        scores = centre_distance((channels, height, width)).view(channels, height, width).numpy()
        for (_, i, j), score in np.ndenumerate(scores):
            assert score == pytest.approx(-((i - (height - 1) / 2) ** 2 + (j - (width - 1) / 2) ** 2))

    def test_keeps_a_disc(self) -> None:
        mask = rank(None, toy_split(4, size=9), criterion="centre").mask(keep=13).keep[0]
        inside = torch.tensor([[abs(i - 4) + abs(j - 4) <= 2 for j in range(9)] for i in range(9)])
        assert torch.equal(mask, inside)

    def test_equally_near_pixels_are_ordered_by_the_seed(self) -> None:
        orders = [rank(None, toy_split(4), criterion="centre", seed=seed).order.tolist() for seed in range(6)]
        assert {frozenset(order[:4]) for order in orders} == {frozenset((14, 15, 20, 21))}
        assert len({order[0] for order in orders}) > 1

    @pytest.mark.parametrize("shape", [(36,), (6, 6), (1, 1, 6, 6)])
    def test_a_vector_has_none(self, shape: tuple[int, ...]) -> None:
        for refused in (lambda: centre_distance(shape), lambda: smooth_noise(shape, 0)):
            with pytest.raises(InputError, match="needs images") as caught:
                refused()
            check_sentence(caught.value)


class TestSmoothNoise:
    def test_neighbours_are_alike_and_strangers_are_not(self) -> None:
        noise = torch.stack([smooth_noise((1, 20, 20), seed).view(20, 20) for seed in range(60)])
        noise = (noise - noise.mean()) / noise.std()
        beside = float((noise[:, :, 1:] * noise[:, :, :-1]).mean())
        apart = float((noise[:, :, 10:] * noise[:, :, :10]).mean())
        # Noise blurred by s is correlated by exp(-d^2 / 4 s^2) at distance d; here s is 2.
        assert beside == pytest.approx(np.exp(-1 / (4 * (BLUR * 20) ** 2)), abs=0.02)
        assert abs(apart) < 0.1

    def test_no_place_is_favoured(self) -> None:
        """Blurred noise that is reflected at its edges would vary twice as much there, and be kept more often."""
        noise = torch.stack([smooth_noise((1, 12, 12), seed).view(12, 12) for seed in range(400)])
        spread = noise.square().mean(0)
        corners, inside = spread[[0, 0, -1, -1], [0, -1, 0, -1]].mean(), spread[4:8, 4:8].mean()
        assert float(corners / inside) == pytest.approx(1, abs=0.3)

    def test_is_the_seeds_alone(self) -> None:
        first = smooth_noise((2, 5, 7), 3)
        assert torch.equal(first, smooth_noise((2, 5, 7), 3))
        assert not torch.equal(first, smooth_noise((2, 5, 7), 4))
        assert len(first.unique()) == 70

    def test_channels_are_not_mixed(self) -> None:
        first, second = torch.stack([smooth_noise((2, 16, 16), s).view(2, -1) for s in range(60)], 1)
        assert abs(float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])) < 0.15

    def test_without_blur_it_is_noise(self) -> None:
        plain = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        torch.testing.assert_close(smooth_noise((1, 6, 6), 2, blur=0), plain.flatten())

    @pytest.mark.parametrize("blur", [-0.1, 1.5, float("nan")])
    def test_a_blur_that_is_no_share_is_refused(self, blur: float) -> None:
        with pytest.raises(InputError, match="blur is a share"):
            smooth_noise((1, 6, 6), 0, blur)


class TestNonConstant:
    @given(splits())
    @settings(deadline=None, max_examples=30)
    def test_is_whether_a_pixel_has_two_values(self, split: Split) -> None:
        columns = split.pixels.flatten(1).T.tolist()
        assert varies(split).tolist() == [float(len(set(column)) > 1) for column in columns]

    def test_comes_before_the_constant_in_an_order_of_the_seed(self) -> None:
        split = toy_split(30)
        split.pixels[:, :, :, 3] = 255
        orders = [rank(None, split, criterion="non-constant", seed=seed).order.tolist() for seed in range(5)]
        assert all({i % 6 for i in order[-6:]} == {3} for order in orders)
        assert len({tuple(order[:-6]) for order in orders}) == len({tuple(order[-6:]) for order in orders}) == 5


class TestAnovaF:
    @given(splits(), st.integers(1, 7))
    @settings(deadline=None, max_examples=40)
    def test_is_scipys(self, split: Split, n_columns: int) -> None:
        actual = anova_f(split, n_columns).numpy()
        groups = [split.pixels.flatten(1)[split.labels == c].double().numpy() for c in split.labels.unique()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = stats.f_oneway(*groups).statistic
        constant = varies(split).numpy() == 0
        assert (actual[constant] == 0).all()
        finite = ~constant & np.isfinite(expected) & (expected < 1e10)
        np.testing.assert_allclose(actual[finite], expected[finite], rtol=1e-6, atol=1e-9)
        assert (actual[~constant & ~finite] > 1e9).all()

    def test_a_pixel_that_tells_the_classes_apart_without_fail_comes_first(self) -> None:
        random = np.random.default_rng(0)
        labels = [0, 1, 2] * 10
        pixels = np.stack([random.integers(0, 256, 30), np.full(30, 9), np.array(labels) * 5], 1)
        scores = anova_f(split_of(pixels, labels))
        assert scores.isfinite().all()
        assert scores.argsort(descending=True).tolist() == [2, 0, 1]


class TestMutualInformation:
    @given(splits())
    @settings(deadline=None, max_examples=30)
    def test_is_counted_over_grey_levels(self, split: Split) -> None:
        labels = split.labels.numpy()
        levels = [column // (256 // GREY_LEVELS) for column in split.pixels.flatten(1).T.numpy()]
        expected = [mutual_info_score(labels, column) for column in levels]
        np.testing.assert_allclose(mutual_information(split).numpy(), expected, atol=1e-9)

    def test_of_the_class_itself_is_its_entropy(self) -> None:
        labels = [0, 1, 2, 3] * 8
        pixels = np.stack([np.array(labels) * 80, np.zeros(32)], 1)
        np.testing.assert_allclose(mutual_information(split_of(pixels, labels)), [np.log(4), 0], atol=1e-12)

    def test_finds_what_no_mean_tells(self) -> None:
        """A pixel that is grey in one class, and black or white in the other, has F = 0."""
        labels = [0, 1] * 40
        pixels = np.array([[127, 0] if c == 0 else [254 * (i % 4 // 2), 0] for i, c in enumerate(labels)])
        split = split_of(pixels, labels)
        assert float(anova_f(split)[0]) == pytest.approx(0, abs=1e-9)
        assert float(mutual_information(split)[0]) == pytest.approx(np.log(2))


class TestExtraTrees:
    def test_importances_are_shares_and_go_to_what_tells(self) -> None:
        random = np.random.default_rng(1)
        labels = random.integers(0, 3, 200)
        pixels = random.integers(0, 256, (200, 8))
        pixels[:, 5] = labels * 60 + random.integers(0, 60, 200)
        pixels[:, 2] = 40
        scores = extra_trees(split_of(pixels, labels.tolist()), seed=0)
        assert float(scores.sum()) == pytest.approx(1)
        assert float(scores[5]) > 0.4
        assert float(scores[2]) == 0

    def test_the_seed_grows_them(self) -> None:
        split = toy_split(60)
        assert torch.equal(extra_trees(split, 3), extra_trees(split, 3))
        assert not torch.equal(extra_trees(split, 3), extra_trees(split, 4))


class TestSampling:
    @pytest.mark.parametrize("score", [mutual_information, extra_trees])
    def test_no_more_images_are_looked_at_than_asked_for(self, score: object) -> None:
        split = toy_split(300)
        assert callable(score)
        sampled = score(split, 5, 60)
        assert torch.equal(sampled, score(split.sample(60, seed=5), 5))
        assert torch.equal(sampled, score(split, 5, 60))
        assert not torch.equal(sampled, score(split, 6, 60))
        assert not torch.equal(sampled, score(split, 5))

    @pytest.mark.parametrize("criterion", ["mutual-information", "extra-trees"])
    @pytest.mark.parametrize("seed", [-1, 2**32])
    def test_a_seed_that_scikit_learn_does_not_take_is_refused(self, criterion: str, seed: int) -> None:
        with pytest.raises(InputError, match="seed must be between"):
            rank(None, toy_split(30), criterion=criterion, seed=seed)


@pytest.mark.parametrize("criterion", ["anova-f", "mutual-information", "extra-trees"])
@pytest.mark.parametrize("n", [1, 3, 9])
def test_classes_that_cannot_be_compared_are_refused(criterion: str, n: int) -> None:
    """One class, or no two images of any."""
    split = toy_split(9)
    split = split.take(torch.arange(3)[:n]) if n < 9 else split.take((split.labels == 1).nonzero().flatten())
    with pytest.raises(InputError, match=f"'{criterion}' compares classes") as caught:
        rank(None, split, criterion=criterion)
    check_sentence(caught.value)


@pytest.mark.parametrize("criterion", [c for c in CONTROLS if c not in ("random", "centre", "smooth-random")])
def test_pixels_that_never_vary_from_zero_come_last(criterion: str) -> None:
    """All but the weights and the plain gradient look at what the pixel holds."""
    split = toy_split(90)
    split.pixels[:, :, 2:4, 0] = 0
    model = build_model("mlp-300-100", shape=(1, 6, 6), n_classes=3, seed=0)
    last = set(rank(model, split, criterion=criterion).order[-2:].tolist())
    assert (last == {12, 18}) == (criterion not in ("weight", "gradient", "smoothgrad"))


class TestFirstWeights:
    @pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
    def test_is_the_sum_of_columns_of_the_first_layer_as_a_matrix(self, architecture: str) -> None:
        """The matrix is found by what the layer makes of every unit image."""
        shape = (2, 5, 6)
        model = stir(build_model(architecture, shape=shape, n_classes=3, seed=2).double(), 0).eval()
        units = torch.eye(60, dtype=torch.float64).view(60, *shape)
        layers = [layer for layer in model if not isinstance(layer, nn.Flatten)]
        first = [layers[0], *(layer for layer in layers[1:2] if isinstance(layer, nn.BatchNorm2d))]
        x = units.flatten(1) if isinstance(layers[0], nn.Linear) else units
        with torch.no_grad():
            reached = nn.Sequential(*first)(x) - nn.Sequential(*first)(torch.zeros_like(x))
        torch.testing.assert_close(first_weights(model, shape), reached.flatten(1).abs().sum(1))

    def test_a_border_pixel_of_a_convolution_has_fewer_connections(self) -> None:
        model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(25, 2))
        nn.init.constant_(model[0].weight, -2.0)
        scores = first_weights(model, (1, 5, 5)).view(5, 5)
        assert (scores[0, 0], scores[0, 2], scores[2, 2]) == (8, 12, 18)

    def test_a_rearrangement_before_the_layer_is_followed(self) -> None:
        class Turned(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(6, 2, bias=False)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.layer(x.transpose(2, 3).flatten(1))

        model = Turned()
        expected = model.layer.weight.detach().abs().sum(0).view(3, 2).T.flatten().double()
        torch.testing.assert_close(first_weights(model, (1, 2, 3)), expected)

    def test_a_batch_norm_on_the_inputs_counts(self) -> None:
        model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1, bias=False), nn.Flatten(), nn.Linear(4, 2))
        nn.init.constant_(model[1].weight, 1.0)
        model[0].weight.data = torch.tensor([3.0, -5.0])
        scores = first_weights(model, (2, 2, 2))
        torch.testing.assert_close(scores, torch.tensor([3.0] * 4 + [5.0] * 4).double(), rtol=1e-4, atol=0)

    def test_a_batch_norm_that_padding_keeps_apart_is_no_first_layer(self) -> None:
        """Its shift is not what padding sets in, so it cannot be folded; its factor counts all the same."""
        model = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(25, 2)).eval()
        nn.init.constant_(model[1].weight, 1.0)
        nn.init.constant_(model[0].weight, -3.0)
        nn.init.constant_(model[0].bias, 0.5)
        scores = first_weights(model, (1, 5, 5)).view(5, 5)
        torch.testing.assert_close(scores[[0, 2], [0, 2]], torch.tensor([12.0, 27.0]).double(), rtol=1e-4, atol=0)

    @pytest.mark.parametrize(
        ("model", "words"),
        [
            (nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(9, 3)), "MaxPool"),
            (nn.Sequential(nn.Tanh(), nn.Flatten(), nn.Linear(36, 3)), "Activation"),
            (nn.Sequential(nn.Flatten()), "has none"),
        ],
    )
    def test_where_no_weight_reads_the_inputs_it_is_refused(self, model: nn.Module, words: str) -> None:
        with pytest.raises(UnsupportedLayer, match=words) as caught:
            rank(model, toy_split(4), criterion="weight")
        check_sentence(caught.value)

    def test_a_network_for_other_inputs_is_refused(self) -> None:
        model = build_model("mlp-300-100", shape=(1, 5, 5), n_classes=3)
        with pytest.raises(InputError, match="do not fit the network"):
            rank(model, toy_split(4), criterion="weight")
