"""Random programs: small graphs of operations drawn by hypothesis, as torch.fx sees them. Never wrong in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.errors import InputError, UnsupportedLayer
from lrp_core.lrp import COMPOSITES, Explainer

from .networks import assert_clear, gradient_x_input, images, randomise, relative_error, seeds

Op = Callable[..., Tensor]
WIDTH = 4

LINEAR_UNARY: dict[str, Op] = {
    "relu": lambda m, h: F.relu(h),
    "module relu": lambda m, h: m.relu(h),
    "leaky": lambda m, h: F.leaky_relu(h, 0.3),
    "dense": lambda m, h: m.free(h),
    "tied dense": lambda m, h: m.tied(h),
    "norm": lambda m, h: m.norm(h),
    "dropout": lambda m, h: F.dropout(h, 0.4, m.training),
    "double": lambda m, h: h * 2.0,
    "minus": lambda m, h: -0.5 * h,
    "over": lambda m, h: h / 4,
    "flip": lambda m, h: h.flip(1),
    "roll by cat": lambda m, h: torch.cat([h[:, 1:], h[:, :1]], 1),
    "half": lambda m, h: h[:, :2].repeat(1, 2),
    "pad": lambda m, h: F.pad(h, (1, -1)),
    "pool": lambda m, h: F.max_pool1d(h.unsqueeze(1), 2, 1, 1)[:, 0, :4],
    "average": lambda m, h: F.avg_pool1d(h.unsqueeze(1), 3, 1, 1).squeeze(1),
    "mean": lambda m, h: h.mean(1, keepdim=True).repeat(1, 4),
    "reshape": lambda m, h: h.view(h.size(0), 2, 2).transpose(1, 2).reshape(-1, 4),
    "convolution": lambda m, h: m.conv(h.unsqueeze(1)).flatten(1),
    "transposed": lambda m, h: m.up(h[:, :2].unsqueeze(1)).flatten(1),
    "affine": lambda m, h: h * m.factor + m.shift,
    "plus one": lambda m, h: h + 1.0,
    "one minus": lambda m, h: 1 - h,
}
IN_PLACE: dict[str, Op] = {
    "relu_": lambda m, h: h.relu_(),
    "F.relu in place": lambda m, h: F.relu(h, inplace=True),
    "module in place": lambda m, h: m.relu_inplace(h),
    "add_": lambda m, h: h.add_(0.5),
    "mul_": lambda m, h: h.mul_(2.0),
}
CURVED: dict[str, Op] = {
    "tanh": lambda m, h: torch.tanh(h),
    "gelu": lambda m, h: F.gelu(h),
    "sigmoid": lambda m, h: torch.sigmoid(h),
    "silu": lambda m, h: F.silu(h),
    "softplus": lambda m, h: F.softplus(h),
}
BINARY: dict[str, Op] = {
    "plus": lambda m, g, h: g + h,
    "less": lambda m, g, h: g - h,
    "add": lambda m, g, h: torch.add(g, h),
    "halves": lambda m, g, h: torch.cat([g[:, :2], h[:, 2:]], 1),
    "cat and dense": lambda m, g, h: m.wide(torch.cat((g, h), dim=-1)),
}


class Program(nn.Module):
    """Instructions (operation, the values it reads), of which the last one's value goes to the logits."""

    def __init__(self, instructions: list[tuple[Op, tuple[int, ...]]], statements: frozenset[int]) -> None:
        super().__init__()
        self.instructions, self.statements = instructions, statements
        self.tied, self.wide = nn.Linear(WIDTH, WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.free, self.norm = nn.Linear(WIDTH, WIDTH, bias=False), nn.BatchNorm1d(WIDTH)
        self.conv, self.up = nn.Conv1d(1, 1, 3, padding=1), nn.ConvTranspose1d(1, 1, 2, 2)
        self.relu, self.relu_inplace = nn.ReLU(), nn.ReLU(inplace=True)
        self.register_buffer("factor", torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64))
        self.register_buffer("shift", torch.tensor([0.2, -0.1, 0.0, 1.0], dtype=torch.float64))
        self.logits = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        values: list[Any] = [self.tied(x)]
        for i, (operation, reads) in enumerate(self.instructions):
            result = operation(self, *(values[j % len(values)] for j in reads))
            if i not in self.statements:  # a statement's result is dropped, as in h.relu_() on a line of its own
                values.append(result)
        return self.logits(values[-1])


