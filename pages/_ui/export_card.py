"""The card of an export, and how to use what it describes."""

from __future__ import annotations

from typing import Any

import streamlit as st

from .formats import count, percent, size

COMMAND = "python -m lrp_core predict small-network digit.png"

PYTHON = """\
import torch
from lrp_core.study.export import load_export, predict

network, card = load_export("small-network")         # checks the weights against the card
images = torch.rand(1, {shape})                 # your images: pixels between 0 and 1
classes, probabilities = predict("small-network", images)
"""


def readme(card: dict[str, Any]) -> str:
    """The text beside the weights in the zip file."""
    accuracy = card["accuracy"]
    return (
        f"A smaller network for {accuracy['dataset']}: reads {len(card['input']['kept_pixels'])} pixels of an image.\n"
        f"Accuracy on {accuracy['images']:,} test images: {percent(accuracy['value'])}.\n\n"
        "weights.safetensors  the weights; the names of its tensors are the layers'\n"
        "card.json            what the network is, which pixels it reads, its accuracy and its cost\n\n"
        f"Predict an image file:\n\n    {COMMAND}\n\n"
        f"From Python:\n\n{_indented(_python(card))}"
    )


def show(card: dict[str, Any]) -> None:
    """The card in numbers, the ways to use it, and all of it."""
    accuracy, cost = card["accuracy"], card["cost"]
    low, high = accuracy["interval_95"]
    with st.container(horizontal=True):
        text = f"Measured on {accuracy['images']:,} test images, before writing and after reading back."
        st.metric("Test accuracy", percent(accuracy["value"], 2), border=True, help=text)
        text = f"{accuracy['method']} interval of this one network over the test images."
        st.metric("95 % interval", f"{100 * low:.2f} to {percent(high, 2)}", border=True, help=text)
        st.metric("MACs", count(cost["macs"]), border=True, help="Multiply-accumulates for one image.")
        st.metric("Parameters", count(cost["parameters"]), border=True, help="Weights and biases.")
        st.metric("Weights", size(cost["bytes"]), border=True, help="Bytes as float32.")
    st.caption(f"Checksum of weights.safetensors (SHA-256): `{card['files']['weights.safetensors']['sha256']}`")
    st.subheader("Use it", anchor=False)
    shell, python = st.tabs(["Command line", "Python"])
    shell.code(COMMAND, language="bash")
    python.code(_python(card), language="python")
    with st.expander("The whole card", icon=":material/description:"):
        st.json(card, expanded=1)


def _python(card: dict[str, Any]) -> str:
    return PYTHON.format(shape=", ".join(str(side) for side in card["input"]["shape"]))


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
