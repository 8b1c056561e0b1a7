"""The prepared copy of a data set: what was prepared, or made again."""

from __future__ import annotations

import json
import struct
import subprocess

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from lrp_core.data import Dataset, Split, load_dataset

from ..support import PATIENCE, python_command, python_options, wait_until
from .comparing import assert_same, fresh, prepared_files, replace_file


def test_the_prepared_copy_is_what_was_prepared(kmnist, monkeypatch):
    _, root = kmnist
    first = load_dataset("kmnist", root)

    def fail(*_args, **_kwargs):
        raise AssertionError("the archives were read again")

    monkeypatch.setattr("lrp_core.data.archives.Source.read", fail)
    assert_same(fresh("kmnist", root), first)


def data_regions(content: bytes) -> dict[str, tuple[int, int]]:
    """Where each tensor's bytes lie in a safetensors file."""
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    return {n: tuple(8 + size + o for o in e["data_offsets"]) for n, e in header.items() if n != "__metadata__"}


@pytest.mark.parametrize("tensor", [f"{s}.{p}" for s in ("train", "test") for p in ("pixels", "labels", "indices")])
def test_a_prepared_copy_with_one_bit_wrong_is_made_again(kmnist, own_cache, tensor):
    _, root = kmnist
    first = load_dataset("kmnist", root)
    (path,) = prepared_files(own_cache)
    good = path.read_bytes()
    start, end = data_regions(good)[tensor]
    for position in (start, (start + end) // 2 // 8 * 8):
        bad = bytearray(good)
        bad[position] ^= 1
        replace_file(path, bytes(bad))
        assert_same(fresh("kmnist", root), first)
        assert path.read_bytes() == good, "the damaged copy was left in place"


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_prepared_copy_with_a_damaged_header_is_made_again(kmnist, own_cache, position, bit):
    _, root = kmnist
    first = load_dataset("kmnist", root)
    (path,) = prepared_files(own_cache)
    bad = bytearray(path.read_bytes())
    bad[int(position * (8 + struct.unpack("<Q", bad[:8])[0]))] ^= 1 << bit
    replace_file(path, bytes(bad))
    assert_same(fresh("kmnist", root), first)


def test_a_prepared_copy_without_a_digest_is_made_again(kmnist, own_cache):
    _, root = kmnist
    first = load_dataset("kmnist", root)
    (path,) = prepared_files(own_cache)
    good = path.read_bytes()
    assert good.count(b"digest") == 1
    replace_file(path, good.replace(b"digest", b"digesu"))
    assert_same(fresh("kmnist", root), first)


def test_a_prepared_copy_with_a_wrong_class_name_is_made_again(kmnist, own_cache):
    _, root = kmnist
    first = load_dataset("kmnist", root)
    (path,) = prepared_files(own_cache)
    good = path.read_bytes()
    assert good.count(b"tsu") == 1
    replace_file(path, good.replace(b"tsu", b"tzu"))
    assert_same(fresh("kmnist", root), first)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        struct.pack("<Q", 2**62) + b"{}",
        save({"x": torch.zeros(3)}),
        save({"x": torch.zeros(3)}, metadata={"data": "[]"}),
        save({"x": torch.zeros(3)}, metadata={"data": "{}"}),
        save({"x": torch.zeros(3)}, metadata={"data": '{"files": [], "classes": [], "digest": ""}'}),
        save({"x": torch.zeros(3)}, metadata={"data": '{"files": {}, "classes": 3, "digest": ""}'}),
        save({"x": torch.zeros(3)}, metadata={"data": "[" * 100_000}),
    ],
    ids=range(9),
)
def test_any_other_file_in_place_of_the_prepared_copy_is_replaced(kmnist, own_cache, content, unchecked):
    _, root = kmnist
    first = load_dataset("kmnist", root)
    (path,) = prepared_files(own_cache)
    replace_file(path, content)
    assert_same(fresh("kmnist", root), first)
    assert len(path.read_bytes()) > 1000


def test_the_digest_tells_data_apart(toy):
    def digest(train: Split, classes: tuple[str, ...] = toy.classes) -> str:
        return Dataset("toy", classes, train, toy.validation, toy.test).digest

    train = toy.train
    assert digest(train.take(torch.arange(len(train)))) == toy.digest
    for part in ("raw", "labels"):
        tensors = {name: getattr(train, name).clone() for name in ("raw", "labels", "indices")}
        last = tensors[part].view(-1)
        last[-1] = (last[-1] + 1) % 3
        assert digest(Split(**tensors)) != toy.digest, part
    parts = (Split(p.raw.reshape(len(p), 1, 4, 9), p.labels, p.indices) for p in (train, toy.validation, toy.test))
    assert Dataset("toy", toy.classes, *parts).digest != toy.digest, "images of another shape"
    assert digest(train.take(torch.arange(len(train)).flip(0))) != toy.digest, "another order"


PREPARE = """
import json, sys, time
from pathlib import Path
from torchvision import datasets
from lrp_core.data import load_dataset
root, ready, go = map(Path, sys.argv[2:])
datasets.KMNIST.resources = json.loads(sys.argv[1])
ready.touch()
while not go.exists():
    time.sleep(0.001)
print(load_dataset("kmnist", root).digest)
"""


@pytest.mark.slow
def test_processes_that_prepare_at_once_all_succeed(kmnist, own_cache, tmp_path):
    published, root = kmnist
    go, ready = tmp_path / "go", [tmp_path / f"ready-{i}" for i in range(2)]
    running = [
        subprocess.Popen(
            python_command(PREPARE, published.as_json(), root, flag, go),
            **python_options(own_cache),
        )
        for flag in ready
    ]
    wait_until(lambda: all(flag.exists() for flag in ready))
    go.touch()
    outputs = [process.communicate(timeout=PATIENCE) for process in running]
    expected = fresh("kmnist", root).digest
    assert [out.strip() for out, _ in outputs] == [expected] * 2, [err[-500:] for _, err in outputs]
    assert len(prepared_files(own_cache)) == 1
