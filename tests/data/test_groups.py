"""Which inputs are one thing: groupings as numbers, and as people say them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lrp_core as lc
from lrp_core.data import Grouping, InputGroup, read_data
from lrp_core.data.files.grouping import groups_of
from lrp_core.errors import InputError

groupings = st.lists(st.integers(0, 6), min_size=1, max_size=30).map(
    lambda codes: Grouping(torch.tensor([list(dict.fromkeys(codes)).index(code) for code in codes]))
)


@given(groupings, st.integers(0, 10**6))
def test_sums_and_largest_are_those_of_numpy(grouping: Grouping, seed: int) -> None:
    values = torch.randn(3, grouping.n_inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    members = [np.flatnonzero(grouping.of.numpy() == group) for group in range(len(grouping))]
    assert np.allclose(grouping.sums(values), [[row[m].sum() for m in members] for row in values.numpy()])
    assert np.array_equal(grouping.largest(values[0]), [values[0].numpy()[m].max() for m in members])


@given(groupings, st.data())
def test_what_some_groups_hold(grouping: Grouping, data: st.DataObject) -> None:
    chosen = sorted(data.draw(st.sets(st.integers(0, len(grouping) - 1), min_size=1)))
    inputs = grouping.inputs_of(chosen)
    assert inputs.tolist() == [i for i, group in enumerate(grouping.of.tolist()) if group in chosen]
    assert grouping.groups_of(inputs).tolist() == chosen
    small = grouping.only(torch.tensor(chosen))
    assert [chosen[group] for group in small.of.tolist()] == grouping.of[inputs].tolist()
    assert torch.equal(grouping.spread(torch.arange(len(grouping))), grouping.of)


@given(groupings)
def test_groups_by_name_give_the_grouping_back(grouping: Grouping) -> None:
    named = [InputGroup(f"g{g}", tuple(grouping.inputs_of([g]).tolist())) for g in range(len(grouping))]
    assert torch.equal(Grouping.from_groups(named[::-1], grouping.n_inputs).of, grouping.of)
    assert Grouping.single(grouping.n_inputs).is_single
    assert grouping.is_single == (len(grouping) == grouping.n_inputs)


@pytest.mark.parametrize("of", [[1, 0], [0, 2], [], [-1, 0]])
def test_numbers_out_of_order_are_refused(of: list[int]) -> None:
    with pytest.raises(InputError, match="numbered from 0 on"):
        Grouping(torch.tensor(of, dtype=torch.int64))


# As people say it


def test_windows_of_tables_series_and_images() -> None:
    assert [g.indices for g in groups_of("windows:2", (5,), None, ())] == [(0, 1), (2, 3), (4,)]
    series = groups_of("windows:2", (2, 3), None, ())
    assert [g.indices for g in series] == [(0, 1), (2,), (3, 4), (5,)]
    assert [g.name for g in series][:2] == ["channel 0, values 0-1", "channel 0, value 2"]
    patches = groups_of("windows:2", (2, 3, 3), None, ())
    assert patches[0] == InputGroup("rows 0-1, columns 0-1", (0, 1, 3, 4, 9, 10, 12, 13))
    assert sorted(i for patch in patches for i in patch.indices) == list(range(18))


def test_channels_and_none() -> None:
    assert groups_of("channels", (3, 2, 2), None, ())[1] == InputGroup("channel 1", (4, 5, 6, 7))
    assert groups_of("none", (2, 3), None, groups_of("channels", (2, 3), None, ())) == ()
    words = (InputGroup("colour", (0, 1)),)
    assert groups_of("none", (3,), None, words) == words, "indicators of one column stay together"


@pytest.mark.parametrize(
    ("asked", "shape", "says"),
    [
        ("channels", (5,), "have no channels"),
        ("channels", (1, 9), "have no channels"),
        ("windows:0", (5,), "from 1 to 5, not '0'"),
        ("windows:x", (5,), "not 'x'"),
        ("windows:6", (2, 5), "from 1 to 5"),
        ([InputGroup("a", (0, 9))], (5,), "has input 9 of 5"),
    ],
)
def test_what_cannot_be_grouped_by(asked: object, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        groups_of(asked, shape, None, ())  # type: ignore[arg-type]


NAMES = ["heat", "rain=no", "rain=yes", "a1", "a2", "a3"]
KNOWN = (InputGroup("rain", (1, 2)),)


def of_file(tmp_path: Path, text: str) -> tuple[InputGroup, ...]:
    path = tmp_path / "groups.csv"
    path.write_bytes(text.encode())
    return groups_of(path, (6,), NAMES, KNOWN)


def test_a_file_names_groups_and_costs(tmp_path: Path) -> None:
    found = of_file(tmp_path, "\ufeffinput,group,cost\na1,lab,12.5\na2,lab,\n5,lab,12.5\nrain,rain,0\n")
    assert found == (InputGroup("lab", (3, 4, 5), 12.5), InputGroup("rain", (1, 2), 0.0))


def test_a_file_of_costs_alone_and_of_ranges(tmp_path: Path) -> None:
    assert of_file(tmp_path, "group,cost\r\nheat,1\r\nrain,2\r\n") == (
        InputGroup("heat", (0,), 1.0),
        InputGroup("rain", (1, 2), 2.0),
    )
    assert of_file(tmp_path, "Group , Input\nlab,3-5\n") == (KNOWN[0], InputGroup("lab", (3, 4, 5)))
    assert of_file(tmp_path, "group,input\nweather,rain\nweather,heat\n") == (InputGroup("weather", (0, 1, 2)),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "begin with a line that names its columns"),
        ("input,cost\na1,2\n", "begin with a line that names its columns"),
        ("group,group\na,b\n", "begin with a line that names its columns"),
        ("group,price\nheat,2\n", "not group, price"),
        ("group,cost\n", "names no groups"),
        ("group,cost\nheat\n", "line 2 has 1 cells where the first line has 2"),
        ("group,cost\nwind,2\n", "line 2 names 'wind', which is no input"),
        ("group,input\nlab,a9\n", "line 2 names 'a9'"),
        ("group,input\nlab,4-9\n", "line 2 names '4-9'"),
        ("group,input\n,a1\n", "line 2 names no group"),
        ("group,cost\nheat,cheap\n", "line 2 gives the cost 'cheap'"),
        ("group,cost\nheat,-1\n", "line 2 gives the cost '-1'"),
        ("group,cost\nheat,nan\n", "line 2 gives the cost 'nan'"),
        ("group,input,cost\nlab,a1,1\nlab,a2,2\n", "line 3 gives the group 'lab' another cost"),
        ("group,input\nlab,a1\nother,a1\n", "input 3 is in the groups 'lab' and 'other'"),
    ],
)
def test_broken_files_are_refused_with_their_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        of_file(tmp_path, text)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_bytes(b"group,cost\n\xff\xfe,1\n")
    with pytest.raises(InputError, match="UTF-8"):
        groups_of(tmp_path / "groups.csv", (6,), NAMES, KNOWN)
    with pytest.raises(lc.LrpError, match="no-such"):
        groups_of(tmp_path / "no-such.csv", (6,), NAMES, KNOWN)


# In a data set


def test_names_costs_and_the_digest_follow() -> None:
    rows, labels = np.random.default_rng(0).normal(size=(60, 4)), [0, 1] * 30
    plain = read_data((rows, labels))
    assert (plain.n_groups, plain.costs, plain.words.counted) == (4, None, "inputs")
    assert plain.group_names == ("input 0", "input 1", "input 2", "input 3")
    data = read_data((rows, labels), input_groups=[InputGroup("tail", (1, 3), 2.5)])
    assert (data.n_groups, data.words.counted) == (3, "groups")
    assert data.group_names == ("input 0", "tail", "input 2")
    assert data.costs is not None
    assert data.costs.tolist() == [0.0, 2.5, 0.0]
    assert data.cost_of([0, 2]) == 0
    assert data.cost_of([3]) == 2.5
    assert data.cost_of([1, 3]) == 2.5
    assert data.digest != plain.digest
    assert "inputs are kept or dropped in groups: 'tail'" in data.notes
    assert not any("groups" in note for note in plain.notes)
