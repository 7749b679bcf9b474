"""What nobody else would end: tasks, registrations, rows and turns that are left over."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from cdk_runner_fleet.local.twin.faults import ApiFault
from fleet_runtime.admission.turns_entry import SETTLED_SECONDS, TurnsEntry
from fleet_runtime.github.registrations import Registrations
from fleet_runtime.reconciliation.sweeps import Sweeps

from ..aws_stand_in import TASK
from .conftest import (
    World,
    task,
)


def test_an_execution_that_was_stopped_leaves_nothing(world: World) -> None:
    world.waiting("fleet-1-1", launched_at=int(time.time()) - 100, capacity_provider="FARGATE")
    world.runner("fleet-1-1")
    world.execution("ABORTED", usd_per_second={"FARGATE": 0.01})
    world.tasks(task("fleet-1-1"))
    world.aws.hold_turn("fleet-1-1")
    event = {
        "detail-type": "Step Functions Execution Status Change",
        "detail": {"name": "fleet-1-1", "status": "ABORTED"},
    }
    assert world.reconcile(event)["swept"] == ["fleet-1-1"]
    assert world.stopped == [TASK]
    assert world.registered() == set()
    row = world.aws.row("fleet-1-1")
    assert row is not None
    assert (row["status"], row["error"]) == ("FAILED", "Runner.ExecutionEnded")
    assert "ABORTED" in row["cause"]
    assert 0.9 < row["cost_usd"] < 1.3
    assert not {"live", "task_token", "waiting_for", "waiting_labels"} & set(row)
    assert world.aws.holders == []
    # and once more: the event may come twice
    assert world.reconcile(event)["swept"] == []


def test_an_earlier_task_of_a_runner_is_in_its_cost_too(world: World) -> None:
    world.waiting(
        "fleet-1-1",
        launched_at=int(time.time()) - 100,
        capacity_provider="FARGATE",
        cost_usd=Decimal("0.5"),
    )
    world.execution("ABORTED", usd_per_second={"FARGATE": 0.01})
    world.reconcile(
        {
            "detail-type": "Step Functions Execution Status Change",
            "detail": {"name": "fleet-1-1", "status": "ABORTED"},
        }
    )
    row = world.aws.row("fleet-1-1")
    assert row is not None
    assert 1.4 < row["cost_usd"] < 1.8


@pytest.mark.parametrize("row", [None, {"status": "OFFLINE", "live": None, "ended_at": 5}])
def test_a_stopped_execution_gives_its_turn_back(world: World, row: dict[str, Any] | None) -> None:
    if row:
        world.row("fleet-1-1", **row)
    world.aws.hold_turn("fleet-1-1")
    event = {
        "detail-type": "Step Functions Execution Status Change",
        "detail": {"name": "fleet-1-1", "status": "TIMED_OUT"},
    }
    assert world.reconcile(event)["swept"] == []
    assert world.aws.holders == []


def test_a_stopped_execution_is_found_without_its_event(world: World) -> None:
    world.row("fleet-1-1", status="RUNNING", started_at=int(time.time()) - 60)
    world.execution("TIMED_OUT")
    assert "fleet-1-1" in world.reconcile()["swept"]
    assert world.aws.row("fleet-1-1")["status"] == "FAILED"  # type: ignore[index]


def test_a_runner_with_a_job_is_not_ended_with_its_execution(world: World) -> None:
    session = world.runner("fleet-1-1")
    job = world.job()
    session.receive()
    session.send("started")
    world.until(lambda: job.status == "in_progress")
    world.row("fleet-1-1", status="RUNNING", started_at=int(time.time()) - 60, job_id=job.id)
    world.execution("ABORTED")
    world.tasks(task("fleet-1-1"))
    report = world.reconcile()
    assert (report["swept"], world.stopped) == ([], [])
    assert world.aws.row("fleet-1-1")["live"] == "started"  # type: ignore[index]


@pytest.mark.parametrize("status", [0, 401, 403, 429, 500])
def test_nothing_is_stopped_where_github_does_not_say_who_is_busy(
    world: World, status: int
) -> None:
    world.row("fleet-1-1", status="RUNNING", started_at=int(time.time()) - 60)
    world.execution("ABORTED")
    world.tasks(task("fleet-1-1"), task("fleet-2-1", f"{TASK}2"))
    world.twin.api_faults.add(ApiFault(status=status, path="*", times=99))
    report = world.reconcile()
    assert (report["swept"], world.stopped) == ([], [])
    assert {"executions", "tasks", "registrations"} <= set(report["failed"])
    assert world.aws.row("fleet-1-1")["live"] == "started"  # type: ignore[index]


def test_tasks_that_nobody_needs_are_stopped(world: World) -> None:
    world.row("fleet-1-1", status="FAILED", live=None, ended_at=5)
    world.row("fleet-2-1", task_id=f"{TASK}2")
    world.waiting("fleet-3-1", task_id=f"{TASK}3")
    world.job()
    world.open("fleet-2-1", "fleet-3-1")
    world.tasks(
        task("fleet-1-1", f"{TASK}1"),
        task("fleet-2-1", f"{TASK}2-before"),
        task("fleet-2-1", f"{TASK}2"),
        task("fleet-3-1", f"{TASK}3"),
        task("fleet-4-1", f"{TASK}4"),
        task("somebody-else", f"{TASK}5"),
        task("fleet-5-1", f"{TASK}6", definition="task-definition/fleet-runner2-1-a"),
        task("fleet-6-1", f"{TASK}7", definition="task-definition/other"),
    )
    report = world.reconcile()
    assert world.stopped == [f"{TASK}1", f"{TASK}2-before", f"{TASK}4"]
    assert report["swept"] == world.stopped


def test_a_task_that_was_started_just_now_is_left_alone(world: World) -> None:
    world.environment.setenv("RECONCILE_GRACE_SECONDS", "60")
    world.tasks(task("fleet-1-1", age=59))
    world.reconcile()
    assert world.stopped == []


def test_a_stray_task_with_a_job_is_left_alone(world: World) -> None:
    world.row("fleet-1-1", status="FAILED", live=None, ended_at=5)
    session = world.runner("fleet-1-1")
    world.job()
    session.receive()
    world.tasks(task("fleet-1-1"))
    world.reconcile()
    assert world.stopped == []


def test_a_stray_task_with_a_job_is_left_alone_by_a_list_that_is_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub's list calls it idle still; it refuses to remove who has a job, whatever it lists."""
    world.row("fleet-1-1", status="FAILED", live=None, ended_at=5)
    session = world.runner("fleet-1-1")
    world.job()
    session.receive()
    listed = Registrations.all
    behind = lambda self, **at: [replace(one, busy=False) for one in listed(self, **at)]  # noqa: E731
    monkeypatch.setattr(Registrations, "all", behind)
    monkeypatch.setattr(Sweeps, "registrations", lambda *_, **__: [])
    world.tasks(task("fleet-1-1"))
    world.reconcile()
    assert world.stopped == []


