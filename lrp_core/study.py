"""The whole path, top to bottom: data, network, relevance, ranking, masks, smaller networks, what they are worth.

A *trial* is one small network: criterion, keep, mode, seed -> accuracy, confidence, cost. A *study* is a
grid of trials with the unpruned baseline and the controls. A trial is described by plain values alone, and
everything follows from them; so trials run in any process and any order, and none is run twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from joblib import Memory, Parallel, delayed

from .data import Dataset, Split, load_dataset
from .errors import InputError, StorageError, check_choice
from .evaluation import measure_cost
from .ledger import Ledger
from .models import ARCHITECTURES, Network, build_model
from .pruning import PrunedNetwork, build_pruned, prune_inputs
from .ranking import (
    CONTROLS,
    CRITERIA,
    STATISTICS,
    Ranking,
    RelevanceStatistics,
    check_keep,
    keep_for_share,
    measure_relevance,
    rank,
    ranking_from,
)
from .storage import cache_dir
from .training import Recipe, evaluate, fit, recipe_for
from .weights import load_network, save_network

Mode = Literal["none", "fine-tune", "scratch"]
MODES: tuple[Mode, ...] = ("none", "fine-tune", "scratch")

STAGE_VERSION = 1
"""Part of every cache key and trial key: raise it when a change makes results differ."""

CACHE_LIMIT = 2 * 2**30
"""Bytes that cached stages may take, and as many again for the weights of trials; the oldest go first."""


@dataclass(frozen=True)
class Base:
    """What a trial starts from: data, architecture and training. Its baseline is the network trained on all inputs."""

    dataset: str = "mnist"
    root: str | None = None
    digest: str = ""
    n_train: int | None = None
    architecture: str = "mlp-300-100"
    recipe: Recipe = Recipe()
    seed: int = 0


@dataclass(frozen=True)
class Trial:
    """One small network. `criterion` "none" is the unpruned baseline; `rank_images` None ranks on all training images."""

    base: Base
    criterion: str
    keep: int
    mode: Mode
    statistic: str = "mean-square"
    start: str = "log-odds"
    rank_images: int | None = None
    retrain: Recipe = Recipe()

    @property
    def key(self) -> str:
        """Digest of all that the result depends on; where the data lie is not part of it, what they are is."""
        values = asdict(self)
        values["base"].pop("root")
        return _digest([STAGE_VERSION, values])

    def row(self) -> dict[str, Any]:
        """The columns that describe the trial in a table."""
        base = self.base
        return {
            "dataset": base.dataset,
            "architecture": base.architecture,
            "criterion": self.criterion,
            "keep": self.keep,
            "mode": self.mode,
            "seed": base.seed,
        }


@dataclass(frozen=True)
class Study:
    """A grid of trials: every criterion x keep x mode x seed, and the baseline of every seed.

    `keeps` are numbers of inputs, `n_train` and `rank_images` numbers of training images (None: all of them),
    `epochs` and `retrain_epochs` override the architecture's recipe. Raises `InputError` for an empty grid
    or any value that cannot be used.
    """

    dataset: str = "mnist"
    root: str | None = None
    n_train: int | None = None
    architecture: str = "mlp-300-100"
    criteria: tuple[str, ...] = ("lrp-0", *CONTROLS)
    keeps: tuple[int, ...] = ()
    modes: tuple[Mode, ...] = ("fine-tune",)
    seeds: tuple[int, ...] = (0, 1, 2)
    statistic: str = "mean-square"
    start: str = "log-odds"
    rank_images: int | None = None
    epochs: int | None = None
    retrain_epochs: int | None = None

    def __post_init__(self) -> None:
        for name, values in (
            ("criteria", self.criteria),
            ("keeps", self.keeps),
            ("modes", self.modes),
            ("seeds", self.seeds),
        ):
            if not values:
                raise InputError(f"a study needs at least one value in {name}")
        check_choice("model", self.architecture, ARCHITECTURES)
        check_choice("statistic", self.statistic, STATISTICS)
        for criterion in self.criteria:
            check_choice("criterion", criterion, CRITERIA)
        for mode in self.modes:
            check_choice("mode", mode, MODES)
        for seed in self.seeds:
            if not 0 <= seed < 2**32:
                raise InputError(f"a seed must be between 0 and {2**32 - 1}, not {seed}")

    @property
    def key(self) -> str:
        """Identifies the study: its runs and its lock are known under it."""
        return _digest([STAGE_VERSION, asdict(self)])

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Study:
        """A study from what `dataclasses.asdict` gave, after a way through JSON."""
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


REMOVED_SHARES = (0.15, 0.30, 0.50, 0.70, 0.80, 0.90, 0.95)
"""Shares of the inputs removed in the presets' curves, beside the baseline's 0."""

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"n_train": 15_000, "rank_images": 2_000, "epochs": 5, "retrain_epochs": 2, "modes": ("fine-tune",)},
    "full": {"modes": ("scratch",), "seeds": (0, 1, 2, 3, 4)},
}
"""quick: complete within a minute on two cores. full: the whole training set, every network from scratch."""


def preset(name: str, data: Dataset, **changes: Any) -> Study:
    """The study of that name for `data`, with every change that is not None."""
    values: dict[str, Any] = {
        "dataset": data.name,
        "keeps": tuple(keep_for_share(share, data.n_inputs) for share in REMOVED_SHARES),
    }
    values |= PRESETS[check_choice("preset", name, PRESETS)]
    values |= {key: value for key, value in changes.items() if value is not None}
    if values.get("n_train") is not None:
        values["n_train"] = min(values["n_train"], len(data.train))
    return Study(**values)


def plan(study: Study, data: Dataset) -> list[Trial]:
    """Every trial of the study: baselines first, then so that early results span the curve.

    Raises `InputError` for a keep beyond the inputs or more images than there are.
    """
    for keep in study.keeps:
        check_keep(keep, data.n_inputs)
    for name, n in (("n_train", study.n_train), ("rank_images", study.rank_images)):
        if n is not None and not 1 <= n <= len(data.train):
            raise InputError(f"{name} must be between 1 and {len(data.train)}, not {n}")
    recipe = recipe_for(study.architecture, epochs=study.epochs)
    tuned = replace(recipe, lr=recipe.lr / 2, epochs=study.retrain_epochs or max(1, recipe.epochs // 4))
    trials = []
    for seed in study.seeds:
        base = Base(study.dataset, study.root, data.digest, study.n_train, study.architecture, recipe, seed)
        trials.append(Trial(base, "none", data.n_inputs, "none"))
        for keep in sorted(set(study.keeps)):
            for criterion in study.criteria:
                for mode in study.modes:
                    retrain = {"none": Recipe(epochs=0), "fine-tune": tuned, "scratch": recipe}[mode]
                    trial = Trial(base, criterion, keep, mode, retrain=retrain)
                    if criterion not in CONTROLS:
                        trial = replace(
                            trial, statistic=study.statistic, start=study.start, rank_images=study.rank_images
                        )
                    trials.append(trial)
    order = {keep: place for place, keep in enumerate(_spread(sorted(set(study.keeps))))}
    trials.sort(key=lambda t: (t.criterion != "none", study.seeds.index(t.base.seed), order.get(t.keep, -1)))
    return trials


def trial_at(study: Study, data: Dataset, *, criterion: str, keep: int, mode: Mode, seed: int) -> Trial:
    """The study's trial at any keep, on its grid or off it."""
    single = replace(study, criteria=(criterion,), keeps=(keep,), modes=(mode,), seeds=(seed,))
    return plan(single, data)[-1]


