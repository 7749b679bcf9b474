"""Builders that die, over the real handler: whoever comes next takes their builds over."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_runtime.images.build_queue import (
    START_SECONDS,
    BuildQueue,
)

from ..aws_stand_in import RUNNER, Aws
from ..image_fleet import (
    DEPLOYED,
    TAG,
    TIMEOUT,
    Fleet,
    Killed,
    calls_to_die_at,
    die,
)


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
    tags = fleet.lose_ends(4)
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
