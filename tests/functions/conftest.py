"""Stand-ins for AWS and GitHub, and nothing else: the handlers under test are the shipped ones.

DynamoDB, SSM, Secrets Manager, ECR and ECS are moto's. Step Functions and CodeBuild are scripted
where botocore would send, so their parameters are still checked against the service models.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.models import MockAWS

import build_image
import check_runner
import deregister_runner
import dispatch_event
import explain_job
import receive_webhook
import reconcile_demand
import runner_api
import watch_release
from fleet_runtime.admission.turns import Applicant
from fleet_runtime.admission.turns_entry import TurnsEntry
from fleet_runtime.aws import client as fleet_aws
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.job import webhook
from fleet_runtime.job.job import JobEvent
from fleet_runtime.job.scope import Scope

SAMPLES = Path(__file__).parent / "samples"
WEBHOOK_SECRET = "the-webhook-secret"
TOKEN = "ghp_the-personal-access-token"
RUNNER = "fleet-2832853555-1"
TASK = "arn:aws:ecs:us-east-1:123456789012:task/fleet/0123456789abcdef"
EARLIER_TASK = "arn:aws:ecs:us-east-1:123456789012:task/fleet/fedcba9876543210"

LIVE_ATTRIBUTES = ["repository", "class_name", "image_tag", "released_at"]


def sample(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())
    return document


# --- an HTTP server that answers from a function --------------------------------------------


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Stub:
    """A loopback server; ``answer`` gets each request and returns (status, headers, body)."""

    def __init__(
        self,
        answer: Callable[[Received], tuple[int, dict[str, str], bytes]],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        received: list[Received] = []

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                request = Received(
                    method=self.command,
                    path=self.path,
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=self.rfile.read(length),
                )
                received.append(request)
                status, headers, body = answer(request)
                if status == 0:  # hang up without an answer
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                with suppress(ConnectionError):  # whoever asked did not wait
                    self.end_headers()
                    self.wfile.write(body)

            # the names that http.server looks for
            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self.received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


# --- GitHub ---------------------------------------------------------------------------------


ALL_JOBS = {"id": 2832853555, "run_id": 940463255, "run_attempt": 1, "labels": ["self-hosted"]}
"""What a job has unless it says otherwise."""


@dataclass
class GitHub:
    """GitHub's runner and job endpoints of one repository, with its documented status codes."""

    repository: str = "octo-org/example"
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    jobs: dict[int, dict[str, Any]] = field(default_factory=dict)
    runners: dict[int, dict[str, Any]] = field(default_factory=dict)
    is_app: bool = False
    faults: dict[str, list[tuple[int, dict[str, str], bytes]]] = field(default_factory=dict)
    during: Callable[[str], None] = lambda _: None
    stub: Stub = field(init=False)

    def __post_init__(self) -> None:
        self.stub = Stub(self._answer)

    @property
    def calls(self) -> list[str]:
        return [f"{one.method} {one.path.rpartition('/actions/')[2]}" for one in self.stub.received]

    def fail(self, operation: str, status: int, message: str = "no", **headers: str) -> None:
        body = json.dumps({"message": message}).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.setdefault(operation, []).append((status, named, body))

    def add_runner(self, name: str, *, busy: bool = False, status: str = "online") -> int:
        github_id = 100 + len(self.runners)
        self.runners[github_id] = {"id": github_id, "name": name, "busy": busy, "status": status}
        return github_id

    def _answer(self, request: Received) -> tuple[int, dict[str, str], bytes]:
        path, _, query = request.path.partition("?")
        rest = path.removeprefix(f"/repos/{self.repository}/actions")
        operation = (
            "register"
            if rest == "/runners/generate-jitconfig"
            else "job"
            if rest.startswith("/jobs/")
            else "check_run"
            if path.endswith("/check-runs")
            else "status"
            if "/statuses/" in path
            else "list"
            if rest == "/runners" and request.method == "GET"
            else "find"
            if request.method == "GET"
            else "delete"
        )
        self.during(operation)
        if faults := self.faults.get(operation):
            return faults.pop(0)
        if request.headers.get("authorization") not in {f"Bearer {t}" for t in self.tokens}:
            return _json(401, {"message": "Bad credentials"})
        if operation == "check_run" and not self.is_app:
            return _json(403, {"message": "You must authenticate via a GitHub App."})
        if operation in ("check_run", "status"):
            return _json(201, {"id": 1})
        if operation == "job":
            job = self.jobs.get(int(rest.rpartition("/")[2]))
            return _json(200, ALL_JOBS | job) if job else _json(404, {"message": "Not Found"})
        if operation == "list":
            name = query.removeprefix("name=")
            found = [one for one in self.runners.values() if one["name"] == name]
            return _json(200, {"total_count": len(found), "runners": found})
        if operation == "find":
            runner = self.runners.get(int(rest.rpartition("/")[2]))
            return _json(200, runner) if runner else _json(404, {"message": "Not Found"})
        if operation == "delete":
            return self._delete(int(rest.rpartition("/")[2]))
        wanted = request.json()
        if any(one["name"] == wanted["name"] for one in self.runners.values()):
            return _json(409, {"message": "Already exists - A runner with the name exists."})
        github_id = self.add_runner(wanted["name"])
        return _json(
            201,
            {"runner": self.runners[github_id], "encoded_jit_config": "the-jit-configuration"},
        )

    def _delete(self, github_id: int) -> tuple[int, dict[str, str], bytes]:
        runner = self.runners.get(github_id)
        if runner is None:
            return _json(404, {"message": "Not Found"})
        if runner["busy"]:
            return _json(422, {"message": "Runner is currently running a job."})
        del self.runners[github_id]
        return 204, {}, b""


