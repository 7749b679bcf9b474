"""Images over the real handler: turns, leases, the end of builds, and everyone who waited."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fleet_runtime.aws.client import client
from fleet_runtime.images.build_queue import (
    START_SECONDS,
    BuildNotStarted,
    BuildQueue,
    BuildQueueEntry,
)
from fleet_runtime.images.rows import RETRY_SECONDS

from ..builds_stand_in import LOG, digest_of, event_of
from ..conftest import RUNNER, Aws
from ..image_fleet import (
    BASE,
    DAY,
    DEPLOYED,
    FAMILY,
    REPOSITORY,
    SCHEDULED,
    TAG,
    TIMEOUT,
    Fleet,
    Killed,
    calls_made,
    calls_to_die_at,
    current_tag,
    die,
    fleet_aws_error,
    knows,
    learn_newer,
    rebuild,
    retired,
    with_other_version,
)

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
    assert fleet.queue.read() == BuildQueue()


def test_who_asks_again_keeps_its_place_in_line(fleet: Fleet) -> None:
    tags = [f"image-{number:012x}" for number in range(7)]
    for tag in [*tags, *tags]:
        fleet.join(RUNNER, tag=tag)
        fleet.request(tag)
    assert fleet.queue.read().jobs == tuple(tags[5:])
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
    assert fleet.queue.read() == BuildQueue()
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
    assert (fleet.queue.read().held, fleet.queue.read().jobs) == ((), (TAG,))
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


def test_a_build_that_codebuild_refuses_fails_for_all_who_wait(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER, "fleet-2-1")
    fleet.codebuild.busy = "InvalidInputException"
    assert fleet.request() == "FAILED"
    assert [error for _, error, _ in aws.resumed] == ["Image.BuildFailed"] * 2
    assert "InvalidInputException" in aws.resumed[0][2]
    assert fleet.queue.read() == BuildQueue()


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
    fleet.queue.change(lambda queue: replace(queue, jobs=()))
    fleet.join("fleet-2-1", tag="other-0123456789ab")
    fleet.request("other-0123456789ab", "fleet-2-1")
    fleet.queue.change(lambda queue: queue.ask(TAG, is_rebuild=False))
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


# --- builders that die ----------------------------------------------------------------------


def test_a_lost_end_is_found_by_whoever_comes_next(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    fleet.codebuild.end(TAG)  # nobody hears of it
    fleet.pass_time(TIMEOUT)
    assert fleet.request() == "READY"
    assert fleet.starts == [TAG], "not a second build"
    assert fleet.told == [(f"token-{RUNNER}", "Success")]
    assert fleet.queue.read() == BuildQueue()


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
    assert fleet.queue.read().held[0].until == fleet.codebuild.now + TIMEOUT


def test_a_build_that_codebuild_does_not_know_is_built_again(fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    fleet.codebuild.forget(TAG)
    fleet.pass_time(TIMEOUT)
    assert fleet.request() == "BUILDING"
    assert fleet.starts == [TAG, TAG]


@pytest.mark.parametrize("times", [1, 3], ids=["and is tried again", "and is given up"])
def test_whatever_call_a_request_dies_at_the_image_is_built_once(
    aws: Aws, fleet: Fleet, times: int
) -> None:
    for calls in calls_to_die_at(times):
        tag = f"image-{calls:012x}"
        fleet.join(RUNNER, tag=tag)
        reached = die(fleet, calls, times, lambda: fleet.request(tag))  # noqa: B023
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
        assert fleet.queue.read() == BuildQueue()
        if not reached:
            break
    else:
        pytest.fail("there is no end to its calls")
    assert calls > 5


@pytest.fixture
def one_at_a_time(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MAX_BUILDS", "1")


@pytest.fixture
def two_at_a_time(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MAX_BUILDS", "2")


@pytest.mark.usefixtures("two_at_a_time")
@pytest.mark.parametrize("times", [1, 3], ids=["and is tried again", "and is given up"])
@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED"])
def test_whatever_call_an_end_dies_at_all_are_told_and_the_next_is_built(
    aws: Aws, fleet: Fleet, times: int, status: str
) -> None:
    for calls in calls_to_die_at(times):
        tags = [f"image-{calls:06x}{number:06x}" for number in range(3)]
        for tag in tags:
            fleet.join(f"fleet-{tag}", tag=tag)
            fleet.request(tag, f"fleet-{tag}")
        event = fleet.codebuild.end(tags[0], status)
        reached = die(fleet, calls, times, lambda: fleet(event))  # noqa: B023
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
        assert fleet.queue.read() == BuildQueue()
        assert fleet.codebuild.most_running == 2
        if not reached:
            break
    else:
        pytest.fail("there is no end to its calls")
    assert calls > 5


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


END_CALLS = {
    "BatchGetBuilds": 1,
    "DescribeImages": 1,
    "GetItem ledger runner-release": 1,
    "GetItem images": 1,
    "DescribeTaskDefinition": 2,
    "RegisterTaskDefinition": 1,
    "UpdateItem images": 2,
    "GetItem ledger builds": 1,
    "UpdateItem ledger builds": 1,
    "UpdateItem runners": 3,
    "SendTaskSuccess": 3,
    "ListTaskDefinitions": 1,
}
"""The end of a build that three wait for: the queue's entry is read and written once."""


