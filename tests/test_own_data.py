"""Data of one's own: inputs of any shape, bytes or numbers, labels as people have them, kept for every process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lrp_core as lc
from lrp_core.data import DATASETS, Dataset, Raw, Scaler, Split, load_dataset, open_data, register_dataset, store
from lrp_core.errors import InputError, StorageError
from lrp_core.ranking import CRITERIA, rank
from lrp_core.study import Ledger

from .support import NEED_NETWORK

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


def table(n: int = 120, columns: int = 8, seed: int = 0, shift: float = 0.0) -> Split:
    """Numbers of which the first two columns tell the class, and the others nothing; the last one is constant."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    values = torch.randn(n, columns, generator=random, dtype=torch.float64)
    values[:, 0] += 4 * (labels == 1)
    values[:, 1] += 4 * (labels == 2)
    values[:, -1] = 1.0
    return Split(values + shift, labels)


def sensors(**more: object) -> Dataset:
    return Dataset("sensors", ("low", "middle", "high"), table(), table(60, seed=1), table(60, seed=2), **more)


@given(SHAPES, st.sampled_from([torch.float16, torch.float32, torch.float64, torch.int16, torch.int64]))
def test_numbers_stand_for_themselves_whatever_their_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    raw = (torch.arange(4 * int(np.prod(shape))).view(4, *shape) % 7).to(dtype)
    split = Split(raw, [0, 1, 2, 0])
    assert split.shape == shape
    assert split.inputs.dtype == torch.float32
    assert torch.equal(split.inputs, raw.float())
    assert torch.equal(split.indices, torch.arange(4))
    assert torch.equal(split.take(torch.tensor([2, 0])).raw, raw[[2, 0]])


@given(SHAPES)
def test_bytes_stay_bytes_and_stand_for_shares(shape: tuple[int, ...]) -> None:
    raw = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    split = Split(raw, [0, 0, 1])
    assert split.is_bytes
    assert torch.equal(split.inputs, raw.float() / 255)


