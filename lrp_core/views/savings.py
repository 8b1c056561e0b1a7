"""What a smaller network saves on this machine, measured: as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..evaluation import ConvSaving, Speed, conv_savings
from ..evaluation.apart import measure_apart
from ..models import ModelSpec, build_from_spec, needed_spec
from ..pruning import PrunedNetwork, build_pruned
from ..pruning.crop import CONVOLUTIONS
from .part import Part, Report, tell_nobody
from .ranking import Rankings

RUNTIMES = {"torch": "torch", "onnxruntime": "ONNX Runtime"}
SECONDS = 15.0
"""How long a page measures."""


@dataclass(frozen=True)
class Savings(Part):
    """What the smaller networks of a study save when they run here. Weights are fresh: time goes by the shape alone."""

    def measure(
        self, *, method: str, mode: str, keep: int, seed: int, int8: bool = False, report: Report = tell_nobody
    ) -> Speed:
        """The smaller network at one place of the threshold beside the full one, measured now in another process.

        Raises `InputError` for a network of your own that is not known here.
        """
        small = smaller_network(Rankings(self.study, self.folder), method, mode, keep, seed)
        full = build_from_spec(needed_spec(small.spec))
        return measure_apart(small, full, self.data.shape, int8=int8, seconds=SECONDS, on_step=steps_of(report))

    @property
    def convolves(self) -> bool:
        """Whether the full network convolves over its inputs, so that a mask by itself makes it no cheaper."""
        if len(self.data.shape) < 2:
            return False
        full = build_from_spec(_spec(self), device="meta")
        return any(isinstance(layer, CONVOLUTIONS) for layer in full.modules())

    def conv_counts(self, *, method: str, keep: int, seed: int) -> tuple[ConvSaving, ...]:
        """What each way of using a mask in a network that convolves costs, counted."""
        return self._conv(method, keep, seed, measure=False)

    def measure_conv(
        self, *, method: str, keep: int, seed: int, report: Report = tell_nobody
    ) -> tuple[ConvSaving, ...]:
        """The same, and measured now."""
        return self._conv(method, keep, seed, seconds=SECONDS, on_step=steps_of(report))

    def _conv(self, method: str, keep: int, seed: int, **how: Any) -> tuple[ConvSaving, ...]:
        mask = Rankings(self.study, self.folder).of(method, keep, seed).mask(keep)
        return conv_savings(build_from_spec(_spec(self)), mask, **how)


def _spec(part: Part) -> ModelSpec:
    return ModelSpec(part.study.architecture, part.data.shape, part.data.n_outputs, part.data.name)


def smaller_network(rankings: Rankings, method: str, mode: str, keep: int, seed: int) -> PrunedNetwork:
    """The smaller network at one place of the threshold with fresh weights: its cost and time follow from its shape.

    Raises `InputError` for a network of your own that is not known here.
    """
    mask = rankings.of(method, keep, seed).mask(keep)
    return build_pruned(_spec(rankings), mask, structure="fresh" if mode == "scratch" else "sliced")


def steps_of(report: Report) -> Any:
    """What `measure_speed` tells of its steps, told as a share."""
    return lambda done, total, text: report(done / max(1, total), text)


def speed_table(speed: Speed) -> pd.DataFrame:
    """One row a timing, what is compared side by side: names as people read them, and the numbers of `as_rows`."""
    table = pd.DataFrame(speed.as_rows())
    table["runtime"] = table["runtime"].map(RUNTIMES)
    table["network"] = [
        ("full" if name == "full" else "smaller") + (", picking" if picks else "")
        for name, picks in table[["network", "picks"]].to_numpy()
    ]
    return table.drop(columns="picks")


def conv_table(found: Sequence[ConvSaving]) -> pd.DataFrame:
    """One row a way: what it costs, its share of the full network's products, milliseconds where they were measured."""
    full = found[0]
    rows = []
    for one in found:
        row: dict[str, Any] = {"way": one.name, "says": one.says, "why_not": one.why_not}
        if one.is_open:
            row |= {"macs": one.macs, "share": one.macs / full.macs, "parameters": one.parameters}
            row |= {"input_bytes": one.input_bytes}
            row |= {f"ms_{batch}": milliseconds for batch, milliseconds in one.milliseconds}
        rows.append(row)
    return pd.DataFrame(rows)


UNSTEADY = "Other work took turns with this measurement: quartiles lie far apart. Measure again when less is going on."


def speed_text(speed: Speed) -> str:
    """The table as a terminal shows it, with what stands beside it."""
    table = speed_table(speed)
    shown = pd.DataFrame(
        {
            "runtime": table["runtime"],
            "numbers": table["precision"],
            "batch": table["batch"],
            "network": table["network"],
            "ms": table["milliseconds"],
            "quartiles": [f"{low:.4g} - {high:.4g}" for low, high in table[["low", "high"]].to_numpy()],
            "inputs/s": table["per_second"],
            "times as fast": table["ratio"],
            "over rounds": [
                "" if pd.isna(low) else f"{low:.2f} - {high:.2f}"
                for low, high in table[["ratio_low", "ratio_high"]].to_numpy(dtype=float)
            ],
        }
    )
    formats = {"ms": "{:.4g}".format, "inputs/s": "{:,.0f}".format, "times as fast": "{:.2f}".format}
    lines = [shown.to_string(index=False, na_rep="", formatters=formats), ""]
    for one in speed.footprints:
        files = ", ".join(f"{kind} {size:,} bytes" for kind, size in one.files.items())
        lines.append(
            f"{one.network}: {one.macs:,} MACs, {one.parameters:,} parameters; {files}; one input "
            f"{one.input_bytes:,} bytes; peak memory in batches of {speed.batches[-1]:,}: {one.peak_bytes:,} bytes"
        )
        if one.scores:
            lines.append("  " + ", ".join(f"{kind}: {score:.2%}" for kind, score in one.scores.items()))
    lines.append(
        f"medians of at least {speed.rounds} rounds, {speed.seconds:.0f} s in all, {speed.threads} "
        f"{'thread' if speed.threads == 1 else 'threads'}; {speed.machine}; "
        + ", ".join(f"{name} {version}" for name, version in speed.versions.items())
    )
    return "\n".join([*lines, *filter(None, ["" if speed.is_steady else UNSTEADY, speed.note]), *speed.missing])
