"""What a study is, as plain frozen values, and the trials that it plans; nothing here does any work.

A *study* is a grid of trials with the unpruned baseline and the controls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..data import Dataset, open_data, store
from ..data.drawing import places_of
from ..errors import InputError, StorageError, check_choice
from ..loading import use_given
from ..lrp import STARTS, Composite
from ..models import ARCHITECTURES, build_model, check_takes
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
)
from ..seeds import check_seed
from ..training import Recipe, recipe_for
from ..training.dense import find_dense_chain
from . import absent
from .trials import MODES, Base, RankingSpec, Trial, key_of


@dataclass(frozen=True)
class Study:
    """A grid of trials: every criterion x strategy x keep x mode x seed, and the baselines of every seed.

    Criteria (also composites), strategies and an architecture may be given as objects: they are registered, and the
    study holds their names. `digest` is that of data of your own, empty for data sets that load by name. `epochs` 0
    takes a network that is given as it is.

    `keeps` are numbers of inputs, or of groups where the data have groups of inputs; `n_train` and `rank_images` are
    numbers of training images (None: all of them). `epochs`, `retrain_epochs`, `precision`, `optimizer`, `batch_size`,
    `lr` and `patience` override the architecture's recipe, for the full network and the smaller ones alike. `seeds` are
    those of training. A mask comes from the network of the same seed, unless `mask_seeds` name others: then every mask
    is tried with every seed. Criteria that explain no image are ranked by once, whatever the strategies. Elimination
    ends with `fewest` inputs (None: with one), and orders these as they stand. With `resplit` every seed draws the rows
    again (`Dataset.resplit`): its networks, rankings and figures are those of its own split.
    Raises `InputError` for an empty grid or any value that cannot be used.
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
    optimizer: str = "adamw"
    batch_size: int | None = None
    lr: float | None = None
    patience: int | None = None
    resplit: bool = False
    fewest: int | None = None

    def __post_init__(self) -> None:
        self._name_objects()
        for name in ("criteria", "strategies", "keeps", "modes", "seeds"):
            if not getattr(self, name):
                raise InputError(f"a study needs at least one value in {name}")
        check_choice("model", self.architecture, ARCHITECTURES)
        check_choice("statistic", self.statistic, STATISTICS)
        check_choice("start", self.start, STARTS)
        if self.epochs is not None and self.epochs < 0:
            raise InputError(f"epochs must be at least 0 (the network as it is), not {self.epochs}")
        if self.retrain_epochs is not None and self.retrain_epochs < 1:
            raise InputError(f"retrain_epochs must be at least 1, not {self.retrain_epochs}")
        self.recipe()
        for criterion in self.criteria:
            find_criterion(criterion)
        for strategy in self.strategies:
            find_strategy(strategy)
        for mode in self.modes:
            check_choice("mode", mode, MODES)
        if "scratch" in self.modes and getattr(ARCHITECTURES[self.architecture], "is_fixed", False):
            raise InputError(
                "mode 'scratch' starts from fresh weights, which a network given as an object does not have: register "
                "a builder with register_model(name, builder) and name it, or choose the modes none and fine-tune"
            )
        if self.fewest is not None and self.fewest < 1:
            raise InputError(f"elimination ends with at least 1 input, not {self.fewest}")
        for seed in (*self.seeds, *self.mask_seeds):
            check_seed(seed)
        if self.resplit and self.mask_seeds:
            raise InputError(
                f"mask_seeds {', '.join(map(str, self.mask_seeds))} cannot go with resplit: the ranking of another "
                "split has seen test rows of this one, so leave one of the two out"
            )

    def _name_objects(self) -> None:
        """Register what was given as an object, and keep its name: a study is plain values."""
        criteria = [c if isinstance(c, str) else _registered_criterion(c) for c in self.criteria]
        strategies = [s if isinstance(s, str) else register_strategy(s).name for s in self.strategies]
        object.__setattr__(self, "criteria", tuple(criteria))
        object.__setattr__(self, "strategies", tuple(strategies))
        architecture: Any = self.architecture
        if not isinstance(architecture, str):
            object.__setattr__(self, "architecture", use_given(architecture))

    def recipe(self) -> Recipe:
        """How networks are trained on all inputs. Raises `InputError` for values that cannot be used."""
        names = ("epochs", "precision", "optimizer", "batch_size", "lr", "patience")
        return recipe_for(self.architecture, **{name: getattr(self, name) for name in names})

    @property
    def key(self) -> str:
        """Identifies the study: its runs and its lock are known under it."""
        return key_of(self)

    def on(self, data: Dataset) -> Study:
        """The same study of these data."""
        return replace(self, dataset=data.name, digest="" if data.is_named else store(data))

    def data(self, seed: int | None = None) -> Dataset:
        """The data that the study is about; with a seed, split as its networks know them.

        Raises `StorageError` if they are not here.
        """
        return open_data(self.dataset, self.root, self.digest, seed if self.resplit else None)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of all ways in which it ranks the inputs."""
        return tuple(method.name for method in combine(self.criteria, self.strategies))

    def values(self) -> dict[str, Any]:
        """The study as plain values for JSON, with what has to be known of objects of your own."""
        own = absent.say_own(self.criteria, self.strategies, self.architecture)
        return asdict(self) | ({"own": own} if own else {})

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Study:
        """A study from what `values` gave, after a way through JSON.

        Objects of your own that this process does not know are stood in for, so that results can be read. Raises
        `StorageError` for a value that this version does not know.
        """
        values = dict(values)
        absent.stand_in(values.pop("own", {}))
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise StorageError(f"the study was made by a newer version: {', '.join(sorted(unknown))} is not known here")
        known: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**known)


REMOVED_SHARES = (0.15, 0.30, 0.50, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
"""Shares of the inputs, or groups, removed in the full study's curves, beside the baseline's 0."""

QUICK_SHARES = (0.60, 0.75, 0.90)
"""Those of the quick study."""

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"strategies": ("elimination", "one-shot"), "modes": ("scratch",), "lr": 0.02},
    "full": {
        "criteria": ("lrp-0", "random", "variance", "extra-trees"),
        "strategies": ("elimination", "one-shot"),
        "modes": ("scratch",),
        "seeds": (0, 1, 2, 3, 4),
    },
}
"""quick: 39 networks, complete in 50 seconds on two cores. full: the study whose results come with the project.

