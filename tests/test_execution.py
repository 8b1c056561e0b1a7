"""Trials run here or on other machines, alone or shared: the table is the same, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest

from lrp_core.cli import main
from lrp_core.data import Dataset, load_dataset, provided
from lrp_core.errors import Cancelled, InputError, LrpError, StorageError
from lrp_core.study import MODES, Study, plan, run_study
from lrp_core.study.ledger import Ledger
from lrp_core.study.stages import base_network
from lrp_core.study.workers import Pool, cluster, open_pool
from lrp_core.version import __version__

from .support import PATIENCE, ROOT, check_sentence, wait_until
from .test_study import table_of, tiny

pytestmark = pytest.mark.slow

posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")


def keys_of(study: Study) -> list[str]:
    return [trial.key for trial in plan(study, load_dataset(study.dataset))]


# Processes of this machine


def double(value: int) -> int:
    return 2 * value


def die_once(flag: Path, value: int) -> int:
    """Have the process killed that is the first to come here."""
    if value == 3 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def die(value: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return value


def sleep_long(folder: Path, value: int) -> int:
    (folder / str(os.getpid())).touch()
    time.sleep(600)
    return value


def results(pool: Pool, function: Callable[[int], Any], n: int) -> dict[str, Any]:
    return {found[0][0]: found[1] for found in pool.run(function, ((str(i), i) for i in range(n))) if found}


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_item_has_its_result(jobs: int) -> None:
    assert results(Pool(jobs), double, 7) == {str(i): 2 * i for i in range(7)}


def test_items_are_taken_as_processes_get_free() -> None:
    """What is taken is claimed, and what is claimed others cannot run."""
    taken = []

    def items() -> Iterator[tuple[str, float]]:
        for i in range(20):
            taken.append(i)
            yield str(i), 0.1

    steps = Pool(2).run(time.sleep, items())
    assert any(steps), "the first result"
    assert len(taken) < 10
    steps.close()


@posix
def test_what_a_killed_process_was_at_is_done_again(tmp_path: Path) -> None:
    assert results(Pool(2), partial(die_once, tmp_path / "flag"), 9) == {str(i): i for i in range(9)}


@posix
def test_processes_that_die_again_and_again_are_one_sentence() -> None:
    with pytest.raises(LrpError, match="killed 3 times") as caught:
        results(Pool(2), die, 4)
    check_sentence(caught.value)


@posix
def test_leaving_ends_what_is_in_flight(tmp_path: Path) -> None:
    steps = Pool(2).run(partial(sleep_long, tmp_path), ((str(i), i) for i in range(4)))
    for _ in steps:
        if len(list(tmp_path.iterdir())) == 2:
            break
    steps.close()
    pids = [int(file.name) for file in tmp_path.iterdir()]
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "daks"}, "did you mean 'dask'"),
        ({"backend": "dask"}, "address of a scheduler"),
        ({"backend": "dask", "scheduler": "tcp://127.0.0.1:1", "jobs": 2}, "leave jobs out"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "needs the backend dask"),
        ({"jobs": 0}, "at least 1"),
    ],
)
def test_a_backend_that_cannot_be_is_refused_at_once(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        next(run_study(tiny(), Ledger(tmp_path), **options))
    check_sentence(caught.value)
    assert Ledger(tmp_path).runs() == []


def test_without_dask_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=re.escape("pip install -r requirements-dask.txt")):
        next(run_study(tiny(), Ledger(tmp_path), backend="dask", scheduler="tcp://127.0.0.1:1"))


# A study in processes of its own

STUDY = tiny(modes=MODES)

RUN = """
    import logging, os, sys, time
    from pathlib import Path
    from lrp_core.study import run as study
    from lrp_core.data import load_dataset
    from lrp_core.study.ledger import Ledger
    from tests.test_study import MODES, tiny

    folder, jobs, together = Path(os.environ["LRP_CACHE"]), *map(int, sys.argv[1:])
    load_dataset("mnist")
    (folder / f"{os.getpid()}.ready").touch()
    while len(list(folder.glob("*.ready"))) < together:
        time.sleep(0.01)
    logging.basicConfig(filename=folder / "computed.log", level=logging.INFO, format="%(message)s")
    run_trial = study.run_trial

    def logged(trial):
        logging.info("trial %s", trial.key)
        return run_trial(trial)

    if jobs == 1:
        study.run_trial = logged
    for done, total, trial in study.run_study(tiny(modes=MODES), Ledger(folder), jobs=jobs):
        print(trial.key, flush=True)
