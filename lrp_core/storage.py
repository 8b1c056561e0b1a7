"""Where computed things live, and how they are written so that a crash never leaves half a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .errors import storage_errors

PROJECT = Path(__file__).resolve().parent.parent


def cache_dir(*parts: str) -> Path:
    """The folder `cache/<parts>` (or `$LRP_CACHE/<parts>`), created if it is missing.

    Raises `StorageError` if it cannot be created.
    """
    folder = Path(os.environ.get("LRP_CACHE") or PROJECT / "cache").expanduser().joinpath(*parts)
    with storage_errors("create the cache folder (set LRP_CACHE to a writable one)", folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


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
