"""What the page of studies needs: a study from what a person typed, and what running it would take."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from ..data import DATASETS, stored_data
from ..errors import InputError, LrpError
from ..evaluation import RANKINGS, removal_criteria
from ..lrp import COMPOSITES, STARTS
from ..models import ARCHITECTURES
from ..ranking import CRITERIA, STATISTICS, STRATEGIES, keep_for_share
from ..study import PRESETS, Study, measured, plan, preset
from ..study.estimate import START_SECONDS, TOGETHER, seconds_of_study, seconds_of_trial
from ..study.ledger import Ledger
from ..study.tickets import places
from ..training import OPTIMIZERS, PRECISIONS
from .folders import allowed_folders, check_folder

ALIKE = ["dataset", "architecture", "n_train", "epochs", "retrain_epochs", "precision", "batch_size", "patience"]
"""What a network's training time follows from, beside its mode."""

MAX_VALUES = 1000
MAX_NETWORKS = 20_000
"""More shares, seeds or networks than these in one study are a slip of the pen."""


def draft_study(shares: Sequence[float], *, allowed: Sequence[str | Path] = (), **values: Any) -> Study:
    """A study of these shares of the inputs removed; `values` are the study's other fields.

    A `root` has to lie in a folder of `allowed`, or in one that is always (`allowed_folders`). Raises `InputError` for
    a study that could not run, `StorageError` if its data are not there.
    """
    if values.get("root"):  # a real path: the process that runs it may stand in another folder
        values["root"] = str(check_folder(values["root"], allowed_folders(allowed)))
    study = Study(keeps=(1,), **values)
    data = study.data()
    study = replace(study, keeps=tuple(dict.fromkeys(keep_for_share(share, data.n_groups) for share in shares)))
    parts = (study.keeps, study.methods, study.modes, study.seeds, study.mask_seeds or (0,))
    if (networks := math.prod(len(part) for part in parts)) > MAX_NETWORKS:
        raise InputError(f"{networks:,} networks are more than the {MAX_NETWORKS:,} that one study may have")
    plan(study, data)
    return study


def preset_study(name: str, like: Study | None = None) -> Study:
    """A preset, for the data and the network of another study, or else for MNIST.

    Raises `InputError` for an unknown name.
    """
    if like is None:
        return preset(name, Study(keeps=(1,)).data())
    changes: dict[str, Any] = {"root": like.root, "architecture": like.architecture}
    if like.epochs == 0:  # a network that has learned
        changes |= {"epochs": 0, "modes": tuple(mode for mode in like.modes if mode != "scratch") or ("fine-tune",)}
    return preset(name, like.data(), **changes)


def repeat_of(study: Study) -> Study:
    """The same study with other seeds: a replication, live, of one that was measured elsewhere.

    None of its networks counts as done, since a network's seed is part of what it is.
    """
    return measured.repeat_of(study)


def write_shares(study: Study) -> str:
    """What a study removes as `read_shares` reads it: in per cent and its order, with no more digits than needed."""
    n_groups = study.data().n_groups

    def percent(keep: int) -> str:
        exact = 100 * (1 - keep / n_groups)
        rounded = (round(exact, digits) for digits in range(10))
        return f"{next(p for p in rounded if 0 < p < 100 and keep_for_share(p / 100, n_groups) == keep):.10g}"

    return " ".join(percent(keep) for keep in dict.fromkeys(study.keeps) if keep < n_groups)


def read_shares(text: str) -> tuple[float, ...]:
    """Shares from per cent as people write them: "15 30, 50" is (0.15, 0.3, 0.5).

    Raises `InputError` for nothing, for what is no number, and for what is not above 0 and below 100.
    """
    shares = []
    for word in _words(text, "a share of the inputs to remove, such as 50"):
        try:
            percent = float(word.removesuffix("%"))
        except ValueError:
            raise InputError(f"{word!r} is no number: write shares in per cent, such as 50 80 90") from None
        if not 0 < percent < 100:
            raise InputError(
                f"{word} % cannot be removed: a share must be above 0 and below 100 (the full network is always "
                "measured)"
            )
        shares.append(percent / 100)
    return tuple(dict.fromkeys(shares))


