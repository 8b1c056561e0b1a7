"""The ledger survives what a machine does to it: kills, damage, newer versions, a full disk, two writers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrp_core.errors import Cancelled, StorageError
from lrp_core.study.ledger import STARTUP_SECONDS, VERSION, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def holder(folder: Path, then: str, *, share: bool = False) -> subprocess.Popen[str]:
    """Another process that enters the run 'r' and says so, then does what `then` says inside of it."""
    code = f"""
        import sys, time
        from pathlib import Path
        from lrp_core.study.ledger import Ledger
        ledger = Ledger(Path({str(folder)!r}))
        with ledger.running("r", "study", "quick", {{"a": 1}}, 3, share={share}) as mine:
            ledger.report("r", "trials", 1)
            print("mine" if mine else "not mine", flush=True)
            {then}
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "mine"
    return process


def test_a_trial_is_read_back_as_it_was_written(ledger: Ledger) -> None:
    ledger.record_trial("k", {"criterion": "lrp-0", "keep": 3}, {"accuracy": 0.25, "per_class": [0.5, 1.0]})
    table = ledger.trials(["k"])
    assert table.to_dict("records") == [
        {"key": "k", "criterion": "lrp-0", "keep": 3, "accuracy": 0.25, "per_class": [0.5, 1.0]}
    ]


def test_a_trial_that_is_there_stays_as_it_is(ledger: Ledger) -> None:
    ledger.record_trial("k", {"keep": 3}, {"accuracy": 0.25})
    ledger.record_trial("k", {"keep": 3}, {"accuracy": 0.75})
    assert ledger.trials(["k"])["accuracy"].tolist() == [0.25]


@given(
    wanted=st.lists(st.sampled_from("abcdefgh"), unique=True), there=st.lists(st.sampled_from("abcdefgh"), unique=True)
)
def test_trials_come_in_the_order_asked_for(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[str], there: list[str]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    for key in there:
        ledger.record_trial(key, {"name": key}, {})
    table = ledger.trials(wanted)
    assert (table["key"].tolist() if len(table) else []) == [key for key in wanted if key in there]
    assert ledger.recorded(wanted) == set(wanted) & set(there)


def test_more_keys_than_sqlite_takes_as_parameters(ledger: Ledger) -> None:
    ledger.record_trial("k40000", {}, {"x": 1})
    assert ledger.recorded([f"k{i}" for i in range(50_000)]) == {"k40000"}


def test_a_run_ends_as_done(ledger: Ledger) -> None:
    with ledger.running("r", "study", "quick", {"a": 1}, 3) as mine:
        assert mine
        ledger.report("r", "trials", 2)
        run = ledger.run("r")
        assert run is not None
        assert (run.state, run.stage, run.done, run.total, run.is_active) == ("running", "trials", 2, 3, True)
    run = ledger.run("r")
    assert run is not None
    assert (run.state, run.spec, run.progress) == ("done", {"a": 1}, pytest.approx(2 / 3))


def test_a_failure_is_kept_with_its_message(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="no such luck"), ledger.running("r", "study", "quick", {}, 3):
        raise ValueError("no such luck")
    run = ledger.run("r")
    assert run is not None
    assert (run.state, run.message) == ("failed", "no such luck")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Cancelled])
def test_stopping_counts_as_cancelled(ledger: Ledger, stop: type[BaseException]) -> None:
    with pytest.raises(stop), ledger.running("r", "study", "quick", {}, 3):
        raise stop
    run = ledger.run("r")
    assert run is not None
    assert run.state == "cancelled"


def test_a_cancel_request_reaches_the_next_report(ledger: Ledger) -> None:
    with pytest.raises(Cancelled), ledger.running("r", "study", "quick", {}, 3):
        ledger.report("r", "trials", 1)
        Ledger(ledger.folder).request_cancel("r")
        ledger.report("r", "trials", 2)
    with ledger.running("r", "study", "quick", {}, 3):  # the request does not outlive the run
        ledger.report("r", "trials", 1)


