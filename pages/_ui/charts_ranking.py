"""The figures of the page on rankings: plain tables and arrays in, a Plotly figure out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .charts import ACCENT, COOL, NEUTRAL, WARM, finish, rgba
from .formats import PERCENT, things, title

FEW = 15
"""Places that each have their number on the axis."""


def in_order(table: pd.DataFrame, *, spans_decades: bool, marker: int | None = None, height: int = 360) -> go.Figure:
    """Scores from the most to the least important input, with a band of two standard errors; `marker` is a place."""
    if spans_decades:  # what a logarithm cannot show
        table = table[table["score"] > 0]
    figure = go.Figure()
    band = table.dropna(subset=["standard_error"])
    if len(band):
        low, high = (band["score"] + sign * 2 * band["standard_error"] for sign in (-1, 1))
        if spans_decades:  # a logarithm cannot show what reaches down to zero
            low = low.clip(lower=band["score"] / 10)
        figure.add_trace(
            go.Scatter(
                x=pd.concat([band["place"], band["place"][::-1]]),
                y=pd.concat([high, low[::-1]]),
                fill="toself",
                mode="lines",
                fillcolor=rgba(ACCENT, 0.2),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            )
        )
    figure.add_trace(
        go.Scatter(
            x=table["place"],
            y=table["score"],
            mode="lines",
            line={"color": ACCENT, "width": 2},
            customdata=_where(table),
            hovertemplate="place %{x}: %{y:.3g}, %{customdata}<extra></extra>",
            showlegend=False,
        )
    )
    if marker is not None:
        figure.add_vline(marker, line={"width": 2, "color": rgba(ACCENT, 0.6)})
    figure.update_xaxes(title="Place in the order", zeroline=False, dtick=1 if len(table) <= FEW else None)
    figure.update_yaxes(title="Score", type="log" if spans_decades else "linear", exponentformat="power", nticks=8)
    return finish(figure, height)


def _where(table: pd.DataFrame) -> pd.Series:
    """What each input is called: its name, or the place of a pixel."""
    if "name" in table:
        return table["name"]
    return "row " + table["row"].astype(str) + ", column " + table["column"].astype(str)


def settling(
    table: pd.DataFrame,
    keep: int,
    *,
    used: int,
    enough: dict[str, float],
    height: int = 330,
    counted: str = "inputs",
    images: str = "images",
) -> go.Figure:
    """Agreement of two rankings by n images each against n; `enough` are the thresholds of the two measures.

    `counted` is what is kept, `images` are what the rankings are by.
    """
    figure = go.Figure()
    for measure, name, color in (
        ("spearman", "Spearman", ACCENT),
        ("overlap", f"same {things(keep, counted)}", COOL),
    ):
        rows = table[table["measure"] == measure]
        rows = rows[rows["keep"] == keep] if measure == "overlap" else rows
        figure.add_trace(
            go.Scatter(
                x=rows["images"],
                y=100 * rows["value"],
                name=name,
                mode="lines+markers",
                line={"color": color, "width": 3},
                marker={"size": 6},
                hovertemplate=f"%{{x:,}} {images}<br>{name}: %{{y:.1f}}{PERCENT}<extra></extra>",
            )
        )
        figure.add_hline(100 * enough[measure], line={"dash": "dot", "width": 1.5, "color": color})
    agreed = table[(table["measure"] == "spearman") | (table["keep"] == keep)]["value"]
    figure.update_yaxes(title="Agreement (%)", range=[100 * float(agreed.min()) - 8, 102], zeroline=False)
    return _by_images(figure, table, used, height, images)


def relative_error(table: pd.DataFrame, *, used: int, height: int = 330, images: str = "images") -> go.Figure:
    """The median standard error, as a share of the score, against the number of images."""
    rows = table[table["measure"] == "error"]
    figure = go.Figure(
        go.Scatter(
            x=rows["images"],
            y=100 * rows["value"],
            mode="lines+markers",
            line={"color": WARM, "width": 3},
            marker={"size": 6},
            hovertemplate=f"%{{x:,}} {images}: %{{y:.1f}}{PERCENT}<extra></extra>",
        )
    )
    figure.update_yaxes(title="Standard error (%)", rangemode="tozero", zeroline=False)
    return _by_images(figure, table, used, height, images)


def _by_images(figure: go.Figure, table: pd.DataFrame, used: int, height: int, images: str) -> go.Figure:
    sizes = sorted({*table["images"], used})
    span = np.log10([sizes[0] / 1.2, sizes[-1] * 1.2])
    figure.add_vline(used, line={"width": 2, "color": rgba(ACCENT, 0.6)})
    figure.update_xaxes(title=title(images), type="log", range=span, tickvals=sizes, tickformat=",", tickangle=-40)
    return finish(figure, height)


def overlap(
    table: pd.DataFrame, *, marker: float | None = None, height: int = 330, counted: str = "inputs"
) -> go.Figure:
    """The share that two rankings have in common of what they keep, against the share removed, and that of chance."""
    figure = go.Figure()
    for column, name, line in (
        ("overlap", "in common", {"color": ACCENT, "width": 3}),
        ("by_chance", "by chance", {"color": NEUTRAL, "width": 2, "dash": "dot"}),
    ):
        figure.add_trace(
            go.Scatter(
                x=100 * table["removed"],
                y=100 * table[column],
                name=name,
                mode="lines",
                line=line,
                customdata=table["keep"],
                hovertemplate=f"%{{y:.1f}}{PERCENT} of %{{customdata}} {name}<extra></extra>",
            )
        )
    if marker is not None:
        figure.add_vline(100 * marker, line={"width": 2, "color": rgba(ACCENT, 0.6)})
    figure.update_xaxes(title=f"{title(counted)} removed (%)", range=[-1, 100], dtick=20, zeroline=False)
    figure.update_yaxes(title="Kept by both (%)", range=[-2, 102], zeroline=False)
    return finish(figure, height)
