"""A sheet to draw on with mouse, finger or keys. What is drawn comes back as a PNG."""

from __future__ import annotations

import base64
from functools import lru_cache
from io import BytesIO
from typing import Any

import streamlit as st
from PIL import Image, ImageDraw

SIDE, STROKE = 280, 24

READY = (
    (84, 78), (104, 56), (136, 48), (168, 56), (186, 80), (180, 108), (156, 126), (132, 132),
    (160, 138), (186, 156), (194, 186), (180, 216), (148, 234), (112, 230), (84, 208),
)  # fmt: skip
"""A 3 in one stroke, as it would be drawn on the sheet."""

SHEET_HTML = """
<div class="board">
  <div class="sheet">
    <canvas width="280" height="280" tabindex="0" role="img"
      aria-label="Sheet to draw a digit on. Arrow keys move the pen, with Shift they draw, Delete clears."></canvas>
    <span class="nib"></span>
  </div>
  <div class="tools">
    <button type="button" data-does="undo">Undo</button>
    <button type="button" data-does="clear">Clear</button>
  </div>
</div>
"""

SHEET_CSS = """
.board { display: inline-flex; flex-direction: column; gap: 0.5rem; align-items: flex-start; max-width: 100%; }
.sheet { position: relative; width: 220px; max-width: 100%; }
.sheet canvas {
  display: block; width: 100%; aspect-ratio: 1; touch-action: none; cursor: crosshair; color: #f2fbfa;
  background: #1b3e49; border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius);
  box-sizing: border-box;
}
.nib {
  display: none; position: absolute; width: 12px; height: 12px; margin: -6px 0 0 -6px; border-radius: 50%;
  border: 2px solid #fbbf24; box-sizing: border-box; pointer-events: none;
}
.sheet canvas:focus-visible + .nib { display: block; }
.tools { display: flex; gap: 0.5rem; }
.tools button {
  font: inherit; color: var(--st-text-color); background: var(--st-background-color); padding: 0.3rem 0.8rem;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius); cursor: pointer;
}
.tools button:disabled { opacity: 0.5; cursor: default; }
canvas:focus-visible, button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
"""

PEN_JS = """
// Makes the board one that is drawn on. `changed(isDone)` is told of every stroke, as it goes and at its end. What has
// to outlast a run of this function lies on the canvas: it runs again whenever data or the theme change.
function pen(board, changed) {
  const canvas = board.querySelector("canvas"), nib = board.querySelector(".nib");
  const [undo, clear] = board.querySelectorAll("button");
  const ink = canvas.getContext("2d", { willReadFrequently: true });
  canvas.at ??= { x: 140, y: 140 };
  canvas.strokes ??= [];
  ink.lineCap = ink.lineJoin = "round";
  ink.lineWidth = 24;
  const settle = () => {
    nib.style.left = `${(100 * canvas.at.x) / canvas.width}%`;
    nib.style.top = `${(100 * canvas.at.y) / canvas.height}%`;
    undo.disabled = !canvas.strokes.length;
    clear.disabled = !canvas.hasInk;
  };
  const wipe = () => ink.clearRect(0, 0, canvas.width, canvas.height);
  const begin = () => {
    canvas.strokes.push({ pixels: ink.getImageData(0, 0, canvas.width, canvas.height), hasInk: canvas.hasInk });
    if (canvas.strokes.length > 20) canvas.strokes.shift();
    if (canvas.isReady) wipe();  // a drawing that was there to begin with makes room for one's own
    canvas.isReady = false;
  };
  const line = (to) => {
    ink.strokeStyle = getComputedStyle(canvas).color;
    ink.beginPath();
    ink.moveTo(canvas.at.x, canvas.at.y);
    ink.lineTo(to.x, to.y);
    ink.stroke();
    canvas.at = to;
    canvas.hasInk = true;
    settle();
    changed(false);
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) * canvas.width) / box.width,
      y: ((event.clientY - box.top) * canvas.height) / box.height,
    };
  };
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    begin();
    canvas.at = place(event);
    line(canvas.at);
  };
  canvas.onpointermove = (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) line(place(event));
  };
  canvas.onpointerup = canvas.onpointercancel = () => changed(true);
  const empty = () => {
    if (!canvas.hasInk) return;
    begin();
    wipe();
    canvas.hasInk = false;
    settle();
    changed(true);
  };
  const back = () => {
    const last = canvas.strokes.pop();
    if (!last) return;
    ink.putImageData(last.pixels, 0, 0);
    canvas.hasInk = last.hasInk;
    canvas.isReady = false;
    settle();
    changed(true);
  };
  canvas.onkeydown = (event) => {
    const by = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
    if (event.key === "Delete") empty();
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      back();
    }
    if (!by) return;
    event.preventDefault();
    const inside = (value) => Math.min(Math.max(value, 12), 268);
    const to = { x: inside(canvas.at.x + by[0]), y: inside(canvas.at.y + by[1]) };
    if (event.shiftKey) {
      if (!canvas.isDown) begin();
      canvas.isDown = true;
      line(to);
    } else {
      canvas.at = to;
      settle();
    }
  };
  canvas.onkeyup = (event) => {
    if (event.key === "Shift" && canvas.isDown) {
      canvas.isDown = false;
      changed(true);
    }
  };
  undo.onclick = back;
  clear.onclick = empty;
  canvas.shown = (url, isReady) => {
    const picture = new Image();
    picture.onload = () => {
      ink.drawImage(picture, 0, 0);
      canvas.hasInk = true;
      canvas.isReady = isReady;
      settle();
    };
    picture.src = url;
  };
  settle();
  return canvas;
}
"""

_JS = (
    PEN_JS
    + """
export default function ({ parentElement, setStateValue }) {
  const canvas = pen(parentElement.querySelector(".board"), (isDone) => {
    if (isDone) setStateValue("png", canvas.hasInk ? canvas.toDataURL("image/png") : null);
  });
}
"""
)

_sheet = st.components.v2.component("drawing_sheet", html=SHEET_HTML, css=SHEET_CSS, js=_JS)


def sheet(key: str) -> bytes | None:
    """Draw the sheet; the PNG of what is on it at the end of each stroke, or None for an empty one."""
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


def as_url(png: bytes) -> str:
    """A PNG as the data URL that `decoded` reads."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


@lru_cache(maxsize=1)
def ready() -> bytes:
    """The PNG of a sheet with a 3 on it, for a page that is not to begin empty."""
    picture = Image.new("LA", (SIDE, SIDE), (255, 0))
    pen = ImageDraw.Draw(picture)
    pen.line(READY, fill=(255, 255), width=STROKE, joint="curve")
    for x, y in (READY[0], READY[-1]):
        pen.ellipse((x - STROKE // 2, y - STROKE // 2, x + STROKE // 2, y + STROKE // 2), fill=(255, 255))
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
