"""What theory says of each rule: conservation, linearity, limits; and which parameters it cannot have."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrp_core.errors import InputError
from lrp_core.lrp import RULES, AlphaBeta, Epsilon, Flat, Gamma, Pass, Rule, WSquare, ZBox, Zero, ZPlus
from lrp_core.lrp.contributions import STABILISER, absorbed, propagate
from lrp_core.lrp.relevance import Relevance, stabilise

from .networks import assert_clear, relative_error
from .single import INSTANCES, apply, fits, make, matrix
from .test_rules import sign

CASES = [pytest.param(name, rule, id=f"{name}: {rule}") for name in RULES for rule in INSTANCES.get(name, [])]
LAYER_OF_EACH_KIND = ["dense, square", "conv, square", "conv, everything", "transposed, stride", "batch-norm 2d"]


@pytest.mark.parametrize(("name", "rule"), CASES)
@pytest.mark.parametrize("kind", ["dense", "dense, square", "conv, everything", "transposed, groups"])
def test_an_input_of_zeros_gives_finite_relevance(name: str, rule: Rule, kind: str) -> None:
    """Without a bias every z is exactly zero: nothing may divide by it. Rules that say so give zero pixels none."""
    if not fits(rule, kind):
        return
    _, step, a, r = make(kind, bias=False, signs="signed")
    relevance = apply(rule, step, torch.zeros_like(a), r)
    assert torch.isfinite(relevance).all()
    assert bool(relevance.any()) is not all(part.proportional for part in rule.prepare(step))


def test_rules_that_give_to_zeros_are_known() -> None:
    """The engine lets a ReLU overwrite its input only under rules that ask for nothing at zeros."""
    _, step, *_ = make("dense, square", bias=True, signs="signed")
    giving = {n for n, rule in RULES.items() if not all(part.proportional for part in rule().prepare(step))}
    assert giving == {"w-square", "flat", "z-box", "pass"}


@pytest.mark.parametrize(("name", "rule"), CASES)
@pytest.mark.parametrize("kind", ["dense, square", "conv, stride with a rest", "conv, groups", "transposed, groups"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_relevance_is_conserved_up_to_bias_and_epsilon(name: str, rule: Rule, kind: str, bias: bool) -> None:
    """What left is what arrived, less exactly the share of the bias and of epsilon in each denominator."""
    if not fits(rule, kind):
        return
    layer, step, a, r = make(kind, bias=bias, signs="non-negative")
    w, b = matrix(layer, tuple(a.shape[1:]))
    flat, z = a.flatten(1).numpy(), a.flatten(1).numpy() @ w.T + b
    match rule:
        case Epsilon(eps):
            lost = (b + eps * sign(z)) / (z + eps * sign(z))
        case Zero():
            lost = b / np.where(z == 0, 1, z)
        case Gamma(gamma):
            pulled = [(b + gamma * side(b, 0), flat @ (w + gamma * side(w, 0)).T) for side in (np.maximum, np.minimum)]
            shares = (np.divide(bias, bias + rest, where=bias + rest != 0, out=0 * z) for bias, rest in pulled)
            lost = np.where(z >= 0, *shares)
        case AlphaBeta(alpha, beta, True):
            pulled = [(side(b, 0), flat @ side(w, 0).T) for side in (np.maximum, np.minimum)]
            up, down = (np.divide(bias, bias + rest, where=bias + rest != 0, out=0 * z) for bias, rest in pulled)
            lost = alpha * up - beta * down
        case _:
            lost = np.zeros_like(z)
    # A part of it has nobody to go to where nothing pulls that way, or where all of it together comes to nothing.
    shared = (flat @ np.maximum(w, 0).T > 1e-3) & (np.abs(z) > 1e-3)
    if isinstance(rule, AlphaBeta) and rule.beta:
        shared &= flat @ np.minimum(w, 0).T < -1e-3
    assert shared.any()
    r = r * torch.from_numpy(shared).view(r.shape)
    left = apply(rule, step, a, r).flatten(1).sum(1).numpy()
    passed_on = r.flatten(1).numpy() * (1 - lost)
    scale = float(np.abs(passed_on).sum())
    np.testing.assert_allclose(left, passed_on.sum(1), rtol=0, atol=1e-6 * scale)
    if not bias and name != "epsilon":
        np.testing.assert_allclose(left, r.flatten(1).sum(1).numpy(), rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize(("name", "rule"), CASES)
@pytest.mark.parametrize("kind", LAYER_OF_EACH_KIND)
def test_what_is_absorbed_is_what_did_not_arrive(name: str, rule: Rule, kind: str) -> None:
    """Exactly, whatever the signs: what left and what bias and epsilon took make up what arrived."""
    if not fits(rule, kind):
        return
    for product in (False, True):
        _, step, a, r = make(kind, bias=True, signs="signed" if not isinstance(rule, ZBox) else "non-negative")
        z = step(a)
        arriving = Relevance.product(z, r / z) if product else Relevance.of(z, r)
        parts = rule.prepare(step)
        taken = absorbed(parts, a, arriving)
        left = propagate(parts, a, arriving).dense().flatten(1).sum(1)
        scale = float((z.abs() * (r / z).abs()).sum()) + float(taken["bias"].abs().sum())
        gap = r.flatten(1).sum(1) - left - taken["bias"] - taken["epsilon"]
        assert float(gap.abs().max()) < 1e-11 * scale
        assert bool(taken["box"].any()) is (isinstance(rule, ZBox))
        if isinstance(rule, AlphaBeta) and rule.bias:
            assert taken["bias"].any()
        elif isinstance(rule, ZPlus | AlphaBeta | WSquare | Flat | ZBox | Pass):
            assert not taken["bias"].any()


@pytest.mark.parametrize("rule", [ZBox(0.0, 1.0), ZBox(-1.0, 2.0)], ids=str)
def test_what_the_box_gets_is_what_its_bounds_contribute(rule: ZBox) -> None:
    layer, step, a, r = make("dense", bias=True, signs="non-negative")
    w, _ = matrix(layer, (7,))
    up, down = np.maximum(w, 0), np.minimum(w, 0)
    total = a.numpy() @ w.T - (rule.low * up + rule.high * down).sum(1)
    expected = (r.numpy() / total * -(rule.low * up + rule.high * down).sum(1)).sum(1)
    z = step(a)
    box = absorbed(rule.prepare(step), a, Relevance.of(z, r))["box"].numpy()
    np.testing.assert_allclose(box, expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "rule"), CASES)
@pytest.mark.parametrize("kind", LAYER_OF_EACH_KIND)
def test_relevance_is_linear_in_what_arrives(name: str, rule: Rule, kind: str) -> None:
    if not fits(rule, kind):
        return
    _, step, a, r = make(kind, bias=True, signs="non-negative")
    other = torch.randn_like(r)
    both = apply(rule, step, a, 2 * r - 3 * other)
    assert relative_error(both, 2 * apply(rule, step, a, r) - 3 * apply(rule, step, a, other)) < 1e-9


@pytest.mark.filterwarnings("ignore:inputs reach")
@pytest.mark.parametrize(("name", "rule"), CASES)
@pytest.mark.parametrize("kind", ["dense, square", "conv, square"])
def test_images_of_both_signs_do_not_influence_each_other(name: str, rule: Rule, kind: str) -> None:
    """One negative input in the batch must not change the relevance of the other images."""
    _, step, a, r = make(kind, bias=True, signs="non-negative", n=4)
    a[2] = -a[2]
    together = apply(rule, step, a, r)
    for i in range(4):
        alone = apply(rule, step, a[i : i + 1], r[i : i + 1])
        assert relative_error(together[i : i + 1], alone) < 1e-12


@pytest.mark.filterwarnings("ignore:inputs reach")
@pytest.mark.parametrize(("name", "rule"), CASES)
@pytest.mark.parametrize("kind", ["dense, square", "conv, square", "conv, everything", "batch-norm 1d"])
def test_a_rule_changes_neither_weights_nor_inputs(name: str, rule: Rule, kind: str) -> None:
    if not fits(rule, kind):
        return
    layer, step, a, r = make(kind, bias=True, signs="signed")
    z = step(a)
    for arriving in (Relevance.of(z, r), Relevance.product(z, r)):
        watched = [*layer.parameters(), step.weight, step.bias, a, z, r]
        before = [t.detach().clone() for t in watched]
        parts = rule.prepare(step)
        propagate(parts, a, arriving)
        absorbed(parts, a, arriving)
        assert all(torch.equal(now, then) for now, then in zip(watched, before, strict=True))


@pytest.mark.parametrize("rule", [Gamma(0.0), Epsilon(1e-9)], ids=str)
def test_gamma_of_zero_and_a_tiny_epsilon_are_lrp_0(rule: Rule) -> None:
    _, step, a, r = make("conv, padding", bias=True, signs="signed")
    assert relative_error(apply(rule, step, a, r), apply(Zero(), step, a, r)) < 1e-4


def test_large_gamma_approaches_z_plus_where_outputs_are_positive() -> None:
    _, step, a, r = make("dense", bias=False, signs="signed")
    r = r * (step(a) > 0)
    assert relative_error(apply(Gamma(1e7), step, a, r), apply(ZPlus(), step, a, r)) < 1e-5


def test_large_gamma_takes_the_other_half_where_outputs_are_negative() -> None:
    """There it approaches the share of what pulls down, which is what beta alone would give."""
    _, step, a, r = make("dense", bias=False, signs="signed")
    r = r * (step(a) < 0)
    up, both = apply(ZPlus(), step, a, r), apply(AlphaBeta(2.0, 1.0), step, a, r)
    assert relative_error(apply(Gamma(1e8), step, a, r), 2 * up - both) < 1e-5


def test_z_plus_is_alpha_1_beta_0() -> None:
    _, step, a, r = make("conv, everything", bias=True, signs="signed")
    assert torch.equal(apply(ZPlus(), step, a, r), apply(AlphaBeta(1.0, 0.0), step, a, r))


@pytest.mark.parametrize("gamma", [0.0, 0.25, 4.0])
def test_gamma_is_odd_in_its_layer(gamma: float) -> None:
    """Turning all weights, and with them every output, leaves each input's share as it was (Andeol et al. 2021)."""
    _, step, a, r = make("dense", bias=True, signs="signed")
    turned = step.map(lambda p: -p)
    assert (step(a) < 0).any()
    assert (step(a) > 0).any()
    assert relative_error(apply(Gamma(gamma), turned, a, r), apply(Gamma(gamma), step, a, r)) < 1e-7


