"""Rankings on the page How sure, run without a browser: the order, its sample, and whether another one agrees."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from lrp_core.data import load_dataset
from lrp_core.pruning.files import to_bytes
from lrp_core.ranking import Ranking
from lrp_core.study import plan
from lrp_core.study.stages import base_network
from lrp_core.views import ranking as views_ranking
from pages._ui import charts_ranking, jobs
from pages._ui.formats import one_way
from tests.support import rerun_until

from .conftest import SMALL, Stage
from .test_pages import texts

PAGE = "How sure"


@pytest.fixture(autouse=True)
def no_idling(monkeypatch):
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 0.0)


def settled(app):
    """Run the page until nothing is being measured."""
    return rerun_until(app, lambda: not app.get("progress"), "the end of what is measured")


def with_file(stage, content: bytes, name: str = "mine.safetensors"):
    app = settled(stage.open(PAGE, part="agreement", seed="1"))
    app.get_by_key("other-source").set_value("A file").run()
    app.file_uploader[0].upload(name, content).run()
    assert not app.exception
    return app


def test_the_ranking_is_drawn_and_its_sample_judged(small):
    app = settled(small.open(PAGE, part="ranking", removed="87"))
    assert not app.exception
    assert not app.error
    found = small.opened.rankings.measure_settling("lrp-0", 1, lambda part, doing: None)
    keep = app.selectbox(key="settled-keep").value
    assert keep == 100, "the study's nearest to the slider"
    boxes = [box.value for box in (*app.success, *app.warning)]
    assert one_way(found.finding(keep, counted="pixels")) in boxes
    assert len(app.get("plotly_chart")) == 3
    assert [one.alt for one in app.get("image")[0].proto.imgs] == ["Place of each pixel by lrp-0"]
    app.selectbox(key="settled-keep").set_value(400).run()
    assert one_way(found.finding(400, counted="pixels")) in [box.value for box in (*app.success, *app.warning)]


@pytest.mark.parametrize("kind", ["Place", "Score", "Standard error"])
@pytest.mark.parametrize("method", ["lrp-0", "random", "variance"])
def test_every_map_of_every_method(small, method, kind):
    app = settled(small.open(PAGE, part="ranking", method=method))
    app.session_state["map"] = kind
    settled(app.run())
    assert not app.exception
    assert app.session_state["map"] == (kind if method == "lrp-0" or kind != "Standard error" else "Place")


def test_the_order_as_a_table_is_the_study_s(small):
    app = settled(small.open(PAGE, part="ranking", method="variance"))
    [table] = [t.value for t in app.dataframe if "place" in t.value]
    found = small.opened.rankings.of("variance", 784, 1)
    assert (table["row"] * 28 + table["column"]).tolist() == found.order.tolist()
    labels = [button.proto.label for button in app.get("download_button")]
    assert labels == ["CSV", "Save the ranking", "Save as CSV"]


def test_a_control_has_nothing_to_settle(small):
    app = small.open(PAGE, part="ranking", method="random")
    assert "more images would change nothing" in texts(app)
    assert not app.get("progress")


def test_two_methods_and_seeds_are_compared(small):
    app = settled(small.open(PAGE, part="agreement", removed="87", seed="1"))
    app.selectbox(key="other-method").set_value("lrp-0").run()
    app.selectbox(key="other-seed").set_value(2).run()
    one, two = (small.opened.rankings.of("lrp-0", 102, seed) for seed in (1, 2))
    found = views_ranking.agreement(one, two)
    assert f"correlate with **{found.spearman:.3f}** (Spearman) and **{found.kendall:.3f}** (Kendall)" in texts(app)
    both = int((views_ranking.kept_by(one, two, 102) == 3).sum())
    assert f"Each keeps 102 pixels, and **{both}** of them are the same" in texts(app)
    app.selectbox(key="other-seed").set_value(1).run()
    assert "This is the ranking above" in texts(app)


def test_a_saved_ranking_is_loaded_and_agrees_with_itself(small):
    content = views_ranking.ranking_bytes(small.opened.rankings.of("lrp-0", 157, 1))
    app = with_file(small, content)
    assert not app.error
    assert "and **mine.safetensors** correlate with **1.000** (Spearman) and **1.000** (Kendall)" in texts(app)


def foreign(kind: str, stage: Stage) -> bytes:
    if kind == "damaged":
        content = views_ranking.ranking_bytes(stage.opened.rankings.of("lrp-0", 157, 1))
        return content[:-9]
    if kind == "a network":
        return to_bytes(base_network(plan(SMALL, load_dataset("mnist"))[0].base))
    if kind == "of other inputs":
        return views_ranking.ranking_bytes(Ranking.from_scores("lrp-0", torch.arange(12.0), (1, 3, 4)))
    if kind == "huge":
        return bytes(views_ranking.MAX_FILE_BYTES + 1)
    return b"no file of any kind"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("damaged", "truncated, damaged or no ranking"),
        ("a network", "truncated, damaged or no ranking"),
        ("nonsense", "truncated, damaged or no ranking"),
        ("of other inputs", "cannot be compared"),
        ("huge", "more than the"),
    ],
)
def test_a_file_that_cannot_be_compared_is_refused_in_a_sentence(small, kind, said):
    app = with_file(small, foreign(kind, small))
    [error] = app.error
    assert said in error.value
    assert error.value.endswith(".")
    assert "/tmp" not in error.value
    assert app.slider(key="removed"), "the rest of the page goes on"


# Figures


def test_the_scores_in_order_leave_out_what_a_logarithm_cannot_show():
    table = pd.DataFrame(
        {"place": [1, 2, 3], "row": 0, "column": 0, "score": [1.0, 1e-5, 0.0], "standard_error": [0.1, 1.0, 0.0]}
    )
    band, line = charts_ranking.in_order(table, spans_decades=True).data
    assert list(line.x) == [1, 2]
    assert min(band.y) == pytest.approx(1e-6)
    band, line = charts_ranking.in_order(table, spans_decades=False).data
    assert list(line.x) == [1, 2, 3]
    assert min(band.y) < 0


def test_the_settling_chart_draws_one_overlap():
    rows = [(n, m, k, v) for n in (10, 20) for m, k, v in (
        ("spearman", None, 0.9), ("overlap", 5, 0.8), ("overlap", 9, 0.7), ("error", None, 0.5))]  # fmt: skip
    table = pd.DataFrame(rows, columns=["images", "measure", "keep", "value"]).astype({"keep": "Int64"})
    figure = charts_ranking.settling(table, 9, used=15, enough={"spearman": 0.95, "overlap": 0.9})
    assert [list(trace.y) for trace in figure.data] == [pytest.approx([90, 90]), pytest.approx([70, 70])]
    assert list(figure.layout.xaxis.tickvals) == [10, 15, 20]
    [error] = charts_ranking.relative_error(table, used=15).data
    assert list(error.y) == pytest.approx([50, 50])
