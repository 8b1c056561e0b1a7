"""The number of images among the numbers that a network computes sizes from, so that it stays open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_any, tree_map


class BatchSize(int):
    """`factor` times the number of images of the batch that a network is read with: a size that goes with the batch."""

    factor: int

    def __new__(cls, value: int, factor: int) -> BatchSize:
        size = super().__new__(cls, value)
        size.factor = factor
        return size

    def __mul__(self, other: int) -> int:
        if isinstance(other, BatchSize) or not isinstance(other, int):
            return int.__mul__(self, other)
        return BatchSize(int(self) * other, self.factor * other)

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> int:
        if isinstance(other, BatchSize):
            exact = self.factor % other.factor == 0
            return self.factor // other.factor if exact else int(self) // int(other)
        exact = isinstance(other, int) and other != 0 and self.factor % other == 0
        return BatchSize(int(self) // other, self.factor // other) if exact else int(self) // other

    def __deepcopy__(self, memo: dict[int, Any]) -> BatchSize:
        return self


class Sizes(tuple[int, ...]):
    """A shape whose first size may be a `BatchSize`."""

    __slots__ = ()

    def numel(self) -> int:
        return torch.Size(map(int, self)).numel()


def sizes_of(value: Tensor, images: int) -> Sizes:
    """The shape of a value of a batch of so many images, which lie along its first axis if they can."""
    first, *rest = value.shape or (1,)
    if not value.ndim:
        return Sizes(())
    return Sizes((BatchSize(first, first // images) if first % images == 0 and first else first, *rest))


def has_batch_size(arguments: Any) -> bool:
    return bool(tree_any(lambda leaf: isinstance(leaf, BatchSize), arguments))


def resolved(arguments: Any, images: int) -> Any:
    """The arguments for a batch of so many images."""
    return tree_map(lambda leaf: leaf.factor * images if isinstance(leaf, BatchSize) else leaf, arguments)


def for_any_batch(
    function: Callable[..., Tensor], arguments: Any, options: Any, per_image: int
) -> Callable[[Tensor], Tensor]:
    """`function` of a value and the arguments, whose sizes follow the batch: a value has `per_image` rows an image."""
    if not has_batch_size((arguments, options)):
        return lambda a: function(a, *arguments, **options)

    def of_batch(a: Tensor) -> Tensor:
        given, named = resolved((arguments, options), len(a) // per_image)
        return function(a, *given, **named)

    return of_batch
