"""Tables of the pages, with units and formats."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from .charts_methods import least_of
from .formats import title


def _percent(label: str, help: str) -> dict:
    return st.column_config.NumberColumn(label, format="%.1f %%", help=help)


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
            "mode": st.column_config.TextColumn("Smaller network"),
            "removed": _percent("Removed", f"Share of the {counted} removed"),
            "keep": _count("Kept", f"{title(counted)} that the network reads"),
            "score": _percent(title(score), f"Mean over seeds, validation {images}"),
            "difference": _points("Difference", f"{title(score)} minus that of the full network of the same seed"),
            "difference_low": _points("from", "Lower end of the difference's 95 % interval over these pairs"),
            "difference_high": _points("to", "Upper end of the difference's 95 % interval over these pairs"),
            "low": _percent(f"{title(score)} from", f"Lower end of the 95 % interval of {score} over seeds"),
            "high": _percent(f"{title(score)} to", f"Upper end of the 95 % interval of {score} over seeds"),
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
            "macs": _count("MACs", f"Of the smaller network, for one {image}"),
            "full_macs": _count("Full: MACs", f"Of the full network, for one {image}"),
            "parameters": _count("Parameters", "Of the smaller network"),
            "full_parameters": _count("Full: parameters", "Of the full network"),
            "bytes": _count("Bytes", "Weights of the smaller network, float32"),
            "full_bytes": _count("Full: bytes", "Weights of the full network, float32"),
            "left": st.column_config.ProgressColumn(
                "Parameters left", format="%.0f %%", min_value=0, max_value=100, help="Of the full layer's"
            ),
        },
        key="layers",
        alt="Cost of each layer, of the smaller network beside the full one",
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
    """Layers of both networks by name; what the smaller one lacks is not shown."""
    before = {layer.name: layer for layer in full.layers}
    return [(layer, before[layer.name]) for layer in small.layers if layer.name in before]


def balance(table: pd.DataFrame) -> None:
    """Relevance that arrived at, left and was absorbed by each layer, and by what."""
    if not table["box"].any():
        table = table.drop(columns="box")
    number = {"format": "%.4g"}
    st.dataframe(
        table,
        hide_index=True,
        column_order=[
            c for c in ("layer", "rule", "arrived", "left", "absorbed", "bias", "epsilon", "box") if c in table
        ],
        column_config={
            "layer": st.column_config.TextColumn("Layer"),
            "rule": st.column_config.TextColumn("Rule"),
            "arrived": st.column_config.NumberColumn("Arrived", **number, help="Relevance from the layer above"),
            "left": st.column_config.NumberColumn("Handed on", **number, help="Relevance given to the layer below"),
            "absorbed": st.column_config.NumberColumn("Absorbed", **number, help="What arrived and was not handed on"),
            "bias": st.column_config.NumberColumn("by the bias", **number, help="The bias's share of what arrived"),
            "epsilon": st.column_config.NumberColumn(
                "by epsilon", **number, help="The share of the epsilon that keeps denominators off zero"
            ),
            "box": st.column_config.NumberColumn(
                "for the box",
                **number,
                help="Of what was handed on, the part that z-box gave to inputs for the ends of the box",
            ),
        },
        key="balance",
        alt="Relevance that arrived at each layer, was handed on, and was absorbed",
    )


def removal(table: pd.DataFrame, names: dict[str, str], *, by_class: bool = False) -> None:
    """The experiment over the test set, shares with their 95 % intervals; `names` are those of the three images."""
    shown = table.assign(image=table["image"].map(names), images=table["images"].map("{:,}".format))
    for name in ("confidence", "original_confidence", "accuracy", "flips"):
        shown[name] = [_with_interval(*row) for row in table[[name, f"{name}_low", f"{name}_high"]].to_numpy()]
    ranges = "; in brackets its 95 % interval"
    text = st.column_config.TextColumn
    st.dataframe(
        shown,
        hide_index=True,
        column_order=[
            *(["class"] if by_class else []),
            "image", "accuracy", "original_confidence", "confidence", "flips", "removed", "tied", "images",
        ],
        column_config={
            "class": text("Class", help="The true class", pinned=by_class),
            "image": text("Image", help="Important features: without the least relevant pixels. "
                          "Unimportant features: without the most relevant ones.", pinned=True),
            "accuracy": text("Accuracy (%)", help=f"Share of the images classified rightly{ranges} (Wilson)"),
            "original_confidence": text(
                "In first answer (%)",
                help=f"Mean probability of the class that the network says of the original{ranges} (Student's t)",
            ),
            "confidence": text(
                "Confidence (%)", help=f"Mean probability of whatever class the network says{ranges} (Student's t)"
            ),
            "flips": text("Flips (%)", help=f"Share of the images with another answer than the original's{ranges}"),
            "removed": st.column_config.NumberColumn("Removed", format="%.1f", help="Pixels, mean over images"),
            "tied": st.column_config.NumberColumn(
                "Ties", format="%.1f", help="Of these, picked by the seed among pixels of equal relevance, mean"
            ),
            "images": text("Images", help="Test images that the row is over"),
        },
        key="removal-by-class" if by_class else "removal",
        alt="Accuracy, confidence and flips for the original, the important-feature and the unimportant-feature image",
    )  # fmt: skip


def areas(table: pd.DataFrame) -> None:
    """Area between the curves and AOPC of each criterion, with 95 % intervals."""
    shown = table[["criterion"]].copy()
    for name in ("area_between", "aopc_morf", "aopc_lerf"):
        shown[name] = [
            f"{value:.3f} ({low:.3f} to {high:.3f})"
            for value, low, high in table[[name, f"{name}_low", f"{name}_high"]].to_numpy()
        ]
    text = st.column_config.TextColumn
    st.dataframe(
        shown,
        hide_index=True,
        column_config={
            "criterion": text("Relevance by", pinned=True),
            "area_between": text(
                "Area between", help="Between LeRF and MoRF, from -1 to 1; 0 for a random order. Student's t, 95 %"
            ),
            "aopc_morf": text("AOPC, MoRF", help="Mean drop of the confidence, most relevant first: large is good"),
            "aopc_lerf": text("AOPC, LeRF", help="Mean drop of the confidence, least relevant first: small is good"),
        },
        key="areas",
        alt="Area between the LeRF and MoRF curves and area over each of them, for every criterion",
    )


def _with_interval(value: float, low: float, high: float) -> str:
    """0.94, 0.935, 0.945 -> "94.0 (93.5 to 94.5)"."""
    if pd.isna(low):
        return f"{100 * value:.1f}"
    return f"{100 * value:.1f} ({100 * max(low, 0):.1f} to {100 * min(high, 1):.1f})"
