from __future__ import annotations

import gzip
import http.client
import json
import os
import string
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from lrp_core import data as data_module
from lrp_core.data import DATASETS, Dataset, Split, load_dataset, to_images
from lrp_core.errors import InputError, LrpError, StorageError

from . import idx
from .support import (
    PATIENCE,
    ROOT,
    is_one_sentence,
    python,
    python_command,
    python_options,
    toy_split,
    wait_until,
)

SIBLINGS = [name for name in DATASETS if name != "mnist"]
DIGITS = tuple(string.digits)
CLASSES = {
    "mnist": DIGITS,
    "qmnist": DIGITS,
    "emnist-digits": DIGITS,
    "emnist-letters": tuple(string.ascii_lowercase),
    "emnist-balanced": tuple(string.digits + string.ascii_uppercase + "abdefghnqrt"),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}


def fresh(*args: object, **kwargs: object) -> Dataset:
    """A data set as a new process would load it."""
    data_module._load.cache_clear()
    return load_dataset(*args, **kwargs)


def parts(data: Dataset) -> Iterator[tuple[str, torch.Tensor]]:
    for name in ("train", "validation", "test"):
        for part in ("pixels", "labels", "indices"):
            yield f"{name}.{part}", getattr(getattr(data, name), part)


def assert_same(one: Dataset, other: Dataset) -> None:
    assert (one.name, one.classes, one.shape, one.digest) == (other.name, other.classes, other.shape, other.digest)
    for (name, tensor), (_, twin) in zip(parts(one), parts(other), strict=True):
        assert tensor.dtype == twin.dtype, name
        assert torch.equal(tensor, twin), name


def assert_official(data: Dataset, published: idx.Published) -> None:
    """Every image and label is the published one, in the place that its index says."""
    for splits, (images, labels) in (((data.train, data.validation), published.train), ((data.test,), published.test)):
        seen = torch.cat([split.indices for split in splits])
        assert sorted(seen.tolist()) == list(range(len(labels))), "splits overlap or leave images out"
        for split in splits:
            assert np.array_equal(split.pixels[:, 0].numpy(), images[split.indices.numpy()])
            assert np.array_equal(split.labels.numpy(), labels[split.indices.numpy()])


def assert_stratified(labels: torch.Tensor, of: torch.Tensor) -> None:
    """The class shares of `labels` are those of `of`, to within one image."""
    n_classes = int(of.max()) + 1
    wanted = torch.bincount(of, minlength=n_classes) * len(labels) / len(of)
    assert (torch.bincount(labels, minlength=n_classes) - wanted).abs().max() < 1


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(f): (f.read_bytes(), f.stat().st_mtime_ns) for f in folder.rglob("*") if f.is_file()}


def prepared_files(cache: Path) -> list[Path]:
    return sorted((cache / "data").glob("*.safetensors"))


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in place of a file that may be mapped into this process's memory."""
    path.with_name("new").write_bytes(content)
    path.with_name("new").replace(path)


# MNIST itself


@pytest.fixture(scope="module")
def official() -> idx.Published:
    read = {
        path.name.removesuffix(".gz"): idx.unpack(gzip.decompress(path.read_bytes()))
        for path in (ROOT / "data" / "mnist").glob("*.gz")
    }
    train, test = ((read[f"{part}-images-idx3-ubyte"], read[f"{part}-labels-idx1-ubyte"]) for part in ("train", "t10k"))
    return idx.Published("mnist", train, test, {}, {})


def test_mnist_has_its_sizes_shape_and_classes(mnist):
    assert [len(split) for split in (mnist.train, mnist.validation, mnist.test)] == [50_000, 10_000, 10_000]
    assert (mnist.name, mnist.shape, mnist.n_inputs, mnist.classes) == ("mnist", (1, 28, 28), 784, DIGITS)


def test_mnist_is_the_published_one(mnist, official):
    assert_official(mnist, official)


def test_mnist_constant_pixels(mnist):
    """Facts of the published files: 67 pixels never change in the 60,000 training images, 116 in the test images."""
    training = torch.cat([mnist.train.pixels, mnist.validation.pixels])
    assert len(training) == 60_000
    for pixels, n_constant in ((training, 67), (mnist.test.pixels, 116)):
        flat = pixels.flatten(1)
        assert int((flat.amax(0) == flat.amin(0)).sum()) == n_constant


def test_mnist_splits_are_stratified(mnist):
    labels = torch.cat([mnist.train.labels, mnist.validation.labels])
    assert_stratified(mnist.train.labels, labels)
    assert_stratified(mnist.validation.labels, labels)


