"""How builds are asked for at CodeBuild, and what is read of them, over the real handler."""

from __future__ import annotations

import json
from typing import Any

import pytest

import build_image
from fleet_runtime.aws.client import client
from fleet_runtime.explanation.causes import is_permanent
from fleet_runtime.images.build_queue import (
    BuildNotStarted,
    BuildQueue,
)

from ..aws_stand_in import RUNNER, Aws
from ..builds_stand_in import LOG
from ..image_fleet import FAMILY, TAG, TIMEOUT, Fleet, fleet_aws_error


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
    assert fleet.queue.read() == BuildQueue()


def test_a_build_of_a_project_that_was_deployed_away_is_built_by_another(
    aws: Aws, fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    fleet.join(RUNNER)
    fleet.request()
    projects = {"X86_64": "new-images", "ARM64": "new-images-arm64"}
    environment.setenv("IMAGE_BUILD_PROJECTS", json.dumps(projects))
    build_image._parts.cache_clear()

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


def test_another_timeout_is_another_build(
    aws: Aws, fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    def unclear(_: dict[str, Any]) -> Any:
        raise fleet_aws_error()

    aws.codebuild.answers["StartBuild"] = unclear
    for seconds in ("1800", "1800", "3600"):
        environment.setenv("IMAGE_BUILD_TIMEOUT_SECONDS", seconds)
        build_image._parts.cache_clear()
        with pytest.raises(BuildNotStarted):
            fleet.request()
    tokens = [params["idempotencyToken"] for params in aws.codebuild.named("StartBuild")]
    assert tokens[0] == tokens[1] != tokens[2]


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


def test_a_registry_that_was_asked_too_often_is_not_the_images_fault(
    aws: Aws, fleet: Fleet
) -> None:
    fleet.join(RUNNER)
    fleet.request()
    event = fleet.codebuild.end(TAG, "FAILED")
    (build,) = fleet.codebuild.builds.values()
    build["phases"][1]["contexts"][0]["message"] = (
        "Error while executing command: bash build_image.sh. Reason: exit status 75"
    )
    fleet(event)
    [(_, error, cause)] = aws.resumed
    assert error == "Image.BuildThrottled"
    assert "429 Too Many Requests" in cause
    assert not is_permanent(error)
    row, image = aws.row(), fleet.row()
    assert row is not None
    assert (row["image_failure"], image["build_failure"]) == (error, error)
    # who asks within the minute learns the same, and then it is built again
    fleet.join("fleet-2-1")
    assert fleet.request(runner="fleet-2-1") == "FAILED"
    assert aws.resumed[-1][1] == error
    fleet.pass_time(60)
    fleet.join("fleet-3-1")
    assert fleet.request(runner="fleet-3-1") == "BUILDING"
    assert "build_failure" not in fleet.row()
