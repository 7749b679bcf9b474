"""`runner-fleet events` over SQS and EventBridge in moto."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import boto3
import pytest

from cdk_runner_fleet.cli import events, failed_events

from .conftest import CloudFormation, Lambda
from .test_runners import Run

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:RunnerFleet-dispatch"
EVENT = {
    "id": "e-1",
    "source": "cdk-runner-fleet/fleet",
    "detail-type": "workflow_job",
    "detail": {"action": "queued", "job": {"id": 456}},
}


@pytest.fixture
def queue(fleet: str, functions: Lambda, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    url = boto3.client("sqs").create_queue(QueueName="failed")["QueueUrl"]
    eventbridge = boto3.client("events")
    bus = eventbridge.create_event_bus(Name="fleet")["EventBusArn"]
    archive = eventbridge.create_archive(ArchiveName="kept", EventSourceArn=bus, RetentionDays=3)[
        "ArchiveArn"
    ]
    CloudFormation.stacks[fleet] |= {
        "FailedEventsQueueUrl": url,
        "EventBusArn": bus,
        "EventArchiveArn": archive,
    }
    functions.answer = lambda name, payload: (202, {}, {})
    yield url


def failed_by_lambda(queue: str, payload: Any = EVENT, function: str = FUNCTION) -> None:
    body = {
        "version": "1.0",
        "timestamp": "2026-11-21T05:00:00.000Z",
        "requestContext": {
            "requestId": "r-1",
            "functionArn": f"{function}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": payload,
        "responseContext": {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled",
        },
        "responsePayload": {"errorMessage": "the table is gone", "errorType": "ClientError"},
    }
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(body))


def failed_by_eventbridge(queue: str, payload: Any = EVENT, function: str = FUNCTION) -> None:
    attributes = {
        "RULE_ARN": "arn:aws:events:eu-west-1:123456789012:rule/fleet/WorkflowJobs",
        "TARGET_ARN": function,
        "ERROR_CODE": "NO_PERMISSIONS",
        "ERROR_MESSAGE": "the rule may not invoke the function",
        "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
        "RETRY_ATTEMPTS": "0",
    }
    boto3.client("sqs").send_message(
        QueueUrl=queue,
        MessageBody=json.dumps(payload),
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )


def left(queue: str) -> int:
    answer = boto3.client("sqs").get_queue_attributes(
        QueueUrl=queue,
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )
    return sum(map(int, answer["Attributes"].values()))


def visible(queue: str) -> int:
    answer = boto3.client("sqs").get_queue_attributes(
        QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def test_both_shapes_are_listed_with_what_and_why(run: Run, queue: str) -> None:
    failed_by_lambda(queue)
    failed_by_eventbridge(queue)
    found = run("events", "list", "--output", "json").json
    assert [(each["about"], each["payload"]) for each in found] == [
        ("workflow_job queued 456", EVENT)
    ] * 2
    assert {each["why"] for each in found} == {
        "RetriesExhausted: ClientError: the table is gone",
        "NO_PERMISSIONS: the rule may not invoke the function",
    }
    table = run("events", "list")
    assert table.exit_code == 0
    assert "RunnerFleet-dispatch" in table.stdout
    assert "workflow_job queued 456" in table.stdout


def test_listing_leaves_everything_where_it_is(run: Run, queue: str, functions: Lambda) -> None:
    for number in range(25):
        failed_by_lambda(queue, EVENT | {"id": str(number)})
    assert len(run("events", "list", "--output", "json").json) == 25
    assert visible(queue) == 25
    assert functions.calls == []


def test_redrive_hands_each_to_its_function_and_then_deletes_it(
    run: Run, queue: str, functions: Lambda
) -> None:
    other = FUNCTION.replace("dispatch", "explain")
    failed_by_lambda(queue)
    failed_by_eventbridge(queue, EVENT | {"detail-type": "job_unserved"}, other)
    result = run("events", "redrive")
    assert result.exit_code == 0
    assert "2 of 2 events redriven" in result.stdout
    assert sorted(functions.calls, key=lambda call: call[0]) == [
        (f"{FUNCTION}:$LATEST", "Event", EVENT),
        (other, "Event", EVENT | {"detail-type": "job_unserved"}),
    ]
    assert left(queue) == 0
    assert run("events", "redrive").stdout == "0 of 0 events redriven\n"


def test_redrive_keeps_what_lambda_did_not_take(run: Run, queue: str, functions: Lambda) -> None:
    gone = FUNCTION.replace("dispatch", "gone")
    failed_by_lambda(queue)
    failed_by_eventbridge(queue, function=gone)
    missing = (404, {"x-amzn-errortype": "ResourceNotFoundException"}, {"Message": "no function"})
    functions.answer = lambda name, payload: missing if "gone" in name else (202, {}, {})
    result = run("events", "redrive")
    assert result.exit_code == 1
    assert "kept: " in result.stdout
    assert "1 of 2 events redriven" in result.stdout
    [kept] = run("events", "list", "--output", "json").json
    assert (kept["function"], kept["payload"]) == (gone, EVENT)


@pytest.mark.parametrize("body", ["no JSON", '"a text"', "[1]", "{}"])
def test_redrive_keeps_what_it_cannot_read(
    run: Run, queue: str, functions: Lambda, body: str
) -> None:
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=body)
    result = run("events", "redrive", "--output", "json")
    assert result.exit_code == 1
    [kept] = result.json
    assert not kept["redriven"]
    assert "does not say which function" in kept["kept"]
    assert visible(queue) == 1
    assert functions.calls == []


def test_an_interrupted_redrive_loses_nothing(
    run: Run, queue: str, functions: Lambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed_by_lambda(queue)
    failed_by_eventbridge(queue)

    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(events, "_invoke", interrupt)
    assert run("events", "redrive").exit_code == 130
    assert left(queue) == 2


def test_one_that_fails_again_at_once_is_left_alone(
    run: Run, queue: str, functions: Lambda
) -> None:
    failed_by_lambda(queue)

    def fail_again(name: str, payload: Any) -> tuple[int, dict[str, str], Any]:
        failed_by_lambda(queue, payload)
        return 202, {}, {}

    functions.answer = fail_again
    result = run("events", "redrive")
    assert result.exit_code == 0
    assert len(functions.calls) == 1
    assert visible(queue) == 1


def test_replay_starts_one_onto_the_fleets_own_bus(run: Run, queue: str) -> None:
    result = run(
        "events",
        "replay",
        "--from",
        (datetime.now() - timedelta(hours=1)).isoformat(),
        "--output",
        "json",
    )
    assert result.exit_code == 0
    replay = boto3.client("events").describe_replay(ReplayName=result.json["replay"])
    assert replay["Destination"]["Arn"] == CloudFormation.stacks["RunnerFleet"]["EventBusArn"]
    assert replay["EventSourceArn"] == CloudFormation.stacks["RunnerFleet"]["EventArchiveArn"]
    began, ended = replay["EventStartTime"].timestamp(), replay["EventEndTime"].timestamp()
    assert 3595 < ended - began < 3605
    assert abs(ended - time.time()) < 10


def test_a_replay_begins_no_earlier_than_the_archive(run: Run, queue: str) -> None:
    too_early = (datetime.now() - timedelta(days=3, minutes=1)).isoformat()
    result = run("events", "replay", "--from", too_early)
    assert result.exit_code == 2
    assert f"--from {too_early} is before the archive begins, which keeps 3 days" in result.stderr
    oldest = result.stderr.partition("use --from ")[2].partition(" or later")[0]
    began = datetime.fromisoformat(oldest).timestamp()
    assert abs(began - (time.time() - 3 * 86400)) < 90
    assert boto3.client("events").list_replays()["Replays"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "yesterday"), "no point in time"),
        (("--from", "2026-11-21T05:00", "--to", "soon"), "--to 'soon'"),
        (("--from", "2026-11-21T05:00", "--to", "2026-11-21T04:00"), "is not before"),
        (("--from", "2999-01-01"), "is not before"),
    ],
)
def test_a_span_that_is_none_is_wrong_usage(
    run: Run, queue: str, arguments: tuple[str, ...], said: str
) -> None:
    result = run("events", "replay", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_stack_without_a_queue_says_so(run: Run, fleet: str) -> None:
    result = run("events", "list")
    assert result.exit_code == 1
    assert "no output FailedEventsQueueUrl" in result.stderr


def test_messages_that_are_handed_out_again_end_the_reading() -> None:
    class Sqs:
        def receive_message(self, **_: Any) -> dict[str, Any]:
            return {"Messages": [{"MessageId": "1"}, {"MessageId": "2"}]}

    assert len(list(failed_events.held_messages(Sqs(), "q"))) == 2
