"""Which image a task-definition family launches, over the real handler."""

from __future__ import annotations

import json
from typing import Any

import pytest

import define_task
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


# --- families of classes with mounts

MOUNTED = f"{FAMILY}-mounts-7"
VOLUMES = [
    {
        "name": "efs-0",
        "efsVolumeConfiguration": {
            "fileSystemId": "fs-1",
            "rootDirectory": "/",
            "transitEncryption": "ENABLED",
            "authorizationConfig": {"iam": "ENABLED", "accessPointId": "fsap-1"},
        },
    }
]
POINTS = [{"sourceVolume": "efs-0", "containerPath": "/mnt/cache", "readOnly": False}]


@pytest.fixture
def with_mounts(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A fleet with a class that has a file system."""
    client("ecs").register_task_definition(
        family="fleet-runner-mounts-7",
        cpu="512",
        memory="1024",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        runtimePlatform={"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        volumes=VOLUMES,
        containerDefinitions=[{"name": "runner", "image": "base", "mountPoints": POINTS}],
    )
    bases = {"-mounts-7": "fleet-runner-mounts-7"}
    monkeypatch.setenv("MOUNTED_TASK_DEFINITIONS", json.dumps(bases))
    return fleet


def test_an_image_has_a_family_for_each_of_the_bases_with_mounts(with_mounts: Fleet) -> None:
    with_mounts.build(content="c")
    assert with_mounts.launched() == f"{REPOSITORY}@{digest_of('c')}"
    made = client("ecs").describe_task_definition(taskDefinition=MOUNTED)["taskDefinition"]
    [runner] = made["containerDefinitions"]
    assert runner["image"] == f"{REPOSITORY}@{digest_of('c')}"
    assert (made["volumes"], runner["mountPoints"]) == (VOLUMES, POINTS)
    assert made["runtimePlatform"]["cpuArchitecture"] == "X86_64"
    plain = client("ecs").describe_task_definition(taskDefinition=FAMILY)["taskDefinition"]
    assert not plain.get("volumes")
    assert with_mounts.row()["task_definition"] == FAMILY, "nobody but define_task knows of it"


def test_an_image_that_is_there_gets_the_families_of_a_class_that_is_new(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the first launch after the deployment, whose families have other names; no build."""
    fleet.build(content="c")
    assert fleet.launched(MOUNTED) == ""
    base = client("ecs").register_task_definition(
        family="fleet-runner-mounts-7",
        containerDefinitions=[{"name": "runner", "image": "base", "memory": 512}],
    )["taskDefinition"]["taskDefinitionArn"]
    monkeypatch.setenv("MOUNTED_TASK_DEFINITIONS", json.dumps({"-mounts-7": base}))
    define_task._families.cache_clear()
    family = f"fleet-runner-new-{TAG}"
    fleet.join("fleet-2-1")
    assert fleet.request(runner="fleet-2-1", task_definition=family) == "READY"
    assert fleet.starts == [TAG]
    assert fleet.launched(f"{family}-mounts-7") == f"{REPOSITORY}@{digest_of('c')}"


def test_a_family_with_mounts_that_is_missing_is_made_when_a_launch_says_so(
    with_mounts: Fleet,
) -> None:
    with_mounts.build(content="c")
    [revision] = active(MOUNTED)
    client("ecs").deregister_task_definition(taskDefinition=revision)
    assert with_mounts.launched(MOUNTED) == ""
    with_mounts.join("fleet-2-1")
    assert with_mounts.request(runner="fleet-2-1", gone=True) == "READY"
    assert with_mounts.launched(MOUNTED) == f"{REPOSITORY}@{digest_of('c')}"
    assert with_mounts.starts == [TAG], "nothing is built again"


def test_a_family_with_mounts_launches_what_the_other_does_and_nothing_else(
    with_mounts: Fleet,
) -> None:
    with_mounts.join(RUNNER)
    with_mounts.request()
    event = with_mounts.codebuild.end(TAG, content="c")
    with_mounts.pass_time(1)
    with_mounts(event)
    client("ecs").register_task_definition(
        family=MOUNTED,
        containerDefinitions=[
            {"name": "runner", "image": f"{REPOSITORY}@sha256:{'0' * 64}", "memory": 512}
        ],
    )
    with_mounts(event)  # told again
    assert with_mounts.launched(MOUNTED) == with_mounts.launched() != ""
    assert (len(active(MOUNTED)), len(active(FAMILY))) == (1, 1)


def test_a_retired_image_is_launched_by_no_family_with_mounts(with_mounts: Fleet) -> None:
    with_mounts.build()
    retire(with_mounts)
    assert (with_mounts.launched(), with_mounts.launched(MOUNTED)) == ("", "")


def active(family: str) -> list[str]:
    listed: list[str] = client("ecs").list_task_definitions(familyPrefix=family, status="ACTIVE")[
        "taskDefinitionArns"
    ]
    return listed
