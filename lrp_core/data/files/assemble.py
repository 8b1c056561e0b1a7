"""From what a reader contents to a data set: classes, splits, missing values and scale, without copying the inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...errors import InputError, check_choice
from ..drawing import are_grouped, draw_parts, note_of
from ..scaler import Scaler
from ..splits import Dataset, Split
from ..target import Target
from .contents import Contents, check_inputs, listed
from .labels import check_enough, classes_of, numbers_of

IMPUTE: tuple[str, ...] = ("median",)
"""What can take the place of a missing number: the median of its column over the training split."""

STANDARDISE: tuple[str, ...] = ("inputs", "channels", "no")

_COLUMNS = 64
"""Columns of inputs that are put in order at a time: what is needed beside the inputs stays small."""


TASKS: tuple[str, ...] = ("classification", "regression")
"""What is predicted: the class of a row, or a number."""


def assemble(
    contents: Contents, name: str, split_seed: int, impute: str | None, standardise: str | None, task: str = TASKS[0]
) -> Dataset:
    """The data set. The arrays in `contents` are put in order, filled and scaled in their place.

    Parts that the source has are kept. Raises `InputError` for labels, values or classes that nothing can be made of.
    """
    if impute is not None:
        check_choice("way to impute", impute, IMPUTE)
    if standardise is not None:
        check_choice("way to standardise", standardise, STANDARDISE)
    predicts_numbers = check_choice("task", task, TASKS) == "regression"
    for part in contents.parts.values():
        check_inputs(contents.source, part.inputs.shape[1:])
        if 0 in part.inputs.shape[1:]:
            raise InputError(f"{contents.source} has rows of shape {part.inputs.shape[1:]}, without inputs")
    if not any(len(part.inputs) for part in contents.parts.values()):
        raise InputError(f"{contents.source} holds no rows")
    _check_values(contents, impute)
    numbers = _numbers(contents) if predicts_numbers else {}
    codes, classes = _alike(numbers) if predicts_numbers else _classes(contents)
    _check_classes(contents, codes, classes)
    blocks = _blocks(contents)
    splits = _splits(contents, codes, blocks, classes, split_seed)
    target = _put_numbers(contents, splits, numbers) if predicts_numbers else None
    imputed = _impute(contents, splits) if impute is not None else ()
    data = Dataset(
        name,
        () if predicts_numbers else classes,
        splits["train"],
        splits["validation"],
        splits["test"],
        input_names=contents.input_names,
        groups=contents.groups,
        word_columns=contents.word_columns,
        imputed=imputed,
        notes=tuple(contents.notes),
        target=target,
        blocks=torch.from_numpy(blocks) if "all" in codes else None,
    )
    return _standardised(data, standardise)


def _check_values(contents: Contents, impute: str | None) -> None:
    """Raise `InputError` for infinity anywhere, and for missing values unless they are to be imputed."""
    missing, first = dict(contents.missing), ""
    for which, part in contents.parts.items():
        if part.inputs.dtype.kind != "f":
            continue
        flat = part.inputs.reshape(len(part.inputs), math.prod(part.inputs.shape[1:]))
        for start in range(0, flat.shape[1], _COLUMNS):
            block = flat[:, start : start + _COLUMNS]
            if np.isinf(block).any():
                row, column = map(int, np.argwhere(np.isinf(block))[0])
                raise InputError(
                    f"{contents.row(which, row)}, {contents.column(start + column)} holds infinity or more than "
                    "float32 can hold: clean it first"
                )
            empty = np.isnan(block).sum(0)
            if impute is None and empty.any() and not first:
                first = f", first in {contents.row(which, int(np.isnan(block).any(1).argmax()))}"
            for column in np.flatnonzero(empty).tolist():
                called = contents.column(start + column)
                missing[called] = missing.get(called, 0) + int(empty[column])
    if missing and impute is None:
        said = [f"{called} ({n:,} row{'s' * (n != 1)})" for called, n in list(missing.items())[:5]]
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
        raise InputError(
            f"{contents.source} misses values in {', '.join(said)}{more}{first}: fill them in, leave these columns out "
            "(drop, --drop), or say impute='median' (--impute median)"
        )


def _numbers(contents: Contents) -> dict[str, np.ndarray]:
    """The number of the rows of each part."""
    joined, sizes, row = _labels(contents)
    numbers, starts = numbers_of(joined, contents.source, row), _starts(sizes)
    return {which: numbers[starts[which] : starts[which] + n] for which, n in sizes.items()}


def _alike(numbers: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """One class for all rows, so that they are drawn without regard to their numbers."""
    return {which: np.zeros(len(n), np.int64) for which, n in numbers.items()}, ("any number",)


def _put_numbers(contents: Contents, splits: dict[str, Split], numbers: dict[str, np.ndarray]) -> Target:
    """Have the splits hold numbers as their labels, standardised by those of the training rows."""
    source = "all" if "all" in numbers else "train"
    of_rows = {which: numbers.get(which, numbers[source])[split.indices.numpy()] for which, split in splits.items()}
    mean, scale = float(of_rows["train"].mean()), float(of_rows["train"].std())
    if scale == 0:
        raise InputError(f"{contents.source} has the number {mean:g} in every training row: there is nothing to learn")
    for which, split in splits.items():
        labels = torch.from_numpy(((of_rows[which] - mean) / scale).astype(np.float32))
        splits[which] = Split.checked(split.raw, labels, split.indices)
    contents.notes.append(f"numbers are predicted; over the training rows their mean is {mean:.6g}")
    return Target(contents.label or "number", mean, scale)


def _classes(contents: Contents) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The classes of the rows of each part, and their names."""
    joined, sizes, row = _labels(contents)
    codes, classes = classes_of(joined, contents.source, row, contents.classes)
    starts = _starts(sizes)
    return {which: codes[starts[which] : starts[which] + n] for which, n in sizes.items()}, classes