def test_ghosts_at_github_are_removed(world: World) -> None:
    for name in ("fleet-1-1", "fleet-2-1-r1", "fleet-3-1", "somebodys", "fleet-of-others"):
        world.ghost(name)
    online = world.runner("fleet-4-1", "self-hosted", "other")  # kept: its session ends with it
    world.row("fleet-1-1", status="OFFLINE", live=None, ended_at=5)
    world.row("fleet-3-1", status="STARTING")
    world.open("fleet-3-1")
    report = world.reconcile()
    # fleet-2-1-r1 has no row and never came online; fleet-4-1 may be another fleet's
    assert report["swept"] == ["fleet-1-1", "fleet-2-1-r1"]
    assert world.registered() == {"fleet-3-1", "fleet-4-1", "somebodys", "fleet-of-others"}
    assert online


def test_turns_of_runners_that_are_over_are_given_back(world: World) -> None:
    world.row("fleet-1-1", status="OFFLINE", live=None, ended_at=5)
    world.row("fleet-2-1")
    world.open("fleet-2-1")
    for name in ("fleet-1-1", "fleet-2-1", "fleet-3-1"):
        world.aws.hold_turn(name, since=time.time() - SETTLED_SECONDS)
    world.aws.hold_turn("fleet-4-1", since=time.time() - SETTLED_SECONDS / 2)  # has no row yet
    assert sorted(world.reconcile()["swept"]) == ["fleet-1-1", "fleet-3-1"]
    assert world.aws.holders == ["fleet-2-1", "fleet-4-1"]


def test_a_turn_whose_giving_back_was_begun_comes_back_with_its_cost(world: World) -> None:
    ended = {"live": None, "ended_at": int(time.time()), "cost_usd": 0.5}
    for name in ("fleet-1-1", "fleet-2-1"):
        world.row(name, status="OFFLINE", **ended)
        world.aws.hold_turn(name)
    for name, age in (("fleet-1-1", SETTLED_SECONDS), ("fleet-2-1", SETTLED_SECONDS / 2)):
        world.aws.ledger.update(f"turn/{name}", values={"left_at": int(time.time() - age)})
    assert world.reconcile()["swept"] == ["fleet-1-1"]
    assert world.aws.holders == ["fleet-2-1"], "somebody is at it"
    assert list(TurnsEntry(world.aws.ledger).read().spent_usd.values()) == [0.5]


