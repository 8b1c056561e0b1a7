"""Networks pruned to a budget, from end to end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.data import Dataset, InputGroup, Split, Target
from lrp_core.errors import Cancelled, InputError, UnsupportedLayer
from lrp_core.evaluation import measure_cost
from lrp_core.models import build_model
from lrp_core.pruning import PrunedNetwork, load_network, save_network, widths_of
from lrp_core.shrinking import COUNTED, Budget, Descent, Pruning, prune
from lrp_core.study.export import export, load_export
from lrp_core.training import Recipe, Teacher, evaluate, fit

from ..support import check_sentence, frozen, unchanged
from .networks import Concatenated, Residual, Skips, stirred
from .test_coupling import Functions, Mixed, Sized

NOTHING = Recipe(epochs=0)
SHORT = Recipe(epochs=1, batch_size=32)
UNTRAINED = Descent(recipe=NOTHING, explained=40)
TRAINED = Descent(factor=0.5, recipe=SHORT, explained=40)


def bands(n: int, shape: tuple[int, ...] = (1, 8, 8), seed: int = 0, classes: int = 3) -> Split:
    """Noise, and of each class a stretch of inputs that is larger."""
    labels = torch.arange(n) % classes
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))
    flat = x.view(n, -1)
    width = flat.shape[1] // classes
    for row, label in enumerate(labels.tolist()):
        flat[row, label * width : (label + 1) * width] += 0.7
    return Split(x, labels)


def dataset(shape: tuple[int, ...] = (1, 8, 8), n: int = 60, **options: Any) -> Dataset:
    parts = [bands(n, shape, seed) for seed in range(3)]
    return Dataset("bands", ("a", "b", "c"), *parts, **options)


def mlp(shape: tuple[int, ...] = (1, 8, 8), seed: int = 0, bias: bool = True) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        n = torch.Size(shape).numel()
        parts = [nn.Linear(n, 12, bias), nn.ReLU(), nn.Linear(12, 9, bias), nn.ReLU(), nn.Linear(9, 3, bias)]
        return nn.Sequential(nn.Flatten(), *parts).eval()


def made(make: Any, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return stirred(make()).eval()


def pruned(network: nn.Module, data: Any, budget: Budget | None = None, **options: Any) -> Pruning:
    options = {"options": UNTRAINED, "recipe": NOTHING} | options
    return prune(network, data, budget=budget or Budget(macs=0.3), **options)


def cost_of(network: nn.Module, shape: tuple[int, ...]) -> Any:
    return measure_cost(network, None if isinstance(network, PrunedNetwork) else shape)


NETWORKS = {
    "mlp": (mlp, (1, 8, 8)),
    "skips": (lambda: made(Skips), (10,)),
    "residual": (lambda: made(Residual), (1, 8, 8)),
    "concatenated": (lambda: made(Concatenated), (1, 8, 8)),
    "built in": (lambda: build_model("softmax", shape=(1, 8, 8), n_classes=3), (1, 8, 8)),
}


class Sealed(Dataset):
    """A data set whose test split nobody may read."""

    def __getattribute__(self, name: str) -> Any:
        if name == "test":
            raise AssertionError("the test split was read")
        return super().__getattribute__(name)


def sealed(data: Dataset) -> Dataset:
    twin = object.__new__(Sealed)
    twin.__dict__.update(vars(data))
    return twin


@pytest.mark.parametrize("scope", ["both", "inputs", "hidden"])
@pytest.mark.parametrize(
    ("name", "unit"),
    [*((name, "macs") for name in NETWORKS), ("mlp", "parameters"), ("mlp", "bytes")],
)
def test_budgets_are_kept_and_paths_tell_what_networks_cost(name: str, scope: str, unit: str) -> None:
    make, shape = NETWORKS[name]
    network, data = make(), sealed(dataset(shape))
    before = frozen(network)
    if (scope == "inputs" and name in ("residual", "concatenated")) or (scope == "hidden" and name == "built in"):
        with pytest.raises(InputError if scope == "inputs" else UnsupportedLayer) as caught:
            pruned(network, data, Budget.of(unit, 0.6), scope=scope)
        check_sentence(caught.value)
        return
    found = pruned(network, data, Budget.of(unit, 0.6), scope=scope, options=replace(UNTRAINED, factor=0.8))
    assert unchanged(network, before)
    full = getattr(measure_cost(network, shape), unit)
    path = found.path
    assert getattr(cost_of(found.network, shape), unit) == int(path.costs[unit][-1]) <= 0.6 * full
    assert len(set(path.order.tolist())) == len(path.order)
    is_input = path.coupling.is_input[path.order]
    assert not (scope == "hidden" and bool(is_input.any()))
    assert not (scope == "inputs" and bool((~is_input).any()))
    for family in path.coupling.families:
        left = len(family.units) - int(torch.isin(family.units, path.order).sum())
        assert left >= max(1, 0.05 * len(family.units))
    for share in (0.9, 0.7):
        small = found.at(Budget.of(unit, share))
        number = path.removed_at(Budget.of(unit, share))
        for counted in COUNTED:
            assert getattr(cost_of(small, shape), counted) == int(path.costs[counted][number])
        assert int(path.costs[unit][number]) <= share * full
        assert number == 0 or int(path.costs[unit][number - 1]) > share * full
    for rung in path.rungs:
        assert [getattr(rung, counted) for counted in COUNTED] == [
            int(path.costs[counted][rung.removed]) for counted in COUNTED
        ]
    assert not any(module.training for module in found.network.modules())


@pytest.mark.parametrize("name", ["mlp", "skips", "residual"])
def test_the_smaller_network_computes_what_the_full_one_does_on_zeros(name: str) -> None:
    """Where nothing is trained."""
    make, shape = NETWORKS[name]
    network, data = make(), dataset(shape)
    found = pruned(network, data, Budget(macs=0.5), options=UNTRAINED)
    removed, x = found.path.removed(len(found.path.order)), data.train.images[:5]
    small, mask = found.network, None
    if isinstance(small, PrunedNetwork):
        mask = small.mask
        assert mask.shape == shape
    from .networks import reading_zeros

    expected = reading_zeros(network, found.path.coupling, removed, x if mask is None else mask.remove(x))
    actual = small(x if mask is None else mask.apply(x))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "skips"])
def test_the_same_seed_gives_the_same_path_and_network(name: str) -> None:
    make, shape = NETWORKS[name]
    data = dataset(shape)
    one, other = (pruned(make(), data, options=TRAINED, recipe=SHORT, seed=4) for _ in range(2))
    assert torch.equal(one.path.order, other.path.order)
    assert unchanged(one.network, frozen(other.network))
    assert [rung.score for rung in one.path.rungs] == [rung.score for rung in other.path.rungs]
    another = pruned(make(), data, options=replace(TRAINED, explained=20), recipe=SHORT, seed=5)
    assert not unchanged(another.network, frozen(one.network))


def test_paths_are_nested_and_stop_at_budgets_on_the_way() -> None:
    data = dataset()
    network = fit(mlp(), data, recipe=Recipe(epochs=20, batch_size=16, lr=1e-2), device="cpu")
    through = [Budget(macs=0.7), Budget(macs=0.45)]
    found = pruned(network, data, Budget(macs=0.2), through=through, options=TRAINED, recipe=SHORT)
    full = measure_cost(network, (1, 8, 8)).macs
    for budget in through:
        number = found.path.removed_at(budget)
        assert number in [rung.removed for rung in found.path.rungs]
        wide, narrow = found.path.removed(number), found.path.removed(len(found.path.order))
        assert bool((narrow | ~wide).all())
        small = found.at(budget)
        assert cost_of(small, (1, 8, 8)).macs <= budget.value * full
        encode = small.encode if isinstance(small, PrunedNetwork) else None
        assert evaluate(small, data.validation, encode=encode, device="cpu").score > 0.5
    assert unchanged(found.at(Budget(macs=0.2)), frozen(found.network))


@pytest.mark.parametrize("network", [mlp(), made(Skips), made(Residual)], ids=lambda n: type(n).__name__)
def test_a_budget_that_is_met_already_removes_nothing(network: nn.Module) -> None:
    shape = (10,) if isinstance(network, Skips) else (1, 8, 8)
    for budget in (Budget(macs=1.0), Budget(bytes=10**9), Budget(milliseconds=1e6)):
        found = pruned(network, dataset(shape), budget)
        assert len(found.path.order) == 0
        assert unchanged(found.network, frozen(network))
        assert type(found.network) is type(network)


def test_a_unit_that_is_never_active_goes_first() -> None:
    network = mlp()
    with torch.no_grad():
        network[1].bias.fill_(1)
        network[3].bias.fill_(1)[4] = -100
    found = pruned(network, dataset(), Budget(macs=measure_cost(network, (1, 8, 8)).macs - 15), scope="hidden")
    assert found.path.order.tolist() == [int(found.path.coupling.layer("3").rows[4])]


def test_milliseconds_are_measured() -> None:
    """No test asserts a time: only what has to hold whatever it is."""
    network, data = mlp(), dataset()
    with pytest.raises(InputError, match="cannot be met") as caught:
        pruned(network, data, Budget(milliseconds=1e-9), options=replace(UNTRAINED, factor=0.1))
    check_sentence(caught.value)


# Means


def test_a_mean_in_its_place_is_better_than_nothing() -> None:
    data = dataset(n=120)
    network = fit(mlp(), data, recipe=Recipe(epochs=20, batch_size=16, lr=1e-2), device="cpu")
    x = data.validation.images
    errors = []
    for fill_mean in (False, True):
        options = replace(UNTRAINED, factor=0.01, fill_mean=fill_mean, floor=0)
        small = pruned(network, data, Budget(macs=0.85), scope="hidden", criterion="random", options=options).network
        errors.append(float((small(x) - network(x)).detach().square().mean()))
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scope", ["both", "hidden"])
def test_means_go_with_any_network_and_down_any_path(bias: bool, scope: str, tmp_path: Any) -> None:
    data = dataset()
    options = Descent(factor=0.6, recipe=SHORT, explained=40, fill_mean=True)
    found = pruned(mlp(bias=bias), data, Budget(macs=0.3), scope=scope, options=options)
    for small in (found.network, found.at(Budget(macs=0.8)), found.at(Budget(macs=0.5))):
        save_network(small, tmp_path / "net")
        again = load_network(tmp_path / "net", mlp(bias=bias))
        assert unchanged(again, frozen(small))


# Data of all kinds


def test_groups_of_inputs_go_together() -> None:
    groups = (InputGroup("first", (0, 3, 5)), InputGroup("second", (1, 2)))
    found = pruned(made(Skips), dataset((10,), groups=groups), Budget(macs=0.8), scope="inputs")
    kept = set(found.network.mask.indices.tolist())
    for group in groups:
        assert len(kept & set(group.indices)) in (0, len(group.indices))
    assert found.path.coupling.inputs[torch.tensor([0, 3, 5])].unique().numel() == 1


def test_numbers_are_predicted_by_smaller_networks() -> None:
    def part(seed: int) -> Split:
        x = torch.rand(50, 6, generator=torch.Generator().manual_seed(seed))
        return Split(x, x[:, 0] - x[:, 1], numbers=True)

    data = Dataset("sums", (), part(0), part(1), part(2), target=Target("y", 0.0, 1.0))
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)).eval()
    found = pruned(network, data, Budget(macs=0.5), options=TRAINED, recipe=SHORT)
    assert cost_of(found.network, (6,)).macs <= 0.5 * 56
    for criterion in ("taylor", "weight-l2", "random"):
        assert len(pruned(network, data, Budget(macs=0.5), criterion=criterion).path.order)


def test_channels_of_series_can_go() -> None:
    network = build_model("cnn-1d", shape=(4, 16), n_classes=3)
    groups = tuple(InputGroup(f"channel {c}", tuple(range(16 * c, 16 * c + 16))) for c in range(4))
    least = 1 - 2.5 * measure_cost(network, (4, 16)).layers[0].macs / 4 / measure_cost(network, (4, 16)).macs
    data = dataset((4, 16), n=24, groups=groups)
    found = pruned(network, data, Budget(macs=least), scope="inputs", criterion="weight-l2")
    assert len(found.path.order) == 3
    small = found.network
    assert isinstance(small, PrunedNetwork)
    assert measure_cost(small).macs == int(found.path.costs["macs"][-1])
    assert small(small.encode(dataset((4, 16)).train.images)).shape == (60, 3)


def test_a_network_of_vectors_takes_images() -> None:
    network = build_model("mlp-300-100", shape=(64,), n_classes=3)
    found = pruned(network, dataset((1, 8, 8), n=20), Budget(macs=0.2))
    assert found.network.mask.shape == (64,)
    assert found.network.spec == network.spec


def test_bytes_are_images_too() -> None:
    split = bands(40)
    data = Split((split.raw * 100).to(torch.uint8), split.labels)
    assert measure_cost(pruned(mlp(), data).network).macs <= 0.3 * (64 * 12 + 12 * 9 + 27)


# Teachers


def test_teachers_are_listened_to_all_the_way() -> None:
    data = dataset()
    network = fit(mlp(), data, recipe=SHORT, device="cpu")
    teacher = Teacher.of(network, data.train, weight=0.5)
    options = {"options": TRAINED, "recipe": SHORT}
    taught, alone = (pruned(network, data, teacher=one, **options) for one in (teacher, None))
    assert not unchanged(taught.network, frozen(alone.network))
    with pytest.raises(InputError, match="rows"):
        pruned(network, data, teacher=Teacher.of(network, bands(7)), **options)


# Refusals


def refusal(network: nn.Module, data: Any, budget: Budget | None = None, kind: Any = InputError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        pruned(network, data, budget, **options)
    check_sentence(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "options", [{"scope": "all"}, {"criterion": "lrp"}, {"statistic": "most"}, {"start": "end"}], ids=str
)
def test_unknown_names_are_refused(options: dict) -> None:
    assert next(iter(options.values())) in refusal(mlp(), dataset(), **options)


def test_a_budget_below_the_floor_says_the_smallest_that_can_be_met() -> None:
    network, data = mlp(), dataset()
    said = refusal(network, data, Budget(macs=0.001))
    least = int("".join(c for c in said.split(" are left")[0].rsplit("),", 1)[-1] if c.isdigit()))
    assert measure_cost(pruned(network, data, Budget(macs=least)).network).macs <= least
    assert "cannot be met" in refusal(network, data, Budget(macs=least - 1))
    assert "cannot be met" in refusal(network, data, Budget(macs=0.3), options=Descent(floor=1.0, recipe=NOTHING))


def test_a_pruned_network_is_refused() -> None:
    data = dataset()
    for scope in ("inputs", "hidden"):
        small = pruned(mlp(), data, Budget(macs=0.6), scope=scope).network
        assert "pruned already" in refusal(small, data)


def test_no_rows_and_rows_of_another_shape_are_refused() -> None:
    data = dataset()
    assert "empty" in refusal(mlp(), data.train.take(torch.tensor([], dtype=torch.int64)))
    refusal(mlp((1, 8, 7)), data)
    refusal(build_model("mlp-300-100", shape=(63,), n_classes=3), data)
    refusal(made(Residual), bands(12, (2, 8, 8)))


def test_inputs_of_one_channel_make_a_convolution_no_cheaper() -> None:
    assert "no cheaper" in refusal(made(Residual), dataset(), scope="inputs")


def test_budgets_on_the_way_are_in_the_same_unit() -> None:
    refusal(mlp(), dataset(), through=[Budget(bytes=0.5)])
    refusal(mlp(), dataset(), through=[Budget(milliseconds=5)])


def test_another_budget_has_to_be_on_the_path() -> None:
    found = pruned(mlp(), dataset(), Budget(macs=0.5))
    for budget in (Budget(macs=0.2), Budget(milliseconds=3)):
        with pytest.raises(InputError) as caught:
            found.at(budget)
        check_sentence(caught.value)


def test_hooks_are_refused() -> None:
    network = mlp()
    network[1].register_forward_hook(lambda module, given, out: out)
    assert "'1'" in refusal(network, dataset(), kind=UnsupportedLayer)


def test_what_cannot_go_is_noted_and_the_rest_goes() -> None:
    found = pruned(made(Sized), dataset(), Budget(macs=0.9))
    assert any(note.startswith("conv keeps its width") for note in found.notes)
    assert found.network.conv.out_channels == 4
    assert found.network.hidden.out_features < 5


def test_a_network_in_which_nothing_can_go_is_refused_by_the_name_of_a_layer() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(1, 4, 3), nn.Linear(144, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(F.relu(self.conv(x)).view(-1, 144))

    assert "'conv'" in refusal(made(Fixed), dataset(), kind=UnsupportedLayer)
    assert "'linear'" in refusal(made(Functions), dataset((6,)), scope="hidden", kind=UnsupportedLayer)
    refusal(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval(), dataset(), scope="hidden", kind=UnsupportedLayer)


def test_weights_without_a_layer_stay_and_inputs_go() -> None:
    found = pruned(made(Mixed), dataset((6,)), Budget(macs=0.8))
    assert {note.split()[0] for note in found.notes} >= {"first", "second", "third"}
    assert measure_cost(found.network, (6,) if not isinstance(found.network, PrunedNetwork) else None).macs > 0


def test_it_stops_when_it_is_told_to() -> None:
    def stop(*_: Any) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        pruned(mlp(), dataset(), on_rung=stop)


def test_progress_is_told_rung_by_rung() -> None:
    told: list[tuple[int, int, int]] = []
    found = pruned(mlp(), dataset(), on_rung=lambda rung, done, total: told.append((rung.macs, done, total)))
    assert [macs for macs, _, _ in told] == [rung.macs for rung in found.path.rungs[1:]]
    assert [done for _, done, _ in told] == list(range(1, told[-1][2] + 1))


@pytest.mark.parametrize(
    ("name", "scope"),
    [("mlp", "both"), ("mlp", "hidden"), ("skips", "both"), ("skips", "hidden"), ("residual", "hidden")],
)
def test_smaller_networks_are_saved_and_loaded(name: str, scope: str, tmp_path: Any) -> None:
    make, shape = NETWORKS[name]
    data = dataset(shape)
    small = pruned(make(), data, Budget(macs=0.45), scope=scope).network
    assert widths_of(small)
    save_network(small, tmp_path / "net")
    again = load_network(tmp_path / "net", None if name == "mlp" else make())
    assert unchanged(again, frozen(small))
    assert widths_of(again) == widths_of(small)
    x = data.train.images[:4]
    x = small.encode(x) if isinstance(small, PrunedNetwork) else x
    assert torch.equal(again(x), small(x))


@pytest.mark.parametrize(("name", "scope"), [("mlp", "both"), ("residual", "hidden")])
def test_smaller_networks_are_exported(name: str, scope: str, tmp_path: Any) -> None:
    make, shape = NETWORKS[name]
    data = dataset(shape)
    small = pruned(make(), data, Budget(macs=0.5), scope=scope).network
    export(small, tmp_path / "out", data=data)
    found, card = load_export(tmp_path / "out", None if name == "mlp" else make())
    assert unchanged(found, frozen(small))
    assert card["cost"]["macs"] == cost_of(small, shape).macs
