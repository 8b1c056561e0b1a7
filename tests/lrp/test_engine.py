"""The walk through a whole network: bad input, and the relevance of every layer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from lrp_core.errors import InputError
from lrp_core.lrp import (
    COMPOSITES,
    STARTS,
    Explainer,
    attribute,
)
from lrp_core.lrp.starts import start_relevance

from .networks import (
    ARCHITECTURE_NAMES,
    IMAGE,
    architecture,
    assert_clear,
    cnn,
    cnns,
    images,
    mlps,
    randomise,
    relative_error,
    starting_value,
)

ANY_START = st.sampled_from(STARTS)
ANY_COMPOSITE = st.sampled_from(sorted(COMPOSITES))
ANY_NETWORK = mlps() | cnns()


class TestBadInput:
    model = randomise(cnn([4]), 0)

    def test_unknown_composite_names_the_nearest_and_all(self) -> None:
        with pytest.raises(InputError) as refused:
            attribute(self.model, images(IMAGE), composite="epsilon-pluss")
        assert_clear(refused.value)
        assert "did you mean 'epsilon-plus'?" in str(refused.value)
        assert all(name in str(refused.value) for name in COMPOSITES)

    def test_unknown_composite_is_refused_before_the_model_is_looked_at(self) -> None:
        with pytest.raises(InputError, match="unknown composite"):
            Explainer(nn.LSTM(2, 2), "nope")

    def test_unknown_start_names_all(self) -> None:
        with pytest.raises(InputError) as refused:
            attribute(self.model, images(IMAGE), start="log_odds")
        assert_clear(refused.value)
        assert "did you mean 'log-odds'?" in str(refused.value)
        assert all(name in str(refused.value) for name in STARTS)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_an_image_that_is_not_finite_is_named(self, value: float) -> None:
        x = images(IMAGE, n=4)
        x[2, 1, 0, 3] = value
        with pytest.raises(InputError, match="image 2 ") as refused:
            attribute(self.model, x)
        assert_clear(refused.value)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
    def test_raw_bytes_are_refused(self, dtype: torch.dtype) -> None:
        with pytest.raises(InputError, match="floating point") as refused:
            attribute(self.model, torch.ones(2, *IMAGE).to(dtype))
        assert_clear(refused.value)

    @pytest.mark.parametrize(
        "shape", [(3, 2, 9, 12), (3, 1, 10, 10), (3, 200), (10, 10), (2, 10, 10), (3, 2, 2, 2), (3,)], ids=str
    )
    def test_the_wrong_image_size_is_told_with_the_layer_that_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError) as refused:
            attribute(self.model, torch.rand(shape, dtype=torch.float64))
        assert_clear(refused.value)
        assert str(shape) in str(refused.value)

    def test_the_wrong_precision_is_told(self) -> None:
        with pytest.raises(InputError) as refused:
            attribute(self.model, images(IMAGE).float())
        assert_clear(refused.value)

    def test_a_network_without_logits_is_refused(self) -> None:
        with pytest.raises(InputError, match="logits"):
            attribute(nn.Sequential(nn.Conv2d(2, 3, 3).double()), images(IMAGE))

    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_a_batch_of_no_images_gives_none(self, composite: str) -> None:
        explanation = Explainer(self.model, composite).explain(images(IMAGE)[:0])
        assert explanation.relevance.shape == (0, *IMAGE)
        assert explanation.target.shape == (0,)


class TestLayers:
    @pytest.mark.parametrize("name", ARCHITECTURE_NAMES)
    def test_relevance_of_every_step_at_its_output(self, name: str) -> None:
        model, x = architecture(name), images((1, 12, 12))
        explainer = Explainer(model, "epsilon-plus")
        explanation = explainer.explain(x, 1)
        assert list(explanation.layers) == [step.name for step in explainer.steps]
        _, r = start_relevance(model(x).detach(), 1, "logit")
        torch.testing.assert_close(explanation.layers["logits"], r.dense())
        for layer, relevance in explanation.layers.items():
            assert relevance.shape == run_until(model, layer, x).shape
        torch.testing.assert_close(explanation.logits, model(x).detach())
        assert torch.equal(explanation.relevance, explainer.relevance(x, 1))

    @pytest.mark.parametrize("start", STARTS)
    def test_lrp_0_of_a_hidden_layer_is_gradient_x_activation(self, start: str) -> None:
        model, x = architecture("lenet-5"), images((1, 12, 12))
        target = torch.tensor([0, 1, 2])
        children = list(model.children())
        layers = Explainer(model, "lrp-0").explain(x, target, start).layers
        for i, name in enumerate(n for n, _ in model.named_children()):
            a = nn.Sequential(*children[: i + 1])(x).detach().requires_grad_()
            value = starting_value(nn.Sequential(*children[i + 1 :])(a), target, start).sum()
            expected = a * torch.autograd.grad(value, a)[0]
            assert relative_error(layers[name], expected.detach()) < 1e-9

    def test_a_module_used_twice_has_two_entries(self) -> None:
        model = self.tied()
        explainer = Explainer(model, "lrp-0")
        explanation = explainer.explain(images((5,)), 0)
        assert len(explanation.layers) == len(explainer.steps) == 5
        assert len(explanation.balance) == 3

    @staticmethod
    def tied() -> nn.Module:
        again, relu = nn.Linear(5, 5), nn.ReLU()
        return randomise(nn.Sequential(again, relu, again, relu, nn.Linear(5, 3)), 2)


def run_until(model: nn.Module, layer: str, x: Tensor) -> Tensor:
    for name, child in model.named_children():
        x = child(x)
        if name == layer:
            break
    return x
