"""Networks that people bring: pruned, costed, eliminated from and built again, whatever their forward does."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lrp_core.errors import InputError, StorageError, UnsupportedLayer
from lrp_core.evaluation import Removal, Retrain, measure_cost, roar
from lrp_core.lrp import attribute
from lrp_core.models import ARCHITECTURES, ModelSpec, Network, build_model, count_outputs, register_model
from lrp_core.pruning import PixelMask, build_pruned, load_network, loses_columns, prune_inputs, save_network
from lrp_core.pruning.files import describe
from lrp_core.pruning.layers import Gather
from lrp_core.ranking import Elimination, eliminate, rank
from lrp_core.training import Recipe, fit

from .own_networks import ALL, CANVAS, DENSE, MASK, SHAPE, Functional, Residual, batch, built, masks
from .support import check_sentence, frozen, toy_split, unchanged

FILLS = st.sampled_from([0.0, 1.0, 0.3, -2.5])
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Do not use the `random` module"),  # beartype does, to pick what to check
]


# The small network is the big one, with less input


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=20)
@given(mask=masks(), fill=FILLS, n=st.integers(1, 5), seed=st.integers(0, 3))
def test_the_small_network_computes_the_same(name, mask, fill, n, seed):
    network = built(name, seed)
    before = frozen(network)
    small = prune_inputs(network, mask, fill=fill)
    x = batch(n, seed)
    with torch.no_grad():
        expected, found = network(mask.remove(x, fill)), small(mask.apply(x))
    assert (found - expected).abs().max() < 1e-10
    assert unchanged(network, before)
    if len(mask) == mask.n_inputs:
        assert torch.equal(found, network(x)), "nothing is removed: the same bits"
    elif name in DENSE:
        assert small.structure == "sliced"
        assert small.note == ""


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    """Random networks of parts of the input, dense layers, joins, sums, products and activations."""
    n_in = 12
    plan: list[Any] = []
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, n_in - 2))
        part = slice(start, draw(st.integers(start + 1, n_in)), draw(st.integers(1, 2)))
        plan.append((part, draw(st.sampled_from(["relu", "tanh", "none"])), draw(st.booleans())))
    how, again, flip = draw(st.sampled_from(["sum", "cat", "product"])), draw(st.booleans()), draw(st.booleans())

    class Drawn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [len(range(n_in)[part]) for part, _, _ in plan]
            self.heads = nn.ModuleList([nn.Linear(w, 4, bias=p[2]) for w, p in zip(widths, plan, strict=True)])
            self.mixed = nn.Linear(4 * (len(plan) if how == "cat" else 1) + n_in * again, 5)
            self.out = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x.transpose(1, 2).flatten(1) if flip else x.reshape(-1, n_in)
            given = [head(x[:, part]) for head, (part, _, _) in zip(self.heads, plan, strict=True)]
            given = [
                g if kind == "none" else getattr(torch, kind)(g) for g, (_, kind, _) in zip(given, plan, strict=True)
            ]
            value = torch.cat(given, 1) if how == "cat" else given[0]
            for other in given[1:] if how != "cat" else []:
                value = value + other if how == "sum" else value * other
            return self.out(torch.relu(self.mixed(torch.cat([x, value], 1) if again else value)))

    torch.manual_seed(draw(st.integers(0, 99)))
    return Drawn().double().eval()


@settings(max_examples=60)
@given(network=networks(), mask=masks((3, 4)), fill=FILLS, n=st.integers(1, 4))
def test_any_network_of_a_small_grammar_computes_the_same(network, mask, fill, n):
    small = prune_inputs(network, mask, fill=fill)
    assert small.structure == "sliced"
    x = batch(n, shape=(3, 4))
    with torch.no_grad():
        assert (small(mask.apply(x)) - network(mask.remove(x, fill))).abs().max() < 1e-10


@pytest.mark.parametrize("name", DENSE)
def test_first_layers_keep_the_columns_of_kept_inputs_only(name):
    small = prune_inputs(built(name), MASK)
    assert loses_columns(built(name), SHAPE)
    full, less = measure_cost(built(name), SHAPE), measure_cost(small)
    assert less.macs < full.macs / 2
    assert less.parameters < full.parameters
    assert all(parameter.shape[-1] != 36 for parameter in small.parameters())


def test_a_first_layer_beside_inputs_is_read_as_it_is_now():
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.out = nn.Linear(36, 4), nn.Linear(40, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)
            return self.out(torch.cat([x, self.head(x)], 1))

    network = Beside().double().eval()
    small, x = prune_inputs(network, MASK), batch(3)
    assert small.structure == "sliced"
    assert (small(MASK.apply(x)) - network(MASK.remove(x))).abs().max() < 1e-10


def test_two_layers_on_the_same_inputs_share_them():
    """One dropout before two layers stays one, and no layer picks what it takes in order anyway."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(36, 4), nn.Linear(36, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(x.flatten(1), 0.5, self.training)
            return self.a(x) - self.b(x)

    network = Shared()
    network.b.load_state_dict(network.a.state_dict())
    small = prune_inputs(network.train(), MASK)
    assert small.training
    assert [type(layer) for layer in small.modules() if not list(layer.children())].count(nn.Dropout) == 1
    assert not any(isinstance(layer, Gather) for layer in small.modules())
    assert torch.equal(small(torch.rand(50, 5)), torch.zeros(50, 4))
    assert prune_inputs(Functional().train(), MASK)(torch.ones(200, 5)).unique(dim=0).shape[0] > 1


