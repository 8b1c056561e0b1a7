"""Figures that compare methods: accuracy and cost against the share removed. Tables in, a Plotly figure out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .charts import ACCENT, COOL, INK, NEUTRAL, ROSE, VIOLET, WARM, finish, rgba
from .formats import PERCENT, percent, title

CONTROL_COLORS = {"random": NEUTRAL, "variance": WARM}
"""The two controls that every study has by default; other criteria share the other colours."""
OTHER_COLORS = (
    ACCENT, COOL, VIOLET, ROSE, "#65a30d", "#c026d3", "#0891b2", "#ea580c", "#4f46e5", "#a16207", "#15803d", "#db2777",
)  # fmt: skip
DASHES = {"one-shot": "solid", "elimination": "dash", "stability": "dashdot", "exchange": "dot"}
OTHER_DASHES = ("longdash", "longdashdot", "2px,6px")
"""Of strategies of a person's own."""
MOST_BANDS = 6
SYMBOLS = ("circle", "diamond", "square")
"""Of the points: criteria beyond the colours start over with another one."""


@dataclass(frozen=True)
class Style:
    """How a method is drawn: the criterion's colour and symbol, the strategy's dash."""

    color: str
    dash: str
    symbol: str


def style_of(method: str, methods: Sequence[str]) -> Style:
    """The style of a method, the same in all charts of a study that has these `methods`.

    It goes by names alone: criteria and strategies of a person's own get what is left of the colours and dashes.
    """
    criterion, _, strategy = method.partition(", ")
    pairs = [name.partition(", ")[::2] for name in (*methods, method)]
    own = list(dict.fromkeys(name for _, name in pairs if name and name not in DASHES))
    dash = DASHES.get(strategy or "one-shot") or OTHER_DASHES[own.index(strategy) % len(OTHER_DASHES)]
    if criterion in CONTROL_COLORS:
        return Style(CONTROL_COLORS[criterion], dash, SYMBOLS[0])
    place = list(dict.fromkeys(name for name, _ in pairs if name not in CONTROL_COLORS)).index(criterion)
    turn, color = divmod(place, len(OTHER_COLORS))
    return Style(OTHER_COLORS[color], dash, SYMBOLS[turn % len(SYMBOLS)])


def score_curves(
    curves: Mapping[str, pd.DataFrame],
    methods: Sequence[str],
    *,
    chosen: str | None = None,
    marker: float | None = None,
    recommended: pd.Series | None = None,
    height: int = 380,
    score: str = "accuracy",
    counted: str = "inputs",
) -> go.Figure:
    """The score against share removed: a line and a 95 % band for each method, the baseline, the slider's place.

    Beyond `MOST_BANDS` methods only the chosen one has its band, for the others would hide each other.
    `curves` maps methods to tables with removed, score, low, high, keep and method; `methods` are all that the
    study has, drawn or not. `marker` is a share, `recommended` a row of the chosen method's table. `score` is what is
    measured, `counted` what is removed.
    """
    figure = go.Figure()
    for name in sorted(curves, key=lambda n: n == chosen):
        has_band = name == chosen or len(curves) <= MOST_BANDS
        _add_curve(
            figure, name, curves[name], style_of(name, methods), is_chosen=name == chosen, has_band=has_band,
            counted=counted, least=least_of(score),
        )  # fmt: skip
    baseline = next((t[t["method"] == "none"] for t in curves.values() if (t["method"] == "none").any()), None)
    if baseline is not None:
        level = float(baseline["score"].iloc[0])
        figure.add_hline(100 * level, line={"dash": "dot", "width": 1.5, "color": NEUTRAL})
        figure.add_annotation(
            x=1, xref="paper", xanchor="right", y=100 * level, yanchor="bottom", showarrow=False,
            text=f"all {counted}: {percent(level)}", font={"size": 12, "color": NEUTRAL},
        )  # fmt: skip
    if marker is not None:
        figure.add_vline(100 * marker, line={"width": 2, "color": rgba(ACCENT, 0.6)})
    if recommended is not None:
        _add_recommendation(figure, recommended)
    figure.update_xaxes(title=f"{title(counted)} removed (%)", range=[-1, 100], dtick=10, zeroline=False)
    figure.update_yaxes(title=f"{title(score)} (%)", range=_score_range(curves, score), zeroline=False)
    return finish(figure, height + _legend_height(len(curves)))


