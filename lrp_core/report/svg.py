"""Figures of a report as SVG that a page holds: no script, no font, no file from elsewhere.

Elements are built, never written as text, so that no name can end one. Colours are classes that the page's style
sheet sets, for light, dark and print; lines differ by their dash and points by their shape, too.
"""

from __future__ import annotations

import math
import struct
import zlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

WIDTH, LEFT, RIGHT, TOP = 560.0, 62.0, 14.0, 16.0
PLOT = 270.0
"""Height of what is plotted."""

COLORS = 8
"""Classes c0 to c7 of lines."""

_DASHES = {"elimination": "9 4", "stability": "9 4 2 4", "exchange": "2 4"}
_ROW = 22.0


@dataclass(frozen=True)
class Line:
    """The curve of a method: shares of 1 at `x` and `y`, the ends of the interval at each (NaN without one).

    `style` is the strategy, which sets the dash, `color` the number of the colour.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    color: int = 0
    style: str = ""


def curves(
    lines: Sequence[Line],
    *,
    says: str,
    x_title: str,
    y_title: str,
    level: float | None = None,
    level_says: str = "",
    mark: tuple[float, float] | None = None,
    least: float = 0.0,
) -> str:
    """Lines over the share removed, with bands, a dotted `level` and a ring at `mark`; everything in shares of 1.

    `says` is what a screen reader reads, `least` the least value that can be.
    """
    tall = TOP + PLOT + 48 + _ROW * math.ceil(len(lines) / 2)
    svg = ElementTree.Element("svg", viewBox=f"0 0 {WIDTH:g} {tall:g}", role="img")
    ElementTree.SubElement(svg, "title").text = says
    low, high, ticks = _axis([v for line in lines for v in line.y] + ([] if level is None else [level]), least)
    place = _Place(low, high)
    _grid(svg, place, ticks, x_title, y_title)
    for line in lines:
        _band(svg, line, place, least)
    if level is not None:
        y = place.y(level)
        _line(svg, LEFT, y, WIDTH - RIGHT, y, "level")
        _text(svg, WIDTH - RIGHT, y - 5, level_says, "end", "quiet")
    for line in lines:
        _curve(svg, line, place)
    if mark is not None:
        ring = {"class": "mark", "r": "9"} | _at("c", place.x(mark[0]), place.y(mark[1]))
        ElementTree.SubElement(svg, "circle", ring)
    for number, line in enumerate(lines):
        _key(svg, line, LEFT + (number % 2) * (WIDTH - LEFT) / 2, TOP + PLOT + 56 + _ROW * (number // 2))
    return ElementTree.tostring(svg, encoding="unicode")


def strips(kept: np.ndarray, names: Sequence[str], says: str) -> str:
    """Channels as rows, in colour where their inputs stay; `kept` is bool [channels, length]."""
    channels, length = kept.shape
    row = min(26.0, max(6.0, 420 / channels))
    tall = row * channels + 26
    svg = ElementTree.Element("svg", viewBox=f"0 0 {WIDTH:g} {tall:g}", role="img")
    ElementTree.SubElement(svg, "title").text = says
    step = (WIDTH - LEFT - RIGHT) / length
    for channel in range(channels):
        y = channel * row
        _box(svg, LEFT, y + 1, step * length, row - 2, "gone")
        for start, stop in _runs(kept[channel]):
            _box(svg, LEFT + start * step, y + 1, (stop - start) * step, row - 2, "kept")
        if row >= 12 and len(names) == channels:
            _text(svg, LEFT - 6, y + row / 2 + 4, _short(names[channel], 9), "end")
    _text(svg, LEFT, tall - 8, "0", "start", "quiet")
    _text(svg, WIDTH - RIGHT, tall - 8, f"{length - 1:,}", "end", "quiet")
    return ElementTree.tostring(svg, encoding="unicode")


def picture(kept: np.ndarray, mean: np.ndarray, tall: int = 280) -> str:
    """The mean image, in colour where its pixels stay and grey where they go, as the data URL of a PNG.

    Both are [height, width]; pixels become whole squares, so that no viewer blurs them.
    """
    ink = np.clip(mean / max(float(mean.max()), 1e-9), 0, 1)[..., None]
    paper, gone, stay = (np.array(rgb, dtype=float) for rgb in ((255, 255, 255), (132, 146, 160), (13, 148, 136)))
    colors = np.where(
        kept[..., None], paper + (stay - paper) * (0.3 + 0.7 * ink), paper + (gone - paper) * (0.06 + 0.3 * ink)
    )
    squares = np.kron(colors.round().astype(np.uint8), np.ones((max(1, tall // kept.shape[0]),) * 2 + (1,), np.uint8))
    return "data:image/png;base64," + b64encode(_png(squares)).decode()


def _png(rgb: np.ndarray) -> bytes:
    """An image [height, width, 3] of bytes as a PNG file (W3C, Portable Network Graphics, 2003)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, _ = rgb.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), rgb.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@dataclass(frozen=True)
