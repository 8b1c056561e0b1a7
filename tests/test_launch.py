"""Long work runs in a process of its own, from the announcement to the result."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from lrp_core.data import Dataset
from lrp_core.study import Study, trial_at
from lrp_core.study.export import load_export
from lrp_core.study.launch import log_path, start_export, start_study
from lrp_core.study.ledger import Ledger, Run
from lrp_core.views.study import export_folder, study_trials

from .support import wait_until

pytestmark = pytest.mark.slow

STUDY = Study(
    architecture="softmax", n_train=300, epochs=1, retrain_epochs=1, keeps=(100,), seeds=(0, 1), criteria=("random",)
)


def wait_for(ledger: Ledger, name: str) -> Run:
    """The run once no process is at it any more."""

    def run() -> Run:
        found = ledger.run(name)
        assert found is not None
        return found

    wait_until(lambda: not run().is_active, f"the end of {name}")
    return run()


def test_a_study_started_and_an_export_of_it(mnist: Dataset, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert start_study(STUDY, ledger, name="mine")
    assert not start_study(STUDY, ledger, name="mine"), "one is at it already"
    run = wait_for(ledger, STUDY.key)
    assert (run.state, run.name, run.done) == ("done", "mine", 6), log_path(ledger, STUDY.key).read_text()
    assert len(study_trials(STUDY, ledger)) == 6

    trial = trial_at(STUDY, mnist, method="random", keep=150, mode="fine-tune", seed=1)
    spec = {"study": asdict(STUDY), "method": "random", "keep": 150, "mode": "fine-tune", "seed": 1}
    name = f"export-{trial.key}"
    assert start_export(name, spec, ledger)
    run = wait_for(ledger, name)
    assert run.state == "done", log_path(ledger, name).read_text()
    _, card = load_export(export_folder(ledger, trial))
    assert len(card["input"]["kept_pixels"]) == 150
    assert card["provenance"]["criterion"] == "random"
    assert start_export(name, spec, ledger), "it can be made again"
    assert wait_for(ledger, name).state == "done"


def test_a_failure_is_in_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    spec = {"study": asdict(STUDY), "method": "random", "keep": 785, "mode": "fine-tune", "seed": 1}
    assert start_export("export-bad", spec, ledger)
    run = wait_for(ledger, "export-bad")
    assert run.state == "failed"
    assert "between 1 and 784" in run.message
