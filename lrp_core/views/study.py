"""An opened study: what its finished trials say, and what any place of the threshold means."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from ..cards import comparison_of
from ..errors import InputError, LrpError
from ..evaluation import Cost, Interval, McNemar, Scatter, measure_cost
from ..models import build_from_spec, needed_spec
from ..shares import keep_for_share, percent_removed
from ..study import Study, Trial, plan, results
from ..study.export import FORMATS, score_of
from ..study.exporting.formats import Format
from ..study.ledger import Ledger
from ..study.measured import adopt_rankings
from ..study.results import Headline, Recommendation
from ..study.stages import is_trained
from ..words import Words
from .budgets import Budgets
from .images import Images
from .part import Part, PlannedExport
from .ranking import Rankings
from .removal import Removals
from .savings import Savings, smaller_network
from .tested import Testing
from .trying import Trying

__all__ = [
    "OpenedStudy",
    "PlannedExport",
    "Threshold",
    "comparison_of",
    "export_formats",
    "open_study",
    "score_of",
    "study_trials",
]


@dataclass(frozen=True)
class Threshold:
    """What one position of the slider means.

    `cost` is that of the smaller network, `full_cost` that of the network on all inputs, `score` what the measured
    curve lets expect, `input_cost` what the groups of inputs that it reads cost (None where none has a cost).
    """

    keep: int
    n_groups: int
    cost: Cost
    full_cost: Cost
    score: Interval | None
    baseline: Interval | None
    input_cost: float | None
    full_input_cost: float | None

    @property
    def removed(self) -> float:
        """Share of the inputs, or groups, removed."""
        return 1 - self.keep / self.n_groups


@dataclass(frozen=True)
class OpenedStudy(Part):
    """A study and its results as of one `revision` of its run: cheap to make, and a key for what it answers.

    What takes time is remembered, the results as long as the revision is the same. Tables are the caller's own.
    """

    revision: float

    @property
    def token(self) -> tuple[Any, ...]:
        """The results follow from the revision as well."""
        return (*super().token, self.revision)

    @property
    def ledger(self) -> Ledger:
        """Where the results are."""
        return Ledger(self.folder)

    @property
    def rankings(self) -> Rankings:
        """How its inputs are ranked."""
        return Rankings(self.study, self.folder)

    @property
    def removals(self) -> Removals:
        """What its networks say of images that features were removed from."""
        return Removals(self.study, self.folder)

    @property
    def savings(self) -> Savings:
        """What its smaller networks save on this machine."""
        return Savings(self.study, self.folder)

    @property
    def images(self) -> Images:
        """Its images, and what its networks see in them."""
        return Images(self.study, self.folder)

    @property
    def budgets(self) -> Budgets:
        """What its networks become under a budget of MACs, inputs and hidden units together."""
        return Budgets(self.study, self.folder)

    @property
    def trying(self) -> Trying:
        """Its full and small networks, to be asked side by side about any input."""
        return Trying(self.study, self.folder)

    @property
    def testing(self) -> Testing:
        """The same networks on all of its test set."""
        return Testing(self.study, self.folder)

    @property
    def are_images(self) -> bool:
        """Whether what its networks classify are images, which can be drawn."""
        return len(self.data.shape) == 3

    @property
    def score(self) -> str:
        """What its networks are judged by: "accuracy", or "R²" where they predict numbers."""
        return self.data.words.score

    @property
    def drawn_as(self) -> str:
        """How what stays is shown: on a "picture", on "series", or as "bars" of named inputs or groups."""
        data = self.data
        if not self.are_images:
            return "bars" if len(data.shape) == 1 else "series"
        of = data.grouping.of.view(data.shape[0], -1)
        bands = data.shape[0] > 1 and bool((of == of[:, :1]).all())  # of whole channels a picture would show nothing
        return "bars" if bands else "picture"

    @property
    def words(self) -> tuple[str, str, str]:
        """What the inputs are called, what is classified, and one of these."""
        counted = self.data.words.counted
        if self.are_images:
            are_pixels = counted == "inputs" and self.data.shape[0] == 1  # of colours, a pixel has several inputs
            return ("pixels" if are_pixels else counted, "images", "image")
        return (counted, "rows", "row")

    def group_names(self) -> tuple[str, ...]:
        """What each input, or group of inputs, is called."""
        return self.data.group_names

    @property
    def n_groups(self) -> int:
        """Number of inputs of its full network, or of groups of them: as many as can be kept."""
        return self.data.n_groups

    def keep_for(self, removed: int) -> int:
        """How many inputs, or groups, stay when `removed` per cent of them go."""
        return keep_for_share(removed / 100, self.n_groups)

    def removed_for(self, keep: int) -> int:
        """The largest whole per cent of the inputs, or groups, that can go so that at least `keep` of them stay."""
        return percent_removed(keep, self.n_groups)

    def trials(self) -> pd.DataFrame:
        """The finished trials, one row each, baselines included; empty as long as there are none."""
        return _trials(self).copy(deep=False)

    def curve(self, part: str = "validation") -> pd.DataFrame:
        """The score of everything that is finished: see `results.curve`."""
        return _curve(self, part).copy(deep=False)

    def curves(self, methods: Sequence[str], mode: str) -> dict[str, pd.DataFrame]:
        """One curve for each of these methods that has points, from no input removed on."""
        table = self.curve()
        measured = set(table["method"])
        return {name: results.with_baseline(table, name, mode) for name in methods if name in measured}

    def recommend(
        self, method: str | None = None, *, mode: str | None = None, margin: float = results.MARGIN
    ) -> Recommendation | None:
        """The threshold recommended for a method, or None before there is a pair to compare.

        `method` None takes the one with which the most inputs can go within the margin.
        """
        methods = self.rankings.of_relevance() if method is None else (method,)
        table, n, words = self.curve(), self.n_groups, Words(self.words[0], self.score)
        each = [results.recommend_from(table, n, name, mode=mode, margin=margin, words=words) for name in methods]
        return results.best_of(each)

    def headline(self, method: str | None = None, margin: float = results.MARGIN) -> Headline | None:
        """What the study found, in one row: with a method, or with the best one; None while there is nothing to say."""
        best = self.recommend(method, margin=margin)
        if best is None:
            return None
        return results.headline_of(best, self.curve("test"))

    def nearest_keep(self, method: str, mode: str, keep: int) -> int | None:
        """The measured number of inputs nearest to `keep`; None before there is one."""
        table = self.curve()
        return results.nearest_keep(table, method, mode, keep) if len(table) else None

    def against_baseline(self, method: str, mode: str, keep: int, seed: int) -> McNemar | None:
        """A smaller network against the full one of its seed on the validation images; None if one is not there."""
        return results.against_baseline(self.trials(), method, mode, keep, seed)

    def scatter(self, method: str, mode: str, keep: int) -> Scatter | None:
        """How much of the scatter is the mask's; None unless masks were crossed with seeds."""
        return results.scatter_at(self.trials(), method, mode, keep)

    def threshold(self, *, method: str, mode: str, keep: int, seed: int) -> Threshold:
        """The cost and the expected accuracy at any keep, of the mask of one seed.

        Raises `InputError` for a network of your own that is not known here.
        """
        cost, full_cost = _costs(self.rankings, method, mode, keep, seed)
        table, n_groups, data = self.curve(), self.n_groups, self.data
        return Threshold(
            keep,
            n_groups,
            cost,
            full_cost,
            results.expected_score(table, method, mode, keep),
            results.expected_score(table, "none", results.baseline_mode(mode), n_groups),
            data.cost_of(self.rankings.of(method, keep, seed).mask(keep).indices),
            None if data.costs is None else float(data.costs.sum()),
        )

    def expected(
        self, *, method: str, mode: str, keep: int, margin: float
    ) -> tuple[Interval | None, Interval | None, Recommendation | None]:
        """The score that the measured curve lets expect at a place, the full network's, and what is recommended."""
        table = self.curve()
        if table.empty:
            return None, None, None
        score = results.expected_score(table, method, mode, keep)
        full = results.expected_score(table, "none", results.baseline_mode(mode), self.n_groups)
        return score, full, self.recommend(method, mode=mode, margin=margin)

    def baseline_is_ready(self, seed: int) -> bool:
        """Whether the network of a seed on all inputs has been trained, here or elsewhere: its row is in the ledger."""
        return not self.ledger.trials([self._baseline(seed).key]).empty

    def has_network(self, seed: int) -> bool:
        """Whether the network of a seed on all inputs is here, so that explaining its images takes no training."""
        return is_trained(self._baseline(seed).base)

    def _baseline(self, seed: int) -> Trial:
        return plan(self.study, self.data)[self.study.seeds.index(seed)]

    def export(
        self,
        *,
        method: str,
        keep: int,
        mode: str,
        seed: int,
        formats: Sequence[str] = ("safetensors",),
        measure: bool = False,
    ) -> PlannedExport:
        """The export of one network in some formats, for `launch.start_export`."""
        choice: dict[str, Any] = {"method": method, "keep": keep, "mode": mode, "seed": seed}
        trial = self.trial(**choice)
        spec = {"study": self.study.values(), **choice, "formats": list(formats), "measure": measure}
        return PlannedExport(f"export-{trial.key}", spec, export_folder(self.ledger, trial))


