"""The function that may define any task of the account: whose it does define."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

import define_task
from fleet_runtime.aws.client import client
from fleet_runtime.images.families import NotOursError
from fleet_runtime.images.task_definitions import TaskDefinitions

from . import image_fleet
from .image_fleet import FAMILY, REPOSITORY

fleet = image_fleet.fleet

IMAGE = f"{REPOSITORY}@sha256:{'0' * 64}"
FOREIGN = ["payments", "fleet-runner", "fleet-runners-7", "a-fleet-runner-7", "", f"{FAMILY}/x"]


def asked(context: Any, do: str, **about: str) -> str:
    return define_task.handler({"do": do, **about}, context)["revision"]


def active(family: str) -> list[str]:
    listed: list[str] = client("ecs").list_task_definitions(familyPrefix=family)[
        "taskDefinitionArns"
    ]
    return listed


@pytest.mark.usefixtures("fleet")
def test_a_family_is_made_and_taken_away(context: Any) -> None:
    about = {"family": FAMILY, "image": IMAGE, "architecture": "X86_64"}
    revision = asked(context, "register", **about)
    assert active(FAMILY) == [revision]
    # once more, as whoever died before it knew does
    assert asked(context, "register", **about) == revision
    asked(context, "keep_only", revision=revision)
    asked(context, "withdraw", family=FAMILY, image="")
    asked(context, "withdraw", family=FAMILY, image="")
    assert active(FAMILY) == []


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("family", FOREIGN)
def test_a_family_of_somebody_elses_stays_as_it_is(context: Any, family: str) -> None:
    about = {"family": family, "image": IMAGE, "architecture": "X86_64"}
    with pytest.raises(NotOursError, match="is not the fleet's, whose are fleet-runner-…"):
        asked(context, "register", **about)
    client("ecs").register_task_definition(
        family="payments",
        containerDefinitions=[{"name": "runner", "image": "i", "memory": 512}],
    )
    theirs = active("payments")
    arn = f"arn:aws:ecs:us-east-1:123456789012:task-definition/{family}:1"
    with pytest.raises(NotOursError):
        asked(context, "withdraw", family=family, image="")
    with pytest.raises(NotOursError):
        asked(context, "keep_only", revision=arn)
    assert active("payments") == theirs


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    "image",
    [
        "public.ecr.aws/evil/x:1",
        f"{REPOSITORY}:latest",
        f"{REPOSITORY}-x@sha256:00",
        "",
        REPOSITORY,
    ],
)
def test_an_image_that_the_fleet_has_not_built_is_launched_by_no_family(
    context: Any, image: str
) -> None:
    with pytest.raises(NotOursError, match=r"is not the fleet's, whose are .*@sha256:"):
        asked(context, "register", family=FAMILY, image=image, architecture="X86_64")
    assert active(FAMILY) == []


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("event", [{}, {"do": "delete"}, {"do": "register"}, {"family": FAMILY}])
def test_there_is_nothing_else_to_ask_for(context: Any, event: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is nothing that is done here"):
        define_task.handler(event, context)


@pytest.mark.usefixtures("fleet")
def test_who_asks_is_told_what_was_refused() -> None:
    families = TaskDefinitions(functions=client("lambda"), function_name="define-task", prefix="x")
    with pytest.raises(ClientError, match=r"NotOursError.*family x-tag is not the fleet's"):
        families.withdraw(families.name("tag"), image="")
