"""The command `speed`: an export beside the network that it came from. No test looks at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lrp_core as lc
from lrp_core.cli import main
from lrp_core.cli import speed as command
from lrp_core.data import Dataset
from lrp_core.errors import Cancelled
from lrp_core.evaluation import runtimes, timing
from lrp_core.pruning.shrinking import resize

from .support import toy_dataset

QUICK = ("--seconds", "0.05")


@pytest.fixture(autouse=True)
def no_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    found = runtimes.find_spec
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if name == "onnxruntime" else found(name))


def written(network: nn.Module, data: Dataset, folder: Path) -> Path:
    """The smaller network on every other input, exported."""
    mask = lc.PixelMask(torch.arange(0, data.n_inputs, 2), data.shape)
    return lc.export(lc.prune_inputs(network, mask), folder / "small", data=data).folder


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    data = toy_dataset()
    return written(lc.build_model("mlp-300-100", data), data, tmp_path)


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["speed", *arguments, *QUICK, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_export_is_measured_beside_the_network_of_its_card(
    capsys: pytest.CaptureFixture[str], exported: Path
) -> None:
    said = ask(capsys, str(exported))
    assert [(t["batch"], t["network"], t["picks"]) for t in said["timings"]] == [
        (batch, *which) for batch in (1, 1000) for which in (("full", False), ("smaller", False), ("smaller", True))
    ]
    card = json.loads((exported / "card.json").read_text())
    full, small = said["footprints"]
    assert small["macs"] == card["cost"]["macs"] < full["macs"]
    assert full["macs"] == lc.measure_cost(lc.build_model("mlp-300-100", toy_dataset())).macs
    assert small["files"]["safetensors"] == pytest.approx((exported / "weights.safetensors").stat().st_size, abs=64)
    assert said["notes"] == []
    assert "pip install onnxruntime" in said["missing"][0]


def test_what_a_person_reads(capsys: pytest.CaptureFixture[str], exported: Path) -> None:
    assert main(["speed", str(exported), *QUICK]) == 0
    out = capsys.readouterr().out
    assert "smaller, picking" in out
    assert "times as fast" in out
    assert "1 thread;" in out


def test_a_sequence_of_torchs_layers_is_built_from_its_description(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = toy_dataset()
    own = nn.Sequential(nn.Flatten(), nn.Linear(data.n_inputs, 7), nn.ReLU(), nn.Linear(7, 3))
    said = ask(capsys, str(written(own, data, tmp_path)))
    assert said["footprints"][0]["macs"] == 7 * (data.n_inputs + 3)


def test_what_cannot_be_built_is_said_and_the_smaller_network_is_measured_alone(
    capsys: pytest.CaptureFixture[str], exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lrp_core import models
    from lrp_core.errors import InputError

    def refuse(spec: Any, **how: Any) -> None:
        raise InputError("unknown model 'mine'")

    load = lc.load_export(exported)
    monkeypatch.setattr("lrp_core.study.export.load_export", lambda folder: load)
    monkeypatch.setattr(models, "build_from_spec", refuse)
    said = ask(capsys, str(exported))
    assert {t["network"] for t in said["timings"]} == {"smaller"}
    assert {t["ratio"] for t in said["timings"]} == {None}
    assert said["notes"] == [
        "the full network cannot be built, so the smaller one is measured alone: unknown model 'mine'"
    ]


def test_an_export_of_a_full_network_is_measured_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = toy_dataset()
    folder = lc.export(lc.build_model("softmax", data), tmp_path / "full", data=data).folder
    said = ask(capsys, str(folder))
    assert len(said["timings"]) == 2
    assert "measured alone" in said["notes"][0]


def test_a_network_that_lost_hidden_units_alone_has_its_full_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = toy_dataset()
    full = lc.build_model("mlp-300-100", data)
    narrow = resize(full, {"fc1": (30, data.n_inputs), "fc2": (100, 30)})
    folder = lc.export(narrow, tmp_path / "narrow", data=data).folder
    of_full, of_small = ask(capsys, str(folder))["footprints"]
    assert of_full["macs"] == lc.measure_cost(full).macs > of_small["macs"]


def test_int8_has_its_own_score_where_the_data_load_by_their_name(
    capsys: pytest.CaptureFixture[str], exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ask(capsys, str(exported), "--int8")
    assert {t["precision"] for t in said["timings"]} == {"float32", "int8"}
    assert "what int8 does to the score" in said["notes"][0]
    data = toy_dataset()
    monkeypatch.setattr(command, "_test_split", lambda card: (data.test, []))
    full, small = ask(capsys, str(exported), "--int8")["footprints"]
    card = json.loads((exported / "card.json").read_text())
    assert small["scores"]["torch, float32"] == card["accuracy"]["value"]
    assert set(small["scores"]) == {"torch, float32", "torch, int8"}
    assert full["scores"] == {}, "its weights are fresh"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--threads", "0"), "threads is a whole number from 1 to"),
        (("--threads", "99999"), "not 99999"),
        (("--seconds", "0"), "more than 0 seconds"),
        (("--seconds", "nan"), "more than 0 seconds"),
    ],
)
def test_options_that_nothing_can_be_measured_with_are_refused(
    capsys: pytest.CaptureFixture[str], exported: Path, options: tuple[str, ...], says: str
) -> None:
    assert main(["speed", str(exported), *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.strip().splitlines()
    assert line.startswith("speed: ")
    assert says in line


def test_a_folder_that_holds_no_export_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["speed", str(tmp_path), *QUICK]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_a_stopped_measurement_ends_with_its_own_code(
    capsys: pytest.CaptureFixture[str], exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(run: Callable[[], Any], number: int, threads: int) -> float:
        raise Cancelled("stopped")

    monkeypatch.setattr(timing, "block_seconds", stop)
    assert main(["speed", str(exported), *QUICK]) == 130
    assert capsys.readouterr() == ("", "speed: stopped\n")
