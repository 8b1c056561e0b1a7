from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lrp_core.data import Dataset
from lrp_core.errors import InputError, LrpError, StorageError
from lrp_core.evaluation import measure_cost
from lrp_core.models import Network, build_model
from lrp_core.pruning import PixelMask, PrunedNetwork, build_pruned, prune_inputs
from lrp_core.study.export import CARD, WEIGHTS, export, load_export, predict
from lrp_core.training import Recipe, evaluate, fit, predict_logits

from .support import check_sentence, frozen, is_one_sentence, python, toy_split, unchanged

pytestmark = pytest.mark.slow

RECIPE = Recipe(epochs=3, batch_size=32, lr=1e-2)
KEPT = [1, 8, 9, 14, 20, 28]


@pytest.fixture(scope="module")
def network(toy) -> Network:
    return fit(build_model("mlp-300-100", toy), toy, recipe=RECIPE, device="cpu")


@pytest.fixture(scope="module")
def small(network) -> PrunedNetwork:
    return prune_inputs(network, PixelMask.from_indices(KEPT, (1, 6, 6)), fill=0.25)


@pytest.fixture
def exported(small, toy, tmp_path) -> Path:
    return export(small, tmp_path / "out", data=toy).folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def edit(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | changes))


def refused(folder: Path) -> str:
    with pytest.raises(StorageError) as caught:
        load_export(folder)
    assert is_one_sentence(caught.value)
    return str(caught.value)


# Round trips


@pytest.mark.parametrize("architecture", ["softmax", "lenet-5", "cnn-32-64"])
@pytest.mark.parametrize("form", ["full", "sliced", "fresh"])
def test_round_trips(architecture, form, toy, tmp_path):
    model: Network | PrunedNetwork = build_model(architecture, toy, seed=2)
    mask = PixelMask.from_indices(KEPT, toy.shape)
    if form != "full":
        model = prune_inputs(model, mask, fill=0.1) if form == "sliced" else build_pruned(model.spec, mask)
    model.eval()
    before = frozen(model)
    done = export(model, tmp_path / "out", data=toy)
    assert unchanged(model, before)
    found, card = load_export(str(tmp_path / "out"))
    assert card == json.loads(json.dumps(done.card))
    assert unchanged(found, before)
    names, p = predict(tmp_path / "out", toy.test.images)
    encode = model.encode if isinstance(model, PrunedNetwork) else None
    with torch.no_grad():
        expected = model(encode(toy.test.images) if encode else toy.test.images).softmax(1)
    assert names == [toy.classes[i] for i in expected.argmax(1).tolist()]
    assert np.allclose(p, expected.amax(1).numpy(), atol=1e-6)
    assert done.files == {name: (tmp_path / "out" / name).stat().st_size for name in (CARD, WEIGHTS)}
    assert sorted(f.name for f in tmp_path.iterdir()) == ["out"]


def test_what_the_card_says(small, toy, exported):
    card = json.loads((exported / CARD).read_text())
    assert card["card_version"] == 1
    assert card["network"] == {
        "model": {"architecture": "mlp-300-100", "shape": [1, 6, 6], "n_classes": 3, "dataset": None},
        "structure": "sliced",
        "fill": 0.25,
    }
    assert card["classes"] == ["top", "middle", "bottom"]
    assert card["input"]["kept_pixels"] == KEPT
    assert card["input"]["shape"] == [1, 6, 6]
    assert card["input"]["normalisation"] == {"scale": 1 / 255, "offset": 0.0, "range": [0.0, 1.0]}
    assert card["files"][WEIGHTS]["sha256"] == hashlib.sha256((exported / WEIGHTS).read_bytes()).hexdigest()
    age = datetime.now(UTC) - datetime.fromisoformat(card["created"])
    assert -1 < age.total_seconds() < 60
    assert card["versions"]["torch"] == torch.__version__.split("+")[0]
    cost = measure_cost(small)
    assert {key: card["cost"][key] for key in ("macs", "flops", "parameters", "bytes", "input_bytes")} == {
        "macs": 6 * 300 + 300 * 100 + 100 * 3,
        "flops": 2 * (6 * 300 + 300 * 100 + 100 * 3),
        "parameters": 6 * 300 + 300 + 300 * 100 + 100 + 100 * 3 + 3,
        "bytes": 4 * (6 * 300 + 300 + 300 * 100 + 100 + 100 * 3 + 3),
        "input_bytes": 24,
    }
    assert [layer["name"] for layer in card["cost"]["layers"]] == [layer.name for layer in cost.layers]