def _spread(values: list[int]) -> list[int]:
    """The two ends first, then the middles: a curve through the first few already has its shape."""
    if len(values) <= 2:
        return values
    spread = [values[0], values[-1]]
    gaps = [(0, len(values) - 1)]
    while gaps:
        low, high = gaps.pop(0)
        middle = (low + high) // 2
        if middle > low:
            spread.append(values[middle])
            gaps += [(low, middle), (middle, high)]
    return spread


def run_study(
    study: Study, ledger: Ledger | None = None, *, name: str = "study", jobs: int | None = None
) -> Iterator[tuple[int, int, Trial]]:
    """Run what the ledger does not hold yet; yields (done, total, trial) as each trial finishes.

    Every trial is recorded the moment it is there, so a run that is killed goes on where it was. `jobs`
    processes of one thread each work (default: one for each core). Raises `StorageError` if another
    process is running the same study.
    """
    ledger = ledger or Ledger()
    data = load_dataset(study.dataset, study.root)
    trials = plan(study, data)
    seen = ledger.recorded([t.key for t in trials])
    todo = [t for t in trials if t.key not in seen or not weights_path(ledger, t).exists()]
    jobs = jobs or os.cpu_count() or 1
    with ledger.running(study.key, "study", name, asdict(study), len(trials)) as mine:
        if not mine:
            raise StorageError("this study is being run by another process: its results appear as they finish")
        done = len(trials) - len(todo)
        ledger.report(study.key, "trials", done)
        if not todo:
            return
        trim_cache()
        with Parallel(jobs, return_as="generator_unordered", inner_max_num_threads=1) as parallel:
            ledger.report(study.key, "training on all inputs", done)
            bases = list(dict.fromkeys(t.base for t in todo))
            for _ in parallel(delayed(prepare_base)(base) for base in bases):
                ledger.report(study.key, "training on all inputs", done)
            explained = (t for t in todo if t.criterion not in ("none", *CONTROLS))
            rankings = list(dict.fromkeys(replace(t, keep=1, mode="none", retrain=Recipe()) for t in explained))
            for _ in parallel(delayed(trial_ranking)(trial) for trial in rankings):
                ledger.report(study.key, "measuring relevance", done)
            for trial, result, network in parallel(delayed(_run_indexed)(trial) for trial in todo):
                save_network(network, weights_path(ledger, trial))
                ledger.record_trial(trial.key, trial.row(), result)
                done += 1
                ledger.report(study.key, "trials", done)
                yield done, len(trials), trial


