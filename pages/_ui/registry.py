"""The pages, in the order of the menu. Their URLs follow from the file names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(__file__).resolve().parent.parent

ICON = str(Path(__file__).with_name("icon.svg"))

MAIN = {
    "Result": ("query_stats", "How many inputs the network needs, and what it saves to drop the rest."),
    "Try it": ("draw", "Draw, upload or pick an image: the full and the small network answer side by side."),
    "Why": ("visibility", "Which inputs one answer came from, and what happens without them."),
    "How sure": ("rule", "Rankings, curves, tests: how far the result can be trusted."),
    "Studies": ("science", "Set up, watch, compare, rename and delete studies."),
}
FURTHER = {
    "Budget": ("compress", "Inputs and hidden units go together until the network costs what you say."),
    "Savings": ("savings", "What the small network costs, layer by layer, and how fast it is here."),
    "Export": ("download", "Take the small network with you, with a card that says what it is."),
}
ENTRIES = MAIN | FURTHER

FORMER = {
    "Overview": "Result",
    "Pruning": "Result",
    "Study": "Studies",
    "Relevance": "Why",
    "Feature_removal": "Why",
    "Ranking": "How sure",
}
"""Where links to pages of earlier versions lead."""


def file_of(title: str) -> Path:
    """The script of a page."""
    return FOLDER / f"{list(ENTRIES).index(title) + 1}_{title.replace(' ', '_')}.py"


def page(title: str) -> Any:
    """One page, for a link to it."""
    icon, text = ENTRIES[title]
    return st.Page(file_of(title), title=title, icon=f":material/{icon}:", default=title == "Result", help=text)


def pages() -> list[Any]:
    """The menu. New objects for each run: Streamlit writes into them which page a session is on.

    In one list: under headings Streamlit's menu is no valid list for a screen reader.
    """
    former = [
        st.Page(_lead_to(title), title=name.replace("_", " "), url_path=name, visibility="hidden")
        for name, title in FORMER.items()
    ]
    return [page(title) for title in ENTRIES] + former


def _lead_to(title: str) -> Any:
    def lead() -> None:
        asked = dict(st.query_params)
        st.switch_page(page(title), query_params=asked)

    return lead
