"""A small network learns what a larger one answers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.data import Split
from lrp_core.errors import InputError
from lrp_core.training import Recipe, Teacher, fit
from lrp_core.training.dense import DenseChain

from .support import check_sentence, frozen, toy_split, unchanged

SHORT = Recipe(epochs=2, batch_size=16)


def chain(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 7), nn.ReLU(), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))


def other(seed: int = 0) -> nn.Sequential:
    """Trained by autograd, as it is no chain of dense layers and ReLUs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 7), nn.Tanh(), nn.Linear(7, 3))


def expected_loss(z: Tensor, labels: Tensor, teacher: Tensor, temperature: float, weight: float) -> Tensor:
    """Hinton, Vinyals and Dean 2015, sec. 2, with the divergence in the place of the cross-entropy."""
    p = (teacher / temperature).softmax(1)
    q = (z / temperature).log_softmax(1)
    divergence = (p * (p.log() - q)).sum(1).mean()
    hard = -z.log_softmax(1)[torch.arange(len(z)), labels].mean()
    return (1 - weight) * hard + weight * temperature**2 * divergence


@settings(max_examples=10)
@given(
    temperature=st.floats(0.3, 20),
    weight=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0])),
    seed=st.integers(0, 99),
    n=st.integers(1, 8),
)
def test_the_gradient_written_by_hand_is_that_of_autograd(temperature: float, weight: float, seed: int, n: int) -> None:
    network = chain(seed).double()
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    random = torch.Generator().manual_seed(seed)
    x, labels = torch.rand(n, 36, generator=random, dtype=torch.float64), torch.arange(n) % 3
    logits = torch.randn(n, 3, generator=random, dtype=torch.float64)
    teacher = Teacher(logits, temperature, weight)
    answers = (logits / temperature).softmax(1)
    by_hand = DenseChain(layers, 8)
    found = by_hand.gradient(x, labels, teacher, answers)
    loss = expected_loss(network(x), labels, logits, temperature, weight)
    loss.backward()
    wanted = torch.cat([p.grad.flatten() for p in network.parameters()])
    torch.testing.assert_close(by_hand.flat.grad, wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found, loss.detach())
    torch.testing.assert_close(teacher.loss(network(x), labels, answers).detach(), loss.detach())


@pytest.mark.parametrize("build", [chain, other])
def test_one_step_is_that_of_the_loss(build: Any) -> None:
    """By either way of training: the weights after a single batch of plain autograd."""
    split, network = toy_split(16), build()
    logits = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    teacher = Teacher(logits, 3.0, 0.7)
    recipe = Recipe(epochs=1, batch_size=16)
    trained = fit(network, split, recipe=recipe, seed=0, device="cpu", teacher=teacher)
    twin = build()
    optimizer = recipe.optimize(list(twin.parameters()))
    schedule = recipe.schedule(optimizer, 1)
    expected_loss(twin(split.images), split.labels, logits, 3.0, 0.7).backward()
    optimizer.step()
    schedule.step()
    for ours, theirs in zip(trained.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("build", [chain, other])
def test_without_weight_it_is_plain_training_to_the_last_bit(build: Any) -> None:
    split = toy_split(40)
    teacher = Teacher.of(build(5), split, weight=0.0)
    plain, taught = (fit(build(), split, recipe=SHORT, seed=3, device="cpu", teacher=t) for t in (None, teacher))
    assert unchanged(taught, frozen(plain))


@pytest.mark.parametrize("build", [chain, other])
def test_labels_do_not_count_with_all_the_weight(build: Any) -> None:
    split = toy_split(40)
    wrong = Split(split.raw, (split.labels + 1) % 3)
    teacher = Teacher.of(build(5), split)
    right, other_labels = (
        fit(build(), some, recipe=SHORT, seed=3, device="cpu", teacher=teacher) for some in (split, wrong)
    )
    for a, b in zip(right.parameters(), other_labels.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("build", [chain, other])
def test_a_pupil_comes_to_answer_as_its_teacher(build: Any) -> None:
    split = toy_split(60)
    master = fit(chain(7), split, recipe=Recipe(epochs=10, batch_size=16), seed=1, device="cpu")
    teacher = Teacher.of(master, split, temperature=2.0)
    answers = teacher.for_rows(split)

    def apart(network: nn.Module) -> float:
        return float(F.kl_div((network(split.images) / 2).log_softmax(1), answers, reduction="batchmean").detach())

    pupil = fit(build(), split, recipe=Recipe(epochs=40, batch_size=16, lr=1e-2), seed=1, device="cpu", teacher=teacher)
    assert apart(pupil) < 0.1 * apart(build())


def test_answers_are_those_of_the_rows_in_their_order() -> None:
    split, network = toy_split(30), chain(2)
    teacher = Teacher.of(network, split)
    torch.testing.assert_close(teacher.logits, network(split.images).detach())
    half = Teacher.of(network, split, encode=lambda images: images / 2)
    torch.testing.assert_close(half.logits, network(split.images / 2).detach())
    torch.testing.assert_close(teacher.for_rows(split).sum(1), torch.ones(30))


@pytest.mark.parametrize("build", [chain, other])
@pytest.mark.parametrize("n", [0, 29, 31])
def test_another_number_of_rows_is_refused(build: Any, n: int) -> None:
    teacher = Teacher(torch.zeros(n, 3))
    with pytest.raises(InputError, match="30") as caught:
        fit(build(), toy_split(30), recipe=SHORT, device="cpu", teacher=teacher)
    check_sentence(caught.value)


@pytest.mark.parametrize("build", [chain, other])
@pytest.mark.parametrize("classes", [2, 4])
def test_another_number_of_classes_is_refused(build: Any, classes: int, unchecked: None) -> None:
    with pytest.raises(InputError, match="classes apart") as caught:
        fit(build(), toy_split(30), recipe=SHORT, device="cpu", teacher=Teacher(torch.zeros(30, classes)))
    check_sentence(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": -1.0},
        {"temperature": math.inf},
        {"temperature": math.nan},
        {"weight": -0.01},
        {"weight": 1.01},
        {"weight": math.nan},
    ],
    ids=str,
)
def test_temperatures_and_weights_that_mean_nothing_are_refused(options: dict) -> None:
    for make in (lambda: Teacher(torch.zeros(3, 3), **options), lambda: Teacher.of(chain(), toy_split(3), **options)):
        with pytest.raises(InputError) as caught:
            make()
        check_sentence(caught.value)


def test_numbers_are_refused() -> None:
    numbers = Split(torch.rand(9, 36), torch.rand(9), numbers=True)
    with pytest.raises(InputError, match="classes") as caught:
        Teacher.of(nn.Linear(36, 1), numbers)
    check_sentence(caught.value)
    for network in (nn.Linear(36, 1), nn.Sequential(nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 1))):
        with pytest.raises(InputError, match="numbers") as caught:
            fit(network, numbers, recipe=SHORT, device="cpu", teacher=Teacher(torch.zeros(9, 1)))
        check_sentence(caught.value)


def test_answers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="finite") as caught:
        Teacher(torch.tensor([[0.0, math.nan, 1.0]]))
    check_sentence(caught.value)
