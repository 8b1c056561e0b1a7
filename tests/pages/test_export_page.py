"""The page Export: formats are ticked, what lacks a package cannot be, and the full network stands beside."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

import lrp_core.study.launch
from lrp_core.data import load_dataset
from lrp_core.study import trial_at
from lrp_core.study.export import export_trial, load_export
from lrp_core.study.exporting import formats
from pages._ui import data, export_card
from pages._ui.formats import PERCENT

from .conftest import SMALL

pytestmark = pytest.mark.slow


def texts(app: Any) -> str:
    return "\n".join(str(element.value) for kind in (app.markdown, app.caption, app.subheader) for element in kind)


def asked(app: Any, monkeypatch: pytest.MonkeyPatch, label: str) -> dict[str, Any]:
    """The spec that the button asks for."""
    calls: list[Any] = []
    monkeypatch.setattr(lrp_core.study.launch, "start_export", lambda *a: calls.append(a) or True)
    [button] = [b for b in app.button if b.label == label]
    button.click().run()
    [(_, spec, _)] = calls
    return json.loads(json.dumps(spec))


def test_formats_are_ticked(small, monkeypatch):
    monkeypatch.setattr(formats, "find_compiler", lambda: "cc")
    app = small.open("Export", removed="60")
    ticks = {box.key: box for box in app.checkbox}
    assert list(ticks) == [*(f"format-{name}" for name in formats.FORMATS), "measure-speed"]
    for name, form in formats.FORMATS.items():
        assert form.says in ticks[f"format-{name}"].label
        assert ticks[f"format-{name}"].disabled == (name == "safetensors" or bool(form.lacks))
    assert [box.key for box in app.checkbox if box.value] == ["format-safetensors"]
    ticks["format-state-dict"].check().run()
    app.checkbox(key="format-c").check().run()
    app.checkbox(key="measure-speed").check().run()
    spec = asked(app, monkeypatch, "Prepare export")
    assert spec["formats"] == ["safetensors", "state-dict", "c"]
    assert spec["measure"] is True


def test_what_lacks_a_package_cannot_be_ticked(small, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    monkeypatch.setattr(formats, "find_compiler", lambda: None)
    app = small.open("Export", removed="60")
    off = {box.key.removeprefix("format-"): box.label for box in app.checkbox if box.disabled}
    assert set(off) == {"safetensors", "onnx", "c", "c-int8"}
    assert (
        "it needs onnx and onnxscript and onnxruntime. Install it with `pip install 'lrp-core[onnx]'`." in off["onnx"]
    )
    assert "it needs a C compiler. Install it with `apt install gcc`." in off["c"]
    assert asked(app, monkeypatch, "Prepare export")["formats"] == ["safetensors"]


@pytest.mark.parametrize(("margin", "side"), [(0.9, "Within"), (0.0, "Outside")])
def test_the_full_network_stands_beside(margin: float, side: str, small, tmp_path: Path, monkeypatch) -> None:
    trial = trial_at(SMALL, load_dataset("mnist"), method="variance", keep=400, mode="fine-tune", seed=2)
    folder = small.ledger.folder / "exports" / trial.key
    said = {"machine": "a machine", "note": "No faster here.", "timings": [{"batch": 1, "milliseconds": 0.5}]}
    monkeypatch.setattr(lrp_core.study.export, "measured_speed", lambda network, full, data: said)
    made = export_trial(
        trial, folder, small.ledger, margin=margin, overwrite=folder.exists(), formats=("state-dict",), measure=True
    )
    assert made.card["speed"] == said
    app = small.open("Export", removed="49", method="variance", seed="2")
    assert not app.exception
    full = made.card["full_network"]["score"]["value"]
    assert f"test accuracy {100 * full:.2f}{PERCENT}" in texts(app)
    assert f"{side} your margin of {100 * margin:g} points" in texts(app)
    assert "No faster here." in texts(app)
    assert app.checkbox(key="format-state-dict").value, "what it was made in is ticked"
    text = export_card.readme(made.card)
    assert f"The network on all inputs: test accuracy {full:.2%}" in text
    assert f"{side} your margin of {100 * margin:g} points: on the validation split" in text
    assert "state_dict.pt" in text
    with zipfile.ZipFile(io.BytesIO(data.zipped(folder, text))) as archive:
        archive.extractall(tmp_path)
    assert load_export(tmp_path / "small-network")[1]["margin"] == made.card["margin"]
