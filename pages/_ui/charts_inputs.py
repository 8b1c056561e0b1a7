"""Figures of inputs that are no images: columns of a table, and series. Plain tables in, a Plotly figure out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .charts import ACCENT, COOL, NEUTRAL, ROSE, VIOLET, WARM, finish, rgba

MOST = 40
"""As many bars as can be read."""

LINES = (COOL, WARM, ROSE, VIOLET, NEUTRAL)


def ranked(table: pd.DataFrame) -> go.Figure:
    """The first inputs, or groups, of a ranking as bars; `table` has name, score, standard_error and kept, in order.

    Where there is a cost, it stands beside the name.
    """
    top = table.head(MOST)
    errors = top["standard_error"].fillna(0)
    costs = [f", cost {cost:,.6g}" for cost in top["cost"]] if "cost" in top else [""] * len(top)
    figure = go.Figure(
        go.Bar(
            x=top["score"],
            y=top["name"],
            orientation="h",
            error_x={"array": 2 * errors, "thickness": 1, "width": 0, "color": rgba(NEUTRAL, 0.8)}
            if errors.any()
            else None,
            marker={"color": [ACCENT if kept else rgba(NEUTRAL, 0.45) for kept in top["kept"]]},
            customdata=list(zip(top["place"], costs, strict=True)),
            hovertemplate="%{y}: place %{customdata[0]}, score %{x:.3g}%{customdata[1]}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, automargin=True, dtick=1)
    figure.update_xaxes(title="Score", zeroline=False, nticks=5, exponentformat="power")
    return finish(figure, max(200, 60 + 19 * len(top)))


def signed(names: Sequence[str], relevance: np.ndarray, held: np.ndarray | None) -> go.Figure:
    """The inputs, or groups, that speak most for a class (red) or against it (blue), as bars.

    `held` is what each input holds; groups hold no one number.
    """
    what = [""] * len(names) if held is None else [f" of {value:.3g}" for value in held]
    table = pd.DataFrame({"name": list(names), "value": relevance, "held": what})
    top = table.reindex(table["value"].abs().sort_values(ascending=False).index).head(MOST)
    figure = go.Figure(
        go.Bar(
            x=top["value"],
            y=top["name"],
            orientation="h",
            marker={"color": ["#e11d48" if value >= 0 else "#2563eb" for value in top["value"]]},
            customdata=top[["held"]],
            hovertemplate="%{y}%{customdata[0]}: relevance %{x:.3g}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, automargin=True, dtick=1)
    figure.update_xaxes(title="Relevance", nticks=5)
    return finish(figure, max(200, 60 + 19 * len(top)))


def series(means: dict[str, list[list[float]]], table: pd.DataFrame) -> go.Figure:
    """The mean series of each class, channel beside channel, and below them a strip of the values that stay."""
    figure = go.Figure()
    values = [value for channels in means.values() for channel in channels for value in channel]
    floor = min(values) - 0.08 * ((max(values) - min(values)) or 1.0)
    for i, (name, channels) in enumerate(means.items()):
        line = {"color": LINES[i % len(LINES)], "width": 1.5}
        start = 0
        for channel in channels:
            x = list(range(start, start + len(channel)))
            figure.add_trace(
                go.Scatter(x=x, y=channel, name=name, legendgroup=name, showlegend=start == 0, mode="lines", line=line)
            )
            start += len(channel)
    kept = table[table["kept"]].explode("inputs").sort_values("inputs")
    figure.add_trace(
        go.Scatter(
            x=kept["inputs"],
            y=[floor] * len(kept),
            name="stay",
            mode="markers",
            marker={"symbol": "square", "size": 6, "color": ACCENT},
            customdata=kept[["name", "place"]],
            hovertemplate="%{customdata[0]}: place %{customdata[1]}<extra></extra>",
        )
    )
    figure.update_xaxes(title="Value, channel after channel", zeroline=False)
    figure.update_yaxes(title="Mean", zeroline=False)
    return finish(figure, 330)
