"""The whole path, top to bottom: data, network, relevance, ranking, masks, smaller networks, what they are worth.

A *trial* is one small network: ranking, keep, mode, seed -> accuracy, confidence, cost. A *study* is a
grid of trials with the unpruned baseline and the controls. A trial is described by plain values alone, and
everything follows from them; so trials run in any process and any order, and none is run twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ..data import Dataset
from ..errors import StorageError
from ..evaluation import measure_cost, pack
from ..pruning import PrunedNetwork, build_pruned, load_network, prune_inputs, save_network
from ..training import Evaluation, NumberEvaluation, evaluate, fit, one_thread
from .describe import Study, plan
from .ledger import Ledger
from .results import INPUT_COST, baseline_mode
from .stages import base_data, base_network, prepare_base, prepare_ranking, ranking_of, training_split, trim_cache
from .trials import Base, RankingSpec, Trial, key_of
from .turns import Turn
from .workers import check_backend, claimed, open_pool

log = logging.getLogger(__name__)

Stage = tuple[str, Callable[[Any], Any], dict[str, Any]]

TRIALS = "trials"
"""The stage in which the smaller networks are trained."""

M = TypeVar("M", bound=nn.Module)


def run_study(
    study: Study,
    ledger: Ledger | None = None,
    *,
    name: str = "study",
    jobs: int | None = None,
    backend: str = "loky",
    scheduler: str | None = None,
    fall_back: bool = False,
    turn: Turn | None = None,
) -> Generator[tuple[int, int, Trial], None, None]:
    """Run what the ledger does not hold yet; yields (done, total, trial) as each trial finishes.

    Every trial is recorded the moment it is there, so a run that is killed goes on where it was. Processes that run
    the same study, or two with trials in common, share the work; each yields all of its trials, whoever ran them.

    The backend "loky" has up to `jobs` processes of one thread each (default: as many as may train at once), "dask" the
    workers of `scheduler`, an address; `fall_back`: the processes of this machine if the scheduler does not answer.
    Processes of this machine take turns with other work on the same cache folder; `turn` is a place in that line that
    the caller has already. Raises
    `InputError` for a study that does not fit its data or a backend that cannot be, `Cancelled` on request.
    """
    check_backend(backend, jobs=jobs, scheduler=scheduler)
    data = study.data()
    trials = {trial.key: trial for trial in plan(study, data)}
    options = {"backend": backend, "jobs": jobs, "scheduler": scheduler, "fall_back": fall_back, "turn": turn}
    return _steps(study, ledger or Ledger(), name, data, trials, options)


def _steps(
    study: Study, ledger: Ledger, name: str, data: Dataset, trials: dict[str, Trial], options: dict[str, Any]
) -> Generator[tuple[int, int, Trial], None, None]:
    """What `run_study` yields, after everything was checked."""
    with (
        ExitStack() as stack,
        ledger.running(study.key, "study", name, study.values(), len(trials), share=True) as holder,
    ):
        recorded = ledger.recorded(list(trials))
        left = {key: trial for key, trial in trials.items() if key not in recorded}
        done = len(trials) - len(left)
        ledger.report(study.key, "trials", done)
        if not left:
            return
        trim_cache(ledger.folder / "weights")
        note = partial(_note, ledger, study.key)
        options["turn"] = options["turn"] or stack.enter_context(ledger.turn(study.key, "study"))
        with open_pool(data, **options, note=note) as pool:
            for stage, prepare, needed in _stages(left, pool.jobs):
                if stage == TRIALS:
                    with closing(claimed(pool, pool.run, run_trial, needed, ledger, str(holder))) as steps:
                        for trained in steps:
                            if trained is not None:
                                key, (result, network) = trained
                                save_network(network, weights_path(ledger, trials[key]))
                                ledger.record_trial(key, trials[key].row(), result)
                            for key in sorted(ledger.recorded(list(needed)), key=list(needed).index):
                                trial = needed.pop(key)
                                done += 1
                                baselines = sum(t.ranking is None for t in needed.values())
                                ledger.report(study.key, "evaluating on all inputs" if baselines else TRIALS, done)
                                yield done, len(trials), trial
                            ledger.check_cancelled(study.key)
                    continue
                total = len(needed)
                ledger.report(study.key, f"{stage} (0 of {total})", done)
                with closing(claimed(pool, pool.prepare, prepare, needed, ledger, str(holder))) as steps:
                    for prepared in steps:
                        if prepared is None:
                            ledger.check_cancelled(study.key)
                            continue
                        ledger.release(prepared[0], str(holder))
                        del needed[prepared[0]]
                        ledger.report(study.key, f"{stage} ({total - len(needed)} of {total})", done)


def _stages(left: dict[str, Trial], at_once: int) -> list[Stage]:
    """What is to be done, in order: what trials have in common, which is computed once and cached, and the trials.

    Gives what it is, the function that does it, and its arguments by the key under which they are claimed. The first
    seed's trials by rankings that are had at once come before what takes long, so that curves begin early: before the
    other rankings, and before more networks on all inputs than are trained `at_once` (-1: all of them).
    """
    bases = list(dict.fromkeys(base for trial in left.values() for base in trial.bases))
    slow = {key for key, trial in left.items() if trial.ranking and trial.ranking.method.strategy != "one-shot"}
    seed = bases[0].seed
    early = {key: trial for key, trial in left.items() if slow and key not in slow and trial.base.seed == seed}
    late = {key: trial for key, trial in left.items() if key not in early}
    needed = {base for trial in early.values() for base in trial.bases}
    bases.sort(key=lambda base: base not in needed)
    first = max(at_once, len(needed)) if early and at_once > 0 else len(bases)
    stages: list[Stage] = []
    for part, some in ((early, bases[:first]), (late, bases[first:])):
        stages.append(("training on all inputs", prepare_base, {_stage_key(base): base for base in some}))
        stages += _preparations(part.values())
        stages.append((TRIALS, run_trial, part))
    return [stage for stage in stages if stage[2]]


def _preparations(trials: Collection[Trial]) -> list[Stage]:
    """The rankings of trials, as stages; those that improve on others come after them."""
    stages: list[tuple[str, Callable[[Any], Any], dict[Any, None]]] = []
    level = dict.fromkeys(trial.ranking for trial in trials if trial.ranking)
    levels: list[dict[RankingSpec, None]] = []
    while level:
        levels.insert(0, level)
        level = dict.fromkeys(spec.improves for spec in level if spec.improves)
    prepared: set[RankingSpec] = set()
    for level in levels:
        needed = {spec: None for spec in level if spec.improves is None or spec.improves in prepared}
        needed = {spec: None for spec in needed if spec not in prepared}
        prepared |= set(needed)
        improved = {spec.method.strategy for spec in needed if spec.improves}
        stages.append((" and ".join(sorted(improved)) or "ranking", prepare_ranking, needed))
    return [(name, prepare, {_stage_key(one): one for one in needed}) for name, prepare, needed in stages]


def _note(ledger: Ledger, run: str, message: str) -> None:
    log.warning(message)
    ledger.note(run, message)


@one_thread()
def run_trial(trial: Trial) -> tuple[dict[str, Any], nn.Module]:
    """One trial, from its description alone: what the table says of it, and the network."""
    started = time.perf_counter()
    data = base_data(trial.base)
    network, encode = make_network(trial)
    kept = network.mask.indices if isinstance(network, PrunedNetwork) else torch.arange(data.n_inputs)
    row: dict[str, Any] = {}
    for part, split in (("validation", data.validation), ("test", data.test)):
        evaluation = evaluate(network, split, encode=encode, device="cpu")
        row |= {f"{part}_{name}": value for name, value in _measured(evaluation, data).items()}
    cost = measure_cost(network)
    row |= {
        "macs": cost.macs,
        "flops": cost.flops,
        "parameters": cost.parameters,
        "bytes": cost.bytes,
        "input_bytes": cost.input_bytes,
        **({} if (spent := data.cost_of(kept)) is None else {INPUT_COST: spent}),
        "training_images": trial.base.n_train or len(data.train),
        "seconds": time.perf_counter() - started,
    }
    return row, network


def _measured(evaluation: Evaluation | NumberEvaluation, data: Dataset) -> dict[str, Any]:
    """What a trial keeps of an evaluation: its score and loss, and what only classes or only numbers have."""
    measured = {"score": evaluation.score, "loss": evaluation.loss, "images": evaluation.n}
    if isinstance(evaluation, NumberEvaluation):
        assert data.target is not None, "only numbers are evaluated so"
        return measured | {"absolute_error": evaluation.mae * data.target.scale}
    return measured | {
        "confidence": evaluation.confidence,
        "per_class": list(evaluation.per_class),
        "correct": pack(evaluation.correct),
    }


def make_network(trial: Trial) -> tuple[nn.Module, Any]:
    """The trial's network, and what turns images into its input (None: nothing)."""
    base = trial.base
    full = base_network(base)
    if trial.ranking is None:
        return (full if trial.mode == "none" else _trained(full, trial)), None
    mask = ranking_of(trial.ranking).mask(trial.keep)
    if trial.mode == "none":
        small = prune_inputs(full, mask)
    else:
        start = build_pruned(full.spec, mask, seed=base.seed) if trial.mode == "scratch" else prune_inputs(full, mask)
        small = _trained(start, trial)
    return small, small.encode


