"""How data sets are loaded, compared and looked for by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from lrp_core import data as data_module
from lrp_core.data import Dataset, load_dataset

from . import idx


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
