"""The same relevance as zennit's and captum's, on random networks and on the project's own architectures.

Where a rule's definition differs, the other library is asked for ours: its z+ is told to leave out the bias, its
stabiliser is set to ours. zennit is LGPL and stays in tests and benchmarks.
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
from captum.attr._utils.lrp_rules import EpsilonRule, GammaRule
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.types import Convolution

from lrp_core.lrp import STARTS, Composite, Epsilon, Explainer, Gamma, Rule, ZBox, ZPlus, attribute
from lrp_core.lrp.engine import start_relevance

from .networks import ARCHITECTURE_NAMES, IMAGE, architecture, cnn, cnns, images, mlp, mlps, randomise, relative_error
from .test_rules import LAYERS, make

OUR_STABILISER = 1e-9

RULE_PAIRS: list[tuple[Rule, Callable[[], Any]]] = [
    (Epsilon(1e-6), lambda: zr.Epsilon(epsilon=1e-6)),
    (Epsilon(0.25), lambda: zr.Epsilon(epsilon=0.25)),
    (Gamma(0.25), lambda: zr.Gamma(gamma=0.25, stabilizer=OUR_STABILISER)),
    (Gamma(3.0), lambda: zr.Gamma(gamma=3.0, stabilizer=OUR_STABILISER)),
    (ZPlus(), lambda: zr.ZPlus(stabilizer=OUR_STABILISER, zero_params="bias")),
    (ZBox(-1.0, 1.0), lambda: zr.ZBox(*box(-1.0, 1.0), stabilizer=OUR_STABILISER, zero_params="bias")),
]


def box(low: float, high: float) -> tuple[Tensor, Tensor]:
    return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)


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
    """zennit's relevance of `x`, with `start` at the output of a copy of `model`."""
    x = x.clone().requires_grad_()
    with composite.context(fused(model)) as modified:
        (relevance,) = torch.autograd.grad(modified(x), x, start)
    return relevance


def z_plus_without_bias() -> list[tuple[Any, Any]]:
    return [(Convolution, zr.ZPlus(stabilizer=OUR_STABILISER, zero_params="bias"))]


def composites(x: Tensor) -> dict[str, Any]:
    """zennit's composites under our names; the box goes to the first layer of any kind."""
    own = {"epsilon": 1e-6, "stabilizer": OUR_STABILISER}
    low, high = torch.zeros_like(x), torch.ones_like(x)
    z_box = zr.ZBox(low.flatten(1), high.flatten(1), stabilizer=OUR_STABILISER, zero_params="bias")
    gamma = zr.Gamma(gamma=0.25, stabilizer=OUR_STABILISER)
    return {
        "epsilon": zc.EpsilonPlus(layer_map=[(Convolution, zr.Epsilon(1e-6))], **own),
        "epsilon-plus": zc.EpsilonPlus(layer_map=z_plus_without_bias(), **own),
        "epsilon-gamma-box": zc.EpsilonGammaBox(low=low, high=high, gamma=0.25, first_map=[(nn.Linear, z_box)], **own),
        "gamma": zc.EpsilonPlus(layer_map=[(Convolution, gamma), (nn.Linear, gamma)], **own),
    }


COMPOSITE_NAMES = sorted(composites(torch.zeros(1, 1)))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("ours", "theirs"), RULE_PAIRS, ids=[str(rule) for rule, _ in RULE_PAIRS])
def test_a_rule_on_one_layer_is_zennits(ours: Rule, theirs: Callable[[], Any], kind: str) -> None:
    """zennit's gamma takes other weights where z is negative, as no hidden ReLU unit with relevance has: left out."""
    for bias in (True, False):
        layer, step, a, r = make(kind, bias=bias, signs="signed")
        z = step(a)
        if isinstance(ours, Gamma):
            r = r * (z > 0)
        rule = theirs()
        handles = rule.register(layer)
        x = a.clone().requires_grad_()
        (expected,) = torch.autograd.grad(layer(x), x, r)
        handles.remove()
        assert relative_error(ours.prepare(step)(a, z, r), expected) < 1e-9


@given(mlps() | cnns(), st.sampled_from(COMPOSITE_NAMES), st.sampled_from(STARTS))
@settings(deadline=None, max_examples=80)
def test_random_networks_have_zennits_relevance(drawn: tuple[nn.Module, Tensor], name: str, start: str) -> None:
    model, x = drawn
    check_against_zennit(model, x, name, start)


@pytest.mark.parametrize("name", COMPOSITE_NAMES)
@pytest.mark.parametrize("model_name", ARCHITECTURE_NAMES)
def test_our_architectures_have_zennits_relevance(model_name: str, name: str) -> None:
    for start in STARTS:
        check_against_zennit(architecture(model_name), images((1, 12, 12)), name, start)


