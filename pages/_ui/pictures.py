"""Pictures as small PNG files in an address: arrays [height, width] in, see-through, for light and dark pages.

The browser draws them at once and nothing covers them; what a pixel is worth is said beside them.
"""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image

from .charts import ACCENT, INK, NEUTRAL, WARM

FOR, AGAINST = "#e11d48", "#2563eb"
"""Of relevance, or of any signed number: above and below zero."""

SIDE = 336
"""Pixels that the longer side has at least, so that no browser blurs the picture."""

GROUND = 0.1
"""How much of grey shows where a picture is blank, so that its edges show too."""


def image(pixels: np.ndarray, removed: np.ndarray | None = None) -> str:
    """An image with values in [0, 1] as ink on the page's ground, with a tint over what is `removed` (bool)."""
    paint = _tone(INK, pixels)
    return _png(paint if removed is None else _over(_tone(WARM, 0.3 * removed), paint))


def signed(scores: np.ndarray, limit: float | None = None) -> str:
    """Numbers, red above zero and blue below; full colour is `limit`, without one the largest of them."""
    strength = scores / (limit or float(np.abs(scores).max()) or 1.0)
    return _png(np.where((strength >= 0)[..., None], _tone(FOR, strength), _tone(AGAINST, -strength)))


def strength(values: np.ndarray, color: str = ACCENT) -> str:
    """Numbers from 0 to 1 in one colour, the largest strongest; NaN is blank."""
    return _png(_tone(color, 0.04 + 0.96 * values))


def mask(kept: np.ndarray, mean: np.ndarray) -> str:
    """The mean image with the pixels that stay in colour, and the removed ones dimmed."""
    lit = mean / max(float(mean.max()), 1e-9)
    dim, bright = _tone(NEUTRAL, 0.06 + 0.24 * lit), _tone(ACCENT, 0.35 + 0.65 * lit)
    return _png(np.where(kept[..., None], bright, dim))


def kept_by(who: np.ndarray) -> str:
    """Which of two rankings keeps each pixel: 0 neither, 1 the first alone, 2 the second alone, 3 both."""
    paint = np.zeros((*who.shape, 4))
    for number, color in ((1, ACCENT), (2, WARM), (3, INK)):
        paint[who == number] = _tone(color, np.array(0.8))
    return _png(paint)


def at(place: int, width: int) -> str:
    """Where a pixel is: "row 3, column 5", counted from 0."""
    row, column = divmod(int(place), width)
    return f"row {row}, column {column}"


def _tone(color: str, opacity: np.ndarray) -> np.ndarray:
    """A "#rrggbb" colour with an opacity for each pixel, as [..., 4] from 0 to 1."""
    paint = np.empty((*np.shape(opacity), 4))
    paint[..., :3] = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    paint[..., 3] = np.nan_to_num(opacity).clip(0, 1)
    return paint


def _over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """One paint upon another."""
    above, below = top[..., 3:], bottom[..., 3:] * (1 - top[..., 3:])
    whole = above + below
    mixed = (top[..., :3] * above + bottom[..., :3] * below) / np.where(whole > 0, whole, 1)
    return np.concatenate([mixed, whole], -1)


def _png(paint: np.ndarray) -> str:
    """A paint on a faint ground as a PNG in an address, every pixel a square of whole pixels.

    A file of the server's is gone as soon as a slider moves on, while the browser may still ask for it.
    """
    size = math.ceil(SIDE / max(paint.shape[:2]))
    grounded = _over(paint, _tone(NEUTRAL, np.full(paint.shape[:2], GROUND)))
    large = np.rint(255 * grounded).astype(np.uint8).repeat(size, 0).repeat(size, 1)
    buffer = io.BytesIO()
    Image.fromarray(large).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
