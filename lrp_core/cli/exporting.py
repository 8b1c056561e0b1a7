"""The command `export`."""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import InputError, StorageError
from .line import announced, at_work, in_line
from .shared import Answer, asked_data, asked_words, keep_for, single_study

if TYPE_CHECKING:
    from ..study.export import Export
    from ..study.ledger import Ledger, Run
    from ..study.turns import Turn


def export(arguments: argparse.Namespace) -> Answer:
    from ..study.ledger import Ledger

    ledger = Ledger()
    if arguments.resume:
        with (
            announced(ledger, arguments.resume, "export") as run,
            in_line(ledger, run.id, "export", since=run.started if run.is_active else None) as turn,
        ):
            made = _export_recorded(run, ledger, turn)
    else:
        made = _export_asked(arguments, ledger)
    from ..cards import comparison_of, score_of

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


def _export_asked(arguments: argparse.Namespace, ledger: Ledger) -> Export:
    """The export that the command line asks for."""
    from ..ranking import Method
    from ..study import trial_at
    from ..study.export import export_trial

    if arguments.output is None:
        raise InputError("say where to write the export: --output FOLDER")
    if not 0 <= arguments.margin <= 100:
        raise InputError(f"--margin is points of accuracy, from 0 to 100, and not {arguments.margin:g}")
    data = asked_data(arguments)
    keep = keep_for(arguments.removed, data) if arguments.keep is None else arguments.keep
    study = replace(single_study(arguments, data), keeps=(keep,))
    method = Method(arguments.criterion, arguments.strategy).name
    trial = trial_at(study, data, method=method, keep=keep, mode=arguments.mode, seed=arguments.seed)
    with at_work(ledger, f"export-{trial.key}", "export"):
        return export_trial(
            trial,
            arguments.output,
            ledger,
            overwrite=arguments.overwrite,
            formats=arguments.formats,
            margin=arguments.margin / 100,
            measure=arguments.measure,
        )


def _own_network() -> str:
    """The argument that names the network of your own, if there is one."""
    from ..loading import NETWORK

    place = os.environ.get(NETWORK)
    return f" --network {shlex.quote(place)}" if place else ""


def _export_recorded(run: Run, ledger: Ledger, turn: Turn) -> Export:
    """The export that a page asked for."""
    from ..study import Study, trial_at
    from ..study.budgets import BudgetPlan, export_budget
    from ..study.export import export_trial
    from ..study.turns import inside
    from ..views.budgets import budget_export_folder
    from ..views.study import export_folder

    names = ("method", "keep", "mode", "seed")
    how: dict[str, Any] = {
        "overwrite": True,
        "formats": tuple(run.spec.get("formats", ("safetensors",))),
        "measure": bool(run.spec.get("measure", False)),
    }
    if {"plan", "share"} <= set(run.spec):
        plan, share = BudgetPlan.from_values(run.spec["plan"]), float(run.spec["share"])
        make = partial(export_budget, plan, share, budget_export_folder(plan, share, ledger), ledger, **how)
    elif {"study", *names} <= set(run.spec):
        study = Study.from_values(run.spec["study"])
        trial = trial_at(study, study.data(), **{name: run.spec[name] for name in names})
        make = partial(export_trial, trial, export_folder(ledger, trial), ledger, **how)
    else:
        raise StorageError("this export was asked for by another version of the program: prepare it again")
    with ledger.running(run.id, "export", run.name, run.spec, total=1) as mine:
        if not mine:
            raise StorageError("this export is being made by another process")
        turn.wait(lambda: ledger.check_cancelled(run.id))
        ledger.report(run.id, "training, writing and reading back", 0)
        with inside():
            made = make()
        ledger.report(run.id, "done", 1)
    return made