def _starts(sizes: dict[str, int]) -> dict[str, int]:
    return dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))


def _labels(contents: Contents) -> tuple[Any, dict[str, int], Callable[[int], str]]:
    """The labels of all parts one after the other, how many each part has, and where one of them is."""
    sizes = {which: len(part.labels) for which, part in contents.parts.items()}
    starts = _starts(sizes)
    for which, part in contents.parts.items():
        if len(part.inputs) != len(part.labels):
            raise InputError(
                f"{contents.source} has {len(part.inputs):,} rows of inputs and {len(part.labels):,} labels"
                + (f" in its {which} part" if which != "all" else "")
            )

    def row(position: int) -> str:
        which = next(w for w in reversed(starts) if starts[w] <= position)
        return contents.row(which, position - starts[which])

    every = [part.labels for part in contents.parts.values()]
    joined = every[0] if len(every) == 1 else np.concatenate([np.asarray(one) for one in every])
    return joined, sizes, row


def _check_classes(contents: Contents, codes: dict[str, np.ndarray], classes: tuple[str, ...]) -> None:
    source = contents.source
    if set(codes) == {"all"}:
        check_enough(codes["all"], classes, source, 3, "for a training, a validation and a test row")
        return
    if "train" not in codes:
        raise InputError(f"{source} has {listed(codes)} and no training part")
    lacking = 2 - (("validation" in codes) + ("test" in codes))
    check_enough(codes["train"], classes, f"the training part of {source}", 1 + lacking, "there")
    for which, found_codes in codes.items():
        if not len(found_codes):
            raise InputError(f"the {which} part of {source} holds no rows")


def _splits(
    contents: Contents, codes: dict[str, np.ndarray], blocks: np.ndarray, classes: tuple[str, ...], split_seed: int
) -> dict[str, Split]:
    """The three splits; those that the source lacks are drawn from its training rows, or from all of them.

    `blocks` has a number for each of these rows, the same for those of one group.
    """
    own = {which: codes[which] for which in ("validation", "test") if which in codes}
    source = "all" if "all" in codes else "train"
    part, labels = contents.parts[source], codes[source]
    _check_groups_apart(contents)
    drawn = [which for which in ("test", "validation") if which not in own]
    if drawn:
        places = draw_parts(contents.source, labels, blocks, classes, drawn, split_seed)
        contents.notes.append(note_of(places, split_seed, are_grouped(blocks), len(classes) > 1))
    else:
        places = {"train": np.arange(len(labels))}
    order = np.concatenate(list(places.values()))
    _reorder(part.inputs, order)
    inputs, splits, start = torch.from_numpy(part.inputs), {}, 0
    for which, positions in places.items():
        rows = inputs[start : start + len(positions)]
        splits[which] = Split.checked(rows, torch.from_numpy(labels[positions]), torch.from_numpy(positions))
        start += len(positions)
    for which, classes_of_rows in own.items():
        rows = torch.from_numpy(contents.parts[which].inputs)
        splits[which] = Split.checked(rows, torch.from_numpy(classes_of_rows), torch.arange(len(rows)))
    if own:
        contents.notes.append(f"the source's own parts were kept: training, {', '.join(own)}")
    return {which: splits[which] for which in ("train", "validation", "test")}


