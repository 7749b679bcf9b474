"""build_image with a registry, a base task definition, CodeBuild and a clock: for all its tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

import build_image
from fleet_runtime import environment
from fleet_runtime.aws import client as fleet_aws
from fleet_runtime.aws.client import client
from fleet_runtime.images.build_queue import BuildQueueEntry
from fleet_runtime.images.builder import Builder
from fleet_runtime.images.parts import Parts, Settings
from fleet_runtime.images.releases import Release
from fleet_runtime.images.rows import ImageRecords
from fleet_runtime.images.upkeep import Upkeep
from fleet_runtime.job.image_reference import image_tag
from tests.rotation import is_due

from .aws_stand_in import RUNNER, Aws
from .builds_stand_in import Builds

TAG = "ubuntu-22-04-0123456789ab"
FAMILY = f"fleet-runner-abc-{TAG}"
BASE = "public.ecr.aws/docker/library/ubuntu:22.04"
REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/fleet-runner"
TIMEOUT = 1800
DAY = 86400


SCHEDULED = {"id": "e", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}


DEPLOYED = {
    "id": "d",
    "source": "aws.cloudformation",
    "detail-type": "CloudFormation Stack Status Change",
    "detail": {"stack-id": "arn", "status-details": {"status": "CREATE_COMPLETE"}},
}


@dataclass
class Fleet:
    """The handler with a registry, a base task definition, CodeBuild and a clock."""

    aws: Aws
    codebuild: Builds
    context: Any

    def __call__(self, event: dict[str, Any]) -> Any:
        return build_image.handler(event, self.context)

    def request(self, tag: str = TAG, runner: str = RUNNER, **changes: Any) -> str:
        """What the state machine asks for; returns the status."""
        event = {
            "image_tag": tag,
            "image_base": BASE,
            "architecture": "X86_64",
            "runner_id": runner,
            "repository": "octo-org/one",
            "task_definition": f"fleet-runner-abc-{tag}",
            "gone": False,
        }
        answer = self(event | changes)
        assert set(answer) == {"status", "build_log_url"}
        status: str = answer["status"]
        return status

    def join(self, *runner_ids: str, tag: str = TAG, **row: Any) -> None:
        """Join those who wait, as FindImage does, and park."""
        self.aws.dynamodb.update_item(
            TableName="images",
            Key={"image_tag": {"S": tag}},
            UpdateExpression="ADD waiters :me SET updated_at = :now",
            ExpressionAttributeValues={
                ":me": {"SS": list(runner_ids)},
                ":now": {"N": str(int(self.codebuild.now))},
            },
        )
        for runner_id in runner_ids:
            self.aws.park("image", runner_id=runner_id, task_token=f"token-{runner_id}")

    def build(self, tag: str = TAG, *, runner: str = RUNNER, **more: Any) -> None:
        """Have an image built."""
        self.join(runner, tag=tag)
        self.request(tag, runner)
        self(self.codebuild.end(tag, **more))

    @property
    def builder(self) -> Builder:
        return build_image._parts().builder

    @property
    def upkeep(self) -> Upkeep:
        return build_image._parts().upkeep

    @property
    def images(self) -> ImageRecords:
        return self.builder.images

    @property
    def queue(self) -> BuildQueueEntry:
        return self.builder.queue

    def lose_ends(self, count: int) -> list[str]:
        """Have seven images asked for, of the first of which nobody hears that they are built."""
        tags = [f"image-{number:012x}" for number in range(7)]
        for tag in tags:
            self.join(f"fleet-{tag}", tag=tag)
            self.request(tag, f"fleet-{tag}")
        for tag in tags[:count]:
            self.codebuild.end(tag)
        return tags

    def pass_time(self, seconds: float) -> None:
        self.codebuild.now += seconds

    def row(self, tag: str = TAG) -> dict[str, Any]:
        row = self.aws.image(tag)
        assert row is not None
        return row

    @property
    def starts(self) -> list[str]:
        """Images whose builds were asked for, in order."""
        return [
            {one["name"]: one["value"] for one in params["environmentVariablesOverride"]}[
                "IMAGE_TAG"
            ]
            for params in self.aws.codebuild.named("StartBuild")
        ]

    @property
    def told(self) -> list[tuple[str, str]]:
        return sorted((token, error) for token, error, _ in self.aws.resumed)

    def launched(self, family: str = FAMILY) -> str:
        """The image that a launch of this family runs now; empty if it finds no revision."""
        arns = client("ecs").list_task_definitions(familyPrefix=family)["taskDefinitionArns"]
        revisions = {int(arn.rpartition(":")[2]): arn for arn in arns if f"/{family}:" in arn}
        if not revisions:
            return ""
        found = client("ecs").describe_task_definition(taskDefinition=revisions[max(revisions)])
        image: str = found["taskDefinition"]["containerDefinitions"][0]["image"]
        return image


@pytest.fixture
def fleet(aws: Aws, context: Any, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    client("ecr").create_repository(repositoryName="fleet-runner")
    client("ecs").register_task_definition(
        family="fleet-runner-abc",
        cpu="512",
        memory="1024",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        executionRoleArn="arn:aws:iam::123456789012:role/execution",
        taskRoleArn="arn:aws:iam::123456789012:role/task",
        runtimePlatform={"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        containerDefinitions=[
            {"name": "runner", "image": "base", "essential": True, "stopTimeout": 120},
            {"name": "sidecar", "image": "other"},
        ],
    )
    codebuild = Builds()
    aws.codebuild.answers |= {"StartBuild": codebuild.start, "BatchGetBuilds": codebuild.batch_get}

    def clock() -> float:
        return codebuild.now

    made = cache(lambda: Parts.of(environment.read(Settings), clock=clock))
    monkeypatch.setattr(build_image, "_parts", made)
    return Fleet(aws=aws, codebuild=codebuild, context=context)


def knows(aws: Aws, **release: str) -> None:
    """Write what watch_release writes."""
    item = {"entry": {"S": "runner-release"}} | {k: {"S": v} for k, v in release.items()}
    aws.dynamodb.put_item(TableName="ledger", Item=item)


def fleet_aws_error() -> Exception:
    return ReadTimeoutError(endpoint_url="https://codebuild.us-east-1.amazonaws.com")


@pytest.fixture
def unregistered() -> Iterator[list[str]]:
    """ECS refuses to register the families that a test names."""
    refused: list[str] = []

    def refuse(model: Any, params: dict[str, Any], **_: object) -> None:
        if model.name == "RegisterTaskDefinition":
            family = json.loads(params["body"])["family"]
            if any(tag in family for tag in refused):
                error = {"Code": "AccessDeniedException", "Message": "iam:PassRole"}
                raise ClientError({"Error": error}, model.name)  # type: ignore[typeddict-item]

    client("ecs").meta.events.register("before-call.ecs", refuse)
    yield refused
    client("ecs").meta.events.unregister("before-call.ecs", refuse)


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def killed_after(calls: int) -> Iterator[list[int]]:
    """Die right after the n-th call to AWS was applied; yields how many there were."""
    made = [0]

    def note(**_: object) -> None:
        made[0] += 1
        if made[0] == calls:
            raise Killed

    services: list[Any] = ["dynamodb", "codebuild", "ecr", "ecs", "lambda", "stepfunctions"]
    clients = [fleet_aws.client(service) for service in services]
    for one in clients:
        one.meta.events.register("after-call", note)
    try:
        yield made
    finally:
        for one in clients:
            one.meta.events.unregister("after-call", note)


@contextmanager
def calls_made() -> Iterator[list[str]]:
    """Yields the calls to AWS as they are made: the operation, and of DynamoDB's the key."""
    made: list[str] = []

    def note(model: Any, params: dict[str, Any], **_: object) -> None:
        table, key = params.get("TableName", ""), params.get("Key", {})
        which = f" {table} {key['entry']['S']}" if "entry" in key else f" {table}"
        made.append(f"{model.name}{which}".strip())

    services: list[Any] = ["dynamodb", "codebuild", "ecr", "ecs", "lambda", "stepfunctions"]
    clients = [fleet_aws.client(service) for service in services]
    for one in clients:
        one.meta.events.register("provide-client-params", note)
    try:
        yield made
    finally:
        for one in clients:
            one.meta.events.unregister("provide-client-params", note)


