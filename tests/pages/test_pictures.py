"""Pictures as PNG files: what they show, pixel for pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from PIL import Image

from pages._ui import pictures
from pages._ui.drawing import decoded


def opened(url: str) -> Image.Image:
    """The picture in an address."""
    content = decoded(url)
    assert content is not None
    return Image.open(io.BytesIO(content))


def read(url: str, rows: int) -> np.ndarray:
    """One colour for each pixel of the array, [rows, columns, 4]."""
    large = np.asarray(opened(url))
    size = large.shape[0] // rows
    assert large.shape[0] == rows * size
    return large[size // 2 :: size, size // 2 :: size].astype(int)


def test_ink_is_stronger_where_the_image_is():
    shown = read(pictures.image(np.array([[0.0, 0.5, 1.0]])), 1)[0]
    assert list(shown[:, 3]) == sorted(shown[:, 3])
    assert shown[0, 3] == pytest.approx(255 * pictures.GROUND, abs=1)
    assert shown[2, 3] == 255


@given(arrays(float, (5, 7), elements=some.floats(-1e6, 1e6)))
def test_relevance_is_red_above_zero_and_blue_below(scores):
    shown = read(pictures.signed(scores), 5)
    limit = np.abs(scores).max()
    red, blue = shown[..., 0] > shown[..., 2] + 20, shown[..., 2] > shown[..., 0] + 20
    strong = np.abs(scores) > 0.3 * limit
    assert red[strong & (scores > 0)].all()
    assert blue[strong & (scores < 0)].all()
    assert not red[strong & (scores < 0)].any()
    assert not blue[strong & (scores > 0)].any()


def test_a_common_limit_makes_pictures_comparable():
    weak, strong = (read(pictures.signed(np.full((2, 2), value), 4.0), 2) for value in (1.0, 4.0))
    assert weak[0, 0, 3] < strong[0, 0, 3] == 255


@given(arrays(bool, (4, 6)), arrays(float, (4, 6), elements=some.floats(0.2, 1)))
def test_the_mask_colours_what_stays(kept, mean):
    shown = read(pictures.mask(kept, mean), 4)
    green = shown[..., 1] > shown[..., 0] + 40
    assert (green == kept).all()


def test_the_removed_pixels_are_tinted():
    removed = np.eye(4, dtype=bool)
    shown = read(pictures.image(np.full((4, 4), 0.5), removed), 4)
    assert len({tuple(color) for color in shown[removed]}) == 1
    assert len({tuple(color) for color in shown[~removed]}) == 1
    assert tuple(shown[0, 0]) != tuple(shown[0, 1])


def test_the_strongest_is_the_largest_and_nan_is_blank():
    shown = read(pictures.strength(np.array([[np.nan, 0.1], [0.5, 1.0]])), 2)
    opacity = shown[..., 3]
    assert opacity[0, 0] < opacity[0, 1] < opacity[1, 0] < opacity[1, 1]


def test_who_keeps_which_has_four_colours():
    shown = read(pictures.kept_by(np.array([[0, 1], [2, 3]])), 2)
    assert len({tuple(color) for color in shown.reshape(-1, 4)}) == 4


@pytest.mark.parametrize("shape", [(28, 28), (6, 6), (3, 40), (500, 400)])
def test_a_picture_is_large_enough_and_its_pixels_are_squares(shape):
    width, height = opened(pictures.image(np.zeros(shape))).size
    assert max(width, height) >= pictures.SIDE
    assert (height % shape[0], width % shape[1]) == (0, 0)
    assert height // shape[0] == width // shape[1]


def test_places_are_named_by_row_and_column():
    assert pictures.at(28 * 3 + 5, 28) == "row 3, column 5"
