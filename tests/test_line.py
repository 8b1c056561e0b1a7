"""Real work in one line: studies and exports of several processes, their workers, and what stops them."""

from __future__ import annotations

import os
import subprocess
import textwrap
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from lrp_core.errors import LrpError
from lrp_core.study import Study
from lrp_core.study.launch import log_path, start_export, start_study
from lrp_core.study.ledger import Ledger, Run
from lrp_core.study.turns import Turn, is_inside
from lrp_core.study.workers import Pool

from .support import python_command, python_options, wait_until

pytestmark = pytest.mark.slow

posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")

TINY = Study(architecture="softmax", n_train=300, epochs=1, retrain_epochs=1, keeps=(100,), criteria=("random",))
LONG = replace(TINY, architecture="mlp-300-100", n_train=3000, epochs=5000, retrain_epochs=1)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A ledger of its own; what was started on it is over afterwards."""
    monkeypatch.setenv("LRP_WORKERS", "2")
    ledger = Ledger(tmp_path)
    yield ledger
    for kind in ("study", "export"):
        for run in ledger.runs(kind):
            ledger.request_cancel(run.id)
    wait_until(lambda: not commands(), "the end of what was started")


def commands() -> list[psutil.Process]:
    """The commands that this process has started and that are not over."""
    return [child for child in psutil.Process().children() if "--resume" in words(child)]


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "workers.worker" in words(child)]


def words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def known(ledger: Ledger, name: str) -> Run:
    run = ledger.run(name)
    assert run is not None
    return run


def test_studies_started_at_once_take_turns(ledger: Ledger) -> None:
    studies = [replace(TINY, seeds=(2 * i, 2 * i + 1)) for i in range(4)]
    for study in studies:
        assert start_study(study, ledger)
    ended: list[str] = []
    most, stages = 0, set()

    def all_ended() -> bool:
        nonlocal most
        most = max(most, len(workers()))
        for study in studies:
            run = known(ledger, study.key)
            stages.add(run.stage)
            if not run.is_active and study.key not in ended:
                ended.append(study.key)
        return len(ended) == len(studies)

    wait_until(all_ended)
    assert most == 2
    assert ended == [study.key for study in studies], "as they were started"
    assert {known(ledger, study.key).state for study in studies} == {"done"}, log_path(ledger, ended[0]).read_text()
    assert {"waiting: 1 study before this one", "waiting: 3 studies before this one"} <= stages


@posix
def test_waiting_or_at_work_what_is_cancelled_ends_and_the_rest_goes_on(ledger: Ledger) -> None:
    long, next_one, last = LONG, replace(LONG, seeds=(8, 9)), replace(TINY, seeds=(5, 6))
    for study in (long, next_one, last):
        start_study(study, ledger)
    wait_until(lambda: known(ledger, last.key).before == 2)
    wait_until(lambda: len(workers()) == 2, "work in a long stage")
    waiting = next(process for process in commands() if last.key in words(process))
    assert waiting.memory_info().rss < 80e6, "who waits has loaded nothing"
    ledger.request_cancel(next_one.key)
    wait_until(lambda: known(ledger, next_one.key).state == "cancelled")
    wait_until(lambda: known(ledger, last.key).before == 1)
    assert known(ledger, long.key).is_active
    ledger.request_cancel(long.key)
    wait_until(lambda: known(ledger, long.key).state == "cancelled")
    wait_until(lambda: known(ledger, last.key).state == "done")
    assert start_study(replace(TINY, seeds=(5, 6)), ledger), "it can be asked for again"
    wait_until(lambda: not commands())
    assert known(ledger, last.key).state == "done"


@posix
def test_a_waiting_process_that_is_killed_leaves_the_line(ledger: Ledger) -> None:
    last = replace(TINY, seeds=(5, 6))
    start_study(LONG, ledger)
    wait_until(lambda: known(ledger, LONG.key).stage.startswith("training"))
    start_study(last, ledger)
    wait_until(lambda: known(ledger, last.key).before == 1)
    next(process for process in commands() if last.key in words(process)).kill()
    wait_until(lambda: [one.run for one in ledger.queue()] == [LONG.key])


def test_an_export_does_not_wait_for_the_end_of_a_study(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRP_WORKERS", "1")
    study = replace(TINY, seeds=tuple(range(200)), keeps=tuple(range(10, 30)))
    start_study(study, ledger)
    wait_until(lambda: known(ledger, study.key).stage.startswith("training"))
    spec = {"study": asdict(TINY), "method": "random", "keep": 100, "mode": "fine-tune", "seed": 0}
    start_export("export-x", spec, ledger)
    wait_until(lambda: not known(ledger, "export-x").is_active)
    assert known(ledger, "export-x").state == "done", log_path(ledger, "export-x").read_text()
    assert known(ledger, study.key).is_active


# Processes of a pool


def at_work(log: Path, value: int) -> bool:
    """Write when it begins and ends, and say whether it knows that it has a place."""
    with log.open("a") as file:
        file.write("+1\n")
    time.sleep(0.2)
    with log.open("a") as file:
        file.write("-1\n")
    return is_inside()


def most_at_once(log: Path) -> int:
    now, most = 0, 0
    for line in log.read_text().split():
        now += int(line)
        most = max(most, now)
    return most


@pytest.mark.parametrize("places", [1, 2])
def test_a_pool_has_no_more_processes_than_places(tmp_path: Path, places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRP_WORKERS", str(places))
    log = tmp_path / "log"
    with Turn(tmp_path / "locks", "r", "study") as turn:
        pool = Pool(3, turn)
        found = [step[1] for step in pool.run(partial(at_work, log), ((str(i), i) for i in range(8))) if step]
        assert len(workers()) == places
        pool.close()
        assert (turn.holds, workers()) == (0, [])
    assert found == [True] * 8
    assert most_at_once(log) == places


def test_a_pool_gives_way_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRP_WORKERS", "2")
    log = tmp_path / "log"
    seen = []
    with Turn(tmp_path, "r", "study", 1.0) as turn, Turn(tmp_path, "first", "study", 0.0) as first:
        pool = Pool(2, turn)
        for step in pool.run(partial(at_work, log), ((str(i), i) for i in range(40))):
            seen += [step[0][0]] if step else []
            if len(seen) == 4:
                first.want(2)
            if len(seen) < 40:
                first.take()
            if first.holds == 2:
                assert (turn.holds, workers()) == (0, [])
                first.end()
        assert turn.holds == 2, "it came back"
        pool.close()
    assert sorted(map(int, seen)) == list(range(40))


def fail_oddly(value: int) -> None:
    class Odd(Exception):
        def __reduce__(self) -> str:
            raise TypeError("not to be sent")

    raise Odd("in the worker")


def test_an_error_that_cannot_be_sent_is_told() -> None:
    pool = Pool(2)
    with pytest.raises(LrpError, match="Odd: in the worker"):
        list(pool.run(fail_oddly, [("a", 1)]))
    pool.close()


# Whatever a process is at

STUCK = """
    import signal, sys, time
    from pathlib import Path
    from lrp_core.cli.line import announced, stopped_on_request
    from lrp_core.study.ledger import Ledger

    ledger = Ledger(Path(sys.argv[1]))
    ledger.announce("r", "study", "mine", {}, 3)
    with announced(ledger, "r", "study"), stopped_on_request(ledger, "r"):
        if sys.argv[2] == "deaf":  # as in one large product, of which Python sees nothing
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        print("here", flush=True)
        time.sleep(600)
"""


@posix
@pytest.mark.parametrize("way", ["deaf", "hearing"])
def test_a_process_that_does_not_look_is_stopped_all_the_same(ledger: Ledger, way: str) -> None:
    process = subprocess.Popen(python_command(textwrap.dedent(STUCK), ledger.folder, way), **python_options())
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "here"
    ledger.request_cancel("r")
    _, said = process.communicate(timeout=300)
    assert known(ledger, "r").state == "cancelled"
    assert process.returncode == 130 if way == "deaf" else "KeyboardInterrupt" in said
