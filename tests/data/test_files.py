"""What goes wrong with the files of a data set: damaged, missing, exchanged, out of range."""

from __future__ import annotations

import os
import struct
import time

import numpy as np
import pytest

from lrp_core.data import DATASETS, load_dataset
from lrp_core.errors import LrpError, StorageError

from ..support import is_one_sentence, python
from . import idx
from .comparing import assert_official, assert_same, fresh, prepared_files

SIBLINGS = [name for name in DATASETS if name != "mnist"]

DAMAGE = {
    "flipped byte": lambda content: content[:-20] + bytes([content[-20] ^ 1]) + content[-19:],
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "a web page": lambda _: b"<!doctype html><p>Not found</p>",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("which", range(4))
def test_a_damaged_archive_is_one_sentence(kmnist, which, damage):
    published, root = kmnist
    name = list(published.archives)[which]
    (root / name).write_bytes(DAMAGE[damage](published.archives[name]))
    for _ in range(2):  # the second time meets what the first one left in the cache
        with pytest.raises(StorageError, match=f"{name} is truncated or altered") as caught:
            fresh("kmnist", root)
        assert is_one_sentence(caught.value)
    (root / name).write_bytes(published.archives[name])
    assert_official(fresh("kmnist", root), published)


@pytest.mark.parametrize("name", ["kmnist", "qmnist", "emnist-digits"])
def test_a_missing_archive_is_one_sentence_that_names_it(name, tmp_path, own_cache, monkeypatch):
    published = idx.publish(name)
    published.register(monkeypatch)
    root = published.write(tmp_path / "root")
    lost = list(published.archives)[-1]
    (root / lost).unlink()
    with pytest.raises(StorageError, match=f"{name} is not complete in {root}: {lost} missing") as caught:
        load_dataset(name, root)
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize("name", SIBLINGS)
def test_a_sibling_that_is_nowhere_is_one_sentence(name, own_cache):
    with pytest.raises(StorageError, match=f"^{name} is not complete here: .* missing; give the folder") as caught:
        load_dataset(name)
    assert is_one_sentence(caught.value)


def test_a_root_that_is_no_folder(tmp_path, own_cache):
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "nowhere"):
        with pytest.raises(StorageError, match=f"^{root} is not a folder"):
            load_dataset("mnist", root)


def test_an_archive_that_changes_after_it_was_read_is_noticed(kmnist):
    published, root = kmnist
    load_dataset("kmnist", root)
    name = next(iter(published.archives))
    (root / name).write_bytes(DAMAGE["flipped byte"](published.archives[name]))
    with pytest.raises(StorageError, match="truncated or altered"):
        fresh("kmnist", root)


def test_a_damaged_archive_is_refused_whatever_the_cache_holds(kmnist, tmp_path):
    published, root = kmnist
    load_dataset("kmnist", root)
    other = published.write(tmp_path / "other")
    name = next(iter(published.archives))
    (other / name).write_bytes(DAMAGE["truncated"](published.archives[name]))
    with pytest.raises(StorageError, match="truncated or altered"):
        fresh("kmnist", other)


def test_an_archive_that_goes_away_is_noticed(kmnist):
    published, root = kmnist
    load_dataset("kmnist", root)
    name = next(iter(published.archives))
    (root / name).unlink()
    with pytest.raises(StorageError, match=f"{name} missing"):
        fresh("kmnist", root)


def test_a_touched_archive_gives_the_same_data(kmnist):
    published, root = kmnist
    before = load_dataset("kmnist", root)
    for name in published.archives:
        os.utime(root / name, (1, 1))
    assert_same(fresh("kmnist", root), before)


