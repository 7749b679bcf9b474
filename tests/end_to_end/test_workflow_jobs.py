"""Every action of `workflow_job`: in any order, any number of times, over approvals and re-runs."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from tests.waiting import until

from .conftest import Fleet, runner_id


def started_on(job: dict[str, Any], runner: str) -> dict[str, Any]:
    return job | {"status": "in_progress", "runner_name": runner}


def ended_on(job: dict[str, Any], runner: str | None, conclusion: str = "success") -> Any:
    return job | {
        "status": "completed",
        "conclusion": conclusion,
        "runner_name": runner,
        "completed_at": "2026-11-21T05:01:00Z",
    }


def test_two_hooks_for_one_event_start_one_runner(fleet: Fleet) -> None:
    """A repository's hook and an App's hook: one event, two deliveries with their own GUIDs."""
    job = fleet.job()
    for guid in ("repository-hook", "app-hook"):
        assert fleet.send("queued", job, delivery=guid)[0] == 202
    runner = runner_id(job)
    fleet.status(runner, "WAITING_FOR_JOB")
    for guid in ("repository-hook-2", "app-hook-2"):
        fleet.send("in_progress", started_on(job, runner), delivery=guid)
    for guid in ("repository-hook-3", "app-hook-3"):
        fleet.send("completed", ended_on(job, runner), delivery=guid)
    fleet.status(runner, "OFFLINE")
    # the row says so a moment before the execution has ended
    fleet.until(runner, lambda _: fleet.executions(runner) == ["SUCCEEDED"])


def test_a_job_that_waits_for_an_approval_gets_its_runner_once_approved(fleet: Fleet) -> None:
    """GitHub sends queued, waiting and queued again; only the last one asks for a runner."""
    job = fleet.job()
    gated = job | {"status": "waiting"}
    dispatched = fleet.invocations("DispatchEvent")
    assert fleet.send("queued", gated) == (200, {"message": "the job waits for an approval"})
    assert fleet.send("waiting", gated)[0] == 200
    with fleet.handled():  # what comes after them
        fleet.send("in_progress", fleet.job(runner_name="somebody-elses"))
    assert fleet.invocations("DispatchEvent") == dispatched + 1
    runner = runner_id(job)
    assert fleet.executions(runner) == []
    assert fleet.row(runner) == {}
    assert fleet.send("queued", job)[0] == 202
    fleet.status(runner, "WAITING_FOR_JOB")
    # the first two once more, minutes late
    fleet.send("waiting", gated)
    fleet.send("queued", gated)
    fleet.send("completed", ended_on(job, runner))
    fleet.status(runner, "OFFLINE")
    # the row says so a moment before the execution has ended
    fleet.until(runner, lambda _: fleet.executions(runner) == ["SUCCEEDED"])


def test_a_re_run_has_a_runner_of_its_own(fleet: Fleet) -> None:
    """A re-run keeps the run's id; its jobs have ids of their own, and the attempt counts up."""
    first = fleet.job()
    fleet.send("queued", first)
    fleet.status(runner_id(first), "WAITING_FOR_JOB")
    fleet.send("completed", ended_on(first, runner_id(first), "failure"))
    fleet.status(runner_id(first), "OFFLINE")
    again = fleet.job(run_attempt=2)
    same_id = first | {"run_attempt": 2}
    for job in (again, same_id):
        fleet.send("queued", job)
        fleet.status(runner_id(job), "WAITING_FOR_JOB")
    assert len({runner_id(job) for job in (first, again, same_id)}) == 3
    for job in (again, same_id):
        fleet.send("completed", ended_on(job, runner_id(job)))
        fleet.status(runner_id(job), "OFFLINE")
    assert fleet.row(runner_id(first))["job_status"] == "failure"


ORDERS = list(permutations(["queued", "in_progress", "completed"]))


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_any_order_twice_leaves_one_ended_runner(fleet: Fleet, order: tuple[str, ...]) -> None:
    job = fleet.job()
    runner = runner_id(job)
    events = {
        "queued": job,
        "in_progress": started_on(job, runner),
        "completed": ended_on(job, runner),
    }
    for action in order:
        for delivery in ("d-1", "d-2"):
            assert fleet.send(action, events[action], delivery=delivery)[0] == 202
    # GitHub knows the runner's name only once the runner is there, so what says it is true and
    # what came before the row existed comes again: by redelivery or by reconciliation
    fleet.until(runner, lambda row: row["status"] != "STARTING")
    fleet.send("completed", events["completed"])
    row = fleet.status(runner, "OFFLINE")
    assert row["job_status"] == "success"
    # the row says so a moment before the execution has ended
    fleet.until(runner, lambda _: fleet.executions(runner) == ["SUCCEEDED"])
    # one that was told of its end before it waited for its runner names no task in its row
    until(lambda: not fleet.running_tasks_of(runner), "its task is gone")


@pytest.mark.parametrize("order", [("queued", "completed"), ("completed", "queued")], ids="-".join)
def test_a_cancelled_job_leaves_nothing_in_any_order(fleet: Fleet, order: tuple[str, ...]) -> None:
    job = fleet.job()
    runner = runner_id(job)
    events = {"queued": job, "completed": ended_on(job, None, "cancelled")}
    for action in order:
        for delivery in ("d-1", "d-2"):
            fleet.send(action, events[action], delivery=delivery)
    row = fleet.status(runner, "OFFLINE")
    assert row["job_status"] == "cancelled"
    fleet.until(runner, lambda _: fleet.executions(runner) == ["SUCCEEDED"])
    fleet.nothing_is_left_of(runner)
