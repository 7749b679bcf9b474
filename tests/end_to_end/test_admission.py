"""Limits through the whole path: a fleet of two runners for the jobs of several repositories."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

from cdk_runner_fleet.cli.rows import plain_row
from cdk_runner_fleet.local.fleet import LocalFleet
from fleet_runtime.admission.line import Line
from fleet_runtime.admission.turns import RunnerTurns
from fleet_runtime.admission.turns_entry import TurnsEntry
from fleet_runtime.aws.items import Value
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.runner.rows import RunnerRecords
from tests import settings
from tests.waiting import until

from .conftest import Fleet, Row, runner_id

ONE, TWO = "octo-org/one", "octo-org/two"


@dataclass
class Crowd:
    """A fleet, and what GitHub and its runners do there."""

    fleet: Fleet

    def queue(self, *labels: str, repository: str = ONE, fails: bool = False) -> dict[str, Any]:
        job = self.fleet.job(*labels)
        if fails:
            self.fleet.fault(
                on="task",
                outcome="cannot_pull",
                match=runner_id(job),
                times=None,
                reason="no such image",
            )
        self.tell("queued", job, repository=repository)
        return job | {"repository": repository}

    def tell(self, action: str, job: dict[str, Any], *, repository: str = "") -> None:
        payload = {
            "action": action,
            "workflow_job": {name: value for name, value in job.items() if name != "repository"},
            "repository": {"full_name": repository or job["repository"]},
            "organization": {"login": "octo-org"},
        }
        assert self.fleet.send_raw(json.dumps(payload).encode())[0] == 202

    def in_line(self, job: dict[str, Any]) -> Row:
        return self.fleet.until(runner_id(job), lambda row: row.get("waiting_for") == "turn")

    def because(self, job: dict[str, Any], reason: str) -> str:
        """Wait until the row of a job in line has this reason; returns all that it says."""
        reached = self.fleet.until(
            runner_id(job), lambda row: reason in row.get("waiting_reason", "")
        )
        return str(reached["waiting_reason"])

    def why(self, job: dict[str, Any]) -> str:
        """Why a job in line waits now, as the command line is told."""
        answer = self.fleet.local.client("lambda").invoke(
            FunctionName=self.fleet.local.outputs["ExplainJobFunctionName"],
            Payload=json.dumps({"waiting": [runner_id(job)]}),
        )
        reasons = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, reasons
        return str(reasons[runner_id(job)])

    def waiting(self, job: dict[str, Any]) -> Row:
        return self.fleet.status(runner_id(job), "WAITING_FOR_JOB")

    def run(self, job: dict[str, Any]) -> None:
        """Let the job run on its runner, and wait for that one's end."""
        self.waiting(job)
        runner = {"runner_name": runner_id(job)}
        done = {"status": "completed", "conclusion": "success"}
        self.tell("in_progress", job | runner | {"status": "in_progress"})
        self.tell("completed", job | runner | done | {"completed_at": "2026-11-21T05:01:00Z"})
        self.fleet.status(runner_id(job), "OFFLINE")

    def cancel(self, job: dict[str, Any]) -> None:
        self.tell("completed", job | {"status": "completed", "conclusion": "cancelled"})

    @property
    def line(self) -> list[str]:
        """Who is in line, in the order in which `runner-fleet explain` counts them."""
        table = self.fleet.local.outputs["RunnerTableName"]
        records = RunnerRecords(dynamodb=self.fleet.local.client("dynamodb"), table=table)
        line = Line.of_turns(
            records.in_line(after="", most=100), plain_row(self._ledger.get("turns"))
        )
        return [one.runner_id for one in line.first(100)]

    @cached_property
    def _ledger(self) -> Ledger:
        table = self.fleet.local.outputs["LedgerTableName"]
        return Ledger(dynamodb=self.fleet.local.client("dynamodb"), table=table)

    @property
    def turns(self) -> RunnerTurns:
        return TurnsEntry(self._ledger).read()

    def spend(self, usd: float) -> None:
        """Let so much have been spent today, with what the image's build has cost."""
        entry = TurnsEntry(self._ledger)
        today, runners = {"#today": f"spent:{entry.today}"}, usd - entry.built_usd()
        self._ledger.write("turns", "SET #today = :usd", names=today, values={":usd": runners})

    def write(self, entry: str, **values: Value) -> None:
        self._ledger.update(entry, values=values)

    def settled(self, reached: Callable[[], bool], what: str) -> None:
        until(reached, lambda: f"{what}: {self.turns}")

    @property
    def holders(self) -> set[str]:
        held = TurnsEntry(self._ledger).holders()
        return {turn.runner_id for turn in held if turn.left_at is None}

    def hold(self, count: int, *, besides: set[str]) -> None:
        self.settled(lambda: len(self.holders - besides) == count, f"{count} hold a turn")

    def all_turns_are_back(self) -> None:
        self.settled(lambda: not self.holders, "all turns are given back")


@pytest.fixture(scope="module")
def whole() -> Iterator[Crowd]:
    # these tests play GitHub, which knows of none of their jobs when it is asked
    with LocalFleet(context=settings.CROWD) as local:
        yield Crowd(Fleet(local))


