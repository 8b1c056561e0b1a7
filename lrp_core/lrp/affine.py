"""The operations that relevance rules are about: z = W a + b, dense, as a convolution, or channel by channel."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError

Kind = Literal["dense", "convolution", "scale"]


@dataclass(frozen=True, eq=False)
class Affine(ABC):
    """z = W a + b. Immutable: what changes weights gives another layer."""

    weight: Tensor
    bias: Tensor | None

    @property
    @abstractmethod
    def kind(self) -> Kind: ...

    @property
    def outputs(self) -> int:
        """How many output channels (or units) there are."""
        return len(self.weight)

    @abstractmethod
    def __call__(self, a: Tensor) -> Tensor:
        """W a + b."""

    @abstractmethod
    def pullback(self, s: Tensor, a: Tensor) -> Tensor:
        """W^T s, in the shape of the inputs `a`: sum_k w_jk s_k."""

    @abstractmethod
    def onto_weights(self, s: Tensor, a: Tensor) -> Tensor:
        """a_j s_k at every weight w_jk, in the shape of the weights: summed over images, and over the places that
        share the weight.
        """

    @abstractmethod
    def along_outputs(self, values: Tensor, z: Tensor) -> Tensor:
        """One value for each output channel [channels], in a shape that broadcasts against the outputs `z`."""

    @abstractmethod
    def scaled(self, factor: Tensor, shift: Tensor) -> Affine:
        """This layer followed by `z -> factor z + shift`, one factor and shift for each output channel."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Affine:
        """The same layer with `change` applied to its weights and its bias."""
        return replace(self, weight=change(self.weight), bias=None if self.bias is None else change(self.bias))

    def beside(self, other: Affine) -> Affine | None:
        """One layer that takes the inputs of both side by side and gives the sum of both, with this one's bias.

        None where that cannot be said in one layer. Inputs are put together along `input_axis`.
        """
        return None

    @property
    def input_axis(self) -> int:
        """The axis along which input channels (or units) lie."""
        return 1

    def channels_last(self) -> Affine:
        """The same layer with its weights laid out as the kernels of convolutions like them best."""
        return self

    def without_bias(self) -> Affine:
        return replace(self, bias=None)

    def _shifted(self, factor: Tensor, shift: Tensor) -> Tensor:
        return shift if self.bias is None else self.bias * factor + shift


@dataclass(frozen=True, eq=False)
class Dense(Affine):
    """A fully connected layer over the last axis; weight [outputs, inputs].

    One with a batch-norm folded in takes vectors only: over more axes, the two would not run along the same one.
    """

    only_vectors: bool = False

    @property
    def kind(self) -> Kind:
        return "dense"

    def __call__(self, a: Tensor) -> Tensor:
        if self.only_vectors and a.ndim != 2:
            raise InputError(f"a dense layer with a batch-norm takes vectors [n, inputs], not shape {tuple(a.shape)}")
        return F.linear(a, self.weight, self.bias)

    def pullback(self, s: Tensor, a: Tensor) -> Tensor:
        return s @ self.weight

    def onto_weights(self, s: Tensor, a: Tensor) -> Tensor:
        return s.flatten(0, -2).mT @ a.flatten(0, -2)

    def along_outputs(self, values: Tensor, z: Tensor) -> Tensor:
        return values

    def beside(self, other: Affine) -> Affine | None:
        return replace(self, weight=torch.cat([self.weight, other.weight], 1))

    @property
    def input_axis(self) -> int:
        return -1

    def scaled(self, factor: Tensor, shift: Tensor) -> Affine:
        weight = self.weight * factor[:, None]
        return replace(self, weight=weight, bias=self._shifted(factor, shift), only_vectors=True)


