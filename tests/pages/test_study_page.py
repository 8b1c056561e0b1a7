"""The page of studies, run without a browser: set up, start, watch, open, delete."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

import lrp_core.study.launch
from lrp_core.data import load_dataset
from lrp_core.errors import Cancelled, StorageError
from lrp_core.study import Study, preset

from .conftest import SMALL, Stage
from .test_pages import metrics, stop, texts

pytestmark = pytest.mark.slow

PAGE = "Studies"


@pytest.fixture
def started(monkeypatch):
    """Studies that were started, none of which begins."""
    found = []

    def start(study, ledger, *, name="study"):
        found.append((study, name))
        return ledger.announce(study.key, "study", name, asdict(study), total=0)

    monkeypatch.setattr(lrp_core.study.launch, "start_study", start)
    monkeypatch.setattr(lrp_core.study.launch, "start_preset", lambda name, ledger: True)
    return found


@pytest.fixture
def tidy(small):
    """The small study's ledger, without what a test adds to it."""
    yield small
    for run in small.ledger.runs("study"):
        if run.id != SMALL.key:
            with small.ledger._connect() as database:
                database.execute("DELETE FROM runs WHERE id = ?", (run.id,))


def start_button(app):
    return app.button(key="start")


def fill_small(app):
    """Have the form hold the small study."""
    return app.button(key="use").click().run()


def test_the_form_starts_with_the_quick_preset(tidy, started):
    app = tidy.open(PAGE)
    assert not app.exception
    assert "**quick:** 39 networks." in texts(app)
    assert app.text_input(key="new-shares").value == "60 75 90"
    start_button(app).click().run()
    assert not app.exception
    assert started == [(preset("quick", load_dataset("mnist")), "quick")]
    assert app.selectbox(key="study").value == started[0][0].key
    assert start_button(app).label == "Open it"


def test_the_other_preset_fills_every_field(tidy):
    app = tidy.open(PAGE)
    app.selectbox(key="new-from").set_value("full").run()
    assert app.number_input(key="new-n-seeds").value == 5
    assert app.number_input(key="new-n_train").value is None
    assert app.session_state["new-modes"] == ["scratch"]
    assert "**full:** 230 networks." in texts(app)


def test_an_earlier_study_is_a_start(tidy, started):
    app = fill_small(tidy.open(PAGE))
    assert app.text_input(key="new-seeds").value == "1 2"
    assert "16 networks. All of them are there already." in texts(app)
    assert start_button(app).label == "Open it"
    app.text_input(key="new-shares").set_value("50 90").run()
    assert "16 networks. 4 of them are there already." in texts(app)
    assert "going by 12 networks trained alike" in texts(app)
    app.text_input(key="new-name").set_value("two shares").run()
    start_button(app).click().run()
    assert started == [(replace(SMALL, keeps=(392, 78)), "two shares")]
    assert app.selectbox(key="study").value == started[0][0].key


def test_every_field_reaches_the_study(tidy, started):
    app = fill_small(tidy.open(PAGE))
    app.selectbox(key="new-architecture").set_value("mlp-1000")
    app.multiselect(key="new-criteria").set_value(["gamma", "random"])
    app.session_state["new-strategies"] = ["one-shot", "stability"]
    app.session_state["new-modes"] = ["none", "scratch"]
    app.text_input(key="new-seeds").set_value("")
    app.session_state["new-n-seeds"] = 4  # its field opens once no seeds are named
    app.text_input(key="new-masks").set_value("7, 8")
    app.number_input(key="new-n_train").set_value(500)
    app.number_input(key="new-rank_images").set_value(200)
    app.number_input(key="new-epochs").set_value(3)
    app.number_input(key="new-retrain_epochs").set_value(2)
    app.selectbox(key="new-statistic").set_value("mean-abs")
    app.selectbox(key="new-precision").set_value("bfloat16")
    app.selectbox(key="new-optimizer").set_value("sgd")
    app.number_input(key="new-lr").set_value(0.05)
    app.number_input(key="new-batch_size").set_value(64)
    app.number_input(key="new-patience").set_value(5)
    app.selectbox(key="new-start").set_value("logit").run()
    start_button(app).click().run()
    expected = Study(
        architecture="mlp-1000", criteria=("gamma", "random"), strategies=("one-shot", "stability"),
        modes=("none", "scratch"), seeds=(0, 1, 2, 3), mask_seeds=(7, 8), n_train=500, rank_images=200, epochs=3,
        retrain_epochs=2, statistic="mean-abs", start="logit", precision="bfloat16",
        optimizer="sgd", lr=0.05, batch_size=64, patience=5, keeps=(100, 400),
    )  # fmt: skip
    assert [study for study, _ in started] == [expected]


def test_a_click_starts_what_the_form_says_by_then(tidy, started):
    """A field that changes together with the click, before the page was drawn with it."""
    app = fill_small(tidy.open(PAGE))
    app.text_input(key="new-shares").set_value("60")
    app.text_input(key="new-name").set_value("quick fingers")
    start_button(app).click().run()
    assert started == [(replace(SMALL, keeps=(314,)), "quick fingers")]
    app.text_input(key="new-shares").set_value("sixty")
    start_button(app).click().run()
    assert len(started) == 1
    assert "'sixty' is no number" in "".join(error.value for error in app.error)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("new-shares", "20 many", "'many' is no number"),
        ("new-shares", "", "Give at least a share"),
        ("new-shares", "100", "above 0 and below 100"),
        ("new-seeds", "one", "'one' is no seed"),
        ("new-masks", "-1", "'-1' is no seed"),
        ("new-criteria", [], "Choose at least one criterion"),
        ("new-strategies", [], "Choose at least one strategy"),
        ("new-modes", [], "Choose at least one kind of small network"),
        ("new-n_train", 70_000, "the number of training images must be between 1 and 50000"),
        ("new-rank_images", 70_000, "the number of images for relevance must be between 1 and 50000"),
        ("new-dataset", "kmnist", "kmnist is not complete"),
    ],
)
def test_a_set_up_that_cannot_run_is_refused_beside_the_button(tidy, key, value, said):
    app = fill_small(tidy.open(PAGE))
    app.session_state[key] = value
    app.run()
    assert not app.exception
    [error] = app.error
    assert said.lower() in error.value.lower()
    assert start_button(app).disabled
    assert said[1:] in start_button(app).proto.help
    fill_small(app)
    assert not app.error


