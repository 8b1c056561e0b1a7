"""Where data and computed things live, and how they are written so that a crash never leaves half a file."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from .errors import StorageError, storage_errors

PROJECT = Path(__file__).resolve().parent.parent
"""The folder that `lrp_core` lies in: the project's checkout, or wherever packages are installed."""


def checkout() -> Path | None:
    """The project's checkout if `lrp_core` runs from one, else None: it is an installed package."""
    return PROJECT if all((PROJECT / name).is_file() for name in ("app.py", "pyproject.toml")) else None


def cache_dir(*parts: str) -> Path:
    """The folder `<parts>` of the cache, created if it is missing.

    The cache is `$LRP_CACHE`, else `cache/` of the checkout, else `lrp-core` in the user's own cache folder. Raises
    `StorageError` if the folder cannot be created.
    """
    root = checkout()
    base = os.environ.get("LRP_CACHE") or (root / "cache" if root else user_cache())
    folder = Path(base).expanduser().joinpath(*parts)
    with storage_errors("create the cache folder (set LRP_CACHE to a writable one)", folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def user_cache() -> Path:
    """The folder of this program among the caches of the user, as each system has it."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "")
        default = Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base, default = "", Path.home() / "Library" / "Caches"
    else:
        base, default = os.environ.get("XDG_CACHE_HOME", ""), Path.home() / ".cache"
    return (Path(base) if os.path.isabs(base) else default) / "lrp-core"  # XDG: a relative path is to be ignored


def data_folders(name: str) -> list[Path]:
    """The folders in which the files of a named data set are looked for if nobody names one, best first.

    `$LRP_DATA/<name>`, `$LRP_DATA` itself, and `data/<name>` of the checkout; only those that exist. Raises
    `StorageError` if `LRP_DATA` is no folder.
    """
    places: list[Path] = []
    if given := os.environ.get("LRP_DATA"):
        folder = Path(given).expanduser().resolve()
        if not folder.is_dir():
            raise StorageError(f"LRP_DATA is {given}, which is no folder: set it to the one that holds the data")
        places += [folder / name, folder]
    if root := checkout():
        places.append(root / "data" / name)
    return [place for place in places if place.is_dir()]


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees either the old file or the whole new one.

    Raises `StorageError` (disk full, folder not writable); the old file is then untouched.
    """
    with storage_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
