"""Which image a task-definition family launches, over the real handler."""

from __future__ import annotations

from typing import Any

from fleet_runtime.aws.client import client

from ..aws_stand_in import RUNNER
from ..builds_stand_in import digest_of
from ..image_fleet import FAMILY, REPOSITORY, TAG, Fleet, leave_a_revision, retire


def test_the_family_is_the_base_with_another_image(fleet: Fleet) -> None:
    fleet.build(content="c")
    made = client("ecs").describe_task_definition(taskDefinition=FAMILY)["taskDefinition"]
    runner, sidecar = made["containerDefinitions"]
    assert runner["image"] == f"{REPOSITORY}@{digest_of('c')}"
    assert (runner["stopTimeout"], sidecar["image"]) == (120, "other")
    assert (made["cpu"], made["memory"], made["networkMode"]) == ("512", "1024", "awsvpc")
    assert made["executionRoleArn"] == "arn:aws:iam::123456789012:role/execution"
    assert made["taskRoleArn"] == "arn:aws:iam::123456789012:role/task", "it shows by it who it is"
    assert made["runtimePlatform"]["cpuArchitecture"] == "X86_64"
    assert made["requiresCompatibilities"] == ["FARGATE"]


def test_the_same_end_twice_makes_one_revision(fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    event = fleet.codebuild.end(TAG)
    fleet.pass_time(1)
    fleet(event)
    before = fleet.row()
    fleet.pass_time(100)
    fleet(event)
    assert fleet.row() == before
    assert len(fleet.told) == 1
    listed = client("ecs").list_task_definitions(familyPrefix=FAMILY)["taskDefinitionArns"]
    assert len(listed) == 1


def test_a_ready_image_gets_a_family_of_the_new_task_definition(fleet: Fleet) -> None:
    fleet.build(content="c")
    family = f"fleet-runner-new-{TAG}"
    fleet.join("fleet-2-1")
    assert fleet.request(runner="fleet-2-1", task_definition=family) == "READY"
    assert fleet.starts == [TAG]
    assert fleet.launched(family) == f"{REPOSITORY}@{digest_of('c')}"
    assert fleet.row()["task_definition"] == family
    assert ("token-fleet-2-1", "Success") in fleet.told
    assert fleet.launched(FAMILY), "what was started before still launches it"


def test_one_makes_the_new_family_for_all(fleet: Fleet) -> None:
    fleet.build()
    family = f"fleet-runner-new-{TAG}"
    fleet.join("fleet-2-1", "fleet-3-1")

    def meanwhile(model: Any, **_: object) -> None:
        if model.name == "RegisterTaskDefinition":
            assert fleet.request(runner="fleet-3-1", task_definition=family) == "BUILDING"

    client("ecs").meta.events.register("before-call.ecs", meanwhile)
    try:
        fleet.request(runner="fleet-2-1", task_definition=family)
    finally:
        client("ecs").meta.events.unregister("before-call.ecs", meanwhile)
    assert {token for token, _ in fleet.told} >= {"token-fleet-2-1", "token-fleet-3-1"}
    listed = client("ecs").list_task_definitions(familyPrefix=family)["taskDefinitionArns"]
    assert len(listed) == 1


def test_a_retired_image_is_launched_by_no_family(fleet: Fleet) -> None:
    fleet.build()
    former = f"fleet-runner-old-{TAG}"
    fleet.join("fleet-2-1")
    fleet.request(runner="fleet-2-1", task_definition=former)
    assert fleet.launched(former)
    retire(fleet)
    assert (fleet.launched(former), fleet.launched()) == ("", "")


def test_a_retired_image_leaves_no_revision_that_could_be_launched(fleet: Fleet) -> None:
    leave_a_revision(f"{REPOSITORY}@sha256:{'0' * 64}")
    fleet.build()
    leave_a_revision(fleet.launched())
    retire(fleet)
    assert fleet.launched() == ""


def test_an_image_that_is_ready_is_the_only_one_its_family_launches(fleet: Fleet) -> None:
    old = f"{REPOSITORY}@sha256:{'0' * 64}"
    leave_a_revision(old)
    fleet.join(RUNNER)
    fleet.request()
    event = fleet.codebuild.end(TAG, content="c")
    fleet.pass_time(1)
    fleet(event)
    listed = client("ecs").list_task_definitions(familyPrefix=FAMILY)["taskDefinitionArns"]
    assert listed == [fleet.row()["task_definition_arn"]]
    leave_a_revision(old)
    fleet(event)  # told again
    assert fleet.launched() == f"{REPOSITORY}@{digest_of('c')}"


def registration(fleet: Fleet) -> dict[str, Any]:
    """Build an image; returns what its family was registered with."""
    asked: list[dict[str, Any]] = []
    events, name = client("ecs").meta.events, "provide-client-params.ecs.RegisterTaskDefinition"
    events.register(name, lambda params, **_: asked.append(params), unique_id="asked")
    try:
        fleet.build()
    finally:
        events.unregister(name, unique_id="asked")
    [request] = asked
    return request


def test_the_family_has_the_tags_of_the_base_but_not_those_of_aws(fleet: Fleet) -> None:
    ecs = client("ecs")
    base = ecs.describe_task_definition(taskDefinition="fleet-runner-abc")["taskDefinition"]
    given = {"runner-fleet:fleet": "Ci", "team": "a", "aws:cloudformation:stack-name": "Ci"}
    ecs.tag_resource(
        resourceArn=base["taskDefinitionArn"],
        tags=[{"key": key, "value": value} for key, value in given.items()],
    )
    request = registration(fleet)
    assert {tag["key"]: tag["value"] for tag in request["tags"]} == {
        "runner-fleet:fleet": "Ci",
        "team": "a",
    }


def test_a_base_without_tags_asks_for_no_permission_to_give_some(fleet: Fleet) -> None:
    assert "tags" not in registration(fleet)
