"""The figures of removal over a test set: plain tables and arrays in, a Plotly figure out."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from .charts import ACCENT, COOL, INK, NEUTRAL, ROSE, VIOLET, WARM, finish, rgba
from .formats import PERCENT

OTHER_COLORS = (COOL, WARM, VIOLET, ROSE, "#65a30d", "#0891b2")
ORDERS = {"LeRF": ("least relevant first", "solid"), "MoRF": ("most relevant first", "dash")}
MEASURES = {"probability": ("Confidence", "Confidence in the first answer"), "accuracy": ("Accuracy", "Accuracy")}
"""What a curve can follow: a short name, and what it is."""


def perturbation(
    points: pd.DataFrame, column: str, *, chosen: str, marker: float | None = None, height: int = 400
) -> go.Figure:
    """Two curves for each criterion, least and most relevant first; the chosen one bold, with its 95 % bands.

    It lies beneath the others, so that one which it is equal to still shows.

    `points` has criterion, order, share and `column` with its ..._low and ..._high; `marker` is a share.
    """
    figure = go.Figure()
    names = list(dict.fromkeys(points["criterion"]))
    for name in sorted(names, key=lambda n: n != chosen):
        color = color_of(name, chosen, names)
        for order, (direction, dash) in ORDERS.items():
            rows = points[(points["criterion"] == name) & (points["order"] == order)]
            x = 100 * rows["share"]
            if name == chosen:
                figure.add_trace(
                    go.Scatter(
                        x=pd.concat([x, x[::-1]]),
                        y=100 * pd.concat([rows[f"{column}_high"], rows[f"{column}_low"][::-1]]).clip(0, 1),
                        fill="toself",
                        mode="lines",
                        fillcolor=rgba(color, 0.18),
                        line={"width": 0},
                        hoverinfo="skip",
                        showlegend=False,
                        legendgroup=name,
                    )
                )
            figure.add_trace(
                go.Scatter(
                    x=x,
                    y=100 * rows[column],
                    name=name,
                    legendgroup=name,
                    showlegend=order == "LeRF",
                    mode="lines",
                    line={"color": color, "width": 6 if name == chosen else 2, "dash": dash},
                    customdata=100 * rows[[f"{column}_low", f"{column}_high"]].clip(0, 1).to_numpy(),
                    hovertemplate=f"{name}<br>{direction}<br>%{{y:.1f}}{PERCENT} (95{PERCENT}: "
                    "%{customdata[0]:.1f} to %{customdata[1]:.1f})<extra></extra>",
                )
            )
    if marker is not None:
        figure.add_vline(100 * marker, line={"width": 2, "color": rgba(ACCENT, 0.6)})
    figure.update_xaxes(title="Pixels removed (%)", range=[-1, 101], dtick=20, zeroline=False)
    figure.update_yaxes(title=f"{MEASURES[column][1]} (%)", range=[-2, 102], zeroline=False)
    return finish(figure, height)


def areas(table: pd.DataFrame, *, chosen: str, height: int | None = None) -> go.Figure:
    """Area between the two curves of each criterion with its 95 % interval, the largest on top."""
    names = list(table["criterion"])
    figure = go.Figure(
        go.Bar(
            x=table["area_between"],
            y=names,
            orientation="h",
            marker={"color": [color_of(name, chosen, names) for name in names], "line": {"width": 0}},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": table["area_between_high"] - table["area_between"],
                "arrayminus": table["area_between"] - table["area_between_low"],
                "thickness": 1.5,
                "width": 4,
                "color": INK,
            },
            customdata=table[["area_between_low", "area_between_high"]],
            hovertemplate=f"%{{y}}: %{{x:.3f}} (95{PERCENT}: %{{customdata[0]:.3f}} to %{{customdata[1]:.3f}})"
            "<extra></extra>",
        )
    )
    low = min(0.0, float(table["area_between_low"].min()))
    figure.update_layout(bargap=0.4)
    figure.update_xaxes(title="Area between the curves", range=[1.1 * low, 1], zeroline=True, zerolinecolor=NEUTRAL)
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    return finish(figure, height or 90 + 36 * len(names))


def color_of(name: str, chosen: str, names: list[str]) -> str:
    """The colour of a criterion: the chosen one has the accent, the others one each."""
    if name == chosen:
        return ACCENT
    if name == "random":
        return NEUTRAL
    others = sorted(n for n in names if n not in (chosen, "random"))
    return OTHER_COLORS[others.index(name) % len(OTHER_COLORS)]
