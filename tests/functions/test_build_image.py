"""Images over the real handler: the lease, the end of builds, and everyone who waited."""

from __future__ import annotations

import json
from typing import Any

import pytest

import build_image
import dispatch_event
from fleet_runtime import builds
from fleet_runtime.aws import client

from .conftest import RUNNER, Aws, bus_event, sample

TAG = "ubuntu-22-04-0123456789ab"
FAMILY = f"fleet-runner-abc-{TAG}"
BASE = "public.ecr.aws/docker/library/ubuntu:22.04"
BUILD = "arn:aws:codebuild:us-east-1:123456789012:build/fleet-images:1"
LOG = "https://console.aws.amazon.com/cloudwatch/home#logEvent:group=builds"
REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/fleet-runner"


@pytest.fixture
def build(aws: Aws, context: Any) -> Any:
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
    aws.codebuild.answers["StartBuild"] = {
        "build": {"id": "fleet-images:1", "arn": BUILD, "logs": {"deepLink": LOG}}
    }
    return lambda event: build_image.handler(event, context)


def request(**changes: str) -> dict[str, Any]:
    event = {"image_tag": TAG, "image_base": BASE, "runner_id": RUNNER, "task_definition": FAMILY}
    return event | changes


def ended(status: str = "SUCCEEDED", *, build_id: str = BUILD, **more: Any) -> dict[str, Any]:
    """A CodeBuild Build State Change event, as far as it matters."""
    variables = [
        {"name": "BASE_IMAGE", "type": "PLAINTEXT", "value": BASE},
        {"name": "IMAGE_TAG", "type": "PLAINTEXT", "value": TAG},
    ]
    return {
        "source": "aws.codebuild",
        "detail-type": "CodeBuild Build State Change",
        "detail": {
            "build-status": status,
            "project-name": "fleet-images",
            "build-id": build_id,
            "additional-information": {
                "environment": {"environment-variables": variables},
                "logs": {"deep-link": LOG},
                "phases": [
                    {"phase-type": "SUBMITTED", "phase-status": "SUCCEEDED"},
                    {
                        "phase-type": "BUILD",
                        "phase-status": "FAILED",
                        "phase-context": [": ", "COMMAND_EXECUTION_ERROR: exit status 1"],
                    },
                    {"phase-type": "COMPLETED"},
                ],
            }
            | more,
        },
    }


def push(tag: str = TAG) -> str:
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "x", "size": 1, "digest": "sha256:" + "0" * 64},
        "layers": [{"mediaType": "x", "size": len(tag), "digest": "sha256:" + "1" * 64}],
    }
    image = client("ecr").put_image(
        repositoryName="fleet-runner", imageManifest=json.dumps(manifest), imageTag=tag
    )
    digest: str = image["image"]["imageId"]["imageDigest"]
    return digest


def wait(aws: Aws, *runner_ids: str, **row: Any) -> None:
    """Join those who wait, as FindImage does, and park."""
    aws.put_image(image_tag=TAG, waiters=set(runner_ids), updated_at=1, **row)
    for runner_id in runner_ids:
        aws.park("image", runner_id=runner_id, task_token=f"token-{runner_id}")


def families() -> list[str]:
    listed = client("ecs").list_task_definitions()["taskDefinitionArns"]
    return sorted(arn.rpartition("/")[2] for arn in listed)


# --- requests -------------------------------------------------------------------------------


def test_the_first_to_want_an_image_starts_its_build(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER)
    assert build(request()) == {"status": "BUILDING"}
    (started,) = aws.codebuild.named("StartBuild")
    assert started["projectName"] == "fleet-images"
    assert started["timeoutInMinutesOverride"] == 30
    assert {one["name"]: one["value"] for one in started["environmentVariablesOverride"]} == {
        "BASE_IMAGE": BASE,
        "IMAGE_TAG": TAG,
    }
    row = aws.image(TAG)
    assert row is not None
    assert (row["status"], row["build_id"], row["build_log_url"]) == ("BUILDING", BUILD, LOG)
    assert (row["image_base"], row["task_definition"]) == (BASE, FAMILY)
    assert row["lease_expires_at"] == row["updated_at"] + 1800
    assert row["waiters"] == {RUNNER}


def test_one_build_serves_however_many_ask(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER, "fleet-2-1", "fleet-3-1")
    assert [build(request())["status"] for _ in range(3)] == ["BUILDING"] * 3
    assert len(aws.codebuild.calls) == 1


def test_a_build_that_ends_before_it_is_noted_stays_ended(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER)

    def end_at_once(_: str) -> None:
        push()
        build(ended())

    aws.codebuild.during = end_at_once
    build(request())
    row = aws.image(TAG)
    assert row is not None
    assert row["status"] == "READY"


def test_a_dead_builders_lease_is_taken_over(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER, status="BUILDING", lease_expires_at=1, build_id="dead")
    assert build(request()) == {"status": "BUILDING"}
    assert len(aws.codebuild.calls) == 1
    row = aws.image(TAG)
    assert row is not None
    assert row["build_id"] == BUILD


