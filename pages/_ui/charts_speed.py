"""The figure of what was measured on this machine: a table in, a Plotly figure out."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from .charts import ACCENT, COOL, INK, NEUTRAL, finish

BARS = {
    "smaller": ("kept inputs alone", ACCENT),
    "smaller, picking": ("with picking them", COOL),
    "full": ("full network", NEUTRAL),
}
"""What is drawn of each network, and in which colour."""


def ratios(table: pd.DataFrame) -> go.Figure:
    """How many times as fast as the full network in float32; whiskers are the range over rounds, the line is 1."""
    shown = table[table["ratio"].notna()].copy()
    shown["where"] = [
        f"{runtime}{', int8' if precision == 'int8' else ''}<br>batch {batch:,}"
        for runtime, precision, batch in shown[["runtime", "precision", "batch"]].to_numpy()
    ]
    places = list(dict.fromkeys(shown["where"]))
    figure = go.Figure()
    for network, (name, color) in BARS.items():
        rows = shown[shown["network"] == network]
        if rows.empty:
            continue
        figure.add_trace(
            go.Bar(
                x=rows["ratio"],
                y=rows["where"],
                name=name,
                orientation="h",
                marker={"color": color, "line": {"width": 0}},
                error_x={
                    "array": (rows["ratio_high"] - rows["ratio"]).clip(lower=0),
                    "arrayminus": (rows["ratio"] - rows["ratio_low"]).clip(lower=0),
                    "color": INK,
                    "thickness": 1,
                    "width": 3,
                },
                hovertemplate="%{x:.2f} times as fast<extra>" + name + "</extra>",
            )
        )
    figure.add_vline(x=1, line={"color": INK, "dash": "dot", "width": 1.5})
    figure.update_layout(barmode="group", bargap=0.3, legend={"traceorder": "normal"})
    figure.update_xaxes(title="Times as fast as the full network", rangemode="tozero")
    figure.update_yaxes(categoryorder="array", categoryarray=places[::-1], showgrid=False)
    return finish(figure, 110 + 75 * len(places))
