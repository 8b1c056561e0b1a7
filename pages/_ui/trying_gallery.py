"""The gallery: small pictures in a grid, each a button that opens it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from .drawing import as_url

_HTML = '<div class="room"><ul class="grid"></ul></div>'

_CSS = """
:host { display: block; }
.grid {
  list-style: none; margin: 0; padding: 2px; display: grid; gap: 0.5rem;
  grid-template-columns: repeat(auto-fill, minmax(76px, 1fr)); font-family: var(--st-font);
}
button {
  all: unset; display: block; width: 100%; box-sizing: border-box; cursor: pointer; padding: 4px; text-align: center;
  color: var(--st-text-color); font-size: 0.82rem; border: 1px solid var(--st-border-color);
  border-radius: var(--st-base-radius); background: var(--st-secondary-background-color);
}
button:hover { border-color: var(--st-primary-color); }
button[aria-current] { border-color: var(--st-primary-color); box-shadow: inset 0 0 0 1px var(--st-primary-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; image-rendering: pixelated;
  background: #10222a; border-radius: 3px; margin-bottom: 2px; }
span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
"""

_JS = """
export default function ({ parentElement, data, setTriggerValue }) {
  const grid = parentElement.querySelector(".grid");
  grid.replaceChildren(...data.tiles.map((tile) => {
    const button = document.createElement("button");
    const picture = Object.assign(document.createElement("img"), { src: tile.src, alt: "" });
    const text = Object.assign(document.createElement("span"), { textContent: tile.text });
    button.type = "button";
    button.ariaLabel = button.title = tile.name;
    if (tile.isOpen) button.ariaCurrent = "true";
    button.append(picture, text);
    button.onclick = () => setTriggerValue("picked", tile.index);
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}
"""

_grid = st.components.v2.component("trying_gallery", html=_HTML, css=_CSS, js=_JS)


def tiles(
    table: pd.DataFrame, pictures: list[bytes], classes: tuple[str, ...], kind: str, opened_index: int | None
) -> list[dict[str, Any]]:
    """What the grid shows of the rows of a gallery and their pictures: what is true, then what the wrong one says."""
    wrong = "small" if kind == "break" else "full"
    shown = []
    for row, png in zip(table.to_dict("records"), pictures, strict=True):
        true, index = classes[row["label"]], int(row["index"])
        text, name = true, f"Test image {index}, of class {true}"
        if row[wrong] >= 0:
            text += f" \N{RIGHTWARDS ARROW} {classes[row[wrong]]}"
            name += f": the {wrong} network says {classes[row[wrong]]} ({100 * row['sure']:.0f} %)"
        tile = {"index": index, "src": as_url(png), "text": text, "name": name, "isOpen": index == opened_index}
        shown.append(tile)
    return shown


def draw(shown: list[dict[str, Any]], key: str, on_pick: Callable[[int], None]) -> None:
    """The grid; `on_pick` is called with the position of the test image that was chosen."""

    def picked() -> None:
        index = dict(st.session_state.get(key, {})).get("picked")
        if isinstance(index, int) and index in {tile["index"] for tile in shown}:  # the browser may send anything
            on_pick(index)

    _grid(key=key, data={"tiles": shown}, on_picked_change=picked)