def test_the_accuracy_on_the_card_is_that_on_the_test_split(small, toy, exported):
    said = json.loads((exported / CARD).read_text())["accuracy"]
    with torch.no_grad():
        logits = small(toy.test.images.flatten(1)[:, KEPT]).double()
    right = (logits.argmax(1) == toy.test.labels).numpy()
    n, correct, z = 60, int(right.sum()), 1.959963984540054
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert (said["dataset"], said["split"], said["images"]) == ("toy", "test", 60)
    assert said["value"] == p
    assert said["interval_95"] == pytest.approx([centre - half, centre + half])
    assert said["method"] == "Wilson score"
    assert said["confidence"] == pytest.approx(float(logits.softmax(1).amax(1).mean()), rel=1e-5)
    assert said["per_class"] == pytest.approx([right[toy.test.labels == c].mean() for c in range(3)])


def test_a_full_network_keeps_every_pixel(network, toy, tmp_path):
    card = export(network, tmp_path / "out", data=toy).card
    assert card["input"]["kept_pixels"] == list(range(36))
    assert set(card["network"]) == {"model"}


def test_provenance_goes_into_the_card(small, toy, tmp_path):
    provenance = {"criterion": "lrp-0", "seed": 3, "nested": {"deep": [1, 2]}}
    assert export(small, tmp_path / "out", data=toy, provenance=provenance).card["provenance"] == provenance
    assert load_export(tmp_path / "out")[1]["provenance"] == provenance