def test_an_end_reads_and_writes_everything_once(fleet: Fleet) -> None:
    fleet.join(RUNNER, "fleet-2-1", "fleet-3-1")
    fleet.request()
    event = fleet.codebuild.end(TAG)
    with calls_made() as made:
        fleet(event)
    assert Counter(made) == END_CALLS
    assert fleet.row()["status"] == "READY"


@pytest.mark.usefixtures("one_at_a_time")
def test_the_next_build_is_started_before_those_who_waited_are_told(fleet: Fleet) -> None:
    fleet.join(RUNNER, "fleet-2-1", "fleet-3-1")
    fleet.request()
    fleet.join("fleet-4-1", tag="other-0123456789ab")
    assert fleet.request("other-0123456789ab", "fleet-4-1") == "QUEUED"
    event = fleet.codebuild.end(TAG)
    with calls_made() as made:
        fleet(event)
    assert made.index("StartBuild") < made.index("SendTaskSuccess")
    assert fleet.codebuild.running == ["other-0123456789ab"]
    # its row, the release, its build, the link for who waits, and its turn's note
    assert Counter(made) - Counter(END_CALLS) == {
        "GetItem images": 1,
        "GetItem ledger runner-release": 1,
        "StartBuild": 1,
        "UpdateItem images": 1,
        "UpdateItem runners": 1,
        "GetItem ledger builds": 1,
        "UpdateItem ledger builds": 1,
    }


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED"])
def test_all_are_told_also_if_the_next_build_cannot_be_started(fleet: Fleet, status: str) -> None:
    fleet.join(RUNNER, "fleet-2-1")
    fleet.request()
    fleet.codebuild.busy = "ThrottlingException"
    fleet.join("fleet-3-1", tag="other-0123456789ab")
    with pytest.raises(BuildNotStarted):
        fleet.request("other-0123456789ab", "fleet-3-1")
    event = fleet.codebuild.end(TAG, status)
    with pytest.raises(BuildNotStarted):
        fleet(event)
    assert len(fleet.told) == 2


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED"])
def test_all_are_told_also_if_the_queue_cannot_be_written(
    aws: Aws, fleet: Fleet, status: str
) -> None:
    fleet.join(RUNNER, "fleet-2-1")
    fleet.request()
    event = fleet.codebuild.end(TAG, status)

    def refuse(params: dict[str, Any], **_: object) -> None:
        if params["TableName"] == "ledger":
            error = {"Code": "InternalServerError", "Message": "try again"}
            raise ClientError({"Error": error}, "UpdateItem")  # type: ignore[typeddict-item]

    dynamodb = client("dynamodb").meta.events
    dynamodb.register("provide-client-params.dynamodb.UpdateItem", refuse)
    try:
        with pytest.raises(ClientError):
            fleet(event)
    finally:
        dynamodb.unregister("provide-client-params.dynamodb.UpdateItem", refuse)
    assert len(fleet.told) == 2
    fleet(event)
    assert fleet.queue.read() == BuildQueue()