CALLS = range(1, 60)
GIVEN_UP_ONE_IN = 5


def calls_to_die_at(times: int) -> list[int]:
    """Each call to die at once, and one in so many to die at until nobody tries again."""
    return [calls for calls in CALLS if times == 1 or is_due(calls, one_in=GIVEN_UP_ONE_IN)]


def die(fleet: Fleet, calls: int, times: int, invoke: Any) -> bool:
    for _ in range(times):
        with killed_after(calls) as made:
            try:
                invoke()
            except Killed:
                fleet.pass_time(2)
        if made[0] < calls:
            return False
    return True


def retire(fleet: Fleet, version: str = "2.338.0") -> None:
    """GitHub has retired a version: what watch_release writes then, and says."""
    learn(fleet, {version: "2027-01-01T00:00:00Z"})
    fleet(retired(version))


def retired(
    version: str = "2.338.0", found_in: str = "", *, kind: str = "runner_version_retired"
) -> dict[str, Any]:
    """The event, by default without the image whose runner has found out."""
    return {
        "id": "retired",
        "source": "cdk-runner-fleet/fleet",
        "detail-type": kind,
        "detail": {"runner_version": version, "image_tag": found_in},
    }


def learn_newer(fleet: Fleet) -> None:
    """What watch_release writes when GitHub offers a newer release."""
    sums = {"x64": "a" * 64, "arm64": "b" * 64}
    learn(fleet, {"2.339.0": None}, release=Release(version="2.339.0", sha256=sums))


