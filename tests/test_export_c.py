"""The C header of an export: compiled, run, and compared with torch, layer by layer and as a whole."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.data import Dataset, Split, Target
from lrp_core.errors import InputError, LrpError, StorageError, UnsupportedLayer
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, build_pruned, prune_inputs
from lrp_core.pruning.layers import Frame, Gather, Scatter
from lrp_core.study.export import export
from lrp_core.study.exporting import c_source
from lrp_core.study.exporting.c_layers import count_weights, steps_of_network
from lrp_core.study.exporting.c_source import CNetwork, run_c
from lrp_core.study.exporting.formats import find_compiler

from .support import check_sentence, stir

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler here"),
]

RELATIVE = 1e-4


def dataset(shape: tuple[int, ...], outputs: int = 3, *, target: Target | None = None) -> Dataset:
    """Numbers of any shape."""
    random = torch.Generator().manual_seed(1)
    values = torch.randn(90, *shape, generator=random)
    labels: Any = torch.randn(90, generator=random) if target else torch.arange(90) % outputs
    parts = [Split(values[a:b], labels[a:b], numbers=target is not None) for a, b in ((0, 30), (30, 60), (60, 90))]
    return Dataset("numbers", () if target else tuple("abcdefgh"[:outputs]), *parts, target=target)


def compiled(network: nn.Module, data: Dataset, folder: Path, *, is_int8: bool = False) -> tuple[Tensor, Tensor]:
    """What the C files and torch give for the test rows."""
    network = network.eval()
    pruned = hasattr(network, "mask")
    x = network.encode(data.test.inputs) if pruned else data.test.inputs
    kept = network.mask.indices.tolist() if pruned else list(range(data.n_inputs))
    CNetwork(steps_of_network(network, x), kept, data, is_int8).write(folder)
    answers, _ = run_c(folder, data.test.inputs)
    with torch.no_grad():
        return answers, network(x).double()


def check_same(network: nn.Module, data: Dataset, folder: Path) -> None:
    answers, expected = compiled(network, data, folder)
    assert answers.shape == expected.shape
    assert float((answers - expected).abs().max()) <= RELATIVE * float(expected.abs().max())
    assert float(expected.abs().max()) > 1e-3, "nothing is compared with nothing"


LAYERS: dict[str, tuple[tuple[int, ...], Any]] = {
    "dense": ((7,), lambda: [nn.Linear(7, 3)]),
    "dense without bias": ((7,), lambda: [nn.Linear(7, 5, bias=False), nn.ReLU(), nn.Linear(5, 3)]),
    "batch-norm first": ((7,), lambda: [nn.BatchNorm1d(7), nn.Linear(7, 3)]),
    "batch-norm after dense": ((7,), lambda: [nn.Linear(7, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)]),
    "batch-norm after relu": ((7,), lambda: [nn.Linear(7, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 3)]),
    "plain batch-norm": (
        (2, 6, 5),
        lambda: [nn.ReLU(), nn.BatchNorm2d(2, affine=False), nn.Flatten(), nn.Linear(60, 3)],
    ),
    "conv1d": ((2, 15), lambda: [nn.Conv1d(2, 4, 5, stride=2, padding=3, dilation=2), nn.Flatten(), nn.Linear(28, 3)]),
    "conv2d": (
        (2, 9, 8),
        lambda: [
            nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
            nn.Flatten(),
            nn.Linear(120, 3),
        ],
    ),
    "grouped": ((4, 6, 6), lambda: [nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(96, 3)]),
    "depthwise": ((4, 6, 6), lambda: [nn.Conv2d(4, 8, 3, groups=4, bias=False), nn.Flatten(), nn.Linear(128, 3)]),
    "same padding": ((1, 6, 7), lambda: [nn.Conv2d(1, 2, (5, 3), padding="same"), nn.Flatten(), nn.Linear(84, 3)]),
    "max-pool": (
        (2, 9, 9),
        lambda: [nn.MaxPool2d(3, stride=2, padding=1, dilation=2, ceil_mode=True), nn.Flatten(), nn.LazyLinear(3)],
    ),
    "max-pool 1d": ((2, 11), lambda: [nn.MaxPool1d(3, ceil_mode=True), nn.Flatten(), nn.LazyLinear(3)]),
    "average-pool": (
        (2, 9, 8),
        lambda: [nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True), nn.Flatten(), nn.LazyLinear(3)],
    ),
    "average-pool, padding not counted": (
        (2, 9, 8),
        lambda: [nn.AvgPool2d((3, 2), padding=1, count_include_pad=False), nn.Flatten(), nn.LazyLinear(3)],
    ),
    "average-pool, own divisor": (
        (2, 6, 6),
        lambda: [nn.AvgPool2d(2, divisor_override=3), nn.Flatten(), nn.LazyLinear(3)],
    ),
    "average-pool 1d": ((2, 11), lambda: [nn.AvgPool1d(4, stride=3, padding=2), nn.Flatten(), nn.LazyLinear(3)]),
    "global pool": ((2, 7, 5), lambda: [nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]),
    "adaptive pool": ((2, 7, 5), lambda: [nn.AdaptiveAvgPool2d((3, 2)), nn.Flatten(), nn.Linear(12, 3)]),
    "nested": ((7,), lambda: [nn.Sequential(nn.Linear(7, 5), nn.Sequential(nn.Dropout(), nn.ReLU())), nn.Linear(5, 3)]),
    "scatter": ((4,), lambda: [Scatter(torch.tensor([5, 0, 2, 9]), (1, 3, 4), 0.5), nn.Flatten(), nn.Linear(12, 3)]),
    "frame": ((2, 3, 3), lambda: [Frame(torch.randn(2, 5, 6), 1, 2), nn.Flatten(), nn.Linear(60, 3)]),
    "frame 1d": ((2, 4), lambda: [Frame(torch.randn(2, 7), 2), nn.Flatten(), nn.Linear(14, 3)]),
    "gather": ((5,), lambda: [Gather(torch.tensor([3, 0, 3, 4])), nn.Linear(4, 3)]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_computes_what_torch_does(name: str, tmp_path: Path) -> None:
    shape, layers = LAYERS[name]
    torch.manual_seed(2)
    network = nn.Sequential(*layers())
    data = dataset(shape)
    network.eval()(data.test.inputs[:1])  # sizes the lazy layers
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.2, 2)
            if layer.affine:
                nn.init.uniform_(layer.weight, -1, 1)
                nn.init.uniform_(layer.bias, -1, 1)
    check_same(network, data, tmp_path)


class Functional(nn.Module):
    """As people write them: functions, views and sizes in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 3, 3), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.out(F.dropout(x.view(x.size(0), -1), training=self.training))