def least_of(score: str) -> float:
    """The least that a score can be: an accuracy has a floor, an R² has none."""
    return 0.0 if score == "accuracy" else -math.inf


def _score_range(curves: Mapping[str, pd.DataFrame], score: str) -> list[float]:
    """The axis of a score, in per cent: every measured point is on it, with room for a ring around it."""
    lowest = min((float(t["score"].min()) for t in curves.values() if len(t)), default=0.0)
    room = max(6.0, 5 * (1 - lowest))
    return [max(100 * least_of(score), 100 * lowest - room), 100 + room / 2]


def _legend_height(entries: int) -> int:
    """Pixels that a legend takes beyond its first rows: three names fit beside each other."""
    return max(0, math.ceil(entries / 3) - 2) * 25


def _add_curve(
    figure: go.Figure,
    name: str,
    table: pd.DataFrame,
    style: Style,
    *,
    is_chosen: bool,
    has_band: bool,
    counted: str,
    least: float,
) -> None:
    x = 100 * table["removed"]
    band = table.dropna(subset=["low", "high"])
    if has_band and len(band) > 1:
        around = pd.concat([band["high"], band["low"][::-1]]).clip(least, 1)
        figure.add_trace(
            go.Scatter(
                x=100 * pd.concat([band["removed"], band["removed"][::-1]]),
                y=100 * around,
                fill="toself",
                mode="lines",
                fillcolor=rgba(style.color, 0.18 if is_chosen else 0.1),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                legendgroup=name,
            )
        )
    intervals = [
        "" if math.isnan(low) else f" (95{PERCENT}: {100 * max(low, least):.1f} to {100 * min(high, 1):.1f})"
        for low, high in zip(table["low"], table["high"], strict=True)
    ]
    figure.add_trace(
        go.Scatter(
            x=x,
            y=100 * table["score"],
            name=name,
            legendgroup=name,
            mode="lines+markers",
            line={"color": style.color, "dash": style.dash, "width": 3 if is_chosen else 2},
            marker={"size": 7 if is_chosen else 5, "symbol": style.symbol},
            customdata=np.column_stack([table["keep"], intervals]) if len(table) else None,
            hovertemplate=f"{name}<br>%{{customdata[0]}} {counted} kept, %{{x:.0f}}{PERCENT} removed<br>"
            f"%{{y:.1f}}{PERCENT}%{{customdata[1]}}<extra></extra>",
        )
    )


def _add_recommendation(figure: go.Figure, row: pd.Series) -> None:
    """A ring around the recommended point, with its name above it."""
    x, y = 100 * float(row["removed"]), 100 * float(row["score"])
    figure.add_trace(
        go.Scatter(
            x=[x],
            y=[y],
            mode="markers",
            marker={"symbol": "circle-open", "size": 17, "color": INK, "line": {"width": 2.5}},
            hoverinfo="skip",
            showlegend=False,
            name="recommended",
        )
    )
    figure.add_annotation(
        x=x, y=y, text="recommended", showarrow=True, arrowcolor=INK, arrowwidth=1, ax=-14, ay=44,
        xanchor="right",
        font={"size": 12, "color": INK},
    )  # fmt: skip


COSTS = {
    "macs": ("MACs", ACCENT),
    "parameters": ("parameters", COOL),
    "bytes": ("weights (bytes)", VIOLET),
    "input_bytes": ("one {image} (bytes)", WARM),
    "input_cost": ("cost of inputs", ROSE),
}


