"""The shipped machine in the emulator, alone, with stand-ins for its functions.

The end-to-end tests run it with the real functions; here each state's ways out are forced one by
one.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from cdk_runner_fleet import _assets
from cdk_runner_fleet.rooms.launch_failures import RUN_TASK, STOPPED, Answer, pattern
from testbed.stage import hurry
from tests.waiting import PATIENCE_SECONDS, until

RUNNER_API_URL = "http://127.0.0.1:9"
_STAND_IN = """
import json
import os
import boto3

class GitHubRefused(Exception):
    pass

class RunnerOffline(Exception):
    pass

def handler(event, context):
    told = boto3.client("ssm").get_parameter(Name=os.environ["ANSWER"])["Parameter"]["Value"]
    answer = json.loads(told).get(event["runner_id"], "idle")
    if answer == "fail":
        raise GitHubRefused("401: bad credentials")
    if answer == "offline":
        raise RunnerOffline("GitHub has lost it")
    status = "QUEUED" if answer == "queued" else "BUILDING"
    return {"busy": answer == "busy", "registered": answer != "gone", "status": status}
"""


@dataclass
class Life:
    """One execution and its runner's row; what goes wrong with it goes wrong with no other."""

    rig: Rig
    runner_id: str
    arn: str = ""
    image_tag: str = ""

    def start(self, **changes: Any) -> Life:
        """Start the execution; see :meth:`Rig.start`."""
        return self.rig.begin(self, **changes)

    # What goes wrong

    def fault(self, *, match: str = "", **rule: Any) -> Life:
        """A rule of the emulator's for what says this runner's id and the text."""
        self.rig.fault(match=[self.runner_id, match], **rule)
        return self

    def answer(self, function: str, answer: str) -> Life:
        """Let a stand-in answer idle, gone, busy, offline, queued or fail for this runner."""
        self.rig.answer(function, self.runner_id, answer)
        return self

    @contextmanager
    def held(self, on: str, match: str = "") -> Iterator[Life]:
        """Within it, this runner's execution goes no further than to this call."""
        texts = [self.runner_id, match]
        self.rig.fault(on=on, outcome="held", match=texts)
        try:
            yield self
        finally:
            self.rig.forget(texts)

    def at(self, on: str) -> None:
        """Wait until it has come to the call that is held."""
        until(lambda: self.rig.used(on, self.runner_id), lambda: f"{on}: {self.path_so_far()}")

    # What it comes to

    def row(self) -> dict[str, Any]:
        found = self.rig.dynamodb.get_item(
            TableName=self.rig.runners, Key={"runner_id": {"S": self.runner_id}}
        )
        return {k: next(iter(v.values())) for k, v in found.get("Item", {}).items()}

    def write(self, **values: dict[str, Any]) -> None:
        """Write a signal to the row without answering its token."""
        self.rig.dynamodb.update_item(
            TableName=self.rig.runners,
            Key={"runner_id": {"S": self.runner_id}},
            UpdateExpression="SET " + ", ".join(f"#{key} = :{key}" for key in values),
            ExpressionAttributeNames={f"#{key}": key for key in values},
            ExpressionAttributeValues={f":{key}": value for key, value in values.items()},
        )

    def parked(self, phase: str, *, besides: object = None) -> str:
        """The token of ``phase``, as soon as the machine is parked in it with another task."""

        def token() -> str:
            row = self.row()
            is_there = row.get("waiting_for") == phase and row.get("task_id", "") != besides
            return str(row["task_token"]) if is_there else ""

        return until(token, lambda: f"{self.runner_id} is not parked in {phase}: {self.row()}")

    def succeed(self, *phases: str) -> Life:
        for phase in phases:
            self.rig.states.send_task_success(taskToken=self.parked(phase), output="{}")
        return self

    def fail(self, phase: str, error: str, cause: str = "a test said so") -> Life:
        self.rig.states.send_task_failure(taskToken=self.parked(phase), error=error, cause=cause)
        return self

    def fail_again(self, phase: str, error: str, cause: str = "a test said so") -> Life:
        """Fail it, and once more with its next task."""
        self.parked(phase)
        first = self.row()["task_id"]
        self.fail(phase, error, cause)
        self.parked("runner", besides=first)
        return self

    def path_so_far(self) -> list[str]:
        """The states entered until now."""
        return self.rig.entered(self.arn)

    def path(self) -> list[str]:
        """The states entered, once the execution has ended."""
        self.end()
        return self.path_so_far()

    def end(self) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.rig.states.describe_execution(executionArn=self.arn)
            return found if found["status"] != "RUNNING" else None

        found = until(ended, lambda: f"{self.runner_id} does not end: {self.path_so_far()}")
        assert found
        return found