Both train every network from scratch on all rows. See `_quick` for data and networks that this does not suit.
"""

QUICK_ROWS, QUICK_MACS = 150_000, 400_000
"""How many rows a network of the quick study learns from, in all its passes, and the MACs of one that can so soon."""

TUNED: dict[str, Any] = {"n_train": 10_000, "epochs": 5, "retrain_epochs": 2, "modes": ("fine-tune",)}
"""How the quick study trains where it cannot train every network from scratch."""

FEW_ROWS, MOST_PASSES = 10_000, 200
"""Presets go through fewer training rows than these more often, so that networks learn from as many; up to a limit."""


SPLITS = 10
"""Seeds of a preset where each draws a split of its own."""


def preset(name: str, data: Dataset, **changes: Any) -> Study:
    """The study of that name for `data`, with every change that is not None.

    The quick study suits itself to the data and the network (`_quick`).
    Data of fewer than 10,000 training rows are gone through more often than a preset says, up to 200 times. Where there
    are fewer rows than inputs, each of ten seeds draws a split of its own, if the rows can be split again.
    """
    values: dict[str, Any] = {
        "dataset": data.name,
        "digest": "" if data.is_named else store(data),
        "keeps": _preset_keeps(data.n_groups, QUICK_SHARES if name == "quick" else REMOVED_SHARES),
    }
    values |= PRESETS[check_choice("preset", name, PRESETS)]
    if name == "quick":
        values |= _quick(data, changes.get("architecture") or Study.architecture)
    asked = {key: value for key, value in changes.items() if value is not None}
    values |= {key: tuple(value) if isinstance(value, range | list) else value for key, value in asked.items()}
    if name == "quick" and "elimination" in values["strategies"] and changes.get("fewest") is None:
        values["fewest"] = max(1, min(values["keeps"]))  # what cannot be kept is refused by its name
    values |= _splits(data, values, changes.get("seeds"))
    if 0 < len(data.train) < FEW_ROWS:
        architecture = values.get("architecture", Study.architecture)
        passes = {"epochs": values.get("epochs") or _recipe_epochs(architecture)}
        passes |= {"retrain_epochs": values.get("retrain_epochs") or max(1, passes["epochs"] // 4)}
        more = FEW_ROWS / len(data.train)
        values |= {key: min(MOST_PASSES, math.ceil(n * more)) for key, n in passes.items() if changes.get(key) is None}
    rows = _training_rows(data, values["seeds"]) if values["resplit"] else len(data.train)
    if values.get("n_train") is not None:
        values["n_train"] = min(values["n_train"], rows)
    if changes.get("rank_images") is None and values.get("rank_images") is not None:
        values["rank_images"] = min(values["rank_images"], rows)
    return Study(**values)


def _quick(data: Dataset, architecture: Any) -> dict[str, Any]:
    """How the quick study is kept quick.

    Small dense networks that come with the project learn all of many rows from scratch. Of few rows, and with other
    networks, the full one is trained and its slices are fine-tuned; elimination is for small dense networks, since any
    other one gets no cheaper as inputs go.
    """
    ranked = {"rank_images": 1_000}
    if not _is_small_and_dense(data, architecture):
        return ranked | TUNED | {"strategies": ("one-shot",), "lr": None}
    if len(data.train) < FEW_ROWS:
        return ranked | TUNED | {"lr": None}
    return ranked | {"epochs": math.ceil(QUICK_ROWS / len(data.train))}


def _is_small_and_dense(data: Dataset, architecture: Any) -> bool:
    if not isinstance(architecture, str) or not ARCHITECTURES.is_built_in(architecture):
        return False
    check_takes(architecture, data.shape)
    layers = find_dense_chain(build_model(architecture, data, seed=0), len(data.shape) + 1)
    return layers is not None and sum(layer.weight.numel() for layer in layers) <= QUICK_MACS


def _preset_keeps(n_groups: int, shares: Sequence[float]) -> tuple[int, ...]:
    """How many inputs, or groups, a preset keeps: every number of a few, else what these shares removed leave."""
    if n_groups <= len(REMOVED_SHARES) + 1:
        return tuple(range(max(1, n_groups - 1), 0, -1))
    return tuple(dict.fromkeys(keep_for_share(share, n_groups) for share in shares))


def _splits(data: Dataset, values: dict[str, Any], seeds: Sequence[int] | None) -> dict[str, Any]:
    """Whether a preset's seeds draw splits of their own, and which `seeds` there are then unless some were given."""
    drawn = tuple(seeds or range(SPLITS))
    if values.get("resplit"):
        return {"seeds": drawn}
    has_few = data.can_resplit and sum(map(len, (data.train, data.validation, data.test))) < data.n_inputs
    if "resplit" in values or not has_few or len(drawn) < 2 or values.get("mask_seeds"):
        return {"resplit": False}
    try:
        _training_rows(data, drawn)
    except InputError:  # the groups of rows are too few for one of the seeds: then there is the one split
        return {"resplit": False}
    return {"resplit": True, "seeds": drawn}