def _json(status: int, document: object) -> tuple[int, dict[str, str], bytes]:
    return status, {"content-type": "application/json"}, json.dumps(document).encode()


@pytest.fixture
def github() -> Iterator[GitHub]:
    server = GitHub()
    yield server
    server.stub.stop()


# --- AWS ------------------------------------------------------------------------------------


class Script:
    """Answers a service's operations where botocore would send them, and records them."""

    def __init__(self, client: Any, service_event: str) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self.during: Callable[[str], None] = lambda _: None
        self._params: dict[str, Any] = {}
        self._hooks: dict[str, Callable[..., Any]] = {
            f"provide-client-params.{service_event}": self._note,
            f"before-call.{service_event}": self._call,
        }
        self._events = client.meta.events
        for event, hook in self._hooks.items():
            self._events.register(event, hook)

    def stop(self) -> None:
        for event, hook in self._hooks.items():
            self._events.unregister(event, hook)

    def named(self, operation: str) -> list[dict[str, Any]]:
        return [params for name, params in self.calls if name == operation]

    def fail(self, operation: str, code: str) -> None:
        self.answers[operation] = code

    def _note(self, params: dict[str, Any], **_: object) -> None:
        self._params = params

    def _call(self, model: Any, **_: object) -> tuple[Any, dict[str, Any]]:
        self.calls.append((model.name, self._params))
        self.during(model.name)
        answer = self.answers.get(model.name, {})
        if callable(answer):
            answer = answer(self._params)
        if isinstance(answer, str):
            error = {"Error": {"Code": answer, "Message": answer}, "ResponseMetadata": {}}
            return SimpleNamespace(status_code=400), error
        return SimpleNamespace(status_code=200), {**answer, "ResponseMetadata": {}}


