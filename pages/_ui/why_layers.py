"""What each layer did with the relevance: maps, units, and what was handed on or absorbed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from . import charts, figures, pictures, tables_relevance
from .removal import RULES, Choice

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy
    from lrp_core.views.images import ImageExplanation

MOST_MAPS = 12


def show(opened: OpenedStudy, explanation: ImageExplanation, choice: Choice) -> None:
    """Relevance at the output of each hidden layer, in tabs; how much of it arrived, in an expander."""
    st.header("Layer by layer", anchor=False)
    if not choice.has_layers:
        st.caption(f"{choice.criterion} passes through no layers. Choose rules, such as {RULES}, to look at each.")
        return
    _layers(opened, explanation)
    with st.expander("Conservation: what each layer handed on", icon=":material/water_drop:"):
        _conservation(explanation)


def _layers(opened: OpenedStudy, explanation: ImageExplanation) -> None:
    weighted = [name for name in explanation.balance["layer"] if name in explanation.layers]
    hidden = {name: explanation.layers[name] for name in weighted[:-1]}
    if not hidden:
        st.caption("This network has no hidden layer.")
        return
    colours = "Red speaks for the class, blue against it." if opened.data.classes else (
        "Red raises the number, blue lowers it."
    )  # fmt: skip
    rows = "" if len(opened.data.shape) != 2 else (
        " Each map of a convolution is a row, and so is each position that a transformer looks at."
    )  # fmt: skip
    st.caption(f"Relevance at the output of each hidden layer. {colours}{rows}")
    for tab, (name, values) in zip(st.tabs(list(hidden)), hidden.items(), strict=True):
        with tab:
            if values.ndim == 3:
                _maps(name, values)
            else:
                figures.draw(
                    charts.of_layer(values),
                    key=f"layer-{name}",
                    alt=f"Relevance at the output of layer {name}",
                )


def _maps(name: str, maps: np.ndarray) -> None:
    """The feature maps [maps, height, width] with the most relevance in absolute sum, on one common scale."""
    order = np.argsort(-np.abs(maps).sum((1, 2)))[:MOST_MAPS]
    limit = float(np.abs(maps[order]).max()) or 1.0
    st.image(
        [pictures.signed(maps[i], limit) for i in order],
        caption=[f"map {i}" for i in order],
        width=104,
        alt=[f"Relevance of map {i} at the output of layer {name}" for i in order],
    )
    some = f"The {len(order)} of {len(maps)} maps with the most relevance. " if len(order) < len(maps) else ""
    st.caption(f"{some}Full colour: {limit:.3g}.")


def _conservation(explanation: ImageExplanation) -> None:
    balance = explanation.balance[::-1].reset_index(drop=True)  # in the order in which relevance passes
    absorbed, arrived = float(balance["absorbed"].sum()), float(balance["arrived"].iloc[0])
    st.markdown(
        "Relevance is neither made nor lost on its way back, except for what biases and the stabiliser epsilon absorb. "
        f"It starts with **{arrived:.4g}** at the output; **{absorbed:.4g}** is absorbed on the way, and "
        f"**{float(explanation.relevance.sum()):.4g}** reaches the inputs."
    )
    figures.draw(
        charts.conservation(balance),
        key="conservation",
        alt="Relevance that arrived at each layer as what it handed on and what it absorbed",
    )
    tables_relevance.balance(balance)
