"""Estimators as networks: the same answers as scikit-learn's own, relevance that adds up, and closed forms."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.svm import SVC, OneClassSVM
from torch import Tensor

import lrp_core as lc
from lrp_core.lrp import COMPOSITES, Explainer
from lrp_core.neuralised import Contest

from .estimators import FEATURES, MAKERS, ONE_OUTPUT, asked, dense_distances, fitted, predicted, rows

pytestmark = pytest.mark.slow


def own_numbers(estimator: object, x: np.ndarray, measure: str) -> np.ndarray:
    """What scikit-learn's own method gives; of more than two classes for every pair."""
    if isinstance(estimator, SVC):
        estimator = copy.copy(estimator).set_params(decision_function_shape="ovo")
    return np.asarray(getattr(estimator, measure)(x))


class TestAnswers:
    @pytest.mark.parametrize("name", MAKERS)
    def test_are_those_of_the_estimator(self, name: str) -> None:
        for seed in range(4):
            estimator = fitted(name, seed)
            net, x = lc.neuralise(estimator), asked(seed=seed + 10)
            if hasattr(estimator, "predict"):
                assert (predicted(net, x) == estimator.predict(x.numpy())).all()
            numbers = own_numbers(estimator, x.numpy(), net.measure)
            assert net.decide(x).shape == numbers.shape
            assert np.abs(net.decide(x).numpy() - numbers).max() < 1e-9 * max(1.0, np.abs(numbers).max())

    @given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([0.01, 1.0, 1e3]))
    @settings(max_examples=40)
    def test_are_those_of_a_machine_of_any_size(self, classes: int, features: int, seed: int, size: float) -> None:
        random = np.random.default_rng(seed)
        x, y = size * random.normal(size=(40, features)), np.arange(40) % classes
        for estimator in (SVC(C=random.choice([0.1, 1, 100])), KNeighborsClassifier(random.integers(1, 9))):
            estimator.fit(x, y)
            asked_for = np.concatenate([x, 3 * size * random.normal(size=(60, features))])
            net = lc.neuralise(estimator)
            assert (predicted(net, torch.from_numpy(asked_for)) == estimator.predict(asked_for)).all()

    @given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([None, math.inf, 1e-3, 1e3]))
    @settings(max_examples=40)
    def test_are_those_of_any_clusters(self, clusters: int, features: int, seed: int, stiffness: float | None) -> None:
        random = np.random.default_rng(seed)
        x = random.normal(size=(40, features))
        estimator = KMeans(clusters, n_init=1, max_iter=3, random_state=seed % 2**31).fit(x)
        net = lc.neuralise(estimator, stiffness=stiffness)
        assert (predicted(net, torch.from_numpy(x)) == estimator.predict(x)).all()

    @pytest.mark.parametrize("stiffness", [None, 0.1, math.inf])
    def test_hold_where_centres_are_the_same(self, stiffness: float | None) -> None:
        """The first of equals wins, as in the estimator."""
        estimator = fitted("k-means")
        estimator.cluster_centers_[[2, 4]] = estimator.cluster_centers_[1]
        net, x = lc.neuralise(estimator, stiffness=stiffness), asked()
        assert (predicted(net, x) == estimator.predict(x.numpy())).all()
        assert bool(torch.isfinite(lc.attribute(net, x)).all())

    def test_are_places_among_the_names_of_classes(self) -> None:
        x, y = rows()
        named = np.array(["north", "east", "south", "west"])[y]
        for estimator in (SVC().fit(x, named), KNeighborsClassifier(3).fit(x, named)):
            net = lc.neuralise(estimator)
            assert net.classes == ("east", "north", "south", "west")
            assert (predicted(net, asked()) == estimator.predict(asked().numpy())).all()

    def test_hold_where_kernels_vanish(self) -> None:
        """So far out that every kernel is zero in floating point, the intercept decides alone."""
        x, y = rows()
        machine = SVC().fit(x, y)
        far = 1e3 * np.random.default_rng(0).normal(size=(50, FEATURES))
        assert (predicted(lc.neuralise(machine), torch.from_numpy(far)) == machine.predict(far)).all()

    def test_of_an_image_are_those_of_its_pixels(self) -> None:
        estimator, x = fitted("k-means"), asked()
        net = lc.neuralise(estimator)
        assert torch.equal(net(x.view(len(x), 1, FEATURES, 1)), net(x))
        images = x.view(len(x), 1, FEATURES, 1)
        assert torch.equal(lc.attribute(net, images).flatten(1), lc.attribute(net, x))

    def test_are_copies(self) -> None:
        estimator, x = fitted("svc of four"), asked()
        net = lc.neuralise(estimator)
        before = net(x)
        estimator.support_vectors_[:] = 0
        estimator.dual_coef_[:] = 0
        assert torch.equal(net(x), before)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_are_in_the_precision_of_the_fit(self, dtype: type) -> None:
        x, y = rows()
        for estimator in (KMeans(3, n_init=1).fit(x.astype(dtype)), KNeighborsClassifier().fit(x.astype(dtype), y)):
            assert lc.neuralise(estimator)(asked()).dtype == torch.from_numpy(np.zeros(0, dtype)).dtype

    def test_of_whole_numbers_are_taken(self) -> None:
        x = np.unique(np.random.default_rng(0).integers(0, 9, (60, 3)), axis=0)  # of equal rows any may be the nearest
        estimator = KNeighborsClassifier(1).fit(x, np.arange(len(x)) % 3)
        elsewhere = np.random.default_rng(1).random((50, 3)) * 9
        assert (predicted(lc.neuralise(estimator), torch.from_numpy(elsewhere)) == estimator.predict(elsewhere)).all()

    def test_of_classes_derived_from_theirs_are_the_same(self) -> None:
        class Mine(KMeans):
            pass

        x = rows()[0]
        assert lc.neuralise(Mine(3, n_init=1, random_state=0).fit(x)).made_from == "Mine"


