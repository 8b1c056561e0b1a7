"""The walk through a whole network: starts, balance, symmetries, and that the model is only read."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lrp_core.errors import InputError
from lrp_core.lrp import COMPOSITES, STARTS, Composite, Epsilon, Explainer, Gamma, ZBox, Zero, ZPlus, attribute
from lrp_core.lrp.engine import start_relevance

from .networks import (
    ARCHITECTURE_NAMES,
    IMAGE,
    Lambda,
    architecture,
    cnn,
    cnns,
    images,
    mlp,
    mlps,
    randomise,
    relative_error,
    seeds,
    starting_value,
)

ANY_START = st.sampled_from(STARTS)
ANY_COMPOSITE = st.sampled_from(sorted(COMPOSITES))
ANY_NETWORK = mlps() | cnns()


def some_targets(x: Tensor, n_classes: int, seed: int) -> Tensor:
    return torch.randint(n_classes, (len(x),), generator=torch.Generator().manual_seed(seed))


def gradient_x_input(model: nn.Module, x: Tensor, target: Tensor, start: str) -> Tensor:
    x = x.clone().requires_grad_()
    value = starting_value(model(x), target, start).sum()
    return (x * torch.autograd.grad(value, x)[0]).detach()


class TestStart:
    @given(ANY_NETWORK, ANY_START, seeds)
    @settings(deadline=None, max_examples=40)
    def test_lrp_0_is_gradient_x_input(self, drawn: tuple[nn.Module, Tensor], start: str, seed: int) -> None:
        model, x = drawn
        target = some_targets(x, model(x).shape[1], seed)
        relevance = attribute(model, x, target=target, composite="lrp-0", start=start)
        assert relative_error(relevance, gradient_x_input(model, x, target, start)) < 1e-8

    @pytest.mark.parametrize("start", STARTS)
    @pytest.mark.parametrize("name", ARCHITECTURE_NAMES)
    def test_lrp_0_is_gradient_x_input_for_our_own_architectures(self, name: str, start: str) -> None:
        model, x = architecture(name), images((1, 12, 12))
        target = torch.tensor([0, 4, 2])
        relevance = attribute(model, x, target=target, composite="lrp-0", start=start)
        assert relative_error(relevance, gradient_x_input(model, x, target, start)) < 1e-9

    @given(st.integers(2, 6), st.integers(1, 4), ANY_START, seeds)
    @settings(deadline=None, max_examples=40)
    def test_is_each_logit_times_its_derivative(self, n_classes: int, n: int, start: str, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        logits = (torch.randn(n, n_classes, generator=random, dtype=torch.float64) * 5).requires_grad_()
        target = torch.randint(n_classes, (n,), generator=random)
        (gradient,) = torch.autograd.grad(starting_value(logits, target, start).sum(), logits)
        chosen, r = start_relevance(logits, target, start)
        assert torch.equal(chosen, target)
        assert relative_error(r, (logits * gradient).detach()) < 1e-12

    def test_logit_contrast_and_log_odds_of_known_logits(self) -> None:
        logits = torch.tensor([[2.0, -1.0, 3.0]], dtype=torch.float64)
        assert start_relevance(logits, 0, "logit")[1].tolist() == [[2.0, 0.0, 0.0]]
        assert start_relevance(logits, 0, "contrast")[1].tolist() == [[2.0, 0.0, -3.0]]
        share = torch.tensor([-1.0, 3.0], dtype=torch.float64).softmax(0)
        expected = torch.tensor([[2.0, 1.0 * share[0], -3.0 * share[1]]], dtype=torch.float64)
        torch.testing.assert_close(start_relevance(logits, 0, "log-odds")[1], expected)

    def test_contrast_subtracts_exactly_one_of_several_equal_rivals(self) -> None:
        _, r = start_relevance(torch.tensor([[1.0, 4.0, 4.0, 4.0]]), 0, "contrast")
        assert r.sum() == 1 - 4
        assert r.count_nonzero() == 2

    @pytest.mark.parametrize("start", STARTS)
    def test_large_logits_do_not_overflow(self, start: str) -> None:
        _, r = start_relevance(torch.tensor([[1e4, -1e4, 3e4]]), 1, start)
        assert torch.isfinite(r).all()

    @pytest.mark.parametrize("start", ["contrast", "log-odds"])
    def test_a_single_output_has_nothing_to_be_contrasted_with(self, start: str) -> None:
        model = randomise(mlp([4, 3, 1]), 0)
        with pytest.raises(InputError, match=start):
            attribute(model, images((4,)), start=start)

    def test_a_single_output_can_be_explained_by_its_logit(self) -> None:
        model, x = randomise(mlp([4, 3, 1]), 0), images((4,))
        relevance = attribute(model, x, composite="lrp-0")
        assert relative_error(relevance, gradient_x_input(model, x, torch.zeros(3, dtype=torch.long), "logit")) < 1e-9


class TestTarget:
    def test_none_is_the_predicted_class(self) -> None:
        model, x = randomise(cnn([4]), 3), images(IMAGE, n=6)
        predicted = model(x).argmax(1)
        explanation = Explainer(model).explain(x)
        assert torch.equal(explanation.target, predicted)
        assert torch.equal(explanation.relevance, attribute(model, x, target=predicted))

    def test_one_class_is_meant_for_every_image(self) -> None:
        model, x = randomise(cnn([4]), 3), images(IMAGE)
        assert torch.equal(attribute(model, x, target=2), attribute(model, x, target=torch.full((3,), 2)))

    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
    def test_any_integer_type_will_do(self, dtype: torch.dtype) -> None:
        model, x = randomise(mlp([5, 4]), 0), images((5,))
        explanation = Explainer(model).explain(x, torch.tensor([3, 0, 1], dtype=dtype))
        assert explanation.target.tolist() == [3, 0, 1]

    @pytest.mark.parametrize(
        ("target", "says"),
        [
            (4, "between 0 and 3"),
            (-1, "between 0 and 3"),
            (torch.tensor([0, 1, 4]), "between 0 and 3"),
            (torch.tensor([0, -1, 2]), "between 0 and 3"),
            (torch.tensor([0, 1]), "3 classes"),
            (torch.tensor([[0], [1], [2]]), "3 classes"),
            (torch.tensor([0.0, 1.0, 2.0]), "integers"),
            (torch.tensor([True, False, True]), "integers"),
            (torch.eye(3, 4), "integers"),
        ],
        ids=str,
    )
    def test_what_is_no_class_is_refused(self, target: Any, says: str) -> None:
        model = randomise(mlp([5, 4]), 0)
        with pytest.raises(InputError, match=says) as refused:
            attribute(model, images((5,)), target=target)
        assert_clear(refused.value)


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


class TestBalance:
    @pytest.mark.parametrize("start", STARTS)
    @pytest.mark.parametrize("composite", COMPOSITES)
    @pytest.mark.parametrize("name", ARCHITECTURE_NAMES)
    def test_numbers_are_the_sums_of_the_layers(self, name: str, composite: str, start: str) -> None:
        model, x = architecture(name), images((1, 12, 12))
        explainer = Explainer(model, composite)
        explanation = explainer.explain(x, torch.tensor([1, 0, 3]), start)
        weighted = [n for n, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        assert [b.layer for b in explanation.balance] == weighted
        steps = [step.name for step in explainer.steps]
        for b in explanation.balance:
            before = steps.index(b.layer) - 1
            r_in = explanation.layers[steps[before]] if before >= 0 else explanation.relevance
            torch.testing.assert_close(b.arrived, explanation.layers[b.layer].flatten(1).sum(1))
            torch.testing.assert_close(b.left, r_in.flatten(1).sum(1))
            torch.testing.assert_close(b.absorbed, b.arrived - b.left)
        for lower, upper in itertools.pairwise(explanation.balance):
            torch.testing.assert_close(upper.left, lower.arrived)
        _, r = start_relevance(model(x).detach(), explanation.target, start)
        lost = torch.stack([b.absorbed for b in explanation.balance]).sum(0)
        torch.testing.assert_close(explanation.relevance.flatten(1).sum(1) + lost, r.sum(1))

    @given(mlps(bias=False) | cnns(bias=False), ANY_COMPOSITE, ANY_START)
    @settings(deadline=None, max_examples=40)
    def test_without_biases_nothing_is_lost(self, drawn: tuple[nn.Module, Tensor], composite: str, start: str) -> None:
        """Layer by layer: what arrives leaves, but for what the stabiliser takes, which the twins account for."""
        model, x = drawn
        explanation = Explainer(model, composite).explain(x, 0, start)
        scale = max(float(r.abs().flatten(1).sum(1).max()) for r in explanation.layers.values())
        for b in explanation.balance:
            if b.rule.startswith(("Zero", "Gamma")):
                assert float(b.absorbed.abs().max()) <= 1e-4 * scale

    def test_the_shortfall_is_the_share_of_bias_and_epsilon(self) -> None:
        model, x = randomise(mlp([6, 5, 4]), 5), images((6,))
        for eps in (None, 1e-6, 0.3):
            rule = Zero() if eps is None else Epsilon(eps)
            explanation = Explainer(model, Composite(convolution=rule, dense=rule)).explain(x, 1)
            z = {"1": model[:2](x), "3": model(x)}
            for b in explanation.balance:
                layer, r = model.get_submodule(b.layer), explanation.layers[b.layer]
                pull = (eps or 0.0) * torch.where(z[b.layer] >= 0, 1.0, -1.0).double()
                expected = (r * (layer.bias + pull) / (z[b.layer] + pull)).sum(1)
                torch.testing.assert_close(b.absorbed, expected.detach(), rtol=1e-9, atol=1e-12)

    def test_each_layer_says_which_rule_it_had(self) -> None:
        composite = Composite(first=ZBox(0.0, 1.0), convolution=Gamma(0.1), dense=Epsilon(0.01))
        balance = Explainer(randomise(cnn([4, 4]), 0), composite).explain(images(IMAGE)).balance
        assert [b.rule.split("(")[0] for b in balance] == ["ZBox", "Gamma", "Epsilon", "Epsilon"]


class TestLayers:
    @pytest.mark.parametrize("name", ARCHITECTURE_NAMES)
    def test_relevance_of_every_step_at_its_output(self, name: str) -> None:
        model, x = architecture(name), images((1, 12, 12))
        explainer = Explainer(model, "epsilon-plus")
        explanation = explainer.explain(x, 1)
        assert list(explanation.layers) == [step.name for step in explainer.steps]
        _, r = start_relevance(model(x).detach(), 1, "logit")
        torch.testing.assert_close(explanation.layers["logits"], r)
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


class TestComposite:
    def test_first_goes_to_the_first_layer_with_weights_only(self) -> None:
        model, x = randomise(cnn([4, 4]), 0), images(IMAGE)
        box, gamma, eps = ZBox(0.0, 1.0), Gamma(0.4), Epsilon(0.05)
        explainer = Explainer(model, Composite(first=box, convolution=gamma, dense=eps))
        a, expected_rules = x, [box, gamma, eps, eps]
        activations = [a := step.operation(a) for step in explainer.steps]
        r = start_relevance(activations[-1], 2, "logit")[1]
        for i, step in reversed(list(enumerate(explainer.steps))):
            before = activations[i - 1] if i else x
            if hasattr(step.operation, "pullback"):
                r = expected_rules.pop().prepare(step.operation)(before, activations[i], r)
            else:
                r = step.operation.relevance(before, activations[i], r)
        assert torch.equal(explainer.relevance(x, 2), r)
        assert not expected_rules

    def test_names_are_the_published_composites(self) -> None:
        assert COMPOSITES["epsilon-plus"] == Composite(convolution=ZPlus(), dense=Epsilon(1e-6))
        box = Composite(first=ZBox(0.0, 1.0), convolution=Gamma(0.25), dense=Epsilon(1e-6))
        assert COMPOSITES["epsilon-gamma-box"] == box
        assert COMPOSITES["epsilon"] == Composite(convolution=Epsilon(1e-6), dense=Epsilon(1e-6))
        assert COMPOSITES["lrp-0"] == Composite(convolution=Zero(), dense=Zero())

    @pytest.mark.parametrize("name", COMPOSITES)
    def test_a_name_and_its_composite_are_the_same(self, name: str) -> None:
        model, x = randomise(cnn([4]), 0), images(IMAGE)
        assert torch.equal(attribute(model, x, composite=name), attribute(model, x, composite=COMPOSITES[name]))

    def test_composites_differ(self) -> None:
        model, x = randomise(cnn([4, 4]), 0), images(IMAGE)
        results = [attribute(model, x, composite=name) for name in COMPOSITES if name != "lrp-0"]
        assert all(relative_error(a, b) > 1e-3 for a, b in itertools.combinations(results, 2))


class TestSymmetry:
    @given(ANY_NETWORK, ANY_COMPOSITE, ANY_START)
    @settings(deadline=None, max_examples=30)
    def test_a_batch_is_its_images_one_by_one(
        self, drawn: tuple[nn.Module, Tensor], composite: str, start: str
    ) -> None:
        model, x = drawn
        explainer = Explainer(model, composite)
        together = explainer.relevance(x, 1, start)
        alone = torch.cat([explainer.relevance(x[i : i + 1], 1, start) for i in range(len(x))])
        assert relative_error(together, alone) < 1e-9

    @given(ANY_COMPOSITE, ANY_START, seeds)
    @settings(deadline=None, max_examples=20)
    def test_the_order_of_hidden_units_does_not_matter(self, composite: str, start: str, seed: int) -> None:
        model = randomise(cnn([4, 6], norm=True), seed)
        x, shuffled, random = images(IMAGE, seed), copy.deepcopy(model), torch.Generator().manual_seed(seed)
        first, norm, second = shuffled[0], shuffled[1], shuffled[4]
        hidden, logits = shuffled[-4], shuffled[-1]
        with torch.no_grad():
            p = torch.randperm(4, generator=random)
            for tensor in (first.weight, first.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor.copy_(tensor[p].clone())
            second.weight.copy_(second.weight[:, p].clone())
            q = torch.randperm(hidden.out_features, generator=random)
            for tensor in (hidden.weight, hidden.bias):
                tensor.copy_(tensor[q].clone())
            logits.weight.copy_(logits.weight[:, q].clone())
        torch.testing.assert_close(shuffled(x), model(x))
        expected = attribute(model, x, target=1, composite=composite, start=start)
        assert relative_error(attribute(shuffled, x, target=1, composite=composite, start=start), expected) < 1e-7

    @given(ANY_COMPOSITE, ANY_START, seeds)
    @settings(deadline=None, max_examples=20)
    def test_permuting_pixels_and_columns_permutes_relevance(self, composite: str, start: str, seed: int) -> None:
        model, x = randomise(mlp([8, 6, 4]), seed), images((8,), seed)
        p = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
        shuffled = copy.deepcopy(model)
        with torch.no_grad():
            shuffled[1].weight.copy_(model[1].weight[:, p])
        expected = attribute(model, x, target=0, composite=composite, start=start)[:, p]
        actual = attribute(shuffled, x[:, p], target=0, composite=composite, start=start)
        assert relative_error(actual, expected) < 1e-7

    @pytest.mark.parametrize("composite", COMPOSITES)
    @pytest.mark.parametrize("flip", [2, 3])
    def test_a_mirrored_image_under_mirrored_kernels_has_mirrored_relevance(self, composite: str, flip: int) -> None:
        model, x = randomise(cnn([4, 4], pool=False, hidden=None), 1), images(IMAGE)
        mirrored = copy.deepcopy(model)
        with torch.no_grad():
            for layer in mirrored:
                if isinstance(layer, nn.Conv2d):
                    layer.weight.copy_(layer.weight.flip(flip))
            last = mirrored[-1]
            last.weight.copy_(last.weight.view(-1, 4, *IMAGE[1:]).flip(flip).flatten(1))
        expected = attribute(model, x, target=0, composite=composite).flip(flip)
        assert relative_error(attribute(mirrored, x.flip(flip), target=0, composite=composite), expected) < 1e-7

    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_a_logit_scaled_by_its_weights_scales_relevance(self, composite: str) -> None:
        """Doubling the last layer doubles the start, and (but for epsilon and the stabiliser) all relevance."""
        model, x = randomise(cnn([4]), 0), images(IMAGE)
        doubled = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in doubled[-1].parameters():
                parameter.mul_(2)
        expected = 2 * attribute(model, x, target=1, composite=composite)
        assert relative_error(attribute(doubled, x, target=1, composite=composite), expected) < 1e-4

    @pytest.mark.parametrize("composite", COMPOSITES)
    @pytest.mark.parametrize("name", ARCHITECTURE_NAMES)
    def test_single_precision_is_close_to_double(self, name: str, composite: str) -> None:
        model, x = architecture(name), images((1, 12, 12))
        expected = attribute(model, x, target=1, composite=composite, start="log-odds")
        single = attribute(copy.deepcopy(model).float(), x.float(), target=1, composite=composite, start="log-odds")
        assert single.dtype == torch.float32
        assert relative_error(single, expected) < 1e-3

    def test_the_layout_of_memory_does_not_matter(self) -> None:
        model, x = randomise(cnn([4, 4]), 0), images(IMAGE)
        expected = attribute(model, x, target=1)
        turned = attribute(
            copy.deepcopy(model).to(memory_format=torch.channels_last),
            x.to(memory_format=torch.channels_last),
            target=1,
        )
        assert relative_error(turned, expected) < 1e-9
        strided = torch.stack([x, x], dim=-1)[..., 0]
        assert relative_error(attribute(model, strided, target=1), expected) < 1e-12


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


def assert_clear(error: Exception) -> None:
    """One sentence for a person: one line, not a dump."""
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 300, text
    assert "Traceback" not in text
