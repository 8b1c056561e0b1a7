"""The command that repeats a study, from the values that it has."""

from __future__ import annotations

import shlex
from typing import Any

from ..data import Dataset
from ..loading import NetworkFrom
from ..models import ARCHITECTURES
from ..ranking import CRITERIA, STRATEGIES
from ..study import Study

PLACE = "DATA"
"""Stands for the place of data of your own, which a study does not know: they are kept by their content."""

_OPTIONS = {
    "statistic": "--statistic",
    "start": "--start",
    "fewest": "--fewest",
    "precision": "--precision",
    "optimizer": "--optimizer",
    "batch_size": "--batch-size",
    "lr": "--lr",
    "patience": "--patience",
    "epochs": "--epochs",
    "retrain_epochs": "--retrain-epochs",
    "n_train": "--train-images",
    "rank_images": "--images",
}


def command_of(study: Study) -> str:
    """`python -m lrp_core study ...` for the same study: its words are read as a study of the same key.

    The preset *full* leaves what it does not name at the defaults of a study, so only what differs is said beside what
    a reader wants to see. Data of your own are called `PLACE`; `missing` says what a person has to add.

    >>> command_of(Study(keeps=(100, 400), seeds=(0,), epochs=3))  # doctest: +ELLIPSIS
    'python -m lrp_core study --dataset mnist --preset full --model mlp-300-100 --criteria lrp-0 random variance ...'
    """
    words = ["python", "-m", "lrp_core", "study"]
    words += ["--data", PLACE] if study.digest else ["--dataset", study.dataset]
    words += ["--data-root", study.root] if study.root is not None else []
    words += ["--preset", "full", *_network(study.architecture)]
    for name in ("criteria", "strategies", "keeps", "modes", "seeds"):
        words += [f"--{name}", *map(str, getattr(study, name))]
    words += ["--mask-seeds", *map(str, study.mask_seeds)] if study.mask_seeds else []
    for name, option in _OPTIONS.items():
        value = getattr(study, name)
        if value != getattr(Study, name):
            words += [option, str(value)]
    if study.resplit:
        words.append("--resplit")
    elif study.digest:  # few rows would be split again
        words.append("--no-resplit")
    return shlex.join(words)


def missing(study: Study, data: Dataset) -> str:
    """What a person has to put into the command, or to have beside it; empty if it runs as it is."""
    said = []
    if study.digest:
        said.append(
            f"{PLACE} stands for the file or folder that the data “{study.dataset}” were read from, with the options "
            f"that it was read with; the digest of the data must be {data.digest}."
        )
    own = [name for name in study.criteria if not CRITERIA.is_built_in(name)]
    own += [name for name in study.strategies if not STRATEGIES.is_built_in(name)]
    if not ARCHITECTURES.is_built_in(study.architecture) and not isinstance(_builder(study), NetworkFrom):
        own.append(study.architecture)
    if own:
        said.append(f"LRP_PLUGINS must name the files that register {', '.join(own)}.")
    return " ".join(said)


def _network(architecture: str) -> list[str]:
    """The words that ask for a network."""
    builder = ARCHITECTURES.get(architecture)
    if not isinstance(builder, NetworkFrom):
        return ["--model", architecture]
    return ["--network", builder.place, *(["--weights", builder.weights] if builder.weights else [])]


def _builder(study: Study) -> Any:
    return ARCHITECTURES.get(study.architecture)
