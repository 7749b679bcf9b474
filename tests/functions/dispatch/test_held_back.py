"""Jobs that GitHub holds back over the real handler: whose runner got no job is called later."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fleet_runtime.dispatch.held_back import HeldBack
from fleet_runtime.job.job import Job

from ..aws_stand_in import ENVIRONMENT, RUNNER, Aws
from ..entry_points import waiting_for_a_job
from ..events import job, sample

RUN = 940463255
LABELS = "self-hosted,linux"


@pytest.fixture
def legs(aws: Aws, dispatch: Any) -> Any:
    """A run of which one job runs, and whose other runners got none."""
    aws.park("completion", job_id=2832853555, run_id=RUN)

    def describe(params: dict[str, Any]) -> dict[str, Any]:
        name = params["executionArn"].rpartition(":")[2]
        document = {"runner_id": name, "class_name": "small", "image_tag": "default-1"}
        return {
            "executionArn": params["executionArn"],
            "stateMachineArn": ENVIRONMENT["STATE_MACHINE_ARN"],
            "status": "SUCCEEDED",
            "startDate": datetime.now(UTC),
            "input": json.dumps({**document, "repository": "octo-org/example", "queued_at": 5}),
        }

    aws.sfn.answers["DescribeExecution"] = describe

    def in_vain(runner_id: str, **values: Any) -> None:
        row = {
            "runner_id": runner_id,
            "status": "OFFLINE",
            "repository": "octo-org/example",
            "runner_labels": LABELS,
            "run_id": RUN,
            "class_name": "small",
            "image_tag": "default-1",
            "launched_at": 5,
            "claimed_at": 50,
        }
        aws.put_row(**{k: v for k, v in (row | values).items() if v is not None})
        detail = {"name": runner_id, "status": "SUCCEEDED"}
        dispatch({"detail-type": "Step Functions Execution Status Change", "detail": detail})

    return in_vain


def started(aws: Aws) -> list[str]:
    return [call["name"] for call in aws.sfn.named("StartExecution")]


def test_the_end_of_a_job_starts_the_next_of_those_that_waited_for_it(
    aws: Aws, dispatch: Any, legs: Any
) -> None:
    legs("fleet-300-1")
    legs("fleet-200-1-r1")
    dispatch(sample("completed"))
    assert started(aws) == ["fleet-200-1-r2"], "the oldest, and one place is free"
    dispatch(sample("completed"))
    assert started(aws) == ["fleet-200-1-r2"], "the same event again frees no other place"


def test_one_that_was_followed_already_is_passed_over(aws: Aws, dispatch: Any, legs: Any) -> None:
    legs("fleet-200-1")
    legs("fleet-300-1")
    known = {"fleet-200-1-r1"}

    def start(params: dict[str, Any]) -> Any:
        if params["name"] in known:
            return "ExecutionAlreadyExists"
        return {"executionArn": "arn:x", "startDate": datetime.now(UTC)}

    aws.sfn.answers["StartExecution"] = start
    dispatch(sample("completed"))
    assert started(aws) == ["fleet-200-1-r1", "fleet-300-1-r1"]


@pytest.mark.parametrize(
    "values",
    [
        {"status": "FAILED", "error": "Runner.TaskStopped"},
        {"released_at": 60},
        {"started_at": 60},
        {"claimed_at": None},
        {"runner_labels": "self-hosted,gpu"},
        {"repository": "octo-org/other"},
    ],
)
def test_who_did_not_wait_for_it_is_not_called(
    aws: Aws, dispatch: Any, legs: Any, values: dict[str, Any]
) -> None:
    legs("fleet-200-1", **values)
    dispatch(sample("completed"))
    assert started(aws) == []


def test_another_runs_job_is_called_unless_a_runner_waits_that_could_have_it(
    aws: Aws, dispatch: Any, legs: Any
) -> None:
    legs("fleet-200-1", run_id=7)
    waiting_for_a_job(aws, "fleet-9-1")
    dispatch(sample("completed"))
    assert started(aws) == []
    aws.put_row(runner_id="fleet-9-1", status="OFFLINE")
    aws.park("completion", runner_id="fleet-8-1", job_id=8, run_id=RUN)
    dispatch(job("completed", id=8, runner_name="fleet-8-1"))
    assert started(aws) == ["fleet-200-1-r1"]


def test_a_job_that_is_cancelled_waits_no_more(aws: Aws, dispatch: Any, legs: Any) -> None:
    legs("fleet-200-1-r1")
    dispatch(job("completed_cancelled", id=200))
    dispatch(sample("completed"))
    assert started(aws) == []


def test_where_nobody_waits_nothing_is_written(aws: Aws, dispatch: Any, legs: Any) -> None:
    dispatch(sample("completed"))
    row = aws.row(RUNNER)
    assert row is not None
    assert "next_called_at" not in row


def test_a_runner_whose_job_was_heard_of_after_its_end_calls_nobody_for_it(
    aws: Aws, dispatch: Any, legs: Any
) -> None:
    """GitHub's events came after the runner had gone, so it seemed to have had no job."""
    legs("fleet-200-1")
    dispatch(job("completed", id=200, runner_name="fleet-200-1"))
    assert started(aws) == []
    legs("fleet-300-1")
    dispatch(sample("completed"))
    assert started(aws) == ["fleet-300-1-r1"]


def test_a_place_that_came_free_is_not_lost_with_a_call_that_fails(
    aws: Aws, dispatch: Any, legs: Any
) -> None:
    legs("fleet-200-1", run_id=7)
    aws.sfn.fail("StartExecution", "ServiceUnavailable")
    with pytest.raises(ClientError):
        dispatch(sample("completed"))
    aws.sfn.answers.pop("StartExecution")
    aws.sfn.calls.clear()
    dispatch(sample("completed"))
    assert started(aws) == ["fleet-200-1-r1"]


def test_no_more_are_noted_than_an_entry_has_room_for(
    aws: Aws, dispatch: Any, legs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_runtime.dispatch.held_back._MOST_NOTED", 2)
    for number in (200, 300, 400):
        legs(f"fleet-{number}-1")
    (entry,) = aws.dynamodb.scan(
        TableName="ledger",
        FilterExpression="begins_with(entry, :held)",
        ExpressionAttributeValues={":held": {"S": "held-back/"}},
    )["Items"]
    assert entry["runners"]["SS"] == [f"{RUN}/fleet-200-1", f"{RUN}/fleet-300-1"]


def test_a_leg_is_called_whoever_else_waits(aws: Aws, dispatch: Any, legs: Any) -> None:
    legs("fleet-200-1")
    waiting_for_a_job(aws, "fleet-9-1")
    dispatch(sample("completed"))
    assert started(aws) == ["fleet-200-1-r1"]


def test_one_that_waits_is_called_by_one_end_alone(aws: Aws, dispatch: Any, legs: Any) -> None:
    legs("fleet-200-1")
    legs("fleet-300-1")
    ended = Job.read(sample("completed")["workflow_job"], repository="octo-org/example")
    held_back = HeldBack(ledger=aws.ledger)
    both = [held_back.behind(ended)[0], held_back.behind(ended)[0]]
    assert [held_back.take(waiter) for waiter in both] == [True, False]