def test_a_live_lease_is_not(aws: Aws) -> None:
    now = [1000.0]
    records = builds.ImageRecords(dynamodb=aws.dynamodb, table="images", clock=lambda: now[0])
    image = builds.Image(tag=TAG, base=BASE, family=FAMILY)
    assert records.take_lease(image, seconds=10)
    now[0] = 1009
    assert not records.take_lease(image, seconds=10)
    now[0] = 1010
    assert records.take_lease(image, seconds=10)
    assert not records.take_lease(image, seconds=10)


def test_a_failed_image_is_built_anew(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER, status="FAILED", build_error="x", build_id="earlier")
    assert build(request()) == {"status": "BUILDING"}
    row = aws.image(TAG)
    assert row is not None
    assert "build_error" not in row


def test_an_image_that_the_registry_has_is_not_built(aws: Aws, build: Any) -> None:
    digest = push()
    wait(aws, RUNNER)
    assert build(request()) == {"status": "READY"}
    assert aws.codebuild.calls == []
    row = aws.image(TAG)
    assert row is not None
    assert (row["status"], row["image_digest"]) == ("READY", digest)
    assert f"{FAMILY}:1" in families()
    assert aws.resumed == [(f"token-{RUNNER}", "Success", "")]


def test_a_ready_image_gets_a_family_of_the_new_task_definition(aws: Aws, build: Any) -> None:
    digest = push()
    wait(aws, RUNNER, status="READY", image_digest=digest, task_definition="fleet-old-x")
    assert build(request()) == {"status": "READY"}
    assert f"{FAMILY}:1" in families()
    row = aws.image(TAG)
    assert row is not None
    assert row["task_definition"] == FAMILY
    assert aws.resumed == [(f"token-{RUNNER}", "Success", "")]
    assert build(request()) == {"status": "READY"}
    assert f"{FAMILY}:2" not in families()


@pytest.mark.parametrize("code", ["AccountLimitExceededException", "ThrottlingException"])
def test_a_build_without_room_is_tried_again_by_whoever_asks_next(
    aws: Aws, build: Any, code: str
) -> None:
    wait(aws, RUNNER)
    started = aws.codebuild.answers["StartBuild"]
    aws.codebuild.fail("StartBuild", code)
    with pytest.raises(build_image.BuildNotStarted, match=code):
        build(request())
    assert aws.resumed == []
    aws.codebuild.answers["StartBuild"] = started
    assert build(request()) == {"status": "BUILDING"}
    push()
    build(ended())
    assert aws.resumed == [(f"token-{RUNNER}", "Success", "")]


def test_a_build_that_codebuild_refuses_fails_for_all_who_wait(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER, "fleet-2-1")
    aws.codebuild.fail("StartBuild", "InvalidInputException")
    assert build(request()) == {"status": "FAILED"}
    assert [error for _, error, _ in aws.resumed] == ["Image.BuildFailed"] * 2
    assert "InvalidInputException" in aws.resumed[0][2]


# --- ends of builds -------------------------------------------------------------------------


def test_a_build_resumes_everyone_who_waited(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER, "fleet-2-1")
    build(request())
    digest = push()
    assert build(ended()) == {"status": "SUCCEEDED"}
    assert sorted(aws.resumed) == [
        ("token-fleet-2-1", "Success", ""),
        (f"token-{RUNNER}", "Success", ""),
    ]
    image, row = aws.image(TAG), aws.row()
    assert image is not None
    assert row is not None
    assert (image["status"], image["image_digest"]) == ("READY", digest)
    assert "waiters" not in image
    assert "lease_expires_at" not in image
    assert row["image_ended_at"] > 0
    assert row["build_log_url"] == LOG
    assert "image_error" not in row


def test_the_family_is_the_base_with_another_image(aws: Aws, build: Any) -> None:
    digest = push()
    build(ended())
    made = client("ecs").describe_task_definition(taskDefinition=FAMILY)["taskDefinition"]
    runner, sidecar = made["containerDefinitions"]
    assert runner["image"] == f"{REPOSITORY}@{digest}"
    assert (runner["stopTimeout"], sidecar["image"]) == (120, "other")
    assert (made["cpu"], made["memory"], made["networkMode"]) == ("512", "1024", "awsvpc")
    assert made["executionRoleArn"] == "arn:aws:iam::123456789012:role/execution"
    assert made["runtimePlatform"]["cpuArchitecture"] == "X86_64"
    assert made["requiresCompatibilities"] == ["FARGATE"]


def test_the_same_end_twice_makes_one_revision(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER)
    push()
    build(ended())
    build(ended())
    assert families() == sorted([f"{FAMILY}:1", "fleet-runner-abc:1"])
    assert len(aws.resumed) == 1


def test_a_waiter_that_has_not_parked_yet_finds_the_end_on_its_row(aws: Aws, build: Any) -> None:
    aws.put_image(image_tag=TAG, waiters={RUNNER})
    aws.put_row(status="STARTING", image_error="of an earlier build")
    push()
    build(ended())
    row = aws.row()
    assert row is not None
    assert row["image_ended_at"] > 0
    assert "image_error" not in row
    assert aws.resumed == []


