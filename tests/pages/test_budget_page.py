"""The page of budgets: before there is a path, while it is made, and its slider."""

from __future__ import annotations

import pytest

from lrp_core.errors import Cancelled
from lrp_core.study import launch
from lrp_core.study.budgets import run_budgets


@pytest.fixture(scope="module")
def choice() -> dict:
    return {"scope": "both", "criterion": "lrp-0", "seed": 1}


@pytest.fixture
def made(small, choice):
    """The study with the path that its page asks for."""
    plan = small.opened.budgets.plan(**choice)
    run, spec = small.opened.budgets.run_of(plan)
    if (small.ledger.run(run) or None) is None:
        with small.ledger.running(run, "budgets", "budgets", spec, total=2 + len(plan.budgets)):
            run_budgets(plan, small.ledger, lambda doing, done, total: small.ledger.report(run, doing, done))
    return small


def texts(app) -> str:
    return " ".join(element.value for kind in ("markdown", "caption", "info") for element in app.get(kind))


def test_without_a_path_a_button_starts_one(single, monkeypatch):
    asked = []
    monkeypatch.setattr(launch, "start_budgets", lambda *arguments: asked.append(arguments))
    app = single.open("Budget", study=single.study.key)
    assert not app.exception
    assert not app.get("select_slider")
    app.segmented_control(key="scope").set_value("inputs").run()
    [button] = [button for button in app.button if button.label == "Find the path"]
    button.click().run()
    [(run, spec, _)] = asked
    assert spec["scope"] == "inputs"
    assert run.startswith("budgets-")
    assert spec["base"]["seed"] == 1


def test_the_slider_moves_over_the_macs_of_one_path(made, choice):
    app = made.open("Budget", study=made.study.key)
    assert not app.exception
    assert not app.error
    found = made.opened.budgets.found(**choice)
    [slider] = app.get("select_slider")
    shown = []
    for number in (0, len(found.rungs) - 1):
        slider.set_value(number).run()
        assert not app.exception
        [slider] = app.get("select_slider")
        shown.append({metric.label: metric.value for metric in app.metric})
    macs = [f"{value:,}" for value in found.rungs["macs"].iloc[[0, -1]]]
    assert [values["MACs"] for values in shown] == macs
    assert "Full network" in texts(app)
    assert "trained on for as many epochs" in texts(app)
    assert not any("no picture" in element.value for element in app.markdown), "a bare string would be drawn"


def test_hidden_units_alone_are_refused_where_there_are_none(made):
    app = made.open("Budget", study=made.study.key)
    app.segmented_control(key="scope").set_value("hidden").run()
    assert not app.exception
    [error] = app.error
    assert "hidden" in error.value


def test_a_path_that_was_stopped_can_be_gone_on_with(single, monkeypatch):
    budgets = single.opened.budgets
    plan = budgets.plan(scope="both", criterion="weight-l1", seed=1)
    run, spec = budgets.run_of(plan)
    with pytest.raises(Cancelled), single.ledger.running(run, "budgets", "budgets", spec, total=3):
        raise Cancelled("stopped by hand")
    app = single.open("Budget", study=single.study.key)
    app.selectbox(key="unit-criterion").set_value("weight-l1").run()
    asked = []
    monkeypatch.setattr(launch, "start_budgets", lambda *arguments: asked.append(arguments))
    assert any("cancelled" in warning.value for warning in app.warning)
    [button] = [button for button in app.button if button.label == "Resume"]
    button.click().run()
    assert asked
    assert asked[0][0] == run
    single.ledger.forget(run)
