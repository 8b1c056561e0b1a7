"""A study as one HTML file, from a button."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from lrp_core import views

from .figures import file_stem

if TYPE_CHECKING:
    from lrp_core.study.ledger import Ledger, Run


def button(run: Run, ledger: Ledger, margin: float) -> None:
    """The report of a study, written when it is asked for; `margin` is a share."""
    # An address of this server alone leads nobody else back.
    address = st.context.url
    st.download_button(
        "Report",
        data=lambda: views.report(views.open_study(run.id, ledger), margin=margin, address=_root(address)),
        file_name=f"{file_stem('report')}.html",
        mime="text/html",
        icon=":material/description:",
        on_click="ignore",
        key=f"report-{run.id}",
        disabled=not run.done,
        help="One HTML file that needs no network: finding, curves, costs, method, controls, and how to repeat it.",
    )


def _root(address: str | None) -> str | None:
    """The address of the dashboard without a page and its parameters."""
    return None if address is None else "/".join(address.split("/", 3)[:3])
