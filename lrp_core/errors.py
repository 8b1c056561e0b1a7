"""The ways in which a request is refused, each one sentence that says what would have been right."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


class LrpError(Exception):
    """Base of every refusal; its text is one sentence meant for the person who asked."""


class InputError(LrpError, ValueError):
    """An argument that cannot be used."""


class StorageError(LrpError, OSError):
    """A file or folder that is missing, damaged, full or not writable."""


class UnsupportedLayer(LrpError, TypeError):
    """A layer or operation for which no relevance rule exists."""


class NonFiniteRelevance(LrpError, ArithmeticError):
    """Relevance, or the network's own output, that would be NaN or infinite."""


class MissingExtra(LrpError, ImportError):
    """A part of the program that needs a package which is not installed."""


class Cancelled(LrpError):
    """A run that was asked to stop; what it had finished is kept."""


def check_choice(kind: str, name: str, choices: Collection[str]) -> str:
    """Return `name` if it is one of `choices`; otherwise raise `InputError` naming the nearest and all of them."""
    if name in choices:
        return name
    near = difflib.get_close_matches(str(name), choices, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"unknown {kind} {name!r}: {hint}choose one of {', '.join(choices)}")


@contextmanager
def storage_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn any `OSError` inside into a `StorageError` that says what was being done, where, and why it failed."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot {doing} {path}: {reason}") from error