@st.composite
def programs(draw: st.DrawFn, *families: dict[str, Op]) -> tuple[list[tuple[Op, tuple[int, ...]]], frozenset[int], int]:
    unary = {name: op for family in families for name, op in family.items()}
    instructions: list[tuple[Op, tuple[int, ...]]] = []
    statements = set()
    for i in range(draw(st.integers(1, 7))):
        if draw(st.booleans()):
            name = draw(st.sampled_from(sorted(unary)))
            instructions.append((unary[name], (draw(st.sampled_from([-1, -1, -2, -3])),)))
            if name in IN_PLACE and draw(st.booleans()):
                statements.add(i)
        else:
            reads = (-1, draw(st.integers(-3, -1)))
            instructions.append((BINARY[draw(st.sampled_from(sorted(BINARY)))], reads))
    return instructions, frozenset(statements), draw(seeds)


Drawn = tuple[list[tuple[Op, tuple[int, ...]]], frozenset[int], int]


def build(drawn: Drawn) -> tuple[nn.Module, Tensor, Tensor] | None:
    """The program, images for it, and its logits; None where autograd or torch itself cannot run it."""
    instructions, statements, seed = drawn
    model, x = randomise(Program(instructions, statements), seed), images((WIDTH,), seed) - 0.2
    with torch.no_grad():
        return model, x, model(x.clone())


def accounted(explainer: Explainer, x: Tensor, expected: Tensor, kink: float = 1e-9) -> Tensor:
    """Check logits and the accounts of relevance; returns the relevance."""
    explanation = explainer.explain(x, 1)
    assert relative_error(explanation.logits, expected) < 1e-11
    lost = sum((b.absorbed for b in explanation.balance), torch.zeros(len(x), dtype=torch.float64))
    gap = explanation.relevance.flatten(1).sum(1) + lost - expected[:, 1]
    scale = 1 + max(float(r.abs().sum()) for r in [*explanation.layers.values(), explanation.relevance])
    assert float(gap.abs().max()) < kink * scale
    for b in explanation.balance:
        parts = b.left + b.bias + b.epsilon
        assert float((b.arrived - parts).abs().max()) < kink * (scale + float(b.bias.abs().max()))
    return explanation.relevance


@given(programs(LINEAR_UNARY))
@settings(deadline=None, max_examples=60)
def test_piecewise_linear_programs_have_gradient_x_input(drawn: Drawn) -> None:
    """All of these operations are supported: none may be refused. Exact zeros before a ReLU would have two answers."""
    built = build(drawn)
    assert built is not None
    model, x, expected = built
    relevance = accounted(Explainer(model, "lrp-0"), x, expected, kink=1e-7)
    wanted = gradient_x_input(model, x, 1)
    assert float((relevance - wanted).abs().max()) < 1e-7 * (1 + float(wanted.abs().max()))


@pytest.mark.slow
@given(programs(LINEAR_UNARY, CURVED), st.sampled_from(["epsilon", "gamma", "epsilon-plus", "epsilon-alpha2-beta1"]))
@settings(deadline=None, max_examples=60)
def test_programs_keep_account_of_relevance(drawn: Drawn, composite: str) -> None:
    built = build(drawn)
    assert built is not None
    model, x, expected = built
    accounted(Explainer(model, composite), x, expected, kink=1e-7)


@pytest.mark.slow
@given(programs(LINEAR_UNARY, IN_PLACE, IN_PLACE))
@settings(deadline=None, max_examples=80)
def test_programs_that_overwrite_are_right_or_refused(drawn: Drawn) -> None:
    built = build(drawn)
    assert built is not None
    model, x, expected = built
    try:
        explainer = Explainer(model, "lrp-0")
    except UnsupportedLayer as refused:
        assert_clear(refused)
        return
    relevance = accounted(explainer, x, expected, kink=1e-7)
    try:
        wanted = gradient_x_input(model, x, 1)
    except RuntimeError:  # autograd refuses some in-place operations that the forward pass can do
        return
    assert float((relevance - wanted).abs().max()) < 1e-7 * (1 + float(wanted.abs().max()))


@pytest.mark.slow
@given(programs(LINEAR_UNARY, CURVED), st.sampled_from(sorted(COMPOSITES)))
@settings(deadline=None, max_examples=80)
def test_a_batch_is_its_images_one_by_one(drawn: Drawn, composite: str) -> None:
    built = build(drawn)
    assert built is not None
    model, x, _ = built
    x = x + 0.2  # inside the box
    explainer = Explainer(model, composite)
    try:
        together = explainer.relevance(x, 1)
    except InputError as refused:
        assert_clear(refused)
        raise
    alone = torch.cat([explainer.relevance(x[i : i + 1], 1) for i in range(len(x))])
    assert float((together - alone).abs().max()) < 1e-7 * (1 + float(alone.abs().max()))
