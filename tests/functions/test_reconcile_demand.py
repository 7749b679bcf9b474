"""Reconciliation over the real handler: DynamoDB is moto's, GitHub is the local fleet's twin."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import reconcile_demand
from cdk_runner_fleet.local.runner import Session
from cdk_runner_fleet.local.twin import GitHubTwin, TwinApp
from cdk_runner_fleet.local.twin.faults import ApiFault, WebhookFault
from cdk_runner_fleet.local.twin.records import Job, Run, Runner
from cdk_runner_fleet.local.twin.workflows import read_workflow
from fleet_runtime.admission.starts import Starts
from fleet_runtime.aws import client as fleet_aws
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.message import GitHubUnavailable, Request, Response
from fleet_runtime.job.scope import Scope
from fleet_runtime.reconciliation import listing, repairs
from fleet_runtime.reconciliation.listing import JobLister, Listing
from fleet_runtime.reconciliation.supply import Supply
from fleet_runtime.runner.rows import RunnerRecords

from .conftest import ENVIRONMENT, TASK, TOKEN, WEBHOOK_SECRET, Aws, Received, Script, Stub, forget

REPOSITORY = "octo-org/example"
JOB = "a: {{runs-on: [{labels}], steps: [{{run: 'true'}}]}}"
HOSTED = "b: {runs-on: [ubuntu-latest], steps: [{run: 'true'}]}"
NOBODY: dict[str, Any] = {"executions": []}


@dataclass
class World:
    """A fleet's rows, its GitHub, and the function that brings them together."""

    aws: Aws
    twin: GitHubTwin
    ecs: Script
    receiver: Stub
    environment: pytest.MonkeyPatch
    context: Any

    def reconcile(self, event: dict[str, Any] | None = None) -> dict[str, Any]:
        report: dict[str, Any] = reconcile_demand.handler(event or {}, self.context)
        json.dumps(report)  # Lambda has to be able to answer it
        return report

    def run(self, *jobs: str, environments: frozenset[str] = frozenset()) -> Run:
        text = "jobs: {" + ", ".join(jobs) + "}"
        return self.twin.board.queue_run(
            read_workflow(text, file_name="ci.yml"),
            file_name="ci.yml",
            workspace=None,
            protected_environments=environments,
        )

    def job(self, labels: str = "self-hosted") -> Job:
        """A queued job whose webhook nobody has heard."""
        return self.run(JOB.format(labels=labels)).jobs[0]

    def runner(self, name: str, *labels: str) -> Session:
        """A runner that is registered and online at GitHub."""
        made = self.ghost(name, *labels)
        config = {"url": self.twin.url, "runner_id": made.id, "token": made.token}
        session = Session(config)
        self.until(lambda: made.send is not None)
        return session

    def ghost(self, name: str, *labels: str) -> Runner:
        """A runner that is registered at GitHub, and never came online."""
        made = self.twin.board.register(name=name, labels=labels or ("self-hosted",))
        made.scope = f"/repos/{REPOSITORY}"
        self._claim(made)
        return made

    def _claim(self, runner: Runner) -> None:
        """Let its row, if it is past its claim, know its registration."""
        row = self.aws.row(runner.name)
        if row and row["status"] in ("WAITING_FOR_JOB", "RUNNING"):
            self.aws.put_row(**{**row, "github_runner_id": runner.id})

    def registered(self) -> set[str]:
        return {runner.name for runner in self.twin.board.runners.values()}

    def row(self, runner_id: str, **attributes: Any) -> None:
        """A row as it was ten minutes ago; None takes an attribute away."""
        then = int(time.time()) - 600
        row = {
            "runner_id": runner_id,
            "status": "STARTING",
            "live": "started",
            "repository": REPOSITORY,
            "class_name": "small",
            "image_tag": "default-1",
            "job_id": int(runner_id.split("-")[1]),
            "run_id": 1,
            "run_attempt": 1,
            "queued_at": then,
            "timestamp": then,
            **attributes,
        }
        self.aws.put_row(**{name: value for name, value in row.items() if value is not None})
        for runner in self.twin.board.registered:
            if runner.name == runner_id:
                self._claim(runner)

    def waiting(self, runner_id: str, **attributes: Any) -> None:
        """The row of a runner that waits for a job."""
        self.row(
            runner_id,
            **{
                "status": "WAITING_FOR_JOB",
                "waiting_for": "job",
                "waiting_labels": "self-hosted",
                "task_token": f"token-{runner_id}",
                "task_id": TASK,
                "claimed_at": int(time.time()) - 300,
                **attributes,
            },
        )

    def open(self, *names: str) -> None:
        """Whose executions are running."""
        self.aws.sfn.answers["ListExecutions"] = {
            "executions": [
                {
                    "executionArn": f"arn:aws:states:us-east-1:123456789012:execution:l:{name}",
                    "stateMachineArn": ENVIRONMENT["STATE_MACHINE_ARN"],
                    "name": name,
                    "status": "RUNNING",
                    "startDate": datetime.now(UTC),
                }
                for name in names
            ]
        }

    def execution(self, status: str, **document: Any) -> None:
        self.aws.sfn.answers["DescribeExecution"] = {
            "executionArn": "arn:aws:states:us-east-1:123456789012:execution:lifecycle:x",
            "stateMachineArn": ENVIRONMENT["STATE_MACHINE_ARN"],
            "status": status,
            "startDate": datetime.now(UTC),
            "input": json.dumps(document),
        }

    def tasks(self, *tasks: dict[str, Any]) -> None:
        """Which tasks run in the cluster."""
        self.ecs.answers["ListTasks"] = {"taskArns": [task["taskArn"] for task in tasks]}
        self.ecs.answers["DescribeTasks"] = {"tasks": list(tasks)}

    @property
    def started(self) -> list[str]:
        return [call["name"] for call in self.aws.sfn.named("StartExecution")]

    @property
    def stopped(self) -> list[str]:
        return [call["task"] for call in self.ecs.named("StopTask")]

    def entry(self, name: str) -> dict[str, Any]:
        item = self.aws.dynamodb.get_item(TableName="ledger", Key={"entry": {"S": name}})
        return dict(item.get("Item", {}))

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 15
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.fixture
def world(aws: Aws, environment: pytest.MonkeyPatch, context: Any) -> Iterator[World]:
    answers = {"status": 202}
    receiver = Stub(lambda _: (answers["status"], {}, b""))
    receiver.answers = answers  # type: ignore[attr-defined]
    url = f"{receiver.url}/webhook"
    ecs = Script(fleet_aws.client("ecs"), "ecs")
    app = TwinApp(app_id="7", permissions={"administration": "write", "actions": "read"})
    with GitHubTwin(
        repository=REPOSITORY,
        token=TOKEN,
        apps=[app],
        webhook_secret=WEBHOOK_SECRET,
        webhook_url=url,
        lost_after_seconds=3600,  # a test says itself when GitHub gives a job up
    ) as twin:
        environment.setenv("GITHUB_API_URL", twin.url)
        environment.setenv("WEBHOOK_URL", url)
        environment.setenv("RECONCILE_GRACE_SECONDS", "0")
        made = World(aws, twin, ecs, receiver, environment, context)
        made.open()
        made.execution("RUNNING")
        made.tasks()
        yield made
    ecs.stop()
    receiver.stop()