@pytest.mark.parametrize("rule", [ZPlus(), ZBox(), WSquare(), Flat(), Pass()], ids=str)
def test_what_is_shared_out_keeps_its_sign(rule: Rule) -> None:
    _, step, a, r = make("conv, square", bias=True, signs="non-negative")
    assert (apply(rule, step, a, r.abs()) >= 0).all()


@pytest.mark.parametrize("rule", [WSquare(), Flat()], ids=str)
def test_neither_inputs_nor_bias_matter_to_w_square_and_flat(rule: Rule) -> None:
    _, step, a, r = make("conv, everything", bias=True, signs="signed")
    expected = apply(rule, step, a, r)
    assert torch.equal(apply(rule, step, a * 0, r), expected)
    assert torch.equal(apply(rule, step.without_bias(), -a, r), expected)
    if isinstance(rule, Flat):
        assert torch.equal(apply(rule, step.map(lambda p: -3 * p), a, r), expected)


def test_pass_is_refused_where_shapes_differ() -> None:
    for kind in ("dense", "conv"):
        _, step, a, r = make(kind, bias=True, signs="signed")
        with pytest.raises(InputError, match="pass needs") as refused:
            apply(Pass(), step, a, r)
        assert_clear(refused.value)


@pytest.mark.parametrize("bounds", [(0.0,) * 3, (0.0,) * 4])
def test_bounds_for_another_number_of_channels_are_refused(bounds: tuple[float, ...]) -> None:
    _, step, a, r = make("conv", bias=True, signs="non-negative")
    with pytest.raises(InputError, match="2 channels") as refused:
        apply(ZBox(bounds, 1.0), step, a, r)
    assert_clear(refused.value, str(len(bounds)))


