"""Rankings on disk: what comes back is what was saved, and nothing else comes back at all."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from lrp_core.errors import StorageError
from lrp_core.models import build_model
from lrp_core.pruning.files import checksum, load_network, save_network
from lrp_core.ranking import Ranking, rank

from ..support import check_sentence, toy_split

GOOD: dict[str, Any] = {"criterion": "test", "shape": [2, 3]}


def ranking(n: int = 6, shape: tuple[int, ...] = (2, 3), seed: int = 0) -> Ranking:
    scores = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Ranking.from_scores("test", scores, shape, standard_error=scores.abs() / 10, seed=seed)


def assert_same(a: Ranking, b: Ranking) -> None:
    assert (a.criterion, a.shape) == (b.criterion, b.shape)
    for name in ("scores", "standard_error", "order"):
        first, second = getattr(a, name), getattr(b, name)
        assert first.dtype == second.dtype
        assert torch.equal(first.nan_to_num(-9.0), second.nan_to_num(-9.0))


def forge(path: Path, description: Any = None, key: str = "lrp_core_ranking", **changes: Tensor | None) -> Path:
    """A file whose checksum is right, but which holds something else."""
    whole = ranking()
    parts = {"scores": whole.scores, "standard_error": whole.standard_error, "order": whole.order} | changes
    tensors = {name: tensor for name, tensor in parts.items() if tensor is not None}
    text = description if isinstance(description, str) else json.dumps(description or GOOD)
    path.write_bytes(save(tensors, metadata={key: f"{checksum(text, tensors)} {text}"}))
    return path


def refused(path: Path) -> str:
    with pytest.raises(StorageError) as caught:
        Ranking.load(path)
    check_sentence(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@given(st.lists(st.floats(-1e300, 1e300) | st.just(0.0), min_size=1, max_size=40), st.integers(0, 99), st.booleans())
@settings(deadline=None, max_examples=40)
def test_comes_back_bit_by_bit(tmp_path: Path, scores: list[float], seed: int, has_error: bool) -> None:
    values = torch.tensor(scores, dtype=torch.float64)
    whole = Ranking.from_scores(
        "lrp-0 é\n", values, (1, len(scores)), standard_error=values.abs() if has_error else None, seed=seed
    )
    path = tmp_path / "deep" / "r.safetensors"
    whole.save(path)
    found = Ranking.load(path)
    assert_same(found, whole)
    assert found.mask(keep=1).shape == (1, len(scores))
    written = path.read_bytes()
    found.save(path)
    assert path.read_bytes() == written
    assert [file.name for file in path.parent.iterdir()] == ["r.safetensors"]


def test_of_a_real_criterion(tmp_path: Path) -> None:
    model = build_model("mlp-300-100", shape=(1, 6, 6), n_classes=3, seed=0)
    for criterion in ("lrp-0", "random"):
        whole = rank(model, toy_split(30), criterion=criterion, seed=4)
        whole.save(tmp_path / criterion)
        assert_same(Ranking.load(tmp_path / criterion), whole)


def test_an_order_that_is_not_that_of_the_scores_is_kept(tmp_path: Path) -> None:
    """Scores of different rounds of an elimination cannot be compared; the order is what counts."""
    whole = ranking()
    other = Ranking(whole.criterion, whole.scores, whole.standard_error, whole.order.flip(0), whole.shape)
    other.save(tmp_path / "r")
    assert_same(Ranking.load(tmp_path / "r"), other)


def test_tensors_that_share_memory_can_be_saved(tmp_path: Path) -> None:
    both = torch.randn(6, 2, dtype=torch.float64)
    whole = Ranking("test", both[:, 0], both[:, 0], torch.arange(12)[::2] // 2, (6,))
    whole.save(tmp_path / "r")
    assert_same(Ranking.load(tmp_path / "r"), whole)


def test_the_forger_can_forge(tmp_path: Path) -> None:
    assert_same(Ranking.load(forge(tmp_path / "r")), ranking())


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none")
    refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x00" * 64, pickle.dumps({"order": [1]})])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r"
    path.write_bytes(content)
    assert f"({len(content)} bytes) is truncated, damaged or no ranking" in refused(path)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_any_damage_is_noticed(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "r"
    ranking().save(path)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found = Ranking.load(path)
    except StorageError as error:
        check_sentence(error)
    else:
        assert_same(found, ranking())  # a bit of the padding, which says nothing


def test_networks_and_rankings_are_told_apart(tmp_path: Path) -> None:
    save_network(build_model("softmax", shape=(1, 6, 6), n_classes=3), tmp_path / "network")
    refused(tmp_path / "network")
    ranking().save(tmp_path / "ranking")
    with pytest.raises(StorageError):
        load_network(tmp_path / "ranking")


@pytest.mark.parametrize(
    "changes",
    [
        {"order": None},
        {"scores": None},
        {"extra": torch.zeros(6)},
        {"order": torch.tensor([0, 1, 2, 3, 4, 4])},
        {"order": torch.tensor([0, 1, 2, 3, 4, 6])},
        {"order": torch.tensor([-1, 1, 2, 3, 4, 5])},
        {"order": torch.arange(5)},
        {"order": torch.arange(6, dtype=torch.int32)},
        {"order": torch.arange(6).view(2, 3)},
        {"scores": torch.zeros(6)},
        {"scores": torch.full((6,), torch.nan, dtype=torch.float64)},
        {"scores": torch.full((6,), torch.inf, dtype=torch.float64)},
        {"scores": torch.zeros(7, dtype=torch.float64)},
        {"standard_error": torch.zeros(1, dtype=torch.float64)},
        {"key": "lrp_core"},
        {"description": {"criterion": "test", "shape": [2, 4]}},
        {"description": {"criterion": "test", "shape": [-2, -3]}},
        {"description": {"criterion": "test", "shape": [2.0, 3.0]}},
        {"description": {"criterion": "test", "shape": [True, 6]}},
        {"description": {"criterion": "test", "shape": 6}},
        {"description": {"criterion": "test", "shape": ["2", "3"]}},
        {"description": {"criterion": "test", "shape": [10**30, 10**30]}},
        {"description": {"criterion": "test"}},
        {"description": {"criterion": 3, "shape": [2, 3]}},
        {"description": {"criterion": None, "shape": [2, 3]}},
        {"description": {"shape": [2, 3]}},
        {"description": "[]"},
        {"description": "null"},
        {"description": "no json"},
        {"description": "[" * 100_000},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_what_is_no_ranking_is_refused(tmp_path: Path, unchecked: None, changes: dict[str, Any]) -> None:
    refused(forge(tmp_path / "r", **changes))


def test_without_metadata_it_is_refused(tmp_path: Path) -> None:
    path = forge(tmp_path / "r")
    path.write_bytes(save(load(path.read_bytes())))
    refused(path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write") as caught:
        ranking().save(tmp_path / "file" / "r")
    check_sentence(caught.value)
