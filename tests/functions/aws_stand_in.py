"""AWS as a function meets it: moto's account with the fleet's tables, and scripted services.

DynamoDB, SSM, Secrets Manager, ECR and ECS are moto's. Step Functions and CodeBuild are scripted
where botocore would send, so their parameters are still checked against the service models.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import boto3
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.models import MockAWS

from fleet_runtime.admission.turns import Applicant
from fleet_runtime.admission.turns_entry import TurnsEntry
from fleet_runtime.aws.ledger import Ledger
from tests.fleet_tables import make_tables

RUNNER = "fleet-2832853555-1"
TASK = "arn:aws:ecs:us-east-1:123456789012:task/fleet/0123456789abcdef"
TASK_ROLE = "fleet-runner-task"
SESSION = f"arn:aws:sts::123456789012:assumed-role/{TASK_ROLE}/0123456789abcdef"
"""Who the task is, as AWS says."""
EARLIER_TASK = "arn:aws:ecs:us-east-1:123456789012:task/fleet/fedcba9876543210"


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
            extra = {"task_id": TASK}
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


DEFAULT_IMAGE: dict[str, Any] = {
    "name": "default",
    "base": "public.ecr.aws/ubuntu/ubuntu:24.04",
    "recipe": "0123abcd",
    "architectures": ["X86_64", "ARM64"],
    "detected": ["shell"],
}

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "the-secret-access-key",
    "AWS_SESSION_TOKEN": "the-session-token",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "RUNNER_TABLE": "runners",
    "TASK_ROLE": TASK_ROLE,
    "CLASS_TASK_ROLES": "{}",
    "CLASS_RUNNER_GROUPS": "{}",
    "IMAGE_TABLE": "images",
    "LEDGER_TABLE": "ledger",
    "MAX_RUNNERS": "100",
    "MAX_RUNNERS_PER_REPOSITORY": "",
    "DAILY_BUDGET_USD": "",
    "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:lifecycle",
    "CLASS_SIZES_PARAMS": json.dumps(["/fleet/class-sizes"]),
    "RUNNER_NAME_PREFIX": "fleet",
    "REQUIRED_LABELS": "[]",
    "SINGLE_LABELS": "{}",
    "TASK_FAMILY": "fleet-runner-abc",
    "FAMILY_PREFIX": "fleet-runner",
    "DEFINE_TASK_FUNCTION": "define-task",
    "IMAGES": json.dumps([DEFAULT_IMAGE]),
    "IMAGE_RECIPE": DEFAULT_IMAGE["recipe"],
    "ARCHITECTURES": json.dumps(["X86_64", "ARM64"]),
    "ALLOWED_IMAGES": json.dumps(["public.ecr.aws/*"]),
    "IMAGE_BUILDING": "on",
    "ROW_TTL_SECONDS": "2592000",
    "EXPLAIN_AT_GITHUB": "on",
    "GITHUB_SCOPE": "repos/octo-org/example",
    "REGISTER_FOR": "",
    "IMAGE_RUNNER_GROUP": "",
    "GITHUB_TOKEN_SECRET_ARN": "github-token",
    "RUNNER_RELEASE": json.dumps(
        {"version": "2.338.0", "sha256": {"x64": "3" * 64, "arm64": "8" * 64}}
    ),
    "EVENT_BUS_NAME": "fleet-bus",
    "EVENT_SOURCE": "cdk-runner-fleet/fleet",
    "WEBHOOK_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:webhook",
    "IMAGE_BUILD_PROJECTS": json.dumps({"X86_64": "fleet-images", "ARM64": "fleet-images-arm64"}),
    "MAX_BUILDS": "5",
    "KEEP_BUILD_TURN": "off",
    "MAX_IMAGES_PER_REPOSITORY": "1000",
    "ECR_REPOSITORY_NAME": "fleet-runner",
    "RUNNER_REPOSITORY_URL": "123456789012.dkr.ecr.us-east-1.amazonaws.com/fleet-runner",
    "TASK_DEFINITION_ARN": "fleet-runner-abc",
    "MOUNTED_TASK_DEFINITIONS": "{}",
    "IMAGE_BUILD_TIMEOUT_SECONDS": "1800",
    "CLUSTER_ARN": "arn:aws:ecs:us-east-1:123456789012:cluster/fleet",
    "WEBHOOK_URL": "https://fleet.example.com/webhook",
    "RECONCILE_GRACE_SECONDS": "60",
    "MAX_REPLACEMENTS": "3",
    "RERUN_LOST_JOBS": "off",
}


@dataclass(frozen=True)
class Account:
    """moto's account with the fleet's tables: to make them is a fifth of most tests' work."""

    mocked: MockAWS
    tables: Mapping[str, Any]

    @classmethod
    def of_a_fleet(cls, mocked: MockAWS) -> Account:
        """Make the tables, while moto is at it."""
        make_tables(boto3.client("dynamodb", region_name="us-east-1"))
        return cls(mocked, _dynamodb_backend().tables)

    def restore(self) -> None:
        """Nothing of an earlier test is left."""
        self.mocked.reset()
        _dynamodb_backend().tables = copy.deepcopy(self.tables)


def _dynamodb_backend() -> Any:
    return get_backend("dynamodb")[DEFAULT_ACCOUNT_ID]["us-east-1"]