_FORMATS = {"input_cost": ",.6~g"}
"""How a cost is written, if not as a whole number: a person may have given a fraction."""


def cost_name(column: str, image: str) -> str:
    """What a cost is called; an `image` is what the network takes at once."""
    return COSTS[column][0].format(image=image)


def costs_of(tables: Iterable[pd.DataFrame]) -> list[str]:
    """The costs that are known of a study; inputs have one only where a person gave it."""
    return [name for name in COSTS if any(name in table and table[name].notna().any() for table in tables)]


def cost_curves(
    table: pd.DataFrame,
    *,
    marker: float | None = None,
    height: int = 340,
    counted: str = "inputs",
    image: str = "image",
) -> go.Figure:
    """Each cost as a share of the full network's (the row with nothing removed), against the share removed.

    `counted` is what is removed, an `image` what the network takes at once.
    """
    figure = go.Figure()
    table = table.sort_values("removed")
    # Weights are four bytes a parameter, so these two lie on one line: the wider one stays visible beneath.
    widths = {"parameters": 2, "bytes": 6}
    for column in sorted(costs_of([table]), key=lambda name: -widths.get(name, 3)):
        color = COSTS[column][1]
        figure.add_trace(
            go.Scatter(
                x=100 * table["removed"],
                y=100 * table[column] / table[column].iloc[0],
                name=cost_name(column, image),
                mode="lines+markers",
                line={"color": rgba(color, 0.45) if column == "bytes" else color, "width": widths.get(column, 3)},
                marker={"size": 5},
                customdata=table[column],
                hovertemplate=f"%{{y:.1f}}{PERCENT} (%{{customdata:{_FORMATS.get(column, ',.0f')}}})",
            )
        )
    if marker is not None:
        figure.add_vline(100 * marker, line={"width": 2, "color": rgba(ACCENT, 0.6)})
    figure.update_xaxes(title=f"{title(counted)} removed (%)", range=[-1, 100], dtick=10, zeroline=False)
    figure.update_yaxes(title="Of the full network (%)", rangemode="tozero", zeroline=False)
    return finish(figure, height, hovermode="x unified")


def score_by_cost(
    curves: Mapping[str, pd.DataFrame],
    methods: Sequence[str],
    column: str,
    *,
    chosen: str | None = None,
    score: str = "accuracy",
    counted: str = "inputs",
    image: str = "image",
) -> go.Figure:
    """The score against one cost: what a budget buys, for each of `curves`; `methods` are all that the study has.

    `counted` is what is kept, an `image` what the network takes at once.
    """
    figure = go.Figure()
    for name in sorted(curves, key=lambda n: n == chosen):
        table = curves[name].sort_values(column)
        style = style_of(name, methods)
        figure.add_trace(
            go.Scatter(
                x=table[column],
                y=100 * table["score"],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": 100 * (table["high"] - table["score"]).fillna(0),
                    "arrayminus": 100 * (table["score"] - table["low"]).fillna(0),
                    "thickness": 1,
                    "width": 3,
                    "color": rgba(style.color, 0.6),
                },
                name=name,
                mode="lines+markers",
                line={"color": style.color, "dash": style.dash, "width": 3 if name == chosen else 2},
                marker={"symbol": style.symbol},
                customdata=table["keep"],
                hovertemplate=f"%{{y:.1f}}{PERCENT} at %{{x:{_FORMATS.get(column, ',.0f')}}}, "
                f"%{{customdata}} {counted} kept",
            )
        )
    name = title(cost_name(column, image))
    figure.update_xaxes(
        title=f"{name} for one {image}" if column == "macs" else name, rangemode="tozero", tickformat="~s"
    )
    figure.update_yaxes(title=f"{title(score)} (%)", range=_score_range(curves, score), zeroline=False)
    return finish(figure, 340 + _legend_height(len(curves)))
