"""The card of an export, and how to use what it describes."""

from __future__ import annotations

from typing import Any

import streamlit as st

from lrp_core import views

from .formats import PERCENT, count, percent, size, things, title

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


def choose_formats(before: list[str]) -> list[str]:
    """The formats that a person wants: a tick each, and what lacks a package cannot be ticked.

    Those that an export has `before`, by the names of its files, are ticked already.
    """
    chosen = []
    for form in views.export_formats():
        is_always = form.file == "weights.safetensors"
        note = f" Not here: it needs {form.lacks}. Install it with `{form.remedy}`." if form.lacks else ""
        ticked = st.checkbox(
            f"**{form.name}** · {form.says}{note}",
            value=is_always or (form.file in before and not form.lacks),
            disabled=is_always or bool(form.lacks),
            key=f"format-{form.name}",
        )
        if ticked:
            chosen.append(form.name)
    return chosen


def readme(card: dict[str, Any]) -> str:
    """The text beside the weights in the zip file."""
    measured, kind = views.score_of(card), _kind(card)
    inputs, images = ("pixels", "images") if kind == "image" else ("inputs", _images(kind))
    files = {"card.json": f"what the network is, which {inputs} it reads, how good it is and what it costs"}
    files = {name: _said(card["files"][name]) for name in sorted(card["files"])} | files
    width = max(map(len, files))
    beside = "".join(f"{title(line)}.\n" for line in views.comparison_of(card))
    return (
        f"A small network for {measured['dataset']}: reads {things(len(card['input']['kept_pixels']), inputs)}.\n"
        f"{title(measured['name'])} on {measured['images']:,} test {images}: {percent(measured['value'])}.\n{beside}\n"
        + "".join(f"{name:<{width}}  {said}\n" for name, said in files.items())
        + f"\nPredict from a file:\n\n    {_command(kind)}\n\n"
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
    _compare(card)
    _show_files(card["files"])
    if "speed" in card:
        _show_speed(card["speed"])
    st.subheader("Use it", anchor=False)
    shell, python = st.tabs(["Command line", "Python"])
    shell.code(_command(kind), language="bash")
    python.code(_python(card), language="python")
    with st.expander("The whole card", icon=":material/description:"):
        st.json(card, expanded=1)


def _compare(card: dict[str, Any]) -> None:
    """The full network beside the small one, and whether it keeps the margin."""
    # the command line's way of writing shares becomes that of the pages
    if not (lines := [line.replace("%", PERCENT) for line in views.comparison_of(card)]):
        return
    beside, (side, _, difference) = lines[0], lines[1].partition(": ")
    color, icon = ("green", ":material/check:") if card["margin"]["kept"] else ("orange", ":material/warning:")
    st.badge(title(side), icon=icon, color=color)
    st.markdown(f"{title(beside)}. {title(difference)}.")


def _show_files(files: dict[str, Any]) -> None:
    """What each file takes, and what was found when it was run."""
    st.subheader("Files", anchor=False)
    rows = [
        {
            "file": name,
            "rows": check.get("rows"),
            "difference": check.get("largest_difference"),
            "equal": None if "equal_classes" not in check else 100 * check["equal_classes"],
            "with": check.get("with", ""),
            "takes": _said(file),
            "sha256": file["sha256"],
        }
        for name, file in sorted(files.items(), key=lambda item: "check" not in item[1])
        for check in [file.get("check", {})]
    ]
    number = st.column_config.NumberColumn
    st.dataframe(
        rows,
        hide_index=True,
        column_order=[name for name in rows[0] if any(row[name] not in (None, "") for row in rows)],
        column_config={
            "file": st.column_config.TextColumn("File", pinned=True),
            "takes": st.column_config.TextColumn("Takes"),
            "rows": number("Rows", help="Validation rows that it was run on before it was offered"),
            "difference": number(
                "Largest difference", format="%.2g", help="Of its outputs from the network's, as a share of the largest"
            ),
            "equal": number("Same class", format="%.1f %%", help="Share of the rows"),
            "with": st.column_config.TextColumn("Run with"),
            "sha256": st.column_config.TextColumn("Checksum (SHA-256)", width=150),
        },
        placeholder="–",
        key="files",
        alt="Every file of the export: what it takes, how far its answers are from the network's, and its checksum",
    )


def _said(file: dict[str, Any]) -> str:
    """What a file takes, in words."""
    if "input" not in file:
        return "goes with the others" if "format" in file else "the weights; the names of its tensors are the layers'"
    taken = file["input"]
    which = "all inputs" if taken["kind"] == "full" else "the kept inputs"
    return f"{which}, [{', '.join(map(str, taken['shape']))}] {taken['dtype']}: {taken['units']}"


def _show_speed(speed: dict[str, Any]) -> None:
    """What was measured of how fast the network is."""
    st.subheader("Speed", anchor=False)
    if note := speed.get("note"):
        st.markdown(str(note))
    if timings := speed.get("timings"):
        st.dataframe(timings, hide_index=True, key="speed", alt="Measured times of both networks")
    if machine := speed.get("machine"):
        st.caption(f"Measured on {machine}.")


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
