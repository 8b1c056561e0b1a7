"""Figures that compare studies. Plain tables in, a Plotly figure out."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from .charts import ACCENT, COOL, NEUTRAL, ROSE, VIOLET, WARM, finish, rgba
from .formats import title

COLORS = (ACCENT, WARM, COOL, ROSE, VIOLET, NEUTRAL)
"""As many studies as can be told apart in one chart."""


def compared(curves: Mapping[str, pd.DataFrame], *, difference: bool, score: str, height: int = 380) -> go.Figure:
    """One curve for each study, by its label: the score, or its `difference` to the study's own full network."""
    figure = go.Figure()
    names = ("difference", "difference_low", "difference_high") if difference else ("score", "low", "high")
    for (label, table), color in zip(curves.items(), COLORS, strict=False):
        values = table.assign(**{name: 100 * table[name] for name in names})
        if difference:  # the full network is its own measure
            values.loc[values["method"] == "none", list(names)] = 0.0
        at = 100 * values["removed"]
        banded = values.dropna(subset=list(names[1:]))
        figure.add_trace(
            go.Scatter(
                x=[*(100 * banded["removed"]), *(100 * banded["removed"])[::-1]],
                y=[*banded[names[2]], *banded[names[1]][::-1]],
                fill="toself",
                fillcolor=rgba(color, 0.14),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            )
        )
        figure.add_trace(
            go.Scatter(
                x=at,
                y=values[names[0]],
                name=label,
                mode="lines+markers",
                line={"color": color, "width": 2.5},
                hovertemplate="%{x:.0f}\u00a0% removed: %{y:+.2f} points<extra>%{fullData.name}</extra>"
                if difference
                else "%{x:.0f}\u00a0% removed: %{y:.2f}\u00a0%<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_xaxes(title="Inputs removed (%)", range=[-1, 100], dtick=20, zeroline=False)
    figure.update_yaxes(title="Difference (points)" if difference else f"{title(score)} (%)", zeroline=difference)
    figure = finish(figure, height + 22 * len(curves))
    figure.update_layout(legend={"orientation": "v", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"})
    return figure
