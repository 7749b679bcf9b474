"""Who takes revisions of task definitions away, and whose."""

from __future__ import annotations

from typing import Any

import pytest

import deregister_revision
from fleet_runtime.aws.client import client
from fleet_runtime.images.revisions import (
    NotOursError,
    RevisionNotRemovedError,
    RevisionRemover,
)

REMOVER = "deregister-revision"
FOREIGN = ["payments", "fleet-runner", "fleet-runners-7", "a-fleet-runner-7"]


def revision_of(family: str) -> str:
    made = client("ecs").register_task_definition(
        family=family, containerDefinitions=[{"name": "runner", "image": "i", "memory": 512}]
    )
    arn: str = made["taskDefinition"]["taskDefinitionArn"]
    return arn


def is_active(revision: str) -> bool:
    found = client("ecs").describe_task_definition(taskDefinition=revision)["taskDefinition"]
    return bool(found["status"] == "ACTIVE")


@pytest.mark.usefixtures("aws")
def test_a_revision_of_the_fleets_is_taken_away(context: Any) -> None:
    revision = revision_of("fleet-runner-7-default-0123456789ab")
    remover = RevisionRemover(functions=client("lambda"), function_name=REMOVER)
    remover.remove(revision)
    assert not is_active(revision)
    # once more, as whoever died before it knew does
    deregister_revision.handler({"revision": revision}, context)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("family", FOREIGN)
def test_a_revision_of_somebody_elses_stays(context: Any, family: str) -> None:
    revision = revision_of(family)
    with pytest.raises(NotOursError, match="is of no family of fleet-runner-"):
        deregister_revision.handler({"revision": revision}, context)
    for name in (family, f"{family}:1", "", "arn", f"x:task-definition/fleet-runner-7:1{revision}"):
        with pytest.raises(NotOursError):
            deregister_revision.handler({"revision": name}, context)
    assert is_active(revision)


@pytest.mark.usefixtures("aws")
def test_who_asks_is_told_that_a_revision_is_still_there() -> None:
    remover = RevisionRemover(functions=client("lambda"), function_name=REMOVER)
    with pytest.raises(RevisionNotRemovedError, match=r"payments:1 is still there: .*no family"):
        remover.remove(revision_of("payments"))
