"""Relevance of weights, explanations that start at a layer, and those through chosen channels of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrp_core.errors import InputError
from lrp_core.lrp import COMPOSITES, At, Composite, Epsilon, Explainer, Pass, Rule
from lrp_core.lrp.affine import Affine
from lrp_core.lrp.contributions import of_weights
from lrp_core.lrp.relevance import Relevance

from .networks import Lambda, cnn, images, mlp, randomise, relative_error
from .single import INSTANCES, LAYERS, is_bound_for_box, layer_of, make
from .test_rules import TWINS, Case

pytestmark = pytest.mark.slow

KINDS = [
    *("dense", "dense over a sequence", "conv1d, everything", "conv, depthwise", "conv, everything"),
    *("transposed, groups", "conv3d", "batch-norm 2d"),
]


def weight_of_each_pair(layer: Affine, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The number of the weight, counted from 1, between each output and each input [outputs, inputs]; 0 for none."""
    size = int(np.prod(shape))
    numbers = torch.arange(1, layer.weight.numel() + 1, dtype=torch.float64).view(layer.weight.shape)
    each = replace(layer, weight=numbers, bias=None)
    return each(torch.eye(size, dtype=torch.float64).view(size, *shape)).flatten(1).round().long().T.numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", [rule for some in INSTANCES.values() for rule in some if rule != Pass()], ids=str)
def test_relevance_of_weights_is_that_of_the_pairs_that_they_join(rule: Rule, kind: str) -> None:
    """The dense twin of every rule gives R_jk, output by output; a weight has the sum over the pairs that share it."""
    _, layer, a, r = make(kind, bias=True, signs="signed")
    w, b, field = layer_of(kind, True)[2]
    each = weight_of_each_pair(layer, LAYERS[kind][1])
    twin = np.zeros(layer.weight.numel() + 1)
    name = next(name for name, rules in INSTANCES.items() if rule in rules)
    for k, outputs in enumerate(np.eye(len(w))):
        case = Case(w, b, field, a.flatten(1).numpy(), r.flatten(1).numpy() * outputs)
        np.add.at(twin, each[k], TWINS[name](rule, case).sum(0))
    parts = rule.prepare(layer)
    with warnings_of(rule, a):
        found = of_weights(parts, a, Relevance.of(layer(a), r))
    assert found.shape == layer.weight.shape
    np.testing.assert_allclose(found.flatten().numpy(), twin[1:], rtol=1e-7, atol=1e-9 * abs(twin).max())


def warnings_of(rule: Rule, a: Tensor) -> Any:
    outside = is_bound_for_box(rule, a)
    return pytest.warns(UserWarning, match="outside the box") if outside else torch.no_grad()


@pytest.fixture(scope="module")
def network() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return randomise(cnn((2, 4, 6), norm=True, groups=True), 3), images((2, 10, 10), n=3)


def layers_of(explainer: Explainer, kind: str) -> list[str]:
    return [explainer.steps[i].name for i in explainer.rules if explainer.steps[i].operation.kind == kind]


@pytest.mark.parametrize("composite", COMPOSITES)
def test_weights_of_a_layer_sum_to_what_it_passes_on_and_to_what_it_gets(
    composite: str, network: tuple[nn.Module, Tensor]
) -> None:
    model, x = network
    explainer = Explainer(model, composite)
    explanation = explainer.explain(x, 1)
    first, last = layers_of(explainer, "convolution")[0], layers_of(explainer, "dense")[-1]
    of_first, of_last = (explainer.weight_relevance(x, name, 1) for name in (first, last))
    torch.testing.assert_close(of_first.sum((0, 2, 3)), explanation.relevance.sum((0, 2, 3)))
    before = explanation.layers[explainer.steps[-2].name]
    torch.testing.assert_close(of_last.sum(0), before.sum(0))
    entry = next(b for b in explanation.balance if b.layer == last)
    torch.testing.assert_close(of_last[1].sum(), (entry.arrived - entry.bias - entry.epsilon).sum())
    assert not bool(of_last[[0, 2, 3]].any())


def test_weights_of_a_layer_that_is_used_twice() -> None:
    torch.manual_seed(0)
    model = Lambda(lambda m, x: m.out(m.twice(torch.relu(m.twice(x)))), twice=nn.Linear(4, 4), out=nn.Linear(4, 2))
    model, x = model.double(), torch.rand(3, 4, dtype=torch.float64)
    explainer = Explainer(model, "epsilon")
    alone = [explainer.weight_relevance(x, name, 0) for name in ("twice@2",)]
    both = explainer.weight_relevance(x, "twice", 0)
    explanation = explainer.explain(x, 0)
    torch.testing.assert_close((both - alone[0]).sum(0), explanation.relevance.sum(0))
    torch.testing.assert_close(alone[0].sum(0), explanation.layers["relu"].sum(0))


