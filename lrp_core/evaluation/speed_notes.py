"""Why a smaller network is not faster, decided from what was measured and counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .speed import Footprint, Timing

FASTER = 1.1
"""So many times as fast counts as faster: less than that is within the noise of a machine."""

ALIKE = 0.9
"""From this share of the full network's multiply-accumulates on, there is no less to compute."""

DISPATCH = 20e-3
"""Milliseconds a module up to which a single input takes what calling the modules takes, and not what they compute."""


@dataclass(frozen=True)
class Compared:
    """The two networks at one batch size in one runtime; `picking` is the smaller one behind the picking, if it is."""

    full: Timing
    small: Timing
    picking: Timing | None
    full_print: Footprint
    small_print: Footprint


def explain(compared: Compared) -> str:
    """One sentence that says why the smaller network is not faster at this batch size; empty if it is."""
    small, picking = compared.small, compared.picking
    whole = picking or small
    if (whole.ratio or 0) >= FASTER:
        return ""
    full_print, small_print = compared.full_print, compared.small_print
    batch, in_onnx = small.batch, small.runtime != "torch"
    where = ("At batch 1" if batch == 1 else f"In batches of {batch:,}") + (" in ONNX Runtime" if in_onnx else "")
    start = f"{where} the smaller network is not faster ({whole.ratio:.2f} times the full one's speed)"
    if full_print.macs and small_print.macs >= ALIKE * full_print.macs:
        share = f"{100 * small_print.macs / full_print.macs:.0f} % of the full network's multiply-accumulates"
        if small_print.convolves:
            return (
                f"The smaller network is not faster because it does {share}: a convolution whose inputs are masked "
                "computes as much as before."
            )
        return f"The smaller network is not faster because it does {share}: there is hardly less to compute."
    if in_onnx and small_print.places > full_print.places:
        return (
            f"{start} because {small_print.places} of its layers put values into their places on a canvas, which ONNX "
            "Runtime does by scattering: slower than what they save."
        )
    if picking is not None and (small.ratio or 0) >= FASTER:
        cost = picking.milliseconds - small.milliseconds
        gain = compared.full.milliseconds - small.milliseconds
        return (
            f"{start} because picking the kept inputs takes {cost:.3g} ms where the network itself saves {gain:.3g} "
            "ms: hand it the kept inputs alone where you can."
        )
    each = small.milliseconds / max(1, small_print.modules)
    if batch == 1 and (each <= DISPATCH or small_print.modules > full_print.modules):
        return (
            f"{start} because calling a module takes several microseconds whatever its size: the smaller network calls "
            f"{small_print.modules} modules ({1000 * each:.0f} µs each), the full one {full_print.modules}."
        )
    share = f"{100 * small_print.macs / max(1, full_print.macs):.0f} % of the multiply-accumulates"
    return (
        f"{start} although it does {share}: the time goes into what these do not count, such as activations, pooling "
        f"and copies, in {small_print.modules} modules where the full network has {full_print.modules}."
    )
