"""Everything that a fleet has kept somewhere, and where in it a credential is found."""

from __future__ import annotations

import base64
import json
import os
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from cdk_runner_fleet.local.fleet import LocalFleet
from tests.waiting import PATIENCE_SECONDS

_SAMPLE_SECONDS = 0.008


def forms(secret: str) -> set[bytes]:
    """How a credential may be written: as it is, in a URL, in JSON, and within base64."""
    plain = secret.encode()
    found = {plain, urllib.parse.quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode()}
    for before in range(3):  # base64 of something longer, in which it begins anywhere
        inner = base64.b64encode(b"\0" * before + plain).decode()
        # what the bytes before and after it have a part in is left out
        inner = inner[-(-before * 8 // 6) :][: (len(plain) - 1) * 8 // 6 - 1]
        found |= {inner.encode(), inner.translate(str.maketrans("+/", "-_")).encode()}
    return found


def leaks(kept: Mapping[str, bytes], planted: Mapping[str, str]) -> list[str]:
    """`credential: place` of each that is found."""
    return [
        f"{name}: {place}"
        for name, secret in planted.items()
        for place, text in kept.items()
        if any(form in text for form in forms(secret))
    ]


def _text(value: object) -> bytes:
    return json.dumps(value, default=_plain).encode()


def _plain(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@dataclass
class Hearing:
    """All that goes over every bus, which is what an archive keeps; from now on.

    Args:
        fleet: Whose buses.
    """

    fleet: LocalFleet
    _urls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        events, sqs = self.fleet.client("events"), self.fleet.client("sqs")
        for number, bus in enumerate(events.list_event_buses()["EventBuses"]):
            queue = f"heard-{number}"
            self._urls.append(sqs.create_queue(QueueName=queue)["QueueUrl"])
            arn = f"arn:aws:sqs:{self.fleet.region}:{bus['Arn'].split(':')[4]}:{queue}"
            pattern = json.dumps({"account": [bus["Arn"].split(":")[4]]})
            events.put_rule(Name=queue, EventBusName=bus["Name"], EventPattern=pattern)
            targets = [{"Id": "q", "Arn": arn}]
            events.put_targets(Rule=queue, EventBusName=bus["Name"], Targets=targets)


def everything(fleet: LocalFleet) -> dict[str, bytes]:
    """What a person who may read the account finds, by place; secrets' own values are left out."""
    return {f"{name} {number}": text for name, number, text in _numbered(_places(fleet))}


def _numbered(places: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, int, bytes]]:
    for number, (name, text) in zip(count(), places, strict=False):
        yield name, number, text


def _places(fleet: LocalFleet) -> Iterator[tuple[str, bytes]]:
    for part in (
        _executions, _tasks, _rows, _logs, _queues, _functions, _builds, _images, _objects,
        _settings, _stacks, _permissions,
    ):  # fmt: skip
        for name, value in part(fleet):
            yield name, value if isinstance(value, bytes) else _text(value)


def _pages(client: Any, operation: str, **arguments: Any) -> Iterator[Any]:
    """Every page, whether or not boto3 knows how to turn them."""
    if client.can_paginate(operation):
        yield from client.get_paginator(operation).paginate(**arguments)
    else:
        yield getattr(client, operation)(**arguments)


def _executions(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    states = fleet.client("stepfunctions")
    for machine in states.list_state_machines()["stateMachines"]:
        arn = machine["stateMachineArn"]
        yield "state machine", states.describe_state_machine(stateMachineArn=arn)
        for page in _pages(states, "list_executions", stateMachineArn=arn):
            for execution in page["executions"]:
                named = {"executionArn": execution["executionArn"]}
                yield "execution", states.describe_execution(**named)
                yield "history", list(_pages(states, "get_execution_history", **named))


def _tasks(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    ecs = fleet.client("ecs")
    for cluster in ecs.list_clusters()["clusterArns"]:
        yield "cluster", ecs.describe_clusters(clusters=[cluster])
        for status in ("RUNNING", "STOPPED"):
            arns = ecs.list_tasks(cluster=cluster, desiredStatus=status)["taskArns"]
            for arn in arns:
                yield (
                    "task",
                    ecs.describe_tasks(cluster=cluster, tasks=[arn], include=["TAGS"])["tasks"],
                )
    for status in ("ACTIVE", "INACTIVE"):
        for page in _pages(ecs, "list_task_definitions", status=status):
            for arn in page["taskDefinitionArns"]:
                described = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
                yield "task definition", described


def _rows(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    dynamodb = fleet.client("dynamodb")
    for table in dynamodb.list_tables()["TableNames"]:
        yield f"table {table}", list(_pages(dynamodb, "scan", TableName=table))


def _logs(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    logs = fleet.client("logs")
    for page in _pages(logs, "describe_log_groups"):
        for group in page["logGroups"]:
            name = group["logGroupName"]
            yield f"log group {name}", list(_pages(logs, "filter_log_events", logGroupName=name))


def _queues(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    sqs = fleet.client("sqs")
    for url in sqs.list_queues().get("QueueUrls", []):
        yield "queue", sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        while messages := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            yield f"messages of {url.rpartition('/')[2]}", messages


def _functions(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    functions = fleet.client("lambda")
    for page in _pages(functions, "list_functions"):
        for function in page["Functions"]:
            yield f"function {function['FunctionName']}", function


def _builds(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    codebuild = fleet.client("codebuild")
    projects = codebuild.list_projects()["projects"]
    if projects:
        yield "build projects", codebuild.batch_get_projects(names=projects)
    if ids := codebuild.list_builds().get("ids"):
        yield "builds", codebuild.batch_get_builds(ids=ids)


def _images(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    ecr = fleet.client("ecr")
    for repository in ecr.describe_repositories()["repositories"]:
        name = {"repositoryName": repository["repositoryName"]}
        yield "repository", repository
        ids = ecr.list_images(**name)["imageIds"]
        if ids:
            yield "images", ecr.describe_images(**name)
            yield "manifests", ecr.batch_get_image(**name, imageIds=ids)


def _objects(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    s3 = fleet.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        for page in _pages(s3, "list_objects_v2", Bucket=bucket["Name"]):
            for each in page.get("Contents", []):
                body = s3.get_object(Bucket=bucket["Name"], Key=each["Key"])["Body"].read()
                yield f"object {each['Key']}", body


def _settings(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    ssm, secrets = fleet.client("ssm"), fleet.client("secretsmanager")
    for parameter in ssm.describe_parameters()["Parameters"]:
        yield "parameter", ssm.get_parameter(Name=parameter["Name"])
    yield "secrets without their values", secrets.list_secrets()


def _stacks(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    cloudformation = fleet.client("cloudformation")
    for stack in cloudformation.describe_stacks()["Stacks"]:
        name = {"StackName": stack["StackName"]}
        yield "stack", stack
        yield "template", cloudformation.get_template(**name)
        yield "stack's events", cloudformation.describe_stack_events(**name)


def _permissions(fleet: LocalFleet) -> Iterator[tuple[str, object]]:
    iam, events = fleet.client("iam"), fleet.client("events")
    for role in iam.list_roles()["Roles"]:
        yield "role", role
        for policy in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
            yield "policy", iam.get_role_policy(RoleName=role["RoleName"], PolicyName=policy)
    for bus in events.list_event_buses()["EventBuses"]:
        yield "rules", events.list_rules(EventBusName=bus["Name"])
    yield "alarms", fleet.client("cloudwatch").describe_alarms()
    yield "metrics", fleet.client("cloudwatch").list_metrics()


def at_github(fleet: LocalFleet) -> dict[str, bytes]:
    """What those who may read a repository, and administer it, find at GitHub."""
    twin = fleet.twin
    assert twin is not None
    organization = twin.repository.partition("/")[0]
    found = {f"run {run}": _text(twin.run_report(twin.board.runs[run])) for run in twin.board.runs}
    found |= {f"log of job {job.id}": _text([*job.log]) for job in twin.board.jobs.values()}
    found |= {f"delivery {each.id}": each.body + each.answer for each in twin.deliveries}
    found["checks"] = _text([twin.checks.runs, twin.checks.statuses])
    runners = [twin.payloads.runner(runner) for runner in twin.board.registered]
    return found | {"runners": _text(runners), "organization": organization.encode()}


def files(folder: Path, *, except_for: Iterable[str]) -> dict[str, bytes]:
    """The files below a folder, except those of some names."""
    found = {}
    for path in folder.rglob("*"):
        with suppress(OSError):  # it has gone meanwhile, or is a socket
            if path.is_file() and path.name not in except_for:
                found[f"file {path.relative_to(folder)}"] = path.read_bytes()
    return found


def _read(number: int, file: str) -> bytes:
    """What the kernel tells of a process; pathlib would take most of the time."""
    with open(f"/proc/{number}/{file}", "rb", buffering=0) as opened:  # noqa: PTH123
        return opened.read()


class Processes(threading.Thread):
    """What each process shows of itself, looked at every few milliseconds.

    Command lines are anybody's to read, environments the same user's.

    Attributes:
        command_lines: of all processes of the machine, with the process's number.
        environments: of those that this one has begun, by their command lines.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.command_lines: dict[str, bytes] = {}
        self.environments: dict[tuple[int, str], dict[str, str]] = {}
        self._lines: dict[int, bytes] = {}
        self._noted: dict[int, tuple[bytes, bytes]] = {}
        self._over = threading.Event()

    def __enter__(self) -> Processes:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        own = {os.getpid()}
        for number in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):  # noqa: PTH208
            with suppress(OSError, ValueError, IndexError):
                line = _read(number, "cmdline")
                if self._lines.get(number) != line:
                    self._lines[number] = line
                    self.command_lines[f"command line of {number} {line[:60]!r}"] = line
                parent = int(_read(number, "stat").rpartition(b")")[2].split()[1])
                if parent in own:
                    own.add(number)
                    environment = _read(number, "environ")
                    # it may have become another program between the two
                    if _read(number, "cmdline") == line:
                        self._note(number, line, environment)

    def _note(self, number: int, line: bytes, environment: bytes) -> None:
        if self._noted.get(number) == (line, environment):
            return
        self._noted[number] = line, environment
        command = line.replace(b"\0", b" ").decode(errors="replace")
        told = [entry.decode(errors="replace").partition("=") for entry in environment.split(b"\0")]
        found = {name: value for name, _, value in told if name}
        if found:
            self.environments[number, command] = found


def lent_to_a_task(environment: Mapping[str, str]) -> dict[str, str]:
    """The credentials of a task's role, from where the task has them; none if it has no role."""
    url = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if not url:
        return {}
    headers = {"Authorization": environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"]}
    with urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=PATIENCE_SECONDS
    ) as answer:
        document = json.load(answer)
    return {
        "a task's secret key": document["SecretAccessKey"],
        "a task's session token": document["Token"],
        "a task's way to its credentials": headers["Authorization"],
        "a task's address of credentials": url.rpartition("/")[2],
    }
