"""Data of your own: inputs of any shape, bytes or numbers, labels as people have them, kept for every process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

import lrp_core as lc
from lrp_core.data import DATASETS, Dataset, Raw, Scaler, Split, load_dataset, open_data, register_dataset, store
from lrp_core.errors import InputError, StorageError
from lrp_core.evaluation.fills import PixelStatistics
from lrp_core.ranking import CRITERIA, Ranking, exchange, rank
from lrp_core.ranking.refinement import refine
from lrp_core.study import Ledger
from lrp_core.study.export import predict

from ..support import NEED_NETWORK

pytestmark = pytest.mark.slow

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
    assert torch.equal(split.take(torch.tensor([2, 0])).inputs, raw[[2, 0]].float())
    assert split.raw.dtype == dtype if dtype.is_floating_point else split.raw.is_floating_point()


NUMBERS = arrays(
    st.sampled_from(["<f2", "<f4", "<f8", ">f4", ">i4", "i1", "<u2", "<u4", "<i8", "?"]),
    st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple),
    elements={"min_value": 0, "max_value": 100},
)


@given(NUMBERS, st.booleans(), st.booleans())
def test_arrays_of_any_kind_are_the_numbers_they_hold(values: np.ndarray, turned: bool, locked: bool) -> None:
    """Foreign byte orders, views from the end, arrays that may not be written to: what files and tables give."""
    given_values = values[::-1] if turned else values
    if locked:
        given_values.setflags(write=False)
    split = Split(given_values, np.zeros(len(values), dtype=">i2"))
    assert np.array_equal(split.inputs.numpy(), given_values.astype(np.float32))


def test_tables_come_in_as_they_are() -> None:
    frame = pd.DataFrame({"a": [0.5, 1.5, 2.5], "b": [1, 2, 3]})
    split = Split(frame, pd.Series([0, 1, 1]))
    assert split.raw.tolist() == frame.to_numpy().tolist()
    with pytest.raises(InputError, match="must be numbers, not object"):
        Split(frame.assign(c="word"), [0, 1, 1])


@given(
    arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.int8, np.uint8]),
        st.integers(1, 6),
        elements={"min_value": 0, "max_value": 9},
    ),
    st.data(),
)
def test_labels_are_converted_exactly_or_refused(labels: np.ndarray, data: st.DataObject) -> None:
    inputs = np.zeros((len(labels), 2))
    if np.array_equal(labels, np.floor(labels)):
        assert Split(inputs, labels).labels.tolist() == labels.tolist()
    else:
        with pytest.raises(InputError, match="whole numbers"):
            Split(inputs, labels)
    with pytest.raises(InputError, match="give one for each"):
        Split(inputs, labels[:-1])
    if labels.dtype.kind != "u":
        wrong = labels.copy()
        wrong[data.draw(st.integers(0, len(labels) - 1))] = -1
        with pytest.raises(InputError):
            Split(inputs, wrong)


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
        (torch.zeros(2, 0), [0, 1], "at least one input"),
        (np.full((2, 1), 1e39), [0, 1], "row 0 holds .*more than float32 can hold"),
        (torch.zeros(2, 1, dtype=torch.complex64), [0, 1], "plain tensor of numbers, not .*torch.complex64"),
        (torch.eye(2).to_sparse(), [0, 1], "plain tensor of numbers"),
        (torch.eye(2, device="meta"), [0, 1], "plain tensor of numbers"),
        (np.array([["a"], ["b"]], dtype=object), [0, 1], "inputs must be numbers, not object"),
        ([[0.0], [1.0, 2.0]], [0, 1], "rows of one length"),
        (torch.zeros(2, 1), ["cat", "dog"], "labels must be numbers"),
        (torch.zeros(2, 1), [np.nan, 0.0], "whole numbers"),
    ],
)
def test_what_cannot_be_a_split(raw: object, labels: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Split(raw, labels)


@pytest.mark.parametrize(
    ("indices", "words"), [([0], "2 rows of inputs but indices of shape"), ([0.5, 1.0], "indices must be whole")]
)
def test_indices_that_cannot_be(indices: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Split(torch.zeros(2, 1), [0, 1], indices)


def test_what_cannot_be_a_data_set() -> None:
    with pytest.raises(InputError, match="test split holds bytes and the train split floats"):
        Dataset("own", ("a", "b", "c"), table(), table(), Split(torch.zeros(3, 8, dtype=torch.uint8), [0, 1, 2]))
    with pytest.raises(InputError, match="scaler is for 3 inputs"):
        sensors(scaler=Scaler((0.0,) * 3, (1.0,) * 3))
    with pytest.raises(InputError, match="scale for each mean"):
        Scaler((0.0,), ())
    with pytest.raises(InputError, match="scales above 0"):
        Scaler((0.0,), (0.0,))
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


@given(st.integers(1, 3), st.integers(1, 4), st.integers(2, 9), st.booleans())
def test_a_scaler_of_channels_is_one_of_the_values_in_them(
    channels: int, length: int, n: int, per_channel: bool
) -> None:
    raw = torch.randn(n, channels, length, generator=torch.Generator().manual_seed(n), dtype=torch.float64) * 3 + 7
    split = Split(raw, torch.zeros(n))
    axes = (0, 2) if per_channel else (0,)
    spread = raw.float().double().std(axes, correction=0, keepdim=True)
    expected = (raw.float() - raw.float().double().mean(axes, keepdim=True)) / spread
    scaler = Scaler.fit(split, per_channel=per_channel)
    torch.testing.assert_close(scaler.apply(split.inputs), expected.float(), rtol=1e-4, atol=1e-4)
    assert len(scaler.mean) == (channels if per_channel else channels * length)
    torch.testing.assert_close(scaler.restore(scaler.apply(split.inputs)), split.inputs, rtol=1e-4, atol=1e-4)


def test_what_is_standardised_is_not_standardised_again() -> None:
    with pytest.raises(InputError, match="standardised already"):
        sensors().standardised().standardised()
    with pytest.raises(InputError, match="for 8 inputs"):
        Scaler.fit(table()).apply(torch.zeros(2, 3))
    with pytest.raises(InputError, match="for 8 inputs"):
        Scaler.fit(table()).restore(torch.zeros(2, 3))


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


@given(SHAPES, st.sampled_from([torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_kept_data_of_any_shape_come_back_as_they_were(
    own_cache: Path, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    split = Split((torch.arange(3 * int(np.prod(shape))).view(3, *shape) % 200).to(dtype), [0, 1, 1], [7, 5, 6])
    data = Dataset("own", ("a", "b"), split, split, split)
    found = open_data("called otherwise", digest=store(data)).test
    assert found.raw.dtype == dtype
    for name in ("raw", "labels", "indices"):
        assert torch.equal(getattr(found, name), getattr(split, name))


def test_what_was_made_of_a_named_data_set_is_ones_own(mnist: Dataset) -> None:
    """`replace` keeps the name, and the files of that name hold something else."""
    few = replace(mnist, test=mnist.test.take(torch.arange(9)))
    assert mnist.is_named
    assert not few.is_named
    assert lc.build_model("softmax", mnist).spec.dataset == "mnist"
    with pytest.raises(InputError, match="built for no named data set"):
        lc.export(lc.build_model("softmax", few), "nowhere")


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
    # In this process: those that earlier tests left behind have a cache folder of their own.
    result = lc.run(study, Ledger(own_cache), jobs=1)
    assert result.network(4).mask.shape == (8,)


class Sensors:
    def read(self) -> Raw:
        train, test = table(), table(60, seed=2)
        return Raw(("low", "middle", "high"), (train.raw, train.labels), (test.raw, test.labels))


@pytest.mark.usefixtures("unchecked")
def test_a_data_set_is_registered_and_loads_by_its_name() -> None:
    register_dataset("own-sensors", Sensors())
    try:
        data = load_dataset("own-sensors")
        assert (len(data.train), len(data.validation), len(data.test)) == (100, 20, 60)
        assert data.shape == (8,)
        assert data.digest == load_dataset("own-sensors").digest
        assert not set(data.train.indices.tolist()) & set(data.validation.indices.tolist())
        assert data.validation.labels.bincount().tolist() in ([7, 7, 6], [7, 6, 7], [6, 7, 7])
        assert not torch.equal(data.validation.indices, load_dataset("own-sensors", split_seed=1).validation.indices)
        with pytest.raises(InputError, match="read by its own read"):
            load_dataset("own-sensors", root="/tmp")
        register_dataset("own-sensors", SimpleNamespace(read=lambda: (1, 2)))
        with pytest.raises(InputError, match="must give Raw"):
            load_dataset("own-sensors")
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


@pytest.mark.parametrize("criterion", ["anova-f", "extra-trees", "mutual-information", "non-constant"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_controls_do_not_mind_where_zero_is(criterion: str, dtype: torch.dtype) -> None:
    """A temperature in kelvin ranks as one in degrees Celsius; whole steps are exact in every type here."""
    raw = (4 * table().raw).round().clamp(-60, 60)
    near, far = Split(raw.to(dtype), table().labels), Split((raw + 2.0**20).double(), table().labels)
    found = [rank(None, split, criterion=criterion).scores for split in (near, far)]
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("search", [exchange, refine])
def test_searches_do_not_mind_where_zero_is(search: Callable[..., Ranking]) -> None:
    raw, start = table().raw, Ranking.from_scores("start", torch.arange(8.0), (8,))
    found = [search(start, Split(raw + shift, table().labels), 2) for shift in (0.0, 1e6)]
    assert torch.equal(found[0].order, found[1].order)
    assert set(found[0].order[:2].tolist()) == {0, 1}


@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100"])
@pytest.mark.parametrize("shape", [(8,), (2, 4), (2, 2, 2)])
def test_networks_masks_and_removal_take_any_shape(architecture: str, shape: tuple[int, ...]) -> None:
    data = replace(
        sensors(), **{name: part.with_raw(part.raw.view(-1, *shape)) for name, part in parts_of(sensors()).items()}
    ).standardised()
    network = lc.fit(lc.build_model(architecture, data), data, recipe=lc.Recipe(epochs=30, batch_size=20))
    assert lc.evaluate(network, data.test).accuracy > 0.8
    mask = rank(network, data.train).mask(keep=3)
    assert {0, 1} <= set(mask.indices.tolist())
    small, inputs = lc.prune_inputs(network, mask), data.test.inputs
    torch.testing.assert_close(small(mask.apply(inputs)), network(mask.remove(inputs)))
    relevance = lc.attribute_images(network, inputs, "lrp-0")
    statistics = PixelStatistics.of(data.train)
    for fill in ("zero", "mean"):
        removed = lc.remove_features(
            network, inputs, data.test.labels, relevance, lc.Removal(fill=fill), 0.25, statistics=statistics
        )
        assert removed.gap.estimate > 0
    curves = lc.perturbation_curves(
        network, inputs, data.test.labels, {"lrp-0": relevance}, lc.Removal(), 4, statistics=statistics
    )
    assert curves.area_between("lrp-0").estimate > 0
    for removal, words in (
        (lc.Removal(fill="noise"), r"values in \[0, 1\]"),
        (lc.Removal(fill="road"), r"values in \[0, 1\]|needs images"),
        (lc.Removal(scope="lit"), "values below it"),
        (lc.Removal(scope="active"), "values below it"),
    ):
        with pytest.raises(InputError, match=words):
            lc.remove_features(network, inputs, data.test.labels, relevance, removal, statistics=statistics)


def test_an_export_of_a_table_predicts_numbers_of_any_size(tmp_path: Path) -> None:
    data = sensors(input_names=tuple("abcdefgh"))
    network = lc.fit(lc.build_model("softmax", data), data, recipe=lc.Recipe(epochs=30, batch_size=20))
    card = lc.export(network, tmp_path / "out", data=data).card
    assert "range" not in card["input"]["normalisation"]
    classes, _ = predict(tmp_path / "out", data.test.inputs)
    right = [data.classes[i] for i in network(data.test.inputs).argmax(1).tolist()]
    assert classes == right


@pytest.mark.parametrize("per_channel", [False, True])
def test_an_export_scales_what_it_is_given_as_its_data_were(per_channel: bool, tmp_path: Path) -> None:
    raw = replace(sensors(), **{k: part.with_raw(part.raw.view(-1, 2, 4)) for k, part in parts_of(sensors()).items()})
    data = raw.standardised(per_channel=per_channel)
    network = lc.fit(lc.build_model("softmax", data), data, recipe=lc.Recipe(epochs=30, batch_size=20))
    lc.export(network, tmp_path / "out", data=data)
    classes, _ = predict(tmp_path / "out", raw.test.inputs)
    assert classes == [data.classes[i] for i in network(data.test.inputs).argmax(1).tolist()]


def parts_of(data: Dataset) -> dict[str, Split]:
    return {name: getattr(data, name) for name in ("train", "validation", "test")}


@pytest.mark.parametrize("strategy", ["elimination", "exchange"])
def test_strategies_find_the_columns_that_tell(strategy: str) -> None:
    data = sensors()
    network = lc.fit(lc.build_model("mlp-300-100", data), data, recipe=lc.Recipe(epochs=30, batch_size=20))
    ranking = rank(network, data.train, strategy=strategy, keep=2 if strategy == "exchange" else None)
    assert set(ranking.order[:2].tolist()) == {0, 1}


def test_arrays_come_in_as_they_are(tmp_path: Path) -> None:
    values: Tensor = table().raw
    assert torch.equal(Split(values.numpy(), table().labels.numpy()).raw, values)
