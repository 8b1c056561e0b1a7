"""Networks as people write them: the model's own logits, gradient x input where it is piecewise linear, for batches of
any size; constants are computed with and shown as absorbed; and what is not read as it is, is refused.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from lrp_core.errors import InputError, UnsupportedLayer
from lrp_core.lrp import At, Composite, Epsilon, Explainer, attribute, register
from lrp_core.lrp.operations import Identity
from lrp_core.lrp.reading import registry

from .networks import Lambda, assert_clear, gradient_x_input, images, mlp, randomise, relative_error

Forward = Callable[[Any, Tensor], Tensor]
IMAGE, MAP = (3, 8, 8), (4, 8, 8)


def positions(m: Any, h: Tensor) -> Tensor:
    """A class token and position embeddings, as transformers have them."""
    tokens = h.flatten(2).transpose(1, 2)
    tokens = torch.cat([m.token.expand(tokens.shape[0], -1, -1), tokens], dim=1) + m.place
    return tokens[:, 0] + tokens.mean(1)


def coordinates(m: Any, h: Tensor) -> Tensor:
    b, _, height, width = h.shape
    rows = torch.linspace(-1, 1, height, dtype=h.dtype).view(1, 1, height, 1).expand(b, 1, height, width)
    return torch.cat([h, rows, torch.ones_like(rows)], 1)


def windows(m: Any, h: Tensor) -> Tensor:
    """Windows along the batch's axis, and back, as in Swin."""
    b, c, height, width = h.shape
    cut = h.view(b, c, height // 4, 4, width // 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, 4, 4)
    cut = torch.relu(m.inner(cut.flatten(2)))
    return cut.view(b, -1, c * 16)


def shuffled(m: Any, h: Tensor) -> Tensor:
    b, c, height, width = h.size()
    return h.view(b, 2, c // 2, height, width).transpose(1, 2).reshape(b, -1, height, width)


def looped(m: Any, h: Tensor) -> Tensor:
    for i in range(h.size(1) // 2):
        h = h + i * torch.relu(h)
    assert h.shape[1] == 4, "four channels"
    return h if h.shape[-1] > 4 else F.pad(h, (0, 1))


def three_first(m: Any, h: Tensor) -> Tensor:
    """Queries, keys and values lie along a new first axis before they are taken apart."""
    n = h.shape[0]
    q, k, v = h.flatten(1)[:, :192].reshape(n, 3, 2, 32).permute(1, 0, 2, 3).unbind(0)
    return torch.relu(q) - k + torch.maximum(q, v)


READ: dict[str, tuple[Forward, dict[str, nn.Module | Tensor]]] = {
    "sizes in a view": (lambda m, h: h.view(h.size(0), h.size(1), -1).mean(-1), {}),
    "a slice of the sizes": (lambda m, h: F.adaptive_avg_pool2d(h, h.size()[2:]), {}),
    "sizes unpacked, channel shuffle": (shuffled, {}),
    "python counts with sizes": (looped, {}),
    "windows along the batch": (windows, {"inner": nn.Linear(16, 16)}),
    "three first": (three_first, {}),
    "chunk": (lambda m, h: torch.cat(h.chunk(2, 1)[::-1], 1), {}),
    "split": (lambda m, h: sum(part.mean((2, 3)) for part in h.split([2, 1, 1], dim=1)), {}),
    "unbind and stack": (lambda m, h: torch.stack([torch.relu(part) for part in h.unbind(1)], 1), {}),
    "stack along a new last axis": (lambda m, h: torch.stack([h, torch.relu(h)], -1), {}),
    "squeeze and unsqueeze": (lambda m, h: h.unsqueeze(2).squeeze(2).unsqueeze(-1).squeeze(-1), {}),
    "index and slice": (lambda m, h: h[:, 1] + h[:, 2, ...] - h[..., 0, :].mean(1).unsqueeze(1), {}),
    "index by a list": (lambda m, h: h[:, [2, 0, 1]], {}),
    "max over an axis": (lambda m, h: h.max(1)[0], {}),
    "max over two axes": (lambda m, h: h.amax((2, 3), keepdim=True), {}),
    "max, and where it was": (lambda m, h: h.max(dim=-1).values, {}),
    "min over an axis": (lambda m, h: torch.min(h, 1)[0], {}),
    "sum over axes": (lambda m, h: h.sum((2, 3)), {}),
    "neg": (lambda m, h: -h, {}),
    "one minus": (lambda m, h: 1 - torch.relu(h), {}),
    "roll": (lambda m, h: torch.roll(h, (1, -2), (2, 3)), {}),
    "flip": (lambda m, h: h.flip(3), {}),
    "pixel shuffle": (lambda m, h: F.pixel_shuffle(h, 2), {}),
    "expand": (lambda m, h: h.mean((2, 3), keepdim=True).expand(-1, -1, 3, 2), {}),
    "expand as": (lambda m, h: h - h.mean((2, 3), keepdim=True).expand_as(h), {}),
    "repeat of an image": (lambda m, h: h.repeat(1, 2, 1, 1), {}),
    "reflection": (lambda m, h: F.pad(h, (1, 2, 2, 1), mode="reflect"), {}),
    "replication": (lambda m, h: F.pad(h, (1, 2, 2, 1), mode="replicate"), {}),
    "circular": (lambda m, h: F.pad(h, (1, 2, 2, 1), mode="circular"), {}),
    "circular convolution": (
        lambda m, h: m.part(h),
        {"part": nn.Conv2d(4, 2, 3, stride=2, padding=(2, 1), padding_mode="circular")},
    ),
    "bilinear to a size": (lambda m, h: F.interpolate(h, size=h.shape[-1] + 3, mode="bilinear"), {}),
    "bicubic": (lambda m, h: F.interpolate(h, scale_factor=1.5, mode="bicubic", align_corners=True), {}),
    "area": (lambda m, h: F.interpolate(h, size=(3, 5), mode="area"), {}),
    "larger of two": (lambda m, h: torch.maximum(h, 0.5 * h), {}),
    "smaller of two": (lambda m, h: torch.min(h, 0.5 * h.flip(1)), {}),
    "instance norm with statistics": (lambda m, h: m.part(h), {"part": nn.InstanceNorm2d(4, track_running_stats=True)}),
    "a weight from a weight": (
        lambda m, h: F.conv2d(h, m.kernel / m.kernel.norm()),
        {"kernel": torch.rand(2, 4, 3, 3)},
    ),
    "class token and positions": (positions, {"token": torch.rand(1, 1, 4), "place": torch.rand(1, 65, 4)}),
    "coordinate channels": (coordinates, {}),
    "learned padding": (
        lambda m, h: torch.cat([m.edge.expand(h.shape[0], 4, 8, 1), h], 3),
        {"edge": torch.rand(1, 4, 1, 1)},
    ),
    "a constant stacked": (
        lambda m, h: torch.stack([h, m.map.expand(h.size(0), -1, -1, -1)], 2),
        {"map": torch.rand(4, 8, 8)},
    ),
    "a made constant added": (lambda m, h: h + h.new_full((1, 4, 1, 1), 0.3), {}),
}


def network(name: str) -> nn.Module:
    forward, parts = READ[name]
    parts = copy.deepcopy(parts)
    before = nn.Conv2d(3, 4, 3, padding=1)
    first = randomise(Lambda(lambda m, x: forward(m, m.before(x)).flatten(1), before=before, **parts), 1)
    with torch.no_grad():
        width = first(images(IMAGE)).shape[1]
    after = randomise(nn.Linear(width, 3), 2)
    return (
        Lambda(lambda m, x: m.after(forward(m, m.before(x)).flatten(1)), before=before, **parts, after=after)
        .double()
        .eval()
    )


@pytest.mark.parametrize("name", READ)
def test_logits_and_gradient_x_input_for_any_number_of_images(name: str) -> None:
    model = network(name)
    explainer = Explainer(model, "lrp-0")
    for n in (3, 1, 5):
        x = images(IMAGE, n, n=n) - 0.3
        explanation = explainer.explain(x, 1)
        assert relative_error(explanation.logits, model(x).detach()) < 1e-12
        assert relative_error(explanation.relevance, gradient_x_input(model, x, 1)) < 1e-9
        arrived = explanation.logits[:, 1]
        absorbed = sum((entry.bias + entry.epsilon for entry in explanation.balance), torch.zeros(n))
        accounted = explanation.relevance.flatten(1).sum(1) + absorbed
        assert float((arrived - accounted).abs().max()) < 1e-9 * max(
            1.0, *(float(e.arrived.abs().max()) for e in explanation.balance)
        )


@pytest.mark.parametrize(
    "name", ["class token and positions", "coordinate channels", "learned padding", "a constant stacked"]
)
def test_the_share_of_constants_is_shown_as_absorbed(name: str) -> None:
    balance = Explainer(network(name), "lrp-0").explain(images(IMAGE) - 0.3, 1).balance
    assert any(entry.rule in ("Concatenation", "Sum") and bool(entry.bias.abs().gt(1e-6).any()) for entry in balance)


def test_what_is_not_read_as_it_is_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a registered layer says that it does nothing, and it doubles."""
    monkeypatch.setattr(registry, "_REGISTERED", copy.copy(registry._REGISTERED))

    class Doubling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    register(Doubling, lambda module: Identity())
    model = nn.Sequential(nn.Linear(6, 3), Doubling())
    with pytest.raises(UnsupportedLayer, match="differ") as refused:
        Explainer(model).relevance(images((6,)).float())
    assert_clear(refused.value)


class TestOutputs:
    @pytest.mark.parametrize(
        "end",
        [
            nn.Softmax(1), nn.LogSoftmax(-1), nn.Sigmoid(), nn.LogSigmoid(),
            Lambda(lambda m, z: F.softmax(z, dim=1)), Lambda(lambda m, z: z.log_softmax(-1)),
            Lambda(lambda m, z: torch.sigmoid(z).flatten(1)), Lambda(lambda m, z: z.sigmoid()),
        ],
    )  # fmt: skip
    def test_are_explained_from_the_logits_with_a_note(self, end: nn.Module) -> None:
        body, x = randomise(mlp([6, 5, 3]), 0), images((6,))
        plain, ended = Explainer(body).explain(x, 1), Explainer(nn.Sequential(body, end)).explain(x, 1)
        assert torch.equal(plain.relevance, ended.relevance)
        assert torch.equal(plain.logits, ended.logits)
        assert plain.note == ""
        assert "taken off" in ended.note

    def test_in_the_middle_stay_where_they_are(self) -> None:
        model = nn.Sequential(nn.Linear(6, 3), nn.Sigmoid(), nn.Linear(3, 3)).double()
        assert Explainer(model).explain(images((6,))).note == ""

    @pytest.mark.parametrize("flat", [False, True])
    def test_a_single_logit_stands_for_two_classes(self, flat: bool) -> None:
        body: list[nn.Module] = [randomise(nn.Linear(6, 1), 0)]
        model, x = nn.Sequential(*body, *[nn.Flatten(0)] * 0, nn.Sigmoid()), images((6,)) - 0.5
        if flat:
            model = Lambda(lambda m, z: m.body(z).squeeze(-1), body=model)
        logit = attribute(model, x, composite="lrp-0")
        assert torch.equal(attribute(model, x, target=1, composite="lrp-0"), logit)
        assert torch.equal(attribute(model, x, target=0, composite="lrp-0"), -logit)
        mixed = attribute(model, x, target=[0, 1, 0], composite="lrp-0")
        assert torch.equal(mixed, logit * torch.tensor([[-1.0], [1.0], [-1.0]]))
        with pytest.raises(InputError):
            attribute(model, x, target=2)


class TestChangedOnTheInstance:
    def test_a_forward_that_is_replaced_is_followed(self) -> None:
        """On a layer, on a block, and on the network itself."""
        x = images((6,)) - 0.3
        for place in ("1", "", "block.0"):
            model = randomise(Lambda(lambda m, z: m.block(z), block=mlp([6, 5, 3])), 0)
            layer: Any = model.get_submodule({"1": "block.1", "": "", "block.0": "block.3"}[place])
            layer.forward = types.MethodType(lambda self, a: 2 * type(self).forward(self, a), layer)
            explanation = Explainer(model, "lrp-0").explain(x, 1)
            assert relative_error(explanation.logits, model(x).detach()) < 1e-12
            assert relative_error(explanation.relevance, gradient_x_input(model, x, 1)) < 1e-12

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("change", ["prune", "weight_norm", "spectral_norm"])
    def test_torchs_own_hooks_give_the_effective_weight(self, change: str) -> None:
        model, x = randomise(mlp([6, 5, 3]), 0), images((6,)) - 0.3
        layer: Any = model[1]  # type: ignore[index]
        if change == "prune":
            prune.l1_unstructured(layer, "weight", 0.5)
        else:
            getattr(nn.utils, change)(layer)
        model.eval()
        with torch.no_grad():
            (layer.weight_orig if hasattr(layer, "weight_orig") else layer.weight_g).mul_(1.5)
        expected = gradient_x_input(model, x, 1)
        assert relative_error(attribute(model, x, target=1, composite="lrp-0"), expected) < 1e-9


class TestTargets:
    @pytest.mark.parametrize("n", [4, 400])
    def test_as_people_have_them(self, n: int) -> None:
        model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 400))
        x = torch.rand(n, 3, 32, 32)
        expected = attribute(model, x, target=torch.arange(n))
        for target in (torch.arange(n).numpy(), torch.arange(n).numpy().astype("int16"), range(n), list(range(n))):
            assert torch.equal(attribute(model, x, target=target), expected)  # type: ignore[arg-type]
        one = attribute(model, x, target=2)
        for target in (torch.tensor(2), torch.tensor([2]), torch.tensor([2]).numpy()):
            assert torch.equal(attribute(model, x, target=target), one)  # type: ignore[arg-type]


def test_an_exported_program_and_wrappers_hold_the_network() -> None:
    model, x = (
        randomise(
            nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
            ),
            0,
        ),
        images(IMAGE, 2),
    )
    composite = Composite(At(Epsilon()))
    expected = attribute(model, x, target=1, composite=composite)
    program: Any = torch.export.export(model, (x,))
    averaged = torch.optim.swa_utils.AveragedModel(model)
    for held in (program, program.module(), averaged, nn.DataParallel(model), nn.DataParallel(averaged)):
        assert relative_error(attribute(held, x, target=1, composite=composite), expected) < 1e-9


def test_torchscript_is_refused_with_the_way_out() -> None:
    with pytest.raises(UnsupportedLayer, match=r"torch\.export") as refused:
        Explainer(torch.jit.trace(mlp([6, 3]).eval(), torch.rand(1, 6)))
    assert_clear(refused.value, "TorchScript")
