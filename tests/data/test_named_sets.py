"""Named data sets: MNIST and its siblings, as they were published, wherever their files lie."""

from __future__ import annotations

import gzip
import string
from pathlib import Path

import numpy as np
import pytest
import torch

from lrp_core.data import DATASETS, load_dataset, to_images
from lrp_core.errors import InputError, StorageError

from ..support import ROOT
from . import idx
from .comparing import assert_official, assert_same, assert_stratified, everything, fresh, prepared_files

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