@dataclass
class Aws:
    """AWS as a function sees it."""

    dynamodb: Any
    sfn: Script
    codebuild: Script
    events: Script

    def row(self, runner_id: str = RUNNER) -> dict[str, Any] | None:
        return self._item("runners", {"runner_id": {"S": runner_id}})

    def image(self, tag: str) -> dict[str, Any] | None:
        return self._item("images", {"image_tag": {"S": tag}})

    def heartbeat(self) -> dict[str, Any] | None:
        """The item beside the runner's row."""
        return self.row(f"heartbeat/{RUNNER}")

    def put_row(self, **attributes: Any) -> None:
        self._put("runners", {"runner_id": RUNNER, "runner_labels": "self-hosted", **attributes})

    def put_image(self, **attributes: Any) -> None:
        self._put("images", attributes)

    def park(self, phase: str, **attributes: Any) -> None:
        """Put a row that is parked in a phase, as the state machine leaves it."""
        extra: dict[str, Any] = {}
        if phase == "runner":
            extra = {"ticket_hash": hashlib.sha256(b"the-ticket").hexdigest(), "task_id": TASK}
        if phase in ("job", "completion"):
            extra = {"claimed_at": 90, "task_id": TASK, "github_runner_id": 1}
        status = {
            "image": "IMAGE_CREATING",
            "runner": "STARTING",
            "job": "WAITING_FOR_JOB",
            "completion": "RUNNING",
        }[phase]
        self.put_row(
            **{
                "status": status,
                "waiting_for": phase,
                "task_token": f"token-{phase}",
                "job_id": 2832853555,
                "repository": "octo-org/example",
                **extra,
                **attributes,
            }
        )

    @property
    def ledger(self) -> Ledger:
        return Ledger(dynamodb=self.dynamodb, table="ledger")

    def hold_turn(self, runner_id: str, *, since: float | None = None) -> None:
        """Let a runner hold a turn."""
        clock = time.time if since is None else lambda: since
        ledger = Ledger(dynamodb=self.dynamodb, table="ledger", clock=clock)
        applicant = Applicant(
            runner_id=runner_id, class_name="small", repository="octo-org/example", image_tag="t"
        )
        TurnsEntry(ledger).take(applicant, conditions=[], names={}, values={}, in_line=False)

    @property
    def holders(self) -> list[str]:
        """Who holds a turn, and is counted."""
        holders = sorted(turn.runner_id for turn in TurnsEntry(self.ledger).holders())
        assert TurnsEntry(self.ledger).read().count("fleet") == len(holders)
        return holders

    def _item(self, table: str, key: dict[str, Any]) -> dict[str, Any] | None:
        item = self.dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
        return {name: _plain(value) for name, value in item.items()} if item else None

    def _put(self, table: str, attributes: dict[str, Any]) -> None:
        item = {name: _typed(value) for name, value in attributes.items()}
        self.dynamodb.put_item(TableName=table, Item=item)

    @property
    def resumed(self) -> list[tuple[str, str, str]]:
        """What was sent to parked lifecycles: (token, "Success" or error, cause)."""
        return [
            (params["taskToken"], params.get("error", "Success"), params.get("cause", ""))
            for name, params in self.sfn.calls
            if name.startswith("SendTask")
        ]


def _plain(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "N":
        return float(content) if "." in content else int(content)
    return set(content) if kind == "SS" else content


def _typed(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"S": value}
    return {"SS": sorted(value)} if isinstance(value, set) else {"N": str(value)}


ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "the-secret-access-key",
    "AWS_SESSION_TOKEN": "the-session-token",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "RUNNER_TABLE": "runners",
    "IMAGE_TABLE": "images",
    "LEDGER_TABLE": "ledger",
    "MAX_RUNNERS": "100",
    "MAX_RUNNERS_PER_REPOSITORY": "",
    "DAILY_BUDGET_USD": "",
    "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:lifecycle",
    "CLASS_SIZES_PARAM": "/fleet/class-sizes",
    "RUNNER_NAME_PREFIX": "fleet",
    "TASK_FAMILY": "fleet-runner-abc",
    "DEFAULT_TASK_DEFINITIONS": "{}",
    "DEFAULT_IMAGE_BASE": "public.ecr.aws/ubuntu/ubuntu:24.04",
    "RUNNER_IMAGE_TAG": "default",
    "IMAGE_RECIPE": "0123abcd",
    "IMAGE_CAPABILITIES": "[]",
    "DETECTED_CAPABILITIES": json.dumps(["shell"]),
    "ARCHITECTURES": json.dumps(["X86_64", "ARM64"]),
    "ALLOWED_IMAGES": json.dumps(["public.ecr.aws/*"]),
    "IMAGE_BUILDING": "on",
    "ROW_TTL_SECONDS": "2592000",
    "EXPLAIN_AT_GITHUB": "on",
    "GITHUB_SCOPE": "repos/octo-org/example",
    "GITHUB_TOKEN_SECRET_ARN": "github-token",
    "RUNNER_RELEASE": json.dumps(
        {"version": "2.338.0", "sha256": {"x64": "3" * 64, "arm64": "8" * 64}}
    ),
    "EVENT_BUS_NAME": "fleet-bus",
    "WEBHOOK_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:webhook",
    "IMAGE_BUILD_PROJECTS": json.dumps({"X86_64": "fleet-images", "ARM64": "fleet-images-arm64"}),
    "MAX_BUILDS": "5",
    "BUILD_DEFAULT_IMAGE": "on",
    "ECR_REPOSITORY_NAME": "fleet-runner",
    "RUNNER_REPOSITORY_URL": "123456789012.dkr.ecr.us-east-1.amazonaws.com/fleet-runner",
    "TASK_DEFINITION_ARN": "fleet-runner-abc",
    "IMAGE_BUILD_TIMEOUT_SECONDS": "1800",
    "CLUSTER_ARN": "arn:aws:ecs:us-east-1:123456789012:cluster/fleet",
    "WEBHOOK_URL": "https://fleet.example.com/webhook",
    "RECONCILE_GRACE_SECONDS": "60",
    "MAX_REPLACEMENTS": "3",
    "RERUN_LOST_JOBS": "off",
}


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
        deregister_runner._runners,
        dispatch_event._parts,
        explain_job._explainer,
        explain_job._waits,
        receive_webhook._intake,
        reconcile_demand._reconciliation,
        runner_api._api,
        watch_release._watch,
    ):
        kept.cache_clear()