def test_images_are_bytes_over_255(mnist):
    some = mnist.test.take(torch.arange(50))
    assert some.images.dtype == torch.float32
    assert np.array_equal(some.images.numpy(), some.pixels.numpy().astype(np.float32) / np.float32(255))
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert to_images(ramp).min() == 0
    assert to_images(ramp).max() == 1
    assert torch.equal((to_images(ramp) * 255).round().to(torch.uint8), ramp)
    assert int(ramp[0, 0, -1, -1]) == 255, "to_images wrote into the raw bytes"


@pytest.mark.slow
def test_mnist_seeds_and_the_prepared_file(own_cache, mnist):
    again = fresh("mnist")
    assert_same(again, mnist)
    assert len(prepared_files(own_cache)) == 1
    assert_same(fresh("mnist"), mnist)
    other = fresh("mnist", split_seed=1)
    assert other.digest != mnist.digest
    assert not torch.equal(other.validation.indices, mnist.validation.indices)
    assert torch.equal(other.test.pixels, mnist.test.pixels)


# The registry


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="unknown data set 'fashion': did you mean 'fashion-mnist'"):
        load_dataset("fashion")


@pytest.mark.parametrize("name", DATASETS)
def test_every_sibling_is_read_as_published(name, tmp_path, own_cache, monkeypatch):
    published = idx.publish(name)
    published.register(monkeypatch)
    root = published.write(tmp_path / "files")
    before = everything(root)
    data = load_dataset(name, root)
    assert_official(data, published)
    assert data.shape == (1, 5, 7)
    assert data.classes == CLASSES[name]
    assert len(data.validation) == round(len(published.train[0]) / 6)
    assert_stratified(data.validation.labels, torch.from_numpy(published.train[1].astype(np.int64)))
    assert everything(root) == before, "a given root was written to"
    assert_same(fresh(name, root), data)


@pytest.mark.parametrize("name", ["kmnist", "qmnist", "emnist-letters"])
@pytest.mark.parametrize("layout", ["{root}", "{root}/raw", "{root}/{cls}/raw", "unpacked"])
def test_every_layout_of_a_root_is_found(name, layout, tmp_path, own_cache, monkeypatch):
    published = idx.publish(name)
    published.register(monkeypatch)
    root = tmp_path / "root"
    if layout == "unpacked":
        published.write_unpacked(root)
    else:
        published.write(Path(layout.format(root=root, cls=idx.FOLDERS[name])))
    before = everything(root)
    assert_official(load_dataset(name, root), published)
    assert_same(fresh(name, str(root)), load_dataset(name, root))
    assert everything(root) == before


def test_a_root_with_a_tilde(tmp_path, own_cache, monkeypatch):
    published = idx.publish("kmnist")
    published.register(monkeypatch)
    published.write(tmp_path / "home" / "files")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert_official(load_dataset("kmnist", "~/files"), published)


def test_what_was_unpacked_once_needs_no_root_again(tmp_path, own_cache, monkeypatch):
    published = idx.publish("kmnist")
    published.register(monkeypatch)
    load_dataset("kmnist", published.write(tmp_path / "files"))
    assert_official(fresh("kmnist"), published)