@pytest.fixture
def crowd(whole: Crowd) -> Iterator[Crowd]:
    yield whole
    whole.all_turns_are_back()


def test_never_more_than_the_limit_and_everybody_in_fair_turns(crowd: Crowd) -> None:
    jobs = []
    for repository in (ONE, ONE, ONE, ONE, TWO, TWO):
        jobs.append(crowd.queue(repository=repository))
        # one after the other: the bus does not keep their order
        (crowd.waiting if len(jobs) <= 2 else crowd.in_line)(jobs[-1])
    names = {runner_id(job): job for job in jobs}
    # its repository has no runner yet
    assert crowd.line[0] == runner_id(jobs[4])
    crowd.because(jobs[4], "the fleet has 2 of at most 2 runners")
    order: list[str] = []
    ended: set[str] = set()
    for _ in jobs:
        # each turn that comes back is another's, as long as somebody waits
        crowd.hold(min(2, len(jobs) - len(ended)), besides=ended)
        assert len(crowd.holders) <= crowd.turns.count("fleet") <= 2
        assert len(crowd.fleet.running_tasks()) <= 2
        order += sorted(crowd.holders - set(order))
        first = next(one for one in order if one not in ended)
        crowd.run(names[first])
        ended.add(first)
    assert sorted(order) == sorted(names)
    # the second repository did not have to wait for all of the first one's older jobs
    assert order.index(runner_id(jobs[4])) < order.index(runner_id(jobs[3]))
    for runner in order:
        assert crowd.fleet.executions(runner) == ["SUCCEEDED"]
        crowd.fleet.nothing_is_left_of(runner)


def test_a_full_class_lets_the_others_pass(crowd: Crowd) -> None:
    first = crowd.queue("class:large")
    crowd.waiting(first)
    second = crowd.queue("class:large")
    crowd.because(second, "class large has 1 of at most 1")
    small = crowd.queue("class:small")
    crowd.run(small)
    assert crowd.in_line(second)["status"] == "STARTING"
    crowd.run(first)
    crowd.run(second)
    assert int(crowd.fleet.row(runner_id(second))["in_line_at"]) > 0


def test_cancelled_in_line_starts_nothing(crowd: Crowd) -> None:
    holders = [crowd.queue(), crowd.queue()]
    for job in holders:
        crowd.waiting(job)
    cancelled, patient = crowd.queue(), crowd.queue()
    crowd.in_line(cancelled)
    crowd.in_line(patient)
    crowd.cancel(cancelled)
    row = crowd.fleet.status(runner_id(cancelled), "OFFLINE")
    assert (row["job_status"], row["cost_usd"]) == ("cancelled", "0")
    for job in (*holders, patient):
        crowd.run(job)
    assert crowd.fleet.executions(runner_id(cancelled)) == []


def test_a_stopped_execution_gives_its_turn_back_in_the_end(crowd: Crowd) -> None:
    job = crowd.queue()
    crowd.waiting(job)
    machine = crowd.fleet.local.outputs["StateMachineArn"]
    execution = machine.replace(":stateMachine:", ":execution:") + f":{runner_id(job)}"
    crowd.fleet.local.client("stepfunctions").stop_execution(executionArn=execution)
    # reconciliation takes away what it left behind, and then its turn
    crowd.fleet.status(runner_id(job), "FAILED", "OFFLINE")
    crowd.fleet.nothing_is_left_of(runner_id(job))


def test_a_spent_budget_holds_jobs_and_says_so(crowd: Crowd) -> None:
    first = crowd.queue()
    crowd.waiting(first)
    crowd.spend(1000)
    second = crowd.queue()
    crowd.because(second, "1000.00 USD of a daily budget of 1000.00")
    crowd.spend(1234)
    assert "1234.00 USD of a daily budget of 1000.00" in crowd.why(second)
    crowd.run(first)
    crowd.all_turns_are_back()
    assert max(crowd.turns.spent_usd.values()) > 1000
    assert crowd.fleet.row(runner_id(second))["waiting_for"] == "turn"
    crowd.spend(0)
    third = crowd.queue()
    crowd.run(second)
    crowd.run(third)


def test_a_class_whose_runners_all_fail_is_held_and_probed(crowd: Crowd) -> None:
    failing = [crowd.queue("class:broken", fails=True) for _ in range(10)]
    for job in failing:
        crowd.fleet.status(runner_id(job), "FAILED")
    crowd.all_turns_are_back()
    held = crowd.queue("class:broken", fails=True)
    reason = crowd.because(held, "10 runners of broken/")
    assert "no such image" in reason
    # others are not held
    crowd.run(crowd.queue())
    crowd.all_turns_are_back()
    assert crowd.fleet.row(runner_id(held))["waiting_for"] == "turn"
    [scope] = crowd.turns.held
    entry = "breaker/" + scope.removeprefix("image:")
    crowd.write(entry, open_until=int(time.time()) - 1)
    # the end of any runner looks at the line
    crowd.run(crowd.queue())
    crowd.fleet.status(runner_id(held), "FAILED")
    crowd.all_turns_are_back()
    last = crowd.queue("class:broken")
    crowd.because(last, "further ones are held until")
    crowd.cancel(last)
    crowd.fleet.status(runner_id(last), "OFFLINE")
