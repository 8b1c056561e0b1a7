"""What each command does: parse nothing, print nothing, call the core, and answer."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import StorageError
from .line import announced, in_line, stopped_on_request
from .shared import (
    Answer,
    asked_data,
    asked_recipe,
    asked_root,
    check_suffix,
    keep_for,
    progress_bar,
)

if TYPE_CHECKING:
    import pandas as pd

    from ..study import Study
    from ..study.ledger import Ledger
    from ..study.turns import Turn


def train(arguments: argparse.Namespace) -> Answer:
    from ..evaluation import measure_cost, r2_interval, wilson_interval
    from ..models import build_model
    from ..pruning.files import save_network
    from ..seeds import check_seed
    from ..training import evaluate, fit, recipe_for

    check_seed(arguments.seed)
    check_suffix(arguments.output, ".safetensors")
    data = asked_data(arguments)
    if arguments.output is not None and arguments.output.exists() and not arguments.overwrite:
        raise StorageError(f"{arguments.output} exists already: choose another file, or say --overwrite")
    recipe = recipe_for(arguments.model, precision=arguments.precision, **asked_recipe(arguments))
    split = data.train if arguments.train_images is None else data.train.sample(arguments.train_images)
    network = build_model(arguments.model, data, seed=arguments.seed)
    losses: list[float] = []
    with progress_bar("training", recipe.epochs, "epoch") as advance:

        def note(_: int, loss: float) -> None:
            losses.append(loss)
            advance(f"loss {loss:.4f}")

        network = fit(
            network,
            split,
            recipe=recipe,
            seed=arguments.seed,
            device=arguments.device,
            on_epoch=note,
            validation=data.validation,
        )
    evaluations = {part: evaluate(network, getattr(data, part)) for part in ("validation", "test")}
    test, score = evaluations["test"], data.words.score
    if data.target is None:
        interval, more = wilson_interval(int(test.correct.sum()), test.n), {"test_confidence": test.confidence}
    else:
        interval = r2_interval(test.errors, data.test.labels.double().numpy())
        more = {"test_absolute_error": test.mae * data.target.scale}
    key = "accuracy" if data.target is None else "r2"
    if arguments.output is not None:
        save_network(network, arguments.output)
    cost = measure_cost(network)
    values = {
        "model": arguments.model,
        "dataset": data.name,
        "seed": arguments.seed,
        "training": asdict(recipe),
        "training_images": len(split),
        "epochs_run": len(losses),
        f"validation_{key}": evaluations["validation"].score,
        f"test_{key}": test.score,
        "test_interval_95": [interval.low, interval.high],
        "test_loss": test.loss,
        **more,
        "macs": cost.macs,
        "parameters": cost.parameters,
        "bytes": cost.bytes,
        "output": str(arguments.output) if arguments.output else None,
    }
    thing = "image" if len(data.shape) == 3 else "row"
    text = (
        f"{arguments.model} on {data.name}, {len(split):,} {thing}s, {len(losses)} epochs, seed {arguments.seed}\n"
        f"  {f'validation {score}':<19}  {evaluations['validation'].score:.2%}\n"
        f"  {f'test {score}':<19}  {_percent(interval)}\n"
        f"  cost of one {thing}    {cost.macs:,} MACs, {cost.parameters:,} parameters, {cost.bytes:,} bytes of weights"
    )
    return Answer(values, text + (f"\n  written to {arguments.output}" if arguments.output else ""))


def study(arguments: argparse.Namespace) -> Answer:
    from ..study.ledger import Ledger

    ledger = Ledger()
    if arguments.resume:
        return _go_on(arguments.resume, ledger, arguments)
    chosen = asked_study(arguments)
    from ..study import plan
    from ..study.workers import check_backend

    check_backend(arguments.backend, jobs=arguments.jobs, scheduler=arguments.scheduler)
    total = len(plan(chosen, chosen.data()))
    ledger.announce(chosen.key, "study", arguments.preset, chosen.values(), total=total, take_over=True)
    return _go_on(chosen.key, ledger, arguments, chosen)


def asked_study(arguments: argparse.Namespace) -> Study:
    """The study that the words of the command ask for."""
    from ..study import preset

    data = asked_data(arguments)
    keeps = tuple(keep_for(percent, data) for percent in arguments.removed or ())
    chosen = preset(
        arguments.preset,
        data,
        root=asked_root(arguments),
        n_train=arguments.train_images,
        architecture=arguments.model,
        criteria=_tuple(arguments.criteria),
        strategies=_tuple(arguments.strategies),
        keeps=(_tuple(arguments.keeps) or ()) + keeps or None,
        modes=_tuple(arguments.modes),
        seeds=_tuple(arguments.seeds),
        mask_seeds=_tuple(arguments.mask_seeds),
        statistic=arguments.statistic,
        start=arguments.start,
        fewest=arguments.fewest,
        rank_images=arguments.images,
        retrain_epochs=arguments.retrain_epochs,
        precision=arguments.precision,
        **asked_recipe(arguments),
        resplit=arguments.resplit,
    )
    if chosen.resplit:
        few = "" if arguments.resplit else "there are fewer rows than inputs: "
        note = f"{few}each of {len(chosen.seeds)} seeds draws its own split of the rows (--no-resplit keeps the one)"
        arguments.notes = (*getattr(arguments, "notes", ()), note)
    return chosen


def _go_on(run: str, ledger: Ledger, arguments: argparse.Namespace, chosen: Study | None = None) -> Answer:
    """Run a study that is in the ledger, when its turn has come: until then nothing more is loaded."""
    from ..study.tickets import places

    with announced(ledger, run, "study") as entry, ExitStack() as stack:
        turn = None
        if arguments.backend == "dask":  # which trains elsewhere
            stack.enter_context(stopped_on_request(ledger, run))
        else:
            n, since = min(arguments.jobs or places(), places()), entry.started if entry.is_active else None
            turn = stack.enter_context(in_line(ledger, run, "study", wants=n, since=since))
        from ..study import Study

        return _run_study(chosen or Study.from_values(entry.spec), ledger, entry.name, arguments, turn)


def _run_study(study: Study, ledger: Ledger, name: str, arguments: argparse.Namespace, turn: Turn | None) -> Answer:
    from ..study import plan, run_study
    from ..study.results import curve, recommend
    from ..views import write_when_due
    from ..views.study import study_trials

    data, write_summary = study.data(), write_when_due(study, ledger)
    steps = run_study(
        study,
        ledger,
        name=name,
        jobs=arguments.jobs,
        backend=arguments.backend,
        scheduler=arguments.scheduler,
        fall_back=arguments.fall_back,
        turn=turn,
    )
    with progress_bar("study", len(plan(study, data)), "trial") as advance, closing(steps):
        for done, _, trial in steps:
            advance(f"{trial.method} {trial.keep}", done)
            write_summary()
    write_summary(now=True)
    trials = study_trials(study, ledger)
    tables = {part: curve(trials, data.n_groups, part) for part in ("validation", "test")}
    recommended = {
        name: recommend(trials, data.n_groups, name, margin=arguments.margin / 100, words=data.words)
        for name in study.methods
    }
    sentences = {
        name: recommendation.sentence for name, recommendation in recommended.items() if recommendation is not None
    }
    values = {
        "study": study.key,
        "spec": study.values(),
        "trials": len(trials),
        **{part: json.loads(table.to_json(orient="records")) for part, table in tables.items()},
        "recommended": {
            name: {
                "keep": None if recommendation.row is None else int(recommendation.row["keep"]),
                "sentence": recommendation.sentence,
            }
            for name, recommendation in recommended.items()
            if recommendation is not None
        },
    }
    advice = "\n".join(f"{name}: {sentence}" for name, sentence in sentences.items())
    return Answer(values, f"study {study.key}: {len(trials)} trials\n{_curve_text(tables)}\n\n{advice}")


def _curve_text(tables: dict[str, pd.DataFrame]) -> str:
    """The curve as a person reads it: shares in per cent, intervals in points."""
    test = tables["test"]
    table = tables["validation"][["method", "mode", "keep", "removed", "seeds", "score"]].copy()
    table["method"] = table["method"].replace("none", "all inputs")
    table["test"] = test["score"]
    table["interval"] = (test["high"] - test["low"]) / 2
    table["difference"] = test["difference"]
    table["around"] = (test["difference_high"] - test["difference_low"]) / 2
    table["macs"] = test["macs"]
    names = ["ranked by", "mode", "kept", "removed", "seeds", "validation", "test", "+- 95 %", "paired", "+-", "MACs"]
    if "input_cost" in test:
        table["input_cost"] = test["input_cost"]
        names.append("cost")
    table = table.set_axis(names, axis=1)
    percent = "{:.2%}".format
    return table.to_string(
        index=False,
        na_rep="-",
        formatters={
            "removed": "{:.1%}".format,
            "validation": percent,
            "test": percent,
            "+- 95 %": percent,
            "paired": "{:+.2%}".format,
            "+-": percent,
            "MACs": "{:,.0f}".format,
            "cost": "{:,.4g}".format,
        },
    )


def info(arguments: argparse.Namespace) -> Answer:
    from importlib.metadata import version

    from .. import __version__
    from ..data import DATASETS, READERS
    from ..evaluation import FILLS, RANKINGS, SCOPES
    from ..lrp import COMPOSITES, STARTS
    from ..models import ARCHITECTURES
    from ..ranking import CRITERIA, STATISTICS, STRATEGIES
    from ..storage import cache_dir
    from ..study import MODES, PRESETS
    from ..study.ledger import Ledger
    from ..training import pick_device

    cache = cache_dir()
    values: dict[str, Any] = {
        "version": __version__,
        "versions": {name: version(name) for name in ("torch", "torchvision", "streamlit", "numpy", "pandas")},
        "device": str(pick_device()),
        "cores": os.cpu_count(),
        "cache": {"folder": str(cache), "bytes": sum(f.stat().st_size for f in cache.rglob("*") if f.is_file())},
        "data sets": list(DATASETS),
        "files": {name: reader.says for name, reader in READERS.items()},
        "models": list(ARCHITECTURES),
        "composites": list(COMPOSITES),
        "starts": list(STARTS),
        "criteria": list(CRITERIA),
        "strategies": list(STRATEGIES),
        "statistics": list(STATISTICS),
        "modes": list(MODES),
        "presets": list(PRESETS),
        "controls": [name for name, one in CRITERIA.items() if one.is_control],
        "rankings": list(RANKINGS),
        "scopes": list(SCOPES),
        "fills": list(FILLS),
        "runs": [
            {"id": r.id, "name": r.name, "state": r.state, "done": r.done, "total": r.total} for r in Ledger().runs()
        ],
    }
    lines = [
        f"lrp_core {__version__}; " + ", ".join(f"{name} {v}" for name, v in values["versions"].items()),
        f"device      {values['device']}, {values['cores']} cores",
        f"cache       {cache} ({values['cache']['bytes'] / 1e6:.0f} MB)",
    ]
    shown = ("data sets", "files", "models", "composites", "starts", "criteria", "strategies", "statistics")
    names = (*shown, "modes", "presets", "controls", "rankings", "scopes", "fills")
    lines += [f"{name:<11} {', '.join(values[name])}" for name in names]
    lines += [f"run         {r['id']}  {r['name']}: {r['state']}, {r['done']} of {r['total']}" for r in values["runs"]]
    return Answer(values, "\n".join(lines))


# What the commands share


def _tuple(values: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return tuple(values) if values else None


def _percent(interval: Any) -> str:
    return f"{interval.estimate:.2%} (95 % interval {interval.low:.2%} to {interval.high:.2%})"
