"""The local fleet: start, counts per job, a hundred jobs at once against ten, memory.

    python -m benchmarks.fleet
    python -m benchmarks.fleet --jobs 1          # one batch of so many

A job that fails only now and then is found by many batches while other programs run; what is known
of it is kept:

    python -m benchmarks.fleet --jobs 100 100 100 100 --busy 4 --keep .
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from rich.console import Console
from rich.table import Table

from benchmarks.evidence import keep
from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.runner_name import execution_arn

SETTINGS = {"github_repo": "octo-org/octo-repo"}
BATCHES = [1, 10, 100]
JOB = """
  job-{index}:
    runs-on: [self-hosted]
    steps:
      - run: echo {index}
"""


@dataclass
class Run:
    """What a number of jobs that were queued at once took."""

    jobs: int
    seconds: float
    failed: list[int]
    transitions: list[int]
    invocations: float
    to_waiting: list[float]
    rss_mb: float


def _queue(fleet: LocalFleet, jobs: int) -> int:
    body = {
        "file_name": "many.yml",
        "yaml": "name: many\non: push\njobs:"
        + "".join(JOB.format(index=index) for index in range(jobs)),
    }
    run_id: int = fleet.control("POST", "/_twin/workflows", body)["run_id"]
    return run_id


def _invocations(fleet: LocalFleet) -> int:
    return sum(fleet.control("GET", "/_fleet/stats")["invocations"].values())


def _settle(fleet: LocalFleet) -> float:
    """Wait until no execution runs and the last events have been handled; the peak of memory."""
    peak = 0.0
    while True:
        stats = fleet.control("GET", "/_fleet/stats")
        peak = max(peak, stats["rss_mb"])
        if not stats["executions_running"]:
            before = sum(stats["invocations"].values())
            time.sleep(1)
            if _invocations(fleet) == before:
                return peak
        time.sleep(0.2)


def run_jobs(fleet: LocalFleet, jobs: int) -> Run:
    """Queue ``jobs`` at once and wait for their ends."""
    before = _invocations(fleet)
    begin = time.monotonic()
    run_id = _queue(fleet, jobs)
    peak = 0.0
    while True:
        found = fleet.control("GET", f"/_twin/runs/{run_id}")
        peak = max(peak, fleet.control("GET", "/_fleet/stats")["rss_mb"])
        if found["status"] == "completed":
            break
        time.sleep(0.2)
    seconds = time.monotonic() - begin
    peak = max(peak, _settle(fleet))
    transitions, to_waiting = [], []
    states = fleet.client("stepfunctions")
    for job in found["jobs"]:
        arn = execution_arn(fleet.outputs["StateMachineArn"], job["runner_name"])
        entered = {
            event["stateEnteredEventDetails"]["name"]: event["timestamp"].timestamp()
            for page in states.get_paginator("get_execution_history").paginate(executionArn=arn)
            for event in page["events"]
            if "stateEnteredEventDetails" in event
        }
        transitions.append(len(entered))
        to_waiting.append(entered["WaitForJob"] - job["queued_at"])
    return Run(
        jobs=jobs,
        seconds=seconds,
        failed=[job["id"] for job in found["jobs"] if job["conclusion"] != "success"],
        transitions=transitions,
        invocations=(_invocations(fleet) - before) / jobs,
        to_waiting=to_waiting,
        rss_mb=peak,
    )


@contextmanager
def _busy(programs: int) -> Iterator[None]:
    """So many programs that take all the processor they get."""
    running = [Popen([sys.executable, "-c", "while True: pass"]) for _ in range(programs)]
    try:
        yield
    finally:
        for program in running:
            program.kill()
            program.wait()


def main(arguments: list[str] | None = None) -> None:
    """Print the figures; fail if a job did."""
    parser = argparse.ArgumentParser(prog="benchmarks.fleet")
    parser.add_argument("--jobs", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--busy", type=int, default=0, help="programs to run beside it")
    parser.add_argument("--keep", type=Path, help="folder for what is known of jobs that failed")
    given = parser.parse_args(arguments or [])
    begin = time.monotonic()
    runs: list[Run] = []
    with LocalFleet(context=SETTINGS) as fleet, _busy(given.busy):
        ready = time.monotonic() - begin
        run_jobs(fleet, 1)  # the default image is built, each function has run once
        for jobs in given.jobs:
            runs.append(run_jobs(fleet, jobs))
            for failed in runs[-1].failed if given.keep else ():
                Console().print(f"kept in {keep(fleet, failed, given.keep)}")
    table = Table(title=f"local fleet, ready after {ready:.1f} s")
    columns = ("jobs", "succeeded", "s/job", "transitions/job", "invocations/job")
    for column in (*columns, "webhook to WAITING_FOR_JOB s", "emulator MB"):
        table.add_column(column, justify="right")
    for run in runs:
        table.add_row(
            str(run.jobs),
            str(run.jobs - len(run.failed)),
            f"{run.seconds / run.jobs:.2f}",
            f"{statistics.mean(run.transitions):.1f}",
            f"{run.invocations:.1f}",
            f"{statistics.median(run.to_waiting):.2f}",
            f"{run.rss_mb:.0f}",
        )
    Console().print(table)
    if len(runs) > 1:
        *_, few, many = runs
        ratio = (many.seconds / many.jobs) / (few.seconds / few.jobs)
        Console().print(f"time per job at {many.jobs} : at {few.jobs} = {ratio:.2f}")
    if any(run.failed for run in runs):
        sys.exit("not every job succeeded")


if __name__ == "__main__":
    main(sys.argv[1:])
