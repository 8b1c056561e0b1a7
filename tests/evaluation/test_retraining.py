"""Networks trained again: on what is left of the images, and on the masks alone."""

from __future__ import annotations

import math

import pytest
import torch

from lrp_core.data import Dataset
from lrp_core.errors import InputError
from lrp_core.evaluation import (
    PixelStatistics,
    Removal,
    Retrain,
    attribute_images,
    make_removed,
    mask_leak,
    mean_interval,
    roar,
)
from lrp_core.models import Network, build_model
from lrp_core.training import Recipe, evaluate, fit

RECIPE = Recipe(epochs=2, batch_size=32)
SHORT = Recipe(epochs=1, batch_size=32, lr=1e-3)
"""So short that the accuracy still depends on the weights at the start and on the order of the images."""


@pytest.fixture(scope="module")
def network(toy: Dataset) -> Network:
    return fit(build_model("mlp-300-100", toy, seed=0), toy, recipe=RECIPE, device="cpu")


def test_roar_is_removal_and_training_from_scratch(toy, network):
    """Done again by hand with the public parts: the same seeds give the same accuracies, to the last bit."""
    calls: list[int] = []
    removal = Removal(fill="mean")
    found = roar(
        network,
        toy.train,
        toy.test,
        lambda images: attribute_images(network, images, "lrp-0"),
        removal,
        [0.4],
        retrain=Retrain((0, 1), SHORT),
        on_network=calls.append,
    )
    assert list(zip(found["order"], found["share"], strict=True)) == [("none", 0.0), ("MoRF", 0.4), ("LeRF", 0.4)]
    assert calls == [1, 2, 3, 4, 5, 6]
    statistics = PixelStatistics.of(toy.train)
    made = [
        make_removed(s.images, attribute_images(network, s.images, "lrp-0"), removal, 0.4, statistics=statistics).images
        for s in (toy.train, toy.test)
    ]
    for (_, row), variant in zip(found.iterrows(), (0, 2, 1), strict=True):
        accuracies = []
        for seed in (0, 1):
            fresh = build_model("mlp-300-100", toy, seed=seed)
            again = fit(fresh, toy.train, recipe=SHORT, seed=seed, encode=lambda _, v=variant: made[0][v], device="cpu")
            accuracies.append(evaluate(again, toy.test, encode=lambda _, v=variant: made[1][v], device="cpu").accuracy)
        assert accuracies[0] != accuracies[1]
        expected = mean_interval(accuracies)
        assert row["seeds"] == 2
        assert row[["accuracy", "accuracy_low", "accuracy_high"]].tolist() == pytest.approx(
            [expected.estimate, expected.low, expected.high], nan_ok=True
        )


def test_one_mask_for_all_says_nothing_of_the_class(toy, network):
    found = mask_leak(
        network,
        toy.train,
        toy.test,
        lambda images: attribute_images(network, images, "centre"),
        Removal(),
        0.3,
        retrain=Retrain((0,), RECIPE),
    )
    assert found["order"].tolist() == ["MoRF", "LeRF"]
    assert found["chance"].tolist() == [1 / 3, 1 / 3]
    assert found["accuracy"].tolist() == pytest.approx([1 / 3, 1 / 3]), "three classes of equal size, all alike"
    assert found["accuracy_low"].isna().all()


def test_masks_that_follow_the_class_give_it_away(toy, network):
    """Relevance that is the image itself: the brightest third of the pixels is the band that makes the class."""
    found = mask_leak(
        network, toy.train, toy.test, lambda images: images, Removal(), 1 / 3, retrain=Retrain((0,), RECIPE)
    )
    assert found.loc[found["order"] == "MoRF", "accuracy"].item() > 0.95


def test_what_cannot_be_retrained(toy, network):
    def never(images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("nothing is computed before the share is checked")

    for share in (0.0, 1.0, math.nan):
        with pytest.raises(InputError, match="above 0 and below 1"):
            roar(network, toy.train, toy.test, never, Removal(), [0.5, share], retrain=Retrain())
        with pytest.raises(InputError, match="above 0 and below 1"):
            mask_leak(network, toy.train, toy.test, never, Removal(), share, retrain=Retrain())
    with pytest.raises(InputError, match="at least one seed"):
        Retrain(seeds=())


def test_retraining_leaves_the_global_random_numbers_alone(toy, network):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    mask_leak(network, toy.train, toy.test, lambda images: images, Removal(), retrain=Retrain((0,), Recipe(epochs=1)))
    assert torch.equal(torch.random.get_rng_state(), state)
