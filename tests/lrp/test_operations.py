"""Every operation that the engine knows, as a module and as functions and methods: the model's own logits, gradient x
input for what is piecewise linear, and the same relevance however it is spelt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.errors import UnsupportedLayer
from lrp_core.lrp import COMPOSITES, Explainer
from lrp_core.lrp.operations import MaxPool
from lrp_core.lrp.reading import trace
from lrp_core.lrp.relevance import Relevance

from .networks import Lambda, assert_clear, gradient_x_input, images, randomise, relative_error

pytestmark = pytest.mark.slow

VECTOR, SERIES, IMAGE, VOLUME = (6,), (2, 9), (2, 7, 6), (2, 5, 4, 6)
Spelling = Callable[[Any, Tensor], Tensor]


def between(operation: Spelling, shape: tuple[int, ...], **parts: nn.Module | Tensor) -> tuple[nn.Module, Tensor]:
    """A network with `operation` in its midst: a layer for that shape before it, and a dense one after it."""
    before = {
        1: lambda: nn.Linear(shape[0], 8),
        2: lambda: nn.Conv1d(shape[0], 4, 3, padding=1),
        3: lambda: nn.Conv2d(shape[0], 4, 3, padding=1),
        4: lambda: nn.Conv3d(shape[0], 4, 3, padding=1),
    }[len(shape)]()
    model = randomise(Lambda(lambda m, x: operation(m, m.before(x)), before=before, **parts), 3)
    x = images(shape, 5) - 0.3
    with torch.no_grad():
        width = model(x).flatten(1).shape[1]
    after = randomise(nn.Linear(width, 3), 4)
    whole = Lambda(lambda m, x: m.after(operation(m, m.before(x)).flatten(1)), before=before, **parts, after=after)
    return whole.double().eval(), x


LINEAR: dict[str, tuple[tuple[int, ...], list[Spelling], dict[str, Callable[[], nn.Module | Tensor]]]] = {
    # piecewise linear and through zero, so that LRP-0 is gradient x input; each in several spellings
    "relu": (
        IMAGE,
        [
            lambda m, h: m.part(h),
            lambda m, h: torch.relu(h),
            lambda m, h: F.relu(h),
            lambda m, h: h.relu(),
            lambda m, h: h.relu_(),
            lambda m, h: F.relu(h, inplace=True),
            lambda m, h: F.relu(h, True),
        ],
        {"part": nn.ReLU},
    ),
    "leaky relu": (
        IMAGE,
        [
            lambda m, h: m.part(h),
            lambda m, h: F.leaky_relu(h, 0.2),
            lambda m, h: F.leaky_relu(h, negative_slope=0.2, inplace=True),
            lambda m, h: F.leaky_relu_(h, 0.2),
            lambda m, h: F.leaky_relu(h, 0.2, True),
        ],
        {"part": lambda: nn.LeakyReLU(0.2, inplace=True)},
    ),
    "prelu": (IMAGE, [lambda m, h: m.part(h)], {"part": lambda: nn.PReLU(4, 0.3)}),
    "max-pool 1d": (
        SERIES,
        [lambda m, h: m.part(h), lambda m, h: F.max_pool1d(h, 3, 2, 1)],
        {"part": lambda: nn.MaxPool1d(3, 2, 1)},
    ),
    "max-pool 1d, ceil": (
        SERIES,
        [lambda m, h: m.part(h), lambda m, h: F.max_pool1d(h, 2, dilation=2, ceil_mode=True)],
        {"part": lambda: nn.MaxPool1d(2, dilation=2, ceil_mode=True)},
    ),
    "max-pool 2d": (
        IMAGE,
        [
            lambda m, h: m.part(h),
            lambda m, h: F.max_pool2d(h, 2),
            lambda m, h: F.max_pool2d(h, kernel_size=2),
            lambda m, h: torch.max_pool2d(h, 2),
        ],
        {"part": lambda: nn.MaxPool2d(2)},
    ),
    "max-pool 2d, everything": (
        IMAGE,
        [
            lambda m, h: m.part(h),
            lambda m, h: F.max_pool2d(h, (3, 2), stride=(1, 2), padding=1, dilation=(2, 1), ceil_mode=True),
        ],
        {"part": lambda: nn.MaxPool2d((3, 2), (1, 2), 1, (2, 1), ceil_mode=True)},
    ),
    "max-pool 3d": (
        VOLUME,
        [lambda m, h: m.part(h), lambda m, h: F.max_pool3d(h, 2, (2, 1, 2), (1, 0, 0), ceil_mode=True)],
        {"part": lambda: nn.MaxPool3d(2, (2, 1, 2), (1, 0, 0), ceil_mode=True)},
    ),
    "adaptive max-pool 1d": (
        SERIES,
        [lambda m, h: m.part(h), lambda m, h: F.adaptive_max_pool1d(h, 4)],
        {"part": lambda: nn.AdaptiveMaxPool1d(4)},
    ),
    "adaptive max-pool 2d": (
        IMAGE,
        [lambda m, h: m.part(h), lambda m, h: F.adaptive_max_pool2d(h, output_size=(3, 2))],
        {"part": lambda: nn.AdaptiveMaxPool2d((3, 2))},
    ),
    "adaptive max-pool 3d": (
        VOLUME,
        [lambda m, h: m.part(h), lambda m, h: F.adaptive_max_pool3d(h, 2)],
        {"part": lambda: nn.AdaptiveMaxPool3d(2)},
    ),
    "average pool 1d": (
        SERIES,
        [lambda m, h: m.part(h), lambda m, h: F.avg_pool1d(h, 2, 3, 1, True, False)],
        {"part": lambda: nn.AvgPool1d(2, 3, 1, True, False)},
    ),
    "average pool 2d": (
        IMAGE,
        [lambda m, h: m.part(h), lambda m, h: F.avg_pool2d(h, 2), lambda m, h: F.avg_pool2d(h, kernel_size=(2, 2))],
        {"part": lambda: nn.AvgPool2d(2)},
    ),
    "average pool 2d, everything": (
        IMAGE,
        [
            lambda m, h: m.part(h),
            lambda m, h: F.avg_pool2d(h, 3, (2, 1), 1, ceil_mode=True, count_include_pad=False, divisor_override=5),
        ],
        {"part": lambda: nn.AvgPool2d(3, (2, 1), 1, True, False, 5)},
    ),
    "average pool 3d": (
        VOLUME,
        [lambda m, h: m.part(h), lambda m, h: F.avg_pool3d(h, 2, (2, 1, 1), 1, count_include_pad=False)],
        {"part": lambda: nn.AvgPool3d(2, (2, 1, 1), 1, count_include_pad=False)},
    ),
    "adaptive average pool 1d": (
        SERIES,
        [lambda m, h: m.part(h), lambda m, h: F.adaptive_avg_pool1d(h, 4)],
        {"part": lambda: nn.AdaptiveAvgPool1d(4)},
    ),
    "global average": (
        IMAGE,
        [
            lambda m, h: m.part(h),
            lambda m, h: F.adaptive_avg_pool2d(h, (1, 1)),
            lambda m, h: h.mean((2, 3)),
            lambda m, h: h.mean([-1, -2], keepdim=True),
            lambda m, h: torch.mean(h, (2, 3), True),
            lambda m, h: h.mean(dim=2).mean(dim=-1),
        ],
        {"part": lambda: nn.AdaptiveAvgPool2d(1)},
    ),
    "adaptive average pool 3d": (
        VOLUME,
        [lambda m, h: m.part(h), lambda m, h: F.adaptive_avg_pool3d(h, (2, 1, 3))],
        {"part": lambda: nn.AdaptiveAvgPool3d((2, 1, 3))},
    ),
    "flatten": (
        IMAGE,
        [
            lambda m, h: m.part(h),
            lambda m, h: h.flatten(1),
            lambda m, h: torch.flatten(h, start_dim=1, end_dim=-1),
            lambda m, h: h.view(h.size(0), -1),
            lambda m, h: h.view(h.shape[0], -1),
            lambda m, h: h.reshape(-1, 168),
            lambda m, h: torch.reshape(h, (-1, 168)),
            lambda m, h: h.view((h.size(0), 4, 42)).contiguous(),
            lambda m, h: h.flatten(2).flatten(1).clone().detach(),
            lambda m, h: h.unsqueeze(2).squeeze(2),
            lambda m, h: h.unflatten(1, (2, 2)),
            lambda m, h: m.un(h),
        ],
        {"part": nn.Flatten, "un": lambda: nn.Unflatten(1, (2, 2))},
    ),
    "permute": (
        IMAGE,
        [
            lambda m, h: h.permute(0, 2, 3, 1),
            lambda m, h: torch.permute(h, (0, 2, 3, 1)),
            lambda m, h: h.movedim(1, 3),
            lambda m, h: h.movedim(1, -1),
            lambda m, h: h.transpose(1, 2).transpose(2, 3),
            lambda m, h: h.transpose(-3, -2).transpose(-2, -1),
            lambda m, h: torch.swapaxes(h.transpose(1, 2), 2, 3),
        ],
        {},
    ),
    "flip": (IMAGE, [lambda m, h: h.flip(2), lambda m, h: torch.flip(h, [2]), lambda m, h: h.flip((-2,))], {}),
    "slice": (
        IMAGE,
        [
            lambda m, h: h[:, 1:3],
            lambda m, h: h[:, 1:-1, :],
            lambda m, h: h[:, 1:3, ...],
            lambda m, h: h.narrow(1, 1, 2),
            lambda m, h: torch.narrow(h, dim=1, start=1, length=2),
        ],
        {},
    ),
    "select": (
        IMAGE,
        [lambda m, h: h[:, :, 2], lambda m, h: h.select(2, 2), lambda m, h: h[:, :, -5, :], lambda m, h: h[:, :, 2, :]],
        {},
    ),
    "last of the last": (IMAGE, [lambda m, h: h[..., 5], lambda m, h: h[..., -1], lambda m, h: h.select(-1, -1)], {}),
    "zero padding": (
        IMAGE,
        [
            lambda m, h: m.part(h),
            lambda m, h: F.pad(h, (1, 2, 0, 1)),
            lambda m, h: F.pad(h, [1, 2, 0, 1], "constant", 0.0),
            lambda m, h: F.pad(h, pad=(1, 2, 0, 1), mode="constant", value=0),
        ],
        {"part": lambda: nn.ZeroPad2d((1, 2, 0, 1))},
    ),
    "reflection padding": (
        IMAGE,
        [lambda m, h: m.part(h), lambda m, h: F.pad(h, (2, 1, 1, 2), mode="reflect")],
        {"part": lambda: nn.ReflectionPad2d((2, 1, 1, 2))},
    ),
    "replication padding": (
        SERIES,
        [lambda m, h: m.part(h), lambda m, h: F.pad(h, (2, 3), mode="replicate")],
        {"part": lambda: nn.ReplicationPad1d((2, 3))},
    ),
    "circular padding": (
        IMAGE,
        [lambda m, h: m.part(h), lambda m, h: F.pad(h, (1, 2, 2, 1), mode="circular")],
        {"part": lambda: nn.CircularPad2d((1, 2, 2, 1))},
    ),
    "cropping": (IMAGE, [lambda m, h: F.pad(h, (-1, 0, -2, 1)), lambda m, h: F.pad(h[:, :, 2:, 1:], (0, 0, 0, 1))], {}),
    "upsampling": (
        IMAGE,
        [
            lambda m, h: m.part(h),
            lambda m, h: m.old(h),
            lambda m, h: F.interpolate(h, scale_factor=2),
            lambda m, h: F.interpolate(h, (14, 12), mode="nearest"),
        ],
        {"part": lambda: nn.Upsample(scale_factor=2), "old": lambda: nn.UpsamplingNearest2d(scale_factor=2)},
    ),
    "expand and repeat": (
        IMAGE,
        [lambda m, h: h.repeat(1, 2, 1, 3), lambda m, h: h.repeat((1, 2, 1, 3))],
        {},
    ),
    "expand": (
        IMAGE,
        [lambda m, h: h[:, :1].expand(-1, 4, -1, -1), lambda m, h: h[:, :1].repeat(1, 4, 1, 1)],
        {},
    ),
    "pixel shuffle": (IMAGE, [lambda m, h: m.part(h)], {"part": lambda: nn.PixelShuffle(2)}),
    "pixel unshuffle": (
        IMAGE,
        [lambda m, h: m.part(m.cut(h))],
        {"part": lambda: nn.PixelUnshuffle(2), "cut": lambda: nn.ZeroPad2d((0, 0, 0, 1))},
    ),
    "channel shuffle": (IMAGE, [lambda m, h: m.part(h)], {"part": lambda: nn.ChannelShuffle(2)}),
    "dropout": (
        IMAGE,
        [
            lambda m, h: m.part(h),
            lambda m, h: m.maps(h),
            lambda m, h: m.same(h),
            lambda m, h: F.dropout(h, 0.5, m.training),
            lambda m, h: F.dropout2d(h, training=m.training),
            lambda m, h: F.dropout(h, p=0.3, training=False, inplace=True),
        ],
        {"part": nn.Dropout, "maps": nn.Dropout2d, "same": nn.Identity},
    ),
    "concatenation": (
        IMAGE,
        [
            lambda m, h: torch.cat([h, h.relu()], 1),
            lambda m, h: torch.cat((h, torch.relu(h)), dim=1),
            lambda m, h: torch.concat([h, F.relu(h)], dim=-3),
            lambda m, h: torch.cat(tensors=[h, m.part(h)], dim=1),
        ],
        {"part": nn.ReLU},
    ),
    "residual": (
        IMAGE,
        [
            lambda m, h: h + m.part(h),
            lambda m, h: torch.add(m.part(h), h),
            lambda m, h: m.part(h).add(h),
            lambda m, h: m.part(h).add_(h),
            lambda m, h: _iadd(m.part(h), h),
        ],
        {"part": lambda: nn.Conv2d(4, 4, 3, padding=1, bias=False)},
    ),
    "difference": (
        IMAGE,
        [
            lambda m, h: h - m.part(h),
            lambda m, h: torch.sub(h, m.part(h)),
            lambda m, h: _isub(h, m.part(h)),
            lambda m, h: h.sub_(m.part(h)),
        ],
        {"part": lambda: nn.Conv2d(4, 4, 1, bias=False)},
    ),
    "twice the same": (IMAGE, [lambda m, h: h + h, lambda m, h: h * 2, lambda m, h: 2.0 * h, lambda m, h: h / 0.5], {}),
    "a multiple": (
        IMAGE,
        [
            lambda m, h: h * m.factor,
            lambda m, h: m.factor * h,
            lambda m, h: torch.mul(h, m.factor),
            lambda m, h: h.mul(m.factor),
            lambda m, h: h.mul_(m.factor),
            lambda m, h: h / m.inverse,
            lambda m, h: torch.div(h, m.inverse),
        ],
        {
            "factor": lambda: torch.tensor([2.0, -0.5, 4.0, -0.25], dtype=torch.float64).view(4, 1, 1),
            "inverse": lambda: torch.tensor([0.5, -2.0, 0.25, -4.0], dtype=torch.float64).view(4, 1, 1),
        },
    ),
    "convolution without bias": (
        IMAGE,
        [
            lambda m, h: m.part(h),
            lambda m, h: F.conv2d(h, m.part.weight, None, 2, 1, 1, 2),
            lambda m, h: F.conv2d(h, m.part.weight, stride=(2, 2), padding=(1, 1), groups=2),
        ],
        {"part": lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)},
    ),
}


def _iadd(left: Tensor, right: Tensor) -> Tensor:
    left += right
    return left


def _isub(left: Tensor, right: Tensor) -> Tensor:
    left -= right
    return left


def _parts(name: str) -> dict[str, nn.Module | Tensor]:
    return {key: build() for key, build in LINEAR[name][2].items()}


def spellings() -> list[Any]:
    return [pytest.param(name, i, id=f"{name} {i}") for name, (_, ways, _) in LINEAR.items() for i in range(len(ways))]


class TestPiecewiseLinear:
    @pytest.mark.parametrize(("name", "way"), spellings())
    def test_logits_and_gradient_x_input(self, name: str, way: int) -> None:
        shape, ways, _ = LINEAR[name]
        model, x = between(ways[way], shape, **_parts(name))
        explanation = Explainer(model, "lrp-0").explain(x, 1)
        assert relative_error(explanation.logits, model(x.clone()).detach()) < 1e-12
        first, _ = between(ways[0], shape, **_parts(name))  # autograd itself cannot do all of them
        assert relative_error(explanation.relevance, gradient_x_input(first, x, 1)) < 1e-9

    @pytest.mark.parametrize("composite", ["epsilon-alpha2-beta1-flat", "gamma"])
    @pytest.mark.parametrize("name", [name for name, (_, ways, _) in LINEAR.items() if len(ways) > 1])
    def test_every_spelling_gives_the_same(self, name: str, composite: str) -> None:
        """The first of the spellings is the module's, where there is one."""
        shape, ways, _ = LINEAR[name]
        results = []
        for way in ways:
            model, x = between(way, shape, **_parts(name))
            results.append(Explainer(model, composite).explain(x, 2).relevance)
        for result in results[1:]:
            assert relative_error(result, results[0]) < 1e-9