def _trained(network: M, trial: Trial) -> M:
    """A network trained as its trial says, on the kept inputs if it is a smaller one."""
    base = trial.base
    return fit(
        network,
        training_split(base),
        recipe=trial.retrain,
        seed=base.seed,
        encode=network.encode if isinstance(network, PrunedNetwork) else None,
        device="cpu",
        validation=base_data(base).validation,
    )


def weights_path(ledger: Ledger, trial: Trial) -> Path:
    """Where the network of a finished trial lies."""
    return ledger.folder / "weights" / f"{trial.key}.safetensors"


def trial_network(trial: Trial, ledger: Ledger) -> nn.Module:
    """The network of a trial: read if it is there and whole, else made again and recorded."""
    path = weights_path(ledger, trial)
    if path.exists() and trial.key in ledger.recorded([trial.key]):
        try:
            return load_network(path)
        except StorageError:
            path.unlink(missing_ok=True)
    result, network = run_trial(trial)
    save_network(network, path)
    ledger.record_trial(trial.key, trial.row(), result)
    return network


def full_network_of(trial: Trial, ledger: Ledger) -> nn.Module:
    """The network on all inputs that a trial is compared with: of its seed, and fine-tuned where the trial is."""
    if baseline_mode(trial.mode) == "none":
        full: nn.Module = base_network(trial.base)
        return full
    n_groups = base_data(trial.base).n_groups
    return trial_network(Trial(trial.base, n_groups, trial.mode, retrain=trial.retrain), ledger)


def _stage_key(stage: Base | RankingSpec) -> str:
    """Under which a network on all inputs, or a ranking, is claimed."""
    return f"{type(stage).__name__}:{key_of(stage, without='root')}"
