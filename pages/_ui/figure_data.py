"""The table behind a figure: what its traces draw, in the words of its axes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

_TAG = re.compile(r"<[^>]+>")


def table_of(figure: go.Figure) -> pd.DataFrame:
    """Every point that a figure draws, a row each, as lines, bars and heat maps hold them.

    Columns: trace (its name; left out where there is one alone), one for each axis, called as the axis is, and "low"
    and "high" where points have error bars or lie in a band. Cells of heat maps without a value are left out.

    >>> table_of(go.Figure([go.Bar(x=["a", "b"], y=[1.5, 2.0])])).to_csv(index=False).split()
    ['x,y', 'a,1.5', 'b,2.0']
    """
    bands = {trace.legendgroup: trace for trace in figure.data if _is_band(trace)}
    drawn = [trace for trace in figure.data if not (_is_band(trace) and _has_line(figure, trace))]
    tables = []
    for number, trace in enumerate(drawn, start=1):
        rows = _cells(figure, trace) if trace.type == "heatmap" else _points(figure, trace, bands)
        if len(drawn) > 1:
            rows.insert(0, "trace", trace.name or f"trace {number}")
        tables.append(rows)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def csv_of(table: pd.DataFrame) -> bytes:
    """A table as a CSV file that a spreadsheet reads rightly: UTF-8 with its mark, full precision."""
    return table.to_csv(index=False).encode("utf-8-sig")


def _points(figure: go.Figure, trace: Any, bands: dict[str | None, Any]) -> pd.DataFrame:
    """The points of a line or of bars, with their error bars or the band around them."""
    x, y = _plain(trace.x), _plain(trace.y)
    if x is None or y is None:  # plotly counts where an axis has no values
        x, y = (np.arange(len(given)) if one is None else one for one, given in ((x, y), (y, x)))
    names = _axis_names(figure, trace)
    rows = pd.DataFrame(dict(zip(names, (x, y), strict=True)))
    for error, name in zip((trace.error_x, trace.error_y), names, strict=True):
        if error.array is not None:
            below = error.array if error.arrayminus is None else error.arrayminus
            rows["low"] = rows[name] - np.asarray(below)
            rows["high"] = rows[name] + np.asarray(error.array)
    band = bands.get(trace.legendgroup) if trace.legendgroup and not _is_band(trace) else None
    if band is not None:
        around = _band(band)
        rows["low"], rows["high"] = (rows[names[0]].map(around[end]) for end in ("low", "high"))
    return rows.dropna(subset=list(names), how="all").reset_index(drop=True)


def _cells(figure: go.Figure, trace: Any) -> pd.DataFrame:
    """The cells of a heat map that have a value: row and column, counted from 0 unless its axes have names."""
    z = np.asarray(trace.z, dtype=float)
    across, down = (
        np.arange(n) if values is None else _plain(values)
        for n, values in zip((z.shape[1], z.shape[0]), (trace.x, trace.y), strict=True)
    )
    row, column = np.nonzero(~np.isnan(z))
    names = [said if said != plain else better for said, plain, better in zip(
        _axis_names(figure, trace), ("x", "y"), ("column", "row"), strict=True)]  # fmt: skip
    return pd.DataFrame({names[1]: down[row], names[0]: across[column], "value": z[row, column]})


def _is_band(trace: Any) -> bool:
    """Whether a trace is the ground around a line: a shape there and back over the same places."""
    return trace.type == "scatter" and trace.fill == "toself" and bool(trace.legendgroup)


def _has_line(figure: go.Figure, band: Any) -> bool:
    return any(one.legendgroup == band.legendgroup and not _is_band(one) for one in figure.data)


def _band(trace: Any) -> pd.DataFrame:
    """The two ends of a band by place: the way there is its upper end, the way back its lower one."""
    half = len(trace.x) // 2
    x, y = np.asarray(trace.x), np.asarray(trace.y)
    ends = pd.DataFrame({"low": y[half:][::-1], "high": y[:half]}, index=x[:half])
    return ends[~ends.index.duplicated()]


def _axis_names(figure: go.Figure, trace: Any) -> tuple[str, str]:
    """What the axes of a trace are called."""
    names = []
    for kind in ("x", "y"):
        axis = figure.layout[f"{kind}axis{(getattr(trace, f'{kind}axis') or kind)[1:]}"]
        names.append(_TAG.sub(" ", axis.title.text or "").strip() or kind)
    return (names[0], names[1]) if names[0] != names[1] else ("x", "y")


def _plain(values: Any) -> np.ndarray | None:
    """Values of an axis without the marks that break its labels."""
    if values is None:
        return None
    array = np.asarray(values, dtype=object if isinstance(values, tuple | list) else None)
    return pd.Series(array).map(lambda one: _TAG.sub(", ", one) if isinstance(one, str) else one).to_numpy()
