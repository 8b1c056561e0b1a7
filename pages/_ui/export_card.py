"""The card of an export, and how to use what it describes."""

from __future__ import annotations

from typing import Any

import streamlit as st

from lrp_core import views

from .formats import count, percent, size, title

COMMANDS = {
    "image": "python -m lrp_core predict small-network picture.png",
    "row": "python -m lrp_core predict small-network new.csv",
    "series": "python -m lrp_core predict small-network --data more.npz",
}
"""How new data of each kind are classified."""

GIVEN = {
    "image": "pixels between 0 and 1",
    "row": "the numbers of your columns",
    "series": "the numbers of your series",
}

PYTHON = """\
import torch
from lrp_core.study.export import load_export, predict

network, card = load_export("small-network")         # checks the weights against the card
inputs = torch.rand(1, {shape})                 # yours: {given}
classes, probabilities = predict("small-network", inputs)
"""


def readme(card: dict[str, Any]) -> str:
    """The text beside the weights in the zip file."""
    measured, kind = views.score_of(card), _kind(card)
    inputs, things = ("pixels", "images") if kind == "image" else ("inputs", "rows")
    return (
        f"A smaller network for {measured['dataset']}: reads {len(card['input']['kept_pixels'])} {inputs}.\n"
        f"{title(measured['name'])} on {measured['images']:,} test {things}: {percent(measured['value'])}.\n\n"
        "weights.safetensors  the weights; the names of its tensors are the layers'\n"
        f"card.json            what the network is, which {inputs} it reads, how good it is and what it costs\n\n"
        f"Predict from a file:\n\n    {COMMANDS[kind]}\n\n"
        f"From Python:\n\n{_indented(_python(card))}"
    )


def show(card: dict[str, Any]) -> None:
    """The card in numbers, the ways to use it, and all of it."""
    measured, cost, kind = views.score_of(card), card["cost"], _kind(card)
    things = "images" if kind == "image" else "rows"
    low, high = measured["interval_95"]
    with st.container(horizontal=True):
        text = f"Measured on {measured['images']:,} test {things}, before writing and after reading back."
        st.metric(f"Test {measured['name']}", percent(measured["value"], 2), border=True, help=text)
        text = f"{title(measured['method'])} interval of this one network over the test {things}."
        st.metric("95 % interval", f"{100 * low:.2f} to {percent(high, 2)}", border=True, help=text)
        st.metric("MACs", count(cost["macs"]), border=True, help=f"Multiply-accumulates for one {things[:-1]}.")
        st.metric("Parameters", count(cost["parameters"]), border=True, help="Weights and biases.")
        st.metric("Weights", size(cost["bytes"]), border=True, help="Bytes as float32.")
    st.caption(f"Checksum of weights.safetensors (SHA-256): `{card['files']['weights.safetensors']['sha256']}`")
    st.subheader("Use it", anchor=False)
    shell, python = st.tabs(["Command line", "Python"])
    shell.code(COMMANDS[kind], language="bash")
    python.code(_python(card), language="python")
    with st.expander("The whole card", icon=":material/description:"):
        st.json(card, expanded=1)


def _python(card: dict[str, Any]) -> str:
    shape = ", ".join(str(side) for side in card["input"]["shape"])
    return PYTHON.format(shape=shape, given=GIVEN[_kind(card)])


def _kind(card: dict[str, Any]) -> str:
    """What the network classifies: an image, a row of a table, or a series."""
    return {1: "row", 3: "image"}.get(len(card["input"]["shape"]), "series")


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