def test_who_waits_starts_when_a_turn_that_nobody_holds_is_found(world: World) -> None:
    world.environment.setenv("MAX_RUNNERS", "1")
    crashed = f"{int(time.time()) - SETTLED_SECONDS} fleet-1-1 repository:r class:small"
    counted = {"fleet": 1, "class:small": 1, "repository:r": 1}
    names = {f"#{number}": name for number, name in enumerate([*counted, "+0a1b2c3d"])}
    world.aws.ledger.write(
        "turns",
        "SET #3 = :note ADD #0 :one, #1 :one, #2 :one",
        names=names,
        values={":note": crashed, ":one": 1},
    )
    name = f"fleet-{world.job().id}-1"
    start = {"runner_id": name, "class_name": "small"}
    world.row(name, live="in_line", place=name, waiting_for="turn", start_input=json.dumps(start))
    assert world.reconcile()["failed"] == {}
    assert world.started == [name]
    assert world.aws.holders == [name]


# --- runners that are registered for one repository each ------------------------------------

OTHER = "octo-org/other"


@pytest.fixture
def by_repository(world: World) -> World:
    """A fleet of an organization that has another repository too."""
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    world.environment.setenv("REGISTER_FOR", "repository")
    world.twin.add_repository("other")
    return world


def asked(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where runners are listed from now on."""
    places: list[str] = []
    listed = Registrations.all

    def all_(self: Registrations, *, registered_for: str) -> Any:
        places.append(registered_for)
        return listed(self, registered_for=registered_for)

    monkeypatch.setattr(Registrations, "all", all_)
    return places


def test_registrations_are_looked_at_where_runners_are(
    by_repository: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = by_repository
    for name in ("fleet-1-1", "fleet-2-1"):
        world.ghost(name).scope = f"/repos/{OTHER}"
    world.ghost("fleet-3-1").scope = "/orgs/octo-org"
    where = {"repository": OTHER, "registered_for": f"repos/{OTHER}"}
    world.row("fleet-1-1", status="OFFLINE", live=None, ended_at=5, **where)
    world.row("fleet-2-1", **where)
    world.open("fleet-2-1")
    places = asked(world, monkeypatch)
    report = world.reconcile()
    assert report["failed"] == {}
    assert report["swept"] == ["fleet-1-1"]
    assert places == [f"repos/{OTHER}"], "neither the organization nor a repository without runners"
    # a while longer: what comes to an end now may leave something behind
    world.row("fleet-2-1", status="OFFLINE", live=None, ended_at=5, **where)
    world.job()
    assert world.reconcile()["swept"] == ["fleet-2-1"]


def test_a_stray_task_with_a_job_is_left_alone_wherever_it_is_registered(
    by_repository: World,
) -> None:
    world = by_repository
    where = {"repository": OTHER, "registered_for": f"repos/{OTHER}"}
    world.row("fleet-1-1", status="FAILED", live=None, ended_at=5, **where)
    world.ghost("fleet-1-1").scope = f"/repos/{OTHER}"
    [runner] = world.twin.board.runners.values()
    runner.job = world.job()
    world.tasks(task("fleet-1-1"))
    world.reconcile()
    assert world.stopped == []
    runner.job = None
    assert world.reconcile()["swept"] == [TASK]
    assert world.registered() == set()


def test_a_repository_that_is_gone_keeps_nobody_elses_tasks(by_repository: World) -> None:
    world = by_repository
    for number, repository in ((1, "gone"), (2, "other")):
        where = {
            "repository": f"octo-org/{repository}",
            "registered_for": f"repos/octo-org/{repository}",
        }
        world.row(f"fleet-{number}-1", status="FAILED", live=None, ended_at=5, **where)
    world.tasks(task("fleet-1-1", f"{TASK}1"), task("fleet-2-1", f"{TASK}2"))
    assert "tasks" in world.reconcile()["failed"]
    assert world.stopped == [f"{TASK}2"]


def test_a_repository_that_is_gone_keeps_nobody_elses_ended_execution(by_repository: World) -> None:
    world = by_repository
    for number, repository in ((1, "gone"), (2, "other")):
        where = {
            "repository": f"octo-org/{repository}",
            "registered_for": f"repos/octo-org/{repository}",
        }
        world.waiting(f"fleet-{number}-1", launched_at=int(time.time()) - 600, **where)
    world.execution("ABORTED", usd_per_second={})
    report = world.reconcile()
    assert "fleet-2-1" in report["swept"]
    assert "executions" in report["failed"]


def test_an_execution_that_was_stopped_leaves_no_registration_in_its_repository(
    by_repository: World,
) -> None:
    world = by_repository
    where = {"repository": OTHER, "registered_for": f"repos/{OTHER}"}
    world.waiting("fleet-1-1", launched_at=int(time.time()) - 100, **where)
    world.ghost("fleet-1-1").scope = f"/repos/{OTHER}"
    world.execution("ABORTED", usd_per_second={})
    detail = {"name": "fleet-1-1", "status": "ABORTED"}
    event = {"detail-type": "Step Functions Execution Status Change", "detail": detail}
    assert world.reconcile(event)["swept"] == ["fleet-1-1"]
    assert world.registered() == set()
