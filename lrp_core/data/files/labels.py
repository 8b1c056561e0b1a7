"""Labels as people have them, words or numbers of any kind, as classes counted from 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ...errors import InputError
from .contents import listed, shown

_MOST_NUMBERS = 1000
"""Different whole numbers that can be classes: more are an identifier or a quantity."""

_LONGEST = 200
"""Characters of the name of a class: more are a text."""

_EXACT = 2**53
"""Whole numbers up to here are told apart as float64; larger ones are words."""


def classes_of(
    labels: Any, source: str, row: Callable[[int], str], names: tuple[str, ...] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The class of each row, int64 from 0 on, and the name of each class.

    Whole numbers, also as words or floats, are classes in their order, words in that of the alphabet. `names` are those
    of the numbers 0, 1, ... Raises `InputError` for a label that is missing or no text, a single class, or quantities.
    """
    values = _plain(labels, source, row)
    missing = values.isna().to_numpy()
    if missing.any():
        first = int(missing.argmax())
        raise InputError(
            f"{row(first)} has no label ({int(missing.sum()):,} such rows): label these rows or leave them out"
        )
    numbers = _numbers(values)
    if numbers is None:
        codes, distinct = pd.factorize(values.astype(str), sort=True)
        classes = tuple(map(str, distinct))
    else:
        if not (numbers == np.round(numbers)).all():
            odd = float(numbers[numbers != np.round(numbers)][0])
            raise InputError(_quantity(source, f"{len(np.unique(numbers)):,} numbers such as {odd:g}"))
        whole, codes = np.unique(numbers.astype(np.int64), return_inverse=True)
        classes = tuple(map(str, whole.tolist()))
        if len(classes) > min(_MOST_NUMBERS, max(2, len(values) // 2)):
            raise InputError(_quantity(source, f"{len(classes):,} different numbers in {len(values):,} rows"))
        if names is not None:
            if whole.min() < 0 or whole.max() >= len(names):
                odd = int(whole.min() if whole.min() < 0 else whole.max())
                raise InputError(f"{source} names {len(names)} classes, counted from 0 on, and has the label {odd}")
            classes = tuple(names[i] for i in whole.tolist())  # a class without a row is none of these data
    if len(longest := max(classes, key=len)) > _LONGEST:
        raise InputError(
            f"{source} has a label of {len(longest):,} characters, {shown(longest)}: name another label column"
        )
    if len(classes) < 2:
        raise InputError(f"{source} has the label {classes[0]!r} in every row: at least two classes are needed")
    if len(classes) > max(2, len(values) // 2):
        raise InputError(
            f"{source} has {len(classes):,} different labels in {len(values):,} rows: name another label column"
        )
    return codes.astype(np.int64), classes


def _plain(labels: Any, source: str, row: Callable[[int], str]) -> pd.Series:
    """One number or text for each row, None for a label that is missing. Raises `InputError` for what is neither."""
    values = pd.Series(one_each(labels, source))
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "buif":
        infinite = np.isinf(values.to_numpy())
        if infinite.any():
            raise InputError(f"{row(int(infinite.argmax()))} has infinity as its label: correct it")
        return values
    values = values.astype(object).where(values.notna(), None)
    try:
        return values.map(lambda value: _word(value) or None, na_action="ignore")
    except UnicodeDecodeError as error:
        odd = next(i for i, value in enumerate(values) if value == error.object)
        raise InputError(f"{row(odd)} has a label that is not UTF-8: save the labels as UTF-8") from error


def numbers_of(labels: Any, source: str, row: Callable[[int], str]) -> np.ndarray:
    """The number of each row, float64. Raises `InputError` for a row without one, or one number alone."""
    values = pd.Series(one_each(labels, source))
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "b":
        values = values.astype(np.float64)
    texts = (
        values
        if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iuf"
        else values.map(lambda value: _word(value, "replace"))
    )
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    odd = ~np.isfinite(numbers)
    if odd.any():
        first = int(odd.argmax())
        raise InputError(
            f"{row(first)} has the label {str(values.iloc[first])[:40]!r}, where a number is to be predicted"
        )
    if np.abs(numbers).max() > np.finfo(np.float32).max:
        raise InputError(f"{source} has a label of {np.abs(numbers).max():g}, more than float32 can hold: scale it")
    if numbers.min() == numbers.max():
        raise InputError(f"{source} has the number {numbers[0]:g} in every row: there is nothing to predict")
    return numbers


def look_like_classes(values: pd.Series) -> bool:
    """Whether the values of a column may be labels: words or whole numbers, each in several rows."""
    present = values.dropna()
    few = 2 <= present.nunique() <= max(2, min(100, len(present) // 3))
    numbers = _numbers(present)
    return few and (numbers is None or bool((numbers == np.round(numbers)).all()))


def _word(value: Any, errors: str = "strict") -> str:
    return value.decode("utf-8", errors).strip() if isinstance(value, bytes) else str(value).strip()


def _numbers(values: pd.Series) -> np.ndarray | None:
    """The values as numbers if all of them are, else None; true and false are words."""
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "b":
        return None
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers if (np.abs(numbers) <= _EXACT).all() else None


def one_each(labels: Any, source: str) -> Any:
    """One label a row, of a column, a row, or indicators [n, classes]. Raises `InputError`."""
    if isinstance(labels, pd.Series):
        return labels.reset_index(drop=True)
    values = np.asarray(labels)
    if values.ndim == 2 and 1 in values.shape:
        return values.ravel()
    one_hot = values.ndim == 2 and values.dtype.kind in "buif" and bool(((values == 0) | (values == 1)).all())
    if one_hot and (values.sum(1) == 1).all():
        return values.argmax(1)
    if values.ndim != 1:
        raise InputError(f"{source} has labels of shape {values.shape}: give one for each row")
    return values


def _quantity(source: str, what: str) -> str:
    return (
        f"{source} has {what} as labels, which look like quantities: say task='regression' (--task regression) to "
        "predict numbers, or name another label column"
    )


def counts(codes: np.ndarray, classes: tuple[str, ...]) -> dict[str, int]:
    """Rows of each class."""
    return dict(zip(classes, np.bincount(codes, minlength=len(classes)).tolist(), strict=True))


def check_enough(codes: np.ndarray, classes: tuple[str, ...], source: str, least: int, why: str) -> None:
    """Raise `InputError` that names the classes with fewer than `least` rows."""
    if short := {name: n for name, n in counts(codes, classes).items() if n < least}:
        name, n = next(iter(short.items()))
        more = f" (also {listed(list(short)[1:])})" if len(short) > 1 else ""
        raise InputError(
            f"{source} has {n} row{'s' * (n != 1)} of class {name!r}{more}, and {least} are needed {why}: add rows, or "
            "leave the class out"
        )
