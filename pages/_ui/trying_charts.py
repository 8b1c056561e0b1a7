"""Figures of what the small network changes on the test set: plain tables and arrays in, a Plotly figure out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .charts import ACCENT, COOL, INK, NEUTRAL, ROSE, WARM, finish, ramp, rgba

NUMBERED = 12
"""Classes up to which the numbers of a matrix can be read in its cells."""


def confusion(counts: np.ndarray, classes: tuple[str, ...], ink: str = INK) -> go.Figure:
    """How many rows of each true class a network says each class of; errors in colour, right answers in grey.

    `ink` is the colour of the numbers, which have to be read on cells of any depth.
    """
    right = np.eye(len(counts), dtype=bool)
    n = counts.sum(1, keepdims=True)
    share = counts / np.maximum(n, 1)
    errors, hits = np.where(right, np.nan, share), np.where(right, share, np.nan)
    limit = max(float(np.nanmax(errors, initial=0)), 0.02)
    layers = [
        _cells(hits, counts, ramp(NEUTRAL, 0.1, 0.45), 0, 1),
        _cells(errors, counts, ramp(WARM, 0, 0.65), 0, limit),
    ]
    return _matrix(layers, counts, classes, ink)


def change(difference: np.ndarray, classes: tuple[str, ...], ink: str = INK) -> go.Figure:
    """How many more rows, or fewer, the small network says each class of; what grew to the worse is red."""
    limit = max(float(np.abs(difference).max()), 1.0)
    worse = np.where(np.eye(len(difference), dtype=bool), -difference, difference)
    scale = [[0.0, rgba(COOL, 0.6)], [0.5, "rgba(128,140,150,0)"], [1.0, rgba(ROSE, 0.6)]]
    return _matrix([_cells(worse, difference, scale, -limit, limit, sign="+")], difference, classes, ink, sign="+")


def _cells(values: np.ndarray, counts: np.ndarray, scale: list, low: float, high: float, sign: str = "") -> go.Heatmap:
    return go.Heatmap(
        z=values, zmin=low, zmax=high, colorscale=scale, showscale=False, xgap=1, ygap=1, hoverongaps=False,
        customdata=np.array([[format(int(c), f"{sign},") for c in row] for row in counts]),
        hovertemplate="true %{y}, said %{x}: %{customdata}<extra></extra>",
    )  # fmt: skip


def _matrix(
    layers: list[go.Heatmap], counts: np.ndarray, classes: tuple[str, ...], ink: str, sign: str = ""
) -> go.Figure:
    figure = go.Figure(layers)
    if len(classes) <= NUMBERED:
        # A heat map would colour its numbers by its own scale, as if no page showed through.
        rows, columns = np.nonzero(counts)
        text = [format(int(count), f"{sign},") for count in counts[rows, columns]]
        figure.add_trace(
            go.Scatter(x=columns, y=rows, text=text, mode="text", textfont={"size": 10, "color": ink}, hoverinfo="skip")
        )
    names = [name if len(name) <= 12 else name[:11] + "\N{HORIZONTAL ELLIPSIS}" for name in classes]
    ticks = {"tickvals": list(range(len(names))), "ticktext": names, "showgrid": False, "zeroline": False}
    if len(names) > NUMBERED:
        ticks |= {"tickvals": list(range(0, len(names), max(1, len(names) // 10)))}
        ticks |= {"ticktext": [names[i] for i in ticks["tickvals"]]}
    figure.update_xaxes(title="said", **ticks)
    figure.update_yaxes(title="true", autorange="reversed", **ticks)
    figure = finish(figure, 380)
    figure.update_layout(margin={"t": 8}, showlegend=False)
    return figure


def class_changes(table: pd.DataFrame) -> go.Figure:
    """By class, the rows that break (to the left) and heal (to the right), and a tick at the change that is left."""
    names = table["class"].tolist()
    figure = go.Figure()
    for column, sign, text, colour in (("breaks", -1, "break", ROSE), ("heals", 1, "heal", COOL)):
        figure.add_trace(
            go.Bar(
                y=names, x=sign * table[column], orientation="h", name=text, marker={"color": colour},
                text=table[column].where(table[column] > 0), textposition="outside", cliponaxis=False,
                customdata=table[["rows", column]], hovertemplate="%{y}: %{customdata[1]} of %{customdata[0]} " + text
                + "<extra></extra>",
            )
        )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            y=names, x=table["change"], mode="markers", name="change", customdata=table[["full", "small"]],
            marker={"symbol": "diamond", "size": 9, "color": ACCENT, "line": {"width": 1.5, "color": "white"}},
            hovertemplate="%{y}: %{x:+d}, from %{customdata[0]} right to %{customdata[1]}<extra></extra>",
        )
    )  # fmt: skip
    most = int(max(table["breaks"].max(), table["heals"].max(), 1))
    figure.update_layout(barmode="relative", bargap=0.35)
    figure.update_xaxes(title="test rows", range=[-1.25 * most, 1.25 * most], zeroline=True)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return finish(figure, max(220, 90 + 24 * len(names)))


def numbers(labels: np.ndarray, full: np.ndarray, small: np.ndarray, name: str) -> go.Figure:
    """The number that each network predicts against the true one; on the line it is right."""
    ends = [float(min(labels.min(), full.min(), small.min())), float(max(labels.max(), full.max(), small.max()))]
    figure = go.Figure(
        go.Scatter(x=ends, y=ends, mode="lines", line={"color": NEUTRAL, "dash": "dot"}, hoverinfo="skip", name="right")
    )
    for values, text, colour, symbol in ((full, "full network", COOL, "circle"), (small, "small network", WARM, "x")):
        figure.add_trace(
            go.Scattergl(
                x=labels, y=values, mode="markers", name=text,
                marker={"color": rgba(colour, 0.65), "size": 7, "symbol": symbol},
                hovertemplate="true %{x:.4g}, said %{y:.4g}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(title=f"{name}, true")
    figure.update_yaxes(title="said")
    return finish(figure, 420)
