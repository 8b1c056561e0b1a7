"""What the page on feature removal shows is what the experiment measures."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lrp_core.data import Dataset
from lrp_core.errors import Cancelled, InputError
from lrp_core.evaluation import (
    DATA_SET,
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
from lrp_core.views.removal import Picture, Removals

STUDY = Study(n_train=300, epochs=1, rank_images=100, keeps=(100,), seeds=(0, 3))
SEED = 3


REMOVALS = Removals(STUDY, Path())
"""What lies in a folder is found by the cache's."""


@pytest.fixture(scope="module")
def network(mnist: Dataset) -> Network:
    return base_network(next(trial.base for trial in plan(STUDY, mnist) if trial.base.seed == SEED))


@pytest.fixture(scope="module")
def statistics(mnist: Dataset) -> PixelStatistics:
    return PixelStatistics.of(mnist.train)


def ignore(part: float, doing: str) -> None:
    """A report to nobody."""


def test_a_test_image_and_its_label(mnist: Dataset) -> None:
    found = REMOVALS.picture_of_test(7, SEED)
    assert np.array_equal(found.pixels, mnist.test.images[7].numpy())
    assert found.label == int(mnist.test.labels[7])
    for index in (-1, 10_000):
        with pytest.raises(InputError, match="between 0 and 9999"):
            REMOVALS.picture_of_test(index, SEED)


def test_a_file_becomes_what_the_network_takes(mnist: Dataset, network: Network) -> None:
    buffer = BytesIO()
    Image.fromarray(255 - mnist.test.pixels[1, 0].numpy()).resize((200, 200)).save(buffer, "PNG")
    found = REMOVALS.picture_of_file(buffer.getvalue(), "two.png")
    assert found.pixels.shape == mnist.shape
    assert found.label == -1
    assert len(found.notes) == 2
    seen, original = (network(torch.from_numpy(x)[None]).argmax() for x in (found.pixels, mnist.test.images[1].numpy()))
    assert seen == original
    with pytest.raises(InputError, match=r"two\.png is damaged, or no image"):
        REMOVALS.picture_of_file(b"no image", "two.png")


def test_the_misclassified_images(mnist: Dataset, network: Network) -> None:
    wrong = network(mnist.test.images).argmax(1) != mnist.test.labels
    assert REMOVALS.wrong_indices(SEED) == wrong.nonzero().flatten().tolist()
    fives = REMOVALS.wrong_indices(SEED, 5)
    assert fives
    assert list(fives) == [i for i in REMOVALS.wrong_indices(SEED) if mnist.test.labels[i] == 5]


@pytest.mark.parametrize("criterion", ["epsilon-plus", "integrated-gradients", "random"])
@pytest.mark.parametrize("removal", [Removal(seed=SEED), Removal("magnitude", "active", "road", 1)])
def test_a_picture_without_its_features(
    mnist: Dataset, network: Network, statistics: PixelStatistics, criterion: str, removal: Removal
) -> None:
    picture = REMOVALS.picture_of_test(11, SEED)
    images, labels = mnist.test.images[11:12], mnist.test.labels[11:12]
    scores = attribute_images(network, images, criterion, start="contrast", seed=SEED)
    found_scores = REMOVALS.relevance(picture.pixels, SEED, criterion, "contrast")
    assert np.array_equal(found_scores, scores[0].numpy())
    found = REMOVALS.remove(picture, found_scores, SEED, removal, 0.3)
    made = make_removed(images, scores, removal, 0.3, statistics=statistics)
    said = remove_features(network, images, labels, scores, removal, 0.3, statistics=statistics)
    assert np.array_equal(found.images, made.images[:, 0, 0].numpy())
    assert np.array_equal(found.removed, made.removed[:, 0, 0].numpy())
    assert tuple(found.table["image"]) == VARIANTS
    pd.testing.assert_frame_equal(found.table, said.per_image())
    assert found.finding == said.describe(0, mnist.classes)
    assert found.candidates == int(made.candidates[0])