NONLINEAR: dict[str, list[Spelling]] = {
    "relu6": [lambda m, h: m.part(h), lambda m, h: F.relu6(h)],
    "elu": [lambda m, h: m.part(h), lambda m, h: F.elu(h, 0.7), lambda m, h: F.elu(h, alpha=0.7, inplace=True)],
    "selu": [lambda m, h: m.part(h), lambda m, h: F.selu(h), lambda m, h: torch.selu(h)],
    "celu": [lambda m, h: m.part(h), lambda m, h: F.celu(h, alpha=0.7)],
    "gelu": [lambda m, h: m.part(h), lambda m, h: F.gelu(h)],
    "gelu by tanh": [lambda m, h: m.part(h), lambda m, h: F.gelu(h, approximate="tanh")],
    "silu": [lambda m, h: m.part(h), lambda m, h: F.silu(h), lambda m, h: F.silu(h, inplace=True)],
    "silu, positional": [lambda m, h: m.part(h), lambda m, h: F.silu(h, True)],
    "mish": [lambda m, h: m.part(h), lambda m, h: F.mish(h)],
    "tanh": [lambda m, h: m.part(h), lambda m, h: torch.tanh(h), lambda m, h: h.tanh(), lambda m, h: h.tanh_()],
    "sigmoid": [lambda m, h: m.part(h), lambda m, h: torch.sigmoid(h), lambda m, h: h.sigmoid()],
    "hardtanh": [lambda m, h: m.part(h), lambda m, h: F.hardtanh(h, -0.5, 0.7)],
    "hardtanh, positional": [lambda m, h: m.part(h), lambda m, h: F.hardtanh(h, -0.5, 0.7, True)],
    "hardswish": [lambda m, h: m.part(h), lambda m, h: F.hardswish(h)],
    "hardsigmoid": [lambda m, h: m.part(h), lambda m, h: F.hardsigmoid(h)],
    "softplus": [lambda m, h: m.part(h), lambda m, h: F.softplus(h, beta=2)],
    "softsign": [lambda m, h: m.part(h), lambda m, h: F.softsign(h)],
    "log-sigmoid": [lambda m, h: m.part(h), lambda m, h: F.logsigmoid(h)],
}
MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu6": nn.ReLU6,
    "elu": lambda: nn.ELU(0.7),
    "selu": nn.SELU,
    "celu": lambda: nn.CELU(0.7),
    "gelu": nn.GELU,
    "gelu by tanh": lambda: nn.GELU("tanh"),
    "silu": nn.SiLU,
    "silu, positional": lambda: nn.SiLU(inplace=True),
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "hardtanh": lambda: nn.Hardtanh(-0.5, 0.7),
    "hardtanh, positional": lambda: nn.Hardtanh(-0.5, 0.7, inplace=True),
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "softplus": lambda: nn.Softplus(beta=2),
    "softsign": nn.Softsign,
    "log-sigmoid": nn.LogSigmoid,
}


