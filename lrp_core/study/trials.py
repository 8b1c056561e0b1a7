"""One trial as plain frozen values: ranking, keep, mode, seed -> accuracy, confidence, cost.

A *trial* is one small network, described by plain values alone, and everything follows from them; so trials run in any
process and any order, and none is run twice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..ranking import Method, find_criterion, find_strategy, seeds_of
from ..training import Recipe
from ..version import STAGE_VERSION

__all__ = ["ADDED", "MODES", "STAGE_VERSION", "Base", "RankingSpec", "Trial", "key_of", "significant"]

ADDED = {
    "precision": "float32",
    "digest": "",
    "own": "",
    "optimizer": "adamw",
    "batch_size": None,
    "lr": None,
    "patience": None,
    "split": None,
    "resplit": False,
    "fewest": None,
}
"""Fields that came after results had been kept: with these values they are no part of a key, so those stay valid."""


@dataclass(frozen=True)
class Base:
    """What a trial starts from: data, architecture and training. Its baseline is the network trained on all inputs.

    `own` is the fingerprint of an architecture that did not come with the project: another one of that name is another
    network. `split` is the seed that the rows of the data are drawn again with, None for the parts as they are.
    """

    dataset: str = "mnist"
    root: str | None = None
    digest: str = ""
    n_train: int | None = None
    architecture: str = "mlp-300-100"
    recipe: Recipe = Recipe()
    seed: int = 0
    own: str = ""
    split: int | None = None


@dataclass(frozen=True)
class RankingSpec:
    """Everything that a ranking follows from: the network that is explained, and how.

    `rank_images` None means all training images; for elimination, its own default in each step. `keep` is the
    number of inputs that a strategy such as "exchange" optimises, and None for every other one; `fewest` the number
    of inputs at which elimination ends, None for one and for strategies that eliminate nothing. `own` is the
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
    fewest: int | None = None

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
        return replace(
            self, base=Base(base.dataset, base.root, base.digest, base.n_train, seed=base.seed, split=base.split)
        )


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

    `base` says what data and which seed it is trained with; `ranking` None is the unpruned baseline, as it is or, in
    mode "fine-tune", trained on as the smaller networks are. The network
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
            **({} if base.split is None else {"split": base.split}),
        }
