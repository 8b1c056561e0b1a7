"""The networks for series: they take any, LRP explains them, and pruning makes them smaller, channels included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import lrp_core as lc
from lrp_core.data import Dataset, Split
from lrp_core.errors import InputError
from lrp_core.evaluation import measure_cost
from lrp_core.lrp import STARTS, Explainer
from lrp_core.lrp.starts import start_relevance
from lrp_core.models import ModelSpec, Network, build_model, register_model
from lrp_core.pruning import PixelMask, PrunedNetwork, build_pruned, load_network, prune_inputs, save_network
from lrp_core.ranking import Elimination
from lrp_core.study import plan
from lrp_core.study.export import export

from .support import SERIES_NETWORKS, frozen, is_one_sentence, livened, stir, unchanged

SHAPE = (3, 22)
FILLS = st.sampled_from([0.0, 0.0, 1.0, -2.5])
COMPOSITES = ("lrp-0", "epsilon-plus", "attn-lrp")
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # beartype does, to pick what to check


def series(n: int, seed: int, shape: tuple[int, int] = SHAPE) -> Split:
    """Noise, and in the first channel a rise for one class, a fall for the other."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    x = torch.randn(n, *shape, generator=random)
    ramp = torch.linspace(-2, 2, shape[1])
    x[:, 0] += torch.where(labels == 0, 1.0, -1.0)[:, None] * ramp
    return Split(x, labels, torch.arange(n))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset("ramps", ("up", "down"), series(240, 1), series(60, 2), series(60, 3))