"""


@dataclass
class Other:
    """A process that runs `STUDY` in a cache folder of its own or shared, and what it has said.

    It begins when so many, `together`, are ready to begin in the same folder.
    """

    folder: Path
    jobs: int = 1
    together: int = 1
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(RUN), str(self.jobs), str(self.together)],
            cwd=ROOT,
            env=os.environ | {"LRP_CACHE": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Other:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def wait_for(self, trials: int) -> None:
        """Return when so many trials are in the ledger."""
        ledger = Ledger(self.folder)
        wait_until(lambda: len(ledger.recorded(keys_of(STUDY))) >= trials)

    def finish(self) -> list[str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, err
        return out.split()


def computed(folder: Path) -> Counter[str]:
    return Counter((folder / "computed.log").read_text().splitlines())


@pytest.fixture(scope="module")
def expected(mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The table of a study that nothing disturbed, run by processes of this machine."""
    ledger = Ledger(tmp_path_factory.mktemp("undisturbed"))
    list(run_study(STUDY, ledger, jobs=2))
    return table_of(STUDY, mnist, ledger)


@pytest.mark.slow
@posix
def test_two_processes_share_a_study(mnist: Dataset, expected: pd.DataFrame, tmp_path: Path) -> None:
    """Both see every trial finish; none of them, and no stage before them, was computed twice."""
    with Other(tmp_path, together=2) as one, Other(tmp_path, together=2) as two:
        seen = [one.finish(), two.finish()]
    assert [set(keys_of(STUDY)) - set(keys) for keys in seen] == [set(), set()]
    assert [len(keys) for keys in seen] == [len(keys_of(STUDY))] * 2
    counts = computed(tmp_path)
    assert set(counts) >= {f"trial {key}" for key in keys_of(STUDY)}
    assert {line: n for line, n in counts.items() if line.startswith("trial ") and n > 1} == {}
    assert counts["computing train_base"] == 2
    assert counts["computing rank_inputs"] == 6, "three criteria, two seeds"
    run = Ledger(tmp_path).run(STUDY.key)
    assert run is not None
    assert (run.state, run.done, run.total) == ("done", len(expected), len(expected))
    pd.testing.assert_frame_equal(table_of(STUDY, mnist, Ledger(tmp_path)), expected)


@pytest.mark.slow
@posix
def test_who_is_left_finishes_a_shared_study(mnist: Dataset, expected: pd.DataFrame, tmp_path: Path) -> None:
    with Other(tmp_path) as one:
        wait_until(lambda: Ledger(tmp_path).run(STUDY.key))
        with Other(tmp_path) as two:
            one.wait_for(3)
            one.process.kill()
            one.process.wait()
            missing = set(keys_of(STUDY)) - Ledger(tmp_path).recorded(keys_of(STUDY))
            assert missing
            assert set(two.finish()) >= missing
    run = Ledger(tmp_path).run(STUDY.key)
    assert run is not None
    assert run.state == "done"
    twice = {line for line, n in computed(tmp_path).items() if line.startswith("trial ") and n > 1}
    assert len(twice) <= 1, "only what the killed one was at"
    pd.testing.assert_frame_equal(table_of(STUDY, mnist, Ledger(tmp_path)), expected)


@pytest.mark.slow
@posix
@pytest.mark.parametrize("stop", ["SIGTERM", "SIGINT", "SIGKILL", "cancel", "worker"])
def test_however_it_is_stopped_nothing_is_left_running(tmp_path: Path, stop: str, mnist: Dataset) -> None:
    study = replace(STUDY, n_train=3000, epochs=150, retrain_epochs=150)  # long enough to be stopped halfway
    command = [
        *(sys.executable, "-m", "lrp_core", "study", "--model", "softmax", "--train-images", "3000", "--jobs", "2"),
        *("--images", "100", "--seeds", "0", "1", "--keeps", "100", "400", "--modes", *MODES, "--epochs", "150"),
        *("--retrain-epochs", "150", "--preset", "full", "--criteria", *STUDY.criteria, "--strategies", "one-shot"),
    ]
    ledger, keys = Ledger(tmp_path), keys_of(study)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"LRP_CACHE": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: ledger.recorded(keys))
        family = psutil.Process(process.pid).children(recursive=True)
        if stop == "cancel":
            ledger.request_cancel(study.key)
        elif stop == "worker":
            next(child for child in family if "workers.worker" in " ".join(child.cmdline())).kill()
        elif stop == "SIGINT":
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        else:
            process.send_signal(getattr(signal, stop))
        assert process.stderr is not None
        said = process.stderr.read() if stop != "SIGKILL" else ""
        code = process.wait(PATIENCE)
        _, alive = psutil.wait_procs(family, 20)
        assert not alive
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    run = ledger.run(study.key)
    assert run is not None
    state, expected_code = {"SIGKILL": ("interrupted", -9), "worker": ("done", 0)}.get(stop, ("cancelled", 130))
    assert (run.state, code) == (state, expected_code)
    assert "Traceback" not in said
    kept = len(table_of(study, mnist, ledger))
    assert 1 <= kept <= run.total
    assert (kept == run.total) == (state == "done")


