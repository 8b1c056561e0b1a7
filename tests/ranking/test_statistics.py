"""Streaming statistics against plain numpy over all images at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from lrp_core.errors import InputError
from lrp_core.ranking import STATISTICS, RelevanceStatistics

Array = np.ndarray[Any, Any]
N_CLASSES = 3

OF_NUMPY = {
    "mean": lambda r: r,
    "mean-abs": np.abs,
    "mean-square": np.square,
    "mean-positive": lambda r: np.maximum(r, 0),
}


def test_every_mean_is_there_alone_and_as_the_largest_of_the_classes() -> None:
    assert set(STATISTICS) == {*OF_NUMPY, *(f"max-{name}" for name in OF_NUMPY)}


@st.composite
def samples(draw: st.DrawFn, min_size: int = 0) -> tuple[Array, Array]:
    """Relevance [n, inputs] in float64, and a label for each image; some classes may have no image."""
    shape = (draw(st.integers(min_size, 12)), draw(st.integers(1, 4)))
    relevance = draw(hnp.arrays(np.float64, shape, elements=st.floats(-100, 100)))
    return relevance, draw(hnp.arrays(np.int64, shape[0], elements=st.integers(0, N_CLASSES - 1)))


def collect(relevance: Array, labels: Array, batch_size: int = 5) -> RelevanceStatistics:
    statistics = RelevanceStatistics.empty(N_CLASSES, relevance.shape[1])
    for start in range(0, len(labels), batch_size):
        stop = start + batch_size
        statistics.update(torch.from_numpy(relevance[start:stop]), torch.from_numpy(labels[start:stop]))
    return statistics


def assert_same(actual: Tensor, expected: Array, scale: float = 1.0) -> None:
    assert actual.dtype == torch.float64
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-9 * scale)


def of_numpy(relevance: Array, statistic: str) -> tuple[Array, Array]:
    """Mean over images and its standard error, with NaN where there are too few."""
    values = OF_NUMPY[statistic](relevance)
    n, nothing = len(values), np.full(values.shape[1], np.nan)
    mean = values.mean(0) if n else nothing
    return mean, values.std(0, ddof=1) / np.sqrt(n) if n > 1 else nothing


@pytest.mark.parametrize("statistic", OF_NUMPY)
@given(samples(), st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_mean_and_standard_error_are_numpys(statistic: str, drawn: tuple[Array, Array], batch_size: int) -> None:
    relevance, labels = drawn
    statistics = collect(relevance, labels, batch_size)
    for label in (None, *range(N_CLASSES)):
        chosen = relevance if label is None else relevance[labels == label]
        mean, error = of_numpy(chosen, statistic)
        largest = float(np.abs(OF_NUMPY[statistic](np.abs(relevance))).max(initial=1e-30))
        assert_same(statistics.mean(statistic, label=label), mean, largest)
        # The difference of two moments loses half of the digits where all values are nearly the same.
        actual = statistics.standard_error(statistic, label=label).numpy()
        np.testing.assert_allclose(actual, error, rtol=1e-6, atol=1e-7 * largest)


@pytest.mark.parametrize("statistic", OF_NUMPY)
@given(samples(), st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_the_maximum_is_that_of_the_classes_means(statistic: str, drawn: tuple[Array, Array], batch_size: int) -> None:
    """And its standard error is that of the class it comes from; classes without images are left out."""
    relevance, labels = drawn
    statistics = collect(relevance, labels, batch_size)
    largest = float(np.abs(OF_NUMPY[statistic](np.abs(relevance))).max(initial=1e-30))
    actual = statistics.mean(f"max-{statistic}").numpy()
    if not len(labels):
        assert np.isnan(actual).all()
        return
    classes = sorted(set(labels.tolist()))
    means, errors = zip(*(of_numpy(relevance[labels == c], statistic) for c in classes), strict=True)
    np.testing.assert_allclose(actual, np.max(means, 0), rtol=1e-9, atol=1e-9 * largest)
    found = statistics.standard_error(f"max-{statistic}").numpy()
    for i, error in enumerate(found):
        near = [e[i] for m, e in zip(means, errors, strict=True) if m[i] >= np.max(means, 0)[i] - 2e-9 * largest]
        assert any(np.isclose(error, e, rtol=1e-6, atol=1e-7 * largest, equal_nan=True) for e in near)


def test_the_maximum_keeps_what_matters_to_one_class_alone() -> None:
    """Input 0 matters to class 1, and to no other; input 1 a little to all; class 2 has no image."""
    relevance = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [-2.0, 1.0]])
    statistics = collect(relevance, np.array([0, 0, 0, 1]))
    assert statistics.mean("mean-square").tolist() == [1.0, 1.0]
    assert statistics.mean("max-mean-square").tolist() == [4.0, 1.0]
    assert statistics.mean("max-mean-abs").tolist() == [2.0, 1.0]
    assert statistics.mean("max-mean").tolist() == [0.0, 1.0]
    assert statistics.mean("max-mean-positive").tolist() == [0.0, 1.0]
    assert statistics.standard_error("max-mean-square").isnan().tolist() == [True, False]


def test_relevance_that_is_not_finite_stays_visible_in_the_maximum() -> None:
    statistics = collect(np.array([[1.0, 5.0], [np.nan, 2.0]]), np.array([0, 1]))
    assert statistics.mean("max-mean-abs").isnan().tolist() == [True, False]


@pytest.mark.parametrize("statistic", [name for name in STATISTICS if name.startswith("max-")])
def test_a_maximum_over_classes_is_not_for_one_class(statistic: str) -> None:
    with pytest.raises(InputError, match="over all classes: leave class 1 out"):
        RelevanceStatistics.empty(N_CLASSES, 2).mean(statistic, label=1)


@given(samples(), samples())
@settings(deadline=None, max_examples=40)
def test_merged_is_joint(first: tuple[Array, Array], second: tuple[Array, Array]) -> None:
    n = min(first[0].shape[1], second[0].shape[1])
    a, b = first[0][:, :n], second[0][:, :n]
    parts = collect(a, first[1]), collect(b, second[1])
    before = [part.sums.clone() for part in parts]
    merged = parts[0].merge(parts[1])
    joint = collect(np.concatenate([a, b]), np.concatenate([first[1], second[1]]))
    torch.testing.assert_close(merged.sums, joint.sums, rtol=1e-12, atol=1e-12)
    assert torch.equal(merged.counts, joint.counts)
    assert all(torch.equal(part.sums, then) for part, then in zip(parts, before, strict=True))
    merged.update(torch.ones(1, n), torch.tensor([0]))
    assert all(torch.equal(part.sums, then) for part, then in zip(parts, before, strict=True)), "shares memory"


@given(samples(1), st.integers(1, 12), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_neither_batch_size_nor_order_matters(drawn: tuple[Array, Array], batch_size: int, random: Any) -> None:
    relevance, labels = drawn
    order = list(range(len(labels)))
    random.shuffle(order)
    expected, actual = collect(relevance, labels, 100), collect(relevance[order], labels[order], batch_size)
    torch.testing.assert_close(actual.sums, expected.sums, rtol=1e-12, atol=1e-12)
    assert torch.equal(actual.counts, expected.counts)
    assert actual.counts.tolist() == np.bincount(labels, minlength=N_CLASSES).tolist()


@pytest.mark.parametrize("statistic", OF_NUMPY)
def test_a_class_without_images_is_nan_and_leaves_the_rest_alone(statistic: str) -> None:
    statistics = collect(np.array([[1.0, -2.0], [3.0, 4.0]]), np.array([0, 2]))
    assert statistics.mean(statistic, label=1).isnan().all()
    assert statistics.standard_error(statistic, label=1).isnan().all()
    assert statistics.mean(statistic).isfinite().all()
    assert statistics.standard_error(statistic, label=0).isnan().all(), "one image has no standard error"
    assert statistics.mean(statistic, label=0).isfinite().all()


def test_known_numbers() -> None:
    statistics = collect(np.array([[1.0, -2.0], [3.0, 4.0]]), np.array([0, 1]))
    assert statistics.mean("mean").tolist() == [2.0, 1.0]
    assert statistics.mean("mean-abs").tolist() == [2.0, 3.0]
    assert statistics.mean("mean-square").tolist() == [5.0, 10.0]
    assert statistics.mean("mean-positive").tolist() == [2.0, 2.0]
    assert statistics.mean().tolist() == [5.0, 10.0]
    assert statistics.standard_error("mean-positive").tolist() == [1.0, 2.0]
    assert statistics.standard_error("mean").tolist() == [1.0, 3.0]


def test_images_are_flattened_and_summed_in_double_precision() -> None:
    """A million in single precision swallows what is added after it."""
    statistics = RelevanceStatistics.empty(1, 4)
    statistics.update(torch.full((1, 1, 2, 2), 1e6), torch.tensor([0]))
    for _ in range(50):
        statistics.update(torch.full((10, 1, 2, 2), 1e-3), torch.zeros(10, dtype=torch.int64))
    assert statistics.mean("mean").shape == (4,)
    expected = (1e6 + 500 * float(torch.tensor(1e-3))) / 501
    torch.testing.assert_close(
        statistics.mean("mean"), torch.full((4,), expected, dtype=torch.float64), rtol=1e-13, atol=0
    )


def test_relevance_that_requires_a_gradient_leaves_no_graph() -> None:
    statistics = RelevanceStatistics.empty(1, 3)
    relevance = torch.ones(2, 3, requires_grad=True)
    statistics.update(relevance * 2, torch.zeros(2, dtype=torch.int64))
    assert not statistics.sums.requires_grad


@pytest.mark.parametrize("label", [-1, N_CLASSES, 100])
def test_a_class_that_is_not_there_is_refused(label: int) -> None:
    statistics = RelevanceStatistics.empty(N_CLASSES, 2)
    with pytest.raises(InputError, match=rf"class {label} is not between 0 and 2"):
        statistics.mean(label=label)
    with pytest.raises(InputError, match="between 0 and 2"):
        statistics.standard_error(label=label)


def test_an_unknown_statistic_names_all() -> None:
    with pytest.raises(InputError, match="did you mean 'mean-abs'") as refused:
        RelevanceStatistics.empty(1, 1).mean("mean-absolute")
    assert all(name in str(refused.value) for name in STATISTICS)


@pytest.mark.parametrize("label", [-1, N_CLASSES])
def test_a_label_outside_the_classes_is_refused(label: int) -> None:
    statistics = RelevanceStatistics.empty(N_CLASSES, 2)
    with pytest.raises((InputError, RuntimeError)):
        statistics.update(torch.ones(1, 2), torch.tensor([label]))
    assert not statistics.sums.any()
    assert not statistics.counts.any()


def test_statistics_of_other_classes_cannot_be_merged() -> None:
    """One class must not be spread over all of them."""
    with pytest.raises(InputError):
        RelevanceStatistics.empty(3, 2).merge(RelevanceStatistics.empty(1, 2))
    with pytest.raises(InputError):
        RelevanceStatistics.empty(3, 2).merge(RelevanceStatistics.empty(3, 1))


def test_memory_is_that_of_the_sums_alone() -> None:
    statistics = RelevanceStatistics.empty(N_CLASSES, 7)
    places = statistics.sums.data_ptr(), statistics.counts.shape
    for _ in range(20):
        statistics.update(torch.rand(50, 7), torch.randint(N_CLASSES, (50,)))
    assert (statistics.sums.data_ptr(), statistics.counts.shape) == places
    assert statistics.sums.untyped_storage().nbytes() == 5 * N_CLASSES * 7 * 8
    assert set(vars(statistics)) == {"sums", "counts", "rows"}


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e6])
def test_float32_and_the_sums_of_one_statistic_alone_give_the_same(statistic: str, size: float) -> None:
    """Within a batch sums are taken in float32, of relevance small or large; what is not asked for is not there."""
    random = torch.Generator().manual_seed(3)
    relevance = torch.randn(40, 6, generator=random) * size
    labels = torch.arange(40) % N_CLASSES
    exact = RelevanceStatistics.empty(N_CLASSES, 6)
    quick = RelevanceStatistics.empty(N_CLASSES, 6, statistic)
    for part in range(0, 40, 7):
        exact.update(relevance[part : part + 7].double(), labels[part : part + 7])
        quick.update(relevance[part : part + 7], labels[part : part + 7])
    torch.testing.assert_close(quick.mean(statistic), exact.mean(statistic), rtol=1e-5, atol=1e-7 * size)
    torch.testing.assert_close(quick.standard_error(statistic), exact.standard_error(statistic), rtol=1e-4, atol=0)
    if "square" in statistic:
        assert bool(quick.mean("mean").isnan().all())
