"""The controls that pages share, kept over page switches and in the URL.

Streamlit's own `bind="query-params"` drops a parameter from the URL on every page that does not show the widget,
and refuses to let it be written there; so the link between widget and URL is made here. The session holds the
value, the URL follows it, and a URL that changed by itself (a link, the browser's back button) wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from .data import ask
from .fields import field

if TYPE_CHECKING:
    from lrp_core.views import OpenedStudy

MANY_METHODS = 5

REMOVED = 80
"""Percent of the inputs that the slider removes until someone moves it, as long as the study recommends nothing."""

MARGIN = 0.5
"""Points of the score that may be lost until someone says otherwise; the core's default."""

MAX_MARGIN = 20.0

MODES = {
    "none": "the full network's weights as they are",
    "fine-tune": "trained on for a few epochs",
    "scratch": "trained again on the inputs that stay",
}
MODE_HELP = " ".join(f"{name}: {text}." for name, text in MODES.items())


def method_help(says: Mapping[str, str]) -> str:
    """What a picker of criteria says: `says` has what each of them says of itself."""
    return (
        "What the inputs are ordered by. A rule's name, such as lrp-0: relevance under it, over the training data. "
        "After a comma the strategy, if it is not one-shot. "
        + " ".join(f"{name}: {text}." for name, text in says.items())
    )


def load(opened: OpenedStudy, page: str) -> None:
    """Settle every shared control before the page is drawn, from the session or the URL, and have the URL say so."""
    # A switch of pages empties the URL: what the session holds is then the truth.
    is_switch = st.session_state.get("page", page) != page
    st.session_state["page"] = page
    for key, (default, read) in _choices(opened).items():
        _follow(key, default)
        _settle(key, default, read, url_wins=not is_switch)
        write(key)


def write(key: str) -> None:
    """Bring the URL up to date with a control; a value that everyone starts with stays out of it."""
    default = st.session_state["defaults"][key]
    value = st.session_state[key]
    if value == default:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != str(value):
        st.query_params[key] = str(value)
    _written()[key] = st.query_params.get(key)


def method(opened: OpenedStudy) -> str:
    """The picker of what the inputs are ranked by; a list where they would take more than a row."""
    methods, text = opened.study.methods, method_help(opened.rankings.says())
    label = f"{opened.words[0].capitalize()} ranked by"
    if len(methods) > MANY_METHODS:
        chosen = field(st.selectbox, label, methods, key="method", width=260, help=text)
    else:
        chosen = st.segmented_control(label, methods, key="method", required=True,
                                      persist_state="session", help=text)  # fmt: skip
    return _shown("method", chosen)


def mode(opened: OpenedStudy) -> str:
    """The picker of what happens to the smaller network."""
    chosen = st.segmented_control("Smaller network", opened.study.modes, key="mode", required=True,
                                  persist_state="session", help=MODE_HELP)  # fmt: skip
    return _shown("mode", chosen)


def removed(opened: OpenedStudy) -> int:
    """The threshold slider: percent of the inputs, or groups, removed."""
    text = f"Share of the {opened.words[0]} that the network no longer gets, the least relevant first. Arrow keys work."
    chosen = st.slider(f"{opened.words[0].capitalize()} removed", 0, 99, step=1, format="%d %%", key="removed",
                       persist_state="session", help=text)  # fmt: skip
    return _shown("removed", chosen)


def margin(opened: OpenedStudy) -> float:
    """The score that may be lost, in points."""
    text = (
        f"How many points of {opened.score} may be lost. The recommended threshold is the furthest at which the "
        "whole 95 % interval of the difference to the full network stays within this."
    )
    chosen = field(st.number_input, "Margin (points)", 0.0, MAX_MARGIN, step=0.1, format="%.2f", key="margin",
                   width=140, help=text)  # fmt: skip
    return _shown("margin", chosen)


def seed(opened: OpenedStudy) -> int:
    """The picker of the seed."""
    seeds = opened.study.seeds
    splits = " and on a split of its own" if opened.study.resplit else ""
    chosen = field(st.selectbox, "Seed", seeds, key="seed", width=110, disabled=len(seeds) == 1,
                   help=f"Each seed trains a network of its own, from other first weights{splits}; their masks "
                   "differ a little.")  # fmt: skip
    return _shown("seed", chosen)


def choose(opened: OpenedStudy, *, with_margin: bool = False) -> tuple[str, str, int, int]:
    """The shared controls in one box: method, mode, seed and percent removed; the margin if asked for."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            chosen_method = method(opened)
            chosen_mode = mode(opened)
            chosen_seed = seed(opened)
            if with_margin:
                margin(opened)
        chosen_removed = removed(opened)
    return chosen_method, chosen_mode, chosen_seed, chosen_removed


def value(key: str) -> Any:
    """A shared control's value, on a page that does not show it too."""
    return st.session_state[key]


def _shown(key: str, value: Any) -> Any:
    write(key)
    return value


def _follow(key: str, default: Any) -> None:
    """Have a control that nobody has touched go along when results change what everyone starts with."""
    before = st.session_state.setdefault("defaults", {})
    if key in before and before[key] != default and st.session_state.get(key) == before[key]:
        st.session_state[key] = default
    before[key] = default


def _settle(key: str, default: Any, read: Callable[[str], Any], *, url_wins: bool) -> None:
    linked = st.query_params.get(key)
    has_moved = url_wins and linked != _written().get(key)
    if key not in st.session_state or has_moved:
        parsed = None if linked is None else read(linked)
        st.session_state[key] = default if parsed is None else parsed
    elif read(str(st.session_state[key])) is None:
        st.session_state[key] = default


def _written() -> dict[str, str | None]:
    """What this session last wrote into the URL, by parameter."""
    return st.session_state.setdefault("written", {})


def _choices(opened: OpenedStudy) -> dict[str, tuple[Any, Callable[[str], Any]]]:
    """For every shared control its default, and what reads its value from text: None for what it cannot be."""
    study, best = opened.study, ask(opened, "recommend", margin=MARGIN / 100)
    has_best = best is not None and best.row is not None
    first = best.method if has_best else opened.rankings.of_relevance()[0]
    removed = opened.removed_for(int(best.row["keep"])) if has_best else REMOVED
    return {
        "method": (first, _one_of(study.methods)),
        "mode": (best.mode if has_best else study.modes[0], _one_of(study.modes)),
        "removed": (removed, _one_of(range(100))),
        "seed": (study.seeds[0], _one_of(study.seeds)),
        "margin": (MARGIN, _read_margin),
    }


def _one_of(options: Iterable[Any]) -> Callable[[str], Any]:
    return {str(option): option for option in options}.get


def _read_margin(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= MAX_MARGIN else None
