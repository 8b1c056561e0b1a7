"""Small networks whose channels hang together in many ways, and an oracle for units that are gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.pruning import Coupling

IMAGE = (1, 8, 8)


class Residual(nn.Module):
    """A residual sum around two convolutions with batch-norms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv1, self.norm1 = nn.Conv2d(4, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.conv2, self.norm2 = nn.Conv2d(5, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))
        return self.head(x.mean((2, 3)))


class Concatenated(nn.Module):
    """Two branches side by side, and one of them read again beside their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(1, 4, 1)
        self.norm, self.join = nn.BatchNorm2d(7), nn.Conv2d(7, 5, 3, padding=1)
        self.head = nn.Linear(8 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        left = F.relu(self.left(x))
        both = self.norm(torch.cat([left, F.relu(self.right(x))], 1))
        out = torch.cat([F.relu(self.join(both)), left], 1)
        return self.head(F.avg_pool2d(out, 2).flatten(1))


class Squeeze(nn.Module):
    """Squeeze and excitation: channels times what is computed of their means."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        gate = torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))
        return self.head(F.adaptive_avg_pool2d(x * gate, 1).flatten(1))


class Spatial(nn.Module):
    """One map that all channels are multiplied by, and one that is added to all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.map, self.shift = nn.Conv2d(1, 5, 3), nn.Conv2d(5, 1, 1), nn.Conv2d(1, 1, 3)
        self.second, self.head = nn.Conv2d(5, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv(x))
        h = h * torch.sigmoid(self.map(h)) + self.shift(x)
        return self.head(F.relu(self.second(h)).amax((2, 3)))


class Shared(nn.Module):
    """A layer that is used twice, and two layers that share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Linear(64, 6), nn.Linear(6, 6)
        self.tied, self.other = nn.Linear(6, 4), nn.Linear(6, 4)
        self.other.weight = self.tied.weight
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x.flatten(1)))
        x = F.relu(self.again(F.relu(self.again(x))))
        return self.head(F.relu(self.tied(x)) + torch.tanh(self.other(x)))


class Tokens(nn.Module):
    """Dense layers over tokens, with a residual sum, a gate and padding with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.up, self.down = nn.Linear(8, 5), nn.Linear(5, 7), nn.Linear(7, 5)
        self.glu, self.head = nn.Linear(5, 8), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.squeeze(1))
        x = x + self.down(F.gelu(self.up(x)))
        x = F.pad(x, (0, 0, 1, 1))
        return self.head(F.glu(self.glu(x), -1).mean(1))


class Skips(nn.Module):
    """A dense layer that reads inputs beside hidden units."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(10, 6), nn.Linear(16, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.head(F.relu(self.second(torch.cat([x, F.relu(self.first(x))], 1))))


