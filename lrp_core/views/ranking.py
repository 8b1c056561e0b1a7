"""What the page on rankings shows, computed: the order of the inputs, how sure it is, and how much two orders agree."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data import Split
from ..errors import InputError, StorageError
from ..ranking import CRITERIA, Method, Ranking, compare, settling
from ..study.stages import base_network, is_cached, ranking_of, training_split
from ..study.trials import STAGE_VERSION, RankingSpec
from .part import Part, Report, kept_on_disk, tell_nobody

MAX_FILE_BYTES = 16 * 2**20
"""A ranking of 700,000 inputs takes as much: larger files are refused unread."""

ENOUGH = {"spearman": 0.95, "overlap": 0.90}
"""Two rankings by different images that agree at least so well are taken for settled."""


@dataclass(frozen=True, eq=False)
class RankingPicture:
    """A ranking to look at. Arrays are [height, width], of several channels the best one.

    `place` counts from 1 for the most important input; `relative_error` is the standard error as a share of the score
    (NaN where there is none). Every input of a group has what its group has. `table` has a row for each pixel of an
    image, the most important first: place, channel, row, column, score, standard_error; where `names` of inputs or
    groups were given, name in the place of channel, row and column.
    """

    place: np.ndarray
    score: np.ndarray
    relative_error: np.ndarray
    table: pd.DataFrame

    @property
    def has_errors(self) -> bool:
        """Whether any standard error is known."""
        return bool(self.table["standard_error"].notna().any())

    @property
    def spans_decades(self) -> bool:
        """Whether a logarithmic scale shows the scores best: none below zero, and the others three decades apart."""
        positive = self.score[self.score > 0]
        return bool((self.score >= 0).all() and positive.size and positive.max() > 1000 * positive.min())


def picture_of_ranking(ranking: Ranking, names: Sequence[str] | None = None) -> RankingPicture:
    """A ranking as arrays and a table; inputs that are no images are one row of pixels."""
    shape = ranking.shape if len(ranking.shape) == 3 else (1, 1, ranking.n_inputs)
    of_groups = 1 + ranking.rank, ranking.scores, ranking.standard_error
    place, score, error = (ranking.grouping.spread(values).numpy().reshape(shape) for values in of_groups)
    best = place.argmin(0, keepdims=True)
    picked = [np.take_along_axis(values, best, 0)[0] for values in (place, score, error)]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(picked[1] != 0, picked[2] / np.abs(picked[1]), np.nan)
    order = ranking.order.numpy()
    where: dict[str, Any]
    if names is not None:
        where = {"name": [names[i] for i in order.tolist()]}
    else:
        where = dict(zip(("channel", "row", "column"), np.unravel_index(order, shape), strict=True))
    table = pd.DataFrame(
        {
            "place": np.arange(1, len(order) + 1),
            **where,
            "score": ranking.scores.numpy()[order],
            "standard_error": ranking.standard_error.numpy()[order],
        }
    )
    return RankingPicture(picked[0], picked[1], relative, table)


def ranking_bytes(ranking: Ranking) -> bytes:
    """What `Ranking.save` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ranking.safetensors"
        ranking.save(path)
        return path.read_bytes()


