"""One whole fleet on this machine, and somebody who sends it webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.twin import GitHubTwin
from cdk_runner_fleet.local.twin.records import Job
from cdk_runner_fleet.local.twin.workflows import read_workflow
from tests import settings
from tests.settings import REPOSITORY
from tests.waiting import PATIENCE_SECONDS, until

_job_ids = itertools.count(70_000_000_001)

Row = dict[str, Any]


@dataclass
class Fleet:
    """What a test does with a fleet: it plays GitHub's webhooks and looks at the rows."""

    local: LocalFleet

    @property
    def twin(self) -> GitHubTwin:
        assert self.local.twin
        return self.local.twin

    def job(self, *labels: str, **changes: Any) -> dict[str, Any]:
        """A workflow job as GitHub describes it when it is queued."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "id": next(_job_ids),
            "run_id": 9,
            "run_attempt": 1,
            "name": "build",
            "workflow_name": "ci",
            "labels": ["self-hosted", *labels],
            "status": "queued",
            "conclusion": None,
            "runner_id": None,
            "runner_name": None,
            "created_at": now,
            "started_at": now,
            "completed_at": None,
            "html_url": "https://github.com/octo-org/octo-repo/actions/runs/9/job/1",
            **changes,
        }

    def send(
        self,
        action: str,
        job: dict[str, Any],
        *,
        encode: bool = False,
        event: str = "workflow_job",
        secret: str | None = None,
        delivery: str = "d-1",
    ) -> tuple[int, dict[str, Any]]:
        payload = {"action": action, "workflow_job": job, "repository": {"full_name": REPOSITORY}}
        body = json.dumps(payload, ensure_ascii=encode).encode()
        return self.send_raw(body, event=event, secret=secret, delivery=delivery)

    def send_raw(
        self,
        body: bytes,
        *,
        event: str = "workflow_job",
        secret: str | None = None,
        delivery: str = "d-1",
        content_type: str = "application/json",
    ) -> tuple[int, dict[str, Any]]:
        key = (secret or self.local.webhook_secret).encode()
        headers = {
            "Content-Type": content_type,
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}",
        }
        request = urllib.request.Request(self.local.webhook_url, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def queue_real(self, name: str, *labels: str, script: str = "true") -> Job:
        """Queue a job at GitHub itself."""
        runs_on = ", ".join(["self-hosted", *labels])
        text = f"on: push\njobs: {{{name}: {{runs-on: [{runs_on}], steps: [{{run: '{script}'}}]}}}}"
        run = self.twin.board.queue_run(
            read_workflow(text, file_name="ci.yml"),
            file_name="ci.yml",
            workspace=None,
            protected_environments=frozenset(),
        )
        return run.jobs[0]

    def queue(self, *labels: str, **changes: Any) -> str:
        """Queue a job; returns the id of the runner that it is to get."""
        job = self.job(*labels, **changes)
        assert self.send("queued", job)[0] == 202
        return runner_id(job)

    def row(self, runner: str) -> Row:
        table = self.local.outputs["RunnerTableName"]
        found = self.local.client("dynamodb").get_item(
            TableName=table, Key={"runner_id": {"S": runner}}, ConsistentRead=True
        )
        return {k: next(iter(v.values())) for k, v in found.get("Item", {}).items()}

    def until(self, runner: str, reached: Callable[[Row], object]) -> Row:
        def found() -> Row | None:
            row = self.row(runner)
            return row if row and reached(row) else None

        row = until(found, lambda: f"{runner} gets there: {self.row(runner)}")
        assert row
        return row

    def stats(self) -> dict[str, Any]:
        """The emulator's counts."""
        counts: dict[str, Any] = self.local.control("GET", "/_fleet/stats")
        return counts

    def invocations(self, function: str = "") -> int:
        """How often functions with this in their names were called."""
        called = self.stats()["invocations"]
        return sum(times for name, times in called.items() if function in name)

    @contextmanager
    def handled(self, *, events: int = 1) -> Iterator[None]:
        """Waits after the block until so many events have been handled that it put on the bus."""
        due = self.invocations("DispatchEvent") + events
        yield
        until(lambda: self.invocations("DispatchEvent") >= due, "it is dispatched")
        until(lambda: not self.stats()["invocations_running"], "it is handled")

    def status(self, runner: str, *statuses: str) -> Row:
        return self.until(runner, lambda row: row["status"] in statuses)

    def executions(self, runner: str) -> list[str]:
        machine = self.local.outputs["StateMachineArn"]
        pages = self.local.client("stepfunctions").get_paginator("list_executions")
        return [
            execution["status"]
            for page in pages.paginate(stateMachineArn=machine)
            for execution in page["executions"]
            if execution["name"] == runner
        ]

    def running_tasks(self) -> list[str]:
        found: list[str] = self.local.client("ecs").list_tasks(
            cluster=self.local.outputs["ClusterArn"]
        )["taskArns"]
        return found

    def running_tasks_of(self, runner: str) -> list[str]:
        """Those that were started for a runner, whether or not its row names them."""
        tasks = self.running_tasks()
        ecs, cluster = self.local.client("ecs"), self.local.outputs["ClusterArn"]
        described = ecs.describe_tasks(cluster=cluster, tasks=tasks)["tasks"] if tasks else []
        return [task["taskArn"] for task in described if task.get("startedBy") == runner]

    def registered(self) -> list[str]:
        """Names of the runners that GitHub knows."""
        assert self.local.twin
        request = urllib.request.Request(
            f"{self.local.github_url}/repos/{REPOSITORY}/actions/runners?per_page=100",
            headers={"Authorization": f"Bearer {self.local.twin.token}"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return [runner["name"] for runner in json.loads(answer.read())["runners"]]

    def reconcile(self) -> dict[str, Any]:
        answer = self.local.client("lambda").invoke(
            FunctionName=self.local.outputs["ReconcileDemandFunctionName"], Payload=b"{}"
        )
        report: dict[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, report
        return report

    def reconcile_until(self, holds: Callable[[], object]) -> list[dict[str, Any]]:
        """Run again and again, as the schedule does; returns what the runs have done."""
        reports: list[dict[str, Any]] = []

        def comes_true() -> object:
            return holds() or reports.append(self.reconcile())

        until(comes_true, reports)
        return reports

    def fault(self, **rule: Any) -> None:
        self.local.control("POST", "/_fleet/faults", rule)

    def nothing_is_left_of(self, runner: str) -> None:
        """Neither a task, nor an open execution, nor a registration at GitHub."""

        def left() -> dict[str, bool]:
            return {
                "task": bool(self.running_tasks_of(runner)),
                "execution": "RUNNING" in self.executions(runner),
                "registration": runner in self.registered(),
            }

        until(lambda: not any(left().values()), lambda: f"of {runner} is left: {left()}")


def own(job: Job) -> str:
    """The runner that a job of GitHub's own is to get."""
    return f"fleet-{job.id}-{job.attempt}"


def runner_id(job: dict[str, Any]) -> str:
    return f"fleet-{job['id']}-{job.get('run_attempt', 1)}"


def base64_body(event: dict[str, Any]) -> str:
    return base64.b64encode(json.dumps(event).encode()).decode()


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """A fleet whose runners wait long: a test ends them, and nothing else does."""
    with LocalFleet(context=settings.ALONE) as local:
        yield Fleet(local)


@pytest.fixture(scope="session")
def impatient() -> Iterator[Fleet]:
    """A fleet that waits for nothing long."""
    with LocalFleet(context=settings.IMPATIENT) as local:
        yield Fleet(local)
