"""What all figures share, and those of one image and its network: plain tables and arrays in, a Plotly figure out.

Colours are middle tones over a transparent ground, so that one figure reads on a light and on a dark page.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .formats import PERCENT

ACCENT, NEUTRAL, WARM, COOL, ROSE, VIOLET = "#0d9488", "#8492a0", "#d97706", "#3b82f6", "#e11d48", "#8b5cf6"
INK = "#6b7c8c"

CONFIG = {"displayModeBar": False, "displaylogo": False, "scrollZoom": False, "doubleClick": False}
"""Passed to every chart: nothing on it but the data, and a page that scrolls under a finger."""

SIGNED = [[0.0, "rgba(37,99,235,1)"], [0.5, "rgba(128,140,150,0)"], [1.0, "rgba(225,29,72,1)"]]
"""Blue against the class, red for it; zero lets the page show through."""


def rgba(color: str, alpha: float) -> str:
    """A "#rrggbb" colour with transparency."""
    return f"rgba({int(color[1:3], 16)},{int(color[3:5], 16)},{int(color[5:7], 16)},{alpha:g})"


def ramp(color: str, low: float, high: float) -> list[list]:
    """A colour scale from faint to strong, in one colour."""
    return [[0.0, rgba(color, low)], [1.0, rgba(color, high)]]


def mask(kept: np.ndarray, mean: np.ndarray, height: int = 320) -> go.Figure:
    """The mean image with the pixels that stay in colour and the removed ones dimmed; both [height, width]."""
    ink = mean / max(float(mean.max()), 1e-9)
    return picture(
        [
            go.Heatmap(z=np.where(kept, np.nan, ink), zmin=0, zmax=1, colorscale=ramp(NEUTRAL, 0.06, 0.3), **SILENT),
            go.Heatmap(z=np.where(kept, ink, np.nan), zmin=0, zmax=1, colorscale=ramp(ACCENT, 0.35, 1), **SILENT),
        ],
        height,
    )


def probabilities(
    values: np.ndarray, classes: tuple[str, ...], label: int, target: int, height: int = 300
) -> go.Figure:
    """Probability of each class; the explained one stands out, the true one is marked."""
    names = [f"{name} (true)" if i == label else name for i, name in enumerate(classes)]
    figure = go.Figure(
        go.Bar(
            x=100 * values,
            y=names,
            orientation="h",
            marker={"color": [ACCENT if i == target else rgba(NEUTRAL, 0.7) for i in range(len(names))]},
            text=[f"{100 * v:.1f}{PERCENT}" if v >= 0.0005 else "" for v in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate=f"%{{y}}: %{{x:.2f}}{PERCENT}<extra></extra>",
        )
    )
    figure.update_xaxes(title="Probability (%)", range=[0, 132], tickvals=[0, 25, 50, 75, 100])
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    figure = finish(figure, height)
    figure.update_layout(margin={"t": 4})
    return figure


def units(values: np.ndarray, height: int = 220) -> go.Figure:
    """Relevance of the units of one layer, the largest first."""
    order = np.argsort(values)[::-1]
    figure = go.Figure(
        go.Bar(
            x=np.arange(len(values)),
            y=values[order],
            marker={"color": np.where(values[order] >= 0, ROSE, COOL).tolist(), "line": {"width": 0}},
            customdata=order,
            hovertemplate="unit %{customdata}: %{y:.3g}<extra></extra>",
        )
    )
    figure.update_layout(bargap=0)
    figure.update_xaxes(title=f"{len(values)} units, by relevance", showticklabels=False, showgrid=False)
    figure.update_yaxes(title="Relevance", nticks=5)
    return finish(figure, height)


def along(values: np.ndarray, height: int = 300) -> go.Figure:
    """Relevance [rows, columns] at the output of a layer of a network for series: maps by positions, or the reverse."""
    limit, (rows, columns) = float(np.abs(values).max()) or 1.0, values.shape
    figure = go.Figure(
        go.Heatmap(
            z=values,
            zmin=-limit,
            zmax=limit,
            colorscale=SIGNED,
            colorbar=UPRIGHT,
            hovertemplate="row %{y}, column %{x}: %{z:.3g}<extra></extra>",
        )
    )
    figure.update_xaxes(title=f"Column, of {columns}", showgrid=False, zeroline=False)
    figure.update_yaxes(title=f"Row, of {rows}", autorange="reversed", showgrid=False, zeroline=False)
    return finish(figure, height)


def of_layer(values: np.ndarray) -> go.Figure:
    """Relevance at the output of a layer as what it is: a table [rows, columns], or units."""
    return along(values) if values.ndim == 2 else units(values.ravel())


def conservation(balance: pd.DataFrame, height: int = 280) -> go.Figure:
    """What each layer handed on and what it absorbed, stacked: together they are what had arrived, the tick."""
    figure = go.Figure()
    parts = (("left", "handed on", ACCENT), ("bias", "absorbed by the bias", WARM), ("epsilon", "by epsilon", VIOLET))
    for column, text, color in parts:
        figure.add_trace(
            go.Bar(
                x=balance["layer"],
                y=balance[column],
                name=text,
                marker={"color": color, "line": {"width": 0}},
                hovertemplate=f"%{{x}}, {text}: %{{y:.4g}}<extra></extra>",
            )
        )
    wide = min(46, 420 // max(len(balance), 1))  # as a bar
    figure.add_trace(
        go.Scatter(
            x=balance["layer"],
            y=balance["arrived"],
            name="arrived",
            mode="markers",
            marker={
                "symbol": "line-ew-open",
                "size": wide,
                "color": NEUTRAL,
                "line": {"width": 2},
            },
            hovertemplate="%{x}, arrived: %{y:.4g}<extra></extra>",
        )
    )
    figure.update_layout(barmode="relative", bargap=0.45)
    figure.update_xaxes(title="Layer, output first", type="category", showgrid=False)
    figure.update_yaxes(title="Relevance", nticks=6, rangemode="tozero")
    return finish(figure, height)


SILENT = {"showscale": False, "hoverinfo": "skip", "xgap": 0.5, "ygap": 0.5}
"""For heat maps that show a picture: nothing to read off."""


UPRIGHT = {"thickness": 10, "len": 0.9, "outlinewidth": 0, "nticks": 5, "tickfont": {"size": 11}}
"""A colour scale beside a figure that has an axis below."""


def picture(layers: list[go.Heatmap], height: int) -> go.Figure:
    """Heat maps upon each other as one framed picture, its pixels square."""
    figure = go.Figure(layers)
    plain = {"showticklabels": False, "ticks": "", "showgrid": False, "zeroline": False, "constrain": "domain"}
    figure.update_xaxes(**plain)
    figure.update_yaxes(**plain, autorange="reversed", scaleanchor="x", constraintoward="top")
    rows, columns = np.shape(layers[0].z)
    figure.add_shape(
        type="rect", x0=-0.5, y0=-0.5, x1=columns - 0.5, y1=rows - 0.5, line={"color": rgba(NEUTRAL, 0.5), "width": 1}
    )
    figure = finish(figure, height)
    figure.update_layout(margin={"l": 4, "r": 4, "t": 4, "b": 4})
    return figure


def finish(figure: go.Figure, height: int, hovermode: str = "closest") -> go.Figure:
    """The look that all figures share."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 30, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1, "title": None},
        hovermode=hovermode,
        hoverlabel={"align": "left", "namelength": -1, "font": {"size": 12}},
        dragmode=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(fixedrange=True, automargin=True)
    figure.update_yaxes(fixedrange=True, automargin=True)
    return figure