class TestRelevance:
    @pytest.mark.parametrize("composite", COMPOSITES)
    @pytest.mark.parametrize("name", MAKERS)
    def test_is_conserved_to_rounding_with_what_the_balance_lists(self, name: str, composite: str) -> None:
        net, x = lc.neuralise(fitted(name)), asked(40)
        for target in (None, 0) if name in ONE_OUTPUT else (None, 0, torch.arange(len(x)) % len(net.classes)):
            explanation = Explainer(net, composite).explain(x, target)
            chosen = explanation.logits.gather(1, explanation.target.clamp(max=net(x).shape[1] - 1)[:, None])[:, 0]
            started = -chosen if name in ONE_OUTPUT and target == 0 else chosen
            parts = [b.bias + b.entropy for b in explanation.balance]
            lost = torch.stack(parts).sum(0) if parts else torch.zeros(len(x))
            size = 1 + explanation.relevance.abs().sum(1)
            assert float(((explanation.relevance.sum(1) + lost - started).abs() / size).max()) < 1e-11
            assert not any(b.epsilon.any() or b.box.any() for b in explanation.balance)

    @pytest.mark.parametrize("name", MAKERS)
    def test_is_the_same_under_every_composite(self, name: str) -> None:
        net, x = lc.neuralise(fitted(name)), asked(20)
        found = [lc.attribute(net, x, composite=composite) for composite in COMPOSITES]
        assert all(torch.equal(one, found[0]) for one in found)

    @pytest.mark.parametrize("start", ["log-odds", "contrast", "one-hot"])
    @pytest.mark.parametrize("name", [n for n in MAKERS if n not in ONE_OUTPUT])
    def test_takes_every_start(self, name: str, start: str) -> None:
        net, x = lc.neuralise(fitted(name)), asked(20)
        explanation = Explainer(net, "lrp-0").explain(x, start=start)
        lost = sum((b.absorbed for b in explanation.balance), torch.zeros(len(x), dtype=torch.float64))
        arrived = next(iter(reversed(explanation.layers.values()))).sum(1)
        size = 1 + explanation.relevance.abs().sum(1)
        assert float(((explanation.relevance.sum(1) + lost - arrived).abs() / size).max()) < 1e-11

    @given(st.integers(0, 10**6))
    def test_of_two_centres_and_a_hard_minimum_is_the_distance_to_their_midpoint(self, seed: int) -> None:
        """Kauffmann et al. 2022: f = w (x - m) with w = 2 (u_own - u_other), R_d = (x - m)_d w_d."""
        random = np.random.default_rng(seed)
        x = random.normal(size=(30, FEATURES))
        estimator = KMeans(2, n_init=1, random_state=0).fit(x)
        net = lc.neuralise(estimator, stiffness=math.inf)
        own, other = estimator.cluster_centers_
        expected = (x - (own + other) / 2) * 2 * (own - other)
        assert np.allclose(lc.attribute(net, torch.from_numpy(x), target=0).numpy(), expected, atol=1e-12)
        assert np.allclose(lc.attribute(net, torch.from_numpy(x), target=1).numpy(), -expected, atol=1e-12)
        assert np.allclose(net(torch.from_numpy(x))[:, 0].numpy(), expected.sum(1), atol=1e-12)

    @pytest.mark.parametrize("name", MAKERS)
    def test_follows_the_slopes_of_the_contest(self, name: str) -> None:
        """R_d = sum_j c_j (x_d - u_jd)^2, and c_j = dz/dD_j by finite differences of the contest without its vote."""
        net, x = lc.neuralise(fitted(name)), asked(20)
        u, contest, step = net.get_submodule("distances").prototypes.numpy(), net.get_submodule("contest"), 1e-5
        plain = Contest(contest.n_distances, contest.pools, contest.way, contest.stiffness)
        plain.filled(contest.members, contest.offsets)
        target, d = net(x).argmax(1), net.get_submodule("distances")(x)

        def score(d: Tensor) -> Tensor:
            z = plain(d)
            if name.startswith("svc"):
                pairs = list(itertools.combinations(range(len(net.classes)), 2))
                own = [[((i == g) - 1.0 * (j == g)) for i, j in pairs] for g in range(len(net.classes))]
                z = z @ torch.tensor(own, dtype=z.dtype).T / (len(net.classes) - 1)
            return z.gather(1, target[:, None])[:, 0]

        slopes = torch.empty_like(d)
        for j in range(d.shape[1]):
            moved = torch.zeros_like(d)
            moved[:, j] = step
            slopes[:, j] = (score(d + moved) - score(d - moved)) / (2 * step)
        expected = torch.from_numpy((slopes.numpy()[:, :, None] * np.square(x.numpy()[:, None] - u[None])).sum(1))
        gap = (lc.attribute(net, x) - expected).abs().amax(1) / (1 + expected.abs().amax(1))
        assert float(gap.max()) < 1e-5

    def test_of_an_outlier_is_positive_everywhere(self) -> None:
        """With one pool alone no c_j is negative: every input can only add to how far away a row is."""
        for name in ONE_OUTPUT:
            assert float(lc.attribute(lc.neuralise(fitted(name)), asked()).amin()) >= -1e-12

    def test_says_which_input_made_a_row_an_outlier(self) -> None:
        estimator, x = fitted("one-class"), np.full((1, FEATURES), 0.5)
        x[0, 3] = 4.0
        net = lc.neuralise(estimator)
        assert float(net(torch.from_numpy(x))) > 0
        relevance = lc.attribute(net, torch.from_numpy(x))[0]
        assert int(relevance.argmax()) == 3
        assert float(relevance[3] / relevance.sum()) > 0.9


