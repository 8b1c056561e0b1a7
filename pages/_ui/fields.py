"""Fields of forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st


def field(
    widget: Callable[..., Any], label: str, *given: Any, key: str, width: int, in_url: bool = False, **options: Any
) -> Any:
    """A widget such as `st.selectbox`, `width` pixels wide; its value stays in the session, or in the URL as well."""
    kept = {"bind": "query-params"} if in_url else {"persist_state": "session"}
    with st.container(width=width):
        return widget(label, *given, key=key, **kept, **options)
