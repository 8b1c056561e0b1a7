"""Estimators in the rest of the project: rankings, smaller estimators, cost, files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.svm import SVC, OneClassSVM

import lrp_core as lc
from lrp_core.errors import InputError
from lrp_core.lrp import Explainer
from lrp_core.pruning import load_network, save_network

from ..support import check_sentence, frozen, python, readme_blocks, unchanged
from .estimators import FEATURES, MAKERS, ONE_OUTPUT, WITHOUT_LABELS, asked, fitted, rows


def split(n: int = 120, seed: int = 0) -> lc.Split:
    x, y = rows(n, seed)
    return lc.Split(x, y)


class TestRankings:
    @pytest.mark.parametrize("name", MAKERS)
    def test_are_the_mean_square_of_relevance(self, name: str) -> None:
        """For the true class, or of what has learnt from no labels for its own answer."""
        net = lc.neuralise(fitted(name))
        part = split() if name in WITHOUT_LABELS or "two" not in name else lc.Split(split().raw, split().labels % 2)
        ranking = lc.rank(net, part)
        target = None if name in WITHOUT_LABELS else part.labels
        expected = lc.attribute(net, part.images, target=target).square().mean(0)
        assert torch.allclose(ranking.scores.flatten(), expected, rtol=1e-5, atol=1e-12)

    def test_of_clusters_are_there_for_each_cluster(self) -> None:
        net, part = lc.neuralise(fitted("k-means")), split()
        own = part.take((net(part.images).argmax(1) == 3).nonzero().flatten())
        expected = lc.attribute(net, own.images, target=3).square().mean(0)
        assert torch.allclose(lc.rank(net, part, label=3).scores.flatten(), expected, rtol=1e-5)

    def test_do_not_look_at_the_labels_of_what_has_learnt_from_none(self) -> None:
        for name in ("k-means", "one-class", "density"):
            net, part = lc.neuralise(fitted(name)), split()
            other = lc.Split(part.raw, part.labels.flip(0) * 7)
            assert torch.equal(lc.rank(net, part).order, lc.rank(net, other).order)

    def test_take_any_criterion_and_statistic(self) -> None:
        net = lc.neuralise(fitted("svc of four"))
        for criterion in ("gradient-x-input", "random", "variance", "epsilon-plus"):
            assert lc.rank(net, split(), criterion=criterion).n_inputs == FEATURES
        assert lc.rank(net, split(), statistic="mean-abs", start="log-odds", images=50).n_inputs == FEATURES

    def test_by_elimination_are_refused_as_nothing_can_be_trained(self) -> None:
        with pytest.raises(InputError, match="one-shot") as caught:
            lc.rank(lc.neuralise(fitted("k-means")), split(), strategy="elimination")
        check_sentence(caught.value)

    def test_find_the_inputs_that_clusters_differ_in(self) -> None:
        random = np.random.default_rng(0)
        centres = np.zeros((4, 20))
        centres[:, [2, 11]] = [[0, 0], [0, 4], [4, 0], [4, 4]]
        x = centres[np.arange(200) % 4] + random.normal(size=(200, 20))
        estimator = KMeans(4, n_init=3, random_state=0).fit(x)
        mask = lc.rank(lc.neuralise(estimator), lc.Split(x, np.zeros(200))).mask(keep=2)
        assert mask.indices.tolist() == [2, 11]
        small = lc.refit(estimator, mask.indices, x)
        assert adjusted_rand_score(estimator.labels_, small.labels_) > 0.9


class TestSmallerEstimators:
    @given(
        st.sampled_from(sorted(MAKERS)),
        st.sets(st.integers(0, FEATURES - 1), min_size=1),
        st.sampled_from([0.0, 0.3, -2.0]),
    )
    @settings(max_examples=60)
    def test_compute_on_kept_inputs_what_the_full_one_does_on_masked_ones(
        self, name: str, kept: set[int], fill: float
    ) -> None:
        net, x = lc.neuralise(fitted(name)), asked(40)
        before = frozen(net)
        mask = lc.PixelMask.from_indices(sorted(kept), (FEATURES,))
        small = lc.prune_inputs(net, mask, fill=fill)
        full = net(mask.remove(x, fill))
        assert float(((small(mask.apply(x)) - full).abs() / (1 + full.abs())).max()) < 1e-11
        assert unchanged(net, before)

    @pytest.mark.parametrize("name", MAKERS)
    def test_are_explained_as_the_full_one_is_at_the_kept_inputs(self, name: str) -> None:
        net, x = lc.neuralise(fitted(name)), asked(20)
        mask = lc.PixelMask.from_indices([1, 4, 5], (FEATURES,))
        small = lc.prune_inputs(net, mask, fill=0.5)
        full = Explainer(net, "lrp-0").explain(mask.remove(x, 0.5))
        less = Explainer(small, "lrp-0").explain(mask.apply(x))
        assert torch.equal(less.target, full.target)
        scale = 1e-11 * (1 + float(full.relevance.abs().max()))
        assert float((less.relevance - mask.apply(full.relevance)).abs().max()) < scale
        lost = torch.stack([b.absorbed for b in less.balance]).sum(0)
        started = less.logits.gather(1, less.target[:, None])[:, 0]
        assert float((less.relevance.sum(1) + lost - started).abs().max()) < 100 * scale

    def test_of_images_take_masks_of_images(self) -> None:
        net, images = lc.neuralise(fitted("k-means")), asked(40).view(-1, 1, FEATURES, 1)
        mask = lc.PixelMask.from_indices([0, 6], (1, FEATURES, 1))
        small = lc.prune_inputs(net, mask)
        assert torch.allclose(small(mask.apply(images)), net(mask.remove(images)), atol=1e-11)

    def test_keep_as_many_prototypes_of_fewer_coordinates(self) -> None:
        net = lc.neuralise(fitted("svc of four"))
        small = lc.prune_inputs(net, lc.PixelMask.from_indices([1, 4], (FEATURES,)))
        layer = small.get_submodule("body.distances")
        assert layer.prototypes.shape == (net.get_submodule("distances").n_prototypes, 2)
        assert bool((layer.offset > 0).any())

    def test_are_refused_for_masks_of_other_inputs(self) -> None:
        with pytest.raises(InputError, match="does not take inputs of shape") as caught:
            lc.prune_inputs(lc.neuralise(fitted("k-means")), lc.PixelMask.from_indices([0], (9,)))
        check_sentence(caught.value)


class TestRefits:
    @pytest.mark.parametrize("name", [n for n in MAKERS if n != "density, weighted"])
    def test_are_the_estimators_own_fit_on_fewer_columns(self, name: str) -> None:
        estimator, (x, y) = fitted(name), rows()
        y = y % 2 if "two" in name else y
        small = lc.refit(estimator, [0, 2, 3], x, y)
        assert type(small) is type(estimator)
        assert small is not estimator
        net = lc.neuralise(small)
        assert net.shape == (3,)
        if name.startswith(("svc", "neigh", "one")):
            fresh = MAKERS[name](x[:, [0, 2, 3]], y)
            z = asked()[:, [0, 2, 3]]
            assert torch.equal(net(z), lc.neuralise(fresh)(z))

    def test_of_clusters_start_at_the_cut_centres(self) -> None:
        x, _ = rows()
        estimator = KMeans(5, n_init=4, random_state=0, max_iter=1).fit(x)
        small = lc.refit(estimator, [1, 2], x)
        start = estimator.cluster_centers_[:, [1, 2]]
        expected = KMeans(5, init=start, n_init=1, max_iter=1).fit(x[:, [1, 2]])
        assert np.array_equal(small.cluster_centers_, expected.cluster_centers_)

    def test_take_masks_tensors_and_images(self) -> None:
        x, _ = rows()
        estimator, mask = fitted("k-means"), lc.PixelMask.from_indices([1, 2], (1, FEATURES, 1))
        found = [
            lc.refit(estimator, columns, given).cluster_centers_
            for columns, given in (
                ([1, 2], x),
                (mask.indices, torch.from_numpy(x)),
                (mask.get_support(), torch.from_numpy(x).view(-1, 1, FEATURES, 1)),
            )
        ]
        assert all(np.array_equal(one, found[0]) for one in found)

    def test_leave_the_estimator_as_it_was(self) -> None:
        estimator, (x, _) = fitted("k-means"), rows()
        centres = estimator.cluster_centers_.copy()
        lc.refit(estimator, [1, 2], x)
        assert np.array_equal(estimator.cluster_centers_, centres)
        assert estimator.get_params()["init"] == "k-means++"

    @pytest.mark.parametrize(
        ("name", "columns", "given", "labels", "said"),
        [
            ("k-means", [], None, None, "at least one column"),
            ("k-means", [0, 0], None, None, "distinct"),
            ("k-means", [7], None, None, "between 0 and 6"),
            ("k-means", [-1], None, None, "between 0 and 6"),
            ("k-means", [0.5], None, None, "positions"),
            ("k-means", [[0], [1]], None, None, "positions"),
            ("k-means", np.zeros(7, bool), None, None, "at least one column"),
            ("k-means", [0], np.full((20, 7), np.nan), None, "NaN"),
            ("k-means", [0], np.zeros((0, 7)), None, "at least one row"),
            ("k-means", [0], np.zeros(7), None, "at least one row"),
            ("k-means", [0], np.zeros((20, 9)), None, "full rows"),
            ("svc of four", [0], None, None, "learns from labels"),
            ("svc of four", [0], None, np.zeros(120), "nothing to tell apart"),
            ("svc of four", [0], None, np.zeros(3), "120 rows"),
        ],
    )
    def test_refuse_what_cannot_be_fitted(self, name: str, columns: Any, given: Any, labels: Any, said: str) -> None:
        with pytest.raises(InputError, match=said) as caught:
            lc.refit(fitted(name), columns, rows()[0] if given is None else given, labels)
        check_sentence(caught.value)

    def test_refuse_what_is_not_fitted_or_no_estimator(self) -> None:
        for thing, said in ((KMeans(3), "not fitted"), ("k-means", "fitted estimator"), (KMeans, "fitted estimator")):
            with pytest.raises(InputError, match=said) as caught:
                lc.refit(thing, [0], rows()[0])
            check_sentence(caught.value)


class TestCost:
    def test_counts_coordinates_kernels_and_bytes(self) -> None:
        estimator = fitted("one-class")
        m = len(estimator.support_vectors_)
        cost = lc.measure_cost(lc.neuralise(estimator))
        assert cost.n_inputs == FEATURES
        assert cost.macs == m * FEATURES + (m + 1)  # one more term stands for what is allowed
        assert cost.bytes == 8 * (m * FEATURES + m) + 16 * (m + 1)  # offsets, and their places
        assert cost.parameters == m * FEATURES + m + (m + 1)

    def test_of_pairs_counts_a_vector_in_each_pair_that_it_speaks_in(self) -> None:
        estimator = fitted("svc of four")
        m, spoken = len(estimator.support_vectors_), int((estimator.dual_coef_ != 0).sum())
        layers = {layer.name: layer for layer in lc.measure_cost(lc.neuralise(estimator)).layers}
        assert layers["distances"].macs == m * FEATURES
        assert layers["contest"].macs == spoken + int((estimator.intercept_ != 0).sum())

    def test_falls_with_the_inputs_alone_after_pruning_and_as_the_fit_says_after_a_refit(self) -> None:
        x, y = rows()
        estimator = SVC(C=3).fit(x, y)
        net = lc.neuralise(estimator)
        mask = lc.PixelMask.from_indices([5, 6], (FEATURES,))
        m = len(estimator.support_vectors_)
        assert lc.measure_cost(net).macs - lc.measure_cost(lc.prune_inputs(net, mask)).macs == m * (FEATURES - 2)
        again = lc.refit(estimator, mask.indices, x, y)
        assert len(again.support_vectors_) > m, "columns that say nothing of the classes take more support vectors"
        layers = {layer.name: layer for layer in lc.measure_cost(lc.neuralise(again)).layers}
        assert layers["distances"].macs == 2 * len(again.support_vectors_)


class TestFiles:
    @pytest.mark.parametrize("is_pruned", [False, True])
    @pytest.mark.parametrize("name", MAKERS)
    def test_hold_all_that_is_needed(self, name: str, is_pruned: bool, tmp_path: Path) -> None:
        net, x = lc.neuralise(fitted(name)), asked()
        mask = lc.PixelMask.from_indices([1, 4, 5], (FEATURES,))
        network, x = (lc.prune_inputs(net, mask, fill=0.5), mask.apply(x)) if is_pruned else (net, x)
        save_network(network, tmp_path / "weights.safetensors")
        back = load_network(tmp_path / "weights.safetensors")
        assert torch.equal(back(x), network(x))
        assert torch.equal(lc.attribute(back, x), lc.attribute(network, x))

    def test_of_a_hard_contest_hold_that_it_is_one(self, tmp_path: Path) -> None:
        net = lc.neuralise(fitted("k-means"), stiffness=math.inf)
        save_network(net, tmp_path / "weights.safetensors")
        assert torch.equal(load_network(tmp_path / "weights.safetensors")(asked()), net(asked()))

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["k-means", "svc of four", "neighbours, weighted", "one-class"])
    def test_of_an_export_answer_as_the_network_does(self, name: str, tmp_path: Path) -> None:
        """Also in ONNX and as a program of torch's: the export runs both before it is there."""
        net, data = lc.neuralise(fitted(name)), dataset_for(name)
        small = lc.prune_inputs(net, lc.rank(net, data.train).mask(keep=4))
        done = lc.export(small, tmp_path / "out", data=data, full=net, formats=("safetensors", "onnx", "pt2"))
        back, card = lc.load_export(done.folder)
        x = small.encode(asked())
        assert torch.equal(back(x), small(x))
        assert card["cost"]["macs"] == lc.measure_cost(small).macs
        assert card["files"]["network.onnx"]["check"]["largest_difference"] < 1e-5


