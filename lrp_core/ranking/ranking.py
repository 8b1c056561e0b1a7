"""A ranking of all inputs, from which every mask follows."""

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

from ..errors import InputError, StorageError, storage_errors
from ..pruning import PixelMask
from ..pruning.files import checksum
from ..storage import write_atomic

_META = "lrp_core_ranking"
_TENSORS = {"scores": torch.float64, "standard_error": torch.float64, "order": torch.int64}
_MALFORMED = (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading values of the wrong kind out of somebody's JSON raises."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Inputs from the most to the least important: `order` [n_inputs] is a permutation of their positions.

    `scores` [n_inputs] are what they were ordered by, `standard_error` their uncertainty (NaN where the
    criterion has none), `shape` that of one input. Masks are nested: a larger keep holds every smaller one.
    """

    criterion: str
    scores: Float[Tensor, " inputs"] = field(repr=False)
    standard_error: Float[Tensor, " inputs"] = field(repr=False)
    order: Int64[Tensor, " inputs"] = field(repr=False)
    shape: tuple[int, ...]

    @classmethod
    def from_scores(
        cls,
        criterion: str,
        scores: Tensor,
        shape: tuple[int, ...],
        *,
        standard_error: Tensor | None = None,
        seed: int = 0,
    ) -> Ranking:
        """Rank by decreasing score. Equal scores are put in an order drawn with `seed`.

        Raises `InputError` if a score is not finite.
        """
        scores = scores.detach().flatten().to("cpu", torch.float64, copy=True)
        if not bool(torch.isfinite(scores).all()):
            raise InputError(f"criterion {criterion!r} gave scores that are not finite: the network may have diverged")
        shuffled = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
        order = shuffled[scores[shuffled].argsort(descending=True, stable=True)]
        if standard_error is None:
            standard_error = torch.full_like(scores, torch.nan)
        return cls(criterion, scores, standard_error.flatten().double().cpu(), order, tuple(shape))

    @property
    def n_inputs(self) -> int:
        return len(self.order)

    @property
    def rank(self) -> Int64[Tensor, " inputs"]:
        """Position of each input in the ranking: 0 for the most important one."""
        return self.order.argsort()

    def mask(self, keep: int | None = None, *, share: float | None = None) -> PixelMask:
        """The mask of the `keep` most important inputs, or with the given `share` of all inputs removed.

        Raises `InputError` for a keep outside 1..n_inputs, a share outside [0, 1), or both or neither given.
        """
        if (keep is None) == (share is None):
            raise InputError("give either keep (number of inputs) or share (of the inputs removed)")
        if share is not None:
            keep = keep_for_share(share, self.n_inputs)
        return PixelMask.from_indices(self.order[: check_keep(keep, self.n_inputs)], self.shape)

    def save(self, path: Path) -> None:
        """Write the ranking to one safetensors file that describes itself, atomically. Raises `StorageError`."""
        tensors = {name: getattr(self, name).clone(memory_format=torch.contiguous_format) for name in _TENSORS}
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
            return cls(description["criterion"], shape=_checked(description, tensors), **tensors)
        except (SafetensorError, *_MALFORMED, OSError) as error:
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
    n = math.prod(shape)
    if {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()} != {
        name: (dtype, (n,)) for name, dtype in _TENSORS.items()
    }:
        raise ValueError("tensors")
    if not torch.equal(tensors["order"].sort().values, torch.arange(n)):
        raise ValueError("order")
    if not bool(torch.isfinite(tensors["scores"]).all()):
        raise ValueError("scores")
    return tuple(shape)


def check_keep(keep: int | None, n_inputs: int) -> int:
    """`keep` if it is a number of inputs that can be kept, else `InputError`."""
    if not isinstance(keep, int) or isinstance(keep, bool) or not 1 <= keep <= n_inputs:
        raise InputError(f"keep must be a whole number between 1 and {n_inputs}, not {keep}")
    return keep


def keep_for_share(share: float, n_inputs: int) -> int:
    """How many of `n_inputs` stay when `share` of them is removed: 15 % of 784 removes 118."""
    if not 0 <= share < 1:
        raise InputError(f"the share removed must be at least 0 and below 1, not {share}")
    return max(1, n_inputs - round(share * n_inputs))