# --- demand ----------------------------------------------------------------------------------


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


# --- surplus ---------------------------------------------------------------------------------


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


# --- what lost events left -------------------------------------------------------------------


def test_a_runner_hears_that_its_job_has_started(world: World) -> None:
    job = world.job()
    name = f"fleet-{job.id}-1"
    world.waiting(name)
    world.open(name)
    session = world.runner(name)
    session.receive()
    session.send("started")
    world.until(lambda: job.status == "in_progress")
    report = world.reconcile()
    assert report["repaired"] == [name]
    assert report["released"] == []
    row = world.aws.row(name)
    assert row is not None
    assert (row["job_id"], row["job_status"]) == (job.id, "in_progress")
    assert world.aws.resumed == [(f"token-{name}", "Success", "")]


def test_a_runner_hears_that_its_job_has_ended(world: World) -> None:
    job = world.job()
    name = f"fleet-{job.id}-1"
    session = world.runner(name)
    session.receive()
    session.send("started")
    session.send("completed", conclusion="failure", outputs={}, steps=[])
    world.until(lambda: job.status == "completed")
    world.row(
        name,
        status="RUNNING",
        waiting_for="completion",
        task_token="t",
        started_at=int(time.time()) - 60,
    )
    world.open(name)
    assert world.reconcile()["repaired"] == [name]
    row = world.aws.row(name)
    assert row is not None
    assert row["job_status"] == "failure"
    assert world.aws.resumed == [("t", "Success", "")]


def test_a_runner_hears_that_its_job_has_ended_while_its_run_goes_on(world: World) -> None:
    job = world.run(JOB.format(labels="self-hosted"), HOSTED).jobs[0]
    name = f"fleet-{job.id}-1"
    session = world.runner(name)
    session.receive()
    session.send("started")
    session.send("completed", conclusion="success", outputs={}, steps=[])
    world.until(lambda: job.status == "completed")
    world.row(
        name,
        status="RUNNING",
        waiting_for="completion",
        task_token="t",
        run_id=job.run.id,
        started_at=int(time.time()) - 60,
    )
    world.open(name)
    assert world.reconcile()["repaired"] == [name]
    assert world.aws.resumed == [("t", "Success", "")]
    assert world.reconcile()["repaired"] == []


def test_each_runner_whose_job_is_not_listed_is_asked_for_in_turn(world: World) -> None:
    world.environment.setattr(repairs, "_MOST_LOOKUPS", 1)
    job = world.job()
    name = f"fleet-{job.id}-1"
    session = world.runner(name)
    session.receive()
    session.send("started")
    session.send("completed", conclusion="success", outputs={}, steps=[])
    world.until(lambda: job.status == "completed")
    now = int(time.time())
    # GitHub knows nothing of the jobs of the two that are older
    for age, runner_id in ((300, "fleet-1-1"), (200, "fleet-2-1"), (100, name)):
        world.row(runner_id, status="RUNNING", started_at=now - age)
    world.open("fleet-1-1", "fleet-2-1", name)
    assert [world.reconcile()["repaired"] for _ in range(3)] == [[], [], [name]]


def test_a_job_that_lost_its_runner_to_another_gets_one(world: World) -> None:
    """GitHub gave its runner to a lesser job, and no webhook said so."""
    labels = "self-hosted,class:medium"
    lesser, greater = world.job(), world.job("self-hosted, class:medium")
    name = f"fleet-{greater.id}-1"
    world.waiting(name, runner_labels=labels)
    world.open(name)
    world.execution("RUNNING", class_name="Medium", repository=REPOSITORY, image_tag="default-1")
    # the lesser one was queued first
    session = world.runner(name, *labels.split(","))
    message = session.receive()
    assert message is not None
    assert message["run_id"] == lesser.run.id
    session.send("started")
    world.until(lambda: lesser.status == "in_progress")
    report = world.reconcile()
    assert name in report["repaired"]
    assert f"{name}-r1" in world.started


def lost(world: World, *more: str) -> tuple[Job, str]:
    """A job that a runner has acquired, and the runner's task is gone."""
    session = world.runner("fleet-1-1")
    job = world.run(JOB.format(labels="self-hosted"), *more).jobs[0]
    lose(world, session, job, "fleet-1-1")
    return job, "fleet-1-1"


