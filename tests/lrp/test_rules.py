"""Every rule against an independent re-implementation from the layer's explicit matrix, in float64."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lrp_core.errors import InputError
from lrp_core.lrp import COMPOSITES, RULES, Epsilon, Gamma, Rule, ZBox, Zero, ZPlus
from lrp_core.lrp.graph import Affine, trace
from lrp_core.lrp.rules import STABILISER, stabilise

from .networks import relative_error

Array = np.ndarray[Any, Any]
Twin = Callable[[Any, Array, Array, Array, Array], Array]

LAYERS: dict[str, tuple[Callable[[bool], nn.Module], tuple[int, ...]]] = {
    "dense": (lambda b: nn.Linear(7, 5, bias=b), (7,)),
    "dense, one output": (lambda b: nn.Linear(6, 1, bias=b), (6,)),
    "dense, one input": (lambda b: nn.Linear(1, 4, bias=b), (1,)),
    "dense over a sequence": (lambda b: nn.Linear(4, 3, bias=b), (2, 4)),
    "conv": (lambda b: nn.Conv2d(2, 3, 3, bias=b), (2, 5, 6)),
    "conv 1x1": (lambda b: nn.Conv2d(3, 2, 1, bias=b), (3, 4, 3)),
    "conv of the full size": (lambda b: nn.Conv2d(2, 3, (4, 5), bias=b), (2, 4, 5)),
    "conv, padding": (lambda b: nn.Conv2d(2, 3, 3, padding=1, bias=b), (2, 4, 5)),
    "conv, wide padding": (lambda b: nn.Conv2d(1, 2, 3, padding=(2, 1), bias=b), (1, 4, 4)),
    "conv, stride": (lambda b: nn.Conv2d(2, 3, 3, stride=2, bias=b), (2, 7, 7)),
    "conv, stride with a rest": (lambda b: nn.Conv2d(2, 3, 3, stride=(2, 3), padding=1, bias=b), (2, 6, 8)),
    "conv, dilation": (lambda b: nn.Conv2d(2, 2, 3, dilation=2, bias=b), (2, 6, 7)),
    "conv, groups": (lambda b: nn.Conv2d(4, 6, 3, groups=2, bias=b), (4, 4, 4)),
    "conv, depthwise": (lambda b: nn.Conv2d(3, 6, 2, groups=3, stride=2, bias=b), (3, 5, 4)),
    "conv, even kernel": (lambda b: nn.Conv2d(1, 2, (2, 4), padding=(1, 0), bias=b), (1, 4, 6)),
    "conv, padding same": (lambda b: nn.Conv2d(2, 2, (3, 5), padding="same", dilation=(2, 1), bias=b), (2, 6, 5)),
    "conv, padding valid": (lambda b: nn.Conv2d(2, 2, 3, padding="valid", bias=b), (2, 4, 5)),
    "conv, everything": (
        lambda b: nn.Conv2d(4, 4, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=2, bias=b),
        (4, 6, 6),
    ),
}

INSTANCES: dict[str, list[Rule]] = {
    "lrp-0": [Zero()],
    "epsilon": [Epsilon(), Epsilon(0.5)],
    "gamma": [Gamma(), Gamma(0.0), Gamma(30.0)],
    "z-plus": [ZPlus()],
    "z-box": [ZBox(), ZBox(-1.0, 1.0), ZBox(-2.0, 3.0)],
}

SIGNS = ("non-negative", "signed", "negative", "sparse")


def sign(x: Array) -> Array:
    return np.where(x >= 0, 1.0, -1.0)


def share_out(parts: Array, total: Array, r: Array) -> Array:
    """Relevance `r` [n, k] in proportion to `parts` [n, k, j] of `total` [n, k]."""
    return np.asarray((parts / total[:, :, None] * r[:, :, None]).sum(1))


def twin_zero(rule: Zero, w: Array, b: Array, a: Array, r: Array) -> Array:
    parts = a[:, None, :] * w
    z = parts.sum(2) + b
    return share_out(parts, np.where(z == 0, 1, z), np.where(z == 0, 0, r))


def twin_epsilon(rule: Epsilon, w: Array, b: Array, a: Array, r: Array) -> Array:
    parts = a[:, None, :] * w
    z = parts.sum(2) + b
    return share_out(parts, z + rule.eps * sign(z), r)


def twin_gamma(rule: Gamma, w: Array, b: Array, a: Array, r: Array) -> Array:
    """Contributions that raise the output count 1 + gamma times; the bias is one of them."""
    parts = a[:, None, :] * w
    parts = parts + rule.gamma * np.maximum(parts, 0)
    total = parts.sum(2) + b + rule.gamma * np.maximum(b, 0)
    return share_out(parts, total + 1e-9 * sign(total), r)


def twin_z_plus(rule: ZPlus, w: Array, b: Array, a: Array, r: Array) -> Array:
    parts = np.maximum(a[:, None, :] * w, 0)
    return share_out(parts, parts.sum(2) + 1e-9, r)


def twin_z_box(rule: ZBox, w: Array, b: Array, a: Array, r: Array) -> Array:
    """x w - l w+ - h w- = (x - l) w+ + (x - h) w-, which has nothing that cancels."""
    x = a[:, None, :]
    parts = (x - rule.low) * np.maximum(w, 0) + (x - rule.high) * np.minimum(w, 0)
    total = parts.sum(2)
    return share_out(parts, total + 1e-9 * sign(total), r)


TWINS: dict[str, Twin] = {
    "lrp-0": twin_zero,
    "epsilon": twin_epsilon,
    "gamma": twin_gamma,
    "z-plus": twin_z_plus,
    "z-box": twin_z_box,
}

CASES = [pytest.param(name, rule, id=f"{name}: {rule}") for name in RULES for rule in INSTANCES.get(name, [])]


def matrix(layer: nn.Module, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The layer as W [outputs, inputs], column by column from unit vectors, and its bias b [outputs]."""
    size = int(np.prod(shape))
    with torch.no_grad():
        shift = layer(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
        columns = layer(torch.eye(size, dtype=torch.float64).view(size, *shape)).flatten(1) - shift
    return columns.T.numpy(), shift.numpy()


def twin(name: str, rule: Rule, layer: nn.Module, a: Tensor, r: Tensor) -> Tensor:
    w, b = matrix(layer, tuple(a.shape[1:]))
    relevance = TWINS[name](rule, w, b, a.double().flatten(1).numpy(), r.double().flatten(1).numpy())
    return torch.from_numpy(relevance).view(a.shape)


def make(kind: str, *, bias: bool, signs: str, n: int = 3, seed: int = 0) -> tuple[nn.Module, Affine, Tensor, Tensor]:
    """A layer of that kind in float64, the step that `trace` makes of it, inputs, and relevance at its outputs."""
    build, shape = LAYERS[kind]
    torch.manual_seed(seed)
    layer = build(bias).double()
    a = torch.rand(n, *shape, dtype=torch.float64) * 1.8 - 0.9
    a = {"non-negative": a.abs(), "signed": a, "negative": -a.abs(), "sparse": a.clamp(min=0)}[signs]
    (step,) = trace(nn.Sequential(layer))
    assert isinstance(step.operation, Affine)
    return layer, step.operation, a, torch.randn_like(step.operation(a))


def test_every_registered_rule_has_a_twin() -> None:
    assert set(TWINS) == set(RULES), "a rule without a dense twin is not tested at all"
    assert set(INSTANCES) == set(RULES)
    for name, rules in INSTANCES.items():
        assert rules
        assert all(type(rule) is RULES[name] for rule in rules)


def test_composites_use_registered_rules_only() -> None:
    for composite in COMPOSITES.values():
        used = {composite.convolution, composite.dense} | ({composite.first} - {None})
        assert {type(rule) for rule in used} <= set(RULES.values())


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("name", "rule"), CASES)
def test_equals_its_dense_twin(name: str, rule: Rule, kind: str) -> None:
    for bias, signs in itertools.product((True, False), SIGNS):
        layer, step, a, r = make(kind, bias=bias, signs=signs)
        expected = twin(name, rule, layer, a, r)
        actual = rule.prepare(step)(a, step(a), r)
        assert relative_error(actual, expected) < 1e-10, f"{bias=}, {signs} inputs"


