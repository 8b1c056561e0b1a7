"""A study of many small networks, beside the loops that one would write for it.

python -m benchmarks.sweep [--keeps 706 ... 39] [--seeds 0 1 2 3 4] [--sample 1] [--loop-epochs 2]
    [--precisions float32 bfloat16] [--json FILE]

The study is the project's own: `run_study` in a fresh process with an empty cache, on as many processes of one thread
each as there are cores. It unpacks MNIST, trains a network on all pixels for every seed, ranks the pixels by LRP, and
trains one network from scratch for every keep and seed; its seconds are those from starting the process to its end,
with start-up, preparing the data, ranking, evaluation on validation and test images, and saving. It runs once for
each of `--precisions`, of its own products in training; the second time it finds the data set unpacked.

(a) is a plain loop over tensors in memory, with torch's default threads: shuffle, index a batch, forward, backward,
AdamW, one-cycle rate. (b) is the usual loop over torchvision's MNIST with ToTensor through a DataLoader with two
workers. Both train the same networks on the same images with the same recipe, in float32, and evaluate once on the
same two splits. What they take to start, to read the data and to choose the pixels is not counted. They run on a
sample only: (a) for every keep and --sample of the seeds, in several rounds, after each study and at the end, the
first one in full and the others for --loop-epochs; (b) on the first seed, in full for the middle keep, and for
--loop-epochs of the smallest and the largest. What was not measured is taken from what was: the seconds of another
seed as the same, those of further epochs in proportion, and of (b) on another keep by linear interpolation. A ratio
is the median of its rounds.

The bare rate is that of torch.mm in the study's precision, in as many processes at once, of one thread each: of a
large square matrix, which the goal is about, and of just the products that the training needs. All ratios are by the
clock; those of the time that processors worked follow, which other work on the machine lengthens less. Memory is the
proportional set size (each shared page counted once) of all processes of the study together, looked at every two
seconds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib.externals.loky import get_reusable_executor
from torch import nn

from lrp_core.data import load_dataset
from lrp_core.evaluation import measure_cost
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, build_pruned
from lrp_core.ranking import keep_for_share
from lrp_core.study import Study, Trial, plan, run_study
from lrp_core.study.ledger import Ledger
from lrp_core.study.stages import ranking_of
from lrp_core.training import PRECISIONS, recipe_for

from .plain_loops import ARCHITECTURE, Cell, Timing, extrapolate, loader_cells, loop_over_loader, loop_over_tensors
from .processes import Memory, Seconds, watched_memory

CRITERION = "lrp-0"
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Shares of the pixels that are removed."""

GOALS = {"x (a)": 4.0, "x (b)": 20.0, "share of bare rate": 0.65, "MB": 2000.0, "points from (a)": 0.1}
SQUARE = 2048


def training_macs(network: nn.Module) -> int:
    """Multiply-accumulates of one forward and backward pass of a dense network, for one image.

    Each layer has a product forward, one for the gradient of its weights, and, but for the first, one for its inputs'.
    """
    macs = [layer.macs for layer in measure_cost(network).layers if layer.macs]
    return 3 * sum(macs) - macs[0]


def products(keep: int, hidden: Sequence[int], n_classes: int, batch: int) -> list[tuple[int, int, int]]:
    """Shapes (rows, shared, columns) of the matrix products of one step of training."""
    widths = [keep, *hidden, n_classes]
    shapes = []
    for i, (width, after) in enumerate(pairwise(widths)):
        shapes += [(batch, width, after), (after, batch, width)]
        if i:
            shapes.append((batch, after, width))
    return shapes


