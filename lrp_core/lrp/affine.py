"""The operations that relevance rules are about: z = W a + b, dense, as a convolution, or channel by channel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
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
    def along_outputs(self, values: Tensor, z: Tensor) -> Tensor:
        """One value for each output channel [channels], in a shape that broadcasts against the outputs `z`."""

    @abstractmethod
    def scaled(self, factor: Tensor, shift: Tensor) -> Affine:
        """This layer followed by `z -> factor z + shift`, one factor and shift for each output channel."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Affine:
        """The same layer with `change` applied to its weights and its bias."""
        return replace(self, weight=change(self.weight), bias=None if self.bias is None else change(self.bias))

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

    def along_outputs(self, values: Tensor, z: Tensor) -> Tensor:
        return values

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
        pulled: Tensor = torch.ops.aten.convolution_backward(
            s, a, self.weight, None, *self._geometry(), [True, False, False]
        )[0]
        return pulled

    def along_outputs(self, values: Tensor, z: Tensor) -> Tensor:
        return _along_channels(values, z)

    def scaled(self, factor: Tensor, shift: Tensor) -> Affine:
        if self.transposed:  # [inputs, outputs / groups, ...]: each group of inputs has outputs of its own
            per_group = factor.view(self.groups, 1, -1).expand(-1, len(self.weight) // self.groups, -1)
            factors = per_group.reshape(len(self.weight), -1, *[1] * (self.weight.ndim - 2))
        else:
            factors = factor.view(-1, *[1] * (self.weight.ndim - 1))
        return replace(self, weight=self.weight * factors, bias=self._shifted(factor, shift))

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

    def along_outputs(self, values: Tensor, z: Tensor) -> Tensor:
        return _along_channels(values, z)

    def scaled(self, factor: Tensor, shift: Tensor) -> Affine:
        return replace(self, weight=self.weight * factor, bias=self._shifted(factor, shift))


def _along_channels(values: Tensor, a: Tensor) -> Tensor:
    """Values [channels] in a shape that broadcasts against maps [n, channels, ...]."""
    return values.view(-1, *[1] * (a.ndim - 2))
