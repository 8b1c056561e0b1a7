"""How right the estimate of a study is: python -m benchmarks.estimates [--json FILE]

For each of three studies, in seconds: what `views.outlook` says on an empty cache, before anything was timed there,
what the command then takes from its start to its end, and what is said of its repetition once it is in the ledger. The
ratio should lie between 2/3 and 3/2.

The times hold for a machine that does nothing else. No test asserts a time; this is the place where one counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lrp_core as lc
from lrp_core import views

STUDIES: dict[str, list[str]] = {
    "quick": ["--preset", "quick"],
    "mlp, full, 2 seeds, 2 shares": ["--preset", "full", "--seeds", "0", "1", "--removed", "75", "90"],
    "lenet-5, small": ["--model", "lenet-5", "--seeds", "0", "1", "--removed", "75", "--train-images", "4000"],
}
"""What is typed after `python -m lrp_core study`."""


def asked(words: list[str], data: lc.Dataset) -> lc.Study:
    """The study that these words ask for."""
    from lrp_core.cli.arguments import make_parser
    from lrp_core.cli.shared import keep_for

    said = make_parser().parse_args(["study", *words])
    keeps = tuple(keep_for(percent, data) for percent in said.removed or ()) or None
    changes = {"seeds": said.seeds, "n_train": said.train_images, "architecture": said.model, "keeps": keeps}
    return lc.preset(said.preset, data, **changes)


def measure(words: list[str], data: lc.Dataset) -> dict[str, float]:
    """The estimate of a study, and what it takes, on an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LRP_CACHE"] = folder
        study, ledger = asked(words, data), lc.Ledger(Path(folder))
        started = time.perf_counter()
        estimate = views.outlook(study, ledger, views.measured_timings(ledger)).seconds or float("nan")
        told = time.perf_counter() - started
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "lrp_core", "study", *words], check=True, stdout=subprocess.DEVNULL, env=os.environ
        )
        taken = time.perf_counter() - started
        again = views.outlook(
            views.repeat_of(study), ledger, views.measured_timings(ledger)
        ).seconds or float("nan")  # fmt: skip
    ratios = {"ratio": taken / estimate, "ratio, once timed": taken / again}
    return {"estimate": estimate, "taken": taken, "once timed": again, "seconds to tell": told} | ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(STUDIES), choices=list(STUDIES), help="of these alone")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    data, figures = lc.load_dataset("mnist"), dict[str, Any]()
    for name in arguments.only:
        figures[name] = measure(STUDIES[name], data)
        print(f"{name:<30} " + "  ".join(f"{key} {value:.2f}" for key, value in figures[name].items()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
