"""A study that has run: its trials, what they say, and the rankings and networks behind them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn

from ..data import Dataset
from ..errors import InputError
from ..ranking import Ranking
from .describe import Study, plan, preset, trial_at
from .ledger import Ledger
from .results import MARGIN, Recommendation, curve, recommend
from .run import run_study, trial_network
from .stages import base_network, ranking_of
from .trials import Trial


@dataclass(frozen=True)
class StudyResult:
    """What a study gave. Everything is read, or computed where it was not kept."""

    study: Study
    ledger: Ledger

    @property
    def trials(self) -> pd.DataFrame:
        """One row for each network, baselines included."""
        return self.ledger.trials([trial.key for trial in plan(self.study, self.study.data())])

    def curve(self, part: str = "validation") -> pd.DataFrame:
        """Means with 95 % intervals over seeds: `part` is "validation", for choosing, or "test", for final figures."""
        return curve(self.trials, self.study.data().n_groups, part)

    def recommend(
        self, method: str | None = None, *, mode: str | None = None, margin: float = MARGIN
    ) -> Recommendation | None:
        """The most inputs that can go within `margin` of the full network's accuracy, chosen on validation.

        `method` None takes the best of all methods.
        """
        trials, data = self.trials, self.study.data()
        methods = self.study.methods if method is None else (self._known(method),)
        recommendations = [
            recommend(trials, data.n_groups, name, mode=mode, margin=margin, words=data.words) for name in methods
        ]
        with_row = [one for one in recommendations if one is not None and one.row is not None]
        if with_row:
            return min(with_row, key=lambda one: (int(one.row["keep"]), -float(one.row["score"])))  # type: ignore[index]
        return next((one for one in recommendations if one is not None), None)

    def ranking(self, seed: int | None = None, *, method: str | None = None, keep: int | None = None) -> Ranking:
        """The ranking by the network of a seed (None: the first); `method` None is the study's first."""
        trial = self._trial(seed, method, keep, None)
        assert trial.ranking is not None, "only a baseline has no ranking"
        return ranking_of(trial.ranking)

    def network(
        self,
        keep: int | None = None,
        *,
        seed: int | None = None,
        method: str | None = None,
        mode: str | None = None,
    ) -> nn.Module:
        """The smaller network that keeps so many inputs; `keep` None is the full network of the seed."""
        trial = self._trial(seed, method, keep, mode)
        return base_network(trial.base) if keep is None else trial_network(trial, self.ledger)

    def _trial(self, seed: int | None, method: str | None, keep: int | None, mode: str | None) -> Trial:
        study = self.study
        return trial_at(
            study,
            study.data(),
            method=study.methods[0] if method is None else self._known(method),
            keep=min(study.keeps) if keep is None else keep,
            mode=mode or study.modes[0],
            seed=study.seeds[0] if seed is None else seed,
        )

    def _known(self, method: str) -> str:
        if method not in self.study.methods:
            raise InputError(f"the study has no method {method!r}: it has {'; '.join(self.study.methods)}")
        return method


def run(
    study: Study | str,
    ledger: Ledger | None = None,
    *,
    data: Dataset | None = None,
    on_trial: Callable[[int, int, Trial], None] | None = None,
    **options: Any,
) -> StudyResult:
    """Run a study to its end, or go on with it, and give what it found.

    `study` is a `Study`, or the name of a preset for `data`. `on_trial(done, total, trial)` reports progress, and stops
    the run by raising; `options` are those of `run_study`. Raises `InputError`, `StorageError` and `Cancelled` as that
    does, and `InputError` for data that are not the study's.

    >>> import torch
    >>> import lrp_core as lc
    >>> parts = (lc.Split(torch.rand(n, 20), torch.arange(n) % 3) for n in (90, 30, 30))
    >>> data = lc.Dataset("mine", ("a", "b", "c"), *parts)
    >>> study = lc.preset("quick", data, architecture="softmax", rank_images=60, keeps=(5, 10), seeds=(0,))
    >>> result = lc.run(study, data=data, jobs=1)
    >>> sorted(set(result.trials["keep"]))
    [5, 10, 20]
    """
    if isinstance(study, str):
        if data is None:
            raise InputError(f"the preset {study!r} is for a data set: give data=")
        study = preset(study, data)
    elif data is not None:
        study = study.on(data)
    ledger = ledger or Ledger()
    with closing(run_study(study, ledger, **options)) as steps:
        for step in steps:
            if on_trial:
                on_trial(*step)
    return StudyResult(study, ledger)