class TestActivation:
    """Relevance passes through any other activation unchanged: a network of three dense layers, written out."""

    @pytest.mark.parametrize(
        ("name", "way"), [(name, way) for name, ways in NONLINEAR.items() for way in range(len(ways))]
    )
    def test_relevance_passes_unchanged(self, name: str, way: int) -> None:
        act, parts = NONLINEAR[name][way], {"part": MODULES[name]()}
        dense = {"a": nn.Linear(6, 5), "b": nn.Linear(5, 5), "c": nn.Linear(5, 3)}
        model = randomise(Lambda(lambda m, x: m.c(act(m, m.b(act(m, m.a(x))))), **dense, **parts), 4)
        x = images((6,)) * 3
        explanation = Explainer(model, "epsilon").explain(x, 1)
        with torch.no_grad():
            function = MODULES[name]()
            za = model.a(x)
            ha = function(za.clone())
            zb = model.b(ha)
            hb = function(zb.clone())
            z = model.c(hb)
            r = z * torch.tensor([0.0, 1.0, 0.0])
            rb = share(hb, model.c, z, r)
            ra = share(ha, model.b, zb, rb)
            expected = share(x, model.a, za, ra)
        assert relative_error(explanation.logits, z) < 1e-12
        assert relative_error(explanation.relevance, expected) < 1e-10
        assert relative_error(explanation.layers["b"], rb) < 1e-10
        assert relative_error(explanation.layers["a"], ra) < 1e-10

    @pytest.mark.parametrize("composite", ["epsilon-alpha2-beta1", "gamma"])
    @pytest.mark.parametrize("name", NONLINEAR)
    def test_signs_that_are_taken_for_granted_are_right(self, name: str, composite: str) -> None:
        """A layer after an activation that is never negative runs a shorter way; hiding the activation must not show.

        A flip back and forth is a step that the engine does not look behind when it settles what may be overwritten.
        """
        shown, x = between(lambda m, h: m.tail(m.part(h)), IMAGE, part=MODULES[name](), tail=nn.Conv2d(4, 4, 3))
        hidden, _ = between(lambda m, h: m.tail(-1 * (-1 * m.part(h))), IMAGE, part=MODULES[name](), tail=shown.tail)
        hidden.load_state_dict(shown.state_dict())
        expected = Explainer(hidden, composite).explain(x, 0)
        actual = Explainer(shown, composite).explain(x, 0)
        assert relative_error(actual.logits, expected.logits) < 1e-12
        assert relative_error(actual.relevance, expected.relevance) < 1e-9


