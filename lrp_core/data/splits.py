"""A data set in memory: three splits of images and labels."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ..errors import InputError
from ..extras import from_extra


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    `pixels` are the raw bytes, `labels` the class of each image, `indices` the position of each image in the
    official training or test set that it came from.
    """

    pixels: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    indices: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def images(self) -> Float[Tensor, "n c h w"]:
        """The images as the networks see them: float32 in [0, 1] (bytes / 255)."""
        with torch.inference_mode(False):  # they are kept, and gradients may be asked for later
            return to_images(self.pixels)

    def take(self, positions: Int64[Tensor, " m"]) -> Split:
        """The images at `positions`, in that order."""
        return Split(self.pixels[positions], self.labels[positions], self.indices[positions])

    def sample(self, n: int, *, seed: int = 0) -> Split:
        """`n` images drawn without replacement, each class in its own proportion, in random order.

        Raises `InputError` unless 1 <= n <= len(self).
        """
        with from_extra():
            from sklearn.utils import resample

        if not 1 <= n <= len(self):
            raise InputError(f"cannot sample {n} images: choose between 1 and {len(self)}")
        labels = self.labels.numpy()
        positions = resample(np.arange(len(self)), replace=False, n_samples=n, stratify=labels, random_state=seed)
        return self.take(torch.from_numpy(positions))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set: `shape` is (channels, height, width), `classes` the name of each class.

    `digest` identifies the exact bytes and split, for cache keys. The test split is for final figures only.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    is_named: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.train.pixels.shape
        return channels, height, width

    @property
    def n_inputs(self) -> int:
        """Number of inputs of a network on this data (784 for MNIST)."""
        return math.prod(self.shape)

    @cached_property
    def digest(self) -> str:
        state = hashlib.blake2b(repr((self.shape, self.classes)).encode(), digest_size=16)
        for split in (self.train, self.validation, self.test):
            for tensor in (split.pixels, split.labels, split.indices):
                state.update(tensor.numpy().tobytes())
        return state.hexdigest()


def to_images(pixels: UInt8[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
    """Raw bytes to what every network of this project is given: float32 in [0, 1]."""
    return pixels.float().div_(255)
