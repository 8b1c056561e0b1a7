"""Every page, run without a browser, in the states that a visitor can find it in."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, replace

import pytest

import lrp_core.study.launch
from lrp_core.data import load_dataset
from lrp_core.errors import Cancelled
from lrp_core.study import Study, preset, trial_at
from lrp_core.study.export import export_trial, load_export
from lrp_core.study.ledger import Ledger
from pages._ui import data, export_card, state
from pages._ui.formats import plain
from pages._ui.registry import ENTRIES

from .conftest import SMALL, Stage

pytestmark = pytest.mark.slow

NAMES = tuple(ENTRIES)


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def texts(app) -> str:
    parts = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error, *app.subheader, *app.header]
    return "\n".join(str(part.value) for part in parts)


@pytest.mark.parametrize("name", NAMES)
def test_every_page_shows_the_study(small, name):
    app = small.open(name)
    assert not app.exception
    assert not app.error
    assert len(app.title) == 1
    assert name in (app.title[0].value, "Result"), "the first page has what was found as its title"
    assert app.selectbox(key="study").value == SMALL.key
    assert "softmax" in texts(app)


def test_a_link_sets_the_controls(small):
    app = small.open("How sure", removed="60", method="variance", seed="2")
    assert app.slider(key="removed").value == 60
    assert app.selectbox(key="seed").value == 2
    assert app.session_state["method"] == "variance"
    assert app.query_params["removed"] == "60"


WIDE = 20.0
"""A margin in points within which the small study recommends something."""


@pytest.mark.parametrize("wrong", [{"removed": "abc"}, {"removed": "1000"}, {"method": "magic"}, {"seed": "77"}])
def test_a_wrong_link_falls_back(small, wrong, monkeypatch):
    monkeypatch.setattr(state, "MARGIN", WIDE)
    app = small.open("How sure", **wrong, study="nonsense")
    assert not app.exception
    best = small.opened.recommend(margin=WIDE / 100)
    assert app.slider(key="removed").value == small.opened.removed_for(int(best.row["keep"]))
    assert app.session_state["method"] == best.method
    assert app.selectbox(key="seed").value == 1
    assert not set(wrong) & set(app.query_params)


def test_a_slider_that_nobody_moved_stands_at_the_recommendation(small, single, monkeypatch):
    """Of whichever study is looked at, and it leaves no trace in the URL; one that was moved stays."""
    monkeypatch.setattr(state, "MARGIN", WIDE)
    app = single.open("How sure", study=SMALL.key)
    assert app.button(key="move").disabled
    assert "removed" not in app.query_params
    app.selectbox(key="study").set_value(single.study.key).run()
    best = single.opened.recommend(margin=WIDE / 100)
    expected = state.REMOVED if best.row is None else single.opened.removed_for(int(best.row["keep"]))
    assert app.slider(key="removed").value == expected
    app.slider(key="removed").set_value(33).run()
    app.selectbox(key="study").set_value(SMALL.key).run()
    assert app.slider(key="removed").value == 33


def test_a_page_without_the_slider_keeps_its_value_in_the_url(small):
    app = small.open("Result", removed="60", method="random")
    assert app.session_state["removed"] == 60
    assert app.query_params["removed"] == "60"
    assert app.query_params["method"] == "random"


def test_one_seed_says_why_there_is_no_interval(single):
    app = single.open("How sure", removed="80")
    assert app.selectbox(key="study").value == single.study.key
    assert "one seed gives no interval" in texts(app)


# Nothing there, broken, stopped


def test_the_first_visit_shows_a_measured_study_and_starts_the_quick_one_once(empty, monkeypatch):
    started = []
    monkeypatch.setattr(lrp_core.study.launch, "start_preset", lambda name, ledger: started.append(name))
    stage = Stage(empty, preset("full", load_dataset("mnist")))
    for name in NAMES:
        app = stage.open(name)
        assert not app.exception
        assert not app.error
        assert app.selectbox(key="study").value == stage.study.key
    assert started == ["quick"]
    [run] = empty.runs("study")
    assert run.is_read_only
    assert any(button.label == "Repeat it here, live" for button in stage.open("Result").button)


def test_two_first_visitors_start_one_process(empty, monkeypatch):
    processes = []
    monkeypatch.setattr(lrp_core.study.launch.subprocess, "Popen", lambda *a, **k: processes.append(a))
    assert lrp_core.study.launch.start_preset("quick", empty)
    assert not lrp_core.study.launch.start_preset("quick", empty)
    assert len(processes) == 1


def test_a_measured_study_is_repeated_with_other_seeds(empty, monkeypatch):
    started = []
    monkeypatch.setattr(lrp_core.study.launch, "start_preset", lambda name, ledger: True)
    monkeypatch.setattr(
        lrp_core.study.launch, "start_study",
        lambda study, ledger, *, name: started.append((study, name)) or ledger.announce(
            study.key, "study", name, asdict(study), total=0
        ),
    )  # fmt: skip
    stage = Stage(empty, preset("full", load_dataset("mnist")))
    app = stage.open("Result")
    [again] = [button for button in app.button if button.label == "Repeat it here, live"]
    again.click().run()
    assert not app.exception
    [(study, name)] = started
    assert name == "full, repeated"
    assert study == replace(stage.study, seeds=tuple(seed + 100 for seed in stage.study.seeds))
    assert app.selectbox(key="study").value == study.key


def test_a_damaged_ledger_is_named(empty):
    for file in empty.folder.glob("ledger.sqlite*"):
        file.unlink()
    empty.path.write_bytes(b"this is no database, " * 100)
    app = Stage(empty, SMALL).open("Result")
    assert not app.exception
    assert "damaged" in app.error[0].value
    assert plain(str(empty.path)) in app.error[0].value


def stop(ledger: Ledger, study: Study, error: Exception) -> None:
    """Leave a run behind that ended with `error`."""
    with pytest.raises(type(error)), ledger.running(study.key, "study", "stopped", asdict(study), 20) as mine:
        assert mine
        raise error


@pytest.mark.parametrize(
    ("error", "said"), [(RuntimeError("the disk is on fire"), "the disk is on fire"), (Cancelled("x"), "was cancelled")]
)
def test_a_stopped_study_says_why_and_resumes(small, monkeypatch, error, said):
    study = Study(n_train=299, architecture="softmax", keeps=(100,), seeds=(1,))
    resumed = []
    monkeypatch.setattr(lrp_core.study.launch, "start_study", lambda *a, **k: resumed.append((a[0], k)) or True)
    stop(small.ledger, study, error)
    try:
        log = lrp_core.study.launch.log_path(small.ledger, study.key)
        log.parent.mkdir(exist_ok=True)
        log.write_text("a line of the log\n")
        app = small.open("How sure")
        assert not app.exception
        assert said in texts(app)
        assert bool(app.code) == isinstance(error, RuntimeError)
        app.button(key=f"resume-{study.key}").click().run()
        assert resumed == [(study, {"name": "stopped"})]
        app.selectbox(key="study").set_value(SMALL.key).run()
        assert app.slider(key="removed").value == state.REMOVED, "nothing is recommended"
        assert small.opened.recommend().row is None
    finally:
        small.ledger.forget(study.key)


def test_a_cancelled_study_shows_what_it_has(small):
    stop(small.ledger, SMALL, Cancelled("x"))
    try:
        app = small.open("How sure", removed="80")
        assert "was cancelled" in texts(app)
        assert "**2 seeds" in texts(app)
        assert "Measured points" in texts(app)
    finally:
        with small.ledger.running(SMALL.key, "study", "small", asdict(SMALL), 14):
            pass


def test_a_killed_study_is_interrupted(empty):
    empty.announce(SMALL.key, "study", "killed", asdict(SMALL), 14)
    with empty._connect() as database:
        database.execute("UPDATE runs SET state = 'running'")
    app = Stage(empty, SMALL).open("Result")
    assert not app.exception
    assert "was interrupted" in texts(app)
    assert app.button(key=f"resume-{SMALL.key}")


def test_results_of_another_version_can_be_made_again(empty, monkeypatch):
    again = []
    monkeypatch.setattr(lrp_core.study.launch, "start_study", lambda *a, **k: again.append(a[0]) or True)
    with empty.running(SMALL.key, "study", "old", asdict(SMALL), 14):
        pass
    for name in NAMES:
        app = Stage(empty, SMALL).open(name)
        assert not app.exception
        assert not app.error
        assert "not in the ledger" in texts(app)
    app.button(key=f"resume-{SMALL.key}").click().run()
    assert again == [SMALL]


# Export


def test_the_export_is_started_with_what_is_shown(small, monkeypatch):
    asked = []
    monkeypatch.setattr(lrp_core.study.launch, "start_export", lambda *a: asked.append(a) or True)
    app = small.open("Export", removed="50", method="variance", seed="2")
    [prepare] = [b for b in app.button if b.label == "Prepare export"]
    prepare.click().run()
    [(run, spec, _)] = asked
    trial = trial_at(SMALL, load_dataset("mnist"), method="variance", keep=392, mode="fine-tune", seed=2)
    assert run == f"export-{trial.key}"
    assert "folder" not in spec, "where an export goes follows from its trial"
    assert (spec["keep"], spec["method"], spec["mode"], spec["seed"]) == (392, "variance", "fine-tune", 2)
    assert Study.from_values(json.loads(json.dumps(spec["study"]))) == SMALL


def test_a_prepared_export_is_offered_at_once(small, tmp_path):
    trial = trial_at(SMALL, load_dataset("mnist"), method="lrp-0", keep=400, mode="fine-tune", seed=1)
    removed = 49
    keep = small.opened.keep_for(removed)
    assert keep == 400
    folder = small.ledger.folder / "exports" / trial.key
    made = export_trial(trial, folder, small.ledger)
    app = small.open("Export", removed=str(removed))
    assert not app.exception
    assert [b.proto.label for b in app.get("download_button")] == ["Download the network"]
    assert metrics(app)["Test accuracy"] == f"{100 * made.card['accuracy']['value']:.2f}\u00a0%"
    with zipfile.ZipFile(io.BytesIO(data.zipped(folder, export_card.readme(made.card)))) as archive:
        archive.extractall(tmp_path)
    _, card = load_export(tmp_path / "small-network")
    assert card["accuracy"] == made.card["accuracy"]
    assert card["files"] == made.card["files"]
    assert "python -m lrp_core predict" in (tmp_path / "small-network" / "README.txt").read_text()


def test_a_damaged_card_is_refused_in_a_sentence(small):
    trial = trial_at(SMALL, load_dataset("mnist"), method="random", keep=400, mode="fine-tune", seed=1)
    folder = small.ledger.folder / "exports" / trial.key
    folder.mkdir(parents=True)
    (folder / "card.json").write_text('{"card_ver')
    app = small.open("Export", removed="49", method="random")
    assert not app.exception
    assert "truncated" in app.error[0].value
    assert app.slider(key="removed").value == 49
