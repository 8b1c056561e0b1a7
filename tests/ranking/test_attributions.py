"""Gradients of one image at a time: against differences, closed forms, and relevance where the two are the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lrp_core.data import Dataset, Split
from lrp_core.errors import InputError, UnsupportedLayer
from lrp_core.lrp import STARTS, attribute
from lrp_core.models import build_model
from lrp_core.ranking import find_criterion, measure_relevance, rank
from lrp_core.ranking.gradients import integrated_gradients

from ..support import GRADIENTS, livened

SHAPE, N_CLASSES = (1, 6, 6), 4


def images(n: int = 5, seed: int = 0) -> Tensor:
    return torch.rand(n, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([0, 3, 1, 1, 2])


def explained(logits: Tensor, labels: Tensor, start: str) -> Tensor:
    """What each start names, written out."""
    own = logits[torch.arange(len(labels)), labels]
    others = logits.masked_fill(torch.nn.functional.one_hot(labels, N_CLASSES).bool(), -torch.inf)
    return {
        "logit": own,
        "one-hot": own,
        "contrast": own - others.max(1).values,
        "log-odds": own - others.exp().sum(1).log(),
    }[start]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100", "lenet-5", "cnn-32-64"])
def test_the_gradient_is_the_limit_of_differences(architecture: str, start: str) -> None:
    model, x = livened(architecture, SHAPE, N_CLASSES), images()
    actual = find_criterion("gradient").explain_with(model)(x, LABELS, start)
    h = 1e-6
    for place in [(0, 0, 0), (0, 2, 3), (0, 5, 5)]:
        step = torch.zeros(SHAPE, dtype=torch.float64)
        step[place] = h
        with torch.no_grad():
            up, down = (explained(model(x + sign * step), LABELS, start) for sign in (1, -1))
        torch.testing.assert_close(actual[:, *place], (up - down) / (2 * h), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("start", ["logit", "contrast", "log-odds"])
def test_on_relu_networks_gradient_x_input_is_relevance_under_lrp_0(start: str) -> None:
    model, x = livened("lenet-5", SHAPE, N_CLASSES), images()
    actual = find_criterion("gradient-x-input").explain_with(model)(x, LABELS, start)
    expected = attribute(model, x, target=LABELS, composite="lrp-0", start=start)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("start", STARTS)
def test_integrated_gradients_add_up_to_what_the_input_changes(start: str) -> None:
    """Completeness (Sundararajan et al. 2017, proposition 1), on a network without kinks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 9), nn.Tanh(), nn.Linear(9, N_CLASSES)).double()
    x = images()
    actual = find_criterion("integrated-gradients").explain_with(model)(x, LABELS, start).flatten(1).sum(1)
    with torch.no_grad():
        change = explained(model(x), LABELS, start) - explained(model(x * 0), LABELS, start)
    torch.testing.assert_close(actual, change, rtol=2e-3, atol=2e-3)


def test_integrated_gradients_of_a_known_function() -> None:
    """f = a^2 b: its integrals are 2/3 a^2 b and 1/3 a^2 b, and the midpoint rule misses by 1 / (12 n^2) of f."""
    x = torch.tensor([[3.0, 2.0], [1.0, -4.0]], dtype=torch.float64)
    a, b = x.T

    def slope(x: Tensor) -> Tensor:
        return torch.stack([2 * x[:, 0] * x[:, 1], x[:, 0].square()], 1)

    exact = torch.stack([2 / 3 * a.square() * b, a.square() * b / 3], 1)
    for steps in (1, 4, 100):
        missed = (integrated_gradients(x, slope, steps) - exact).abs() / (a.square() * b).abs()[:, None]
        assert float(missed.max()) <= 1 / (6 * steps**2) + 1e-12
        assert float(missed.max()) > 1 / (20 * steps**2)


def test_of_a_linear_network_they_are_the_weights() -> None:
    model, x = livened("softmax", SHAPE, N_CLASSES), images()
    weight = model.logits.weight.detach()[LABELS].view(-1, *SHAPE)
    for name, expected in (
        ("gradient", weight),
        ("gradient-x-input", weight * x),
        ("integrated-gradients", weight * x),
    ):
        torch.testing.assert_close(find_criterion(name).explain_with(model)(x, LABELS, "logit"), expected)


