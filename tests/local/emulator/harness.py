"""Short ways to use an emulator process."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.waiting import PATIENCE_SECONDS, until

_ROOT = Path(__file__).parents[3]
ALLOW_ALL = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
# Instead of the runner image's own: what a task does is the SCRIPT in its environment.
_ENTRYPOINT = '#!/usr/bin/env bash\neval "$SCRIPT"\n'


def unique_sleep() -> str:
    """A command that runs for long and that no other test has started."""
    return f"sleep {uuid.uuid4().int % 10**9 + 10**4}"


def eventually(check: Callable[[], Any], *, seconds: float = PATIENCE_SECONDS) -> Any:
    """Call until the answer is truthy and return that."""
    return until(check, lambda: f"still {check()!r}", seconds=seconds)


@dataclass
class Emulator:
    process: subprocess.Popen[str]
    ready: dict[str, str]
    tasks_dir: Path
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return self.ready["aws_endpoint_url"]

    @property
    def secret(self) -> str:
        return self.ready["secret_access_key"]

    def client(self, service: str, *, keys: tuple[str, ...] = ()) -> Any:
        keys = keys or (self.ready["access_key_id"], self.secret)
        name = f"{service}/{keys[0]}"
        if name not in self._clients:
            make: Any = boto3.client  # the stubs know literal names only
            self._clients[name] = make(
                service,
                region_name="us-east-1",
                endpoint_url=self.endpoint,
                aws_access_key_id=keys[0],
                aws_secret_access_key=keys[1],
                aws_session_token=keys[2] if len(keys) > 2 else None,
                config=Config(retries={"total_max_attempts": 1}, read_timeout=60),
            )
        return self._clients[name]

    def fleet(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{self.endpoint}/_fleet/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.ready['control_token']}"},
        )
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def role(self, statements: list[dict[str, Any]], *, service: str = "states") -> str:
        iam, name = self.client("iam"), f"role-{uuid.uuid4().hex[:8]}"
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": f"{service}.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }
            ],
        }
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"][
            "Arn"
        ]
        policy = {"Version": "2012-10-17", "Statement": statements}
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
        return str(arn)

    def start(
        self,
        definition: dict[str, Any],
        *,
        given: Any = None,
        statements: list[dict[str, Any]] | None = None,
    ) -> str:
        states = self.client("stepfunctions")
        machine = states.create_state_machine(
            name=f"machine-{uuid.uuid4().hex[:8]}",
            definition=json.dumps({"QueryLanguage": "JSONata", **definition}),
            roleArn=self.role(statements or ALLOW_ALL),
        )["stateMachineArn"]
        return str(
            states.start_execution(stateMachineArn=machine, input=json.dumps(given or {}))[
                "executionArn"
            ]
        )

    def ended(self, execution: str) -> dict[str, Any]:
        states = self.client("stepfunctions")

        def check() -> Any:
            description = states.describe_execution(executionArn=execution)
            return description if description["status"] != "RUNNING" else None

        description: dict[str, Any] = eventually(check)
        return description

    def run(self, definition: dict[str, Any], **options: Any) -> dict[str, Any]:
        return self.ended(self.start(definition, **options))

    def output(self, expression: str, *, given: Any = None) -> Any:
        """The value of one expression over ``$states.input``."""
        machine = {
            "StartAt": "Say",
            "States": {"Say": {"Type": "Pass", "Output": {"value": expression}, "End": True}},
        }
        execution = self.run(machine, given=given)
        assert execution["status"] == "SUCCEEDED", execution
        return json.loads(execution["output"])["value"]

    def history(self, execution: str) -> list[dict[str, Any]]:
        pages = self.client("stepfunctions").get_paginator("get_execution_history")
        return [
            event for page in pages.paginate(executionArn=execution) for event in page["events"]
        ]

    def table(self) -> str:
        name = f"table-{uuid.uuid4().hex[:8]}"
        self.client("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )
        return name

    def item(self, table: str, key: str) -> dict[str, Any]:
        answer = self.client("dynamodb").get_item(TableName=table, Key={"id": {"S": key}})
        item: dict[str, Any] = answer.get("Item", {})
        return item


def start_emulator(folder: Path, *arguments: str) -> Emulator:
    image = folder / "runner_image"
    image.mkdir()
    (image / "entrypoint.sh").write_text(_ENTRYPOINT)
    tasks_dir = folder / "tasks"
    process = subprocess.Popen(
        [sys.executable, "-m", "cdk_runner_fleet.local.emulator", "--port", "0",
         "--tasks-dir", str(tasks_dir), "--runner-image-dir", str(image), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    return Emulator(process=process, ready=ready, tasks_dir=tasks_dir)


class Events:
    """What a rule on the default bus sends to a queue."""

    def __init__(self, emulator: Emulator, pattern: dict[str, Any]) -> None:
        name = f"events-{uuid.uuid4().hex[:8]}"
        self.sqs = emulator.client("sqs")
        self.url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        bus = emulator.client("events")
        bus.put_rule(Name=name, EventPattern=json.dumps(pattern))
        bus.put_targets(
            Rule=name, Targets=[{"Id": "q", "Arn": f"arn:aws:sqs:us-east-1:123456789012:{name}"}]
        )
        self.seen: list[dict[str, Any]] = []

    def details(self, count: int) -> list[dict[str, Any]]:
        def receive() -> bool:
            answer = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                self.seen.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            return len(self.seen) >= count

        eventually(receive)
        return [event["detail"] for event in self.seen]