def test_weights_are_summed_over_batches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = randomise(cnn((2, 4)), 1), images((2, 10, 10), n=7)
    explainer = Explainer(model, "epsilon-plus")
    targets = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    name = layers_of(explainer, "convolution")[0]
    alone = sum(explainer.weight_relevance(x[i : i + 1], name, int(c)) for i, c in enumerate(targets))
    monkeypatch.setattr("lrp_core.lrp.engine.CACHED_BYTES", 1)
    torch.testing.assert_close(explainer.weight_relevance(x, name, targets), alone)


def test_weights_that_no_rule_tells_apart_are_refused() -> None:
    square = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.rand(2, 3)
    with pytest.raises(InputError, match="shares out nothing weight by weight"):
        Explainer(square, Composite(At(Pass(), name="0"), At(Epsilon()))).weight_relevance(x, "0")
    with pytest.raises(InputError, match=r"unknown layer with weights '1': .*choose one of 0, 2"):
        Explainer(square, "epsilon").weight_relevance(x, "1")


# Starting at a layer


@pytest.mark.parametrize("composite", ["lrp-0", "epsilon-plus", "epsilon-gamma-box", "gamma"])
def test_from_a_layers_own_relevance_on_it_is_the_same_explanation(
    composite: str, network: tuple[nn.Module, Tensor]
) -> None:
    model, x = network
    whole = Explainer(model, composite)
    explanation = whole.explain(x, 2)
    for name, start in explanation.layers.items():
        part = whole.starting_at(name).explain(x, start=start)
        assert relative_error(part.relevance, explanation.relevance) < 1e-9
        assert list(part.layers) == list(explanation.layers)[: len(part.layers)]


def test_lrp_0_of_a_channel_is_the_gradient_of_its_sum_x_input(network: tuple[nn.Module, Tensor]) -> None:
    model, x = network
    explainer = Explainer(model, "lrp-0")
    convolution = layers_of(explainer, "convolution")[2]
    place = int(convolution)
    leaf = x.clone().requires_grad_()
    z = model[: place + 2](leaf)  # type: ignore[index]  # a batch-norm is folded in
    (gradient,) = torch.autograd.grad(z[:, 3].sum(), leaf)
    part = explainer.starting_at(convolution)
    explanation = part.explain(x, 3)
    assert relative_error(explanation.logits, z.detach()) < 1e-12
    assert relative_error(explanation.relevance, (x * gradient).detach()) < 1e-9
    ones = part.relevance(x, start=torch.ones_like(z) * (torch.arange(6) == 3).view(-1, 1, 1))
    assert relative_error(part.relevance(x, 3, "one-hot"), ones) < 1e-12
    every = part.relevance(x, "all")
    assert every.shape == (3, 6, *x.shape[1:])
    assert relative_error(every[:, 3], explanation.relevance) < 1e-12


def test_without_a_target_it_is_the_channel_with_the_largest_sum() -> None:
    model, x = randomise(mlp((5, 7, 4)), 2), torch.rand(6, 5, dtype=torch.float64)
    part = Explainer(model, "epsilon").starting_at("1")
    explanation = part.explain(x)
    assert torch.equal(explanation.target, model[:2](x).argmax(1))  # type: ignore[index]
    assert part.layer == "1"
    assert [step.name for step in part.steps] == ["0", "1"]


def test_units_of_a_dense_layer_over_a_sequence_lie_along_its_last_axis() -> None:
    torch.manual_seed(0)
    model = Lambda(lambda m, x: m.out(m.inner(x).relu().mean(1)), inner=nn.Linear(3, 5), out=nn.Linear(5, 2)).double()
    x = torch.rand(2, 4, 3, dtype=torch.float64)
    found = Explainer(model, "lrp-0").starting_at("inner").relevance(x, 4)
    torch.testing.assert_close(found, (x * model.inner.weight[4]).detach())  # type: ignore[index, operator]


