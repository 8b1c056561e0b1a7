"""Whether relevance finds what matters, run without a browser: the whole test set and the curves."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from lrp_core.evaluation import removal_criteria
from pages._ui import charts_removal, jobs
from tests.support import rerun_until, wait_until

from .test_pages import texts

pytestmark = pytest.mark.slow

PAGE, PART = "How sure", "relevance"


@pytest.fixture(autouse=True)
def no_idling(monkeypatch):
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 0.0)


def settled(app):
    """Run the page until nothing is being measured."""
    return rerun_until(app, lambda: not app.get("progress"), "the end of what is measured")


def test_the_slider_moves_the_table(small):
    app = settled(small.open(PAGE, part=PART))
    assert not app.exception
    assert not app.error
    assert "Without the least relevant 15\u00a0% of the inputs the network is right on" in texts(app)
    app.slider(key="share").set_value(50).run()
    settled(app)
    assert "Without the least relevant 50\u00a0% of the inputs the network is right on" in texts(app)


def test_the_table_has_each_class_and_the_intervals(small):
    app = settled(small.open(PAGE, part=PART))
    whole, by_class, _ = (table.value for table in app.dataframe)
    assert list(whole["image"]) == [
        "Original",
        "Without the 15\u00a0% least relevant",
        "Without the 15\u00a0% most relevant",
    ]
    assert len(by_class) == 3 * 10
    assert whole["accuracy"].str.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)").all()
    assert whole["removed"].tolist() == [0, 118, 118]


def test_the_curves_follow_their_controls(small):
    app = settled(small.open(PAGE, part=PART))
    assert set(app.dataframe[-1].value["criterion"]) == {
        "epsilon-plus", "gradient-x-input", "data-set", "random"
    }  # fmt: skip
    app.multiselect(key="others").set_value(["centre"]).run()
    app.selectbox(key="images").set_value(500).run()
    app.selectbox(key="measure").set_value("accuracy").run()
    settled(app)
    assert not app.exception
    assert set(app.dataframe[-1].value["criterion"]) == {"epsilon-plus", "centre"}


def test_cancelled_measurements_can_be_asked_for_again(small, monkeypatch):
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 30.0)
    app = small.open(PAGE, part=PART, share="77")
    app.button(key="cancel-removal").click().run()
    job = app.session_state["job-removal"]
    wait_until(lambda: job.is_over, "the end of the job")
    app.run()
    assert not app.exception
    assert "Without the least relevant 77\u00a0%" not in texts(app)
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 0.0)
    app.button(key="again-removal").click().run()
    settled(app)
    assert "Without the least relevant 77\u00a0%" in texts(app)


# Figures


def points(*names: str) -> pd.DataFrame:
    rows = [
        {"criterion": name, "order": order, "share": share, "probability": 0.9 - share * slope}
        for name in names
        for order, slope in (("MoRF", 0.8), ("LeRF", 0.2))
        for share in (0.0, 0.5, 1.0)
    ]
    table = pd.DataFrame(rows)
    return table.assign(probability_low=table["probability"] - 0.01, probability_high=table["probability"] + 0.01)


def test_the_curves_have_two_lines_each_and_the_slider():
    figure = charts_removal.perturbation(points("random", "lrp-0"), "probability", chosen="lrp-0", marker=0.15)
    lines = [trace for trace in figure.data if trace.fill is None]
    assert [(line.name, line.line.dash) for line in lines] == [
        ("lrp-0", "solid"), ("lrp-0", "dash"), ("random", "solid"), ("random", "dash"),
    ]  # fmt: skip
    assert list(lines[0].y) == pytest.approx([90, 80, 70])
    assert list(lines[1].y) == pytest.approx([90, 50, 10])
    assert len([trace for trace in figure.data if trace.fill == "toself"]) == 2
    assert [shape.x0 for shape in figure.layout.shapes] == [15]


@given(some.lists(some.sampled_from(removal_criteria()), min_size=1, max_size=7, unique=True))
def test_no_two_of_the_criteria_share_a_colour(names):
    colors = {charts_removal.color_of(name, names[0], names) for name in names}
    assert len(colors) == len(names)


def test_areas_stand_in_the_order_of_the_table():
    table = pd.DataFrame(
        {
            "criterion": ["lrp-0", "random"],
            "area_between": [0.9, -0.01],
            "area_between_low": [0.89, -0.02],
            "area_between_high": [0.91, 0.0],
        }
    )
    [bars] = charts_removal.areas(table, chosen="lrp-0").data
    assert list(bars.y) == ["lrp-0", "random"]
    assert bars.marker.color[0] == charts_removal.ACCENT
    assert list(bars.error_x.array) == pytest.approx([0.01, 0.01])
