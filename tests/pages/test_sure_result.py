"""The result on the page How sure, run without a browser: verdict, margin, recommendation, tests, curves."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from lrp_core import views
from lrp_core.errors import Cancelled
from lrp_core.study import Study, results, run_study, verdict
from lrp_core.views.ranking import Rankings
from lrp_core.views.study import study_trials
from lrp_core.words import Words
from pages._ui import charts_methods, jobs, state, sure_parts
from pages._ui.formats import one_way
from tests.support import rerun_until

from .conftest import SMALL, Stage
from .test_pages import stop, texts

MANY = replace(
    SMALL,
    criteria=("lrp-0", "epsilon", "gamma", "w2", "gradient", "weight", "random", "variance"),
    strategies=("one-shot", "elimination"),
)
"""Its baselines are there, and what of it is SMALL's."""


def recommended(stage: Stage, margin: float) -> results.Recommendation:
    found = results.recommend(
        study_trials(stage.study, stage.ledger),
        784,
        "lrp-0",
        mode="fine-tune",
        margin=margin / 100,
        words=Words("pixels"),
    )
    assert found is not None
    return found


def test_the_first_line_is_a_verdict_of_what_was_measured(small):
    app = small.open("How sure", removed="50")
    found = views.verdict_of(small.opened, "lrp-0", "fine-tune", 400)
    assert f"**{found.short}** {found.sentence}" in [text.value for text in app.markdown]
    assert found.short.startswith("2 seeds")
    app.slider(key="removed").set_value(85).run()
    there = views.verdict_of(small.opened, "lrp-0", "fine-tune", 100)
    assert f"**{there.short}** {there.sentence}" in [text.value for text in app.markdown]


def test_one_seed_is_no_verdict(single):
    app = single.open("How sure")
    assert "**One seed: no interval, so chance is not ruled out.**" in texts(app)
    assert "in one pair of networks each" in texts(app)


def test_before_the_first_results_there_is_no_verdict(small):
    study = replace(SMALL, n_train=298)
    stop(small.ledger, study, Cancelled("x"))
    try:
        for part in sure_parts.PARTS:
            app = small.open("How sure", study=study.key, part=part)
            assert not app.exception
            assert not app.error
            assert "**No verdict yet:**" in texts(app)
    finally:
        small.ledger.forget(study.key)


def test_the_part_is_in_the_link(small):
    app = small.open("How sure", part="agreement")
    assert app.get_by_key("part").value == "agreement"
    assert "correlate with" in texts(app)
    app.get_by_key("part").set_value("ranking").run()
    assert app.query_params["part"] == "ranking"
    assert "The order of the pixels" in texts(app)
    assert "correlate with" not in texts(app), "one part at a time"
    app.get_by_key("part").set_value("result").run()
    assert "part" not in app.query_params
    assert "Measured points" in texts(app)


def test_a_part_that_is_none_falls_back(small):
    app = small.open("How sure", part="nonsense")
    assert not app.exception
    assert "Measured points" in texts(app)
    assert "part" not in app.query_params


def test_many_controls_have_a_table(small, monkeypatch):
    monkeypatch.setattr(verdict, "MOST_NAMED", 1)
    app = small.open("How sure", removed="50")
    [table] = [t.value for t in app.dataframe if "control" in t.value]
    found = views.verdict_of(small.opened, "lrp-0", "fine-tune", 400)
    assert table["control"].tolist() == list(found.ahead) == ["random", "variance"]
    assert table["ahead"].tolist() == pytest.approx([100 * one.estimate for one in found.ahead.values()])
    assert f"of {len(found.ahead)} controls" in texts(app)


def test_no_chart_s_box_covers_its_curves(small):
    curves = small.opened.curves(SMALL.methods, "fine-tune")
    figure = charts_methods.score_curves(curves, SMALL.methods, chosen="lrp-0")
    assert figure.layout.hovermode == "closest"
    assert "lrp-0<br>" in next(
        trace.hovertemplate for trace in figure.data if trace.name == "lrp-0" and trace.x[0] == 0
    )


def test_the_core_and_the_page_have_one_margin():
    assert state.MARGIN / 100 == results.MARGIN


def test_the_recommendation_follows_the_margin_and_moves_the_slider(small):
    wide = next(m for m in (1.0, 2.0, 5.0, 10.0, 20.0) if recommended(small, m).row is not None)
    app = small.open("How sure", margin=str(wide), removed="0")
    found = recommended(small, wide)
    assert [box.value for box in app.success] == [f"**Recommended:** {one_way(found.sentence)}"]
    app.button(key="move").click().run()
    keep = int(found.row["keep"])
    assert app.slider(key="removed").value == small.opened.removed_for(keep)
    assert app.button(key="move").disabled
    best = small.opened.recommend()
    first = state.REMOVED if best.row is None else small.opened.removed_for(int(best.row["keep"]))
    assert app.query_params.get("removed", str(first)) == str(app.slider(key="removed").value)


def test_no_recommendation_says_what_comes_closest(small):
    app = small.open("How sure", margin="0")
    found = recommended(small, 0)
    if found.row is None:
        assert [box.value for box in app.warning] == [one_way(found.sentence)]
    app.number_input(key="margin").set_value(20.0).run()
    assert not app.warning
    assert app.query_params["margin"] == "20.0"
    app.number_input(key="margin").set_value(0.5).run()
    assert "margin" not in app.query_params


