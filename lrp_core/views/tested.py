"""What the page to try a study out on says of the whole test set: which images break, which heal, and how classes go.

The test images are for that alone: rankings come from training images, and shares are chosen on validation ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import check_choice
from ..evaluation import measure_cost, unpack
from ..pruning import PrunedNetwork
from ..study import Trial
from ..training import one_thread, predict_logits
from ..training.feeding import encoded
from .part import Part, Report, kept_on_disk, tell_nobody
from .trying import Pair, Trying

KINDS = ("break", "heal")
ORDERS = ("class", "sure")

QUICK = 6_000_000_000
"""Multiplications that take about a third of a second on one thread: as many are not waited for."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What both networks of a pair say of every test row: classes, or numbers in their own unit, all [n].

    `full_sure` and `small_sure` are the probabilities of the classes that they say; NaN for numbers.
    """

    labels: np.ndarray
    full: np.ndarray
    small: np.ndarray
    full_sure: np.ndarray
    small_sure: np.ndarray


@dataclass(frozen=True, eq=False)
class Tested:
    """Which test rows both networks of a pair get right: bool [n] each, beside the class of each row."""

    labels: np.ndarray
    full_right: np.ndarray
    small_right: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def positions(self, kind: str) -> np.ndarray:
        """Rows that "break", which only the full network gets right, or "heal", which only the small one does."""
        check_choice("kind", kind, KINDS)
        first, second = (self.full_right, self.small_right) if kind == "break" else (self.small_right, self.full_right)
        return np.flatnonzero(first & ~second)

    def by_class(self, classes: tuple[str, ...]) -> pd.DataFrame:
        """One row a class: its name, its rows, how many each network gets right, the change, and what breaks and heals.

        The change is healed rows minus broken ones.
        """
        n = len(classes)

        def counted(rows: np.ndarray) -> np.ndarray:
            return np.bincount(self.labels[rows], minlength=n)

        table = pd.DataFrame({"class": list(classes), "rows": np.bincount(self.labels, minlength=n)})
        table["full"], table["small"] = counted(self.full_right), counted(self.small_right)
        table["breaks"], table["heals"] = (counted(self.positions(kind)) for kind in KINDS)
        return table.assign(change=table["small"] - table["full"])

    @classmethod
    def of(cls, predictions: Predictions) -> Tested:
        """The same from what networks say."""
        labels = predictions.labels
        return cls(labels, predictions.full == labels, predictions.small == labels)


@dataclass(frozen=True)
class Testing(Part):
    """Pairs of networks of an opened study on the test rows of their seed."""

    @property
    def trying(self) -> Trying:
        """Where the networks come from."""
        return Trying(self.study, self.folder)

    def recorded(self, pair: Pair) -> Tested | None:
        """Which test rows both get right, from the ledger alone; None if it does not say, or numbers are predicted."""
        rows = self.trying.ledger.trials([pair.full.key, pair.small.key])
        if len(rows) < 2 or "test_correct" not in rows or self.data.target is not None:
            return None
        labels = self.data_of(pair.small.base.seed).test.labels.numpy()
        return Tested(labels, *(unpack(text, len(labels)) for text in rows["test_correct"]))

    def predictions(self, pair: Pair, report: Report = tell_nobody) -> Predictions:
        """What both say of every test row, from the cache if they were asked before."""
        return Predictions(**kept_on_disk(_predictions)(pair.key, (self, pair), pair.small.base.seed, report))

    def are_predicted(self, pair: Pair) -> bool:
        """Whether `predictions` answers at once: from the cache, or since these networks are small."""
        is_quick = self._work_of(pair) <= QUICK
        asked = (pair.key, (self, pair), pair.small.base.seed, tell_nobody)
        return is_quick or bool(kept_on_disk(_predictions).check_call_in_cache(*asked))

    def _work_of(self, pair: Pair) -> int:
        """Multiplications that asking both about the whole test set takes."""
        each = sum(measure_cost(self.trying.network(trial)).macs for trial in (pair.full, pair.small))
        return each * len(self.data_of(pair.small.base.seed).test)

    def ask(self, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
        """What one network says of every test row, and how sure it is of each."""
        network, test, number = self.trying.network(trial), self.data_of(trial.base.seed).test, self.data.target
        encode = network.encode if isinstance(network, PrunedNetwork) else None
        outputs = predict_logits(network, encoded(test, encode), device="cpu")
        if number is not None:
            return number.restore(outputs[:, 0]).numpy(), np.full(len(outputs), np.nan)
        sure, says = outputs.softmax(1).max(1)
        return says.numpy(), sure.numpy()


def gallery(
    shown: Tested | Predictions, kind: str, by: str = "class", predictions: Predictions | None = None
) -> pd.DataFrame:
    """The test rows of a kind, the first to be looked at first: the columns index, label, full, small and sure.

    By "class" they stand in the order of their classes, by "sure" the one comes first of which the network that is
    wrong is surest. Without `predictions`, what the wrong network says and how sure it is are not known (-1, NaN). Of
    numbers, given as predictions, those "break" whose error grew, the most first, and "sure" is by how much.
    Raises `InputError` for an unknown kind or order.
    """
    check_choice("order", by, ORDERS)
    if isinstance(shown, Predictions):
        return _of_numbers(shown, kind)
    index = shown.positions(kind)
    label = shown.labels[index]
    table = pd.DataFrame({"index": index, "label": label, "full": label, "small": label, "sure": np.nan})
    wrong = "small" if kind == "break" else "full"
    if predictions is None:
        table[wrong] = -1
    else:
        table[wrong] = getattr(predictions, wrong)[index]
        table["sure"] = getattr(predictions, f"{wrong}_sure")[index]
    if by == "sure" and predictions is not None:
        return table.sort_values("sure", ascending=False, kind="stable", ignore_index=True)
    return table.sort_values("label", kind="stable", ignore_index=True)


def _of_numbers(predictions: Predictions, kind: str) -> pd.DataFrame:
    check_choice("kind", kind, KINDS)
    before, after = (np.abs(said - predictions.labels) for said in (predictions.full, predictions.small))
    table = pd.DataFrame({"label": predictions.labels, "full": predictions.full, "small": predictions.small})
    table.insert(0, "index", np.arange(len(table)))
    table["sure"] = after - before if kind == "break" else before - after
    return table[table["sure"] > 0].sort_values("sure", ascending=False, kind="stable", ignore_index=True)


def confusion(labels: np.ndarray, says: np.ndarray, n: int) -> np.ndarray:
    """How many rows of each class [n, n] a network says each class of: true classes down, its answers across.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    return np.bincount(labels * n + says, minlength=n * n).reshape(n, n)


def _predictions(key: str, part: tuple[Testing, Pair], seed: int, report: Report) -> dict[str, np.ndarray]:
    testing, pair = part
    test, number = testing.data_of(seed).test, testing.data.target
    labels = test.labels.numpy() if number is None else number.restore(test.labels).numpy()
    with one_thread():  # so that answers are those of the study, to the last bit
        report(0.0, "the full network on the test set")
        full, full_sure = testing.ask(pair.full)
        report(0.5, "the small network on the test set")
        small, small_sure = testing.ask(pair.small)
    return {"labels": labels, "full": full, "small": small, "full_sure": full_sure, "small_sure": small_sure}
