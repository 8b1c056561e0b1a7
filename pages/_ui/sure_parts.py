"""The parts of the page on trust, one of which is drawn at a time; the choice is in the URL as `part`."""

from __future__ import annotations

import streamlit as st

PARTS = {
    "result": "The result",
    "ranking": "The ranking",
    "agreement": "Do rankings agree?",
    "relevance": "Does relevance find what matters?",
}
"""What each part is called, by its name in links."""


def choose(parts: list[str]) -> str:
    """The picker of the part, and the name of the chosen one."""
    linked, written = st.query_params.get("part"), st.session_state.get("part-written")
    if linked in parts and linked != written:
        st.session_state["part"] = linked
    if st.session_state.get("part") not in parts:
        st.session_state["part"] = parts[0]
    part: str = st.segmented_control(
        "Part", parts, key="part", format_func=PARTS.get, required=True, persist_state="session",
        label_visibility="collapsed",
    )  # fmt: skip
    if part == parts[0]:
        st.query_params.pop("part", None)
    elif linked != part:
        st.query_params["part"] = part
    st.session_state["part-written"] = st.query_params.get("part")
    return part