def run_trial(trial: Trial) -> tuple[dict[str, Any], Network | PrunedNetwork]:
    """One trial, from its description alone: what the table says of it, and the network."""
    started = time.perf_counter()
    data = base_data(trial.base)
    network, encode = make_network(trial)
    row: dict[str, Any] = {}
    for part, split in (("validation", data.validation), ("test", data.test)):
        found = evaluate(network, split, encode=encode, device="cpu")
        row |= {
            f"{part}_accuracy": found.accuracy,
            f"{part}_loss": found.loss,
            f"{part}_confidence": found.confidence,
            f"{part}_per_class": list(found.per_class),
            f"{part}_images": found.n,
        }
    cost = measure_cost(network)
    row |= {
        "macs": cost.macs,
        "flops": cost.flops,
        "parameters": cost.parameters,
        "bytes": cost.bytes,
        "input_bytes": cost.input_bytes,
        "seconds": time.perf_counter() - started,
    }
    return row, network


def make_network(trial: Trial) -> tuple[Network | PrunedNetwork, Any]:
    """The trial's network, and what turns images into its input (None: nothing)."""
    base = trial.base
    full = base_network(base)
    if trial.criterion == "none":
        return full, None
    mask = trial_ranking(trial).mask(trial.keep)
    if trial.mode == "scratch":
        small = build_pruned(full.spec, mask, seed=base.seed)
    else:
        small = prune_inputs(full, mask)
    if trial.mode != "none":
        fitted = fit(
            small, training_split(base), recipe=trial.retrain, seed=base.seed, encode=small.encode, device="cpu"
        )
        assert isinstance(fitted, PrunedNetwork)
        small = fitted
    return small, small.encode


def trial_ranking(trial: Trial) -> Ranking:
    """The ranking whose first `keep` inputs the trial keeps; its relevance is cached."""
    base = trial.base
    if trial.criterion in CONTROLS:
        return _control_ranking(base, trial.criterion)
    statistics = relevance_statistics(base, trial.criterion, trial.start, trial.rank_images)
    shape = base_data(base).shape
    return ranking_from(statistics, trial.criterion, shape, statistic=trial.statistic, seed=base.seed)


@lru_cache(maxsize=16)
def _control_ranking(base: Base, criterion: str) -> Ranking:
    return rank(None, training_split(base), criterion=criterion, seed=base.seed)


# Heavy stages, cached on disk by plain values