def export_formats() -> tuple[Format, ...]:
    """What an export can be written as, the weights first, which always are; `lacks` says what is missing here."""
    return tuple(FORMATS.values())


def open_study(study: Study | str, ledger: Ledger) -> OpenedStudy:
    """A study of a ledger, or the one of that key, opened to be asked.

    Raises `InputError` for a key that the ledger does not know, `StorageError` for a study of a newer version.
    """
    run = ledger.run(study if isinstance(study, str) else study.key)
    if isinstance(study, str):
        if run is None:
            raise InputError(f"there is no study {study!r} in {ledger.folder}")
        study = Study.from_values(run.spec)
    if run is not None and run.is_read_only:
        with suppress(LrpError):  # without its data or its file the study still has its curves
            adopt_rankings(run, ledger)
    # Without a run nothing says when the trials change: then every opening reads them again.
    return OpenedStudy(study, ledger.folder, time.time() if run is None else run.updated)


def study_trials(study: Study, ledger: Ledger) -> pd.DataFrame:
    """The finished trials of a study, one row each, baselines included; empty as long as there are none."""
    return ledger.trials([trial.key for trial in plan(study, study.data())])


def export_folder(ledger: Ledger, trial: Trial) -> Path:
    """Where the export of a trial that a page asked for lies once it is made."""
    return ledger.folder / "exports" / trial.key


@lru_cache(maxsize=8)
def _trials(opened: OpenedStudy) -> pd.DataFrame:
    return study_trials(opened.study, opened.ledger)


@lru_cache(maxsize=16)
def _curve(opened: OpenedStudy, part: str) -> pd.DataFrame:
    return results.curve(_trials(opened), opened.n_groups, part)


@lru_cache(maxsize=512)
def _costs(rankings: Rankings, method: str, mode: str, keep: int, seed: int) -> tuple[Cost, Cost]:
    small = smaller_network(rankings, method, mode, keep, seed)
    return measure_cost(small), measure_cost(build_from_spec(needed_spec(small.spec)))