# Other machines


@dataclass
class Machines:
    """A Dask scheduler and two workers on loopback; each worker has a cache folder of its own and logs what it does."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    scheduler: subprocess.Popen[bytes] = field(init=False)
    workers: list[subprocess.Popen[bytes]] = field(init=False)
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        wait_until(lambda: re.search(r"Scheduler at:\s+(tcp://\S+)", self.log("scheduler")))
        self.address = re.findall(r"Scheduler at:\s+(tcp://\S+)", self.log("scheduler"))[0]
        self.workers = [self.worker(name) for name in ("one", "two")]
        for name in ("one", "two"):
            wait_until(lambda name=name: "Registered to" in self.log(name))

    def worker(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        common = ("--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
        return self._start(name, self.address, *common, *(options or ("--nthreads", "1")), command="worker")

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def count(self, words: str) -> list[int]:
        """How often each of the workers logged something."""
        return [self.log(name).count(words) for name in ("one", "two")]

    def _start(self, name: str, *options: str, command: str | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", command or name, *options],
                cwd=self.folder,
                env=os.environ
                | {
                    "LRP_CACHE": str(self.folder / f"cache-{name}"),
                    "PYTHONPATH": str(ROOT),
                    "DASK_LOGGING__LRP_CORE": "info",
                    "DASK_TEMPORARY_DIRECTORY": str(self.folder),
                }
                | self.env,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def close_workers(self) -> None:
        for process in self.workers:
            process.kill()
            process.wait()

    def close(self) -> None:
        self.close_workers()
        self.scheduler.kill()
        self.scheduler.wait()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    folder = tmp_path / "machines"
    folder.mkdir()
    found = Machines(folder)
    yield found
    found.close()


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


@pytest.mark.slow
def test_a_study_on_other_machines_gives_the_same_table(
    mnist: Dataset, expected: pd.DataFrame, machines: Machines, own_cache: Path
) -> None:
    """One worker is killed in the middle. The data are nowhere but in the coordinator's memory when it begins."""
    root = machines.folder / "data"
    shutil.copytree(ROOT / "data" / "mnist", root)
    study = tiny(modes=MODES, root=str(root))
    load_dataset("mnist", root)
    shutil.rmtree(root)
    base_network.cache_clear()
    ledger = Ledger(own_cache)
    for done, *_ in run_study(study, ledger, backend="dask", scheduler=machines.address):
        if done == 8:
            machines.workers[0].kill()
    pd.testing.assert_frame_equal(table_of(study, mnist, ledger), expected)
    run = ledger.run(study.key)
    assert run is not None
    assert (run.state, run.done) == ("done", len(expected))

    assert machines.count("received data set") == [1, 1], "once a worker, not once a trial"
    assert sum(machines.count("computing train_base")) == 2, "once for each seed, whoever did it"
    assert sum(machines.count("computing rank_inputs")) == 6
    assert all(machines.count("computing"))
    assert not list(machines.folder.glob("cache-*/data/*")), "no worker read data from a disk"

    # What the workers trained is in the coordinator's cache: the next study computes no stage, here or there.
    list(run_study(tiny(modes=("none",), keeps=(50,)), Ledger(own_cache), backend="dask", scheduler=machines.address))
    assert machines.count("received data set") == [1, 2]
    assert sum(machines.count("computing train_base")) == 2
    assert sum(machines.count("computing rank_inputs")) == 6


@pytest.mark.slow
def test_cancelling_leaves_the_workers_to_others(machines: Machines, mnist: Dataset, tmp_path: Path) -> None:
    study, ledger = tiny(modes=MODES), Ledger(tmp_path)
    with pytest.raises(Cancelled):
        for done, *_ in run_study(study, ledger, backend="dask", scheduler=machines.address):
            if done == 3:
                ledger.request_cancel(study.key)
    kept = len(table_of(study, mnist, ledger))
    assert 3 <= kept < len(plan(study, mnist))
    assert all(worker.poll() is None for worker in machines.workers)
    options = ["--model", "softmax", "--train-images", "300", "--epochs", "1", "--keeps", "200", "--seeds", "0"]
    assert main(["study", *options, "--modes", "none", "--backend", "dask", "--scheduler", machines.address]) == 0