def base_data(base: Base) -> Dataset:
    """The data of a base. Raises `StorageError` if they are not the ones that the trial was planned for."""
    data = load_dataset(base.dataset, base.root)
    if base.digest and data.digest != base.digest:
        raise StorageError(f"the {base.dataset} files are not the ones that this study was planned with")
    return data


@lru_cache(maxsize=2)
def training_split(base: Base) -> Split:
    """The training images of a base: all of them, or a stratified sample drawn with its seed."""
    data = base_data(base)
    return data.train if base.n_train is None else data.train.sample(base.n_train, seed=base.seed)


def prepare_base(base: Base) -> None:
    """Have the baseline of `base` trained and cached."""
    base_network(base)


@lru_cache(maxsize=8)
def base_network(base: Base) -> Network:
    """The network trained on all inputs, from the cache if it was trained before. Do not change it."""
    data = base_data(base)
    network = build_model(base.architecture, data, seed=base.seed)
    weights = _memory().cache(_train_base, ignore=["root"])(**_plain(base))
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return network.eval()


def relevance_statistics(base: Base, composite: str, start: str, n_images: int | None) -> RelevanceStatistics:
    """Relevance over `n_images` of the training images (None: all) of a base, from the cache if measured before."""
    measure = _memory().cache(_measure_relevance, ignore=["root"])
    sums, counts = measure(composite=composite, start=start, n_images=n_images, **_plain(base))
    return RelevanceStatistics(torch.from_numpy(np.array(sums)), torch.from_numpy(np.array(counts)))


def _train_base(version: int, root: str | None, **values: Any) -> dict[str, np.ndarray]:
    base = _from_plain(root, values)
    network = fit(
        build_model(base.architecture, base_data(base), seed=base.seed),
        training_split(base),
        recipe=base.recipe,
        seed=base.seed,
        device="cpu",
    )
    return {name: value.numpy() for name, value in network.state_dict().items()}


def _measure_relevance(
    version: int, root: str | None, composite: str, start: str, n_images: int | None, **values: Any
) -> tuple[np.ndarray, np.ndarray]:
    base = _from_plain(root, values)
    split = training_split(base)
    if n_images is not None and n_images < len(split):
        split = split.sample(n_images, seed=base.seed)
    statistics = measure_relevance(base_network(base), split, composite=composite, start=start)
    return statistics.sums.numpy(), statistics.counts.numpy()


def _plain(base: Base) -> dict[str, Any]:
    values = asdict(base)
    return {"version": STAGE_VERSION, **values, **values.pop("recipe")}


def _from_plain(root: str | None, values: dict[str, Any]) -> Base:
    recipe = Recipe(**{name: values[name] for name in asdict(Recipe())})
    names = ("dataset", "digest", "n_train", "architecture", "seed")
    return Base(root=root, recipe=recipe, **{name: values[name] for name in names})


def _memory() -> Memory:
    return Memory(cache_dir("stages"), verbose=0)


def trim_cache() -> None:
    """Drop the oldest cached stages and trial weights beyond `CACHE_LIMIT` bytes each."""
    _memory().reduce_size(bytes_limit=CACHE_LIMIT)
    files = sorted(cache_dir("weights").glob("*.safetensors"), key=lambda f: f.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > CACHE_LIMIT:
            file.unlink(missing_ok=True)


def weights_path(ledger: Ledger, trial: Trial) -> Path:
    """Where the network of a finished trial lies."""
    return ledger.folder / "weights" / f"{trial.key}.safetensors"


def trial_network(trial: Trial, ledger: Ledger) -> Network | PrunedNetwork:
    """The network of a trial: read if it is there and whole, else made again and recorded."""
    path = weights_path(ledger, trial)
    if path.exists() and trial.key in ledger.recorded([trial.key]):
        try:
            return load_network(path)
        except StorageError:
            path.unlink(missing_ok=True)
    result, network = run_trial(trial)
    save_network(network, path)
    ledger.record_trial(trial.key, trial.row(), result)
    return network


def _run_indexed(trial: Trial) -> tuple[Trial, dict[str, Any], Network | PrunedNetwork]:
    return trial, *run_trial(trial)


def _digest(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