@pytest.fixture
def kmnist(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[idx.Published, Path]:
    """A small stand-in for KMNIST, and the folder of its archives."""
    published = idx.publish("kmnist")
    published.register(monkeypatch)
    return published, published.write(tmp_path / "kmnist")


def test_seeds_decide_the_split(kmnist):
    published, root = kmnist
    first, second, third = (load_dataset("kmnist", root, split_seed=seed) for seed in (0, 1, 2))
    assert len({first.digest, second.digest, third.digest}) == 3
    for data in (first, second, third):
        assert_official(data, published)
    assert_same(fresh("kmnist", root, split_seed=1), second)


def test_the_last_data_sets_stay_loaded(kmnist):
    _, root = kmnist
    assert load_dataset("kmnist", root) is load_dataset("kmnist", root)


# What goes wrong with the files


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


# Download


@pytest.mark.parametrize("name", ["kmnist", "qmnist", "emnist-digits"])
@pytest.mark.parametrize(
    "error",
    [
        URLError("Name or service not known"),
        TimeoutError(),
        ConnectionResetError(),
        http.client.IncompleteRead(b"half"),
        RuntimeError("File not found or corrupted."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_download_without_network_is_one_sentence(name, error, own_cache, monkeypatch):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)
    with pytest.raises(StorageError, match=f"^{name} could not be downloaded") as caught:
        load_dataset(name, download=True)
    assert is_one_sentence(caught.value)
    with pytest.raises(StorageError, match="is not complete"):
        fresh(name)


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A network that has only the stand-in for KMNIST; the list tells what was fetched."""
    published = idx.publish("kmnist")
    published.register(monkeypatch)
    fetched: list[str] = []

    def fetch(_url: str, download_root: str, filename: str, md5: str) -> None:
        assert md5 == published.resources()[filename]
        (Path(download_root) / filename).write_bytes(published.archives[filename])
        unpacked = filename.removesuffix(".gz")
        (Path(download_root) / unpacked).write_bytes(published.unpacked[unpacked])
        fetched.append(filename)

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fetch)
    return fetched


def test_a_download_is_kept(net, own_cache):
    data = load_dataset("kmnist", download=True)
    assert_official(data, idx.publish("kmnist"))
    assert len(net) == 4
    assert_same(fresh("kmnist"), data)
    assert_same(fresh("kmnist", download=True), data)
    assert len(net) == 4


def test_a_download_that_broke_off_is_mended_by_the_next(net, own_cache):
    load_dataset("kmnist", download=True)
    for file in prepared_files(own_cache):
        file.unlink()
    raw = own_cache / "data" / "KMNIST" / "raw"
    for file in raw.glob("train-images*"):
        file.write_bytes(file.read_bytes()[:50])
    assert_official(fresh("kmnist", download=True), idx.publish("kmnist"))


def test_nothing_is_downloaded_unless_asked(net, own_cache):
    with pytest.raises(StorageError, match="or allow the download"):
        load_dataset("kmnist")
    assert net == []


# The prepared copy


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


# Splits


@given(n=st.integers(1, 241), seed=st.integers(0, 5))
def test_a_sample_of_any_size_is_stratified(toy, n, seed):
    uneven = toy.train.take(torch.cat([torch.arange(0, 240, 3), torch.arange(1, 100, 3), torch.arange(2, 20, 3)]))
    n = min(n, len(uneven))
    sample = uneven.sample(n, seed=seed)
    assert len(sample) == n
    assert len(set(sample.indices.tolist())) == n, "drawn twice"
    assert_stratified(sample.labels, uneven.labels)
    assert torch.equal(sample.pixels, toy.train.pixels[sample.indices])
    assert torch.equal(sample.labels, toy.train.labels[sample.indices])
    assert torch.equal(sample.indices, uneven.sample(n, seed=seed).indices)


def test_samples_of_other_seeds_differ_and_come_in_random_order(toy):
    one, other = (toy.train.sample(60, seed=seed).indices.tolist() for seed in (0, 1))
    assert set(one) != set(other)
    assert one != sorted(one)
    everything = toy.train.sample(len(toy.train)).indices.tolist()
    assert sorted(everything) == list(range(240))


def test_sampling_leaves_the_global_random_state(toy):
    before = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    toy.train.sample(10)
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), before[1])


@pytest.mark.parametrize("n", [0, -1, 241])
def test_samples_that_cannot_be_drawn(toy, n):
    with pytest.raises(InputError, match=f"cannot sample {n} images: choose between 1 and 240"):
        toy.train.sample(n)


@given(st.lists(st.integers(0, 19), min_size=1, max_size=30))
def test_take_takes_those_in_that_order(positions):
    split = toy_split(20)
    taken = split.take(torch.tensor(positions))
    for i, position in enumerate(positions):
        assert torch.equal(taken.pixels[i], split.pixels[position])
        assert (taken.labels[i], taken.indices[i]) == (split.labels[position], split.indices[position])


def test_images_first_asked_for_in_inference_mode_are_tensors_like_any_other() -> None:
    split = toy_split(12)
    with torch.inference_mode():
        taken = split.take(torch.arange(4))
        assert not split.images.is_inference()
        assert not taken.images.is_inference()
    assert split.images.requires_grad_().requires_grad
    assert torch.equal(taken.images, toy_split(12).images[:4])


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: name.removesuffix(".gz"),
        lambda name: name.removesuffix(".gz").replace("-idx", ".idx"),
        lambda name: name.replace("-idx", ".idx"),
    ],
    ids=["packed again", "unpacked", "as Kaggle names them", "both"],
)
def test_the_official_files_packed_and_named_otherwise_are_known_by_their_content(rename, tmp_path, own_cache):
    """As Debian packs them, and as Kaggle and browsers unpack them."""
    for path in (ROOT / "data" / "mnist").glob("*.gz"):
        content, name = gzip.decompress(path.read_bytes()), rename(path.name)
        (tmp_path / name).write_bytes(gzip.compress(content, 1, mtime=0) if name.endswith(".gz") else content)
    assert fresh("mnist", tmp_path).digest == "8cf65dd991979f9d69a1a4da5a69ea1d"
    changed = tmp_path / rename("t10k-labels-idx1-ubyte.gz")
    content = changed.read_bytes()
    plain = bytearray(gzip.decompress(content) if changed.suffix == ".gz" else content)
    plain[-1] ^= 1
    changed.write_bytes(gzip.compress(bytes(plain)) if changed.suffix == ".gz" else bytes(plain))
    with pytest.raises(StorageError, match="truncated or altered"):
        fresh("mnist", tmp_path)
