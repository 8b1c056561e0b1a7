"""The same relevance as zennit's and captum's, rule by rule on single layers, and on whole random networks.

Where a definition differs, the other library is asked for ours: its z+, alpha-beta, z-box and w-square are told to
leave out the bias, its stabiliser is set to ours. zennit is LGPL and stays in tests and benchmarks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import zennit.composites as zc
import zennit.rules as zr
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.layer import Sum
from zennit.types import Activation, AvgPool, Convolution, Linear

from lrp_core.lrp import (
    STARTS,
    AlphaBeta,
    At,
    Composite,
    Epsilon,
    Explainer,
    Flat,
    Gamma,
    Pass,
    Rule,
    WSquare,
    ZBox,
    ZPlus,
    attribute,
)
from lrp_core.lrp.starts import start_relevance

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
)
from .single import LAYERS, apply, fits, make

pytestmark = pytest.mark.slow

OURS: dict[str, Any] = {"stabilizer": 1e-12}
NO_BIAS: dict[str, Any] = {"stabilizer": 1e-12, "zero_params": "bias"}


def box(low: float, high: float) -> tuple[Tensor, Tensor]:
    return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)


RULE_PAIRS: list[tuple[Rule, Callable[[], Any]]] = [
    (Epsilon(1e-6), lambda: zr.Epsilon(epsilon=1e-6)),
    (Epsilon(0.25), lambda: zr.Epsilon(epsilon=0.25)),
    (Gamma(0.25), lambda: zr.Gamma(gamma=0.25, **OURS)),
    (Gamma(3.0), lambda: zr.Gamma(gamma=3.0, **OURS)),
    (AlphaBeta(2.0, 1.0), lambda: zr.AlphaBeta(2.0, 1.0, **NO_BIAS)),
    (AlphaBeta(1.0, 0.0), lambda: zr.AlphaBeta(1.0, 0.0, **NO_BIAS)),
    (AlphaBeta(3.5, 2.5), lambda: zr.AlphaBeta(3.5, 2.5, **NO_BIAS)),
    (ZPlus(), lambda: zr.ZPlus(**NO_BIAS)),
    (WSquare(), lambda: zr.WSquare(**NO_BIAS)),
    (Flat(), lambda: zr.Flat(**OURS)),
    (ZBox(-1.0, 1.0), lambda: zr.ZBox(*box(-1.0, 1.0), **NO_BIAS)),
    (Pass(), zr.Pass),
]


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if not kind.startswith("batch-norm")])
@pytest.mark.parametrize(("ours", "theirs"), RULE_PAIRS, ids=[str(rule) for rule, _ in RULE_PAIRS])
def test_a_rule_on_one_layer_is_zennits(ours: Rule, theirs: Callable[[], Any], kind: str) -> None:
    """For inputs, outputs and relevance of both signs; zennit leaves out outputs of exactly zero under gamma."""
    if not fits(ours, kind):
        return
    for bias in (True, False):
        layer, step, a, r = make(kind, bias=bias, signs="signed")
        r = r * (step(a) != 0)
        layer, rule = copy.deepcopy(layer), theirs()
        handles = rule.register(layer)
        x = a.clone().requires_grad_()
        (expected,) = torch.autograd.grad(layer(x), x, r)
        handles.remove()
        assert relative_error(apply(ours, step, a, r), expected) < 1e-9


def fused(model: nn.Module) -> nn.Sequential:
    """A copy of `model` with every batch-norm folded by torch's own functions.

    zennit's canonizer leaves a batch-norm with its eps of 1e-5 behind, which is felt in the sixth digit.
    """
    layers: list[nn.Module] = []
    for layer in copy.deepcopy(model).children():
        if isinstance(layer, nn.BatchNorm2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        elif isinstance(layer, nn.BatchNorm1d):
            layers[-1] = fuse_linear_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


def by_zennit(model: nn.Module, x: Tensor, start: Tensor, composite: Any) -> Tensor:
    """zennit's relevance of `x`, with `start` at the output of `model`, which it is given a copy of."""
    x = x.clone().requires_grad_()
    with composite.context(copy.deepcopy(model)) as modified:
        (relevance,) = torch.autograd.grad(modified(x), x, start)
    return relevance


