"""The conservation report: what arrived at each layer, what left, and where the rest went."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.lrp import COMPOSITES, STARTS, At, Composite, Epsilon, Explainer, Explanation, Gamma, ZBox, Zero
from lrp_core.lrp.starts import start_relevance
from lrp_core.pruning.layers import Frame, Scatter

from .networks import ARCHITECTURE_NAMES, IMAGE, Lambda, architecture, cnn, cnns, images, mlp, mlps, randomise

pytestmark = pytest.mark.slow


def check_accounts(explanation: Explanation, start: Tensor, tolerance: float = 1e-10) -> None:
    """Everything adds up, layer by layer and in all, to rounding."""
    scale = 1e-30 + max(float(r.abs().flatten(1).sum(1).max()) for r in explanation.layers.values())
    for b in explanation.balance:
        size = scale + float(b.bias.abs().max()) + float(b.left.abs().max())
        assert float((b.arrived - b.left - b.bias - b.epsilon).abs().max()) < tolerance * size, b
        assert torch.equal(b.absorbed, b.arrived - b.left)
        # Weights of one sign alone give nothing for the end of the box that they do not meet.
        assert not bool(b.box.any()) or (b.rule.startswith("ZBox") and bool(b.arrived.any()))
    lost = sum((b.absorbed for b in explanation.balance), torch.zeros_like(start))
    gap = explanation.relevance.flatten(1).sum(1) + lost - start
    assert float(gap.abs().max()) < 10 * tolerance * scale


class TestNumbers:
    @pytest.mark.parametrize("composite", COMPOSITES)
    @pytest.mark.parametrize("name", ARCHITECTURE_NAMES)
    def test_are_the_sums_of_the_layers(self, name: str, composite: str) -> None:
        model, x = architecture(name), images((1, 12, 12))
        explainer = Explainer(model, composite)
        for start in STARTS:
            explanation = explainer.explain(x, torch.tensor([1, 0, 3]), start)
            weighted = [n for n, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
            assert [b.layer for b in explanation.balance] == weighted
            steps = [step.name for step in explainer.steps]
            for b in explanation.balance:
                before = steps.index(b.layer) - 1
                r_in = explanation.layers[steps[before]] if before >= 0 else explanation.relevance
                torch.testing.assert_close(b.arrived, explanation.layers[b.layer].flatten(1).sum(1))
                torch.testing.assert_close(b.left, r_in.flatten(1).sum(1))
            for lower, upper in itertools.pairwise(explanation.balance):
                torch.testing.assert_close(upper.left, lower.arrived)
            _, r = start_relevance(model(x).detach(), explanation.target, start)
            check_accounts(explanation, r.dense().sum(1))

    @given(mlps() | cnns(), st.sampled_from(sorted(COMPOSITES)), st.sampled_from(STARTS))
    @settings(deadline=None, max_examples=60)
    def test_add_up_for_random_networks(self, drawn: tuple[nn.Module, Tensor], composite: str, start: str) -> None:
        model, x = drawn
        explanation = Explainer(model, composite).explain(x, 0, start)
        _, r = start_relevance(model(x).detach(), 0, start)
        check_accounts(explanation, r.dense().sum(1), tolerance=1e-8)

    @given(mlps(bias=False) | cnns(bias=False), st.sampled_from(["lrp-0", "gamma"]), st.sampled_from(STARTS[:3]))
    @settings(deadline=None, max_examples=30)
    def test_without_biases_nothing_is_lost(self, drawn: tuple[nn.Module, Tensor], composite: str, start: str) -> None:
        model, x = drawn
        explanation = Explainer(model, composite).explain(x, 0, start)
        scale = max(float(r.abs().flatten(1).sum(1).max()) for r in explanation.layers.values())
        for b in explanation.balance:
            assert not b.bias.any()
            if composite == "lrp-0":
                assert not b.epsilon.any()
            assert float(b.absorbed.abs().max()) <= 1e-4 * scale

    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_relevance_of_a_logit_of_zero_is_listed_as_lost(self, composite: str) -> None:
        """From "one-hot" 1 arrives where z is exactly zero, and no input can be said to have brought it about."""
        model = randomise(cnn([4], bias=False), 0)
        with torch.no_grad():
            model[-1].weight[1] = 0.0
        explanation = Explainer(model, composite).explain(images(IMAGE), 1, "one-hot")
        check_accounts(explanation, torch.ones(3, dtype=torch.float64))

    def test_the_shortfall_is_the_share_of_bias_and_epsilon(self) -> None:
        model, x = randomise(mlp([6, 5, 4]), 5), images((6,))
        for eps in (None, 1e-6, 0.3):
            rule = Zero() if eps is None else Epsilon(eps)
            explanation = Explainer(model, Composite(At(rule))).explain(x, 1)
            z = {"1": model[:2](x), "3": model(x)}
            for b in explanation.balance:
                layer, r = model.get_submodule(b.layer), explanation.layers[b.layer]
                pull = (eps or 0.0) * torch.where(z[b.layer] >= 0, 1.0, -1.0).double()
                for part, found in ((layer.bias + 0 * pull, b.bias), (pull, b.epsilon)):
                    expected = (r * part / (z[b.layer] + pull)).sum(1)
                    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)

    def test_each_layer_says_which_rule_it_had(self) -> None:
        composite = Composite(At(ZBox(), position=0), At(Gamma(0.1), kind="convolution"), At(Epsilon(0.01)))
        balance = Explainer(randomise(cnn([4, 4]), 0), composite).explain(images(IMAGE)).balance
        assert [b.rule.split("(")[0] for b in balance] == ["ZBox", "Gamma", "Epsilon", "Epsilon"]
        assert "0.01" in balance[-1].rule


class TestConstants:
    """Steps without weights are listed where a constant takes a share away, as a bias does."""

    shift = torch.tensor([1.0, -0.5, 0.25, 2.0], dtype=torch.float64)

    def network(self, forward: Any, **parts: Any) -> nn.Module:
        return randomise(Lambda(forward, a=nn.Linear(6, 4), c=nn.Linear(4, 3), **parts), 0)

    @pytest.mark.parametrize(
        "forward",
        [
            lambda m, x: m.c(m.a(x) + m.shift),
            lambda m, x: m.c(m.shift + m.a(x)),
            lambda m, x: m.c(m.a(x) - m.shift),
            lambda m, x: m.c(m.shift - m.a(x)),
            lambda m, x: m.c(m.a(x) + 0.7),
            lambda m, x: m.c(2 - m.a(x)),
            lambda m, x: m.c(torch.relu(m.a(x)).add_(0.7)),
            lambda m, x: m.c(torch.tanh(m.a(x) + 0.7)),
        ],
    )
    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_a_summand_is_listed_with_its_share(self, forward: Any, composite: str) -> None:
        model, x = self.network(forward, shift=self.shift), images((6,))
        explanation = Explainer(model, composite).explain(x, 1)
        entries = [b for b in explanation.balance if b.rule == "Sum"]
        assert len(entries) == 1
        assert bool(entries[0].bias.all())
        check_accounts(explanation, explanation.logits[:, 1])

    def test_its_share_is_its_part_of_the_sum(self) -> None:
        model, x = self.network(lambda m, x: m.c(m.shift - m.a(x)), shift=self.shift), images((6,))
        explanation = Explainer(model, "epsilon").explain(x, 1)
        (entry,) = [b for b in explanation.balance if b.rule == "Sum"]
        r = explanation.layers[entry.layer]
        expected = (r * self.shift / (self.shift - model.a(x))).sum(1).detach()
        torch.testing.assert_close(entry.bias, expected)

    def test_a_sum_without_constants_is_not_listed(self) -> None:
        model = self.network(lambda m, x: m.c(m.a(x) + torch.relu(m.a(x)) + 0), shift=self.shift)
        assert [b.rule for b in Explainer(model, "lrp-0").explain(images((6,)), 1).balance] == ["Zero()"] * 3

    @pytest.mark.parametrize("fill", [0.0, 0.3, -0.2])
    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_places_that_scatter_fills(self, composite: str, fill: float) -> None:
        """Also with zeros, to which flat, w-square and z-box give a share that reaches no input."""
        scatter = Scatter(torch.tensor([3, 7, 0, 11, 8]), (1, 4, 4), fill)
        model = nn.Sequential(scatter, nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
        model, x = randomise(model, 0), images((5,))
        explain_and_check(model, x, composite)

    @pytest.mark.parametrize("surround", [0.0, 0.3])
    @pytest.mark.parametrize("composite", [*sorted(COMPOSITES), "own"])
    def test_frames(self, composite: str, surround: float) -> None:
        frame = Frame(torch.full((2, 5, 6), surround, dtype=torch.float64), 1, 2)
        model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU(), frame, nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(36, 3))
        model, x = randomise(model, 0), images((2, 5, 5))
        explain_and_check(model, x, composite)

    @pytest.mark.parametrize("composite", [*sorted(COMPOSITES), "own"])
    def test_zeros_set_in_by_padding(self, composite: str) -> None:
        """A rule that gives something to zeros gives it to padding too, where it is lost: it must be listed."""
        model = Lambda(
            lambda m, x: m.c(m.a(F.pad(x, (1, 1, 1, 1))).flatten(1)), a=nn.Conv2d(2, 2, 3), c=nn.Linear(40, 3)
        )
        explain_and_check(randomise(model, 0), images((2, 5, 4)), composite)

    @pytest.mark.parametrize("composite", ["own", "lrp-0", "gamma"])
    def test_dead_units_under_averages_and_sums(self, composite: str) -> None:
        """Relevance that a rule gives to an average of zeros has nobody to go to: it must be listed too."""
        model = Lambda(
            lambda m, x: m.c(m.b(F.avg_pool2d(torch.relu(m.a(x)), 2) + 0.0).flatten(1)),
            a=nn.Conv2d(2, 2, 3, padding=1),
            b=nn.Conv2d(2, 2, 2),
            c=nn.Linear(2, 3),
        )
        model = randomise(model, 0)
        with torch.no_grad():
            model.a.bias[0] = -100.0
        explain_and_check(model, images((2, 4, 4)), composite)


def explain_and_check(model: nn.Module, x: Tensor, name: str) -> None:
    composite = COMPOSITES[name] if name != "own" else OWN
    with torch.no_grad():
        explanation = Explainer(model, composite).explain(x, 1)
    check_accounts(explanation, explanation.logits[:, 1])


OWN = Composite(At(ZBox(-1.0, 4.0), kind="convolution"), At(Epsilon()))
"""One that gives relevance to zeros at every convolution."""
