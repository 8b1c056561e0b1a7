"""Data from files as people have them, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lrp_core as lc
from lrp_core.data import InputGroup, read_data
from lrp_core.data.files.arrays import role_of
from lrp_core.data.files.labels import classes_of
from lrp_core.errors import InputError

from ..support import check_sentence
from .layouts import (
    COLOURS,
    N,
    frame,
    make_csv,
    pictures,
    refused,
    table,
    write,
    write_folders,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# What becomes of what is read


def test_numbers_are_standardised_by_the_training_rows_alone(tmp_path: Path) -> None:
    path = make_csv(tmp_path)[0]
    plain, scaled = read_data(path, standardise="no"), read_data(path)
    expected = plain.standardised()
    assert scaled.scaler == expected.scaler
    for one, other in ((scaled.train, expected.train), (scaled.test, expected.test)):
        assert torch.equal(one.raw, other.raw)
        assert torch.equal(one.indices, other.indices)
    assert scaled.input_names == tuple(f"sensor {i}" for i in range(4))
    assert scaled.classes == ("high", "low", "middle")


def test_rows_stay_with_their_labels_and_positions(tmp_path: Path) -> None:
    values, labels = table(200)
    data = read_data((values, labels), standardise="no")
    splits = (data.train, data.validation, data.test)
    assert sorted(torch.cat([split.indices for split in splits]).tolist()) == list(range(200))
    for split in splits:
        assert np.array_equal(split.raw.numpy(), values[split.indices].astype(np.float32))
        assert np.array_equal(split.labels.numpy(), labels[split.indices])
    assert read_data((values, labels)).digest == read_data((values, labels)).digest
    assert read_data((values, labels), split_seed=1).digest != read_data((values, labels)).digest


def test_what_was_given_in_python_is_not_changed() -> None:
    values, labels = table()
    values = values.astype(np.float32)
    before = values.copy()
    for given_data in ((values, labels), {"X": torch.from_numpy(values), "y": labels}, frame()):
        read_data(given_data)
    assert np.array_equal(values, before)
    named = frame()
    read_data(named)
    assert named.equals(frame())


def test_frames_arrays_and_files_are_the_same_data(tmp_path: Path) -> None:
    path = make_csv(tmp_path)[0]
    table_of = pd.read_csv(path)
    inputs = table_of.drop(columns="kind")
    from_file = read_data(path, name="own")
    assert read_data(table_of).digest == from_file.digest
    assert read_data((inputs, table_of["kind"]), label="kind").digest == from_file.digest
    unnamed = read_data((inputs.to_numpy(), table_of["kind"].to_numpy()))
    assert unnamed.input_names is None
    assert torch.equal(unnamed.train.raw, from_file.train.raw)


def test_words_become_indicators_in_one_group(tmp_path: Path) -> None:
    rows = frame().assign(colour=[COLOURS[i % 3] for i in range(N)], wet=["yes", "no"] * 30)
    rows = rows[["colour", "sensor 0", "wet", "sensor 1", "kind"]]
    rows.to_csv(tmp_path / "mixed.csv", index=False)
    for source in (tmp_path / "mixed.csv", rows, rows.astype({"colour": "category"})):
        data = read_data(source, standardise="no")
        assert data.input_names == (
            *("colour=blue", "colour=green", "colour=red", "sensor 0"),
            *("wet=no", "wet=yes", "sensor 1"),
        )
        assert data.groups == (InputGroup("colour", (0, 1, 2)), InputGroup("wet", (4, 5)))
        for split in (data.train, data.validation, data.test):
            for row, place in zip(split.raw.tolist(), split.indices.tolist(), strict=True):
                assert row[:3] == [float(rows["colour"][place] == c) for c in ("blue", "green", "red")]
                assert row[4:6] == [float(rows["wet"][place] == w) for w in ("no", "yes")]
                assert row[3] == pytest.approx(rows["sensor 0"][place])


def test_missing_values_are_imputed_from_the_training_rows(tmp_path: Path) -> None:
    rows = frame().assign(colour=[COLOURS[i % 3] for i in range(N)])
    rows.loc[[0, 7, 30, 31], "sensor 2"] = np.nan
    rows.loc[[4, 5], "colour"] = None
    rows = rows[[*(c for c in rows.columns if c != "kind"), "kind"]]
    rows.to_csv(tmp_path / "gaps.csv", index=False)
    said = refused(tmp_path / "gaps.csv")
    assert "column 'sensor 2' (4 rows)" in said
    assert "column 'colour' (2 rows)" in said
    data = read_data(tmp_path / "gaps.csv", impute="median", standardise="no")
    median = float(rows["sensor 2"].iloc[data.train.indices.tolist()].median())
    assert data.imputed == ((2, pytest.approx(median, rel=1e-6)),)
    for split in (data.train, data.validation, data.test):
        for row, place in zip(split.raw.tolist(), split.indices.tolist(), strict=True):
            expected = median if place in (0, 7, 30, 31) else rows["sensor 2"][place]
            assert row[2] == pytest.approx(expected, rel=1e-6)
            assert row[data.input_names.index("colour=(missing)")] == (place in (4, 5))
    assert any("training median" in note for note in data.notes)
    network = lc.fit(lc.build_model("softmax", data), data, recipe=lc.Recipe(epochs=1))
    card = lc.export(network, tmp_path / "small", data=data).card
    assert card["input"]["imputed"] == {"2": pytest.approx(median, rel=1e-6)}
    assert card["input"]["groups"][0]["name"] == "colour"
    assert any("training median" in note for note in card["data"]["notes"])
    rows["sensor 2"] = np.nan
    assert "no value in column 'sensor 2'" in refused(rows, impute="median", label="kind")


def test_groups_of_rows_stay_together(tmp_path: Path) -> None:
    rows = frame(120).assign(patient=[f"p{i // 6}" for i in range(120)])
    rows.to_csv(tmp_path / "patients.csv", index=False)
    data = read_data(tmp_path / "patients.csv", label="kind", groups_column="patient")
    patients = [set(rows["patient"][split.indices.tolist()]) for split in (data.train, data.validation, data.test)]
    assert sum(map(len, patients)) == 20
    assert patients[0] | patients[1] | patients[2] == set(rows["patient"])
    assert all(patients)
    assert data.input_names == tuple(f"sensor {i}" for i in range(4))
    again = read_data(tmp_path / "patients.csv", label="kind", groups_column="patient", split_seed=3)
    assert again.digest != data.digest
    few = rows.assign(patient=["a", "b"] * 60)
    assert "2 different groups of rows" in refused(few, label="kind", groups_column="patient")
    alone = rows.assign(patient=rows["kind"])
    assert "so few groups of rows that none is left to train on" in refused(
        alone, label="kind", groups_column="patient"
    )
    rows.loc[5, "patient"] = None
    assert "row 5 (counted from 0) is in no group" in refused(rows, label="kind", groups_column="patient")


@given(
    st.integers(3, 9),
    st.integers(1, 4),
    st.lists(st.integers(0, 3), min_size=12, max_size=60),
    st.integers(0, 5),
)
def test_no_group_of_rows_is_in_two_parts(n_groups: int, seed: int, labels: list[int], split_seed: int) -> None:
    belongs = np.random.default_rng(seed).integers(0, n_groups, len(labels))
    arrays = {"X": np.arange(len(labels), dtype=float)[:, None], "y": np.array(labels), "who": belongs}
    try:
        data = read_data(arrays, groups_column="who", split_seed=split_seed)
    except InputError as error:
        check_sentence(error)
        return
    found = [set(belongs[split.indices.numpy()].tolist()) for split in (data.train, data.validation, data.test)]
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]
    assert set(data.train.labels.tolist()) == set(range(len(data.classes)))


def test_fewer_rows_than_columns(tmp_path: Path) -> None:
    values, labels = table(24, 500)
    data = read_data((values, labels))
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 4)
    network = lc.fit(lc.build_model("softmax", data), data, recipe=lc.Recipe(epochs=5))
    assert len(lc.rank(network, data.train).order) == 500


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (["b", "a", "b", "c", "a", "c"], ("a", "b", "c"), [1, 0, 1, 2, 0, 2]),
        (np.array([1, 10, 2, 10, 1, 2], dtype=np.uint8), ("1", "2", "10"), [0, 2, 1, 2, 0, 1]),
        (np.array([1.0, 3.0, 1.0, 3.0]), ("1", "3"), [0, 1, 0, 1]),
        (["1", "10", "2.0", "10", "1", "2"], ("1", "2", "10"), [0, 2, 1, 2, 0, 1]),
        ([True, False, True, False], ("False", "True"), [1, 0, 1, 0]),
        (np.array([[3], [4], [3], [4]]), ("3", "4"), [0, 1, 0, 1]),
        (np.array([[0, 1], [1, 0], [0, 1], [1, 0]]), ("0", "1"), [1, 0, 1, 0]),
        (np.array([-1, 1, -1, 1]), ("-1", "1"), [0, 1, 0, 1]),
        ([b"no", b"yes", b"no", b"yes"], ("no", "yes"), [0, 1, 0, 1]),
        (pd.Series(["x", "y"] * 2, index=[5, 6, 7, 8]).astype("category"), ("x", "y"), [0, 1, 0, 1]),
    ],
)
def test_labels_are_taken_as_people_have_them(labels: Any, classes: tuple[str, ...], codes: list[int]) -> None:
    found, names = classes_of(labels, "it", str)
    assert names == classes
    assert found.tolist() == codes
    assert found.dtype == np.int64


def test_labels_that_pandas_keeps_as_objects() -> None:
    values, _ = table(12)
    words = pd.Series(["b", "a", "b"] * 4, dtype=object)
    assert read_data((values, words)).classes == ("a", "b")
    words[5] = None
    assert "row 5 (counted from 0) has no label" in refused((values, words))
    assert "holds objects" in refused((values, np.array([{}] * 12)))


def test_a_class_without_a_row_is_none_of_the_data() -> None:
    found, names = classes_of(np.array([0, 2, 0, 2]), "it", str, ("cat", "dog", "owl"))
    assert (found.tolist(), names) == ([0, 1, 0, 1], ("cat", "owl"))


def test_a_class_may_be_called_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,kind\n" + "1,None\n2,NA\n" * 9)
    assert read_data(path, label="kind").classes == ("NA", "None")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("x_train", ("train", "inputs")),
        ("y_test", ("test", "labels")),
        ("train_images", ("train", "inputs")),
        ("val_labels", ("validation", "labels")),
        ("X", ("all", "inputs")),
        ("XTrain", ("train", "inputs")),
        ("target", ("all", "labels")),
        ("weights", ("all", None)),
    ],
)
def test_arrays_are_known_by_their_names(name: str, role: tuple[str, str | None]) -> None:
    assert role_of(name) == role


@pytest.mark.parametrize(
    ("values", "shape", "is_bytes"),
    [
        (np.zeros((9, 5)), (5,), False),
        (np.zeros((9, 5), np.uint8), (5,), False),
        (np.zeros((9, 4, 4), np.uint8), (1, 4, 4), True),
        (np.zeros((9, 4, 6), np.uint8), (1, 4, 6), True),
        (np.full((9, 4, 4), 200, np.int32), (1, 4, 4), True),
        (np.full((9, 4, 4), 200.0), (1, 4, 4), True),
        (np.full((9, 4, 4), 0.5), (1, 4, 4), False),
        (np.zeros((9, 2, 50)), (2, 50), False),
        (np.zeros((9, 4, 4, 3), np.uint8), (3, 4, 4), True),
        (np.zeros((9, 3, 4, 4), np.uint8), (3, 4, 4), True),
        (np.zeros((9, 4, 4, 1), np.uint8), (1, 4, 4), True),
    ],
)
def test_arrays_get_the_shape_that_networks_take(values: np.ndarray, shape: tuple[int, ...], is_bytes: bool) -> None:
    data = read_data((values, np.arange(9) % 3))
    assert data.shape == shape
    assert data.train.is_bytes == is_bytes


def test_colours_stay_where_they_are(tmp_path: Path) -> None:
    last = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
    labels = np.arange(12) % 2
    data = read_data((last, labels))
    assert np.array_equal(data.test.raw.numpy(), last[data.test.indices].transpose(0, 3, 1, 2))
    write_folders(tmp_path, last, labels)
    from_files = read_data(tmp_path)
    assert from_files.shape == (3, 5, 4)
    where = {i: last[int(i)] for i in range(12)}
    first = [i for i in range(12) if labels[i] == 1] + [i for i in range(12) if labels[i] == 0]
    for split in (from_files.train, from_files.test):
        for raw, place in zip(split.raw.numpy(), split.indices.tolist(), strict=True):
            assert np.array_equal(raw, where[first[place]].transpose(2, 0, 1))
    assert read_data(tmp_path, image_size=(1, 5, 4)).shape == (1, 5, 4)
    assert read_data(tmp_path, image_size=(10, 8)).shape == (3, 10, 8)


def test_rows_of_a_table_become_images_or_series_on_request(tmp_path: Path) -> None:
    values, labels = table(columns=12)
    names = [f"{sensor} {i}" for sensor in ("left", "right") for i in range(6)]
    rows = pd.DataFrame(values, columns=names).assign(y=labels)
    series = read_data(rows, series=(2, 6))
    assert series.shape == (2, 6)
    assert series.groups == (InputGroup("left", tuple(range(6))), InputGroup("right", tuple(range(6, 12))))
    assert series.input_names == tuple(names)
    assert len(series.scaler.mean) == 2
    image = read_data(rows, image_size=(3, 4))
    assert image.shape == (1, 3, 4)
    assert image.input_names is None
    assert not image.train.is_bytes
    turned = values.reshape(N, 2, 6).transpose(0, 2, 1)
    assert torch.equal(read_data((turned, labels), series=(2, 6)).test.raw, series.test.raw)
    assert read_data((values, labels), series=(3, 4)).groups[2] == InputGroup("channel 2", (8, 9, 10, 11))


@pytest.mark.filterwarnings("error")
def test_labels_beside_a_frame_are_taken_as_beside_arrays(tmp_path: Path) -> None:
    """A wide frame from a file has a block for each column, and adding one more has pandas warn."""
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(N, 150))).add_prefix("gene ")
    rows.to_csv(tmp_path / "wide.csv", index=False)
    wide = pd.read_csv(tmp_path / "wide.csv").set_axis([0] * N)  # frames that were put together repeat their index
    labels = np.arange(N) % 3
    expected = read_data((rows.to_numpy(), labels))
    with_old = pd.concat([wide, pd.Series(0.5, wide.index, name="label")], axis=1)
    forms = (labels, labels[:, None], labels.tolist(), pd.Series(labels), np.eye(3, dtype=int)[labels])
    for inputs, form in [(with_old, labels), *((wide, form) for form in forms)]:
        data = read_data((inputs, form))
        assert data.input_names == tuple(rows.columns)
        assert torch.equal(data.train.labels, expected.train.labels)
        torch.testing.assert_close(data.train.inputs, expected.train.inputs)
    with pytest.raises(InputError, match=r"the frame has labels of shape \(\d+, 2\): give one for each row"):
        read_data((wide, rows.to_numpy()[:, :2]))


def test_a_table_without_a_header(tmp_path: Path) -> None:
    images, labels = pictures()
    rows = np.column_stack([labels, images.reshape(N, -1)])
    np.savetxt(tmp_path / "mnist_train.csv", rows, fmt="%d", delimiter=",")
    data = read_data(tmp_path / "mnist_train.csv")
    assert data.shape == (1, 8, 8)
    assert np.array_equal(data.train.raw[:, 0].numpy(), images[data.train.indices])
    frame().to_csv(tmp_path / "iris.csv", index=False, header=False)
    plain = read_data(tmp_path / "iris.csv")
    assert plain.input_names == ("column 1", "column 2", "column 3", "column 4")
    assert len(plain.train) + len(plain.validation) + len(plain.test) == N
    wavelengths = frame().rename(columns={f"sensor {i}": str(1100 + 2 * i) for i in range(4)})
    wavelengths.to_csv(tmp_path / "spectra.csv", index=False)
    assert read_data(tmp_path / "spectra.csv").input_names == ("1100", "1102", "1104", "1106")
    named = read_data(tmp_path / "iris.csv", header=True)
    assert len(named.train) + len(named.validation) + len(named.test) == N - 1


def test_pixels_are_known_by_their_names_and_values(tmp_path: Path) -> None:
    images, labels = pictures()
    grid = [f"{row}x{column}" for row in range(1, 9) for column in range(1, 9)]
    rows = pd.DataFrame(images.reshape(N, -1), columns=grid).assign(label=labels)
    assert torch.equal(read_data(rows).train.raw, read_data((images, labels)).train.raw)
    shares = read_data(rows.assign(**{name: rows[name] / 255 for name in grid}))
    assert shares.shape == (1, 8, 8)
    assert not shares.train.is_bytes
    assert shares.scaler is None
    torch.testing.assert_close(shares.train.inputs, read_data(rows).train.inputs)
    assert read_data(rows.rename(columns={"1x1": "other"})).shape == (64,)


def test_shards_of_one_part_follow_each_other(tmp_path: Path) -> None:
    rows = frame(90)
    for i, (start, end) in enumerate(((0, 40), (40, 60))):
        rows[start:end].to_parquet(tmp_path / f"train-0000{i}-of-00002.parquet")
    rows[60:].to_parquet(tmp_path / "test-00000-of-00001.parquet")
    data = read_data(tmp_path, standardise="no")
    assert (len(data.train), len(data.validation), len(data.test)) == (50, 10, 30)
    expected = torch.tensor(rows.drop(columns="kind").to_numpy()[data.train.indices], dtype=torch.float32)
    assert torch.equal(data.train.raw, expected)


def test_the_index_that_pandas_wrote_is_no_input(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "wine.csv")
    data = read_data(tmp_path / "wine.csv")
    assert data.input_names == tuple(f"sensor {i}" for i in range(4))
    assert any("counts the rows" in note for note in data.notes)


def test_large_tables_are_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of words and numbers, types that change from chunk to chunk, in pieces of a few cells."""
    from lrp_core.data.files import arrow, sheets

    rows = frame().assign(colour=[COLOURS[i % 3] if i < 40 else str(i % 2) for i in range(N)])
    rows.to_csv(tmp_path / "a.csv", index=False)
    rows.to_parquet(tmp_path / "a.parquet", row_group_size=17)
    whole = read_data(tmp_path / "a.csv", label="kind")
    for module in (sheets, arrow):
        monkeypatch.setattr(module, "CHUNK", 40)
    for name in ("a.csv", "a.parquet"):
        assert read_data(tmp_path / name, label="kind").digest == whole.digest


def test_parts_of_a_table_keep_together(tmp_path: Path) -> None:
    rows = frame(90)
    rows[:60].to_csv(tmp_path / "train.csv", index=False)
    rows[60:].to_csv(tmp_path / "test.csv", index=False)
    data = read_data(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (50, 10, 30)
    assert data.test.indices.tolist() == list(range(30))
    both = rows.assign(patient=["a", "b", "c"] * 30)
    for name, part in (("train", both[:60]), ("test", both[60:])):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    assert "group of rows 'a' in its train and its test part" in refused(
        tmp_path, label="kind", groups_column="patient"
    ).replace("'b'", "'a'").replace("'c'", "'a'")
    rows[:60].to_csv(tmp_path / "train.csv", index=False)
    rows[60:].drop(columns="sensor 1").to_csv(tmp_path / "test.csv", index=False)
    assert "lacks the columns 'sensor 1'" in refused(tmp_path)
    rows[60:].assign(kind="other").to_csv(tmp_path / "test.csv", index=False)
    assert "the training part of" in refused(tmp_path)
    assert "class 'other'" in refused(tmp_path)
