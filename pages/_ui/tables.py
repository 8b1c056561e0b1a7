"""Tables of the pages, with units and formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from .charts_methods import least_of
from .formats import PERCENT, title

if TYPE_CHECKING:
    from lrp_core.evaluation import Interval


def _percent(label: str, help: str) -> dict:
    return st.column_config.NumberColumn(label, format="%.1f\u00a0%%", help=help)


def _points(label: str, help: str) -> dict:
    return st.column_config.NumberColumn(label, format="%+.2f", help=f"{help}, in points")


def _count(label: str, help: str) -> dict:
    return st.column_config.NumberColumn(label, format="localized", help=help)


def curve(
    table: pd.DataFrame,
    *,
    with_intervals: bool = True,
    score: str = "accuracy",
    words: tuple[str, str, str] = ("inputs", "images", "image"),
) -> None:
    """Every measured point of a study; `words` are those of `OpenedStudy`."""
    counted, images, image = words
    names = ["removed", "score", "difference", "difference_low", "difference_high"]
    shown = ["method", "mode", "removed", "keep", "score", "difference", "difference_low", "difference_high",
             "low", "high", "seeds", "masks", "loss", "absolute_error", "macs", "parameters", "bytes", "input_bytes",
             "input_cost"]  # fmt: skip
    hidden = set() if with_intervals else {"low", "high", "difference_low", "difference_high"}
    if (table["masks"] == table["seeds"]).all():
        hidden.add("masks")
    within = {name: 100 * table[name].clip(least_of(score), 1) for name in ("low", "high")}
    st.dataframe(
        table.assign(**table[names] * 100, **within).drop(columns=["flops"]),
        hide_index=True,
        column_order=[name for name in shown if name in table and name not in hidden],
        column_config={
            "method": st.column_config.TextColumn("Ranked by", help="none: the full network", pinned=True, width=150),
            "mode": st.column_config.TextColumn("Small network"),
            "removed": _percent("Removed", f"Share of the {counted} removed"),
            "keep": _count("Kept", f"{title(counted)} that the network reads"),
            "score": _percent(title(score), f"Mean over seeds, validation {images}"),
            "difference": _points("Difference", f"{title(score)} minus that of the full network of the same seed"),
            "difference_low": _points("from", "Lower end of the difference's 95\u00a0% interval over these pairs"),
            "difference_high": _points("to", "Upper end of the difference's 95\u00a0% interval over these pairs"),
            "low": _percent(f"{title(score)} from", f"Lower end of the 95\u00a0% interval of {score} over seeds"),
            "high": _percent(f"{title(score)} to", f"Upper end of the 95\u00a0% interval of {score} over seeds"),
            "seeds": _count("Seeds", "Networks that the mean is over"),
            "masks": _count("Masks", "Each tried with every seed"),
            "loss": st.column_config.NumberColumn(
                "Loss (nats)" if score == "accuracy" else "Loss",
                format="%.3f",
                help="Cross-entropy, validation" if score == "accuracy" else "Mean squared error, standardised numbers",
            ),
            "absolute_error": st.column_config.NumberColumn(
                "Absolute error", format="%.4g", help="Mean over validation rows, in the unit of the number"
            ),
            "macs": _count("MACs", f"Multiply-accumulates for one {image}"),
            "parameters": _count("Parameters", "Weights and biases"),
            "bytes": _count("Weights (bytes)", "As float32"),
            "input_bytes": _count(f"{title(image)} (bytes)", f"One {image} as float32"),
            "input_cost": _count("Cost of inputs", "Of those that are read, as the data say"),
        },
        placeholder="–",
        key="points",
        alt=f"Every measured point: {score} with its interval and cost for each ranking and number of {counted}",
    )


def ahead(of: Mapping[str, Interval], *, with_intervals: bool) -> None:
    """How far a method is ahead of each control, in points."""
    rows = [
        {"control": name, "ahead": 100 * one.estimate, "low": 100 * one.low, "high": 100 * one.high}
        for name, one in of.items()
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_order=["control", "ahead", *(["low", "high"] if with_intervals else [])],
        column_config={
            "control": st.column_config.TextColumn("Control", pinned=True),
            "ahead": _points("Ahead by", "Mean over pairs of networks of the same seed"),
            "low": _points("from", f"Lower end of the 95{PERCENT} interval over these pairs"),
            "high": _points("to", f"Upper end of the 95{PERCENT} interval over these pairs"),
        },
        key="ahead",
        alt="How far the method is ahead of each control, with its interval",
    )


def layers(small: object, full: object, image: str = "image") -> None:
    """Cost of each layer with weights, of the smaller and of the full network, for one `image`."""
    rows = [
        {
            "layer": before.name,
            "kind": before.kind,
            "macs": after.macs,
            "full_macs": before.macs,
            "parameters": after.parameters,
            "full_parameters": before.parameters,
            "bytes": after.bytes,
            "full_bytes": before.bytes,
            "left": 100 * after.parameters / before.parameters,
        }
        for after, before in _pairs(small, full)
        if before.parameters
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "layer": st.column_config.TextColumn("Layer", pinned=True),
            "kind": st.column_config.TextColumn("Kind"),
            "macs": _count("MACs", f"Of the small network, for one {image}"),
            "full_macs": _count("Full: MACs", f"Of the full network, for one {image}"),
            "parameters": _count("Parameters", "Of the small network"),
            "full_parameters": _count("Full: parameters", "Of the full network"),
            "bytes": _count("Bytes", "Weights of the small network, float32"),
            "full_bytes": _count("Full: bytes", "Weights of the full network, float32"),
            "left": st.column_config.ProgressColumn(
                "Parameters left", format="%.0f\u00a0%%", min_value=0, max_value=100, help="Of the full layer's"
            ),
        },
        key="layers",
        alt="Cost of each layer, of the small network beside the full one",
    )


def speed(table: pd.DataFrame) -> None:
    """What was measured on this machine, one row a timing."""
    number = st.column_config.NumberColumn
    text = st.column_config.TextColumn
    st.dataframe(
        table,
        hide_index=True,
        column_order=["network", "runtime", "precision", "batch", "milliseconds", "low", "high", "per_second", "ratio",
                      "ratio_low", "ratio_high"],
        column_config={
            "network": text("Network", help="picking: given full inputs, with picking the kept ones", pinned=True),
            "runtime": text("Runtime", help="torch: eager, in inference mode"),
            "precision": text("Numbers", help="int8: weights of dense layers as bytes"),
            "batch": _count("Batch", "Inputs in one call"),
            "milliseconds": number("Milliseconds", format="%.4g", help="Of one batch, median over rounds"),
            "low": number("from", format="%.4g", help="Lower quartile over rounds, in milliseconds"),
            "high": number("to", format="%.4g", help="Upper quartile over rounds, in milliseconds"),
            "per_second": number("Inputs a second", format="localized", step=1),
            "ratio": number("Times as fast", format="%.2f",
                            help="As the full network in float32 in the same runtime, by the medians"),
            "ratio_low": number("at least", format="%.2f", help="In the round where it is slowest beside that"),
            "ratio_high": number("at most", format="%.2f", help="In the round where it is fastest beside that"),
        },
        placeholder="–",
        key="speed",
        alt="Milliseconds of one batch and times as fast as the full network, for each network, runtime and batch size",
    )  # fmt: skip


def conv_ways(table: pd.DataFrame) -> None:
    """What each way of using a mask in a network that convolves costs."""
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    timed = {
        name: number(f"ms, batch {int(name.removeprefix('ms_')):,}", format="%.4g",
                     help="Of one batch, median over rounds, from full inputs on")
        for name in table
        if name.startswith("ms_")
    }  # fmt: skip
    st.dataframe(
        table.assign(share=100 * table["share"]),
        hide_index=True,
        column_order=["way", "macs", "share", "parameters", "input_bytes", *timed, "says", "why_not"],
        column_config={
            "way": text("Way", pinned=True),
            "macs": _count("MACs", "Multiply-accumulates for one input"),
            "share": _percent("of the full network's", "Share of the full network's multiply-accumulates"),
            "parameters": _count("Parameters", "Weights and biases"),
            "input_bytes": _count("Input (bytes)", "One input as float32"),
            **timed,
            "says": text("What it is", width="large"),
            "why_not": text("Why not", help="What keeps this way closed"),
        },
        placeholder="–",
        key="conv-ways",
        alt="Cost of each way of using the mask in a network that convolves",
    )


def _pairs(small: object, full: object) -> list[tuple]:
    """Layers of both networks by name; what the small one lacks is not shown."""
    before = {layer.name: layer for layer in full.layers}
    return [(layer, before[layer.name]) for layer in small.layers if layer.name in before]
