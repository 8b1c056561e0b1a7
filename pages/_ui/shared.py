"""What a server that others can reach says of itself."""

from __future__ import annotations

import ipaddress
import os

import streamlit as st

SHARED = "LRP_SHARED"


def warning() -> str | None:
    """What the frame says where others can reach the server; None where it listens to this machine alone.

    `LRP_SHARED=1` says that it is meant, which makes it a short note.
    """
    if _is_own(st.get_option("server.address")):
        return None
    if os.environ.get(SHARED) == "1":
        return "This dashboard is shared: everyone who uses it sees all studies, and can start and cancel work."
    return (
        "Everyone who can reach this machine's address can use this dashboard: they see all studies, start and cancel "
        f"work, and give it data; no password is asked. If that is meant, start it with {SHARED}=1; if not, with "
        "--server.address 127.0.0.1."
    )


def _is_own(address: str | None) -> bool:
    """Whether an address is of this machine alone; none stands for all of its addresses."""
    if not address:
        return False
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:  # a name, of which only this one is sure
        return address.lower().rstrip(".") == "localhost"
