"""A data set in memory: three splits of inputs and labels, of any shape, bytes or numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64, Shaped, UInt8
from torch import Tensor

from ..errors import InputError
from ..extras import from_extra
from ..words import Words
from .groups import Grouping, InputGroup, check_groups
from .scaler import Scaler
from .target import Target


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    `raw` [n, *shape] holds the inputs as they are kept: bytes, which stand for numbers in [0, 1] (pixels), or floats,
    which stand for themselves. `labels` [n] are classes, counted from 0, or with `numbers` what is to be predicted, as
    float32; `indices` [n] are the position of each row in the set that it came from (default: 0, 1, ...). Tensors,
    arrays and tables of any number type are taken; whole numbers other than bytes become floats. Raises `InputError`
    for lengths that differ, labels that are no classes, or values that are not finite.
    """

    raw: Shaped[Tensor, "n *shape"]
    labels: Int64[Tensor, " n"] | Float32[Tensor, " n"]
    indices: Int64[Tensor, " n"] = None  # type: ignore[assignment]

    def __init__(self, raw: Any, labels: Any, indices: Any = None, *, numbers: bool = False) -> None:
        raw = _inputs(_tensor(raw, "inputs"))
        classes = (_numbers if numbers else _classes)(_tensor(labels, "labels"), len(raw))
        places = torch.arange(len(raw)) if indices is None else _places(_tensor(indices, "indices"), len(raw))
        for name, value in (("raw", raw), ("labels", classes), ("indices", places)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.raw.shape[1:])

    @property
    def has_numbers(self) -> bool:
        """Whether the labels are numbers to be predicted, and no classes."""
        return self.labels.is_floating_point()

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
        return self.checked(self.raw[positions], self.labels[positions], self.indices[positions])

    def with_raw(self, raw: Shaped[Tensor, "n *other"]) -> Split:
        """The same rows with other inputs, which are not checked again."""
        return self.checked(raw, self.labels, self.indices)

    @staticmethod
    def checked(raw: Tensor, labels: Tensor, indices: Tensor) -> Split:
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
        labels = None if self.has_numbers else self.labels.numpy()
        positions = resample(np.arange(len(self)), replace=False, n_samples=n, stratify=labels, random_state=seed)
        return self.take(torch.from_numpy(positions))


def _tensor(values: Any, kind: str) -> Tensor:
    """Values as a tensor on the CPU; only what torch cannot share is copied. Raises `InputError` for no numbers."""
    if not isinstance(values, Tensor):
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise InputError(f"{kind} must be one array of numbers, with rows of one length: {error}") from error
        if array.dtype.kind not in "buif":
            raise InputError(f"{kind} must be numbers, not {array.dtype}")
        wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
        # An axis of length 1 may have a negative stride in an array that calls itself contiguous.
        shares = array.flags.writeable and array.flags.c_contiguous and min(array.strides, default=0) >= 0
        if wide or not shares or not array.dtype.isnative:
            array = np.array(array, dtype=np.float64 if wide else array.dtype.newbyteorder("="), order="C")
        return torch.from_numpy(array)
    if values.layout != torch.strided or values.is_meta or values.is_complex() or values.is_quantized:
        raise InputError(
            f"{kind} must be a plain tensor of numbers, not {values.layout} {values.dtype} {values.device}"
        )
    return values.detach().cpu()


def _inputs(raw: Tensor) -> Tensor:
    """Bytes or finite floats. Raises `InputError`."""
    if raw.ndim < 2:
        raise InputError(f"inputs must have a row for each example, [n, ...], not shape {tuple(raw.shape)}")
    if 0 in raw.shape[1:]:
        raise InputError(f"each row must hold at least one input, not shape {tuple(raw.shape[1:])}")
    if raw.dtype == torch.uint8:
        return raw
    if not raw.is_floating_point():
        raw = raw.to(torch.float32 if raw.dtype.itemsize < 4 else torch.float64)
    finite = torch.isfinite(raw.float())
    if not bool(finite.all()):
        bad = (~finite).flatten(1).any(1).nonzero().flatten()
        raise InputError(
            f"row {int(bad[0])} holds NaN, infinity or more than float32 can hold ({len(bad)} such rows): "
            "clean the inputs first"
        )
    return raw


def _places(indices: Tensor, n: int) -> Tensor:
    """Indices as int64. Raises `InputError`."""
    if indices.shape != (n,):
        raise InputError(f"there are {n} rows of inputs but indices of shape {tuple(indices.shape)}")
    whole = indices.to(torch.int64)
    if indices.is_floating_point() and not bool((indices == whole).all()):
        raise InputError("indices must be whole numbers, the position of each row in the set that it came from")
    return whole


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


