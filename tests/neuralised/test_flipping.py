"""Whether relevance points at what decides: MNIST's digits and their clusters, with some pixels averaged out."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.svm import SVC
from torch import Tensor

import lrp_core as lc
from benchmarks.flipping import unmoved
from lrp_core.lrp import Explainer
from lrp_core.seeds import generator

from .estimators import predicted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor]:
    """Training images, their labels, and images to ask about, flat and in float64."""
    data = lc.load_dataset("mnist")
    train, test = data.train.take(torch.arange(10_000)), data.test.take(torch.arange(1_000))
    return train.images.flatten(1).double(), train.labels, test.images.flatten(1).double()


@pytest.mark.parametrize("stiffness", [None, math.inf])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_most_relevant_pixels_decide_about_clusters(
    digits: tuple[Tensor, Tensor, Tensor], seed: int, stiffness: float | None
) -> None:
    train, _, images = digits
    estimator = KMeans(10, n_init=1, random_state=seed).fit(train.numpy())
    net, mean = lc.neuralise(estimator, stiffness=stiffness), train.mean(0)
    assert (predicted(net, images) == estimator.predict(images.numpy())).all()
    relevance = lc.attribute(net, images, composite="lrp-0")
    assert unmoved(net, images, relevance, mean) <= 0.40
    random = torch.rand(images.shape, generator=generator(seed, "flipping"))
    assert unmoved(net, images, random, mean) >= 0.95
    assert unmoved(net, images, -relevance, mean) >= 0.95


def test_ten_digits_by_one_machine(digits: tuple[Tensor, Tensor, Tensor]) -> None:
    train, labels, images = digits
    estimator = SVC(C=10).fit(train[:3000].numpy(), labels[:3000].numpy())
    net = lc.neuralise(estimator)
    assert (predicted(net, images) == estimator.predict(images.numpy())).all()
    estimator.set_params(decision_function_shape="ovo")
    assert abs(net.decide(images).numpy() - estimator.decision_function(images.numpy())).max() < 1e-9
    explanation = Explainer(net, "lrp-0").explain(images[:200])
    lost = torch.stack([b.bias + b.entropy for b in explanation.balance]).sum(0)
    started = explanation.logits.amax(1)
    assert float((explanation.relevance.sum(1) + lost - started).abs().max()) < 1e-11
    assert unmoved(net, images, lc.attribute(net, images), train.mean(0)) < 0.6
