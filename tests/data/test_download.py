"""Downloads: kept, mended, and never made unless asked for."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.error import URLError

import pytest

from lrp_core.data import load_dataset
from lrp_core.errors import StorageError

from ..support import is_one_sentence
from . import idx
from .comparing import assert_official, assert_same, fresh, prepared_files


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
