"""What hangs together in a network, and what cannot go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.errors import InputError, UnsupportedLayer
from lrp_core.pruning import Coupling, couple, couple_checked, shrink
from lrp_core.pruning.units import STAYS

from ..support import check_sentence, frozen, unchanged
from .networks import NETWORKS, built, chosen, reading_zeros, rows

Part = tuple[str, str, tuple[int, ...]]


def parts(coupling: Coupling) -> set[frozenset[Part]]:
    """Every hidden unit as the places that it has: layer, in or out, channels."""
    found: dict[int, dict[tuple[str, str], list[int]]] = {}
    for layer in coupling.layers:
        for role, units in (("out", layer.rows), ("in", layer.columns)):
            for place, unit in enumerate([] if units is None else units.tolist()):
                found.setdefault(unit, {}).setdefault((layer.name, role), []).append(place)
    hidden = (~coupling.is_input).nonzero().flatten().tolist()
    return {frozenset((*key, tuple(places)) for key, places in found[unit].items()) for unit in hidden}


def hidden_widths(coupling: Coupling) -> dict[str, int]:
    """How many different hidden units each layer gives, where it gives any."""
    found = {layer.name: set(layer.rows.tolist()) - {STAYS} for layer in coupling.layers if layer.columns is not None}
    inputs = set(coupling.inputs.tolist())
    return {name: len(units - inputs) for name, units in found.items() if units - inputs}


WIDTHS = {
    "dense": {"1": 7, "4": 5},
    "convolutions": {"1": 4, "5": 5},
    "grouped": {"0": 3, "2": 4, "4": 4, "6": 4},
    "transposed": {"0": 4, "2": 3, "4": 2, "6": 2, "8": 3},
    "pixel shuffle": {"0": 3, "3": 4, "6": 3},
    "series": {"0": 4, "4": 5},
    "gated channels": {"0": 4, "2": 3},
    "residual": {"stem": 4, "conv1": 5, "conv2": 4},
    "concatenated": {"left": 3, "right": 4, "join": 5},
    "squeeze": {"conv": 6, "down": 3, "up": 6},
    "spatial": {"conv": 5, "second": 4},
    "shared": {"first": 6, "again": 6, "tied": 4, "other": 4},
    "tokens": {"embed": 5, "up": 7, "down": 5, "glu": 4},
    "skips": {"first": 6, "second": 5},
    "channels last": {"stem": 4, "depthwise": 4, "up": 7, "down": 4},
}


def test_every_network_has_its_widths_written_down() -> None:
    assert WIDTHS.keys() == NETWORKS.keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_units_are_as_fine_as_the_network_lets_them_be(name: str) -> None:
    network, shape = built(name)
    before = frozen(network)
    coupling = couple(network, shape)
    assert hidden_widths(coupling) == WIDTHS[name]
    assert couple_checked(network, shape).n_units == coupling.n_units
    assert unchanged(network, before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_units_are_numbered_without_gaps_and_stand_in_one_family_each(name: str) -> None:
    network, shape = built(name)
    coupling = couple(network, shape)
    met = torch.cat([family.units for family in coupling.families])
    assert met.sort().values.tolist() == list(range(coupling.n_units))
    for family in coupling.families:
        for number, n_rows, n_columns in family.changes:
            layer = coupling.layers[number]
            for unit in family.units:
                assert int((layer.rows == unit).sum()) == n_rows
                assert layer.columns is None or int((layer.columns == unit).sum()) == n_columns


def test_groups_of_inputs_are_one_unit() -> None:
    network, shape = built("skips")
    groups = torch.tensor([0, 0, 1, 2, 2, 2, 1, 3, 3, 3])
    coupling = couple(network, shape, groups=groups)
    assert coupling.n_units == 4 + 6 + 5
    assert coupling.inputs.tolist() == groups.tolist()


# What torch-pruning finds


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.deep = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4)
        self.point, self.head = nn.Conv2d(4, 6, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.deep(F.relu(self.norm(self.stem(x)))))
        return self.head(F.relu(self.point(x)).mean((2, 3)))


class Joined(nn.Module):
    """Two branches side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.norm = nn.Conv2d(1, 3, 3), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(7)
        self.join, self.head = nn.Conv2d(7, 5, 3), nn.Linear(80, 3)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1)
        return self.head(F.relu(self.join(self.norm(both))).flatten(1))