class Reversed(nn.Module):
    """Reads its inputs in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(36, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.first(x.flatten(1).flip(1))))


@pytest.mark.parametrize("form", ["full", "pruned"])
def test_modules_of_your_own_that_are_one_path(form: str, tmp_path: Path) -> None:
    network: nn.Module = Functional().eval()
    if form == "pruned":
        network = prune_inputs(network, PixelMask.from_indices([1, 8, 20], (1, 6, 6)), fill=0.2)
    check_same(network, dataset((1, 6, 6)), tmp_path)


def test_inputs_that_are_gathered_in_another_order(tmp_path: Path) -> None:
    small = prune_inputs(Reversed().eval(), PixelMask.from_indices([1, 8, 20], (1, 6, 6)))
    steps = steps_of_network(small, torch.rand(1, 3))
    check_same(small, dataset((1, 6, 6)), tmp_path)
    assert [step.name for step in steps][-3:] == ["dense", "relu", "dense"]


@pytest.mark.parametrize("form", ["full", "sliced", "fresh"])
@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100", "lenet-5", "cnn-32-64", "cnn-1d"])
def test_the_projects_networks(architecture: str, form: str, tmp_path: Path) -> None:
    shape = (3, 22) if architecture == "cnn-1d" else (1, 12, 12)
    data = dataset(shape)
    network: nn.Module = stir(build_model(architecture, shape=shape, n_classes=3, seed=1), 1).eval()
    mask = PixelMask.from_indices(range(25, 40), shape)
    if form != "full":
        network = prune_inputs(network, mask, fill=0.3) if form == "sliced" else build_pruned(network.spec, mask)
    check_same(network, data, tmp_path)
    answers, expected = compiled(network, data, tmp_path, is_int8=True)
    assert float((answers - expected).abs().max()) <= 0.05 * float(expected.abs().max())
    assert float((answers.argmax(1) == expected.argmax(1)).double().mean()) >= 0.9
    assert not torch.equal(answers.float(), expected.float()), "bytes are not the weights themselves"


def test_numbers_of_tables_go_in_raw_and_a_number_comes_out(tmp_path: Path) -> None:
    data = dataset((5,), target=Target("yield", 400.0, 25.0))
    shifted = [
        Split(part.raw * 30 + 1000, part.labels, numbers=True) for part in (data.train, data.validation, data.test)
    ]
    data = Dataset("far", (), *shifted, target=data.target).standardised()
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1)).eval()
    made = export(network, tmp_path / "out", data=data, formats=("c", "c-int8"))
    raw = data.scaler.restore(data.test.inputs)
    answers, _ = run_c(made.folder / "c", raw)
    with torch.no_grad():
        expected = data.target.restore(network(data.test.inputs)[:, 0])
    assert torch.allclose(answers[:, 0], expected, rtol=1e-6)
    check = made.card["files"]["c-int8/network.h"]["check"]
    assert "equal_classes" not in check
    assert 0 < check["largest_difference"] < 0.05


def test_the_card_says_what_bytes_cost(toy: Dataset, tmp_path: Path) -> None:
    small = prune_inputs(build_model("lenet-5", toy, seed=1), PixelMask.from_indices([1, 8, 9, 14, 20, 28], (1, 6, 6)))
    made = export(small, tmp_path / "out", data=toy, formats=("c", "c-int8"))
    check = made.card["files"]["c-int8/network.h"]["check"]
    assert check["rows"] == 60
    assert check["tolerance"] is None
    assert 0.9 <= check["equal_classes"] <= 1
    assert 0 < check["largest_difference"] < 0.1
    assert made.card["files"]["c/network.h"]["check"]["tolerance"] == 1e-5
    assert made.card["files"]["c/network.h"]["input"] == {
        "kind": "full",
        "shape": ["n", 1, 6, 6],
        "dtype": "float32",
        "units": "pixels in [0, 1]: bytes divided by 255",
    }
    assert made.files["c-int8/network.h"] < made.files["c/network.h"] / 2


def test_bytes_that_are_too_coarse_are_refused(toy: Dataset, tmp_path: Path) -> None:
    """One weight so large that all others round to nothing."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=False)).eval()
    with torch.no_grad():
        network[1].weight[:, 0] = 1e4
    with pytest.raises(StorageError, match="too coarse for this network, choose c") as caught:
        export(network, tmp_path / "out", data=toy, formats=("c-int8",))
    check_sentence(caught.value)
    assert list(tmp_path.iterdir()) == []


