"""Tables of relevance and of what its removal does, with units and formats."""

from __future__ import annotations

import pandas as pd
import streamlit as st


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
    ranges = "; in brackets its 95\u00a0% interval"
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
            "image": text("Image", help="Named by what was taken away", pinned=True),
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
        alt="Accuracy, confidence and flips for the original, without the least and without the most relevant pixels",
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
                "Area between", help="Between LeRF and MoRF, from -1 to 1; 0 for a random order. Student's t, 95\u00a0%"
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