@pytest.mark.parametrize("kind", LAYERS)
def test_a_traced_layer_computes_what_the_layer_computes(kind: str) -> None:
    layer, step, a, s = make(kind, bias=True, signs="signed")
    assert torch.equal(step(a), layer(a))
    w, _ = matrix(layer, tuple(a.shape[1:]))
    assert relative_error(step.pullback(s, a).flatten(1), torch.from_numpy(s.flatten(1).numpy() @ w)) < 1e-12


@pytest.mark.parametrize(("name", "rule"), CASES)
@pytest.mark.parametrize("kind", ["dense", "conv, everything"])
def test_an_input_of_zeros_gives_finite_relevance(name: str, rule: Rule, kind: str) -> None:
    """Without a bias every z is exactly zero: nothing may divide by it. Only z-box gives zero pixels relevance."""
    _, step, a, r = make(kind, bias=False, signs="signed")
    relevance = rule.prepare(step)(torch.zeros_like(a), step(torch.zeros_like(a)), r)
    assert torch.isfinite(relevance).all()
    if name != "z-box":
        assert not relevance.any()


@pytest.mark.parametrize(("name", "rule"), CASES)
@pytest.mark.parametrize("kind", ["dense", "conv, stride with a rest", "conv, groups"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_relevance_is_conserved_up_to_bias_and_epsilon(name: str, rule: Rule, kind: str, bias: bool) -> None:
    """What left is what arrived, less exactly the share of the bias and of epsilon in each denominator."""
    layer, step, a, r = make(kind, bias=bias, signs="non-negative")
    w, b = matrix(layer, tuple(a.shape[1:]))
    z = a.flatten(1).numpy() @ w.T + b
    match rule:
        case Epsilon(eps):
            absorbed = (b + eps * sign(z)) / (z + eps * sign(z))
        case Zero():
            absorbed = b / z
        case Gamma(gamma):
            raised = b + gamma * np.maximum(b, 0)
            absorbed = raised / (a.flatten(1).numpy() @ (w + gamma * np.maximum(w, 0)).T + raised)
        case _:
            absorbed = np.zeros_like(z)
    left = rule.prepare(step)(a, step(a), r).flatten(1).sum(1).numpy()
    passed_on = r.flatten(1).numpy() * (1 - absorbed)
    scale = float(np.abs(passed_on).sum())
    np.testing.assert_allclose(left, passed_on.sum(1), rtol=0, atol=1e-5 * scale)
    if name in {"z-plus", "z-box"} or (not bias and name != "epsilon"):
        np.testing.assert_allclose(left, r.flatten(1).sum(1).numpy(), rtol=0, atol=1e-5 * scale)


def test_z_box_holds_where_pixels_stand_at_the_ends_of_the_box() -> None:
    """Black where the weights are positive and white where they are negative: the denominator is zero.

    A rounding error must not be divided by the stabiliser there; in single precision it would drown everything.
    """
    torch.manual_seed(0)
    layer = nn.Linear(9, 4, bias=False)
    a = torch.rand(6, 9)
    for k in range(4):
        a[k] = (layer.weight[k] < 0).float()
    r = torch.randn(6, 4)
    (step,) = trace(nn.Sequential(layer))
    assert isinstance(step.operation, Affine)
    relevance = ZBox(0.0, 1.0).prepare(step.operation)(a, step.operation(a), r)
    expected = twin("z-box", ZBox(0.0, 1.0), copy.deepcopy(layer).double(), a, r)
    assert relative_error(relevance, expected) < 1e-4


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_relevance_is_linear_in_what_arrives(name: str, rule: Rule) -> None:
    _, step, a, r = make("conv, padding", bias=True, signs="signed")
    other = torch.randn_like(r)
    propagate = rule.prepare(step)
    z = step(a)
    both = propagate(a, z, 2 * r - 3 * other)
    assert relative_error(both, 2 * propagate(a, z, r) - 3 * propagate(a, z, other)) < 1e-9


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_images_of_both_signs_do_not_influence_each_other(name: str, rule: Rule) -> None:
    """One negative input in the batch must not change the relevance of the other images."""
    _, step, a, r = make("conv, padding", bias=True, signs="non-negative", n=4)
    a[2] = -a[2]
    propagate = rule.prepare(step)
    together = propagate(a, step(a), r)
    for i in range(4):
        alone = propagate(a[i : i + 1], step(a[i : i + 1]), r[i : i + 1])
        assert relative_error(together[i : i + 1], alone) < 1e-12


@pytest.mark.parametrize(("name", "rule"), CASES)
@pytest.mark.parametrize("kind", ["dense", "conv, everything"])
def test_a_rule_changes_neither_weights_nor_inputs(name: str, rule: Rule, kind: str) -> None:
    layer, step, a, r = make(kind, bias=True, signs="signed")
    z = step(a)
    watched = [*layer.parameters(), a, z, r]
    before = [t.detach().clone() for t in watched]
    rule.prepare(step)(a, z, r)
    assert all(torch.equal(now, then) for now, then in zip(watched, before, strict=True))


@pytest.mark.parametrize("rule", [Gamma(0.0), Epsilon(1e-9)], ids=str)
def test_gamma_of_zero_and_a_tiny_epsilon_are_lrp_0(rule: Rule) -> None:
    _, step, a, r = make("conv, padding", bias=True, signs="signed")
    z = step(a)
    assert relative_error(rule.prepare(step)(a, z, r), Zero().prepare(step)(a, z, r)) < 1e-4


def test_large_gamma_approaches_z_plus() -> None:
    _, step, a, r = make("dense", bias=False, signs="signed")
    far = Gamma(1e7).prepare(step)(a, step(a), r)
    assert relative_error(far, ZPlus().prepare(step)(a, step(a), r)) < 1e-5


def test_z_plus_and_z_box_keep_the_sign_of_what_arrives() -> None:
    _, step, a, r = make("conv, padding", bias=True, signs="non-negative")
    for rule in (ZPlus(), ZBox()):
        assert (rule.prepare(step)(a, step(a), r.abs()) >= 0).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8), st.floats(1e-9, 1.0))