def test_floats_are_not_divided_once_more() -> None:
    images = torch.rand(6, 1, 4, 4)
    assert torch.equal(Split(images, torch.arange(6)).images, images)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, 2], dtype=np.int32),
        np.array([0, 1, 2], dtype=np.uint8),
        torch.tensor([0.0, 1.0, 2.0]),
        [0, 1, 2],
        (0, 1, 2),
    ],
    ids=str,
)
def test_labels_as_people_have_them(labels: object) -> None:
    split = Split(np.zeros((3, 2)), labels)
    assert split.labels.dtype == torch.int64
    assert split.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("raw", "labels", "words"),
    [
        (torch.zeros(3, 2), [0, 1], "3 rows of inputs but labels of shape"),
        (torch.zeros(3, 2), [0, 1, -1], "counted from 0 on, not -1"),
        (torch.zeros(3, 2), [0.0, 0.5, 1.0], "whole numbers.*row 1 has 0.5"),
        (torch.zeros(3), [0, 1, 2], "a row for each example"),
        (torch.tensor([[0.0], [torch.nan]]), [0, 1], "row 1 holds NaN"),
        (torch.zeros(2, 1, dtype=torch.complex64), [0, 1], "bytes or numbers"),
        (np.array([["a"], ["b"]], dtype=object), [0, 1], "arrays of numbers"),
    ],
)
def test_what_cannot_be_a_split(raw: object, labels: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Split(raw, labels)


def test_what_cannot_be_a_data_set() -> None:
    with pytest.raises(InputError, match="train split"):
        Dataset("own", ("a", "b", "c"), table(), table(columns=7), table())
    with pytest.raises(InputError, match="there are 2 class names"):
        Dataset("own", ("a", "b"), table(), table(), table())
    with pytest.raises(InputError, match="8 inputs but 2 names"):
        sensors(input_names=("one", "two"))


def test_standardised_by_the_training_split_alone() -> None:
    data = Dataset("own", ("a", "b", "c"), table(shift=50.0), table(60, seed=1, shift=50.0), table(60, seed=2))
    scaled = data.standardised()
    assert scaled.scaler == Scaler.fit(data.train)
    values = scaled.train.inputs
    torch.testing.assert_close(values.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(values[:, :-1].std(0, correction=0), torch.ones(7))
    assert not values[:, -1].any(), "a constant input is its mean"
    assert float(scaled.test.inputs.mean()) < -10, "the test split is measured with the training split's numbers"


def test_the_digest_sees_everything() -> None:
    base = sensors()
    others = [
        sensors(input_names=tuple("abcdefgh")),
        base.standardised(),
        Dataset("sensors", ("low", "middle", "top"), base.train, base.validation, base.test),
        Dataset("sensors", base.classes, base.train, base.validation, table(60, seed=9)),
    ]
    digests = {data.digest for data in (base, *others)}
    assert len(digests) == 5
    assert sensors().digest == base.digest


def test_the_digest_of_mnist_is_what_it_was(mnist: Dataset) -> None:
    """Caches of earlier versions are found by it."""
    assert mnist.digest == "8cf65dd991979f9d69a1a4da5a69ea1d"


def test_kept_data_are_found_by_their_digest_and_by_nothing_else(own_cache: Path) -> None:
    data = sensors(input_names=tuple("abcdefgh")).standardised()
    digest = store(data)
    found = open_data("sensors", digest=digest)
    assert found.digest == digest
    assert (found.name, found.classes, found.input_names, found.scaler) == (
        data.name,
        data.classes,
        data.input_names,
        data.scaler,
    )
    assert torch.equal(found.train.inputs, data.train.inputs)
    with pytest.raises(StorageError, match="'sensors' of this study is not here"):
        open_data("sensors", digest="0" * 32)


def test_damaged_kept_data_are_not_believed(own_cache: Path) -> None:
    data = sensors()
    digest = store(data)
    (path,) = (own_cache / "data").glob("own-*.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(StorageError, match="is not here"):
        open_data("sensors", digest=digest)
    store(data)
    assert path.read_bytes() != bytes(content)


def test_own_data_called_mnist_are_what_is_studied(own_cache: Path) -> None:
    """A name that the project knows, too, does not put its data in the place of those that were given."""
    data = Dataset("mnist", ("low", "middle", "high"), table(), table(60, seed=1), table(60, seed=2))
    study = lc.preset("quick", data, architecture="softmax", seeds=(0,), keeps=(4,), criteria=("variance",), epochs=2)
    assert study.data().digest == data.digest
    result = lc.run(study, Ledger(own_cache), jobs=2)
    assert result.network(4).mask.shape == (8,)


class Sensors:
    def read(self) -> Raw:
        train, test = table(), table(60, seed=2)
        return Raw(("low", "middle", "high"), (train.raw, train.labels), (test.raw, test.labels))


def test_a_data_set_is_registered_and_loads_by_its_name() -> None:
    register_dataset("own-sensors", Sensors())
    try:
        data = load_dataset("own-sensors")
        assert (len(data.train), len(data.validation), len(data.test)) == (100, 20, 60)
        assert data.shape == (8,)
        with pytest.raises(InputError, match="reads itself"):
            load_dataset("own-sensors", root="/tmp")
    finally:
        del DATASETS._entries["own-sensors"]
    with pytest.raises(InputError, match="needs a read"):
        register_dataset("nothing", object())  # type: ignore[arg-type]


@pytest.mark.parametrize("criterion", [c for c in CRITERIA if c not in ("centre", "smooth-random")])
def test_every_criterion_ranks_a_table(criterion: str) -> None:
    data = sensors()
    network = lc.fit(lc.build_model("mlp-300-100", data), data, recipe=lc.Recipe(epochs=30, batch_size=20))
    ranking = rank(network if criterion in NEED_NETWORK else None, data.train, criterion=criterion)
    assert ranking.order.sort().values.tolist() == list(range(8))
    if criterion in ("lrp-0", "anova-f", "mutual-information", "extra-trees", "gradient-x-input"):
        assert set(ranking.order[:2].tolist()) == {0, 1}


@pytest.mark.parametrize("criterion", ["centre", "smooth-random"])
def test_a_table_has_no_centre(criterion: str) -> None:
    with pytest.raises(InputError, match="needs images"):
        rank(None, table(), criterion=criterion)


def test_variance_far_from_zero_is_that_near_it() -> None:
    """The difference of two large squares would be all rounding."""
    near, far = (rank(None, table(shift=shift), criterion="variance").scores for shift in (0.0, 1e9))
    torch.testing.assert_close(near[:-1], far[:-1], rtol=1e-5, atol=0)
    assert float(far[-1]) == 0


@pytest.mark.parametrize("strategy", ["elimination", "exchange"])
def test_strategies_find_the_columns_that_tell(strategy: str) -> None:
    data = sensors()
    network = lc.fit(lc.build_model("mlp-300-100", data), data, recipe=lc.Recipe(epochs=30, batch_size=20))
    ranking = rank(network, data.train, strategy=strategy, keep=2 if strategy == "exchange" else None)
    assert set(ranking.order[:2].tolist()) == {0, 1}


def test_arrays_come_in_as_they_are(tmp_path: Path) -> None:
    values: Tensor = table().raw
    assert torch.equal(Split(values.numpy(), table().labels.numpy()).raw, values)
