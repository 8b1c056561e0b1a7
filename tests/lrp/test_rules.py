"""Every rule against an independent re-implementation from the layer's explicit matrix, in float64."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrp_core.lrp import (
    COMPOSITES,
    RULES,
    AlphaBeta,
    At,
    Composite,
    Epsilon,
    Flat,
    Gamma,
    Pass,
    Rule,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
    attribute,
)
from lrp_core.lrp.contributions import propagate
from lrp_core.lrp.relevance import Relevance
from lrp_core.lrp.ruled import OPERATION_RULES

from .networks import relative_error
from .single import (
    INSTANCES,
    LAYERS,
    SIGNS,
    Array,
    apply,
    field,
    fits,
    is_bound_for_box,
    layer_of,
    make,
    matrix,
    step_of,
)


@dataclass(frozen=True)
class Case:
    """One layer written out: weights w [k, j], bias b [k], fields [k, j], inputs a [n, j], relevance [n, k]."""

    w: Array
    b: Array
    field: Array
    a: Array
    r: Array

    @property
    def parts(self) -> Array:
        """a_j w_jk as [n, k, j]."""
        return self.a[:, None, :] * self.w

    @property
    def z(self) -> Array:
        return np.asarray(self.parts.sum(2) + self.b)


Twin = Callable[[Any, Case], Array]


def sign(x: Array) -> Array:
    return np.where(x >= 0, 1.0, -1.0)


def share_out(parts: Array, total: Array, r: Array) -> Array:
    """Relevance `r` [n, k] in proportion to `parts` [n, k, j] of `total` [n, k], which is kept 1e-12 off zero."""
    return np.asarray((parts / (total + 1e-12 * sign(total))[:, :, None] * r[:, :, None]).sum(1))


def twin_zero(rule: Zero, c: Case) -> Array:
    ratio = np.divide(c.r, c.z, out=np.zeros_like(c.r), where=c.z != 0)
    return np.asarray((c.parts * ratio[:, :, None]).sum(1))


def twin_epsilon(rule: Epsilon, c: Case) -> Array:
    return np.asarray((c.parts * (c.r / (c.z + rule.eps * sign(c.z)))[:, :, None]).sum(1))


def twin_gamma(rule: Gamma, c: Case) -> Array:
    """What pulls an output to where it is counts 1 + gamma times; the bias is one of the contributions."""
    pulls = sign(c.z)[:, :, None]
    parts = c.parts + rule.gamma * np.where(c.parts * pulls > 0, c.parts, 0)
    bias = c.b + rule.gamma * np.where(c.b * pulls[:, :, 0] > 0, c.b, 0)
    return share_out(parts, parts.sum(2) + bias, c.r)


def twin_alpha_beta(rule: AlphaBeta, c: Case) -> Array:
    """Bach et al. 2015, eq. 60, in full or without the bias."""
    up, down = np.maximum(c.parts, 0), np.minimum(c.parts, 0)
    b_up, b_down = (np.maximum(c.b, 0), np.minimum(c.b, 0)) if rule.bias else (0, 0)
    risen, fallen = up.sum(2) + b_up, down.sum(2) + b_down
    return np.asarray(
        rule.alpha * (up / (risen + 1e-12)[:, :, None] * c.r[:, :, None]).sum(1)
        - rule.beta * (down / (fallen + 1e-12 * sign(fallen))[:, :, None] * c.r[:, :, None]).sum(1)
    )


def test_alpha_beta_with_its_bias_by_hand() -> None:
    """x = (1, 1), w = (1, -1), b = -1: the falling part has -1 from the second input and -1 from the bias."""
    layer = nn.Linear(2, 1)
    layer.weight.data, layer.bias.data = torch.tensor([[1.0, -1.0]]), torch.tensor([-1.0])
    for bias, expected in ((True, [-2.0, 0.5]), (False, [-2.0, 1.0])):
        relevance = attribute(layer, torch.ones(1, 2), composite=Composite(At(AlphaBeta(2, 1, bias=bias))))
        torch.testing.assert_close(relevance, torch.tensor([expected]))


def twin_z_plus(rule: ZPlus, c: Case) -> Array:
    parts = np.maximum(c.parts, 0)
    return share_out(parts, parts.sum(2), c.r)


def twin_w_square(rule: WSquare, c: Case) -> Array:
    parts = np.broadcast_to(c.w**2, c.parts.shape)
    return share_out(parts, parts.sum(2), c.r)


def twin_flat(rule: Flat, c: Case) -> Array:
    parts = np.broadcast_to(c.field, c.parts.shape)
    return share_out(parts, parts.sum(2), c.r)


def twin_z_box(rule: ZBox, c: Case) -> Array:
    """x w - l w+ - h w- = (x - l) w+ + (x - h) w-, which has nothing that cancels."""
    x = c.a[:, None, :]
    parts = (x - per_input(rule.low, c)) * np.maximum(c.w, 0) + (x - per_input(rule.high, c)) * np.minimum(c.w, 0)
    return share_out(parts, parts.sum(2), c.r)


def per_input(bound: Any, c: Case) -> Array:
    """One bound for each channel as one for each input, channel after channel."""
    bounds = np.atleast_1d(np.asarray(bound, dtype=np.float64))
    return np.repeat(bounds, c.a.shape[1] // len(bounds))


def twin_pass(rule: Pass, c: Case) -> Array:
    return c.r


TWINS: dict[str, Twin] = {
    "lrp-0": twin_zero,
    "epsilon": twin_epsilon,
    "gamma": twin_gamma,
    "alpha-beta": twin_alpha_beta,
    "z-plus": twin_z_plus,
    "w-square": twin_w_square,
    "flat": twin_flat,
    "z-box": twin_z_box,
    "pass": twin_pass,
}

CASES = [pytest.param(name, rule, id=f"{name}: {rule}") for name in RULES for rule in INSTANCES.get(name, [])]


def twin(name: str, rule: Rule, matrices: tuple[Array, Array, Array], a: Tensor, r: Tensor) -> Tensor:
    flat = [t.double().flatten(1).numpy() for t in (a, r)]
    relevance = TWINS[name](rule, Case(*matrices, *flat))
    return torch.from_numpy(np.array(relevance)).view(a.shape)


def box_warnings(rule: Rule, a: Tensor) -> Any:
    """z-box warns, and must, of inputs outside its box; no other rule does."""
    return (
        pytest.warns(UserWarning, match="outside the box") if is_bound_for_box(rule, a) else warnings.catch_warnings()
    )


def test_every_registered_rule_has_a_twin() -> None:
    assert set(TWINS) == set(RULES), "a rule without a dense twin is not tested at all"
    assert set(INSTANCES) == set(RULES)
    for name, rules in INSTANCES.items():
        assert rules
        assert all(type(rule) is RULES[name] for rule in rules)


def test_composites_use_registered_rules_only() -> None:
    used = {type(assignment.rule) for composite in COMPOSITES.values() for assignment in composite.assignments}
    assert used <= {*RULES.values(), *(rule for rules in OPERATION_RULES.values() for rule in rules.values())}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("name", "rule"), CASES)
def test_equals_its_dense_twin(name: str, rule: Rule, kind: str) -> None:
    """Whether relevance arrives as itself or as a product with the layer's outputs."""
    if not fits(rule, kind):
        return
    for bias, signs in itertools.product((True, False), SIGNS):
        _, step, a, r = make(kind, bias=bias, signs=signs)
        z = step(a)
        for product in (False, True):
            arriving = r * (z != 0) if product else r  # where z is zero, so is a product with it
            with box_warnings(rule, a):
                actual = apply(rule, step, a, arriving, product=product)
            expected = twin(name, rule, layer_of(kind, bias)[2], a, arriving)
            assert relative_error(actual, expected) < 1e-10, f"{bias=}, {signs} inputs, {product=}"


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("name", "rule"), CASES)
def test_what_is_settled_about_signs_changes_nothing(name: str, rule: Rule, kind: str) -> None:
    """Where inputs are never negative, and only outputs above zero get relevance, shorter ways give the same."""
    if not fits(rule, kind):
        return
    _, step, a, r = make(kind, bias=True, signs="sparse")
    z = step(a)
    r = r * (z > 0)
    expected = apply(rule, step, a, r)
    parts = rule.prepare(step)
    above = [part for part in (p.for_nonnegative_outputs() for p in parts) if part is not None]
    for known in ([p.for_nonnegative_inputs() for p in parts], above, [p.for_nonnegative_inputs() for p in above]):
        for arriving in (Relevance.of(z, r), Relevance.product(z, torch.where(z == 0, 0.0, r / z))):
            assert relative_error(propagate(known, a, arriving).dense(), expected) < 1e-10


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ((-1.0, 0.0), (0.5, 2.0)),
        ((-0.9, -1.5), (0.9, 1.0)),
        (-1.0, (1.0, 3.0)),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["conv", "conv, padding", "conv1d", "transposed", "batch-norm 3d"])
