"""Stand-ins for AWS and GitHub, and nothing else: the handlers under test are the shipped ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from moto import mock_aws

import build_image
import check_runner
import define_task
import deregister_runner
import dispatch_event
import explain_job
import receive_webhook
import reconcile_demand
import runner_api
import watch_release
from fleet_runtime.aws import client as fleet_aws

from .aws_stand_in import ENVIRONMENT, Account, Aws, Script
from .github_stand_in import TOKEN, GitHub


@pytest.fixture
def github() -> Iterator[GitHub]:
    server = GitHub()
    yield server
    server.stub.stop()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The settings of every function; what a process keeps between invocations is forgotten."""
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    forget()
    yield monkeypatch
    forget()


def forget() -> None:
    """Begin a new process, as far as a function can tell; clients are kept, they are slow."""
    for kept in (
        build_image._parts,
        check_runner._runners,
        define_task._families,
        deregister_runner._runners,
        dispatch_event._parts,
        explain_job._explainer,
        explain_job._waits,
        receive_webhook._intake,
        reconcile_demand._reconciliation,
        runner_api._api,
        watch_release._networks,
        watch_release._watch,
    ):
        kept.cache_clear()


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with mock_aws() as mocked:
        yield Account.of_a_fleet(mocked)


@pytest.fixture
def aws(environment: pytest.MonkeyPatch, account: Account, context: Any) -> Iterator[Aws]:
    account.restore()
    fleet_aws.client("secretsmanager").create_secret(Name="github-token", SecretString=TOKEN + "\n")
    fleet_aws.client("ssm").put_parameter(
        Name="/fleet/class-sizes",
        Type="String",
        Value=json.dumps(
            {
                "small": {"cpu": 512, "memory": 1024},
                "Medium": {
                    "cpu": 1024,
                    "memory": 2048,
                    "labels": ["linux", "X64", "docker"],
                    "capacity": ["FARGATE_SPOT", "FARGATE"],
                },
                "broken": {"cpu": 512, "memory": 9999},
            }
        ),
    )
    sfn = Script(fleet_aws.client("stepfunctions"), "sfn")
    codebuild = Script(fleet_aws.client("codebuild"), "codebuild")
    events = Script(fleet_aws.client("events"), "eventbridge")
    events.answers["PutEvents"] = {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}
    functions = Script(fleet_aws.client("lambda"), "lambda")
    functions.answers["Invoke"] = lambda params: _invoked(params, context)
    yield Aws(dynamodb=fleet_aws.client("dynamodb"), sfn=sfn, codebuild=codebuild, events=events)
    functions.stop()
    sfn.stop()
    codebuild.stop()
    events.stop()


def _invoked(params: dict[str, Any], context: Any) -> dict[str, Any]:
    """What Lambda answers to whoever invokes the one function that another calls."""
    assert params["FunctionName"] == ENVIRONMENT["DEFINE_TASK_FUNCTION"]
    try:
        result = define_task.handler(json.loads(params["Payload"]), context)
    except Exception as error:  # noqa: BLE001 - as Lambda's runtime
        told = {"errorMessage": str(error), "errorType": type(error).__name__}
        failed = BytesIO(json.dumps(told).encode())
        return {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": failed}
    return {"StatusCode": 200, "Payload": BytesIO(json.dumps(result).encode())}


@pytest.fixture
def context() -> Any:
    """What Lambda passes as the second argument."""
    return SimpleNamespace(
        function_name="function",
        memory_limit_in_mb=512,
        invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:function",
        aws_request_id="1b3f0f5c-0000-4000-8000-000000000000",
        get_remaining_time_in_millis=lambda: 120_000,
    )
