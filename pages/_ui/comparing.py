"""Several studies in one chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from lrp_core.errors import LrpError
from lrp_core.study import results

from . import charts_studies, figures, summaries
from .fields import field
from .formats import percent, plain

if TYPE_CHECKING:
    from lrp_core.study.ledger import Ledger, Run
    from lrp_core.views.summary import Summary

BEST = "the best of each"


def compare(chosen: Run, known: list[Run], ledger: Ledger) -> None:
    """Pick studies, and see what each of them lost as inputs went."""
    st.header("Compare studies", anchor=False)
    there = {run.id: run for run in known if run.done}
    if len(there) < 2:
        st.caption("With a second study that has results, their curves stand here in one chart.")
        return
    first = [chosen.id] if chosen.id in there else []
    default = [*first, *(one for one in there if one not in first)][:3]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        picked = st.multiselect(
            "Studies", list(there), default, key="compared", max_selections=len(charts_studies.COLORS),
            format_func=lambda one: f"{there[one].name} · {there[one].spec['dataset']} · {one[:6]}",
            placeholder="Choose two or more", help="As many as can be told apart in one chart.",
        )  # fmt: skip
    found = _read([there[one] for one in picked if one in there], ledger)
    if not found:
        return
    shared = [name for name in found[0][1].methods if all(name in summary.methods for _, summary in found)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = "A method that all of them have, or for each the one with which the most inputs can go."
        method = field(st.selectbox, "Ranked by", [BEST, *shared], key="compared-by", width=260, help=text)
        options = ["Score", "Difference to the full network"]
        shown = st.segmented_control("Shown", options, default="Score", key="compared-shown", required=True)
    curves, rows = {}, []
    for run, summary in found:
        best = summary.recommend(None if method == BEST else method)
        if best is None:
            continue
        label = f"{run.name} · {summary.dataset} · {best.method}, {best.mode}"
        label = label if label not in curves else f"{label} · {run.id[:6]}"
        curves[label] = results.with_baseline(summary.validation, best.method, best.mode)
        rows.append(_row(run, summary, best))
    if not curves:
        st.info("None of these has results by that method yet.", icon=":material/hourglass_top:")
        return
    scores = {summary.score for _, summary in found}
    figures.draw(
        charts_studies.compared(
            curves, difference=shown != "Score", score=scores.pop() if len(scores) == 1 else "score"
        ),
        key="compared-chart",
        name="studies",
        data=lambda: pd.concat(table.assign(study=label) for label, table in curves.items()),
        alt=f"Validation score against the share of inputs removed, for {len(curves)} studies",
    )
    st.caption("On validation data. Bands: 95 % intervals over seeds, where a study has several.")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="compared-table",
        alt="What each study recommends, and what the small network then costs",
    )


def _read(picked: list[Run], ledger: Ledger) -> list[tuple[Run, Summary]]:
    """The studies that can be read, with their summaries; of the others it is said why they are missing."""
    found = []
    for run in picked:
        try:
            summary = summaries.of(run, ledger)
        except (LrpError, TypeError) as error:
            st.warning(f"“{plain(run.name)}” cannot be read: {plain(str(error))}", icon=":material/error:")
            continue
        if len(summary.validation):
            found.append((run, summary))
    return found


def _row(run: Run, summary: Summary, best: results.Recommendation) -> dict[str, str]:
    base = results.baseline_of(summary.validation, best.mode).iloc[0]
    row = best.row
    return {
        "Study": run.name,
        "Data": summary.dataset,
        "Network": summary.architecture,
        "Full network": percent(base["score"]),
        "Can go": "none measured" if row is None else f"{percent(row['removed'], 0)}: {int(row['keep']):,} stay",
        "Small network": "–" if row is None else percent(row["score"]),
        "MACs": "–" if row is None else f"{row['macs']:,.0f} of {base['macs']:,.0f}",
    }
