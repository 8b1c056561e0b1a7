"""Networks of one's own by the place that a person names: read, refused, trained, pruned, exported, and asked."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lrp_core import loading
from lrp_core.errors import InputError, StorageError
from lrp_core.loading import open_network, use_network
from lrp_core.lrp import attribute
from lrp_core.models import ARCHITECTURES, ModelSpec
from lrp_core.pruning import PixelMask, prune_inputs
from lrp_core.state_dicts import read_state

from .support import ROOT, check_sentence

CODE = """
import torch
from torch import nn

class Skipping(nn.Module):
    def __init__(self, n_inputs, n_classes):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(n_inputs, 8), nn.Linear(8, 8), nn.Linear(8, n_classes)

    def forward(self, x):
        hidden = torch.relu(self.first(x.flatten(1)))
        return self.out(hidden + torch.relu(self.second(hidden)))

def build(n_inputs, n_classes=10):
    return Skipping(n_inputs, n_classes)

def by_spec(spec):
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(spec.shape).numel(), spec.n_classes))

def fixed():
    return Skipping(784, 10)

def needy(width, n_classes):
    return None

def none():
    return 7

trained = Skipping(784, 10)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(loading.NETWORK, raising=False)
    monkeypatch.delenv(loading.WEIGHTS, raising=False)
    file = tmp_path / "net.py"
    file.write_text(CODE)
    return file


def opened(place: str, **options: Any) -> nn.Module:
    return open_network(place, Shape(), **options)


class Shape:
    name, shape, classes = "shape", (1, 28, 28), tuple("0123456789")


@pytest.mark.parametrize("function", ["build", "by_spec", "fixed"])
def test_a_function_is_called_with_what_it_asks_for(file: Path, function: str) -> None:
    network = opened(f"{file}:{function}", seed=3)
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    again = opened(f"{file}:{function}", seed=3)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_a_module_of_a_package_is_named_without_a_file() -> None:
    network = open_network("torchvision.models:squeezenet1_1", shape_of((3, 64, 64), 1000))
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 1000)


def shape_of(size: tuple[int, ...], n: int) -> Any:
    data = Shape()
    data.shape, data.classes = size, tuple(map(str, range(n)))
    return data


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("{}:needy", "asks for width"),
        ("{}:none", "gives int"),
        ("{}:trained", "name a function that gives it"),
        ("{}:missing", "it has"),
        ("{}", "names no function"),
        ("{}x:build", "cannot be imported"),
        ("nowhere.at_all:build", "cannot be imported"),
        ("net.onnx", "onnx2torch"),
        ("net.safetensors", "holds weights alone"),
        ("net.keras", "Keras"),
        ("none.pt2", "none.pt2"),
    ],
)
def test_what_names_no_network_is_refused_in_a_sentence(file: Path, place: str, words: str) -> None:
    with pytest.raises((InputError, StorageError), match=words) as caught:
        opened(place.format(file))
    check_sentence(caught.value)


def test_a_network_for_other_data_is_refused(file: Path) -> None:
    with pytest.raises(InputError, match="tells 10 classes apart, and the data have 3"):
        open_network(f"{file}:fixed", shape_of((1, 28, 28), 3))
    with pytest.raises(InputError, match="does not take inputs of shape"):
        open_network(f"{file}:fixed", shape_of((1, 8, 8), 10))


