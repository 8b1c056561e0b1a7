"""The command line, as a person and as a machine use it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lrp_core.cli import main
from lrp_core.data import Dataset
from lrp_core.pruning import PrunedNetwork
from lrp_core.pruning.files import load_network
from lrp_core.ranking import Ranking
from lrp_core.study.export import load_export

from .support import ROOT

pytestmark = pytest.mark.slow

SMALL = ["--model", "softmax", "--train-images", "300", "--epochs", "1"]


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What the command says as JSON."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence that the command refuses with."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"{arguments[0]}: ")
    assert "Traceback" not in captured.err
    return lines[0]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, mnist: Dataset) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "small"
    assert main(["export", *SMALL, "--keep", "150", "--output", str(folder)]) == 0
    return folder


def test_help_needs_no_numerics_and_names_every_command() -> None:
    code = (
        "import sys; from lrp_core.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: assert 'torch' not in sys.modules"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for command in ("train", "rank", "compare", "study", "remove", "export", "predict", "speed", "info"):
        assert f"    {command} " in said


@pytest.mark.parametrize(
    "command", ["train", "rank", "compare", "study", "remove", "export", "predict", "speed", "info"]
)
def test_every_option_has_a_help_text(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    options = [line for line in said.splitlines() if line.startswith("  -")]
    assert len(options) >= 2
    for i, line in enumerate(said.splitlines()):
        if line.startswith("  -"):
            following = said.splitlines()[i + 1] if i + 1 < len(said.splitlines()) else ""
            assert "  " in line.strip() or following.startswith("        "), line


def test_train_reports_what_the_written_network_does(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, mnist: Dataset
) -> None:
    path = tmp_path / "w.safetensors"
    said = ask(capsys, "train", *SMALL, "--output", str(path))
    network = load_network(path)
    with torch.no_grad():
        accuracy = (network(mnist.test.images).argmax(1) == mnist.test.labels).double().mean().item()
    assert said["test_accuracy"] == accuracy
    low, high = said["test_interval_95"]
    assert low < accuracy < high
    assert said["training_images"] == 300
    assert "exists already" in refusal(capsys, "train", *SMALL, "--output", str(path))
    assert main(["train", *SMALL, "--output", str(path), "--overwrite"]) == 0


def test_rank_gives_a_permutation_by_decreasing_score(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = ask(capsys, "rank", *SMALL, "--images", "100", "--output", str(tmp_path / "r.json"))
    assert sorted(said["order"]) == list(range(784))
    scores = np.array(said["scores"])[said["order"]]
    assert (np.diff(scores) <= 0).all()
    assert json.loads((tmp_path / "r.json").read_text()) == said
    control = ask(capsys, "rank", "--criterion", "random", *SMALL)
    assert control["standard_error"] == [None] * 784


def test_rank_writes_a_ranking_that_can_be_loaded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    said = ask(capsys, "rank", *SMALL, "--criterion", "weight", "--images", "100", "--output", str(path))
    found = Ranking.load(path)
    assert found.order.tolist() == said["order"]
    assert found.scores.tolist() == said["scores"]
    assert (found.criterion, found.shape) == ("weight", (1, 28, 28))
    assert float(found.scores.min()) > 0


def test_rank_of_given_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path, exported: Path) -> None:
    path = tmp_path / "w.safetensors"
    assert main(["train", *SMALL, "--output", str(path)]) == 0
    capsys.readouterr()
    assert len(ask(capsys, "rank", "--weights", str(path), "--images", "50")["order"]) == 784
    pruned = str(exported / "weights.safetensors")
    assert "pruned network" in refusal(capsys, "rank", "--weights", pruned, "--images", "50")
    assert "cannot read" in refusal(capsys, "rank", "--weights", str(tmp_path / "nothing"), "--images", "50")


def test_rank_by_a_strategy_and_by_a_class(capsys: pytest.CaptureFixture[str]) -> None:
    few = [*SMALL, "--images", "60"]
    one_shot = ask(capsys, "rank", *few)
    eliminated = ask(capsys, "rank", *few, "--strategy", "elimination")
    exchanged = ask(capsys, "rank", *few, "--strategy", "exchange", "--keep", "50")
    assert eliminated["criterion"] == "lrp-0, elimination"
    assert sorted(eliminated["order"]) == sorted(exchanged["order"]) == list(range(784))
    assert eliminated["order"] != one_shot["order"]
    assert ask(capsys, "rank", *few, "--for-class", "3")["order"] != one_shot["order"]
    assert "leave label 3 out" in refusal(capsys, "rank", *few, "--for-class", "3", "--strategy", "elimination")
    assert "--keep is the number of inputs" in refusal(capsys, "rank", *few, "--strategy", "exchange")
    assert "explains no image" in refusal(capsys, "rank", *few, "--criterion", "random", "--strategy", "stability")


def test_two_rankings_are_compared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, criterion in (("a", "centre"), ("b", "weight")):
        path = str(tmp_path / f"{name}.safetensors")
        assert main(["rank", *SMALL, "--criterion", criterion, "--output", path]) == 0
    capsys.readouterr()
    files = [str(tmp_path / f"{name}.safetensors") for name in "ab"]
    said = ask(capsys, "compare", *files, "--keeps", "784", "50")
    assert said["rankings"] == ["centre", "weight"]
    assert said["overlap"]["784"] == 1
    orders = [set(Ranking.load(Path(file)).order[:50].tolist()) for file in files]
    assert said["overlap"]["50"] == len(orders[0] & orders[1]) / 50
    assert ask(capsys, "compare", files[0], files[0])["spearman"] == pytest.approx(1)
    assert main(["compare", *files]) == 0
    assert "by chance" in capsys.readouterr().out
    (tmp_path / "c.safetensors").write_bytes(b"no ranking")
    assert "no ranking" in refusal(capsys, "compare", files[0], str(tmp_path / "c.safetensors"))


def test_study_recommends_a_threshold_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["study", *SMALL, "--seeds", "0", "1", "--criteria", "random", "--keeps", "780", "--jobs", "1"]
    said = ask(capsys, *arguments, "--margin", "90")
    assert said["recommended"]["random"]["keep"] == 780
    assert "780 of 784 are enough" in said["recommended"]["random"]["sentence"]
    assert main([*arguments, "--margin", "90"]) == 0
    assert "random: 1 % of the inputs can go" in capsys.readouterr().out
    assert "margin" in refusal(capsys, *arguments, "--margin", "-1")


def test_precision_is_that_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    trained = {
        name: ask(capsys, "train", *SMALL, *chosen)
        for name, chosen in (("float32", []), ("bfloat16", ["--precision", "bfloat16"]))
    }
    for name, said in trained.items():
        assert said["training"]["precision"] == name
    assert trained["float32"]["test_loss"] != trained["bfloat16"]["test_loss"]
    arguments = ["study", *SMALL, "--seeds", "0", "--criteria", "random", "--keeps", "39", "--jobs", "1"]
    exact, fast = (ask(capsys, *arguments, *chosen) for chosen in ([], ["--precision", "bfloat16"]))
    assert exact["study"] != fast["study"]
    assert exact["test"][0]["confidence"] != fast["test"][0]["confidence"]
    assert "did you mean 'bfloat16'" in refusal(capsys, *arguments, "--precision", "bf16")


def test_the_recipe_is_that_of_the_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--optimizer", "sgd", "--lr", "0.05", "--batch-size", "50", "--patience", "1"]
    recipe = {"optimizer": "sgd", "lr": 0.05, "batch_size": 50, "patience": 1}
    said = ask(capsys, "train", *SMALL, *words)
    assert {name: said["training"][name] for name in recipe} == recipe
    said = ask(capsys, "study", *SMALL, *words, "--seeds", "0", "--criteria", "random", "--keeps", "39", "--jobs", "1")
    assert {name: said["spec"][name] for name in recipe} == recipe
    exported = ["export", *SMALL, *words, "--criterion", "random", "--keep", "39"]
    card = ask(capsys, *exported, "--output", str(tmp_path / "small"))["card"]
    assert {name: card["provenance"]["training"][name] for name in recipe} == recipe
    assert "did you mean 'adamw'" in refusal(capsys, "rank", *SMALL, "--optimizer", "adam")


def test_training_that_stops_early_says_after_how_many_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--model", "softmax", "--train-images", "100", "--epochs", "200", "--patience", "2"]
    said = ask(capsys, *arguments, "--lr", "0.1")
    assert 2 < said["epochs_run"] < 200


def test_study_prints_the_curve(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["study", *SMALL, "--seeds", "0", "1", "--criteria", "random", "--removed", "50", "--keeps", "39"]
    said = ask(capsys, *arguments, "--jobs", "1")
    points = [(row["criterion"], row["mode"], row["keep"]) for row in said["test"]]
    assert points == [("none", "none", 784), ("random", "scratch", 392), ("random", "scratch", 39)]
    for row in said["test"]:
        assert row["low"] <= row["score"] <= row["high"]
        assert row["macs"] == 10 * row["keep"]
    assert main([*arguments, "--jobs", "1"]) == 0
    text = capsys.readouterr().out
    assert "all inputs" in text
    [shown] = re.findall(r" 392 +50\.0% +2 +[\d.]+% +([\d.]+)%", text)
    assert float(shown) == pytest.approx(100 * said["test"][1]["score"], abs=0.00501), "rounded, either way at a half"
    assert main(["study", "--resume", said["study"], "--jobs", "1"]) == 0


def test_one_seed_has_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["study", *SMALL, "--seeds", "0", "--criteria", "random", "--keeps", "39", "--jobs", "1"]
    assert [row["low"] for row in ask(capsys, *arguments)["test"]] == [None, None]
    assert main(arguments) == 0
    assert " - " in capsys.readouterr().out


def test_an_export_predicts(capsys: pytest.CaptureFixture[str], exported: Path, mnist: Dataset, tmp_path: Path) -> None:
    network, card = load_export(exported)
    assert isinstance(network, PrunedNetwork)
    assert len(card["input"]["kept_pixels"]) == 150
    said = ask(capsys, "predict", str(exported), "--dataset", "mnist", "--limit", "500")
    with torch.no_grad():
        expected = network(network.encode(mnist.test.images[:500])).argmax(1)
    assert [row["class"] for row in said["predictions"]] == [str(c) for c in expected.tolist()]
    assert said["accuracy"] == (expected == mnist.test.labels[:500]).double().mean().item()

    pixels = mnist.test.pixels[:3, 0].numpy()
    Image.fromarray(pixels[0]).save(tmp_path / "digit.png")
    np.save(tmp_path / "bytes.npy", pixels)
    np.save(tmp_path / "floats.npy", pixels.astype(np.float64) / 255)
    files = [str(tmp_path / name) for name in ("digit.png", "bytes.npy", "floats.npy")]
    rows = ask(capsys, "predict", str(exported), *files)["predictions"]
    assert [row["class"] for row in rows] == [said["predictions"][i]["class"] for i in (0, 0, 1, 2, 0, 1, 2)]
    assert rows[2]["image"].endswith("bytes.npy[1]")


def test_export_finds_its_folder_taken(capsys: pytest.CaptureFixture[str], exported: Path, tmp_path: Path) -> None:
    before = {f.name: f.read_bytes() for f in exported.iterdir()}
    said = refusal(capsys, "export", *SMALL, "--keep", "150", "--output", str(exported))
    assert "exists already" in said
    assert {f.name: f.read_bytes() for f in exported.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--model", "mlp-300-10"], "did you mean 'mlp-300-100'"),
        (["train", "--dataset", "imagenet"], "unknown data set"),
        (["train", "--epochs", "-1"], "epochs"),
        (["train", "--train-images", "0"], "between 1 and 50000"),
        (["train", "--device", "abacus"], "not available"),
        (["train", "--data-root", "nowhere-at-all"], "not a folder"),
        (["rank", "--criterion", "lrp"], "unknown criterion"),
        (["rank", "--statistic", "median", "--criterion", "random"], "unknown statistic"),
        (["study", "--preset", "huge"], "quick, full"),
        (["study", "--keeps", "0"], "between 1 and 784"),
        (["study", "--keeps", "785"], "between 1 and 784"),
        (["study", "--removed", "100"], "at least 0 and below 100"),
        (["study", "--resume", "nothing"], "no study 'nothing'"),
        (["study", "--modes", "tune"], "unknown mode"),
        (["study", "--jobs", "0", "--criteria", "random"], "jobs"),
        (["export", "--output", "x", "--keep", "785"], "between 1 and 784"),
        (["export", "--output", "x", "--removed", "-3"], "at least 0 and below"),
        (["export"], "--output FOLDER"),
        (["predict", "nowhere"], "image files"),
        (["predict", "nowhere", "--dataset", "mnist"], "cannot read"),
        (["predict", "nowhere", "--dataset", "mnist", "--limit", "0"], "at least 1"),
    ],
)
def test_bad_arguments_are_one_sentence(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refusal(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_images_that_do_not_fit(capsys: pytest.CaptureFixture[str], exported: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((28, 30), np.uint8))
    (tmp_path / "text.png").write_text("no image")
    np.save(tmp_path / "nan.npy", np.full((28, 28), np.nan))
    np.save(tmp_path / "loud.npy", np.full((28, 28), 200.5))
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name, words in (
        ("wide.npy", "(1, 28, 28)"),
        ("text.png", "no image"),
        ("nan.npy", "NaN"),
        ("loud.npy", "divide bytes by 255"),
        ("pickle.npy", "never unpickled"),
        ("missing.png", "No such file"),
    ):
        assert words in refusal(capsys, "predict", str(exported), str(tmp_path / name)), name


def test_pictures_are_prepared_as_the_page_does_and_a_bad_one_hides_no_other(
    capsys: pytest.CaptureFixture[str], exported: Path, mnist: Dataset, tmp_path: Path
) -> None:
    """Dark on light, turned by its camera, large: each is read as the digit in it, and a note says what was done."""
    network, _ = load_export(exported)
    with torch.no_grad():
        confidence = network(network.encode(mnist.test.images[:300])).softmax(1).max(1)
    is_right = confidence.indices == mnist.test.labels[:300]
    place = int(confidence.values.where(is_right, torch.zeros(())).argmax())
    pixels, label = mnist.test.pixels[place, 0].numpy(), mnist.test.labels[place].item()
    image = Image.fromarray(pixels)
    Image.fromarray(255 - pixels).save(tmp_path / "dark.png")
    exif = Image.Exif()
    exif[0x112] = 6
    image.rotate(90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image.resize((280, 280)).save(tmp_path / "large.png")
    (tmp_path / "broken.png").write_text("no image")
    names = ("dark.png", "broken.png", "turned.jpg", "large.png")
    assert main(["predict", str(exported), *(str(tmp_path / name) for name in names), "--json"]) == 2
    out, err = capsys.readouterr()
    rows = json.loads(out)["predictions"]
    assert [(Path(row["image"]).name, row["class"]) for row in rows] == [
        (name, str(label)) for name in names if name != "broken.png"
    ]
    assert "dark.png: inverted" in err
    assert "large.png: its ink scaled" in err
    assert "broken.png is damaged" in err


def test_wrong_usage_exits_with_2() -> None:
    for arguments in ([], ["fly"], ["train", "--epochs", "many"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2


def test_info_lists_every_name(capsys: pytest.CaptureFixture[str]) -> None:
    said = ask(capsys, "info")
    assert "mnist" in said["data sets"]
    assert "epsilon-plus" in said["composites"]
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for name in (*said["models"], *said["criteria"], *said["presets"]):
        assert name in text


@pytest.mark.skipif(os.name != "posix", reason="POSIX")
def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    done = subprocess.run(
        [sys.executable, "-m", "lrp_core", "study", *SMALL],
        env={**os.environ, "LRP_CACHE": str(blocker / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "set LRP_CACHE to a writable one" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m lrp_core info | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seed", ["-1", "4294967296", "99999999999999999999"])
def test_train_takes_the_seeds_that_a_study_takes(capsys: pytest.CaptureFixture[str], seed: str) -> None:
    assert "a seed must be between 0 and 4294967295" in refusal(capsys, "train", *SMALL, "--seed", seed)


@pytest.mark.parametrize(
    ("command", "name", "says"),
    [("train", "net.pt", "net.safetensors"), ("train", "net", "net.safetensors"), ("rank", "order.pt", "or.json")],
)
def test_files_are_called_what_they_hold(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, name: str, says: str
) -> None:
    assert says in refusal(capsys, command, *SMALL, "--output", str(tmp_path / name)).replace(" ", "")
    assert not list(tmp_path.iterdir()), "it is refused before anything is computed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a full disk on Linux only")
def test_an_answer_that_cannot_be_written_is_one_sentence(own_cache: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lrp_core", "info"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "info: the answer cannot be written: No space left on device\n"
