"""Time and memory that some processes take."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOOK_EVERY = 2.0
"""Seconds between two looks at the memory: one takes 50 ms of processor time, which the study does not get."""


@dataclass(frozen=True)
class Seconds:
    """Time by the clock, and time that processors worked for this process and for those it started and that ended."""

    clock: float
    worked: float

    @classmethod
    def now(cls) -> Seconds:
        return cls(time.perf_counter(), time.process_time() + sum(os.times()[2:4]))

    def since(self, start: Seconds) -> Seconds:
        return Seconds(self.clock - start.clock, self.worked - start.worked)

    def plus(self, other: Seconds) -> Seconds:
        return Seconds(self.clock + other.clock, self.worked + other.worked)


def descendants(pid: int) -> list[int]:
    """A process and all that it started."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents.setdefault(int(stat.read_text().rsplit(")", 1)[1].split()[1]), []).append(int(stat.parent.name))
        except (OSError, IndexError):
            continue
    pids = [pid]
    for process in pids:
        pids += parents.get(process, [])
    return pids


@dataclass(frozen=True)
class Memory:
    """Bytes that some processes take together, and how many of them lie in the mapped data set.

    `total` and `mapped` count a shared page once, `mapped_each` counts it for every process that has it.
    """

    total: int = 0
    mapped: int = 0
    mapped_each: int = 0


def resident(pid: int, file: str, within: str = "") -> tuple[int, int]:
    """Proportional and resident set size in bytes of the mappings of a process whose line holds `within`.

    `file` is smaps, or smaps_rollup, its sum. (0, 0) if the process is gone.
    """
    sums, counts = {"Pss": 0, "Rss": 0}, False
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0, 0
    for line in lines:
        name, _, value = line.partition(":")
        if name in sums and counts:
            sums[name] += 1024 * int(value.split()[0])
        elif "-" in name.split(" ")[0]:  # the line that a mapping begins with: its addresses, and its file
            counts = within in line
    return sums["Pss"], sums["Rss"]


@contextmanager
def watched_memory(pid: int, data: Path) -> Iterator[list[Memory]]:
    """A list that ends with the peak of the process and its descendants; `data` is where the data sets lie."""
    peaks = [Memory()]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(LOOK_EVERY):
            processes = descendants(pid)
            total = sum(resident(process, "smaps_rollup")[0] for process in processes)
            if total > peaks[-1].total:
                mapped = [resident(process, "smaps", str(data)) for process in processes]
                peaks.append(Memory(total, sum(pss for pss, _ in mapped), sum(rss for _, rss in mapped)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()
