"""Images over the real handler: turns, leases, the end of builds, and everyone who waited."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from botocore.exceptions import ClientError

import build_image
import dispatch_event
from fleet_runtime import environment
from fleet_runtime.aws import client as fleet_aws
from fleet_runtime.aws.client import client
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.images import builder
from fleet_runtime.images.build_turns import START_SECONDS, BuildNotStarted, BuildTurns, Turns
from fleet_runtime.images.rows import RETRY_SECONDS, ImageRecords

from .builds_stand_in import LOG, Builds, digest_of, event_of, push
from .conftest import RUNNER, Aws, bus_event, sample

TAG = "ubuntu-22-04-0123456789ab"
FAMILY = f"fleet-runner-abc-{TAG}"
BASE = "public.ecr.aws/docker/library/ubuntu:22.04"
REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/fleet-runner"
TIMEOUT = 1800
DAY = 86400


@dataclass
class Fleet:
    """The handler with a registry, a base task definition, CodeBuild and a clock."""

    aws: Aws
    codebuild: Builds
    turns: BuildTurns
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

    ledger = Ledger(dynamodb=aws.dynamodb, table="ledger", clock=clock)
    turns = BuildTurns(ledger=ledger, most=environment.read(builder.Settings).max_builds)

    @cache
    def timed() -> builder.Builder:
        return replace(
            builder.Builder.of(environment.read(builder.Settings)),
            images=ImageRecords(dynamodb=aws.dynamodb, table="images", clock=clock),
            ledger=ledger,
            turns=turns,
        )

    monkeypatch.setattr(build_image, "_builder", timed)
    return Fleet(aws=aws, codebuild=codebuild, turns=turns, context=context)


def knows(aws: Aws, **release: str) -> None:
    """Write what watch_release writes."""
    item = {"entry": {"S": "runner-release"}} | {k: {"S": v} for k, v in release.items()}
    aws.dynamodb.put_item(TableName="ledger", Item=item)


# --- requests -------------------------------------------------------------------------------


def test_the_first_to_want_an_image_starts_its_build(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    assert fleet.request() == "BUILDING"
    (started,) = aws.codebuild.named("StartBuild")
    assert started["projectName"] == "fleet-images"
    assert started["timeoutInMinutesOverride"] == 30
    assert {one["name"]: one["value"] for one in started["environmentVariablesOverride"]} == {
        "BASE_IMAGE": BASE,
        "IMAGE_TAG": TAG,
        "RUNNER_VERSION": "2.338.0",
        "RUNNER_SHA256": "3" * 64,
    }
    row = fleet.row()
    assert row["status"] == "BUILDING"
    assert row["build_id"].endswith(":build/fleet-images:1")
    assert (row["image_base"], row["architecture"], row["task_definition"]) == (
        BASE, "X86_64", FAMILY,
    )  # fmt: skip
    assert row["lease_expires_at"] == fleet.codebuild.now + TIMEOUT
    assert row["waiters"] == {RUNNER}


def test_an_image_for_arm_is_built_by_arms_project(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request(architecture="ARM64")
    (started,) = aws.codebuild.named("StartBuild")
    assert started["projectName"] == "fleet-images-arm64"
    variables = {one["name"]: one["value"] for one in started["environmentVariablesOverride"]}
    assert variables["RUNNER_SHA256"] == "8" * 64
    fleet(fleet.codebuild.end(TAG))
    made = client("ecs").describe_task_definition(taskDefinition=FAMILY)["taskDefinition"]
    assert made["runtimePlatform"] == {
        "cpuArchitecture": "ARM64",
        "operatingSystemFamily": "LINUX",
    }


def test_an_architecture_that_is_not_built_fails_at_once(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    assert fleet.request(architecture="RISCV") == "FAILED"
    assert "no images are built for RISCV: use one of X86_64, ARM64" in aws.resumed[0][2]
    assert fleet.turns.read() == Turns()


def test_one_build_serves_however_many_ask(fleet: Fleet) -> None:
    runners = [f"fleet-{number}-1" for number in range(20)]
    fleet.join(*runners)
    assert {fleet.request(runner=runner) for runner in runners} == {"BUILDING"}
    assert fleet.starts == [TAG]


def test_twenty_images_are_built_five_at_a_time_in_order(aws: Aws, fleet: Fleet) -> None:
    tags = [f"image-{number:012x}" for number in range(20)]
    for tag in tags:
        fleet.join(f"fleet-{tag}", tag=tag)
    statuses = [fleet.request(tag, f"fleet-{tag}") for tag in tags]
    assert statuses == ["BUILDING"] * 5 + ["QUEUED"] * 15
    assert fleet.starts == tags[:5]
    for _ in tags:
        fleet(fleet.codebuild.end(fleet.codebuild.running[0]))
    assert fleet.starts == tags
    assert fleet.codebuild.most_running == 5
    assert {fleet.row(tag)["status"] for tag in tags} == {"READY"}
    assert {error for _, error, _ in aws.resumed} == {"Success"}
    assert len(aws.resumed) == 20
    assert fleet.turns.read() == Turns()


def test_who_asks_again_keeps_its_place_in_line(fleet: Fleet) -> None:
    tags = [f"image-{number:012x}" for number in range(7)]
    for tag in [*tags, *tags]:
        fleet.join(RUNNER, tag=tag)
        fleet.request(tag)
    assert fleet.turns.read().jobs == tuple(tags[5:])
    assert fleet.row(tags[5])["status"] == "QUEUED"


def test_how_many_wait_is_a_metric(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        fleet.request(f"image-{number:012x}")
    figures = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    waiting = [line["BuildsWaiting"] for line in figures if "BuildsWaiting" in line]
    assert waiting == [[0]] * 5 + [[1], [2]] or waiting == [0] * 5 + [1, 2]
    assert sum("ImageBuildStarted" in line for line in figures) == 5


def test_a_build_that_ends_before_it_is_noted_stays_ended(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    start = fleet.codebuild.start

    def end_at_once(params: dict[str, Any]) -> Any:
        answer = start(params)
        fleet(fleet.codebuild.end(TAG))
        return answer

    aws.codebuild.answers["StartBuild"] = end_at_once
    assert fleet.request() == "READY"
    assert "rebuild_id" not in fleet.row()
    assert fleet.turns.read() == Turns()
    assert fleet.told == [(f"token-{RUNNER}", "Success")]


# --- failures -------------------------------------------------------------------------------


def test_a_failed_image_is_not_tried_again_for_a_while(aws: Aws, fleet: Fleet) -> None:
    fleet.build(status="FAILED")
    row = fleet.row()
    assert (row["status"], row["retry_at"]) == ("FAILED", fleet.codebuild.now + RETRY_SECONDS)
    fleet.pass_time(RETRY_SECONDS - 1)
    fleet.join("fleet-2-1")
    assert fleet.request(runner="fleet-2-1") == "FAILED"
    assert fleet.starts == [TAG]
    assert [error for _, error, _ in aws.resumed] == ["Image.BuildFailed"] * 2
    assert aws.resumed[0][2] == aws.resumed[1][2], "everyone learns the same cause"
    fleet.pass_time(1)
    fleet.join("fleet-3-1")
    assert fleet.request(runner="fleet-3-1") == "BUILDING"
    assert not {"build_error", "retry_at"} & set(fleet.row())


@pytest.mark.parametrize("code", ["AccountLimitExceededException", "ThrottlingException"])
def test_a_build_without_room_is_tried_again_by_who_asked(
    aws: Aws, fleet: Fleet, code: str
) -> None:
    fleet.join(RUNNER)
    fleet.codebuild.busy = code
    with pytest.raises(BuildNotStarted, match=code):
        fleet.request()
    assert aws.resumed == []
    assert fleet.row()["status"] == "QUEUED"
    assert (fleet.turns.read().held, fleet.turns.read().jobs) == ((), (TAG,))
    fleet.codebuild.busy = ""
    assert fleet.request() == "BUILDING"
    fleet(fleet.codebuild.end(TAG))
    assert fleet.told == [(f"token-{RUNNER}", "Success")]


def test_a_build_without_room_is_started_by_the_end_of_any_other(fleet: Fleet) -> None:
    fleet.join(RUNNER, tag="other-0123456789ab")
    fleet.request("other-0123456789ab")
    fleet.join(RUNNER)
    fleet.codebuild.busy = "ThrottlingException"
    with pytest.raises(BuildNotStarted):
        fleet.request()
    fleet.codebuild.busy = ""
    fleet(fleet.codebuild.end("other-0123456789ab"))
    assert fleet.codebuild.running == [TAG]


def test_an_end_after_which_nothing_starts_is_told_again(fleet: Fleet) -> None:
    fleet.join(RUNNER, tag="other-0123456789ab")
    fleet.request("other-0123456789ab")
    fleet.join(RUNNER)
    fleet.codebuild.busy = "ThrottlingException"
    with pytest.raises(BuildNotStarted):
        fleet.request()
    event = fleet.codebuild.end("other-0123456789ab")
    with pytest.raises(BuildNotStarted):  # Lambda tries an event again
        fleet(event)
    assert fleet.row("other-0123456789ab")["status"] == "READY"
    fleet.codebuild.busy = ""
    fleet(event)
    assert fleet.codebuild.running == [TAG]


def test_a_start_that_nobody_answered_is_repeated_as_the_same_build(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)

    def start_and_fail(params: dict[str, Any]) -> Any:
        fleet.codebuild.start(params)
        raise fleet_aws_error()

    aws.codebuild.answers["StartBuild"] = start_and_fail
    with pytest.raises(BuildNotStarted):
        fleet.request()
    aws.codebuild.answers["StartBuild"] = fleet.codebuild.start
    fleet.pass_time(60)
    assert fleet.request() == "BUILDING"
    assert fleet.codebuild.running == [TAG]


def fleet_aws_error() -> Exception:
    from botocore.exceptions import ReadTimeoutError  # noqa: PLC0415

    return ReadTimeoutError(endpoint_url="https://codebuild.us-east-1.amazonaws.com")


def test_a_build_that_codebuild_refuses_fails_for_all_who_wait(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER, "fleet-2-1")
    fleet.codebuild.busy = "InvalidInputException"
    assert fleet.request() == "FAILED"
    assert [error for _, error, _ in aws.resumed] == ["Image.BuildFailed"] * 2
    assert "InvalidInputException" in aws.resumed[0][2]
    assert fleet.turns.read() == Turns()


def test_other_trouble_of_aws_is_tried_again_too(aws: Aws, fleet: Fleet) -> None:
    fleet.build()
    fleet.join("fleet-2-1")

    def throttle(**_: object) -> None:
        raise fleet_aws_error()

    client("ecr").meta.events.register("before-call.ecr", throttle)
    try:
        with pytest.raises(BuildNotStarted, match=TAG):
            fleet.request(runner="fleet-2-1", gone=True)
    finally:
        client("ecr").meta.events.unregister("before-call.ecr", throttle)


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


@pytest.mark.parametrize("comes_next", ["request", "ended", "schedule", "itself"])
def test_a_build_that_cannot_be_looked_after_holds_up_no_other(
    fleet: Fleet, unregistered: list[str], comes_next: str
) -> None:
    tags = [f"image-{number:012x}" for number in range(7)]
    for tag in tags:
        fleet.join(f"fleet-{tag}", tag=tag)
        fleet.request(tag, f"fleet-{tag}")
    unregistered.append(tags[0])
    for tag in tags[:2]:
        fleet.codebuild.end(tag)  # nobody hears of it
    fleet.pass_time(TIMEOUT)
    match comes_next:
        case "request":
            fleet.join(RUNNER)
            fleet.request()
        case "ended":
            fleet(fleet.codebuild.end(tags[4]))
        case "schedule":
            fleet(SCHEDULED)
        case "itself":
            with pytest.raises(BuildNotStarted, match="PassRole"):
                fleet.request(tags[0])
    assert fleet.codebuild.running[-1] in tags[5:]
    assert fleet.row(tags[1])["status"] == "READY"
    unregistered.clear()
    fleet(SCHEDULED)
    assert fleet.row(tags[0])["status"] == "READY"
    assert (f"token-fleet-{tags[0]}", "Success") in fleet.told


def test_an_end_that_cannot_be_handled_holds_up_no_other(
    fleet: Fleet, unregistered: list[str]
) -> None:
    fleet.codebuild.busy = "ThrottlingException"
    fleet.join(RUNNER)
    with pytest.raises(BuildNotStarted):
        fleet.request()
    fleet.codebuild.busy = ""
    fleet.turns.change(lambda turns: replace(turns, jobs=()))
    fleet.join("fleet-2-1", tag="other-0123456789ab")
    fleet.request("other-0123456789ab", "fleet-2-1")
    fleet.turns.change(lambda turns: turns.ask(TAG, is_rebuild=False))
    unregistered.append("other")
    event = fleet.codebuild.end("other-0123456789ab")
    with pytest.raises(ClientError, match="PassRole"):  # Lambda tries an event again
        fleet(event)
    assert fleet.codebuild.running == [TAG]
    unregistered.clear()
    fleet(event)
    assert fleet.row("other-0123456789ab")["status"] == "READY"


def test_what_cannot_be_looked_after_is_an_error_if_nothing_else_will_come(
    fleet: Fleet, unregistered: list[str]
) -> None:
    fleet.join(RUNNER)
    fleet.request()
    fleet.codebuild.end(TAG)
    fleet.pass_time(TIMEOUT)
    unregistered.append(TAG)
    with pytest.raises(BuildNotStarted, match=f"{TAG}.*PassRole"):
        fleet(SCHEDULED)
    fleet.request("other-0123456789ab")
    fleet(SCHEDULED)


def test_a_build_of_a_project_that_was_deployed_away_is_built_by_another(
    aws: Aws, fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    fleet.join(RUNNER)
    fleet.request()
    projects = {"X86_64": "new-images", "ARM64": "new-images-arm64"}
    environment.setenv("IMAGE_BUILD_PROJECTS", json.dumps(projects))
    build_image._builder.cache_clear()

    def only_its_own(params: dict[str, Any]) -> Any:
        if any(not name.startswith("new-") for name in params["ids"]):
            return "AccessDeniedException"
        return fleet.codebuild.batch_get(params)

    aws.codebuild.answers["BatchGetBuilds"] = only_its_own
    fleet.pass_time(TIMEOUT)
    fleet.join("fleet-2-1", tag="other-0123456789ab")
    fleet.request("other-0123456789ab", "fleet-2-1")
    assert [params["projectName"] for params in aws.codebuild.named("StartBuild")] == [
        "fleet-images", "new-images", "new-images",
    ]  # fmt: skip
    assert fleet.row()["build_id"].endswith("build/new-images:3")
    fleet.codebuild.builds["fleet-images:1"]["buildStatus"] = "STOPPED"
    fleet(fleet.codebuild.end(TAG))
    assert (f"token-{RUNNER}", "Success") in fleet.told


# --- builders that die ----------------------------------------------------------------------


def test_a_lost_end_is_found_by_whoever_comes_next(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    fleet.codebuild.end(TAG)  # nobody hears of it
    fleet.pass_time(TIMEOUT)
    assert fleet.request() == "READY"
    assert fleet.starts == [TAG], "not a second build"
    assert fleet.told == [(f"token-{RUNNER}", "Success")]
    assert fleet.turns.read() == Turns()


def test_a_lost_end_of_a_failure_is_found_too(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    fleet.codebuild.end(TAG, "FAILED")
    fleet.pass_time(TIMEOUT)
    assert fleet.request() == "FAILED"
    assert fleet.told == [(f"token-{RUNNER}", "Image.BuildFailed")]


@pytest.mark.parametrize("comes_next", ["request", "ended", "schedule", "deployment"])
def test_a_lost_end_holds_no_turn_for_ever(
    fleet: Fleet, comes_next: str, environment: pytest.MonkeyPatch
) -> None:
    tags = [f"image-{number:012x}" for number in range(7)]
    for tag in tags:
        fleet.join(f"fleet-{tag}", tag=tag)
        fleet.request(tag, f"fleet-{tag}")
    for tag in tags[:4]:
        fleet.codebuild.end(tag)  # nobody hears of it
    fleet.pass_time(TIMEOUT)
    match comes_next:
        case "request":
            fleet.join(RUNNER)
            fleet.request()
        case "ended":
            fleet(fleet.codebuild.end(tags[4]))
        case "schedule":
            fleet({"detail-type": "Scheduled Event", "id": "e", "detail": {}})
        case "deployment":
            fleet(DEPLOYED)
    assert {fleet.row(tag)["status"] for tag in tags[:4]} == {"READY"}
    assert {fleet.row(tag)["status"] for tag in tags[5:]} == {"BUILDING"}
    assert fleet.codebuild.most_running == 5


def test_a_build_that_takes_longer_is_waited_for(fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    fleet.pass_time(TIMEOUT)
    assert fleet.request() == "BUILDING"
    assert fleet.starts == [TAG]
    assert fleet.row()["lease_expires_at"] == fleet.codebuild.now + TIMEOUT
    assert fleet.turns.read().held[0].until == fleet.codebuild.now + TIMEOUT


def test_a_build_that_codebuild_does_not_know_is_built_again(fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    fleet.codebuild.forget(TAG)
    fleet.pass_time(TIMEOUT)
    assert fleet.request() == "BUILDING"
    assert fleet.starts == [TAG, TAG]


def test_a_dead_builders_lease_from_before_there_were_turns_is_taken_over(fleet: Fleet) -> None:
    fleet.aws.put_image(
        image_tag=TAG, waiters={RUNNER}, status="BUILDING", lease_expires_at=1, image_base=BASE
    )
    assert fleet.request() == "BUILDING"
    assert fleet.starts == [TAG]


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

    services: list[Any] = ["dynamodb", "codebuild", "ecr", "ecs", "stepfunctions"]
    clients = [fleet_aws.client(service) for service in services]
    for one in clients:
        one.meta.events.register("after-call", note)
    try:
        yield made
    finally:
        for one in clients:
            one.meta.events.unregister("after-call", note)


CALLS = range(1, 60)


@pytest.mark.parametrize("times", [1, 3], ids=["and is tried again", "and is given up"])
def test_whatever_call_a_request_dies_at_the_image_is_built_once(
    aws: Aws, fleet: Fleet, times: int
) -> None:
    for calls in CALLS:
        tag = f"image-{calls:012x}"
        fleet.join(RUNNER, tag=tag)
        reached = _die(fleet, calls, times, lambda: fleet.request(tag))  # noqa: B023
        if times == 1:
            assert fleet.request(tag) == "BUILDING"
        else:
            # its waiters hear nothing for as long as a build takes, and look again
            for _ in fleet.codebuild.running:
                fleet(fleet.codebuild.end(tag))
            fleet.pass_time(TIMEOUT)
            fleet.request(tag, "fleet-2-1")
        if fleet.row(tag)["status"] != "READY":
            assert fleet.codebuild.running == [tag]
            fleet(fleet.codebuild.end(tag))
        made = [fleet.codebuild.variables(one) for one in fleet.codebuild.builds.values()]
        assert [one["IMAGE_TAG"] for one in made].count(tag) == 1
        assert fleet.row(tag)["status"] == "READY"
        assert fleet.turns.read() == Turns()
        if not reached:
            break
    else:
        pytest.fail("there is no end to its calls")
    assert calls > 5


@pytest.fixture
def two_at_a_time(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MAX_BUILDS", "2")


@pytest.mark.usefixtures("two_at_a_time")
@pytest.mark.parametrize("times", [1, 3], ids=["and is tried again", "and is given up"])
@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED"])
def test_whatever_call_an_end_dies_at_all_are_told_and_the_next_is_built(
    aws: Aws, fleet: Fleet, times: int, status: str
) -> None:
    for calls in CALLS:
        tags = [f"image-{calls:06x}{number:06x}" for number in range(3)]
        for tag in tags:
            fleet.join(f"fleet-{tag}", tag=tag)
            fleet.request(tag, f"fleet-{tag}")
        event = fleet.codebuild.end(tags[0], status)
        reached = _die(fleet, calls, times, lambda: fleet(event))  # noqa: B023
        if times == 1:
            fleet(event)
            assert tags[2] in fleet.codebuild.running
        aws.sfn.calls.clear()
        for tag in fleet.codebuild.running:
            fleet(fleet.codebuild.end(tag))
        fleet.pass_time(TIMEOUT)
        fleet.request(tags[0], "fleet-late")
        fleet.request(tags[2], "fleet-late")
        for tag in fleet.codebuild.running:
            fleet(fleet.codebuild.end(tag))
        assert {fleet.row(tag)["status"] for tag in tags[1:]} == {"READY"}
        assert fleet.row(tags[0])["status"] in ("READY", status)
        assert not any("waiters" in fleet.row(tag) for tag in tags)
        assert fleet.turns.read() == Turns()
        assert fleet.codebuild.most_running == 2
        if not reached:
            break
    else:
        pytest.fail("there is no end to its calls")
    assert calls > 5


def _die(fleet: Fleet, calls: int, times: int, invoke: Any) -> bool:
    for _ in range(times):
        with killed_after(calls) as made:
            try:
                invoke()
            except Killed:
                fleet.pass_time(2)
        if made[0] < calls:
            return False
    return True


def test_a_start_that_died_is_taken_over_by_the_next_to_come(fleet: Fleet) -> None:
    fleet.join(RUNNER)

    def die(params: dict[str, Any]) -> Any:
        raise Killed

    fleet.aws.codebuild.answers["StartBuild"] = die
    with pytest.raises(Killed):
        fleet.request()
    fleet.aws.codebuild.answers["StartBuild"] = fleet.codebuild.start
    fleet.join("fleet-2-1", tag="other-0123456789ab")
    fleet.request("other-0123456789ab", "fleet-2-1")
    assert fleet.codebuild.running == ["other-0123456789ab"], "the first may be at it still"
    fleet.pass_time(START_SECONDS)
    fleet(fleet.codebuild.end("other-0123456789ab"))
    assert fleet.codebuild.running == [TAG]


# --- ends of builds -------------------------------------------------------------------------


def test_a_build_resumes_everyone_who_waited(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER, "fleet-2-1")
    fleet.request()
    fleet.pass_time(100)
    fleet(fleet.codebuild.end(TAG, content="ubuntu-22-04-c"))
    assert fleet.told == [("token-fleet-2-1", "Success"), (f"token-{RUNNER}", "Success")]
    image, row = fleet.row(), aws.row()
    assert row is not None
    assert (image["status"], image["image_digest"]) == ("READY", digest_of("ubuntu-22-04-c"))
    assert (image["content_tag"], image["base_digest"], image["runner_version"]) == (
        "ubuntu-22-04-c", "sha256:" + "b" * 64, "2.338.0",
    )  # fmt: skip
    assert image["built_at"] == fleet.codebuild.now
    assert image["task_definition_arn"].endswith(f"/{FAMILY}:1")
    assert not {"waiters", "lease_expires_at", "queued_at"} & set(image)
    assert row["image_ended_at"] > 0
    assert row["build_log_url"] == LOG
    assert "image_error" not in row


def test_the_family_is_the_base_with_another_image(fleet: Fleet) -> None:
    fleet.build(content="c")
    made = client("ecs").describe_task_definition(taskDefinition=FAMILY)["taskDefinition"]
    runner, sidecar = made["containerDefinitions"]
    assert runner["image"] == f"{REPOSITORY}@{digest_of('c')}"
    assert (runner["stopTimeout"], sidecar["image"]) == (120, "other")
    assert (made["cpu"], made["memory"], made["networkMode"]) == ("512", "1024", "awsvpc")
    assert made["executionRoleArn"] == "arn:aws:iam::123456789012:role/execution"
    assert made["runtimePlatform"]["cpuArchitecture"] == "X86_64"
    assert made["requiresCompatibilities"] == ["FARGATE"]


def test_a_builds_log_is_linked_from_its_start(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    link = (
        "https://us-east-1.console.aws.amazon.com/codesuite/codebuild/123456789012/projects/"
        "fleet-images/build/fleet-images%3A1/log?region=us-east-1"
    )
    assert fleet.row()["build_log_url"] == link
    row = aws.row()
    assert row is not None
    assert row["build_log_url"] == link


def test_who_joined_in_line_gets_the_link_when_the_build_starts(aws: Aws, fleet: Fleet) -> None:
    tags = [f"image-{number:012x}" for number in range(6)]
    for tag in tags:
        fleet.join(f"fleet-{tag}", tag=tag)
        fleet.request(tag, f"fleet-{tag}")
    fleet.join("fleet-2-1", "fleet-gone", tag=tags[5])
    aws.dynamodb.delete_item(TableName="runners", Key={"runner_id": {"S": "fleet-gone"}})
    fleet(fleet.codebuild.end(tags[0]))
    for runner in (f"fleet-{tags[5]}", "fleet-2-1"):
        row = aws.row(runner)
        assert row is not None
        assert row["build_log_url"].endswith("/build/fleet-images%3A6/log?region=us-east-1")
        assert row["waiting_for"] == "image"
    assert aws.row("fleet-gone") is None


def test_a_link_that_was_not_written_is_made_up_for(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    put = BuildTurns.change
    with pytest.MonkeyPatch.context() as patch:

        def die(turns: BuildTurns, transition: Any) -> None:
            if fleet.starts:
                raise Killed
            put(turns, transition)

        patch.setattr(BuildTurns, "change", die)
        with pytest.raises(Killed):
            fleet.request()
    aws.park("image", runner_id=RUNNER, task_token=f"token-{RUNNER}")
    fleet.pass_time(START_SECONDS)
    fleet(DEPLOYED)
    assert fleet.starts[0] == TAG
    assert fleet.starts.count(TAG) == 1
    row = aws.row()
    assert row is not None
    assert row["build_log_url"] == fleet.row()["build_log_url"]


def test_another_timeout_is_another_build(
    aws: Aws, fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    def unclear(_: dict[str, Any]) -> Any:
        raise fleet_aws_error()

    aws.codebuild.answers["StartBuild"] = unclear
    for seconds in ("1800", "1800", "3600"):
        environment.setenv("IMAGE_BUILD_TIMEOUT_SECONDS", seconds)
        build_image._builder.cache_clear()
        with pytest.raises(BuildNotStarted):
            fleet.request()
    tokens = [params["idempotencyToken"] for params in aws.codebuild.named("StartBuild")]
    assert tokens[0] == tokens[1] != tokens[2]


def test_the_same_end_twice_makes_one_revision(fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    event = fleet.codebuild.end(TAG)
    fleet.pass_time(1)
    fleet(event)
    before = fleet.row()
    fleet.pass_time(100)
    fleet(event)
    assert fleet.row() == before
    assert len(fleet.told) == 1
    listed = client("ecs").list_task_definitions(familyPrefix=FAMILY)["taskDefinitionArns"]
    assert len(listed) == 1


def test_a_waiter_that_has_not_parked_yet_finds_the_end_on_its_row(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    aws.put_row(status="STARTING", image_error="of an earlier build")
    fleet(fleet.codebuild.end(TAG))
    row = aws.row()
    assert row is not None
    assert row["image_ended_at"] > 0
    assert "image_error" not in row
    assert aws.resumed == []


def test_a_waiter_that_is_gone_does_not_hold_the_others_up(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER, "fleet-0-1")
    aws.dynamodb.delete_item(TableName="runners", Key={"runner_id": {"S": "fleet-0-1"}})
    fleet.request()
    fleet(fleet.codebuild.end(TAG))
    assert len(aws.resumed) == 1
    assert aws.row("fleet-0-1") is None


@pytest.mark.parametrize("status", ["FAILED", "STOPPED", "FAULT", "TIMED_OUT"])
def test_a_failed_build_tells_everyone_why(aws: Aws, fleet: Fleet, status: str) -> None:
    fleet.join(RUNNER, "fleet-2-1")
    fleet.request()
    fleet(fleet.codebuild.end(TAG, status))
    assert [error for _, error, _ in aws.resumed] == ["Image.BuildFailed"] * 2
    cause = aws.resumed[0][2]
    assert f"{status} in BUILD: COMMAND_EXECUTION_ERROR: exit status 1" in cause
    assert LOG in cause
    image, row = fleet.row(), aws.row()
    assert row is not None
    assert (image["status"], image["build_log_url"]) == ("FAILED", LOG)
    assert image["build_error"].startswith(status)
    assert row["image_error"] == cause
    assert "waiters" not in image


def test_a_build_that_pushed_nothing_has_failed(aws: Aws, fleet: Fleet) -> None:
    fleet.build(is_pushed=False)
    assert "the build succeeded but pushed no image" in aws.resumed[0][2]


def test_an_end_that_codebuild_does_not_list_yet_is_told_again(fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    early = event_of({**fleet.codebuild.builds["fleet-images:1"], "buildStatus": "SUCCEEDED"})
    with pytest.raises(BuildNotStarted, match="does not know yet"):
        fleet(early)
    assert fleet.row()["status"] == "BUILDING"


def test_an_earlier_builds_failure_does_not_end_a_later_build(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    event = fleet.codebuild.end(TAG, "FAILED")
    fleet(event)
    fleet.pass_time(RETRY_SECONDS)
    fleet.join("fleet-2-1")
    fleet.request(runner="fleet-2-1")
    fleet(event)
    assert fleet.row()["status"] == "BUILDING"
    assert len(fleet.turns.read().held) == 1
    assert len(aws.resumed) == 1


def test_builds_of_others_are_nothing(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    event = fleet.codebuild.end(TAG, "FAILED")
    event["detail"]["build-status"] = "IN_PROGRESS"
    fleet(event)
    event["detail"]["build-status"] = "FAILED"
    event["detail"]["additional-information"]["environment"]["environment-variables"] = []
    fleet(event)
    assert aws.resumed == []


# --- images that are there ------------------------------------------------------------------


def test_a_ready_image_gets_a_family_of_the_new_task_definition(fleet: Fleet) -> None:
    fleet.build(content="c")
    family = f"fleet-runner-new-{TAG}"
    fleet.join("fleet-2-1")
    assert fleet.request(runner="fleet-2-1", task_definition=family) == "READY"
    assert fleet.starts == [TAG]
    assert fleet.launched(family) == f"{REPOSITORY}@{digest_of('c')}"
    assert fleet.row()["task_definition"] == family
    assert ("token-fleet-2-1", "Success") in fleet.told
    assert fleet.launched(FAMILY), "what was started before still launches it"


def test_one_makes_the_new_family_for_all(fleet: Fleet) -> None:
    fleet.build()
    family = f"fleet-runner-new-{TAG}"
    fleet.join("fleet-2-1", "fleet-3-1")

    def meanwhile(model: Any, **_: object) -> None:
        if model.name == "RegisterTaskDefinition":
            assert fleet.request(runner="fleet-3-1", task_definition=family) == "BUILDING"

    client("ecs").meta.events.register("before-call.ecs", meanwhile)
    try:
        fleet.request(runner="fleet-2-1", task_definition=family)
    finally:
        client("ecs").meta.events.unregister("before-call.ecs", meanwhile)
    assert {token for token, _ in fleet.told} >= {"token-fleet-2-1", "token-fleet-3-1"}
    listed = client("ecs").list_task_definitions(familyPrefix=family)["taskDefinitionArns"]
    assert len(listed) == 1


def test_an_image_that_is_gone_from_the_registry_is_built_again(aws: Aws, fleet: Fleet) -> None:
    fleet.build(content="c")
    client("ecr").batch_delete_image(repositoryName="fleet-runner", imageIds=[{"imageTag": "c"}])
    fleet.join("fleet-2-1")
    fleet.pass_time(10)
    assert fleet.request(runner="fleet-2-1", gone=True) == "BUILDING"
    fleet(fleet.codebuild.end(TAG, content="d"))
    assert fleet.row()["status"] == "READY"
    assert fleet.launched() == f"{REPOSITORY}@{digest_of('d')}"


def test_an_image_that_is_said_to_be_gone_but_is_there_is_launched_again(fleet: Fleet) -> None:
    fleet.build()
    fleet.join("fleet-2-1")
    assert fleet.request(runner="fleet-2-1", gone=True) == "READY"
    assert fleet.starts == [TAG]
    assert ("token-fleet-2-1", "Success") in fleet.told


# --- releases of the runner -----------------------------------------------------------------


def test_images_are_built_with_the_newer_release(aws: Aws, fleet: Fleet) -> None:
    sums = json.dumps({"x64": "a" * 64, "arm64": "b" * 64})
    knows(aws, version="2.339.0", sha256=sums, versions="{}")
    fleet.build()
    variables = fleet.codebuild.variables(fleet.codebuild.builds["fleet-images:1"])
    assert (variables["RUNNER_VERSION"], variables["RUNNER_SHA256"]) == ("2.339.0", "a" * 64)
    assert fleet.row()["runner_version"] == "2.339.0"


def test_a_dead_release_is_not_built(aws: Aws, fleet: Fleet) -> None:
    sums = json.dumps({"x64": "a" * 64, "arm64": "b" * 64})
    versions = json.dumps({"2.338.0": "2026-11-01T00:00:00Z"})
    knows(aws, version="2.337.0", sha256=sums, versions=versions)
    fleet.join(RUNNER)
    assert fleet.request() == "FAILED"
    assert fleet.starts == []
    assert "GitHub has retired version 2.338.0 of the runner (2026-11-01" in aws.resumed[0][2]
    assert "let watch_release ask GitHub" in aws.resumed[0][2]


def retired(version: str = "2.338.0", found_in: str = "") -> dict[str, Any]:
    """The event, by default without the image whose runner has found out."""
    return {
        "id": "retired",
        "source": "cdk-runner-fleet",
        "detail-type": "runner_version_retired",
        "detail": {"runner_version": version, "deprecated_at": None, "image_tag": found_in},
    }


def learn_newer(fleet: Fleet) -> None:
    """What watch_release writes when GitHub offers a newer release."""
    sums = json.dumps({"x64": "a" * 64, "arm64": "b" * 64})
    fleet.aws.dynamodb.update_item(
        TableName="ledger",
        Key={"entry": {"S": "runner-release"}},
        UpdateExpression="SET version = :v, sha256 = :s, versions = :d",
        ExpressionAttributeValues={
            ":v": {"S": "2.339.0"}, ":s": {"S": sums}, ":d": {"S": '{"2.339.0": null}'},
        },
    )  # fmt: skip


def with_other_version(fleet: Fleet, tag: str) -> None:
    fleet.aws.dynamodb.update_item(
        TableName="images",
        Key={"image_tag": {"S": tag}},
        UpdateExpression="SET runner_version = :v",
        ExpressionAttributeValues={":v": {"S": "2.337.0"}},
    )


def test_images_with_a_retired_runner_are_not_launched_any_more(fleet: Fleet) -> None:
    fleet.build()
    fleet.build("old-0123456789ab")
    with_other_version(fleet, "old-0123456789ab")
    fleet(retired("2.337.0"))
    assert fleet.row("old-0123456789ab")["status"] == "RETIRED"
    assert fleet.launched("fleet-runner-abc-old-0123456789ab") == ""
    assert (fleet.row()["status"], bool(fleet.launched())) == ("READY", True)
    assert [tag.startswith("default-") for tag in fleet.codebuild.running] == [True, True]
    fleet.join("fleet-2-1", tag="old-0123456789ab")
    fleet.pass_time(10)
    assert fleet.request("old-0123456789ab", "fleet-2-1") == "BUILDING"
    fleet(fleet.codebuild.end("old-0123456789ab"))
    assert fleet.launched("fleet-runner-abc-old-0123456789ab")


def test_the_default_image_is_not_rebuilt_with_the_runner_that_was_retired(fleet: Fleet) -> None:
    fleet.build()
    fleet(retired())
    assert fleet.row()["status"] == "RETIRED"
    assert fleet.starts == [TAG]


def test_the_default_image_is_not_rebuilt_until_there_is_another_release(
    aws: Aws, fleet: Fleet
) -> None:
    fleet(DEPLOYED)
    tags = list(fleet.starts)
    for tag in tags:
        fleet(fleet.codebuild.end(tag))
    fleet(retired())
    assert {fleet.row(tag)["status"] for tag in tags} == {"RETIRED"}
    fleet.join(RUNNER, "fleet-2-1", tag=tags[0])
    for runner in (RUNNER, "fleet-2-1"):
        assert fleet.request(tags[0], runner) == "FAILED"
    assert fleet.starts == tags, "no build that no job could start with"
    assert {error for _, error, _ in aws.resumed} == {"Image.BuildFailed"}
    cause = aws.resumed[0][2]
    assert "GitHub has retired version 2.338.0 of the runner (2027-01-15T08:00:00+00:00)" in cause
    assert "let watch_release ask GitHub" in cause
    # what watch_release writes and says then
    learn_newer(fleet)
    fleet(retired())
    assert fleet.starts == [*tags, *tags]
    for tag in tags:
        fleet(fleet.codebuild.end(tag))
        assert (fleet.row(tag)["status"], fleet.row(tag)["runner_version"]) == ("READY", "2.339.0")


def test_what_a_base_of_a_jobs_choice_says_counts_for_its_own_image_alone(fleet: Fleet) -> None:
    evil = "evil-0123456789ab"
    fleet(DEPLOYED)
    for tag in list(fleet.starts):
        fleet(fleet.codebuild.end(tag))
    fleet.build()
    fleet.build(evil)
    default, *_ = fleet.starts
    fleet(retired(found_in=evil))
    assert fleet.row(evil)["status"] == "RETIRED"
    assert fleet.launched(f"fleet-runner-abc-{evil}") == ""
    assert (fleet.row()["status"], fleet.row(default)["status"]) == ("READY", "READY")
    fleet.join("fleet-2-1", tag="other-0123456789ab")
    assert fleet.request("other-0123456789ab", "fleet-2-1") == "BUILDING"
    # and the deployer's own image speaks for all
    fleet(retired(found_in=default))
    assert (fleet.row()["status"], fleet.row(default)["status"]) == ("RETIRED", "RETIRED")


def test_an_image_that_is_retired_in_line_for_a_rebuild_is_out_of_line(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = [f"r{number}-0123456789ab" for number in range(8)]
    for tag in tags:
        fleet.build(tag)
    fleet.pass_time(7 * DAY)
    builder = build_image._builder()
    for tag in tags:
        builder.rebuild(builder.images.find(tag))
    builder.advance("daily")
    assert builder.turns.read().rebuilds, "some wait"
    fleet(retired())
    taken, take = [], BuildTurns.take

    def count(turns: BuildTurns, owner: str) -> Any:
        taken.append(owner)
        assert len(taken) < 20, "round and round"
        return take(turns, owner)

    monkeypatch.setattr(BuildTurns, "take", count)
    fleet(fleet.codebuild.end(fleet.codebuild.running[0]))
    assert builder.turns.read().rebuilds == ()
    assert {fleet.row(tag)["status"] for tag in tags} == {"RETIRED"}


def test_a_build_with_a_runner_that_died_meanwhile_is_made_again_with_the_newer_one(
    aws: Aws, fleet: Fleet
) -> None:
    fleet.join(RUNNER)
    fleet.request()
    learn_newer(fleet)
    fleet(retired())
    fleet(fleet.codebuild.end(TAG))
    assert fleet.row()["status"] == "BUILDING"
    assert aws.resumed == [], "nobody is told before it is known"
    fleet(fleet.codebuild.end(TAG))
    assert (fleet.row()["status"], fleet.row()["runner_version"]) == ("READY", "2.339.0")
    assert [(token, error) for token, error, _ in aws.resumed] == [(f"token-{RUNNER}", "Success")]


def test_a_rebuild_with_a_runner_that_died_meanwhile_is_made_again(fleet: Fleet) -> None:
    fleet.build()
    fleet.pass_time(7 * DAY)
    builder = build_image._builder()
    builder.images.used(TAG, at=builder.images.now, runner_version="")
    with_other_version(fleet, TAG)
    builder.rebuild(builder.images.find(TAG))
    builder.advance("daily")
    assert fleet.codebuild.running == [TAG]
    learn_newer(fleet)
    fleet(retired())
    fleet(fleet.codebuild.end(TAG))
    assert TAG in fleet.codebuild.running
    fleet(fleet.codebuild.end(TAG))
    assert fleet.row()["runner_version"] == "2.339.0"


def test_a_retired_image_is_launched_by_no_family(fleet: Fleet) -> None:
    fleet.build()
    former = f"fleet-runner-old-{TAG}"
    fleet.join("fleet-2-1")
    fleet.request(runner="fleet-2-1", task_definition=former)
    assert fleet.launched(former)
    fleet(retired())
    assert (fleet.launched(former), fleet.launched()) == ("", "")


def test_a_runners_word_counts_for_a_day(fleet: Fleet) -> None:
    fleet.build()
    fleet(retired())
    fleet.pass_time(DAY - 1)
    fleet.join("fleet-2-1")
    assert fleet.request(runner="fleet-2-1") == "FAILED"
    fleet.pass_time(1)
    assert fleet.request(runner="fleet-2-1") == "BUILDING"


def test_a_build_with_a_runner_that_is_found_dead_meanwhile_is_not_promoted(fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    fleet(retired())
    fleet(fleet.codebuild.end(TAG))
    assert fleet.row()["status"] == "FAILED"
    assert fleet.launched() == ""


def test_what_is_no_version_is_not_noted(fleet: Fleet) -> None:
    fleet(retired("the runner's own words"))
    assert fleet.aws._item("ledger", {"entry": {"S": "runner-release"}}) is None


def leave_a_revision(image: str) -> str:
    """Register a revision and die."""
    made = client("ecs").register_task_definition(
        family=FAMILY, containerDefinitions=[{"name": "runner", "image": image, "memory": 512}]
    )
    arn: str = made["taskDefinition"]["taskDefinitionArn"]
    return arn


def test_a_retired_image_leaves_no_revision_that_could_be_launched(fleet: Fleet) -> None:
    leave_a_revision(f"{REPOSITORY}@sha256:{'0' * 64}")
    fleet.build()
    leave_a_revision(fleet.launched())
    fleet(retired())
    assert fleet.launched() == ""


def test_an_image_that_is_ready_is_the_only_one_its_family_launches(fleet: Fleet) -> None:
    old = f"{REPOSITORY}@sha256:{'0' * 64}"
    leave_a_revision(old)
    fleet.join(RUNNER)
    fleet.request()
    event = fleet.codebuild.end(TAG, content="c")
    fleet.pass_time(1)
    fleet(event)
    listed = client("ecs").list_task_definitions(familyPrefix=FAMILY)["taskDefinitionArns"]
    assert listed == [fleet.row()["task_definition_arn"]]
    leave_a_revision(old)
    fleet(event)  # told again
    assert fleet.launched() == f"{REPOSITORY}@{digest_of('c')}"


# --- rebuilds and cleaning up ---------------------------------------------------------------


SCHEDULED = {"id": "e", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}


def current_tag(fleet: Fleet, architecture: str = "X86_64") -> str:
    """The name of an image as it is made today."""
    from fleet_runtime.job.image_reference import image_tag  # noqa: PLC0415

    return image_tag(BASE, recipe="0123abcd", architecture=architecture)


def rebuild(fleet: Fleet, tag: str, days: float = 7) -> None:
    fleet.pass_time(days * DAY)
    fleet(SCHEDULED)
    assert fleet.codebuild.running == [tag]
    fleet.pass_time(60)


def test_an_image_in_use_is_rebuilt_weekly_and_stays_ready(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    family = f"fleet-runner-abc-{tag}"
    fleet.build(tag, content="first")
    fleet.pass_time(6 * DAY)
    fleet(SCHEDULED)
    assert fleet.codebuild.running == []
    rebuild(fleet, tag, days=1)
    row = fleet.row(tag)
    assert (row["status"], row["content_tag"]) == ("READY", "first")
    assert row["rebuild_id"].endswith(":2")
    assert fleet.launched(family) == f"{REPOSITORY}@{digest_of('first')}"
    fleet(fleet.codebuild.end(tag, content="second"))
    row = fleet.row(tag)
    assert (row["content_tag"], row["image_digest"]) == ("second", digest_of("second"))
    assert "rebuild_id" not in row
    assert fleet.launched(family) == f"{REPOSITORY}@{digest_of('second')}"
    listed = client("ecs").list_task_definitions(familyPrefix=family)["taskDefinitionArns"]
    assert [arn.rpartition(":")[2] for arn in listed] == ["2"], "the former one is deregistered"


def test_a_failed_rebuild_keeps_the_old_image(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    fleet.build(tag, content="first")
    rebuild(fleet, tag)
    fleet(fleet.codebuild.end(tag, "FAILED"))
    row = fleet.row(tag)
    assert (row["status"], row["content_tag"]) == ("READY", "first")
    assert row["rebuild_error"].startswith("FAILED in BUILD")
    assert "rebuild_id" not in row
    assert fleet.launched(f"fleet-runner-abc-{tag}").endswith(digest_of("first") or "?")
    assert fleet.turns.read() == Turns()
    fleet.join("fleet-2-1", tag=tag)
    assert fleet.request(tag, "fleet-2-1") == "READY"
    rebuild(fleet, tag, days=1)


def test_jobs_builds_go_before_rebuilds(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    fleet.build(tag)
    others = [f"image-{number:012x}" for number in range(6)]
    for other in others[:5]:
        fleet.request(other)
    fleet.pass_time(7 * DAY)
    fleet.aws.dynamodb.update_item(
        TableName="ledger",
        Key={"entry": {"S": "builds"}},
        UpdateExpression="SET turns = :t",
        ExpressionAttributeValues={":t": {"S": _held_longer(fleet)}},
    )
    fleet(SCHEDULED)
    assert fleet.turns.read().rebuilds == (tag,)
    fleet.request(others[5])
    fleet(fleet.codebuild.end(others[0]))
    assert fleet.codebuild.running[-1] == others[5]
    fleet(fleet.codebuild.end(others[1]))
    assert fleet.codebuild.running[-1] == tag


def _held_longer(fleet: Fleet) -> str:
    turns = fleet.turns.read()
    until = int(fleet.codebuild.now) + TIMEOUT
    held = tuple(replace(turn, until=until) for turn in turns.held)
    return replace(turns, held=held).dump()


def test_what_is_not_used_or_of_an_earlier_recipe_is_not_rebuilt(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    fleet.build(tag)
    fleet.build("other-0123456789ab")  # not what this recipe makes of its base
    fleet.pass_time(31 * DAY)
    fleet(SCHEDULED)
    assert fleet.codebuild.running == []
    for each in (tag, "other-0123456789ab"):
        now = int(fleet.codebuild.now)
        build_image._builder().images.used(each, at=now, runner_version="2.338.0")
    fleet(SCHEDULED)
    assert fleet.codebuild.running == [tag]


def test_a_superseded_image_is_deleted_a_week_later(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    fleet.build(tag, content="first")
    rebuild(fleet, tag)
    fleet(fleet.codebuild.end(tag, content="second"))
    fleet.pass_time(6 * DAY)
    fleet(SCHEDULED)
    assert digest_of("first")
    fleet.pass_time(1.1 * DAY)
    fleet(SCHEDULED)
    assert digest_of("first") is None
    assert digest_of("second") == fleet.row(tag)["image_digest"]
    assert client("dynamodb").get_item(TableName="images", Key={"image_tag": {"S": tag}})["Item"][
        "superseded"
    ] == {"M": {}}


def test_a_rebuild_that_makes_the_same_supersedes_nothing(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    fleet.build(tag, content="first")
    rebuild(fleet, tag)
    fleet(fleet.codebuild.end(tag, content="first"))
    fleet.pass_time(8 * DAY)
    fleet(SCHEDULED)
    assert digest_of("first") == fleet.row(tag)["image_digest"]
    assert fleet.launched(f"fleet-runner-abc-{tag}")


def test_an_image_that_nobody_has_used_for_two_months_is_deleted(fleet: Fleet) -> None:
    fleet.build(content="c")
    fleet.pass_time(59 * DAY)
    fleet(SCHEDULED)
    assert digest_of("c")
    fleet.pass_time(DAY)
    fleet(SCHEDULED)
    assert digest_of("c") is None
    assert fleet.aws.image(TAG) is None
    assert fleet.launched() == ""
    fleet.join(RUNNER)
    assert fleet.request() == "BUILDING"


def test_an_image_that_another_one_is_too_is_not_deleted(fleet: Fleet) -> None:
    fleet.build(content="same")
    fleet.build("other-0123456789ab", content="same")
    fleet.pass_time(60 * DAY)
    build_image._builder().images.used(
        "other-0123456789ab", at=int(fleet.codebuild.now), runner_version=""
    )
    fleet(SCHEDULED)
    assert fleet.aws.image(TAG) is None
    assert digest_of("same") == fleet.row("other-0123456789ab")["image_digest"]


def test_an_image_that_is_wanted_again_is_not_deleted(fleet: Fleet) -> None:
    fleet.build()
    stale = build_image._builder().images.find(TAG)
    fleet.pass_time(60 * DAY)
    build_image._builder().images.used(TAG, at=int(fleet.codebuild.now), runner_version="")
    assert not build_image._builder().images.leave(stale)
    assert fleet.row()["status"] == "READY"


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


def test_a_job_that_comes_back_while_its_image_is_deleted_is_served(fleet: Fleet) -> None:
    fleet.build(content="c")
    fleet.pass_time(60 * DAY)
    with meanwhile("dynamodb", "DeleteItem", lambda: fleet.join("fleet-2-1")):
        fleet(SCHEDULED)
    assert fleet.row()["waiters"] == {"fleet-2-1"}
    assert fleet.request(runner="fleet-2-1") == "BUILDING"
    fleet(fleet.codebuild.end(TAG))
    assert ("token-fleet-2-1", "Success") in fleet.told


def test_a_waiter_that_has_long_gone_keeps_no_row(fleet: Fleet) -> None:
    fleet.build(content="c")
    fleet.join("fleet-2-1")  # and launched it, as it was READY
    fleet.pass_time(61 * DAY)
    fleet(SCHEDULED)
    assert fleet.aws.image(TAG) is None


def test_who_asks_for_an_image_without_a_row_waits_for_it(fleet: Fleet) -> None:
    fleet.aws.park("image", runner_id=RUNNER, task_token=f"token-{RUNNER}")
    assert fleet.request() == "BUILDING"
    assert fleet.row()["waiters"] == {RUNNER}
    fleet(fleet.codebuild.end(TAG))
    assert fleet.told == [(f"token-{RUNNER}", "Success")]


def test_nobody_waits_for_what_a_deployment_builds(fleet: Fleet) -> None:
    fleet(DEPLOYED)
    assert not any("waiters" in fleet.row(tag) for tag in fleet.starts)


def test_an_image_that_a_job_wants_again_is_not_deleted_from_the_registry(fleet: Fleet) -> None:
    fleet.build(content="c")
    fleet.pass_time(60 * DAY)

    def come_back() -> None:
        fleet.join("fleet-2-1")
        assert fleet.request(runner="fleet-2-1") == "BUILDING"
        # the build finds that the very same is there already
        fleet(fleet.codebuild.end(TAG, content="c"))

    with meanwhile("ecs", "DeregisterTaskDefinition", come_back):
        fleet(SCHEDULED)
    assert fleet.row()["status"] == "READY"
    assert digest_of("c") == fleet.row()["image_digest"]


def test_a_superseded_image_that_was_built_again_is_not_deleted(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    fleet.build(tag, content="first")
    rebuild(fleet, tag)
    fleet(fleet.codebuild.end(tag, content="second"))
    stale = build_image._builder().images.find(tag)
    rebuild(fleet, tag)
    fleet(fleet.codebuild.end(tag, content="first"))
    assert fleet.row(tag)["content_tag"] == "first"
    fleet.pass_time(8 * DAY)
    upkeep = build_image.Upkeep(builder=build_image._builder())
    now = int(fleet.codebuild.now)
    upkeep._delete_superseded(stale, [], before=now)
    assert digest_of("first") == fleet.row(tag)["image_digest"]


def test_whatever_call_the_upkeep_dies_at_it_is_made_up_for(fleet: Fleet) -> None:
    for calls in CALLS:
        tag = f"image-{calls:012x}"
        fleet.build(tag, content=tag)
        fleet.pass_time(60 * DAY)
        reached = _die(fleet, calls, 1, lambda: fleet(SCHEDULED))
        fleet(SCHEDULED)
        assert fleet.aws.image(tag) is None
        assert digest_of(tag) is None
        assert fleet.launched(f"fleet-runner-abc-{tag}") == ""
        if not reached:
            return
    pytest.fail("there is no end to its calls")


def test_use_is_noted_also_of_an_image_that_the_fleet_does_not_build(fleet: Fleet) -> None:
    images = build_image._builder().images
    images.used("ready-image", at=5, runner_version="2.336.0")
    images.used("ready-image", at=6, runner_version="2.337.0")
    row = fleet.row("ready-image")
    assert (row["used_at"], row["runner_version"]) == (6, "2.337.0")
    assert "status" not in row
    images.used("ready-image", at=7, runner_version="")
    assert fleet.row("ready-image")["runner_version"] == "2.337.0"


def test_a_runner_of_the_build_before_does_not_change_what_is_known_of_this_one(
    fleet: Fleet,
) -> None:
    fleet.build()
    build_image._builder().images.used(TAG, at=5, runner_version="2.330.0")
    row = fleet.row()
    assert (row["used_at"], row["runner_version"]) == (5, "2.338.0")


# --- deployments ----------------------------------------------------------------------------


DEPLOYED = {
    "id": "d",
    "source": "aws.cloudformation",
    "detail-type": "CloudFormation Stack Status Change",
    "detail": {"stack-id": "arn", "status-details": {"status": "CREATE_COMPLETE"}},
}


def test_a_deployment_builds_the_default_image_before_the_first_job(aws: Aws, fleet: Fleet) -> None:
    fleet(DEPLOYED)
    projects = [params["projectName"] for params in aws.codebuild.named("StartBuild")]
    assert projects == ["fleet-images", "fleet-images-arm64"]
    assert len(set(fleet.starts)) == 2
    for tag in fleet.starts:
        assert tag.startswith("default-")
        assert fleet.row(tag)["task_definition"] == f"fleet-runner-abc-{tag}"
        assert fleet.row(tag)["image_base"] == "public.ecr.aws/ubuntu/ubuntu:24.04"
    fleet(DEPLOYED)
    assert len(fleet.starts) == 2, "their builds are under way"


def test_a_fleet_with_a_ready_image_builds_none(
    fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("BUILD_DEFAULT_IMAGE", "off")
    fleet(DEPLOYED)
    assert fleet.starts == []


def test_the_default_image_is_kept_however_long_it_is_not_used(fleet: Fleet) -> None:
    fleet(DEPLOYED)
    tags = list(fleet.starts)
    for tag in tags:
        fleet(fleet.codebuild.end(tag))
    fleet.pass_time(70 * DAY)
    fleet(SCHEDULED)
    assert {fleet.row(tag)["status"] for tag in tags} == {"READY"}


def test_the_default_image_is_what_jobs_ask_for(aws: Aws, fleet: Fleet, context: Any) -> None:
    fleet(DEPLOYED)
    dispatch_event.handler(bus_event(sample("queued")), context)
    (started,) = aws.sfn.named("StartExecution")
    document = json.loads(started["input"])
    assert fleet.row(document["image_tag"])["task_definition"] == document["task_definition"]


def test_an_event_of_another_kind_is_nothing(fleet: Fleet) -> None:
    fleet({"id": "x", "detail-type": "something else", "detail": {}})
    assert push("x")
    assert fleet.starts == []