@pytest.mark.parametrize("how", ["safetensors", "torch", "checkpoint", "parallel"])
def test_weights_are_taken_from_what_people_save(file: Path, tmp_path: Path, how: str) -> None:
    source = opened(f"{file}:build", seed=1)[0]
    state = {name: value + 1 for name, value in source.state_dict().items()}
    path = tmp_path / ("w.safetensors" if how == "safetensors" else "w.pt")
    if how == "safetensors":
        save_file(state, path)
    else:
        prefixed = {f"module.{name}": value for name, value in state.items()}
        torch.save({"torch": state, "checkpoint": {"state_dict": state, "epoch": 3}, "parallel": prefixed}[how], path)
    network = opened(f"{file}:build", weights=path)
    assert all(torch.equal(value, state[name.removeprefix("network.")]) for name, value in network.state_dict().items())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_but_tensors_is_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    for write in (lambda f: torch.save({"w": Bomb()}, f), lambda f: f.write_bytes(pickle.dumps(Bomb()))):
        write(tmp_path / "w.pt")
        with pytest.raises(StorageError, match="something else than tensors"):
            read_state(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("out.bias"), "lacks out.bias"),
        (lambda s: s.update(more=torch.zeros(1)), "has more too"),
        (lambda s: s.update({"out.bias": torch.zeros(3)}), r"out.bias is \(3,\), not \(10,\)"),
        (lambda s: s.clear(), "no state dict"),
    ],
)
def test_weights_that_do_not_fit_say_which(file: Path, tmp_path: Path, change: Any, words: str) -> None:
    state = opened(f"{file}:build")[0].state_dict()
    change(state)
    torch.save(dict(state), tmp_path / "w.pt")
    with pytest.raises((InputError, StorageError), match=words) as caught:
        opened(f"{file}:build", weights=tmp_path / "w.pt")
    check_sentence(caught.value)


def test_an_exported_program_is_explained_and_pruned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10)).eval()
    x = torch.rand(4, 1, 28, 28)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, tmp_path / "net.pt2")
    network = opened(str(tmp_path / "net.pt2"))
    assert torch.allclose(network(x), net(x), atol=1e-6)
    assert torch.allclose(attribute(network, x, target=0), attribute(net, x, target=0), atol=1e-6)
    mask = PixelMask.from_indices(range(100, 300), (1, 28, 28))
    small = prune_inputs(network, mask)
    assert torch.allclose(small(mask.apply(x)), net(mask.remove(x)), atol=1e-5)
    assert small.structure == "sliced"


def test_it_goes_to_other_processes_by_its_place(file: Path) -> None:
    builder = ARCHITECTURES[use_network(f"{file}:build")]
    again = pickle.loads(pickle.dumps(builder))
    assert again.fingerprint == builder.fingerprint
    assert again(ModelSpec("x", (5,), 2))(torch.rand(1, 5)).shape == (1, 2)
    file.write_text(CODE + "\n# changed\n")
    assert ARCHITECTURES[use_network(f"{file}:build")].fingerprint != builder.fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
def test_from_a_file_to_a_prediction(file: Path, tmp_path: Path, trained: bool) -> None:
    environment = os.environ | {"LRP_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}

    def said(*words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "lrp_core", *words]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    options = ["--network", "net.py:build"]
    if trained:
        torch.manual_seed(0)
        torch.save(opened(f"{file}:build")[0].state_dict(), tmp_path / "net.pt")
        options += ["--weights", "net.pt"]
    few = ["--train-images", "300", "--images", "60"]
    brief = few if trained else [*few, "--epochs", "1"]
    given = said("study", *options, *few, "--keeps", "100", "--seeds", "0", "--criteria", "lrp-0", "random", "--json")
    values = json.loads(given)
    assert values["trials"] == 4
    assert values["spec"]["architecture"] == "net:build"
    assert values["spec"]["epochs"] == (0 if trained else 5)
    scratch = ["--modes", "scratch", "--keeps", "100", "--seeds", "0", "--criteria", "random"]
    refusal = said("study", *options, *scratch, *brief, code=2 if trained else 0)
    assert ("fresh weights" in refusal) == trained
    told = said("export", *options, *brief, "--keep", "100", "--mode", "fine-tune", "--output", "out")
    line = next(line for line in told.splitlines() if "try it" in line)
    words = line.split("lrp_core ", 1)[1].split()
    assert "--network" in words
    assert "right" in said(*words)
    assert "score" in said("rank", *options, *brief, "--top", "3")
    assert "--network" in said("train", "--weights", "x.pt", code=2)