@pytest.mark.slow
def test_a_scheduler_that_is_lost_is_one_sentence(machines: Machines, tmp_path: Path) -> None:
    study, ledger = tiny(modes=MODES), Ledger(tmp_path)
    with pytest.raises(StorageError, match="lost") as caught:
        for done, *_ in run_study(study, ledger, backend="dask", scheduler=machines.address):
            if done == 3:
                machines.scheduler.kill()
    check_sentence(caught.value)
    run = ledger.run(study.key)
    assert run is not None
    assert (run.state, run.message) == ("failed", str(caught.value))
    assert ledger.recorded(keys_of(study))


@pytest.mark.slow
@posix
def test_work_that_kills_its_workers_is_given_up(
    mnist: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the scheduler, after so many workers as it is told; and without any worker nobody waits for ever."""
    monkeypatch.setattr(cluster, "IDLE_SECONDS", 2)
    machines = Machines(tmp_path, {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"})
    try:
        with open_pool(mnist, backend="dask", scheduler=machines.address) as pool:
            assert results(pool, double, 5) == {str(i): 2 * i for i in range(5)}
            with pytest.raises(LrpError, match="gave up") as caught:
                results(pool, die, 1)
            check_sentence(caught.value)
            assert results(pool, double, 5) == {str(i): 2 * i for i in range(5)}, "by the other worker"
            machines.close_workers()
            with pytest.raises(StorageError, match="no workers for 2 s") as caught:
                results(pool, double, 5)
            check_sentence(caught.value)
    finally:
        machines.close()


@pytest.mark.slow
def test_workers_that_do_not_fit_are_refused(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"backend": "dask", "scheduler": machines.address}
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "versions", lambda: {"lrp_core": "99.0"})
        with pytest.raises(LrpError, match=f"has lrp_core {re.escape(__version__)} instead of 99.0") as caught:
            list(run_study(tiny(), Ledger(tmp_path), **options))
        check_sentence(caught.value)
    machines.workers.append(machines.worker("three", "--nthreads", "2"))
    wait_until(lambda: "Registered to" in machines.log("three"))
    with pytest.raises(LrpError, match="2 tasks at a time") as caught:
        list(run_study(tiny(), Ledger(tmp_path), **options))
    check_sentence(caught.value)


def test_a_scheduler_that_does_not_answer(
    mnist: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused, unless it was asked to fall back; then that is said, and the study runs here."""
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    study = tiny(modes=("none",), criteria=("random",), keeps=(100,))
    ledger = Ledger(tmp_path)
    options: dict[str, Any] = {"backend": "dask", "scheduler": address}
    with pytest.raises(StorageError, match=re.escape(address)) as caught:
        list(run_study(study, ledger, **options))
    check_sentence(caught.value)
    run = ledger.run(study.key)
    assert run is not None
    assert (run.state, run.message) == ("failed", str(caught.value))

    assert len(list(run_study(study, ledger, **options, fall_back=True))) == 4
    run = ledger.run(study.key)
    assert run is not None
    assert run.state == "done"
    assert address in run.message
    assert "this machine" in run.message
    assert run.message in caplog.text


def test_data_stay_on_a_worker_as_long_as_any_coordinator_needs_them(toy: Dataset, unchecked: None) -> None:
    worker: Any = SimpleNamespace(address="tcp://127.0.0.1:1", state=SimpleNamespace(nthreads=1))
    one, two = (cluster._Sent(name, cluster.versions(), toy, ()) for name in ("one", "two"))
    for sent in (one, two):
        sent.setup(worker)
    one.teardown(worker)
    assert provided(toy.digest) is toy
    two.teardown(worker)
    assert provided(toy.digest) is None


@pytest.mark.parametrize("address", ["nonsense", "tcp://", "tcp://127.0.0.1:99999", "ftp://127.0.0.1:80"])
def test_an_address_that_is_none(mnist: Dataset, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1)
    with (
        pytest.raises(StorageError, match="does not answer") as caught,
        open_pool(mnist, backend="dask", scheduler=address),
    ):
        pass
    check_sentence(caught.value)
