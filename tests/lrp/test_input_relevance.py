"""Relevance at what every layer with weights reads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.errors import InputError
from lrp_core.lrp import COMPOSITES, Explainer

from ..support import check_sentence, frozen, unchanged
from .networks import ARCHITECTURE_NAMES, architecture, images, randomise

X = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Branches(nn.Module):
    """Two layers read the same values, and one of them is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 4)
        self.out = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return self.out(torch.cat([F.relu(self.left(F.relu(self.left(x)))), F.relu(self.right(x))], 1))


@pytest.mark.parametrize("composite", ["lrp-0", "epsilon-plus"])
@pytest.mark.parametrize("name", ARCHITECTURE_NAMES)
def test_of_a_sequence_it_is_what_the_layer_before_passes_on(name: str, composite: str) -> None:
    """At the first layer that reads inputs it is the relevance of the inputs; below the others what explain() says."""
    network = architecture(name, seed=1)
    x = images((1, 12, 12))
    before = frozen(network)
    explainer = Explainer(network, composite)
    found = explainer.input_relevance(x, 1, "log-odds")
    explanation = explainer.explain(x, 1, "log-odds")
    first, *others = found
    assert torch.equal(found[first].reshape(3, -1), explanation.relevance.reshape(3, -1))
    steps = [step.name for step in explainer.steps]
    for layer in others:
        passed = explanation.layers[steps[steps.index(layer) - 1]]
        assert torch.equal(found[layer], passed)
    assert unchanged(network, before)


def test_it_is_in_the_order_of_the_layers_and_in_the_shape_of_what_they_read() -> None:
    network, x = architecture("cnn-32-64"), images((1, 12, 12))
    found = Explainer(network, "lrp-0").input_relevance(x)
    read: dict[str, torch.Size] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_pre_hook(lambda _m, given, name=name: read.update({name: given[0].shape}))
    network(x)
    assert {name: relevance.shape for name, relevance in found.items()} == read
    assert list(found) == list(read)


def test_every_reader_has_its_own_share_and_every_use_its_own_name() -> None:
    network = randomise(Branches(), 0)
    explainer = Explainer(network, "lrp-0")
    found = explainer.input_relevance(X, 0)
    assert list(found) == ["first", "left", "left@2", "right", "out"]
    h = F.relu(network.first(X))
    once = h.detach().clone().requires_grad_()
    right = h.detach().clone().requires_grad_()
    twice = F.relu(network.left(once))
    z = network.out(torch.cat([F.relu(network.left(twice)), F.relu(network.right(right))], 1))[:, 0].sum()
    by_left, by_twice, by_right = torch.autograd.grad(z, [once, twice, right])
    torch.testing.assert_close(found["left"], (once * by_left).detach())
    torch.testing.assert_close(found["left@2"], (twice * by_twice).detach())
    torch.testing.assert_close(found["right"], (right * by_right).detach())
    read = next(step.name for step in explainer.steps if step.name.startswith("relu"))
    torch.testing.assert_close(explainer.explain(X, 0).layers[read], found["left"] + found["right"])


@pytest.mark.parametrize("composite", COMPOSITES)
def test_batches_in_pieces_give_the_same(composite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = randomise(Branches(), 0)
    whole = Explainer(network, composite).input_relevance(X, torch.tensor([0, 1, 2, 0]))
    monkeypatch.setattr("lrp_core.lrp.engine.CACHED_BYTES", 1)
    pieces = Explainer(network, composite).input_relevance(X, torch.tensor([0, 1, 2, 0]))
    for name, relevance in whole.items():
        torch.testing.assert_close(pieces[name], relevance)
        assert pieces[name].is_contiguous()


def test_what_is_given_back_is_nobody_elses() -> None:
    explainer = Explainer(randomise(Branches(), 0), "lrp-0")
    before = explainer.relevance(X, 0)
    for relevance in explainer.input_relevance(X, 0).values():
        relevance.zero_()
    assert torch.equal(explainer.relevance(X, 0), before)


def test_inputs_that_do_not_fit_are_refused() -> None:
    explainer = Explainer(randomise(Branches(), 0), "lrp-0")
    wrong = ((X[:, :5], 0, "logit"), (X, 3, "logit"), (X, torch.tensor([0, 1]), "logit"), (X, 0, "no"))
    for inputs, target, start in wrong:
        with pytest.raises(InputError) as caught:
            explainer.input_relevance(inputs, target, start)
        check_sentence(caught.value)


def test_networks_that_are_read_by_their_first_batch() -> None:
    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.out = nn.Linear(3, 4), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            n, width = x.shape
            return self.out(F.relu(self.first(x.view(n, width // 3, 3))).view(n, -1))

    found = Explainer(randomise(Sized(), 0), "lrp-0").input_relevance(X, 0)
    assert {name: tuple(relevance.shape) for name, relevance in found.items()} == {"first": (4, 2, 3), "out": (4, 8)}
