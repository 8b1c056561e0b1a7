"""Numbers at their limits: precision, zeros, dead units, tiny, huge and broken weights. Finite, or refused by name."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.errors import InputError, NonFiniteRelevance
from lrp_core.lrp import COMPOSITES, STARTS, At, Composite, Epsilon, Explainer, attribute

from .networks import (
    IMAGE,
    Lambda,
    architecture,
    assert_clear,
    cnn,
    cnns,
    images,
    mlp,
    mlps,
    randomise,
    relative_error,
    seeds,
)

pytestmark = pytest.mark.slow

NAMES = sorted(COMPOSITES)
ANY_NETWORK = mlps() | cnns()


def all_tensors(explanation: Any) -> list[Tensor]:
    report = [t for b in explanation.balance for t in (b.arrived, b.left, b.bias, b.epsilon, b.box)]
    return [explanation.relevance, explanation.logits, *explanation.layers.values(), *report]


def finite_or_refused(model: nn.Module, x: Tensor, composite: str, start: str = "logit") -> bool:
    """Whether there was an answer, with nothing but finite numbers in it; else it must name a layer of the network."""
    names = [step.name for step in Explainer(model, composite).steps]
    try:
        explanation = Explainer(model, composite).explain(x, 0, start)
    except NonFiniteRelevance as refused:
        assert_clear(refused, "layer '")
        assert_clear(refused, str(refused).split("'")[1] if str(refused).split("'")[1] in names else "no such layer")
        return False
    for tensor in all_tensors(explanation):
        assert bool(torch.isfinite(tensor).all())
    return True


class TestPrecision:
    @pytest.mark.parametrize("composite", NAMES)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_of_the_model_is_that_of_relevance(self, dtype: torch.dtype, composite: str) -> None:
        model, x = randomise(cnn([4, 4], norm=True), 1), images(IMAGE)
        expected = attribute(model, x, target=1, composite=composite)
        narrow, pixels = copy.deepcopy(model).to(dtype), x.to(dtype)
        explanation = Explainer(narrow, composite).explain(pixels, 1)
        assert all(tensor.dtype == dtype for tensor in all_tensors(explanation))
        largest = max(float(r.abs().max()) for r in Explainer(model, composite).explain(x, 1).layers.values())
        tolerance = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.2}[dtype]
        gap = (explanation.relevance.double() - expected).abs().max()
        assert float(gap) < tolerance * max(largest, float(expected.abs().max()))

    @pytest.mark.parametrize("composite", NAMES)
    def test_narrow_numbers_stay_close_where_nothing_cancels(self, composite: str) -> None:
        """With positive weights and pixels no denominator is small; pooling could have another winner."""
        model, x = randomise(cnn([4, 4], bias=False, pool=False), 1), images(IMAGE)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.abs_()
        expected = attribute(model, x, target=1, composite=composite)
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.1)):
            found = attribute(copy.deepcopy(model).to(dtype), x.to(dtype), target=1, composite=composite)
            assert relative_error(found, expected) < tolerance

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_another_precision_of_images_is_told(self, dtype: torch.dtype) -> None:
        with pytest.raises(InputError) as refused:
            attribute(architecture("lenet-5").float(), images((1, 12, 12)).to(dtype))
        assert_clear(refused.value, str(dtype))


class TestZeros:
    @pytest.mark.parametrize("start", STARTS)
    @pytest.mark.parametrize("composite", NAMES)
    def test_black_images(self, composite: str, start: str) -> None:
        model = randomise(cnn([4, 4], bias=False), 0)
        assert finite_or_refused(model, torch.zeros(2, *IMAGE, dtype=torch.float64), composite, start)

    @pytest.mark.parametrize("start", STARTS)
    @pytest.mark.parametrize("composite", NAMES)
    def test_weights_of_zero(self, composite: str, start: str) -> None:
        model = randomise(cnn([4, 4]), 0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert finite_or_refused(model, images(IMAGE), composite, start)

    @pytest.mark.parametrize("composite", NAMES)
    def test_dead_units(self, composite: str) -> None:
        model = randomise(cnn([4, 4]), 0)
        with torch.no_grad():
            model[0].bias[:2] = -50.0
            model[3].bias.fill_(-50.0)
        assert finite_or_refused(model, images(IMAGE), composite)

    @pytest.mark.parametrize("composite", NAMES)
    def test_sums_that_cancel(self, composite: str) -> None:
        """h - h is exactly zero, under every rule that comes after it."""
        model = Lambda(
            lambda m, x: m.c((m.a(x) - m.a(x)) + torch.relu(m.b(x - x))),
            a=nn.Linear(6, 4),
            b=nn.Linear(6, 4, bias=False),
            c=nn.Linear(4, 3),
        )
        finite_or_refused(randomise(model, 0), images((6,)), composite)

    @pytest.mark.parametrize("composite", NAMES)
    def test_averages_of_dead_maps(self, composite: str) -> None:
        model = Lambda(
            lambda m, x: m.c(F.avg_pool2d(torch.relu(m.a(x)), 2).mean((2, 3))),
            a=nn.Conv2d(2, 4, 3, bias=False),
            c=nn.Linear(4, 3),
        )
        assert finite_or_refused(randomise(model, 0), torch.zeros(2, *IMAGE, dtype=torch.float64), composite)


class TestSizes:
    @given(ANY_NETWORK, st.sampled_from(NAMES), st.integers(-150, 150), st.sampled_from(STARTS))
    @settings(deadline=None, max_examples=60)
    def test_tiny_and_huge_weights(
        self, drawn: tuple[nn.Module, Tensor], composite: str, exponent: int, start: str
    ) -> None:
        model, x = drawn
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(10.0**exponent)
        finite_or_refused(model, x, composite, start)

    @given(ANY_NETWORK, st.sampled_from(NAMES), st.integers(-30, 20))
    @settings(deadline=None, max_examples=60)
    def test_tiny_and_huge_weights_in_single_precision(
        self, drawn: tuple[nn.Module, Tensor], composite: str, exponent: int
    ) -> None:
        model, x = drawn
        model = model.float()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(10.0**exponent)
        finite_or_refused(model, x.float(), composite)

    @pytest.mark.filterwarnings("ignore:inputs reach")
    @pytest.mark.parametrize("composite", NAMES)
    @pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e150])
    def test_tiny_and_huge_pixels(self, scale: float, composite: str) -> None:
        finite_or_refused(randomise(cnn([4]), 0), images(IMAGE) * scale, composite)

    def test_a_large_sum_of_finite_numbers_is_no_infinity(self) -> None:
        """Whether all is finite is asked of the sum first, which may itself be too large."""
        model = nn.Sequential(nn.Linear(4, 2, bias=False)).double()
        with torch.no_grad():
            model[0].weight.fill_(1.0)
        x = torch.full((3, 4), 4e307, dtype=torch.float64) * torch.tensor([1.0, 1.0, 1.0, 1.0])
        relevance = attribute(model, x, target=0, composite="lrp-0")
        assert relative_error(relevance / 1e300, x / 1e300) < 1e-12


class TestBroken:
    @pytest.mark.parametrize("composite", NAMES)
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    @pytest.mark.parametrize("layer", ["0", "3", "6", "9"])
    def test_weights_that_are_not_finite_are_named(self, layer: str, value: float, composite: str) -> None:
        model = randomise(cnn([4, 4]), 0)
        with torch.no_grad():
            model.get_submodule(layer).weight.view(-1)[0] = value
        try:
            explainer = Explainer(model, composite)
            relevance = explainer.relevance(images(IMAGE) + 0.01, 0)
        except NonFiniteRelevance as refused:
            assert_clear(refused, f"layer {layer!r}")
        else:
            assert bool(torch.isfinite(relevance).all())
            assert value == -float("inf"), "NaN and infinity cannot but come through"

    def test_a_diverged_network_is_told_with_its_first_broken_layer(self) -> None:
        model = randomise(mlp([6, 5, 5, 3]), 0)
        with torch.no_grad():
            model[3].weight[2, 1] = float("nan")
        with pytest.raises(NonFiniteRelevance, match="'3'") as refused:
            attribute(model, images((6,)) + 0.1)
        assert_clear(refused.value, "NaN")

    def test_a_denominator_too_small_names_layer_rule_and_way_out(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(2, 1)).float()
        with torch.no_grad():
            model[1].weight.copy_(torch.tensor([[1e20, -1e20]]))
            model[1].bias.fill_(1e-20)
        x = torch.tensor([[1.0, 1.0]])
        with pytest.raises(NonFiniteRelevance, match="larger epsilon") as refused:
            attribute(model, x, target=0, start="one-hot", composite="lrp-0")
        assert_clear(refused.value, "layer '1'", "Zero()", "float32")
        relevance = attribute(model, x, target=0, start="one-hot", composite=Composite(At(Epsilon(1.0))))
        assert bool(torch.isfinite(relevance).all())


class TestBox:
    @pytest.mark.parametrize(("low", "high"), [(-0.5, 1.0), (0.0, 1.5), (-3.0, 4.0)])
    def test_inputs_outside_it_are_warned_of_with_what_it_means(self, low: float, high: float) -> None:
        model, x = randomise(cnn([4]), 0), images(IMAGE)
        x[0, 0, 0, :2] = torch.tensor([low, high])
        with pytest.warns(UserWarning, match="outside the box") as caught:
            attribute(model, x, composite="epsilon-gamma-box")
        assert len(caught) == 1, "once for a batch"
        assert_clear(caught[0].message, f"{low:.3g}", f"{high:.3g}", "[0.0, 1.0]", "sign", "bounds")

    def test_inputs_inside_it_are_not(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Explainer(randomise(cnn([4]), 0), "epsilon-gamma-box").explain(images(IMAGE).round(), 1)


class TestEmpty:
    @pytest.mark.parametrize("composite", NAMES)
    @pytest.mark.parametrize("start", STARTS)
    def test_no_images_give_none(self, composite: str, start: str) -> None:
        model = randomise(cnn([4, 4], norm=True), 0)
        explanation = Explainer(model, composite).explain(images(IMAGE)[:0], None, start)
        assert explanation.relevance.shape == (0, *IMAGE)
        assert explanation.target.shape == (0,)
        assert Explainer(model, composite).relevance(images(IMAGE)[:0], "all", start).shape == (0, 4, *IMAGE)

    @pytest.mark.parametrize(
        "forward",
        [
            lambda m, x: x.permute(0, 2, 3, 1).flatten(1),
            lambda m, x: x[:, :1].flatten(1),
            lambda m, x: F.pad(x, (1, 1)).flatten(1),
            lambda m, x: F.interpolate(x, scale_factor=2).flatten(1),
            lambda m, x: F.avg_pool2d(x, 2).flatten(1),
            lambda m, x: F.adaptive_avg_pool2d(x, 1).flatten(1),
            lambda m, x: F.max_pool2d(x, 2).flatten(1),
            lambda m, x: (x + x.relu()).mean((2, 3)),
            lambda m, x: torch.cat([x, x], 1).flatten(1),
        ],
    )
    def test_whatever_the_operation(self, forward: Any) -> None:
        x = torch.zeros(0, 2, 4, 4)
        width = forward(None, torch.zeros(1, 2, 4, 4)).shape[1]
        model = Lambda(lambda m, x: m.out(forward(m, x)), out=nn.Linear(width, 3))
        assert attribute(model, x, composite="lrp-0").shape == x.shape


@given(ANY_NETWORK, st.sampled_from(NAMES), seeds)
@settings(deadline=None, max_examples=20)
def test_images_of_one_batch_keep_to_themselves(drawn: tuple[nn.Module, Tensor], composite: str, seed: int) -> None:
    """One image with absurd pixels changes nothing for the others."""
    model, x = drawn
    explainer = Explainer(model, composite)
    before = explainer.relevance(x, 0)
    absurd = torch.cat([x, x[:1] * 0, x[:1].round()])
    after = explainer.relevance(absurd, 0)[: len(x)]
    scale = 1e-6 + float(before.abs().max())
    assert float((after - before).abs().max()) < 1e-6 * scale
