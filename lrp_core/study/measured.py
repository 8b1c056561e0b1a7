"""A study that was measured elsewhere: written to a file, its rankings taken into the cache, and repeated here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import numpy as np

from ..data import Dataset
from ..errors import InputError, LrpError, StorageError
from ..evaluation.speed import this_machine
from ..version import __version__
from .bundle import Bundle, kept_at, read_bundle
from .cache import NotStored, Result, keep, memory, only_stored
from .describe import PRESETS, Study, plan, preset
from .ledger import Ledger
from .runs import Run
from .stages import rank_inputs
from .trials import RankingSpec, Trial

REPEAT = 100
"""The seeds of a repetition are those of the study, and so much more, or a multiple of it."""

_taken: set[tuple[str, str, str]] = set()


def write_bundle(study: Study, ledger: Ledger, path: Path, *, command: str = "") -> int:
    """Write a finished study to one file, without networks; gives the file's size in bytes.

    `command` is what measured it; a preset says so by itself. Raises `InputError` for a study that is not complete
    here, `StorageError` where a ranking has left the cache or the file cannot be written.
    """
    run = ledger.run(study.key)
    if run is None or run.is_read_only or run.state != "done":
        raise InputError(f"study {study.key} has not been measured here to its end: run it first")
    data = study.data()
    study = replace(study, root=None)
    trials = {trial.key: trial for trial in plan(study, data)}
    rows = ledger.rows(list(trials))
    if missing := len(trials) - len(rows):
        raise InputError(f"{missing} of the {len(trials)} networks of study {study.key} are missing: run it again")
    rankings = {}
    for key, spec in _rankings(trials.values()):
        try:
            with only_stored():
                rankings[key] = rank_inputs(spec)
        except NotStored as error:
            raise StorageError(f"the ranking by {spec.method.name} has left the cache: run the study again") from error
    provenance = {
        "version": __version__,
        "measured": datetime.fromtimestamp(run.updated, UTC).isoformat(timespec="seconds"),
        "command": command or _command(study, data),
        "machine": this_machine(),
        **{name: version(name) for name in ("torch", "numpy")},
        "python": python_version(),
        "seconds": round(run.seconds, 1),
        "dataset": study.dataset,
        "digest": data.digest,
    }
    bundle = Bundle(study.key, run.name, study.values(), run.started, run.seconds, provenance, rows, rankings)
    return bundle.save(path)


def adopt_rankings(run: Run, ledger: Ledger) -> int:
    """Have the rankings of an adopted study in the cache; gives how many of them were put there.

    Networks are not needed for it. Asking again costs next to nothing. Raises `StorageError` if the file of the study
    is no longer kept, or does not hold what the study plans.
    """
    token = (str(kept_at(ledger, run.id)), memory().location, str(run.provenance.get("sha256")))
    if token in _taken:
        return 0
    study = Study.from_values(run.spec)
    data = study.data()
    missing = {key: spec for key, spec in _rankings(plan(study, data)) if not rank_inputs.is_stored(spec)}
    if missing:
        found = read_bundle(kept_at(ledger, run.id)).rankings
        for key, spec in missing.items():
            if key not in found or len(found[key][0]) != data.n_groups:
                raise StorageError(f"{kept_at(ledger, run.id)} has no ranking by {spec.method.name} of these data")
        keep(Result(rank_inputs, spec, tuple(map(np.array, found[key]))) for key, spec in missing.items())
    _taken.add(token)
    return len(missing)


def repeat_of(study: Study) -> Study:
    """The same study with seeds that it does not have, so that nothing of it counts as done: a replication.

    >>> repeat_of(Study(keeps=(5,), seeds=(0, 1, 2))).seeds
    (100, 101, 102)
    """
    used = (*study.seeds, *study.mask_seeds)
    shift = REPEAT * math.ceil((max(used) - min(used) + 1) / REPEAT)
    seeds, mask_seeds = (tuple(seed + shift for seed in seeds) for seeds in (study.seeds, study.mask_seeds))
    return replace(study, seeds=seeds, mask_seeds=mask_seeds)


def _rankings(trials: Iterable[Trial]) -> Iterator[tuple[str, RankingSpec]]:
    """Every ranking that trials need, once, under the key that the cache knows it by."""
    for spec in dict.fromkeys(trial.ranking.essence for trial in trials if trial.ranking is not None):
        yield rank_inputs.key(spec).rpartition(":")[2], spec


def _command(study: Study, data: Dataset) -> str:
    """What asks for the study on the command line, if it is a preset; else nothing."""
    try:
        name = next((name for name in PRESETS if preset(name, data) == study), None)
    except LrpError:
        name = None  # data that a preset is not made for
    return f"python -m lrp_core study --preset {name}" if name else ""
