"""A study of many small networks, beside the loops that one would write for it.

python -m benchmarks.sweep [--keeps 706 ... 39] [--seeds 0 1 2 3 4] [--sample 1] [--loader-epochs 2] [--json FILE]

The study is the project's own: `run_study` in a fresh process with an empty cache, on as many processes of one thread
each as there are cores. It unpacks MNIST, trains a network on all pixels for every seed, ranks the pixels by LRP, and
trains one network from scratch for every keep and seed; its seconds are those from starting the process to its end,
with start-up, preparing the data, ranking, evaluation on validation and test images, and saving.

(a) is a plain loop over tensors in memory, with torch's default threads: shuffle, index a batch, forward, backward,
AdamW, one-cycle rate. (b) is the usual loop over torchvision's MNIST with ToTensor through a DataLoader with two
workers. Both train the same networks on the same images with the same recipe and evaluate once on the same two
splits. What they take to start, to read the data and to choose the pixels is not counted. They run on a sample only:
(a) in full for every keep and --sample of the seeds; (b) on the first seed, in full for the middle keep, and for
--loader-epochs of the smallest and the largest. What was not measured is taken from what was: the seconds of another
seed as the same, those of further epochs in proportion, and of (b) on another keep by linear interpolation.

The bare rate is that of torch.mm in float32, in as many processes at once, of one thread each: of a large square
matrix, which the goal is about, and of just the products that the training needs. All ratios are by the clock; those
of the time that processors worked follow, which other work on the machine lengthens less. Memory is the proportional
set size (each shared page counted once) of all processes of the study together, looked at every two seconds.
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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib.externals.loky import get_reusable_executor
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from lrp_core.data import Split, load_dataset
from lrp_core.evaluation import measure_cost
from lrp_core.ledger import Ledger
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, build_pruned
from lrp_core.ranking import keep_for_share
from lrp_core.stages import ranking_of
from lrp_core.study import Study, plan, run_study
from lrp_core.training import WARM_UP, Recipe, recipe_for

ARCHITECTURE, CRITERION = "mlp-300-100", "lrp-0"
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Shares of the pixels that are removed."""

GOALS = {"x (a)": 4.0, "x (b)": 20.0, "share of bare rate": 0.65, "MB": 2000.0, "points from (a)": 0.1}
SQUARE = 2048

LOOK_EVERY = 2.0
"""Seconds between two looks at the memory: one takes 50 ms of processor time, which the study does not get."""


@dataclass(frozen=True)
class Cell:
    """One network that a plain loop trains for `epochs` of the recipe's."""

    keep: int
    seed: int
    epochs: int
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Seconds:
    """Time by the clock, and time that processors worked for this process and for those it started and that ended."""

    clock: float
    worked: float

    @classmethod
    def now(cls) -> Seconds:
        return cls(time.perf_counter(), sum(os.times()[:4]))

    def since(self, start: Seconds) -> Seconds:
        return Seconds(self.clock - start.clock, self.worked - start.worked)


@dataclass(frozen=True)
class Timing:
    """What a plain loop took for the epochs of a cell and for evaluating it; its accuracy if trained in full."""

    keep: int
    seed: int
    epochs: int
    training: Seconds
    evaluation: Seconds
    test: float | None

    def in_full(self, epochs: int, kind: str) -> float:
        """Seconds of a kind, "clock" or "worked", for so many epochs and the evaluation."""
        return float(getattr(self.training, kind) * epochs / self.epochs + getattr(self.evaluation, kind))


# The two plain loops


def train_plainly(network: nn.Module, batches: Callable[[], Any], n_batches: int, recipe: Recipe, epochs: int) -> None:
    """The loop of a tutorial: `batches()` are those of one epoch."""
    optimizer = torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, total_steps=recipe.epochs * n_batches, pct_start=WARM_UP
    )
    for _ in range(epochs):
        for x, y in batches():
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
            schedule.step()