class Joining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(36, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x.flatten(1)))
        return self.out(hidden + self.second(hidden))


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3)], r"layer '2' \(Tanh\) has no form in C"),
        ([nn.Flatten(), nn.LayerNorm(36), nn.Linear(36, 3)], r"layer '1' \(LayerNorm\)"),
        ([nn.ConvTranspose2d(1, 2, 2), nn.Flatten(), nn.Linear(98, 3)], r"\(ConvTranspose2d\)"),
        ([nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(72, 3)], r"\(Conv2d\)"),
        ([nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten(), nn.Linear(36, 3)], r"\(BatchNorm2d\)"),
        ([Joining()], "operation 'add'.* joins paths"),
    ],
    ids=["tanh", "layer-norm", "transposed", "circular", "no statistics", "joins"],
)
def test_what_c_does_not_hold_is_refused_by_its_name(layers: list, named: str, toy: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedLayer, match=named) as caught:
        export(nn.Sequential(*layers).eval(), tmp_path / "out", data=toy, formats=("c",))
    check_sentence(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_is_too_large_for_a_header(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_model("softmax", toy).eval()
    assert count_weights(steps_of_network(network, toy.test.inputs)) == 108
    monkeypatch.setattr(c_source, "MOST_WEIGHTS", 107)
    with pytest.raises(InputError, match="the network has 108 weights, and a C header holds up to 107") as caught:
        export(network, tmp_path / "out", data=toy, formats=("c",))
    check_sentence(caught.value)


def test_a_header_that_does_not_compile_is_not_offered(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_source.c_text, "EXAMPLE", "int main(void) { return unknown; }\n")
    with pytest.raises(LrpError, match=r"do not work here.*unknown") as caught:
        export(build_model("softmax", toy), tmp_path / "out", data=toy, formats=("c",))
    check_sentence(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_example_says_when_a_row_is_short(toy: Dataset, tmp_path: Path) -> None:
    made = export(build_model("softmax", toy), tmp_path / "out", data=toy, formats=("c",))
    program, source = tmp_path / "example", made.folder / "c" / "example.c"
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wno-unused-parameter", "-pedantic", "-Werror", "-O1"]
    subprocess.run([str(find_compiler()), *strict, str(source), "-o", str(program), "-lm"], check=True)
    for given, code in (("1 2 3\n", 2), ("a\n", 2), ("", 0), ("0.5 " * 36, 0)):
        done = subprocess.run([str(program)], input=given, capture_output=True, text=True, check=False)
        assert (done.returncode, bool(done.stderr)) == (code, code == 2), given
    assert len(done.stdout.split()) == 3
