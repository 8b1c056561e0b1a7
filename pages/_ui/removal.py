"""What the page on feature removal asks of the core, remembered; imports that bring torch along stay inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

if TYPE_CHECKING:
    from lrp_core.evaluation import Removal
    from lrp_core.study import Study
    from lrp_core.views.removal import MeasuredCurves, MeasuredRemoval, Picture, RemovedPicture

SHARE = 15
"""Percent of the pixels that are removed until someone moves the slider: the paper's."""

SCOPES = {"all": "all pixels", "active": "those often lit", "lit": "those lit in the image"}
FILLS = {"zero": "zero", "mean": "mean", "noise": "noise", "blur": "blur", "road": "ROAD"}
VARIANTS = {
    "original": "Original",
    "important-feature": "Important features",
    "unimportant-feature": "Unimportant features",
}
"""The three images as the page calls them, in the core's order."""

WENT = ("nothing removed", "least relevant removed", "most relevant removed")


@dataclass(frozen=True)
class Choice:
    """What the controls of the page say, the share apart: which network, relevance by what, removed how."""

    study: Study
    folder: Path
    seed: int
    criterion: str
    start: str
    ranking: str
    scope: str
    fill: str

    @property
    def removal(self) -> Removal:
        """How pixels are removed; ties are broken with the seed of the network."""
        from lrp_core.evaluation import Removal

        return Removal(self.ranking, self.scope, self.fill, self.seed)


def criteria() -> tuple[str, ...]:
    """What relevance can be taken from."""
    from lrp_core.evaluation import removal_criteria

    return removal_criteria()


def rankings() -> tuple[str, ...]:
    """How relevance is put in order."""
    from lrp_core.evaluation import RANKINGS

    return RANKINGS


@st.cache_data(max_entries=64, show_spinner=False)
def picture_of_test(study: Study, index: int) -> Picture:
    """A test image."""
    from lrp_core.views import removal as views_removal

    return views_removal.picture_of_test(study, index)


@st.cache_data(max_entries=16, show_spinner=False)
def picture_of_file(study: Study, content: bytes, name: str) -> Picture:
    """An upload or a drawing as the network takes it."""
    from lrp_core.views import removal as views_removal

    return views_removal.picture_of_file(study, content, name)


@st.cache_data(max_entries=32, show_spinner=False)
def wrong_indices(study: Study, folder: Path, seed: int, label: int | None) -> list[int]:
    """Positions of the test images that the network of a seed gets wrong. `folder` is where that network lies."""
    from lrp_core.views import removal as views_removal

    return list(views_removal.wrong_indices(study, seed, label))


def relevance(choice: Choice, picture: Picture) -> np.ndarray:
    """Relevance of every input of a picture."""
    return _relevance(choice.study, choice.folder, choice.seed, picture.pixels, choice.criterion, choice.start)


@st.cache_data(max_entries=64, show_spinner=False)
def _relevance(study: Study, folder: Path, seed: int, pixels: np.ndarray, criterion: str, start: str) -> np.ndarray:
    from lrp_core.views import removal as views_removal

    return views_removal.picture_relevance(study, seed, views_removal.Picture(pixels), criterion, start)


def remove(choice: Choice, picture: Picture, scores: np.ndarray, share: float) -> RemovedPicture:
    """The picture without its least and without its most relevant inputs: milliseconds, so not remembered."""
    from lrp_core.views import removal as views_removal

    return views_removal.remove_from_picture(choice.study, choice.seed, picture, scores, choice.removal, share)


def measure_removal(choice: Choice, share: float) -> Callable[[Callable[[float, str], None]], MeasuredRemoval]:
    """The work of measuring a share on the whole test set, for `jobs.ask`."""
    from lrp_core.views import removal as views_removal

    return lambda report: views_removal.measure_removal(
        choice.study, choice.seed, choice.criterion, choice.start, choice.removal, share, report
    )


def is_measured(choice: Choice, share: float) -> bool:
    """Whether the work of `measure_removal` is in the cache."""
    from lrp_core.views import removal as views_removal

    return views_removal.is_measured(choice.study, choice.seed, choice.criterion, choice.start, choice.removal, share)


def measure_curves(
    choice: Choice, names: tuple[str, ...], n_steps: int, n_images: int | None
) -> Callable[[Callable[[float, str], None]], MeasuredCurves]:
    """The work of measuring curves, for `jobs.ask`."""
    from lrp_core.views import removal as views_removal

    return lambda report: views_removal.measure_curves(
        choice.study, choice.seed, names, choice.start, choice.removal, n_steps, n_images, report
    )


def curves_are_measured(choice: Choice, names: tuple[str, ...], n_steps: int, n_images: int | None) -> bool:
    """Whether all that `measure_curves` needs is in the cache."""
    from lrp_core.views import removal as views_removal

    return views_removal.curves_are_measured(
        choice.study, choice.seed, names, choice.start, choice.removal, n_steps, n_images
    )
