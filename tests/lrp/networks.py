"""Small random networks that the tests of this folder share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lrp_core.models import Network, build_model

from ..support import IMAGE_NETWORKS

IMAGE = (2, 10, 10)


class Lambda(nn.Module):
    """A model whose forward is a function of it and its input; `parts` are its submodules, and tensors its buffers."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, Tensor):
                self.register_buffer(name, part)
            else:
                self.add_module(name, part)
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


def randomise(model: nn.Module, seed: int) -> nn.Module:
    """`model` in float64 and evaluation mode, with random parameters and random batch-norm statistics."""
    random = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear | _ConvNd):
                fan_in = layer.weight[0].numel()
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=random) * (2 / fan_in) ** 0.5)
                if layer.bias is not None:
                    layer.bias.copy_(torch.randn(layer.bias.shape, generator=random) * 0.3)
            elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                layer.running_mean.copy_(torch.randn(layer.running_mean.shape, generator=random) * 0.2)
                layer.running_var.copy_(torch.rand(layer.running_var.shape, generator=random) + 0.3)
                if layer.affine:
                    layer.weight.copy_(torch.randn(layer.weight.shape, generator=random))
                    layer.bias.copy_(torch.randn(layer.bias.shape, generator=random) * 0.2)
    return model


def mlp(
    sizes: Sequence[int], *, bias: bool = True, norm: bool = False, inplace: bool = False, dropout: bool = False
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(fan_in, fan_out, bias=bias))
        if i < len(sizes) - 2:
            layers += [nn.BatchNorm1d(fan_out)] * norm + [nn.ReLU(inplace)] + [nn.Dropout()] * dropout
    return nn.Sequential(*layers)


def cnn(
    maps: Sequence[int],
    *,
    bias: bool = True,
    norm: bool = False,
    pool: bool = True,
    stride: int = 1,
    groups: bool = False,
    hidden: int | None = 7,
    n_classes: int = 4,
    image: Sequence[int] = IMAGE,
) -> nn.Sequential:
    """Convolutions of 3x3 with ReLU (and batch-norm, and one max-pooling), then dense layers."""
    layers: list[nn.Module] = []
    channels = image[0]
    for i, n in enumerate(maps):
        layers.append(
            nn.Conv2d(
                channels, n, 3, padding=1, stride=stride if i == 0 else 1, bias=bias, groups=2 if groups and i else 1
            )
        )
        layers += [nn.BatchNorm2d(n)] * norm + [nn.ReLU()] + [nn.MaxPool2d(2)] * (pool and i == 0)
        channels = n
    layers.append(nn.Flatten())
    width = nn.Sequential(*layers).eval()(torch.zeros(1, *image)).shape[1]
    if hidden:
        layers += [nn.Linear(width, hidden, bias=bias), nn.ReLU(), nn.Dropout()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, n_classes, bias=bias))


seeds = st.integers(0, 10**6)


@st.composite
def mlps(draw: st.DrawFn, *, bias: bool | None = None) -> tuple[nn.Module, Tensor]:
    """A random multilayer perceptron in float64, and a batch in [0, 1] for it."""
    sizes = [draw(st.integers(2, 12)) for _ in range(draw(st.integers(2, 4)))]
    sizes[-1] = draw(st.integers(2, 5))
    model = mlp(
        sizes,
        bias=draw(st.booleans()) if bias is None else bias,
        norm=draw(st.booleans()) and bias is None,
        inplace=draw(st.booleans()),
        dropout=draw(st.booleans()),
    )
    seed = draw(seeds)
    return randomise(model, seed), images((sizes[0],), seed, n=draw(st.integers(1, 4)))


@st.composite
def cnns(draw: st.DrawFn, *, bias: bool | None = None) -> tuple[nn.Module, Tensor]:
    """A random convolutional network in float64, and a batch in [0, 1] for it."""
    model = cnn(
        [2 * draw(st.integers(1, 2)) for _ in range(draw(st.integers(1, 2)))],
        bias=draw(st.booleans()) if bias is None else bias,
        norm=draw(st.booleans()) and bias is None,
        pool=draw(st.booleans()),
        stride=draw(st.integers(1, 2)),
        groups=draw(st.booleans()),
        hidden=draw(st.sampled_from([None, 6])),
    )
    seed = draw(seeds)
    return randomise(model, seed), images(IMAGE, seed, n=draw(st.integers(1, 3)))


def images(shape: Sequence[int], seed: int = 0, *, n: int = 3) -> Tensor:
    """Random pixels in [0, 1], about a third of them 0."""
    random = torch.Generator().manual_seed(seed + 1)
    x = torch.rand(n, *shape, generator=random, dtype=torch.float64)
    return x * (torch.rand(n, *shape, generator=random) > 0.3)


def architecture(name: str, shape: Sequence[int] = (1, 12, 12), *, seed: int = 0) -> Network:
    """One of the project's own architectures in float64, with random weights and batch-norm statistics."""
    model = build_model(name, shape=shape, n_classes=5, seed=seed)
    assert isinstance(randomise(model, seed), Network)
    return model


ARCHITECTURE_NAMES = sorted(IMAGE_NETWORKS)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, as a share of the largest expected value."""
    assert actual.shape == expected.shape
    assert bool(torch.isfinite(actual).all()), "not finite"
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    difference = float((actual.double() - expected.double()).abs().max()) if expected.numel() else 0.0
    return difference / scale if scale else difference


def starting_value(logits: Tensor, target: Tensor, start: str) -> Tensor:
    """The function of the logits that a start explains, one number for each image [n], written out image by image."""
    values = []
    for z, c in zip(logits, target.tolist(), strict=True):
        others = torch.cat([z[:c], z[c + 1 :]])
        value = z[c]
        if start == "one-hot":
            value = z[c] / z[c].detach()
        elif start == "contrast":
            value = value - others.max()
        elif start == "log-odds":
            value = value - others.exp().sum().log()
        values.append(value)
    return torch.stack(values)


def gradient_x_input(model: nn.Module, x: Tensor, target: Tensor | int, start: str = "logit") -> Tensor:
    """x times the gradient of what `start` explains, by autograd: LRP-0 of a piecewise linear network."""
    if isinstance(target, int):
        target = torch.full((len(x),), target)
    pixels = x.detach().clone().requires_grad_()
    value = starting_value(model(pixels), target, start).sum()
    return (x * torch.autograd.grad(value, pixels)[0]).detach()


def some_targets(n: int, n_classes: int, seed: int) -> Tensor:
    return torch.randint(n_classes, (n,), generator=torch.Generator().manual_seed(seed))


def assert_clear(error: BaseException, *names: str) -> None:
    """One sentence for a person, of one line, that has every one of `names`."""
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 500, text
    assert "Traceback" not in text
    for name in names:
        assert name in text, text
