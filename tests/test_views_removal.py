"""What the page on feature removal shows is what the experiment measures."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lrp_core.data import Dataset
from lrp_core.errors import Cancelled, InputError
from lrp_core.evaluation import (
    VARIANTS,
    PixelStatistics,
    Removal,
    attribute_images,
    make_removed,
    perturbation_curves,
    remove_features,
)
from lrp_core.models import Network
from lrp_core.study import Study, plan, trial_at
from lrp_core.study.stages import base_network, ranking_of
from lrp_core.views import removal as views

STUDY = Study(n_train=300, epochs=1, rank_images=100, keeps=(100,), seeds=(0, 3))
SEED = 3


@pytest.fixture(scope="module")
def network(mnist: Dataset) -> Network:
    return base_network(next(trial.base for trial in plan(STUDY, mnist) if trial.base.seed == SEED))


@pytest.fixture(scope="module")
def statistics(mnist: Dataset) -> PixelStatistics:
    return PixelStatistics.of(mnist.train)


def ignore(part: float, doing: str) -> None:
    """A report to nobody."""


def test_a_test_image_and_its_label(mnist: Dataset) -> None:
    found = views.picture_of_test(STUDY, 7)
    assert np.array_equal(found.pixels, mnist.test.images[7].numpy())
    assert found.label == int(mnist.test.labels[7])
    for index in (-1, 10_000):
        with pytest.raises(InputError, match="between 0 and 9999"):
            views.picture_of_test(STUDY, index)


def test_a_file_becomes_what_the_network_takes(mnist: Dataset, network: Network) -> None:
    buffer = BytesIO()
    Image.fromarray(255 - mnist.test.pixels[1, 0].numpy()).resize((200, 200)).save(buffer, "PNG")
    found = views.picture_of_file(STUDY, buffer.getvalue(), "two.png")
    assert found.pixels.shape == mnist.shape
    assert found.label == -1
    assert len(found.said) == 2
    seen, original = (network(torch.from_numpy(x)[None]).argmax() for x in (found.pixels, mnist.test.images[1].numpy()))
    assert seen == original
    with pytest.raises(InputError, match=r"two\.png is no image"):
        views.picture_of_file(STUDY, b"no image", "two.png")


def test_the_misclassified_images(mnist: Dataset, network: Network) -> None:
    wrong = network(mnist.test.images).argmax(1) != mnist.test.labels
    assert list(views.wrong_indices(STUDY, SEED)) == wrong.nonzero().flatten().tolist()
    fives = views.wrong_indices(STUDY, SEED, 5)
    assert fives
    assert list(fives) == [i for i in views.wrong_indices(STUDY, SEED) if mnist.test.labels[i] == 5]


@pytest.mark.parametrize("criterion", ["epsilon-plus", "integrated-gradients", "random"])
@pytest.mark.parametrize("removal", [Removal(seed=SEED), Removal("magnitude", "active", "road", 1)])
def test_a_picture_without_its_features(
    mnist: Dataset, network: Network, statistics: PixelStatistics, criterion: str, removal: Removal
) -> None:
    picture = views.picture_of_test(STUDY, 11)
    images, labels = mnist.test.images[11:12], mnist.test.labels[11:12]
    scores = attribute_images(network, images, criterion, start="contrast", seed=SEED)
    found_scores = views.picture_relevance(STUDY, SEED, picture, criterion, "contrast")
    assert np.array_equal(found_scores, scores[0].numpy())
    found = views.remove_from_picture(STUDY, SEED, picture, found_scores, removal, 0.3)
    made = make_removed(images, scores, removal, 0.3, statistics=statistics)
    said = remove_features(network, images, labels, scores, removal, 0.3, statistics=statistics)
    assert np.array_equal(found.images, made.images[:, 0, 0].numpy())
    assert np.array_equal(found.removed, made.removed[:, 0, 0].numpy())
    assert tuple(found.table["image"]) == VARIANTS
    pd.testing.assert_frame_equal(found.table, said.per_image())
    assert found.finding == said.describe(0, mnist.classes)
    assert found.candidates == int(made.candidates[0])


def test_fifteen_per_cent_are_118_pixels_and_an_unknown_class_is_neither_right_nor_wrong() -> None:
    picture = views.Picture(views.picture_of_test(STUDY, 0).pixels)
    scores = views.picture_relevance(STUDY, SEED, picture, "epsilon-plus", "logit")
    found = views.remove_from_picture(STUDY, SEED, picture, scores, Removal(), 0.15)
    assert list(found.table["removed"]) == [0, 118, 118]
    assert found.removed.sum((1, 2)).tolist() == [0, 118, 118]
    assert not found.table["correct"].any()
    assert "right" not in found.finding
    assert "wrong" not in found.finding


def test_a_blank_picture_has_no_lit_pixel_to_remove() -> None:
    blank = views.Picture(np.zeros((1, 28, 28), np.float32))
    scores = views.picture_relevance(STUDY, SEED, blank, "epsilon-plus", "logit")
    with pytest.raises(InputError, match="no lit pixel"):
        views.remove_from_picture(STUDY, SEED, blank, scores, Removal(scope="lit"), 0.15)
    assert views.remove_from_picture(STUDY, SEED, blank, scores, Removal(), 0.15).table["removed"].max() == 118


def test_the_data_set_mask_is_the_study_s_ranking(mnist: Dataset) -> None:
    scores = views.picture_relevance(STUDY, SEED, views.picture_of_test(STUDY, 5), views.DATA_SET, "logit")
    trial = trial_at(STUDY, mnist, method="lrp-0", keep=100, mode="none", seed=SEED)
    assert np.array_equal(np.argsort(-scores.ravel()), ranking_of(trial.ranking).order.numpy())


def test_the_test_set_is_measured_once(mnist: Dataset, network: Network, statistics: PixelStatistics) -> None:
    asked: tuple[Any, ...] = (STUDY, SEED, "gradient-x-input", "logit", Removal("magnitude", "lit", "mean", SEED), 0.2)
    reports: list[float] = []
    assert not views.is_measured(*asked)
    found = views.measure_removal(*asked, lambda part, doing: reports.append(part))
    assert reports == sorted(reports)
    assert reports[-1] == 1
    images, labels = mnist.test.images, mnist.test.labels
    scores = attribute_images(network, images, "gradient-x-input")
    said = remove_features(network, images, labels, scores, asked[4], 0.2, statistics=statistics)
    pd.testing.assert_frame_equal(found.table, said.table(mnist.classes))
    assert found.finding == said.finding()
    assert views.is_measured(*asked)
    assert views.measure_removal(*asked, pytest.fail).finding == found.finding
    assert not views.is_measured(*asked[:-1], 0.21)


def test_the_curves_of_several_criteria(mnist: Dataset, network: Network, statistics: PixelStatistics) -> None:
    names, removal = ("random", "epsilon-plus"), Removal(seed=SEED)
    asked: tuple[Any, ...] = (STUDY, SEED, names, "logit", removal, 5, 200)
    reports: list[float] = []
    found = views.measure_curves(*asked, lambda part, doing: reports.append(part))
    assert reports == sorted(reports)
    assert reports[-1] == 1
    test = mnist.test.sample(200, seed=0)
    scores = {name: attribute_images(network, test.images, name, seed=SEED) for name in names}
    said = perturbation_curves(network, test.images, test.labels, scores, removal, 5, statistics=statistics)
    pd.testing.assert_frame_equal(found.points, said.table())
    pd.testing.assert_frame_equal(found.areas, said.summary())
    assert views.curves_are_measured(*asked)
    assert not views.curves_are_measured(STUDY, SEED, (*names, "gradient"), *asked[3:])
    with pytest.raises(InputError, match="at least one criterion"):
        views.measure_curves(STUDY, SEED, (), *asked[3:], ignore)


def test_work_that_is_given_up_leaves_nothing_behind() -> None:
    def give_up(part: float, doing: str) -> None:
        raise Cancelled("no longer asked for")

    asked: tuple[Any, ...] = (STUDY, SEED, "gradient", "logit", Removal(), 0.5)
    with pytest.raises(Cancelled):
        views.measure_removal(*asked, give_up)
    assert not views.is_measured(*asked)


def test_an_unknown_criterion_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'gradient'"):
        views.picture_relevance(STUDY, SEED, views.picture_of_test(STUDY, 0), "gradent", "logit")
