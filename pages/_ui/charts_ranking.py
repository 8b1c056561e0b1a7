"""The figures of the page on rankings: plain tables and arrays in, a Plotly figure out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .charts import ACCENT, BAR, COOL, INK, NEUTRAL, SIGNED, WARM, finish, picture, ramp, rgba
from .formats import things, title

KEPT = ((3, "both", INK), (1, "only the first", ACCENT), (2, "only the second", WARM))
"""Who keeps a pixel, as the core counts it: what it is called, and its colour."""
FEW = 15
"""Places that each have their number on the axis."""


def places(place: np.ndarray, height: int = 360) -> go.Figure:
    """Each pixel's place in the order, the most important ones strongest; [height, width], from 1 on."""
    heat = go.Heatmap(
        z=-place,
        customdata=place,
        colorscale=ramp(ACCENT, 0.02, 1),
        showscale=False,
        xgap=0.5,
        ygap=0.5,
        hovertemplate="row %{y}, column %{x}: place %{customdata}<extra></extra>",
    )
    return picture([heat], height)


def scores(score: np.ndarray, *, spans_decades: bool, height: int = 360) -> go.Figure:
    """Each pixel's score: as a power of ten if they span decades, else as it is, signed if any is. Zero is blank."""
    if not spans_decades:
        limit = float(np.abs(score).max()) or 1.0
        signed = bool((score < 0).any())
        scale = SIGNED if signed else ramp(ACCENT, 0, 1)
        heat = go.Heatmap(z=score, zmin=-limit if signed else 0, zmax=limit, colorscale=scale, colorbar=BAR)
    else:
        with np.errstate(divide="ignore"):
            powers = np.where(score > 0, np.log10(score, where=score > 0, out=np.full(score.shape, np.nan)), np.nan)
        heat = go.Heatmap(z=powers, colorscale=ramp(ACCENT, 0.05, 1), colorbar=BAR | {"tickprefix": "10^"})
    heat.update(
        customdata=score, xgap=0.5, ygap=0.5, hovertemplate="row %{y}, column %{x}: %{customdata:.3g}<extra></extra>"
    )
    return picture([heat], height)


def errors(relative: np.ndarray, height: int = 360) -> go.Figure:
    """Each pixel's standard error as a share of its score, up to 100 %."""
    heat = go.Heatmap(
        z=100 * relative,
        zmin=0,
        zmax=100,
        colorscale=ramp(WARM, 0.05, 1),
        colorbar=BAR | {"ticksuffix": " %"},
        xgap=0.5,
        ygap=0.5,
        hovertemplate="row %{y}, column %{x}: %{z:.1f} % of its score<extra></extra>",
    )
    return picture([heat], height)


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
        ("spearman", "rank correlation (Spearman)", ACCENT),
        ("overlap", f"overlap of {things(keep, counted)}", COOL),
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
                hovertemplate="%{y:.1f} %",
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
            hovertemplate="%{y:.1f} %<extra></extra>",
        )
    )
    figure.update_yaxes(title="Median standard error (% of score)", rangemode="tozero", zeroline=False)
    return _by_images(figure, table, used, height, images)


def _by_images(figure: go.Figure, table: pd.DataFrame, used: int, height: int, images: str) -> go.Figure:
    sizes = sorted({*table["images"], used})
    span = np.log10([sizes[0] / 1.2, sizes[-1] * 1.2])
    figure.add_vline(used, line={"width": 2, "color": rgba(ACCENT, 0.6)})
    figure.update_xaxes(title=title(images), type="log", range=span, tickvals=sizes, tickformat=",", tickangle=-40)
    return finish(figure, height, hovermode="x unified")


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
                hovertemplate="%{y:.1f} % of %{customdata}",
            )
        )
    if marker is not None:
        figure.add_vline(100 * marker, line={"width": 2, "color": rgba(ACCENT, 0.6)})
    figure.update_xaxes(title=f"{title(counted)} removed (%)", range=[-1, 100], dtick=20, zeroline=False)
    figure.update_yaxes(title="Kept by both (%)", range=[-2, 102], zeroline=False)
    return finish(figure, height, hovermode="x unified")


def kept(who: np.ndarray, height: int = 330) -> go.Figure:
    """Which of two rankings keeps each pixel; the numbers are those of `KEPT`, zero is neither."""
    layers = [
        go.Heatmap(
            z=np.where(who == number, 1.0, np.nan),
            zmin=0,
            zmax=1,
            colorscale=ramp(color, 0.8, 0.8),
            showscale=False,
            xgap=0.5,
            ygap=0.5,
            hovertemplate=f"row %{{y}}, column %{{x}}: {name}<extra></extra>",
        )
        for number, name, color in KEPT
    ]
    return picture(layers, height)


def shift(places: np.ndarray, height: int = 330) -> go.Figure:
    """How many places each pixel stands further up in the first ranking (red) or in the second (blue)."""
    limit = float(np.abs(places).max()) or 1.0
    heat = go.Heatmap(
        z=places,
        zmin=-limit,
        zmax=limit,
        colorscale=SIGNED,
        colorbar=BAR,
        xgap=0.5,
        ygap=0.5,
        hovertemplate="row %{y}, column %{x}: %{z:+d} places<extra></extra>",
    )
    return picture([heat], height)
