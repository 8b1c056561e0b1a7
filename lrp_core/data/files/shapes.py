"""What rows of numbers are: images of bytes or floats, and series whose channels are groups of inputs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ...errors import InputError
from ..groups import InputGroup
from .contents import Contents
from .sheets import CHUNK


def as_bytes(contents: Contents) -> None:
    """Keep images whose values are all whole and within 0..255 as bytes, if they are not all 0 or 1.

    Raises `InputError` if one part holds bytes and another something else.
    """
    every = list(contents.parts.values())
    parts = [part for part in every if part.inputs.dtype != np.uint8]
    largest = 0.0 if len(parts) == len(every) else 255.0
    for part in parts:
        for row in np.array_split(part.inputs, max(1, part.inputs.size // CHUNK)):
            if row.size and not ((row >= 0) & (row <= 255) & (row == np.floor(row))).all():
                if len(parts) < len(every):
                    kinds = {which: part.inputs.dtype for which, part in contents.parts.items()}
                    bytes_in = next(which for which, kind in kinds.items() if kind == np.uint8)
                    other = next(which for which, kind in kinds.items() if kind != np.uint8)
                    raise InputError(
                        f"{contents.source} has bytes in its {bytes_in} part and other numbers in its {other} part: "
                        "give both in one scale"
                    )
                return
            largest = max(largest, float(row.max())) if row.size else largest
    if largest > 1:
        for part in parts:
            part.inputs = part.inputs.astype(np.uint8)


def channel_groups(shape: tuple[int, int], names: Sequence[str] | None) -> tuple[InputGroup, ...]:
    """One group for the samples of each channel, by what the names of its samples have in common."""
    channels, length = shape
    if channels == 1:
        return ()
    places = [tuple(range(c * length, (c + 1) * length)) for c in range(channels)]
    called = [f"channel {c}" for c in range(channels)]
    if names is not None:
        common = [_common([names[i] for i in place]) for place in places]
        if all(common) and len(set(common)) == channels:
            called = common
    return tuple(map(InputGroup, called, places))


def _common(names: Sequence[str]) -> str:
    """What names begin with alike, without the number that follows."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(min(names), max(names), strict=False))
    return "".join(first for first, _ in pairs).rstrip(" _-.:[(0123456789")
