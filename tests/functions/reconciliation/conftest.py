"""A fleet's rows, its GitHub, which is the local fleet's twin, and the handler over both."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

import reconcile_demand
from cdk_runner_fleet.local.emulator.runner import Session
from cdk_runner_fleet.local.twin import GitHubTwin, TwinApp
from cdk_runner_fleet.local.twin.records import Job, Run, Runner
from cdk_runner_fleet.local.twin.workflows import read_workflow
from fleet_runtime.aws import client as fleet_aws
from tests.waiting import until

from ..aws_stand_in import ENVIRONMENT, TASK, Aws, Script
from ..events import WEBHOOK_SECRET
from ..github_stand_in import TOKEN
from ..http_stub import Stub

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
        text = "on: push\njobs: {" + ", ".join(jobs) + "}"
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
            "place": runner_id if attributes.get("live") == "in_line" else None,
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
        until(holds)


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


def task(
    name: str,
    arn: str = TASK,
    *,
    age: float = 600,
    definition: str = "arn:aws:ecs:us-east-1:123456789012:task-definition/fleet-runner-1-a",
) -> dict[str, Any]:
    created = datetime.fromtimestamp(time.time() - age, UTC)
    return {
        "taskArn": arn,
        "taskDefinitionArn": f"{definition}:1",
        "startedBy": name,
        "lastStatus": "RUNNING",
        "createdAt": created,
    }


def deliver(world: World, status: int, count: int = 1) -> None:
    world.receiver.answers["status"] = status  # type: ignore[attr-defined]
    before = len(world.twin.deliveries)
    for _ in range(count):
        world.job("ubuntu-latest")
    world.until(lambda: len(world.twin.deliveries) == before + count)
    world.receiver.answers["status"] = 202  # type: ignore[attr-defined]
