"""Kernels, machines and their relevance: scikit-learn's own values, plain loops and finite differences as oracles."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics.pairwise import additive_chi2_kernel, chi2_kernel, rbf_kernel
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC
from torch import nn

import lrp_core as lc
from lrp_core.errors import InputError
from lrp_core.neuralised import (
    AdditiveChi2,
    BagOfWords,
    ExpChi2,
    Intersection,
    KernelMachine,
    Linear,
    Rbf,
    WordCounts,
    fit_machine,
    read_machine,
)
from lrp_core.neuralised.kernels import Kernel
from lrp_core.neuralised.roots import root_between
from tests.support import check_sentence

from . import plain

SUMS = (Intersection(), AdditiveChi2(), Linear())
CURVED = (ExpChi2(2.0), Rbf(5.0))
KERNELS = (*SUMS, *CURVED)
EVERY = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
EXACT = pytest.mark.parametrize("kernel", SUMS, ids=lambda kernel: type(kernel).__name__)
TAYLOR = pytest.mark.parametrize("kernel", CURVED, ids=lambda kernel: type(kernel).__name__)


def counts(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Rows of sum 1 with many zeros; the last feature is 0 in all of them."""
    random = np.random.default_rng(seed)
    rows = random.poisson(0.7, (n, d)).astype(float)
    rows[:, 0] += 1
    rows[:, -1] = 0
    return rows / rows.sum(1, keepdims=True)


