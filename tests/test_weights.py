from __future__ import annotations

import json
import math
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor, nn

from lrp_core.errors import InputError, StorageError
from lrp_core.models import Network, build_model
from lrp_core.pruning import PixelMask, PrunedNetwork, build_pruned, couple, prune_inputs, shrink, widths_of
from lrp_core.pruning.files import checksum, describe, load_network, save_network, to_bytes

from .support import IMAGE_NETWORKS, check_sentence, frozen, is_one_sentence, python, stir, unchanged

SHAPE = (1, 6, 6)
MASK = PixelMask.from_indices([1, 8, 9, 20, 28], SHAPE)
FORMS = ["full", "sliced", "fresh"]
MARKER = "mask.indices"


def build(architecture: str, form: str, *, fill: float = 0.25) -> Network | PrunedNetwork:
    network = build_model(architecture, shape=SHAPE, n_classes=3, seed=5)
    if form == "sliced":
        return prune_inputs(stir(network, 1).eval(), MASK, fill=fill)
    if form == "fresh":
        network = build_pruned(network.spec, MASK, fill=fill, seed=6)
    return stir(network, 1).eval()


def inputs(network: Network | PrunedNetwork) -> Tensor:
    shape = (len(MASK),) if isinstance(network, PrunedNetwork) else SHAPE
    return torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))


def refused(path: Path) -> str:
    """The sentence with which a file is refused; anything but a `StorageError` fails the test."""
    with pytest.raises(StorageError) as caught:
        load_network(path)
    assert is_one_sentence(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def forge(path: Path, description: Any, tensors: dict[str, Tensor] | None = None) -> Path:
    """A file with a description made up here, around the tensors of a pruned softmax network."""
    tensors = load(to_bytes(build("softmax", "sliced"))) if tensors is None else tensors
    text = description if isinstance(description, str) else json.dumps(description)
    path.write_bytes(save(tensors, metadata={"lrp_core": f"{checksum(text, tensors)} {text}"}))
    return path


# Round trips


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
@pytest.mark.parametrize("form", FORMS)
def test_round_trips_are_bitwise_equal(architecture, form, tmp_path):
    network = build(architecture, form)
    save_network(network, tmp_path / "net.safetensors")
    found = load_network(tmp_path / "net.safetensors")
    assert unchanged(found, frozen(network))
    assert type(found) is type(network)
    assert describe(found) == describe(network)
    x = inputs(network)
    assert torch.equal(found(x), network.eval()(x))
    assert not any(layer.training for layer in found.modules())
    if isinstance(network, PrunedNetwork):
        assert torch.equal(found.mask.indices, MASK.indices)
        assert (found.fill, found.structure) == (0.25, form)
    assert to_bytes(found) == to_bytes(network)


def test_saving_changes_nothing_and_holds_no_reference(tmp_path):
    network = build("cnn-32-64", "sliced").train()
    before = frozen(network)
    save_network(network, tmp_path / "net")
    assert unchanged(network, before)
    found = load_network(tmp_path / "net")
    with torch.no_grad():
        next(found.parameters()).zero_()
    assert unchanged(load_network(tmp_path / "net"), before)


def test_the_data_set_is_remembered(toy, tmp_path):
    """If it loads by its name; data of your own may bear the name of another."""
    for data, name in ((toy.named(), "toy"), (toy, None)):
        save_network(build_model("softmax", data), tmp_path / "net")
        assert load_network(tmp_path / "net").spec.dataset == name


@pytest.mark.parametrize("fill", [0.0, 0.1, -3.5, 1e-300])
def test_any_fill_comes_back_exactly(fill, tmp_path):
    save_network(build("lenet-5", "sliced", fill=fill), tmp_path / "net")
    assert load_network(tmp_path / "net").fill == fill


def test_double_precision_is_kept_or_refused(tmp_path):
    network = build("mlp-300-100", "full").double()
    save_network(network, tmp_path / "net")
    try:
        found = load_network(tmp_path / "net")
    except StorageError:
        return
    assert unchanged(found, frozen(network))


# Files that are something else


def test_a_missing_file_and_a_folder(tmp_path, unchecked):
    assert "No such file" in refused(tmp_path / "nowhere.safetensors")
    refused(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_truncated_anywhere(form, tmp_path, unchecked):
    content = to_bytes(build("lenet-5", form))
    header = 8 + struct.unpack("<Q", content[:8])[0]
    path = tmp_path / "net.safetensors"
    for length in {0, 1, 7, 8, 9, header // 2, header - 1, header, header + 1, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:length])
        assert "truncated" in refused(path)
    path.write_bytes(content + b"\0")
    refused(path)


@given(content=st.binary(max_size=200))
def test_garbage(tmp_path, content, unchecked):
    (tmp_path / "net").write_bytes(content)
    refused(tmp_path / "net")


@pytest.mark.parametrize("length", [2**63, 2**62, 2**40, 10**8, 2])
def test_a_header_that_lies_about_its_length(tmp_path, length, unchecked):
    (tmp_path / "net").write_bytes(struct.pack("<Q", length) + b"{}" + b"\0" * 100)
    refused(tmp_path / "net")


@settings(max_examples=150)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), form=st.sampled_from(FORMS))
def test_a_flipped_bit_in_the_header_is_refused_or_harmless(tmp_path, position, bit, form, unchecked):
    content = bytearray(to_bytes(build("lenet-5", form)))
    content[int(position * (8 + struct.unpack("<Q", content[:8])[0]))] ^= 1 << bit
    (tmp_path / "net").write_bytes(content)
    try:
        found = load_network(tmp_path / "net")
    except StorageError as error:
        check_sentence(error)
    else:
        assert isinstance(found, Network | PrunedNetwork)
        assert found.spec.shape == SHAPE
        assert {p.dtype for p in found.parameters()} == {torch.float32}
        assert bool(torch.isfinite(found(inputs(found))).all())


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"lrp_core": ""}, {"lrp_core": "{"}], ids=str)
def test_safetensors_of_others(tmp_path, metadata, unchecked):
    (tmp_path / "net").write_bytes(save({"weight": torch.zeros(3)}, metadata=metadata))
    assert "no network of this project" in refused(tmp_path / "net")


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_nothing_is_ever_unpickled(tmp_path, unchecked):
    bomb = Bomb(tmp_path / "exploded")
    (tmp_path / "a.safetensors").write_bytes(pickle.dumps(bomb))
    torch.save({"x": bomb}, tmp_path / "b.safetensors")
    for name in ("a.safetensors", "b.safetensors"):
        refused(tmp_path / name)
    assert not bomb.path.exists()
    pickle.loads(pickle.dumps(bomb))
    assert bomb.path.exists(), "the bomb is a dud, and this test worth nothing"


