"""Which measurements of cell nuclei does one need to tell malignant from benign tumours?

    PYTHONPATH=. python examples/breast_cancer.py [FOLDER] [--quick]

A table with named columns, in groups with costs. The table comes with scikit-learn. FOLDER gets the table of results
and the smaller network; --quick only shows that everything runs. breast_cancer.md says what came out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from sklearn.datasets import load_breast_cancer

import lrp_core as lc
from lrp_core.cli import main as command
from lrp_core.study.results import over_seeds

# What it takes to get a measurement. These prices are invented: put yours here.
PRICES = {
    **dict.fromkeys(("radius", "perimeter", "area", "texture"), 1.0),
    **dict.fromkeys(("smoothness", "compactness", "concavity", "concave points", "symmetry"), 2.0),
    "fractal dimension": 4.0,
}
CONTROLS = ("variance", "anova-f", "extra-trees", "random")
OURS = "lrp-0, elimination"


def read_table() -> lc.Dataset:
    """569 tumours. Each measurement is three columns (mean, error, worst), which are kept or dropped together."""
    frame = load_breast_cancer(as_frame=True).frame
    frame["target"] = frame["target"].map({0: "malignant", 1: "benign"})
    columns = list(frame.columns.drop("target"))
    groups = [
        lc.InputGroup(name, tuple(i for i, column in enumerate(columns) if name in column), price)
        for name, price in PRICES.items()
    ]
    return lc.read_data(frame, name="breast-cancer", label="target", input_groups=groups)


def print_table(result: lc.StudyResult) -> None:
    """Test accuracy in per cent, mean and half the 95 % interval, by the number of measurements."""
    curve = result.curve("test")
    curve["text"] = [f"{100 * row.score:.1f} ± {50 * (row.high - row.low):.1f}" for row in curve.itertuples()]
    table = curve.pivot(index="keep", columns="method", values="text").sort_index(ascending=False).fillna("")
    print(table[["none", OURS, "lrp-0", *CONTROLS]].to_string())


def print_gains(result: lc.StudyResult) -> None:
    """What elimination gains over each control on the same splits, with the interval of the difference."""
    trials = result.trials
    scores = trials.set_index(["method", "keep", "seed"])["test_score"].sort_index()
    for keep in sorted(result.study.keeps, reverse=True):
        ours = trials[(trials["method"] == OURS) & (trials["keep"] == keep)]
        for control in CONTROLS:
            other = ours["seed"].map(scores[control, keep])
            gain = over_seeds(ours.assign(gain=ours["test_score"] - other), "gain", "test")
            sure = "no difference is certain" if gain.low <= 0 <= gain.high else "a certain difference"
            low, mean, high = (100 * value for value in (gain.low, gain.estimate, gain.high))
            print(f"{keep} kept, against {control}: {mean:+.1f} points ({low:+.1f} to {high:+.1f}), {sure}")


def main(folder: Path, quick: bool) -> None:
    data = read_table()
    study = lc.preset(
        "full",
        data,
        criteria=("lrp-0", *CONTROLS),
        keeps=(3, 1) if quick else (7, 5, 3, 2, 1),
        seeds=range(2 if quick else 10),
        resplit=True,  # the test part has 85 rows: every seed draws its own split
        epochs=2 if quick else 100,
        patience=10,  # so few rows are learned by heart soon: the validation rows say when to stop
    )
    result = lc.run(study, data=data, name="breast cancer", on_trial=tell)
    print_table(result)
    print_gains(result)
    # Which measurements last, in how many splits?
    first = [data.group_names[i] for seed in study.seeds for i in result.ranking(seed, method=OURS).order[:3].tolist()]
    print("among the last three:", ", ".join(f"{name} {first.count(name)}x" for name in sorted(set(first))))
    print("by elimination:", result.recommend(OURS, margin=0.02).sentence)

    # The network of the first split that needs three measurements, and the rows that it has not seen
    split = study.data(0)
    done = lc.export(result.network(keep=3, seed=0, method=OURS), folder / "small", data=split, overwrite=True)
    kept, cost = done.card["input"]["kept_groups"], done.card["cost"]
    print(f"exported: {', '.join(kept)}; price {cost['input_cost']:g} of {cost['full_input_cost']:g}")
    table = load_breast_cancer(as_frame=True).data.iloc[split.test.indices[::20].numpy()]
    table[[column for column in table if any(name in column for name in kept)]].to_csv(folder / "new.csv", index=False)
    command(["predict", str(folder / "small"), str(folder / "new.csv")])
    print("in truth:", ", ".join(data.classes[i] for i in split.test.labels[::20].tolist()))
    result.curve("test").to_csv(folder / "results.csv", index=False)


def tell(done: int, total: int, trial: object) -> None:
    print(f"\r{done} of {total} networks", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where the results go")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    asked = parser.parse_args()
    main(asked.folder or Path(tempfile.mkdtemp()), asked.quick)
