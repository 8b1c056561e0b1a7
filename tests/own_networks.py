"""Networks that people bring, for the tests of what is done with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.pruning import PixelMask

from .support import stir

SHAPE = (1, 6, 6)


class Residual(nn.Module):
    """Two layers read the input, and what follows has no relevance rule."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.skip = nn.Linear(36, 8), nn.Linear(36, 8, bias=False)
        self.norm, self.out = nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), -1)
        return self.out(self.norm(F.relu(self.first(x)) + self.skip(x)))


class Functional(nn.Module):
    """Weights that are parameters of the network itself, sizes that are unpacked, dropout as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.out = nn.Parameter(torch.randn(5, 36)), nn.Parameter(torch.randn(3, 5))
        self.bias = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = F.dropout(x.reshape(n, c * h * w), 0.5, self.training)
        return F.linear(torch.tanh(F.linear(input=x, weight=self.weight)), self.out, bias=self.bias)


class Parts(nn.Module):
    """Two heads on halves of a turned input, put together with an untouched part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(18, 4), nn.Linear(24, 4)
        self.join, self.out = nn.Linear(4 + 5 + 4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 1, 3, 2).flatten(1)
        twice = torch.cat([x[:, 18:], x[:, 3:9]], dim=1)
        joined = torch.cat([self.left(x[:, :18]).relu(), x[:, ::8], torch.sigmoid(self.right(twice))], 1)
        return self.out(F.relu(self.join(joined)))


class Inner(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.fc, self.gate = nn.Linear(width, out), nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * torch.sigmoid(self.gate(x))


class Picked(nn.Module):
    """Inputs picked by positions in a buffer and mirrored at the edges; a size that is no number of images."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("places", torch.tensor([35, 3, 3, 8, 20]))
        self.picked, self.mirrored, self.out = nn.Linear(5, 4), nn.Linear(40, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        h = self.picked(x[:, self.places]) + self.mirrored(F.pad(x, (2, 2), mode="reflect"))
        turned = h.transpose(0, 1)
        return self.out(turned.reshape(turned.size(0), -1).transpose(0, 1))


class Gated(nn.Module):
    """A product of two branches, which no relevance rule is for, inside a module of a module."""

    def __init__(self) -> None:
        super().__init__()
        self.view, self.inner, self.out = nn.Flatten(), Inner(36, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inner(self.view(x)))


class ConvolutionalResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return self.out((x + self.second(x)).mean((2, 3)))


class TwoPaths(nn.Module):
    """A convolution and a dense layer side by side: the dense one is sliced."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.dense, self.out = nn.Conv2d(1, 2, 3), nn.Linear(36, 4), nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([F.relu(self.convolution(x)).flatten(1), self.dense(x.flatten(1)).relu()], 1))


DENSE: dict[str, Callable[[], nn.Module]] = {
    "one layer": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 3)),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Dropout(0.2)),
        nn.Sequential(nn.Linear(36, 8, bias=False), nn.Sequential(nn.ReLU(), nn.LayerNorm(8))),
        nn.Linear(8, 3),
    ),
    "turned": lambda: nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (4, 9)), nn.Flatten(), nn.Linear(36, 3)),
    "residual": Residual,
    "functional": Functional,
    "parts": Parts,
    "gated": Gated,
    "picked": Picked,
}
CANVAS: dict[str, Callable[[], nn.Module]] = {
    "convolutional residual": ConvolutionalResidual,
    "two paths": TwoPaths,
    "average pooling": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)
    ),
    "one dimension": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(1, 2, 5), nn.Flatten(), nn.Linear(64, 3)),
    "rows": lambda: nn.Sequential(nn.Linear(6, 2), nn.Flatten(), nn.Linear(12, 3)),
}
CROPPED: dict[str, Callable[[], nn.Module]] = {
    "nested convolutions": lambda: nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(2), nn.Flatten()),
        nn.Linear(27, 3, bias=False),
    ),
}
ALL = DENSE | CANVAS | CROPPED


def built(name: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return stir(ALL[name]().double(), seed + 1).eval()


def batch(n: int = 3, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def masks(shape: tuple[int, ...] = SHAPE) -> st.SearchStrategy[PixelMask]:
    n = int(np.prod(shape))
    indices = st.one_of(st.sets(st.integers(0, n - 1), min_size=1), st.just(set(range(n))), st.just({0}))
    return indices.map(lambda some: PixelMask.from_indices(sorted(some), shape))


MASK = PixelMask.from_indices([1, 8, 9, 20, 28], SHAPE)
