"""Exports that run without this project: torch alone, and ONNX Runtime; each checked before it is offered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrp_core.data import Dataset, Split, Target
from lrp_core.errors import InputError, StorageError
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, build_pruned, prune_inputs
from lrp_core.study import export as exports
from lrp_core.study.export import CARD, WEIGHTS, export, load_export, predict_numbers
from lrp_core.study.exporting import formats, making, programs
from lrp_core.study.exporting.deployed import Probe, in_batches

from .support import check_sentence, python

needs_compiler = pytest.mark.skipif(formats.find_compiler() is None, reason="there is no C compiler here")

MASK = PixelMask.from_indices([1, 8, 9, 14, 20, 28], (1, 6, 6))


class Skipping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(36, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x.flatten(1)))
        return self.out(hidden + torch.relu(self.second(hidden)))


def network(kind: str, toy: Dataset) -> nn.Module:
    if kind == "skipping":
        return prune_inputs(Skipping().eval(), MASK)
    full = build_model(kind.split(maxsplit=1)[0], toy, seed=1).eval()
    if kind.endswith("fresh"):
        return build_pruned(full.spec, MASK, seed=1).eval()
    return full if kind.endswith("full") else prune_inputs(full, MASK)


def table(*, number: bool = False) -> Dataset:
    """Rows of five numbers far from 0, standardised; classes, or a number around 400."""
    random = torch.Generator().manual_seed(0)
    values = torch.randn(200, 5, generator=random) * torch.tensor([1, 10, 0.1, 3, 5]) + torch.tensor([7, 100, 0, 4, 9])
    labels = torch.arange(200) % 3
    target = Target("yield", 400.0, 25.0) if number else None
    answers: Any = (values[:, 0] - 7).float() if number else labels
    parts = [Split(values[a:b], answers[a:b], numbers=number) for a, b in ((0, 120), (120, 160), (160, 200))]
    classes = () if number else ("a", "b", "c")
    return Dataset("table", classes, *parts, input_names=tuple("vwxyz"), target=target).standardised()


def dense(outputs: int) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, outputs)).eval()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp-300-100", "lenet-5", "cnn-32-64", "lenet-5 fresh", "softmax full", "skipping"])
def test_files_answer_batches_of_any_size(kind: str, toy: Dataset, tmp_path: Path) -> None:
    small = network(kind, toy)
    made = export(small, tmp_path / "out", data=toy, formats=("state-dict", "pt2", "onnx"))
    names = {"weights.safetensors", "state_dict.pt", "network.pt2", "network.onnx", "network-full.onnx"}
    assert set(made.files) == {"card.json", *names} == {"card.json", *made.card["files"]}
    is_full = kind.endswith("full")
    runs = {
        "network.pt2": programs.open_program(made.folder / "network.pt2"),
        "network.onnx": programs.open_onnx(made.folder / "network.onnx"),
        "network-full.onnx": programs.open_onnx(made.folder / "network-full.onnx"),
    }
    for n in (1, 3, 40):
        images = toy.test.images[:n]
        kept = images if is_full else small.encode(images).contiguous()
        with torch.no_grad():
            expected = small(kept)
            for name, run in runs.items():
                assert torch.allclose(run(images if "full" in name else kept), expected, atol=1e-5), name
    state = torch.load(made.folder / "state_dict.pt", weights_only=True)
    assert state.keys() == small.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in small.state_dict().items())


@pytest.mark.parametrize("number", [False, True], ids=["classes", "a number"])
def test_raw_numbers_go_in(number: bool, tmp_path: Path) -> None:
    """Standardisation is inside: the numbers of the data go in, and a number comes out in its own unit."""
    data = table(number=number)
    small = prune_inputs(dense(data.n_outputs), PixelMask.from_indices([1, 3, 4], (5,)))
    made = export(small, tmp_path / "out", data=data, formats=("onnx",))
    raw = data.scaler.restore(data.test.inputs)
    with torch.no_grad():
        expected = small(small.encode(data.test.inputs))
    if number:
        expected = data.target.restore(expected[:, 0])[:, None]
        assert np.allclose(predict_numbers(made.folder, raw), expected[:, 0])
    for name, given in (("network.onnx", raw[:, [1, 3, 4]].contiguous()), ("network-full.onnx", raw)):
        answer = programs.open_onnx(made.folder / name)(given)
        assert torch.allclose(answer.double(), expected.double(), rtol=1e-5, atol=1e-5), name
        said = made.card["files"][name]
        assert said["input"]["kind"] == ("full" if "full" in name else "kept")
        assert said["input"]["shape"] == ["n", given.shape[1]]
        assert said["input"]["dtype"] == "float32"
        assert "before anything was taken off them" in said["input"]["units"]
        assert said["output"]["units"] == ("yield, in its own unit" if number else "logits")
    assert made.card["files"][WEIGHTS]["input"]["units"].startswith("standardised")


def test_the_card_says_what_was_checked(toy: Dataset, tmp_path: Path) -> None:
    card = export(network("softmax", toy), tmp_path / "out", data=toy, formats=("state-dict", "pt2")).card
    for name in (WEIGHTS, "state_dict.pt", "network.pt2"):
        check = card["files"][name]["check"]
        assert check == {
            "rows": 60,
            "largest_difference": 0.0,
            "tolerance": 1e-5,
            "with": f"torch {torch.__version__.split('+')[0]}",
        }


def test_the_check_is_on_up_to_1000_rows_of_the_validation_split(toy: Dataset) -> None:
    many = toy.train.take(torch.arange(2400) % 240)
    data = Dataset("many", toy.classes, toy.train, many, toy.test)
    probe = Probe.of(network("softmax full", toy), data)
    assert len(probe) == 1000
    assert torch.equal(probe.raw[-1], many.images[-1])
    few = probe.fewer(7)
    assert len(few) == 7
    assert torch.equal(few.raw[[0, -1]], probe.raw[[0, -1]])
    assert few.distance(few.logits) == 0
    assert len(probe.fewer(5000)) == 1000
    nothing = Dataset("none", toy.classes, toy.train, toy.train.take(torch.arange(0)), toy.test)
    assert len(Probe.of(network("softmax full", toy), nothing)) == 60, "the test rows stand in"
    seen: list[int] = []
    in_batches(lambda batch: (seen.append(len(batch)), batch)[1], probe.raw)
    assert seen == [1, 250, 250, 250, 249]


@pytest.mark.parametrize(
    ("distance", "tolerance"), [(0.0, 1e-5), (9e-6, 1e-5), (1.1e-5, 2e-5), (4e-5, 5e-5), (9e-5, 1e-4), (2e-4, None)]
)
def test_the_tightest_tolerance_that_holds_is_said(
    distance: float, tolerance: float | None, toy: Dataset, tmp_path: Path
) -> None:
    small = network("softmax", toy)
    made = making.Making(small, toy, Probe.of(small, toy), {}, tmp_path)
    if tolerance is None:
        with pytest.raises(StorageError, match="answers otherwise") as caught:
            made._check("network.pt2", distance, "torch")
        check_sentence(caught.value)
        return
    check = made._check("network.pt2", distance, "torch")
    assert check["tolerance"] == tolerance
    assert ("note" in check) == (tolerance != 1e-5)


@pytest.mark.slow
def test_torch_alone_runs_the_program(toy: Dataset, tmp_path: Path) -> None:
    small = network("lenet-5", toy)
    folder = export(small, tmp_path / "out", data=toy, formats=("pt2",)).folder
    x = small.encode(toy.test.images[:7])
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import sys, torch\n"
        f"x = torch.load({str(tmp_path / 'x.pt')!r})\n"
        f"y = torch.export.load({str(folder / 'network.pt2')!r}).module()(x)\n"
        "assert not any(name.startswith('lrp_core') for name in sys.modules)\n"
        "print(y.argmax(1).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == small(x).argmax(1).tolist()


def test_packages_that_are_missing_are_named(toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(InputError, match=r"needs onnxscript.*pip install 'lrp-core\[onnx\]'") as caught:
        export(network("softmax", toy), tmp_path / "out", data=toy, formats=("onnx",))
    check_sentence(caught.value)
    monkeypatch.setattr(formats, "find_compiler", lambda: None)
    with pytest.raises(InputError, match="needs a C compiler") as caught:
        export(network("softmax", toy), tmp_path / "out", data=toy, formats=("c",))
    check_sentence(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["state-dict", "pt2", "onnx", "standalone"])
def test_a_file_that_answers_otherwise_is_not_offered(
    name: str, toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written is that of another network: the check is on the files."""
    other = build_model("softmax", toy, seed=9).eval()
    for written in ("write_state", "write_program", "write_onnx"):
        true = getattr(programs, written)
        for module in (making, making.standalone):
            if hasattr(module, written):
                monkeypatch.setattr(
                    module, written, lambda given, *rest, true=true: true(wrong(given, other), *rest), raising=True
                )
    with pytest.raises(StorageError, match="answers otherwise") as caught:
        export(build_model("softmax", toy, seed=1), tmp_path / "out", data=toy, formats=(name,))
    check_sentence(caught.value)
    assert list(tmp_path.iterdir()) == []


