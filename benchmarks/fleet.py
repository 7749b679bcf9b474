"""The local fleet: start, counts per job, a hundred jobs at once against ten, memory.

python -m benchmarks.fleet
python -m benchmarks.fleet --jobs 1          # one batch of so many
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import urllib.request
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from cdk_runner_fleet.local.fleet import LocalFleet

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
    succeeded: int
    transitions: list[int]
    invocations: float
    to_waiting: list[float]
    rss_mb: float


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())


def _queue(fleet: LocalFleet, jobs: int) -> int:
    body = {
        "file_name": "many.yml",
        "yaml": "name: many\non: push\njobs:"
        + "".join(JOB.format(index=index) for index in range(jobs)),
    }
    request = urllib.request.Request(
        f"{fleet.github_url}/_twin/workflows", json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        run_id: int = json.loads(answer.read())["run_id"]
        return run_id


def _invocations(fleet: LocalFleet) -> int:
    return sum(_get(f"{fleet.endpoint_url}/_fleet/stats")["invocations"].values())


def _settle(fleet: LocalFleet) -> float:
    """Wait until no execution runs and the last events have been handled; the peak of memory."""
    peak = 0.0
    while True:
        stats = _get(f"{fleet.endpoint_url}/_fleet/stats")
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
        found = _get(f"{fleet.github_url}/_twin/runs/{run_id}")
        peak = max(peak, _get(f"{fleet.endpoint_url}/_fleet/stats")["rss_mb"])
        if found["status"] == "completed":
            break
        time.sleep(0.2)
    seconds = time.monotonic() - begin
    peak = max(peak, _settle(fleet))
    transitions, to_waiting = [], []
    states = fleet.client("stepfunctions")
    machine = fleet.outputs["StateMachineArn"]
    for job in found["jobs"]:
        arn = machine.replace(":stateMachine:", ":execution:") + f":{job['runner_name']}"
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
        succeeded=sum(job["conclusion"] == "success" for job in found["jobs"]),
        transitions=transitions,
        invocations=(_invocations(fleet) - before) / jobs,
        to_waiting=to_waiting,
        rss_mb=peak,
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the figures; fail if a job did."""
    parser = argparse.ArgumentParser(prog="benchmarks.fleet")
    parser.add_argument("--jobs", type=int, nargs="+", default=BATCHES)
    batches = parser.parse_args(arguments or []).jobs
    begin = time.monotonic()
    with LocalFleet(context={"github_repo": "octo-org/octo-repo"}) as fleet:
        ready = time.monotonic() - begin
        run_jobs(fleet, 1)  # the default image is built, each function has run once
        runs = [run_jobs(fleet, jobs) for jobs in batches]
    table = Table(title=f"local fleet, ready after {ready:.1f} s")
    columns = ("jobs", "succeeded", "s/job", "transitions/job", "invocations/job")
    for column in (*columns, "webhook to WAITING_FOR_JOB s", "emulator MB"):
        table.add_column(column, justify="right")
    for run in runs:
        table.add_row(
            str(run.jobs),
            str(run.succeeded),
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
    if any(run.succeeded != run.jobs for run in runs):
        sys.exit("not every job succeeded")


if __name__ == "__main__":
    main(sys.argv[1:])
