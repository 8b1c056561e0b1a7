"""The whole path, top to bottom: data, network, relevance, ranking, masks, smaller networks, what they are worth.

A *trial* is one small network: ranking, keep, mode, seed -> accuracy, confidence, cost. A *study* is a
grid of trials with the unpruned baseline and the controls. A trial is described by plain values alone, and
everything follows from them; so trials run in any process and any order, and none is run twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from .data import Dataset, load_dataset
from .errors import InputError, StorageError, check_choice
from .evaluation import measure_cost, pack
from .execution import check_backend, claimed, open_pool
from .ledger import Ledger
from .lrp import STARTS
from .models import ARCHITECTURES, Network
from .pruning import PrunedNetwork, build_pruned, prune_inputs
from .ranking import CRITERIA, MEASURED, STATISTICS, STRATEGIES, Method, check_keep, combine, keep_for_share
from .stages import (
    Base,
    RankingSpec,
    base_data,
    base_network,
    key_of,
    prepare_base,
    prepare_ranking,
    ranking_of,
    training_split,
    trim_cache,
)
from .training import PRECISIONS, Recipe, evaluate, fit, one_thread, recipe_for
from .weights import load_network, save_network

log = logging.getLogger(__name__)

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
        return key_of(self, without="root")

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
    `epochs`, `retrain_epochs` and `precision` override the architecture's recipe. `seeds` are those of training. A
    mask comes from the network of the same seed, unless `mask_seeds` name others: then every mask is tried with every
    seed. Criteria that explain no image are ranked by once, whatever the strategies. Raises `InputError` for an empty
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
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("criteria", "strategies", "keeps", "modes", "seeds"):
            if not getattr(self, name):
                raise InputError(f"a study needs at least one value in {name}")
        check_choice("model", self.architecture, ARCHITECTURES)
        check_choice("statistic", self.statistic, STATISTICS)
        check_choice("start", self.start, STARTS)
        check_choice("precision", self.precision, PRECISIONS)
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
        return key_of(self)

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
    recipe = recipe_for(study.architecture, epochs=study.epochs, precision=study.precision)
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
    study: Study,
    ledger: Ledger | None = None,
    *,
    name: str = "study",
    jobs: int | None = None,
    backend: str = "loky",
    scheduler: str | None = None,
    fall_back: bool = False,
) -> Generator[tuple[int, int, Trial], None, None]:
    """Run what the ledger does not hold yet; yields (done, total, trial) as each trial finishes.

    Every trial is recorded the moment it is there, so a run that is killed goes on where it was. Processes that run
    the same study, or two with trials in common, share the work; each yields all of its trials, whoever ran them.

    The backend "loky" has `jobs` processes of one thread each (default: one for each core), "dask" the workers of
    `scheduler`, an address; `fall_back`: the processes of this machine if the scheduler does not answer. Raises
    `InputError` for a study that does not fit its data or a backend that cannot be, `Cancelled` on request.
    """
    check_backend(backend, jobs=jobs, scheduler=scheduler)
    ledger = ledger or Ledger()
    data = load_dataset(study.dataset, study.root)
    trials = {trial.key: trial for trial in plan(study, data)}
    with ledger.running(study.key, "study", name, asdict(study), len(trials), share=True) as holder:
        seen = ledger.recorded(list(trials))
        left = {key: trial for key, trial in trials.items() if key not in seen}
        done = len(trials) - len(left)
        ledger.report(study.key, "trials", done)
        if not left:
            return
        trim_cache(ledger.folder / "weights")
        note = partial(_note, ledger, study.key)
        with open_pool(data, backend=backend, jobs=jobs, scheduler=scheduler, fall_back=fall_back, note=note) as pool:
            for stage, prepare, needed in _preparations(left.values()):
                total = len(needed)
                ledger.report(study.key, f"{stage} (0 of {total})", done)
                with closing(claimed(pool.prepare, prepare, needed, ledger, str(holder))) as steps:
                    for found in steps:
                        if found is None:
                            ledger.check_cancelled(study.key)
                            continue
                        ledger.release(found[0], str(holder))
                        del needed[found[0]]
                        ledger.report(study.key, f"{stage} ({total - len(needed)} of {total})", done)
            with closing(claimed(pool.run, run_trial, left, ledger, str(holder))) as steps:
                for found in steps:
                    if found is not None:
                        key, (result, network) = found
                        save_network(network, weights_path(ledger, trials[key]))
                        ledger.record_trial(key, trials[key].row(), result)
                    for key in sorted(ledger.recorded(list(left)), key=list(left).index):
                        trial = left.pop(key)
                        done += 1
                        baselines = sum(t.ranking is None for t in left.values())
                        ledger.report(study.key, "evaluating on all inputs" if baselines else "trials", done)
                        yield done, len(trials), trial
                    ledger.check_cancelled(study.key)


def _preparations(trials: Collection[Trial]) -> list[tuple[str, Callable[[Any], Any], dict[str, Any]]]:
    """What trials have in common, in the order in which it is needed: each is computed once and cached.

    Gives what it is, the function that has it cached, and its arguments by the key under which they are claimed.
    """
    bases = dict.fromkeys(base for trial in trials for base in trial.bases)
    rankings = dict.fromkeys(trial.ranking for trial in trials if trial.ranking)
    first = dict.fromkeys(ranking.improves or ranking for ranking in rankings)
    rest = dict.fromkeys(ranking for ranking in rankings if ranking not in first)
    stages: list[tuple[str, Callable[[Any], Any], dict[Any, None]]] = [
        ("training on all inputs", prepare_base, dict(bases)),
        ("ranking", prepare_ranking, dict(first)),
        ("exchange", prepare_ranking, dict(rest)),
    ]
    return [(name, prepare, {_stage_key(one): one for one in needed}) for name, prepare, needed in stages if needed]


def _note(ledger: Ledger, run: str, message: str) -> None:
    log.warning(message)
    ledger.note(run, message)


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


def _stage_key(stage: Base | RankingSpec) -> str:
    """Under which a network on all inputs, or a ranking, is claimed."""
    return f"{type(stage).__name__}:{key_of(stage, without='root')}"