def lose(world: World, session: Session, job: Job, runner_id: str, **row: Any) -> None:
    """Let a runner begin its job, and then be gone."""
    session.receive()
    session.send("started")
    world.until(lambda: job.status == "in_progress")
    job.started_at = time.time() - 60
    hang_up(session)
    world.until(lambda: not online(world, runner_id))
    world.row(
        runner_id,
        **{
            "status": "FAILED",
            "live": None,
            "error": "Runner.TaskStopped",
            "run_id": job.run.id,
            "job_id": job.id,
            "run_attempt": job.attempt,
            "started_at": int(time.time()) - 60,
            "ended_at": int(time.time()) - 30,
            **row,
        },
    )


def hang_up(session: Session) -> None:
    session._socket.shutdown(socket.SHUT_RDWR)


def online(world: World, name: str) -> bool:
    return any(one.name == name and one.send for one in world.twin.board.runners.values())


def test_a_job_whose_runner_is_gone_is_noted_once(world: World) -> None:
    job, runner_id = lost(world)
    assert world.reconcile()["repaired"] == [runner_id]
    row = world.aws.row(runner_id)
    assert row is not None
    assert row["lost_at"] > 0
    assert world.reconcile()["repaired"] == []
    assert job.status == "in_progress"


def test_a_lost_job_runs_again_where_that_is_wanted(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, runner_id = lost(world)
    report = world.reconcile()
    assert report["failed"] == {}
    # its run was cancelled, so this very run of the function could ask for the next attempt
    assert (job.status, job.conclusion) == ("completed", "cancelled")
    (again,) = job.run.jobs
    assert (again.id > job.id, again.attempt, again.status) == (True, 2, "queued")
    assert world.reconcile()["started"] == [f"fleet-{again.id}-2"]
    assert "runners" not in world.entry("lost")
    row = world.aws.row(runner_id)
    assert row is not None
    assert row["rerun_requested_at"] > 0


def test_a_lost_job_is_run_again_once_and_no_more(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world)
    world.reconcile()
    (again,) = job.run.jobs
    name = f"fleet-{again.id}-2"
    lose(world, world.runner(name), again, name)
    assert world.reconcile()["repaired"] == [name], "it is noted"
    assert (again.status, job.run.attempt) == ("in_progress", 2)
    world.twin.board._complete(again, "failure")  # GitHub has given it up
    world.reconcile()
    assert job.run.attempt == 2
    assert "runners" not in world.entry("lost")


@pytest.mark.parametrize(
    "said",
    [
        {"error": "Runner.Terminated"},
        {"error": "Runner.JobTimeout"},
        {"cause": "OutOfMemoryError: Container killed due to memory usage"},
    ],
)
def test_a_job_that_would_not_fare_better_is_not_run_again(
    world: World, said: dict[str, str]
) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, runner_id = lost(world)
    row = world.aws.row(runner_id)
    assert row is not None
    world.aws.put_row(**row | said)
    assert world.reconcile()["repaired"] == [runner_id]
    assert job.status == "in_progress"
    # one that was kept for it by an earlier version
    Ledger(dynamodb=world.aws.dynamodb, table="ledger").write(
        "lost", "ADD runners :one", values={":one": frozenset({runner_id})}
    )
    world.twin.board._complete(job, "failure")
    world.reconcile()
    assert job.run.attempt == 1
    assert "runners" not in world.entry("lost")


def test_a_run_is_not_cancelled_while_github_hears_from_its_runner(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world)
    (runner,) = world.twin.board.runners.values()
    runner.send = lambda _: None
    world.reconcile()
    assert job.status == "in_progress"
    runner.send = None
    world.reconcile()
    assert job.conclusion == "cancelled"


def test_a_run_is_not_cancelled_for_a_job_that_the_listing_lacked(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world, HOSTED)
    whole = listing.JobLister._jobs

    def before_the_other(self: listing.JobLister, run: Any) -> Any:
        return [one for one in whole(self, run) if one.job_id == job.id]

    world.environment.setattr(listing.JobLister, "_jobs", before_the_other)
    world.reconcile()
    assert job.status == "in_progress"


def test_a_run_is_not_cancelled_for_a_job_on_a_later_page(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world, *(HOSTED.replace("b:", f"b{number}:") for number in range(100)))
    others = [one for one in job.run.jobs if one is not job]
    for other in others[:-1]:
        world.twin.board.cancel(other)
    world.reconcile()
    assert job.status == "in_progress"
    world.twin.board.cancel(others[-1])
    world.reconcile()
    assert job.conclusion == "cancelled"


def test_a_run_is_not_cancelled_while_another_job_of_it_goes_on(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world, HOSTED)
    world.reconcile()
    assert job.status == "in_progress"
    other = next(one for one in job.run.jobs if one is not job)
    world.twin.board.cancel(other)
    world.reconcile()
    assert job.conclusion == "cancelled"


def test_a_lost_job_waits_for_the_end_of_its_run(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, runner_id = lost(world, HOSTED)
    world.reconcile()
    world.twin.board._complete(job, "cancelled")  # GitHub has given it up
    world.reconcile()
    assert world.entry("lost")["runners"] == {"SS": [runner_id]}
    world.twin.board.cancel(next(one for one in job.run.jobs if one is not job))
    world.reconcile()
    assert [(one.spec.key, one.attempt) for one in job.run.jobs] == [("b", 1), ("a", 2)]


def test_a_job_that_somebody_has_run_again_is_not_run_again(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world, HOSTED)
    world.reconcile()
    world.twin.board.cancel_run(job.run)
    world.twin.board._complete(job, "cancelled")
    assert world.twin.board.rerun(job.run)
    world.twin.board.cancel_run(job.run)
    world.twin.api_faults.add(ApiFault(status=500, path="*/rerun"))
    assert world.reconcile()["failed"] == {}, "it does not even ask"
    assert job.run.attempt == 2
    assert "runners" not in world.entry("lost")


def test_a_job_that_ended_is_not_lost_because_githubs_list_is_behind(world: World) -> None:
    job, runner_id = lost(world)
    row = world.aws.row(runner_id)
    assert row is not None
    world.aws.put_row(**row, completed_at=int(time.time()) - 30)
    assert world.reconcile()["repaired"] == []
    assert job.status == "in_progress"


def test_what_is_listed_is_not_asked_for_one_by_one(world: World) -> None:
    job = world.job()
    name = f"fleet-{job.id}-1"
    session = world.runner(name)
    session.receive()
    session.send("started")
    world.until(lambda: job.status == "in_progress")
    world.row(name, status="RUNNING", started_at=int(time.time()) - 60)
    world.open(name)
    before = world.twin.requests_served
    assert world.reconcile()["repaired"] == []
    # hooks, deliveries, three lists of runs, one of jobs, one of runners
    assert world.twin.requests_served - before == 7
    assert world.aws.sfn.named("DescribeExecution") == []


# --- leftovers -------------------------------------------------------------------------------


def task(name: str, arn: str = TASK, *, age: float = 600) -> dict[str, Any]:
    created = datetime.fromtimestamp(time.time() - age, UTC)
    return {"taskArn": arn, "startedBy": name, "lastStatus": "RUNNING", "createdAt": created}


def test_an_execution_that_was_stopped_leaves_nothing(world: World) -> None:
    world.waiting("fleet-1-1", launched_at=int(time.time()) - 100, capacity_provider="FARGATE")
    world.runner("fleet-1-1")
    world.execution("ABORTED", usd_per_second={"FARGATE": 0.01})
    world.tasks(task("fleet-1-1"))
    world.aws.dynamodb.put_item(
        TableName="ledger", Item={"entry": {"S": "turns"}, "fleet": {"SS": ["fleet-1-1"]}}
    )
    event = {
        "detail-type": "Step Functions Execution Status Change",
        "detail": {"name": "fleet-1-1", "status": "ABORTED"},
    }
    assert world.reconcile(event)["swept"] == ["fleet-1-1"]
    assert world.stopped == [TASK]
    assert world.registered() == set()
    row = world.aws.row("fleet-1-1")
    assert row is not None
    assert (row["status"], row["error"]) == ("FAILED", "Runner.ExecutionEnded")
    assert "ABORTED" in row["cause"]
    assert 0.9 < row["cost_usd"] < 1.3
    assert not {"live", "task_token", "waiting_for", "waiting_labels"} & set(row)
    assert "fleet" not in world.entry("turns")
    # and once more: the event may come twice
    assert world.reconcile(event)["swept"] == []


@pytest.mark.parametrize("row", [None, {"status": "OFFLINE", "live": None, "ended_at": 5}])
def test_a_stopped_execution_gives_its_turn_back(world: World, row: dict[str, Any] | None) -> None:
    if row:
        world.row("fleet-1-1", **row)
    world.aws.dynamodb.put_item(
        TableName="ledger", Item={"entry": {"S": "turns"}, "fleet": {"SS": ["fleet-1-1"]}}
    )
    event = {
        "detail-type": "Step Functions Execution Status Change",
        "detail": {"name": "fleet-1-1", "status": "TIMED_OUT"},
    }
    assert world.reconcile(event)["swept"] == []
    assert "fleet" not in world.entry("turns")


def test_a_stopped_execution_is_found_without_its_event(world: World) -> None:
    world.row("fleet-1-1", status="RUNNING", started_at=int(time.time()) - 60)
    world.execution("TIMED_OUT")
    assert "fleet-1-1" in world.reconcile()["swept"]
    assert world.aws.row("fleet-1-1")["status"] == "FAILED"  # type: ignore[index]


def test_a_runner_with_a_job_is_not_ended_with_its_execution(world: World) -> None:
    session = world.runner("fleet-1-1")
    job = world.job()
    session.receive()
    session.send("started")
    world.until(lambda: job.status == "in_progress")
    world.row("fleet-1-1", status="RUNNING", started_at=int(time.time()) - 60, job_id=job.id)
    world.execution("ABORTED")
    world.tasks(task("fleet-1-1"))
    report = world.reconcile()
    assert (report["swept"], world.stopped) == ([], [])
    assert world.aws.row("fleet-1-1")["live"] == "started"  # type: ignore[index]


@pytest.mark.parametrize("status", [0, 401, 403, 429, 500])
def test_nothing_is_stopped_where_github_does_not_say_who_is_busy(
    world: World, status: int
) -> None:
    world.row("fleet-1-1", status="RUNNING", started_at=int(time.time()) - 60)
    world.execution("ABORTED")
    world.tasks(task("fleet-1-1"), task("fleet-2-1", f"{TASK}2"))
    world.twin.api_faults.add(ApiFault(status=status, path="*", times=99))
    report = world.reconcile()
    assert (report["swept"], world.stopped) == ([], [])
    assert {"executions", "tasks", "registrations"} <= set(report["failed"])
    assert world.aws.row("fleet-1-1")["live"] == "started"  # type: ignore[index]


def test_tasks_that_nobody_needs_are_stopped(world: World) -> None:
    world.row("fleet-1-1", status="FAILED", live=None, ended_at=5)
    world.row("fleet-2-1", task_id=f"{TASK}2")
    world.waiting("fleet-3-1", task_id=f"{TASK}3")
    world.job()
    world.open("fleet-2-1", "fleet-3-1")
    world.tasks(
        task("fleet-1-1", f"{TASK}1"),
        task("fleet-2-1", f"{TASK}2-before"),
        task("fleet-2-1", f"{TASK}2"),
        task("fleet-3-1", f"{TASK}3"),
        task("fleet-4-1", f"{TASK}4"),
        task("somebody-else", f"{TASK}5"),
    )
    report = world.reconcile()
    assert world.stopped == [f"{TASK}1", f"{TASK}2-before", f"{TASK}4"]
    assert report["swept"] == world.stopped


def test_a_task_that_was_started_just_now_is_left_alone(world: World) -> None:
    world.environment.setenv("RECONCILE_GRACE_SECONDS", "60")
    world.tasks(task("fleet-1-1", age=59))
    world.reconcile()
    assert world.stopped == []


def test_a_stray_task_with_a_job_is_left_alone(world: World) -> None:
    world.row("fleet-1-1", status="FAILED", live=None, ended_at=5)
    session = world.runner("fleet-1-1")
    world.job()
    session.receive()
    world.tasks(task("fleet-1-1"))
    world.reconcile()
    assert world.stopped == []


def test_ghosts_at_github_are_removed(world: World) -> None:
    for name in ("fleet-1-1", "fleet-2-1-r1", "fleet-3-1", "somebodys", "fleet-of-others"):
        world.ghost(name)
    online = world.runner("fleet-4-1", "self-hosted", "other")  # kept: its session ends with it
    world.row("fleet-1-1", status="OFFLINE", live=None, ended_at=5)
    world.row("fleet-3-1", status="STARTING")
    world.open("fleet-3-1")
    report = world.reconcile()
    # fleet-2-1-r1 has no row and never came online; fleet-4-1 may be another fleet's
    assert report["swept"] == ["fleet-1-1", "fleet-2-1-r1"]
    assert world.registered() == {"fleet-3-1", "fleet-4-1", "somebodys", "fleet-of-others"}
    assert online


def test_turns_of_runners_that_are_over_are_given_back(world: World) -> None:
    world.row("fleet-1-1", status="OFFLINE", live=None, ended_at=5)
    world.row("fleet-2-1")
    world.open("fleet-2-1")
    holders = {"SS": ["fleet-1-1", "fleet-2-1", "fleet-3-1"]}
    world.aws.dynamodb.put_item(
        TableName="ledger", Item={"entry": {"S": "turns"}, "fleet": holders}
    )
    assert sorted(world.reconcile()["swept"]) == ["fleet-1-1", "fleet-3-1"]
    assert world.entry("turns")["fleet"] == {"SS": ["fleet-2-1"]}


# --- deliveries ------------------------------------------------------------------------------


def deliver(world: World, status: int, count: int = 1) -> None:
    world.receiver.answers["status"] = status  # type: ignore[attr-defined]
    before = len(world.twin.deliveries)
    for _ in range(count):
        world.job("ubuntu-latest")
    world.until(lambda: len(world.twin.deliveries) == before + count)
    world.receiver.answers["status"] = 202  # type: ignore[attr-defined]


def guids(received: list[Received]) -> list[str]:
    return [one.headers["x-github-delivery"] for one in received]


def test_a_failed_delivery_is_asked_for_once(world: World) -> None:
    deliver(world, 202)
    deliver(world, 503, count=2)
    world.until(lambda: len(world.receiver.received) == 3)
    failed = guids(world.receiver.received)[1:]
    assert sorted(world.reconcile()["redelivered"]) == sorted(failed)
    world.until(lambda: len(world.receiver.received) == 5)
    again = world.receiver.received[3:]
    assert sorted(guids(again)) == sorted(failed)
    assert {one.body for one in again} == {one.body for one in world.receiver.received[1:3]}
    forget()  # another process asks for nothing again
    assert world.reconcile()["redelivered"] == []
    assert len(world.receiver.received) == 5


def test_a_redelivery_that_fails_too_is_left_to_the_demand(world: World) -> None:
    deliver(world, 503)
    world.receiver.answers["status"] = 500  # type: ignore[attr-defined]
    assert len(world.reconcile()["redelivered"]) == 1
    world.until(lambda: len(world.twin.deliveries) == 2)
    assert world.reconcile()["redelivered"] == []


def test_what_somebody_else_redelivered_is_left_alone(world: World) -> None:
    deliver(world, 503)
    failed = world.twin.hook_deliveries.sent[0]
    world.receiver.answers["status"] = 503  # type: ignore[attr-defined]
    world.twin.hook_deliveries.deliver_again(failed)
    world.until(lambda: len(world.twin.deliveries) == 2)
    assert world.reconcile()["redelivered"] == []


def test_the_cursor_follows_what_is_settled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = f"deliveries/repos/{REPOSITORY}/hooks/1"
    deliver(world, 503)
    (failed,) = world.twin.hook_deliveries.sent
    world.reconcile()
    entry = world.entry(hook)
    assert entry["cursor"] == {"N": "0"}, "an older one may still join the log"
    assert entry["asked"] == {"SS": [failed.guid]}
    world.until(lambda: len(world.twin.deliveries) == 2)
    clock = time.time() + 120
    monkeypatch.setattr(Ledger, "now", property(lambda _: int(clock)))
    world.waiting("fleet-1-1")
    world.reconcile()
    newest = world.twin.hook_deliveries.sent[0].id
    assert world.entry(hook) == {"entry": {"S": hook}, "cursor": {"N": str(newest)}}


def test_deliveries_are_read_page_by_page_to_the_cursor(world: World) -> None:
    deliver(world, 503)
    deliver(world, 202, count=120)
    assert len(world.reconcile()["redelivered"]) == 1


def test_deliveries_that_are_too_old_are_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(world, 503)
    later = time.time() + 3 * 86400 + 60
    monkeypatch.setattr(Ledger, "now", property(lambda _: int(later)))
    assert world.reconcile()["redelivered"] == []


@pytest.mark.parametrize("path", ["*/hooks", "*/deliveries", "*/attempts"])
@pytest.mark.parametrize("status", [403, 404])
def test_without_permission_for_hooks_the_rest_goes_on(
    world: World, path: str, status: int
) -> None:
    deliver(world, 503)
    job = world.job()
    world.twin.api_faults.add(ApiFault(status=status, path=path, times=9))
    report = world.reconcile()
    assert report["redelivered"] == []
    assert report["started"] == [f"fleet-{job.id}-1"]
    assert report["failed"] == {}


def test_an_app_needs_no_permission_to_have_its_own_deliveries_again(world: World) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    fleet_aws.client("secretsmanager").create_secret(Name="app", SecretString=pem.decode())
    apps = [{"app_id": "7", "private_key_secret_arn": "app"}]
    world.environment.setenv("GITHUB_APPS", json.dumps(apps))
    world.environment.setenv("GITHUB_TOKEN_SECRET_ARN", "")
    permissions = {"administration": "write", "actions": "read"}
    world.environment.setenv("GITHUB_PERMISSIONS", json.dumps(permissions))
    deliver(world, 503)
    job = world.job()
    report = world.reconcile()
    assert report["failed"] == {}
    assert (len(report["redelivered"]), report["started"]) == (1, [f"fleet-{job.id}-1"])
    world.until(lambda: any(one.redelivery for one in world.twin.deliveries))
    assert world.reconcile()["redelivered"] == []


def test_where_deliveries_cannot_be_listed_now_the_rest_goes_on(world: World) -> None:
    job = world.job()
    world.twin.api_faults.add(ApiFault(status=502, path="*/hooks", times=9))
    report = world.reconcile()
    assert report["started"] == [f"fleet-{job.id}-1"]
    assert set(report["failed"]) == {"deliveries"}


def test_a_hook_that_goes_elsewhere_is_not_the_fleets(world: World) -> None:
    world.environment.setenv("WEBHOOK_URL", "https://elsewhere.example.com/webhook")
    deliver(world, 503)
    assert world.reconcile()["redelivered"] == []


# --- when nothing is to be done --------------------------------------------------------------


def test_idle_it_only_asks_whether_anything_has_changed(world: World) -> None:
    deliver(world, 202)
    world.twin.board.cancel_run(next(iter(world.twin.board.runs.values())))
    world.until(lambda: len(world.twin.deliveries) == 2)
    assert world.reconcile()["skipped"] == ""
    writes: list[str] = []
    events = world.aws.dynamodb.meta.events

    def note(model: Any, **_: Any) -> None:
        if model.name not in ("Query", "GetItem"):
            writes.append(model.name)

    events.register("before-call.dynamodb", note)
    try:
        used = world.twin.requests_served
        quota = world.twin.askers.find(f"Bearer {TOKEN}").hour.used  # type: ignore[union-attr]
        assert world.reconcile()["skipped"] == "nothing to do"
    finally:
        events.unregister("before-call.dynamodb", note)
    assert writes == []
    assert world.twin.requests_served - used <= 4
    after = world.twin.askers.find(f"Bearer {TOKEN}").hour.used  # type: ignore[union-attr]
    assert after == quota, "a 304 costs nothing"


def test_everything_is_looked_at_every_fifteen_minutes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reconcile()
    world.tasks(task("fleet-1-1"))
    assert world.reconcile()["skipped"] == "nothing to do"
    later = time.monotonic() + 900
    reconciliation = reconcile_demand._reconciliation()
    monkeypatch.setattr(reconciliation, "_clock", lambda: later)
    assert world.reconcile()["swept"] == [TASK]


def test_it_looks_on_until_what_is_left_over_has_come_of_age(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.environment.setenv("RECONCILE_GRACE_SECONDS", "60")
    world.row("fleet-1-1", task_id=TASK)
    world.open("fleet-1-1")
    world.tasks(task("fleet-1-1"))
    assert world.reconcile()["swept"] == []
    world.row("fleet-1-1", status="OFFLINE", live=None, ended_at=5)
    assert world.reconcile()["swept"] == [TASK], "nothing is alive, and its task has stayed"
    later = time.monotonic() + 360
    monkeypatch.setattr(reconcile_demand._reconciliation(), "_clock", lambda: later)
    assert world.reconcile()["skipped"] == "nothing to do"


def test_one_run_at_a_time(world: World) -> None:
    job = world.job()
    ledger = Ledger(dynamodb=world.aws.dynamodb, table="ledger")
    assert ledger.take_lease("reconcile", owner="another", seconds=60)
    assert world.reconcile()["skipped"] == "another run is at it"
    assert world.started == []
    ledger.drop_lease("reconcile", owner="another")
    assert world.reconcile()["started"] == [f"fleet-{job.id}-1"]
    assert ledger.take_lease("reconcile", owner="yet another", seconds=60), "it is given back"


def test_a_lease_of_a_run_that_died_is_taken_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.job()
    ledger = Ledger(dynamodb=world.aws.dynamodb, table="ledger")
    assert ledger.take_lease("reconcile", owner="dead", seconds=150)
    later = time.time() + 150
    monkeypatch.setattr(Ledger, "now", property(lambda _: int(later)))
    assert world.reconcile()["started"] == [f"fleet-{job.id}-1"]


def test_dropped_webhooks_are_none_that_github_lists(world: World) -> None:
    world.twin.webhook_faults.add(WebhookFault(fault="drop"))
    job = world.job()
    report = world.reconcile()
    assert (report["redelivered"], report["started"]) == ([], [f"fleet-{job.id}-1"])


def test_an_organizations_repositories_are_looked_at(world: World) -> None:
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    job = world.job()
    assert world.reconcile()["started"] == [f"fleet-{job.id}-1"]
    assert world.entry("repositories")["names"] == {"SS": [REPOSITORY]}


@pytest.mark.parametrize("status", [401, 403])
def test_repositories_are_not_forgotten_where_github_refuses(world: World, status: int) -> None:
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    world.job()
    world.reconcile()
    world.twin.api_faults.add(ApiFault(status=status, path="*/actions/runs", times=9))
    assert "jobs" in world.reconcile()["failed"]
    assert world.entry("repositories")["names"] == {"SS": [REPOSITORY]}


def test_a_repository_that_is_gone_is_forgotten(world: World) -> None:
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    names = {"SS": ["octo-org/gone", REPOSITORY]}
    world.aws.dynamodb.put_item(
        TableName="ledger", Item={"entry": {"S": "repositories"}, "names": names}
    )
    world.waiting("fleet-1-1")
    report = world.reconcile()
    assert report["released"] == [], "gone, or not for the fleet to see any more"
    assert world.entry("repositories")["names"] == {"SS": [REPOSITORY]}
    assert world.reconcile()["released"] == ["fleet-1-1"]


# --- many repositories, many runs ------------------------------------------------------------


class Lists(GitHub):
    """GitHub's lists of runs and their queued jobs, for as many requests as there is time for."""

    def __init__(self, runs: dict[tuple[str, str], list[int]], *, most: int = 10_000) -> None:
        self.scope = Scope(kind="orgs", name="octo-org")
        self.runs = runs
        self.most = most
        self.left = most
        self.broken: set[str] = set()

    def ask(self, request: Request[Any]) -> Any:
        if not self.left:
            raise GitHubUnavailable("no time is left to ask GitHub")
        self.left -= 1
        if request.repository in self.broken:
            return request.read(Response(status=502, headers={}, body=b""))
        path = urlsplit(request.path)
        if path.path.endswith("/jobs"):
            run_id = int(path.path.split("/")[-2])
            job = {"id": run_id, "run_id": run_id, "labels": ["self-hosted"], "name": "a"}
            answer: dict[str, Any] = {"jobs": [{**job, "run_attempt": 1, "status": "queued"}]}
        else:
            query = parse_qs(path.query)
            first = (int(query["page"][0]) - 1) * 100
            listed = self.runs.get((request.repository, query["status"][0]), [])[
                first : first + 100
            ]
            answer = {"workflow_runs": [{"id": run_id} for run_id in listed]}
        return request.read(Response(status=200, headers={}, body=json.dumps(answer).encode()))

    def seen(self, lister: JobLister, repositories: list[str]) -> tuple[list[int], bool]:
        """The jobs of one run, and whether these are all."""
        self.left = self.most
        listing = lister.jobs(repositories)
        return [job.job_id for job in listing.jobs], listing.is_complete


def test_where_time_runs_out_the_next_run_goes_on_from_there() -> None:
    names = [f"octo-org/r{number}" for number in range(5)]
    # four requests each: three lists of runs, and one of jobs
    lists = Lists({(name, "queued"): [number] for number, name in enumerate(names, 1)}, most=9)
    made = JobLister(lists)
    assert [lists.seen(made, names) for _ in range(3)] == [
        ([1, 2], False),
        ([3, 4], False),
        ([5, 1], False),
    ]


def test_a_repository_that_takes_all_the_time_does_not_take_it_always() -> None:
    names = ["octo-org/large", "octo-org/small"]
    lists = Lists({(names[0], "queued"): [*range(1, 21)], (names[1], "queued"): [99]}, most=9)
    made = JobLister(lists)
    assert lists.seen(made, names) == ([1, 2, 3, 4, 5, 6], False)
    assert 99 in lists.seen(made, names)[0]


def test_a_repository_that_github_cannot_list_hides_no_other() -> None:
    names = ["octo-org/broken", "octo-org/well"]
    lists = Lists({(names[1], "queued"): [5]})
    lists.broken.add(names[0])
    made = JobLister(lists)
    assert [lists.seen(made, names) for _ in range(2)] == [([5], False)] * 2


def test_runs_that_wait_for_an_approval_hide_no_queued_one() -> None:
    lists = Lists(
        {
            (REPOSITORY, "waiting"): [*range(1, 251)],
            (REPOSITORY, "in_progress"): [998],
            (REPOSITORY, "queued"): [999],
        }
    )
    made = JobLister(lists)
    seen = [lists.seen(made, [REPOSITORY]) for _ in range(3)]
    assert [jobs[:2] for jobs, _ in seen] == [[999, 998]] * 3
    assert {job for jobs, _ in seen for job in jobs} == {*range(1, 251), 998, 999}
    assert [(len(jobs), is_complete) for jobs, is_complete in seen] == [(200, False)] * 3


def test_a_repository_with_too_many_runs_leaves_the_next_one_its_turn() -> None:
    names = ["octo-org/large", "octo-org/small"]
    lists = Lists({(names[0], "queued"): [*range(1, 301)], (names[1], "queued"): [999]})
    made = JobLister(lists)
    assert 999 not in lists.seen(made, names)[0]
    assert lists.seen(made, names)[0][0] == 999


@pytest.mark.parametrize("status", [301, 410, 451])
def test_a_repository_that_was_renamed_or_taken_down_is_forgotten(
    world: World, status: int
) -> None:
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    names = {"SS": ["octo-org/before", REPOSITORY]}
    world.aws.dynamodb.put_item(
        TableName="ledger", Item={"entry": {"S": "repositories"}, "names": names}
    )
    fault = ApiFault(status=status, path="/repos/octo-org/before/*", times=99)
    world.twin.api_faults.add(fault)
    # its row would have it asked for again and again
    world.waiting("fleet-1-1", repository="octo-org/before")
    world.open("fleet-1-1")
    assert "jobs" in world.reconcile()["failed"]
    assert world.entry("repositories")["names"] == {"SS": [REPOSITORY]}
    report = world.reconcile()
    assert (report["failed"], report["released"]) == ({}, ["fleet-1-1"])
    assert world.entry("repositories")["names"] == {"SS": [REPOSITORY]}


def test_it_says_what_to_do_where_the_fleets_only_repository_was_renamed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.twin.api_faults.add(ApiFault(status=301, path="*/actions/runs"))
    assert "jobs" in world.reconcile()["failed"]
    (remedy,) = [said for record in caplog.records if (said := getattr(record, "remedy", ""))]
    assert "github_repo is its old name: deploy again" in remedy


def test_what_is_known_is_looked_at_where_the_organization_is_not_listed(world: World) -> None:
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    world.aws.dynamodb.put_item(
        TableName="ledger",
        Item={"entry": {"S": "repositories"}, "names": {"SS": [REPOSITORY]}},
    )
    job = world.job()
    world.twin.api_faults.add(ApiFault(status=403, path="/orgs/octo-org/repos", times=9))
    report = world.reconcile()
    assert report["started"] == [f"fleet-{job.id}-1"]
    assert {"repositories", "jobs"} <= set(report["failed"])


def test_an_incomplete_list_is_counted(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.reconcile()
    assert "ListingIncomplete" not in capsys.readouterr().out
    world.twin.api_faults.add(ApiFault(status=500, path="*/actions/runs"))
    world.reconcile()
    assert "ListingIncomplete" in capsys.readouterr().out


def test_what_always_fails_does_not_make_every_run_a_full_one(world: World) -> None:
    world.twin.api_faults.add(ApiFault(status=502, path="*/hooks", times=9))
    assert "deliveries" in world.reconcile()["failed"]
    world.tasks(task("fleet-1-1"))
    assert world.reconcile()["skipped"] == "nothing to do"


# --- its time --------------------------------------------------------------------------------


def test_missing_runners_are_started_before_all_that_may_take_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(world, 503)
    job = world.job()
    world.tasks(task("fleet-1-1"))
    # all its time is over once that is done
    reconciliation = reconcile_demand._reconciliation()
    monkeypatch.setattr(reconciliation, "_clock", lambda: 111 if world.started else 0)
    report = world.reconcile()
    assert report["started"] == [f"fleet-{job.id}-1"]
    assert (report["redelivered"], report["swept"]) == ([], [])
    late = {"line", "deliveries", "completed", "lost", "rerun", "tasks", "registrations", "turns"}
    assert report["failed"] == dict.fromkeys({*late, "executions"}, "no time left")
    ledger = Ledger(dynamodb=world.aws.dynamodb, table="ledger")
    assert ledger.take_lease("reconcile", owner="the next one", seconds=1), "it is given back"
    ledger.drop_lease("reconcile", owner="the next one")
    monkeypatch.setattr(reconciliation, "_clock", lambda: 0)
    report = world.reconcile()
    assert (len(report["redelivered"]), world.stopped) == (1, [TASK])


def test_the_lease_of_a_run_that_is_cut_ends_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.context.get_remaining_time_in_millis = lambda: 30_000
    monkeypatch.setattr(Ledger, "drop_lease", lambda *_, **__: None)
    world.reconcile()
    assert int(world.entry("lease/reconcile")["held_until"]["N"]) <= time.time() + 30


def test_a_row_that_cannot_be_read_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = world.job(), world.job()
    serve = Supply.serve

    def read(self: Supply, job: Any, **more: Any) -> Any:
        if job.job_id == bad.id:
            raise ValueError("a row without a name")
        return serve(self, job, **more)

    monkeypatch.setattr(Supply, "serve", read)
    world.tasks(task("fleet-1-1"))
    with pytest.raises(ValueError, match="without a name"):
        world.reconcile()
    assert (world.started, world.stopped) == ([f"fleet-{good.id}-1"], [TASK])
    ledger = Ledger(dynamodb=world.aws.dynamodb, table="ledger")
    assert ledger.take_lease("reconcile", owner="the next one", seconds=1), "it is given back"


# --- what may have changed since it was seen -------------------------------------------------


def test_a_runner_whose_job_is_still_queued_is_not_surplus_because_the_list_is_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.job()
    name = f"fleet-{job.id}-1"
    world.waiting(name)
    world.open(name)
    monkeypatch.setattr(JobLister, "_jobs", lambda *_: [])
    assert world.reconcile()["released"] == []
    world.twin.board.cancel_run(job.run)
    assert world.reconcile()["released"] == [name]


def test_what_is_surplus_is_judged_as_of_the_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.environment.setenv("RECONCILE_GRACE_SECONDS", "60")
    start = int(time.time())
    world.waiting("fleet-1-1", claimed_at=start - 30)
    world.open("fleet-1-1")
    clock = [start]
    listed = JobLister.jobs

    def jobs(self: JobLister, repositories: Sequence[str]) -> Listing:
        clock[0] += 50
        return listed(self, repositories)

    monkeypatch.setattr(JobLister, "jobs", jobs)
    monkeypatch.setattr(RunnerRecords, "now", property(lambda _: clock[0]))
    assert world.reconcile()["released"] == [], "it is older than the grace only by now"


def test_long_waits_are_explained_a_few_at_a_time_the_oldest_first(world: World) -> None:
    names = [f"fleet-{number}-1" for number in range(1, 26)]
    now = int(time.time())
    for age, name in enumerate(names):
        world.row(name, waiting_for="capacity", waiting_reason="full", timestamp=now - 700 - age)
    world.open(*names)
    world.twin.api_faults.add(ApiFault(status=500, path="*/actions/runs"))  # none is surplus
    assert world.reconcile()["explained"] == names[:4:-1]


def test_a_wait_that_ended_meanwhile_is_not_explained(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = int(time.time()) - 700
    world.row("fleet-1-1", waiting_for="capacity", waiting_reason="full", timestamp=then)
    world.open("fleet-1-1")

    def next_in_line(_: Starts) -> tuple[str, ...]:
        world.row("fleet-1-1", waiting_for="runner", timestamp=then)
        return ()

    world.twin.api_faults.add(ApiFault(status=500, path="*/actions/runs"))  # none is surplus
    monkeypatch.setattr(Starts, "next_in_line", next_in_line)
    assert world.reconcile()["explained"] == []
