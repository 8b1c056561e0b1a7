"""Images from files, as the networks take them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import InputError, storage_errors

LARGEST = 40_000_000
"""Pixels that a picture may have: what a telephone takes, and decoded in a second."""

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
UNREADABLE = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
)
"""What Pillow raises on files that are damaged or made to harm."""

_ENOUGH = 500
"""Pixels of the shorter side that no network here needs more than: a larger picture is shrunk as it is read."""

_INK_SIDE = 20 / 28
_FAINT, _STROKE = 0.1, 0.3
"""Shares of the contrast: what is taken for the ground, and what certainly is ink."""


def read_picture(path: Path, shape: Sequence[int], *, as_mnist: bool) -> tuple[Tensor, Sequence[str]]:
    """A picture of any size as a network for inputs of `shape` takes it, [1, *shape] in [0, 1], and what was done.

    `as_mnist` has it prepared as `fit_image` does, as the page does with pictures; else it is resized and made grey or
    coloured, as pictures of your own data are. Raises `InputError` or `StorageError` that names the file.
    """
    with storage_errors("read", path):
        content = path.read_bytes()
    return picture_of(content, str(path), shape, as_mnist=as_mnist)


def picture_of(content: bytes, name: str, shape: Sequence[int], *, as_mnist: bool) -> tuple[Tensor, Sequence[str]]:
    """The picture in the bytes of a file of that name, as `read_picture` takes it. Raises `InputError`."""
    from .files.contents import Asked
    from .files.images import Pictures

    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(f"{name} is a picture, and the network takes inputs of shape {tuple(shape)}")
    if as_mnist and shape[0] == 1:
        fitted = fit_image(content, name, shape[1], shape[2])
        return torch.from_numpy(fitted.pixels)[None, None], fitted.notes
    pictures = Pictures(Asked(image_size=tuple(shape)))
    pictures.add(content, name)
    values = torch.from_numpy(pictures.finished(name)).float() / 255
    return values, [note.replace("1 images were", "it was") for note in pictures.notes]


@dataclass(frozen=True, eq=False)
class FittedImage:
    """An image as a network takes it, `pixels` [height, width] in [0, 1], and in `notes` what was done to get there."""

    pixels: np.ndarray
    notes: tuple[str, ...]


def fit_image(content: bytes, name: str, height: int, width: int) -> FittedImage:
    """A picture of any kind and size, as the images of MNIST were made (LeCun et al. 1998).

    Grey and light on dark; the ink scaled to 20/28 of the image and put with its centre of mass at the centre. One that
    has the size already stays as it is, but for the ground. Of an animation the first picture is taken. Raises
    `InputError` for what is no image, damaged, or of more than `LARGEST` pixels.
    """
    grey, notes, (columns, rows) = _read_grey(content, name)
    ground = float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))
    if ground > 0.5:
        grey, ground = 1 - grey, 1 - ground
        notes.append("inverted, because its ground is light")
    if grey.shape == (height, width):
        return FittedImage(grey, tuple(notes))
    notes.append(f"its ink scaled and centred: it came with {columns:,} x {rows:,} pixels")
    contrast = float(grey.max()) - ground
    if contrast < _FAINT:
        return FittedImage(np.zeros((height, width), np.float32), (*notes, "blank: nothing stands out from its ground"))
    ink = ((grey - ground) / contrast).clip(0, 1)
    ink[ink < _FAINT] = 0  # the grain of paper
    return FittedImage(_framed(ink, height, width), tuple(notes))


def _read_grey(content: bytes, name: str) -> tuple[np.ndarray, list[str], tuple[int, int]]:
    """The picture in a file as grey values [rows, columns] in [0, 1], and the columns and rows that it came with."""
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            columns, rows = image.size
            if columns * rows <= LARGEST:
                notes = ["the first picture of an animation"] if getattr(image, "is_animated", False) else []
                upright = ImageOps.exif_transpose(image)
                return _grey(upright), notes, upright.size
    except UNREADABLE as error:
        raise InputError(f"{name} is damaged, or no image that can be read: give a PNG or JPEG file") from error
    raise InputError(
        f"{name} has {columns:,} x {rows:,} pixels: give an image of at most {LARGEST // 1_000_000} million"
    )


def _grey(image: Image.Image) -> np.ndarray:
    if image.mode.startswith(("I", "F")):
        deep = np.array(image, dtype=np.float32)
        return (deep / (65535 if deep.max() > 255 else 255)).clip(0, 1)
    shrink = max(1, min(image.size) // _ENOUGH)
    if not image.has_transparency_data:
        return np.array(image.convert("L").reduce(shrink), dtype=np.float32) / 255
    both = image.convert("RGBA").reduce(shrink).convert("LA")
    grey, alpha = np.moveaxis(np.array(both, dtype=np.float32) / 255, 2, 0)
    # Light ink was meant for a dark ground and dark ink for a light one; the file does not say which.
    ground = 0.0 if (grey * alpha).sum() >= 0.5 * alpha.sum() else 1.0
    blended: np.ndarray = grey * alpha + ground * (1 - alpha)
    return blended


def _framed(ink: np.ndarray, height: int, width: int) -> np.ndarray:
    """Ink [rows, columns] on nothing, in the frame in which MNIST has it."""
    rows, columns = (np.flatnonzero((ink > _STROKE).any(axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = _INK_SIDE * min(height / cut.shape[0], width / cut.shape[1])
    sides = [max(1, round(scale * side)) for side in cut.shape]
    small = np.array(Image.fromarray(cut).resize((sides[1], sides[0]), Image.Resampling.BILINEAR))
    small /= small.max()  # thin strokes have paled
    centre = [np.average(np.arange(side), weights=small.sum(1 - axis)) for axis, side in enumerate(sides)]
    at = [
        min(max(round(full / 2 - middle), 0), full - side)  # MNIST counts pixel 14 as the middle
        for full, side, middle in zip((height, width), sides, centre, strict=True)
    ]
    framed = np.zeros((height, width), np.float32)
    framed[at[0] : at[0] + sides[0], at[1] : at[1] + sides[1]] = small
    return framed
