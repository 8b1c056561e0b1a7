"""Which part of a picture does a network with a skip connection need, and what does it save to drop the rest?

    PYTHONPATH=. python examples/skip_connection.py [FOLDER] [--quick]

The script draws a folder of pictures, and trains a small network with one of torchvision's residual blocks on them.
FOLDER gets the pictures, the table of results and the smaller network; --quick only shows that everything runs.
skip_connection.md says what came out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

import lrp_core as lc
from lrp_core.study.results import over_seeds

KINDS = ("cross", "disc", "ring")
CONTROLS = ("variance", "centre", "anova-f", "extra-trees", "random")
OURS = "lrp-0, elimination"


class Residual(nn.Module):
    """A small stem, one of torchvision's blocks with a skip connection, and a dense layer."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.block = BasicBlock(16, 16)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * 16, n_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.stem(x)))


def draw(kind: str, random: np.random.Generator) -> Image.Image:
    """A shape somewhere in the lower left quarter, under a bright band of blots that say nothing."""
    picture = random.integers(0, 60, (24, 24))
    for _ in range(6):
        row, column = random.integers(0, 7), random.integers(0, 20)
        picture[row : row + 3, column : column + 4] = random.integers(60, 256)
    y, x = np.mgrid[-3:4, -3:4]
    radius = np.hypot(x, y)
    inside = {"cross": np.abs(x) == np.abs(y), "disc": radius < 2.5, "ring": (radius > 2) & (radius < 3.5)}[kind]
    row, column = random.integers(12, 18), random.integers(0, 6)
    picture[row : row + 7, column : column + 7][inside] = random.integers(110, 220)
    return Image.fromarray(picture.astype(np.uint8))


def draw_folder(folder: Path, of_each: int) -> Path:
    """A folder of pictures for each class, the same ones each time."""
    random = np.random.default_rng(0)
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in range(of_each):
            draw(kind, random).save(folder / kind / f"{i:03}.png")
    return folder


def print_tables(result: lc.StudyResult) -> None:
    """Test accuracy and savings by the number of tiles; then what elimination gains over each control."""
    curve, n_tiles = result.curve("test"), result.study.data().n_groups
    curve = curve[curve["mode"] == "fine-tune"].copy()  # also the full network was trained on, to be fair
    curve["text"] = [f"{100 * row.score:.1f} ± {50 * (row.high - row.low):.1f}" for row in curve.itertuples()]
    table = curve.pivot(index="keep", columns="method", values="text").sort_index(ascending=False).fillna("")
    print(table[["none", OURS, "lrp-0", *CONTROLS]].to_string())
    trials = result.trials
    scores = trials.set_index(["method", "keep", "seed"])["test_score"].sort_index()
    for keep in sorted(result.study.keeps, reverse=True):
        row = curve[(curve["method"] == OURS) & (curve["keep"] == keep)].iloc[0]
        print(f"{keep} of {n_tiles} tiles: {row.input_bytes:.0f} bytes to read, {row.macs:,.0f} MACs to compute")
        ours = trials[(trials["method"] == OURS) & (trials["keep"] == keep)]
        for control in CONTROLS:
            other = ours["seed"].map(scores[control, keep])
            gain = over_seeds(ours.assign(gain=ours["test_score"] - other), "gain", "test")
            low, mean, high = (100 * value for value in (gain.low, gain.estimate, gain.high))
            print(f"  against {control}: {mean:+.1f} points ({low:+.1f} to {high:+.1f})")


def main(folder: Path, quick: bool) -> None:
    data = lc.read_data(draw_folder(folder / "pictures", 30 if quick else 200), input_groups="windows:6")
    lc.register_model("residual", lambda spec: Residual(spec.shape[0], spec.n_classes))
    study = lc.preset(
        "full",
        data,
        architecture="residual",
        criteria=("lrp-0", *CONTROLS),
        keeps=(4,) if quick else (8, 6, 4, 3, 2),
        modes=("fine-tune",),  # on a canvas, the trained network goes on with what is left
        seeds=range(2 if quick else 5),
        epochs=1 if quick else 15,
        retrain_epochs=1 if quick else 5,
        batch_size=32,
    )
    result = lc.run(study, data=data, name="skip connection", on_trial=tell)
    print_tables(result)

    # Which of the 4 x 4 tiles are needed: # for those that are kept
    kept = result.ranking(0, method=OURS).order[:4].tolist()
    for row in range(4):
        print("".join(" #" if 4 * row + column in kept else " ." for column in range(4)))
    small = result.network(keep=4, seed=0, method=OURS)
    print(small.note)

    # Built again for the box around them, it is cheaper, and has to be trained from scratch
    again = replace(study, modes=("scratch",), criteria=("lrp-0",), strategies=("elimination",), keeps=(4,))
    curve = lc.run(again, data=data, name="skip connection, built again", on_trial=tell).curve("test").iloc[-1]
    print(f"built again: {curve.macs:,.0f} MACs, {100 * curve.score:.1f} ± {50 * (curve.high - curve.low):.1f}")
    print("by elimination:", result.recommend(OURS, margin=0.02).sentence)

    # The export has the weights alone: reading it takes a network that was built in the same way
    lc.export(small, folder / "small", data=data, overwrite=True)
    built = lc.prune_inputs(lc.build_model("residual", data), small.mask)
    loaded, card = lc.load_export(folder / "small", network=built)
    step = len(data.test) // 3
    answers = loaded.eval()(small.mask.apply(data.test.inputs[::step])).argmax(1).tolist()
    print("predicted:", ", ".join(card["classes"][i] for i in answers))
    print("in truth: ", ", ".join(data.classes[i] for i in data.test.labels[::step].tolist()))
    result.curve("test").to_csv(folder / "results.csv", index=False)


def tell(done: int, total: int, trial: object) -> None:
    print(f"\r{done} of {total} networks", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where the pictures and results go")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    asked = parser.parse_args()
    main(asked.folder or Path(tempfile.mkdtemp()), asked.quick)