def learn(fleet: Fleet, dates: Mapping[str, str | None], *, release: Release | None = None) -> None:
    """What watch_release writes when GitHub has set dates, or offers a release."""
    releases = fleet.upkeep.releases
    known = releases.read()
    releases.keep(replace(known, current=release or known.current, dates={**known.dates, **dates}))


def with_other_version(fleet: Fleet, tag: str) -> None:
    fleet.aws.dynamodb.update_item(
        TableName="images",
        Key={"image_tag": {"S": tag}},
        UpdateExpression="SET runner_version = :v",
        ExpressionAttributeValues={":v": {"S": "2.337.0"}},
    )


def leave_a_revision(image: str) -> str:
    """Register a revision and die."""
    made = client("ecs").register_task_definition(
        family=FAMILY, containerDefinitions=[{"name": "runner", "image": image, "memory": 512}]
    )
    arn: str = made["taskDefinition"]["taskDefinitionArn"]
    return arn


def current_tag(fleet: Fleet, architecture: str = "X86_64") -> str:
    """The name of an image as it is made today."""
    return image_tag(BASE, recipe="0123abcd", architecture=architecture)


def rebuild(fleet: Fleet, tag: str, days: float = 7) -> None:
    fleet.pass_time(days * DAY)
    fleet(SCHEDULED)
    assert fleet.codebuild.running == [tag]
    fleet.pass_time(60)


@contextmanager
def meanwhile(service: str, operation: str, act: Callable[[], None]) -> Iterator[None]:
    """Do something right before the first call of an operation is sent."""
    left = [act]

    def before(model: Any, **_: object) -> None:
        if model.name == operation and left:
            left.pop()()

    one = fleet_aws.client(service)  # type: ignore[arg-type]
    one.meta.events.register(f"before-call.{service}", before)
    try:
        yield
    finally:
        one.meta.events.unregister(f"before-call.{service}", before)
    assert not left