def test_an_image_that_is_wanted_again_before_its_turn_ends_gets_another(fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    fleet.pass_time(100)
    event = fleet.codebuild.end(TAG, content="c")

    def want() -> None:
        client("ecr").batch_delete_image(
            repositoryName="fleet-runner", imageIds=[{"imageTag": "c"}]
        )
        fleet.join("fleet-2-1")
        # it is READY and gone, and its turn is still there
        assert fleet.request(runner="fleet-2-1", gone=True) == "QUEUED"

    with turn_still_there(want):
        fleet(event)
    assert fleet.codebuild.running == [TAG]
    fleet(fleet.codebuild.end(TAG, content="d"))
    assert fleet.row()["status"] == "READY"
    assert ("token-fleet-2-1", "Success") in fleet.told


@contextmanager
def turn_still_there(act: Callable[[], None]) -> Iterator[None]:
    """Do something right before a build's end is written to the queue."""
    write, left = BuildQueueEntry._put, [act]

    def put(entry: BuildQueueEntry, document: str, *, instead_of: str) -> bool:
        if left:
            left.pop()()
        return write(entry, document, instead_of=instead_of)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BuildQueueEntry, "_put", put)
        yield
    assert not left


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
    take = BuildQueueEntry.take
    with pytest.MonkeyPatch.context() as patch:

        def note(entry: BuildQueueEntry, owner: str, **after: Any) -> Any:
            if fleet.starts:
                raise Killed
            return take(entry, owner, **after)

        patch.setattr(BuildQueueEntry, "take", note)
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
    assert len(fleet.queue.read().held) == 1
    assert len(aws.resumed) == 1


# --- images that are there ------------------------------------------------------------------


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
    fleet.images.used(TAG, at=fleet.images.now, runner_version="")
    with_other_version(fleet, TAG)
    fleet.builder.rebuild(fleet.images.find(TAG))
    fleet.builder.advance("daily")
    assert fleet.codebuild.running == [TAG]
    learn_newer(fleet)
    fleet(retired())
    fleet(fleet.codebuild.end(TAG))
    assert TAG in fleet.codebuild.running
    fleet(fleet.codebuild.end(TAG))
    assert fleet.row()["runner_version"] == "2.339.0"


def test_a_build_with_a_runner_that_is_found_dead_meanwhile_is_not_promoted(fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    fleet(retired())
    fleet(fleet.codebuild.end(TAG))
    assert fleet.row()["status"] == "FAILED"
    assert fleet.launched() == ""


# --- rebuilds and cleaning up ---------------------------------------------------------------


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
    assert fleet.queue.read() == BuildQueue()
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
        UpdateExpression="SET queue = :q",
        ExpressionAttributeValues={":q": {"S": _held_longer(fleet)}},
    )
    fleet(SCHEDULED)
    assert fleet.queue.read().rebuilds == (tag,)
    fleet.request(others[5])
    fleet(fleet.codebuild.end(others[0]))
    assert fleet.codebuild.running[-1] == others[5]
    fleet(fleet.codebuild.end(others[1]))
    assert fleet.codebuild.running[-1] == tag


def _held_longer(fleet: Fleet) -> str:
    queue = fleet.queue.read()
    until = int(fleet.codebuild.now) + TIMEOUT
    held = tuple(replace(turn, until=until) for turn in queue.held)
    return replace(queue, held=held).dump()


def test_who_asks_for_an_image_without_a_row_waits_for_it(fleet: Fleet) -> None:
    fleet.aws.park("image", runner_id=RUNNER, task_token=f"token-{RUNNER}")
    assert fleet.request() == "BUILDING"
    assert fleet.row()["waiters"] == {RUNNER}
    fleet(fleet.codebuild.end(TAG))
    assert fleet.told == [(f"token-{RUNNER}", "Success")]