def test_a_waiter_that_is_gone_does_not_hold_the_others_up(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER)
    aws.put_image(image_tag=TAG, waiters={RUNNER, "fleet-0-1"})
    push()
    build(ended())
    assert len(aws.resumed) == 1
    assert aws.row("fleet-0-1") is None


def test_a_crash_while_telling_loses_nobody(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER, "fleet-2-1")
    push()
    aws.sfn.fail("SendTaskSuccess", "AccessDeniedException")
    with pytest.raises(Exception, match="AccessDenied"):
        build(ended())
    del aws.sfn.answers["SendTaskSuccess"]
    aws.sfn.calls.clear()
    build(ended())
    assert {token for token, _, _ in aws.resumed} == {f"token-{RUNNER}", "token-fleet-2-1"}


@pytest.mark.parametrize("status", ["FAILED", "STOPPED", "FAULT", "TIMED_OUT"])
def test_a_failed_build_tells_everyone_why(aws: Aws, build: Any, status: str) -> None:
    wait(aws, RUNNER, "fleet-2-1")
    build(request())
    build(ended(status))
    assert [error for _, error, _ in aws.resumed] == ["Image.BuildFailed"] * 2
    cause = aws.resumed[0][2]
    assert f"{status} in BUILD: COMMAND_EXECUTION_ERROR: exit status 1" in cause
    assert LOG in cause
    image, row = aws.image(TAG), aws.row()
    assert image is not None
    assert row is not None
    assert (image["status"], image["build_log_url"]) == ("FAILED", LOG)
    assert image["build_error"].startswith(status)
    assert row["image_error"] == cause
    assert "waiters" not in image


def test_a_failed_build_without_phases_still_says_so(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER, status="BUILDING")
    build(ended("FAULT", phases=[], logs={}))
    assert aws.resumed[0][2] == f"image {TAG} was not built: FAULT"


def test_a_crash_while_telling_of_a_failure_loses_nobody(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER, status="BUILDING", build_id=BUILD)
    aws.sfn.fail("SendTaskFailure", "AccessDeniedException")
    with pytest.raises(Exception, match="AccessDenied"):
        build(ended("FAILED"))
    del aws.sfn.answers["SendTaskFailure"]
    aws.sfn.calls.clear()
    build(ended("FAILED"))
    assert [sent[:2] for sent in aws.resumed] == [(f"token-{RUNNER}", "Image.BuildFailed")]


def test_a_build_that_pushed_nothing_has_failed(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER, status="BUILDING")
    build(ended("SUCCEEDED"))
    assert "the build succeeded but pushed no image" in aws.resumed[0][2]


def test_a_build_beside_a_finished_one_spoils_nothing(aws: Aws, build: Any) -> None:
    # tags cannot be overwritten: the second of two builders fails to push
    wait(aws, RUNNER, status="BUILDING", build_id="another")
    push()
    build(ended("FAILED"))
    image = aws.image(TAG)
    assert image is not None
    assert image["status"] == "READY"
    assert aws.resumed == [(f"token-{RUNNER}", "Success", "")]


def test_a_build_whose_lease_was_taken_over_fails_alone(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER, status="BUILDING", build_id="the-new-one")
    build(ended("FAILED"))
    assert aws.resumed == []
    image = aws.image(TAG)
    assert image is not None
    assert image["status"] == "BUILDING"


def test_builds_of_others_are_nothing(aws: Aws, build: Any) -> None:
    wait(aws, RUNNER, status="BUILDING")
    build(ended("IN_PROGRESS"))
    build(ended("FAILED", environment={"environment-variables": []}))
    assert aws.resumed == []


# --- deployments ----------------------------------------------------------------------------


DEPLOYED = {
    "source": "aws.cloudformation",
    "detail-type": "CloudFormation Stack Status Change",
    "detail": {"stack-id": "arn", "status-details": {"status": "CREATE_COMPLETE"}},
}


def test_a_deployment_builds_the_default_image_before_the_first_job(aws: Aws, build: Any) -> None:
    assert build(DEPLOYED) == {"status": "BUILDING"}
    (started,) = aws.codebuild.named("StartBuild")
    variables = {one["name"]: one["value"] for one in started["environmentVariablesOverride"]}
    assert variables["BASE_IMAGE"] == "public.ecr.aws/ubuntu/ubuntu:24.04"
    assert variables["IMAGE_TAG"].startswith("default-")
    row = aws.image(variables["IMAGE_TAG"])
    assert row is not None
    assert row["task_definition"] == f"fleet-runner-abc-{variables['IMAGE_TAG']}"
    push(variables["IMAGE_TAG"])
    assert build(DEPLOYED) == {"status": "BUILDING"}, "its build is under way"
    assert len(aws.codebuild.calls) == 1


def test_the_default_image_is_what_jobs_ask_for(aws: Aws, build: Any, context: Any) -> None:
    build(DEPLOYED)
    dispatch_event.handler(bus_event(sample("queued")), context)
    (started,) = aws.sfn.named("StartExecution")
    document = json.loads(started["input"])
    row = aws.image(document["image_tag"])
    assert row is not None
    assert row["task_definition"] == document["task_definition"]