def _blocks(contents: Contents) -> np.ndarray:
    """The group that each row belongs to which is, or may be, split here, as a number; without groups, its own."""
    import pandas as pd

    which = "all" if "all" in contents.parts else "train"
    part = contents.parts[which]
    if part.belongs is None:
        return np.arange(len(part.labels))
    blocks, _ = pd.factorize(pd.Series(part.belongs).astype(object), use_na_sentinel=True)
    if (blocks < 0).any():
        raise InputError(f"{contents.row(which, int((blocks < 0).argmax()))} is in no group")
    return blocks.astype(np.int64)


def _check_groups_apart(contents: Contents) -> None:
    """Raise `InputError` for a group of rows that the source itself has in two parts."""
    owner: dict[object, str] = {}
    for which, part in contents.parts.items():
        for group in set() if part.belongs is None else set(part.belongs.tolist()):
            if owner.setdefault(group, which) != which:
                raise InputError(
                    f"{contents.source} has the group of rows {str(group)!r} in its {owner[group]} and its {which} "
                    "part: give all rows together, to be split here, or leave groups_column (--groups-column) out"
                )


def _reorder(inputs: np.ndarray, order: np.ndarray) -> None:
    """Put the rows of an array in order in its place."""
    flat = inputs.reshape(len(inputs), -1)
    assert np.shares_memory(flat, inputs) or not inputs.size, "a copy would be put in order"
    for start in range(0, flat.shape[1], _COLUMNS):
        flat[:, start : start + _COLUMNS] = flat[order, start : start + _COLUMNS]


def _impute(contents: Contents, splits: dict[str, Split]) -> tuple[tuple[int, float], ...]:
    """Put the median of its column over the training split in the place of each missing number."""
    train = splits["train"].raw
    if not train.is_floating_point():
        return ()
    arrays = {which: split.raw.numpy().reshape(len(split), -1) for which, split in splits.items()}
    imputed: list[tuple[int, float]] = []
    for column in range(arrays["train"].shape[1]):
        holes = {which: np.isnan(values[:, column]) for which, values in arrays.items()}
        if not any(hole.any() for hole in holes.values()):
            continue
        if holes["train"].all():
            raise InputError(
                f"{contents.source} has no value in {contents.column(column)} to impute from: leave it out"
            )
        median = float(np.median(arrays["train"][~holes["train"], column]))
        for which, hole in holes.items():
            arrays[which][hole, column] = median
        imputed.append((column, median))
    if imputed:
        contents.notes.append(
            f"missing values became the training median in {listed(contents.column(c) for c, _ in imputed)}".replace(
                '"', ""
            )
        )
    return tuple(imputed)


def _standardised(data: Dataset, how: str | None) -> Dataset:
    """The data set with its scaler, its splits scaled in place."""
    if how is None:
        how = _default_scale(data)
    if how == "no":
        return data
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    if data.train.is_bytes:
        return data.standardised(per_channel=how == "channels")
    scaler = Scaler.fit(data.train, per_channel=how == "channels")
    for split in splits.values():
        scaler.apply_in_place(split.raw)
    what = "input" if how == "inputs" else "channel"
    note = f"every {what} was standardised by its mean and standard deviation over the training rows"
    return replace(data, scaler=scaler, notes=(*data.notes, note))


def _default_scale(data: Dataset) -> str:
    """Tables by input, series by channel; pictures and floats in [0, 1] that look like pictures stay as they are."""
    if data.train.is_bytes:
        return "no"
    if len(data.shape) == 1:
        return "inputs"
    if len(data.shape) == 3 and all(
        float(p.raw.min()) >= 0 and float(p.raw.max()) <= 1 for p in (data.train, data.test)
    ):
        return "no"
    return "channels"
