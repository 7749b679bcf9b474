"""The shipped machine, executed: from a turn to a task."""

from __future__ import annotations

import pytest

from ..rig import Rig
from .scenarios import NO_CAPACITY, api_error, no_capacity

# --- turns ----------------------------------------------------------------------------------


def in_line(rig: Rig, runner_id: str, **more: dict[str, str]) -> None:
    row = {"runner_id": {"S": runner_id}, "waiting_for": {"S": "turn"}, "live": {"S": "in_line"}}
    rig.dynamodb.put_item(TableName=rig.runners, Item=row | more)


def test_a_runner_whose_turn_has_come_takes_its_row_over(rig: Rig) -> None:
    in_line(rig, "fleet-90-1", start_input={"S": "{}"})
    life = rig.start(runner_id="fleet-90-1", head_sha="abc", queued_delivery="d-1", in_line_at=7)
    life.parked("runner")
    row = life.row()
    assert row["live"] == "started"
    assert "start_input" not in row
    assert (row["head_sha"], row["queued_delivery"], row["in_line_at"]) == ("abc", "d-1", "7")
    life.fail("runner", "Runner.Terminated").end()
    assert "live" not in life.row()


def test_a_runner_released_in_line_does_not_start(rig: Rig) -> None:
    in_line(rig, "fleet-91-1", released_at={"N": "1"})
    assert rig.start(runner_id="fleet-91-1").path() == ["RecordRunner", "EndQuietly"]


def test_a_runner_that_stood_in_no_line_has_no_time_in_it(rig: Rig) -> None:
    life = rig.start()
    life.parked("runner")
    assert life.row()["in_line_at"] == "0"
    asked = {name: life.row()[name] for name in ("asked_by", "registered_for")}
    assert asked == {
        "asked_by": "octo-org/octo-repo",
        "registered_for": "repos/octo-org/octo-repo",
    }
    life.fail("runner", "Runner.Terminated").end()


# --- capacity -------------------------------------------------------------------------------


def test_no_capacity_takes_the_next_provider(rig: Rig) -> None:
    life = no_capacity(rig.life()).start(capacity=("FARGATE_SPOT", "FARGATE"))
    life.parked("runner")
    assert life.row()["capacity_provider"] == "FARGATE"
    life.succeed("runner", "job", "completion")
    assert life.path().count("LaunchTask") == 2


def test_no_capacity_anywhere_waits_and_tries_again(rig: Rig) -> None:
    life = rig.life().fault(on="ecs:RunTask", outcome="failure", reason="RESOURCE:ENI")
    life.start(timeouts={"AwaitCapacity": "1"}).succeed("runner", "job", "completion")
    assert life.path()[:5] == [
        "RecordRunner",
        "LaunchTask",
        "CheckLaunch",
        "AwaitCapacity",
        "LaunchTask",
    ]


def test_no_capacity_as_an_exception_waits_too(rig: Rig) -> None:
    rule = api_error("ecs:RunTask", code="ClientException") | {"message": NO_CAPACITY}
    life = rig.life().fault(**rule)
    life.start(timeouts={"AwaitCapacity": "1"}).succeed("runner", "job", "completion")
    assert "AwaitCapacity" in life.path()


def test_a_permanent_failure_fails_at_once_with_its_reason(rig: Rig) -> None:
    life = rig.life().fault(on="ecs:RunTask", outcome="failure", reason="MISSING").start()
    assert life.path().count("LaunchTask") == 1
    assert life.row()["error"] == "Runner.LaunchFailed"
    assert "MISSING" in life.row()["cause"]
    assert float(life.row()["cost_usd"]) == 0  # no task was started


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("Runner.TaskStopped", "a test said so"),
        ("Runner.TaskStopped", "Fargate is not supported in this availability zone"),
        ("Runner.BootTimeout", "it did not claim"),
    ],
)
def test_each_task_of_a_runner_is_in_what_it_cost(rig: Rig, error: str, cause: str) -> None:
    life = rig.start(timeouts={"AwaitCapacity": "1"})
    life.parked("runner")
    assert float(life.row()["cost_usd"]) == 0
    life.fail_again("runner", error, cause)
    assert float(life.row()["cost_usd"]) == pytest.approx(0.0006)  # a minute at the least
    life.succeed("runner", "job", "completion")
    life.end()
    assert float(life.row()["cost_usd"]) == pytest.approx(0.0012)


def test_a_task_has_tags_by_which_its_cost_can_be_told(rig: Rig) -> None:
    rig.ecs.register_task_definition(
        family="tagged",
        requiresCompatibilities=["FARGATE"],
        containerDefinitions=[{"name": "runner", "image": "x"}],
        tags=[{"key": "runner-fleet:fleet", "value": "Ci"}, {"key": "team", "value": "a b"}],
    )
    life = rig.start(family="tagged", class_name="größe~2", repository="octo-org/octo_repo.x")
    life.parked("runner")
    [arn] = rig.running_tasks(life.runner_id)
    [task] = rig.ecs.describe_tasks(cluster=rig.cluster, tasks=[arn], include=["TAGS"])["tasks"]
    tags = {tag["key"]: tag["value"] for tag in task["tags"]}
    assert tags.pop("aws:ecs:clusterName")
    assert tags == {
        "runner-fleet:fleet": "Ci",
        "runner-fleet:class": "gr__e_2",
        "runner-fleet:repository": "octo-org/octo_repo.x",
        "team": "a b",
    }


def test_why_a_runner_without_a_task_was_released_stands_on_its_row(rig: Rig) -> None:
    capacity = no_capacity(rig.life()).start()
    image = rig.start(family="unknown")
    for life, phase in ((capacity, "capacity"), (image, "image")):
        life.fail(phase, "Runner.Released", "the fleet is drained")
        assert life.end()["status"] == "SUCCEEDED"
        assert life.row()["end_reason"] == "the fleet is drained"
