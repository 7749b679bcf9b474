"""Jobs that GitHub holds back over the real handler: whose runner got no job is called later."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from fleet_runtime.dispatch.held_back import HeldBack, Place
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
        execution_ended(dispatch, runner_id)

    return in_vain


class Killed(BaseException):
    """The process is gone: nothing after it is done."""


def execution_ends(aws: Aws, dispatch: Any) -> None:
    """The state machine writes the end of a runner's life, and Step Functions tells of it."""
    aws.dynamodb.update_item(
        TableName="runners",
        Key={"runner_id": {"S": RUNNER}},
        UpdateExpression="SET #status = :over",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":over": {"S": "OFFLINE"}},
    )
    execution_ended(dispatch, RUNNER)


def execution_ended(dispatch: Any, runner_id: str) -> None:
    detail = {"name": runner_id, "status": "SUCCEEDED"}
    dispatch({"detail-type": "Step Functions Execution Status Change", "detail": detail})


def unheard(aws: Aws, **values: Any) -> None:
    """The row of a runner whose job GitHub has told nothing of: its hook has."""
    row = {"run_id": RUN, "job_id": 2832853555, "runner_labels": LABELS, "started_at": 60}
    aws.park("completion", **row | values)


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


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"status": "RUNNING", "started_at": 70}, ["fleet-300-1-r1"]),
        ({"status": "OFFLINE", "claimed_at": 70}, ["fleet-300-1-r1"]),
        ({"status": "STARTING"}, ["fleet-200-1-r1"]),
    ],
    ids=["which has a job", "which got none", "which has none yet: the place is its"],
)
def test_one_that_was_followed_already_is_passed_over(
    aws: Aws, dispatch: Any, legs: Any, values: dict[str, Any], names: list[str]
) -> None:
    legs("fleet-200-1")
    legs("fleet-300-1")
    aws.put_row(runner_id="fleet-200-1-r1", **values)
    dispatch(sample("completed"))
    assert started(aws) == names, "under the name of one that is there nobody is started"
    dispatch(sample("completed"))
    assert started(aws) == names


def test_hundreds_that_wait_no_more_cost_two_reads_each_once(
    aws: Aws, dispatch: Any, legs: Any
) -> None:
    notes = [f"{RUN}/fleet-{number}-1" for number in range(1, 301)]
    legs("fleet-500-1")
    (entry,) = [
        row["entry"]["S"]
        for row in aws.dynamodb.scan(TableName="ledger")["Items"]
        if row["entry"]["S"].startswith("held-back/")
    ]
    aws.ledger.update(entry, add={"runners": frozenset(notes)})
    dispatch(sample("completed"))
    assert started(aws) == ["fleet-500-1-r1"]
    assert "runners" not in aws.ledger.get(entry)
    assert len(aws.sfn.named("DescribeExecution")) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"status": "FAILED", "error": "Runner.TaskStopped"},
        {"released_at": 60},
        {"started_at": 60},
        {"claimed_at": None},
        {"runner_labels": "self-hosted,gpu"},
        {"repository": "octo-org/other"},
        # it said that it had a job: GitHub's events may be behind its short life
        {"hook_started_at": 60},
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


@pytest.mark.parametrize("again", ["the same event", "the execution's end"])
@pytest.mark.parametrize("operation", ["StartExecution", "DescribeExecution"])
def test_a_place_that_came_free_is_not_lost_with_a_call_that_fails(
    aws: Aws, dispatch: Any, legs: Any, operation: str, again: str
) -> None:
    legs("fleet-200-1", run_id=7)
    legs("fleet-300-1")
    answer = aws.sfn.answers.pop(operation, None)
    aws.sfn.fail(operation, "ServiceUnavailable")
    with pytest.raises(ClientError):
        dispatch(sample("completed"))
    aws.sfn.answers.pop(operation)
    if answer:
        aws.sfn.answers[operation] = answer
    aws.sfn.calls.clear()
    if again == "the same event":
        dispatch(sample("completed"))
    else:
        execution_ends(aws, dispatch)
    assert started(aws) == ["fleet-300-1-r1"]
    dispatch(sample("completed"))
    assert started(aws) == ["fleet-300-1-r1"], "and each place is filled once"


@pytest.mark.parametrize("call", range(1, 17))
def test_whenever_a_process_dies_each_end_starts_one_and_loses_none(
    aws: Aws, dispatch: Any, legs: Any, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """It is killed behind its n-th call, whatever that is; Lambda brings the event once more."""
    legs("fleet-200-1", run_id=7)
    legs("fleet-300-1", run_id=7)
    aws.sfn.calls.clear()
    left = call

    def dying(self: BaseClient, operation: str, params: Any) -> Any:
        nonlocal left
        answer = make_api_call(self, operation, params)
        left -= 1
        if left == 0:
            raise Killed
        return answer

    make_api_call = BaseClient._make_api_call
    with monkeypatch.context() as patched, suppress(Killed):
        patched.setattr(BaseClient, "_make_api_call", dying)
        dispatch(sample("completed"))
    assert left <= 1, "there are so many calls, and one more is none"
    dispatch(sample("completed"))
    execution_ends(aws, dispatch)
    assert set(started(aws)) == {"fleet-200-1-r1"}


def test_the_end_of_an_execution_starts_the_next_where_no_webhook_comes(
    aws: Aws, dispatch: Any, legs: Any
) -> None:
    legs("fleet-300-1")
    legs("fleet-200-1")
    unheard(aws)
    execution_ends(aws, dispatch)
    assert started(aws) == ["fleet-200-1-r1"]
    execution_ended(dispatch, RUNNER)
    dispatch(sample("completed"))
    assert started(aws) == ["fleet-200-1-r1"], "it is one end, however often it is told"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"completed_at": 70}, id="GitHub has told of it"),
        pytest.param({"runner_labels": "self-hosted,gpu"}, id="others waited for it"),
        pytest.param({"repository": "octo-org/other"}, id="in another repository"),
    ],
)
def test_an_execution_whose_end_frees_no_place_starts_nobody(
    aws: Aws, dispatch: Any, legs: Any, values: dict[str, Any]
) -> None:
    legs("fleet-200-1")
    unheard(aws, **values)
    execution_ends(aws, dispatch)
    assert started(aws) == []


def test_a_runner_that_failed_has_freed_no_place_yet(aws: Aws, dispatch: Any, legs: Any) -> None:
    """GitHub takes its job for running, for a quarter of an hour perhaps, and says so then."""
    legs("fleet-200-1")
    unheard(aws, status="FAILED", error="Runner.TaskStopped")
    execution_ended(dispatch, RUNNER)
    assert started(aws) == []
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
    place = Place.of_job(ended)
    both = [held_back.behind(place)[0], held_back.behind(place)[0]]
    assert [held_back.take(waiter) for waiter in both] == [True, False]
