"""Which folders of this machine a page may read: a visitor types a path, and who started the server says where to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError
from ..storage import checkout


def allowed_folders(given: Iterable[str | Path] = ()) -> tuple[Path, ...]:
    """The folders below which a page may read: those given at the start, `LRP_DATA`, and `data/` of a checkout.

    They are real paths: what a link stands for, and not the link. Raises `InputError` for one that is no folder.
    """
    folders = [Path(folder).expanduser().resolve() for folder in given]
    if wrong := next((folder for folder in folders if not folder.is_dir()), None):
        raise InputError(f"--allow names {wrong}, which is no folder")
    own = [os.environ.get("LRP_DATA"), (root := checkout()) and root / "data"]
    folders += [Path(folder).expanduser().resolve() for folder in own if folder]
    return tuple(dict.fromkeys(folder for folder in folders if folder.is_dir()))


def check_folder(text: str, allowed: Iterable[Path]) -> Path:
    """The real path of what a visitor typed. Raises `InputError` unless it lies in one of the `allowed` folders.

    The refusal is the same for what is there and what is not, so that nobody learns what else the machine holds.
    """
    try:
        folder = Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, an unknown ~name, a NUL
        folder = None
    if folder is None or not any(folder.is_relative_to(place) for place in allowed):
        raise InputError(
            f"{text!r} is not in a folder that this app may read: who starts it can allow one, with "
            "'streamlit run app.py -- --allow FOLDER'"
        )
    return folder