def test_another_data_set_asks_for_its_folder(tidy, tmp_path):
    app = tidy.open(PAGE)
    app.selectbox(key="new-dataset").set_value("fashion-mnist").run()
    app.text_input(key="new-root").set_value(str(tmp_path / "nowhere")).run()
    assert "is not in a folder that this app may read" in app.error[0].value


def test_one_seed_is_warned_of(tidy):
    app = tidy.open(PAGE)
    app.number_input(key="new-n-seeds").set_value(1).run()
    assert "One seed: there will be no intervals" in texts(app)


def test_what_cannot_be_started_says_why(tidy, monkeypatch):
    def refuse(*args, **named):
        raise StorageError("the disk is full")

    monkeypatch.setattr(lrp_core.study.launch, "start_study", refuse)
    app = tidy.open(PAGE)
    start_button(app).click().run()
    assert not app.exception
    assert "It could not be started: the disk is full." in [error.value for error in app.error]
    assert app.selectbox(key="study").value == SMALL.key


def test_a_running_study_is_watched_and_cancelled(tidy):
    study = replace(SMALL, keeps=(200,))
    with tidy.ledger.running(study.key, "study", "busy", asdict(study), 8):
        with tidy.ledger._connect() as database:
            database.execute("UPDATE runs SET started = started - 60 WHERE id = ?", (study.key,))
        for done in (0, 2):
            tidy.ledger.report(study.key, "trials", done)
        app = tidy.open(PAGE, study=study.key)
        shown = metrics(app)
        assert shown["Networks done"] == "2"
        assert shown["Throughput"].endswith("a minute") or shown["Throughput"].endswith("an hour")
        assert shown["Time left"].startswith("about ")
        assert "Running for" in shown
        assert app.get("progress")[0].proto.text == "Trials"
        app.button(key=f"cancel-{study.key}").click().run()
        with pytest.raises(Cancelled):
            tidy.ledger.report(study.key, "trials", 3)


def test_a_stopped_study_can_be_resumed_from_here(tidy, started):
    study = replace(SMALL, keeps=(200,))
    stop(tidy.ledger, study, Cancelled("x"))
    app = tidy.open(PAGE)
    assert "was cancelled" in texts(app)
    app.button(key=f"resume-{study.key}").click().run()
    assert started == [(study, "stopped")]


def test_the_list_says_what_each_study_is(tidy):
    stop(tidy.ledger, replace(SMALL, strategies=("one-shot", "elimination")), Cancelled("x"))
    app = tidy.open(PAGE)
    [table] = [t.value for t in app.dataframe if "methods" in t.value]
    assert table[["name", "state", "seeds"]].values.tolist() == [["stopped", "Cancelled", 2], ["small", "Complete", 2]]
    assert table["networks"].iloc[0] == "0 of 20"
    assert table["methods"].tolist() == ["lrp-0, random, variance; elimination", "lrp-0, random, variance"]


def test_deleting_takes_the_study_out_of_the_list_and_keeps_its_networks(tidy):
    study = replace(SMALL, keeps=(100,))
    stop(tidy.ledger, study, Cancelled("x"))
    log = lrp_core.study.launch.log_path(tidy.ledger, study.key)
    log.parent.mkdir(exist_ok=True)
    log.write_text("what it said")
    app = tidy.open(PAGE)
    assert app.selectbox(key="study").value == study.key
    app.button(key="delete").click().run()
    assert not app.exception
    assert tidy.ledger.run(study.key) is None
    assert not log.exists()
    assert app.selectbox(key="study").value == SMALL.key
    assert fill_small(app)
    assert "All of them are there already" in texts(app)


def test_a_study_that_began_meanwhile_is_not_deleted(tidy):
    study = replace(SMALL, keeps=(100,))
    stop(tidy.ledger, study, Cancelled("x"))
    app = tidy.open(PAGE)
    with tidy.ledger.running(study.key, "study", "busy", asdict(study), 8):
        app.button(key="delete").click().run()
        assert any("cancel it before you delete it" in error.value for error in app.error)
    assert tidy.ledger.run(study.key) is not None


def test_the_only_study_says_what_takes_its_place(tidy):
    assert "the quick one takes its place" in texts(tidy.open(PAGE))


def test_a_study_of_another_version_does_not_stop_the_page(tidy):
    tidy.ledger.announce("future", "study", "future", {**asdict(SMALL), "quantum": 1}, 3)
    app = tidy.open(PAGE)
    assert not app.exception
    assert "cannot be read here" in "".join(error.value for error in app.error)
    assert start_button(app).label == "Start"
    assert not [button for button in app.button if button.key == "use"]


def test_the_form_is_there_before_any_study_is_done(empty, started):
    app = Stage(empty, SMALL).open(PAGE)
    assert not app.exception
    assert app.selectbox(key="study").value == empty.runs("study")[0].id
    assert empty.runs("study")[0].is_read_only, "the measured study is there at once"
    assert start_button(app).label == "Start"
