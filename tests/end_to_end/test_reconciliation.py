"""What events have missed is put right by the deployed function, called by hand."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.twin.faults import ApiFault, RunnerFault, WebhookFault
from tests import settings
from tests.settings import GRACE_SECONDS, REPOSITORY
from tests.waiting import PATIENCE_SECONDS, until

from .conftest import Fleet, own, runner_id


class Reconciled(Fleet):
    """A fleet whose schedule is a test."""

    def drop(self, name: str, *actions: str) -> None:
        for action in actions:
            self.twin.webhook_faults.add(
                WebhookFault(fault="drop", action=action, job_name=name, times=9)
            )

    def wait_for(self, holds: Callable[[], object]) -> None:
        until(holds)


@pytest.fixture(scope="module")
def world() -> Iterator[Reconciled]:
    with LocalFleet(context=settings.RECONCILED) as local:
        yield Reconciled(local)


def swept(reports: list[dict[str, Any]]) -> list[str]:
    return [one for report in reports for one in report["swept"]]


def test_a_job_whose_webhook_was_dropped_runs(world: Reconciled) -> None:
    world.drop("dropped", "queued")
    job = world.queue_real("dropped")
    reports = world.reconcile_until(lambda: job.status == "completed")
    assert job.conclusion == "success"
    assert [one for report in reports for one in report["started"]] == [own(job)]
    world.status(own(job), "OFFLINE")
    world.nothing_is_left_of(own(job))


def test_a_failed_delivery_is_redelivered(world: Reconciled) -> None:
    url = world.twin.webhook_url
    assert url
    world.twin.webhook_url = "http://127.0.0.1:9/webhook"  # nobody listens on the discard port
    job = world.queue_real("undelivered")
    mine = lambda: [one for one in world.twin.deliveries if one.job_id == job.id]  # noqa: E731
    world.wait_for(mine)
    world.twin.webhook_url = url
    (failed,) = mine()
    report = world.reconcile()
    assert report["redelivered"] == [failed.guid]
    world.wait_for(lambda: [one.status_code for one in mine() if one.redelivery] == [202])
    world.wait_for(lambda: job.status == "completed")
    assert world.executions(own(job)) != []
    assert world.reconcile()["redelivered"] == []
    world.status(own(job), "OFFLINE")


def test_a_job_whose_runner_was_stolen_unheard_gets_another(world: Reconciled) -> None:
    world.drop("thief", "queued", "in_progress", "completed")
    thief = world.queue_real("thief", script="sleep 4")
    victim = world.queue_real("victim", "class:medium")
    # the thief was queued first, and its labels are among the other's
    world.wait_for(lambda: thief.status == "in_progress")
    assert thief.runner_name == own(victim)
    world.reconcile_until(lambda: victim.status == "completed")
    assert victim.conclusion == "success"
    assert victim.runner_name == f"{own(victim)}-r1"
    for runner in (own(victim), f"{own(victim)}-r1"):
        world.status(runner, "OFFLINE")
        world.nothing_is_left_of(runner)


def test_an_aborted_execution_leaves_nothing_and_its_job_runs(world: Reconciled) -> None:
    world.fault(on="task", outcome="never_boots", match="aborted-job", times=1)
    job = world.queue_real("aborted", "x64")
    world.until(own(job), lambda row: row.get("waiting_for"))
    executions = world.local.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:")
    world.local.client("stepfunctions").stop_execution(executionArn=f"{executions}:{own(job)}")
    row = world.status(own(job), "FAILED", "OFFLINE")
    if row["status"] == "FAILED":
        assert row["error"] == "Runner.ExecutionEnded"
    world.nothing_is_left_of(own(job))
    world.reconcile_until(lambda: job.status == "completed")
    assert job.conclusion == "success"


def test_an_idle_runner_that_no_job_needs_is_released(world: Reconciled) -> None:
    # GitHub knows nothing of this job
    runner = world.queue("linux")
    world.status(runner, "WAITING_FOR_JOB")
    world.reconcile_until(lambda: world.row(runner)["status"] == "OFFLINE")
    assert world.row(runner)["end_reason"] == "no queued job needs this runner"
    world.nothing_is_left_of(runner)


def test_while_github_is_down_nothing_is_stopped(world: Reconciled) -> None:
    runner = world.queue("linux")
    row = world.status(runner, "WAITING_FOR_JOB")
    # old enough to be released, were GitHub there
    until(lambda: time.time() > int(row["claimed_at"]) + GRACE_SECONDS + 1)
    fault = ApiFault(status=500, path="*", times=40)
    world.twin.api_faults.add(fault)
    for _ in range(3):
        report = world.reconcile()
        assert (report["released"], report["swept"]) == ([], [])
        assert report["failed"]
    assert world.row(runner)["status"] == "WAITING_FOR_JOB"
    while world.twin.api_faults.take("GET", "/"):  # GitHub is back
        continue
    world.reconcile_until(lambda: world.row(runner)["status"] == "OFFLINE")


def test_a_runner_whose_completed_was_dropped_ends(world: Reconciled) -> None:
    job = world.job()
    runner = runner_id(job)
    world.send("queued", job)
    world.status(runner, "WAITING_FOR_JOB")
    world.send("in_progress", job | {"status": "in_progress", "runner_name": runner})
    world.status(runner, "RUNNING")
    # GitHub knows it under its id, ended on this runner, and nobody was told
    world.drop("ended-unheard", "queued", "completed")
    known = world.queue_real("ended-unheard", "gpu-that-nobody-has")
    world.twin.board.cancel(known)
    known.runner_name, known.conclusion = runner, "success"
    known.runner_id = int(world.row(runner)["github_runner_id"])
    world.twin.board.jobs[job["id"]] = known
    known.id = job["id"]
    reports = world.reconcile_until(lambda: world.row(runner)["status"] == "OFFLINE")
    assert runner in [one for report in reports for one in report["repaired"]]
    assert world.row(runner)["job_status"] == "success"
    # the runner was stopped before it could take itself off GitHub's list
    world.reconcile_until(lambda: runner not in world.registered())
    world.nothing_is_left_of(runner)


def test_a_ghost_at_github_is_removed(world: Reconciled) -> None:
    body = {"name": "fleet-1-1", "runner_group_id": 1, "labels": ["self-hosted"]}
    request = urllib.request.Request(
        f"{world.twin.url}/repos/{REPOSITORY}/actions/runners/generate-jitconfig",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {world.twin.token}"},
        method="POST",
    )
    urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()
    # something to do: idle, it looks for ghosts every fifteen minutes only
    keeper = world.queue_real("keeper", "gpu-that-nobody-has")
    reports = world.reconcile_until(lambda: "fleet-1-1" not in world.registered())
    assert swept(reports) == ["fleet-1-1"]
    world.twin.board.cancel(keeper)


def test_a_job_that_was_acquired_and_never_started_runs_again(world: Reconciled) -> None:
    world.twin.board.faults.add(RunnerFault(job_name="acquired", seconds=600))
    job = world.queue_real("acquired")
    world.wait_for(lambda: job.status == "in_progress")
    world.reconcile_until(lambda: job.status == "completed")
    assert job.conclusion == "cancelled", "long before GitHub would have"
    world.reconcile_until(lambda: job.run.jobs[0] is not job)
    (again,) = job.run.jobs
    world.reconcile_until(lambda: again.status == "completed")
    assert (again.attempt, again.conclusion) == (2, "success")
