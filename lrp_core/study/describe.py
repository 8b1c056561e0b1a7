"""What a study and its trials are, as plain frozen values; nothing here does any work.

A *trial* is one small network: ranking, keep, mode, seed -> accuracy, confidence, cost. A *study* is a grid of trials
with the unpruned baseline and the controls. A trial is described by plain values alone, and everything follows from
them; so trials run in any process and any order, and none is run twice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..data import Dataset
from ..errors import InputError, StorageError, check_choice
from ..lrp import STARTS
from ..models import ARCHITECTURES
from ..ranking import (
    CRITERIA,
    MEASURED,
    NEED_NETWORK,
    STATISTICS,
    STRATEGIES,
    Method,
    check_keep,
    combine,
    keep_for_share,
)
from ..training import PRECISIONS, Recipe, recipe_for

STAGE_VERSION = 3
"""Part of every cache key and trial key: raise it when a change makes results differ."""

ADDED = {"precision": "float32"}
"""Fields that came after results had been kept: with these values they are no part of a key, so those stay valid."""


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


STABILITY_NETWORKS = 3
"""Networks whose rankings the strategy "stability" averages: that of the seed, and others from seeds of their own."""

_SEED_STEP = 1_000_003
"""Between the seeds of these networks: far enough that two seeds that a person names have no network in common."""


@dataclass(frozen=True)
class RankingSpec:
    """Everything that a ranking follows from: the network that is explained, and how.

    `rank_images` None means all training images; for elimination, its own default in each step. `keep` is the
    number of inputs that "exchange" optimises, and None for every other strategy.
    """

    base: Base
    method: Method
    statistic: str = "mean-square"
    start: str = "log-odds"
    rank_images: int | None = None
    keep: int | None = None

    @property
    def bases(self) -> tuple[Base, ...]:
        """The networks that have to be there first."""
        if self.method.criterion not in NEED_NETWORK:
            return ()
        n = STABILITY_NETWORKS if self.method.strategy == "stability" else 1
        return tuple(replace(self.base, seed=(self.base.seed + i * _SEED_STEP) % 2**32) for i in range(n))

    @property
    def improves(self) -> RankingSpec | None:
        """The ranking that "exchange" starts from; None for every other strategy."""
        if self.keep is None:
            return None
        return replace(self, method=replace(self.method, strategy="elimination"), keep=None)


def key_of(described: Any, *, without: str = "") -> str:
    """Digest of the fields of a dataclass and of `STAGE_VERSION`; the field `without` is left out, at any depth."""
    values = [STAGE_VERSION, significant(asdict(described), without)]
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def significant(values: dict[str, Any], without: str = "") -> dict[str, Any]:
    """Plain values without the fields that say no more than their absence (`ADDED`), at any depth."""
    return {
        name: significant(value, without) if isinstance(value, dict) else value
        for name, value in values.items()
        if name != without and ADDED.get(name, ...) != value
    }


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
