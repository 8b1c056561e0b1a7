"""Charts: what they draw, from plain tables."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

from lrp_core.ranking import CRITERIA, STRATEGIES, combine
from pages._ui import charts, charts_inputs, charts_methods, formats
from pages._ui.registry import ENTRIES, FOLDER, file_of

METHODS = ("lrp-0", "random")


def curve(method: str, *, seeds: int = 3) -> pd.DataFrame:
    spread = 0.01 if seeds > 1 else np.nan
    accuracy = np.array([0.95, 0.94, 0.70])
    return pd.DataFrame(
        {
            "method": ["none", method, method],
            "removed": [0.0, 0.5, 0.9],
            "keep": [784, 392, 78],
            "score": accuracy,
            "low": accuracy - spread,
            "high": accuracy + spread,
            "macs": [1000, 600, 200],
            "parameters": [1000, 600, 200],
            "bytes": [4000, 2400, 800],
            "input_bytes": [3136, 1568, 312],
        }
    )


def test_a_curve_has_its_line_its_band_and_the_slider():
    curves = {"lrp-0": curve("lrp-0"), "random": curve("random")}
    figure = charts_methods.score_curves(curves, METHODS, chosen="lrp-0", marker=0.8)
    lines = {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}
    assert list(lines) == ["random", "lrp-0"]  # the chosen one is drawn last, on top
    assert lines["lrp-0"].line.width > lines["random"].line.width
    assert list(lines["lrp-0"].y) == pytest.approx([95, 94, 70])
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(bands) == 2
    assert max(bands[0].y) == pytest.approx(96)
    assert min(bands[0].y) == pytest.approx(69)
    assert [shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1] == [80]
    assert "95.0\u00a0%" in figure.layout.annotations[0].text


def test_what_can_be_below_zero_is_on_the_chart():
    """An R² has no floor: its points, its band and what the pointer shows are not cut at zero."""
    table = curve("lrp-0").assign(score=[0.9, 0.2, -0.7], low=[0.8, -0.1, -1.2], high=[1.0, 0.5, -0.2])
    figure = charts_methods.score_curves({"lrp-0": table}, METHODS, chosen="lrp-0", score="R²", counted="groups")
    low, high = figure.layout.yaxis.range
    assert low < -70
    assert high > 100
    [band] = [trace for trace in figure.data if trace.fill]
    assert min(band.y) == pytest.approx(-120)
    [line] = [trace for trace in figure.data if trace.name == "lrp-0" and trace.hovertemplate]
    assert [text for _, text in line.customdata][1] == " (95\u00a0%: -10.0 to 50.0)"
    assert "groups kept" in line.hovertemplate
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("Groups removed (%)", "R² (%)")
    assert "all groups: 90.0\u00a0%" in [note.text for note in figure.layout.annotations]
    accuracy = charts_methods.score_curves({"lrp-0": table.assign(low=-1.0)}, METHODS, chosen="lrp-0")
    assert accuracy.layout.yaxis.range[0] == 0
    assert min(next(trace for trace in accuracy.data if trace.fill).y) == 0
    bought = charts_methods.score_by_cost({"lrp-0": table}, METHODS, "macs", score="R²", counted="groups", image="row")
    assert bought.layout.yaxis.range[0] < -70
    assert bought.layout.xaxis.title.text == "MACs for one row"


def test_one_seed_draws_no_band():
    figure = charts_methods.score_curves({"lrp-0": curve("lrp-0", seeds=1)}, METHODS)
    assert not [trace for trace in figure.data if trace.fill]
    assert not [text for _, text in figure.data[0].customdata if text]


def test_the_recommended_point_is_ringed():
    table = curve("lrp-0")
    figure = charts_methods.score_curves({"lrp-0": table}, METHODS, chosen="lrp-0", recommended=table.iloc[1])
    [ring] = [trace for trace in figure.data if trace.name == "recommended"]
    assert (list(ring.x), list(ring.y)) == ([50], pytest.approx([94]))
    assert "recommended" in [note.text for note in figure.layout.annotations]


def test_every_method_of_a_large_study_has_a_style_of_its_own():
    methods = tuple(method.name for method in combine(tuple(CRITERIA), tuple(STRATEGIES)))
    styles = [charts_methods.style_of(name, methods) for name in methods]
    assert len(set(styles)) == len(methods)
    assert charts_methods.style_of("lrp-0, elimination", methods).color == styles[methods.index("lrp-0")].color
    assert charts_methods.style_of("lrp-0, elimination", methods).dash != "solid"


def test_among_many_methods_only_the_chosen_one_has_its_band():
    names = tuple(f"criterion-{i}" for i in range(charts_methods.MOST_BANDS + 1))
    few, many = (
        charts_methods.score_curves({name: curve(name) for name in drawn}, names, chosen=names[0])
        for drawn in (names[:-1], names)
    )
    assert [len([t for t in figure.data if t.fill]) for figure in (few, many)] == [len(names) - 1, 1]
    assert [t.legendgroup for t in many.data if t.fill] == [names[0]]
    assert many.layout.height > few.layout.height


@given(some.sets(some.sampled_from(["lrp-0", "random", "gamma", "gamma, elimination", "weight"]), min_size=1))
def test_a_style_does_not_depend_on_what_else_is_drawn(drawn):
    methods = ("gamma", "gamma, elimination", "lrp-0", "weight", "random")
    curves = {name: curve(name) for name in drawn}
    figure = charts_methods.score_curves(curves, methods)
    for trace in figure.data:
        if trace.mode == "lines+markers":
            style = charts_methods.style_of(trace.name, methods)
            assert (trace.line.color, trace.line.dash) == (style.color, style.dash)


def test_no_curve_is_an_empty_chart():
    assert not charts_methods.score_curves({}, METHODS).data


@given(arrays(bool, (4, 6)), arrays(float, (4, 6), elements=some.floats(0, 1)))
def test_the_mask_colours_every_pixel_once(kept, mean):
    removed, stays = charts.mask(kept, mean).data
    assert (np.isnan(stays.z) == ~kept).all()
    assert (np.isnan(removed.z) == kept).all()


def test_the_explained_class_stands_out_and_the_true_one_is_named():
    [bars] = charts.probabilities(np.array([0.1, 0.7, 0.2]), ("a", "b", "c"), label=2, target=1).data
    assert list(bars.y) == ["a", "b", "c (true)"]
    assert [color == charts.ACCENT for color in bars.marker.color] == [False, True, False]


def test_units_are_sorted_and_signed():
    [bars] = charts.units(np.array([-1.0, 3.0, 0.5])).data
    assert list(bars.y) == [3.0, 0.5, -1.0]
    assert list(bars.customdata) == [1, 2, 0]
    assert list(bars.marker.color) == [charts.ROSE, charts.ROSE, charts.COOL]


@pytest.mark.parametrize("shape", [(12,), (1,), (5, 7)])
def test_a_layer_of_any_shape_is_drawn(shape):
    values = np.random.default_rng(0).normal(size=shape)
    figure = charts.of_layer(values)
    drawn = np.concatenate([np.ravel(trace.y if trace.type == "bar" else trace.z) for trace in figure.data])
    assert sorted(drawn) == pytest.approx(sorted(values.ravel()))


def test_conservation_stacks_to_what_arrived():
    parts = {"left": [4.5, 4.0], "bias": [0.4, 0.5], "epsilon": [0.1, 0.0]}
    table = pd.DataFrame({"layer": ["out", "in"], "arrived": [5.0, 4.5], **parts})
    *stacked, arrived = charts.conservation(table).data
    assert len(stacked) == len(parts)
    assert np.allclose(np.sum([trace.y for trace in stacked], axis=0), arrived.y)


def test_costs_are_shares_of_the_full_network():
    figure = charts_methods.cost_curves(curve("lrp-0"), marker=0.5)
    shares = {trace.name: list(trace.y) for trace in figure.data}
    assert shares["MACs"] == pytest.approx([100, 60, 20])
    assert set(shares) == {"MACs", "parameters", "weights (bytes)", "one image (bytes)"}
    more = charts_methods.cost_curves(curve("lrp-0").assign(bytes=[4000, 5200, 4400]), counted="groups", image="row")
    assert {"one row (bytes)", "weights (bytes)"} < {trace.name for trace in more.data}
    assert more.layout.xaxis.title.text == "Groups removed (%)"
    assert more.layout.yaxis.range is None, "a network for other inputs may cost more: no point is cut off"
    priced = charts_methods.cost_curves(curve("lrp-0").assign(input_cost=[9.0, 3.0, 0.9]))
    assert {trace.name: list(trace.y) for trace in priced.data}["cost of inputs"] == pytest.approx([100, 100 / 3, 10])


def ranking(*, costs: bool) -> pd.DataFrame:
    names = ["a", "a sensor whose name is far too long for its place", "c"]
    table = pd.DataFrame({"place": [1, 2, 3], "name": names, "inputs": [[3, 4], [0], [1, 2, 5]]})
    table = table.assign(score=[3.0, 2.0, 1.0], standard_error=[0.1, 0.1, np.nan], kept=[True, True, False])
    return table.assign(cost=[40.0, 1250.5, 0.0]) if costs else table


@pytest.mark.parametrize("costs", [False, True])
def test_bars_have_their_names_and_their_costs(costs):
    figure = charts_inputs.ranked(ranking(costs=costs))
    [bars] = figure.data
    assert [color == charts.ACCENT for color in bars.marker.color] == [True, True, False]
    names, _, hovered = zip(*bars.customdata, strict=True)
    assert list(names) == list(ranking(costs=costs)["name"]), "whole under the pointer"
    texts = figure.layout.yaxis.ticktext
    assert texts[0].startswith("a")
    name, _, cost = texts[1].partition(" · ")
    assert len(name) == charts_inputs.LONGEST
    assert name.endswith("its place"), "long names often differ at their end"
    assert cost == ("1,250.5" if costs else "")
    assert list(hovered) == ([", cost 40", ", cost 1,250.5", ", cost 0"] if costs else [""] * 3)


@given(some.sets(some.integers(0, 9)), some.sampled_from([1, 2, 5]))
def test_strips_lie_over_what_stays_and_over_nothing_else(kept, n_channels):
    length = 10 // n_channels
    table = pd.DataFrame({"place": range(1, 11), "name": list("abcdefghij"), "inputs": [[i] for i in range(10)]})
    table["kept"] = table["inputs"].map(lambda inputs: inputs[0] in kept)
    means = {"one": [[float(i) for i in range(length)] for _ in range(n_channels)]}
    strips, *lines, squares = charts_inputs.series(means, table).data
    assert len(lines) == n_channels
    runs = [(strips.x[i], strips.x[i + 2]) for i in range(0, len(strips.x), 5)]
    assert {i for i in range(10) if any(left < i < right for left, right in runs)} == kept
    assert all(int(left + 0.5) // length == int(right - 0.5) // length for left, right in runs), "one channel each"
    assert set(squares.x) == kept


@pytest.mark.parametrize("column", ["macs", "parameters", "bytes", "input_bytes"])
def test_score_by_cost_keeps_each_point(column):
    [trace] = charts_methods.score_by_cost({"lrp-0": curve("lrp-0")}, METHODS, column, chosen="lrp-0").data
    points = curve("lrp-0").sort_values(column)
    assert list(trace.x) == list(points[column])
    assert list(trace.y) == pytest.approx(list(100 * points["score"]))


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (formats.percent, 0.9534, "95.3\u00a0%"),
        (formats.one_way, "80% of 95 %, 5.5 \u00a0", "80\u00a0% of 95\u00a0%, 5.5 \u00a0"),
        (formats.points, -0.0342, "-3.4 points"),
        (formats.points, -0.0001, "+0.0 points"),
        (formats.count, 266610, "266,610"),
        (lambda n: formats.things(n, "groups"), 1, "1 group"),
        (lambda n: formats.things(n, "pixels"), 1200, "1,200 pixels"),
        (lambda now: formats.saved(now, 100), 30, "70\u00a0% less"),
        (lambda now: formats.saved(now, 100, "fewer"), 105, "5\u00a0% more"),
        (formats.size, 720, "720 B"),
        (formats.size, 1066440, "1.07 MB"),
        (formats.duration, 130.2, "2 min 10 s"),
        (formats.duration, 4000, "1 h 6 min"),
        (formats.throughput, 0.7, "42 a minute"),
        (formats.throughput, 0.004, "14 an hour"),
        (formats.p_value, 0.00002, "<\u00a00.001"),
        (formats.p_value, 0.034, "=\u00a00.034"),
        (formats.p_value, 0.5, "=\u00a00.50"),
    ],
)
def test_formats(function, value, text):
    assert function(value) == text


def test_an_interval_says_why_it_is_missing():
    assert "one seed" in formats.interval(float("nan"), float("nan"))
    assert formats.interval(0.9, 1.2) == "95\u00a0% interval 90.0 to 100.0\u00a0%"


def test_the_menu_holds_every_page_file_and_no_other():
    assert [file_of(title) for title in ENTRIES] == sorted(FOLDER.glob("[0-9]*.py"))


def test_the_frame_is_there_before_the_numerics():
    """Importing the frame must not import torch, or the first paint waits for seconds."""
    code = "import sys, pages._ui.frame, pages._ui.charts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