def composites(x: Tensor) -> dict[str, Any]:
    """zennit's composites under our names; a special first layer may be of any kind, as ours may."""
    own = {"epsilon": 1e-6, "stabilizer": 1e-12}
    low, high = torch.zeros_like(x), torch.ones_like(x)
    z_box = zr.ZBox(low.flatten(1), high.flatten(1), **NO_BIAS)
    z_box_of_maps = zr.ZBox(low, high, **NO_BIAS)
    gamma, plus, alpha_beta = (
        zr.Gamma(gamma=0.25, **OURS),
        zr.ZPlus(**NO_BIAS),
        zr.AlphaBeta(2, 1, **NO_BIAS),
    )
    first = [(Convolution, z_box_of_maps), (nn.Linear, z_box)]
    return {
        "epsilon": zc.EpsilonPlus(layer_map=[(Convolution, zr.Epsilon(1e-6))], **own),
        "epsilon-plus": zc.EpsilonPlus(layer_map=[(Convolution, plus)], **own),
        "epsilon-plus-flat": zc.EpsilonPlusFlat(layer_map=[(Convolution, plus)], **own),
        "epsilon-gamma-box": zc.EpsilonGammaBox(low=low, high=high, gamma=0.25, first_map=first, **own),
        "epsilon-alpha2-beta1": zc.EpsilonAlpha2Beta1(layer_map=[(Convolution, alpha_beta)], **own),
        "epsilon-alpha2-beta1-flat": zc.EpsilonAlpha2Beta1Flat(layer_map=[(Convolution, alpha_beta)], **own),
        "gamma": zc.EpsilonPlus(layer_map=[(Convolution, gamma), (nn.Linear, gamma)], **own),
        "w2": zc.EpsilonPlusFlat(layer_map=[(Convolution, plus)], first_map=[(Linear, zr.WSquare(**NO_BIAS))], **own),
    }


COMPOSITE_NAMES = sorted(composites(torch.zeros(1, 1)))


def check_against_zennit(model: nn.Module, x: Tensor, name: str, start: str, tolerance: float = 1e-8) -> None:
    target, r = start_relevance(model(x).detach(), 1, start)
    ours = attribute(model, x, target=target, composite=name, start=start)
    expected = by_zennit(fused(model), x, r.dense(), composites(x)[name])
    if name == "gamma" and bool((model(x) == 0).any()):
        return  # an output of exactly zero, with relevance, is nobody's in zennit
    assert float((ours - expected).abs().max()) <= tolerance * max(float(expected.abs().max()), 1e-3)


@given(mlps() | cnns(), st.sampled_from(COMPOSITE_NAMES), st.sampled_from(STARTS))
@settings(deadline=None, max_examples=80)
def test_random_networks_have_zennits_relevance(drawn: tuple[nn.Module, Tensor], name: str, start: str) -> None:
    check_against_zennit(*drawn, name, start)


@given(mlps() | cnns(), st.sampled_from(COMPOSITE_NAMES), st.sampled_from(STARTS))
@settings(deadline=None, max_examples=60)
def test_our_single_precision_is_within_1e_5(drawn: tuple[nn.Module, Tensor], name: str, start: str) -> None:
    """Of zennit in double precision, where the network is well conditioned: no denominator close to zero."""
    model, x = drawn
    explanation = Explainer(model, name).explain(x, 1, start)
    largest = max(float(r.abs().max()) for r in explanation.layers.values())
    smallest = min(float(z.abs().min()) for z in outputs_of(fused(model), x))
    assume(smallest > 1e-2 and bool(explanation.relevance.any()))
    _, r = start_relevance(model(x).detach(), 1, start)
    expected = by_zennit(fused(model), x, r.dense(), composites(x)[name])
    single = attribute(copy.deepcopy(model).float(), x.float(), target=1, composite=name, start=start)
    assert single.dtype == torch.float32
    assert relative_error(single, expected) < 1e-5 * (1 + largest / float(expected.abs().max()))


def outputs_of(model: nn.Sequential, x: Tensor) -> list[Tensor]:
    """What every layer with weights gives."""
    found = []
    with torch.no_grad():
        for layer in model:
            x = layer(x)
            if isinstance(layer, nn.Linear | nn.Conv2d):
                found.append(x)
    return found


@pytest.mark.parametrize("name", COMPOSITE_NAMES)
@pytest.mark.parametrize("model_name", ARCHITECTURE_NAMES)
def test_our_architectures_have_zennits_relevance(model_name: str, name: str) -> None:
    for start in STARTS:
        check_against_zennit(architecture(model_name), images((1, 12, 12)), name, start)


