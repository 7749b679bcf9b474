"""Images that no job is asking for: rebuilt, deleted, retired, over the real handler."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet_runtime.aws.client import client
from fleet_runtime.images.build_queue import BuildNotStarted, BuildQueueEntry
from fleet_runtime.images.releases import Release
from fleet_runtime.job.image_reference import image_tag

from ..aws_stand_in import RUNNER, Aws
from ..builds_stand_in import digest_of
from ..image_fleet import (
    BASE,
    CALLS,
    DAY,
    DEPLOYED,
    REPOSITORY,
    SCHEDULED,
    TAG,
    Fleet,
    current_tag,
    die,
    fleet_aws_error,
    learn,
    learn_newer,
    meanwhile,
    rebuild,
    retire,
    retired,
    with_other_version,
)


def test_images_with_a_retired_runner_are_not_launched_any_more(fleet: Fleet) -> None:
    fleet.build()
    fleet.build("old-0123456789ab")
    with_other_version(fleet, "old-0123456789ab")
    retire(fleet, "2.337.0")
    assert fleet.row("old-0123456789ab")["status"] == "RETIRED"
    assert fleet.launched("fleet-runner-abc-old-0123456789ab") == ""
    assert (fleet.row()["status"], bool(fleet.launched())) == ("READY", True)
    assert [tag.startswith("default-") for tag in fleet.codebuild.running] == [True, True]
    fleet.join("fleet-2-1", tag="old-0123456789ab")
    fleet.pass_time(10)
    assert fleet.request("old-0123456789ab", "fleet-2-1") == "BUILDING"
    fleet(fleet.codebuild.end("old-0123456789ab"))
    assert fleet.launched("fleet-runner-abc-old-0123456789ab")


def test_the_default_image_is_not_rebuilt_with_the_runner_that_was_retired(fleet: Fleet) -> None:
    fleet.build()
    retire(fleet)
    assert fleet.row()["status"] == "RETIRED"
    assert fleet.starts == [TAG]


def test_what_github_has_set_no_date_for_is_not_retired_whoever_says_so(fleet: Fleet) -> None:
    fleet.build()
    learn(fleet, {"2.338.0": None})
    fleet(retired())
    learn(fleet, {"2.338.0": "2027-02-01T00:00:00Z"})
    fleet(retired())
    assert (fleet.row()["status"], bool(fleet.launched())) == ("READY", True)
    fleet.join("fleet-2-1", tag="other-0123456789ab")
    assert fleet.request("other-0123456789ab", "fleet-2-1") == "BUILDING"


def deployed(fleet: Fleet) -> list[str]:
    """Have the default images built."""
    fleet(DEPLOYED)
    tags = list(fleet.starts)
    for tag in tags:
        fleet(fleet.codebuild.end(tag))
    return tags


def test_the_default_image_is_not_rebuilt_until_there_is_another_release(
    aws: Aws, fleet: Fleet
) -> None:
    tags = deployed(fleet)
    for tag in tags:
        fleet(retired(found_in=tag, kind="retired_runner_found"))
    assert {fleet.row(tag)["status"] for tag in tags} == {"RETIRED"}
    fleet.join(RUNNER, "fleet-2-1", tag=tags[0])
    for runner in (RUNNER, "fleet-2-1"):
        assert fleet.request(tags[0], runner) == "FAILED"
    assert fleet.starts == tags, "no build that no job could start with"
    assert {error for _, error, _ in aws.resumed} == {"Image.BuildFailed"}
    cause = aws.resumed[0][2]
    assert "GitHub has retired version 2.338.0 of the runner (2027-01-15T08:00:00+00:00)" in cause
    assert "let watch_release ask GitHub" in cause
    # what watch_release writes and says then
    learn_newer(fleet)
    fleet(retired(found_in=tags[0]))
    assert fleet.starts == [*tags, *tags]
    for tag in tags:
        fleet(fleet.codebuild.end(tag))
        assert (fleet.row(tag)["status"], fleet.row(tag)["runner_version"]) == ("READY", "2.339.0")


# by itself, and when the watch has found a newer release to follow with
KINDS = pytest.mark.parametrize("kind", ["retired_runner_found", "runner_version_retired"])
EVIL = "evil-0123456789ab"


@KINDS
@pytest.mark.parametrize("newer", [False, True])
def test_what_a_runner_says_counts_for_its_own_image_alone(
    fleet: Fleet, kind: str, *, newer: bool
) -> None:
    """Of a base of a job's choice, and of the deployer's."""
    default, *_ = deployed(fleet)
    fleet.build()
    fleet.build(EVIL)
    if newer:
        learn_newer(fleet)
    before = list(fleet.starts)
    fleet(retired(found_in=EVIL, kind=kind))
    assert fleet.row(EVIL)["status"] == "RETIRED"
    assert fleet.launched(f"fleet-runner-abc-{EVIL}") == ""
    assert (fleet.row()["status"], fleet.row(default)["status"]) == ("READY", "READY")
    assert fleet.starts == before, "nor does it have anything built"
    fleet.join("fleet-2-1", tag="other-0123456789ab")
    assert fleet.request("other-0123456789ab", "fleet-2-1") == "BUILDING"
    fleet(retired(found_in=default, kind=kind))
    assert (fleet.row()["status"], fleet.row(default)["status"]) == (
        "READY",
        "BUILDING" if newer else "RETIRED",
    )


@KINDS
@pytest.mark.parametrize("version", ["2.339.0", "2.337.0", "2.999.0", "the runner's own words"])
def test_a_version_that_a_runners_image_was_not_built_with_is_of_no_consequence(
    fleet: Fleet, kind: str, version: str
) -> None:
    """Named in advance, of a build before, or made up; in whichever image."""
    default, *_ = deployed(fleet)
    fleet.build(EVIL)
    for tag in (default, EVIL, "never-0123456789ab"):
        fleet(retired(version, found_in=tag, kind=kind))
    assert (fleet.row(EVIL)["status"], fleet.row(default)["status"]) == ("READY", "READY")
    assert fleet.aws._item("ledger", {"entry": {"S": "runner-release"}}) is None
    learn_newer(fleet)
    fleet.join("fleet-2-1")
    assert fleet.request(runner="fleet-2-1") == "BUILDING"


def test_what_runners_find_takes_no_more_room_however_often_they_find_it(fleet: Fleet) -> None:
    def marks() -> set[str]:
        item = fleet.aws._item("ledger", {"entry": {"S": "runner-release"}}) or {}
        return {name for name in item if name.startswith("found_dead")}

    default, *_ = deployed(fleet)
    fleet(retired(found_in=default, kind="retired_runner_found"))
    before = marks()
    assert before
    sums = {"x64": "a" * 64, "arm64": "b" * 64}
    for number in range(3):
        version = f"2.34{number}.0"
        learn(fleet, {version: None}, release=Release(version=version, sha256=sums))
        fleet(retired(fleet.row(default)["runner_version"], found_in=default))
        fleet(fleet.codebuild.end(default))
        assert fleet.row(default)["runner_version"] == version
        fleet(retired(version, found_in=default, kind="retired_runner_found"))
        assert marks() == before


def test_an_image_that_is_retired_in_line_for_a_rebuild_is_out_of_line(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = [f"r{number}-0123456789ab" for number in range(8)]
    for tag in tags:
        fleet.build(tag)
    fleet.pass_time(7 * DAY)
    for tag in tags:
        fleet.builder.rebuild(fleet.images.find(tag))
    fleet.builder.advance("daily")
    assert fleet.queue.read().rebuilds, "some wait"
    retire(fleet)
    taken, take = [], BuildQueueEntry.take

    def count(entry: BuildQueueEntry, owner: str, **after: Any) -> Any:
        taken.append(owner)
        assert len(taken) < 20, "round and round"
        return take(entry, owner, **after)

    monkeypatch.setattr(BuildQueueEntry, "take", count)
    fleet(fleet.codebuild.end(fleet.codebuild.running[0]))
    assert fleet.queue.read().rebuilds == ()
    assert {fleet.row(tag)["status"] for tag in tags} == {"RETIRED"}


def test_the_word_of_the_default_images_runner_counts_for_a_day(fleet: Fleet) -> None:
    default, *_ = deployed(fleet)
    fleet(retired(found_in=default, kind="retired_runner_found"))
    fleet.pass_time(DAY - 1)
    fleet.join("fleet-2-1")
    assert fleet.request(runner="fleet-2-1") == "FAILED"
    fleet.pass_time(1)
    assert fleet.request(runner="fleet-2-1") == "BUILDING"


def test_an_image_in_use_is_rebuilt_weekly_and_stays_ready(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    family = f"fleet-runner-abc-{tag}"
    fleet.build(tag, content="first")
    fleet.pass_time(6 * DAY)
    fleet(SCHEDULED)
    assert fleet.codebuild.running == []
    rebuild(fleet, tag, days=1)
    row = fleet.row(tag)
    assert (row["status"], row["content_tag"]) == ("READY", "first")
    assert row["rebuild_id"].endswith(":2")
    assert fleet.launched(family) == f"{REPOSITORY}@{digest_of('first')}"
    fleet(fleet.codebuild.end(tag, content="second"))
    row = fleet.row(tag)
    assert (row["content_tag"], row["image_digest"]) == ("second", digest_of("second"))
    assert "rebuild_id" not in row
    assert fleet.launched(family) == f"{REPOSITORY}@{digest_of('second')}"
    listed = client("ecs").list_task_definitions(familyPrefix=family)["taskDefinitionArns"]
    assert [arn.rpartition(":")[2] for arn in listed] == ["2"], "the former one is deregistered"


def test_a_drained_fleet_builds_nothing_anew(aws: Aws, fleet: Fleet) -> None:
    tag = current_tag(fleet)
    fleet.build(tag)
    key = {"entry": {"S": "builds"}}
    aws.dynamodb.update_item(
        TableName="ledger",
        Key=key,
        UpdateExpression="SET drained_at = :now",
        ExpressionAttributeValues={":now": {"N": "1"}},
    )
    fleet.pass_time(7 * DAY)
    fleet(SCHEDULED)
    assert fleet.codebuild.running == [], "a family would be left when the stack is deleted"
    fleet.join(RUNNER)
    assert fleet.request() == "BUILDING", "it had its turn before the fleet was drained"
    fleet(fleet.codebuild.end(TAG))
    assert fleet.codebuild.running == []
    aws.dynamodb.update_item(TableName="ledger", Key=key, UpdateExpression="REMOVE drained_at")
    fleet(SCHEDULED)
    assert fleet.codebuild.running == [tag]


TAKEN_OVER = {
    "id": "new",
    "source": "cdk-runner-fleet/fleet",
    "detail-type": "runner_release_taken_over",
    "detail": {"runner_version": "2.339.0"},
}


@pytest.mark.parametrize(
    "event", [TAKEN_OVER, SCHEDULED, DEPLOYED], ids=["told", "day", "deployed"]
)
def test_an_image_in_use_is_built_anew_as_soon_as_there_is_a_newer_release(
    fleet: Fleet, event: dict[str, Any]
) -> None:
    tag = current_tag(fleet)
    fleet.build(tag)
    fleet.build("other-0123456789ab")  # not what this recipe makes of its base
    fleet.pass_time(1)
    fleet(event)
    assert tag not in fleet.codebuild.running, "there is none"
    learn_newer(fleet)
    fleet(event)
    fleet(event)
    assert fleet.starts.count(tag) == 2
    assert fleet.starts.count("other-0123456789ab") == 1
    assert (fleet.row(tag)["status"], fleet.row(tag)["runner_version"]) == ("READY", "2.338.0")
    fleet(fleet.codebuild.end(tag))
    assert (fleet.row(tag)["status"], fleet.row(tag)["runner_version"]) == ("READY", "2.339.0")
    fleet(event)
    assert fleet.starts.count(tag) == 2


def test_an_image_that_was_being_built_meanwhile_follows_too(fleet: Fleet) -> None:
    fleet.join(RUNNER)
    assert fleet.request() == "BUILDING"
    learn_newer(fleet)
    fleet(TAKEN_OVER)
    fleet(fleet.codebuild.end(TAG))
    assert fleet.told == [(f"token-{RUNNER}", "Success")], "nobody waits for the newer one"
    assert fleet.row()["runner_version"] == "2.338.0"
    assert fleet.codebuild.running == [TAG]
    fleet(fleet.codebuild.end(TAG))
    assert fleet.row()["runner_version"] == "2.339.0"
    assert (fleet.codebuild.running, fleet.starts) == ([], [TAG, TAG])


def test_a_newer_release_is_followed_no_more_at_a_time_than_may_be_built_and_after_jobs(
    fleet: Fleet,
) -> None:
    bases = [f"{BASE}-{number}" for number in range(7)]
    tags = [image_tag(base, recipe="0123abcd", architecture="X86_64") for base in bases]
    for tag, base in zip(tags, bases, strict=True):
        fleet.join(RUNNER, tag=tag)
        fleet.request(tag, image_base=base)
        fleet(fleet.codebuild.end(tag))
    learn_newer(fleet)
    fleet(TAKEN_OVER)
    first = fleet.codebuild.running
    assert (len(first), set(first) <= set(tags)) == (5, True)
    fleet.join("fleet-2-1", tag="new-0123456789ab")
    fleet.request("new-0123456789ab", "fleet-2-1")
    fleet(fleet.codebuild.end(first[0]))
    assert fleet.codebuild.running == [*first[1:], "new-0123456789ab"]


def test_what_is_not_used_or_of_an_earlier_recipe_is_not_rebuilt(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    fleet.build(tag)
    fleet.build("other-0123456789ab")  # not what this recipe makes of its base
    fleet.pass_time(31 * DAY)
    fleet(SCHEDULED)
    assert fleet.codebuild.running == []
    for each in (tag, "other-0123456789ab"):
        now = int(fleet.codebuild.now)
        fleet.images.used(each, at=now, runner_version="2.338.0")
    fleet(SCHEDULED)
    assert fleet.codebuild.running == [tag]


def test_a_superseded_image_is_deleted_a_week_later(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    fleet.build(tag, content="first")
    rebuild(fleet, tag)
    fleet(fleet.codebuild.end(tag, content="second"))
    fleet.pass_time(6 * DAY)
    fleet(SCHEDULED)
    assert digest_of("first")
    fleet.pass_time(1.1 * DAY)
    fleet(SCHEDULED)
    assert digest_of("first") is None
    assert digest_of("second") == fleet.row(tag)["image_digest"]
    assert client("dynamodb").get_item(TableName="images", Key={"image_tag": {"S": tag}})["Item"][
        "superseded"
    ] == {"M": {}}


def test_a_rebuild_that_makes_the_same_supersedes_nothing(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    fleet.build(tag, content="first")
    rebuild(fleet, tag)
    fleet(fleet.codebuild.end(tag, content="first"))
    fleet.pass_time(8 * DAY)
    fleet(SCHEDULED)
    assert digest_of("first") == fleet.row(tag)["image_digest"]
    assert fleet.launched(f"fleet-runner-abc-{tag}")


def test_an_image_that_nobody_has_used_for_two_months_is_deleted(fleet: Fleet) -> None:
    fleet.build(content="c")
    fleet.pass_time(59 * DAY)
    fleet(SCHEDULED)
    assert digest_of("c")
    fleet.pass_time(DAY)
    fleet(SCHEDULED)
    assert digest_of("c") is None
    assert fleet.aws.image(TAG) is None
    assert fleet.launched() == ""
    fleet.join(RUNNER)
    assert fleet.request() == "BUILDING"


def test_an_image_that_another_one_is_too_is_not_deleted(fleet: Fleet) -> None:
    fleet.build(content="same")
    fleet.build("other-0123456789ab", content="same")
    fleet.pass_time(60 * DAY)
    fleet.images.used("other-0123456789ab", at=int(fleet.codebuild.now), runner_version="")
    fleet(SCHEDULED)
    assert fleet.aws.image(TAG) is None
    assert digest_of("same") == fleet.row("other-0123456789ab")["image_digest"]


def test_a_job_that_comes_back_while_its_image_is_deleted_is_served(fleet: Fleet) -> None:
    fleet.build(content="c")
    fleet.pass_time(60 * DAY)
    with meanwhile("dynamodb", "DeleteItem", lambda: fleet.join("fleet-2-1")):
        fleet(SCHEDULED)
    assert fleet.row()["waiters"] == {"fleet-2-1"}
    assert fleet.request(runner="fleet-2-1") == "BUILDING"
    fleet(fleet.codebuild.end(TAG))
    assert ("token-fleet-2-1", "Success") in fleet.told


def test_a_waiter_that_has_long_gone_keeps_no_row(fleet: Fleet) -> None:
    fleet.build(content="c")
    fleet.join("fleet-2-1")  # and launched it, as it was READY
    fleet.pass_time(61 * DAY)
    fleet(SCHEDULED)
    assert fleet.aws.image(TAG) is None


def test_nobody_waits_for_what_a_deployment_builds(fleet: Fleet) -> None:
    fleet(DEPLOYED)
    assert fleet.starts
    assert not any("waiters" in fleet.row(tag) for tag in fleet.starts)


def test_an_image_that_a_job_wants_again_is_not_deleted_from_the_registry(fleet: Fleet) -> None:
    fleet.build(content="c")
    fleet.pass_time(60 * DAY)

    def come_back() -> None:
        fleet.join("fleet-2-1")
        assert fleet.request(runner="fleet-2-1") == "BUILDING"
        # the build finds that the very same is there already
        fleet(fleet.codebuild.end(TAG, content="c"))

    with meanwhile("ecs", "DeregisterTaskDefinition", come_back):
        fleet(SCHEDULED)
    assert fleet.row()["status"] == "READY"
    assert digest_of("c") == fleet.row()["image_digest"]


def test_a_superseded_image_that_was_built_again_is_not_deleted(fleet: Fleet) -> None:
    tag = current_tag(fleet)
    fleet.build(tag, content="first")
    rebuild(fleet, tag)
    fleet(fleet.codebuild.end(tag, content="second"))
    stale = fleet.images.find(tag)
    rebuild(fleet, tag)
    fleet(fleet.codebuild.end(tag, content="first"))
    assert fleet.row(tag)["content_tag"] == "first"
    fleet.pass_time(8 * DAY)
    now = int(fleet.codebuild.now)
    fleet.upkeep._delete_superseded(stale, [], before=now)
    assert digest_of("first") == fleet.row(tag)["image_digest"]


def test_whatever_call_the_upkeep_dies_at_it_is_made_up_for(fleet: Fleet) -> None:
    for calls in CALLS:
        tag = f"image-{calls:012x}"
        fleet.build(tag, content=tag)
        fleet.pass_time(60 * DAY)
        reached = die(fleet, calls, 1, lambda: fleet(SCHEDULED))
        fleet(SCHEDULED)
        assert fleet.aws.image(tag) is None
        assert digest_of(tag) is None
        assert fleet.launched(f"fleet-runner-abc-{tag}") == ""
        if not reached:
            return
    pytest.fail("there is no end to its calls")


def test_a_deployment_builds_the_default_image_before_the_first_job(aws: Aws, fleet: Fleet) -> None:
    fleet(DEPLOYED)
    projects = [params["projectName"] for params in aws.codebuild.named("StartBuild")]
    assert projects == ["fleet-images", "fleet-images-arm64"]
    assert len(set(fleet.starts)) == 2
    for tag in fleet.starts:
        assert tag.startswith("default-")
        assert fleet.row(tag)["task_definition"] == f"fleet-runner-abc-{tag}"
        assert fleet.row(tag)["image_base"] == "public.ecr.aws/ubuntu/ubuntu:24.04"
    fleet(DEPLOYED)
    assert len(fleet.starts) == 2, "their builds are under way"


def test_a_fleet_with_a_ready_image_builds_none(
    fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    ready = {"name": "default", "task_definitions": {"X86_64": "fleet:7"}}
    environment.setenv("IMAGES", json.dumps([ready]))
    fleet(DEPLOYED)
    assert fleet.starts == []


def test_images_of_classes_are_built_at_a_deployment_and_kept_too(
    aws: Aws, fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    gpu = {"name": "gpu", "base": "ghcr.io/o/cuda:1", "recipe": "4567", "architectures": ["ARM64"]}
    ready = {"name": "default", "task_definitions": {"X86_64": "fleet:7"}}
    environment.setenv("IMAGES", json.dumps([ready, gpu]))
    fleet(DEPLOYED)
    [params] = aws.codebuild.named("StartBuild")
    assert params["projectName"] == "fleet-images-arm64"
    tag = image_tag("ghcr.io/o/cuda:1", recipe="4567", architecture="ARM64", readable="gpu")
    assert fleet.starts == [tag]
    fleet(fleet.codebuild.end(tag))
    fleet.pass_time(8 * DAY)
    fleet.images.used(tag, at=int(fleet.codebuild.now), runner_version="2.338.0")
    fleet(SCHEDULED)
    assert fleet.codebuild.running == [tag], "it is built anew each week"
    fleet(fleet.codebuild.end(tag))
    fleet.pass_time(70 * DAY)
    fleet(SCHEDULED)
    assert fleet.row(tag)["status"] == "READY"


def test_the_default_image_is_kept_however_long_it_is_not_used(fleet: Fleet) -> None:
    fleet(DEPLOYED)
    tags = list(fleet.starts)
    for tag in tags:
        fleet(fleet.codebuild.end(tag))
    fleet.pass_time(70 * DAY)
    fleet(SCHEDULED)
    assert {fleet.row(tag)["status"] for tag in tags} == {"READY"}


def test_a_first_build_that_there_is_no_room_for_is_left_to_the_first_job(fleet: Fleet) -> None:
    fleet.codebuild.busy = "AccountLimitExceededException"
    fleet(DEPLOYED)  # does not fail, or it would end among the failed events
    fleet(SCHEDULED)
    (wanted, _) = fleet.queue.read().jobs
    assert fleet.row(wanted)["status"] == "QUEUED"
    fleet.codebuild.busy = ""
    fleet.join(RUNNER, tag=wanted)
    assert fleet.request(wanted) == "BUILDING"


def test_upkeep_that_fails_otherwise_is_tried_again(aws: Aws, fleet: Fleet) -> None:
    def unclear(_: dict[str, Any]) -> Any:
        raise fleet_aws_error()

    aws.codebuild.answers["StartBuild"] = unclear
    with pytest.raises(BuildNotStarted):
        fleet(DEPLOYED)
