"""A sheet to draw on with mouse, finger or keys. What is drawn comes back as a PNG."""

from __future__ import annotations

import base64
from typing import Any

import streamlit as st

_HTML = """
<div class="board">
  <canvas width="280" height="280" tabindex="0" role="img"
    aria-label="Sheet to draw a digit on. Arrow keys move the pen, with Shift they draw, Delete clears."></canvas>
  <button type="button">Clear</button>
</div>
"""

_CSS = """
.board { display: inline-flex; flex-direction: column; gap: 0.5rem; align-items: flex-start; max-width: 100%; }
canvas {
  width: 220px; max-width: 100%; aspect-ratio: 1; touch-action: none; cursor: crosshair; color: var(--st-text-color);
  background: var(--st-background-color); border: 1px solid var(--st-border-color);
  border-radius: var(--st-base-radius);
}
button {
  font: inherit; color: var(--st-text-color); background: var(--st-background-color); padding: 0.3rem 0.8rem;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius); cursor: pointer;
}
canvas:focus-visible, button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
"""

# The pen's place is kept on the canvas itself: the function runs again whenever the theme changes.
_JS = """
export default function ({ parentElement, setStateValue }) {
  const canvas = parentElement.querySelector("canvas");
  const pen = canvas.getContext("2d");
  canvas.at ??= { x: 140, y: 140 };
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = 24;
  const send = () => setStateValue("png", canvas.toDataURL("image/png"));
  const line = (to) => {
    pen.strokeStyle = getComputedStyle(canvas).color;
    pen.beginPath();
    pen.moveTo(canvas.at.x, canvas.at.y);
    pen.lineTo(to.x, to.y);
    pen.stroke();
    canvas.at = to;
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  };
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.at = place(event);
    line(canvas.at);
  };
  canvas.onpointermove = (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) line(place(event));
  };
  canvas.onpointerup = send;
  const clear = () => {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    setStateValue("png", null);
  };
  canvas.onkeydown = (event) => {
    const by = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
    if (event.key === "Delete") clear();
    if (!by) return;
    event.preventDefault();
    const inside = (value) => Math.min(Math.max(value, 12), 268);
    const to = { x: inside(canvas.at.x + by[0]), y: inside(canvas.at.y + by[1]) };
    if (event.shiftKey) line(to);
    else canvas.at = to;
  };
  canvas.onkeyup = (event) => {
    if (event.key === "Shift") send();
  };
  parentElement.querySelector("button").onclick = clear;
}
"""

_sheet = st.components.v2.component("drawing_sheet", html=_HTML, css=_CSS, js=_JS)


def sheet(key: str) -> bytes | None:
    """Draw the sheet; the PNG of what is on it, or None for an empty one."""
    component = _sheet(key=key, on_png_change=lambda: None)
    return decoded(getattr(component, "png", None))


def decoded(url: Any) -> bytes | None:
    """The bytes of a PNG data URL; None where there is none, for the browser may send anything."""
    start = "data:image/png;base64,"
    if not isinstance(url, str) or not url.startswith(start):
        return None
    try:
        return base64.b64decode(url.removeprefix(start), validate=True)
    except ValueError:
        return None
