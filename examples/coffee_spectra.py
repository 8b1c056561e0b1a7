"""Which bands of an infrared spectrum tell where a coffee comes from?

    pip install --no-deps chemotools
    PYTHONPATH=. python examples/coffee_spectra.py [FOLDER] [--quick]

FOLDER gets the smaller network. `--standardise channels` leaves the strong bands strong: the page
coffee_spectra.md says what that does. `--quick` runs a part of the study.
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

CRITERIA = ("lrp-0", "anova-f", "extra-trees", "random")
MARGIN = 0.05  # five points of accuracy may be lost; chosen before anything was measured


def read_coffee(standardise: str) -> lc.Dataset:
    # The package carries the data. Its code is not needed, so it is not imported.
    package = find_spec("chemotools")
    folder = Path((package.submodule_search_locations or ["."])[0] if package else ".") / "datasets" / "data"
    if not (folder / "coffee_spectra.csv").is_file():
        sys.exit("The spectra come with the package chemotools, which is not here: pip install --no-deps chemotools")
    spectra, origins = (pd.read_csv(folder / f"coffee_{what}.csv") for what in ("spectra", "labels"))
    # A spectrum is a series of one channel. 20 neighbours are one band, kept or dropped as a whole: 93 bands.
    form = {"series": (1, spectra.shape[1]), "input_groups": "windows:20", "standardise": standardise}
    return lc.read_data((spectra, origins), name="coffee", **form)


def main(folder: Path, standardise: str, quick: bool) -> None:
    data = read_coffee(standardise)
    # Standardised by themselves, all values have the variance 1, and there is nothing to rank by.
    criteria = CRITERIA if standardise == "inputs" else (*CRITERIA, "variance")

    # Every network is trained from scratch on the bands that are left. With 60 rows one split says little: each seed
    # draws its own, and its ranking has seen none of its test rows.
    study = lc.preset(
        "full",
        data,
        criteria=CRITERIA[::3] if quick else criteria,
        keeps=(5, 1) if quick else (10, 5, 3, 2, 1),
        seeds=range(2 if quick else 10),
        resplit=True,
        epochs=20 if quick else None,
    )
    result = lc.run(study, name="coffee")

    # Test rows: the final figures, with 95 % intervals that allow for the rows that splits share.
    test = result.curve("test")
    cells = [f"{100 * row.score:.1f} ± {100 * (row.high - row.score):.1f}" for row in test.itertuples()]
    table = test.assign(cell=cells).pivot(index="method", columns="keep", values="cell").fillna("")
    print(f"Test accuracy in per cent by the bands that are kept, {len(study.seeds)} splits:\n")
    print(table.reindex(["none", *study.methods]).iloc[:, ::-1].to_string(), "\n")

    # Validation rows choose, the fewest bands: of relevance, and of chance.
    for method in ("lrp-0, elimination", "random"):
        print(f"{method}: {result.recommend(method, margin=MARGIN).sentence}")

    # Which bands are these? Each split has its own answer.
    method, keep = "lrp-0, elimination", 5 if quick else 2
    masks = [result.ranking(seed, method=method).mask(keep=keep) for seed in study.seeds]
    kept = Counter(int(group) for mask in masks for group in data.grouping.groups_of(mask.indices))
    print(f"\nThe {keep} bands of {method!r}, and how many of the {len(masks)} splits keep them:")
    for group, times in sorted(kept.items(), key=lambda one: -one[1]):
        print(f"  {data.group_names[group]}: {times}")

    # The smaller network of one split is a file of its own, which needs these bands alone.
    split = study.data(seed=0)
    small = result.network(keep=keep, seed=0, method=method)
    lc.export(small, folder / "small", data=split, overwrite=True)
    network, card = lc.load_export(folder / "small")
    inputs = split.test.inputs.flatten(1)[:, card["input"]["kept_pixels"]]
    answers = np.array(card["classes"])[network(inputs).argmax(1).numpy()]
    labels = np.array(card["classes"])[split.test.labels.numpy()]
    print(f"\n{folder / 'small'} reads {inputs.shape[1]} of {data.n_inputs:,} values. Test rows of split 0:")
    print("  predicted", *answers, "\n  true     ", *labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--standardise", choices=("inputs", "channels"), default="inputs")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    main(arguments.folder or Path(tempfile.mkdtemp()), arguments.standardise, arguments.quick)
