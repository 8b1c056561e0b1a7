"""Gradients of dense chains, against autograd; and which networks are dense chains at all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.data import Dataset, Split
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, build_pruned, prune_inputs
from lrp_core.training import Recipe, evaluate, fit
from lrp_core.training import fitting as training
from lrp_core.training.dense import DenseChain, find_dense_chain

from .support import frozen, unchanged


def dense(*widths: int, seed: int = 0) -> nn.Sequential:
    """Dense layers of these widths with a ReLU between each two."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


def batch(n: int, n_inputs: int, n_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, n_inputs, generator=random, dtype=torch.float64)
    return x, torch.randint(n_classes, (n,), generator=random)


@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    n=st.integers(1, 7),
    spare=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_the_gradient_is_that_of_autograd(widths: list[int], n: int, spare: int, seed: int) -> None:
    network = dense(*widths, seed=seed).double()
    x, labels = batch(n, widths[0], widths[-1], seed)
    chain = DenseChain([layer for layer in network if isinstance(layer, nn.Linear)], n + spare)
    found = chain.gradient(x, labels)
    loss = F.cross_entropy(network(x), labels)
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in network.parameters()])
    assert torch.allclose(found, loss, rtol=1e-12)
    assert torch.allclose(chain.flat.grad, expected, rtol=1e-10, atol=1e-14)


def test_one_batch_leaves_nothing_in_the_next() -> None:
    """A smaller batch after a larger one, in the same buffers; with logits that would overflow an exponential."""
    network = dense(5, 8, 4).double()
    with torch.no_grad():
        network[-1].weight.mul_(1e4)
    layers = [network[0], network[2]]
    used, fresh = DenseChain(layers, 6), DenseChain(layers, 6)
    used.gradient(*batch(6, 5, 4, seed=1))
    x, labels = batch(2, 5, 4, seed=2)
    assert torch.equal(used.gradient(x, labels), fresh.gradient(x, labels))
    assert torch.equal(used.flat.grad, fresh.flat.grad)
    assert bool(torch.isfinite(used.flat.grad).all())


def test_the_layers_change_only_when_they_are_told() -> None:
    network = dense(4, 3, 2)
    before = frozen(network)
    chain = DenseChain([network[0], network[2]], 5)
    with torch.no_grad():
        chain.flat.mul_(2)
    assert unchanged(network, before)
    chain.write_back()
    assert all(torch.equal(p, 2 * before[name]) for name, p in network.named_parameters())
    assert all(p.is_contiguous() and p.untyped_storage().nbytes() == p.nbytes for p in network.parameters())


def test_products_in_another_precision() -> None:
    """Near the exact gradient, as far as 8 significant bits go; what the optimizer changes is not rounded."""
    network = dense(40, 30, 20, 5)
    x, labels = batch(64, 40, 5)
    chain = DenseChain([network[0], network[2], network[4]], 64, torch.bfloat16)
    before = chain.flat.detach().clone()
    found = chain.gradient(x.float(), labels)
    loss = F.cross_entropy(network(x.float()), labels)
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in network.parameters()])
    assert found.dtype == chain.flat.grad.dtype == torch.float32
    assert torch.equal(chain.flat.detach(), before)
    assert 0 < (chain.flat.grad - expected).norm() < 0.03 * expected.norm()
    assert found == pytest.approx(loss.item(), rel=0.01)
    with torch.no_grad():
        chain.flat.mul_(2)  # what a step of the optimizer does has to reach the next batch
    assert chain.gradient(x.float(), labels) != found


class Wrapped(nn.Module):
    """A network that does something with what `body` gives."""

    def __init__(self, body: nn.Module, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.after = body, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.body(x))


def hooked() -> nn.Module:
    network = dense(4, 3, 2)
    network[0].register_forward_hook(lambda layer, x, out: 2 * out)
    return network


def frozen_in_part() -> nn.Module:
    network = dense(4, 3, 2)
    network[0].bias.requires_grad_(False)
    return network