class ChannelsLast(nn.Module):
    """Dense layers over the channels of turned maps, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up, self.down = nn.Conv2d(1, 4, 2, stride=2), nn.Linear(4, 7), nn.Linear(7, 4)
        self.depthwise, self.head = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)[:, :, :3]
        h = self.depthwise(x).permute(0, 2, 3, 1)
        x = x + self.down(F.gelu(self.up(h))).permute(0, 3, 1, 2)
        return self.head(x.mean((2, 3)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (
        lambda: nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 7),
            nn.BatchNorm1d(7),
            nn.PReLU(7),
            nn.Linear(7, 5),
            nn.Sigmoid(),
            nn.Linear(5, 3),
        ),
        IMAGE,
    ),
    "convolutions": (
        lambda: nn.Sequential(
            nn.ZeroPad2d(1),
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.PReLU(4),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.Softplus(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(20, 3),
        ),
        IMAGE,
    ),
    "grouped": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 6, 3),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, groups=2),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, groups=8),
            nn.ReLU(),
            nn.Conv2d(16, 4, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ),
        IMAGE,
    ),
    "transposed": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 6, 2, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(6, 4, 2, groups=2),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 8, 2, groups=4),
            nn.ELU(),
            nn.Conv2d(8, 3, 1),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(3, 3),
        ),
        IMAGE,
    ),
    "pixel shuffle": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 12, 3, stride=2),
            nn.ReLU(),
            nn.PixelShuffle(2),
            nn.Conv2d(3, 4, 3),
            nn.PixelUnshuffle(2),
            nn.ReLU(),
            nn.Conv2d(16, 3, 1),
            nn.Flatten(),
            nn.Linear(12, 3),
        ),
        IMAGE,
    ),
    "series": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.ConvTranspose1d(4, 5, 2),
            nn.Tanh(),
            nn.GLU(-1),
            nn.AdaptiveAvgPool1d(2),
            nn.Flatten(),
            nn.Linear(10, 3),
        ),
        (2, 13),
    ),
    "gated channels": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.GLU(1), nn.Conv2d(4, 6, 3), nn.GLU(1), nn.Flatten(), nn.Linear(48, 3)
        ),
        IMAGE,
    ),
    "residual": (Residual, IMAGE),
    "concatenated": (Concatenated, IMAGE),
    "squeeze": (Squeeze, IMAGE),
    "spatial": (Spatial, IMAGE),
    "shared": (Shared, IMAGE),
    "tokens": (Tokens, IMAGE),
    "skips": (Skips, (10,)),
    "channels last": (ChannelsLast, IMAGE),
}


def built(name: str, seed: int = 0) -> tuple[nn.Module, tuple[int, ...]]:
    """A network in double precision, with statistics and slopes of its own, in evaluation mode, and its input shape."""
    make, shape = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return stirred(make().double(), seed).eval(), shape


def stirred(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random statistics, scales and slopes."""
    random = torch.Generator().manual_seed(seed + 1)
    for layer in network.modules():
        tensors = [layer.weight, layer.bias] if isinstance(layer, nn.modules.batchnorm._BatchNorm) else []
        tensors += [layer.weight] if isinstance(layer, nn.PReLU) else []
        with torch.no_grad():
            for tensor in tensors:
                tensor.copy_(torch.rand(tensor.shape, generator=random) + 0.2)
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.running_mean.copy_(torch.rand(layer.num_features, generator=random) - 0.5)
                layer.running_var.copy_(torch.rand(layer.num_features, generator=random) + 0.2)
    return network


def rows(shape: Sequence[int], n: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def removals(coupling: Coupling) -> st.SearchStrategy[Tensor]:
    """Any hidden units, of every family all but one at most."""
    hidden = [family.units.tolist() for family in coupling.families if not family.inputs and len(family.units) > 1]
    parts = [st.sets(st.sampled_from(units), max_size=len(units) - 1) for units in hidden]
    return st.tuples(*parts).map(lambda some: chosen(coupling, sorted(set().union(*some))))


def chosen(coupling: Coupling, units: Sequence[int]) -> Tensor:
    removed = torch.zeros(coupling.n_units, dtype=torch.bool)
    removed[list(units)] = True
    return removed


@torch.no_grad()
def reading_zeros(network: nn.Module, coupling: Coupling, removed: Tensor, x: Tensor) -> Tensor:
    """What `network` gives where layers read 0 in the place of every removed unit."""
    gone = torch.cat([removed, torch.zeros(1, dtype=torch.bool)])

    def silence(columns: Tensor, axis: int) -> Callable[..., Any]:
        def hook(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (arguments[0].index_fill(axis, gone[columns].nonzero().flatten(), 0),)

        return hook

    handles = []
    for layer in coupling.layers:
        if layer.columns is not None and not layer.follows:  # depthwise: its outputs are read as 0
            module = network.get_submodule(layer.name)
            axis = -1 if isinstance(module, nn.Linear) else 1
            handles.append(module.register_forward_pre_hook(silence(layer.columns, axis)))
    try:
        return network(x)
    finally:
        for handle in handles:
            handle.remove()
