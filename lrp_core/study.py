"""The whole path, top to bottom: data, network, relevance, ranking, masks, smaller networks, what they are worth.

A *trial* is one small network: ranking, keep, mode, seed -> accuracy, confidence, cost. A *study* is a
grid of trials with the unpruned baseline and the controls. A trial is described by plain values alone, and
everything follows from them; so trials run in any process and any order, and none is run twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from .data import Dataset, load_dataset
from .errors import InputError, StorageError, check_choice
from .evaluation import measure_cost, pack
from .ledger import Ledger
from .lrp import STARTS
from .models import ARCHITECTURES, Network
from .pruning import PrunedNetwork, build_pruned, prune_inputs
from .ranking import CRITERIA, MEASURED, STATISTICS, STRATEGIES, Method, check_keep, combine, keep_for_share
from .stages import (
    STAGE_VERSION,
    Base,
    RankingSpec,
    base_data,
    base_network,
    prepare_base,
    ranking_of,
    training_split,
    trim_cache,
)
from .training import Recipe, evaluate, fit, one_thread, recipe_for
from .weights import load_network, save_network

MODES: tuple[str, ...] = ("none", "fine-tune", "scratch")


@dataclass(frozen=True)
class Trial:
    """One small network: the `keep` best inputs of a `ranking`, and how it is trained on them.

    `base` says what data and which seed it is trained with; `ranking` None is the unpruned baseline. The network
    that was explained for the ranking may be that of another seed.
    """

    base: Base
    keep: int
    mode: str
    ranking: RankingSpec | None = None
    retrain: Recipe = Recipe()

    @property
    def key(self) -> str:
        """Digest of all that the result depends on; where the data lie is not part of it, what they are is."""
        values = asdict(self)
        for part in (values, values["ranking"]):
            if part is not None:
                part["base"].pop("root")
        return _digest([STAGE_VERSION, values])

    @property
    def method(self) -> str:
        """Name of how the inputs were ranked, "none" for the baseline."""
        return self.ranking.method.name if self.ranking else "none"

    @property
    def bases(self) -> tuple[Base, ...]:
        """The networks on all inputs that have to be there first."""
        return (self.base, *(self.ranking.bases if self.ranking else ()))

    def row(self) -> dict[str, Any]:
        """The columns that describe the trial in a table."""
        base, ranking = self.base, self.ranking
        return {
            "dataset": base.dataset,
            "architecture": base.architecture,
            "criterion": ranking.method.criterion if ranking else "none",
            "strategy": ranking.method.strategy if ranking else "none",
            "method": self.method,
            "keep": self.keep,
            "mode": self.mode,
            "seed": base.seed,
            "mask_seed": ranking.base.seed if ranking else base.seed,
        }


@dataclass(frozen=True)
class Study:
    """A grid of trials: every criterion x strategy x keep x mode x seed, and the baseline of every seed.

    `keeps` are numbers of inputs, `n_train` and `rank_images` numbers of training images (None: all of them),
    `epochs` and `retrain_epochs` override the architecture's recipe. `seeds` are those of training. A mask comes
    from the network of the same seed, unless `mask_seeds` name others: then every mask is tried with every seed.
    Criteria that explain no image are ranked by once, whatever the strategies. Raises `InputError` for an empty
    grid or any value that cannot be used.
    """

    dataset: str = "mnist"
    root: str | None = None
    n_train: int | None = None
    architecture: str = "mlp-300-100"
    criteria: tuple[str, ...] = ("lrp-0", "random", "variance")
    strategies: tuple[str, ...] = ("one-shot",)
    keeps: tuple[int, ...] = ()
    modes: tuple[str, ...] = ("fine-tune",)
    seeds: tuple[int, ...] = (0, 1, 2)
    mask_seeds: tuple[int, ...] = ()
    statistic: str = "mean-square"
    start: str = "log-odds"
    rank_images: int | None = None
    epochs: int | None = None
    retrain_epochs: int | None = None

    def __post_init__(self) -> None:
        for name in ("criteria", "strategies", "keeps", "modes", "seeds"):
            if not getattr(self, name):
                raise InputError(f"a study needs at least one value in {name}")
        check_choice("model", self.architecture, ARCHITECTURES)
        check_choice("statistic", self.statistic, STATISTICS)
        check_choice("start", self.start, STARTS)
        for name, epochs in (("epochs", self.epochs), ("retrain_epochs", self.retrain_epochs)):
            if epochs is not None and epochs < 1:
                raise InputError(f"{name} must be at least 1, not {epochs}")
        for criterion in self.criteria:
            check_choice("criterion", criterion, CRITERIA)
        for strategy in self.strategies:
            check_choice("strategy", strategy, tuple(STRATEGIES))
        for mode in self.modes:
            check_choice("mode", mode, MODES)
        for seed in (*self.seeds, *self.mask_seeds):
            if not 0 <= seed < 2**32:
                raise InputError(f"a seed must be between 0 and {2**32 - 1}, not {seed}")

    @property
    def key(self) -> str:
        """Identifies the study: its runs and its lock are known under it."""
        return _digest([STAGE_VERSION, asdict(self)])

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of all ways in which it ranks the inputs."""
        return tuple(method.name for method in combine(self.criteria, self.strategies))

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Study:
        """A study from what `dataclasses.asdict` gave, after a way through JSON.

        Raises `StorageError` for a value that this version does not know.
        """
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise StorageError(f"the study was made by a newer version: {', '.join(sorted(unknown))} is not known here")
        known: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**known)


