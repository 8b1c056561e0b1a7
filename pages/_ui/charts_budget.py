"""Figures of a path to a budget. Tables in, a Plotly figure out."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from .charts import ACCENT, NEUTRAL, finish, rgba
from .formats import title


def path(
    networks: pd.DataFrame, rungs: pd.DataFrame, full: dict, *, marker: float, score: str, height: int = 350
) -> go.Figure:
    """The score against the MACs that are left: trained networks, those on the way, and the full one's line.

    `networks` and `rungs` have the columns macs and score; `marker` is the slider's place, in MACs.
    """
    figure = go.Figure()
    whole = full["macs"]
    figure.add_trace(
        go.Scatter(
            x=100 * rungs["macs"] / whole,
            y=100 * rungs["score"],
            name="on the way",
            mode="lines+markers",
            line={"color": rgba(NEUTRAL, 0.7), "dash": "dot", "width": 1.5},
            marker={"size": 4},
            hovertemplate="%{x:.3g} % of the MACs: %{y:.2f} %<extra>on the way</extra>",
        )
    )
    trained = pd.concat([pd.DataFrame([full]), networks])[["macs", "score", "inputs"]].sort_values("macs")
    figure.add_trace(
        go.Scatter(
            x=100 * trained["macs"] / whole,
            y=100 * trained["score"],
            customdata=trained["inputs"],
            name="trained to its end",
            mode="lines+markers",
            line={"color": ACCENT, "width": 2.5},
            marker={"size": 8},
            hovertemplate="%{x:.3g} % of the MACs, %{customdata:,} inputs: %{y:.2f} %<extra>trained</extra>",
        )
    )
    figure.add_hline(y=100 * full["score"], line={"color": rgba(NEUTRAL, 0.8), "dash": "dash", "width": 1})
    figure.add_vline(x=100 * marker / whole, line={"color": rgba(NEUTRAL, 0.9), "width": 1.5})
    shares = [s for s in (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1) if s >= 90 * float(rungs["macs"].min()) / whole]
    figure.update_xaxes(type="log", title="MACs left (% of the full network)", autorange="reversed", tickvals=shares)
    lowest, highest = 100 * float(trained["score"].min()), 100 * float(trained["score"].max())
    room = 0.15 * (highest - lowest) + 0.2
    figure.update_yaxes(title=f"{title(score)} (%)", range=[lowest - room, min(100.4, highest + room)])
    return finish(figure, height)