def check_against_zennit(model: nn.Module, x: Tensor, name: str, start: str) -> None:
    target, r = start_relevance(model(x).detach(), 1, start)
    if name == "gamma":
        r = r.clamp(min=0)
        ours = walk_back(model, x, name, r)
        r = r * (model(x) > 0)
    else:
        ours = attribute(model, x, target=target, composite=name, start=start)
    expected = by_zennit(model, x, r.detach(), composites(x)[name])
    assert relative_error(ours, expected) < 1e-8


def walk_back(model: nn.Module, x: Tensor, composite: str, r: Tensor) -> Tensor:
    """The engine's steps from any relevance at the output; negative logits are left out as zennit's gamma differs."""
    explainer = Explainer(model, composite)
    activations = explainer._forward(x)
    r = r * (activations[-1] > 0)
    for i in reversed(range(len(explainer.steps))):
        r = explainer._back(i, activations, r)
    return r


@pytest.mark.parametrize("name", COMPOSITE_NAMES)
def test_zennits_relevance_in_single_precision(name: str) -> None:
    model, x = architecture("cnn-32-64").float(), images((1, 12, 12)).float()
    for start in STARTS:
        _, r = start_relevance(model(x).detach(), 1, start)
        r = r * (r > 0) * (model(x) > 0).detach() if name == "gamma" else r
        expected = by_zennit(model, x, r, composites(x)[name])
        assert (
            relative_error(
                walk_back(model, x, name, r)
                if name == "gamma"
                else attribute(model, x, target=1, composite=name, start=start),
                expected,
            )
            < 1e-3
        )


def test_zennits_own_settings_differ_by_the_stabiliser_only() -> None:
    """Out of the box: its stabiliser of 1e-6 against ours of 1e-9, and biases in its z+ (here there are none)."""
    model, x = randomise(cnn([4, 4], bias=False), 0), images(IMAGE)
    _, r = start_relevance(model(x).detach(), 1, "logit")
    box_composite = zc.EpsilonGammaBox(low=torch.zeros_like(x), high=torch.ones_like(x))
    for name, theirs in (("epsilon-plus", zc.EpsilonPlus()), ("epsilon-gamma-box", box_composite)):
        expected = by_zennit(model, x, r, theirs)
        assert relative_error(attribute(model, x, target=1, composite=name), expected) < 1e-4


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_batch_norm_is_merged_as_zennits_canonizer_does(name: str) -> None:
    build: dict[str, Callable[[], nn.Module]] = {
        "mlp": lambda: mlp([8, 6, 5, 4], norm=True),
        "cnn": lambda: cnn([4, 4], norm=True, bias=False),
    }
    model = randomise(build[name](), 0)
    x = images((8,) if name == "mlp" else IMAGE)
    _, r = start_relevance(model(x).detach(), 1, "logit")
    theirs = zc.EpsilonPlus(layer_map=z_plus_without_bias(), canonizers=[SequentialMergeBatchNorm()])
    pixels = x.clone().requires_grad_()
    with theirs.context(copy.deepcopy(model)) as modified:
        (expected,) = torch.autograd.grad(modified(pixels), pixels, r)
    assert relative_error(attribute(model, x, target=1, composite="epsilon-plus"), expected) < 1e-3


@pytest.mark.parametrize("eps", [1e-6, 0.1])
def test_captums_epsilon(eps: float) -> None:
    """captum knows no Flatten, so the network takes vectors; it gives relevance over the logit, as the start is 1."""
    model = nn.Sequential(*randomise(mlp([8, 7, 6, 4]), 1)[1:])
    x, target = images((8,), n=5), torch.tensor([0, 3, 1, 2, 1])
    theirs = copy.deepcopy(model)
    for layer in theirs:
        if isinstance(layer, nn.Linear):
            layer.rule = EpsilonRule(epsilon=eps)
    expected = LRP(theirs).attribute(x.clone().requires_grad_(), target=target).detach()
    rule = Epsilon(eps)
    actual = attribute(model, x, target=target, composite=Composite(convolution=rule, dense=rule))
    assert relative_error(actual, expected) < 1e-8


def test_captums_gamma_on_non_negative_activations() -> None:
    """captum leaves the bias of a gamma layer as it is: compared without biases."""
    model = nn.Sequential(*randomise(mlp([8, 7, 6, 4], bias=False), 1)[1:])
    x = images((8,), n=5)
    target = model(x).argmax(1)
    assert (model(x).amax(1) > 0).all()
    theirs = copy.deepcopy(model)
    for layer in theirs:
        if isinstance(layer, nn.Linear):
            layer.rule = GammaRule(gamma=0.25)
    expected = LRP(theirs).attribute(x.clone().requires_grad_(), target=target).detach()
    assert relative_error(attribute(model, x, target=target, composite="gamma"), expected) < 1e-6
