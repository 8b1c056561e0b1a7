"""The card of an export, and how to use what it describes."""

from __future__ import annotations

from typing import Any

import streamlit as st

from lrp_core import views

from .formats import count, percent, size, things, title

FILES = {"image": "picture.png", "channels": "new.npz", "row": "new.csv", "series": "new.npz"}
"""What holds new data of each kind."""

GIVEN = {
    "image": "pixels between 0 and 1",
    "channels": "the numbers of your channels",
    "row": "the numbers of your columns",
    "series": "the numbers of your series",
}

PYTHON = """\
import torch
from lrp_core.study.export import load_export, {predict}

network, card = load_export("small-network")         # checks the weights against the card
inputs = torch.rand(1, {shape})                 # yours: {given}
{answer} = {predict}("small-network", inputs)
"""


def readme(card: dict[str, Any]) -> str:
    """The text beside the weights in the zip file."""
    measured, kind = views.score_of(card), _kind(card)
    inputs, images = ("pixels", "images") if kind == "image" else ("inputs", _images(kind))
    return (
        f"A smaller network for {measured['dataset']}: reads {things(len(card['input']['kept_pixels']), inputs)}.\n"
        f"{title(measured['name'])} on {measured['images']:,} test {images}: {percent(measured['value'])}.\n\n"
        "weights.safetensors  the weights; the names of its tensors are the layers'\n"
        f"card.json            what the network is, which {inputs} it reads, how good it is and what it costs\n\n"
        f"Predict from a file:\n\n    {_command(kind)}\n\n"
        f"From Python:\n\n{_indented(_python(card))}"
    )


def show(card: dict[str, Any]) -> None:
    """The card in numbers, the ways to use it, and all of it."""
    measured, cost, kind = views.score_of(card), card["cost"], _kind(card)
    images = _images(kind)
    low, high = measured["interval_95"]
    with st.container(horizontal=True):
        text = f"Measured on {measured['images']:,} test {images}, before writing and after reading back."
        st.metric(f"Test {measured['name']}", percent(measured["value"], 2), border=True, help=text)
        text = f"{title(measured['method'])} interval of this one network over the test {images}."
        st.metric("95 % interval", f"{100 * low:.2f} to {percent(high, 2)}", border=True, help=text)
        st.metric("MACs", count(cost["macs"]), border=True, help=f"Multiply-accumulates for one {images[:-1]}.")
        st.metric("Parameters", count(cost["parameters"]), border=True, help="Weights and biases.")
        st.metric("Weights", size(cost["bytes"]), border=True, help="Bytes as float32.")
        if (price := cost.get("input_cost")) is not None:
            st.metric("Cost of inputs", f"{price:,.6g}", border=True, help="Of the groups that it reads; all of them: "
                      f"{cost['full_input_cost']:,.6g}.")  # fmt: skip
    st.caption(f"Checksum of weights.safetensors (SHA-256): `{card['files']['weights.safetensors']['sha256']}`")
    st.subheader("Use it", anchor=False)
    shell, python = st.tabs(["Command line", "Python"])
    shell.code(_command(kind), language="bash")
    python.code(_python(card), language="python")
    with st.expander("The whole card", icon=":material/description:"):
        st.json(card, expanded=1)


def _python(card: dict[str, Any]) -> str:
    shape = ", ".join(str(side) for side in card["input"]["shape"])
    answer, predict = (
        ("numbers", "predict_numbers") if "target" in card else ("classes, probabilities", "predict")
    )  # fmt: skip
    return PYTHON.format(shape=shape, given=GIVEN[_kind(card)], answer=answer, predict=predict)


def _kind(card: dict[str, Any]) -> str:
    """What the network takes: an image, one with channels that no picture has, a row of a table, or a series."""
    shape = card["input"]["shape"]
    if len(shape) == 3:
        return "image" if shape[0] in (1, 3) else "channels"
    return "row" if len(shape) == 1 else "series"


def _images(kind: str) -> str:
    return "images" if kind in ("image", "channels") else "rows"


def _command(kind: str) -> str:
    return f"python -m lrp_core predict small-network {FILES[kind]}"


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