def _recipe_epochs(architecture: Any) -> int:
    return recipe_for(architecture if isinstance(architecture, str) else "").epochs


def plan(study: Study, data: Dataset) -> list[Trial]:
    """Every trial of the study: baselines first, then so that early results span the curve.

    A baseline has as many updates as what it is compared with: in mode "fine-tune" the full network is fine-tuned, too.

    Raises `InputError` for a keep beyond the inputs or more images than there are.
    """
    _check_fits(study, data, study.seeds)
    seeds, keeps = list(dict.fromkeys(study.seeds)), sorted(set(study.keeps))
    baselines = [
        Trial(base := _base(study, data, seed), data.n_groups, mode, retrain=_retrain(study, base, mode))
        for mode in ("none", *(("fine-tune",) if "fine-tune" in study.modes else ()))
        for seed in seeds
    ]
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
    _check_fits(study, data, (seed,))
    check_keep(keep, data.n_groups)
    check_choice("mode", mode, MODES)
    if mask_seed is None:
        mask_seed = study.mask_seeds[0] if study.mask_seeds else seed
    if study.resplit and mask_seed != seed:
        raise InputError(
            f"the mask of seed {mask_seed} cannot go with the network of seed {seed}: its ranking has seen test rows "
            "of that seed's split"
        )
    return _pruned(study, data, Method.named(method), keep, mode, seed, mask_seed)