# Hostile descriptions


MODEL = {"architecture": "softmax", "shape": [1, 6, 6], "n_classes": 3, "dataset": None}
GOOD = {"model": MODEL, "structure": "sliced", "fill": 0.25}


def test_the_forger_can_forge(tmp_path):
    assert describe(load_network(forge(tmp_path / "net", GOOD))) == describe(build("softmax", "sliced"))


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "resnet-50"},
        {"architecture": "__class__"},
        {"architecture": None},
        {"architecture": ["softmax"]},
        {"architecture": "lenet-5"},
        {"shape": [1, 2**20, 2**20]},
        {"shape": [2**31, 2**31, 2**31]},
        {"shape": [1, 10**300, 1]},
        {"shape": [1, -6, -6]},
        {"shape": [1, 6, -6]},
        {"shape": [0, 6, 6]},
        {"shape": []},
        {"shape": None},
        {"shape": 36},
        {"shape": "abc"},
        {"shape": [[1], [6], [6]]},
        {"shape": {"1": 6}},
        {"shape": [1, 6, math.inf]},
        {"shape": [1, 6, math.nan]},
        {"shape": [1, 5, 5]},
        {"shape": [1] * 100},
        {"n_classes": 10**12},
        {"n_classes": 2**63},
        {"n_classes": 10**300},
        {"n_classes": -3},
        {"n_classes": 0},
        {"n_classes": 1},
        {"n_classes": None},
        {"n_classes": "many"},
        {"n_classes": math.inf},
        {"n_classes": math.nan},
        {"n_classes": [3]},
        {"n_classes": 4},
        {"dataset": ["mnist"]},
        {"dataset": 3},
    ],
    ids=lambda change: repr(change)[:50],
)
@pytest.mark.parametrize("architecture", ["softmax", "lenet-5"])
def test_hostile_models(tmp_path, architecture, change, unchecked):
    if architecture == "lenet-5" and change == {"architecture": "lenet-5"}:
        change = {"architecture": "cnn-32-64"}
    tensors = load(to_bytes(build(architecture, "sliced")))
    description = GOOD | {"model": MODEL | {"architecture": architecture} | change}
    refused(forge(tmp_path / "net", description, tensors))


