"""A data set in memory: three splits of inputs and labels, of any shape, bytes or numbers."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor

from ..errors import InputError
from ..extras import from_extra


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    `raw` [n, *shape] holds the inputs as they are kept: bytes, which stand for numbers in [0, 1] (pixels), or numbers,
    which stand for themselves. `labels` [n] are classes, counted from 0, and `indices` [n] the position of each row in
    the set that it came from (default: 0, 1, ...). Tensors and NumPy arrays of any number type are taken. Raises
    `InputError` for lengths that differ, labels that are no classes, or values that are not finite.
    """

    raw: Shaped[Tensor, "n *shape"]
    labels: Int64[Tensor, " n"]
    indices: Int64[Tensor, " n"] = None  # type: ignore[assignment]

    def __init__(self, raw: Any, labels: Any, indices: Any = None) -> None:
        raw = _tensor(raw)
        if raw.ndim < 2:
            raise InputError(f"inputs must have a row for each example, [n, ...], not shape {tuple(raw.shape)}")
        if raw.is_complex() or raw.dtype == torch.bool:
            raise InputError(f"inputs must be bytes or numbers, not {raw.dtype}")
        if raw.is_floating_point() and not bool(torch.isfinite(raw).all()):
            bad = (~torch.isfinite(raw)).flatten(1).any(1).nonzero().flatten()
            raise InputError(f"row {int(bad[0])} holds NaN or infinity ({len(bad)} such rows): clean the inputs first")
        classes = _classes(_tensor(labels), len(raw))
        places = torch.arange(len(raw)) if indices is None else _tensor(indices).to(torch.int64)
        if len(places) != len(raw):
            raise InputError(f"there are {len(raw)} rows of inputs but {len(places)} indices")
        for name, value in (("raw", raw), ("labels", classes), ("indices", places)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.raw.shape[1:])

    @property
    def is_bytes(self) -> bool:
        """Whether the inputs are kept as bytes."""
        return self.raw.dtype == torch.uint8

    @cached_property
    def inputs(self) -> Float[Tensor, "n *shape"]:
        """The inputs as the networks see them, float32: bytes / 255, numbers as they are."""
        with torch.inference_mode(False):  # they are kept, and gradients may be asked for later
            return to_inputs(self.raw)

    @property
    def pixels(self) -> Shaped[Tensor, "n *shape"]:
        """`raw`, as it is called where the inputs are images."""
        return self.raw

    @property
    def images(self) -> Float[Tensor, "n *shape"]:
        """`inputs`, as they are called where they are images."""
        return self.inputs

    def take(self, positions: Int64[Tensor, " m"]) -> Split:
        """The rows at `positions`, in that order."""
        return self._rows(self.raw[positions], self.labels[positions], self.indices[positions])

    def with_raw(self, raw: Shaped[Tensor, "n *other"]) -> Split:
        """The same rows with other inputs, which are not checked again."""
        return self._rows(raw, self.labels, self.indices)

    @staticmethod
    def _rows(raw: Tensor, labels: Tensor, indices: Tensor) -> Split:
        """A split of rows that were checked when they came in."""
        split = object.__new__(Split)
        for name, value in (("raw", raw), ("labels", labels), ("indices", indices)):
            object.__setattr__(split, name, value)
        return split

    def sample(self, n: int, *, seed: int = 0) -> Split:
        """`n` rows drawn without replacement, each class in its own proportion, in random order.

        Raises `InputError` unless 1 <= n <= len(self).
        """
        with from_extra():
            from sklearn.utils import resample

        if not 1 <= n <= len(self):
            raise InputError(f"cannot sample {n} images: choose between 1 and {len(self)}")
        labels = self.labels.numpy()
        positions = resample(np.arange(len(self)), replace=False, n_samples=n, stratify=labels, random_state=seed)
        return self.take(torch.from_numpy(positions))


def _tensor(values: Any) -> Tensor:
    """Values as a tensor on the CPU. Raises `InputError` for what is no array of numbers."""
    try:
        return torch.as_tensor(np.array(values) if isinstance(values, list | tuple) else values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"inputs and labels must be arrays of numbers: {str(error).splitlines()[0]}") from error


