"""Images of your own as the pages draw them, and the pictures that their networks take."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrp_core import views
from lrp_core.data import Dataset, Split
from lrp_core.errors import InputError
from lrp_core.study import Study, preset
from lrp_core.study.ledger import Ledger
from lrp_core.views.images import as_seen
from lrp_core.views.study import OpenedStudy


def images(channels: int, n: int, seed: int, *, are_bytes: bool) -> Split:
    random = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, (n, channels, 8, 8), generator=random)
    return Split(values.to(torch.uint8) if are_bytes else values.float() - 300, torch.arange(n) % 2)


def own(channels: int, *, are_bytes: bool) -> Dataset:
    parts = [images(channels, n, seed, are_bytes=are_bytes) for seed, n in enumerate((40, 20, 20))]
    data = Dataset("fields", ("wheat", "maize"), *parts)
    return data if are_bytes else data.standardised(per_channel=True)


def opened(data: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch) -> OpenedStudy:
    monkeypatch.setenv("LRP_CACHE", str(folder))
    study: Study = preset("quick", data, architecture="softmax", seeds=(0,))
    return views.open_study(study, Ledger(folder))


@pytest.mark.parametrize("are_bytes", [True, False])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_an_image_is_the_mean_of_its_channels_between_zero_and_one(channels: int, are_bytes: bool) -> None:
    data = own(channels, are_bytes=are_bytes)
    raw = images(channels, 20, 2, are_bytes=are_bytes).raw.double().mean(1).numpy()
    seen = as_seen(data, data.test.images)
    expected = raw / 255 if are_bytes else (raw - raw.min()) / (raw.max() - raw.min())
    assert seen == pytest.approx(expected, abs=1e-4)


def test_a_row_is_in_its_own_unit() -> None:
    values = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)) * 7 + 100
    split = Split(values, torch.arange(30) % 2)
    data = Dataset("rows", ("a", "b"), split, split, split).standardised()
    assert as_seen(data, data.train.inputs)[:, 0] == pytest.approx(values.numpy(), abs=1e-3)


@pytest.mark.parametrize(
    ("channels", "are_bytes", "sources"),
    [
        (1, True, ("test", "file", "drawing")),
        (3, True, ("test", "file")),
        (2, True, ("test",)),
        (1, False, ("test",)),
    ],
)
def test_pictures_come_from_where_they_can(
    channels: int, are_bytes: bool, sources: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(own(channels, are_bytes=are_bytes), tmp_path, monkeypatch)
    assert study.removals.sources == sources
    assert study.words[0] == ("pixels" if channels == 1 else "inputs")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_resized_as_those_of_the_data_are(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no digit: nothing is inverted or centred."""
    removals = opened(own(channels, are_bytes=True), tmp_path, monkeypatch).removals
    light = np.full((16, 16, 3), (250, 200, 150), np.uint8)
    buffer = BytesIO()
    Image.fromarray(light).save(buffer, "PNG")
    picture = removals.picture_of_file(buffer.getvalue(), "field.png")
    grey = np.array(Image.fromarray(light).convert("L"))[0, 0] / 255
    expected = [grey] if channels == 1 else [250 / 255, 200 / 255, 150 / 255]
    assert picture.pixels.shape == (channels, 8, 8)
    assert picture.pixels.mean((1, 2)) == pytest.approx(expected, abs=0.01)
    with pytest.raises(InputError, match=r"^field\.png"):
        removals.picture_of_file(b"no image", "field.png")


def test_a_drawing_is_ink_on_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removals = opened(own(1, are_bytes=True), tmp_path, monkeypatch).removals
    sheet = np.full((100, 100), 255, np.uint8)
    sheet[20:40, 20:40] = 0
    buffer = BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    picture = removals.picture_of_file(buffer.getvalue(), "the drawing", is_drawing=True)
    assert picture.pixels[0, 0, 0] == 0, "the ground"
    assert picture.pixels[0, 4, 4] > 0.9, "the ink, in the middle"
