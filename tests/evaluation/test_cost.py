from __future__ import annotations

import json
import struct

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lrp_core.evaluation import Cost, measure_cost
from lrp_core.models import ModelSpec, Network, build_model
from lrp_core.pruning import PixelMask, PrunedNetwork, build_pruned, prune_inputs
from lrp_core.pruning.files import to_bytes

from ..support import IMAGE_NETWORKS, frozen, livened, unchanged

SHAPE = (1, 28, 28)
FORMS = ["full", "sliced", "corner", "fresh"]


def build(architecture: str, form: str) -> tuple[Network | PrunedNetwork, tuple[int, ...]]:
    """A network in one of its forms, and the shape of one input."""
    network = build_model(architecture, shape=SHAPE, n_classes=10)
    if form == "full":
        return network, SHAPE
    if form == "corner":
        mask = PixelMask.from_indices([0, 1, 30], SHAPE)
    else:
        mask = PixelMask.from_indices([28 * i + j for i in range(7, 19) for j in range(5, 22)], SHAPE)
    pruned = build_pruned(network.spec, mask) if form == "fresh" else prune_inputs(network, mask, fill=0.2)
    return pruned, (len(mask),)


def counted(model: nn.Module, shape: tuple[int, ...]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    return counter.get_total_flops()


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
@pytest.mark.parametrize("form", FORMS)
def test_flops_are_torchs_own(architecture, form):
    model, shape = build(architecture, form)
    cost = measure_cost(model)
    assert cost.flops == counted(model, shape)
    assert cost.macs * 2 == cost.flops
    assert measure_cost(model, shape) == cost


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(4, 6, (2, 3), dilation=2, bias=False),
        nn.Sequential(nn.Conv2d(4, 2, 1), nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(162, 5))),
    ],
    ids=["grouped", "dilated", "nested"],
)
def test_flops_of_other_layers(layer):
    assert measure_cost(layer, (4, 9, 9)).flops == counted(layer, (4, 9, 9))


def test_a_layer_that_runs_twice_is_counted_twice():
    layer = nn.Linear(9, 9)
    network = Network(ModelSpec("custom", (9,), 9), [("first", layer), ("relu", nn.ReLU()), ("again", layer)])
    assert measure_cost(network).flops == counted(network, (9,))


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
@pytest.mark.parametrize("form", FORMS)
def test_parameters_and_bytes_are_what_a_file_holds(architecture, form):
    model, shape = build(architecture, form)
    cost = measure_cost(model)
    content = to_bytes(model)
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    tensors = {n: e["data_offsets"] for n, e in header.items() if n not in ("__metadata__", "mask.indices")}
    assert cost.bytes == sum(end - start for start, end in tensors.values())
    assert cost.bytes == sum(t.numel() * t.element_size() for t in model.state_dict().values())
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.input_bytes == 4 * torch.Size(shape).numel()


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
@pytest.mark.parametrize("form", FORMS)
def test_layers_add_up_and_bear_their_names(architecture, form):
    model, _ = build(architecture, form)
    cost = measure_cost(model)
    for total in ("macs", "parameters", "bytes"):
        assert getattr(cost, total) == sum(getattr(layer, total) for layer in cost.layers)
    body = model.body if isinstance(model, PrunedNetwork) else model
    assert [(layer.name, layer.kind) for layer in cost.layers] == [
        (name, type(layer).__name__) for name, layer in body.named_children()
    ]
    for layer in cost.layers:
        found = body.get_submodule(layer.name)
        assert layer.parameters == sum(p.numel() for p in found.parameters())


def test_lenet_by_hand():
    cost = {layer.name: layer for layer in measure_cost(build_model("lenet-5", shape=SHAPE, n_classes=10)).layers}
    assert cost["conv1"].macs == 28 * 28 * 6 * 25
    assert cost["conv2"].macs == 10 * 10 * 16 * 6 * 25
    assert cost["fc1"].macs == 400 * 120
    assert (cost["relu1"].macs, cost["pool1"].macs, cost["pool1"].bytes) == (0, 0, 0)
    assert cost["conv2"].parameters == 6 * 25 * 16 + 16
    assert cost["conv2"].bytes == 4 * cost["conv2"].parameters


def test_double_precision_takes_twice_the_bytes():
    network = build_model("mlp-300-100", shape=SHAPE, n_classes=10)
    once = measure_cost(network)
    twice = measure_cost(network.double())
    assert (twice.bytes, twice.parameters, twice.flops) == (2 * once.bytes, once.parameters, once.flops)


def test_less_input_never_costs_more():
    for architecture in IMAGE_NETWORKS:
        network = build_model(architecture, shape=SHAPE, n_classes=10)
        full, half = (
            measure_cost(prune_inputs(network, PixelMask.from_indices(range(k), SHAPE))) for k in (784, 14 * 28)
        )
        assert half.macs < full.macs
        assert half.macs < measure_cost(network).macs
        assert full.macs == measure_cost(network).macs
        assert full.parameters == measure_cost(network).parameters


@pytest.mark.parametrize("architecture", ["mlp-300-100", "cnn-32-64"])
def test_measuring_changes_nothing(architecture):
    model = livened(architecture, SHAPE, 10).train()
    before, state = frozen(model), torch.random.get_rng_state()
    assert isinstance(measure_cost(model), Cost)
    assert unchanged(model, before)
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(layer._forward_hooks for layer in model.modules())
    assert {p.device.type for p in model.parameters()} == {"cpu"}
