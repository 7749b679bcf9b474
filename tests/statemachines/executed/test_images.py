"""The shipped machine, executed: images that are built while a runner waits."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.waiting import until

from ..rig import Life, Rig


def test_an_image_that_is_being_built_is_waited_for_without_another_build(rig: Rig) -> None:
    life = rig.start(family="unknown", runner_id="fleet-88-1")
    life.parked("image")
    assert "StartBuild" in rig.entered(life.arn)
    rig.image(
        life.image_tag, status={"S": "BUILDING"}, lease_expires_at={"N": str(int(time.time()) + 60)}
    )
    other = rig.start(family="unknown", image_tag=life.image_tag)
    other.parked("image")
    assert other.row()["status"] == "IMAGE_CREATING"
    assert "StartBuild" not in rig.entered(other.arn)
    for waiting in (life, other):
        waiting.fail("image", "Runner.Released")
        waiting.end()


def test_the_end_of_an_earlier_build_does_not_end_the_wait_for_another(rig: Rig) -> None:
    life = rig.life()
    with life.held("lambda:InvokeFunction"):
        life.start(family="unknown").at("lambda:InvokeFunction")
        life.write(image_ended_at={"N": "1"})
    life.parked("image")
    life.fail("image", "Runner.Released")
    assert life.path().count("LaunchTask") == 1


def test_a_dead_builder_is_taken_over(rig: Rig) -> None:
    life_tag = "image-dead"
    rig.image(life_tag, status={"S": "BUILDING"}, lease_expires_at={"N": "1"})
    life = rig.start(family="unknown", image_tag=life_tag)
    life.parked("image")
    assert "StartBuild" in rig.entered(life.arn)
    life.fail("image", "Runner.Released").end()


def test_a_built_image_is_launched_after_the_wait(rig: Rig) -> None:
    family = "built-later"
    life = rig.start(family=family)
    life.parked("image")
    rig.ecs.register_task_definition(
        family=family,
        cpu="512",
        memory="1024",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        containerDefinitions=[{"name": "runner", "image": "example.com/runner:2"}],
    )
    life.succeed("image", "runner", "job", "completion")
    assert life.end()["status"] == "SUCCEEDED"


def test_an_image_that_is_there_but_cannot_be_launched_is_asked_for_and_fails_in_the_end(
    rig: Rig,
) -> None:
    family = "never-registered"
    tag = "image-registered-nowhere"
    rig.image(tag, status={"S": "READY"}, task_definition={"S": family})
    life = rig.start(family=family, image_tag=tag)
    life.succeed("image")
    assert life.end()["status"] == "FAILED"
    assert life.path().count("LaunchTask") == 3
    [request] = _payloads(rig, life, "StartBuild")
    assert request["gone"] is True


def test_the_cause_of_a_build_that_failed_a_moment_ago_is_learned_without_another(rig: Rig) -> None:
    life_tag = "image-failed"
    log = "https://console.example/log"
    rig.image(
        life_tag,
        status={"S": "FAILED"},
        build_error={"S": "FAILED in BUILD: no such base"},
        build_log_url={"S": log},
        retry_at={"N": str(int(time.time()) + 60)},
    )
    end = rig.start(family="unknown", image_tag=life_tag).end()
    assert end["error"] == "Image.BuildFailed"
    assert end["cause"] == f"FAILED in BUILD: no such base; its log: {log}"


def test_what_kind_of_failure_it_was_is_learned_too(rig: Rig) -> None:
    throttled = "Image.BuildThrottled"
    rig.image(
        "image-throttled",
        status={"S": "FAILED"},
        build_error={"S": "a registry was asked too often"},
        build_failure={"S": throttled},
        retry_at={"N": str(int(time.time()) + 60)},
    )
    asked_now = rig.start(family="unknown", image_tag="image-throttled")
    with (waiting := rig.life()).held("lambda:InvokeFunction"):
        waiting.start(family="unknown").at("lambda:InvokeFunction")
        waiting.write(
            image_ended_at={"N": str(int(time.time()))},
            image_error={"S": "a registry was asked too often"},
            image_failure={"S": throttled},
        )
    assert asked_now.end()["error"] == throttled
    assert waiting.end()["error"] == throttled


def test_a_build_that_failed_a_while_ago_is_tried_again(rig: Rig) -> None:
    life_tag = "image-failed-long-ago"
    rig.image(
        life_tag, status={"S": "FAILED"}, build_error={"S": "no"}, retry_at={"N": "1700000000"}
    )
    life = rig.start(family="unknown", image_tag=life_tag)
    life.parked("image")
    assert "StartBuild" in rig.entered(life.arn)
    life.fail("image", "Runner.Released").end()


def test_an_image_in_line_for_its_build_is_waited_for(rig: Rig) -> None:
    life_tag = "image-queued"
    soon = str(int(time.time()) + 60)
    rig.image(life_tag, status={"S": "QUEUED"}, lease_expires_at={"N": soon})
    life = rig.start(family="unknown", image_tag=life_tag)
    life.parked("image")
    assert "StartBuild" not in rig.entered(life.arn)
    life.fail("image", "Runner.Released").end()


@pytest.mark.parametrize(("repository", "asks"), [("octo-org/one", False), ("octo-org/two", True)])
def test_an_image_in_line_for_another_repository_is_asked_for(
    rig: Rig, repository: str, asks: bool
) -> None:
    tag = f"image-asked-{asks}".lower()
    row = {
        "lease_expires_at": {"N": str(int(time.time()) + 60)},
        "asked_by": {"SS": ["octo-org/one"]},
    }
    rig.image(tag, status={"S": "QUEUED"}, **row)
    life = rig.life().answer("build", "queued")
    life.start(family="unknown", image_tag=tag, repository=repository)
    life.parked("image")
    assert [one["repository"] for one in _payloads(rig, life, "StartBuild")] == [repository] * asks
    life.fail("image", "Runner.Released").end()


def test_an_image_that_is_long_in_line_does_not_count_as_not_built(rig: Rig) -> None:
    life = rig.life().answer("build", "queued")
    life.start(family="unknown", timeouts={"ImageBuildTimeoutSeconds": "1"})
    until(lambda: life.path_so_far().count("StartBuild") >= 5, life.path_so_far)
    # no token of a wait this short: it may be over before it is answered
    life.write(released_at={"N": "1"})
    assert life.end()["status"] == "SUCCEEDED"


def test_who_waits_takes_a_dead_builder_over(rig: Rig) -> None:
    life_tag = "image-of-a-builder-that-dies"
    soon = str(int(time.time()) + 2)
    rig.image(life_tag, status={"S": "BUILDING"}, lease_expires_at={"N": soon})
    timeouts = {"ImageBuildTimeoutSeconds": "3"}
    life = rig.start(family="unknown", image_tag=life_tag, timeouts=timeouts)
    until(lambda: "StartBuild" in life.path_so_far(), life.path_so_far)
    # no token of a wait this short: it may be over before it is answered
    life.write(released_at={"N": "1"})
    assert life.end()["status"] == "SUCCEEDED"


def test_the_log_of_the_build_is_on_the_row_while_it_is_waited_for(rig: Rig) -> None:
    life_tag = "image-with-a-log"
    soon = str(int(time.time()) + 60)
    rig.image(
        life_tag,
        status={"S": "BUILDING"},
        lease_expires_at={"N": soon},
        build_log_url={"S": "https://console.example/log"},
    )
    life = rig.start(family="unknown", image_tag=life_tag)
    life.parked("image")
    assert life.row()["build_log_url"] == "https://console.example/log"
    life.fail("image", "Runner.Released").end()


def test_an_image_deleted_in_the_registry_is_built_again(rig: Rig) -> None:
    life_tag = "image-deleted"
    rig.image(life_tag, status={"S": "READY"}, task_definition={"S": "ready"})
    gone = "CannotPullContainerError: example.com/runner@sha256:1: not found"
    life = rig.start(image_tag=life_tag).fail("runner", "Runner.TaskStopped", gone)
    life.parked("image")
    [request] = _payloads(rig, life, "StartBuild")
    assert request["gone"] is True
    life.succeed("image", "runner", "job", "completion")
    assert life.end()["status"] == "SUCCEEDED"


def test_a_ready_image_that_is_gone_fails_at_once(rig: Rig) -> None:
    gone = "CannotPullContainerError: example.com/runner:1: not found"
    life = rig.start(image_base="").fail("runner", "Runner.TaskStopped", gone)
    assert life.end()["error"] == "Runner.LaunchFailed"
    assert life.path().count("LaunchTask") == 1


def test_a_runner_that_github_retired_is_not_started_again(rig: Rig) -> None:
    life = rig.start().succeed("runner").fail("job", "Runner.VersionRetired", "exit code 7")
    assert life.end()["error"] == "Runner.VersionRetired"
    assert life.path().count("LaunchTask") == 1


def _payloads(rig: Rig, life: Life, state: str) -> list[dict[str, Any]]:
    """What a state has asked its function."""
    found, entered = [], ""
    for page in rig.states.get_paginator("get_execution_history").paginate(executionArn=life.arn):
        for event in page["events"]:
            entered = event.get("stateEnteredEventDetails", {}).get("name", entered)
            if entered == state and "taskScheduledEventDetails" in event:
                parameters = json.loads(event["taskScheduledEventDetails"]["parameters"])
                found.append(parameters["Payload"])
    return found