def wrong(given: nn.Module, other: nn.Module) -> nn.Module:
    return exchanged(given, other) if hasattr(given, "network") else other


def exchanged(deployed: Any, other: nn.Module) -> nn.Module:
    deployed.network = other
    return deployed


def test_what_a_format_cannot_hold_is_one_sentence(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Constraints violated (batch)!\n  - and a page of advice")

    monkeypatch.setattr(torch.export, "export", refuse)
    with pytest.raises(InputError, match="cannot be written as pt2: Constraints violated") as caught:
        export(network("softmax", toy), tmp_path / "out", data=toy, formats=("pt2",))
    check_sentence(caught.value)
    assert list(tmp_path.iterdir()) == []


@needs_compiler
@pytest.mark.slow
def test_an_export_with_all_formats_can_be_replaced(toy: Dataset, tmp_path: Path) -> None:
    small = network("softmax", toy)
    made = export(small, tmp_path / "out", data=toy, formats=tuple(formats.FORMATS))
    assert len(made.files) == 15
    (made.folder / "c" / "mine.c").write_text("years of work")
    with pytest.raises(StorageError, match="something else"):
        export(small, tmp_path / "out", data=toy, overwrite=True)
    (made.folder / "c" / "mine.c").unlink()
    made = export(small, tmp_path / "out", data=toy, overwrite=True)
    assert set(made.files) == {exports.CARD, exports.WEIGHTS}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.fixture(scope="module")
def whole(toy: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export in every format that needs no compiler."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    made = ("state-dict", "pt2", "onnx", "standalone")
    return export(network("softmax", toy), folder, data=toy, formats=made).folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("weights.safetensors", "state_dict.pt", "network.pt2", "network.onnx", "network-full.onnx"),
        *("standalone/predict.py", "standalone/network.onnx", "standalone/settings.json", "standalone/README.txt"),
    ],
)
def test_any_file_that_was_changed_or_is_missing_is_refused(name: str, whole: Path) -> None:
    path = whole / name
    before = path.read_bytes()
    try:
        for content in (b"", before[:-1], before + b" ", bytes([before[0] ^ 1]) + before[1:]):
            path.write_bytes(content)
            with pytest.raises(StorageError, match=r"its checksum is not the one in card\.json") as caught:
                load_export(whole)
            assert name in str(caught.value)
            check_sentence(caught.value)
        path.unlink()
        with pytest.raises(StorageError, match="No such file") as caught:
            load_export(whole)
        check_sentence(caught.value)
    finally:
        path.write_bytes(before)
    load_export(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "c:\\x", ""])
def test_a_card_that_names_files_elsewhere_is_none(name: str, whole: Path) -> None:
    before = (whole / CARD).read_text()
    card = json.loads(before)
    card["files"][name] = {"sha256": "0" * 64}
    (whole / CARD).write_text(json.dumps(card))
    try:
        with pytest.raises(StorageError, match="no card of this project"):
            load_export(whole)
    finally:
        (whole / CARD).write_text(before)


FULL = """
import resource, sys
from lrp_core.errors import StorageError
from lrp_core.study.export import export
from lrp_core.models import build_model
from tests.support import toy_dataset
data = toy_dataset()
import torch._dynamo, torch.onnx, tempfile
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    export(build_model("mlp-300-100", data), sys.argv[1], data=data, formats=(sys.argv[2],))
except StorageError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["state-dict", "pt2", "onnx", "standalone", pytest.param("c", marks=needs_compiler)])
def test_a_full_disk_leaves_nothing_of_any_format(name: str, tmp_path: Path) -> None:
    """The weights take 168 kB, and what comes after them a little more."""
    done = python(FULL, tmp_path / "out", name, 168_500)
    assert done.stdout.endswith(": File too large\n"), done.stdout + done.stderr
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
