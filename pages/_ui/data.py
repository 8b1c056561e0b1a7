"""What the pages ask of the core, remembered. Every cached function takes all that its answer depends on.

The core's modules that import torch are imported inside: a page paints its frame before that takes its seconds.
"""

from __future__ import annotations

import gc
import io
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from lrp_core.study.ledger import Ledger, Run

if TYPE_CHECKING:
    from lrp_core.evaluation import McNemar, Scatter
    from lrp_core.study import Study
    from lrp_core.study.results import Headline, Recommendation
    from lrp_core.views.study import ImageExplanation, Threshold

CONTROLS = {
    "random": "pixels in random order: a ranking has to beat this",
    "variance": "pixels that vary most over the training images first",
    "centre": "pixels nearest to the centre first",
    "smooth-random": "random, but in smooth patches",
    "non-constant": "pixels that vary at all before those that never do",
    "anova-f": "pixels that differ most between the classes first, by the F statistic",
    "mutual-information": "pixels that say most about the class by themselves first",
    "extra-trees": "by their importance to extremely randomised trees",
    "weight": "by the size of the first layer's weights",
    "gradient": "by the gradient of what is explained",
    "gradient-x-input": "by gradient times pixel",
    "integrated-gradients": "by gradients integrated from a black image on",
}
"""Criteria that are no rules of LRP, and what they are."""


def is_warm() -> bool:
    """Whether the numerics are loaded already, so that nothing below takes seconds."""
    return "lrp_core.views.study" in sys.modules


def warm_up() -> None:
    """Load the numerics: seconds, once for each server.

    Streamlit collects garbage after every run of a script and of a fragment, and going through all that torch
    brings along takes a fifth of a second each time. None of it is garbage, so the collector need not look again.
    """
    from lrp_core.views import study as views  # noqa: F401

    gc.collect()
    gc.freeze()


def start_quick_study(ledger: Ledger) -> None:
    """Start the study that a first visitor finds; nothing happens if it is running already."""
    from lrp_core.data import load_dataset
    from lrp_core.study import preset
    from lrp_core.study.launch import start_study

    start_study(preset("quick", load_dataset("mnist")), ledger, name="quick")


def study_of(run: Run) -> Study:
    """The study that a run is of."""
    from lrp_core.study import Study

    return Study.from_values(run.spec)


def resume(run: Run, ledger: Ledger) -> None:
    """Go on with a run that stopped, in a process of its own."""
    from lrp_core.study.launch import start_export, start_study

    if run.kind == "export":
        start_export(run.id, run.spec, ledger)
    else:
        start_study(study_of(run), ledger, name=run.name)


def log_tail(ledger: Ledger, run: Run, lines: int = 20) -> str:
    """The last lines that the run's process said, or nothing."""
    from lrp_core.study.launch import log_path

    path = log_path(ledger, run.id)
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def facts(study: Study) -> tuple[int, tuple[int, ...], tuple[str, ...]]:
    """Number of inputs, shape of one input, names of the classes."""
    from lrp_core.data import load_dataset

    found = load_dataset(study.dataset, study.root)
    return found.n_inputs, tuple(found.shape), tuple(found.classes)


@st.cache_data(max_entries=16, show_spinner=False)
def trials(study: Study, folder: Path, updated: float) -> pd.DataFrame:
    """Every finished trial; `updated` is when the run last wrote, so that a running study is read again."""
    from lrp_core.views import study as views

    return views.study_trials(study, Ledger(folder))


@st.cache_data(max_entries=16, show_spinner=False)
def curve(study: Study, folder: Path, updated: float, part: str = "validation") -> pd.DataFrame:
    """The accuracy curve of everything that is finished."""
    from lrp_core.study import results

    return results.curve(trials(study, folder, updated), facts(study)[0], part)


def curves(table: pd.DataFrame, methods: tuple[str, ...], mode: str) -> dict[str, pd.DataFrame]:
    """One curve for each method that has points, from no pixel removed on."""
    from lrp_core.study import results

    measured = set(table["method"]) if len(table) else set()
    return {name: results.with_baseline(table, name, mode) for name in methods if name in measured}


def headline(study: Study, folder: Path, updated: float, method: str, margin: float) -> Headline | None:
    """What the study found, in one row; None while there is nothing to say. `margin` is in points of accuracy."""
    from lrp_core.study import results

    parts = (curve(study, folder, updated, part) for part in ("validation", "test"))
    return results.headline_from(*parts, facts(study)[0], method, margin / 100)


def recommendation(
    study: Study, folder: Path, updated: float, method: str, mode: str | None, margin: float
) -> Recommendation | None:
    """The recommended threshold; None before there is a pair to compare. `margin` is in points of accuracy."""
    from lrp_core.study import results

    table = curve(study, folder, updated)
    return results.recommend_from(table, facts(study)[0], method, mode=mode, margin=margin / 100)


def nearest_keep(table: pd.DataFrame, method: str, mode: str, keep: int) -> int | None:
    """The measured number of pixels nearest to `keep`; None before there is one."""
    from lrp_core.study import results

    return results.nearest_keep(table, method, mode, keep) if len(table) else None