def test_zennits_own_settings_differ_by_the_stabiliser_only() -> None:
    """Out of the box: its stabiliser of 1e-6 against ours of 1e-9, and biases in its z+ (here there are none)."""
    model, x = randomise(cnn([4, 4], bias=False), 0), images(IMAGE)
    r = start_relevance(model(x).detach(), 1, "logit")[1].dense()
    theirs = {
        "epsilon-plus": zc.EpsilonPlus(),
        "epsilon-plus-flat": zc.EpsilonPlusFlat(),
        "epsilon-alpha2-beta1": zc.EpsilonAlpha2Beta1(),
        "epsilon-alpha2-beta1-flat": zc.EpsilonAlpha2Beta1Flat(),
        "epsilon-gamma-box": zc.EpsilonGammaBox(low=torch.zeros_like(x), high=torch.ones_like(x)),
    }
    for name, composite in theirs.items():
        expected = by_zennit(model, x, r, composite)
        assert relative_error(attribute(model, x, target=1, composite=name), expected) < 1e-3


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_batch_norm_is_merged_as_zennits_canonizer_does(name: str) -> None:
    build: dict[str, Callable[[], nn.Module]] = {
        "mlp": lambda: mlp([8, 6, 5, 4], norm=True),
        "cnn": lambda: cnn([4, 4], norm=True, bias=False),
    }
    model = randomise(build[name](), 0)
    x = images((8,) if name == "mlp" else IMAGE)
    r = start_relevance(model(x).detach(), 1, "logit")[1].dense()
    plus = [(Convolution, zr.ZPlus(**NO_BIAS))]
    theirs = zc.EpsilonPlus(layer_map=plus, canonizers=[SequentialMergeBatchNorm()])
    expected = by_zennit(model, x, r, theirs)
    assert relative_error(attribute(model, x, target=1, composite="epsilon-plus"), expected) < 1e-3


# Other layers, pooling, and sums


def zennit_map(rule: Any) -> Any:
    """`rule` at every layer with weights; averages and sums by contribution, without a stabiliser to be felt."""
    norm = zr.Norm(stabilizer=1e-14)
    return zc.LayerMapComposite([(Activation, zr.Pass()), (Sum, norm), (AvgPool, norm), (Linear, rule)])


POOLED: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...]]] = {
    "series": (
        lambda: nn.Sequential(
            *(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.AvgPool1d(2), nn.Conv1d(4, 3, 2), nn.Tanh(), nn.MaxPool1d(2)),
            *(nn.Flatten(), nn.Linear(3, 3)),
        ),
        (2, 9),
    ),
    "images": (
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AvgPool2d(3, 2, 1), nn.Conv2d(4, 3, 2), nn.LeakyReLU(0.2)),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)),
        ),
        (2, 8, 8),
    ),
    "volumes": (
        lambda: nn.Sequential(
            *(nn.Conv3d(1, 3, 2), nn.ELU(), nn.MaxPool3d(2), nn.Conv3d(3, 2, 1), nn.GELU()),
            *(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 3)),
        ),
        (1, 5, 5, 7),
    ),
    "transposed": (
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 2, 2), nn.SiLU(), nn.ConvTranspose2d(4, 2, 3, 2, 1, 1), nn.Sigmoid()),
            *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 3)),
        ),
        (2, 6, 6),
    ),
}
SIGNED_PAIRS = [pair for pair in RULE_PAIRS if not isinstance(pair[0], Pass | ZBox)]


@pytest.mark.parametrize(("ours", "theirs"), SIGNED_PAIRS, ids=[str(rule) for rule, _ in SIGNED_PAIRS])
@pytest.mark.parametrize("name", POOLED)
def test_networks_over_series_images_and_volumes(name: str, ours: Rule, theirs: Callable[[], Any]) -> None:
    build, shape = POOLED[name]
    model, x = randomise(build(), 3), images(shape) - 0.4
    r = start_relevance(model(x).detach(), 1, "logit")[1].dense()
    expected = by_zennit(model, x, r, zennit_map(theirs()))
    actual = Explainer(model, Composite(At(ours))).relevance(x, 1)
    assert relative_error(actual, expected) < 1e-7


