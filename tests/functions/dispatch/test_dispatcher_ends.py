"""The ends of executions over the real handler: whom they are told, and which image was in use."""

from __future__ import annotations

import json
import time
from typing import Any
from unittest.mock import Mock

import pytest

from fleet_runtime.images.rows import ImageRecords
from fleet_runtime.runner.rows import RunnerRecords

from ..aws_stand_in import RUNNER, Aws
from ..entry_points import unserved


@pytest.mark.parametrize(
    ("error", "told"), [("Runner.LaunchFailed", True), ("Runner.BootTimeout", False)]
)
def test_the_author_is_told_of_what_another_runner_would_meet_again(
    aws: Aws, dispatch: Any, error: str, told: bool
) -> None:
    aws.put_row(
        status="FAILED",
        error=error,
        cause="no such subnet",
        job_id=2832853555,
        repository="octo-org/example",
        class_name="small",
        image_tag="default-1",
    )
    event = {"name": RUNNER, "status": "FAILED"}
    dispatch({"detail-type": "Step Functions Execution Status Change", "detail": event})
    said = [(each["runner_id"], each["error"], each["cause"]) for each in unserved(aws)]
    assert said == ([(RUNNER, error, "no such subnet")] if told else [])


def ended(status: str = "SUCCEEDED", runner: str = RUNNER) -> dict[str, Any]:
    """Step Functions' event that a runner's execution has ended, as far as it matters."""
    return {
        "detail-type": "Step Functions Execution Status Change",
        "detail": {"name": runner, "status": status},
    }


def put_ended(aws: Aws, runner: str = RUNNER, **values: Any) -> None:
    row = {
        "runner_id": runner,
        "status": "OFFLINE",
        "repository": "octo-org/example",
        "job_id": 2832853555,
        "class_name": "small",
        "image_tag": "default-1",
        "launched_at": 5,
        "runner_version": "2.338.0",
    }
    aws.put_row(**row | values)


def test_the_image_of_a_runner_that_ends_is_in_use(aws: Aws, dispatch: Any) -> None:
    put_ended(aws)
    before = int(time.time())
    dispatch(ended())
    row = aws.image("default-1")
    assert row is not None
    assert before <= row["used_at"] <= time.time()
    assert row["runner_version"] == "2.338.0"


def test_an_images_use_is_written_down_once_an_hour(
    aws: Aws, dispatch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = []
    monkeypatch.setattr(
        ImageRecords, "used", lambda _, tag, *, at, runner_version: uses.append((tag, at))
    )
    now = [0]
    monkeypatch.setattr(RunnerRecords, "now", property(lambda _: now[0]))
    for at, tag in ((0, "a"), (1, "b"), (3599, "a"), (3600, "a"), (3601, "a"), (3601, "b")):
        now[0] = 1795260000 + at
        put_ended(aws, image_tag=tag)
        dispatch(ended())
    assert [(tag, at - 1795260000) for tag, at in uses] == [
        ("a", 0),
        ("b", 1),
        ("a", 3600),
        ("b", 3601),
    ]


def test_a_use_that_could_not_be_written_down_is_tried_again(
    aws: Aws, dispatch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_ended(aws)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(ImageRecords, "used", Mock(side_effect=RuntimeError))
        dispatch(ended())
    dispatch(ended())
    assert aws.image("default-1") is not None


def test_an_image_that_was_not_launched_is_not_in_use(aws: Aws, dispatch: Any) -> None:
    aws.put_row(status="FAILED", error="Image.BuildFailed", image_tag="default-1")
    dispatch(ended("FAILED"))
    assert aws.image("default-1") is None


def retired(aws: Aws) -> list[dict[str, Any]]:
    entries = [entry for call in aws.events.named("PutEvents") for entry in call["Entries"]]
    return [
        json.loads(entry["Detail"])
        for entry in entries
        if entry["DetailType"] == "retired_runner_found"
    ]


def test_a_version_that_github_retired_is_told_of(aws: Aws, dispatch: Any) -> None:
    put_ended(aws, status="FAILED", error="Runner.VersionRetired", cause="exited with 7")
    dispatch(ended("FAILED"))
    assert retired(aws) == [{"runner_version": "2.338.0", "image_tag": "default-1"}]


@pytest.mark.parametrize(
    "values",
    [
        {"error": "Runner.TaskStopped"},
        {"error": "Runner.VersionRetired", "runner_version": ""},
        {"status": "OFFLINE"},
        {"error": "Runner.VersionRetired", "started_at": 95},
        {"error": "Runner.VersionRetired", "hook_started_at": 95},
    ],
)
def test_otherwise_no_version_is_said_to_be_retired(
    aws: Aws, dispatch: Any, values: dict[str, Any]
) -> None:
    put_ended(aws, **{"status": "FAILED", **values})
    dispatch(ended("FAILED"))
    assert retired(aws) == []
