"""Making the summary of a study from its ledger, its rankings and its data."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import numpy as np
import torch

from ..data import Dataset, Split
from ..errors import LrpError
from ..ranking import Ranking, find_strategy
from ..ranking.strategies import Method
from ..study import Study, plan, results
from ..study.ledger import Ledger
from .images import as_seen
from .study import OpenedStudy
from .summary import Places, Summary, write_summary

SECONDS = 2.0
"""How often at most a summary is written while its study runs."""
N_SAMPLES = 3
MOST_NAMES = 2_000
"""Names of inputs that a summary holds; of more, pages show numbers."""


def summarise(opened: OpenedStudy) -> Summary:
    """What the study found so far. Raises `LrpError` if its data are not here."""
    study, data, trials = opened.study, opened.data, opened.trials()
    names = () if opened.drawn_as == "picture" or opened.n_groups > MOST_NAMES else opened.group_names()
    samples, sample_names = _samples(opened, data)
    return Summary(
        key=study.key,
        dataset=study.dataset,
        architecture=study.architecture,
        drawn_as=opened.drawn_as,
        shape=tuple(data.shape),
        n_groups=opened.n_groups,
        words=opened.words,
        score=opened.score,
        has_classes=data.target is None,
        methods=study.methods,
        of_relevance=opened.rankings.of_relevance(),
        modes=study.modes,
        seeds=study.seeds,
        resplit=study.resplit,
        names=tuple(names),
        done=len(trials),
        total=len(plan(study, data)),
        says=opened.rankings.says(),
        sample_names=sample_names,
        validation=results.curve(trials, opened.n_groups),
        test=results.curve(trials, opened.n_groups, "test"),
        places={name: known for name in study.methods if (known := _places(opened, name))},
        samples=samples,
    )


def write_when_due(study: Study, ledger: Ledger) -> Callable[..., None]:
    """A function to call as results arrive: it writes the summary of the study, every two seconds at most.

    Called with `now=True` it writes in any case. A summary that cannot be made is left out: results are in the ledger.
    """
    last = [0.0]

    def write(*, now: bool = False) -> None:
        if not now and time.monotonic() - last[0] < SECONDS:
            return
        with contextlib.suppress(LrpError):
            write_summary(summarise(OpenedStudy(study, ledger.folder, time.time())), ledger.folder)
        last[0] = time.monotonic()

    return write


def _places(opened: OpenedStudy, method: str) -> Places:
    """Where each input stands by a method of the study's first seed, as far as it is ranked."""
    study, rankings = opened.study, opened.rankings
    seed = study.seeds[0]
    per_keep = find_strategy(Method.named(method).strategy).per_keep
    keeps = sorted(set(study.keeps)) if per_keep else [study.keeps[0]]
    ready = [keep for keep in keeps if rankings.is_ready(method, keep, seed)]
    return tuple((keep if per_keep else 0, _place(opened, rankings.of(method, keep, seed))) for keep in ready)


def _place(opened: OpenedStudy, ranking: Ranking) -> np.ndarray:
    """The place of every input, or group, or of every pixel the best of its channels."""
    place = torch.empty_like(ranking.order)
    place[ranking.order] = torch.arange(len(ranking.order))
    if opened.drawn_as == "bars":
        return place.numpy()
    of_inputs = place[ranking.grouping.of]
    if opened.drawn_as == "picture":
        of_inputs = of_inputs.view(ranking.shape[0], -1).amin(0)
    return of_inputs.numpy()


def _samples(opened: OpenedStudy, data: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    """Three examples of different classes out of the validation data, as a person sees them, and what they are."""
    nothing = np.zeros((0, 1, 1), np.float32)
    if opened.drawn_as == "bars" or not len(data.validation):
        return nothing, ()
    rows, names = _different(data.validation, data)
    inputs = data.validation.take(torch.tensor(rows)).images
    if opened.drawn_as == "picture":
        return np.asarray(as_seen(data, inputs), np.float32), names
    values = inputs if data.scaler is None else data.scaler.restore(inputs)
    return values.float().numpy(), names


def _different(split: Split, data: Dataset) -> tuple[list[int], tuple[str, ...]]:
    """Positions of examples of classes that lie apart, and the classes' names; of numbers the first examples."""
    if data.target is not None:
        rows = list(range(min(N_SAMPLES, len(split))))
        return rows, tuple("" for _ in rows)
    known = sorted(set(split.labels.tolist()))
    chosen = sorted({known[round(share * (len(known) - 1))] for share in (0.25, 0.6, 1.0)})
    rows = [int((split.labels == label).nonzero()[0]) for label in chosen]
    return rows, tuple(data.classes[label] for label in chosen)
