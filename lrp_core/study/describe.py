"""What a study and its trials are, as plain frozen values; nothing here does any work.

A *trial* is one small network: ranking, keep, mode, seed -> accuracy, confidence, cost. A *study* is a grid of trials
with the unpruned baseline and the controls. A trial is described by plain values alone, and everything follows from
them; so trials run in any process and any order, and none is run twice.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from ..data import Dataset, open_data, store
from ..errors import InputError, StorageError, check_choice
from ..lrp import STARTS, Composite
from ..models import ARCHITECTURES, ModelSpec, register_model
from ..ranking import (
    CRITERIA,
    STATISTICS,
    STRATEGIES,
    Criterion,
    Method,
    check_keep,
    combine,
    find_criterion,
    find_strategy,
    keep_for_share,
    register_criterion,
    register_strategy,
    seeds_of,
)
from ..training import PRECISIONS, Recipe, recipe_for
from . import absent

STAGE_VERSION = 4
"""Part of every cache key and trial key: raise it when a change makes results differ."""

ADDED = {"precision": "float32", "digest": "", "own": ""}
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


@dataclass(frozen=True)
class RankingSpec:
    """Everything that a ranking follows from: the network that is explained, and how.

    `rank_images` None means all training images; for elimination, its own default in each step. `keep` is the
    number of inputs that a strategy such as "exchange" optimises, and None for every other one. `own` is the
    fingerprint of a criterion or strategy that did not come with the project: another one of that name is another
    ranking.
    """

    base: Base
    method: Method
    statistic: str = "mean-square"
    start: str = "log-odds"
    rank_images: int | None = None
    keep: int | None = None
    own: str = ""

    @property
    def bases(self) -> tuple[Base, ...]:
        """The networks that have to be there first."""
        criterion, strategy = find_criterion(self.method.criterion), find_strategy(self.method.strategy)
        if not (criterion.is_measured or criterion.needs_network):
            return ()
        return tuple(replace(self.base, seed=seed) for seed in seeds_of(self.base.seed, strategy.networks))

    @property
    def improves(self) -> RankingSpec | None:
        """The ranking that a strategy such as "exchange" starts from; None for those that start from nothing."""
        strategy = find_strategy(self.method.strategy)
        if strategy.follows is None:
            return None
        keep = self.keep if find_strategy(strategy.follows).per_keep else None
        return replace(self, method=replace(self.method, strategy=strategy.follows), keep=keep)

    @property
    def essence(self) -> RankingSpec:
        """The same ranking with only what it depends on: without a network, that is the data and the seed alone."""
        if self.bases:
            return self
        base = self.base
        return replace(self, base=Base(base.dataset, base.root, base.digest, base.n_train, seed=base.seed))


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

    Criteria (also composites), strategies and an architecture may be given as objects: they are registered, and the
    study holds their names. `digest` is that of data of one's own, empty for data sets that load by name. `epochs` 0
    takes a network that is given as it is.

    `keeps` are numbers of inputs, `n_train` and `rank_images` numbers of training images (None: all of them),
    `epochs`, `retrain_epochs` and `precision` override the architecture's recipe. `seeds` are those of training. A
    mask comes from the network of the same seed, unless `mask_seeds` name others: then every mask is tried with every
    seed. Criteria that explain no image are ranked by once, whatever the strategies. Raises `InputError` for an empty
    grid or any value that cannot be used.
    """

    dataset: str = "mnist"
    root: str | None = None
    n_train: int | None = None
    architecture: Any = "mlp-300-100"
    criteria: tuple[Any, ...] = ("lrp-0", "random", "variance")
    strategies: tuple[Any, ...] = ("one-shot",)
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
    digest: str = ""

    def __post_init__(self) -> None:
        self._name_objects()
        for name in ("criteria", "strategies", "keeps", "modes", "seeds"):
            if not getattr(self, name):
                raise InputError(f"a study needs at least one value in {name}")
        check_choice("model", self.architecture, ARCHITECTURES)
        check_choice("statistic", self.statistic, STATISTICS)
        check_choice("start", self.start, STARTS)
        check_choice("precision", self.precision, PRECISIONS)
        if self.epochs is not None and self.epochs < 0:
            raise InputError(f"epochs must be at least 0 (the network as it is), not {self.epochs}")
        if self.retrain_epochs is not None and self.retrain_epochs < 1:
            raise InputError(f"retrain_epochs must be at least 1, not {self.retrain_epochs}")
        for criterion in self.criteria:
            find_criterion(criterion)
        for strategy in self.strategies:
            find_strategy(strategy)
        for mode in self.modes:
            check_choice("mode", mode, MODES)
        if "scratch" in self.modes and isinstance(ARCHITECTURES[self.architecture], GivenNetwork):
            raise InputError(
                "mode 'scratch' starts from fresh weights, and a network that is given cannot: register a builder with "
                "register_model(name, builder) and name it, or choose the modes none and fine-tune"
            )
        for seed in (*self.seeds, *self.mask_seeds):
            if not 0 <= seed < 2**32:
                raise InputError(f"a seed must be between 0 and {2**32 - 1}, not {seed}")

    def _name_objects(self) -> None:
        """Register what was given as an object, and keep its name: a study is plain values."""
        criteria = [c if isinstance(c, str) else _registered_criterion(c) for c in self.criteria]
        strategies = [s if isinstance(s, str) else register_strategy(s).name for s in self.strategies]
        object.__setattr__(self, "criteria", tuple(criteria))
        object.__setattr__(self, "strategies", tuple(strategies))
        architecture: Any = self.architecture
        if not isinstance(architecture, str):
            object.__setattr__(self, "architecture", _registered_network(architecture))

    @property
    def key(self) -> str:
        """Identifies the study: its runs and its lock are known under it."""
        return key_of(self)

    def on(self, data: Dataset) -> Study:
        """The same study of these data."""
        return replace(self, dataset=data.name, digest="" if data.is_named else store(data))

    def data(self) -> Dataset:
        """The data that the study is about. Raises `StorageError` if they are not here."""
        return open_data(self.dataset, self.root, self.digest)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of all ways in which it ranks the inputs."""
        return tuple(method.name for method in combine(self.criteria, self.strategies))

    def values(self) -> dict[str, Any]:
        """The study as plain values for JSON, with what has to be known of objects of one's own."""
        own = absent.say_own(self.criteria, self.strategies, self.architecture)
        return asdict(self) | ({"own": own} if own else {})

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Study:
        """A study from what `values` gave, after a way through JSON.

        Objects of one's own that this process does not know are stood in for, so that results can be read. Raises
        `StorageError` for a value that this version does not know.
        """
        values = dict(values)
        absent.stand_in(values.pop("own", {}))
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
        "digest": "" if data.is_named else store(data),
        "keeps": tuple(keep_for_share(share, data.n_inputs) for share in REMOVED_SHARES),
    }
    values |= PRESETS[check_choice("preset", name, PRESETS)]
    values |= {key: value for key, value in changes.items() if value is not None}
    if values.get("n_train") is not None:
        values["n_train"] = min(values["n_train"], len(data.train))
    if changes.get("rank_images") is None and values.get("rank_images") is not None:
        values["rank_images"] = min(values["rank_images"], len(data.train))
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
    if find_criterion(method.criterion).is_measured:
        ranking = replace(ranking, statistic=study.statistic, start=study.start, rank_images=study.rank_images)
    if find_strategy(method.strategy).per_keep:
        ranking = replace(ranking, keep=min(study.keeps, key=lambda k: abs(k - keep)))
    ranking = replace(ranking, own=_fingerprint(method))
    scratch = base.recipe
    tuned = replace(scratch, lr=scratch.lr / 2, epochs=study.retrain_epochs or max(1, scratch.epochs // 4))
    return Trial(base, keep, mode, ranking, {"none": Recipe(epochs=0), "fine-tune": tuned, "scratch": scratch}[mode])


def _fingerprint(method: Method) -> str:
    """What tells a criterion and strategy of one's own from others of the same names; empty for the project's own."""
    parts = []
    if not CRITERIA.is_built_in(method.criterion):
        parts.append(find_criterion(method.criterion).fingerprint)
    if not STRATEGIES.is_built_in(method.strategy):
        parts.append(absent.fingerprint(find_strategy(method.strategy)))
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest() if parts else ""


def _registered_criterion(criterion: Composite | Criterion) -> str:
    found = find_criterion(criterion)
    return found.name if CRITERIA.get(found.name) is found else _register_unless_built_in(found)


def _registered_network(network: nn.Module) -> str:
    """The name under which a network that was given is known: its class, and a digest of what it holds."""
    state = hashlib.blake2b(str(network).encode(), digest_size=4)
    for name, tensor in network.state_dict().items():
        state.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    name = f"{type(network).__name__.lower()}-{state.hexdigest()}"
    if name not in ARCHITECTURES:
        register_model(name, GivenNetwork(copy.deepcopy(network).cpu()))
    return name


@dataclass(frozen=True, eq=False)
class GivenNetwork:
    """A builder that gives copies of one network, weights and all: it cannot start afresh."""

    network: nn.Module

    def __call__(self, spec: ModelSpec) -> nn.Module:
        return copy.deepcopy(self.network)


def _register_unless_built_in(criterion: Criterion) -> str:
    if CRITERIA.is_built_in(criterion.name) and criterion.composite is CRITERIA[criterion.name].composite is not None:
        return criterion.name
    return register_criterion(criterion).name


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