def test_z_box_with_bounds_for_each_channel(kind: str, low: Any, high: Any) -> None:
    rule = ZBox(low, high)
    for signs in SIGNS:
        _, step, a, r = make(kind, bias=True, signs=signs)
        with box_warnings_of_channels(rule, a):
            actual = apply(rule, step, a, r)
        assert relative_error(actual, twin("z-box", rule, layer_of(kind, True)[2], a, r)) < 1e-10


def box_warnings_of_channels(rule: ZBox, a: Tensor) -> Any:
    low, high = (torch.as_tensor(bound, dtype=a.dtype).view(-1, *[1] * (a.ndim - 2)) for bound in (rule.low, rule.high))
    outside = bool(((a < low) | (a > high)).any())
    return pytest.warns(UserWarning, match="outside the box") if outside else warnings.catch_warnings()


@pytest.mark.parametrize("kind", LAYERS)
def test_a_traced_layer_computes_what_the_layer_computes(kind: str) -> None:
    for bias in (True, False):
        layer, step, a, s = make(kind, bias=bias, signs="signed")
        assert relative_error(step(a), layer(a).detach()) < 1e-14
        w = layer_of(kind, bias)[2][0]
        assert relative_error(step.pullback(s, a).flatten(1), torch.from_numpy(s.flatten(1).numpy() @ w)) < 1e-12
        assert step.kind == kind_of(layer)
        assert step.outputs == (s.shape[-1] if step.kind == "dense" else s.shape[1])


def kind_of(layer: nn.Module) -> str:
    return {"Linear": "dense", "BatchNorm1d": "scale", "BatchNorm2d": "scale", "BatchNorm3d": "scale"}.get(
        type(layer).__name__, "convolution"
    )


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
    relevance = apply(ZBox(0.0, 1.0), step_of(layer), a, r)
    matrices = (*matrix(layer.double(), (9,)), field(layer, (9,)))
    assert relative_error(relevance, twin("z-box", ZBox(0.0, 1.0), matrices, a, r)) < 1e-4
