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

from .fields import field
from .formats import plain
from .words import GLOSSARY

if TYPE_CHECKING:
    from lrp_core.views.summary import Summary

REMOVED = 80
"""Percent of the inputs that the slider removes until someone moves it, as long as the study recommends nothing."""

MARGIN = 0.5
"""Points of the score that may be lost until someone says otherwise; the core's default."""

MAX_MARGIN = 20.0

NAMES = {"method": "method", "mode": "kind of small network", "removed": "share removed", "seed": "seed",
         "margin": "margin"}  # fmt: skip
"""What messages call the controls."""

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


def load(summary: Summary, page: str) -> list[str]:
    """Settle every shared control before the page is drawn, from the session or the URL, and have the URL say so.

    Returns what a link asks for that this study does not have, in a sentence each.
    """
    # A switch of pages empties the URL: what the session holds is then the truth.
    is_switch = st.session_state.get("page", page) != page
    st.session_state["page"] = page
    st.session_state["facts"] = summary
    notes = [] if is_switch else _as_links_say(summary)
    for key, (default, read) in _choices(summary).items():
        _follow(key, default)
        notes += _settle(key, default, read, url_wins=not is_switch)
        write(key)
    return notes


def write(key: str) -> None:
    """Bring the URL up to date with a control; a value that everyone starts with stays out of it."""
    default = st.session_state["defaults"][key]
    value = st.session_state[key]
    if value == default:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != str(value):
        st.query_params[key] = str(value)
    _written()[key] = st.query_params.get(key)


def method() -> str:
    """The picker of what the inputs are ranked by."""
    chosen = field(st.selectbox, f"{_inputs()} ranked by", _facts().methods, key="method", width=220,
                   help=method_help(_facts().says))  # fmt: skip
    return _shown("method", chosen)


def mode() -> str:
    """The picker of what happens to the small network."""
    chosen = field(st.selectbox, "Small network", _facts().modes, key="mode", width=130,
                   help=MODE_HELP)  # fmt: skip
    return _shown("mode", chosen)


def removed() -> int:
    """The threshold slider: percent of the inputs, or groups, removed."""
    text = (
        f"Share of the {_facts().words[0]} that the small network does not get, the least relevant first. "
        "Arrow keys work."
    )
    chosen = st.slider(f"{_inputs()} removed", 0, 99, step=1, format="%d %%", key="removed",
                       persist_state="session", help=text)  # fmt: skip
    return _shown("removed", chosen)


def margin() -> float:
    """The score that may be lost, in points."""
    text = f"How many points of {_facts().score} may be lost. {GLOSSARY['recommended']}"
    chosen = field(st.number_input, "Margin (points)", 0.0, MAX_MARGIN, step=0.1, format="%.2f", key="margin",
                   width=140, help=text)  # fmt: skip
    return _shown("margin", chosen)


def seed() -> int:
    """The picker of the seed."""
    seeds = _facts().seeds
    splits = " and on a split of its own" if _facts().resplit else ""
    chosen = field(st.selectbox, "Seed", seeds, key="seed", width=110,
                   help=f"Each seed trains a network of its own, from other first weights{splits}; their masks "
                   "differ a little.")  # fmt: skip
    return _shown("seed", chosen)


def choose(*, with_margin: bool = False) -> tuple[str, str, int, int]:
    """The shared controls in one row: method, mode, seed, the margin if asked for, and percent removed."""
    with st.container(border=True, horizontal=True, vertical_alignment="top"):
        chosen_method = method()
        chosen_mode = mode()
        chosen_seed = seed()
        if with_margin:
            margin()
        chosen_removed = removed()
    return chosen_method, chosen_mode, chosen_seed, chosen_removed


def go_to(removed: int) -> None:
    """Have the threshold stand somewhere else, for callbacks and for what comes from the browser."""
    st.session_state["removed"] = removed
    write("removed")


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


def _settle(key: str, default: Any, read: Callable[[str], Any], *, url_wins: bool) -> list[str]:
    """Bring a control's value into the session; what a link asks for in vain comes back as a sentence."""
    linked = st.query_params.get(key)
    has_moved = url_wins and linked != _written().get(key)
    if key not in st.session_state or has_moved:
        parsed = None if linked is None else read(linked)
        st.session_state[key] = default if parsed is None else parsed
        if linked is not None and parsed is None:
            return [f"This study has no {NAMES[key]} “{plain(linked[:80])}”: shown is {st.session_state[key]}."]
    elif read(str(st.session_state[key])) is None:
        st.session_state[key] = default
    return []


def _as_links_say(summary: Summary) -> list[str]:
    """Take what a link calls by the command line's names: `criteria` and `strategies`, `modes`, `seeds`, `keeps`."""
    asked, notes = st.query_params, []
    if "criteria" in asked or "criterion" in asked:
        criterion = asked.get("criteria", asked.get("criterion", ""))
        strategy = asked.get("strategies", asked.get("strategy", "one-shot"))
        asked["method"] = criterion if strategy == "one-shot" else f"{criterion}, {strategy}"
    for theirs, ours in (("modes", "mode"), ("seeds", "seed")):
        if theirs in asked:
            asked[ours] = asked[theirs]
    keep = asked.get("keeps", asked.get("keep"))
    if keep is not None:
        if keep.isdigit() and 1 <= int(keep) <= summary.n_groups:
            asked["removed"] = str(summary.removed_for(int(keep)))
        else:
            notes.append(f"“{plain(keep[:80])}” is no number of {summary.words[0]} from 1 to {summary.n_groups:,}.")
    for name in ("criteria", "criterion", "strategies", "strategy", "modes", "seeds", "keeps", "keep"):
        asked.pop(name, None)
    return notes


def _facts() -> Summary:
    """The summary of the study that the page is about."""
    return st.session_state["facts"]


def _inputs() -> str:
    return _facts().words[0].capitalize()


def _written() -> dict[str, str | None]:
    """What this session last wrote into the URL, by parameter."""
    return st.session_state.setdefault("written", {})


def _choices(summary: Summary) -> dict[str, tuple[Any, Callable[[str], Any]]]:
    """For every shared control its default, and what reads its value from text: None for what it cannot be."""
    best = summary.recommend(margin=MARGIN / 100) if len(summary.validation) else None
    row = None if best is None else best.row
    return {
        "method": (summary.of_relevance[0] if best is None or row is None else best.method, _one_of(summary.methods)),
        "mode": (summary.modes[0] if best is None or row is None else best.mode, _one_of(summary.modes)),
        "removed": (REMOVED if row is None else summary.removed_for(int(row["keep"])), _one_of(range(100))),
        "seed": (summary.seeds[0], _one_of(summary.seeds)),
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
