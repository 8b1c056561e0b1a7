"""Rows drawn into training, validation and test: stratified by class, with no group of rows in two parts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from ..errors import InputError
from ..extras import from_extra
from ..seeds import check_seed
from .scaler import Scaler
from .splits import Dataset, Split
from .target import Target

Places = dict[str, np.ndarray]
"""Positions of the rows of each part, in their order."""

PARTS = ("train", "validation", "test")

_SHARE, _SHARE_OF_TRAINING = 0.15, 1 / 6
"""Of the rows, each for validation and test, where there is no split; of the training rows, where one part lacks."""

_SAID = "split here: "
"""How the note on a split begins."""

_OLD_MEDIANS = "the medians in the place of missing values are still those of the training rows that were drawn first"


@dataclass(frozen=True, eq=False)
class _Rows:
    """What parts are drawn from: see `draw_parts`."""

    source: str
    labels: np.ndarray
    blocks: np.ndarray
    classes: Sequence[str]


def draw_parts(
    source: str, labels: np.ndarray, blocks: np.ndarray, classes: Sequence[str], drawn: Sequence[str], seed: int
) -> Places:
    """Positions of the rows that stay for training, and of those of each part in `drawn`.

    `labels` and `blocks` [n] are the class of each row and the group that it belongs to; rows that belong to none have
    a number of their own. `source` is what a refusal calls the data. Raises `InputError` for too few rows or groups.
    """
    size = len(labels) * (_SHARE if len(drawn) == 2 else _SHARE_OF_TRAINING)
    check_seed(seed, "the seed of a split")
    draw = _draw_groups if are_grouped(blocks) else _draw_rows
    with from_extra():
        return draw(_Rows(source, labels, blocks, classes), drawn, size, seed)


def are_grouped(blocks: np.ndarray) -> bool:
    """Whether any two rows belong together."""
    return len(np.unique(blocks)) < len(blocks)


def note_of(places: Places, seed: int, grouped: bool, stratified: bool = True) -> str:
    """What the notes of a data set say of how its rows were drawn."""
    n = sum(map(len, places.values()))
    shares = ", ".join(f"{len(places[which]) / n:.0%} {which}" for which in PARTS if which in places)
    kind = "with no group of rows in two parts" if grouped else "stratified" if stratified else "at random"
    return f"{_SAID}{shares}, {kind}, seed {seed}"


def _draw_rows(rows: _Rows, drawn: Sequence[str], size: float, seed: int) -> Places:
    """Every class in its own proportion."""
    from sklearn.model_selection import train_test_split

    rest, places = np.arange(len(rows.labels)), Places()
    for which in drawn:
        n = max(round(size), len(rows.classes))
        try:
            rest, held_out = train_test_split(rest, test_size=n, stratify=rows.labels[rest], random_state=seed)
        except ValueError as error:
            raise InputError(
                f"{rows.source} has {len(rows.labels):,} rows, too few to split {len(rows.classes)} classes into "
                "training, validation and test: add rows, or leave classes out"
            ) from error
        places[which] = np.sort(held_out)
    return {"train": np.sort(rest)} | places


def _draw_groups(rows: _Rows, drawn: Sequence[str], size: float, seed: int) -> Places:
    """The same with all rows of a group (a patient, a device) in one part."""
    source, labels, blocks, classes = rows.source, rows.labels, rows.blocks, rows.classes
    rest, places = np.arange(len(labels)), Places()
    for later in reversed(range(len(drawn))):
        folds = _folds(rest, labels, blocks, size, seed)
        # What is held out leaves groups for the parts that are still to be drawn, and rows of every class to train on.
        left = [np.setdiff1d(rest, fold) for fold in folds]
        enough = [len(fold) > 0 and len(np.unique(blocks[r])) > later for fold, r in zip(folds, left, strict=True)]
        if not any(enough):
            raise InputError(
                f"{source} has {len(np.unique(blocks))} different groups of rows, and training, validation and test "
                "need one of their own each: add groups"
            )
        whole = [ok and len(np.unique(labels[r])) == len(classes) for ok, r in zip(enough, left, strict=True)]
        chosen = (whole if any(whole) else enough).index(True)
        places[drawn[len(drawn) - 1 - later]], rest = folds[chosen], left[chosen]
    for code in np.setdiff1d(labels, labels[rest]).tolist():
        raise InputError(
            f"{source} has class {classes[code]!r} in so few groups of rows that none is left to train on with the "
            f"split of seed {seed}: add groups, choose another seed, or leave the class out"
        )
    return {"train": rest} | places


def _folds(rest: np.ndarray, labels: np.ndarray, blocks: np.ndarray, size: float, seed: int) -> list[np.ndarray]:
    """The rows in folds of about `size`, with no group in two of them; none if there are too few groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    n = min(round(len(rest) / size), len(np.unique(blocks[rest])), int(np.bincount(labels[rest]).max()))
    if n < 2:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that classes have fewer rows than there are folds
        parts = StratifiedGroupKFold(n, shuffle=True, random_state=seed).split(rest, labels[rest], blocks[rest])
        return [rest[held_out] for _, held_out in parts]


