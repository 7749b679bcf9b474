"""The ends of builds over the real handler: everyone who waited, and the next build."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

from ..aws_stand_in import RUNNER, Aws
from ..builds_stand_in import LOG, digest_of, event_of
from ..image_fleet import (
    DAY,
    DEPLOYED,
    FAMILY,
    TAG,
    Fleet,
    Killed,
    calls_made,
    knows,
    learn_newer,
    retire,
    with_other_version,
)

# --- builders that die ----------------------------------------------------------------------


@pytest.fixture
def one_at_a_time(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MAX_BUILDS", "1")


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
    "Invoke": 2,
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

    def put(entry: BuildQueueEntry, document: str, *, seen: Any) -> bool:
        if left:
            left.pop()()
        return write(entry, document, seen=seen)

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
    retire(fleet)
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
    retire(fleet)
    fleet(fleet.codebuild.end(TAG))
    assert TAG in fleet.codebuild.running
    fleet(fleet.codebuild.end(TAG))
    assert fleet.row()["runner_version"] == "2.339.0"


def test_a_build_with_a_runner_that_is_found_dead_meanwhile_is_not_promoted(fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    retire(fleet)
    fleet(fleet.codebuild.end(TAG))
    assert fleet.row()["status"] == "FAILED"
    assert fleet.launched() == ""
