"""The networks that come with the project: for any vector, image or series, by the shape of one input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, no_type_check

import torch
from torch import Tensor, nn

from .errors import InputError

if TYPE_CHECKING:
    from .models import ModelSpec

Layers = list[tuple[str, nn.Module]]
"""A network as its layers, by name and in order."""


def mlp(*hidden: int) -> Callable[[ModelSpec], Layers]:
    def build(spec: ModelSpec) -> Layers:
        layers: Layers = [("flatten", nn.Flatten())]
        width = math.prod(spec.shape)
        for i, n in enumerate(hidden, start=1):
            layers += [(f"fc{i}", nn.Linear(width, n)), (f"relu{i}", nn.ReLU())]
            width = n
        return [*layers, ("logits", nn.Linear(width, spec.n_classes))]

    return build


def lenet_5(spec: ModelSpec) -> Layers:
    """LeCun et al. 1998 with ReLU and max-pooling: 6 and 16 maps of 5x5, then 120 and 84 units."""
    channels, *size = _image_shape(spec)
    first, size1 = _pool(size)
    padding = (0 if size1[0] >= 6 else 2, 0 if size1[1] >= 6 else 2)
    second, size2 = _pool([s + 2 * p - 4 for s, p in zip(size1, padding, strict=True)])
    return [
        ("conv1", nn.Conv2d(channels, 6, 5, padding=2)),
        ("relu1", nn.ReLU()),
        ("pool1", first),
        ("conv2", nn.Conv2d(6, 16, 5, padding=padding)),
        ("relu2", nn.ReLU()),
        ("pool2", second),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(16 * math.prod(size2), 120)),
        ("relu3", nn.ReLU()),
        ("fc2", nn.Linear(120, 84)),
        ("relu4", nn.ReLU()),
        ("logits", nn.Linear(84, spec.n_classes)),
    ]


def cnn_32_64(spec: ModelSpec) -> Layers:
    """Two blocks of 3x3 convolution, batch-norm, ReLU and max-pooling, then 128 units with dropout."""
    channels, *size = _image_shape(spec)
    layers: Layers = []
    for i, maps in enumerate((32, 64), start=1):
        pool, size = _pool(size)
        layers += [
            (f"conv{i}", nn.Conv2d(channels, maps, 3, padding=1)),
            (f"bn{i}", nn.BatchNorm2d(maps)),
            (f"relu{i}", nn.ReLU()),
            (f"pool{i}", pool),
        ]
        channels = maps
    return [
        *layers,
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(channels * math.prod(size), 128)),
        ("relu3", nn.ReLU()),
        ("dropout", nn.Dropout(0.5)),
        ("logits", nn.Linear(128, spec.n_classes)),
    ]


def cnn_1d(spec: ModelSpec) -> Layers:
    """Two blocks of convolution over 9 steps, batch-norm, ReLU and max-pooling of 4, then 64 units with dropout."""
    channels, length = _series_shape(spec)
    layers: Layers = []
    for i, maps in enumerate((32, 64), start=1):
        pool = min(4, length)
        layers += [
            (f"conv{i}", nn.Conv1d(channels, maps, 9, padding=4)),
            (f"bn{i}", nn.BatchNorm1d(maps)),
            (f"relu{i}", nn.ReLU()),
            (f"pool{i}", nn.MaxPool1d(pool)),
        ]
        channels, length = maps, length // pool
    return [
        *layers,
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(channels * length, 64)),
        ("relu3", nn.ReLU()),
        ("dropout", nn.Dropout(0.5)),
        ("logits", nn.Linear(64, spec.n_classes)),
    ]


STRIDE, REACH = 4, 16
"""A token for every 4 steps, made of the 16 around them. The same for every length: less input never costs more."""


def transformer_1d(spec: ModelSpec) -> Layers:
    """Overlapping stretches as tokens of 64 values, learned positions, two encoder layers, and the tokens' mean.

    As in Dosovitskiy et al. 2021, with normalisation first and 4 heads, and with the mean of all tokens in place of a
    token for the class.
    """
    channels, length = _series_shape(spec)
    reach, tokens, width = min(REACH, length), math.ceil(length / STRIDE), 64
    padding = math.ceil(((tokens - 1) * STRIDE + reach - length) / 2)  # no step is left out
    layers: Layers = [
        ("embed", nn.Conv1d(channels, width, reach, stride=STRIDE, padding=padding)),
        ("positions", Positions(width, tokens)),
    ]
    for i in (1, 2):
        block = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True, norm_first=True)
        layers.append((f"block{i}", block))
    return [
        *layers,
        ("norm", nn.LayerNorm(width)),
        ("mean", TokenMean()),
        ("logits", nn.Linear(width, spec.n_classes)),
    ]


class Positions(nn.Module):
    """Feature maps [n, width, tokens] as tokens [n, tokens, width], each with a vector learned for its place."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.learned = nn.Parameter(torch.randn(tokens, width) * 0.02)

    @no_type_check  # torch.fx traces it with a proxy
    def forward(self, maps: Tensor) -> Tensor:
        return maps.transpose(1, 2) + self.learned


class TokenMean(nn.Module):
    """The mean of tokens: [n, tokens, width] -> [n, width]."""

    @no_type_check  # torch.fx traces it with a proxy
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


def _series_shape(spec: ModelSpec) -> tuple[int, ...]:
    if len(spec.shape) != 2:
        raise InputError(f"{spec.architecture} needs series (channels, length), not inputs of shape {spec.shape}")
    return spec.shape


def _image_shape(spec: ModelSpec) -> tuple[int, ...]:
    if len(spec.shape) != 3:
        raise InputError(
            f"{spec.architecture} needs images (channels, height, width), not inputs of shape {spec.shape}"
        )
    return spec.shape


def _pool(size: Sequence[int]) -> tuple[nn.Module, list[int]]:
    """2x2 max-pooling and the size it leaves; an axis that is only one pixel long is not pooled."""
    kernel = tuple(min(2, s) for s in size)
    return nn.MaxPool2d(kernel), [s // k for s, k in zip(size, kernel, strict=True)]
