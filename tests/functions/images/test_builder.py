"""Images over the real handler: who asks for one, turns, failures, and what is there already."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

import build_image
from fleet_runtime.aws.client import client
from fleet_runtime.images.build_queue import (
    BuildNotStarted,
    BuildQueue,
)
from fleet_runtime.images.rows import RETRY_SECONDS
from fleet_runtime.job.image_reference import image_tag

from ..aws_stand_in import DEFAULT_IMAGE, ENVIRONMENT, RUNNER, Aws
from ..builds_stand_in import digest_of
from ..image_fleet import (
    BASE,
    DAY,
    FAMILY,
    REPOSITORY,
    SCHEDULED,
    TAG,
    TIMEOUT,
    Fleet,
    current_tag,
    fleet_aws_error,
    rebuild,
)

RECIPE = ENVIRONMENT["IMAGE_RECIPE"]

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
        "RECIPE_DIGEST": RECIPE,
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
    assert waiting == [0] * 5 + [1, 2]
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


# --- whose they are -------------------------------------------------------------------------


def test_one_repositorys_images_keep_no_others_image_waiting(
    fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    """Not even while all of its builds hang: the last turn is kept for another repository."""
    environment.setenv("KEEP_BUILD_TURN", "on")
    crowd = [f"image-{number:012x}" for number in range(20)]
    for tag in crowd:
        fleet.join(f"fleet-{tag}", tag=tag)
        fleet.request(tag, f"fleet-{tag}", repository="octo-org/crowd")
    assert fleet.starts == crowd[:4]
    fleet.join(RUNNER)
    assert fleet.request() == "BUILDING"
    assert fleet.starts == [*crowd[:4], TAG]


def test_an_image_that_another_repository_asked_for_first_does_not_wait_for_its_turn(
    fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MAX_BUILDS", "1")
    crowd = [f"image-{number:012x}" for number in range(5)]
    for tag in [*crowd, TAG]:
        fleet.join(f"fleet-{tag}", tag=tag)
        fleet.request(tag, f"fleet-{tag}", repository="octo-org/crowd")
    assert fleet.row()["asked_by"] == {"octo-org/crowd"}
    fleet.join(RUNNER)
    assert fleet.request() == "QUEUED"
    assert fleet.row()["asked_by"] == {"octo-org/crowd", "octo-org/one"}
    fleet(fleet.codebuild.end(crowd[0]))
    assert fleet.starts == [crowd[0], TAG]
    fleet(fleet.codebuild.end(TAG))
    assert "asked_by" not in fleet.row()


def chosen(name: str, *, recipe: str = RECIPE) -> dict[str, str]:
    """The image of a job that chose a base, as dispatch names it."""
    base = f"public.ecr.aws/docker/library/{name}:1"
    tag = image_tag(base, recipe=recipe, architecture="X86_64")
    return {"tag": tag, "image_base": base}


def build(fleet: Fleet, runner: str, *, tag: str, image_base: str) -> None:
    fleet.join(runner, tag=tag)
    fleet.request(tag, runner, image_base=image_base)
    fleet(fleet.codebuild.end(tag))


def test_a_repository_that_has_as_many_images_as_it_may_gets_no_further_one(
    aws: Aws, fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MAX_IMAGES_PER_REPOSITORY", "3")
    images = [chosen(f"image-{number}") for number in range(3)]
    for number, image in enumerate(images):
        build(fleet, f"fleet-{number}-1", **image)
    fleet.join(RUNNER, "fleet-2-1")
    assert fleet.request() == "FAILED"
    assert len(fleet.starts) == 3
    [*_, (token, failure, cause)] = aws.resumed
    assert len(aws.resumed) == 4
    assert (token, failure) == (f"token-{RUNNER}", "Image.TooMany")
    assert "octo-org/one has 3 images of its own, as many as one repository may have" in cause
    assert fleet.row()["waiters"] == {"fleet-2-1"}, "it is said to this runner alone"
    assert fleet.request(runner="fleet-2-1", repository="octo-org/two") == "BUILDING"
    assert fleet.request(**images[0]) == "READY", "what it has it may go on using"


@pytest.mark.parametrize(
    "change",
    [
        {
            "IMAGE_RECIPE": "another",
            "IMAGES": json.dumps([DEFAULT_IMAGE | {"recipe": "another"}]),
        },
        {"ALLOWED_IMAGES": json.dumps(["public.ecr.aws/docker/library/ubuntu:*"])},
    ],
    ids=["recipe", "list"],
)
def test_images_that_no_job_gets_since_a_deployment_take_nobodys_place(
    aws: Aws, environment: pytest.MonkeyPatch, fleet: Fleet, change: dict[str, str]
) -> None:
    """Else a repository with as many as it may have would get none for two months."""
    environment.setenv("MAX_IMAGES_PER_REPOSITORY", "1")
    build(fleet, "fleet-7-1", **chosen("python"))
    for name, value in change.items():
        environment.setenv(name, value)
    build_image._parts.cache_clear()  # type: ignore[attr-defined]
    anew = chosen("ubuntu", recipe=change.get("IMAGE_RECIPE", RECIPE))
    assert fleet.request(**anew) == "BUILDING"


@pytest.mark.parametrize("status", ["FAILED", "RETIRED"])
def test_an_image_that_is_gone_makes_room_for_another(
    fleet: Fleet, environment: pytest.MonkeyPatch, status: str
) -> None:
    environment.setenv("MAX_IMAGES_PER_REPOSITORY", "1")
    image = chosen("python")
    build(fleet, RUNNER, **image)
    assert fleet.request() == "FAILED"
    fleet.aws.dynamodb.update_item(
        TableName="images",
        Key={"image_tag": {"S": image["tag"]}},
        UpdateExpression="SET #status = :gone",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":gone": {"S": status}},
    )
    assert fleet.request() == "BUILDING"


GPU: dict[str, Any] = {
    "name": "gpu",
    "base": "ghcr.io/o/cuda:1",
    "recipe": "4567",
    "architectures": ["X86_64"],
}


def recipes_of(fleet: Fleet) -> dict[str, str]:
    """By which recipe each image was built."""
    variables = [
        {one["name"]: one["value"] for one in params["environmentVariablesOverride"]}
        for params in fleet.aws.codebuild.named("StartBuild")
    ]
    return {one["IMAGE_TAG"]: one["RECIPE_DIGEST"] for one in variables}


def test_each_image_is_built_by_its_own_recipe(
    fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("IMAGES", json.dumps([DEFAULT_IMAGE, GPU]))
    build_image._parts.cache_clear()  # type: ignore[attr-defined]
    of_class = image_tag(GPU["base"], recipe="4567", architecture="X86_64", readable="gpu")
    before = image_tag(GPU["base"], recipe="3456", architecture="X86_64", readable="gpu")
    on_a_base = chosen("python")
    for tag, base in (
        (of_class, GPU["base"]),
        (before, GPU["base"]),
        (on_a_base["tag"], on_a_base["image_base"]),
    ):
        assert fleet.request(tag, image_base=base) == "BUILDING"
    assert recipes_of(fleet) == {
        of_class: "4567",
        # asked for before a deployment: by what has come in its place
        before: "4567",
        on_a_base["tag"]: RECIPE,
    }


def test_the_default_image_is_nobodys(fleet: Fleet, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MAX_IMAGES_PER_REPOSITORY", "1")
    environment.setenv("MAX_BUILDS", "1")
    fleet.request("image-1")
    fleet.request("image-2", repository="octo-org/two")
    default = fleet.upkeep.defaults[0]
    assert fleet.request(default.tag, image_base=default.base) == "QUEUED"
    assert "asked_by" not in fleet.row(default.tag)
    fleet(fleet.codebuild.end("image-1"))
    assert fleet.starts == ["image-1", default.tag]


def test_what_builds_cost_counts_once_on_the_day_they_end(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    fleet.pass_time(4 * 60 + 1)
    ended = fleet.codebuild.end(TAG, status="FAILED")
    for _ in range(2):
        fleet(ended)
    fleet.build("image-2")
    day = datetime.fromtimestamp(fleet.codebuild.now, UTC).date().isoformat()
    assert fleet.queue.read().spent == {day: 0.03}  # five minutes begun, and one


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


@pytest.mark.parametrize(
    "base",
    [
        "ghcr.io/evil/base:1",
        # the builds' role may pull there, for the cache
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/fleet-runner:default-0",
        "",
    ],
)
def test_a_base_that_is_not_allowed_is_not_built_whoever_asks(
    aws: Aws, fleet: Fleet, base: str
) -> None:
    fleet.join(RUNNER)
    assert fleet.request(image_base=base) == "FAILED"
    assert fleet.starts == []
    [(_, error, cause)] = aws.resumed
    assert error == "Image.BuildFailed"
    assert f"nothing is built on {base}, which is not among allowed_images" in cause
    assert fleet.queue.read() == BuildQueue()


def test_an_image_whose_base_is_no_longer_allowed_is_not_built_anew(
    fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    tag = current_tag(fleet)
    fleet.build(tag)
    environment.setenv("ALLOWED_IMAGES", "[]")
    build_image._parts.cache_clear()
    fleet.pass_time(7 * DAY)
    fleet(SCHEDULED)
    assert fleet.starts == [tag]
    assert fleet.row(tag)["status"] == "READY"
    assert "rebuild_error" not in fleet.row(tag)


def test_a_rebuild_in_line_is_given_up_once_its_base_is_no_longer_allowed(
    fleet: Fleet, environment: pytest.MonkeyPatch
) -> None:
    tag = current_tag(fleet)
    fleet.build(tag)
    fleet.builder.rebuild(fleet.images.find(tag))
    environment.setenv("ALLOWED_IMAGES", "[]")
    build_image._parts.cache_clear()
    fleet.builder.advance("next")
    assert fleet.starts == [tag]
    assert fleet.row(tag)["status"] == "READY"
    assert "not among allowed_images" in fleet.row(tag)["rebuild_error"]
    assert fleet.queue.read() == BuildQueue()


@pytest.mark.parametrize("comes_next", ["request", "ended", "schedule", "itself"])
def test_a_build_that_cannot_be_looked_after_holds_up_no_other(
    fleet: Fleet, unregistered: list[str], comes_next: str
) -> None:
    tags = fleet.lose_ends(2)
    unregistered.append(tags[0])
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
    fleet.queue.change(lambda queue: replace(queue, wanted=()))
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