class TestMeaning:
    def test_the_score_of_a_cluster_is_how_much_nearer_it_is_than_the_soft_mean_of_the_others(self) -> None:
        estimator, x = fitted("k-means"), asked()
        d = dense_distances(x.numpy(), estimator.cluster_centers_)
        net = lc.neuralise(estimator, stiffness=math.inf)
        nearest = np.sort(d, 1)
        assert np.allclose(net(x).amax(1).numpy(), nearest[:, 1] - nearest[:, 0])

    def test_the_winner_is_positive_and_near_a_border_nearly_zero(self) -> None:
        """A soft *sum* of the others would be negative there."""
        estimator = fitted("k-means")
        own, other = estimator.cluster_centers_[:2]
        middle = torch.from_numpy((own + other)[None] / 2)
        for stiffness in (None, 1.0, 100.0, math.inf):
            assert float(lc.neuralise(estimator, stiffness=stiffness)(middle).max()) > -1e-12

    def test_the_default_stiffness_is_the_size_of_a_contest(self) -> None:
        """Between two centres D_other - D_own is |u - v|^2 on average over the rows of a cluster."""
        x, _ = rows()
        estimator = KMeans(2, n_init=1, random_state=0).fit(x)
        hard = lc.neuralise(estimator, stiffness=math.inf)(torch.from_numpy(x)).amax(1).mean()
        assert lc.neuralise(estimator).get_submodule("contest").stiffness == pytest.approx(1 / float(hard))

    def test_the_log_density_is_that_of_a_direct_sum(self) -> None:
        """scikit-learn's trees may be far off where a density is low, so that only one leaf is compared elsewhere."""
        x, _ = rows()
        estimator = KernelDensity(bandwidth=0.2, algorithm="ball_tree", leaf_size=5).fit(x)
        d = dense_distances(asked().numpy(), x) / (2 * 0.2**2)
        density = -d.min(1) + np.log(np.exp(d.min(1)[:, None] - d).mean(1)) - FEATURES / 2 * np.log(2 * np.pi * 0.2**2)
        assert np.allclose(lc.neuralise(estimator).decide(asked()).numpy(), density, rtol=1e-12)

    def test_the_sign_of_a_one_class_machine_holds_whatever_its_coefficients_sum_to(self) -> None:
        """They sum to nu n, and not to 1."""
        x, _ = rows()
        for nu in (0.01, 0.1, 0.9):
            estimator = OneClassSVM(nu=nu).fit(x)
            assert estimator.dual_coef_.sum() == pytest.approx(nu * len(x))
            assert ((lc.neuralise(estimator)(asked())[:, 0] > 0).numpy() == (estimator.predict(asked()) < 0)).all()
