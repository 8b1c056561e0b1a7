"""The command `export`."""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import InputError, StorageError
from .shared import Answer, announced, asked_data, asked_words, keep_for, single_study

if TYPE_CHECKING:
    from ..study.export import Export
    from ..study.ledger import Ledger, Run


def export(arguments: argparse.Namespace) -> Answer:
    from ..cards import comparison_of
    from ..ranking import Method
    from ..study import trial_at
    from ..study.export import export_trial, score_of
    from ..study.ledger import Ledger

    ledger = Ledger()
    if arguments.resume:
        with announced(ledger, arguments.resume, "export") as run:
            made = _export_recorded(run, ledger)
    else:
        if arguments.output is None:
            raise InputError("say where to write the export: --output FOLDER")
        if not 0 <= arguments.margin <= 100:
            raise InputError(f"--margin is points of accuracy, from 0 to 100, and not {arguments.margin:g}")
        data = asked_data(arguments)
        keep = keep_for(arguments.removed, data) if arguments.keep is None else arguments.keep
        study = replace(single_study(arguments, data), keeps=(keep,))
        method = Method(arguments.criterion, arguments.strategy).name
        trial = trial_at(study, data, method=method, keep=keep, mode=arguments.mode, seed=arguments.seed)
        made = export_trial(
            trial,
            arguments.output,
            ledger,
            overwrite=arguments.overwrite,
            formats=arguments.formats,
            margin=arguments.margin / 100,
        )
    lines = "".join(f"  {line}\n" for line in comparison_of(made.card))
    measured, cost = score_of(made.card), made.card["cost"]
    words = f"--dataset {measured['dataset']}" if arguments.resume else asked_words(arguments)
    low, high = measured["interval_95"]
    text = (
        f"{made.folder}: {', '.join(f'{name} ({size:,} bytes)' for name, size in made.files.items())}\n"
        f"  {len(made.card['input']['kept_pixels'])} inputs, {cost['macs']:,} MACs, {cost['parameters']:,} parameters\n"
        f"  test {measured['name']} {measured['value']:.2%} ({low:.2%} to {high:.2%}), read back and measured again\n"
        f"{lines}"
        f"  try it: python -m lrp_core predict {shlex.quote(str(made.folder))} {words} --limit 10{_own_network()}"
    )
    return Answer({"folder": str(made.folder), "files": made.files, "card": made.card}, text)


def _own_network() -> str:
    """The argument that names the network of your own, if there is one."""
    from ..loading import NETWORK

    place = os.environ.get(NETWORK)
    return f" --network {shlex.quote(place)}" if place else ""


def _export_recorded(run: Run, ledger: Ledger) -> Export:
    """The export that a page asked for."""
    from ..study import Study, trial_at
    from ..study.export import export_trial
    from ..views.study import export_folder

    names = ("method", "keep", "mode", "seed")
    if not {"study", *names} <= set(run.spec):
        raise StorageError("this export was asked for by another version of the program: prepare it again")
    choice = {name: run.spec[name] for name in names}
    study = Study.from_values(run.spec["study"])
    trial = trial_at(study, study.data(), **choice)
    formats = tuple(run.spec.get("formats", ("safetensors",)))
    with ledger.running(run.id, "export", run.name, run.spec, total=1) as mine:
        if not mine:
            raise StorageError("this export is being made by another process")
        ledger.report(run.id, "training, writing and reading back", 0)
        made = export_trial(trial, export_folder(ledger, trial), ledger, overwrite=True, formats=formats)
        ledger.report(run.id, "done", 1)
    return made