REMOVED_SHARES = (0.15, 0.30, 0.50, 0.70, 0.80, 0.90, 0.95)
"""Shares of the inputs removed in the presets' curves, beside the baseline's 0."""

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"n_train": 10_000, "rank_images": 1_000, "epochs": 5, "retrain_epochs": 2, "modes": ("fine-tune",)},
    "full": {"strategies": ("one-shot", "elimination"), "modes": ("scratch",), "seeds": (0, 1, 2, 3, 4)},
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
    _check_fits(study, data)
    seeds, keeps = list(dict.fromkeys(study.seeds)), sorted(set(study.keeps))
    baselines = [Trial(_base(study, data, seed), data.n_inputs, "none") for seed in seeds]
    trials = [
        _pruned(study, data, method, keep, mode, seed, mask_seed)
        for seed in seeds
        for keep in _spread(keeps)
        for method in combine(study.criteria, study.strategies)
        for mode in dict.fromkeys(study.modes)
        for mask_seed in dict.fromkeys(study.mask_seeds or (seed,))
    ]
    return baselines + trials


def trial_at(
    study: Study, data: Dataset, *, method: str, keep: int, mode: str, seed: int, mask_seed: int | None = None
) -> Trial:
    """The study's trial at any keep, on its grid or off it.

    Between the keeps of the grid, "exchange" ranks as it does at the nearest one. `mask_seed` defaults to the
    study's first, or to `seed` if it names none.
    """
    _check_fits(study, data)
    check_keep(keep, data.n_inputs)
    check_choice("mode", mode, MODES)
    if mask_seed is None:
        mask_seed = study.mask_seeds[0] if study.mask_seeds else seed
    return _pruned(study, data, Method.named(method), keep, mode, seed, mask_seed)


def _check_fits(study: Study, data: Dataset) -> None:
    for keep in study.keeps:
        check_keep(keep, data.n_inputs)
    for name, n in (("n_train", study.n_train), ("rank_images", study.rank_images)):
        if n is not None and not 1 <= n <= len(data.train):
            raise InputError(f"{name} must be between 1 and {len(data.train)}, not {n}")


def _base(study: Study, data: Dataset, seed: int) -> Base:
    recipe = recipe_for(study.architecture, epochs=study.epochs)
    return Base(study.dataset, study.root, data.digest, study.n_train, study.architecture, recipe, seed)


def _pruned(study: Study, data: Dataset, method: Method, keep: int, mode: str, seed: int, mask_seed: int) -> Trial:
    base = _base(study, data, seed)
    ranking = RankingSpec(replace(base, seed=mask_seed), method)
    if method.criterion in MEASURED:
        ranking = replace(ranking, statistic=study.statistic, start=study.start, rank_images=study.rank_images)
    if method.strategy == "exchange":
        ranking = replace(ranking, keep=min(study.keeps, key=lambda k: abs(k - keep)))
    scratch = base.recipe
    tuned = replace(scratch, lr=scratch.lr / 2, epochs=study.retrain_epochs or max(1, scratch.epochs // 4))
    return Trial(base, keep, mode, ranking, {"none": Recipe(epochs=0), "fine-tune": tuned, "scratch": scratch}[mode])


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
    process is running the same study, `InputError` for a study that does not fit its data.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs must be at least 1, not {jobs}")
    ledger = ledger or Ledger()
    data = load_dataset(study.dataset, study.root)
    trials = plan(study, data)
    seen = ledger.recorded([t.key for t in trials])
    todo = [t for t in trials if t.key not in seen]
    jobs = jobs or os.cpu_count() or 1
    with ledger.running(study.key, "study", name, asdict(study), len(trials)) as mine:
        if not mine:
            raise StorageError("this study is being run by another process: its results appear as they finish")
        done = len(trials) - len(todo)
        ledger.report(study.key, "trials", done)
        if not todo:
            return
        trim_cache(ledger.folder / "weights")
        with Parallel(jobs, return_as="generator_unordered", inner_max_num_threads=1) as parallel:
            ledger.report(study.key, "training on all inputs", done)
            bases = list(dict.fromkeys(base for t in todo for base in t.bases))
            for _ in parallel(delayed(prepare_base)(base) for base in bases):
                ledger.report(study.key, "training on all inputs", done)
            rankings = dict.fromkeys(t.ranking for t in todo if t.ranking)
            first = dict.fromkeys(r.improves or r for r in rankings)
            for wave in (list(first), [r for r in rankings if r not in first]):
                for _ in parallel(delayed(ranking_of)(ranking) for ranking in wave):
                    ledger.report(study.key, "ranking", done)
            for trial, result, network in parallel(delayed(_run_indexed)(trial) for trial in todo):
                save_network(network, weights_path(ledger, trial))
                ledger.record_trial(trial.key, trial.row(), result)
                done += 1
                ledger.report(study.key, "trials", done)
                yield done, len(trials), trial


@one_thread()
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
            f"{part}_correct": pack(found.correct),
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
    if trial.ranking is None:
        return full, None
    mask = ranking_of(trial.ranking).mask(trial.keep)
    if trial.mode == "none":
        small = prune_inputs(full, mask)
    else:
        start = build_pruned(full.spec, mask, seed=base.seed) if trial.mode == "scratch" else prune_inputs(full, mask)
        split = training_split(base)
        small = fit(start, split, recipe=trial.retrain, seed=base.seed, encode=start.encode, device="cpu")
    return small, small.encode


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