@dataclass(frozen=True)
class Account:
    """moto's account with the fleet's tables: to make them is a fifth of most tests' work."""

    mocked: MockAWS
    tables: Mapping[str, Any]

    def restore(self) -> None:
        """Nothing of an earlier test is left."""
        self.mocked.reset()
        _dynamodb_backend().tables = copy.deepcopy(self.tables)


def _dynamodb_backend() -> Any:
    return get_backend("dynamodb")[DEFAULT_ACCOUNT_ID]["us-east-1"]


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with mock_aws() as mocked:
        dynamodb = boto3.client("dynamodb", region_name="us-east-1")
        keys = {"runner_id": "S", "waiting_labels": "S", "live": "S", "queued_at": "N"}
        dynamodb.create_table(
            TableName="runners",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": key, "AttributeType": kind} for key, kind in keys.items()
            ],
            KeySchema=[{"AttributeName": "runner_id", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "waiting-index",
                    "KeySchema": [{"AttributeName": "waiting_labels", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                },
                {
                    "IndexName": "live-index",
                    "KeySchema": [
                        {"AttributeName": "live", "KeyType": "HASH"},
                        {"AttributeName": "queued_at", "KeyType": "RANGE"},
                    ],
                    "Projection": {
                        "ProjectionType": "INCLUDE",
                        "NonKeyAttributes": [
                            "repository",
                            "class_name",
                            "image_tag",
                            "released_at",
                        ],
                    },
                },
            ],
        )
        dynamodb.create_table(
            TableName="ledger",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "entry", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "entry", "KeyType": "HASH"}],
        )
        dynamodb.create_table(
            TableName="images",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "image_tag", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "image_tag", "KeyType": "HASH"}],
        )
        yield Account(mocked, copy.deepcopy(_dynamodb_backend().tables))


@pytest.fixture
def aws(environment: pytest.MonkeyPatch, account: Account) -> Iterator[Aws]:
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
    yield Aws(dynamodb=fleet_aws.client("dynamodb"), sfn=sfn, codebuild=codebuild, events=events)
    sfn.stop()
    codebuild.stop()
    events.stop()


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


# --- events ---------------------------------------------------------------------------------


def delivery(
    payload: object,
    *,
    event: str | None = "workflow_job",
    secret: str = WEBHOOK_SECRET,
    signature: str | None = None,
    encoded: bool = False,
) -> dict[str, Any]:
    """A delivery as the HTTP API passes it on; ``payload`` may be raw bytes."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "x-hub-signature-256": signed if signature is None else signature,
    }
    if event is not None:
        headers["x-github-event"] = event
    text = base64.b64encode(body).decode() if encoded else body.decode()
    return {"version": "2.0", "headers": headers, "body": text, "isBase64Encoded": encoded}


def bus_event(payload: dict[str, Any]) -> dict[str, Any]:
    """The bus event that ``receive_webhook`` makes of a delivery."""
    happened = webhook.read(
        json.dumps(payload).encode(),
        event="workflow_job",
        delivery="d",
        received_at=1781551342,
        scope=Scope(kind="repos", name="octo-org/example"),
    )
    assert isinstance(happened, JobEvent), happened
    return {
        "source": "cdk-runner-fleet",
        "detail-type": "workflow_job",
        "detail": json.loads(json.dumps(happened.to_detail())),
    }


def job(name: str, /, **changes: Any) -> dict[str, Any]:
    """A sample delivery with a changed ``workflow_job``."""
    payload = sample(name)
    payload["workflow_job"].update(changes)
    return payload
