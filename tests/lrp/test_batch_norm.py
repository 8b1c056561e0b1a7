"""Batch-norm: made one with the layer before it, or after it, or standing alone; always with the model's own logits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrp_core.errors import InputError
from lrp_core.lrp import COMPOSITES, Explainer
from lrp_core.lrp.affine import Affine
from lrp_core.lrp.reading import trace

from .networks import Lambda, assert_clear, gradient_x_input, images, randomise, relative_error
from .test_graph import three

SHAPES = {1: (2, 7), 2: (2, 6, 5), 3: (2, 4, 3, 5)}
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def headed(*layers: nn.Module, shape: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
    """The layers and a dense one on top, in float64 with random parameters; and a batch for them."""
    body = nn.Sequential(*layers, nn.Flatten())
    with torch.no_grad():
        width = copy.deepcopy(body).eval()(torch.zeros(1, *shape)).shape[1]
    return randomise(nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 3)), 1), images(shape) - 0.2


NETWORKS: dict[str, tuple[Callable[[], tuple[nn.Module, Tensor]], list[str]]] = {}
"""Networks, and the kinds of the layers that are left once batch-norms are folded."""
for _d in (1, 2, 3):
    for _bias in (True, False):
        for _affine in (True, False):
            NETWORKS[f"conv{_d}d then norm, {_bias=}, {_affine=}"] = (
                lambda d=_d, bias=_bias, affine=_affine: headed(
                    CONV[d](2, 4, 3, groups=2, bias=bias),
                    NORM[d](4, affine=affine, eps=0.1),
                    nn.ReLU(),
                    shape=SHAPES[d],
                ),
                ["convolution", "dense"],
            )
    NETWORKS[f"transposed {_d}d then norm"] = (
        lambda d=_d: headed(TRANSPOSED[d](2, 4, 3, stride=2, groups=2), NORM[d](4), nn.ReLU(), shape=SHAPES[d]),
        ["convolution", "dense"],
    )
    NETWORKS[f"norm then conv{_d}d"] = (
        lambda d=_d: headed(NORM[d](2), CONV[d](2, 4, 2), nn.ReLU(), shape=SHAPES[d]),
        ["convolution", "dense"],
    )
NETWORKS |= {
    "dense then norm": (
        lambda: headed(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), shape=(6,)),
        ["dense", "dense"],
    ),
    "norm then dense": (lambda: headed(nn.BatchNorm1d(6), nn.Linear(6, 5), nn.ReLU(), shape=(6,)), ["dense", "dense"]),
    "norm then grouped convolution": (
        lambda: headed(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 2, groups=2), nn.ReLU(), shape=(4, 4, 5)),
        ["convolution", "dense"],
    ),
    "norm then padded convolution": (
        lambda: headed(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), shape=(2, 4, 5)),
        ["scale", "convolution", "dense"],
    ),
    "norm then transposed convolution": (
        lambda: headed(nn.BatchNorm2d(2), nn.ConvTranspose2d(2, 3, 2), nn.ReLU(), shape=(2, 4, 5)),
        ["scale", "convolution", "dense"],
    ),
    "norm after relu": (
        lambda: headed(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 2), shape=(2, 5, 5)),
        ["convolution", "convolution", "dense"],
    ),
    "norm between relus": (
        lambda: headed(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3), nn.ReLU(), shape=(2, 5, 5)),
        ["convolution", "scale", "dense"],
    ),
    "norm before pooling": (
        lambda: headed(nn.Conv2d(2, 3, 2), nn.MaxPool2d(2), nn.BatchNorm2d(3), nn.ReLU(), shape=(2, 5, 5)),
        ["convolution", "scale", "dense"],
    ),
    "two in a row": (
        lambda: headed(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5), nn.ReLU(), shape=(6,)),
        ["dense", "dense"],
    ),
    "two alone": (
        lambda: headed(nn.BatchNorm1d(6), nn.BatchNorm1d(6), nn.ReLU(), shape=(6,)),
        ["scale", "dense"],
    ),
    "on both sides": (
        lambda: headed(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), shape=(2, 5, 5)),
        ["convolution", "dense"],
    ),
    "dense over channels, then norm over series": (
        lambda: headed(nn.Linear(5, 4), nn.BatchNorm1d(3), nn.ReLU(), shape=(3, 5)),
        ["dense", "scale", "dense"],
    ),
    "norm over series, then dense": (
        lambda: headed(nn.BatchNorm1d(3), nn.Linear(5, 4), nn.ReLU(), shape=(3, 5)),
        ["scale", "dense", "dense"],
    ),
}


class TestFolding:
    @pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
    @pytest.mark.parametrize("name", NETWORKS)
    def test_logits_and_gradient_x_input(self, name: str, training: bool) -> None:
        build, kinds = NETWORKS[name]
        model, x = build()
        before = copy.deepcopy(model.state_dict())
        expected, gradient = model(x).detach(), gradient_x_input(model, x, 1)
        model.train(training)
        explainer = Explainer(model, "lrp-0")
        explanation = explainer.explain(x, 1)
        assert relative_error(explanation.logits, expected) < 1e-12
        assert relative_error(explanation.relevance, gradient) < 1e-9
        assert [s.operation.kind for s in explainer.steps if isinstance(s.operation, Affine)] == kinds
        assert all(module.training is training for module in model.modules())
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())

    @pytest.mark.filterwarnings("ignore:inputs reach")
    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_the_folded_layer_is_the_one_made_by_hand(self, composite: str) -> None:
        model, x = headed(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), shape=(2, 5, 5))
        by_hand = nn.Sequential(nn.utils.fuse_conv_bn_eval(model[0], model[1]), *model[2:])
        expected = Explainer(by_hand, composite).relevance(x, 0)
        assert relative_error(Explainer(model, composite).relevance(x, 0), expected) < 1e-9

    def test_a_dense_layer_as_wide_as_the_series_is_long(self) -> None:
        """Over a series the norm runs along channels and the dense layer along the last axis: never to be mixed up."""
        model, x = headed(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), shape=(4, 4))
        check_right_or_refused(model, x)
        model, x = headed(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.ReLU(), shape=(4, 4))
        check_right_or_refused(model, x)

    def test_names_are_those_of_the_layers(self) -> None:
        model, _ = NETWORKS["on both sides"][0]()
        assert [step.name for step in Explainer(model).steps] == ["1", "3", "4", "5"]

    @pytest.mark.parametrize(
        "forward",
        [
            lambda m, x: m.c(m.norm(m.a(x)) + m.a(x)),
            lambda m, x: m.c(m.norm(m.a(x) + m.b(m.a(x)))),
            lambda m, x: m.c(torch.relu(m.b(torch.relu(m.norm(m.b(torch.relu(m.a(x)))))))),
            lambda m, x: m.c(m.norm(m.norm(m.a(x)))),
            lambda m, x: m.c(torch.cat([m.norm(m.a(x))[:, :2], m.a(x)[:, 2:]], 1)),
            lambda m, x: m.norm(m.a(x))[:, :3],
            lambda m, x: m.c(m.drop(m.norm(m.drop(m.a(x))))),
        ],
    )
    @pytest.mark.parametrize("once", [True, False], ids=["once", "again"])
    def test_branches_around_it(self, forward: Callable[[Any, Tensor], Tensor], once: bool) -> None:
        def whole(m: Any, x: Tensor) -> Tensor:
            return forward(m, x) if once else forward(m, x) + m.c(torch.relu(m.norm(m.b(m.a(x)))))

        model, x = three(whole, norm=nn.BatchNorm1d(5), drop=nn.Dropout()), images((6,))
        explanation = Explainer(model, "lrp-0").explain(x, 0)
        assert relative_error(explanation.logits, model(x).detach()) < 1e-12
        assert relative_error(explanation.relevance, gradient_x_input(model, x, 0)) < 1e-9

    def test_an_output_that_others_read_too_is_kept(self) -> None:
        def forward(m: Any, x: Tensor) -> Tensor:
            h = m.a(x)
            return m.c(torch.relu(m.norm(h)) + h)

        model, x = three(forward, norm=nn.BatchNorm1d(5)), images((6,))
        explanation = Explainer(model, "lrp-0").explain(x, 0)
        assert relative_error(explanation.logits, model(x).detach()) < 1e-12
        assert relative_error(explanation.relevance, gradient_x_input(model, x, 0)) < 1e-9


def check_right_or_refused(model: nn.Module, x: Tensor) -> None:
    try:
        explanation = Explainer(model, "lrp-0").explain(x, 0)
    except InputError as refused:
        assert_clear(refused, "batch-norm")
    else:
        assert relative_error(explanation.logits, model(x).detach()) < 1e-12
        assert relative_error(explanation.relevance, gradient_x_input(model, x, 0)) < 1e-9


def test_kinds_of_a_bare_batch_norm() -> None:
    assert [s.operation.kind for s in trace(Lambda(lambda m, x: m.n(x), n=nn.BatchNorm1d(3)))] == ["scale"]