def twice() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer)


def tied() -> nn.Module:
    network = dense(4, 4, 4)
    network[2].weight = network[0].weight
    return network


def unused() -> nn.Module:
    network = Wrapped(dense(4, 3, 2), lambda x: x)
    network.other = nn.Linear(2, 2)
    return network


@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100", "mlp-1000"])
def test_the_dense_architectures_are_chains(architecture: str) -> None:
    full = build_model(architecture, shape=(1, 4, 4), n_classes=3)
    mask = PixelMask.from_indices([1, 5, 6], full.spec.shape)
    for network, n_axes in ((full, 4), (build_pruned(full.spec, mask), 2), (prune_inputs(full, mask), 2)):
        layers = find_dense_chain(network, n_axes)
        assert layers is not None
        assert [id(p) for layer in layers for p in layer.parameters()] == [id(p) for p in network.parameters()]


NO_CHAINS: dict[str, Callable[[], nn.Module]] = {
    "convolutions": lambda: build_model("lenet-5", shape=(1, 8, 8), n_classes=3),
    "batch-norm": lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)),
    "dropout": lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2)),
    "tanh": lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)),
    "no bias": lambda: nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)),
    "no ReLU": lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)),
    "ReLU at the end": lambda: nn.Sequential(nn.Linear(4, 2), nn.ReLU()),
    "ReLU first": lambda: nn.Sequential(nn.ReLU(), nn.Linear(4, 2)),
    "residual sum": lambda: Wrapped(dense(4, 3, 4), lambda x: x + x),
    "softmax": lambda: Wrapped(dense(4, 3, 2), lambda x: x.softmax(1)),
    "branch on values": lambda: Wrapped(dense(4, 3, 2), lambda x: x if x.sum() > 0 else -x),
    "parametrised": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))),
    "float64": lambda: dense(4, 3, 2).double(),
    "no layers": nn.Identity,
    "hook": hooked,
    "frozen in part": frozen_in_part,
    "one layer twice": twice,
    "tied weights": tied,
    "unused layer": unused,
}


@pytest.mark.parametrize("name", NO_CHAINS)
def test_other_networks_are_none(name: str) -> None:
    assert find_dense_chain(NO_CHAINS[name](), 2) is None


def test_inputs_of_several_axes_have_to_be_flattened() -> None:
    """Without that, a dense layer works on the last axis alone."""
    assert find_dense_chain(dense(4, 3, 2), 2) is not None
    assert find_dense_chain(dense(4, 3, 2), 3) is None
    assert find_dense_chain(nn.Sequential(nn.Flatten(), *dense(4, 3, 2)), 3) is not None
    assert find_dense_chain(nn.Sequential(nn.Flatten(2), *dense(4, 3, 2)), 3) is None


@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100"])
@pytest.mark.parametrize("n", [240, 65])
def test_fit_gives_what_autograd_gives(
    toy: Dataset, architecture: str, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same steps, so the same weights up to rounding; with a last batch that is smaller, and one that is larger."""
    model, recipe = build_model(architecture, toy), Recipe(epochs=3, batch_size=32, lr=1e-2)
    split: Split = toy.train.take(torch.arange(n))
    told: list[list[float]] = []

    def trained() -> nn.Module:
        told.append([])
        return fit(model, split, recipe=recipe, device="cpu", on_epoch=lambda _, loss: told[-1].append(loss))

    by_hand = trained()
    monkeypatch.setattr(training, "find_dense_chain", lambda *_: None)
    by_autograd = trained()
    assert told[0] == pytest.approx(told[1], rel=1e-4)
    for found, expected in zip(by_hand.parameters(), by_autograd.parameters(), strict=True):
        assert torch.allclose(found, expected, atol=1e-3)
    first, second = (evaluate(network, toy.test, device="cpu") for network in (by_hand, by_autograd))
    assert first.accuracy == second.accuracy
    assert first.loss == pytest.approx(second.loss, rel=1e-3)