@dataclass
class Rig:
    """The emulator with the machine's surroundings."""

    ready: dict[str, str]
    runners: str = "runners"
    images: str = "images"
    cluster: str = ""
    machines: dict[str, str] = field(default_factory=dict)
    _answers: dict[str, dict[str, str]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.dynamodb = self._client("dynamodb")
        self.states = self._client("stepfunctions")
        self.ecs = self._client("ecs")
        self.ssm = self._client("ssm")
        for table, key in ((self.runners, "runner_id"), (self.images, "image_tag")):
            self.dynamodb.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        self.cluster = self.ecs.create_cluster(
            clusterName="fleet", capacityProviders=["FARGATE", "FARGATE_SPOT"]
        )["cluster"]["clusterArn"]
        self.ecs.register_task_definition(
            family="ready",
            cpu="512",
            memory="1024",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            containerDefinitions=[{"name": "runner", "image": "example.com/runner:1"}],
        )
        self.role = self._role()
        self.deregister, self.check, self.build = map(
            self._function, ("deregister", "check", "build")
        )

    def _client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=self.ready["aws_endpoint_url"],
            aws_access_key_id=self.ready["access_key_id"],
            aws_secret_access_key=self.ready["secret_access_key"],
            config=Config(retries={"max_attempts": 0}, inject_host_prefix=False),
        )

    def _role(self) -> str:
        iam = self._client("iam")
        principals = ["states.amazonaws.com", "lambda.amazonaws.com"]
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": principals},
            "Action": "sts:AssumeRole",
        }
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        made = iam.create_role(
            RoleName="everything",
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        )
        iam.put_role_policy(
            RoleName="everything",
            PolicyName="all",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [everything]}),
        )
        return str(made["Role"]["Arn"])

    def _function(self, name: str) -> str:
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("stand_in.py", _STAND_IN)
        self.answer(name, "", "idle")
        made = self._client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.14",
            Role=self.role,
            Handler="stand_in.handler",
            Code={"ZipFile": package.getvalue()},
            Timeout=20,
            Environment={"Variables": {"ANSWER": name}},
        )
        return str(made["FunctionArn"])

    def answer(self, function: str, runner_id: str, answer: str) -> None:
        with self._lock:
            answers = self._answers.setdefault(function, {})
            answers[runner_id] = answer
            self.ssm.put_parameter(
                Name=function, Value=json.dumps(answers), Type="String", Overwrite=True
            )

    def fault(self, **rule: Any) -> None:
        self._fleet("POST", rule)

    def forget(self, match: list[str]) -> None:
        """Take the rules with this match away."""
        self._fleet("DELETE", {"match": match})

    def used(self, on: str, runner_id: str) -> int:
        """How often the rules of a runner for this have been used."""
        rules = self._fleet("GET")["faults"]
        return sum(
            rule["used"] for rule in rules if rule["on"] == on and runner_id in rule["match"]
        )

    def _fleet(self, method: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"{self.ready['aws_endpoint_url']}/_fleet/faults",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.ready['control_token']}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)

    def machine(self, **timeouts: str) -> str:
        with self._lock:
            return self._machine(timeouts)

    def _machine(self, timeouts: dict[str, str]) -> str:
        key = json.dumps(timeouts, sort_keys=True)
        if key not in self.machines:
            values = {
                "Partition": "aws",
                "RunnerTableName": self.runners,
                "ImageTableName": self.images,
                "ClusterArn": self.cluster,
                "SubnetIds": "subnet-1,subnet-2",
                "SecurityGroupIds": "sg-1",
                "ClassSettings": "e30=",
                "AssignPublicIp": "ENABLED",
                "RunnerApiUrl": RUNNER_API_URL,
                "Region": "us-east-1",
                "BuildImageFunctionArn": self.build,
                "DeregisterRunnerFunctionArn": self.deregister,
                "CheckRunnerFunctionArn": self.check,
                "Building": "on",
                "PermanentFailures": pattern(RUN_TASK, Answer.FAIL),
                "PassingFailures": pattern(RUN_TASK, Answer.WAIT),
                "ImageFailures": pattern(RUN_TASK, Answer.FIND_IMAGE),
                "PermanentStops": pattern(STOPPED, Answer.FAIL),
                "PassingStops": pattern(STOPPED, Answer.WAIT),
                "MissingImages": pattern(STOPPED, Answer.FIND_IMAGE),
                "BootTimeoutSeconds": "60",
                "IdleTimeoutSeconds": "60",
                "ImageBuildTimeoutSeconds": "60",
                "RunnerTtlSeconds": "60",
                "RowTtlSeconds": "2592000",
                "AwaitCapacity": "60",
                **timeouts,
            }
            text = _assets.STATE_MACHINE.read_text(encoding="utf-8")
            made = self.states.create_state_machine(
                name=f"machine-{len(self.machines)}",
                definition=hurry(
                    re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], text),
                    capacity_seconds=int(values["AwaitCapacity"]),
                ),
                roleArn=self.role,
            )
            self.machines[key] = made["stateMachineArn"]
        return self.machines[key]

    def life(self, runner_id: str | None = None) -> Life:
        """A runner's life that has not begun."""
        return Life(self, runner_id or f"fleet-{uuid.uuid4().int % 10**11}-1")

    def start(self, *, runner_id: str | None = None, **changes: Any) -> Life:
        """A runner's life; see :meth:`begin`."""
        return self.begin(self.life(runner_id), **changes)

    def begin(
        self,
        life: Life,
        *,
        family: str = "ready",
        capacity: tuple[str, ...] = ("FARGATE",),
        timeouts: dict[str, str] | None = None,
        class_timeouts: dict[str, int] | None = None,
        **changes: Any,
    ) -> Life:
        """Start an execution.

        Args:
            life: The runner's.
            family: Its task definition; ``ready`` is there.
            capacity: The providers to be tried.
            timeouts: Of the machine, by the placeholders' names, and of ``AwaitCapacity``.
            class_timeouts: Of the runner's class.
            changes: In its input.
        """
        runner_id = life.runner_id
        life.image_tag = f"image-{uuid.uuid4().hex[:12]}"
        life.arn = self.states.start_execution(
            stateMachineArn=self.machine(**(timeouts or {})),
            name=runner_id,
            input=json.dumps(
                {
                    "runner_id": runner_id,
                    "repository": "octo-org/octo-repo",
                    "registered_for": "repos/octo-org/octo-repo",
                    "job_id": 1,
                    "job_name": "build",
                    "job_url": "https://example.com",
                    "run_id": 2,
                    "run_attempt": 1,
                    "workflow_name": "ci",
                    "runner_labels": "self-hosted",
                    "waiting_labels": "self-hosted",
                    "class_name": "small",
                    "cpu": "512",
                    "memory": "1024",
                    "ephemeral_storage": 20,
                    "timeouts": class_timeouts or {},
                    "architecture": "X86_64",
                    "capabilities": "",
                    "needs": "",
                    "capacity": list(capacity),
                    "usd_per_second": dict.fromkeys(capacity, 0.00001),
                    "image_tag": life.image_tag,
                    "image_base": "public.ecr.aws/docker/library/node:20",
                    "task_definition": family,
                    "head_sha": "",
                    "queued_at": int(time.time()),
                    "queued_delivery": "",
                    "queued_received_at": int(time.time()),
                    **changes,
                }
            ),
        )["executionArn"]
        return life

    def entered(self, arn: str) -> list[str]:
        pages = self.states.get_paginator("get_execution_history").paginate(executionArn=arn)
        return [
            event["stateEnteredEventDetails"]["name"]
            for page in pages
            for event in page["events"]
            if "stateEnteredEventDetails" in event
        ]

    def image(self, tag: str, **values: dict[str, Any]) -> None:
        self.dynamodb.put_item(TableName=self.images, Item={"image_tag": {"S": tag}, **values})

    def running_tasks(self, runner_id: str) -> list[str]:
        """All tasks of a runner, those too that its row never heard of."""
        found = self.ecs.list_tasks(cluster=self.cluster, startedBy=runner_id)
        arns: list[str] = found["taskArns"]
        return arns


@contextmanager
def open_rig(folder: Path) -> Iterator[Rig]:
    """An emulator of one's own, in which tasks do nothing by themselves."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cdk_runner_fleet.local.emulator", "--tasks-dir", folder],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        rig = Rig(json.loads(process.stdout.readline()))
        rig.fault(on="task", outcome="never_boots", times=None)
        yield rig
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)
        process.stdout.close()