class Residual(nn.Module):
    """x + body(x), with zennit's module for the sum, which ours is spelt without."""

    def __init__(self, explicit: bool, seed: int) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))
        self.head, self.explicit = nn.Linear(4, 3), explicit
        self.sums = nn.ModuleList(Sum() for _ in range(2))  # zennit cannot take one module twice
        self.pool = nn.AdaptiveAvgPool2d(1)
        randomise(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relus[0](self.stem(x))
        for i, layer in enumerate((self.a, self.b)):
            other = layer(h)
            h = self.relus[i + 1](self.sums[i](torch.stack([h, other], -1)) if self.explicit else h + other)
        return self.head(self.pool(h).flatten(1))


@pytest.mark.parametrize(("ours", "theirs"), SIGNED_PAIRS, ids=[str(rule) for rule, _ in SIGNED_PAIRS])
@pytest.mark.parametrize("seed", [0, 1])
def test_residual_sums_are_split_by_contribution(seed: int, ours: Rule, theirs: Callable[[], Any]) -> None:
    x = images((2, 7, 7)) - 0.3
    shown, spelt = Residual(True, seed), Residual(False, seed)
    torch.testing.assert_close(shown(x), spelt(x))
    r = start_relevance(spelt(x).detach(), 1, "logit")[1].dense()
    expected = by_zennit(shown, x, r, zennit_map(theirs()))
    assert relative_error(Explainer(spelt, Composite(At(ours))).relevance(x, 1), expected) < 1e-7


# captum


def by_captum(model: nn.Module, x: Tensor, target: Tensor, rule: Callable[[], Any], kinds: Any) -> Tensor:
    theirs = copy.deepcopy(model)
    for layer in theirs.modules():
        if isinstance(layer, kinds):
            layer.rule = rule()
    relevance: Tensor = LRP(theirs).attribute(x.clone().requires_grad_(), target=target)
    return relevance.detach()


@pytest.mark.parametrize("eps", [1e-6, 0.1])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_captums_epsilon(seed: int, eps: float) -> None:
    """captum knows no Flatten, so the network takes vectors."""
    model = nn.Sequential(*randomise(mlp([8, 7, 6, 4]), seed)[1:])
    x, target = images((8,), n=5), torch.tensor([0, 3, 1, 2, 1])
    expected = by_captum(model, x, target, lambda: EpsilonRule(epsilon=eps), nn.Linear)
    actual = attribute(model, x, target=target, composite=Composite(At(Epsilon(eps))))
    assert relative_error(actual, expected) < 1e-8


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_captums_gamma_on_non_negative_activations(seed: int) -> None:
    """captum leaves the bias of a gamma layer as it is, and outputs below zero: compared without either."""
    model = nn.Sequential(*randomise(mlp([8, 7, 6, 4], bias=False), seed)[1:])
    x = images((8,), n=5)
    target = model(x).argmax(1)
    keep = model(x).amax(1) > 0.01
    assert keep.any()
    expected = by_captum(model, x, target, lambda: GammaRule(gamma=0.25), nn.Linear)[keep]
    assert relative_error(attribute(model, x, target=target, composite="gamma")[keep], expected) < 1e-6


@pytest.mark.parametrize("seed", [1, 2])
def test_captums_alpha_1_beta_0(seed: int) -> None:
    """On inputs that are not negative, with biases set to zero: there it is z+."""
    model = nn.Sequential(*randomise(mlp([8, 7, 6, 4]), seed)[1:])
    x = images((8,), n=5)
    expected = by_captum(model, x, torch.full((5,), 1), lambda: Alpha1_Beta0_Rule(set_bias_to_zero=True), nn.Linear)
    actual = attribute(model, x, target=1, composite=Composite(At(ZPlus())))
    assert relative_error(actual, expected) < 1e-6


def test_captums_convolutions_and_average_pooling() -> None:
    model = Lambda(
        lambda m, x: m.out(m.pool(m.relu(m.conv(x))).flatten(1)),
        conv=nn.Conv2d(2, 4, 3),
        relu=nn.ReLU(),
        pool=nn.AvgPool2d(2),
        out=nn.Linear(64, 3),
    )
    model, x = randomise(model, 2), images(IMAGE)
    expected = by_captum(model, x, torch.full((3,), 1), lambda: EpsilonRule(1e-9), (nn.Conv2d, nn.Linear, nn.AvgPool2d))
    actual = attribute(model, x, target=1, composite=Composite(At(Epsilon(1e-9))))
    assert relative_error(actual, expected) < 1e-6
