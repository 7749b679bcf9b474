"""Supply brought into line with demand: what is missing is started, what is surplus released."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest

from cdk_runner_fleet.local.twin.faults import ApiFault
from fleet_runtime.aws import client as fleet_aws

from ..conftest import forget
from .conftest import (
    JOB,
    World,
)


def test_a_job_whose_webhook_was_lost_gets_its_runner(world: World) -> None:
    job = world.job("self-hosted, class:medium")
    report = world.reconcile()
    assert report["started"] == world.started == [f"fleet-{job.id}-1"]
    (call,) = world.aws.sfn.named("StartExecution")
    document = json.loads(call["input"])
    assert (document["class_name"], document["job_id"]) == ("Medium", job.id)
    assert report["failed"] == {}


def test_a_fresh_job_gets_the_runner_that_its_own_event_would_start(world: World) -> None:
    world.environment.setenv("RECONCILE_GRACE_SECONDS", "60")
    job = world.job()
    assert world.reconcile()["started"] == [f"fleet-{job.id}-1"]


def test_a_fresh_job_gets_no_second_one(world: World) -> None:
    world.environment.setenv("RECONCILE_GRACE_SECONDS", "60")
    job = world.job()
    world.row(f"fleet-{job.id}-1", status="FAILED", live=None, ended_at=int(time.time()))
    assert world.reconcile()["started"] == []


def test_a_job_whose_runner_is_on_its_way_gets_no_other(world: World) -> None:
    job = world.job()
    world.row(f"fleet-{job.id}-1")
    world.open(f"fleet-{job.id}-1")
    assert world.reconcile()["started"] == []
    assert world.started == []


def test_jobs_of_githubs_own_runners_are_none_of_its_business(world: World) -> None:
    world.job("ubuntu-latest")
    assert world.reconcile()["started"] == []


def test_a_gated_job_is_no_demand_until_it_is_approved(world: World) -> None:
    gated = "a: {runs-on: [self-hosted], environment: production, steps: [{run: 'true'}]}"
    run = world.run(gated, environments=frozenset({"production"}))
    assert world.reconcile()["started"] == []
    assert world.twin.board.approve(run.jobs[0])
    assert world.reconcile()["started"] == [f"fleet-{run.jobs[0].id}-1"]


def test_a_job_beside_a_gated_one_is_demand(world: World) -> None:
    gated = "b: {runs-on: [self-hosted], environment: production, steps: [{run: 'true'}]}"
    run = world.run(JOB.format(labels="self-hosted"), gated, environments=frozenset({"production"}))
    plain = next(job for job in run.jobs if job.spec.key == "a")
    assert world.reconcile()["started"] == [f"fleet-{plain.id}-1"]


def test_a_job_that_cannot_be_served_gets_a_row_that_says_why(world: World) -> None:
    job = world.job("self-hosted, class:huge")
    assert world.reconcile()["started"] == []
    row = world.aws.row(f"fleet-{job.id}-1")
    assert row is not None
    assert row["error"] == "Job.CannotBeServed"
    assert "class 'huge'" in row["cause"]
    assert len(world.aws.events.named("PutEvents")) == 1
    # once more, as nobody has explained it yet, and then no more
    assert world.reconcile()["explained"] == [f"fleet-{job.id}-1"]
    world.aws.put_row(**row, given_up_at=5)
    assert world.reconcile()["explained"] == []
    assert len(world.aws.events.named("PutEvents")) == 2
    # and when the class is there, under the same name
    catalog = json.dumps({"huge": {"cpu": 512, "memory": 1024}})
    fleet_aws.client("ssm").put_parameter(
        Name="/fleet/class-sizes", Type="String", Overwrite=True, Value=catalog
    )
    forget()
    assert world.reconcile()["started"] == [f"fleet-{job.id}-1"]


def test_a_refused_job_is_given_up_when_others_have_had_time_to_take_it(world: World) -> None:
    world.environment.setenv("RECONCILE_GRACE_SECONDS", "60")
    job = world.job("self-hosted, gpu")
    job.created_at = job.queued_at = time.time() - 300
    name = f"fleet-{job.id}-1"

    def told() -> list[bool]:
        puts = world.aws.events.named("PutEvents")
        return [json.loads(put["Entries"][0]["Detail"])["final"] for put in puts]

    world.reconcile()
    assert told() == [False]
    row = world.aws.row(name)
    assert row is not None
    now = int(time.time())
    steps: list[tuple[dict[str, int], list[bool]]] = [
        # whoever refused it may not have come as far as to say so
        ({}, [False]),
        ({"explained_at": now}, []),
        ({"explained_at": 5, "ended_at": now - 590}, []),
        ({"explained_at": 5, "ended_at": now - 610}, [True]),
        # somebody else's runner has its labels
        ({"left_at": now - 590, "ended_at": now - 9999}, []),
        ({"left_at": now - 610, "ended_at": now - 9999}, [True]),
    ]
    for attributes, more in steps:
        before = len(told())
        world.aws.put_row(**{**row, **attributes})
        world.reconcile()
        assert told()[before:] == more, attributes


def test_a_refused_job_that_is_served_after_all_is_said_to_be(world: World) -> None:
    job = world.job("self-hosted, class:huge")
    world.reconcile()
    row = world.aws.row(f"fleet-{job.id}-1")
    assert row is not None
    world.aws.put_row(**row, given_up_at=5, explained_as="check_run")
    catalog = json.dumps({"huge": {"cpu": 512, "memory": 1024}})
    fleet_aws.client("ssm").put_parameter(
        Name="/fleet/class-sizes", Type="String", Overwrite=True, Value=catalog
    )
    forget()
    assert world.reconcile()["started"] == [f"fleet-{job.id}-1"]
    last = world.aws.events.named("PutEvents")[-1]["Entries"][0]
    assert last["DetailType"] == "job_served"
    assert json.loads(last["Detail"])["cause"] == "the fleet has what it asks for by now"


def test_a_runner_that_came_to_nothing_is_followed_by_another(world: World) -> None:
    job = world.job()
    name = f"fleet-{job.id}-1"
    ended = {"status": "FAILED", "error": "Runner.BootTimeout", "ended_at": 5, "live": None}
    for number in range(4):
        world.row(f"{name}-r{number}" if number else name, **ended)
        expected = [f"{name}-r{number + 1}"] if number < 3 else []
        report = world.reconcile()
        assert report["started"] == expected
    assert report["explained"] == [f"{name}-r3"]
    (put,) = world.aws.events.named("PutEvents")
    detail = json.loads(put["Entries"][0]["Detail"])
    assert detail["job_id"] == job.id
    assert detail["error"] == "Runner.BootTimeout"
    assert "4 runners came to nothing" in detail["cause"]


def test_a_runner_that_exited_0_while_its_job_is_still_queued_is_followed_by_another(
    world: World,
) -> None:
    job = world.job()
    name = f"fleet-{job.id}-1"
    world.row(name, status="OFFLINE", live=None, exit_code=0, claimed_at=5, ended_at=5)
    assert world.reconcile()["started"] == [f"{name}-r1"]


def test_after_an_outage_everything_that_waits_is_started(world: World) -> None:
    jobs = [world.job() for _ in range(5)]
    world.twin.api_faults.add(ApiFault(status=503, path="*", times=1000))
    for _ in range(3):
        assert world.reconcile()["started"] == []
    while world.twin.api_faults.take("GET", "/"):
        continue
    assert world.reconcile()["started"] == [f"fleet-{job.id}-1" for job in jobs]


def test_a_permanent_error_is_explained_and_tried_again_when_it_may_be_mended(
    world: World,
) -> None:
    world.environment.setenv("RECONCILE_GRACE_SECONDS", "60")
    job = world.job()
    job.created_at = job.queued_at = time.time() - 300
    name = f"fleet-{job.id}-1"
    failed = {"status": "FAILED", "error": "Image.BuildFailed", "cause": "no base", "live": None}
    world.row(name, **failed, ended_at=int(time.time()))
    world.reconcile()
    (put,) = world.aws.events.named("PutEvents")
    detail = json.loads(put["Entries"][0]["Detail"])
    assert (detail["runner_id"], detail["cause"], detail["final"]) == (name, "no base", False)
    world.row(name, **failed, ended_at=int(time.time()), explained_at=7)
    world.reconcile()
    assert len(world.aws.events.named("PutEvents")) == 1
    assert world.started == []
    world.row(name, **failed, ended_at=int(time.time()) - 610, explained_at=7)
    assert world.reconcile()["started"] == [f"{name}-r1"]


@pytest.mark.parametrize("phase", ["turn", "capacity"])
def test_a_long_wait_is_explained_once(world: World, phase: str) -> None:
    job = world.job()
    name = f"fleet-{job.id}-1"
    waits = {
        "waiting_for": phase,
        "waiting_reason": "RESOURCE:ENI",
        "job_name": "build",
        "live": "in_line" if phase == "turn" else "started",
    }
    if phase == "turn":
        waits["start_input"] = json.dumps({"runner_id": name, "class_name": "small"})
    world.row(name, **waits, timestamp=int(time.time()) - 590)
    world.open(name)
    assert world.reconcile()["explained"] == []
    world.row(name, **waits, timestamp=int(time.time()) - 610)
    assert world.reconcile()["explained"] == [name]
    detail = json.loads(world.aws.events.named("PutEvents")[-1]["Entries"][0]["Detail"])
    assert detail["error"] == "Job.Waits"
    assert detail["cause"]
    world.row(name, **waits, timestamp=int(time.time()) - 610, wait_explained_at=7)
    assert world.reconcile()["explained"] == []


def test_a_long_wait_in_line_is_explained_as_it_is_now(world: World) -> None:
    """What the row says is why it joined: by now the day's budget may be what it waits for."""
    world.environment.setenv("DAILY_BUDGET_USD", "2")
    today = datetime.now(UTC).date().isoformat()
    spent = {"entry": {"S": "turns"}, f"spent:{today}": {"N": "2.5"}}
    world.aws.dynamodb.put_item(TableName="ledger", Item=spent)
    name = f"fleet-{world.job().id}-1"
    world.row(
        name,
        waiting_for="turn",
        waiting_reason="other jobs wait before it",
        live="in_line",
        start_input=json.dumps({"runner_id": name, "class_name": "small"}),
        timestamp=int(time.time()) - 610,
    )
    assert world.reconcile()["explained"] == [name]
    detail = json.loads(world.aws.events.named("PutEvents")[-1]["Entries"][0]["Detail"])
    assert detail["cause"].startswith(
        "today's runners and builds of images have cost 2.50 USD of a daily budget of 2.00"
    )