@pytest.mark.parametrize("name", CANVAS)
def test_what_cannot_shrink_says_so(name):
    network = built(name)
    small = prune_inputs(network, MASK)
    assert small.structure == "canvas"
    assert "no cheaper" in small.note
    assert not loses_columns(network, SHAPE)
    assert measure_cost(small).macs <= measure_cost(network, SHAPE).macs


@pytest.mark.parametrize("name", ALL)
def test_a_small_network_can_be_copied_pickled_trained_and_explained(name):
    small = prune_inputs(built(name), MASK, fill=0.3)
    x = MASK.apply(batch())
    for twin in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert torch.equal(twin(x), small(x))
    data = toy_split(60)
    tuned = fit(small.float(), data, recipe=Recipe(epochs=1), encode=small.encode, device="cpu")
    assert all(torch.isfinite(parameter).all() for parameter in tuned.parameters())
    assert not unchanged(tuned, frozen(small))
    if name not in ("gated", "nested"):  # products and LayerNorm have no rule
        relevance = attribute(prune_inputs(built(name), MASK), x, target=1, composite="lrp-0")
        full = attribute(built(name), MASK.remove(batch()), target=1, composite="lrp-0")
        assert torch.allclose(relevance, MASK.apply(full), atol=1e-8)


def test_frozen_layers_stay_frozen():
    network = built("nested").requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in prune_inputs(network, MASK).parameters())


# Refusals