class _Place:
    """Where a value lies in the drawing."""

    low: float
    high: float

    def x(self, share: float) -> float:
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return TOP + PLOT * (self.high - value) / (self.high - self.low)


def _axis(values: Sequence[float], least: float) -> tuple[float, float, list[float]]:
    """The ends and the ticks of the axis that shows all values, on round numbers; no value is above 1."""
    known = [v for v in values if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = max((high - low) * 0.08, 0.005)
    low, high = max(least, low - room), min(1.0, high + room)
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return first * step, last * step, [n * step for n in range(first, last + 1)]


def _grid(svg: ElementTree.Element, place: _Place, ticks: Sequence[float], x_title: str, y_title: str) -> None:
    digits = max(0, -math.floor(math.log10(100 * (ticks[1] - ticks[0])) + 1e-9))
    for tick in ticks:
        _line(svg, LEFT, place.y(tick), WIDTH - RIGHT, place.y(tick), "grid")
        _text(svg, LEFT - 7, place.y(tick) + 4.5, f"{100 * tick + 0.0:.{digits}f}", "end")
    for share in (0, 20, 40, 60, 80, 100):
        _text(svg, place.x(share / 100), TOP + PLOT + 18, str(share), "middle")
    _text(svg, LEFT + (WIDTH - LEFT - RIGHT) / 2, TOP + PLOT + 38, x_title, "middle")
    up = _text(svg, 0, 0, y_title, "middle")
    up.set("transform", f"translate(14 {TOP + PLOT / 2:g}) rotate(-90)")


def _band(svg: ElementTree.Element, line: Line, place: _Place, least: float) -> None:
    ends = [end for end in zip(line.x, line.low, line.high, strict=True) if not any(map(math.isnan, end))]
    if len(ends) < 2:
        return
    there = [(place.x(x), place.y(min(high, place.high))) for x, _, high in ends]
    back = [(place.x(x), place.y(max(low, place.low, least))) for x, low, _ in reversed(ends)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in there + back)
    ElementTree.SubElement(svg, "polygon", {"class": f"band c{line.color % COLORS}", "points": points})


def _curve(svg: ElementTree.Element, line: Line, place: _Place) -> None:
    points = [(place.x(x), place.y(y)) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    path = ElementTree.SubElement(svg, "polyline", {"class": f"line c{line.color % COLORS}"})
    path.set("points", " ".join(f"{x:.1f},{y:.1f}" for x, y in points))
    if line.style in _DASHES:
        path.set("stroke-dasharray", _DASHES[line.style])
    for x, y in points:
        _point(svg, x, y, line.color)


def _point(svg: ElementTree.Element, x: float, y: float, color: int) -> None:
    """A point in the shape of its colour: a circle, a square or a diamond."""
    shape = {"class": f"point c{color % COLORS}"}
    if color % 3 == 0:
        ElementTree.SubElement(svg, "circle", shape | {"r": "3.4"} | _at("c", x, y))
        return
    corners = [(-3, -3), (3, -3), (3, 3), (-3, 3)] if color % 3 == 1 else [(0, -4.4), (4.4, 0), (0, 4.4), (-4.4, 0)]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    ElementTree.SubElement(svg, "polygon", shape | {"points": points})


def _key(svg: ElementTree.Element, line: Line, x: float, y: float) -> None:
    sample = _line(svg, x, y, x + 34, y, f"line c{line.color % COLORS}")
    if line.style in _DASHES:
        sample.set("stroke-dasharray", _DASHES[line.style])
    _point(svg, x + 17, y, line.color)
    _text(svg, x + 42, y + 4.5, _short(line.name, 27))


def _runs(kept: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], kept.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _at(prefix: str, x: float, y: float) -> dict[str, str]:
    return {f"{prefix}x": f"{x:.1f}", f"{prefix}y": f"{y:.1f}"}


def _line(svg: ElementTree.Element, x1: float, y1: float, x2: float, y2: float, kind: str) -> ElementTree.Element:
    ends = {name: f"{value:.1f}" for name, value in (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2))}
    return ElementTree.SubElement(svg, "line", {"class": kind} | ends)


def _box(svg: ElementTree.Element, x: float, y: float, width: float, height: float, kind: str) -> None:
    size = {"width": f"{width:.2f}", "height": f"{height:.1f}"}
    ElementTree.SubElement(svg, "rect", {"class": kind, "x": f"{x:.2f}", "y": f"{y:.1f}"} | size)


def _text(
    svg: ElementTree.Element, x: float, y: float, text: str, anchor: str = "start", kind: str = "said"
) -> ElementTree.Element:
    label = ElementTree.SubElement(svg, "text", {"class": kind, "text-anchor": anchor} | _at("", x, y))
    label.text = _writable(text)
    return label


def _writable(text: str) -> str:
    """Text without the characters that no XML can hold."""
    return "".join(c if c.isprintable() else " " for c in text)
