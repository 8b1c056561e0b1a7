"""What inputs were standardised by, so that an input that is removed is at its mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError

if TYPE_CHECKING:
    from .splits import Split


@dataclass(frozen=True)
class Scaler:
    """What was taken off the inputs, and what they were divided by: one number for each input, or for each channel.

    Raises `InputError` for lengths that differ, or a scale that nothing can be divided by.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.scale):
            raise InputError(f"a scaler needs a scale for each mean, not {len(self.scale)} for {len(self.mean)}")
        if not all(map(math.isfinite, (*self.mean, *self.scale))) or not all(s > 0 for s in self.scale):
            raise InputError("a scaler needs finite means and scales above 0")

    @classmethod
    def fit(cls, split: Split, *, per_channel: bool = False) -> Scaler:
        """Mean and standard deviation of every input over a split, or of every channel (the first axis of an input).

        One that never varies is not scaled. Raises `InputError` for an empty split.
        """
        if len(split) == 0:
            raise InputError("there is nothing to fit a scaler to: the split is empty")
        values = split.inputs.transpose(0, 1).flatten(1) if per_channel else split.inputs.flatten(1).T
        means, scales = [], []
        for part in torch.split(values, 100):  # some inputs at a time, since twice the precision takes twice the memory
            numbers = part.double()
            means.append(numbers.mean(1))
            scales.append(numbers.std(1, correction=0).masked_fill((part == part[:, :1]).all(1), 1.0))
        return cls(tuple(torch.cat(means).tolist()), tuple(torch.cat(scales).tolist()))

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether this is a scaler for inputs of a shape."""
        return len(self.mean) in (math.prod(shape), shape[0])

    def apply(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """(inputs - mean) / scale. Raises `InputError` for inputs of another shape."""
        mean, scale = self._for(tuple(inputs.shape[1:]))
        return torch.cat([((part.double() - mean) / scale).float() for part in torch.split(inputs, 1000)])

    def restore(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """What `apply` was given: inputs * scale + mean. Raises `InputError` for inputs of another shape."""
        mean, scale = self._for(tuple(inputs.shape[1:]))
        return torch.cat([(part.double() * scale + mean).float() for part in torch.split(inputs, 1000)])

    def _for(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Mean and scale, to go with inputs of a shape."""
        if not self.fits(shape):
            raise InputError(f"the scaler is for {len(self.mean)} inputs or channels, not for inputs of shape {shape}")
        own = shape if len(self.mean) == math.prod(shape) else (shape[0], *[1] * (len(shape) - 1))
        mean, scale = (torch.tensor(v, dtype=torch.float64).view(own) for v in (self.mean, self.scale))
        return mean, scale

    def then(self, other: Scaler) -> Scaler:
        """The scaler that does at once what this one and then `other` do, for inputs or for channels alike."""
        pairs = list(zip(self.mean, self.scale, other.mean, other.scale, strict=True))
        return Scaler(tuple(m + s * o for m, s, o, _ in pairs), tuple(s * t for _, s, _, t in pairs))

    def apply_in_place(self, inputs: Float[Tensor, "n *shape"]) -> None:
        """The same, in the place of the inputs."""
        for part in torch.split(inputs, 1000):
            part.copy_(self.apply(part))