def _classes(labels: Tensor, n: int) -> Tensor:
    """Labels as int64 classes. Raises `InputError`."""
    if labels.ndim != 1 or len(labels) != n:
        raise InputError(f"there are {n} rows of inputs but labels of shape {tuple(labels.shape)}: give one for each")
    whole = labels.to(torch.int64)
    if labels.is_floating_point() and not bool((labels == whole).all()):
        bad = int((labels != whole).nonzero()[0])
        raise InputError(f"labels must be whole numbers, the classes from 0 on; row {bad} has {float(labels[bad]):g}")
    if len(whole) and int(whole.min()) < 0:
        raise InputError(f"labels must be classes counted from 0 on, not {int(whole.min())}")
    return whole


@dataclass(frozen=True)
class Scaler:
    """What was taken off each input, and what it was divided by; flat, one number for each input."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, split: Split) -> Scaler:
        """Mean and standard deviation of every input over a split; one that never varies is not scaled."""
        values = split.inputs.flatten(1).double()
        scale = values.std(0, correction=0)
        scale = scale.where(scale > 0, 1.0)
        return cls(tuple(values.mean(0).tolist()), tuple(scale.tolist()))

    def apply(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """(inputs - mean) / scale."""
        mean, scale = (torch.tensor(v, dtype=torch.float64).view(inputs.shape[1:]) for v in (self.mean, self.scale))
        return ((inputs.double() - mean) / scale).float()


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set: `shape` is that of one input, `classes` the name of each class.

    `input_names` are those of the inputs, flat, where they have some (the columns of a table). `scaler` says what the
    inputs were standardised by, so that an input removed, 0, is its mean. `is_named` says that `load_dataset` gave it.
    `digest` identifies the exact values and split, for cache keys. The test split is for final figures only. Raises
    `InputError` for splits of different shapes, a class without a name, or names that do not fit.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    input_names: tuple[str, ...] | None = None
    scaler: Scaler | None = None
    is_named: bool = False

    def __post_init__(self) -> None:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        for name, part in parts.items():
            if part.shape != self.shape:
                raise InputError(f"the {name} split has inputs of shape {part.shape}, the train split {self.shape}")
            if len(part) and int(part.labels.max()) >= len(self.classes):
                raise InputError(
                    f"the {name} split has class {int(part.labels.max())}, and there are {len(self.classes)} class "
                    "names: classes are counted from 0 on"
                )
        if self.input_names is not None and len(self.input_names) != self.n_inputs:
            raise InputError(f"there are {self.n_inputs} inputs but {len(self.input_names)} names for them")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.train.shape

    @property
    def n_inputs(self) -> int:
        """Number of inputs of a network on this data (784 for MNIST)."""
        return math.prod(self.shape)

    def standardised(self) -> Dataset:
        """The same data with every input of mean 0 and standard deviation 1 over the training split."""
        scaler = Scaler.fit(self.train)
        parts = {
            name: getattr(self, name).with_raw(scaler.apply(getattr(self, name).inputs))
            for name in ("train", "validation", "test")
        }
        return replace(self, **parts, scaler=scaler, is_named=False)

    @cached_property
    def digest(self) -> str:
        described: tuple[Any, ...] = (self.shape, self.classes)
        if not self.train.is_bytes or self.input_names is not None or self.scaler is not None:
            described += (str(self.train.raw.dtype), self.input_names, self.scaler)
        state = hashlib.blake2b(repr(described).encode(), digest_size=16)
        for split in (self.train, self.validation, self.test):
            for tensor in (split.raw, split.labels, split.indices):
                state.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        return state.hexdigest()


def to_inputs(raw: Shaped[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
    """What a split keeps to what every network is given, float32: bytes / 255, numbers as they are."""
    return to_images(raw) if raw.dtype == torch.uint8 else raw.float()


def to_images(pixels: UInt8[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
    """Bytes to float32 in [0, 1]."""
    return pixels.float().div_(255)