def test_a_killed_run_shows_as_interrupted_and_can_be_taken_up(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    process = holder(tmp_path, "time.sleep(600)")
    try:
        run = ledger.run("r")
        assert run is not None
        assert run.state == "running"
        with ledger.running("r", "study", "quick", {}, 3) as mine:
            assert not mine
        assert not ledger.announce("r", "study", "quick", {}, 3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    run = ledger.run("r")
    assert run is not None
    assert (run.state, run.done) == ("interrupted", 1)
    with ledger.running("r", "study", "quick", {}, 3) as mine:
        assert mine


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def state_of(ledger: Ledger) -> str:
    run = ledger.run("r")
    assert run is not None
    return run.state


def test_a_shared_run_lives_as_long_as_any_holder(tmp_path: Path) -> None:
    """The first is killed: the second goes on with it, and ends it."""
    ledger = Ledger(tmp_path)
    first = holder(tmp_path, "time.sleep(600)", share=True)
    try:
        before = ledger.run("r")
        with ledger.running("r", "study", "quick", {"a": 1}, 3, share=True) as mine:
            assert mine
            joined = ledger.run("r")
            assert before is not None
            assert joined is not None
            assert (joined.started, joined.done) == (before.started, 1), "who joins does not begin again"
            kill(first)
            assert state_of(ledger) == "running"
            with Ledger(tmp_path).running("r", "study", "quick", {"a": 1}, 3) as other:
                assert not other, "a run that is to be alone does not share"
        assert state_of(ledger) == "done"
        assert not list((tmp_path / "locks").iterdir()), "nothing is left of the dead"
    finally:
        kill(first)


@pytest.mark.parametrize("error", [ValueError("no such luck"), KeyboardInterrupt()])
def test_who_stops_alone_leaves_a_shared_run_to_the_others(ledger: Ledger, error: BaseException) -> None:
    with ledger.running("r", "study", "quick", {}, 3, share=True):
        with pytest.raises(type(error)), ledger.running("r", "study", "quick", {}, 3, share=True):
            raise error
        assert state_of(ledger) == "running"
    assert state_of(ledger) == "done"


def test_a_cancel_request_stops_all_who_share(ledger: Ledger) -> None:
    with pytest.raises(Cancelled), ledger.running("r", "study", "quick", {}, 3, share=True):
        with pytest.raises(Cancelled), ledger.running("r", "study", "quick", {}, 3, share=True):
            ledger.request_cancel("r")
            ledger.check_cancelled("r")
        assert state_of(ledger) == "cancelled"
        with ledger.running("r", "study", "quick", {}, 3, share=True):
            assert state_of(ledger) == "running", "it was resumed while the other had yet to stop"
            ledger.check_cancelled("r")
            ledger.request_cancel("r")
        ledger.report("r", "trials", 1)


def test_a_claim_is_its_holders_alone(ledger: Ledger) -> None:
    with ledger.running("r", "study", "a", {}, 3) as one, ledger.running("s", "study", "b", {}, 3) as two:
        assert one
        assert two
        assert ledger.claim("k", one)
        assert ledger.claim("k", one)
        assert not ledger.claim("k", two)
        ledger.release("k", two)
        assert not ledger.claim("k", two), "only its holder can release it"
        ledger.release("k", one)
        assert ledger.claim("k", two)
        ledger.record_trial("k", {}, {"x": 1})
        assert not ledger.claim("k", two), "it is done"
        assert ledger.claim("other", one)
    with ledger.running("r", "study", "a", {}, 3) as one:
        assert one
        assert ledger.claim("other", one), "claims end with the run"


def test_the_claims_of_the_dead_are_taken_over(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    process = holder(tmp_path, "ledger.claim('k', mine); print('claimed', flush=True); time.sleep(600)", share=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "claimed"
        with ledger.running("s", "study", "b", {}, 3) as mine:
            assert mine
            assert not ledger.claim("k", mine)
            kill(process)
            assert ledger.claim("k", mine)
    finally:
        kill(process)


def test_time_left_is_estimated_from_what_this_stage_did(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    with ledger.running("r", "study", "quick", {}, 100):
        for clock[0], stage, done, rate, left in (
            (1000.0, "trials", 40, None, None),  # these were there before
            (1100.0, "training on all inputs (0 of 2)", 40, None, None),
            (1200.0, "training on all inputs (1 of 2)", 40, None, None),
            (1300.0, "trials", 41, None, None),
            (1310.0, "trials", 46, 0.5, 108.0),
            (1320.0, "trials", 61, 1.0, 39.0),
        ):
            ledger.report("r", stage, done)
            run = ledger.run("r")
            assert run is not None
            assert (run.rate, run.seconds_left) == (rate, left)
        clock[0] = 1340.0
        run = ledger.run("r")
        assert run is not None
        assert run.rate == 0.5, "as long as nothing finishes, the rate falls"
    clock[0] = 9000.0
    run = ledger.run("r")
    assert run is not None
    assert (run.rate, run.seconds_left) == (0.5, None)


VERSION_1 = """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, spec TEXT NOT NULL, state TEXT NOT NULL,
        stage TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER NOT NULL, message TEXT NOT NULL,
        started REAL NOT NULL, updated REAL NOT NULL, cancel INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE trials (
        key TEXT PRIMARY KEY, spec TEXT NOT NULL, result TEXT NOT NULL, finished REAL NOT NULL
    ) STRICT;
    INSERT INTO trials VALUES ('k', '{"keep": 3}', '{"accuracy": 0.25}', 1.0);
    INSERT INTO runs VALUES ('done', 'study', 'old', '{"a": 1}', 'done', 'done', 3, 3, '', 10.0, 20.0, 0);
    INSERT INTO runs VALUES ('r', 'study', 'old', '{"a": 2}', 'running', 'trials', 2, 3, '', 30.0, 40.0, 0);
    PRAGMA user_version = 1;
"""


def test_an_older_ledger_goes_on_with_nothing_lost(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(VERSION_1)
    ledger = Ledger(tmp_path)
    assert ledger.trials(["k"]).to_dict("records") == [{"key": "k", "keep": 3, "accuracy": 0.25}]
    assert [(run.id, run.state, run.spec, run.done, run.seconds) for run in ledger.runs()] == [
        ("r", "interrupted", {"a": 2}, 2, 10.0),
        ("done", "done", {"a": 1}, 3, 10.0),
    ]
    with ledger.running("r", "study", "old", {"a": 2}, 3) as mine:
        assert mine
        assert ledger.claim("l", mine)
        ledger.record_trial("l", {}, {})
    assert state_of(Ledger(tmp_path)) == "done"
    with closing(sqlite3.connect(ledger.path)) as database:
        assert database.execute("PRAGMA user_version").fetchone()[0] == VERSION


def test_many_processes_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from lrp_core.study.ledger import Ledger; Ledger(Path({str(tmp_path)!r})).runs()"
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(6)]
    assert [process.communicate()[1] for process in processes] == [""] * 6


def test_an_announced_run_is_not_announced_twice_and_does_not_wait_for_ever(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ledger.announce("r", "study", "quick", {}, 3)
    assert not ledger.announce("r", "study", "quick", {}, 3)
    run = ledger.run("r")
    assert run is not None
    assert (run.state, run.is_active) == ("starting", True)
    later = time.time() + STARTUP_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    run = ledger.run("r")
    assert run is not None
    assert run.state == "interrupted"
    assert ledger.announce("r", "study", "quick", {}, 3)


def test_runs_are_listed_by_kind_newest_first(ledger: Ledger) -> None:
    for name, kind in (("a", "study"), ("b", "export"), ("c", "study")):
        with ledger.running(name, kind, name, {}, 1):
            pass
    assert [run.id for run in ledger.runs("study")] == ["c", "a"]
    assert [run.id for run in ledger.runs("export")] == ["b"]
    assert ledger.run("nothing") is None


def test_readers_do_not_wait_for_a_writer(ledger: Ledger) -> None:
    ledger.record_trial("k", {}, {"x": 1})
    writer = sqlite3.connect(ledger.path)
    try:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM trials")
        assert Ledger(ledger.folder).recorded(["k"]) == {"k"}  # one that waited would give up: the writer stays
    finally:
        writer.close()


def test_a_newer_ledger_is_refused(ledger: Ledger) -> None:
    with closing(sqlite3.connect(ledger.path)) as database, database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(StorageError, match="newer version"):
        Ledger(ledger.folder)


@pytest.mark.parametrize("size", [50, 100, 4000, 8191])
def test_a_truncated_ledger_is_refused_and_left_as_it_is(ledger: Ledger, size: int) -> None:
    for i in range(200):
        ledger.record_trial(f"k{i}", {"text": "x" * 50}, {})
    with closing(sqlite3.connect(ledger.path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = ledger.path.read_bytes()
    assert len(content) > 8192
    ledger.path.write_bytes(content[:size])
    with pytest.raises(StorageError, match="damaged"):
        Ledger(ledger.folder).trials([f"k{i}" for i in range(200)])
    assert ledger.path.read_bytes()[:size] == content[:size]


def test_something_else_in_place_of_the_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"this is no database at all, but a text of some length " * 50)
    with pytest.raises(StorageError, match="damaged"):
        Ledger(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    with pytest.raises(StorageError, match="cannot write to the cache folder"):
        Ledger(blocker / "cache")


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    Ledger(tmp_path).record_trial("before", {}, {"x": 1})
    code = f"""
        import resource
        from pathlib import Path
        from lrp_core.errors import StorageError
        from lrp_core.study.ledger import Ledger
        ledger = Ledger(Path({str(tmp_path)!r}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        try:
            for i in range(500):
                ledger.record_trial(f"k{{i}}", {{"text": "x" * 500}}, {{}})
        except StorageError as error:
            print(i, error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    stopped_at, message = done.stdout.strip().split(" ", 1)
    assert "ledger" in message
    keys = ["before", *(f"k{i}" for i in range(int(stopped_at)))]
    assert Ledger(tmp_path).recorded(keys) == set(keys)


def test_a_forgotten_run_is_gone_and_its_trials_are_not(ledger: Ledger) -> None:
    ledger.record_trial("k", {"keep": 3}, {"accuracy": 0.25})
    with ledger.running("r", "study", "quick", {}, 1):
        with pytest.raises(StorageError, match=r"'quick' is running: cancel it before"):
            ledger.forget("r")
    ledger.forget("r")
    assert ledger.run("r") is None
    assert ledger.recorded(["k"]) == {"k"}
    ledger.forget("r")


def test_a_cancellation_reaches_a_run_that_is_only_starting(ledger: Ledger) -> None:
    assert ledger.announce("r", "study", "quick", {}, 3)
    ledger.request_cancel("r")
    with pytest.raises(Cancelled), ledger.running("r", "study", "quick", {}, 3):
        ledger.report("r", "trials", 0)
    assert ledger.announce("r", "study", "quick", {}, 3), "what is started again is not cancelled"
    with ledger.running("r", "study", "quick", {}, 3):
        ledger.report("r", "trials", 0)


def test_trials_of_older_versions_have_their_accuracy_as_the_score(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record_trial("k", {"keep": 3}, {"validation_accuracy": 0.25, "test_accuracy": 0.5, "test_loss": 1.0})
    row = ledger.trials(["k"]).iloc[0]
    assert (row["validation_score"], row["test_score"], row["test_loss"]) == (0.25, 0.5, 1.0)
