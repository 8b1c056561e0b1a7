"""What the page on savings measures, run without a browser, and what it draws. No test looks at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import lrp_core as lc
from lrp_core.errors import Cancelled, InputError
from lrp_core.evaluation import runtimes
from lrp_core.study import run_study
from lrp_core.study.ledger import Ledger
from lrp_core.views import savings, speed_table
from pages._ui import charts_speed, jobs
from tests.support import rerun_until

from .conftest import SMALL, Stage
from .test_pages import texts

PAGE = "Savings"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement of a moment, in torch alone, and in this process."""
    monkeypatch.setattr(savings, "measure_apart", lc.measure_speed)
    found = runtimes.find_spec
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    monkeypatch.setattr(savings, "SECONDS", 0.05)
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 0.0)


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("lenet")
    study = replace(SMALL, architecture="lenet-5", n_train=100, keeps=(150,), seeds=(1,), rank_images=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder))
        for _ in run_study(study, Ledger(folder), name="lenet", jobs=1):
            pass
        yield Stage(Ledger(Path(folder)), study)


def measured(app: Any, button: str) -> Any:
    app.get_by_key(button).click().run()
    return rerun_until(app, lambda: not app.get("progress"), "the end of what is measured")


def columns(app: Any) -> list[set[str]]:
    return [set(table.value.columns) for table in app.dataframe]


def test_nothing_is_measured_before_it_is_asked_for(small: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(savings, "measure_apart", lambda *words, **how: pytest.fail("measured without being asked"))
    app = small.open(PAGE)
    assert not app.exception
    assert "Measured on this machine" in [title.value for title in app.subheader]
    assert not any("milliseconds" in names for names in columns(app))
    assert "convolution" not in texts(app), "the network of this study does not convolve"


def test_a_measurement_is_drawn_and_kept_for_the_session(small: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    app = measured(small.open(PAGE, removed="87"), "speed-measure")
    assert not app.exception
    assert not app.error
    [table] = [t.value for t in app.dataframe if "milliseconds" in t.value]
    assert table["network"].tolist() == ["full", "smaller", "smaller, picking"] * 2
    assert table["batch"].tolist() == [1] * 3 + [1000] * 3
    assert "pip install onnxruntime" in texts(app)
    assert "Full network:" in texts(app)
    monkeypatch.setattr(savings, "measure_apart", lambda *words, **how: pytest.fail("measured again"))
    app.slider(key="removed").set_value(50).run()
    assert not any("milliseconds" in names for names in columns(app)), "another network, not measured"
    app.slider(key="removed").set_value(87).run()
    assert not app.exception
    assert any("milliseconds" in names for names in columns(app))


def test_it_can_be_measured_again(small: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    app = measured(small.open(PAGE, removed="87"), "speed-measure")
    again: list[Any] = []

    def note(*words: Any, **how: Any) -> Any:
        again.append(lc.measure_speed(*words, **how))
        return again[0]

    monkeypatch.setattr(savings, "measure_apart", note)
    app = measured(app, "speed-again")
    assert not app.exception
    [table] = [t.value for t in app.dataframe if "milliseconds" in t.value]
    assert table["milliseconds"].tolist() == [timing.milliseconds for timing in again[0].timings]


def test_int8_is_measured_when_it_is_switched_on(small: Stage) -> None:
    app = small.open(PAGE)
    app.toggle(key="int8").set_value(True).run()
    measured(app, "speed-measure")
    [table] = [t.value for t in app.dataframe if "milliseconds" in t.value]
    assert set(table["precision"]) == {"float32", "int8"}


def test_a_refusal_is_said_and_the_rest_of_the_page_stays(small: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: Any, **how: Any) -> None:
        raise InputError("this machine has no clock")

    monkeypatch.setattr(savings, "measure_apart", refuse)
    app = measured(small.open(PAGE), "speed-measure")
    assert not app.exception
    assert [error.value for error in app.error] == ["This machine has no clock."]
    assert any("macs" in names for names in columns(app))


def test_a_network_that_convolves_has_its_ways_at_once_and_measures_them(
    convolutional: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRP_CACHE", str(convolutional.ledger.folder))
    app = convolutional.open(PAGE, removed="81")
    assert not app.exception
    [table] = [t.value for t in app.dataframe if "way" in t.value]
    assert table["way"].tolist()[:3] == ["full", "canvas", "crop"]
    assert table["macs"][0] == table["macs"][1] > table["macs"][2]
    assert not any(name.startswith("ms_") for name in table)
    app = measured(app, "conv-measure")
    assert not app.exception
    [table] = [t.value for t in app.dataframe if "way" in t.value]
    assert (table[["ms_1", "ms_1000"]] > 0).all().all()


def test_what_is_measured_can_be_cancelled(small: Stage) -> None:
    told: list[float] = []

    def report(part: float, doing: str) -> None:
        told.append(part)
        if len(told) == 4:
            raise Cancelled("no longer asked for")

    with pytest.raises(Cancelled):
        small.opened.savings.measure(method="lrp-0", mode="fine-tune", keep=100, seed=1, report=report)
    assert told == sorted(told)
    assert all(0 <= part <= 1 for part in told)


def test_the_chart_has_a_bar_for_each_ratio() -> None:
    full = lc.build_model("softmax", shape=(9,), n_classes=2)
    small = lc.prune_inputs(full, lc.PixelMask.from_indices([1, 2], (9,)))
    table = speed_table(lc.measure_speed(small, full, (9,), rounds=2, seconds=0.01, batches=(1, 2), int8=True))
    figure = charts_speed.ratios(table)
    drawn = {trace.name: list(trace.x) for trace in figure.data}
    assert set(drawn) == {"kept inputs alone", "with picking them", "full network"}
    assert sum(map(len, drawn.values())) == int(table["ratio"].notna().sum())
    for trace in figure.data:
        assert (pd.Series(trace.error_x.array) >= 0).all()
        assert (pd.Series(trace.error_x.arrayminus) >= 0).all()
