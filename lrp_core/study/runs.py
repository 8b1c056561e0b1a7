"""What the ledger says of a piece of long work."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["starting", "running", "done", "failed", "cancelled", "interrupted"]


@dataclass(frozen=True)
class Run:
    """The latest run of a piece of long work: a study or an export.

    `done` of `total` steps, and the `stage` it is in, which began at `stage_started` with `stage_done` steps done;
    times are seconds since 1970. `provenance` says where a study was measured that was adopted (`bundle`); it is empty
    for everything that ran here. `remark` is what a person noted about it. `before`: so many
    other runs come first while it waits for its turn; its stage says so, too.
    """

    id: str
    kind: str
    name: str
    spec: dict[str, Any]
    state: State
    stage: str
    done: int
    total: int
    message: str
    started: float
    updated: float
    stage_done: int
    stage_started: float
    provenance: dict[str, Any] = field(default_factory=dict)
    remark: str = ""
    before: int = 0

    @property
    def is_read_only(self) -> bool:
        """Whether it was measured elsewhere: it can be read and deleted, and not started, gone on with or cancelled."""
        return bool(self.provenance)

    @property
    def is_active(self) -> bool:
        """Whether a process is working on it, or about to."""
        return self.state in ("starting", "running")

    @property
    def progress(self) -> float:
        """Share of the steps that are done, in [0, 1]."""
        return self.done / self.total if self.total else 0.0

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return self._now - self.started

    @property
    def rate(self) -> float | None:
        """Steps a second in the present stage; None before the first of them is done.

        What was there before, and what took time before the stage began, does not count.
        """
        steps, seconds = self.done - self.stage_done, self._now - self.stage_started
        return steps / seconds if steps > 0 and seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None if that is unknown, or nothing is at work."""
        return (self.total - self.done) / self.rate if self.is_active and self.rate else None

    @property
    def _now(self) -> float:
        return time.time() if self.is_active else self.updated
