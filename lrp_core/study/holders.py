"""Who is alive: a holder is a process that keeps an operating-system lock on a file of its own while it works.

The system frees the lock however the process ends, so there are no heartbeats, and no process ids that another
program may have taken over.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import storage_errors


@contextmanager
def hold(folder: Path) -> Iterator[str]:
    """Be alive inside; gives the name under which `is_alive` knows it. Raises `StorageError`."""
    name = uuid.uuid4().hex
    path = _path(folder, name)
    with storage_errors("write to the cache folder", folder):
        lock = FileLock(path)
        lock.acquire()
    try:
        yield name
    finally:
        lock.release()
        path.unlink(missing_ok=True)


def is_alive(folder: Path, name: str) -> bool:
    """Whether the holder of that name is at work; the file of one that is not is removed."""
    path = _path(folder, name)
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    path.unlink(missing_ok=True)
    return False


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.lock"
