"""Exports that run without this project: torch alone, and onnxruntime."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lrp_core.data import Dataset
from lrp_core.errors import InputError, StorageError
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, build_pruned, prune_inputs
from lrp_core.study import export as exports
from lrp_core.study import formats
from lrp_core.study.export import export

from .support import check_sentence

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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pt2", "onnx"])
@pytest.mark.parametrize("kind", ["mlp-300-100", "lenet-5", "cnn-32-64", "lenet-5 fresh", "softmax full", "skipping"])
def test_a_file_answers_batches_of_any_size(kind: str, name: str, toy: Dataset, tmp_path: Path) -> None:
    small = network(kind, toy)
    made = export(small, tmp_path / "out", data=toy, formats=("safetensors", name))
    file = formats.FORMATS[name].file
    assert set(made.files) == {"card.json", "weights.safetensors", file}
    assert made.card["files"][file]["sha256"]
    for n in (1, 3, 40):
        images = toy.test.images[:n]
        x = small.encode(images) if kind.rsplit(maxsplit=1)[-1] != "full" else images
        answer = formats.FORMATS[name].run(made.folder / file, x.contiguous())
        with torch.no_grad():
            assert (answer - small(x)).abs().max() < 1e-4


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
    with pytest.raises(InputError, match="pip install onnx onnxscript onnxruntime") as caught:
        export(network("softmax", toy), tmp_path / "out", data=toy, formats=("onnx",))
    check_sentence(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_answers_otherwise_is_not_offered(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = formats.Format("network.pt2", lambda *_: None, lambda path, x: torch.zeros(len(x), 3))
    monkeypatch.setitem(formats.FORMATS, "pt2", wrong)
    with pytest.raises(StorageError, match="answers otherwise"):
        export(network("softmax", toy), tmp_path / "out", data=toy, formats=("pt2",))
    assert list(tmp_path.iterdir()) == []


def test_what_a_format_cannot_hold_is_one_sentence(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("Constraints violated (batch)!\n  - and a page of advice")

    monkeypatch.setitem(formats.FORMATS, "pt2", formats.Format("network.pt2", refuse, formats.FORMATS["pt2"].run))
    with pytest.raises(InputError, match="cannot be written as pt2: Constraints violated") as caught:
        export(network("softmax", toy), tmp_path / "out", data=toy, formats=("pt2",))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_export_with_a_program_can_be_replaced(toy: Dataset, tmp_path: Path) -> None:
    small = network("softmax", toy)
    export(small, tmp_path / "out", data=toy, formats=("pt2",))
    made = export(small, tmp_path / "out", data=toy, overwrite=True)
    assert set(made.files) == {exports.CARD, exports.WEIGHTS}