def test_the_box_warns_with_both_reaches() -> None:
    _, step, a, r = make("dense", bias=True, signs="signed")
    with pytest.warns(UserWarning, match="outside the box") as caught:
        apply(ZBox(0.0, 1.0), step, a, r)
    assert_clear(caught[0].message, f"{a.min():.3g}", f"{a.max():.3g}", "[0.0, 1.0]", "bounds of your inputs")


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
    assert STABILISER == 1e-12
    z = torch.tensor([0.0, 1.0])
    assert stabilise(z, 0.5) is not z, "its memory may be used for the shares"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_stabilise_does_not_vanish_in_a_narrow_type(dtype: torch.dtype) -> None:
    assert (stabilise(torch.zeros(3, dtype=dtype), 1e-60) > 0).all()


class TestRelevance:
    """R itself, or a factor c of R = a c: what is the same either way."""

    a = torch.tensor([[0.0, 2.0, -4.0]], dtype=torch.float64)
    c = torch.tensor([[5.0, 0.5, 1.0]], dtype=torch.float64)

    def test_dense(self) -> None:
        assert Relevance.product(self.a, self.c).dense().tolist() == [[0.0, 1.0, -4.0]]
        assert Relevance.of(self.a, self.c).dense().tolist() == self.c.tolist()

    def test_over_its_own_values_is_the_factor(self) -> None:
        """Without rounding, and nothing where a is zero, where a c / a would be 0 / 0."""
        assert Relevance.product(self.a, self.c).over_values().tolist() == [[0.0, 0.5, 1.0]]
        risen = Relevance.product(self.a.abs(), self.c, nonnegative=True)
        assert risen.over_values().tolist() == [[0.0, 0.5, 1.0]]

    def test_over_zero_is_zero_for_relevance_itself(self) -> None:
        assert Relevance.of(self.a, self.c).over_values().tolist() == [[0.0, 0.25, -0.25]]

    @pytest.mark.parametrize("nonnegative", [True, False])
    def test_over_stabilised_values(self, nonnegative: bool) -> None:
        a = self.a.abs() if nonnegative else self.a
        r = Relevance.product(a, self.c, nonnegative=nonnegative)
        torch.testing.assert_close(r.over_values(0.5), a * self.c / stabilise(a, 0.5))

    def test_over_another_denominator(self) -> None:
        for relevance in (Relevance.product(self.a, self.c), Relevance.of(self.a, self.a * self.c)):
            d = torch.tensor([[2.0, 4.0, 8.0]], dtype=torch.float64)
            assert relevance.over(d).tolist() == [[0.0, 0.25, -0.5]]

    def test_dividing_before_and_after_copies_come_home_is_the_same(self) -> None:
        """Two copies of the second value, one of the third: as of overlapping max-pooling."""
        copies = self.a[:, [1, 1, 2]]
        shares = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)

        def home(t: torch.Tensor) -> torch.Tensor:
            return t.new_zeros(1, 3).index_add_(1, torch.tensor([1, 1, 2]), t)

        for make_one in (Relevance.product, Relevance.of):
            routed, brought = make_one(copies, shares).at(self.a, home), make_one(self.a, home(shares))
            assert torch.equal(routed.dense(), brought.dense())
            for eps in (0.0, 0.25):
                torch.testing.assert_close(routed.over_values(eps), brought.over_values(eps))

    def test_sums_of_both_forms(self) -> None:
        product, plain = Relevance.product(self.a, self.c), Relevance.of(self.a, self.c)
        for one in (product, plain):
            for other in (product, plain):
                assert torch.equal((one + other).dense(), one.dense() + other.dense())
        assert (product + product).is_factor


