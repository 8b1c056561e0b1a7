"""Work of seconds beside a page: its progress, its end, and what cancels it."""

from __future__ import annotations

import threading

from lrp_core.errors import Cancelled
from pages._ui import jobs
from tests.support import wait_until


def finished(job: jobs.Job) -> jobs.Job:
    wait_until(lambda: job.is_over, "the end of the job")
    return job


def test_a_job_reports_and_returns():
    go_on = threading.Event()

    def work(report):
        report(0.5, "half")
        go_on.wait()
        return 42

    job = jobs.Job("slot", "key", work)
    wait_until(lambda: job.part, "the first report")
    assert (job.part, job.doing, job.result) == (0.5, "half", None)
    go_on.set()
    assert finished(job).result == 42


def test_a_cancelled_job_ends_at_its_next_report():
    def work(report):
        while True:
            report(0.1, "forever")

    job = jobs.Job("slot", "key", work)
    job.cancel()
    assert isinstance(finished(job).error, Cancelled)


def test_long_work_in_one_slot_does_not_hold_up_another():
    def work(report):
        while True:
            report(0.1, "forever")

    long, behind = (jobs.Job("long", key, work) for key in "ab")
    assert finished(jobs.Job("short", "key", lambda report: 42)).result == 42
    assert not long.is_over
    for job in (behind, long):
        job.cancel()
    for job in (behind, long):
        assert isinstance(finished(job).error, Cancelled)


def test_a_job_keeps_its_error_for_the_page():
    assert isinstance(finished(jobs.Job("slot", "key", lambda report: 1 / 0)).error, ZeroDivisionError)
