"""What is refused: by its name and place, with what would help, in one line, and before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.errors import UnsupportedLayer
from lrp_core.lrp import Explainer
from lrp_core.lrp.reading import trace

from .networks import Lambda, assert_clear, images
from .test_graph import WIDTH, three


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) if x.sum() > 0 else self.a(-x)


class Looping(Branching):
    def forward(self, x: Tensor) -> Tensor:
        for row in x:
            x = x + row
        return self.a(x)


class Assigning(Branching):
    def forward(self, x: Tensor) -> Tensor:
        x[:, 0] = 0
        return self.a(x)


REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "softmax": (
        lambda: nn.Sequential(nn.Linear(6, 3), nn.Softmax(1), nn.Linear(3, 3)),
        ("'1'", "Softmax", "logits"),
    ),
    "batch-norm without statistics": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False)),
        ("'1'", "running statistics"),
    ),
    "functional batch-norm without statistics": (
        lambda: three(lambda m, x: m.c(F.batch_norm(m.a(x), None, None))),
        ("batch_norm", "running statistics"),
    ),
    "dropout that is always on": (
        lambda: three(lambda m, x: m.c(F.dropout(m.a(x), 0.5))),
        ("'dropout'", "training=self.training"),
    ),
    "feature dropout that is always on": (
        lambda: three(lambda m, x: m.c(F.dropout1d(m.a(x)))),
        ("'dropout1d'", "training=self.training"),
    ),
    "pooling with indices": (lambda: nn.Sequential(nn.MaxPool2d(2, return_indices=True)), ("'0'", "MaxPool2d")),
    "adaptive pooling of an unknown size": (
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d((None, 3))),
        ("'0'", "AdaptiveAvgPool2d"),
    ),
    "fractional pooling": (lambda: nn.Sequential(nn.FractionalMaxPool2d(2, 3)), ("'0'", "FractionalMaxPool2d")),
    "norm pooling": (lambda: nn.Sequential(nn.LPPool2d(2, 3)), ("'0'", "LPPool2d")),
    "uneven same padding": (lambda: nn.Sequential(nn.Conv2d(2, 3, 2, padding="same")), ("'0'", "same", "explicitly")),
    "constant padding": (lambda: nn.Sequential(nn.ConstantPad2d(1, 0.5)), ("'0'", "ConstantPad2d")),
    "flattening the batch": (lambda: nn.Sequential(nn.Flatten(0)), ("'0'", "Flatten")),
    "bilinear": (lambda: Lambda(lambda m, x: m.two(x, x), two=nn.Bilinear(6, 6, 3)), ("'two'", "Bilinear")),
    "power of another value": (lambda: three(lambda m, x: m.c(m.a(x) ** m.b(m.a(x)))), ("'pow'",)),
    "running sum": (lambda: three(lambda m, x: m.c(m.a(x).cumsum(1))), ("'cumsum'",)),
    "remainder": (lambda: three(lambda m, x: m.c(m.a(x) % 2)), ("'mod'",)),
    "sorting": (lambda: three(lambda m, x: m.c(m.a(x).sort(1)[0])), ("sort",)),
    "pick of images": (lambda: three(lambda m, x: m.c(m.a(x)[0])), ("'getitem'",)),
    "two results": (lambda: three(lambda m, x: (m.a(x), m.b(m.a(x)))), ("tuple", "logits")),
    "a dictionary": (lambda: three(lambda m, x: {"logits": m.a(x)}), ("dict", "logits")),
    "nothing returned": (lambda: three(lambda m, x: None), ("NoneType",)),
    "the input itself": (lambda: nn.Sequential(nn.Flatten()), ("",)),
}


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@pytest.mark.parametrize("what", sorted(set(REFUSED) - {"the input itself"}))
def test_by_name_place_and_hint(what: str) -> None:
    build, names = REFUSED[what]
    with pytest.raises(UnsupportedLayer) as refused:
        Explainer(build())
    assert_clear(refused.value, *names)


@pytest.mark.parametrize(
    ("network", "names"), [(Branching, "Branching"), (Looping, "images"), (Assigning, "Assigning")]
)
def test_what_looks_at_values_or_mixes_images_is_refused_with_the_first_batch(
    network: type[Branching], names: str
) -> None:
    with pytest.raises(UnsupportedLayer, match=names) as refused:
        Explainer(network()).relevance(images((WIDTH,), 3).float())
    assert_clear(refused.value, names)


def test_two_inputs() -> None:
    with pytest.raises(UnsupportedLayer, match="several inputs") as refused:
        trace(TwoInputs())
    assert_clear(refused.value, "TwoInputs")


def test_no_operation_at_all() -> None:
    with pytest.raises(UnsupportedLayer, match="nothing to explain") as refused:
        Explainer(Lambda(lambda m, x: x))
    assert_clear(refused.value)


def test_a_constant_output_is_refused() -> None:
    """Nothing of it depends on the input."""
    with pytest.raises(UnsupportedLayer) as refused:
        Explainer(Lambda(lambda m, x: m.answer, answer=torch.ones(1, 3)))
    assert_clear(refused.value)


def test_a_layer_deep_inside_is_named_by_its_path() -> None:
    body = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Softmax(1), nn.Linear(2, 2))
    with pytest.raises(UnsupportedLayer, match=r"'body\.2'") as refused:
        trace(Lambda(lambda m, x: m.body(x), body=body))
    assert_clear(refused.value)


def test_a_dropout_module_in_training_mode_is_no_obstacle() -> None:
    """Modules are explained as in evaluation; only a function with training=True cannot be."""
    model: Any = nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.AlphaDropout(), nn.FeatureAlphaDropout()).train()
    assert len(trace(model)) == 4
    assert all(module.training for module in model.modules())
