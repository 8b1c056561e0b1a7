"""A ranking of all inputs, or groups of them, from which every mask follows."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..data import Grouping
from ..errors import InputError, StorageError, storage_errors
from ..pruning import PixelMask
from ..pruning.files import checksum
from ..shares import keep_for_share
from ..storage import write_atomic

_META = "lrp_core_ranking"
_TENSORS = {"scores": torch.float64, "standard_error": torch.float64, "order": torch.int64}
_GROUPS = "group_of"
"""The tensor that says which group each input is in, in the file of a ranking of groups."""

_MALFORMED = (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading values of the wrong kind out of somebody's JSON raises."""


_UNGROUPED = Grouping.single(1)
"""Stands for every input by itself, until the number of inputs is known."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Inputs, or groups of them, from the most to the least important: `order` [n_groups] is a permutation.

    `grouping` says which inputs are ranked as one; without groups, that is each by itself, and `order` holds positions
    of inputs. `scores` [n_groups] are what they were ordered by, `standard_error` their uncertainty (NaN where the
    criterion has none), `shape` that of one input. Masks are nested: a larger keep holds every smaller one. Raises
    `InputError` for groups of other inputs.
    """

    criterion: str
    scores: Float[Tensor, " groups"] = field(repr=False)
    standard_error: Float[Tensor, " groups"] = field(repr=False)
    order: Int64[Tensor, " groups"] = field(repr=False)
    shape: tuple[int, ...]
    grouping: Grouping = field(default=_UNGROUPED, repr=False)

    def __post_init__(self) -> None:
        if self.grouping is _UNGROUPED:
            object.__setattr__(self, "grouping", Grouping.single(math.prod(self.shape)))
        if self.grouping.n_inputs != self.n_inputs or len(self.grouping) != len(self.order):
            raise InputError(
                f"a ranking of {len(self.order)} groups of inputs of shape {self.shape} cannot have "
                f"{len(self.grouping)} groups of {self.grouping.n_inputs} inputs"
            )

    @classmethod
    def from_scores(
        cls,
        criterion: str,
        scores: Tensor,
        shape: tuple[int, ...],
        *,
        standard_error: Tensor | None = None,
        seed: int = 0,
        grouping: Grouping | None = None,
    ) -> Ranking:
        """Rank by decreasing score, of inputs or of the groups of a `grouping`.

        Equal scores are put in an order drawn with `seed`. Raises `InputError` if a score is not finite.
        """
        scores = scores.detach().flatten().to("cpu", torch.float64, copy=True)
        if not bool(torch.isfinite(scores).all()):
            raise InputError(f"criterion {criterion!r} gave scores that are not finite: the network may have diverged")
        shuffled = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
        order = shuffled[scores[shuffled].argsort(descending=True, stable=True)]
        if standard_error is None:
            standard_error = torch.full_like(scores, torch.nan)
        error = standard_error.flatten().double().cpu()
        return cls(criterion, scores, error, order, tuple(shape), grouping or _UNGROUPED)

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return math.prod(self.shape)

    @property
    def n_groups(self) -> int:
        """Number of inputs, or groups of them, that are ranked."""
        return len(self.order)

    @property
    def rank(self) -> Int64[Tensor, " groups"]:
        """Position of each group in the ranking: 0 for the most important one."""
        return self.order.argsort()

    def mask(self, keep: int | None = None, *, share: float | None = None) -> PixelMask:
        """The mask of the `keep` most important groups, or with the given `share` of all groups removed.

        Without groups, these are inputs. Raises `InputError` for a keep outside 1..n_groups, a share outside [0, 1), or
        both or neither given.
        """
        if (keep is None) == (share is None):
            raise InputError("give either keep (number of inputs) or share (of the inputs removed)")
        if share is not None:
            keep = keep_for_share(share, self.n_groups)
        kept = self.order[: check_keep(keep, self.n_groups)]
        return PixelMask(self.grouping.inputs_of(kept), self.shape)

    def save(self, path: Path) -> None:
        """Write the ranking to one safetensors file that describes itself, atomically. Raises `StorageError`."""
        tensors = {name: getattr(self, name).clone(memory_format=torch.contiguous_format) for name in _TENSORS}
        if not self.grouping.is_single:
            tensors[_GROUPS] = self.grouping.of.contiguous()
        description = json.dumps({"criterion": self.criterion, "shape": self.shape})
        write_atomic(path, save(tensors, metadata={_META: f"{checksum(description, tensors)} {description}"}))

    @classmethod
    def load(cls, path: Path) -> Ranking:
        """Read a ranking back. Nothing in the file is ever unpickled.

        Raises `StorageError` for a file that is missing, truncated, damaged, or holds no ranking.
        """
        with storage_errors("read", path):
            size = path.stat().st_size
        try:
            with safe_open(path, framework="pt") as file:
                stated, text = file.metadata()[_META].split(" ", 1)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if checksum(text, tensors) != stated:
                raise ValueError("checksum")
            description = json.loads(text)
            shape, of = _checked(description, tensors), tensors.pop(_GROUPS, None)
            grouping = Grouping.single(math.prod(shape)) if of is None else Grouping(of)
            return cls(description["criterion"], shape=shape, **tensors, grouping=grouping)
        except (SafetensorError, *_MALFORMED, InputError, OSError) as error:
            raise StorageError(
                f"{path} ({size:,} bytes) is truncated, damaged or no ranking of this project"
            ) from error


def _checked(description: dict[str, object], tensors: dict[str, Tensor]) -> tuple[int, ...]:
    """The shape of one input, if what a file holds is a ranking of such inputs; else `ValueError`."""
    shape = description["shape"]
    if not isinstance(description["criterion"], str) or not isinstance(shape, list):
        raise ValueError("description")
    if not all(type(side) is int and side > 0 for side in shape):
        raise ValueError("shape")
    of = tensors.get(_GROUPS)
    n = math.prod(shape) if of is None else len(tensors["order"])
    expected = {name: (dtype, (n,)) for name, dtype in _TENSORS.items()}
    if of is not None:
        expected[_GROUPS] = torch.int64, (math.prod(shape),)
    if {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()} != expected:
        raise ValueError("tensors")
    if not torch.equal(tensors["order"].sort().values, torch.arange(n)):
        raise ValueError("order")
    if not bool(torch.isfinite(tensors["scores"]).all()):
        raise ValueError("scores")
    return tuple(shape)


def check_keep(keep: int | None, n_groups: int) -> int:
    """`keep` if it is a number of inputs, or groups, that can be kept, else `InputError`."""
    if not isinstance(keep, int) or isinstance(keep, bool) or not 1 <= keep <= n_groups:
        raise InputError(f"keep must be a whole number between 1 and {n_groups}, not {keep}")
    return keep
