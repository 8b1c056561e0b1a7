"""What the page on savings measures when it is asked to: the small network on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from lrp_core import views

from . import charts_speed, figures, jobs, tables
from .data import ask
from .formats import percent, size

if TYPE_CHECKING:
    from lrp_core.evaluation import ConvSaving, Speed
    from lrp_core.views import OpenedStudy


def beside_the_full_one(opened: OpenedStudy, *, method: str, mode: str, keep: int, seed: int) -> None:
    """Time, files and memory of the small network beside the full one."""
    st.subheader("Measured on this machine", anchor=False)
    savings = opened.savings
    int8 = st.toggle("With int8", key="int8", persist_state="session", help="Measure both with the weights of dense "
                     "layers as bytes, too (dynamic quantisation). It takes twice as long.")  # fmt: skip
    place = {"method": method, "mode": mode, "keep": keep, "seed": seed, "int8": int8}
    speed: Speed | None = _asked_for(
        "speed",
        (savings.token, *place.values()),
        lambda report: savings.measure(**place, report=report),
        "Both networks with fresh weights, since time goes by the shape alone; they take turns on one thread. About "
        "half a minute, longer for large networks.",
    )
    if speed is None:
        return
    if not speed.is_steady:
        st.info(views.UNSTEADY, icon=":material/schedule:")
    if speed.note:
        st.warning(speed.note, icon=":material/speed:")
    table = views.speed_table(speed)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        figures.draw(
            charts_speed.ratios(table),
            key="ratios",
            name="speed",
            data=table,
            alt="How many times as fast as the full network the small one is, by runtime and batch size",
        )
    with right:
        tables.speed(table)
    st.markdown(_footprints(speed))
    st.caption(
        f"Medians of at least {speed.rounds} rounds, {speed.threads} {'thread' if speed.threads == 1 else 'threads'}, "
        f"{speed.machine}. Whiskers: the range of the ratio over rounds."
    )
    for said in speed.missing:
        st.caption(said[:1].upper() + said[1:])


def ways_of_convolutions(opened: OpenedStudy, *, method: str, keep: int, seed: int) -> None:
    """What each way of using the mask in a network that convolves costs; measured when asked."""
    st.subheader("What a mask can save in a convolution", anchor=False)
    savings = opened.savings
    place = {"method": method, "keep": keep, "seed": seed}
    found: tuple[ConvSaving, ...] = ask(savings, "conv_counts", **place)
    slot = st.empty()
    timed = _asked_for(
        "conv",
        (savings.token, *place.values()),
        lambda report: savings.measure_conv(**place, report=report),
        "Masked inputs leave a convolution as much to compute as before. Each way is counted above; measuring takes "
        "half a minute, longer for large networks.",
    )
    with slot.container():
        tables.conv_ways(views.conv_table(timed or found))


def _asked_for(slot: str, key: Any, work: Callable[..., Any], text: str) -> Any:
    """What `work` found for `key`, kept for the session; before, a button that has it done, or its progress."""
    kept, turns = st.session_state.setdefault(f"{slot}-measured", {}), f"{slot}-turns"
    if key in kept:
        if st.button("Measure again", key=f"{slot}-again", icon=":material/refresh:"):
            del kept[key]
            st.session_state[f"{slot}-asked"] = key
            st.session_state[turns] = st.session_state.get(turns, 0) + 1
            st.rerun()
        return kept[key]
    if st.session_state.get(f"{slot}-asked") != key:
        st.caption(text)
        if st.button("Measure", key=f"{slot}-measure", icon=":material/timer:"):
            st.session_state[f"{slot}-asked"] = key
            st.rerun()
        return None
    found = jobs.ask(slot, (key, st.session_state.get(turns, 0)), work, is_cached=False)
    if found is not None:
        kept[key] = found
        st.rerun()
    return None


def _footprints(speed: Speed) -> str:
    """Files and memory of both, in a sentence each."""
    lines = []
    for one in speed.footprints:
        files = ", ".join(f"{size(number)} as {kind}" for kind, number in one.files.items())
        scores = ", ".join(f"{percent(score)} ({kind})" for kind, score in one.scores.items())
        lines.append(
            f"- **{one.network.capitalize()} network:** files of {files}; {size(one.peak_bytes)} of memory at the peak "
            f"of one pass in batches of {speed.batches[-1]:,}, beside weights and inputs"
            + (f"; {scores}" if scores else "")
        )
    return "\n".join(lines)