def resnet() -> nn.Module:
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.resnet18(num_classes=4)


PEERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": NETWORKS["residual"],
    "joined": (Joined, (1, 8, 8)),
    "convolutions": NETWORKS["convolutions"],
    "squeeze": NETWORKS["squeeze"],
    "depthwise": (Depthwise, (3, 8, 8)),
    "resnet18": (resnet, (3, 32, 32)),
}


@pytest.mark.parametrize("name", PEERS)
def test_the_groups_are_those_of_torch_pruning(name: str) -> None:
    pruning = pytest.importorskip("torch_pruning")
    make, shape = PEERS[name]
    network = make().eval()
    names = {module: called for called, module in network.named_modules()}
    graph = pruning.DependencyGraph().build_dependency(network, torch.rand(1, *shape))
    own = parts(couple(network, shape))
    last = [called for called, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    theirs = set()
    for module in network.modules():
        if not isinstance(module, nn.Linear | nn.Conv2d) or names[module] == last:
            continue
        width = module.out_features if isinstance(module, nn.Linear) else module.out_channels
        giving = pruning.prune_linear_out_channels if isinstance(module, nn.Linear) else pruning.prune_conv_out_channels
        for channel in range(0, width, max(1, width // 5)):
            group = graph.get_pruning_group(module, giving, idxs=[channel])
            unit: dict[tuple[str, str], set[int]] = {}
            for dependency, places in group:
                target = dependency.target.module
                if target not in names:
                    continue  # their steps without weights
                handler = dependency.handler.__name__
                roles = ["in"] if "_in_" in handler else ["out"]
                if isinstance(target, nn.Conv2d) and target.groups == target.in_channels > 1:
                    roles = ["in", "out"]
                for role in roles:
                    unit.setdefault((names[target], role), set()).update(places)
            theirs.add(frozenset((*key, tuple(sorted(places))) for key, places in unit.items()))
    assert theirs <= own
    assert len(theirs) >= 5


# What cannot go


class Sized(nn.Module):
    """The width of the convolution stands in `forward`, those of the dense layers do not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.hidden, self.out = nn.Conv2d(1, 4, 3), nn.Linear(144, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.hidden(F.relu(self.conv(x)).view(-1, 144))))


class Window(nn.Module):
    """A stretch that is counted from the end: what comes before it may go, what comes after may not."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.out = nn.Linear(6, 10), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.wide(x)[:, -7:-3]))


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 4)
        self.third, self.free, self.out = nn.Linear(4, 4), nn.Linear(4, 5), nn.Linear(5, 3)
        self.scale, self.shift = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.norm(self.first(x))) * self.scale
        return self.out(F.relu(self.free(F.relu(self.third(x)) + self.shift)))


class Functions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.out = nn.Parameter(torch.randn(5, 6)), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(F.linear(x, self.weight)))


class Averaged(nn.Module):
    """A mean over channels: without one of them it would be another."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 4, 3), nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.conv(x)).mean(1).flatten(1))


class Padded(nn.Module):
    """Channels of zeros beside others, as the shortcuts of some residual networks have, and groups of both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(1, 2, 3), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.pairs, self.out = nn.Conv2d(4, 4, 3, groups=2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(F.pad(self.stem(x), (0, 0, 0, 0, 1, 1)))
        return self.out(F.relu(self.pairs(x)).mean((2, 3)))


STUCK: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, str]]] = {
    "sizes in forward": (Sized, (1, 8, 8), {"conv": "its width stands elsewhere in the network"}),
    "counted from the end": (Window, (6,), {"wide": "its width"}),
    "mixed": (
        Mixed,
        (6,),
        {
            "first": "its outputs are read by 'norm', which divides each channel by what it computes of all of them",
            "second": "its outputs are read by 'mul', which multiplies it by numbers that are no layer's weights",
            "third": "its outputs are read by 'add', which adds numbers to it that are no layer's weights",
        },
    ),
    "functions": (Functions, (6,), {"linear": "its weights are not those of a layer of torch.nn"}),
    "averaged": (Averaged, (1, 8, 8), {"conv": "its outputs can only go all at once"}),
    "padded": (
        Padded,
        (1, 8, 8),
        {
            "stem": "its outputs are read by a grouped convolution beside zeros",
            "deep": "its outputs go together with others that have to stay",
        },
    ),
}