def read_seeds(text: str) -> tuple[int, ...]:
    """Seeds from text: "0 1 2" or "0, 1, 2" is (0, 1, 2). Raises `InputError` for nothing or no whole numbers."""
    words = _words(text, "a seed, such as 0")
    if bad := next((word for word in words if not re.fullmatch(r"[0-9]{1,10}", word)), None):
        raise InputError(f"{bad!r} is no seed: write whole numbers from 0 on, such as 0 1 2")
    return tuple(dict.fromkeys(int(word) for word in words))


def _words(text: str, needed: str) -> list[str]:
    words = re.split(r"[\s,;]+", text.replace(" %", "%").strip(" \t\n,;"))
    if words == [""]:
        raise InputError(f"give at least {needed}")
    if len(words) > MAX_VALUES:
        raise InputError(f"{len(words)} values are more than the {MAX_VALUES} that are allowed")
    return words


def name_study(study: Study) -> str:
    """A name made of what sets a study apart: that of its preset, or its criteria, strategies, modes and seeds."""
    data = study.data()
    for name in PRESETS:
        if preset(name, data, root=study.root) == study:
            return name
    more = len(study.criteria) - 2
    criteria = ", ".join(study.criteria[:2]) + (f" + {more}" if more > 0 else "")
    strategies = " / ".join(s for s in study.strategies if s != "one-shot")
    seeds = f"{len(study.seeds)} {'split' if study.resplit else 'seed'}" + ("s" if len(study.seeds) > 1 else "")
    masks = f" x {len(study.mask_seeds)} masks" if study.mask_seeds else ""
    return ", ".join(part for part in (criteria, strategies, " / ".join(study.modes), seeds + masks) if part)


@dataclass(frozen=True)
class Offers:
    """Everything that a page can offer a choice of, by name; a dictionary says what each one is.

    `controls` are the criteria that are no rules of LRP.
    """

    datasets: tuple[str, ...]
    architectures: tuple[str, ...]
    presets: tuple[str, ...]
    criteria: dict[str, str]
    controls: dict[str, str]
    strategies: dict[str, str]
    composites: dict[str, str]
    starts: tuple[str, ...]
    statistics: tuple[str, ...]
    precisions: tuple[str, ...]
    optimizers: tuple[str, ...]
    removal_criteria: tuple[str, ...]
    removal_rankings: tuple[str, ...]


OWN = "own:"
"""What stands before the digest of data of your own, where a data set is chosen."""


def data_choices() -> dict[str, str]:
    """What data a study can be made of, and what a person reads: the named sets, then your own that are kept here."""
    return {name: name for name in DATASETS} | {OWN + kept.digest: _label(kept) for kept in stored_data()}


def choice_of_data(study: Study) -> str:
    """How the data of a study are called among `data_choices`."""
    return OWN + study.digest if study.digest else study.dataset


def data_of_choice(choice: str) -> dict[str, str]:
    """The fields of a study for a choice among `data_choices`. Raises `InputError` for data that are gone."""
    if not choice.startswith(OWN):
        return {"dataset": choice}
    digest = choice.removeprefix(OWN)
    name = next((kept.name for kept in stored_data() if kept.digest == digest), None)
    if name is None:
        raise InputError("these data are no longer kept here: give them again")
    return {"dataset": name, "digest": digest}


def can_resplit(choice: str) -> bool:
    """Whether the data of a choice among `data_choices` can be split again, so that each seed has its own split."""
    return any(kept.can_resplit for kept in stored_data() if OWN + kept.digest == choice)


def _label(kept: Any) -> str:
    size = " x ".join(map(str, kept.shape)) + (" inputs" if len(kept.shape) == 1 else "")
    return f"{kept.name} · yours, {kept.rows:,} rows of {size}"