def products_rate(shapes: Sequence[tuple[int, int, int]], seconds: float, precision: str) -> float:
    """Multiply-accumulates a second in products of these shapes, for at least so long, on one thread."""
    torch.set_num_threads(1)
    dtype = PRECISIONS[precision]
    made = [(torch.rand(m, k).to(dtype), torch.rand(n, k).to(dtype).t(), torch.empty(m, n, dtype=dtype))
            for m, k, n in shapes]  # fmt: skip
    rounds = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(rounds) < 3:
        started = time.perf_counter()
        for a, b, out in made:
            torch.mm(a, b, out=out)
        rounds.append(time.perf_counter() - started)
    return sum(m * k * n for m, k, n in shapes) / statistics.median(rounds)


def bare_rates(shapes: dict[str, list[tuple[int, int, int]]], jobs: int, precision: str) -> dict[str, float]:
    """Multiply-accumulates a second of `jobs` processes at once, for each kind of products."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:

        def rate(own: list[tuple[int, int, int]], seconds: float) -> float:
            return sum(pool.map(products_rate, [own] * jobs, [seconds] * jobs, [precision] * jobs))

        rate([(64, 64, 64)], 1.0)  # until all have started
        return {name: rate(own, 3.0) for name, own in shapes.items()}


def record_study(study: Study, jobs: int) -> None:
    """Run the study; the process that does nothing else."""
    for _ in run_study(study, jobs=jobs):
        pass
    if jobs > 1:  # a process of multiprocessing waits for its children, and these wait for more work for minutes
        get_reusable_executor(reuse=True).shutdown()


def time_study(study: Study, jobs: int, cache: Path) -> tuple[Seconds, Memory]:
    """Seconds from starting its process to its end, and the peak of its memory."""
    started = Seconds.now()
    process = multiprocessing.get_context("spawn").Process(target=record_study, args=(study, jobs))
    process.start()
    assert process.pid is not None
    with watched_memory(process.pid, cache / "data") as peaks:
        process.join()
    if process.exitcode:
        sys.exit(f"the study failed with exit status {process.exitcode}")
    return Seconds.now().since(started), peaks[-1]


def summarise(
    trials: pd.DataFrame, plain: Sequence[Timing], loader: Sequence[Timing], epochs: int, jobs: int
) -> tuple[pd.DataFrame, float]:
    """One row for each keep, and the mean difference in points between study and (a) over the cells of both.

    `trials` has columns criterion, keep, seed, seconds, test_accuracy. Seconds are those of one network. A network
    of the study has one of `jobs` processes, so it is counted with as much less of the machine's time; those on all
    pixels are trained before the trials, so their seconds are in the total only.
    """
    keeps = sorted(trials["keep"].unique().tolist(), reverse=True)
    seconds = {"(a)": extrapolate(plain, keeps, epochs), "(b)": extrapolate(loader, keeps, epochs)}
    rows = []
    for keep in keeps:
        own = trials[trials["keep"] == keep]
        share = own["seconds"].where(own["criterion"] != "none").mean() / jobs
        row: dict[str, Any] = {"keep": keep, "networks": len(own), "study s": share}
        for name, by_keep in seconds.items():
            row |= {f"{name} s": by_keep[keep], f"x {name}": by_keep[keep] / share}
        row["(a) on"] = f"{len({t.seed for t in plain if t.keep == keep})} of {len(own)}"
        row["(b) on"] = " ".join(f"{t.epochs}/{epochs} epochs" for t in loader if t.keep == keep) or "-"
        row["test %"] = 100 * own["test_score"].mean()
        rows.append(row)
    accuracy = trials.set_index(["keep", "seed"])["test_score"]
    points = [100 * (accuracy[t.keep, t.seed] - t.test) for t in plain if t.test is not None]
    return pd.DataFrame(rows), statistics.mean(points)


def run_timed(study: Study, jobs: int, cache: Path) -> dict[str, Any]:
    """Run the study: what it took, what it found, and the bare rates right before and after."""
    recipe = recipe_for(ARCHITECTURE, epochs=study.epochs, precision=study.precision)
    data = load_dataset("mnist")
    keeps = sorted({data.n_inputs, *study.keeps})
    shapes = {
        "square": [(SQUARE, SQUARE, SQUARE)],
        "training": [shape for keep in keeps for shape in products(keep, (300, 100), 10, recipe.batch_size)],
    }
    before = bare_rates(shapes, jobs, study.precision)
    seconds, memory = time_study(study, jobs, cache)
    after = bare_rates(shapes, jobs, study.precision)
    planned = plan(study, data)
    trials = Ledger().trials([trial.key for trial in planned])
    spec = build_model(ARCHITECTURE, data).spec
    per_image = {keep: training_macs(build_pruned(spec, PixelMask.from_indices(range(keep), data.shape)))
                 for keep in keeps}  # fmt: skip
    macs = trials["keep"].map(per_image) * len(data.train) * recipe.epochs
    in_trials = trials["criterion"] != "none"
    rates = {
        "whole study": macs.sum() / seconds.clock,
        "its trials": macs[in_trials].sum() / (trials["seconds"][in_trials].sum() / jobs),
        "bare, square": statistics.mean((before["square"], after["square"])),
        "bare, as in training": statistics.mean((before["training"], after["training"])),
    }
    return {
        "clock": seconds.clock,
        "worked": seconds.worked,
        "networks": len(trials),
        "share of bare rate": rates["whole study"] / rates["bare, square"],
        "MB": memory.total / 1e6,
        "training MACs": int(macs.sum()),
        "GMAC/s": {name: float(rate) / 1e9 for name, rate in rates.items()},
        "memory": asdict(memory),
        "trials": trials[["criterion", "keep", "seed", "seconds", "test_score"]],
    }


def compare(arguments: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """Everything that is measured, as plain values: for the study in each precision, and for each round of a loop."""
    recipe = recipe_for(ARCHITECTURE, epochs=arguments.epochs)
    studies: dict[str, Any] = {}
    rounds: dict[str, list[list[Timing]]] = {"(a)": [], "(b)": []}
    data = load_dataset("mnist")
    planned: list[Trial] = []

    def time_loop(name: str, loop: Callable[..., list[Timing]], wanted: Sequence[tuple[int, int, int]]) -> None:
        masks = {(t.keep, t.base.seed): ranking_of(t.ranking).mask(t.keep) if t.ranking else PixelMask.full(data.shape)
                 for t in planned}  # fmt: skip
        cells = [Cell(k, s, e, tuple(masks[k, s].indices.tolist())) for k, s, e in wanted]
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            rounds[name].append(pool.submit(loop, cells, recipe, cache / "data").result())

    for precision in dict.fromkeys(arguments.precisions):
        study = Study(
            architecture=ARCHITECTURE,
            criteria=(CRITERION,),
            keeps=tuple(arguments.keeps),
            modes=("scratch",),
            seeds=tuple(arguments.seeds),
            epochs=arguments.epochs,
            precision=precision,
        )
        studies[precision] = run_timed(study, arguments.jobs, cache)
        planned = planned or plan(study, data)
        keeps = sorted({t.keep for t in planned})
        epochs = arguments.loop_epochs if rounds["(a)"] else recipe.epochs
        sample = [(k, s, epochs) for s in arguments.seeds[: arguments.sample] for k in keeps]
        time_loop("(a)", loop_over_tensors, sample)
    time_loop("(b)", loop_over_loader, loader_cells(keeps, arguments.seeds[0], arguments.loop_epochs, recipe.epochs))
    time_loop("(a)", loop_over_tensors, [(k, s, arguments.loop_epochs) for k, s, _ in sample])

    def whole(timed: list[Timing], kind: str) -> float:
        seconds = extrapolate(timed, keeps, recipe.epochs, kind)
        return sum(seconds[trial.keep] for trial in planned)

    timings = {name: list(chain.from_iterable(own)) for name, own in rounds.items()}
    for measured in studies.values():
        for name, own in rounds.items():
            for kind in ("clock", "worked"):
                measured[f"{kind} x {name}"] = [whole(timed, kind) / measured[kind] for timed in own]
        trials = measured.pop("trials")
        table, measured["points from (a)"] = summarise(
            trials, timings["(a)"], timings["(b)"], recipe.epochs, arguments.jobs
        )
        measured |= {"rows": table.to_dict("records"), "trials": trials.to_dict("records")}
    plain = {name: [[asdict(timing) for timing in timed] for timed in own] for name, own in rounds.items()}
    return {"studies": studies, "rounds": plain}


def report(precision: str, study: dict[str, Any], rounds: dict[str, list[list[dict[str, Any]]]], jobs: int) -> None:
    """Print what was measured of the study in one precision, and what it was to be."""
    print(pd.DataFrame(study["rows"]).to_string(index=False, na_rep="-", float_format="{:.2f}".format))
    trained = study["networks"]
    print(
        f"\nstudy in {precision}: {study['clock']:.1f} s for {trained} networks on {jobs} processes, "
        f"{study['clock'] / trained:.2f} s each, everything counted; "
        f"processors worked {study['worked']:.1f} s"
    )
    for name, title in (("(a)", "loop over tensors"), ("(b)", "torchvision and DataLoader")):
        ratios = {kind: study[f"{kind} x {name}"] for kind in ("clock", "worked")}
        print(
            f"x {name} {title}: {statistics.median(ratios['clock']):.2f} (goal {GOALS[f'x {name}']:g}), "
            f"by its rounds {', '.join(f'{ratio:.2f}' for ratio in ratios['clock'])}; "
            f"of the time that processors worked: {statistics.median(ratios['worked']):.2f}"
        )
    rates = study["GMAC/s"]
    print("GMAC/s: " + ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items()))
    for name in ("whole study", "its trials"):
        shares = (rates[name] / rates[bare] for bare in ("bare, square", "bare, as in training"))
        print("share of bare rate, {}: {:.0%} of square, {:.0%} of as in training".format(name, *shares))
    print(f"(the goal, {GOALS['share of bare rate']:.0%}, is for the whole study and the square)")
    memory = {name: value / 1e6 for name, value in study["memory"].items()}
    print(
        "memory at its peak: {total:.0f} MB, in it the mapped data set with {mapped:.0f} MB; "
        "not shared it would be {mapped_each:.0f} MB".format(**memory)
    )
    in_full = {name: [t for own in timed for t in own if t["test"] is not None] for name, timed in rounds.items()}
    print(
        f"test accuracy: {study['points from (a)']:+.3f} points from (a), "
        f"mean of {len(in_full['(a)'])} networks trained by both"
    )
    for t in in_full["(b)"]:
        own = next(r for r in study["trials"] if (r["keep"], r["seed"]) == (t["keep"], t["seed"]))
        print(f"keep {t['keep']}, seed {t['seed']}: study {own['test_score']:.2%}, (b) {t['test']:.2%}")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keeps", nargs="+", type=int, default=[keep_for_share(share, 784) for share in SHARES])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=recipe_for(ARCHITECTURE).epochs)
    parser.add_argument("--sample", type=int, default=1, help="seeds of every keep on which (a) is measured")
    parser.add_argument("--loop-epochs", type=int, default=2, help="epochs of a loop where it is not trained in full")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS),
                        help="of the study's products; default: both")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes of the study; default: one a core")
    parser.add_argument("--json", metavar="FILE", help="also write all figures there")
    arguments = parser.parse_args()
    if not all(1 <= keep < 784 for keep in arguments.keeps):
        sys.exit("--keeps must be between 1 and 783: networks on all 784 pixels are trained anyway")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LRP_CACHE"] = cache
        measured = compare(arguments, Path(cache))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    for precision, own in measured["studies"].items():
        report(precision, own, measured["rounds"], arguments.jobs)
    print(f"{machine}, load average {load:.1f} before")
    if arguments.json:
        measured |= {"load before": load, "machine": machine, "goals": GOALS}
        Path(arguments.json).write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
