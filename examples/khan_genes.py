"""Which of 2,308 genes tell four kinds of tumour apart, with 83 rows to learn from?

    pip install --no-deps ISLP
    PYTHONPATH=. python examples/khan_genes.py [FOLDER] [--quick]

FOLDER gets the smaller network. `--quick` runs a part of the study.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

import lrp_core as lc

CRITERIA = ("lrp-0", "variance", "anova-f", "extra-trees", "random")
TUMOURS = {1: "BL", 2: "EWS", 3: "NB", 4: "RMS"}
MARGIN = 0.05  # five points of accuracy may be lost; chosen before anything was measured


def read_genes() -> lc.Dataset:
    # The package carries the data. Its code is not needed, so it is not imported.
    package = find_spec("ISLP")
    folder = Path((package.submodule_search_locations or ["."])[0] if package else ".") / "data"
    if not (folder / "Khan_xtrain.csv").is_file():
        sys.exit("The genes come with the package ISLP, which is not here: pip install --no-deps ISLP")
    # The split of the paper is one of many. All rows go together, and are split here.
    genes = pd.concat([pd.read_csv(folder / f"Khan_x{part}.csv") for part in ("train", "test")])
    kinds = pd.concat([pd.read_csv(folder / f"Khan_y{part}.csv")["x"] for part in ("train", "test")])
    # Logarithms of ratios are on one scale already. Standardised, each would have the variance 1, and a control less.
    return lc.read_data((genes, kinds.map(TUMOURS)), name="genes", standardise="no")


def main(folder: Path, quick: bool) -> None:
    data = read_genes()

    # Every network is trained from scratch on the genes that are left. Each seed draws a split of its own: 59 rows to
    # train on, 12 for validation, 12 for the test. Its ranking has seen none of these 24.
    study = lc.preset(
        "full",
        data,
        criteria=CRITERIA[::2] if quick else CRITERIA,
        strategies=("one-shot",) if quick else ("one-shot", "elimination"),
        keeps=(50, 10) if quick else (500, 100, 50, 20, 10),
        seeds=range(2 if quick else 10),
        resplit=True,
        epochs=20 if quick else 50,
    )
    result = lc.run(study, name="genes")

    # Test rows: the final figures, with 95 % intervals that allow for the rows that splits share.
    test = result.curve("test")
    cells = [f"{100 * row.score:.1f} ± {100 * (row.high - row.score):.1f}" for row in test.itertuples()]
    table = test.assign(cell=cells).pivot(index="method", columns="keep", values="cell").fillna("")
    print(f"Test accuracy in per cent by the genes that are kept, {len(study.seeds)} splits:\n")
    print(table.reindex(["none", *study.methods]).iloc[:, ::-1].to_string(), "\n")

    # Validation rows choose the fewest genes: of relevance, and of the best simple control.
    for method in ("lrp-0", "anova-f"):
        print(f"{method}: {result.recommend(method, margin=MARGIN).sentence}")

    # Are these the same genes in each split?
    method, keep = "lrp-0", 50
    masks = [result.ranking(seed, method=method).mask(keep=keep) for seed in study.seeds]
    times = Counter(index for mask in masks for index in mask.indices.tolist())
    always = sorted(index for index, n in times.items() if n == len(masks))
    print(f"\nThe splits choose {len(times)} different genes for the {keep} of {method!r}. All of them choose")
    print(" ", ", ".join(data.name_of_input(index) for index in always) or "no gene")

    # The smaller network of one split is a file of its own, which needs these genes alone.
    split = study.data(seed=0)
    small = result.network(keep=keep, seed=0, method=method)
    lc.export(small, folder / "small", data=split, overwrite=True)
    network, card = lc.load_export(folder / "small")
    inputs = split.test.inputs[:, card["input"]["kept_pixels"]]
    answers = np.array(card["classes"])[network(inputs).argmax(1).numpy()]
    labels = np.array(card["classes"])[split.test.labels.numpy()]
    print(f"\n{folder / 'small'} reads {inputs.shape[1]} of {data.n_inputs:,} genes. Test rows of split 0:")
    print("  predicted", *answers, "\n  true     ", *labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    main(arguments.folder or Path(tempfile.mkdtemp()), arguments.quick)