def dataset_for(name: str) -> lc.Dataset:
    """Data with the estimator's own answers for labels: clusters or classes, or a number."""
    net, parts = lc.neuralise(fitted(name)), []
    for seed, n in enumerate((200, 80, 80)):
        x = torch.from_numpy(rows(n, seed + 5)[0])
        z = net(x)
        parts.append(lc.Split(x, z[:, 0] if name in ONE_OUTPUT else z.argmax(1), numbers=name in ONE_OUTPUT))
    target = lc.Target("how much of an outlier", 0.0, 1.0) if name in ONE_OUTPUT else None
    return lc.Dataset("mine", () if target else tuple(map(str, net.classes)), *parts, target=target)


def test_a_narrow_one_class_machine_can_be_asked_about_both_answers() -> None:
    """Of one output, class 1 is the outlier and class 0 is not."""
    net, x = lc.neuralise(OneClassSVM(nu=0.2).fit(rows()[0])), asked(10)
    assert torch.equal(lc.attribute(net, x, target=1), -lc.attribute(net, x, target=0))


@pytest.mark.slow
def test_the_blocks_of_the_page_run(tmp_path: Path) -> None:
    blocks = readme_blocks("python", "docs/beyond-networks.md")
    assert any("lc.neuralise(" in block for block in blocks)
    done = python("\n".join(blocks), cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
