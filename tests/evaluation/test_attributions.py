"""Attributions: the baselines against captum, and LRP as what it is called."""

from __future__ import annotations

import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import nn

from lrp_core.errors import InputError
from lrp_core.evaluation import attribute_images
from lrp_core.lrp import COMPOSITES, STARTS, attribute
from lrp_core.models import Network, build_model
from lrp_core.ranking import Ranking
from lrp_core.ranking.gradients import PATH_STEPS

from ..support import EXPLAIN, frozen, livened, unchanged

SHAPE = (1, 6, 6)
CLASSES = torch.tensor([0, 2, 1, 3, 0])


def images(n: int = 5, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1)).to(dtype)


def network(name: str = "mlp-300-100") -> Network:
    return build_model(name, shape=SHAPE, n_classes=4, seed=1).eval()


@pytest.mark.parametrize("name", ["mlp-300-100", "lenet-5", "cnn-32-64"])
def test_baselines_are_captums(name):
    model, x = livened(name, SHAPE, 4), images(dtype=torch.float64)
    theirs = x.clone().requires_grad_()
    for criterion, expected in (
        ("gradient", Saliency(model).attribute(theirs, CLASSES, abs=False)),
        ("gradient-x-input", InputXGradient(model).attribute(theirs, CLASSES)),
        (
            "integrated-gradients",
            IntegratedGradients(model).attribute(theirs, target=CLASSES, n_steps=PATH_STEPS, method="riemann_middle"),
        ),
    ):
        found = attribute_images(model, x, criterion, target=CLASSES)
        torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("start", [start for start in STARTS if start != "one-hot"])
@pytest.mark.parametrize("architecture", ["mlp-300-100", "lenet-5"])
def test_gradient_times_input_is_lrp_0(architecture, start):
    """On a network of ReLUs they are the same, from whatever function of the logits (Ancona et al. 2018)."""
    model, x = livened(architecture, SHAPE, 4), images(dtype=torch.float64)
    lrp, gradient = (
        attribute_images(model, x, name, target=CLASSES, start=start) for name in ("lrp-0", "gradient-x-input")
    )
    torch.testing.assert_close(lrp, gradient, rtol=1e-6, atol=1e-9)


def test_gradients_explain_the_logit_where_relevance_starts_at_one():
    model, x = network("lenet-5"), images()
    gradients = [attribute_images(model, x, "gradient", target=CLASSES, start=start) for start in ("logit", "one-hot")]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_composite_is_lrp_for_the_predicted_class(composite):
    model, x = network("lenet-5"), images()
    predicted = model(x).argmax(1)
    found = attribute_images(model, x, composite, start="contrast", batch_size=2)
    torch.testing.assert_close(found, attribute(model, x, target=predicted, composite=composite, start="contrast"))


def test_smoothgrad_of_a_linear_network_is_its_gradient_and_else_is_not():
    linear = build_model("softmax", shape=SHAPE, n_classes=4).eval()
    smooth, plain = (attribute_images(linear, images(), c, target=CLASSES) for c in ("smoothgrad", "gradient"))
    torch.testing.assert_close(smooth, plain)
    smooth, plain = (attribute_images(network(), images(), c, target=CLASSES) for c in ("smoothgrad", "gradient"))
    assert not torch.allclose(smooth, plain, atol=1e-4)
    cosine = nn.functional.cosine_similarity(smooth.flatten(1), plain.flatten(1))
    assert float(cosine.min()) > 0.8


def test_the_centre_disc_by_hand():
    found = attribute_images(nn.Identity(), torch.zeros(2, 1, 3, 3), "centre")
    expected = -torch.tensor([[2.0, 1, 2], [1, 0, 1], [2, 1, 2]])
    torch.testing.assert_close(found, expected.expand(2, 1, 3, 3))


def test_random_differs_from_image_to_image():
    first, again, other = (attribute_images(network(), images(), "random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_a_ranking_is_one_order_for_all():
    ranking = Ranking.from_scores("own", torch.rand(36, generator=torch.Generator().manual_seed(3)), SHAPE)
    found = attribute_images(network(), images(), ranking)
    assert bool((found > 0).all()), "its magnitude has the same order"
    for image in found:
        assert torch.equal(image.flatten().argsort(descending=True), ranking.order)


@pytest.mark.parametrize("criterion", EXPLAIN)
def test_changes_nothing_and_batches_do_not_matter(criterion):
    model = build_model("cnn-32-64", shape=SHAPE, n_classes=4, seed=1).train()
    x, before = images(), frozen(model)
    kept = x.clone()
    torch.manual_seed(4)
    state = torch.random.get_rng_state()
    done: list[int] = []
    parts = attribute_images(model, x, criterion, batch_size=2, on_batch=done.append)
    if criterion != "random":  # another batch size is another order of draws
        torch.testing.assert_close(parts, attribute_images(model, x, criterion), rtol=1e-4, atol=1e-6)
    assert done == [2, 4, 5]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(x, kept)
    assert unchanged(model, before)
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not parts.requires_grad


def test_what_cannot_be():
    with pytest.raises(InputError, match="unknown criterion 'gradients': did you mean 'gradient'"):
        attribute_images(network(), images(), "gradients")
    with pytest.raises(InputError, match="unknown start"):
        attribute_images(network(), images(), "gradient", start="softmax")
    with pytest.raises(InputError, match="ranking is of 9 inputs, an image has 36"):
        attribute_images(network(), images(), Ranking.from_scores("own", torch.zeros(9), (1, 3, 3)))
    with pytest.raises(InputError, match="needs images"):
        attribute_images(nn.Identity(), torch.zeros(2, 36), "centre")
    with pytest.raises(InputError, match=r"network takes inputs of shape \(1, 6, 6\), the images are of \(1, 6, 5\)"):
        attribute_images(network(), torch.zeros(2, 1, 6, 5), "gradient")
    with pytest.raises(InputError, match=r"finite values in \[0, 1\]"):
        attribute_images(network(), torch.full((2, *SHAPE), torch.nan), "gradient")