@pytest.mark.parametrize("name", STUCK)
def test_what_has_to_stay_is_named_with_its_reason(name: str) -> None:
    make, shape, reasons = STUCK[name]
    network = make().double().eval()
    coupling = couple_checked(network, shape)
    assert coupling.fixed.keys() == reasons.keys()
    for layer, reason in reasons.items():
        assert coupling.fixed[layer].startswith(reason)
        assert "\n" not in coupling.fixed[layer]
    for layer in coupling.layers:
        if layer.name in reasons:
            assert set(layer.rows.tolist()) <= {STAYS, *coupling.inputs.tolist()}
    hidden = [family for family in coupling.families if not family.inputs]
    removed = chosen(coupling, [unit for family in hidden for unit in family.units[1:].tolist()])
    x = rows(shape)
    torch.testing.assert_close(
        shrink(network, coupling, removed)(x), reading_zeros(network, coupling, removed, x), rtol=0, atol=1e-12
    )


def test_what_is_free_beside_it_still_goes() -> None:
    assert hidden_widths(couple_checked(Sized().eval(), (1, 8, 8))) == {"hidden": 5}
    assert hidden_widths(couple_checked(Mixed().eval(), (6,))) == {"free": 5}


def test_layers_of_other_kinds_keep_their_width() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    network = nn.Sequential(
        nn.Linear(6, 5), nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(5, 4)), nn.ReLU()
    )
    network.append(nn.Linear(4, 3))
    coupling = couple_checked(network.eval(), (6,))
    assert {"0", "2"} <= coupling.fixed.keys()
    assert not hidden_widths(coupling)
    try:
        coupling = couple_checked(
            nn.Sequential(nn.Linear(6, 5), nn.ReLU(), Doubled(5, 4), nn.Linear(4, 3)).eval(), (6,)
        )
    except UnsupportedLayer as error:
        check_sentence(error)
    else:
        assert not hidden_widths(coupling)


@pytest.mark.parametrize("pre", [True, False])
def test_hooks_are_refused_by_the_name_of_their_layer(pre: bool) -> None:
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    if pre:
        network[1].register_forward_pre_hook(lambda module, given: None)
    else:
        network[1].register_forward_hook(lambda module, given, out: 2 * out)
    with pytest.raises(UnsupportedLayer, match="'1'") as caught:
        couple(network, (6,))
    check_sentence(caught.value)


def test_inputs_of_another_shape_are_refused() -> None:
    for name, shape in (("dense", (1, 8, 7)), ("residual", (3, 8, 8)), ("skips", (11,)), ("tokens", (1, 8, 7))):
        with pytest.raises(InputError) as caught:
            couple(built(name)[0], shape)
        check_sentence(caught.value)


def test_neighbours_among_tens_of_thousands_are_told_apart() -> None:
    """Behind an average: what rounds must not take one for the other."""
    n = 40_000
    parts = [nn.Linear(n, 8), nn.Unflatten(1, (1, 8)), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(4, 2)]
    coupling = couple(nn.Sequential(*parts).eval(), (n,))
    assert coupling.fixed == {"0": "its outputs can only go all at once"}  # they lie in one channel
    assert {*coupling.layer("0").rows.tolist(), *coupling.layer("4").columns.tolist()} == {STAYS}


@pytest.mark.parametrize(
    "pool",
    [nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, ceil_mode=True), nn.AdaptiveAvgPool2d(3), nn.MaxPool2d(3, 2, 1)],
    ids=str,
)
def test_pooled_channels_stay_apart(pool: nn.Module) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 5, 2), pool, nn.Conv2d(5, 2, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    coupling = couple(network.double().eval(), (1, 8, 8))
    assert coupling.layer("2").columns.tolist() == coupling.layer("0").rows.tolist() == [1, 2, 3, 4, 5]