def share(a: Tensor, layer: nn.Linear, z: Tensor, r: Tensor) -> Tensor:
    """Epsilon's share of the inputs."""
    return a * ((r / (z + 1e-6 * torch.where(z < 0, -1, 1))) @ layer.weight)


class TestMaxPool:
    @pytest.mark.parametrize("product", [False, True])
    @pytest.mark.parametrize(
        "pool",
        [
            nn.MaxPool2d(2),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.MaxPool2d(3, stride=1),
            nn.MaxPool2d((1, 3), stride=(2, 1)),
            nn.MaxPool2d(2, dilation=2),
            nn.MaxPool2d(3, ceil_mode=True),
        ],
        ids=str,
    )
    def test_gives_relevance_to_the_winners_as_the_gradient_does(self, pool: nn.MaxPool2d, product: bool) -> None:
        (step,) = trace(nn.Sequential(pool))
        a = torch.randn(3, *IMAGE, dtype=torch.float64, requires_grad=True)
        z = pool(a)
        output, back = step.operation.run(a.detach())
        assert torch.equal(output, z.detach())
        r = torch.randn_like(output)
        (expected,) = torch.autograd.grad(z, a, r)
        (left,) = back(Relevance.product(output, r / output) if product else Relevance.of(output, r))
        torch.testing.assert_close(left.dense(), expected)

    @pytest.mark.parametrize("value", [0.0, 0.5, -1.0])
    def test_a_tie_has_exactly_one_winner(self, value: float) -> None:
        (step,) = trace(nn.Sequential(nn.MaxPool2d(2)))
        assert isinstance(step.operation, MaxPool)
        a = torch.full((1, 2, 4, 6), value)
        r = torch.rand(1, 2, 2, 3) + 0.5
        z, back = step.operation.run(a)
        (left,) = back(Relevance.of(z, r))
        windows = left.dense().unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        assert (windows.count_nonzero(4) == 1).all()
        assert torch.equal(windows.sum(4), r)
        assert torch.equal(windows[..., 0], r), "the first one wins"