def offers() -> Offers:
    """What can be chosen in this process, your own criteria, strategies and networks among it."""
    return Offers(
        datasets=tuple(DATASETS),
        architectures=tuple(ARCHITECTURES),
        presets=tuple(PRESETS),
        criteria={name: criterion.says for name, criterion in CRITERIA.items()},
        controls={name: criterion.says for name, criterion in CRITERIA.items() if criterion.is_control},
        strategies={name: strategy.says for name, strategy in STRATEGIES.items()},
        composites={name: str(composite) for name, composite in COMPOSITES.items()},
        starts=tuple(STARTS),
        statistics=tuple(STATISTICS),
        precisions=tuple(PRECISIONS),
        optimizers=OPTIMIZERS,
        removal_criteria=removal_criteria(),
        removal_rankings=tuple(RANKINGS),
    )


@dataclass(frozen=True)
class Outlook:
    """What running a study would take: `there` of `total` networks are in the ledger.

    `seconds` estimates everything that is left on `cores` cores: start, networks, rankings and smaller networks. It
    goes by a moment of training on this machine, set right by `timed` networks of this architecture that were trained
    here, alike or, if not `is_alike`, with other settings. None for a network of your own that is not known here.
    """

    total: int
    there: int
    seconds: float | None
    timed: int
    is_alike: bool
    cores: int

    @property
    def basis(self) -> str:
        """What the estimate goes by, as the end of a sentence."""
        if not self.timed:
            return "a moment of training on this machine"
        return f"{self.timed} networks " + ("trained alike" if self.is_alike else "trained with other settings")


def outlook(study: Study, ledger: Ledger, timings: pd.DataFrame) -> Outlook:
    """What running a study would take, from what is in the ledger and the cache, and the `timings` of what is."""
    trials = plan(study, study.data())
    there = ledger.recorded([trial.key for trial in trials])
    todo = [trial for trial in trials if trial.key not in there]
    pool = timings[timings["architecture"] == study.architecture]
    own = {name: getattr(study, name) for name in ALIKE}
    alike = pool[[all(row[name] == own[name] for name in ALIKE) for row in pool.to_dict("records")]]
    is_alike = not alike.empty
    pool = alike if is_alike else pool
    cores = places()
    try:
        factor = float((pool["seconds"] / pool["expected"]).median()) if len(pool) else TOGETHER
        seconds = seconds_of_study(todo, cores, factor)
    except LrpError:
        seconds = None
    return Outlook(len(trials), len(there), seconds, len(pool), is_alike, cores)


def seconds_left(study: Study, ledger: Ledger) -> float | None:
    """How long a study that is running still takes, whatever stage it is in; None where that cannot be told.

    What is in the ledger and in the cache is done; of a piece that is at work nothing is yet.
    """
    found = outlook(study, ledger, measured_timings(ledger)).seconds
    return found and max(0.0, found - START_SECONDS)


def measured_timings(ledger: Ledger) -> pd.DataFrame:
    """Seconds that each smaller network of every study that ran here took: the columns `ALIKE`, mode and seconds.

    `expected` are those that a moment of training on this machine tells.
    """
    # They hardly change while a study runs: they are read again when one was started or ended.
    return _timings(ledger.folder, tuple((run.id, run.state) for run in ledger.runs("study") if not run.is_read_only))


@lru_cache(maxsize=4)
def _timings(folder: Path, runs: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    ledger = Ledger(folder)
    columns = [*ALIKE, "mode", "seconds", "expected"]
    timings = []
    for run in ledger.runs("study"):
        if run.is_read_only:
            continue  # another machine was as fast as it was
        try:
            study = Study.from_values(run.spec)
            trials = {trial.key: trial for trial in plan(study, study.data()) if trial.ranking is not None}
            expected = {trial.key: seconds_of_trial(trial) for trial in trials.values()}
        except (LrpError, TypeError):
            continue  # of another version, or its data or its network are gone
        own = {name: getattr(study, name) for name in ALIKE}
        timings += [
            own | {"mode": spec["mode"], "seconds": result["seconds"], "expected": expected[key]}
            for key, spec, result, _ in ledger.rows(list(trials))
        ]
    # As objects, so that None, a recipe's own value, stays what it is beside numbers.
    types = {"mode": str, "seconds": float, "expected": float}
    return pd.DataFrame(timings, columns=columns, dtype=object).astype(types)
