"""What several people at once cost a machine: python -m benchmarks.several_studies [--studies 6] [--json FILE]

So many tiny studies are started at once on an empty cache, each by a command of its own as a page starts it. What is
counted twice a second: processes, those that train, and their memory without what they share (PSS). Then one
study that trains for minutes is cancelled, once while it trains, and once while it waits behind another one.

The times hold for a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

import lrp_core as lc
from lrp_core.study.launch import start_study
from lrp_core.study.ledger import Ledger

LIMIT_SECONDS = 900


def tiny(number: int, epochs: int = 1) -> lc.Study:
    """A study of six networks that no other number has in common."""
    return lc.Study(
        architecture="mlp-300-100",
        n_train=2000,
        epochs=epochs,
        retrain_epochs=epochs,
        keeps=(50 + number,),
        seeds=(2 * number, 2 * number + 1),
        criteria=("lrp-0",),
        rank_images=500,
    )


def descendants() -> list[psutil.Process]:
    """The processes that this one started, and theirs, but not those that have ended."""
    return [process for process in psutil.Process().children(recursive=True) if words_of(process)]


def words_of(process: psutil.Process) -> str:
    """What a process was started with; nothing of one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def is_worker(process: psutil.Process) -> bool:
    return any(name in words_of(process) for name in ("popen_loky_posix", "workers.worker"))


def count_commands() -> int:
    return sum("--resume" in words_of(process) for process in descendants())


def memory(processes: list[psutil.Process]) -> int:
    """Bytes, each shared page divided among those that share it."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def processor_seconds(processes: list[psutil.Process]) -> dict[int, float]:
    """Seconds of a core that each has used so far, by its number."""
    found = {}
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        found[process.pid] = times.user + times.system
    return found


def wait(is_so: Callable[[], bool], look: Callable[[], None] = lambda: None, every: float = 0.1) -> float:
    """Seconds until it is so."""
    started = time.perf_counter()
    while not is_so():
        if time.perf_counter() - started > LIMIT_SECONDS:
            sys.exit(f"nothing happened for {LIMIT_SECONDS} s")
        look()
        time.sleep(every)
    return time.perf_counter() - started


def at_once(n: int, folder: Path) -> dict[str, object]:
    """The most processes, workers and memory while `n` studies run that were started at once; how long it took."""
    ledger = Ledger(folder)
    studies = [tiny(number) for number in range(n)]
    most = {"processes": 0, "workers": 0, "memory, MB": 0}
    ended: list[str] = []
    seconds_of: dict[int, float] = {}

    def look() -> None:
        found = descendants()
        seconds_of.update(processor_seconds(found))
        most["processes"] = max(most["processes"], len(found))
        most["workers"] = max(most["workers"], sum(map(is_worker, found)))
        most["memory, MB"] = max(most["memory, MB"], round(memory(found) / 1e6))
        for study in studies:
            run = ledger.run(study.key)
            if run is not None and not run.is_active and study.key not in ended:
                ended.append(study.key)

    for number, study in enumerate(studies):
        start_study(study, ledger, name=f"study {number}")
    seconds = wait(lambda: len(ended) == n, look, every=0.5)
    states = {run.state for run in ledger.runs()}
    order = [next(i for i, study in enumerate(studies) if study.key == key) for key in ended]
    used = round(sum(seconds_of.values()))
    return {**most, "seconds": round(seconds, 1), "of a core, s": used, "order": order, "states": sorted(states)}


def cancelling(folder: Path) -> dict[str, float]:
    """Seconds from the request until the run is over and its processes are gone."""
    ledger, first, second = Ledger(folder), tiny(50, epochs=3000), tiny(60, epochs=3000)
    start_study(first, ledger, name="first")
    wait(lambda: sum(p.cpu_percent(0.05) > 20 for p in descendants() if is_worker(p)) >= 1)
    time.sleep(2)
    start_study(second, ledger, name="second")
    wait(lambda: len(descendants()) > 0)
    time.sleep(8)
    taken = {}
    for name, study, left in (("a waiting one", second, 1), ("one at work", first, 0)):
        started = time.perf_counter()
        ledger.request_cancel(study.key)

        def is_over(study: lc.Study = study) -> bool:
            run = ledger.run(study.key)
            return run is not None and not run.is_active

        wait(is_over, every=0.02)
        taken[f"cancelled, {name}, s"] = round(time.perf_counter() - started, 2)
        wait(lambda left=left: count_commands() <= left)  # type: ignore[misc]
        taken[f"processes gone, {name}, s"] = round(time.perf_counter() - started, 2)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=6)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = at_once(arguments.studies, Path(folder)) | cancelling(Path(folder))
    for name, value in figures.items():
        print(f"{name:<26} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
