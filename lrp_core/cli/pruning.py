"""The command `prune`: inputs and hidden units under one budget."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from ..errors import InputError, StorageError
from .line import announced, in_line
from .shared import Answer, asked_data, asked_words, progress_bar, single_study

if TYPE_CHECKING:
    from ..study.budgets import BudgetPlan, Pruned
    from ..study.ledger import Ledger, Run
    from ..study.turns import Turn


def prune_arguments(command: argparse.ArgumentParser) -> None:
    """What `prune` takes beside the data and the model."""
    command.add_argument(
        "--budgets",
        nargs="+",
        type=float,
        default=[20.0, 10.0, 5.0],
        metavar="PERCENT",
        help="per cent of the full network's MACs that may be left: one path, and a network for each",
    )
    command.add_argument("--scope", default="both", metavar="NAME", help="what may go: inputs, hidden (units), or both")
    command.add_argument(
        "--criterion", default="lrp-0", metavar="NAME", help="an LRP composite, taylor, weight-l1, weight-l2 or random"
    )
    command.add_argument(
        "--floor", type=float, default=5.0, metavar="PERCENT", help="of the width of every layer stay in any case"
    )
    command.add_argument("--rung-epochs", type=int, metavar="N", help="passes over the rows after each step down")
    command.add_argument("--final-epochs", type=int, metavar="N", help="passes over the rows at each budget")
    command.add_argument(
        "--output", metavar="FOLDER", help="write the network of the smallest budget there, as export does"
    )
    command.add_argument(
        "--formats", nargs="+", default=["safetensors"], metavar="NAME", help="what to write there, as in export"
    )
    command.add_argument("--measure", action="store_true", help="have the card say how fast both networks are here")
    command.add_argument("--overwrite", action="store_true", help="replace an earlier export in FOLDER")
    command.add_argument("--resume", metavar="ID", help=argparse.SUPPRESS)


def prune(arguments: argparse.Namespace) -> Answer:
    from ..study.ledger import Ledger

    ledger, words = Ledger(), ""
    if arguments.resume:
        plan, found = _go_on(arguments.resume, ledger)
    else:
        from ..study.budgets import plan_budgets

        data = asked_data(arguments)
        words = asked_words(arguments)
        study = single_study(argparse.Namespace(**(vars(arguments) | {"images": None, **_COMMON})), data)
        plan = plan_budgets(
            study,
            arguments.seed,
            budgets=tuple(share / 100 for share in arguments.budgets),
            scope=arguments.scope,
            criterion=arguments.criterion,
            floor=arguments.floor / 100,
            rung_epochs=arguments.rung_epochs,
            epochs=arguments.final_epochs,
        )
        name, total = f"budgets, {plan.base.dataset}", 2 + len(plan.budgets)
        ledger.announce(f"budgets-{plan.key}", "budgets", name, plan.values(), total)
        plan, found = _go_on(f"budgets-{plan.key}", ledger)
    values: dict[str, Any] = {
        "plan": plan.values(),
        "full": found.full,
        "networks": found.networks.to_dict("records"),
        "rungs": found.rungs.to_dict("records"),
        "notes": list(found.notes),
    }
    text = _table(plan, found)
    if arguments.output is not None:
        from ..study.budgets import export_budget

        made = export_budget(
            plan,
            min(plan.budgets),
            arguments.output,
            ledger,
            overwrite=arguments.overwrite,
            formats=arguments.formats,
            measure=arguments.measure,
        )
        values |= {"folder": str(made.folder), "files": made.files}
        text += f"\nwritten to {made.folder}: {', '.join(made.files)}"
        if words:
            text += f"\n  try it: python -m lrp_core predict {shlex.quote(str(made.folder))} {words} --limit 10"
    return Answer(values, text)


_COMMON = {"criterion": "lrp-0", "start": "log-odds", "statistic": "mean-square", "mode": "none"}
"""What a study needs to be told that a path does not ask."""


def _go_on(run_id: str, ledger: Ledger) -> tuple[BudgetPlan, Pruned]:
    """Make a path that is in the ledger, when its turn has come."""
    known = ledger.run(run_id)
    if known is None or known.kind != "budgets":
        raise InputError(f"there is no path {run_id!r} to go on with")
    with (
        announced(ledger, run_id, "budgets") as run,
        in_line(ledger, run_id, "budgets", since=run.started if run.is_active else None) as turn,
    ):
        from ..study.budgets import BudgetPlan

        plan = BudgetPlan.from_values(run.spec)
        return plan, _run(plan, run, ledger, turn)


def _run(plan: BudgetPlan, run: Run, ledger: Ledger, turn: Turn) -> Pruned:
    from ..study.budgets import run_budgets
    from ..study.turns import inside

    def look() -> None:
        ledger.check_cancelled(run.id)

    total = 2 + len(plan.budgets)
    with ledger.running(run.id, "budgets", run.name, plan.values(), total=total) as holder:
        if not holder:
            raise StorageError("this path is being made by another process: wait until it is done")
        turn.wait(look)
        with progress_bar("prune", total, "step") as advance, inside():

            def report(doing: str, done: int, _total: int) -> None:
                turn.go_on(look)
                ledger.report(run.id, doing, done)
                advance(doing, done)

            return run_budgets(plan, ledger, report)


def _table(plan: BudgetPlan, found: Pruned) -> str:
    full = found.full
    lines = [
        f"{plan.base.architecture} on {plan.base.dataset}, {plan.criterion} per MAC, scope {plan.scope}: "
        "validation and test score",
        f"  {'full':>7}  {full['macs']:>12,} MACs  {full['inputs']:>6,} inputs  {full['score']:7.2%}  "
        f"{full['test_score']:7.2%}",
    ]
    lines += [
        f"  {row['share']:>7.4g}  {row['macs']:>12,} MACs  {row['inputs']:>6,} inputs  {row['score']:7.2%}  "
        f"{row['test_score']:7.2%}  ({100 * (row['score'] - full['score']):+.2f} points on validation)"
        for row in found.networks.to_dict("records")
    ]
    lines += [f"  note: {note}" for note in found.notes]
    return "\n".join(lines)
