"""What units are worth."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.data import Split
from lrp_core.errors import InputError
from lrp_core.lrp import COMPOSITES, Explainer
from lrp_core.pruning import Coupling, couple
from lrp_core.shrinking import CONTROLS, score_units, unit_criteria
from lrp_core.shrinking.scores import means_read

from ..support import check_sentence, frozen, unchanged
from .networks import NETWORKS, Concatenated, Residual, Skips, built, rows, stirred


def double(images: Tensor) -> Tensor:
    return images.double()


def some_rows(shape: tuple[int, ...], n: int = 12) -> Split:
    return Split(rows(shape, n).float(), torch.arange(n) % 3)


def scored(network: nn.Module, coupling: Coupling, split: Split, **options: object) -> Tensor:
    return score_units(network, coupling, split, encode=double, **options)


def dense(bias: bool = True, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return (
        nn.Sequential(
            nn.Linear(6, 5, bias=bias), nn.ReLU(), nn.Linear(5, 4, bias=bias), nn.ReLU(), nn.Linear(4, 3, bias=bias)
        )
        .double()
        .eval()
    )


def relevance_of_units(network: nn.Module, coupling: Coupling, split: Split, start: str = "log-odds") -> Tensor:
    """Relevance of every unit for every image, LRP-0: what it has times the gradient by each of its readers alone."""
    twin = copy.deepcopy(network)
    read: list[tuple[Tensor, Tensor, int]] = []
    for layer in coupling.layers:
        if layer.columns is None or layer.follows:
            continue
        module = twin.get_submodule(layer.name)
        axis = -1 if isinstance(module, nn.Linear) else 1

        def hook(_module: nn.Module, given: tuple[Tensor], columns: Tensor = layer.columns, axis: int = axis) -> tuple:
            mine = given[0].clone() if given[0].requires_grad else given[0].clone().requires_grad_()
            read.append((mine, columns, axis))
            return (mine,)

        module.register_forward_pre_hook(hook)
    z = twin(split.images.double())
    own = z.gather(1, split.labels[:, None])[:, 0]
    others = z.scatter(1, split.labels[:, None], -torch.inf).logsumexp(1)
    explained = own - others if start == "log-odds" else own
    gradients = torch.autograd.grad(explained.sum(), [value for value, _, _ in read])
    total = torch.zeros(len(split), coupling.n_units, dtype=torch.float64)
    for (value, columns, axis), gradient in zip(read, gradients, strict=True):
        product = (value.detach() * gradient).movedim(axis, 1).reshape(len(value), len(columns), -1).sum(2)
        for column, unit in enumerate(columns.tolist()):
            if unit >= 0:
                total[:, unit] += product[:, column]
    return total


RECTIFIED = {
    "dense": (dense, (6,)),
    "residual": (lambda: stirred(Residual().double()).eval(), (1, 8, 8)),
    "concatenated": (lambda: stirred(Concatenated().double()).eval(), (1, 8, 8)),
    "skips": (lambda: Skips().double().eval(), (10,)),
}
"""Networks of ReLUs alone, for which relevance under LRP-0 is value times gradient."""


@pytest.mark.parametrize("name", RECTIFIED)
def test_relevance_is_the_sum_over_all_that_read_a_unit(name: str) -> None:
    make, shape = RECTIFIED[name]
    torch.manual_seed(1)
    network, split = make(), some_rows(shape)
    coupling = couple(network, shape)
    expected = relevance_of_units(network, coupling, split).square().mean(0)
    torch.testing.assert_close(scored(network, coupling, split), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", RECTIFIED)
def test_taylor_is_relevance_weighted_by_what_the_network_is_unsure_of(name: str) -> None:
    """The gradient of the cross-entropy is that of the log-odds times -(1 - p_c)."""
    make, shape = RECTIFIED[name]
    torch.manual_seed(1)
    network, split = make(), some_rows(shape)
    coupling = couple(network, shape)
    with torch.no_grad():
        p = network(split.images.double()).softmax(1).gather(1, split.labels[:, None])
    expected = ((1 - p) * relevance_of_units(network, coupling, split)).square().mean(0)
    torch.testing.assert_close(scored(network, coupling, split, criterion="taylor"), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("criterion", unit_criteria())
@pytest.mark.parametrize("name", ["grouped"])
def test_every_criterion_scores_every_unit_and_changes_nothing(name: str, criterion: str) -> None:
    network, shape = built(name)
    before, coupling = frozen(network), couple(network, shape)
    scores = scored(network, coupling, some_rows(shape, 5), criterion=criterion, seed=3)
    assert scores.shape == (coupling.n_units,)
    assert scores.dtype == torch.float64
    assert bool(torch.isfinite(scores).all())
    assert torch.equal(scores, scored(network, coupling, some_rows(shape, 5), criterion=criterion, seed=3))
    assert unchanged(network, before)
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_relevance_is_found_at_every_layer_that_reads_units(name: str) -> None:
    network, shape = built(name)
    reading = {layer.name for layer in couple(network, shape).layers if layer.columns is not None}
    found = Explainer(network, "epsilon-plus", example=rows(shape)).input_relevance(rows(shape))
    assert {called.partition("@")[0] for called in found} >= reading


@pytest.mark.parametrize("criterion", ["taylor", "weight-l1", "weight-l2", "lrp-0", "epsilon-plus"])
def test_permuted_units_have_permuted_scores(criterion: str) -> None:
    network, split = dense(), some_rows((6,))
    coupling = couple(network, (6,))
    order = torch.tensor([3, 0, 4, 1, 2])
    other = copy.deepcopy(network)
    with torch.no_grad():
        other[0].weight.copy_(network[0].weight[order])
        other[0].bias.copy_(network[0].bias[order])
        other[2].weight.copy_(network[2].weight[:, order])
    scores, permuted = (scored(one, coupling, split, criterion=criterion) for one in (network, other))
    units = coupling.layer("0").rows
    torch.testing.assert_close(permuted[units], scores[units[order]])
    rest = [unit for unit in range(coupling.n_units) if unit not in units]
    torch.testing.assert_close(permuted[rest], scores[rest])


@pytest.mark.parametrize("criterion", ["lrp-0", "taylor", "weight-l2"])
def test_permuted_channels_have_permuted_scores(criterion: str) -> None:
    network, shape = built("residual")
    coupling, split, order = couple(network, shape), some_rows(shape), torch.tensor([2, 4, 0, 3, 1])
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.conv1.weight.copy_(network.conv1.weight[order])
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(other.norm1, name).copy_(getattr(network.norm1, name)[order])
        other.conv2.weight.copy_(network.conv2.weight[:, order])
    scores, permuted = (scored(one, coupling, split, criterion=criterion) for one in (network, other))
    units = coupling.layer("conv1").rows
    torch.testing.assert_close(permuted[units], scores[units[order]])


@pytest.mark.parametrize("criterion", ["lrp-0", "taylor", "epsilon-plus"])
def test_a_unit_that_is_never_active_is_worth_nothing(criterion: str) -> None:
    network = dense()
    with torch.no_grad():
        network[0].bias[2] = -100
        network[2].bias.fill_(0.5)
    coupling = couple(network, (6,))
    scores = scored(network, coupling, some_rows((6,)), criterion=criterion)
    dead = int(coupling.layer("0").rows[2])
    assert scores[dead] == 0
    assert int((scores > 0).sum()) > coupling.n_units // 2


@pytest.mark.parametrize("start", ["logit", "log-odds", "contrast"])
def test_relevance_of_every_layer_sums_to_what_is_explained(start: str) -> None:
    """Without biases, and from a start that is homogeneous in the logits."""
    network, split = dense(bias=False), some_rows((6,))
    x = split.images.double()
    explainer = Explainer(network, "lrp-0")
    arrived = explainer.relevance(x, split.labels, start).sum(1)
    for relevance in explainer.input_relevance(x, split.labels, start).values():
        torch.testing.assert_close(relevance.sum(1), arrived)
    if start == "logit":
        torch.testing.assert_close(arrived, network(x).gather(1, split.labels[:, None])[:, 0].detach())


def test_with_biases_it_sums_to_what_they_leave() -> None:
    network, split = dense(), some_rows((6,))
    x = split.images.double()
    explainer = Explainer(network, "lrp-0")
    explanation = explainer.explain(x, split.labels, "logit")
    found = explainer.input_relevance(x, split.labels, "logit")
    assert [entry.layer for entry in explanation.balance] == list(found)[::-1] or len(found) == 3
    for entry in explanation.balance:
        torch.testing.assert_close(found[entry.layer].sum(1), entry.arrived - entry.bias)


def test_weights_are_measured_where_they_stand() -> None:
    """Of a hidden unit those that give it, in its own group; of an input those that read it."""
    network, _ = built("transposed")
    coupling = couple(network, (1, 8, 8))
    scores = scored(network, coupling, some_rows((1, 8, 8)), criterion="weight-l1")
    own = {layer.name: layer.rows for layer in coupling.layers}
    plain = network[2].weight.detach().abs().sum((0, 2, 3))
    expected = torch.zeros(coupling.n_units, dtype=torch.float64).index_add_(0, own["2"], plain)
    torch.testing.assert_close(scores[own["2"]], expected[own["2"]])
    groups = network[4].weight.detach().abs().view(2, 3, 2, 2, 2).sum((1, 3, 4)).flatten()
    deep = network[6].weight.detach().abs().sum((2, 3)).flatten()
    expected.index_add_(0, own["4"], groups).index_add_(0, own["6"], deep)
    torch.testing.assert_close(scores[own["4"]], expected[own["4"]])
    dense_network = dense()
    coupling = couple(dense_network, (6,))
    scores = scored(dense_network, coupling, some_rows((6,)), criterion="weight-l2")
    torch.testing.assert_close(scores[coupling.inputs], dense_network[0].weight.detach().norm(dim=0))
    torch.testing.assert_close(scores[coupling.layer("2").rows], dense_network[2].weight.detach().norm(dim=1))


def test_numbers_are_explained_as_they_are_predicted() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1)).double().eval()
    split = Split(rows((6,), 9).float(), torch.arange(9) / 3, numbers=True)
    coupling = couple(network, (6,))
    scores = scored(network, coupling, split)
    hidden = F.relu(network[0](split.images.double())) * network[2].weight
    torch.testing.assert_close(scores[coupling.layer("0").rows], hidden.detach().square().mean(0))
    for criterion in CONTROLS:
        assert bool(torch.isfinite(scored(network, coupling, split, criterion=criterion)).all())


def test_means_are_those_of_what_is_read() -> None:
    network, split = dense(), some_rows((6,), 300)
    coupling = couple(network, (6,))
    means = means_read(network, coupling, split, encode=double)
    x = split.images.double()
    torch.testing.assert_close(means["0"], x.mean(0))
    torch.testing.assert_close(means["2"], network[:2](x).detach().mean(0))
    maps, shape = built("residual")
    found = means_read(maps, couple(maps, shape), some_rows(shape, 7), encode=double)
    assert {name: len(mean) for name, mean in found.items()} == {"stem": 1, "conv1": 4, "conv2": 5, "head": 4}
    torch.testing.assert_close(found["stem"], some_rows(shape, 7).images.double().mean()[None])


@pytest.mark.parametrize(
    "options", [{"criterion": "lrp"}, {"criterion": ""}, {"statistic": "most"}, {"start": "end"}], ids=str
)
def test_unknown_names_are_refused(options: dict) -> None:
    network = dense()
    with pytest.raises(InputError) as caught:
        scored(network, couple(network, (6,)), some_rows((6,)), **options)
    check_sentence(caught.value)


def test_no_rows_are_refused() -> None:
    network = dense()
    with pytest.raises(InputError, match="empty"):
        scored(network, couple(network, (6,)), some_rows((6,)).take(torch.tensor([], dtype=torch.int64)))


def test_composites_by_name_or_as_they_are() -> None:
    network, split = dense(), some_rows((6,))
    coupling = couple(network, (6,))
    by_name = scored(network, coupling, split, criterion="epsilon-plus")
    assert torch.equal(by_name, scored(network, coupling, split, criterion=COMPOSITES["epsilon-plus"]))
