"""The line of all work on a cache folder: its order, its limit, and what kills, stops and deletions do to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrp_core.errors import Cancelled, InputError
from lrp_core.study import tickets, turns
from lrp_core.study.ledger import Ledger
from lrp_core.study.tickets import Standing, Ticket, places, read_line, shares, standings
from lrp_core.study.turns import Turn, inside

from .support import python_command, python_options, wait_until

posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")


@pytest.fixture(autouse=True)
def _two_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRP_WORKERS", "2")
    monkeypatch.setattr(turns, "LOOK_SECONDS", 0.0)


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Callable[..., Turn]]:
    """Stands in line, in the order of the calls, and wants so many places."""
    with ExitStack() as stack:
        since = iter(range(1, 1000))

        def enter(run: str, wants: int, kind: str = "study") -> Turn:
            turn = stack.enter_context(Turn(tmp_path, run, kind, float(next(since))))
            turn.want(wants)
            return turn

        yield enter


def take_all(*turns: Turn) -> list[int]:
    """How many places each has when all have taken what they can get."""
    for turn in turns:
        while turn.take():
            pass
    return [turn.holds for turn in turns]


# The order


def test_the_first_has_what_it_can_use_and_the_next_what_is_left(stand: Callable[..., Turn]) -> None:
    first, second, third = stand("a", 1), stand("b", 2), stand("c", 2)
    assert take_all(third, second, first) == [0, 1, 1]


def test_whoever_comes_first_in_line_gets_places_as_others_give_them_back(stand: Callable[..., Turn]) -> None:
    first, second, third = (stand(name, 2) for name in "abc")
    assert take_all(first, second, third) == [2, 0, 0]
    assert not first.must_give()
    first.want(0)
    assert first.must_give()
    first.give()
    assert take_all(third, second) == [0, 1]
    first.give()
    assert take_all(third, second) == [0, 2]


def test_an_export_comes_before_studies_but_waits_for_what_is_at_work(
    stand: Callable[..., Turn], tmp_path: Path
) -> None:
    first, second = stand("a", 2), stand("b", 2)
    assert take_all(first, second) == [2, 0]
    export = stand("e", 1, "export")
    assert take_all(export) == [0], "no place is free"
    assert standings(tmp_path)[0] == Standing("e", "export", 0, True)
    assert first.must_give()
    first.give()
    assert take_all(second, export) == [0, 1]
    assert not first.must_give(), "the other place is its own"
    assert [one.run for one in standings(tmp_path)] == ["e", "a", "b"]


def test_after_its_turn_work_goes_to_the_end_of_the_line(
    stand: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = stand("a", 2), stand("b", 2)
    assert take_all(first, second) == [2, 0]
    assert not first.must_give()
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    assert first.must_give()
    monkeypatch.setattr(turns, "TURN_SECONDS", 300.0)
    while first.must_give():
        first.give()
    assert take_all(first, second) == [0, 2]
    second.want(1)
    second.give()
    assert take_all(first, second) == [1, 1]


def test_work_that_nobody_waits_for_goes_on_for_ever(
    stand: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    first, second = stand("a", 1), stand("b", 1)
    assert take_all(first, second) == [1, 1]
    assert not first.must_give()
    assert not second.must_give()


@given(
    st.lists(
        st.tuples(st.sampled_from(["study", "export", "budgets"]), st.integers(0, 5), st.integers(0, 9)), max_size=8
    ),
    st.integers(1, 6),
)
def test_shares_are_never_more_than_the_places_and_leave_none_unused(asked: list[tuple[str, int, int]], n: int) -> None:
    line = [Ticket(str(i), str(i), kind, since, wants) for i, (kind, wants, since) in enumerate(asked)]
    found = shares(line, n)
    assert sum(found.values()) == min(n, sum(ticket.wants for ticket in line))
    assert all(found[ticket.name] <= ticket.wants for ticket in line)


# What people read


def test_a_run_says_what_comes_before_it(stand: Callable[..., Turn], tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.announce("c", "study", "mine", {}, 3)
    with ExitStack() as stack:
        line = [stack.enter_context(ledger.turn(run, "study", since)) for since, run in enumerate("abc")]
        for turn in line:
            turn.want(2)
        take_all(*line)
        run = ledger.run("c")
        assert run is not None
        assert (run.state, run.before, run.stage) == ("running", 2, "waiting: 2 studies before this one")
        assert [(one.run, one.places) for one in ledger.queue()] == [("a", 2), ("b", 0), ("c", 0)]
        line[0].end()
        take_all(*line)
        run = ledger.run("c")
        assert run is not None
        assert (run.before, run.stage) == (1, "waiting: 1 study before this one")
        line[1].end()
        take_all(*line)
        run = ledger.run("c")
        assert run is not None
        assert (run.before, run.stage) == (0, "starting")
    assert ledger.queue() == []


def test_a_run_that_waits_longer_than_a_start_may_take_is_not_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lrp_core.study import ledger as ledgers

    monkeypatch.setattr(ledgers, "STARTUP_SECONDS", -1)
    ledger = Ledger(tmp_path)
    ledger.announce("r", "study", "mine", {}, 3)

    def state() -> str:
        run = ledger.run("r")
        assert run is not None
        return run.state

    with ledger.turn("r", "study") as turn:
        turn.want(1)
        assert state() == "running"
    assert state() == "interrupted"


def test_two_processes_of_one_run_count_as_one(stand: Callable[..., Turn], tmp_path: Path) -> None:
    one, two, other = stand("a", 1), stand("a", 2), stand("b", 1)
    assert take_all(one, two, other) == [1, 1, 0]
    assert standings(tmp_path) == [Standing("a", "study", 2), Standing("b", "study", 0, True, ("study",))]


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5"])
def test_a_number_of_workers_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRP_WORKERS", given)
    with pytest.raises(InputError, match="LRP_WORKERS is the number of processes"):
        places()


def test_by_default_there_is_a_place_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRP_WORKERS")
    assert places() == os.cpu_count()


def test_work_that_is_part_of_other_work_does_not_wait_for_it(tmp_path: Path, stand: Callable[..., Turn]) -> None:
    assert take_all(stand("a", 2)) == [2]
    with inside(), Turn(tmp_path, "b", "study") as nested:
        nested.want(5)
        assert (nested.take(), nested.take(), nested.holds, nested.must_give()) == (True, False, 1, False)
        assert [one.run for one in standings(tmp_path)] == ["a"]


def test_a_cancelled_run_stops_waiting(tmp_path: Path, stand: Callable[..., Turn]) -> None:
    ledger = Ledger(tmp_path)
    ledger.announce("r", "study", "mine", {}, 3)
    assert take_all(stand("a", 2)) == [2]
    ledger.request_cancel("r")
    with Turn(tmp_path, "r", "study") as turn, pytest.raises(Cancelled):
        turn.want(1)
        turn.wait(lambda: ledger.check_cancelled("r"))


# Faults

HOLD = """
    import sys, time
    from pathlib import Path
    from lrp_core.study.turns import Turn

    with Turn(Path(sys.argv[1]), sys.argv[2], "study", 0.0) as turn:
        turn.want(2)
        turn.wait(lambda: None)
        while turn.take():
            pass
        print(turn.holds, flush=True)
        time.sleep(600)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has both places."""
    process = subprocess.Popen(python_command(textwrap.dedent(HOLD), tmp_path, "other"), **python_options())
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "2"
    yield process
    process.kill()
    process.communicate()


def test_the_places_of_a_killed_process_are_free_at_once(
    other: subprocess.Popen[str], stand: Callable[..., Turn], tmp_path: Path
) -> None:
    turn = stand("mine", 2)
    assert take_all(turn) == [0]
    other.kill()
    other.wait()
    assert take_all(turn) == [2]
    assert len(list(tmp_path.glob("*.ticket"))) == 1, "its ticket is cleared away"


@posix
def test_a_stopped_process_holds_up_nobody_and_makes_room_when_it_goes_on(
    other: subprocess.Popen[str], stand: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tickets, "STALE_SECONDS", 3.0)
    turn = stand("mine", 2)
    other.send_signal(signal.SIGSTOP)
    wait_until(lambda: [one.run for one in read_line(tmp_path)] == ["mine"], "the ticket of the stopped process to age")
    assert take_all(turn) == [2]
    other.send_signal(signal.SIGCONT)
    wait_until(lambda: len(read_line(tmp_path)) == 2, "a new beat")
    assert turn.must_give(), "four are at work on two places, and the other one came first"


@posix
def test_a_process_that_was_stopped_while_it_took_a_place_holds_up_the_others_only_so_long(
    tmp_path: Path, stand: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    monkeypatch.setattr(turns, "MUTEX_SECONDS", 0.1)
    with FileLock(tmp_path / "line.lock"):
        assert take_all(stand("mine", 2)) == [2]


@pytest.mark.parametrize("pattern", ["*.ticket", "*.lock", "*"])
def test_tickets_and_locks_that_somebody_deletes_come_back(
    pattern: str, tmp_path: Path, stand: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "BEAT_SECONDS", 0.05)
    turn = stand("mine", 2)
    assert take_all(turn) == [2]
    for path in tmp_path.glob(pattern):
        path.unlink()
    wait_until(lambda: [(one.run, one.holds) for one in read_line(tmp_path)] == [("mine", 2)], "a new ticket")
    assert take_all(stand("other", 1)) == [0]


def test_a_folder_that_somebody_deletes_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(turns, "BEAT_SECONDS", 0.05)
    folder = tmp_path / "locks"
    with Turn(folder, "mine", "study") as turn:
        turn.want(1)
        shutil.rmtree(folder)
        wait_until(lambda: [one.run for one in read_line(folder)] == ["mine"], "a new ticket")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": 1}', json.dumps({"name": "x", "run": "r"})])
def test_a_damaged_ticket_counts_for_nothing(content: str, tmp_path: Path, stand: Callable[..., Turn]) -> None:
    (tmp_path / "x.ticket").write_text(content)
    assert take_all(stand("mine", 2)) == [2]


CROWD = """
    import os, random, sys, time
    from pathlib import Path
    from lrp_core.study.turns import Turn

    folder, log = Path(sys.argv[1]), Path(sys.argv[2])
    with Turn(folder, str(os.getpid()), "study") as turn:
        for _ in range(4):
            turn.want(1)
            turn.wait(lambda: None)
            log.open("a").write("+1\\n")
            time.sleep(random.random() / 20)
            log.open("a").write("-1\\n")
            turn.give()
"""


def test_eight_processes_never_have_more_than_the_places_between_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    crowd = [
        subprocess.Popen(python_command(textwrap.dedent(CROWD), tmp_path / "locks", log), **python_options())
        for _ in range(8)
    ]
    for process in crowd:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    at_work, most = 0, 0
    for line in log.read_text().split():
        at_work += int(line)
        most = max(most, at_work)
    assert (at_work, most) == (0, 2)


def test_who_waits_far_back_looks_rarely(stand: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        stand(f"before {number}", 2)
    last = stand("last", 1)
    looks = []
    take = last.take
    monkeypatch.setattr(last, "take", lambda: looks.append(1) or take())
    started = time.monotonic()

    def check() -> None:
        if time.monotonic() - started > 2.0:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        last.wait(check)
    assert len(looks) == 1