def labelled(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose class shows in what they count most, with one label in ten at random."""
    rows = counts(n, d, seed)
    labels = rows[:, 1 : classes + 1].argmax(1)
    random = np.random.default_rng(seed + 1)
    return rows, np.where(random.random(n) < 0.1, random.integers(0, classes, n), labels)


def made(kernel: Kernel, classes: int = 3, seed: int = 0) -> tuple[KernelMachine, np.ndarray]:
    """A machine, and rows that it has not seen."""
    rows, labels = labelled(80, 12, classes, seed)
    return fit_machine(rows[:60], labels[:60], kernel, c=5.0), rows[60:]


# Kernels


@EVERY
def test_kernels_are_what_plain_loops_give(kernel: Kernel) -> None:
    x, u = counts(7, 9), counts(5, 9, 1)
    expected = [[plain.kernel(kernel, a, b) for b in u] for a in x]
    assert np.abs(kernel(x, u) - expected).max() < 1e-14
    assert np.linalg.eigvalsh(kernel(x, x)).min() > -1e-12
    assert np.abs(kernel(x, x) - kernel(x, x).T).max() < 1e-14


def test_kernels_are_scikit_learns() -> None:
    x, u = counts(7, 9), counts(5, 9, 1)
    assert np.abs(ExpChi2(0.7)(x, u) - chi2_kernel(x, u, gamma=0.7)).max() < 1e-14
    assert np.abs(Rbf(0.7)(x, u) - rbf_kernel(x, u, gamma=0.7)).max() < 1e-14
    assert np.abs(AdditiveChi2()(x, u) - (1 + additive_chi2_kernel(x, u) / 2)).max() < 1e-14


@TAYLOR
def test_gradients_are_those_of_finite_differences(kernel: Any) -> None:
    """Where features are positive; the gaps at 0 are never asked for."""
    x, u = (torch.from_numpy(counts(n, 9, n) + 0.01) for n in (3, 6))
    a = torch.linspace(-1, 2, 6, dtype=torch.float64)
    found = kernel.gradient(x, u, a)
    h = 1e-6
    for d in range(9):
        step = torch.zeros(9, dtype=torch.float64)
        step[d] = h
        slope = (kernel.matrix(x + step, u) - kernel.matrix(x - step, u)) @ a / (2 * h)
        assert (found[:, d] - slope).abs().max() < 1e-7


# Outputs


@EVERY
@pytest.mark.parametrize("classes", [2, 4])
def test_outputs_are_scikit_learns(kernel: Kernel, classes: int) -> None:
    rows, labels = labelled(90, 12, classes)
    names = np.array(["north", "south", "east", "west"])[labels]
    fitted = OneVsRestClassifier(SVC(kernel=kernel, C=3.0)).fit(rows[:60], names[:60])
    machine = read_machine(fitted, rows[:60])
    outputs = machine(torch.from_numpy(rows[60:])).numpy()
    expected = fitted.decision_function(rows[60:])
    assert np.abs((outputs if classes > 2 else outputs[:, 1]) - expected).max() < 1e-9
    assert [machine.classes[k] for k in outputs.argmax(1)] == fitted.predict(rows[60:]).tolist()
    again = fit_machine(rows[:60], names[:60], kernel, c=3.0)
    assert (again(torch.from_numpy(rows[60:])) - torch.from_numpy(outputs)).abs().max() < 1e-9


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("classes", [2, 3])
def test_scikit_learns_own_kernels_are_read(kernel: str, classes: int) -> None:
    rows, labels = labelled(90, 12, classes)
    fitted = OneVsRestClassifier(SVC(kernel=kernel)).fit(rows[:60] - 0.1, labels[:60])
    outputs = read_machine(fitted)(torch.from_numpy(rows[60:] - 0.1)).numpy()
    assert np.abs((outputs if classes > 2 else outputs[:, 1]) - fitted.decision_function(rows[60:] - 0.1)).max() < 1e-9


def test_a_support_vector_machine_of_two_classes_has_an_output_for_each() -> None:
    rows, labels = labelled(60, 8, 2)
    fitted = SVC(kernel=Intersection()).fit(rows, labels)
    machine = read_machine(fitted, rows)
    outputs = machine(torch.from_numpy(rows)).numpy()
    assert np.abs(outputs[:, 1] - fitted.decision_function(rows)).max() < 1e-9
    assert np.array_equal(outputs[:, 0], -outputs[:, 1])


@EVERY
def test_a_machine_can_be_copied_and_kept_in_a_file(kernel: Kernel) -> None:
    machine, rows = made(kernel)
    x = torch.from_numpy(rows)
    for twin in (copy.deepcopy(machine), pickle.loads(pickle.dumps(machine))):
        assert torch.equal(twin(x), machine(x))
    fresh = made(kernel, seed=0)[0]
    fresh.load_state_dict(machine.state_dict())
    assert torch.equal(fresh(x), machine(x))


# Relevance


@EXACT
@pytest.mark.parametrize("classes", [2, 3])
def test_relevance_of_sums_is_exact(kernel: Kernel, classes: int) -> None:
    machine, rows = made(kernel, classes)
    x = torch.from_numpy(rows)
    found = lc.attribute(machine, x, target="all", composite="lrp-0")
    for k in range(classes):
        for i, row in enumerate(rows):
            assert np.abs(found[i, k].numpy() - plain.exact_relevance(machine, row, k)).max() < 1e-12
    assert (found.sum(2) - machine(x)).abs().max() < 1e-11


@EXACT
@settings(max_examples=10)
@given(seed=st.integers(0, 999), start=st.sampled_from(["logit", "contrast", "log-odds"]))
def test_relevance_conserves_whatever_it_starts_with(kernel: Kernel, seed: int, start: str) -> None:
    machine, rows = made(kernel, seed=seed)
    explanation = lc.Explainer(machine, "epsilon-plus").explain(torch.from_numpy(rows), 1, start)
    arrived = explanation.layers["expansion"].sum(1)
    assert (
        (explanation.relevance.sum(1) - arrived).abs()
        < 1e-11 * (1 + explanation.layers["expansion"].abs().sum(1) * 1e3)
    ).all()


@TAYLOR
@pytest.mark.parametrize("k", [0, 2])
def test_taylor_expansion_is_that_at_a_root(kernel: Any, k: int) -> None:
    """The root is on the line to the nearest support vector of the other sign; the slope is that along the line."""
    machine, rows = made(kernel)
    x = torch.from_numpy(rows)
    layer = machine.expansion
    explanation = lc.Explainer(machine, "lrp-0").explain(x, k)
    needed = np.flatnonzero(layer.coefficients[k].numpy())
    vectors = layer.vectors.numpy()[needed]
    at_vectors = [plain.output(machine, u, k) for u in vectors]
    tested = 0
    for i, row in enumerate(rows[:12]):
        f = plain.output(machine, row, k)
        others = [j for j, value in enumerate(at_vectors) if (value > 0) != (f > 0)]
        others.sort(key=lambda j: plain.kernel(kernel, row, vectors[j]))
        other = vectors[others[-1]]
        tied = plain.kernel(kernel, row, vectors[others[-2]]) > plain.kernel(kernel, row, other) - 1e-9
        along = np.array([plain.output(machine, row + t * (other - row), k) > 0 for t in np.linspace(0, 1, 40)])
        if tied or (along[1:] != along[:-1]).sum() > 1:
            continue  # which vector, or which root, is taken is open
        tested += 1
        low, high = 0.0, 1.0
        for _ in range(45):
            middle = (low + high) / 2
            same = (plain.output(machine, row + middle * (other - row), k) > 0) == (f > 0)
            low, high = (middle, high) if same else (low, middle)
        root = row + low * (other - row)
        h = 1e-7
        expected = np.zeros_like(row)
        for d in np.flatnonzero(row != root):
            step = np.eye(len(row))[d] * h
            slope = (plain.output(machine, root + step, k) - plain.output(machine, root - step, k)) / (2 * h)
            expected[d] = (row[d] - root[d]) * slope
        assert np.abs(explanation.relevance[i].numpy() - expected).max() < 1e-5 * (1 + np.abs(expected).max())
    assert tested >= 8


@TAYLOR
def test_what_taylor_does_not_conserve_stands_in_the_balance(kernel: Kernel) -> None:
    machine, rows = made(kernel)
    x = torch.from_numpy(rows)
    explanation = lc.Explainer(machine, "lrp-0").explain(x)
    (entry,) = explanation.balance
    assert torch.allclose(entry.arrived, machine(x).max(1).values, rtol=0, atol=1e-12)
    assert torch.allclose(entry.left, explanation.relevance.sum(1), rtol=0, atol=1e-12)
    assert torch.allclose(entry.bias, entry.arrived - entry.left, rtol=0, atol=1e-12)
    assert entry.bias.abs().max() > 1e-3


@TAYLOR
def test_near_a_root_taylor_expansion_conserves(kernel: Any) -> None:
    """To first order: rows at a tenth of the distance have less than a tenth of the error."""
    machine, rows = made(kernel, 2)
    x = torch.from_numpy(rows)
    u = machine.expansion.vectors
    f, at_u = machine(x)[:, 1], machine(u)[:, 1]
    other = torch.stack([u[(at_u > 0) != (value > 0)][0] for value in f])
    root, _ = root_between(x, f, other, lambda row: machine(row)[:, 1])
    errors = []
    for share in (0.1, 0.01):
        near = torch.lerp(root, x, share)
        relevance = lc.attribute(machine, near, target=1, composite="lrp-0")
        errors.append((relevance.sum(1) - machine(near)[:, 1]).abs().max())
    assert errors[1] < errors[0] / 20


@TAYLOR
def test_without_a_vector_of_the_other_sign_the_rest_is_shared_out(kernel: Any) -> None:
    vectors = counts(3, 6)
    machine = KernelMachine(kernel, vectors, [[-1.0, -2.0, -1.0], [1.0, 2.0, 1.0]], [-1.0, 1.0], ("a", "b"))
    row = counts(1, 6, 5)
    found = lc.attribute(machine, torch.from_numpy(row), target=1, composite="lrp-0")[0].numpy()
    at_vectors = [plain.output(machine, u, 1) for u in vectors]
    root = vectors[int(np.argmin(at_vectors))]
    nowhere = np.flatnonzero(row[0] == root)
    assert np.allclose(found[nowhere], min(at_vectors) / 6, rtol=1e-12, atol=0)
    assert len(nowhere)


@given(st.floats(-3, 3), st.floats(0.01, 0.99), st.integers(0, 9))
def test_roots_are_roots(slope: float, place: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x, other = torch.rand(2, 4, 3, generator=random, dtype=torch.float64)
    ends = x[:, 0], other[:, 0]

    def function(rows: torch.Tensor) -> torch.Tensor:
        t = (rows[:, 0] - ends[0][-len(rows) :]) / (ends[1] - ends[0])[-len(rows) :]
        return torch.expm1(slope * (t - place)) + 0.1 * (t - place) * (1 if slope >= 0 else -1)

    root, value = root_between(x, function(x), other, function)
    assert value.abs().max() <= 1e-9 * max(function(x).abs().max(), function(other).abs().max()) * 1.01
    assert torch.allclose(root, torch.lerp(x, other, place), rtol=0, atol=1e-6)


def test_a_curved_function_takes_few_steps_too() -> None:
    """The rule of false position alone needs 100 steps and more where one end stays for good."""
    calls = []

    def function(rows: torch.Tensor) -> torch.Tensor:
        calls.append(len(rows))
        return rows[:, 0] ** 10 - 0.3**10

    x, other = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    root, _ = root_between(x, function(x), other, function)
    assert abs(float(root) - 0.3) < 1e-4
    assert len(calls) < 40


def test_the_end_is_kept_where_there_is_no_root() -> None:
    x, other = torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    root, value = root_between(x, torch.ones(2, dtype=torch.float64), other, lambda rows: rows.sum(1) + 1)
    assert torch.equal(root, other)
    assert value.tolist() == [4.0, 4.0]


# Fewer words


@EVERY
@given(st.sets(st.integers(0, 11), min_size=1))
def test_the_small_machine_is_the_full_one_with_words_masked(kernel: Kernel, kept: set[int]) -> None:
    machine, rows = MACHINES[type(kernel)]
    columns = sorted(kept)
    x = torch.from_numpy(rows)
    masked = torch.zeros_like(x)
    masked[:, columns] = x[:, columns]
    small = machine.keep(columns)
    assert small.n_features == len(columns)
    assert (small(x[:, columns]) - machine(masked)).abs().max() < 1e-12
    if kernel in SUMS:
        layer, removed = machine.expansion, [d for d in range(12) if d not in kept]
        parts = np.array([[plain.exact_relevance(machine, row, k) for k in range(3)] for row in rows[:3]])
        gone = (parts - layer.bias.numpy()[None, :, None] / 12)[:, :, removed].sum(2)
        assert np.abs(small(x[:3, columns]).numpy() - (machine(x[:3]).numpy() - gone)).max() < 1e-12


MACHINES = {type(kernel): made(kernel) for kernel in KERNELS}


def test_words_may_be_kept_in_any_order() -> None:
    machine, rows = made(Intersection())
    x = torch.from_numpy(rows)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(machine.keep(order)(x[:, order]), machine(x), rtol=0, atol=1e-12)


# As a network that takes images


@pytest.mark.parametrize("kernel", [Intersection(), AdditiveChi2(), ExpChi2(2.0)])
def test_relevance_reaches_pixels(toy: lc.Dataset, kernel: Kernel) -> None:
    images, x = toy.train.raw.numpy(), toy.test.images.double()
    bag = BagOfWords(size=2, n_words=6, grids=(3,), normalise=False, nearest=2).fit(images)
    machine = fit_machine(bag.transform(images), toy.train.labels.numpy(), kernel, c=10.0)
    network = nn.Sequential(WordCounts(bag), machine)
    encoding = bag.encode(x)
    words = torch.from_numpy(encoding.counts)
    assert torch.equal(network(x), machine(words))
    assert (network(x).argmax(1) == toy.test.labels).double().mean() > 0.9
    pixels = lc.attribute(network, x, target=1, composite="lrp-0")
    of_words = lc.attribute(machine, words, target=1, composite="lrp-0")
    assert np.abs(pixels.numpy() - encoding.to_pixels(of_words)).max() < 1e-12
    if kernel in SUMS:
        assert (pixels.sum((1, 2, 3)) - machine(words)[:, 1]).abs().max() < 1e-11
    few = lc.attribute(network, toy.test.images[:3], composite="lrp-0")
    assert few.dtype == torch.float32


def test_any_network_may_read_counts(toy: lc.Dataset) -> None:
    """A dense layer hands relevance on as a product with the counts."""
    bag = BagOfWords(size=2, n_words=6, grids=(3,), normalise=False).fit(toy.train.raw.numpy())
    layer = nn.Linear(54, 3).double()
    encoding = bag.encode(toy.test.images.double())
    counts = torch.from_numpy(encoding.counts)
    pixels = lc.attribute(nn.Sequential(WordCounts(bag), layer), toy.test.images.double(), target=2, composite="lrp-0")
    expected = encoding.to_pixels((counts * layer.weight[2]).detach().numpy())
    assert np.abs(pixels.numpy() - expected).max() < 1e-12


def test_words_are_ranked_as_inputs_are(toy: lc.Dataset) -> None:
    images = toy.train.raw.numpy()
    bag = BagOfWords(size=2, n_words=6, grids=(3,), normalise=False).fit(images)
    rows = bag.transform(images)
    machine = fit_machine(rows, toy.train.labels.numpy(), Intersection(), c=10.0)
    ranking = lc.rank(machine, lc.Split(rows, toy.train.labels), criterion="lrp-0", start="logit")
    relevance = lc.attribute(machine, torch.from_numpy(rows), target=toy.train.labels, composite="lrp-0")
    expected = (relevance**2).mean(0)
    assert torch.allclose(ranking.scores, expected, rtol=1e-4, atol=1e-9)


# What is refused

ROWS, LABELS = labelled(30, 6, 3)
THREE = SVC().fit(ROWS, LABELS)
TWO = SVC(kernel=Intersection()).fit(ROWS, LABELS > 0)
COMPUTED = SVC(kernel="precomputed").fit(Intersection()(ROWS, ROWS), LABELS > 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((RandomForestClassifier(),), "not RandomForestClassifier"),
        ((SVC(),), "not fitted yet"),
        ((OneVsRestClassifier(SVC()),), "not fitted yet"),
        ((THREE,), "pairs of its 3 classes"),
        ((TWO,), "give it as features"),
        ((TWO, ROWS[:5]), "the 30 rows"),
        ((TWO, ROWS, Linear()), "leave it out"),
        ((COMPUTED, ROWS), "which kernel was precomputed"),
        ((SVC(kernel="poly").fit(ROWS, LABELS > 0),), "'poly' has no relevance"),
        ((SVC(kernel="linear").fit(csr_matrix(ROWS), LABELS > 0),), "dense rows"),
        ((OneVsRestClassifier(RandomForestClassifier(3)).fit(ROWS, LABELS),), "must hold an SVC"),
        ((OneVsRestClassifier(SVC()).fit(ROWS, np.stack([LABELS > 0, LABELS > 1], 1)),), "one label"),
    ],
)
def test_machines_that_cannot_be_read_are_refused(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_machine(*arguments)
    check_sentence(caught.value)


@pytest.mark.parametrize(
    ("rows", "labels", "kernel", "c", "says"),
    [
        (ROWS, LABELS * 0, Linear(), 1.0, "at least two classes"),
        (ROWS - 0.5, LABELS, AdditiveChi2(), 1.0, "never negative"),
        (ROWS - 0.5, LABELS, ExpChi2(), 1.0, "never negative"),
        (ROWS - 0.5, LABELS, Intersection(), 1.0, "never negative"),
        (np.where(ROWS > 0, np.nan, 0), LABELS, Linear(), 1.0, "NaN"),
        (csr_matrix(ROWS), LABELS, Linear(), 1.0, "sparse"),
        (ROWS[0], LABELS, Linear(), 1.0, r"shape \[n, d\]"),
        (ROWS.astype(str), LABELS, Linear(), 1.0, "array of numbers"),
        (ROWS, LABELS[:4], Linear(), 1.0, "one for each of 30 rows"),
        (ROWS, LABELS, Linear(), 0.0, "c must be"),
        (ROWS, LABELS, "linear", 1.0, "kernel must be"),
    ],
)
def test_machines_that_cannot_be_fitted_are_refused(
    rows: Any, labels: Any, kernel: Any, c: Any, says: str, unchecked: None
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        fit_machine(rows, labels, kernel, c=c)
    check_sentence(caught.value)


@pytest.mark.parametrize("gamma", [0.0, -1.0, float("nan"), float("inf"), True, "scale"])
def test_gamma_is_a_positive_number(gamma: Any, unchecked: None) -> None:
    with pytest.raises(InputError, match="gamma must be"):
        Rbf(gamma)


@pytest.mark.parametrize("columns", [[], [0, 0], [12], [-1], [0.5], [True, False]])
def test_columns_that_are_not_there_are_refused(columns: list[Any]) -> None:
    with pytest.raises(InputError, match="columns must be") as caught:
        MACHINES[Intersection][0].keep(columns)
    check_sentence(caught.value)


def test_a_machine_refuses_other_rows_and_other_shapes(unchecked: None) -> None:
    machine, rows = made(Intersection())
    with pytest.raises(InputError, match="12 features, not of 5"):
        machine(torch.from_numpy(rows[:, :5]))
    with pytest.raises(InputError, match="rows of one length"):
        Linear()(rows, rows[:, :5])
    with pytest.raises(InputError, match="never negative"):
        lc.attribute(machine, torch.from_numpy(rows) - 1)
    for factors, bias, classes in (([[1.0, 1.0]], [0.0], ("a",)), ([[1.0], [1.0]], [0.0, 0.0], ("a", "b"))):
        with pytest.raises(InputError, match="at least 2") as caught:
            KernelMachine(Linear(), rows[:2], factors, bias, classes)
        check_sentence(caught.value)
    with pytest.raises(InputError, match="kernel must be"):
        KernelMachine("linear", rows, [[0.0]], [0.0], ("a",))  # type: ignore[arg-type]
