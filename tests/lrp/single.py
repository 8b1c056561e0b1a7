"""One layer at a time: every kind of layer, its explicit matrix, and a rule applied to it alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrp_core.lrp import AlphaBeta, Epsilon, Flat, Gamma, Pass, Rule, WSquare, ZBox, Zero, ZPlus
from lrp_core.lrp.affine import Affine
from lrp_core.lrp.contributions import propagate
from lrp_core.lrp.reading import trace
from lrp_core.lrp.relevance import Relevance

Array = np.ndarray[Any, Any]


def batch_norm(layer: Any, affine: bool) -> nn.Module:
    """A batch-norm in evaluation mode with statistics, factors of both signs and shifts."""
    n = layer.num_features
    random = torch.Generator().manual_seed(n)
    layer.running_mean.copy_(torch.randn(n, generator=random) * 0.3)
    layer.running_var.copy_(torch.rand(n, generator=random) + 0.3)
    if affine:
        with torch.no_grad():
            layer.weight.copy_(torch.randn(n, generator=random))
            layer.bias.copy_(torch.randn(n, generator=random) * 0.3)
    return layer.eval()


LAYERS: dict[str, tuple[Callable[[bool], nn.Module], tuple[int, ...]]] = {
    "dense": (lambda b: nn.Linear(7, 5, bias=b), (7,)),
    "dense, square": (lambda b: nn.Linear(5, 5, bias=b), (5,)),
    "dense, one output": (lambda b: nn.Linear(6, 1, bias=b), (6,)),
    "dense, one input": (lambda b: nn.Linear(1, 4, bias=b), (1,)),
    "dense over a sequence": (lambda b: nn.Linear(4, 3, bias=b), (2, 4)),
    "conv1d": (lambda b: nn.Conv1d(2, 3, 3, bias=b), (2, 9)),
    "conv1d, everything": (
        lambda b: nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=b),
        (4, 9),
    ),
    "conv": (lambda b: nn.Conv2d(2, 3, 3, bias=b), (2, 5, 6)),
    "conv 1x1": (lambda b: nn.Conv2d(3, 2, 1, bias=b), (3, 4, 3)),
    "conv of the full size": (lambda b: nn.Conv2d(2, 3, (4, 5), bias=b), (2, 4, 5)),
    "conv, padding": (lambda b: nn.Conv2d(2, 3, 3, padding=1, bias=b), (2, 4, 5)),
    "conv, square": (lambda b: nn.Conv2d(3, 3, 3, padding=1, bias=b), (3, 4, 3)),
    "conv, wide padding": (lambda b: nn.Conv2d(1, 2, 3, padding=(2, 1), bias=b), (1, 4, 4)),
    "conv, stride with a rest": (lambda b: nn.Conv2d(2, 3, 3, stride=(2, 3), padding=1, bias=b), (2, 6, 8)),
    "conv, dilation": (lambda b: nn.Conv2d(2, 2, 3, dilation=2, bias=b), (2, 6, 7)),
    "conv, groups": (lambda b: nn.Conv2d(4, 6, 3, groups=2, bias=b), (4, 4, 4)),
    "conv, depthwise": (lambda b: nn.Conv2d(3, 6, 2, groups=3, stride=2, bias=b), (3, 5, 4)),
    "conv, even kernel": (lambda b: nn.Conv2d(1, 2, (2, 4), padding=(1, 0), bias=b), (1, 4, 6)),
    "conv, padding same": (lambda b: nn.Conv2d(2, 2, (3, 5), padding="same", dilation=(2, 1), bias=b), (2, 6, 5)),
    "conv, padding valid": (lambda b: nn.Conv2d(2, 2, 3, padding="valid", bias=b), (2, 4, 5)),
    "conv, everything": (
        lambda b: nn.Conv2d(4, 4, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=2, bias=b),
        (4, 6, 6),
    ),
    "conv3d": (lambda b: nn.Conv3d(1, 2, 2, bias=b), (1, 3, 3, 4)),
    "conv3d, everything": (
        lambda b: nn.Conv3d(2, 4, (2, 1, 3), stride=(1, 2, 1), padding=(1, 0, 1), dilation=(2, 1, 1), groups=2, bias=b),
        (2, 3, 3, 4),
    ),
    "transposed 1d": (lambda b: nn.ConvTranspose1d(2, 3, 3, bias=b), (2, 5)),
    "transposed 1d, everything": (
        lambda b: nn.ConvTranspose1d(4, 6, 3, stride=3, padding=1, output_padding=2, groups=2, dilation=2, bias=b),
        (4, 4),
    ),
    "transposed": (lambda b: nn.ConvTranspose2d(2, 3, 3, bias=b), (2, 3, 4)),
    "transposed, stride": (
        lambda b: nn.ConvTranspose2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), output_padding=(1, 0), bias=b),
        (2, 3, 3),
    ),
    "transposed, groups": (
        lambda b: nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2, dilation=(1, 3), output_padding=(1, 1), bias=b),
        (4, 3, 2),
    ),
    "transposed 3d, everything": (
        lambda b: nn.ConvTranspose3d(
            2, 4, (2, 1, 2), stride=(2, 1, 1), padding=(1, 0, 0), output_padding=(1, 0, 0), groups=2, bias=b
        ),
        (2, 2, 3, 2),
    ),
    "batch-norm 1d": (lambda b: batch_norm(nn.BatchNorm1d(5, affine=b), b), (5,)),
    "batch-norm 1d over a sequence": (lambda b: batch_norm(nn.BatchNorm1d(3, affine=b), b), (3, 4)),
    "batch-norm 2d": (lambda b: batch_norm(nn.BatchNorm2d(3, affine=b, eps=0.1), b), (3, 4, 2)),
    "batch-norm 3d": (lambda b: batch_norm(nn.BatchNorm3d(2, affine=b), b), (2, 2, 3, 2)),
}
"""Layers with and without a bias, and the shape of one input; a batch-norm always has one, from its mean."""

INSTANCES: dict[str, list[Rule]] = {
    "lrp-0": [Zero()],
    "epsilon": [Epsilon(), Epsilon(0.5)],
    "gamma": [Gamma(), Gamma(0.0), Gamma(30.0)],
    "alpha-beta": [
        AlphaBeta(a, a - 1, b) for a, b in ((2.0, False), (1.0, False), (3.5, False), (2.0, True), (1.0, True))
    ],
    "z-plus": [ZPlus()],
    "w-square": [WSquare()],
    "flat": [Flat()],
    "z-box": [ZBox(), ZBox(-1.0, 1.0), ZBox(-2.0, 3.0)],
    "pass": [Pass()],
}
"""Every registered rule, with the parameters that it is tested for."""

SIGNS = ("non-negative", "signed", "negative", "sparse")


def matrix(layer: nn.Module, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The layer as W [outputs, inputs], column by column from unit vectors, and its bias b [outputs]."""
    size = int(np.prod(shape))
    with torch.no_grad():
        shift = layer(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
        columns = layer(torch.eye(size, dtype=torch.float64).view(size, *shape)).flatten(1) - shift
    return columns.T.numpy(), shift.numpy()


def field(layer: nn.Module, shape: tuple[int, ...]) -> Array:
    """Which inputs stand in the receptive field of which outputs [outputs, inputs], as counts of weights: 0 or 1."""
    ones = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in ones.parameters():
            parameter.fill_(1.0)
        for buffer in ones.buffers():
            buffer.fill_(1.0)
    return (np.abs(matrix(ones, shape)[0]) > 1e-6).astype(np.float64)


def step_of(layer: nn.Module) -> Affine:
    """What the engine makes of one layer."""
    (step,) = trace(nn.Sequential(layer))
    assert isinstance(step.operation, Affine)
    return step.operation


@cache
def layer_of(kind: str, bias: bool) -> tuple[nn.Module, Affine, tuple[Array, Array, Array]]:
    """A layer of that kind in float64, the operation that it is, and its matrix, bias and receptive fields."""
    build, shape = LAYERS[kind]
    torch.manual_seed(0)
    layer = build(bias).double()
    return layer, step_of(layer), (*matrix(layer, shape), field(layer, shape))


def make(kind: str, *, bias: bool, signs: str, n: int = 3) -> tuple[nn.Module, Affine, Tensor, Tensor]:
    """A layer of that kind in float64, the operation that it is, inputs, and relevance at its outputs."""
    layer, operation, _ = layer_of(kind, bias)
    torch.manual_seed(1)
    shape = LAYERS[kind][1]
    a = torch.rand(n, *shape, dtype=torch.float64) * 1.8 - 0.9
    a = {"non-negative": a.abs(), "signed": a, "negative": -a.abs(), "sparse": a.clamp(min=0)}[signs]
    return layer, operation, a, torch.randn_like(operation(a))


def fits(rule: Rule, kind: str) -> bool:
    """Whether that kind of layer can have the rule: pass needs as many outputs as inputs."""
    return not isinstance(rule, Pass) or kind.startswith("batch-norm") or kind.endswith("square")


def is_bound_for_box(rule: Rule, a: Tensor) -> bool:
    """Whether z-box warns, as inputs lie outside its box."""
    return isinstance(rule, ZBox) and bool(((a < rule.low) | (a > rule.high)).any())


def apply(rule: Rule, layer: Affine, a: Tensor, r: Tensor, *, product: bool = False) -> Tensor:
    """Relevance `r` at the outputs of one layer, brought to its inputs; arriving as itself, or as a product."""
    z = layer(a)
    form, tensor = (Relevance.product, torch.where(z == 0, 0.0, r / z)) if product else (Relevance.of, r.clone())
    return propagate(rule.prepare(layer), a, form(z, tensor)).dense()