@pytest.mark.parametrize(
    "description",
    [
        None,
        [],
        {},
        3,
        "null",
        '"text"',
        '["model"]',
        "[" * 100_000,
        '{"model": ' * 50_000,
        GOOD | {"model": None},
        GOOD | {"model": []},
        GOOD | {"model": "softmax"},
        {key: value for key, value in GOOD.items() if key != "fill"},
        {key: value for key, value in GOOD.items() if key != "structure"},
        {"model": MODEL},
        GOOD | {"fill": math.nan},
        GOOD | {"fill": math.inf},
        GOOD | {"fill": "much"},
        GOOD | {"fill": None},
        GOOD | {"fill": [0.0]},
        GOOD | {"structure": "melted"},
        GOOD | {"structure": None},
        GOOD | {"structure": ["sliced"]},
    ],
    ids=lambda description: str(description)[:50],
)
def test_hostile_descriptions(tmp_path, description, unchecked):
    refused(forge(tmp_path / "net", description))


@pytest.mark.parametrize(
    "indices",
    [
        torch.tensor([1, 8, 9, 20, 36]),
        torch.tensor([-1, 8, 9, 20, 28]),
        torch.tensor([1, 8, 9, 20, 20]),
        torch.tensor([1, 8, 9, 20]),
        torch.tensor([], dtype=torch.int64),
        torch.arange(37),
        torch.tensor([1.0, 8.0, 9.0, 20.0, 28.7]),
        torch.tensor([1.0, 8.0, 9.0, 20.0, math.nan]),
        torch.tensor([[1, 8, 9, 20, 28]]),
        torch.tensor([28, 1, 8, 9, 20]),
        torch.ones(36, dtype=torch.bool),
        torch.tensor([2**62, 8, 9, 20, 28]),
    ],
    ids=lambda t: f"{t.dtype}{tuple(t.shape)}{t.flatten()[-1:].tolist()}",
)
def test_hostile_indices(tmp_path, indices, unchecked):
    """Among them unordered ones: columns and pixels would no longer belong together."""
    tensors = load(to_bytes(build("softmax", "sliced"))) | {MARKER: indices}
    refused(forge(tmp_path / "net", GOOD, tensors))


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {MARKER: MASK.indices},
        {MARKER: MASK.indices, "body.logits.weight": torch.zeros(3, 5)},
        {MARKER: MASK.indices, "body.logits.weight": torch.zeros(3, 6), "body.logits.bias": torch.zeros(3)},
        {MARKER: MASK.indices, "logits.weight": torch.zeros(3, 5), "logits.bias": torch.zeros(3)},
        {
            MARKER: MASK.indices,
            "body.logits.weight": torch.zeros(3, 5),
            "body.logits.bias": torch.zeros(3),
            "more": torch.zeros(1),
        },
        {"body.logits.weight": torch.zeros(3, 5), "body.logits.bias": torch.zeros(3)},
        {
            MARKER: MASK.indices,
            "body.logits.weight": torch.zeros(3, 5, dtype=torch.int32),
            "body.logits.bias": torch.zeros(3, dtype=torch.int32),
        },
    ],
    ids=["nothing", "indices only", "no bias", "too wide", "other names", "one too many", "no indices", "integers"],
)
def test_tensors_that_do_not_fit(tmp_path, tensors, unchecked):
    refused(forge(tmp_path / "net", GOOD, tensors))


# Networks that have lost hidden units


