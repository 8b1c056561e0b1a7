"""The model and the images are only read, and results belong to whoever asked."""

from __future__ import annotations

from typing import Any

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

from .networks import (
    IMAGE,
    Lambda,
    cnn,
    cnns,
    images,
    mlps,
    randomise,
)

ANY_START = st.sampled_from(STARTS)
ANY_COMPOSITE = st.sampled_from(sorted(COMPOSITES))
ANY_NETWORK = mlps() | cnns()


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that an explanation could leave behind on a model."""
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        state[f"{name} keys"] = sorted(module.__dict__)
        state[f"{name} training"] = module.training
        for attribute_name, value in module.__dict__.items():
            if "hook" in attribute_name:
                state[f"{name} {attribute_name}"] = len(value) if value is not None else None
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        state[f"{name} bytes"] = tensor.detach().numpy().tobytes()
        state[f"{name} version"] = tensor._version
        state[f"{name} place"] = tensor.data_ptr()
        state[f"{name} requires_grad"] = tensor.requires_grad
        state[f"{name} grad"] = None if tensor.grad is None else tensor.grad.numpy().tobytes()
    return state


class TestTheModelIsOnlyRead:
    @pytest.mark.parametrize("composite", COMPOSITES)
    @pytest.mark.parametrize("training", [True, False])
    def test_nothing_changes(self, composite: str, training: bool) -> None:
        model, x = randomise(cnn([4, 4], norm=True), 0), images(IMAGE)
        model(x).sum().backward()
        model.train(training)
        model[0].weight.requires_grad_(False)
        model[1].eval()
        before, pixels, random = state_of(model), x.clone(), torch.get_rng_state()
        explainer = Explainer(model, composite)
        explainer.explain(x, 0, "log-odds")
        explainer.relevance(x, 0)
        assert state_of(model) == before
        assert torch.equal(x, pixels)
        assert x._version == 0
        assert torch.equal(torch.get_rng_state(), random)

    def test_a_network_in_training_mode_is_explained_as_in_evaluation(self) -> None:
        model, x = randomise(cnn([4], norm=True), 0), images(IMAGE)
        expected = attribute(model, x, target=1)
        assert torch.equal(attribute(model.train(), x, target=1), expected)

    def test_a_branch_on_the_training_flag_is_taken_as_in_evaluation(self) -> None:
        def forward(m: Any, x: Tensor) -> Tensor:
            return m.main(m.noise(x) if m.training else x)

        model = randomise(Lambda(forward, main=nn.Linear(5, 3), noise=nn.Linear(5, 5)), 0)
        x = images((5,))
        expected = model(x).detach()
        torch.testing.assert_close(Explainer(model.train()).explain(x).logits, expected)
        assert model.training

    def test_failing_leaves_the_model_alone_too(self) -> None:
        model = randomise(cnn([4]), 0).train()
        before = state_of(model)
        with pytest.raises(InputError):
            attribute(model, torch.rand(1, 2, 9, 9, dtype=torch.float64))
        assert state_of(model) == before

    def test_pixels_that_require_a_gradient_make_no_graph(self) -> None:
        model, x = randomise(cnn([4]), 0), images(IMAGE).requires_grad_()
        explanation = Explainer(model, "epsilon-gamma-box").explain(x, 0)
        balance = [tensor for b in explanation.balance for tensor in (b.arrived, b.left)]
        for tensor in (explanation.relevance, explanation.logits, *explanation.layers.values(), *balance):
            assert not tensor.requires_grad
            assert tensor.grad_fn is None
            assert not tensor.is_inference()
        assert x.grad is None
        assert all(p.grad is None for p in model.parameters())

    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_the_result_can_be_used_in_autograd(self, composite: str) -> None:
        model, x = randomise(cnn([4]), 0), images(IMAGE)
        relevance = attribute(model, x, composite=composite)
        weight = torch.ones(IMAGE, dtype=torch.float64, requires_grad=True)
        (relevance * weight).square().sum().backward()
        assert weight.grad is not None
        relevance.requires_grad_().mul(2).sum().backward()

    def test_the_result_may_be_changed_in_place(self) -> None:
        """Writing into what was returned must not reach the pixels, the network, or a second answer."""
        model, x = randomise(cnn([4]), 0), images(IMAGE)
        before, pixels = state_of(model), x.clone()
        explainer = Explainer(model)
        first = explainer.explain(x, 0)
        kept = first.relevance.clone()
        for tensor in (first.relevance, first.logits, *first.layers.values()):
            tensor.zero_()
        assert torch.equal(explainer.relevance(x, 0), kept)
        assert torch.equal(x, pixels)
        assert state_of(model) == before

    def test_it_works_inside_no_grad_and_inference_mode(self) -> None:
        model, x = randomise(cnn([4]), 0), images(IMAGE)
        expected = attribute(model, x, target=0)
        with torch.no_grad():
            assert torch.equal(attribute(model, x, target=0), expected)
        with torch.inference_mode():
            assert torch.equal(attribute(model, x, target=0), expected)
            pixels = x.clone()
        assert pixels.is_inference()
        assert torch.equal(attribute(model, pixels, target=0), expected)

    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_later_changes_of_the_parameters_are_not_seen(self, composite: str) -> None:
        model, x = randomise(cnn([4], norm=True), 0), images(IMAGE)
        explainer = Explainer(model, composite)
        expected = explainer.relevance(x, 0)
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                if tensor.is_floating_point():
                    tensor.mul_(3).add_(0.1)
        assert torch.equal(explainer.relevance(x, 0), expected)

    def test_an_explainer_gives_the_same_answer_twice(self) -> None:
        model, x = randomise(cnn([4]), 0), images(IMAGE)
        explainer = Explainer(model, "epsilon-gamma-box")
        assert torch.equal(explainer.relevance(x, 0), explainer.relevance(x, 0))
