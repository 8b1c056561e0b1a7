"""How few pixels are enough to tell clothes apart, and is relevance better than a simple control?

    PYTHONPATH=. python examples/fashion_mnist.py [FOLDER] [--data DATA] [--quick]

DATA is a folder with the four original files of Fashion-MNIST; without it, Debian's is taken
(/usr/share/datasets/fashion-mnist), or LRP_DATA. Nothing is downloaded. FOLDER gets the table of results and the
smaller network; --quick only shows that everything runs. fashion_mnist.md says what came out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

import lrp_core as lc
from lrp_core.cli import main as command
from lrp_core.study.results import over_seeds

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CONTROLS = ("variance", "anova-f", "extra-trees", "random")
OURS = "lrp-0, elimination"


def print_table(result: lc.StudyResult) -> None:
    """Test accuracy in per cent, mean and half the 95 % interval, by the number of pixels."""
    curve = result.curve("test")
    curve["text"] = [f"{100 * row.score:.1f} ± {50 * (row.high - row.low):.1f}" for row in curve.itertuples()]
    table = curve.pivot(index="keep", columns="method", values="text").sort_index(ascending=False).fillna("")
    print(table[["none", OURS, "lrp-0", *CONTROLS]].to_string())


def print_gains(result: lc.StudyResult, method: str) -> None:
    """What a method gains over each control with the same seeds, with the interval of the difference."""
    trials = result.trials
    scores = trials.set_index(["method", "keep", "seed"])["test_score"].sort_index()
    for keep in sorted(result.study.keeps, reverse=True):
        ours = trials[(trials["method"] == method) & (trials["keep"] == keep)]
        said = []
        for control in CONTROLS:
            other = ours["seed"].map(scores[control, keep])
            gain = over_seeds(ours.assign(gain=ours["test_score"] - other), "gain", "test")
            said.append(f"{control} {100 * gain.estimate:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})")
        print(f"{method} at {keep} pixels, points against {', '.join(said)}")


def main(folder: Path, files: Path | None, quick: bool) -> None:
    data = lc.load_dataset("fashion-mnist", root=files)
    study = lc.preset(
        "full",
        data,
        criteria=("lrp-0", *CONTROLS),
        keeps=(50, 25) if quick else (392, 196, 100, 50, 25),
        n_train=500 if quick else 10_000,  # a sample, to stay within minutes
        seeds=range(2 if quick else 5),
        epochs=1 if quick else 8,
    )
    result = lc.run(study, data=data, name="Fashion-MNIST", on_trial=tell)
    print_table(result)
    for method in (OURS, "lrp-0"):
        print_gains(result, method)
    print("by elimination:", result.recommend(OURS, margin=0.02).sentence)

    # The smaller network, and three images that it has not seen
    lc.export(result.network(keep=50, seed=0, method=OURS), folder / "small", data=data, overwrite=True)
    np.save(folder / "new.npy", data.test.raw[:3].numpy())
    command(["predict", str(folder / "small"), str(folder / "new.npy")])
    print("in truth:", ", ".join(data.classes[i] for i in data.test.labels[:3].tolist()))
    result.curve("test").to_csv(folder / "results.csv", index=False)


def tell(done: int, total: int, trial: object) -> None:
    print(f"\r{done} of {total} networks", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where the results go")
    parser.add_argument("--data", type=Path, default=DEBIAN if DEBIAN.is_dir() else None, help="the original files")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    asked = parser.parse_args()
    main(asked.folder or Path(tempfile.mkdtemp()), asked.data, asked.quick)