def _numbers(labels: Tensor, n: int) -> Tensor:
    """Labels as float32 numbers. Raises `InputError`."""
    if labels.ndim != 1 or len(labels) != n:
        raise InputError(f"there are {n} rows of inputs but labels of shape {tuple(labels.shape)}: give one for each")
    numbers = labels.float()
    if not bool(torch.isfinite(numbers).all()):
        raise InputError(f"row {int((~torch.isfinite(numbers)).nonzero()[0])} has no finite number as its label")
    return numbers


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set: `shape` is that of one input, `classes` the name of each class.

    Where numbers are to be predicted, `target` says which, and `classes` is empty.

    `input_names` are those of the inputs, flat, where they have some (the columns of a table). `scaler` says what the
    inputs were standardised by, so that an input removed, 0, is its mean. `groups` are inputs that are
    kept or dropped together; an input is in one of them at most, and by itself if in none. `word_columns` are the
    indicators of each column of words. `imputed` are the inputs of which values were missing, by position, and what
    took their place. `notes` are sentences on how the data were read. `blocks` [rows of all parts] is there where
    `read_data` has split the rows itself, and says which of them belong together: it has a number for each row, at its
    position `Split.indices`, and rows with the same number stay in one part. `is_named` says that this very object came
    from the project's own files by `load_dataset`: what `replace` makes of it is data of your own.
    `digest` identifies the exact values and split, for cache keys. The test split is for final figures only. Raises
    `InputError` for splits of different shapes, a class without a name, or names or groups that do not fit.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    input_names: tuple[str, ...] | None = None
    scaler: Scaler | None = None
    groups: tuple[InputGroup, ...] = ()
    word_columns: tuple[InputGroup, ...] = ()
    imputed: tuple[tuple[int, float], ...] = ()
    notes: tuple[str, ...] = ()
    target: Target | None = None
    blocks: Int64[Tensor, " rows"] | None = None
    is_named: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        for name, part in parts.items():
            if part.shape != self.shape:
                raise InputError(f"the {name} split has inputs of shape {part.shape}, the train split {self.shape}")
            if part.is_bytes != self.train.is_bytes:
                kinds = ["bytes" if p.is_bytes else "floats" for p in (part, self.train)]
                raise InputError(f"the {name} split holds {kinds[0]} and the train split {kinds[1]}: give all alike")
            if part.has_numbers != (self.target is not None):
                raise InputError(
                    f"the {name} split has numbers as labels: say which with target=Target(...)"
                    if part.has_numbers
                    else f"the {name} split has classes as labels, and there is a target: give Split(..., numbers=True)"
                )
            if self.target is None and len(part) and int(part.labels.max()) >= len(self.classes):
                raise InputError(
                    f"the {name} split has class {int(part.labels.max())}, and there are {len(self.classes)} class "
                    "names: classes are counted from 0 on"
                )
        if self.target is not None and self.classes:
            raise InputError("data have classes or a target, a number that is predicted: leave one of them out")
        if self.input_names is not None and len(self.input_names) != self.n_inputs:
            raise InputError(f"there are {self.n_inputs} inputs but {len(self.input_names)} names for them")
        if self.scaler is not None and not self.scaler.fits(self.shape):
            raise InputError(
                f"the scaler is for {len(self.scaler.mean)} inputs or channels, not for shape {self.shape}"
            )
        if self.blocks is not None and (self.blocks.ndim != 1 or self.blocks.dtype != torch.int64):
            raise InputError(
                f"blocks must be an int64 for each row, not {self.blocks.dtype} of shape {tuple(self.blocks.shape)}"
            )
        check_groups(self.groups, self.n_inputs)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.train.shape

    @property
    def n_inputs(self) -> int:
        """Number of inputs of a network on this data (784 for MNIST)."""
        return math.prod(self.shape)

    @cached_property
    def grouping(self) -> Grouping:
        """Which inputs are kept or dropped together; an input that is in none of `groups` is one by itself."""
        return Grouping.from_groups(self.groups, self.n_inputs)

    @property
    def n_groups(self) -> int:
        """How many things can be kept or dropped: inputs, or groups of them."""
        return len(self.grouping)

    @property
    def words(self) -> Words:
        """What is kept or removed of these data, inputs or groups of them, and what networks are judged by."""
        return Words("groups" if self.groups else "inputs", "accuracy" if self.target is None else "R²")

    @property
    def n_outputs(self) -> int:
        """How many outputs networks have: one for each class, or one for a number."""
        return 1 if self.target is not None else len(self.classes)

    def cost_of(self, positions: Sequence[int] | Int64[Tensor, " k"]) -> float | None:
        """What the groups cost that have an input at one of these positions; None where no group has a cost."""
        if self.costs is None:
            return None
        return float(self.costs[self.grouping.groups_of(positions)].sum())

    def name_of_input(self, position: int) -> str:
        """What an input is called, by its position in the flattened shape: its name, or its place counted from 0."""
        if self.input_names is not None:
            return self.input_names[position]
        *channel, place = (int(i) for i in np.unravel_index(position, self.shape))
        if not channel:
            return f"input {place}"
        many = f"channel {channel[0]}, " if self.shape[0] > 1 else ""
        return many + (f"value {place}" if len(channel) == 1 else f"row {channel[-1]}, column {place}")

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """The name of each group, in the order of `grouping`; an input by itself has its own."""
        first = {min(group.indices): group.name for group in self.groups}
        return tuple(first.get(i) or self.name_of_input(i) for i in self._first_inputs)

    @cached_property
    def costs(self) -> Float64[Tensor, " groups"] | None:
        """The cost of each group, in the order of `grouping`; None if none has one, 0 for those that have none."""
        known = {min(group.indices): group.cost for group in self.groups if group.cost is not None}
        if not known:
            return None
        return torch.tensor([known.get(i, 0.0) for i in self._first_inputs], dtype=torch.float64)

    @property
    def _first_inputs(self) -> list[int]:
        return [int(i) for i in np.unique(self.grouping.of.numpy(), return_index=True)[1]]

    def standardised(self, *, per_channel: bool = False) -> Dataset:
        """The same data with every input, or channel, of mean 0 and standard deviation 1 over the training split.

        Raises `InputError` for data that were standardised before.
        """
        if self.scaler is not None:
            raise InputError("these data are standardised already")
        scaler = Scaler.fit(self.train, per_channel=per_channel)
        parts = {
            name: getattr(self, name).with_raw(scaler.apply(getattr(self, name).inputs))
            for name in ("train", "validation", "test")
        }
        return replace(self, **parts, scaler=scaler)

    @cached_property
    def can_resplit(self) -> bool:
        """Whether `resplit` can draw the rows again: `read_data` has split them, and all of them are still there."""
        if self.blocks is None:
            return False
        rows = torch.cat([part.indices for part in (self.train, self.validation, self.test)])
        return torch.equal(rows.sort().values, torch.arange(len(self.blocks)))

    def resplit(self, seed: int) -> Dataset:
        """All rows of the three parts drawn again: 70 % training, 15 % validation and 15 % test rows, stratified.

        Rows of one group stay in one part. Inputs that were standardised are so by the new training rows, and `scaler`
        says what happened to the raw numbers altogether. What missing values became stays, and `notes` say so. With the
        seed that the data were read with, they come out as they are. Raises `InputError` for data whose parts were
        given (`can_resplit`), and for a seed that leaves a class without training rows.

        >>> import lrp_core as lc
        >>> data = lc.read_data(([[1.0, 5.0], [2.0, 4.0]] * 10, ["low", "high"] * 10))
        >>> again = data.resplit(1)
        >>> len(again.train), sorted(again.test.indices.tolist()) == sorted(data.test.indices.tolist())
        (14, False)
        """
        from .drawing import resplit  # which makes data sets itself

        return resplit(self, seed)

    def named(self) -> Dataset:
        """The same data, marked as those that `load_dataset` gives by their name."""
        data = replace(self)
        object.__setattr__(data, "is_named", True)
        return data

    @cached_property
    def digest(self) -> str:
        described: tuple[Any, ...] = (self.shape, self.classes)
        if not self.train.is_bytes or self.input_names is not None or self.scaler is not None:
            types = tuple(str(part.raw.dtype) for part in (self.train, self.validation, self.test))
            described += (types, self.input_names, self.scaler)
        if self.groups or self.imputed:
            described += (self.groups, self.imputed)
        if self.word_columns and self.word_columns != self.groups:
            described += (self.word_columns,)
        if self.target is not None:
            described += (self.target,)
        state = hashlib.blake2b(repr(described).encode(), digest_size=16)
        parts = (self.train, self.validation, self.test)
        tensors = [tensor for part in parts for tensor in (part.raw, part.labels, part.indices)]
        for tensor in tensors if self.blocks is None else [*tensors, self.blocks]:
            state.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        return state.hexdigest()


def to_inputs(raw: Shaped[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
    """What a split keeps to what every network is given, float32: bytes / 255, numbers as they are."""
    return to_images(raw) if raw.dtype == torch.uint8 else raw.float()


def to_images(pixels: UInt8[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
    """Bytes to float32 in [0, 1]."""
    return pixels.float().div_(255)
