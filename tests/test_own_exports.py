"""Networks that people bring, in files and exports: built from them, or given again."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.data import Dataset, Split
from lrp_core.errors import InputError, StorageError
from lrp_core.pruning import PixelMask, load_network, prune_inputs, save_network
from lrp_core.pruning.descriptions import build_layers, describe_layers
from lrp_core.pruning.files import checksum, describe, to_bytes
from lrp_core.study.export import CARD, WEIGHTS, export, load_export, predict
from lrp_core.training import Recipe, fit

from .own_networks import ALL, MASK, ConvolutionalResidual, Residual, batch, built
from .support import check_sentence, frozen, unchanged

pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # beartype does, to pick what to check

SEQUENCES = [name for name in ALL if isinstance(ALL[name](), nn.Sequential)]
MODULES = [name for name in ALL if name not in SEQUENCES]


@pytest.mark.parametrize("form", ["full", "pruned"])
@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_of_torchs_layers_are_built_from_their_files(name, form, tmp_path):
    network = built(name) if form == "full" else prune_inputs(built(name), MASK, fill=0.3)
    save_network(network, tmp_path / "net")
    found = load_network(tmp_path / "net")
    assert unchanged(found, frozen(network))
    assert describe(found) == describe(network)
    x = batch() if form == "full" else MASK.apply(batch())
    assert torch.equal(found(x), network(x))
    assert to_bytes(found) == to_bytes(network)


@pytest.mark.parametrize("form", ["full", "pruned"])
@pytest.mark.parametrize("name", MODULES)
def test_other_modules_are_given_again(name, form, tmp_path):
    network = built(name) if form == "full" else prune_inputs(built(name), MASK, fill=0.3)
    save_network(network, tmp_path / "net")
    with pytest.raises(InputError, match=f"{type(built(name)).__name__}.*network=") as caught:
        load_network(tmp_path / "net")
    check_sentence(caught.value)
    fresh = built(name, seed=7)
    before = frozen(fresh)
    found = load_network(tmp_path / "net", fresh)
    assert unchanged(fresh, before)
    x = batch() if form == "full" else MASK.apply(batch())
    assert torch.equal(found(x), network(x))
    with pytest.raises(StorageError, match="does not fit"):
        load_network(tmp_path / "net", nn.Sequential(nn.Flatten(), nn.Linear(36, 2)))


def test_shared_layers_and_state_that_is_no_tensor(tmp_path):
    layer = nn.Linear(36, 36)
    network = nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer)
    save_network(network, tmp_path / "net")
    assert torch.equal(load_network(tmp_path / "net")(batch().float()), network(batch().float()))

    class Extra(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"secret": 1}

    with pytest.raises(InputError, match="no tensor"):
        save_network(Extra(3, 3), tmp_path / "other")


def test_files_say_that_they_are_pytorchs():
    content = to_bytes(built("nested"))
    size = struct.unpack("<Q", content[:8])[0]
    assert json.loads(content[8 : 8 + size])["__metadata__"]["format"] == "pt"
    assert size % 8 == 0


@pytest.mark.parametrize(
    "layers",
    [
        None,
        [],
        [{"name": "a", "type": "Embedding", "arguments": {}}],
        [{"name": "a", "type": "Linear", "arguments": {"in_features": 36, "out_features": 3, "device": "cuda"}}],
        [{"name": "a", "type": "Linear", "arguments": {"in_features": "36", "out_features": 3}}],
        [{"name": "a", "type": "Linear", "arguments": {"in_features": [36], "out_features": 3}}],
        [{"name": "a", "type": "Linear", "arguments": {"in_features": 36, "out_features": 10**12}}],
        [{"name": "a.b", "type": "Flatten", "arguments": {}}],
        [{"name": "forward", "type": "Flatten", "arguments": {}}],
        [{"name": "a", "type": ["Flatten"], "arguments": {}}],
        [{"name": "a", "type": "Sequential", "layers": "abc"}],
        [{"name": "a", "type": "Flatten", "arguments": []}],
        [{"name": "a", "type": "Flatten"}],
        ["Flatten"],
        {"name": "a"},
    ],
    ids=lambda layers: str(layers)[:60],
)
def test_hostile_descriptions_of_layers(layers, tmp_path, unchecked):
    tensors = {"1.weight": torch.zeros(3, 36), "1.bias": torch.zeros(3)}
    text = json.dumps({"layers": layers})
    from safetensors.torch import save

    (tmp_path / "net").write_bytes(save(tensors, metadata={"lrp_core": f"{checksum(text, tensors)} {text}"}))
    with pytest.raises(StorageError) as caught:
        load_network(tmp_path / "net")
    check_sentence(caught.value)


def test_only_torchs_own_layers_are_described():
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    assert describe_layers(nn.Sequential(Doubled(3, 3))) is None
    assert describe_layers(Residual()) is None
    described = describe_layers(built("nested convolutions"))
    assert json.loads(json.dumps(described)) == described
    assert str(build_layers(described)) == str(built("nested convolutions"))


@pytest.fixture
def trained(toy) -> nn.Module:
    return fit(Residual(), toy, recipe=Recipe(epochs=3, batch_size=32, lr=1e-2), device="cpu")


@pytest.mark.parametrize("form", ["full", "pruned"])
def test_exports_of_a_residual_network(trained, toy, form, tmp_path):
    network = trained if form == "full" else prune_inputs(trained, MASK, fill=0.1)
    done = export(network, tmp_path / "out", data=toy)
    assert done.card["network"]["class"] == "Residual"
    with pytest.raises(InputError, match="network="):
        predict(tmp_path / "out", toy.test.images)
    found, card = load_export(tmp_path / "out", Residual())
    assert card["input"]["shape"] == [1, 6, 6]
    names, p = predict(tmp_path / "out", toy.test.images, Residual())
    with torch.no_grad():
        x = toy.test.images if form == "full" else MASK.apply(toy.test.images)
        assert torch.equal(found(x), network(x))
        expected = network(x).softmax(1)
    assert names == [toy.classes[i] for i in expected.argmax(1).tolist()]
    assert np.allclose(p, expected.amax(1).numpy(), atol=1e-6)


def test_exports_of_a_sequence_need_nothing_but_the_folder(toy, tmp_path):
    network = fit(nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3)), toy, device="cpu")
    small = prune_inputs(network, MASK)
    export(small, tmp_path / "out", data=toy)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted([CARD, WEIGHTS])
    names, _ = predict(tmp_path / "out", toy.test.images)
    assert names == [toy.classes[i] for i in small(MASK.apply(toy.test.images)).argmax(1).tolist()]
    card = json.loads((tmp_path / "out" / CARD).read_text())
    assert "note" not in card
    (tmp_path / "out" / CARD).write_text(json.dumps(card | {"classes": ["a", "b"]}))
    with pytest.raises(StorageError, match="does not describe"):
        load_export(tmp_path / "out")


def test_tables_of_numbers_are_predicted_as_they_were(tmp_path):
    """What was taken off the columns is on the card: the numbers of the table are given, not standardised ones."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    values = torch.randn(120, 5, generator=random) + 100
    values[:, [0, 3, 4]] += 6 * F.one_hot(labels, 3)
    parts = [Split(values[a:b], labels[a:b]) for a, b in ((0, 60), (60, 90), (90, 120))]
    data = Dataset("table", ("a", "b", "c"), *parts, input_names=tuple("vwxyz")).standardised()
    mask = PixelMask.from_indices([0, 3], (5,))
    network = fit(nn.Sequential(nn.Linear(5, 3)), data, recipe=Recipe(epochs=30, lr=0.1), device="cpu")
    card = export(prune_inputs(network, mask), tmp_path / "out", data=data).card
    assert card["input"]["names"] == list("vwxyz")
    names, _ = predict(tmp_path / "out", values[90:])
    assert names == ["abc"[i] for i in network(mask.remove(data.test.inputs)).argmax(1).tolist()]
    assert len(set(names)) == 3
    assert names == predict(tmp_path / "out", values[90:].double())[0]


def test_the_card_says_when_nothing_is_saved(toy, tmp_path):
    network = fit(ConvolutionalResidual(), toy, recipe=Recipe(epochs=1), device="cpu")
    card = export(prune_inputs(network, MASK), tmp_path / "out", data=toy).card
    assert "no cheaper" in card["note"]


def test_data_of_another_shape_or_with_other_classes_is_refused(toy, tmp_path):
    with pytest.raises(InputError, match="5 outputs"):
        export(nn.Sequential(nn.Flatten(), nn.Linear(36, 5)), tmp_path / "out", data=toy)
    with pytest.raises(InputError, match="does not take inputs"):
        export(nn.Sequential(nn.Flatten(), nn.Linear(35, 3)), tmp_path / "out", data=toy)
    with pytest.raises(InputError, match="give data="):
        export(Residual(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