@pytest.mark.parametrize("wrong", ["abc", "nan", "inf", "-1", "99", ""])
def test_a_wrong_margin_in_a_link_falls_back(small, wrong):
    app = small.open("How sure", margin=wrong)
    assert not app.exception
    assert app.number_input(key="margin").value == 0.5
    assert "margin" not in app.query_params


def test_the_networks_are_compared_image_by_image(small):
    app = small.open("How sure", removed="60", seed="2")
    test = results.against_baseline(study_trials(SMALL, small.ledger), "lrp-0", "fine-tune", 400, 2)
    said = texts(app)
    assert "**Seed 2, 400 pixels, the measured number nearest to the slider's:**" in said
    assert f"of 10,000 validation images {test.only_first:,} are right only with all pixels" in said
    assert f"{test.only_second:,} only with the small network" in said


def test_the_measured_points_have_their_paired_difference(small):
    app = small.open("How sure")
    [table] = [t for t in app.dataframe if "difference" in t.value]
    curve = results.curve(study_trials(SMALL, small.ledger), 784)
    assert table.value["difference"].dropna().tolist() == pytest.approx((100 * curve["difference"]).dropna().tolist())
    assert {"difference_low", "difference_high"} <= set(table.proto.column_order)
    assert [button.proto.label for button in app.get("download_button")] == ["CSV", "Download as CSV"]


def test_one_seed_has_no_intervals_and_says_why(single):
    app = single.open("How sure", margin="20.0")
    assert "This is one seed" in app.info[0].value
    assert "one seed gives no interval" in texts(app)
    assert "No intervals: the study has one seed." in texts(app)
    [table] = [t for t in app.dataframe if "difference" in t.value]
    assert not {"low", "high", "difference_low", "difference_high"} & set(table.proto.column_order)


def test_crossed_masks_tell_whose_the_scatter_is(small):
    study = replace(SMALL, keeps=(100,), criteria=("lrp-0",), mask_seeds=(1, 2))
    for _ in run_study(study, small.ledger, name="crossed", jobs=1):
        pass
    try:
        app = Stage(small.ledger, study).open("How sure", removed="87", study=study.key)
        found = results.scatter_at(study_trials(study, small.ledger), "lrp-0", "fine-tune", 100)
        assert "Each of 2 masks was tried with each of 2 seeds" in texts(app)
        assert f"{100 * found.masks:.2f} points through the mask" in texts(app)
    finally:
        small.ledger.forget(study.key)


def test_many_methods_are_picked_from_a_list_and_drawn_on_demand(small):
    stop(small.ledger, MANY, Cancelled("x"))
    try:
        app = small.open("How sure", study=MANY.key, removed="80")
        assert not app.exception
        assert app.selectbox(key="method").options == list(MANY.methods)
        assert app.multiselect(key=f"drawn-{MANY.key}").value == ["lrp-0", "random", "variance"]
        app.multiselect(key=f"drawn-{MANY.key}").set_value([]).run()
        assert not app.exception
    finally:
        small.ledger.forget(MANY.key)


@pytest.mark.parametrize("part", ["result", "ranking", "agreement"])
def test_a_ranking_that_is_not_there_is_not_computed_by_a_page(small, part):
    stop(small.ledger, MANY, Cancelled("x"))
    try:
        app = small.open("How sure", study=MANY.key, method="gamma, elimination", part=part)
        assert not app.exception
        assert not app.error
        assert ("resume the study to have it ranked" in texts(app)) == (part != "result")
        assert not Stage(small.ledger, MANY).opened.rankings.is_ready("gamma, elimination", 157, 1)
    finally:
        small.ledger.forget(MANY.key)


def test_a_ranking_that_left_the_cache_can_be_had_again(small, monkeypatch):
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 0.0)
    with small.ledger.running(MANY.key, "study", "many", asdict(MANY), 1):
        pass
    try:
        app = small.open("How sure", part="ranking", study=MANY.key, method="w2", removed="80")
        assert "is no longer in the cache" in texts(app)
        [again] = [button for button in app.button if button.label == "Rank again"]
        again.click().run()
        rerun_until(app, lambda: app.header, "the ranking")
        assert "The line: 157 pixels kept." in texts(app)
        assert Stage(small.ledger, MANY).opened.rankings.is_ready("w2", 157, 1)
    finally:
        small.ledger.forget(MANY.key)


def test_between_measured_keeps_exchange_says_whose_mask_it_shows(small, monkeypatch):
    study = Study(**{**asdict(SMALL), "strategies": ("exchange",)})
    stop(small.ledger, study, Cancelled("x"))
    monkeypatch.setattr(Rankings, "is_ready", lambda *a: True)
    monkeypatch.setattr(Rankings, "of", lambda self, method, keep, seed, of=Rankings.of: of(
        Rankings(SMALL, self.folder), "lrp-0", keep, seed))  # fmt: skip
    try:
        app = small.open("How sure", part="ranking", study=study.key, removed="60", method="lrp-0, exchange")
        assert not app.exception
        assert "this mask follows its ranking for 400" in texts(app)
    finally:
        small.ledger.forget(study.key)