class TestConvolution:
    @pytest.mark.parametrize("dilation", [1, 2, (1, 2)])
    @pytest.mark.parametrize("kernel", [1, 3, 5, (1, 3), (3, 5)])
    def test_padding_same_of_an_odd_kernel(self, kernel: Any, dilation: Any) -> None:
        layer = nn.Conv2d(2, 3, kernel, padding="same", dilation=dilation).double()
        for model in (
            nn.Sequential(layer),
            Lambda(lambda m, x: F.conv2d(x, m.c.weight, m.c.bias, padding="same", dilation=dilation), c=layer),
        ):
            (step,) = trace(model)
            assert torch.equal(step.operation(images(IMAGE)), layer(images(IMAGE)))

    @pytest.mark.parametrize("kernel", [2, (3, 4)])
    def test_padding_same_of_an_even_kernel_is_refused_with_a_way_out(self, kernel: Any) -> None:
        with pytest.raises(UnsupportedLayer, match="pad explicitly") as refused:
            trace(nn.Sequential(nn.Conv2d(2, 3, kernel, padding="same")))
        assert_clear(refused.value, "same")

    def test_padding_same_with_an_even_kernel_but_even_reach(self) -> None:
        layer = nn.Conv2d(2, 3, 2, padding="same", dilation=2).double()
        (step,) = trace(nn.Sequential(layer))
        assert torch.equal(step.operation(images(IMAGE)), layer(images(IMAGE)))


