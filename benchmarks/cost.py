"""What a job's control plane costs: counted in the emulator, priced from one list.

python -m benchmarks.cost
python -m benchmarks.cost --jobs 1           # so many jobs in place of ten

Counted are whole jobs of a second, one after the other, in a fleet in which nothing else runs. A
longer job differs by its heartbeats alone, which are counted by their interval: each is one request
of the runners' API, one invocation, one read and one write. Cold starts, retries and what a fleet
costs while it is idle are not in it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.fleet import run_jobs
from cdk_runner_fleet import _assets
from cdk_runner_fleet.local.fleet import LocalFleet
from fleet_runtime.admission.turns import Applicant, Turn
from fleet_runtime.aws.items import encode_all
from fleet_runtime.aws.ledger import TURNS, Ledger

SETTINGS = {"github_repo": "octo-org/octo-repo", "reconcile_minutes": 1440, "max_runners": 1000}
PRICED_ON = "2026-11-29"
PRICES = {
    # page "AWS Step Functions pricing", Standard workflows, state transitions
    "state transitions": 25.00e-6,
    # page "AWS Lambda pricing", requests and GB-seconds on arm64
    "invocations": 0.20e-6,
    "GB-seconds": 13.3334e-6,
    # page "Amazon API Gateway pricing", HTTP APIs, the first 300 million
    "HTTP API requests": 1.00e-6,
    # page "Amazon EventBridge pricing", custom events
    "bus events": 1.00e-6,
    # page "Amazon DynamoDB pricing for on-demand capacity", Standard table class
    "write units": 0.625e-6,
    "read units": 0.125e-6,
    # page "Amazon CloudWatch pricing", logs collected, Standard class: a GB
    "log bytes": 0.50 / 1e9,
    "Secrets Manager reads": 0.05 / 10_000,
    "SQS messages": 0.50e-6,
}
"""US dollars for one, us-east-1, no free tier."""

PEER = {
    1: {"state transitions": 8, "invocations": 7, "write units": 1, "bus events": 3,
        "SQS messages": 3, "Secrets Manager reads": 4, "log bytes": 8_800, "GB-seconds": 0.018,
        "GitHub calls": 2},
    10: {"state transitions": 8, "invocations": 8, "write units": 1, "bus events": 3,
         "SQS messages": 4, "Secrets Manager reads": 5, "log bytes": 10_200, "GB-seconds": 0.020,
         "GitHub calls": 2},
    35: {"state transitions": 8, "invocations": 10, "write units": 1, "bus events": 3,
         "SQS messages": 4, "Secrets Manager reads": 7, "log bytes": 13_800, "GB-seconds": 0.024,
         "GitHub calls": 2},
}  # fmt: skip
"""cloudsnorkel.cdk-github-runners 0.17.1 with one Fargate provider, its own functions run in this
emulator on the same work (2026-11-29)."""

HISTORY_EVENT_BYTES = 420
"""What Step Functions logs of an event of the history, at level ALL without data."""
ACCESS_LOG_BYTES = 250
"""What the HTTP API logs of a request."""
GB_SECONDS = 0.0165
"""Of an invocation: the 11 of a short job take 363 ms together, warm, on a full core, at 512 MB."""

MINUTES = (1, 10, 35)
_MOST_AT_ONCE = 25
"""Of one BatchWriteItem."""
RUNNERS = (10, 100, 1000)
REPOSITORIES = 20
"""Whose jobs these are: the ledger counts by repository too."""
EVENTS_A_TRANSITION = 42 / 8
"""Events of the history for each state entered: a good job has 42."""
FUNCTION_LOG_BYTES = 340
"""What a function prints in an invocation, about."""
METRICS_BYTES = 1560
"""What they write of a job besides, for its metrics: its start, its end and its runner's."""
_COUNTED = ("invocations", "requests", "write_units", "read_units")
_HTTP = re.compile("webhook|runner-api|RunnerApi|ReceiveWebhook", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one short job used, on average.

    Attributes:
        used: By what is priced, and how often GitHub was asked.
        writes: DynamoDB's write units by table and index.
        reads: Its read units.
        requests: Calls of AWS, by action.
        admission: Units of the ledger, by how many runners were at work.
    """

    used: Mapping[str, float]
    writes: Mapping[str, float]
    reads: Mapping[str, float]
    requests: Mapping[str, float]
    admission: Mapping[int, tuple[float, float]]


def heartbeat_seconds() -> int:
    """How often the shipped image's runner sends a heartbeat."""
    text = (_assets.RUNNER_IMAGE / "entrypoint.sh").read_text(encoding="utf-8")
    match = re.search(r"HEARTBEAT_SECONDS=([0-9]+)", text)
    assert match, "entrypoint.sh has no HEARTBEAT_SECONDS"
    return int(match[1])


def heartbeats(minutes: int) -> int:
    """How many heartbeats a job of so many minutes sends: none at its very end."""
    return (minutes * 60 - 1) // heartbeat_seconds()


def count_job(jobs: int) -> Job:
    """Run jobs of a second, one after the other, and count what they use."""
    with LocalFleet(context=SETTINGS) as fleet:
        run_jobs(fleet, 1)  # the default image is built, each function has run once
        before, asked = _stats(fleet), _github_requests(fleet)
        for _ in range(jobs):
            run_jobs(fleet, 1)
        after, asked = _stats(fleet), _github_requests(fleet) - asked
        admission = _admission(fleet)
        names = _names(fleet)
    used = {name: _difference(before, after, name, jobs) for name in _COUNTED}
    invocations = used["invocations"]
    http = sum(count for name, count in invocations.items() if _HTTP.search(name))
    transitions = (after["transitions"] - before["transitions"]) / jobs
    calls = sum(invocations.values())
    return Job(
        used={
            "state transitions": transitions,
            "invocations": calls,
            "GB-seconds": calls * GB_SECONDS,
            "HTTP API requests": http,
            "bus events": used["requests"].get("events:PutEvents", 0),
            "write units": sum(used["write_units"].values()),
            "read units": sum(used["read_units"].values()),
            "log bytes": calls * FUNCTION_LOG_BYTES
            + METRICS_BYTES
            + http * ACCESS_LOG_BYTES
            + transitions * EVENTS_A_TRANSITION * HISTORY_EVENT_BYTES,
            "GitHub calls": asked / jobs,
        },
        writes=_shown(used["write_units"], names),
        reads=_shown(used["read_units"], names),
        requests=used["requests"],
        admission=admission,
    )


def _difference(
    before: Mapping[str, Any], after: Mapping[str, Any], name: str, jobs: int
) -> dict[str, float]:
    found = {key: (after[name][key] - before[name].get(key, 0)) / jobs for key in after[name]}
    return {key: count for key, count in found.items() if count}


def _admission(fleet: LocalFleet) -> dict[int, tuple[float, float]]:
    """Write and read units of the ledger for one job, while so many runners are at work."""
    table, found, at_work = fleet.outputs["LedgerTableName"], {}, 0
    for runners in RUNNERS:
        _put_to_work(fleet, table, range(at_work, runners - 1))
        at_work = runners - 1
        before = _stats(fleet)
        run_jobs(fleet, 1)
        used = [
            _difference(before, _stats(fleet), f"{kind}_units", 1) for kind in ("write", "read")
        ]
        writes, reads = (
            sum(count for name, count in units.items() if name.startswith(table)) for units in used
        )
        found[runners] = (writes, reads)
    return found


def _put_to_work(fleet: LocalFleet, table: str, numbers: range) -> None:
    """Have so many more runners hold a turn, as their entries and the counts say it."""
    turns = []
    for number in numbers:
        runner = Applicant(
            runner_id=f"fleet-{10**11 + number}-1",
            class_name="medium",
            repository=f"octo-org/repository-{number % REPOSITORIES}",
            image_tag="default",
        )
        turns.append(Turn.of(runner, nonce=f"{number:08x}", taken_at=0))
    dynamodb = fleet.client("dynamodb")
    for first in range(0, len(turns), _MOST_AT_ONCE):
        items = [
            encode_all({"entry": turn.entry, **turn.values})
            for turn in turns[first : first + _MOST_AT_ONCE]
        ]
        puts = [{"PutRequest": {"Item": item}} for item in items]
        assert not dynamodb.batch_write_item(RequestItems={table: puts}).get("UnprocessedItems")
    counts = Counter(scope for turn in turns for scope in turn.scopes.values())
    names = {f"#scope{number}": scope for number, scope in enumerate(counts)}
    Ledger(dynamodb=dynamodb, table=table).write(
        TURNS,
        "ADD " + ", ".join(f"{name} {name.replace('#', ':')}" for name in names),
        names=names,
        values={name.replace("#", ":"): counts[scope] for name, scope in names.items()},
    )


def _names(fleet: LocalFleet) -> dict[str, str]:
    tables = {"RunnerTableName": "runners", "ImageTableName": "images", "LedgerTableName": "ledger"}
    return {fleet.outputs[output]: name for output, name in tables.items()}


def _shown(units: Mapping[str, float], names: Mapping[str, str]) -> dict[str, float]:
    shown: dict[str, float] = {}
    for key, count in units.items():
        table, _, index = key.partition("/")
        name = "/".join(filter(None, (names.get(table, table), index)))
        shown[name] = shown.get(name, 0) + count
    return shown


def of_minutes(short: Mapping[str, float], minutes: int) -> Mapping[str, float]:
    """What a job of so many minutes uses: the short one's, and its heartbeats'."""
    one = {
        "invocations": 1,
        "GB-seconds": GB_SECONDS,
        "HTTP API requests": 1,
        "write units": 1,
        "read units": 1,
        "log bytes": ACCESS_LOG_BYTES,
    }
    beats = heartbeats(minutes)
    return {name: used + beats * one.get(name, 0) for name, used in short.items()}


def price(used: Mapping[str, float]) -> float:
    """US dollars for a thousand jobs."""
    return 1000 * sum(PRICES.get(name, 0) * count for name, count in used.items())


def _stats(fleet: LocalFleet) -> dict[str, Any]:
    found: dict[str, Any] = fleet.control("GET", "/_fleet/stats")
    return found


def _github_requests(fleet: LocalFleet) -> int:
    assert fleet.twin is not None
    return fleet.twin.requests_served


def main(arguments: list[str] | None = None) -> None:
    """Print what a job uses and costs, the peer's beside it."""
    parser = argparse.ArgumentParser(prog="benchmarks.cost")
    parser.add_argument("--jobs", type=int, default=10)
    job = count_job(parser.parse_args(arguments or []).jobs)
    ours = {minutes: of_minutes(job.used, minutes) for minutes in MINUTES}
    console = Console()
    table = Table(title=f"a job, and a thousand in USD (us-east-1, {PRICED_ON}, no free tier)")
    table.add_column("")
    for minutes in MINUTES:
        table.add_column(f"{minutes} min", justify="right")
        table.add_column("peer", justify="right")
    for name in (*PRICES, "GitHub calls"):
        cells = [side[minutes].get(name, 0) for minutes in MINUTES for side in (ours, PEER)]
        table.add_row(name, *(f"{cell:,.3g}" if cell < 100 else f"{cell:,.0f}" for cell in cells))
    totals = [price(side[minutes]) for minutes in MINUTES for side in (ours, PEER)]
    table.add_row("USD for a thousand", *(f"{total:.3f}" for total in totals))
    console.print(table)
    units = Table(title="DynamoDB units of a job without its heartbeats")
    for column in ("table or index", "write", "read"):
        units.add_column(column, justify="right")
    for name in sorted({*job.writes, *job.reads}):
        units.add_row(name, f"{job.writes.get(name, 0):.1f}", f"{job.reads.get(name, 0):.1f}")
    console.print(units)
    admission = Table(title="the ledger's units of a job")
    for column in ("runners at work", "write", "read"):
        admission.add_column(column, justify="right")
    for runners, (writes, reads) in job.admission.items():
        admission.add_row(str(runners), f"{writes:g}", f"{reads:g}")
    console.print(admission)


if __name__ == "__main__":
    main(sys.argv[1:])