def test_the_card_is_json_for_everybody(small, toy, tmp_path):
    """A class that the test split lacks has no accuracy; NaN is no JSON."""
    some = toy.test.take((toy.test.labels != 1).nonzero().flatten())
    data = Dataset("toy", toy.classes, toy.train, toy.validation, some)
    export(small, tmp_path / "out", data=data)

    def fail(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    json.loads((tmp_path / "out" / CARD).read_text(), parse_constant=fail)


def test_folders_are_made_and_open_to_read(small, toy, tmp_path):
    done = export(small, str(tmp_path / "a" / "b" / "out"), data=toy)
    assert done.folder == tmp_path / "a" / "b" / "out"
    assert done.folder.stat().st_mode & 0o777 == 0o755
    assert (done.folder / CARD).stat().st_mode & 0o444 == 0o444


# What is there already


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_things_is_left_alone(small, toy, tmp_path, overwrite):
    folder = tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work")
    before = contents(tmp_path)
    with pytest.raises(StorageError) as caught:
        export(small, folder, data=toy, overwrite=overwrite)
    assert is_one_sentence(caught.value)
    assert contents(tmp_path) == before
    assert sorted(f.name for f in tmp_path.rglob("*")) == ["out", "sub", "thesis.txt"]


def test_an_earlier_export_stays_unless_told(network, toy, exported):
    before = contents(exported)
    with pytest.raises(StorageError, match="exists already"):
        export(network, exported, data=toy)
    assert contents(exported) == before
    export(network, exported, data=toy, overwrite=True)
    assert load_export(exported)[1]["input"]["kept_pixels"] == list(range(36))
    assert [f.name for f in exported.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
def test_a_foreign_file_of_the_same_name_is_no_earlier_export(small, toy, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text('{"title": "my business card"}')
    with pytest.raises(StorageError):
        export(small, tmp_path / "out", data=toy, overwrite=True)
    assert contents(tmp_path) == {f"out/{name}": b'{"title": "my business card"}'}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_or_a_link_in_place_of_the_folder(small, toy, tmp_path, overwrite):
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling", "file/below"):
        with pytest.raises(StorageError) as caught:
            export(small, tmp_path / name, data=toy, overwrite=overwrite)
        assert is_one_sentence(caught.value)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["dangling", "file"]
    assert (tmp_path / "file").read_text() == "x"


def test_a_failed_overwrite_keeps_the_earlier_export(small, toy, exported, monkeypatch):
    before = contents(exported)

    def fail(*_args: object) -> None:
        raise StorageError("read back wrongly")

    monkeypatch.setattr("lrp_core.study.export.check_export", fail)
    with pytest.raises(StorageError, match="read back wrongly"):
        export(small, exported, data=toy, overwrite=True)
    assert contents(exported) == before
    assert [f.name for f in exported.parent.iterdir()] == ["out"]


def test_what_reads_back_otherwise_is_not_offered(small, toy, tmp_path, monkeypatch):
    """The check is on what was read, not on what was meant."""
    from lrp_core.study import export as exports

    original = exports.load_export

    def spoiled(folder: Path) -> tuple[Network | PrunedNetwork, dict]:
        found, card = original(folder)
        with torch.no_grad():
            found.body.logits.weight.neg_()
        return found, card

    monkeypatch.setattr(exports, "load_export", spoiled)
    with pytest.raises(StorageError, match="was read back with accuracy"):
        export(small, tmp_path / "out", data=toy)
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, sys, torch
from lrp_core.errors import StorageError
from lrp_core.study.export import export
from lrp_core.models import build_model
from tests.support import toy_dataset
data = toy_dataset()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    export(build_model("softmax", data), sys.argv[1], data=data)
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize("room", [100, 800], ids=["for nothing", "for the weights but not the card"])
def test_a_full_disk_leaves_nothing(tmp_path, room):
    done = python(FULL, tmp_path / "out", room)
    assert done.stdout.endswith(": File too large\n"), done.stdout + done.stderr
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# What cannot be exported


@pytest.mark.parametrize("formats", [("pickle",), ("safetensors", "onxx"), "safetensors.pt", ["SafeTensors"]], ids=str)
def test_unknown_formats(small, toy, tmp_path, formats):
    with pytest.raises(InputError, match="unknown export format"):
        export(small, tmp_path / "out", data=toy, formats=formats)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("formats", [(), [], set()], ids=str)
def test_no_formats(small, toy, tmp_path, formats):
    with pytest.raises(InputError, match="at least one format"):
        export(small, tmp_path / "out", data=toy, formats=formats)


def test_no_data_to_measure_on(tmp_path):
    with pytest.raises(InputError, match="give data="):
        export(build_model("softmax", shape=(1, 6, 6), n_classes=3), tmp_path / "out")
    with pytest.raises(InputError, match="unknown data set 'toy'"):
        export(build_model("softmax", Named()), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


class Named:
    name, shape, classes = "toy", (1, 6, 6), ("a", "b", "c")


def test_data_of_another_shape_or_with_other_classes(toy, network, small, tmp_path):
    larger = Dataset("large", toy.classes, *(toy_split(30, size=9),) * 3)
    more = Dataset("more", tuple("abcdef"), *(toy_split(60, classes=6),) * 3)
    fewer = Dataset("fewer", ("a", "b"), *(toy_split(60, classes=2),) * 3)
    for data in (larger, more, fewer):
        for model in (network, small):
            with pytest.raises(LrpError) as caught:
                export(model, tmp_path / "out", data=data)
            assert is_one_sentence(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_provenance_that_is_no_json(small, toy, tmp_path):
    with pytest.raises((LrpError, TypeError)):
        export(small, tmp_path / "out", data=toy, provenance={"when": datetime.now(UTC)})
    assert list(tmp_path.iterdir()) == []


# What was changed since


def test_missing_parts(exported, tmp_path):
    assert "No such file" in refused(tmp_path / "nowhere")
    (exported / WEIGHTS).rename(exported / "else")
    assert WEIGHTS in refused(exported)
    (exported / "else").rename(exported / WEIGHTS)
    load_export(exported)
    (exported / CARD).unlink()
    assert CARD in refused(exported)
    refused(exported / WEIGHTS)


@pytest.mark.parametrize("position", [0.0, 0.01, 0.5, 0.999])
def test_any_change_to_the_weights_is_noticed(exported, position):
    content = bytearray((exported / WEIGHTS).read_bytes())
    content[int(position * len(content))] ^= 1
    (exported / WEIGHTS).write_bytes(content)
    assert "its checksum is not the one in card.json" in refused(exported)


def test_truncated_weights_are_noticed(exported):
    content = (exported / WEIGHTS).read_bytes()
    for length in (0, 10, len(content) - 1):
        (exported / WEIGHTS).write_bytes(content[:length])
        refused(exported)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"null", b'"card"', b"{}", b'{"card_version": 1}', b"\xff\xfe\x00", b"[" * 200_000],
    ids=lambda content: repr(content[:20]),
)
def test_cards_that_are_none(exported, content):
    (exported / CARD).write_bytes(content)
    refused(exported)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {}},
        {"files": {WEIGHTS: {"sha256": "0" * 64}}},
        {"files": {WEIGHTS: {"sha256": None}}},
        {"files": [WEIGHTS]},
        {"card_version": "1"},
        {"card_version": None},
        {"card_version": math.nan},
        {"card_version": 0},
    ],
    ids=str,
)
def test_cards_that_were_tampered_with(exported, changes):
    edit(exported, **changes)
    refused(exported)


