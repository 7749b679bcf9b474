"""The handlers as fixtures, and what they are told and tell in more than one room's tests.

A room's conftest names the fixtures that its tests use.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

import check_runner
import deregister_runner
import dispatch_event
import runner_api

from .aws_stand_in import RUNNER, SESSION, TASK, Aws
from .events import bus_event
from .github_stand_in import GitHub

JOB = 2832853555
CLAIM = f"/runners/{RUNNER}/claim"
EVENTS = f"/runners/{RUNNER}/events"
Check = Callable[[], dict[str, Any]]


@pytest.fixture
def dispatch(aws: Aws, context: Any) -> Any:
    def send(payload: dict[str, Any]) -> None:
        event = bus_event(payload) if "workflow_job" in payload else payload
        assert dispatch_event.handler(event, context) is None

    return send


@pytest.fixture
def post(aws: Aws, github: GitHub, environment: pytest.MonkeyPatch, context: Any) -> Any:
    environment.setenv("GITHUB_API_URL", github.stub.url)
    github.jobs[JOB] = {"id": JOB, "status": "queued", "runner_name": None}

    def send(
        path: str,
        *,
        caller: str | None = SESSION,
        token: str | None = None,
        body: object = None,
        **event: Any,
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Post as API Gateway passes it on: who signed a claim, or the token of a report."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        text = None if body is None else body if isinstance(body, str) else json.dumps(body)
        request = {"version": "2.0", "rawPath": path, "headers": headers, "body": text}
        signed = signed_by(caller) if path.endswith("/claim") else {}
        answer = runner_api.handler(request | signed | event, context)
        return answer["statusCode"], json.loads(answer["body"]), answer["headers"]

    return send


@pytest.fixture
def check(aws: Aws, github: GitHub, environment: pytest.MonkeyPatch, context: Any) -> Check:
    environment.setenv("GITHUB_API_URL", github.stub.url)
    github.jobs[JOB] = {"id": JOB, "status": "in_progress", "runner_name": RUNNER}
    return lambda: check_runner.handler({"runner_id": RUNNER}, context)


@pytest.fixture
def deregister(aws: Aws, github: GitHub, environment: pytest.MonkeyPatch, context: Any) -> Any:
    environment.setenv("GITHUB_API_URL", github.stub.url)
    return lambda: deregister_runner.handler({"runner_id": RUNNER}, context)


def signed_by(caller: str | None) -> dict[str, Any]:
    """What IAM's authorizer says of a request; nothing on a route without one."""
    if caller is None:
        return {"requestContext": {"http": {"method": "POST"}}}
    iam = {
        "accessKey": "ASIAEXAMPLE",
        "accountId": "123456789012",
        "callerId": "AROAEXAMPLE:0123456789abcdef",
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": caller,
        "userId": "AROAEXAMPLE:0123456789abcdef",
    }
    return {"requestContext": {"http": {"method": "POST"}, "authorizer": {"iam": iam}}}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def report(post: Any, body: object, token: str | None = "the-events-token", **event: Any) -> int:
    status: int = post(EVENTS, token=token, body=body, **event)[0]
    return status


def outputs(aws: Aws) -> list[dict[str, Any]]:
    """What lifecycles were told that something came to a good end."""
    return [json.loads(call["output"]) for call in aws.sfn.named("SendTaskSuccess")]


def stopped(task: str = TASK, runner: str = RUNNER, **changes: Any) -> dict[str, Any]:
    """An ECS Task State Change event, as far as it matters."""
    detail = {
        "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/fleet",
        "taskArn": task,
        "startedBy": runner,
        "lastStatus": "STOPPED",
        "desiredStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "stoppedAt": "2026-06-15T19:25:01.5Z",
        "version": 5,
        "containers": [{"name": "runner", "exitCode": 0}],
    } | changes
    return {"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": detail}


def started_input(aws: Aws) -> dict[str, Any]:
    (call,) = aws.sfn.named("StartExecution")
    assert call["name"] == RUNNER
    document: dict[str, Any] = json.loads(call["input"])
    return document


def unserved(aws: Aws) -> list[dict[str, Any]]:
    """Details of the events that a job has no runner."""
    entries = [entry for call in aws.events.named("PutEvents") for entry in call["Entries"]]
    assert all(entry["DetailType"] == "job_unserved" for entry in entries)
    return told(aws, "job_unserved")


def told(aws: Aws, kind: str) -> list[dict[str, Any]]:
    """Details of the fleet's own events of a kind."""
    entries = [entry for call in aws.events.named("PutEvents") for entry in call["Entries"]]
    return [json.loads(entry["Detail"]) for entry in entries if entry["DetailType"] == kind]


def waiting_for_a_job(aws: Aws, runner_id: str, **attributes: Any) -> None:
    aws.park(
        "job",
        runner_id=runner_id,
        waiting_labels="linux,self-hosted",
        task_token=f"token-{runner_id}",
        **attributes,
    )


def silent(aws: Aws, github_id: int, *, seconds: int = 300, **changes: Any) -> None:
    """Its last heartbeat came so long ago."""
    aws.park("completion", github_runner_id=github_id, **changes)
    aws.put_row(runner_id=f"heartbeat/{RUNNER}", last_heartbeat=int(time.time()) - seconds)
