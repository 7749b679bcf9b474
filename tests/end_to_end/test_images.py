"""Runner images in a whole fleet: one build each, so many at a time, and none that grows old."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cdk_runner_fleet.local.fleet import LocalFleet
from tests import settings
from tests.settings import MOST_BUILDS
from tests.waiting import until

from .conftest import Fleet


@pytest.fixture(scope="module")
def builders() -> Iterator[Fleet]:
    """A fleet of its own: its images grow old, and its runner's releases are retired."""
    with LocalFleet(context=settings.BUILDERS) as local:
        fleet = Fleet(local)
        ready = lambda: [row["status"] for row in image_rows(fleet)] == ["READY"]  # noqa: E731
        until(ready, "the default image")
        yield fleet


def invoke(fleet: Fleet, handler: str, event: object = None) -> Any:
    functions = fleet.local.client("lambda").get_paginator("list_functions").paginate()
    [name] = [
        function["FunctionName"]
        for page in functions
        for function in page["Functions"]
        if function["Handler"] == f"{handler}.handler"
    ]
    answer = fleet.local.client("lambda").invoke(
        FunctionName=name, Payload=json.dumps(event or {}).encode()
    )
    text = answer["Payload"].read().decode()
    assert "FunctionError" not in answer, text
    return json.loads(text)


def image_rows(fleet: Fleet) -> list[dict[str, Any]]:
    found = fleet.local.client("dynamodb").scan(
        TableName=fleet.local.outputs["ImageTableName"], ConsistentRead=True
    )
    return [{k: next(iter(v.values())) for k, v in item.items()} for item in found["Items"]]


def image_of(fleet: Fleet, runner: str) -> dict[str, Any]:
    tag = fleet.row(runner)["image_tag"]
    [row] = [row for row in image_rows(fleet) if row["image_tag"] == tag]
    return row


def builds(fleet: Fleet) -> list[dict[str, Any]]:
    codebuild = fleet.local.client("codebuild")
    ids = codebuild.list_builds()["ids"]
    return list(codebuild.batch_get_builds(ids=ids)["builds"]) if ids else []


def cancel(fleet: Fleet, *runners: str) -> None:
    for runner in runners:
        fleet.send("completed", fleet.job(id=int(runner.split("-")[1]), conclusion="cancelled"))
    for runner in runners:
        fleet.status(runner, "OFFLINE", "FAILED")


def image_run_by(fleet: Fleet, runner: str) -> str:
    """The image of a runner's task, as its task definition names it."""
    ecs = fleet.local.client("ecs")
    [task] = ecs.describe_tasks(
        cluster=fleet.local.outputs["ClusterArn"], tasks=[fleet.row(runner)["task_id"]]
    )["tasks"]
    definition = ecs.describe_task_definition(taskDefinition=task["taskDefinitionArn"])
    return str(definition["taskDefinition"]["containerDefinitions"][0]["image"])


def test_twenty_different_images_are_built_so_many_at_a_time(builders: Fleet) -> None:
    builders.fault(on="build", outcome="hangs", times=MOST_BUILDS)
    before = {build["id"] for build in builds(builders)}

    def since() -> list[dict[str, Any]]:
        return [build for build in builds(builders) if build["id"] not in before]

    runners = [builders.queue(f"image:python:3.{minor}-slim") for minor in range(20)]
    for runner in runners:
        builders.status(runner, "IMAGE_CREATING")
    until(
        lambda: [row["status"] for row in image_rows(builders)].count("QUEUED") == 20 - MOST_BUILDS,
        "the others are in line",
    )
    assert [build["buildStatus"] for build in since()] == ["IN_PROGRESS"] * MOST_BUILDS
    for build in since():
        builders.local.client("codebuild").stop_build(id=build["id"])
    ends = [builders.status(runner, "WAITING_FOR_JOB", "FAILED")["status"] for runner in runners]
    assert ends.count("FAILED") == MOST_BUILDS
    assert len(since()) == 20
    runners = [runner for runner, end in zip(runners, ends, strict=True) if end != "FAILED"]
    history = builders.local.client("stepfunctions").get_paginator("get_execution_history")
    for runner in runners:
        entered = [
            event["stateEnteredEventDetails"]["name"]
            for page in history.paginate(executionArn=builders.row(runner)["execution_arn"])
            for event in page["events"]
            if "stateEnteredEventDetails" in event
        ]
        # who waited for a turn to be built entered no more states than who did not
        assert entered.count("FindImage") == 1, entered
        assert len(entered) <= 14, entered
    cancel(builders, *runners)