LAYER_PAIRS: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module], Spelling]] = {
    "linear": (VECTOR, lambda: nn.Linear(8, 4), lambda m, h: F.linear(h, m.part.weight, m.part.bias)),
    "linear, no bias": (VECTOR, lambda: nn.Linear(8, 4, bias=False), lambda m, h: F.linear(h, weight=m.part.weight)),
    "conv1d": (
        SERIES,
        lambda: nn.Conv1d(4, 2, 3, 2, 1),
        lambda m, h: F.conv1d(h, m.part.weight, m.part.bias, 2, 1),
    ),
    "conv2d": (
        IMAGE,
        lambda: nn.Conv2d(4, 6, 3, (2, 1), (0, 1), 1, 2),
        lambda m, h: F.conv2d(h, m.part.weight, bias=m.part.bias, stride=(2, 1), padding=(0, 1), groups=2),
    ),
    "conv3d": (
        VOLUME,
        lambda: nn.Conv3d(4, 2, 2, dilation=2),
        lambda m, h: F.conv3d(h, m.part.weight, m.part.bias, 1, 0, 2),
    ),
    "transposed 1d": (
        SERIES,
        lambda: nn.ConvTranspose1d(4, 2, 3, 2, 1, 1),
        lambda m, h: F.conv_transpose1d(h, m.part.weight, m.part.bias, 2, 1, 1),
    ),
    "transposed 2d": (
        IMAGE,
        lambda: nn.ConvTranspose2d(4, 6, 3, 2, (1, 0), 1, groups=2, dilation=2),
        lambda m, h: F.conv_transpose2d(h, m.part.weight, m.part.bias, 2, (1, 0), 1, 2, 2),
    ),
    "transposed 3d": (
        VOLUME,
        lambda: nn.ConvTranspose3d(4, 2, 2, (1, 2, 1)),
        lambda m, h: F.conv_transpose3d(h, m.part.weight, bias=m.part.bias, stride=(1, 2, 1)),
    ),
    "batch-norm": (
        IMAGE,
        lambda: nn.BatchNorm2d(4, eps=0.01),
        lambda m, h: F.batch_norm(
            h, m.part.running_mean, m.part.running_var, m.part.weight, m.part.bias, m.training, 0.1, 0.01
        ),
    ),
    "batch-norm, by keyword": (
        IMAGE,
        lambda: nn.BatchNorm2d(4, affine=False),
        lambda m, h: F.batch_norm(h, running_mean=m.part.running_mean, running_var=m.part.running_var, training=False),
    ),
}


@pytest.mark.parametrize("composite", sorted(set(COMPOSITES) - {"epsilon-gamma-box"}))
@pytest.mark.parametrize("name", LAYER_PAIRS)
def test_a_layer_as_a_function_is_the_layer(name: str, composite: str) -> None:
    """With a ReLU between, so that a batch-norm stands by itself."""
    shape, build, function = LAYER_PAIRS[name]
    module, x = between(lambda m, h: m.part(h.relu()), shape, part=build())
    spelt, _ = between(lambda m, h: function(m, h.relu()), shape, part=module.part)
    spelt.load_state_dict(module.state_dict())
    expected, actual = (Explainer(model, composite).explain(x, 0) for model in (module, spelt))
    assert relative_error(expected.logits, module(x).detach()) < 1e-12
    assert torch.equal(actual.logits, expected.logits)
    assert torch.equal(actual.relevance, expected.relevance)
    zero = Explainer(spelt, "lrp-0").relevance(x, 0)
    assert relative_error(zero, gradient_x_input(module, x, 0)) < 1e-9
