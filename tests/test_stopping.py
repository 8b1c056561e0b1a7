"""Early stopping against a loop written by hand: when it ends, and whose weights it gives back."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.data import Dataset
from lrp_core.errors import InputError
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, build_pruned
from lrp_core.training import DenseChain, Recipe, evaluate, find_dense_chain, fit, predict_logits

from .support import frozen, is_one_sentence, toy_split, unchanged

CPU = {"device": "cpu"}
LONG = Recipe(epochs=30, batch_size=16, lr=0.02, patience=3)


@pytest.fixture(scope="module")
def noisy() -> Dataset:
    """Small and with a third of the labels wrong, so that the loss on held-out rows soon rises again."""
    parts = [toy_split(n, seed=seed) for n, seed in ((48, 1), (60, 2), (60, 3))]
    random = torch.Generator().manual_seed(0)
    for part in parts:
        wrong = torch.rand(len(part), generator=random) < 0.3
        part.labels[wrong] = (part.labels[wrong] + 1) % 3
    return Dataset("noisy", ("top", "middle", "bottom"), *parts)


def by_hand(model: nn.Module, data: Dataset, recipe: Recipe, encode: Any = None, seed: int = 0) -> list[nn.Module]:
    """The network after every one of the epochs, none left out, by autograd alone."""
    network = copy.deepcopy(model).train()
    if any(p.ndim == 4 for p in network.parameters()):  # other kernels round otherwise, which many steps multiply
        network = network.to(memory_format=torch.channels_last)
    inputs = data.train.inputs if encode is None else encode(data.train.inputs)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    n_batches = -(-len(inputs) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, total_steps=recipe.epochs * n_batches, pct_start=0.21
    )
    random, after = torch.Generator().manual_seed(seed), []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(recipe.epochs):
            for rows in torch.randperm(len(inputs), generator=random).split(recipe.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(network(inputs[rows]), data.train.labels[rows]).backward()
                optimizer.step()
                schedule.step()
            after.append(copy.deepcopy(network).eval())
    return after


def expected_stop(losses: list[float], patience: int) -> tuple[int, int]:
    """The best epoch, and the last one that is trained, both from 1, by looking at all losses at once."""
    for last in range(1, len(losses) + 1):
        best = min(range(last), key=losses.__getitem__) + 1
        if last - best >= patience:
            return best, last
    return min(range(len(losses)), key=losses.__getitem__) + 1, len(losses)


@pytest.mark.parametrize("pruned", [False, True], ids=["all", "encoded"])
@pytest.mark.parametrize("architecture", ["mlp-300-100", "lenet-5", "cnn-32-64"])
def test_it_ends_when_it_should_with_the_weights_of_the_best_epoch(noisy, architecture, pruned):
    model: nn.Module = build_model(architecture, noisy)
    encode = None
    if pruned:
        model = build_pruned(model.spec, PixelMask.from_indices(range(6, 30), noisy.shape))
        encode = model.encode
    after = by_hand(model, noisy, LONG, encode)
    losses = [evaluate(network, noisy.validation, encode=encode, **CPU).loss for network in after]
    best, last = expected_stop(losses, LONG.patience)
    assert best < last < LONG.epochs, "the problem does not have training stop early"
    epochs: list[int] = []
    found = fit(model, noisy, recipe=LONG, encode=encode, on_epoch=lambda epoch, _: epochs.append(epoch), **CPU)
    assert epochs == list(range(1, last + 1))
    # By what they compute: weights before a batch-norm that no gradient reaches follow rounding alone.
    x = noisy.test.inputs if encode is None else encode(noisy.test.inputs)
    apart = [float((predict_logits(n, x, **CPU) - predict_logits(found, x, **CPU)).abs().max()) for n in after[:last]]
    assert apart[best - 1] < 0.01
    assert min(a for epoch, a in enumerate(apart, start=1) if epoch != best) > 10 * apart[best - 1]


@pytest.mark.parametrize("architecture", ["mlp-300-100", "cnn-32-64"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_weights_are_those_of_the_epoch_to_the_last_bit(noisy, architecture, precision, monkeypatch):
    """Seen from inside while they are trained: every time that the loss is measured."""
    from lrp_core.training.stopping import Held

    seen: list[tuple[float, dict[str, Tensor]]] = []
    measure = Held.loss

    def loss(self: Held, network: nn.Module) -> float:
        seen.append((measure(self, network), copy.deepcopy(network.state_dict())))
        return seen[-1][0]

    monkeypatch.setattr(Held, "loss", loss)
    found = fit(build_model(architecture, noisy), noisy, recipe=replace(LONG, precision=precision), **CPU)
    lowest, best = min(seen, key=lambda one: one[0])
    assert unchanged(found, best)
    assert evaluate(found, noisy.validation, **CPU).loss == pytest.approx(lowest, rel=1e-5)


@pytest.mark.parametrize("architecture", ["mlp-300-100", "cnn-32-64"])
def test_a_loss_that_keeps_falling_stops_nothing(toy, architecture):
    """The last epoch is the best one: the very weights that come without early stopping."""
    model = build_model(architecture, toy)
    recipe = Recipe(epochs=5, batch_size=64, lr=2e-3)
    epochs: list[int] = []
    early = fit(model, toy, recipe=replace(recipe, patience=1), on_epoch=lambda n, _: epochs.append(n), **CPU)
    assert epochs == [1, 2, 3, 4, 5]
    assert unchanged(early, frozen(fit(model, toy, recipe=recipe, **CPU)))


def test_the_test_split_is_no_part_of_it(noisy):
    other = replace(noisy, test=toy_split(12, seed=9))
    expected = fit(build_model("softmax", noisy), noisy, recipe=LONG, **CPU)
    assert unchanged(fit(build_model("softmax", noisy), other, recipe=LONG, **CPU), frozen(expected))


def test_held_out_rows_can_be_given_beside_a_split(noisy):
    model = build_model("mlp-300-100", noisy)
    first = fit(model, noisy, recipe=LONG, **CPU)
    given = fit(model, noisy.train, recipe=LONG, validation=noisy.validation, **CPU)
    other = fit(model, noisy, recipe=LONG, validation=noisy.train, **CPU)
    assert unchanged(given, frozen(first))
    assert not unchanged(other, frozen(first)), "rows that are given come before the data set's own"


@pytest.mark.parametrize("of", ["split", "data"])
def test_patience_without_held_out_rows_is_refused(noisy, of):
    nothing = noisy.validation.take(torch.arange(0))
    data = noisy.train if of == "split" else replace(noisy, validation=nothing)
    with pytest.raises(InputError, match=r"^early stopping \(patience=3\) needs held-out rows: ") as caught:
        fit(build_model("softmax", noisy), data, recipe=LONG, **CPU)
    assert is_one_sentence(caught.value)


def test_without_patience_held_out_rows_change_nothing(noisy):
    model, recipe = build_model("mlp-300-100", noisy), replace(LONG, epochs=3, patience=None)
    plain = fit(model, noisy.train, recipe=recipe, **CPU)
    assert unchanged(fit(model, noisy, recipe=recipe, validation=noisy.validation, **CPU), frozen(plain))


# The other optimizer


@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100", "lenet-5", "cnn-32-64"])
def test_gradient_descent_learns(toy, architecture):
    recipe = Recipe(epochs=12, batch_size=16, lr=0.1, weight_decay=0.01, optimizer="sgd")
    trained = fit(build_model(architecture, toy), toy, recipe=recipe, **CPU)
    assert evaluate(trained, toy.test, **CPU).accuracy > 0.95


def test_two_steps_of_gradient_descent_by_hand(toy):
    """Nesterov momentum of 0.9, and weights that shrink by the rate times the decay: momentum leaves that alone."""
    model = build_model("softmax", toy)
    recipe = Recipe(epochs=2, batch_size=240, lr=0.3, weight_decay=0.2, optimizer="sgd")
    trained = fit(model, toy, recipe=recipe, **CPU)
    dummy = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(dummy, 0.3, total_steps=2, pct_start=0.21, cycle_momentum=False)
    network, speed = copy.deepcopy(model), None
    for _ in range(2):
        (rate,) = schedule.get_last_lr()
        gradients = torch.autograd.grad(
            F.cross_entropy(network(toy.train.images), toy.train.labels), list(network.parameters())
        )
        speed = gradients if speed is None else [0.9 * v + g for v, g in zip(speed, gradients, strict=True)]
        with torch.no_grad():
            for weight, g, v in zip(network.parameters(), gradients, speed, strict=True):
                weight.copy_(weight * (1 - rate * 0.2) - rate * (g + 0.9 * v))
        dummy.step()
        schedule.step()
    for found, expected in zip(trained.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_frozen_weights_do_not_shrink(toy):
    model = build_model("mlp-300-100", toy)
    model.fc1.requires_grad_(False)
    trained = fit(model, toy, recipe=Recipe(epochs=2, lr=0.1, weight_decay=0.5, optimizer="sgd"), **CPU)
    assert torch.equal(trained.fc1.weight, model.fc1.weight)
    assert not torch.equal(trained.fc2.weight, model.fc2.weight)


def test_what_is_written_back_is_what_the_optimizer_holds(toy):
    """Also where products are rounded: those roundings are no part of the network."""
    network = build_model("mlp-300-100", toy)
    layers = find_dense_chain(network, 4)
    assert layers is not None
    chain = DenseChain(layers, 8, torch.bfloat16)
    before = torch.cat([p.detach().flatten() for p in network.parameters()])
    with torch.no_grad():
        chain.flat.add_(1e-4)
    chain.write_back()
    assert torch.equal(torch.cat([p.detach().flatten() for p in network.parameters()]), before + 1e-4)