@pytest.mark.parametrize(
    ("make_rule", "says"),
    [
        (lambda: Epsilon(0.0), "0.0"),
        (lambda: Epsilon(-1e-6), "-1e-06"),
        (lambda: Epsilon(math.nan), "nan"),
        (lambda: Epsilon(math.inf), "inf"),
        (lambda: Gamma(-0.1), "-0.1"),
        (lambda: Gamma(math.nan), "nan"),
        (lambda: Gamma(math.inf), "inf"),
        (lambda: AlphaBeta(2.0, 2.0), "alpha=2.0"),
        (lambda: AlphaBeta(0.5, -0.5), "beta=-0.5"),
        (lambda: AlphaBeta(math.nan, 1.0), "nan"),
        (lambda: AlphaBeta(math.inf, math.inf), "inf"),
        (lambda: ZBox(1.0, 0.0), "1.0"),
        (lambda: ZBox(0.5, 0.5), "0.5"),
        (lambda: ZBox(math.nan, 1.0), "nan"),
        (lambda: ZBox(0.0, math.inf), "inf"),
        (lambda: ZBox((0.0, 2.0), (1.0, 1.0)), "2.0"),
        (lambda: ZBox((0.0, 0.0), (1.0, 1.0, 1.0)), "3 upper"),
    ],
)
def test_impossible_parameters_are_refused(make_rule: Callable[[], Rule], says: str) -> None:
    with pytest.raises(InputError) as refused:
        make_rule()
    assert_clear(refused.value, says)


def test_rules_are_values() -> None:
    """Equal parameters make equal rules, which can be copied and kept in sets."""
    for rules in INSTANCES.values():
        for rule in rules:
            assert copy.deepcopy(rule) == rule
            assert len({rule, copy.copy(rule)}) == 1
    assert Epsilon(0.1) != Epsilon(0.2)


@pytest.mark.usefixtures("unchecked")
def test_bounds_may_come_as_lists_or_tensors() -> None:
    expected = ZBox((0.0, 0.0), (1.0, 1.0))
    assert ZBox([0, 0], [1, 1]) == expected  # type: ignore[arg-type]
    assert ZBox(torch.zeros(2), torch.ones(2)) == expected  # type: ignore[arg-type]
    assert len({ZBox([0, 0], [1, 1]), expected}) == 1  # type: ignore[arg-type]