@settings(deadline=None, max_examples=40)
def test_stabilise_keeps_the_sign_and_a_distance_from_zero(values: list[float], eps: float) -> None:
    z = torch.tensor(values, dtype=torch.float64)
    safe = stabilise(z, eps)
    assert (safe.abs() >= eps * (1 - 1e-12)).all()
    assert torch.equal(safe >= 0, z >= 0)
    torch.testing.assert_close(safe.abs(), z.abs() + eps)


def test_stabilise_takes_zero_of_either_sign_as_positive() -> None:
    assert stabilise(torch.tensor([0.0, -0.0]), 0.5).tolist() == [0.5, 0.5]
    assert STABILISER == 1e-9


@pytest.mark.parametrize(
    ("make_rule", "says"),
    [
        (lambda: Epsilon(0.0), "0.0"),
        (lambda: Epsilon(-1e-6), "-1e-06"),
        (lambda: Epsilon(float("nan")), "nan"),
        (lambda: Gamma(-0.1), "-0.1"),
        (lambda: Gamma(float("nan")), "nan"),
        (lambda: ZBox(1.0, 0.0), "1.0"),
        (lambda: ZBox(0.5, 0.5), "0.5"),
        (lambda: ZBox(float("nan"), 1.0), "nan"),
    ],
)
def test_impossible_parameters_are_refused(make_rule: Callable[[], Rule], says: str) -> None:
    with pytest.raises(InputError) as refused:
        make_rule()
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
