"""The pages, in the order of the menu. Their URLs follow from the file names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(__file__).resolve().parent.parent

ICON = str(Path(__file__).with_name("icon.svg"))

ENTRIES = {
    "Overview": ("space_dashboard", "What this is for, and what the chosen study found, in numbers."),
    "Study": ("science", "Set up, start and watch studies, and open earlier ones."),
    "Relevance": ("visibility", "Which inputs one answer of the network came from, layer by layer."),
    "Ranking": ("sort", "The order of the inputs: how sure it is, and how much two of them agree."),
    "Feature removal": ("backspace", "Take the least and the most relevant pixels of an image away: does it matter?"),
    "Pruning": ("content_cut", "Move the threshold and see which inputs go, and how good a network that leaves."),
    "Budget": ("compress", "Inputs and hidden units go together until the network costs what you say."),
    "Savings": ("savings", "What the smaller network costs, layer by layer, beside the full one."),
    "Export": ("download", "Take the smaller network with you, with a card that says what it is."),
}


def file_of(title: str) -> Path:
    """The script of a page."""
    return FOLDER / f"{list(ENTRIES).index(title) + 1}_{title.replace(' ', '_')}.py"


def page(title: str) -> Any:
    """One page, for a link to it."""
    return pages()[list(ENTRIES).index(title)]


def pages() -> list[Any]:
    """The menu. New objects for each run: Streamlit writes into them which page a session is on."""
    return [
        st.Page(file_of(title), title=title, icon=f":material/{icon}:", default=title == "Overview", help=text)
        for title, (icon, text) in ENTRIES.items()
    ]