@pytest.mark.parametrize("name", GRADIENTS)
class TestEach:
    def test_is_reduced_like_relevance(self, name: str) -> None:
        model = livened("lenet-5", SHAPE, N_CLASSES).float()
        random = torch.Generator().manual_seed(3)
        pixels = torch.randint(0, 256, (23, *SHAPE), generator=random, dtype=torch.uint8)
        split = Split(pixels, torch.randint(0, N_CLASSES, (23,), generator=random), torch.arange(23))
        whole = find_criterion(name).explain_with(model)(split.images, split.labels, "contrast").double().flatten(1)
        statistics = measure_relevance(model, split, criterion=name, start="contrast", batch_size=7)
        scale = float(whole.abs().max())
        torch.testing.assert_close(statistics.mean("mean-abs"), whole.abs().mean(0), rtol=1e-3, atol=1e-4 * scale)
        ranked = rank(model, split, criterion=name, statistic="max-mean-abs", start="contrast")
        classes = torch.stack([whole[split.labels == c].abs().mean(0) for c in range(N_CLASSES)])
        torch.testing.assert_close(ranked.scores, classes.amax(0), rtol=1e-3, atol=1e-4 * scale)
        assert ranked.standard_error.isfinite().all()

    def test_dropout_and_batch_norm_are_those_of_evaluation(self, name: str) -> None:
        model, x = livened("cnn-32-64", SHAPE, N_CLASSES), images()
        expected = find_criterion(name).explain_with(model)(x, LABELS, "logit")
        assert torch.equal(find_criterion(name).explain_with(model.train())(x, LABELS, "logit"), expected)

    def test_one_image_does_not_depend_on_the_others(self, name: str) -> None:
        model, x = livened("mlp-300-100", SHAPE, N_CLASSES), images()
        whole = find_criterion(name).explain_with(model)(x, LABELS, "log-odds")
        alone = find_criterion(name).explain_with(model)(x[2:3], LABELS[2:3], "log-odds")
        torch.testing.assert_close(alone, whole[2:3])

    def test_leaves_no_graph_and_works_where_gradients_are_off(self, name: str) -> None:
        model, x = livened("mlp-300-100", SHAPE, N_CLASSES), images()
        expected = find_criterion(name).explain_with(model)(x, LABELS, "logit")
        assert not expected.requires_grad
        with torch.no_grad():
            assert torch.equal(find_criterion(name).explain_with(model)(x, LABELS, "logit"), expected)

    def test_bad_input_is_refused_in_a_sentence(self, name: str) -> None:
        explain = find_criterion(name).explain_with(livened("mlp-300-100", SHAPE, N_CLASSES))
        with pytest.raises(InputError, match=r"shape \(2, 1, 5, 5\).*do not fit"):
            explain(torch.rand(2, 1, 5, 5, dtype=torch.float64), torch.tensor([0, 1]), "logit")
        with pytest.raises(InputError, match="between 0 and 3"):
            explain(images(2), torch.tensor([0, N_CLASSES]), "logit")
        with pytest.raises(InputError, match="unknown start"):
            explain(images(2), torch.tensor([0, 1]), "softmax")

    def test_a_diverged_network_is_refused(self, name: str) -> None:
        model = livened("mlp-300-100", SHAPE, N_CLASSES).float()
        with torch.no_grad():
            model.fc1.weight[0, 0] = float("nan")
        split = Split(torch.ones(4, *SHAPE, dtype=torch.uint8), torch.arange(4), torch.arange(4))
        with pytest.raises(InputError, match="diverged"):
            rank(model, split, criterion=name)


def test_gradients_need_no_rule_where_relevance_does() -> None:
    class Spread(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x.std(1, keepdim=True)

    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), Spread()).double()
    assert find_criterion("gradient").explain_with(model)(images(), LABELS, "logit").shape == (5, *SHAPE)
    with pytest.raises(UnsupportedLayer):
        find_criterion("lrp-0").explain_with(model)


def test_images_made_in_inference_mode_have_gradients_too(toy: Dataset) -> None:
    network = build_model("mlp-300-100", toy)
    labels = toy.test.labels[:5]
    with torch.inference_mode():
        images = toy.test.images[:5].clone()
    for name in GRADIENTS:
        attribute = find_criterion(name).explain_with(network)
        assert torch.equal(attribute(images, labels, "logit"), attribute(toy.test.images[:5], labels, "logit"))
