"""The desk: a sheet or picture, and both networks' answers beside it, painted in the browser as the pen moves.

Python sends numbers alone, so that an answer takes one short message; pixels and relevance are bytes as base64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from .drawing import PEN_JS, SHEET_CSS, SHEET_HTML

_HTML = f"""
<div class="room"><div class="desk">
  <section class="source">
    <p class="head"><b></b></p>
    {SHEET_HTML}
    <canvas class="tile picture" role="img"></canvas>
    <p class="hint"></p>
  </section>
  <section class="answer" data-of="full"></section>
  <section class="answer" data-of="small"></section>
  <div class="inputs"></div>
  <p class="legend"></p>
  <p class="unseen" aria-live="polite" aria-atomic="true"></p>
</div></div>
"""

_HERE = Path(__file__).with_name

_desk = st.components.v2.component(
    "trying_desk",
    html=_HTML,
    css=SHEET_CSS + _HERE("trying_desk.css").read_text("utf-8"),
    js=PEN_JS + _HERE("trying_desk.js").read_text("utf-8"),
)


def draw(data: dict[str, Any], key: str) -> None:
    """The desk, as `trying.Desk` describes it; what was `drawn` last is in the session under its key."""
    _desk(key=key, data=data, on_drawn_change=lambda: None)
