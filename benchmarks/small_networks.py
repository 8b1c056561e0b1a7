"""A residual network and a transformer for images of 28 x 28, small enough for a processor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lrp_core.models import ARCHITECTURES, ModelSpec, register_model


class Block(nn.Module):
    """Two convolutions with batch-norm beside a shortcut (He et al. 2016)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        inside = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(inside)) + self.shortcut(x))


def resnet(spec: ModelSpec) -> nn.Module:
    """Three residual blocks of 16, 32 and 64 channels."""
    return nn.Sequential(
        nn.Conv2d(spec.shape[0], 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Block(16, 16, 1),
        Block(16, 32, 2),
        Block(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, spec.n_classes),
    )


class Patches(nn.Module):
    """Tokens of 7 x 7 pixels with learned positions, two encoder layers, and the mean of the tokens."""

    def __init__(self, spec: ModelSpec, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.patch = nn.Conv2d(spec.shape[0], width, 7, stride=7)
        self.place = nn.Parameter(torch.randn(1, (spec.shape[1] // 7) * (spec.shape[2] // 7), width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.logits = nn.Linear(width, spec.n_classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2) + self.place
        logits: Tensor = self.logits(self.encoder(tokens).mean(1))
        return logits


SMALL = {"resnet-16-32-64": resnet, "patches-64": Patches}


def register() -> None:
    """Have them known by name in this process."""
    for name, builder in SMALL.items():
        if name not in ARCHITECTURES:
            register_model(name, builder)
