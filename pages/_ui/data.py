"""What pages share of the core: loading it, and remembering what an opened study answers.

`lrp_core.views` imports torch when the first of its names is used: a page paints its frame before that takes its
seconds.
"""

from __future__ import annotations

import gc
import io
import sys
import threading
import zipfile
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import streamlit as st

_is_warming = threading.Event()
"""Set once a thread of this server has begun to load the numerics."""

_PARTS = (
    *(
        "study.OpenedStudy",
        "ranking.Rankings",
        "removal.Removals",
        "images.Images",
        "budgets.Budgets",
        "savings.Savings",
    ),
)


@st.cache_data(
    max_entries=256, show_spinner=False, hash_funcs={f"lrp_core.views.{name}": attrgetter("token") for name in _PARTS}
)
def ask(part: Any, question: str, **arguments: Any) -> Any:
    """What a method of an opened study, or of one of its parts, answers; remembered by the part's token and these."""
    return getattr(part, question)(**arguments)


def is_warm() -> bool:
    """Whether the numerics are loaded already, so that no question takes seconds."""
    return "lrp_core.views.study" in sys.modules


def warm_up() -> None:
    """Load the numerics: seconds, once for each server.

    Streamlit collects garbage after every run of a script and of a fragment, and going through all that torch
    brings along takes a fifth of a second each time. None of it is garbage, so the collector need not look again.
    """
    from lrp_core.views import study as views  # noqa: F401

    gc.collect()
    gc.freeze()


def warm_up_soon() -> None:
    """Load the numerics in the background, so that the next page need not wait for them."""
    if not is_warm() and not _is_warming.is_set():
        _is_warming.set()
        threading.Thread(target=warm_up, daemon=True).start()


@lru_cache(maxsize=1)
def freeze_again() -> None:
    """`gc.freeze` once more, where a page has drawn itself and answers from now on, and every millisecond counts.

    What its figures and networks brought along since `warm_up` takes the collector a tenth of a second each time.
    """
    gc.collect()
    gc.freeze()


def zipped(folder: Path, readme: str) -> bytes:
    """An export as one zip file: everything in its folder, and how to use it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"small-network/{file.relative_to(folder).as_posix()}")
        archive.writestr("small-network/README.txt", readme)
    return buffer.getvalue()
