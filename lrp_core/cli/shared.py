"""What the commands share: an answer, the data set that was asked for, a progress bar."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data import Dataset


@dataclass(frozen=True)
class Answer:
    """What a command found: plain values for `--json`, and the text that a person reads."""

    values: dict[str, Any]
    text: str


def asked_data(arguments: argparse.Namespace) -> Dataset:
    from ..data import load_dataset

    return load_dataset(arguments.dataset, asked_root(arguments), download=arguments.download)


def asked_root(arguments: argparse.Namespace) -> str | None:
    return str(arguments.data_root.resolve()) if arguments.data_root is not None else None


@contextmanager
def progress_bar(title: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    """A progress bar on a terminal, nothing elsewhere; gives advance(note, done)."""
    from tqdm import tqdm

    with tqdm(total=total, desc=title, unit=unit, disable=not sys.stderr.isatty(), leave=False) as bar:

        def advance(note: str = "", done: int | None = None) -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(1 if done is None else done - bar.n)

        yield advance
