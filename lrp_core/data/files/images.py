"""Pictures in files, one after the other into one array of bytes: all of one size, grey or in colour."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from ...errors import InputError
from ..pictures import LARGEST, UNREADABLE
from .contents import Asked, check_inputs, check_size

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")


class Pictures:
    """Takes one picture after the other; `finished` gives all of them, bytes [n, channels, height, width].

    They are grey if all are, else in colour; transparency lies on white. A size that was asked for is the one that they
    get, else all must have the same.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked.image_size
        self._arrays: list[np.ndarray] = []
        self._first = ""
        self._resized = 0
        self.notes: list[str] = []

    def add(self, content: bytes, where: str) -> None:
        """Raises `InputError` for what is no picture, damaged, made to harm, or of another size than the others."""
        array = self._fit(_decode(content, where), where)
        if not self._arrays:
            self._first = where
            check_inputs(where, array.shape)
        elif array.shape[:2] != self._arrays[0].shape[:2]:
            height, width = array.shape[:2]
            first = self._arrays[0].shape
            raise InputError(
                f"{where} has {height} x {width} pixels and {self._first} {first[0]} x {first[1]}: say "
                "the size (height x width) that all should get (image_size, --image-size)"
            )
        self._arrays.append(array)

    def finished(self, source: str) -> np.ndarray:
        """Every picture. Raises `InputError` if there are none."""
        if not self._arrays:
            raise InputError(f"{source} holds no pictures")
        colour = any(array.ndim == 3 for array in self._arrays)
        height, width = self._arrays[0].shape[:2]
        check_size(source, len(self._arrays) * height * width * (3 if colour else 1))
        values = np.empty((len(self._arrays), 3 if colour else 1, height, width), np.uint8)
        for i in reversed(range(len(values))):  # each is given up as soon as it is in its place
            array = self._arrays.pop()
            values[i] = array.transpose(2, 0, 1) if array.ndim == 3 else array
        if self._resized:
            self.notes.append(f"{self._resized:,} images were resized to {height} x {width}")
        return values

    def _fit(self, image: Image.Image, where: str) -> np.ndarray:
        """Bytes [height, width] of a grey picture, or [height, width, 3]."""
        if self._asked is not None:
            height, width = self._asked[-2:]
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
                self._resized += 1
            if len(self._asked) == 3:
                if self._asked[0] not in (1, 3):
                    raise InputError(f"images have 1 or 3 channels, not {self._asked[0]}")
                image = image.convert("L" if self._asked[0] == 1 else "RGB")
        return np.array(image)


def _decode(content: bytes, where: str) -> Image.Image:
    """A picture as L or RGB, upright. Raises `InputError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is too large or damaged is refused here
        try:
            with Image.open(BytesIO(content), formats=_FORMATS) as image:
                columns, rows = image.size
                if columns * rows <= LARGEST:
                    return _plain(ImageOps.exif_transpose(image))
        except Image.DecompressionBombError:
            columns, rows = _claimed(content)
        except UNREADABLE as error:
            raise InputError(
                f"{where} is no picture that can be read, or damaged: leave it out, or get it again"
            ) from error
    size = f"{columns:,} x {rows:,} pixels" if columns else "far more pixels than it should"
    raise InputError(f"{where} has {size}: at most {LARGEST // 1_000_000} million are taken")


def _claimed(content: bytes) -> tuple[int, int]:
    """The columns and rows that a PNG says it has; else 0, 0."""
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    return 0, 0


def _plain(image: Image.Image) -> Image.Image:
    if image.mode in ("1", "L"):
        return image.convert("L")
    if image.mode.startswith("I") or image.mode == "F":
        deep = np.array(image, dtype=np.float64)
        if not np.isfinite(deep).all():
            raise ValueError("NaN or infinity")
        of_two_bytes = image.mode.startswith("I;16") or deep.max() > 255
        top = 65535 if of_two_bytes else 255 if image.mode != "F" or deep.max() > 1 else 1
        return Image.fromarray((deep / top * 255).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        both = image.convert("RGBA")
        ground = Image.new("RGBA", both.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, both)
    colour = image.convert("RGB")
    channels = np.array(colour)
    if image.mode in ("LA", "P") and bool((channels == channels[..., :1]).all()):
        return colour.convert("L")
    return colour