def test_a_build_that_failed_is_remembered_for_a_while(builders: Fleet) -> None:
    label = "image:does-not-exist:1"
    first = builders.status(builders.queue(label), "FAILED")
    assert first["error"] == "Image.BuildFailed"
    before = len(builds(builders))
    second = builders.status(builders.queue(label), "FAILED")
    assert len(builds(builders)) == before
    assert second["error"] == "Image.BuildFailed"
    log = first["build_log_url"]
    assert log.startswith("https://")
    assert log in first["cause"]
    assert log in second["cause"]


def test_an_image_that_somebody_deleted_is_built_again(builders: Fleet) -> None:
    runner = builders.queue("image:node:21")
    builders.status(runner, "WAITING_FOR_JOB")
    row = image_of(builders, runner)
    cancel(builders, runner)
    builders.local.client("ecr").batch_delete_image(
        repositoryName=builders.local.outputs["RepositoryUri"].partition("/")[2],
        imageIds=[{"imageTag": row["content_tag"]}],
    )
    # a build's idempotency token has the second in it, and no real build is over within one
    until(lambda: time.time() >= float(row["built_at"]) + 1, "the next second")
    again = builders.queue("image:node:21")
    builders.status(again, "WAITING_FOR_JOB")
    assert float(image_of(builders, again)["built_at"]) >= float(row["built_at"])
    cancel(builders, again)


def test_an_image_in_use_is_built_anew_as_soon_as_there_is_a_newer_release(builders: Fleet) -> None:
    twin = builders.local.twin
    assert twin
    runner = builders.queue("image:node:22")
    builders.status(runner, "WAITING_FOR_JOB")
    old, old_image = image_of(builders, runner), image_run_by(builders, runner)
    cancel(builders, runner)
    until(lambda: "used_at" in image_of(builders, runner), "its use is noted")

    twin.releases.publish("2.339.0")
    assert invoke(builders, "watch_release")["release"] == "2.339.0"
    new = until(
        lambda: next(
            (
                row
                for row in image_rows(builders)
                if row["image_tag"] == old["image_tag"] and row["runner_version"] == "2.339.0"
            ),
            None,
        ),
        "the image is built anew",
    )
    assert new["status"] == "READY"
    assert new["content_tag"] != old["content_tag"]
    assert new["image_digest"] != old["image_digest"]

    until(
        lambda: all(
            row["runner_version"] == "2.339.0" or "rebuild_error" in row
            for row in image_rows(builders)
            if row.get("status") == "READY"
        ),
        "so are the others",
    )
    before = len(builds(builders))
    later = builders.queue("image:node:22")
    builders.status(later, "WAITING_FOR_JOB")
    assert image_run_by(builders, later).endswith(new["image_digest"]) != old_image
    assert image_run_by(builders, later) != old_image
    assert len(builds(builders)) == before
    cancel(builders, later)


def test_an_image_whose_runner_github_retired_is_built_anew_for_the_next_job(
    builders: Fleet,
) -> None:
    twin = builders.local.twin
    assert twin
    runner = builders.queue("image:node:23")
    builders.status(runner, "WAITING_FOR_JOB")
    version = image_of(builders, runner)["runner_version"]
    cancel(builders, runner)
    until(lambda: "used_at" in image_of(builders, runner), "its use is noted")

    twin.releases.publish("2.340.0")
    twin.releases.deprecate(version, runtime="2026-11-01T00:00:00Z")
    assert version in invoke(builders, "watch_release")["retired"]
    until(lambda: image_of(builders, runner)["status"] == "RETIRED", "the image is retired")
    later = builders.queue("image:node:23")
    builders.status(later, "WAITING_FOR_JOB")
    assert image_of(builders, later)["runner_version"] == "2.340.0"
    cancel(builders, later)


def test_a_release_that_is_dead_itself_fails_at_once_with_that_reason(builders: Fleet) -> None:
    twin = builders.local.twin
    assert twin
    current = twin.releases.current
    twin.releases.deprecate(current, runtime="2026-11-02T00:00:00Z")
    invoke(builders, "watch_release")
    row = builders.status(builders.queue("image:node:24"), "FAILED")
    assert row["error"] == "Image.BuildFailed"
    assert f"GitHub has retired version {current} of the runner" in row["cause"]
    twin.releases.publish("2.341.0")
    invoke(builders, "watch_release")


@pytest.mark.parametrize("label", ["python", "PYTHON", "shell"])
def test_a_job_is_routed_to_what_it_asks_for(builders: Fleet, label: str) -> None:
    runner = builders.queue(label, "image:python:3.12")
    row = builders.status(runner, "WAITING_FOR_JOB")
    assert "python" in row["capabilities"].split(",")
    assert label.lower() in row["needs"].split(",")
    cancel(builders, runner)


def test_a_capability_that_nobody_has_is_refused_at_once(builders: Fleet) -> None:
    row = builders.status(builders.queue("python"), "FAILED")
    assert row["error"] == "Job.CannotBeServed"
    assert "'python'" in row["cause"]
    assert "execution_arn" not in row
