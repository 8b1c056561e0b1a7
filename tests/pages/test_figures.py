"""What saves a figure: the table behind it, and what its files are called."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from lrp_core.study.ledger import Ledger
from pages._ui import charts, charts_budget, charts_methods, charts_speed, figures
from pages._ui.figure_data import csv_of, table_of

from .test_charts import METHODS, curve


def read(table: pd.DataFrame) -> pd.DataFrame:
    """A table on its way through the file."""
    return pd.read_csv(io.BytesIO(csv_of(table)))


def test_the_csv_of_curves_is_the_table_that_they_were_drawn_from():
    curves = {name: curve(name) for name in METHODS}
    rows = read(table_of(charts_methods.score_curves(curves, METHODS, chosen=METHODS[0], marker=0.5)))
    assert list(rows) == ["trace", "Inputs removed (%)", "Accuracy (%)", "low", "high"]
    for name, drawn in curves.items():
        own = rows[rows["trace"] == name]
        assert np.allclose(own["Inputs removed (%)"], 100 * drawn["removed"])
        for column, values in (("Accuracy (%)", "score"), ("low", "low"), ("high", "high")):
            assert np.allclose(own[column], 100 * drawn[values], rtol=1e-12), column


def test_a_curve_without_a_band_has_no_ends():
    [method] = METHODS[:1]
    rows = table_of(charts_methods.score_curves({method: curve(method, seeds=1)}, METHODS))
    assert list(rows) == ["Inputs removed (%)", "Accuracy (%)"]
    assert len(rows) == 3


def test_the_recommended_point_is_a_row_of_its_own():
    table = curve(METHODS[0])
    rows = table_of(charts_methods.score_curves({METHODS[0]: table}, METHODS, recommended=table.iloc[1]))
    assert rows[rows["trace"] == "recommended"]["Accuracy (%)"].tolist() == [94.0]


def test_error_bars_become_their_ends():
    figure = charts_methods.score_by_cost({"random": curve("random")}, METHODS, "macs")
    rows = read(table_of(figure))
    assert np.allclose(rows["Accuracy (%)"] - rows["low"], 1.0)
    assert np.allclose(rows["high"] - rows["Accuracy (%)"], 1.0)
    assert rows["MACs for one image"].tolist() == [200, 600, 1000]


def test_bars_across_keep_their_names_and_ends():
    measured = pd.DataFrame(
        [("full", "torch", "float32", 1, 1.0, 1.0, 1.0), ("smaller", "torch", "float32", 1, 2.0, 1.5, 2.25)],
        columns=["network", "runtime", "precision", "batch", "ratio", "ratio_low", "ratio_high"],
    )
    rows = read(table_of(charts_speed.ratios(measured)))
    assert set(rows["y"]) == {"torch, batch 1"}, "the break of the label is none of the file's"
    small = rows[rows["trace"] == "kept inputs alone"].iloc[0]
    assert small[["Times as fast as the full network", "low", "high"]].tolist() == [2.0, 1.5, 2.25]


def test_a_heat_map_is_its_cells():
    z = np.array([[0.25, np.nan], [-1.5, 3.0], [0.0, 1e-9]])
    rows = read(table_of(charts.picture([go.Heatmap(z=z)], 100)))
    assert list(rows) == ["row", "column", "value"]
    assert rows.to_numpy().tolist() == [[0, 0, 0.25], [1, 0, -1.5], [1, 1, 3.0], [2, 0, 0.0], [2, 1, 1e-9]]


def test_a_heat_map_with_names_has_them():
    figure = go.Figure(go.Heatmap(z=[[1, 2], [3, 4]], x=["a", "b"], y=["up", "down"]))
    figure.update_xaxes(title="Said")
    figure.update_yaxes(title="True")
    assert table_of(figure).to_csv(index=False).split() == [
        *("True,Said,value", "up,a,1.0", "up,b,2.0", "down,a,3.0", "down,b,4.0"),
    ]


def test_two_pictures_upon_each_other_are_told_apart():
    kept = np.eye(3, dtype=bool)
    rows = table_of(charts.mask(kept, np.ones((3, 3))))
    assert rows.groupby("trace").size().to_dict() == {"trace 1": 6, "trace 2": 3}


def test_each_plot_of_several_uses_the_names_of_its_own_axes():
    figure = make_subplots(1, 2)
    figure.add_trace(go.Scatter(x=[1], y=[2], name="left"), 1, 1)
    figure.add_trace(go.Scatter(x=[3], y=[4], name="right"), 1, 2)
    figure.update_xaxes(title="Depth", col=2)
    rows = table_of(figure)
    assert rows[rows["trace"] == "right"][["Depth", "y"]].to_numpy().tolist() == [[3, 4]]
    assert rows[rows["trace"] == "left"][["x", "y"]].to_numpy().tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "trace",
    [go.Scatter(y=[5, 6, 7]), go.Bar(x=[5, 6, 7], orientation="h"), go.Scatter(x=[1, None, 2], y=[3, None, 4])],
)
def test_what_plotly_counts_is_counted_and_gaps_are_no_rows(trace):
    rows = table_of(go.Figure(trace))
    expected = {3: [[0, 5], [1, 6], [2, 7]], 2: [[1, 3], [2, 4]]}[len(rows)]
    assert sorted(map(sorted, rows.to_numpy(dtype=float).tolist())) == expected


def test_a_shape_without_a_line_stays():
    figure = go.Figure(go.Scatter(x=[0, 1, 1], y=[0, 0, 1], fill="toself", legendgroup="alone"))
    assert len(table_of(figure)) == 3


def test_nothing_drawn_is_an_empty_table():
    assert table_of(go.Figure()).empty


def test_a_path_holds_both_of_its_lines():
    networks = pd.DataFrame({"macs": [50, 10], "score": [0.9, 0.8], "inputs": [30, 5]})
    rungs = pd.DataFrame({"macs": [100, 50, 10], "score": [0.9, 0.85, 0.5]})
    full = {"macs": 100, "score": 0.95, "inputs": 60}
    rows = table_of(charts_budget.path(networks, rungs, full, marker=20, score="accuracy"))
    trained = rows[rows["trace"] == "trained to its end"]
    assert trained["Accuracy (%)"].tolist() == [80, 90, 95]
    assert len(rows) == 6


HOSTILE = "a/b\\c:<d>&\"'\n../é"


@pytest.mark.parametrize("name", [HOSTILE, "x" * 300, "...", "CON", "-- --"])
def test_a_files_name_holds_letters_digits_and_dashes_alone(name):
    stem = figures._plain(name)
    assert all(c.isalnum() or c in "-_" for c in stem)
    assert len(stem) <= 60
    assert not stem.startswith("-")


def test_files_are_called_by_study_and_figure(small, monkeypatch):
    monkeypatch.setattr(figures.st, "session_state", {"study": small.study.key})
    assert figures.file_stem("curve") == "mnist-softmax-curve"
    monkeypatch.setattr(figures.st, "session_state", {"study": "gone"})
    assert figures.file_stem("curve") == "curve"
    assert Ledger(small.ledger.folder).run("gone") is None


def test_every_figure_of_these_pages_can_be_saved(small):
    from streamlit.testing.v1 import AppTest

    app: AppTest = small.open("Savings")
    assert not app.exception
    saved = [one for one in app.get("popover") if one.proto.popover.label == "Save"]
    assert len(saved) == len(app.get("plotly_chart")) == 2
    assert [button.label for button in app.get("download_button")] == ["CSV", "CSV"]