def test_the_folder_that_lrp_data_names_is_tried_with_the_name_and_without(tmp_path, own_cache, monkeypatch):
    first, second = idx.publish("kmnist", seed=1), idx.publish("kmnist", seed=2)
    for published, folder in ((first, tmp_path / "first"), (second, tmp_path / "second" / "kmnist")):
        published.register(monkeypatch)
        published.write(folder)
        monkeypatch.setenv("LRP_DATA", str(tmp_path / folder.relative_to(tmp_path).parts[0]))
        assert_official(load_dataset("kmnist"), published)
    monkeypatch.setenv("LRP_DATA", str(tmp_path / "first"))
    assert_official(load_dataset("kmnist"), first)
    monkeypatch.setenv("LRP_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(StorageError, match=r"LRP_DATA is .*, which is no folder"):
        load_dataset("kmnist", split_seed=3)


def test_unpacked_files_that_change_are_read_again(tmp_path, own_cache, monkeypatch):
    first, second = idx.publish("kmnist", seed=1), idx.publish("kmnist", seed=2)
    first.register(monkeypatch)
    root = first.write_unpacked(tmp_path / "root")
    assert_official(load_dataset("kmnist", root), first)
    time.sleep(0.01)
    second.write_unpacked(root)
    assert_official(fresh("kmnist", root), second)


def test_new_official_files_replace_those_unpacked_before(tmp_path, own_cache, monkeypatch):
    for seed in (1, 2):
        published = idx.publish("kmnist", seed=seed)
        published.register(monkeypatch)
        assert_official(fresh("kmnist", published.write(tmp_path / "root")), published)


def test_damaged_unpacked_files_in_the_cache_are_unpacked_again(kmnist, own_cache):
    published, root = kmnist
    load_dataset("kmnist", root)
    (file,) = prepared_files(own_cache)
    file.unlink()
    victim = own_cache / "data" / "KMNIST" / "raw" / "train-images-idx3-ubyte"
    victim.write_bytes(DAMAGE["flipped byte"](victim.read_bytes()))
    assert_official(fresh("kmnist", root), published)


def relabel(published: idx.Published, part: str, labels: np.ndarray) -> idx.Published:
    file = next(name for name in published.unpacked if part in name and "labels" in name)
    files = published.unpacked | {file: idx.pack(labels)}
    return idx.Published(published.name, published.train, published.test, idx.archived(published.name, files), files)


@pytest.mark.parametrize(
    ("name", "value"), [("kmnist", 10), ("kmnist", 255), ("emnist-letters", 0), ("emnist-letters", 27)]
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_label_out_of_range_is_refused(name, value, part, tmp_path, own_cache, monkeypatch):
    published = idx.publish(name)
    labels = (published.train if part == "train" else published.test)[1] + np.uint8(name == "emnist-letters")
    labels[3] = value
    wrong = relabel(published, "t10k" if (name, part) == ("kmnist", "test") else part, labels)
    wrong.register(monkeypatch)
    with pytest.raises(StorageError, match=f"the {name} label file holds a class outside 0") as caught:
        load_dataset(name, wrong.write(tmp_path / "root"))
    assert is_one_sentence(caught.value)


def test_fewer_labels_than_images_are_refused(tmp_path, own_cache, monkeypatch):
    published = idx.publish("kmnist")
    wrong = relabel(published, "train", published.train[1][:-1])
    wrong.register(monkeypatch)
    with pytest.raises(StorageError, match="hold 120 images but 119 labels"):
        load_dataset("kmnist", wrong.write(tmp_path / "root"))


ODD_FILES = {
    "truncated": lambda content: content[:-9],
    "empty": lambda _: b"",
    "header only": lambda content: content[:4],
    "garbage": lambda _: b"garbage" * 30,
    "floats": lambda content: struct.pack(">HBB", 0, 13, 3) + content[4:],
    "a type that does not exist": lambda content: struct.pack(">HBB", 0, 10, 3) + content[4:],
    "an impossible size": lambda content: content[:4] + struct.pack(">3I", 2**31, 2**31, 2**31) + content[16:],
    "labels": lambda _: idx.pack(np.zeros(120, np.uint8)),
}


@pytest.mark.parametrize("odd", ODD_FILES)
def test_odd_unpacked_files_are_one_sentence(odd, tmp_path, own_cache, monkeypatch):
    """Unpacked files have no checksum: whatever they hold is met when they are read."""
    published = idx.publish("kmnist")
    published.register(monkeypatch)
    root = published.write_unpacked(tmp_path / "root")
    file = root / "KMNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(ODD_FILES[odd](file.read_bytes()))
    with pytest.raises(StorageError) as caught:
        load_dataset("kmnist", root)
    assert is_one_sentence(caught.value)


def test_a_legacy_folder_of_pickles_is_never_trusted(tmp_path, own_cache):
    folder = tmp_path / "root" / "KMNIST" / "processed"
    folder.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(StorageError) as caught:
        load_dataset("kmnist", tmp_path / "root")
    assert is_one_sentence(caught.value)


def test_unpacked_data_too_few_to_split_are_refused(tmp_path, own_cache, monkeypatch):
    published = idx.publish("kmnist", n_train=10)
    published.register(monkeypatch)
    with pytest.raises(LrpError) as caught:
        load_dataset("kmnist", published.write_unpacked(tmp_path / "root"))
    assert is_one_sentence(caught.value)


def test_an_impossible_cache_is_one_sentence(kmnist, tmp_path, monkeypatch):
    _, root = kmnist
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("LRP_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(StorageError, match="set LRP_CACHE") as caught:
        fresh("kmnist", root)
    assert is_one_sentence(caught.value)


FULL = """
import resource, sys
from lrp_core.data import load_dataset
from lrp_core.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    load_dataset("mnist")
except StorageError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_done(tmp_path):
    done = python(FULL, cache=tmp_path / "cache")
    assert done.stdout.count("\n") == 1, done.stderr
    assert done.stdout.startswith("cannot unpack the data into ")
    assert [f.name for f in (tmp_path / "cache").rglob("*") if f.is_file()] == []
