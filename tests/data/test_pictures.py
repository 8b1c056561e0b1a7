"""Pictures of any kind become what a network takes, or are refused in a sentence."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from lrp_core.data import Dataset
from lrp_core.data.pictures import LARGEST, FittedImage, fit_image
from lrp_core.errors import InputError

from ..support import check_sentence


def file_of(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def fitted(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> FittedImage:
    return fit_image(file_of(pixels, kind, **options), "picture", 28, 28)


def digit(mnist: Dataset, index: int = 4) -> np.ndarray:
    return mnist.test.pixels[index, 0].numpy()


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_an_image_of_the_right_size_stays_as_it_is(mnist: Dataset) -> None:
    found = fitted(digit(mnist))
    assert np.array_equal(found.pixels, digit(mnist).astype(np.float32) / 255)
    assert found.notes == ()


def test_dark_ink_on_light_ground_is_inverted(mnist: Dataset) -> None:
    found = fitted(255 - digit(mnist))
    assert found.pixels == pytest.approx(digit(mnist) / 255, abs=1e-6)
    assert found.notes == ("inverted, because its ground is light",)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
@pytest.mark.parametrize("index", [0, 4, 18])
def test_a_digit_comes_back_from_a_large_sheet(mnist: Dataset, kind: str, index: int) -> None:
    sheet = np.full((700, 500), 235, np.uint8)
    large = np.array(Image.fromarray(digit(mnist, index)).resize((300, 300)))
    sheet[350:650, 20:320] = np.minimum(sheet[350:650, 20:320], 255 - large)
    found = fitted(sheet, kind)
    assert alike(found.pixels, digit(mnist, index)) > 0.9
    assert found.pixels.min() == 0
    assert found.pixels.max() == 1
    assert "500 x 700 pixels" in found.notes[-1]


def test_a_large_picture_is_shrunk_and_its_own_size_named(mnist: Dataset) -> None:
    found = fitted(np.array(Image.fromarray(digit(mnist)).resize((1680, 2240))))
    assert alike(found.pixels, fitted(np.array(Image.fromarray(digit(mnist)).resize((420, 560)))).pixels) > 0.99
    assert found.notes == ("its ink scaled and centred: it came with 1,680 x 2,240 pixels",)


def test_what_is_transparent_is_ground(mnist: Dataset) -> None:
    ink = np.array(Image.fromarray(digit(mnist)).resize((280, 280)))
    for color in (0, 255):
        pixels = np.dstack([np.full((280, 280, 3), color, np.uint8), ink])
        assert alike(fitted(pixels).pixels, digit(mnist)) > 0.9


def test_sixteen_bits_are_read_as_such(mnist: Dataset) -> None:
    found = fitted(digit(mnist).astype(np.uint16) * 257)
    assert found.pixels == pytest.approx(digit(mnist) / 255, abs=1e-4)


def test_a_telephone_held_upright_is_turned(mnist: Dataset) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    found = fitted(np.rot90(digit(mnist)).copy(), exif=exif)
    assert np.array_equal(found.pixels, digit(mnist).astype(np.float32) / 255)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_picture_is_taken(mnist: Dataset, kind: str) -> None:
    frames = [Image.fromarray(digit(mnist, index)) for index in (4, 0)]
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    found = fitted(digit(mnist), kind, **options, **({"lossless": True} if kind == "WEBP" else {}))
    assert found.notes == ("the first picture of an animation",)
    assert alike(found.pixels, digit(mnist)) > 0.99


def test_a_blank_picture_is_blank() -> None:
    for grey in (0, 100, 255):
        found = fitted(np.full((60, 40), grey, np.uint8))
        assert not found.pixels.any()
        assert "nothing stands out" in found.notes[-1]


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=70)))
def test_any_size_becomes_the_one_that_is_needed(pixels: np.ndarray) -> None:
    found = fit_image(file_of(pixels), "picture", 28, 20)
    assert found.pixels.shape == (28, 20)
    assert found.pixels.dtype == np.float32
    assert found.pixels.min() >= 0
    assert found.pixels.max() <= 1


def test_a_huge_picture_is_refused_before_it_is_unpacked() -> None:
    for side in (7000, 60_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        chunks = b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
        )
        with pytest.raises(InputError) as caught:
            fit_image(b"\x89PNG\r\n\x1a\n" + chunks, "huge.png", 28, 28)
        check_sentence(caught.value)
        if side**2 < 2 * LARGEST:
            assert "7,000 x 7,000 pixels: give an image of at most 40 million" in str(caught.value)


@given(some.binary(max_size=300))
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="no image that can be read") as caught:
        fit_image(content, "a.png", 28, 28)
    check_sentence(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
@given(data=some.data())
def test_a_damaged_image_is_read_or_refused(kind: str, data: some.DataObject) -> None:
    content = bytearray(file_of(np.arange(900, dtype=np.uint8).reshape(30, 30), kind))
    for place in data.draw(some.lists(some.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(some.integers(0, 255))
    cut = data.draw(some.integers(0, len(content)))
    try:
        found = fit_image(bytes(content[:cut]), "a file", 28, 28)
    except InputError as error:
        check_sentence(error)
    else:
        assert found.pixels.shape == (28, 28)
        assert np.isfinite(found.pixels).all()