def test_a_network_that_is_read_with_its_first_batch_starts_at_a_layer_too() -> None:
    torch.manual_seed(0)
    model = Lambda(
        lambda m, x: m.out(m.inner(x.view(x.shape[0], x.shape[1] // 2, 2)).flatten(1)),
        inner=nn.Linear(2, 3),
        out=nn.Linear(9, 2),
    ).double()
    part = Explainer(model, "lrp-0").starting_at("inner")
    x = torch.rand(4, 6, dtype=torch.float64)
    assert relative_error(part.relevance(x, 1), (x.view(4, 3, 2) * model.inner.weight[1]).detach().view(4, 6)) < 1e-12  # type: ignore[index, operator]
    with pytest.raises(InputError, match="unknown layer 'nowhere'"):
        Explainer(model, "lrp-0").starting_at("nowhere").relevance(x)


def test_what_is_no_layer_and_no_channel_is_refused(network: tuple[nn.Module, Tensor]) -> None:
    model, x = network
    explainer = Explainer(model, "epsilon-plus")
    with pytest.raises(InputError, match="unknown layer 'conv'"):
        explainer.starting_at("conv")
    part = explainer.starting_at(layers_of(explainer, "convolution")[0])
    with pytest.raises(InputError, match="between 0 and 1"):
        part.relevance(x, 4)
    with pytest.raises(InputError, match="a layer inside the network has none"):
        part.relevance(x, 0, "contrast")


# Through chosen channels


def masked_by_hand(model: nn.Sequential, x: Tensor, place: int, chosen: list[int]) -> Tensor:
    """Gradient x input of class 1 with the gradient at the output of layer `place` set to zero outside channels."""
    leaf = x.clone().requires_grad_()
    z = model[: place + 1](leaf)
    mask = torch.zeros(z.shape[1], dtype=z.dtype)
    mask[chosen] = 1
    z.register_hook(lambda g: g * mask.view(-1, *[1] * (z.ndim - 2)))
    (gradient,) = torch.autograd.grad(model[place + 1 :](z)[:, 1].sum(), leaf)
    return (x * gradient).detach()


@pytest.mark.parametrize("chosen", [[0], [1, 5], [], [2, 3, 4]])
def test_lrp_0_through_channels_is_the_gradient_masked_there_x_input(chosen: list[int]) -> None:
    model, x = randomise(cnn((2, 4, 6)), 5), images((2, 10, 10), n=3)
    explainer = Explainer(model, "lrp-0")
    name = layers_of(explainer, "convolution")[2]
    found = explainer.relevance(x, 1, channels={name: chosen})
    wanted = masked_by_hand(model, x, int(name), chosen)  # type: ignore[arg-type]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_partition_of_channels_sums_to_the_whole(composite: str, network: tuple[nn.Module, Tensor]) -> None:
    model, x = network
    explainer = Explainer(model, composite)
    whole = explainer.relevance(x, 0)
    name = layers_of(explainer, "convolution")[2]
    for partition in ([[0, 2, 4], [1, 3, 5]], [[5], [0, 1, 2, 3, 4], []]):
        parts = [explainer.relevance(x, 0, channels={name: chosen}) for chosen in partition]
        assert relative_error(torch.stack(parts).sum(0), whole) < 1e-8


def test_what_channels_keep_stands_in_the_balance(network: tuple[nn.Module, Tensor]) -> None:
    model, x = network
    explainer = Explainer(model, "epsilon-plus")
    name = layers_of(explainer, "convolution")[2]
    explanation = explainer.explain(x, 0, channels={name: np.array([1, 2])})
    kept = next(b for b in explanation.balance if b.rule == "channels")
    assert kept.layer == name
    whole = explainer.explain(x, 0)
    torch.testing.assert_close(kept.arrived, whole.layers[name].flatten(1).sum(1))
    torch.testing.assert_close(kept.left, whole.layers[name][:, [1, 2]].flatten(1).sum(1))
    assert not bool(explanation.layers[name][:, [0, 3, 4, 5]].any())
    lost = torch.stack([b.absorbed for b in explanation.balance]).sum(0)
    torch.testing.assert_close(explanation.relevance.flatten(1).sum(1) + lost, explanation.logits[:, 0])
    assert relative_error(explainer.relevance(x, 0, channels={name: [1, 2]}), explanation.relevance) < 1e-12


def test_channels_of_several_layers_and_masks(network: tuple[nn.Module, Tensor]) -> None:
    model, x = network
    explainer = Explainer(model, "epsilon-plus")
    first, second = layers_of(explainer, "convolution")[1:3]
    whole = explainer.explain(x, 0)
    mask = torch.zeros(whole.layers[first].shape[1:], dtype=torch.bool)
    busiest = int(whole.layers[first].abs().sum((0, 2, 3)).argmax())
    mask[busiest] = True
    numbered = explainer.relevance(x, 0, channels={first: busiest, second: [0, 1]})
    assert bool(numbered.any())
    masked = explainer.relevance(x, 0, channels={first: mask, second: torch.tensor([0, 1])})
    assert torch.equal(numbered, masked)
    one_place = torch.zeros_like(mask)
    one_place[busiest, 0, 0] = True
    seen = explainer.relevance(x, 0, channels={first: one_place}).abs().sum((0, 1)) > 0
    assert not bool(seen[6:].any() | seen[:, 6:].any())  # outside its receptive field
    assert bool(explainer.relevance(x, 0, channels={first: mask})[:, :, 6:].any())


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({"nowhere": [0]}, "unknown layer 'nowhere'"),
        ({"0": [4]}, "has 4 channels, numbered from 0"),
        ({"0": [-1]}, "has 4 channels, numbered from 0"),
        ({"0": [0.5]}, "whole numbers or a mask"),
        ({"0": "red"}, "whole numbers or a mask"),
        ({"0": torch.ones(4, dtype=torch.bool)}, r"shape of its output, \(4, 8, 8\)"),
        ([0], "channels must map the names of layers"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_channels_that_there_are_not_are_refused(channels: Any, message: str) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
    with pytest.raises(InputError, match=message):
        Explainer(model, "epsilon-plus").relevance(torch.rand(2, 2, 10, 10), 0, channels=channels)
