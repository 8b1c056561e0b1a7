"""The smaller network computes what the full one does where what is gone is read as 0, and costs what was said."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lrp_core.data import Split
from lrp_core.errors import InputError
from lrp_core.evaluation import measure_cost
from lrp_core.models import build_model
from lrp_core.pruning import Coupling, couple, resize, shrink, widths_of
from lrp_core.pruning.shrinking import silenced
from lrp_core.shrinking import COUNTED, Meter
from lrp_core.shrinking.scores import means_read

from ..support import check_sentence, frozen, unchanged
from .networks import NETWORKS, built, chosen, reading_zeros, removals, rows

COUPLED = {name: (*built(name), couple(*built(name))) for name in NETWORKS}


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=4)
@given(data=st.data())
def test_it_computes_what_the_full_network_does_on_zeros_and_costs_what_is_predicted(
    name: str, data: st.DataObject
) -> None:
    network, shape, coupling = COUPLED[name]
    removed = data.draw(removals(coupling))
    before = frozen(network)
    small, x = shrink(network, coupling, removed), rows(shape, seed=data.draw(st.integers(0, 9)))
    with torch.no_grad():
        close(small(x), reading_zeros(network, coupling, removed, x))
        close(small(x), silenced(network, coupling, removed)(x))
    assert unchanged(network, before)
    assert type(small) is type(network)
    meter = Meter(network, coupling, shape)
    for family in coupling.families:
        meter.change(family, int(removed[family.units].sum()))
    cost = measure_cost(small, shape)
    assert {unit: meter.cost(unit) for unit in COUNTED} == {unit: getattr(cost, unit) for unit in COUNTED}


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=3)
@given(data=st.data())
def test_in_two_steps_as_in_one(name: str, data: st.DataObject) -> None:
    network, _, coupling = COUPLED[name]
    removed = data.draw(removals(coupling))
    first = removed & (torch.rand(len(removed), generator=torch.Generator().manual_seed(len(removed))) < 0.5)
    then = removed & ~first
    at_once = shrink(network, coupling, removed)
    halfway = shrink(network, coupling, first)
    small = shrink(halfway, coupling.only(~first), then)
    assert unchanged(small, frozen(at_once))
    assert widths_of(small) == widths_of(at_once)
    assert [layer.rows.tolist() for layer in coupling.only(~removed).layers] == [
        layer.rows.tolist() for layer in coupling.only(~first).only(~then).layers
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_without_removals_it_is_the_same_to_the_last_bit_and_a_copy(name: str) -> None:
    network, shape, coupling = COUPLED[name]
    small = shrink(network, coupling, torch.zeros(coupling.n_units, dtype=torch.bool))
    assert unchanged(small, frozen(network))
    assert torch.equal(small(rows(shape)), network(rows(shape)))
    assert not widths_of(small)
    assert not {p.data_ptr() for p in small.parameters()} & {p.data_ptr() for p in network.parameters()}


@pytest.mark.parametrize("name", NETWORKS)
def test_modes_and_what_is_trained_stay(name: str) -> None:
    network, shape = built(name)
    coupling = couple(network, shape)
    network.train()
    frozen_ones = [module for module in network.modules() if isinstance(module, nn.Linear)][:1]
    for module in frozen_ones:
        module.requires_grad_(False)
    small = shrink(network, coupling, chosen(coupling, [coupling.n_units - 1]))
    assert all(module.training for module in (*small.modules(), *network.modules()))
    assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in network.parameters()]
    assert all(p.is_leaf for p in small.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_full_network_can_be_resized_to_hold_the_smaller_one(name: str) -> None:
    network, shape, coupling = COUPLED[name]
    hidden = [family for family in coupling.families if not family.inputs]
    removed = chosen(coupling, [unit for family in hidden for unit in family.units[1::2].tolist()])
    small = shrink(network, coupling, removed)
    again = resize(network, widths_of(small))
    again.load_state_dict(small.state_dict())
    assert torch.equal(again(rows(shape)), small(rows(shape)))
    assert widths_of(again) == widths_of(small)


def test_what_is_shared_stays_shared() -> None:
    network, _, coupling = COUPLED["shared"]
    small = shrink(network, coupling, chosen(coupling, range(coupling.n_units - 3, coupling.n_units)))
    assert small.tied.weight is small.other.weight
    assert small.tied.bias is not small.other.bias
    assert resize(network, widths_of(small)).tied.weight.shape == small.tied.weight.shape


def test_inputs_go_by_a_mask() -> None:
    network, _, coupling = COUPLED["skips"]
    with pytest.raises(InputError, match="prune_inputs"):
        shrink(network, coupling, chosen(coupling, [0]))


def test_a_layer_is_never_emptied() -> None:
    network, _, coupling = COUPLED["dense"]
    with pytest.raises(InputError, match="'1'") as caught:
        shrink(network, coupling, chosen(coupling, range(64, 71)))
    check_sentence(caught.value)


@pytest.mark.parametrize(
    "widths",
    [
        {"nothing": (1, 1)},
        {"0": (1, 1)},
        {"1": (8, None)},
        {"1": (0, None)},
        {"1": (-1, None)},
        {"4": (5, 8)},
        {"4": (5, 0)},
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused(widths: dict) -> None:
    with pytest.raises(InputError) as caught:
        resize(built("dense")[0], widths)
    check_sentence(caught.value)


def test_groups_share_channels_evenly() -> None:
    network = built("grouped")[0]
    assert resize(network, {"2": (4, 4)})[2].weight.shape == (4, 2, 3, 3)
    for widths in ({"2": (3, 4)}, {"2": (4, 3)}):
        with pytest.raises(InputError, match="groups") as caught:
            resize(network, widths)
        check_sentence(caught.value)


# Means of what went


def constant(network: nn.Sequential, layer: int, units: list[int]) -> nn.Sequential:
    """The network with some units of a layer that give the same for any input."""
    with torch.no_grad():
        network[layer].weight[units] = 0
        network[layer].bias[units] = torch.rand(len(units), dtype=torch.float64) + 0.5
    return network


def numbers_of(network: nn.Module, coupling: Coupling, layer: str, places: list[int]) -> list[int]:
    return coupling.layer(layer).rows[places].tolist()


def test_units_that_never_change_leave_everything_behind() -> None:
    torch.manual_seed(0)
    parts = [nn.Linear(9, 6), nn.Softplus(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)]
    network = constant(nn.Sequential(*parts).double().eval(), 0, [1, 4])
    coupling, split = couple(network, (9,)), Split(rows((9,), 40), torch.arange(40) % 3)
    with torch.no_grad():
        network[2].weight[2] = 0  # a unit behind the others that never changes either
    removed = chosen(coupling, numbers_of(network, coupling, "0", [1, 4]) + numbers_of(network, coupling, "2", [2]))
    means = means_read(network, coupling, split, encode=lambda images: images.double())
    x = rows((9,), 7, seed=5)
    close(shrink(network, coupling, removed, means=means)(x), network(x))
    assert not torch.allclose(shrink(network, coupling, removed)(x), network(x), atol=1e-3)


def test_in_convolutions_without_padding_too() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)
    )
    network = constant(network.double().eval(), 0, [0, 2])
    coupling, split = couple(network, (1, 8, 8)), Split(rows((1, 8, 8), 20), torch.arange(20) % 3)
    means = means_read(network, coupling, split, encode=lambda images: images.double())
    x = rows((1, 8, 8), 4, seed=5)
    removed = chosen(coupling, numbers_of(network, coupling, "0", [0, 2]))
    close(shrink(network, coupling, removed, means=means)(x), network(x))


def test_new_biases_are_never_taken_for_weights_that_were_cut_before() -> None:
    """Layer after layer gets another bias, while weights that were cut are given free: their places are taken again."""
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for _ in range(30):
        parts += [nn.Linear(5, 5), nn.Softplus()]
    network = nn.Sequential(*parts, nn.Linear(5, 3)).double().eval()
    coupling = couple(network, (5,))
    removed = chosen(coupling, [unit for family in coupling.families[1:] for unit in family.units[::2].tolist()])
    means = {layer.name: torch.rand(5) for layer in coupling.layers}
    small = shrink(network, coupling, removed, means=means)
    for name in map(str, range(2, 61, 2)):
        full, layer = network.get_submodule(name), coupling.layer(name)
        gone = removed[layer.columns]
        expected = full.bias + full.weight[:, gone] @ means[name][gone].double()
        stays = expected if name == "60" else expected[~removed[layer.rows]]
        close(small.get_submodule(name).bias, stays)


def test_layers_without_a_bias_get_none() -> None:
    """A file could not tell that they have one."""
    network = nn.Sequential(nn.Linear(6, 5), nn.Softplus(), nn.Linear(5, 3, bias=False)).double().eval()
    coupling = couple(network, (6,))
    removed = chosen(coupling, [6, 8])
    small = shrink(network, coupling, removed, means={"2": torch.ones(5)})
    assert unchanged(small, frozen(shrink(network, coupling, removed)))


def test_built_in_networks_are_cut_at_all_their_layers() -> None:
    for architecture, shape, n_hidden in (
        ("mlp-300-100", (1, 8, 8), 400),
        ("lenet-5", (1, 8, 8), 6 + 16 + 120 + 84),
        ("cnn-32-64", (1, 8, 8), 32 + 64 + 128),
    ):
        network = build_model(architecture, shape=shape, n_classes=3)
        coupling = couple(network, shape)
        assert not coupling.fixed
        assert int((~coupling.is_input).sum()) == n_hidden
