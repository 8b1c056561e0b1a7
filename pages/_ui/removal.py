"""What is chosen where relevance is looked at and inputs are taken away, and what that is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from lrp_core import views

from . import state
from .fields import field
from .formats import PERCENT, percent

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy, Removal

SHARE = 15
"""Percent of the pixels that are removed until someone moves the slider: the paper's."""

RULES = "epsilon-plus"
"""What relevance is by until someone chooses."""

SCOPES = {"all": "all pixels", "active": "those often lit", "lit": "those lit in the image"}
FILLS = {"zero": "zero", "mean": "mean", "noise": "noise", "blur": "blur", "road": "ROAD"}


@dataclass(frozen=True)
class Choice:
    """What relevance is by and of, and how inputs are taken away; `target` None is the class that the network says."""

    seed: int
    criterion: str
    start: str
    target: int | None
    removal: Removal

    @property
    def has_layers(self) -> bool:
        """Whether relevance passes through the layers, so that each of them can be looked at."""
        return self.criterion in views.offers().composites

    def asked(self) -> dict[str, Any]:
        """As the core takes it for a whole test set, of which each image is explained for what the network says."""
        return {"seed": self.seed, "criterion": self.criterion, "start": self.start, "removal": self.removal}


def names(share: float) -> dict[str, str]:
    """What the three images are called, by the names that the core has for them, in its order."""
    part = percent(share, 0)
    return {
        "original": "Original",
        "important-feature": f"Without the {part} least relevant",
        "unimportant-feature": f"Without the {part} most relevant",
    }


def choose(opened: OpenedStudy, *, of_one: bool, removes: bool) -> Choice:
    """The controls in one row.

    `of_one` is for one image, whose explained class can be chosen; `removes` for where inputs are taken away.
    """
    classes, offers = opened.data.classes, views.offers()
    criteria = offers.removal_criteria if removes else tuple(offers.composites)
    start, target, taken = "logit", None, ("signed", "all", "zero")  # a number is explained by itself
    with st.container(horizontal=True, vertical_alignment="bottom"):
        criterion = field(st.selectbox, "Relevance by", criteria, _first(criteria), key="rules", width=192,
                          in_url=True, help=_help(removes))  # fmt: skip
        if classes:
            start = field(st.selectbox, "Start", offers.starts, key="start", width=115, in_url=True,
                          help="What is explained: the class's logit, its contrast to the best other one, or its "
                          "log-odds; one-hot starts with a relevance of 1, whatever the logit is.")  # fmt: skip
        if classes and of_one:
            target = field(st.selectbox, "Explained class", [None, *range(len(classes))], key="target", width=160,
                           format_func=lambda i: "the predicted one" if i is None else classes[i],
                           help="Red inputs speak for this class, blue ones against it.")  # fmt: skip
        seed = state.seed()
        if removes:
            with st.popover("More choices", icon=":material/tune:", help="Which pixels may go, and what they become."):
                taken = _more(offers.removal_rankings)
    ranking, scope, fill = taken
    return Choice(seed, criterion, start, target, views.Removal(ranking, scope, fill, seed))  # its seed breaks ties


def share() -> float:
    """The slider of the share that is taken away."""
    chosen = st.slider(
        "Share taken away", 1, 99, SHARE, format=f"%d{PERCENT}%", key="share", bind="query-params",
        help=f"Of the pixels that may go; 15{PERCENT} in the original experiment. Arrow keys work.",
    )  # fmt: skip
    return chosen / 100


def _first(criteria: Sequence[str]) -> int:
    """The place of what relevance is by until someone chooses: links of earlier versions name it as "by"."""
    linked = st.query_params.get("by")
    return criteria.index(linked if linked in criteria else RULES)


def _more(rankings: Sequence[str]) -> tuple[str, str, str]:
    """Order, scope and fill."""
    ranking = st.selectbox(
        "Order", rankings, key="order", bind="query-params",
        help="signed: pixels against the class are the least relevant. magnitude: pixels around zero are.",
    )  # fmt: skip
    scope = st.selectbox(
        "Among", list(SCOPES), format_func=SCOPES.get, key="scope", bind="query-params",
        help=f"Which pixels may go: all; those lit in at least 1{PERCENT} of the training images; those lit in the "
        "image itself. On MNIST the least relevant of all are mostly border, which is black anyway.",
    )  # fmt: skip
    fill = st.selectbox(
        "Fill", list(FILLS), format_func=FILLS.get, key="fill", bind="query-params",
        help="What a removed pixel becomes. zero: black, or the mean of data that are standardised. mean: its mean "
        "over the training images. noise: uniform. blur: the image blurred. ROAD: imputed from its neighbours, with "
        "a little noise.",
    )  # fmt: skip
    return ranking, scope, fill


def _help(removes: bool) -> str:
    """What the picker of rules says."""
    text = "Which propagation rule each kind of layer uses."
    if not removes:
        return text
    return (
        f"{text} Or what they have to beat: gradients; data-set, one order for all images, the study's own; random "
        "and centre, which look at neither network nor image."
    )