class Direct(nn.Module):
    def __init__(self, how: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.fc, self.square, self.norm = nn.Linear(36, 3), nn.Linear(36, 36), nn.LayerNorm(36)
        self.weight = nn.Parameter(torch.randn(3, 36))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x.flatten(1))


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "sum": (lambda net, x: net.fc(x + net.square(x)), "operation 'add'"),
    "activation": (lambda net, x: net.fc(x.relu()), "operation 'relu'"),
    "norm": (lambda net, x: net.fc(net.norm(x)), r"layer 'norm' \(LayerNorm\)"),
    "product": (lambda net, x: net.fc(x * 2), "operation 'mul'"),
    "matmul": (lambda net, x: x @ net.weight.T, "operation 'matmul'"),
    "shared layer": (lambda net, x: net.fc(net.square(net.square(x))), "layer 'square'"),
    "shared weights": (lambda net, x: F.linear(x, net.weight) + net.weight.sum(), "its weights are used elsewhere"),
    "computed weights": (lambda net, x: F.linear(x, net.weight * 2), "weights that are not parameters"),
    "branch": (lambda net, x: net.fc(x) if x.sum() > 0 else net.fc(-x), "cannot be traced by torch.fx"),
    "training": (lambda net, x: net.fc(x) if net.training else net.fc(x) * 2, "takes another path in training"),
    "padded": (lambda net, x: net.fc(F.pad(x[:, 1:], (1, 0), value=2.0)), "operation 'pad'"),
    "stacked with others": (
        lambda net, x: net.fc(torch.stack([x, net.square(x).relu()], 1)[:, 0]),
        "operation 'stack'",
    ),
    "mixes images": (lambda net, x: net.fc(x.flip(0)), "operation 'flip'"),
    "chance": (lambda net, x: F.dropout(net.fc(x)), "do not always give the same logits"),
    "returned": (lambda net, x: x, "returns inputs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_cut_is_refused_by_name(name):
    how, named = REFUSED[name]
    with pytest.raises(UnsupportedLayer, match=named) as caught:
        prune_inputs(Direct(how).eval(), MASK, fill=0.5)
    check_sentence(caught.value)


def test_a_mask_of_another_shape_and_pruning_twice_are_refused():
    for network in (Residual(), built("nested"), built("nested convolutions"), built("rows")):
        with pytest.raises(InputError) as caught:
            prune_inputs(network, PixelMask.from_indices([1], (1, 5, 7)))
        check_sentence(caught.value)
    with pytest.raises(InputError, match="pruned already"):
        prune_inputs(prune_inputs(Residual(), MASK), MASK)


def test_hooks_are_not_lost_in_silence():
    for name in ("nested", "residual", "nested convolutions"):
        network = built(name)
        first = next(layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
        first.register_forward_hook(lambda *_: None)
        with pytest.raises(UnsupportedLayer, match="forward hook"):
            prune_inputs(network, MASK)


def test_scratch_asks_for_a_builder():
    with pytest.raises(InputError, match=r"register_model\(name, builder\)"):
        build_pruned(prune_inputs(built("residual"), MASK).spec, MASK)
    data = toy_split(20)
    with pytest.raises(InputError, match=r"register_model\(name, builder\)"):
        roar(Residual(), data, data, torch.ones_like, Removal(), [0.5], retrain=Retrain(seeds=(0,)))


# Elimination


QUICK = Elimination(drop=0.5, fine_drop=0.5, updates=2, batch_size=32, explained=40)


@pytest.mark.parametrize("name", ["one layer", "residual", "parts", "convolutional residual", "two paths", "rows"])
def test_inputs_of_any_network_are_eliminated(name):
    network, data = built(name).float(), toy_split(60)
    before = frozen(network)
    ranking = eliminate(network, data, options=QUICK)
    assert ranking.order.sort().values.tolist() == list(range(36))
    assert unchanged(network, before)
    everything = Elimination(drop=0.5, updates=1, explained=len(data))
    assert eliminate(network, data, options=everything).order[18:].tolist() == rank(network, data).order[18:].tolist()


def test_a_network_for_other_inputs_is_refused():
    with pytest.raises(InputError, match="does not take inputs of shape"):
        eliminate(built("residual").float(), toy_split(20, size=7), options=QUICK)


# Cost


@pytest.mark.parametrize("name", ALL)
def test_every_product_is_counted(name):
    network = built(name)
    cost = measure_cost(network, SHAPE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(batch(1))
    assert cost.flops == counter.get_total_flops()
    assert cost.parameters == sum(p.numel() for p in network.parameters())
    assert cost.bytes == sum(t.numel() * t.element_size() for t in network.state_dict().values())
    with pytest.raises(InputError, match="give the shape of one input"):
        measure_cost(network)


def test_classes_are_counted_from_the_output():
    assert count_outputs(Residual(), SHAPE) == 3
    with pytest.raises(InputError, match="does not take inputs of shape"):
        count_outputs(Residual(), (5,))
    with pytest.raises(InputError, match="logits"):
        count_outputs(nn.Identity(), SHAPE)


# Builders


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(ARCHITECTURES, "_entries", dict(ARCHITECTURES._entries))

    class Sized(nn.Module):
        def __init__(self, spec: ModelSpec) -> None:
            super().__init__()
            width = int(np.prod(spec.shape))
            self.first, self.skip = nn.Linear(width, 8), nn.Linear(width, 8)
            self.out = nn.Linear(8, spec.n_classes)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)
            return self.out(F.relu(self.first(x)) + self.skip(x))

    register_model("my-residual", Sized)
    return "my-residual"


def test_a_registered_builder_does_all_that_the_projects_networks_do(registered, toy, tmp_path):
    network = build_model(registered, toy)
    assert isinstance(network, Network)
    assert network.spec == ModelSpec(registered, SHAPE, 3)
    assert unchanged(build_model(registered, toy), frozen(network))
    sliced, fresh = prune_inputs(network, MASK), build_pruned(network.spec, MASK, seed=3)
    x = MASK.apply(toy.test.images)
    assert torch.allclose(sliced(x), network.eval()(MASK.remove(toy.test.images)), atol=1e-5)
    assert fresh(x).shape == (60, 3)
    for i, model in enumerate((network, sliced, fresh)):
        save_network(model, tmp_path / f"net{i}")
        found = load_network(tmp_path / f"net{i}")
        assert unchanged(found, frozen(model))
        assert describe(found) == describe(model)
    ARCHITECTURES._entries.pop(registered)
    with pytest.raises(StorageError, match="unknown model 'my-residual'") as caught:
        load_network(tmp_path / "net0")
    check_sentence(caught.value)


def test_builders_that_are_none(registered, monkeypatch, unchecked):
    with pytest.raises(InputError, match="a function from a ModelSpec"):
        register_model("mine", 3)
    register_model("mine", lambda spec: 3)
    with pytest.raises(InputError, match="not int"):
        build_model("mine", shape=(3,), n_classes=2)
    assert not Path("mine").exists()