def test_an_execution_that_ended_before_it_had_a_row_does_not_use_the_name_up(
    world: World,
) -> None:
    job = world.job()
    world.aws.sfn.fail("StartExecution", "ExecutionAlreadyExists")
    world.execution("RUNNING")
    assert world.reconcile()["started"] == []
    world.execution("ABORTED")
    world.aws.sfn.calls.clear()
    world.reconcile()
    base = f"fleet-{job.id}-1"
    assert world.started == [base, f"{base}-r1", f"{base}-r2", f"{base}-r3", f"{base}-r4"]


def test_an_idle_runner_that_no_job_needs_is_released(world: World) -> None:
    world.waiting("fleet-1-1")
    world.open("fleet-1-1")
    assert world.reconcile()["released"] == ["fleet-1-1"]
    assert [(token, error) for token, error, _ in world.aws.resumed] == [
        ("token-fleet-1-1", "Runner.Released")
    ]


def test_an_idle_runner_for_which_a_job_is_queued_is_kept(world: World) -> None:
    world.job()
    world.waiting("fleet-1-1")
    world.open("fleet-1-1")
    report = world.reconcile()
    assert (report["released"], report["started"]) == ([], [])


@pytest.mark.parametrize("path", ["*/actions/runs", "*/actions/runs/*/jobs"])
@pytest.mark.parametrize("status", [0, 401, 403, 404, 429, 500])
def test_nothing_is_released_where_github_does_not_say_all(
    world: World, path: str, status: int
) -> None:
    world.waiting("fleet-1-1")
    world.open("fleet-1-1")
    if "jobs" in path:
        world.job("ubuntu-latest")
    world.twin.api_faults.add(ApiFault(status=status, path=path, times=9))
    report = world.reconcile()
    assert report["released"] == []
    assert world.aws.resumed == []
    assert "jobs" in report["failed"]


def test_jobs_that_have_to_wait_keep_no_other_from_its_runner(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A matrix of 256 legs may have more of them held back than a run starts runners."""
    monkeypatch.setattr("fleet_runtime.reconciliation.run._MOST_STARTS", 2)
    held_back = [world.job() for _ in range(3)]
    for one in held_back:
        ended = {"status": "FAILED", "live": None, "error": "Runner.LaunchFailed"}
        world.row(f"fleet-{one.id}-1", **ended, ended_at=int(time.time()) + 60)
    later = world.job()
    assert world.reconcile()["started"] == [f"fleet-{later.id}-1"]


def test_a_run_starts_no_more_runners_than_it_may(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_runtime.reconciliation.run._MOST_STARTS", 2)
    jobs = [world.job() for _ in range(3)]
    assert world.reconcile()["started"] == [f"fleet-{one.id}-1" for one in jobs[:2]]
