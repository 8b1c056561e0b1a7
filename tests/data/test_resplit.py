"""Rows that are drawn again: nothing is lost, no group is torn apart, and the raw numbers stay what they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lrp_core as lc
from lrp_core.data import Dataset, Raw, Scaler, Split, open_data, read_data, register_dataset, store
from lrp_core.data.prepared import kept_data
from lrp_core.errors import InputError
from lrp_core.registry import REGISTRIES

from ..support import check_sentence, toy_dataset
from .layouts import frame, make_folders, make_parted_folders, make_series, table

PARTS = ("train", "validation", "test")


def parts_of(data: Dataset) -> list[Split]:
    return [getattr(data, which) for which in PARTS]


def raw_of(data: Dataset) -> torch.Tensor:
    """Every row as it was before anything was taken off it, in the order of the source."""
    rows = torch.cat([part.inputs.double() for part in parts_of(data)])
    if data.scaler is not None:
        shape = data.shape if len(data.scaler.mean) == data.n_inputs else (data.shape[0], *[1] * (len(data.shape) - 1))
        mean, scale = (torch.tensor(v, dtype=torch.float64).view(shape) for v in (data.scaler.mean, data.scaler.scale))
        rows = rows * scale + mean
    return rows[torch.cat([part.indices for part in parts_of(data)]).argsort()]


def labels_of(data: Dataset) -> torch.Tensor:
    return torch.cat([part.labels for part in parts_of(data)])[
        torch.cat([part.indices for part in parts_of(data)]).argsort()
    ]


SEEDS = st.integers(0, 2**32 - 1)


@given(n=st.integers(30, 90), columns=st.integers(1, 4), first=SEEDS, seed=SEEDS, shift=st.floats(-1e3, 1e3))
def test_rows_are_drawn_again(n: int, columns: int, first: int, seed: int, shift: float) -> None:
    """A permutation, stratified, standardised by the new training rows; the scaler takes the raw numbers there."""
    values = np.random.default_rng(n).normal(shift, 3, (n, columns)).astype(np.float32)
    labels = np.arange(n) % 3
    data = read_data((values, labels), split_seed=first).resplit(seed)
    assert sorted(torch.cat([part.indices for part in parts_of(data)]).tolist()) == list(range(n))
    assert torch.equal(labels_of(data), torch.from_numpy(labels))
    for part in parts_of(data):
        counts = part.labels.bincount(minlength=3)
        assert int(counts.max() - counts.min()) <= 1
        assert data.scaler is not None
        expected = data.scaler.apply(torch.from_numpy(values)[part.indices])
        assert torch.allclose(part.inputs, expected, atol=1e-3, rtol=1e-4)
    train = data.train.inputs.double()
    assert torch.allclose(train.mean(0), torch.zeros(columns, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(train.std(0, correction=0), torch.ones(columns, dtype=torch.float64), atol=1e-5)
    assert (len(data.train), len(data.test)) == (n - 2 * round(0.15 * n), round(0.15 * n))


@given(seed=SEEDS, first=SEEDS)
def test_it_is_what_reading_with_that_seed_gives(seed: int, first: int) -> None:
    values, labels = table(70)
    found, expected = (
        read_data((values, labels), split_seed=first).resplit(seed),
        read_data((values, labels), split_seed=seed),
    )
    for part, other in zip(parts_of(found), parts_of(expected), strict=True):
        assert torch.equal(part.indices, other.indices)
        assert torch.equal(part.labels, other.labels)
        assert torch.allclose(part.inputs, other.inputs, atol=1e-5)
    assert found.scaler is not None
    assert expected.scaler is not None
    assert found.scaler.mean == pytest.approx(expected.scaler.mean, abs=1e-5)
    assert found.scaler.scale == pytest.approx(expected.scaler.scale, rel=1e-5)
    assert found.notes == expected.notes


@given(seed=SEEDS)
def test_with_its_own_seed_everything_stays(seed: int) -> None:
    data = read_data(table(), split_seed=seed)
    assert data.resplit(seed).digest == data.digest
    patients = frame().assign(patient=np.arange(60) // 4)
    grouped = read_data(patients, label="kind", groups_column="patient", split_seed=seed)
    assert grouped.resplit(seed).digest == grouped.digest


@given(seed=SEEDS, labels=st.lists(st.integers(0, 1), min_size=12, max_size=20), size=st.integers(1, 5))
def test_no_group_is_in_two_parts(seed: int, labels: list[int], size: int) -> None:
    """Groups of one row are rows by themselves."""
    kinds = np.repeat([*labels, 0, 0, 0, 0, 1, 1, 1, 1], size)
    who = np.repeat(np.arange(len(labels) + 8), size)
    values = np.arange(len(kinds), dtype=np.float32)[:, None]
    try:
        data = read_data({"X": values, "y": kinds, "who": who}, groups_column="who").resplit(seed)
    except InputError as error:
        check_sentence(error)
        return
    inside = [set(who[part.indices.numpy()].tolist()) for part in parts_of(data)]
    assert sum(map(len, inside)) == len(set().union(*inside)) == len(labels) + 8
    assert all(inside)
    assert set(data.train.labels.tolist()) == {0, 1}
    assert any(f"seed {seed}" in note for note in data.notes)


def test_a_group_column_that_tells_every_row_apart_says_nothing() -> None:
    values, labels = table()
    arrays = {"X": values, "y": labels, "who": [f"p{i}" for i in range(len(labels))]}
    assert read_data(arrays, groups_column="who").digest == read_data({"X": values, "y": labels}).digest


@pytest.mark.parametrize("how", ["inputs", "channels", "no"])
def test_series_keep_how_they_are_scaled(how: str, tmp_path: Path) -> None:
    data = read_data(make_series(tmp_path)[0], standardise=how)
    again = data.resplit(3)
    assert torch.allclose(raw_of(again), raw_of(data), atol=1e-4)
    if how == "no":
        assert again.scaler is None
    else:
        assert again.scaler is not None
        assert len(again.scaler.mean) == {"inputs": 12, "channels": 2}[how]
        over = (0,) if how == "inputs" else (0, 2)
        assert torch.allclose(again.train.inputs.mean(over), torch.zeros(1), atol=1e-5)


def test_pictures_stay_bytes(tmp_path: Path) -> None:
    pictures = read_data(make_folders(tmp_path)[0])
    redrawn = pictures.resplit(3)
    assert redrawn.train.is_bytes
    assert torch.equal(raw_of(redrawn), raw_of(pictures))


def test_what_was_constant_in_the_first_training_rows_is_scaled_once_it_varies() -> None:
    """One row of 40 differs: it is among the training rows of some splits, and not of others."""
    values, labels = np.zeros((40, 2), np.float32), np.arange(40) % 2
    values[:, 1], values[7, 0] = np.arange(40), 5.0
    seeds = range(30)
    trained = [7 in read_data((values, labels), split_seed=seed).train.indices for seed in seeds]
    without, within = seeds[trained.index(False)], seeds[trained.index(True)]
    for first, then in ((without, within), (within, without)):
        data = read_data((values, labels), split_seed=first).resplit(then)
        assert data.scaler is not None
        for part in parts_of(data):
            assert torch.allclose(part.inputs, data.scaler.apply(torch.from_numpy(values)[part.indices]), atol=1e-5)


def test_medians_stay_and_the_notes_say_so() -> None:
    rows = frame().astype({"sensor 1": float})
    rows.loc[[3, 4, 17], "sensor 1"] = np.nan
    data = read_data(rows, label="kind", impute="median")
    again = data.resplit(4)
    assert again.imputed == data.imputed
    assert any("drawn first" in note for note in again.notes)
    assert not any("drawn first" in note for note in data.notes)
    (_, median), raw = data.imputed[0], raw_of(again)
    assert raw[[3, 4, 17], 1].tolist() == pytest.approx([median] * 3, abs=1e-4)
    assert len(again.resplit(5).notes) == len(again.notes)


@given(numbers=st.lists(st.tuples(*[st.floats(-1e3, 1e3), st.floats(0.01, 100)] * 2), min_size=1, max_size=4))
def test_two_scalers_in_one(numbers: list[tuple[float, float, float, float]]) -> None:
    m, s, o, t = map(tuple, zip(*numbers, strict=True))
    first, second = Scaler(m, s), Scaler(o, t)
    x = torch.linspace(-5, 5, 3 * len(m)).view(3, -1).double()
    mean, scale = (torch.tensor(v, dtype=torch.float64) for v in (first.then(second).mean, first.then(second).scale))
    one, two, three, four = (torch.tensor(v, dtype=torch.float64) for v in (m, s, o, t))
    assert torch.allclose((x - mean) / scale, ((x - one) / two - three) / four, rtol=1e-9, atol=1e-6)


# What is kept, and what it is known by


def test_blocks_are_kept_in_the_file_and_in_the_digest(own_cache: Path) -> None:
    rows = frame().assign(patient=np.arange(60) // 4)
    data = read_data(rows, label="kind", groups_column="patient", name="patients")
    found = open_data("patients", digest=store(data))
    assert found.blocks is not None
    assert found.blocks.tolist() == (np.arange(60) // 4).tolist()
    assert found.resplit(9).digest == data.resplit(9).digest
    assert open_data("patients", digest=data.digest, split=9).digest == data.resplit(9).digest
    assert open_data("called otherwise", digest=data.digest, split=9).name == "called otherwise"
    made = replace(data, blocks=None)
    assert made.digest != data.digest
    assert made.digest != replace(data, blocks=torch.arange(60)).digest != data.digest
    store(made)
    assert {kept.digest: kept.can_resplit for kept in kept_data()} == {data.digest: True, made.digest: False}


def test_the_digests_of_data_with_parts_of_their_own_are_what_they_were() -> None:
    """Measured before rows could be drawn again: studies of such data go on under their keys."""
    assert toy_dataset().digest == "d7e04e1c738c05f063c177001ed3bcf8"
    values, labels = table()
    parts = [Split(values[i::3], labels[i::3]) for i in range(3)]
    assert Dataset("own", ("a", "b", "c"), *parts).standardised().digest == "eb8aa5ae387b6451e06acc772e0e95ab"


# What cannot be split again


def refused(data: Dataset, seed: int = 1) -> str:
    with pytest.raises(InputError) as caught:
        data.resplit(seed)
    check_sentence(caught.value)
    assert not data.can_resplit or not 0 <= seed < 2**32
    return str(caught.value)


def test_given_parts_are_kept(tmp_path: Path, mnist: Dataset) -> None:
    assert "the parts of mnist were given" in refused(mnist)
    assert "the parts of toy were given" in refused(toy_dataset())
    assert "were given" in refused(read_data(make_parted_folders(tmp_path)[0]))
    values, labels = table()
    arrays: dict[str, Any] = {"x_train": values, "y_train": labels, "x_test": values[:9], "y_test": labels[:9]}
    assert "were given" in refused(read_data(arrays))

    class Own:
        def read(self) -> Raw:
            return Raw(("a", "b", "c"), (values, labels), (values, labels))

    register_dataset("own-set", Own())
    try:
        assert "were given" in refused(lc.load_dataset("own-set"))
    finally:
        REGISTRIES["data set"]._entries.pop("own-set")


def test_only_all_of_the_rows_are_drawn_again() -> None:
    data = read_data(table())
    fewer = replace(data, train=data.train.take(torch.arange(10)))
    assert "no longer all 60 rows" in refused(fewer)
    twice = replace(data, validation=data.test)
    assert "no longer all 60 rows" in refused(twice)


@pytest.mark.parametrize("blocks", [torch.zeros(60), torch.zeros(60, 1, dtype=torch.int64)])
def test_blocks_that_are_none(blocks: torch.Tensor, unchecked: None) -> None:
    with pytest.raises(InputError, match="int64 for each row"):
        replace(read_data(table()), blocks=blocks)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_is_none(seed: int) -> None:
    assert str(seed) in refused(read_data(table()), seed)
    with pytest.raises(InputError, match="seed of a split"):
        read_data(table(), split_seed=seed)