def ranking_of_file(content: bytes, name: str) -> Ranking:
    """The ranking in a file of that name. Nothing in it is ever unpickled.

    Raises `InputError` for a file that is too large, `StorageError` for one that is damaged or holds no ranking.
    """
    if len(content) > MAX_FILE_BYTES:
        raise InputError(
            f"{name} has {len(content):,} bytes, more than the {MAX_FILE_BYTES:,} that a ranking of images may have"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ranking.safetensors"
        path.write_bytes(content)
        try:
            return Ranking.load(path)
        except StorageError as error:
            raise StorageError(
                f"{name} is truncated, damaged or no ranking of this project: give a .safetensors file that was saved "
                "on this page, by `rank --output` or by Ranking.save"
            ) from error


@dataclass(frozen=True, eq=False)
class Agreement:
    """Two rankings of the same inputs compared.

    `overlap` has for each number of inputs kept the share of them that both keep, and what two random rankings would
    share: the columns keep, removed, overlap, by_chance. `shift` [height, width] is how many places an input stands
    further up in the first ranking than in the second.
    """

    spearman: float
    kendall: float
    overlap: pd.DataFrame
    shift: np.ndarray


def agreement(a: Ranking, b: Ranking) -> Agreement:
    """How much two rankings agree, and where not. Raises `InputError` for rankings of other inputs."""
    if a.shape != b.shape:
        raise InputError(
            f"rankings of inputs of shape {tuple(a.shape)} and of {tuple(b.shape)} cannot be compared: choose two of "
            "the same data"
        )
    n = a.n_groups
    keeps = sorted({max(1, round(n * (100 - percent) / 100)) for percent in range(100)})
    comparison = compare(a, b, keeps)
    overlap = pd.DataFrame(
        {"keep": keep, "removed": 1 - keep / n, "overlap": share, "by_chance": keep / n}
        for keep, share in sorted(comparison.overlap.items(), reverse=True)
    )
    places = [picture_of_ranking(ranking).place for ranking in (a, b)]
    return Agreement(comparison.spearman, comparison.kendall, overlap, places[1] - places[0])


def kept_by(a: Ranking, b: Ranking, keep: int) -> np.ndarray:
    """Who keeps which pixel, [height, width]: 0 neither, 1 the first ranking only, 2 the second only, 3 both."""
    first, second = (_kept(ranking, keep) for ranking in (a, b))
    return np.asarray(first + 2 * second.astype(int))


def kept_apart(a: Ranking, b: Ranking, keep: int) -> tuple[list[int], list[int]]:
    """The inputs, or groups, that only the first ranking keeps, and those that only the second keeps."""
    first, second = (set(ranking.order[:keep].tolist()) for ranking in (a, b))
    return sorted(first - second), sorted(second - first)


@dataclass(frozen=True, eq=False)
class Settled:
    """How a ranking settles as more images are looked at.

    `table` has for each number of images n and measure (spearman, overlap, error) the value that two rankings by n
    images each, none in common, have: the columns images, measure, keep, value. The study ranks by `used` images;
    `judged` is the largest n measured that is not above it.
    """

    table: pd.DataFrame
    used: int
    judged: int

    def value(self, measure: str, images: int, keep: int | None = None) -> float:
        """One value of the table."""
        rows = self.table[(self.table["measure"] == measure) & (self.table["images"] == images)]
        return float((rows if keep is None else rows[rows["keep"] == keep])["value"].iloc[0])

    def suffices(self, images: int, keep: int) -> bool:
        """Whether so many images settle the order, and which `keep` inputs are the best."""
        return (
            self.value("spearman", images) >= ENOUGH["spearman"]
            and self.value("overlap", images, keep) >= ENOUGH["overlap"]
        )

    def finding(self, keep: int, images: str = "images", counted: str = "inputs") -> str:
        """Whether the study's sample suffices, in plain words; `images` are what is explained, `counted` is kept."""
        spearman, overlap = self.value("spearman", self.judged), self.value("overlap", self.judged, keep)
        sample = f"{self.judged:,} {images} each, none in common,"
        agreement = (
            f"Two rankings by {sample} agree to {spearman:.3f} (Spearman), and {overlap:.0%} of the {counted} that "
            f"each keeps ({keep:,}) are the same."
        )
        more = "" if self.judged >= self.used else f" The study ranks by more, {self.used:,}: its order is surer."
        needed = f"(at least {ENOUGH['spearman']:g} and {ENOUGH['overlap']:.0%})"
        if self.suffices(self.judged, keep):
            return f"The sample suffices {needed}. {agreement}{more}"
        larger = sorted(n for n in set(self.table["images"]) if n > self.judged and self.suffices(n, keep))
        if larger:
            advice = f" {larger[0]:,} {images} would suffice."
        elif self.judged < self.used:
            advice = " Two halves of the sample cannot show whether all of it suffices."
        else:
            advice = f" Rank by more {images}, if there are any, or trust the order less."
        return f"The sample does not suffice {needed}. {agreement}{more}{advice}"


@dataclass(frozen=True)
class Rankings(Part):
    """The rankings of an opened study: how its masks come about, and how sure they are."""

    def of(self, method: str, keep: int, seed: int) -> Ranking:
        """The ranking that a mask follows from. It is computed where `is_ready` says that it is not there.

        Strategies that rank for one number of inputs give the ranking of the study's nearest to `keep`.
        """
        return _ranking(self._spec(method, keep, seed), self.folder)

    def kept(self, method: str, keep: int, seed: int) -> np.ndarray:
        """Which inputs stay: bool [height, width], a pixel that any channel keeps; [1, inputs] for no images."""
        return _kept(self.of(method, keep, seed), keep)

    def table(self, method: str, keep: int, seed: int) -> pd.DataFrame:
        """The inputs, or groups of them, the most important first.

        Columns: place, name, inputs (their positions), score, standard_error, kept, and cost where groups have one.
        """
        ranking, data = self.of(method, keep, seed), self.data
        table = picture_of_ranking(ranking, data.group_names).table
        by_group = pd.Series(np.arange(data.n_inputs)).groupby(ranking.grouping.of.numpy()).agg(list)
        table.insert(2, "inputs", by_group[ranking.order.numpy()].to_list())
        table["kept"] = np.arange(len(table)) < keep
        return table if data.costs is None else table.assign(cost=data.costs[ranking.order].numpy())

    def named(self, ranking: Ranking) -> Sequence[str] | None:
        """The names to show a ranking with; None for pixels, which a picture shows."""
        return None if ranking.grouping.is_single and len(ranking.shape) == 3 else self.data.group_names

    def is_ready(self, method: str, keep: int, seed: int) -> bool:
        """Whether a ranking is in the cache, so that asking for it takes no time."""
        return is_cached(self._spec(method, keep, seed))

    def seed_of(self, seed: int) -> int:
        """The seed of the network that the mask shown for `seed` comes from."""
        return self.study.mask_seeds[0] if self.study.mask_seeds else seed

    def of_relevance(self) -> tuple[str, ...]:
        """The study's methods that rank by relevance, in its order; all of them if none does."""
        methods = self.study.methods
        return tuple(m for m in methods if not CRITERIA[Method.named(m).criterion].is_control) or methods

    def says(self) -> dict[str, str]:
        """What each criterion of the study says of itself."""
        return {name: CRITERIA[name].says for name in dict.fromkeys(self.study.criteria)}

    def can_settle(self, method: str) -> bool:
        """Whether a method's criterion explains images, so that more of them make it surer."""
        return CRITERIA[Method.named(method).criterion].is_measured

    def measure_settling(self, method: str, seed: int, report: Report) -> Settled:
        """How the one-shot measurement of a method's criterion settles, from the cache if it was measured before.

        Raises `InputError` for a criterion that does not explain images.
        """
        keys, used, judged, _ = self._settling_keys(method, seed)
        table: pd.DataFrame = kept_on_disk(_measure_settling)(**keys, part=self, seed=seed, report=report)
        return Settled(table, used, judged)

    def settling_is_measured(self, method: str, seed: int) -> bool:
        """Whether `measure_settling` has its answer in the cache."""
        keys, *_ = self._settling_keys(method, seed)
        measure = kept_on_disk(_measure_settling)
        return bool(measure.check_call_in_cache(**keys, part=self, seed=seed, report=tell_nobody))

    def one_shot(self, criterion: str, seed: int) -> RankingSpec:
        """The ranking by a criterion measured once. Raises `InputError` for one that does not explain images."""
        if not self.can_settle(criterion):
            raise InputError(f"{criterion} explains no image, so there is nothing to settle")
        return self._spec(criterion, self.data.n_groups, seed)

    def _settling_keys(self, method: str, seed: int) -> tuple[dict[str, Any], int, int, Split]:
        """What the measurement follows from, the images used, those judged by, and what halves are drawn from."""
        spec = self.one_shot(Method.named(method).criterion, seed)
        split = training_split(spec.base)
        used = len(split) if spec.rank_images is None else min(spec.rank_images, len(split))
        # Four times the sample tells what twice the images would give; halves cannot be of more than there is.
        pool = min(len(split), max(4 * used, 2))
        if pool < 2:
            raise InputError("two halves need at least two images: the study trains on one")
        judged = min(used, pool // 2)
        sizes = {judged} | {pool // 2 >> k for k in range(20) if pool // 2 >> k >= min(pool // 2, 16)}
        keys = {
            "version": STAGE_VERSION,
            "trial": self.trial(spec.method.name, self.data.n_groups, self.study.modes[0], seed).key,
            "criterion": spec.method.criterion,
            "pool": pool,
            "sizes": tuple(sorted(sizes)),
            "keeps": tuple(sorted(set(self.study.keeps))),
        }
        return keys, used, judged, split

    def _spec(self, method: str, keep: int, seed: int) -> RankingSpec:
        spec = self.trial(method, keep, self.study.modes[0], seed).ranking
        assert spec is not None, "only a baseline has no ranking"
        return spec


def _kept(ranking: Ranking, keep: int) -> np.ndarray:
    mask = ranking.mask(keep).keep
    return np.asarray(mask.any(0) if mask.ndim == 3 else mask.reshape(1, -1))


@lru_cache(maxsize=32)
def _ranking(spec: RankingSpec, folder: Path) -> Ranking:
    """`folder` is part of the key because the ranking lies there."""
    return ranking_of(spec)


def _measure_settling(
    version: int,
    trial: str,
    criterion: str,
    pool: int,
    sizes: Sequence[int],
    keeps: Sequence[int],
    part: Rankings,
    seed: int,
    report: Report,
) -> pd.DataFrame:
    spec = part.one_shot(criterion, seed)
    split = training_split(spec.base)
    sample = split if pool >= len(split) else split.sample(pool, seed=spec.base.seed)
    total = 2 * max(sizes)
    table = settling(
        base_network(spec.base),
        sample,
        criterion=criterion,
        statistic=part.study.statistic,
        start=part.study.start,
        sizes=sizes,
        keeps=keeps,
        grouping=part.data.grouping,
        seed=seed,
        on_batch=lambda done: report(done / total, f"{done:,} of {total:,} images"),
    )
    return table[table["measure"] != "kendall"].reset_index(drop=True)