@st.cache_data(max_entries=256, show_spinner=False)
def against_baseline(
    study: Study, folder: Path, updated: float, method: str, mode: str, keep: int, seed: int
) -> McNemar | None:
    """The smaller network against the full one of the same seed on the validation images; None if one is not there."""
    from lrp_core.study import results

    return results.against_baseline(trials(study, folder, updated), method, mode, keep, seed)


@st.cache_data(max_entries=64, show_spinner=False)
def scatter(study: Study, folder: Path, updated: float, method: str, mode: str, keep: int) -> Scatter | None:
    """How much of the scatter is the mask's; None unless masks were crossed with seeds."""
    from lrp_core.study import results

    return results.scatter_at(trials(study, folder, updated), method, mode, keep)


def is_ready(study: Study, seed: int, folder: Path) -> bool:
    """Whether the network of a seed is trained; asking for its relevance before would train it here."""
    from lrp_core.views import study as views

    return views.baseline_is_ready(study, seed, Ledger(folder))


def ranking_is_ready(study: Study, method: str, keep: int, seed: int) -> bool:
    """Whether the ranking of a seed is cached, so that showing what follows from it takes no time."""
    from lrp_core.views import study as views

    return views.ranking_is_ready(study, method, keep, seed)


def rank(study: Study, method: str, keep: int, seed: int) -> None:
    """Have a ranking computed and cached: up to minutes."""
    from lrp_core.views import study as views

    views.study_ranking(study, method, keep, seed)


def mask_seed(study: Study, seed: int) -> int:
    """The seed of the network that the mask shown for `seed` comes from."""
    return study.mask_seeds[0] if study.mask_seeds else seed


def explains(study: Study) -> tuple[str, ...]:
    """The study's methods that rank by relevance, in its order."""
    return tuple(name for name in study.methods if name.split(", ")[0] not in CONTROLS) or study.methods


def keep_for(removed: int, n_inputs: int) -> int:
    """How many inputs stay when `removed` percent of them go."""
    from lrp_core.ranking import keep_for_share

    return keep_for_share(removed / 100, n_inputs)


def removed_for(keep: int, n_inputs: int) -> int:
    """Where the slider has to stand for `keep` inputs, or as few more as whole per cent allow."""
    from lrp_core.views import study as views

    return views.percent_removed(keep, n_inputs)


def threshold(study: Study, table: pd.DataFrame, method: str, mode: Any, keep: int, seed: int) -> Threshold:
    """Mask, cost and expected accuracy at a keep. The core remembers what takes time."""
    from lrp_core.views import study as views

    return views.threshold(study, table, method=method, mode=mode, keep=keep, seed=seed)


@st.cache_data(max_entries=8, show_spinner=False)
def mean_image(study: Study) -> np.ndarray:
    """The mean training image, [height, width]."""
    from lrp_core.views import study as views

    return views.mean_image(study)


@st.cache_data(max_entries=64, show_spinner=False)
def explanation(
    study: Study, folder: Path, seed: int, index: int, composite: str, start: str, target: int | None
) -> ImageExplanation:
    """One test image explained. `folder` is part of the key because the network lies under it."""
    from lrp_core.views import study as views

    return views.explain_image(study, seed=seed, index=index, composite=composite, start=start, target=target)


@st.cache_data(max_entries=32, show_spinner=False)
def image_indices(study: Study, label: int | None) -> list[int]:
    """Positions of the test images, all or of one class."""
    from lrp_core.views import study as views

    return list(views.image_indices(study, label))


def composites() -> tuple[str, ...]:
    """Names of the rule sets that relevance can be computed with."""
    from lrp_core.lrp import COMPOSITES

    return tuple(COMPOSITES)


def composite_text(name: str) -> str:
    """Which rule a set of rules has for which layers."""
    from lrp_core.lrp import COMPOSITES

    return str(COMPOSITES[name])


def starts() -> tuple[str, ...]:
    """What relevance can start from at the output."""
    from lrp_core.lrp import STARTS

    return tuple(STARTS)


# Exports


def export_run(
    study: Study, ledger: Ledger, method: str, keep: int, mode: str, seed: int
) -> tuple[str, dict[str, Any], Path]:
    """The id of the export run for these values, the spec that its process reads, and the folder that it writes."""

    from lrp_core.data import load_dataset
    from lrp_core.study import trial_at
    from lrp_core.views.study import export_folder

    choice: dict[str, Any] = {"method": method, "keep": keep, "mode": mode, "seed": seed}
    trial = trial_at(study, load_dataset(study.dataset, study.root), **choice)
    return f"export-{trial.key}", {"study": study.values(), **choice}, export_folder(ledger, trial)


def start_export(run: str, spec: dict, ledger: Ledger) -> bool:
    """Make an export in a process of its own; False if one is at it already."""
    from lrp_core.study.launch import start_export as start

    return start(run, spec, ledger)


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a finished export. Raises `StorageError` if it cannot be read."""
    from lrp_core.study import export as exports

    return exports.read_card(folder)


def zipped(folder: Path, readme: str) -> bytes:
    """The export as one zip file: weights, card, and how to use them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"small-network/{file.name}")
        archive.writestr("small-network/README.txt", readme)
    return buffer.getvalue()