@dataclass(frozen=True, eq=False)
class Convolution(Affine):
    """A convolution in one, two or three dimensions; weight [outputs, inputs / groups, *kernel].

    With `transposed` the weight is [inputs, outputs / groups, *kernel], as in torch.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    @property
    def kind(self) -> Kind:
        return "convolution"

    @property
    def outputs(self) -> int:
        return self.weight.shape[1] * self.groups if self.transposed else len(self.weight)

    def __call__(self, a: Tensor) -> Tensor:
        return torch.convolution(a, self.weight, self.bias, *self._geometry())

    def pullback(self, s: Tensor, a: Tensor) -> Tensor:
        if self._block and not (a.shape[-1] % self._block or a.shape[-2] % self._block):
            return self._pullback_in_blocks(s)
        pulled: Tensor = torch.ops.aten.convolution_backward(
            s, a, self.weight, None, *self._geometry(), [True, False, False]
        )[0]
        return pulled

    def onto_weights(self, s: Tensor, a: Tensor) -> Tensor:
        weights: Tensor = torch.ops.aten.convolution_backward(
            s, a, self.weight, None, *self._geometry(), [False, True, False]
        )[1]
        return weights

    def along_outputs(self, values: Tensor, z: Tensor) -> Tensor:
        return _along_channels(values, z)

    def scaled(self, factor: Tensor, shift: Tensor) -> Affine:
        if self.transposed:  # [inputs, outputs / groups, ...]: each group of inputs has outputs of its own
            per_group = factor.view(self.groups, 1, -1).expand(-1, len(self.weight) // self.groups, -1)
            factors = per_group.reshape(len(self.weight), -1, *[1] * (self.weight.ndim - 2))
        else:
            factors = factor.view(-1, *[1] * (self.weight.ndim - 1))
        return replace(self, weight=self.weight * factors, bias=self._shifted(factor, shift))

    def _pullback_in_blocks(self, s: Tensor) -> Tensor:
        """The same as a convolution whose output channels are the pixels of a block, which are then put in place.

        Kernels compute 16 channels at a time, and the images that networks take have one to three: brought back
        pixel by pixel, most of that is wasted.
        """
        margin = [k - 1 - p for k, p in zip(self.weight.shape[2:], self.padding, strict=True)]
        blocks = F.conv2d(s, self._block_weight, stride=self._block, padding=margin)
        return F.pixel_shuffle(blocks, self._block)

    @cached_property
    def _block(self) -> int:
        """The side of the blocks, 0 where they do not help."""
        plain = not self.transposed and self.groups == 1 and {*self.stride, *self.dilation} == {1}
        if not plain or self.weight.ndim != 4 or self.weight.device.type != "cpu":
            return 0
        fits = all(p < k for k, p in zip(self.weight.shape[2:], self.padding, strict=True))
        return {1: 4, 2: 4, 3: 2}.get(self.weight.shape[1], 0) if fits else 0

    @cached_property
    def _block_weight(self) -> Tensor:
        """Weights [inputs * block^2, outputs, *kernel + block - 1]: the flipped kernel, shifted for each pixel."""
        outputs, inputs, height, width = self.weight.shape
        side = self._block
        blocks = self.weight.new_zeros(inputs, side, side, outputs, height + side - 1, width + side - 1)
        flipped = self.weight.flip(2, 3).transpose(0, 1)
        for i, j in itertools.product(range(side), repeat=2):
            blocks[:, i, j, :, i : i + height, j : j + width] = flipped
        return blocks.flatten(0, 2).contiguous(memory_format=torch.channels_last)

    def beside(self, other: Affine) -> Affine | None:
        if self.groups > 1:
            return None
        return replace(self, weight=torch.cat([self.weight, other.weight], 0 if self.transposed else 1))

    def channels_last(self) -> Affine:
        if self.weight.ndim != 4:
            return self
        return replace(self, weight=self.weight.contiguous(memory_format=torch.channels_last))

    def _geometry(self) -> tuple[Any, ...]:
        output_padding = self.output_padding or (0,) * len(self.stride)
        return self.stride, self.padding, self.dilation, self.transposed, output_padding, self.groups


@dataclass(frozen=True, eq=False)
class Scale(Affine):
    """z = w a + b for each channel: a batch-norm that stands by itself; weight and bias [channels]."""

    @property
    def kind(self) -> Kind:
        return "scale"

    def __call__(self, a: Tensor) -> Tensor:
        scaled = a * _along_channels(self.weight, a)
        return scaled if self.bias is None else scaled.add_(_along_channels(self.bias, a))

    def pullback(self, s: Tensor, a: Tensor) -> Tensor:
        return s * _along_channels(self.weight, a)

    def onto_weights(self, s: Tensor, a: Tensor) -> Tensor:
        return (s * a).transpose(0, 1).flatten(1).sum(1)

    def along_outputs(self, values: Tensor, z: Tensor) -> Tensor:
        return _along_channels(values, z)

    def scaled(self, factor: Tensor, shift: Tensor) -> Affine:
        return replace(self, weight=self.weight * factor, bias=self._shifted(factor, shift))


def _along_channels(values: Tensor, a: Tensor) -> Tensor:
    """Values [channels] in a shape that broadcasts against maps [n, channels, ...]."""
    return values.view(-1, *[1] * (a.ndim - 2))