def narrow(network: nn.Module, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    """The network without every second unit of each layer."""
    coupling = couple(network, shape)
    removed = torch.zeros(coupling.n_units, dtype=torch.bool)
    for family in coupling.families:
        if not family.inputs:
            removed[family.units[1::2]] = True
    return shrink(network, coupling, removed).eval()


class Own(nn.Module):
    """A module that no file can build, with groups and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.pairs, self.deep = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 4, 1, groups=4)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        return self.out((x + self.deep(self.pairs(x).relu())).mean((2, 3)))


def sequence() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, 6), nn.PReLU(6), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)
    ).eval()


def grouped() -> nn.Sequential:
    parts = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=8)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(32, 3)).eval()


BUILT_IN = ("mlp-300-100", "lenet-5", "cnn-32-64")
NARROW = {"sequence": sequence, "grouped": grouped, "own": lambda: stir(Own(), 3).eval()} | {
    name: lambda name=name: stir(build_model(name, shape=SHAPE, n_classes=3, seed=2), 1).eval() for name in BUILT_IN
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NARROW)
def test_networks_without_some_units_come_back(name, masked, tmp_path):
    full = NARROW[name]()
    network = narrow(full)
    if masked:
        network = prune_inputs(network, MASK, fill=0.25).eval()
    assert widths_of(network) == widths_of(narrow(full)) != {}
    save_network(network, tmp_path / "net")
    before = frozen(full)
    found = load_network(tmp_path / "net", full if name == "own" else None)
    assert unchanged(found, frozen(network))
    assert unchanged(full, before)
    assert type(found) is type(network)
    assert describe(found) == describe(network)
    assert widths_of(found) == widths_of(network)
    x = torch.rand(4, *((len(MASK),) if masked else SHAPE), generator=torch.Generator().manual_seed(0))
    assert torch.equal(found(x), network(x))
    assert to_bytes(found) == to_bytes(network)
    if name == "own":
        with pytest.raises(InputError, match="network=") as caught:
            load_network(tmp_path / "net")
        check_sentence(caught.value)
    else:
        assert unchanged(load_network(tmp_path / "net", full), frozen(network))


def test_full_networks_say_nothing_of_widths():
    assert "widths" not in describe(sequence())


WIDE = 2**40


@pytest.mark.parametrize(
    "widths",
    [
        None,
        [],
        "2",
        {},
        {"2": [3]},
        {"2": [2, 4, 1]},
        {"2": 4},
        {"2": None},
        {"2": ["4", 2]},
        {"2": "42"},
        {"2": [4.0, 2]},
        {"2": [4, 2.0]},
        {"2": [True, 2]},
        {"2": [None, 2]},
        {"2": [math.nan, 2]},
        {"2": [-4, 2]},
        {"2": [4, -2]},
        {"2": [0, 2]},
        {"2": [4, 0]},
        {"2": [WIDE, 2]},
        {"2": [4, WIDE]},
        {"2": [10**300, 2]},
        {"2": [9, 2]},
        {"2": [3, 2]},
        {"2": [4, 3]},
        {"2": [4, 4]},
        {"2": [4, None]},
        {"2": [2, 2]},
        {"4": [3, 4]},
        {"4": [4, 8]},
        {"6": [2, 16]},
        {"1": [2, 2]},
        {"7": [2, 2]},
        {"": [2, 2]},
        {"forward": [2, 2]},
    ],
    ids=lambda widths: str(widths)[:40],
)
def test_hostile_widths(tmp_path, widths, unchecked):
    """They are laid over those of a network that is whole, which is given, as a file of a class of your own needs."""
    network = narrow(grouped())
    good = {"class": "Sequential", "widths": describe(network)["widths"]}
    tensors = load(to_bytes(network))
    assert unchanged(load_network(forge(tmp_path / "good", good, tensors), grouped()), frozen(network))
    changed = good["widths"] | widths if isinstance(widths, dict) and widths else widths
    path = forge(tmp_path / "net", good | {"widths": changed}, tensors)
    with pytest.raises(StorageError) as caught:
        load_network(path, grouped())
    check_sentence(caught.value)


@pytest.mark.parametrize(
    "sizes", [[WIDE, None], [10**300, None], [0, None], [-1, None], [301, None], ["3", None], [3.5, 1]]
)
def test_hostile_widths_of_a_built_in_network(tmp_path, sizes, unchecked):
    network = narrow(NARROW["mlp-300-100"]())
    good, tensors = describe(network), load(to_bytes(network))
    assert unchanged(load_network(forge(tmp_path / "good", good, tensors)), frozen(network))
    refused(forge(tmp_path / "net", good | {"widths": good["widths"] | {"fc1": sizes}}, tensors))


def test_a_network_that_is_given_has_to_be_the_full_one(tmp_path):
    network = narrow(Own().eval())
    save_network(network, tmp_path / "net")
    for given_one in (sequence(), Own().eval().stem):
        with pytest.raises(StorageError) as caught:
            load_network(tmp_path / "net", given_one)
        check_sentence(caught.value)


LOAD = """
import resource, sys
from pathlib import Path
from lrp_core.errors import StorageError
from lrp_core.pruning.files import load_network
load_network(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_network(Path(sys.argv[2]))
except StorageError:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""

GREEDY = {
    "many inputs": ("softmax", [1, 2**13, 2**13], 2),
    "many classes": ("softmax", [1, 1, 2], 2**26),
    "many channels": ("lenet-5", [2**19, 1, 2**11], 2),
    "large images": ("cnn-32-64", [1, 2**9, 2**10], 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("greed", GREEDY)
def test_a_small_file_never_takes_much_memory(tmp_path, greed):
    """What a file of a kilobyte asks for is compared with what it holds before anything of that size is built."""
    architecture, shape, n_classes = GREEDY[greed]
    good = forge(tmp_path / "good", GOOD)
    model = {"architecture": architecture, "shape": shape, "n_classes": n_classes, "dataset": None}
    done = python(LOAD, good, forge(tmp_path / "greedy", GOOD | {"model": model}))
    assert done.stdout.strip(), done.stderr[-500:]
    assert int(done.stdout) < 200, f"{done.stdout.strip()} MiB"
