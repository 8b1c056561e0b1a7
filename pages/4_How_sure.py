"""How far the result can be trusted: a verdict first, then its grounds in parts, one of which is drawn at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from lrp_core import views
from pages._ui import frame, state, sure_agreement, sure_parts, sure_ranking, sure_relevance, sure_result

if TYPE_CHECKING:
    from lrp_core.study.verdict import Verdict

opened, run = frame.open_page("How sure", "Rankings, curves, tests: how far the result can be trusted.", live=True)


def judged() -> Verdict | None:
    """The verdict on what is recommended by the chosen method, else on the place of the slider."""
    method, mode = state.value("method"), state.value("mode")
    best = opened.recommend(method, mode=mode, margin=state.value("margin") / 100)
    if best is not None and best.row is not None:
        keep: int | None = int(best.row["keep"])
    else:
        keep = opened.nearest_keep(method, mode, opened.keep_for(state.value("removed")))
    return None if keep is None else views.verdict_of(opened, method, mode, keep)


@st.fragment
def trust() -> None:
    """The verdict, and the chosen part."""
    slot = st.container()
    parts = list(sure_parts.PARTS)
    if opened.data.target is not None or not opened.are_images:
        parts.remove("relevance")  # it takes pixels away, and asks how sure a network is of its class
    part = sure_parts.choose(parts)
    with frame.refusals():
        verdict = judged()
        with slot:
            if verdict is None:
                st.markdown("**No verdict yet:** no small network is measured at this place.")
            else:
                st.markdown(f"**{verdict.short}** {verdict.sentence}")
    with frame.refusals():
        if part == "result":
            sure_result.show(opened, verdict)
        elif part == "ranking":
            sure_ranking.show(opened, run)
        elif part == "agreement":
            sure_agreement.show(opened, run)
        else:
            sure_relevance.show(opened)


trust()