def _check_fits(study: Study, data: Dataset, seeds: Sequence[int]) -> None:
    check_takes(study.architecture, data.shape)
    for keep in study.keeps:
        check_keep(keep, data.n_groups)
    most = _training_rows(data, seeds) if study.resplit else len(data.train)
    for name, n in (("n_train", study.n_train), ("rank_images", study.rank_images)):
        if n is not None and not 1 <= n <= most:
            raise InputError(f"{name} must be between 1 and {most}, not {n}")


def _training_rows(data: Dataset, seeds: Sequence[int]) -> int:
    """How many rows there are to train on in each split at least. Raises `InputError` if a seed cannot split them."""
    return min(len(places_of(data, seed)["train"]) for seed in seeds)


def _base(study: Study, data: Dataset, seed: int) -> Base:
    own = absent.network_fingerprint(study.architecture)
    split, recipe = seed if study.resplit else None, study.recipe()
    return Base(study.dataset, study.root, data.digest, study.n_train, study.architecture, recipe, seed, own, split)


def _pruned(study: Study, data: Dataset, method: Method, keep: int, mode: str, seed: int, mask_seed: int) -> Trial:
    base = _base(study, data, seed)
    ranking = RankingSpec(replace(base, seed=mask_seed), method)
    if find_criterion(method.criterion).is_measured:
        ranking = replace(ranking, statistic=study.statistic, start=study.start, rank_images=study.rank_images)
    if find_strategy(method.strategy).per_keep:
        ranking = replace(ranking, keep=min(study.keeps, key=lambda k: abs(k - keep)))
    if "elimination" in (method.strategy, find_strategy(method.strategy).follows):
        ranking = replace(ranking, fewest=study.fewest)
    ranking = replace(ranking, own=_fingerprint(method))
    return Trial(base, keep, mode, ranking, _retrain(study, base, mode))


def _retrain(study: Study, base: Base, mode: str) -> Recipe:
    """How a network is trained further in a mode: the smaller one, and the full one that it is compared with."""
    scratch = base.recipe
    passes = scratch.epochs or recipe_for(study.architecture).epochs  # a network that is given has learned in as many
    tuned = replace(scratch, lr=scratch.lr / 2, epochs=study.retrain_epochs or max(1, passes // 4))
    return {"none": Recipe(epochs=0), "fine-tune": tuned, "scratch": scratch}[mode]


def _fingerprint(method: Method) -> str:
    """What tells a criterion and strategy of your own from others of the same names; empty for the project's own."""
    parts = []
    if not CRITERIA.is_built_in(method.criterion):
        parts.append(find_criterion(method.criterion).fingerprint)
    if not STRATEGIES.is_built_in(method.strategy):
        parts.append(absent.fingerprint(find_strategy(method.strategy)))
    return absent.digest_of("\n".join(parts)) if parts else ""


def _registered_criterion(criterion: Composite | Criterion) -> str:
    resolved = find_criterion(criterion)
    return resolved.name if CRITERIA.get(resolved.name) is resolved else _register_unless_built_in(resolved)


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