# Once more


def resplit(data: Dataset, seed: int) -> Dataset:
    """`Dataset.resplit`."""
    places, parts = places_of(data, seed), [getattr(data, which) for which in PARTS]
    if all(np.array_equal(places[which], part.indices) for which, part in zip(PARTS, parts, strict=True)):
        return data
    raw, labels, indices = (torch.cat([getattr(part, name) for part in parts]) for name in ("raw", "labels", "indices"))
    row = indices.argsort()  # of each position
    splits: dict[str, Any] = {}
    for which in PARTS:
        positions = torch.from_numpy(places[which])
        splits[which] = Split.checked(raw[row[positions]], labels[row[positions]], positions)
    grouped = are_grouped(_array(data.blocks))
    stratified = data.target is None
    notes = [note_of(places, seed, grouped, stratified) if note.startswith(_SAID) else note for note in data.notes]
    if data.imputed and _OLD_MEDIANS not in notes:
        notes.append(_OLD_MEDIANS)
    scaler, target = _scaled(splits, data.scaler), _centred(splits, data.target)
    return replace(data, **splits, scaler=scaler, target=target, notes=tuple(notes))


def _scaled(splits: dict[str, Split], before: Scaler | None) -> Scaler | None:
    """What the raw inputs are now standardised by; the splits, which `before` was applied to, are scaled in place."""
    if before is None:
        return None
    by_channel = len(before.mean) < math.prod(splits["train"].shape)
    again = Scaler.fit(splits["train"], per_channel=by_channel)
    for split in splits.values():
        again.apply_in_place(split.raw)
    return before.then(again)


def _centred(splits: dict[str, Split], before: Target | None) -> Target | None:
    """The target by the new training rows; the numbers of the splits, which `before` was applied to, follow."""
    if before is None:
        return None
    numbers = splits["train"].labels.double()
    mean, scale = float(numbers.mean()), float(numbers.std(correction=0))
    if scale == 0:
        raise InputError("all training rows of this split have the same number: choose another seed")
    for which, split in splits.items():
        labels = ((split.labels.double() - mean) / scale).float()
        splits[which] = Split.checked(split.raw, labels, split.indices)
    return Target(before.name, before.mean + before.scale * mean, before.scale * scale)


_places: WeakKeyDictionary[Dataset, dict[int, Places]] = WeakKeyDictionary()
"""What was drawn before: a study asks for the sizes of its parts again and again."""


def places_of(data: Dataset, seed: int) -> Places:
    """The positions of the rows of each part of `data.resplit(seed)`. Raises `InputError` as that does."""
    if data.blocks is None:
        raise InputError(
            f"the parts of {data.name} were given, and given parts are kept: only rows that read_data (--data) has "
            "split can be split again"
        )
    if not data.can_resplit:
        raise InputError(
            f"the parts of {data.name} are no longer all {len(data.blocks):,} rows that were read: only these can be "
            "split again"
        )
    known = _places.setdefault(data, {})
    if seed not in known:
        labels = np.zeros(len(data.blocks), dtype=np.int64)
        for part in (data.train, data.validation, data.test) if data.target is None else ():
            labels[part.indices.numpy()] = part.labels.numpy()
        drawn = ("test", "validation")
        known[seed] = draw_parts(data.name, labels, _array(data.blocks), data.classes or ("any",), drawn, seed)
    return known[seed]


def _array(blocks: torch.Tensor | None) -> np.ndarray:
    assert blocks is not None, "only data that were split here have them"
    return blocks.numpy()
