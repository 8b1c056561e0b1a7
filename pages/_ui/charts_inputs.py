"""Figures of inputs that are no images: columns of a table, and series. Plain tables in, a Plotly figure out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .charts import ACCENT, COOL, NEUTRAL, ROSE, VIOLET, WARM, finish, rgba

MOST = 40
"""As many bars as can be read."""

LONGEST = 26
"""Characters of a name that leave room for its bar; the whole name shows under the pointer."""

FEW = 4
"""Channels whose names stand beside each other below a figure; of more there are the numbers alone."""

LINES = (COOL, WARM, ROSE, VIOLET, NEUTRAL)


def ranked(table: pd.DataFrame) -> go.Figure:
    """The first inputs, or groups, of a ranking as bars; `table` has name, score, standard_error and kept, in order.

    Where there is a cost, it stands behind the name.
    """
    top = table.head(MOST)
    errors = top["standard_error"].fillna(0)
    costs = [f"{cost:,.6g}" for cost in top["cost"]] if "cost" in top else [""] * len(top)
    figure = go.Figure(
        go.Bar(
            x=top["score"],
            y=list(range(len(top))),
            orientation="h",
            error_x={"array": 2 * errors, "thickness": 1, "width": 0, "color": rgba(NEUTRAL, 0.8)}
            if errors.any()
            else None,
            marker={"color": [ACCENT if kept else rgba(NEUTRAL, 0.45) for kept in top["kept"]]},
            customdata=[
                (name, place, cost and f", cost {cost}")
                for name, place, cost in zip(top["name"], top["place"], costs, strict=True)
            ],
            hovertemplate="%{customdata[0]}: place %{customdata[1]}, score %{x:.3g}%{customdata[2]}<extra></extra>",
        )
    )
    figure.update_xaxes(title="Score", zeroline=False, nticks=5, exponentformat="power")
    return _named(figure, top["name"], costs)


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
            y=list(range(len(top))),
            orientation="h",
            marker={"color": ["#e11d48" if value >= 0 else "#2563eb" for value in top["value"]]},
            customdata=top[["name", "held"]],
            hovertemplate="%{customdata[0]}%{customdata[1]}: relevance %{x:.3g}<extra></extra>",
        )
    )
    figure.update_xaxes(title="Relevance", nticks=5)
    return _named(figure, top["name"], [""] * len(top))


def _named(figure: go.Figure, names: Sequence[str], more: Sequence[str]) -> go.Figure:
    """Bars with a name beside each, without its middle where it is long, and what stands behind it."""
    half = LONGEST // 2
    short = [n if len(n) <= LONGEST else f"{n[: half - 1]}\N{HORIZONTAL ELLIPSIS}{n[-half:]}" for n in names]
    texts = [f"{name} \N{MIDDLE DOT} {text}" if text else name for name, text in zip(short, more, strict=True)]
    figure.update_yaxes(
        autorange="reversed", showgrid=False, zeroline=False, tickvals=list(range(len(texts))), ticktext=texts
    )
    return finish(figure, max(200, 60 + 19 * len(texts)))


def series(means: dict[str, list[list[float]]], table: pd.DataFrame) -> go.Figure:
    """The mean series of each class, channel beside channel, and strips over the values that stay."""
    figure = go.Figure()
    values = [value for channels in means.values() for channel in channels for value in channel]
    room = 0.08 * ((max(values) - min(values)) or 1.0)
    floor, ceiling = min(values) - room, max(values) + room
    kept = table[table["kept"]].explode("inputs").sort_values("inputs")
    length = len(next(iter(means.values()))[0])
    x, y = _strips(kept["inputs"].astype(int).tolist(), length, floor, ceiling)
    figure.add_trace(
        go.Scatter(
            x=x, y=y, fill="toself", mode="lines", line={"width": 0}, fillcolor=rgba(ACCENT, 0.2), hoverinfo="skip",
            name="stays", legendrank=2000,
        )
    )  # fmt: skip
    for i, (name, channels) in enumerate(means.items()):
        line = {"color": LINES[i % len(LINES)], "width": 1.5}
        for channel, mean in enumerate(channels):
            start = channel * length
            where = f"channel {channel}, " if len(channels) > 1 else ""
            figure.add_trace(
                go.Scatter(
                    x=list(range(start, start + len(mean))),
                    y=mean,
                    customdata=list(range(len(mean))),
                    name=name,
                    legendgroup=name,
                    showlegend=channel == 0,
                    mode="lines",
                    line=line,
                    hovertemplate=f"{name}, {where}value %{{customdata}}: %{{y:.3g}}<extra></extra>",
                )
            )
    figure.add_trace(
        go.Scatter(
            x=kept["inputs"],
            y=[floor] * len(kept),
            mode="markers",
            marker={"symbol": "square", "size": 6, "color": ACCENT},
            customdata=kept[["name", "place"]],
            hovertemplate="%{customdata[0]}: place %{customdata[1]}<extra></extra>",
            showlegend=False,
        )
    )
    _channels(figure, len(next(iter(means.values()))), length)
    figure.update_yaxes(title="Mean", zeroline=False, range=[floor - room / 2, ceiling])
    return finish(figure, 330)


def _strips(kept: list[int], length: int, floor: float, ceiling: float) -> tuple[list, list]:
    """The outlines of the strips over runs of inputs that stay; none reaches into the next channel."""
    x: list = []
    y: list = []
    start, stay = None, set(kept)
    for here in kept:
        start = here if start is None else start
        if here + 1 not in stay or (here + 1) % length == 0:
            x += [start - 0.5, start - 0.5, here + 0.5, here + 0.5, None]
            y += [floor, ceiling, ceiling, floor, None]
            start = None
    return x, y


def _channels(figure: go.Figure, n_channels: int, length: int) -> None:
    """Lines between the channels, and on the axis where in its channel a value is."""
    if n_channels == 1:
        figure.update_xaxes(title="Value", zeroline=False, showgrid=False)
        return
    for channel in range(1, n_channels):
        figure.add_vline(channel * length - 0.5, line={"width": 1, "dash": "dot", "color": rgba(NEUTRAL, 0.8)})
    middles = [channel * length + (length - 1) / 2 for channel in range(n_channels)]
    figure.update_xaxes(
        title=f"Channels, each of {length} values", zeroline=False, showgrid=False, tickvals=middles,
        ticktext=[f"channel {i}" if n_channels <= FEW else str(i) for i in range(n_channels)],
    )  # fmt: skip