def time_cell(cell: Cell, recipe: Recipe, parts: dict[str, Callable[[], Any]], n_batches: int) -> Timing:
    """Train one cell and evaluate it; `parts` give the batches of an epoch, and of the two splits to evaluate on."""
    data = load_dataset("mnist")
    mask = PixelMask.from_indices(cell.columns, data.shape)
    network = build_pruned(build_model(ARCHITECTURE, data).spec, mask, seed=cell.seed)
    torch.manual_seed(cell.seed)
    started = Seconds.now()
    train_plainly(network, parts["train"], n_batches, recipe, cell.epochs)
    trained = Seconds.now()
    accuracies = {}
    network.eval()
    with torch.no_grad():
        for part in ("validation", "test"):
            hits = torch.cat([network(x).argmax(1) == y for x, y in parts[part]()])
            accuracies[part] = hits.double().mean().item()
    finished = Seconds.now()
    in_full = cell.epochs == recipe.epochs
    test = accuracies["test"] if in_full else None
    return Timing(cell.keep, cell.seed, cell.epochs, trained.since(started), finished.since(trained), test)


def loop_over_tensors(cells: list[Cell], recipe: Recipe, root: Path) -> list[Timing]:
    """(a); it needs no `root`."""
    data = load_dataset("mnist")
    found = []
    for cell in cells:
        columns = torch.tensor(cell.columns)
        tensors = {part: _tensors(getattr(data, part), columns) for part in ("train", "validation", "test")}

        def shuffled(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
            order = torch.randperm(len(y))
            for start in range(0, len(y), recipe.batch_size):
                rows = order[start : start + recipe.batch_size]
                yield x[rows], y[rows]

        parts: dict[str, Callable[[], Any]] = {
            "train": lambda tensors=tensors: shuffled(*tensors["train"]),
            "validation": lambda tensors=tensors: [tensors["validation"]],
            "test": lambda tensors=tensors: [tensors["test"]],
        }
        found.append(time_cell(cell, recipe, parts, -(-len(data.train) // recipe.batch_size)))
    return found


def _tensors(split: Split, columns: Tensor) -> tuple[Tensor, Tensor]:
    return split.images.flatten(1)[:, columns], split.labels


def loop_over_loader(cells: list[Cell], recipe: Recipe, root: Path) -> list[Timing]:
    """(b); `root` is torchvision's."""
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    data = load_dataset("mnist")
    official = {train: MNIST(str(root), train=train, transform=ToTensor()) for train in (True, False)}
    loaders = {
        part: DataLoader(
            Subset(official[part != "test"], getattr(data, part).indices.tolist()),
            batch_size=recipe.batch_size,
            shuffle=part == "train",
            num_workers=2,
        )
        for part in ("train", "validation", "test")
    }
    found = []
    for cell in cells:
        columns = torch.tensor(cell.columns)

        def kept(part: str, columns: Tensor = columns) -> Iterator[tuple[Tensor, Tensor]]:
            for images, labels in loaders[part]:
                yield images.flatten(1)[:, columns], labels

        parts = {part: lambda part=part, kept=kept: kept(part) for part in loaders}
        found.append(time_cell(cell, recipe, parts, len(loaders["train"])))
    return found


def loader_cells(keeps: Sequence[int], seed: int, epochs: int, full: int) -> list[tuple[int, int, int]]:
    """(keep, seed, epochs) of what (b) is measured on: the middle keep in full, the two ends for `epochs`."""
    ordered = sorted(set(keeps))
    middle = ordered[len(ordered) // 2]
    return [(keep, seed, full if keep == middle else epochs) for keep in sorted({ordered[0], middle, ordered[-1]})]


def extrapolate(timings: Sequence[Timing], keeps: Sequence[int], epochs: int, kind: str = "clock") -> dict[int, float]:
    """Seconds of a network trained in full, for every keep: means over seeds, and linear between measured keeps."""
    at = sorted({t.keep for t in timings})
    measured = [statistics.mean(t.in_full(epochs, kind) for t in timings if t.keep == keep) for keep in at]
    return {keep: float(np.interp(keep, at, measured)) for keep in keeps}


# What the study does, and takes


def training_macs(network: nn.Module) -> int:
    """Multiply-accumulates of one forward and backward pass of a dense network, for one image.

    Each layer has a product forward, one for the gradient of its weights, and, but for the first, one for its inputs'.
    """
    macs = [layer.macs for layer in measure_cost(network).layers if layer.macs]
    return 3 * sum(macs) - macs[0]


def products(keep: int, hidden: Sequence[int], n_classes: int, batch: int) -> list[tuple[int, int, int]]:
    """Shapes (rows, shared, columns) of the matrix products of one step of training."""
    widths = [keep, *hidden, n_classes]
    found = []
    for i, (width, after) in enumerate(pairwise(widths)):
        found += [(batch, width, after), (after, batch, width)]
        if i:
            found.append((batch, after, width))
    return found


def products_rate(shapes: Sequence[tuple[int, int, int]], seconds: float) -> float:
    """Multiply-accumulates a second in products of these shapes, for at least so long, on one thread."""
    torch.set_num_threads(1)
    made = [(torch.rand(m, k), torch.rand(n, k).t(), torch.empty(m, n)) for m, k, n in shapes]
    rounds = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(rounds) < 3:
        started = time.perf_counter()
        for a, b, out in made:
            torch.mm(a, b, out=out)
        rounds.append(time.perf_counter() - started)
    return sum(m * k * n for m, k, n in shapes) / statistics.median(rounds)


def bare_rates(shapes: dict[str, list[tuple[int, int, int]]], jobs: int) -> dict[str, float]:
    """Multiply-accumulates a second of `jobs` processes at once, for each kind of products."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(products_rate, [[(64, 64, 64)]] * jobs, [1.0] * jobs))  # until all have started
        return {name: sum(pool.map(products_rate, [own] * jobs, [3.0] * jobs)) for name, own in shapes.items()}


def record_study(study: Study, jobs: int) -> None:
    """Run the study; the process that does nothing else."""
    for _ in run_study(study, jobs=jobs):
        pass
    if jobs > 1:  # a process of multiprocessing waits for its children, and these wait for more work for minutes
        get_reusable_executor(reuse=True).shutdown()


def descendants(pid: int) -> list[int]:
    """A process and all that it started."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents.setdefault(int(stat.read_text().rsplit(")", 1)[1].split()[1]), []).append(int(stat.parent.name))
        except (OSError, IndexError):
            continue
    found = [pid]
    for process in found:
        found += parents.get(process, [])
    return found


@dataclass(frozen=True)
class Memory:
    """Bytes that some processes take together, and how many of them lie in the mapped data set.

    `total` and `mapped` count a shared page once, `mapped_each` counts it for every process that has it.
    """

    total: int = 0
    mapped: int = 0
    mapped_each: int = 0


def resident(pid: int, file: str, within: str = "") -> tuple[int, int]:
    """Proportional and resident set size in bytes of the mappings of a process whose line holds `within`.

    `file` is smaps, or smaps_rollup, its sum. (0, 0) if the process is gone.
    """
    sums, counts = {"Pss": 0, "Rss": 0}, False
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0, 0
    for line in lines:
        name, _, value = line.partition(":")
        if name in sums and counts:
            sums[name] += 1024 * int(value.split()[0])
        elif "-" in name.split(" ")[0]:  # the line that a mapping begins with: its addresses, and its file
            counts = within in line
    return sums["Pss"], sums["Rss"]


@contextmanager
def watched_memory(pid: int, data: Path) -> Iterator[list[Memory]]:
    """A list that ends with the peak of the process and its descendants; `data` is where the data sets lie."""
    peaks = [Memory()]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(LOOK_EVERY):
            processes = descendants(pid)
            total = sum(resident(process, "smaps_rollup")[0] for process in processes)
            if total > peaks[-1].total:
                mapped = [resident(process, "smaps", str(data)) for process in processes]
                peaks.append(Memory(total, sum(pss for pss, _ in mapped), sum(rss for _, rss in mapped)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


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


def in_own_process(function: Callable[..., list[Timing]], *arguments: Any) -> list[Timing]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


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
        for name, found in seconds.items():
            row |= {f"{name} s": found[keep], f"x {name}": found[keep] / share}
        row["(a) on"] = f"{sum(t.keep == keep for t in plain)} of {len(own)}"
        row["(b) on"] = " ".join(f"{t.epochs}/{epochs} epochs" for t in loader if t.keep == keep) or "-"
        row["test %"] = 100 * own["test_accuracy"].mean()
        rows.append(row)
    accuracy = trials.set_index(["keep", "seed"])["test_accuracy"]
    points = [100 * (accuracy[t.keep, t.seed] - t.test) for t in plain if t.test is not None]
    return pd.DataFrame(rows), statistics.mean(points)


def compare(arguments: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """Everything that is measured, as plain values."""
    recipe = recipe_for(ARCHITECTURE, epochs=arguments.epochs)
    study = Study(
        architecture=ARCHITECTURE,
        criteria=(CRITERION,),
        keeps=tuple(arguments.keeps),
        modes=("scratch",),
        seeds=tuple(arguments.seeds),
        epochs=arguments.epochs,
    )
    keeps = sorted({784, *arguments.keeps})
    shapes = {
        "square": [(SQUARE, SQUARE, SQUARE)],
        "training": [shape for keep in keeps for shape in products(keep, (300, 100), 10, recipe.batch_size)],
    }
    before = bare_rates(shapes, arguments.jobs)
    seconds, memory = time_study(study, arguments.jobs, cache)
    after = bare_rates(shapes, arguments.jobs)
    data = load_dataset("mnist")
    planned = plan(study, data)
    trials = Ledger().trials([trial.key for trial in planned])
    masks = {
        (t.keep, t.base.seed): ranking_of(t.ranking).mask(t.keep) if t.ranking else PixelMask.full(data.shape)
        for t in planned
    }
    cells = {
        "(a)": [(k, s, recipe.epochs) for s in arguments.seeds[: arguments.sample] for k in keeps],
        "(b)": loader_cells(keeps, arguments.seeds[0], arguments.loader_epochs, recipe.epochs),
    }
    loops = {"(a)": loop_over_tensors, "(b)": loop_over_loader}
    timings = {
        name: in_own_process(
            loops[name], [Cell(k, s, e, tuple(masks[k, s].indices.tolist())) for k, s, e in own], recipe, cache / "data"
        )
        for name, own in cells.items()
    }
    table, points = summarise(trials, timings["(a)"], timings["(b)"], recipe.epochs, arguments.jobs)
    plain_seconds = {
        (name, kind): sum(extrapolate(own, keeps, recipe.epochs, kind)[t.keep] for t in planned)
        for name, own in timings.items()
        for kind in ("clock", "worked")
    }
    spec = build_model(ARCHITECTURE, data).spec
    macs = pd.Series(
        {
            (t.method, t.keep, t.base.seed): training_macs(build_pruned(spec, masks[t.keep, t.base.seed]))
            * len(data.train)
            * recipe.epochs
            for t in planned
        }
    )
    in_trials = trials["criterion"] != "none"
    rates = {
        "whole study": macs.sum() / seconds.clock,
        "its trials": macs.drop("none", level=0).sum() / (trials["seconds"][in_trials].sum() / arguments.jobs),
        "bare, square": statistics.mean((before["square"], after["square"])),
        "bare, as in training": statistics.mean((before["training"], after["training"])),
    }
    return {
        "seconds": seconds.clock,
        "worked": seconds.worked,
        "networks": len(trials),
        **{f"x {name}": plain_seconds[name, "clock"] / seconds.clock for name in loops},
        **{f"worked x {name}": plain_seconds[name, "worked"] / seconds.worked for name in loops},
        "share of bare rate": rates["whole study"] / rates["bare, square"],
        "MB": memory.total / 1e6,
        "points from (a)": points,
        "training MACs": int(macs.sum()),
        "GMAC/s": {name: rate / 1e9 for name, rate in rates.items()},
        "memory": asdict(memory),
        "rows": table.to_dict("records"),
        "timings": {name: [asdict(t) for t in own] for name, own in timings.items()},
        "trials": trials[["criterion", "keep", "seed", "seconds", "test_accuracy"]].to_dict("records"),
    }


def report(found: dict[str, Any], jobs: int) -> None:
    """Print what was measured, and what it was to be."""
    print(pd.DataFrame(found["rows"]).to_string(index=False, na_rep="-", float_format="{:.2f}".format))
    trained, measured = found["networks"], found["timings"]
    print(
        f"\nstudy: {found['seconds']:.1f} s for {trained} networks on {jobs} processes, "
        f"{found['seconds'] / trained:.2f} s each, everything counted; "
        f"processors worked {found['worked']:.1f} s"
    )
    for name, title in (("(a)", "loop over tensors"), ("(b)", "torchvision and DataLoader")):
        ratio, goal, n = found[f"x {name}"], GOALS[f"x {name}"], len(measured[name])
        print(
            f"x {name} {title}: {ratio:.2f} (goal {goal:g}), measured on {n} of {trained} networks; "
            f"of the time that processors worked: {found[f'worked x {name}']:.2f}"
        )
    rates = found["GMAC/s"]
    print("GMAC/s: " + ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items()))
    for name in ("whole study", "its trials"):
        shares = (rates[name] / rates[bare] for bare in ("bare, square", "bare, as in training"))
        print("share of bare rate, {}: {:.0%} of square, {:.0%} of as in training".format(name, *shares))
    print(f"(the goal, {GOALS['share of bare rate']:.0%}, is for the whole study and the square)")
    memory = {name: value / 1e6 for name, value in found["memory"].items()}
    print(
        "memory at its peak: {total:.0f} MB, in it the mapped data set with {mapped:.0f} MB; "
        "not shared it would be {mapped_each:.0f} MB".format(**memory)
    )
    n_full = sum(t["test"] is not None for t in measured["(a)"])
    print(f"test accuracy: {found['points from (a)']:+.3f} points from (a), mean of {n_full} networks trained by both")
    for t in (t for t in measured["(b)"] if t["test"] is not None):
        own = next(r for r in found["trials"] if (r["keep"], r["seed"]) == (t["keep"], t["seed"]))
        print(f"keep {t['keep']}, seed {t['seed']}: study {own['test_accuracy']:.2%}, (b) {t['test']:.2%}")
    print(f"{found['machine']}, load average {found['load before']:.1f} before")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keeps", nargs="+", type=int, default=[keep_for_share(share, 784) for share in SHARES])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=recipe_for(ARCHITECTURE).epochs)
    parser.add_argument("--sample", type=int, default=1, help="seeds of every keep on which (a) is measured")
    parser.add_argument("--loader-epochs", type=int, default=2, help="epochs of (b) for the smallest and largest keep")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes of the study; default: one a core")
    parser.add_argument("--json", metavar="FILE", help="also write all figures there")
    arguments = parser.parse_args()
    if not all(1 <= keep < 784 for keep in arguments.keeps):
        sys.exit("--keeps must be between 1 and 783: networks on all 784 pixels are trained anyway")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LRP_CACHE"] = cache
        found = compare(arguments, Path(cache))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    found |= {"load before": load, "machine": machine, "goals": GOALS}
    report(found, arguments.jobs)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
