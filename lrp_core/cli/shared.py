"""What the commands share: an answer, the data set and the study that were asked for, a progress bar."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from ..data import Dataset
    from ..study import Study


@dataclass(frozen=True)
class Answer:
    """What a command found: plain values for `--json`, and the text that a person reads."""

    values: dict[str, Any]
    text: str
    refused: tuple[str, ...] = ()
    """What could not be answered, beside what could."""


def one_line(text: object) -> str:
    """A sentence with the characters escaped that move the cursor: files and columns can have any in their names."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


_OWN_DATA = (
    *("label", "inputs", "groups_column", "drop", "image_size", "series", "input_groups", "header", "impute"),
    *("standardise", "task"),
)
"""The options that say how `--data` is read; they are the words of `read_data`."""


def asked_data(arguments: argparse.Namespace, *, standardise: str | None = None) -> Dataset:
    """The data set that was asked for; `standardise` takes the place of the option."""
    from ..data import load_dataset, read_data

    how = {name: getattr(arguments, name) for name in _OWN_DATA}
    if arguments.data is None:
        unsaid: tuple[Any, ...] = (None, [], "classification")
        if given := [option for name, option in zip(_OWN_DATA, _options(), strict=True) if how[name] not in unsaid]:
            hint = "; the class to rank by is --for-class" if "--label" in given and "for_class" in arguments else ""
            raise InputError(
                f"{', '.join(given)} says how --data is read: give --data PATH, too, or leave it out{hint}"
            )
        return load_dataset(arguments.dataset, asked_root(arguments), download=arguments.download)
    if arguments.data_root is not None or arguments.download:
        raise InputError("--data-root and --download are for a data set by name: leave them out beside --data")
    if standardise is not None:
        how["standardise"] = standardise
    data = read_data(arguments.data, split_seed=arguments.split_seed, **how)
    arguments.notes = data.notes
    return data


def asked_words(arguments: argparse.Namespace) -> str:
    """The words that ask for the same data set once more."""
    words: list[str] = []
    if arguments.data is None:
        words += ["--dataset", arguments.dataset]
        if (root := asked_root(arguments)) is not None:
            words += ["--data-root", root]
        return shlex.join(words)
    words += ["--data", str(arguments.data)]
    for name, option in zip(_OWN_DATA, _options(), strict=True):
        value = getattr(arguments, name)
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        elif isinstance(value, tuple):
            words += [option, "x".join(map(str, value))]
        elif isinstance(value, list):
            words += [option, *value] if value else []
        elif value not in (None, "classification") and name != "standardise":
            words += [option, value]
    if arguments.split_seed:
        words += ["--split-seed", str(arguments.split_seed)]
    return shlex.join(words)


def _options() -> list[str]:
    return ["--" + name.replace("_", "-") for name in _OWN_DATA]


def check_suffix(path: Path | None, *suffixes: str) -> None:
    """Raise `InputError` for a file whose name says that it holds something else than what is written."""
    if path is not None and path.suffix.lower() not in suffixes:
        raise InputError(f"{path} would hold what its name does not say: call it {path.stem}{' or '.join(suffixes)}")


def asked_root(arguments: argparse.Namespace) -> str | None:
    return str(arguments.data_root.resolve()) if arguments.data_root is not None else None


def take_network(arguments: argparse.Namespace) -> None:
    """Have `--model` name the network that `--network` and `--weights` say; one that has learned is not trained."""
    asked = vars(arguments)
    network, weights = asked.get("network"), asked.get("weights")
    if network is None:
        if weights is not None and arguments.command != "rank":
            raise InputError("--weights are those of a network of your own: say which with --network FILE.py:FUNCTION")
        return
    from ..loading import name_for_others
    from ..models import ARCHITECTURES

    arguments.model, arguments.weights = name_for_others(network, weights), None
    if asked.get("epochs", 0) is None and getattr(ARCHITECTURES[arguments.model], "is_trained", False):
        arguments.epochs = 0


def asked_recipe(arguments: argparse.Namespace) -> dict[str, Any]:
    """How networks are to be trained: the words of `Study` and of `recipe_for`."""
    return {name: getattr(arguments, name) for name in ("epochs", "optimizer", "batch_size", "lr", "patience")}


@contextmanager
def progress_bar(title: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    """A progress bar on a terminal, nothing elsewhere; gives advance(note, done)."""
    from tqdm import tqdm

    with tqdm(total=total, desc=title, unit=unit, disable=not sys.stderr.isatty(), leave=False) as bar:

        def advance(note: str = "", done: int | None = None) -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(1 if done is None else done - bar.n)

        yield advance


def single_study(arguments: argparse.Namespace, data: Dataset) -> Study:
    """A study of one seed, and of one criterion where one was asked for: it leads to a single trial or network."""
    from ..study import preset

    asked = vars(arguments)
    return preset(
        "full",
        data,
        root=asked_root(arguments),
        n_train=arguments.train_images,
        architecture=arguments.model,
        criteria=(asked["criterion"],) if "criterion" in asked else None,
        strategies=("one-shot",),
        modes=(asked.get("mode", "none"),),
        seeds=(arguments.seed,),
        statistic=asked.get("statistic"),
        start=arguments.start if "criterion" in asked else None,
        rank_images=arguments.images if "criterion" in asked else None,
        **asked_recipe(arguments),
        resplit=False,
    )


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Have SIGTERM stop what runs inside as Ctrl-C does: cleanly, with what is done kept."""
    if threading.current_thread() is not threading.main_thread():  # only that one can set handlers, and gets signals
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def keep_for(percent: float, data: Dataset) -> int:
    """How many inputs, or groups, stay when `percent` of them are removed."""
    from ..ranking import keep_for_share

    if not 0 <= percent < 100:
        raise InputError(f"--removed must be at least 0 and below 100 per cent, not {percent:g}")
    return keep_for_share(percent / 100, data.n_groups)
