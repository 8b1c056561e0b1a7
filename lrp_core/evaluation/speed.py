"""How fast a smaller network is beside the full one: measured here, on this machine, and not counted."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .speed_notes import Compared, explain

Name = Literal["full", "smaller"]
Key = tuple[str, str, int, Name, bool]
"""Runtime, precision, batch size, network, and whether the picking counts."""

STEADY = 1.5
"""What is between the quartiles of a measurement that can be repeated."""


@dataclass(frozen=True)
class Timing:
    """One network in one runtime at one batch size.

    `milliseconds` of one batch are the median over `rounds`, `low` and `high` the quartiles. `ratio` says how many
    times as fast it is as the full network in float32, in the same runtime and by the medians, and `ratio_low` to
    `ratio_high` the range of that over the rounds; None for that network itself and where there is none. With `picks`
    it was given full inputs, and picking the kept ones out of them counts.
    """

    runtime: str
    precision: str
    batch: int
    network: Name
    picks: bool
    milliseconds: float
    low: float
    high: float
    rounds: int
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None

    @property
    def per_second(self) -> float:
        """Inputs a second."""
        return 1000 * self.batch / self.milliseconds


@dataclass(frozen=True)
class Footprint:
    """What a network takes beside time.

    `macs` and `parameters` are counted, `modules` are those that run, each a call, and `places` those among them that
    put values into their places on a canvas or in a frame. `input_bytes` are those of one input
    of the network. `files` has the bytes of real files by their kind. `peak_bytes` is the most memory that one forward
    pass at the largest batch holds at once beside weights and input, by torch's profiler. `scores` has the accuracy, or
    R^2, by runtime and precision, where data were given.
    """

    network: Name
    macs: int
    parameters: int
    modules: int
    places: int
    convolves: bool
    input_bytes: int
    files: dict[str, int]
    peak_bytes: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Speed:
    """A measurement: `timings` and `footprints`, on how many `threads`, in how many `seconds`, preparations included.

    `missing` says in a sentence each what could not be measured, and what would have to be installed for it.
    """

    timings: tuple[Timing, ...]
    footprints: tuple[Footprint, ...]
    threads: int
    seconds: float
    machine: str
    versions: dict[str, str]
    missing: tuple[str, ...] = ()

    def of(
        self, batch: int, *, runtime: str = "torch", precision: str = "float32", network: Name = "smaller",
        picks: bool = False,
    ) -> Timing | None:  # fmt: skip
        """The timing of that description, None if it was not measured."""
        asked = (runtime, precision, batch, network, picks)
        return next(
            (t for t in self.timings if (t.runtime, t.precision, t.batch, t.network, t.picks) == asked),
            None,
        )

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes, smallest first."""
        return tuple(sorted({timing.batch for timing in self.timings}))

    @property
    def rounds(self) -> int:
        """The fewest rounds of any timing."""
        return min(timing.rounds for timing in self.timings)

    @property
    def is_steady(self) -> bool:
        """Whether the quartiles of every timing lie within a factor of `STEADY`; else other work took its turns."""
        return all(timing.high <= STEADY * timing.low for timing in self.timings)

    @property
    def note(self) -> str:
        """Where the smaller network is not faster, one sentence a runtime and batch size that says why; else empty."""
        prints = {one.network: one for one in self.footprints}
        if "full" not in prints or "smaller" not in prints:
            return ""
        sentences: list[str] = []
        for runtime, batch in dict.fromkeys((timing.runtime, timing.batch) for timing in self.timings):
            full, small = self.of(batch, runtime=runtime, network="full"), self.of(batch, runtime=runtime)
            if full is not None and small is not None:
                picking = self.of(batch, runtime=runtime, picks=True)
                sentences.append(explain(Compared(full, small, picking, prints["full"], prints["smaller"])))
        return " ".join(filter(None, dict.fromkeys(sentences)))

    def as_rows(self) -> list[dict[str, Any]]:
        """One row a timing, for a table: plain values, `per_second` among them."""
        return [asdict(timing) | {"per_second": timing.per_second} for timing in self.timings]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"timings": self.as_rows(), "note": self.note}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Speed:
        """What `to_dict` gave, back."""
        timings = [
            Timing(**{name: value for name, value in row.items() if name != "per_second"}) for row in values["timings"]
        ]
        rest = {name: value for name, value in values.items() if name not in ("timings", "footprints", "note")}
        rest["missing"] = tuple(rest["missing"])
        return cls(tuple(timings), tuple(Footprint(**one) for one in values["footprints"]), **rest)


def make_timings(taken: Mapping[Key, Sequence[float]]) -> tuple[Timing, ...]:
    """Timings from the seconds of each round, by runtime, precision, batch, network and whether it picks."""
    timings = []
    for (runtime, precision, batch, network, picks), seconds in taken.items():
        median = statistics.median(seconds)
        low, high = quartiles(seconds)
        is_measure = (precision, network) == ("float32", "full")
        full = None if is_measure else taken.get((runtime, "float32", batch, "full", False))
        ratios = [a / b for a, b in zip(full, seconds, strict=True)] if full else []
        timings.append(
            Timing(
                runtime,
                precision,
                batch,
                network,
                picks,
                1000 * median,
                1000 * low,
                1000 * high,
                len(seconds),
                statistics.median(full) / median if full else None,
                min(ratios, default=None),
                max(ratios, default=None),
            )
        )
    return tuple(timings)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The lower and the upper quartile, between values where they fall between them.

    >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
    (2.0, 4.0)
    """
    ordered = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    return at(0.25), at(0.75)


def this_machine() -> str:
    """What computes here, as far as the system says it: "AMD EPYC 9R14, 2 cores"."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass  # other systems have no such file
    return f"{model}, {os.cpu_count() or 1} cores"