def test_fifteen_per_cent_are_118_pixels_and_an_unknown_class_is_neither_right_nor_wrong() -> None:
    picture = Picture(REMOVALS.picture_of_test(0, SEED).pixels)
    scores = REMOVALS.relevance(picture.pixels, SEED, "epsilon-plus", "logit")
    found = REMOVALS.remove(picture, scores, SEED, Removal(), 0.15)
    assert list(found.table["removed"]) == [0, 118, 118]
    assert found.removed.sum((1, 2)).tolist() == [0, 118, 118]
    assert not found.table["correct"].any()
    assert "right" not in found.finding
    assert "wrong" not in found.finding


def test_a_blank_picture_has_no_lit_pixel_to_remove() -> None:
    blank = Picture(np.zeros((1, 28, 28), np.float32))
    scores = REMOVALS.relevance(blank.pixels, SEED, "epsilon-plus", "logit")
    with pytest.raises(InputError, match="no lit pixel"):
        REMOVALS.remove(blank, scores, SEED, Removal(scope="lit"), 0.15)
    assert REMOVALS.remove(blank, scores, SEED, Removal(), 0.15).table["removed"].max() == 118


def test_the_data_set_mask_is_the_study_s_ranking(mnist: Dataset) -> None:
    scores = REMOVALS.relevance(REMOVALS.picture_of_test(5, SEED).pixels, SEED, DATA_SET, "logit")
    trial = trial_at(STUDY, mnist, method="lrp-0", keep=100, mode="none", seed=SEED)
    assert np.array_equal(np.argsort(-scores.ravel()), ranking_of(trial.ranking).order.numpy())


def test_the_test_set_is_measured_once(mnist: Dataset, network: Network, statistics: PixelStatistics) -> None:
    asked: tuple[Any, ...] = (SEED, "gradient-x-input", "logit", Removal("magnitude", "lit", "mean", SEED), 0.2)
    reports: list[float] = []
    assert not REMOVALS.is_measured(*asked)
    found = REMOVALS.measure(*asked, lambda part, doing: reports.append(part))
    assert reports == sorted(reports)
    assert reports[-1] == 1
    images, labels = mnist.test.images, mnist.test.labels
    scores = attribute_images(network, images, "gradient-x-input")
    said = remove_features(network, images, labels, scores, asked[3], 0.2, statistics=statistics)
    pd.testing.assert_frame_equal(found.table, said.table(mnist.classes))
    assert found.finding == said.finding()
    assert REMOVALS.is_measured(*asked)
    assert REMOVALS.measure(*asked, pytest.fail).finding == found.finding
    assert not REMOVALS.is_measured(*asked[:-1], 0.21)


def test_the_curves_of_several_criteria(mnist: Dataset, network: Network, statistics: PixelStatistics) -> None:
    names, removal = ("random", "epsilon-plus"), Removal(seed=SEED)
    asked: tuple[Any, ...] = (SEED, names, "logit", removal, 5, 200)
    reports: list[float] = []
    found = REMOVALS.measure_curves(*asked, lambda part, doing: reports.append(part))
    assert reports == sorted(reports)
    assert reports[-1] == 1
    test = mnist.test.sample(200, seed=0)
    scores = {name: attribute_images(network, test.images, name, seed=SEED) for name in names}
    said = perturbation_curves(network, test.images, test.labels, scores, removal, 5, statistics=statistics)
    pd.testing.assert_frame_equal(found.points, said.table())
    pd.testing.assert_frame_equal(found.areas, said.summary())
    assert REMOVALS.curves_are_measured(*asked)
    assert not REMOVALS.curves_are_measured(SEED, (*names, "gradient"), *asked[2:])
    with pytest.raises(InputError, match="at least one criterion"):
        REMOVALS.measure_curves(SEED, (), *asked[2:], ignore)


def test_work_that_is_given_up_leaves_nothing_behind() -> None:
    def give_up(part: float, doing: str) -> None:
        raise Cancelled("no longer asked for")

    asked: tuple[Any, ...] = (SEED, "gradient", "logit", Removal(), 0.5)
    with pytest.raises(Cancelled):
        REMOVALS.measure(*asked, give_up)
    assert not REMOVALS.is_measured(*asked)


def test_an_unknown_criterion_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'gradient'"):
        REMOVALS.relevance(REMOVALS.picture_of_test(0, SEED).pixels, SEED, "gradent", "logit")