@st.composite
def masks(draw: st.DrawFn, shape: Sequence[int]) -> PixelMask:
    """Whole channels, whole steps, stretches of time and dust, alone and inside each other."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    keep = np.ones(shape, bool)
    if draw(st.booleans()):
        keep &= (random.random((shape[0], *[1] * (len(shape) - 1))) < 0.5).reshape(shape[0], *[1] * (len(shape) - 1))
    for axis in range(1, len(shape)):
        kind = draw(st.sampled_from(["all", "stretch", "steps"]))
        along = np.ones(shape[axis], bool)
        if kind == "stretch":
            first, end = sorted(random.integers(0, shape[axis] + 1, 2))
            along = (np.arange(shape[axis]) >= first) & (np.arange(shape[axis]) < end)
        elif kind == "steps":
            along = random.random(shape[axis]) < 0.4
        keep &= np.moveaxis(along.reshape(-1, *[1] * (len(shape) - 1)), 0, axis)
    keep &= random.random(shape) < draw(st.sampled_from([1.0, 1.0, 0.3]))
    assume(keep.any())
    return PixelMask.from_indices(np.flatnonzero(keep), shape)


def batch(shape: Sequence[int], n: int = 3) -> Tensor:
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def assert_same_function(network: nn.Module, mask: PixelMask, fill: float = 0.0) -> PrunedNetwork:
    small, x = prune_inputs(network, mask, fill=fill), batch(mask.shape)
    expected, found = network(mask.remove(x, fill)), small(mask.apply(x))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-10 * max(1, float(expected.abs().max()))
    return small


def first_convolution(network: nn.Module) -> Any:
    return next(layer for layer in network.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d))


# What they are


@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
@given(shape=st.tuples(st.integers(1, 4), st.integers(1, 60)), n_classes=st.integers(2, 5), n=st.integers(1, 3))
@settings(max_examples=15)
def test_they_take_any_series(architecture, shape, n_classes, n):
    model = build_model(architecture, shape=shape, n_classes=n_classes).eval()
    x = torch.randn(n, *shape, requires_grad=True)
    logits = model(x)
    assert logits.shape == (n, n_classes)
    logits[:, 0].sum().backward()
    assert bool((x.grad != 0).any(0).all()), "a step that the network does not look at"


@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
@pytest.mark.parametrize("shape", [(50,), (1, 8, 8)])
def test_other_inputs_are_refused(architecture, shape):
    with pytest.raises(
        InputError, match=rf"^{architecture} needs series \(channels, length\), not inputs of"
    ) as caught:
        build_model(architecture, shape=shape, n_classes=3)
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
def test_a_seed_decides_the_weights(architecture):
    first, again, other = (build_model(architecture, shape=SHAPE, n_classes=2, seed=s) for s in (5, 5, 6))
    assert unchanged(again, frozen(first))
    assert not unchanged(other, frozen(first))


def test_the_blocks_of_the_transformer_start_unlike():
    model = build_model("transformer-1d", shape=SHAPE, n_classes=2)
    assert not torch.equal(model.block1.linear1.weight, model.block2.linear1.weight)


@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
def test_they_learn(data, architecture):
    trained = lc.fit(build_model(architecture, data), data, recipe=lc.Recipe(epochs=6, batch_size=32), device="cpu")
    assert lc.evaluate(build_model(architecture, data), data.test, device="cpu").accuracy < 0.8
    assert lc.evaluate(trained, data.test, device="cpu").accuracy > 0.95


@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
@pytest.mark.parametrize("form", ["full", "sliced", "fresh"])
def test_their_cost_is_torchs_own(architecture, form):
    model: nn.Module = build_model(architecture, shape=SHAPE, n_classes=3)
    mask = PixelMask.from_indices(range(4, 40), SHAPE)
    if form != "full":
        model = prune_inputs(model, mask) if form == "sliced" else build_pruned(model.spec, mask)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.train()(torch.zeros(2, *((len(mask),) if form != "full" else SHAPE)))
    assert measure_cost(model).flops * 2 == counter.get_total_flops()


def test_a_shorter_series_never_costs_more():
    for architecture in SERIES_NETWORKS:
        costs = [
            measure_cost(build_model(architecture, shape=(2, n), n_classes=3)).macs for n in (*range(1, 20), 33, 64, 65)
        ]
        assert costs == sorted(costs)


# Relevance


@pytest.mark.slow
@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
def test_relevance_adds_up(architecture, composite):
    """What arrives at the inputs and what layers kept are what started at the logit."""
    model, x = livened(architecture, SHAPE, 4), batch(SHAPE)
    for start in STARTS:
        explanation = Explainer(model, composite).explain(x, torch.tensor([1, 0, 3]), start)
        assert explanation.relevance.shape == x.shape
        assert bool(explanation.relevance.isfinite().all())
        started = start_relevance(model(x).detach(), explanation.target, start)[1].dense().sum(1)
        kept = sum((b.absorbed for b in explanation.balance), torch.zeros_like(started))
        scale = max(float(r.abs().flatten(1).sum(1).max()) for r in explanation.layers.values())
        assert float((explanation.relevance.flatten(1).sum(1) + kept - started).abs().max()) < 1e-8 * scale


def without_biases(model: Network) -> Network:
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.running_mean.zero_()
            if getattr(layer, "bias", None) is not None:
                layer.bias.zero_()
    return model


def test_without_biases_lrp_0_loses_nothing():
    model, x = without_biases(livened("cnn-1d", SHAPE, 4)), batch(SHAPE)
    relevance = lc.attribute(model, x, target=2, composite="lrp-0")
    torch.testing.assert_close(relevance.flatten(1).sum(1), model(x)[:, 2].detach())


def test_lrp_0_of_the_convolutional_one_is_gradient_x_input():
    model, x = livened("cnn-1d", SHAPE, 4), batch(SHAPE).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    torch.testing.assert_close(lc.attribute(model, x.detach(), target=1, composite="lrp-0"), (x * gradient).detach())


@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
def test_a_trained_network_is_explained_by_the_channel_that_tells(data, architecture):
    trained = lc.fit(build_model(architecture, data), data, recipe=lc.Recipe(epochs=6, batch_size=32), device="cpu")
    ranking = lc.rank(trained, data.train, criterion="lrp-0")
    assert float((ranking.order[:10] < SHAPE[1]).double().mean()) > 0.7


# Pruning


@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
@given(st.data())
@settings(max_examples=40)
def test_the_small_network_computes_the_same(architecture, data):
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 30)))
    mask, fill = data.draw(masks(shape)), data.draw(FILLS)
    small = assert_same_function(livened(architecture, shape, 3, data.draw(st.integers(0, 3))), mask, fill)
    kept = len(mask.channels) if fill == 0 else shape[0]
    assert first_convolution(small).in_channels == kept


@pytest.mark.parametrize("architecture", ["lenet-5", "cnn-32-64"])
@given(st.data())
@settings(max_examples=20)
def test_images_lose_the_channels_without_a_kept_input(architecture, data):
    shape = data.draw(st.tuples(st.integers(2, 4), st.integers(1, 12), st.integers(1, 12)))
    mask, fill = data.draw(masks(shape)), data.draw(FILLS)
    small = assert_same_function(livened(architecture, shape, 3), mask, fill)
    assert first_convolution(small).in_channels == (len(mask.channels) if fill == 0 else shape[0])


def test_the_weights_of_kept_channels_are_kept():
    for architecture, shape in (("cnn-1d", (4, 9)), ("transformer-1d", (4, 9)), ("lenet-5", (4, 6, 6))):
        network = livened(architecture, shape, 3)
        step = math.prod(shape[1:])
        small = prune_inputs(network, PixelMask.from_indices([*range(step), *range(2 * step, 3 * step)], shape))
        assert torch.equal(first_convolution(small).weight, first_convolution(network).weight[:, [0, 2]])
        assert small.structure == "sliced"
        assert measure_cost(small).macs < measure_cost(network).macs


def test_the_convolutional_one_computes_on_a_stretch_of_time_alone():
    network = livened("cnn-1d", (2, 200), 3)
    macs = [
        measure_cost(prune_inputs(network, PixelMask.from_indices(range(90, 90 + k), (2, 200)))).macs for k in (9, 99)
    ]
    assert macs[0] < macs[1] < measure_cost(network).macs
    assert macs[0] < measure_cost(network).macs / 3


def test_a_transformer_that_loses_no_channel_says_that_it_is_no_cheaper():
    small = prune_inputs(livened("transformer-1d", SHAPE, 3), PixelMask.from_indices(range(0, 66, 2), SHAPE))
    assert small.structure == "canvas"
    assert "no cheaper" in small.note


class Twice(nn.Module):
    """Two convolutions read the input, each in its own way, and no sequence leads to the logits."""

    def __init__(self, groups: int = 1, same: bool = False) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.3)
        self.wide = nn.Conv1d(4, 4, 5, padding=2, groups=groups)
        self.narrow = self.wide if same else nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular")
        self.logits = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(x)
        return self.logits((self.wide(x).relu() + self.narrow(x).tanh()).mean(-1).view(x.size(0), -1))


class Turned(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flip(1))


CHANNELS_0_AND_2 = PixelMask.from_indices([*range(10), *range(20, 30)], (4, 10))


def test_all_convolutions_that_read_the_input_lose_channels():
    network = Twice().double().eval()
    small = assert_same_function(network, CHANNELS_0_AND_2)
    assert {layer.in_channels for layer in small.modules() if isinstance(layer, nn.Conv1d)} == {2}
    assert [layer.in_channels for layer in (network.wide, network.narrow)] == [4, 4]
    assert small.train()(torch.randn(3, 20, dtype=torch.float64)).shape == (3, 2)


@pytest.mark.parametrize("network", [Twice(groups=2), Twice(same=True), Turned()], ids=["grouped", "shared", "turned"])
def test_channels_stay_where_they_cannot_go(network):
    small = assert_same_function(network.double().eval(), CHANNELS_0_AND_2)
    assert small.structure == "canvas"
    assert first_convolution(small).in_channels == 4


def test_channels_stay_where_they_are_filled_with_another_number():
    small = assert_same_function(Twice().double().eval(), CHANNELS_0_AND_2, fill=0.5)
    assert small.structure == "canvas"


@st.composite
def stacks(draw: st.DrawFn) -> Network:
    """Sequences beyond the registry: any kernel, stride, padding, dilation, groups, with and without pooling."""
    shape = draw(st.integers(1, 3)) * 2, draw(st.integers(6, 20))
    torch.manual_seed(draw(st.integers(0, 99)))
    layers: list[nn.Module] = [nn.Dropout(0.2)] if draw(st.booleans()) else []
    x = torch.zeros(2, *shape)
    for i in range(draw(st.integers(1, 3))):
        kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        if draw(st.booleans()) or i == 0:
            layer: nn.Module = nn.Conv1d(
                *(x.shape[1], 4, kernel, stride, draw(st.integers(0, 3))),
                dilation=draw(st.integers(1, 2)), groups=draw(st.sampled_from([1, 1, 2])), bias=draw(st.booleans()),
            )  # fmt: skip
        else:
            layer = nn.MaxPool1d(kernel, stride, draw(st.integers(0, kernel // 2)))
        try:
            x = layer(x)
        except RuntimeError:
            assume(False)
        layers += [layer, *([nn.BatchNorm1d(x.shape[1]), nn.ReLU()] if draw(st.booleans()) else [])]
    layers += [nn.Flatten(), nn.Linear(x[0].numel(), 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)]
    named = [(f"layer{i}", layer) for i, layer in enumerate(layers)]
    return stir(Network(ModelSpec("custom", shape, 3), named).double(), 1).eval()


@given(st.data())
def test_any_sequence_of_known_layers_computes_the_same(data):
    network = data.draw(stacks())
    mask = data.draw(masks(network.spec.shape))
    try:
        assert_same_function(network, mask, data.draw(FILLS))
    except InputError as error:  # strides leave some out
        if "reads none of the kept inputs" not in str(error):
            raise


# Networks for the kept inputs from scratch


@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
@given(st.data())
@settings(max_examples=20)
def test_a_fresh_network_is_that_of_the_kept_channels_and_stretch(architecture, data):
    mask, fill = data.draw(masks((3, 17))), data.draw(FILLS)
    small = build_pruned(ModelSpec(architecture, (3, 17), 4), mask, fill=fill).eval()
    (stretch,), channels = mask.bounding_box(), mask.channels
    length = stretch.stop - stretch.start
    steps = mask.keep.any(0).nonzero().flatten()
    assert (int(steps[0]), int(steps[-1]) + 1) == (stretch.start, stretch.stop)
    twin = build_model(architecture, shape=(len(channels), length), n_classes=4).eval()
    x = batch((3, 17)).float()
    expected = twin(mask.remove(x, fill)[:, channels][..., stretch])
    assert torch.allclose(small(mask.apply(x)), expected, atol=1e-6)


def test_fresh_networks_for_images_are_those_of_the_kept_channels():
    mask = PixelMask.from_indices(range(64, 128), (3, 8, 8))
    assert build_pruned(ModelSpec("lenet-5", (3, 8, 8), 4), mask).body.conv1.in_channels == 1


def test_a_builder_of_a_fixed_number_of_channels_gets_them_all():
    def build(spec: ModelSpec) -> nn.Module:
        return nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2))

    register_model("three-channels", build)
    mask = PixelMask.from_indices(range(22, 40), SHAPE)
    small = build_pruned(ModelSpec("three-channels", SHAPE, 2), mask)
    assert small(torch.randn(2, 18)).shape == (2, 2)
    assert small.body.scatter.shape == (3, 18)


# Files


@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
@pytest.mark.parametrize("form", ["full", "channels", "stretch", "fresh"])
def test_round_trips_are_bitwise_equal(architecture, form, tmp_path):
    network: nn.Module = stir(build_model(architecture, shape=SHAPE, n_classes=3, seed=5), 1).eval()
    mask = PixelMask.from_indices(range(25, 40) if form != "stretch" else range(5, 60), SHAPE)
    if form == "fresh":
        network = stir(build_pruned(network.spec, mask, seed=6), 1).eval()
    elif form != "full":
        network = prune_inputs(network, mask)
    save_network(network, tmp_path / "net")
    found = load_network(tmp_path / "net")
    assert unchanged(found, frozen(network))
    x = torch.randn(4, *(SHAPE if form == "full" else (len(mask),)))
    assert torch.equal(found(x), network(x))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
@pytest.mark.parametrize("form", ["full", "sliced", "fresh"])
def test_files_that_run_without_the_project(architecture, form, data, tmp_path: Path):
    """Writing one runs it on batches of two sizes, and refuses what answers otherwise."""
    network: nn.Module = stir(build_model(architecture, data), 1).eval()
    mask = PixelMask.from_indices(range(25, 40), SHAPE)
    if form != "full":
        network = prune_inputs(network, mask) if form == "sliced" else build_pruned(network.spec, mask)
    formats = ("state-dict", "pt2", "onnx", "standalone", *(("c", "c-int8") if architecture == "cnn-1d" else ()))
    card = export(network, tmp_path / "out", data=data, formats=formats).card
    checked = {file["format"] for file in card["files"].values() if "check" in file}
    assert checked == {"safetensors", *formats}


# In a study


@pytest.mark.slow
@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
def test_inputs_are_eliminated(data, architecture):
    network = build_model(architecture, data)
    options = Elimination(drop=0.6, fine_drop=0.6, updates=1, explained=20)
    ranking = lc.eliminate(network, data.train, options=options)
    assert sorted(ranking.order.tolist()) == list(range(66))


@pytest.mark.parametrize(
    ("architecture", "shape", "reason"),
    [
        ("lenet-5", (7,), "lenet-5 needs images"),
        ("lenet-5", SHAPE, "lenet-5 needs images"),
        ("cnn-1d", (7,), "cnn-1d needs series"),
        ("transformer-1d", (1, 6, 6), "transformer-1d needs series"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused_before_anything_runs(architecture, shape, reason):
    x = torch.randn(30, *shape)
    part = Split(x, torch.arange(30) % 2, torch.arange(30))
    other = Dataset("other", ("a", "b"), part, part, part)
    with pytest.raises(InputError, match=f"^{reason}") as caught:
        plan(lc.preset("quick", other, architecture=architecture), other)
    assert is_one_sentence(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", SERIES_NETWORKS)
def test_a_study_of_series(data, architecture, own_cache):
    study = lc.preset(
        *("quick", data), architecture=architecture, modes=("none", "fine-tune", "scratch"), seeds=(0,),
        keeps=(22, 40), criteria=("lrp-0", "weight", "variance"), epochs=4, retrain_epochs=2, n_train=None,
    )  # fmt: skip
    result = lc.run(study, jobs=1)
    assert len(result.trials) == 2 + 3 * 3 * 2
    by_mode = result.trials.groupby("mode")["macs"].max()
    assert by_mode["scratch"] <= by_mode["none"]
    best = result.trials[(result.trials["criterion"] == "lrp-0") & (result.trials["mode"] == "scratch")]
    assert best["test_score"].max() > 0.9