@pytest.mark.parametrize("version", [2, 1000, 1.5])
def test_newer_cards_are_refused(exported, version):
    edit(exported, card_version=version)
    assert "newer than this program's" in refused(exported)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["top"]},
        {"classes": None},
        {"classes": []},
        {"input": None},
        {"input": {}},
        {"input": {"shape": [1, 5, 5]}},
        {"input": {"shape": "large"}},
    ],
    ids=str,
)
def test_predicting_with_a_card_that_does_not_fit_its_network(exported, toy, changes):
    edit(exported, **changes)
    with pytest.raises(LrpError) as caught:
        predict(exported, toy.test.images)
    assert is_one_sentence(caught.value)


# Prediction


def test_one_image_and_none(exported, toy):
    names, p = predict(exported, toy.test.images[0])
    assert names == predict(exported, toy.test.images[:1])[0]
    assert p.shape == (1,)
    names, p = predict(exported, toy.test.images[:0])
    assert (names, p.shape) == ([], (0,))


def test_predictions_are_probabilities(exported, small, toy):
    names, p = predict(exported, toy.test.images)
    assert bool(((p > 1 / 3) & (p <= 1)).all())
    right = np.array([toy.classes[i] for i in toy.test.labels]) == np.array(names)
    assert right.mean() == evaluate(small, toy.test, encode=small.encode, device="cpu").accuracy
    logits = predict_logits(small, small.encode(toy.test.images), device="cpu")
    assert np.allclose(p, logits.softmax(1).amax(1).numpy())


@pytest.mark.parametrize(
    "shape", [(2, 1, 6, 7), (2, 36), (6, 6), (2, 2, 1, 6, 6), (2, 3, 6, 6), (1, 5, 6), (), (2, 0, 6, 6)]
)
def test_images_of_the_wrong_size(exported, shape):
    with pytest.raises(InputError, match=r"takes images of shape \(1, 6, 6\)"):
        predict(exported, torch.zeros(shape))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "NaN or infinity"),
        (math.inf, "NaN or infinity"),
        (-math.inf, "NaN or infinity"),
        (1.01, "pixels must lie"),
        (255.0, "divide bytes by 255"),
        (-0.01, "pixels must lie"),
    ],
)
def test_pixels_that_cannot_be(exported, toy, value, reason):
    images = toy.test.images.clone()
    images[3, 0, 2, 2] = value
    with pytest.raises(InputError, match=reason) as caught:
        predict(exported, images)
    assert is_one_sentence(caught.value)


def test_bytes_are_pixels_times_255(exported, toy, unchecked):
    names, p = predict(exported, toy.test.pixels)
    expected, q = predict(exported, toy.test.images)
    assert names == expected
    assert np.array_equal(p, q)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bool, torch.complex64], ids=str)
def test_other_kinds_of_numbers_are_taken_or_refused(exported, toy, dtype, unchecked):
    """All-black and all-white images are within [0, 1] whatever their type."""
    images = (toy.test.images > 0.5).to(dtype)
    try:
        names, _ = predict(exported, images)
    except LrpError as error:
        check_sentence(error)
    else:
        assert names == predict(exported, images.float())[0]
