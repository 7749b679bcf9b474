"""A fleet is removed: what stands in the way, and the drain that takes it away first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cdk_runner_fleet.cli import main
from cdk_runner_fleet.local.assembly import STACK
from cdk_runner_fleet.local.emulator.options import REGION
from cdk_runner_fleet.local.fleet import LocalFleet
from tests import settings
from tests.waiting import until

from .conftest import Fleet

Run = Callable[..., Any]


@pytest.fixture
def doomed() -> Iterator[Fleet]:
    """A fleet of its own: the test deletes it."""
    with LocalFleet(context=settings.ALONE) as local:
        yield Fleet(local)


@pytest.fixture
def run(doomed: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    for name, value in {
        "AWS_ENDPOINT_URL": doomed.local.endpoint_url,
        "AWS_ACCESS_KEY_ID": doomed.local.access_key_id,
        "AWS_SECRET_ACCESS_KEY": doomed.local.secret_access_key,
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("cdk_runner_fleet.cli.drain._LOOK_SECONDS", 0.1)

    def call(*arguments: str) -> Any:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--stack", STACK, "--output", "json"])
        captured = capsys.readouterr()
        assert not ended.value.code, captured.err
        return json.loads(captured.out)

    return call


def delete(fleet: Fleet) -> str:
    """Delete the stack; returns the status that it comes to."""
    cloudformation = fleet.local.client("cloudformation")
    stack_id = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackId"]
    cloudformation.delete_stack(StackName=STACK)

    def status() -> str | None:
        stack = cloudformation.describe_stacks(StackName=stack_id)["Stacks"][0]
        found: str = stack["StackStatus"]
        return None if found.endswith("_IN_PROGRESS") else found

    return str(until(status, "the stack is deleted or not"))


def families(fleet: Fleet) -> list[str]:
    found: list[str] = fleet.local.client("ecs").list_task_definition_families(status="ACTIVE")[
        "families"
    ]
    return found


def test_a_fleet_is_drained_taken_back_and_drained_again_and_then_it_can_be_deleted(
    doomed: Fleet, run: Run
) -> None:
    idle, busy = doomed.queue(), doomed.job()
    doomed.status(idle, "WAITING_FOR_JOB")
    assert families(doomed), "the default image has one"
    first = run("cluster", "drain")
    assert first["runners_ended"] == 1
    row = doomed.status(idle, "OFFLINE")
    assert row["end_reason"] == "the fleet is drained"
    doomed.nothing_is_left_of(idle)
    assert first["families"]
    assert not {*first["families"]} & {*families(doomed)}

    waiting = doomed.queue(id=busy["id"])
    assert "drained" in doomed.until(waiting, lambda row: row.get("waiting_for"))["waiting_reason"]
    assert run("cluster", "resume") == {"resumed": True}
    doomed.local.client("lambda").invoke(
        FunctionName=doomed.local.outputs["ReconcileDemandFunctionName"], Payload=b"{}"
    )
    # the family is gone, and is made again for the image that is still there
    doomed.status(waiting, "WAITING_FOR_JOB")
    doomed.send("in_progress", busy | {"status": "in_progress", "runner_name": waiting})
    doomed.status(waiting, "RUNNING")

    last = run("cluster", "drain", "--terminate")
    assert last["runners_ended"] == 1
    assert doomed.status(waiting, "FAILED")["error"] == "Runner.Terminated"
    doomed.nothing_is_left_of(waiting)
    assert delete(doomed) == "DELETE_COMPLETE"
    assert families(doomed) == []


def test_deleted_with_a_runner_it_stays_half_deleted_until_its_tasks_are_stopped(
    doomed: Fleet, run: Run
) -> None:
    idle = doomed.queue()
    doomed.status(idle, "WAITING_FOR_JOB")
    assert delete(doomed) == "DELETE_FAILED"
    assert doomed.running_tasks(), "and is billed"
    assert run("cluster", "drain", "--terminate")["runners_ended"] == 1
    assert doomed.running_tasks() == []
    assert delete(doomed) == "DELETE_COMPLETE"
    assert families(doomed) == []
