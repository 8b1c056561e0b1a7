"""torchvision's networks with random weights and random batch-norm statistics, as they come."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torchvision.models as tv
from torch import Tensor, nn

from lrp_core.lrp import COMPOSITES, Explainer

from .networks import gradient_x_input, images, randomise, relative_error
from .test_untouched import state_of

SIZES = {"resnet18": 40, "vgg11_bn": 32, "alexnet": 67, "mobilenet_v2": 40, "squeezenet1_0": 40}
PIECEWISE_LINEAR = ["resnet18", "vgg11_bn", "alexnet", "squeezenet1_0", "shufflenet"]
OTHERS = {"efficientnet_b0": 64, "mobilenet_v3_small": 64, "regnet_y_400mf": 64, "shufflenet": 32}
SMALL: dict[str, Callable[[], nn.Module]] = {
    "shufflenet": lambda: tv.ShuffleNetV2([1, 1, 1], [8, 16, 32, 64, 32], num_classes=10),
    "vit": lambda: tv.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10),
    "swin": lambda: tv.SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=10),
    "swin_v2": lambda: tv.SwinTransformer(
        [4, 4],
        16,
        [2, 2],
        [2, 2],
        [4, 4],
        num_classes=10,
        block=tv.swin_transformer.SwinTransformerBlockV2,
        downsample_layer=tv.swin_transformer.PatchMergingV2,
    ),
    "maxvit": lambda: tv.MaxVit((64, 64), 16, 4, [16, 32], [1, 1], 16, 0.0, num_classes=10),
    "convnext": lambda: tv.ConvNeXt(
        [tv.convnext.CNBlockConfig(16, 32, 1), tv.convnext.CNBlockConfig(32, None, 1)],
        layer_scale=0.5,
        num_classes=10,
    ),
}
"""Families of which even the smallest network takes long, smaller."""
TRANSFORMERS = list(SMALL)[1:]
BALANCED = [
    *(("resnet18", composite) for composite in COMPOSITES),
    *((name, composite) for name in list(SIZES)[1:] for composite in ("lrp-0", "epsilon-gamma-box")),
    *((name, composite) for name in OTHERS for composite in ("lrp-0", "epsilon-plus")),
    *((name, composite) for name in TRANSFORMERS for composite in ("cp-lrp", "attn-lrp")),
]
"""Every composite on one network, two on the others."""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]  # type checks take most of the time


@cache
def network(name: str) -> tuple[nn.Module, Tensor]:
    """The network with 10 classes, and two small images."""
    torch.manual_seed(0)
    if name in SMALL:
        side = 64 if name == "maxvit" else 32
        return randomise(SMALL[name](), 1), images((3, side, side), n=2)
    model = getattr(tv, name)(weights=None, num_classes=10)
    for module in model.modules():
        if isinstance(module, nn.ReLU6):
            module.max_val = 1.5  # low enough to cut some
    if name in ("vgg11_bn", "alexnet"):
        for i, layer in enumerate(model.classifier):
            if isinstance(layer, nn.Linear) and layer.out_features == 4096:  # ten times as slow, and nothing new
                model.classifier[i] = nn.Linear(min(layer.in_features, 256) if i > 2 else layer.in_features, 256)
        model.classifier[-1] = nn.Linear(256, 10)
    side = {**SIZES, **OTHERS}[name]
    return randomise(model, 1), images((3, side, side), n=2)


@cache
def explained(name: str, composite: str) -> Any:
    model, x = network(name)
    return Explainer(model, composite, example=x).explain(x, torch.tensor([1, 7]))


@pytest.mark.parametrize(("name", "composite"), BALANCED)
def test_logits_finite_relevance_and_accounts(name: str, composite: str) -> None:
    model, x = network(name)
    explanation = explained(name, composite)
    with torch.no_grad():
        assert relative_error(explanation.logits, model(x)) < 1e-10
    assert explanation.relevance.shape == x.shape
    assert bool(torch.isfinite(explanation.relevance).all())
    assert bool(explanation.relevance.flatten(1).any(1).all())
    scale = max(float(r.abs().flatten(1).sum(1).max()) for r in explanation.layers.values())
    for b in explanation.balance:
        assert float((b.arrived - b.left - b.bias - b.epsilon).abs().max()) < 1e-8 * (scale + float(b.bias.abs().max()))
    start = explanation.logits[torch.arange(2), torch.tensor([1, 7])]
    lost = torch.stack([b.absorbed for b in explanation.balance]).sum(0)
    gap = explanation.relevance.flatten(1).sum(1) + lost - start
    assert float(gap.abs().max()) < 1e-8 * scale


@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_lrp_0_is_gradient_x_input(name: str) -> None:
    model, x = network(name)
    wanted = gradient_x_input(model, x, torch.tensor([1, 7]))
    assert relative_error(explained(name, "lrp-0").relevance, wanted) < 1e-7


def test_lrp_0_of_mobilenet_where_nothing_is_cut_is_gradient_x_input() -> None:
    """ReLU6 at 6 is a constant, to which LRP gives what it gives to any activation; the gradient gives nothing."""
    model, x = network("mobilenet_v2")
    try:
        for module in model.modules():
            if isinstance(module, nn.ReLU6):
                module.max_val = float("inf")
        wanted = gradient_x_input(model, x, 3)
        assert relative_error(Explainer(model, "lrp-0").relevance(x, 3), wanted) < 1e-7
    finally:
        for module in model.modules():
            if isinstance(module, nn.ReLU6):
                module.max_val = 1.5


@pytest.mark.parametrize(
    ("name", "composite"),
    [
        *((name, "epsilon-gamma-box") for name in SIZES),
        ("resnet18", "epsilon-alpha2-beta1-flat"),
        ("efficientnet_b0", "lrp-0"),
        *((name, "attn-lrp") for name in TRANSFORMERS),
    ],
)
def test_a_batch_is_its_images_one_by_one(name: str, composite: str) -> None:
    model, x = network(name)
    explainer = Explainer(model, composite)
    alone = torch.cat([explainer.relevance(x[i : i + 1], c) for i, c in enumerate((1, 7))])
    assert relative_error(explained(name, composite).relevance, alone) < 1e-6


@pytest.mark.parametrize("name", ["resnet18", "regnet_y_400mf", "swin", "vit"])
def test_nothing_of_the_model_changes(name: str) -> None:
    model, x = network(name)
    model.train()
    before = state_of(model)
    Explainer(model, "epsilon-gamma-box").explain(x, 0, "log-odds")
    assert state_of(model) == before
    model.eval()


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0"])
def test_all_classes_at_once(name: str) -> None:
    model, x = network(name)
    together = Explainer(model, "epsilon-plus").relevance(x, "all")
    assert together.shape == (2, 10, *x.shape[1:])
    alone = Explainer(model, "epsilon-plus").relevance(x, torch.tensor([1, 7]))
    assert torch.equal(together[0, 1], alone[0])
    assert torch.equal(together[1, 7], alone[1])
