"""One run of reconciliation: when it has nothing to do, its lease and its time."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

import reconcile_demand
from cdk_runner_fleet.local.twin.faults import ApiFault, WebhookFault
from fleet_runtime.admission.line import place_of
from fleet_runtime.admission.starts import Starts
from fleet_runtime.aws.client import client
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.reconciliation.listing import JobLister, Listing
from fleet_runtime.reconciliation.supply import Supply
from fleet_runtime.runner.rows import RunnerRecords

from ..aws_stand_in import TASK
from ..github_stand_in import TOKEN
from ..lines import lines, measured
from .conftest import (
    REPOSITORY,
    World,
    deliver,
    task,
)


def test_idle_it_only_asks_whether_anything_has_changed(world: World) -> None:
    deliver(world, 202)
    world.twin.board.cancel_run(next(iter(world.twin.board.runs.values())))
    world.until(lambda: len(world.twin.deliveries) == 2)
    assert world.reconcile()["skipped"] == ""
    writes: list[str] = []
    events = world.aws.dynamodb.meta.events

    def note(model: Any, **_: Any) -> None:
        if model.name not in ("Query", "GetItem"):
            writes.append(model.name)

    events.register("before-call.dynamodb", note)
    try:
        used = world.twin.requests_served
        quota = world.twin.askers.find(f"Bearer {TOKEN}").hour.used  # type: ignore[union-attr]
        assert world.reconcile()["skipped"] == "nothing to do"
    finally:
        events.unregister("before-call.dynamodb", note)
    assert writes == []
    assert world.twin.requests_served - used <= 4
    after = world.twin.askers.find(f"Bearer {TOKEN}").hour.used  # type: ignore[union-attr]
    assert after == quota, "a 304 costs nothing"


def test_an_edit_of_the_classes_that_cannot_be_used_is_counted_while_no_job_asks(
    world: World, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    client("ssm").put_parameter(Name="/fleet/class-sizes", Value="{", Overwrite=True)
    assert world.reconcile()["failed"] == {}
    [refused] = [vars(each) for each in caplog.records if each.message == "catalog refused"]
    assert "the class catalog is not JSON" in refused["faults"][0]
    assert '"CatalogRefused": 1' in capsys.readouterr().out


def test_everything_is_looked_at_every_fifteen_minutes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reconcile()
    world.tasks(task("fleet-1-1"))
    assert world.reconcile()["skipped"] == "nothing to do"
    later = time.monotonic() + 900
    reconciliation = reconcile_demand._reconciliation()
    monkeypatch.setattr(reconciliation, "_clock", lambda: later)
    assert world.reconcile()["swept"] == [TASK]


def test_it_looks_on_until_what_is_left_over_has_come_of_age(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.environment.setenv("RECONCILE_GRACE_SECONDS", "60")
    world.row("fleet-1-1", task_id=TASK)
    world.open("fleet-1-1")
    world.tasks(task("fleet-1-1"))
    assert world.reconcile()["swept"] == []
    world.row("fleet-1-1", status="OFFLINE", live=None, ended_at=5)
    assert world.reconcile()["swept"] == [TASK], "nothing is alive, and its task has stayed"
    later = time.monotonic() + 360
    monkeypatch.setattr(reconcile_demand._reconciliation(), "_clock", lambda: later)
    assert world.reconcile()["skipped"] == "nothing to do"


def stands(capsys: pytest.CaptureFixture[str]) -> list[dict[str, float]]:
    said = [measured(line) for line in lines(capsys.readouterr().out)]
    return [{name: at for name, (at, _) in one.items()} for one in said if "RunnersIdle" in one]


def test_it_says_how_the_fleet_stands(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.job()
    world.waiting("fleet-7-1")
    world.row("fleet-8-1", waiting_for="capacity", queued_at=int(time.time()) - 1200)
    world.reconcile()
    [told] = stands(capsys)
    assert 1200 <= told.pop("LongestWaitSeconds") < 1300
    assert told == {
        "JobsQueued": 1,
        "RunnersIdle": 1,
        "RunnersRunning": 0,
        "RunnersStarting": 0,
        "RunnersWaiting": 1,
    }


def test_what_github_did_not_list_is_not_said_to_be_all(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.waiting("fleet-7-1")
    world.twin.api_faults.add(ApiFault(status=500, path="*/actions/runs"))
    world.reconcile()
    [told] = stands(capsys)
    assert "JobsQueued" not in told


def test_a_fleet_at_rest_says_so_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        world.reconcile()
    [told] = stands(capsys)
    assert set(told.values()) == {0}


def test_one_run_at_a_time(world: World) -> None:
    job = world.job()
    ledger = Ledger(dynamodb=world.aws.dynamodb, table="ledger")
    assert ledger.take_lease("reconcile", owner="another", seconds=60)
    assert world.reconcile()["skipped"] == "another run is at it"
    assert world.started == []
    ledger.drop_lease("reconcile", owner="another")
    assert world.reconcile()["started"] == [f"fleet-{job.id}-1"]
    assert ledger.take_lease("reconcile", owner="yet another", seconds=60), "it is given back"


def test_a_lease_of_a_run_that_died_is_taken_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.job()
    ledger = Ledger(dynamodb=world.aws.dynamodb, table="ledger")
    assert ledger.take_lease("reconcile", owner="dead", seconds=150)
    later = time.time() + 150
    monkeypatch.setattr(Ledger, "now", property(lambda _: int(later)))
    assert world.reconcile()["started"] == [f"fleet-{job.id}-1"]


def test_dropped_webhooks_are_none_that_github_lists(world: World) -> None:
    world.twin.webhook_faults.add(WebhookFault(fault="drop"))
    job = world.job()
    report = world.reconcile()
    assert (report["redelivered"], report["started"]) == ([], [f"fleet-{job.id}-1"])


def test_an_organizations_repositories_are_looked_at(world: World) -> None:
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    job = world.job()
    assert world.reconcile()["started"] == [f"fleet-{job.id}-1"]
    assert world.entry("repositories")["names"] == {"SS": [REPOSITORY]}


@pytest.mark.parametrize("status", [401, 403])
def test_repositories_are_not_forgotten_where_github_refuses(world: World, status: int) -> None:
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    world.job()
    world.reconcile()
    world.twin.api_faults.add(ApiFault(status=status, path="*/actions/runs", times=9))
    assert "jobs" in world.reconcile()["failed"]
    assert world.entry("repositories")["names"] == {"SS": [REPOSITORY]}


def test_a_repository_that_is_gone_is_forgotten(world: World) -> None:
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    names = {"SS": ["octo-org/gone", REPOSITORY]}
    world.aws.dynamodb.put_item(
        TableName="ledger", Item={"entry": {"S": "repositories"}, "names": names}
    )
    world.waiting("fleet-1-1")
    report = world.reconcile()
    assert report["released"] == [], "gone, or not for the fleet to see any more"
    assert world.entry("repositories")["names"] == {"SS": [REPOSITORY]}
    assert world.reconcile()["released"] == ["fleet-1-1"]


def test_missing_runners_are_started_before_all_that_may_take_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(world, 503)
    job = world.job()
    world.tasks(task("fleet-1-1"))
    # all its time is over once that is done
    reconciliation = reconcile_demand._reconciliation()
    monkeypatch.setattr(reconciliation, "_clock", lambda: 111 if world.started else 0)
    report = world.reconcile()
    assert report["started"] == [f"fleet-{job.id}-1"]
    assert (report["redelivered"], report["swept"]) == ([], [])
    late = {"line", "deliveries", "completed", "jobless", "lost", "rerun"}
    leftovers = {"executions", "tasks", "registrations", "turns"}
    assert report["failed"] == dict.fromkeys(late | leftovers, "no time left")
    ledger = Ledger(dynamodb=world.aws.dynamodb, table="ledger")
    assert ledger.take_lease("reconcile", owner="the next one", seconds=1), "it is given back"
    ledger.drop_lease("reconcile", owner="the next one")
    monkeypatch.setattr(reconciliation, "_clock", lambda: 0)
    report = world.reconcile()
    assert (len(report["redelivered"]), world.stopped) == (1, [TASK])


def test_thousands_of_jobs_that_nobody_serves_leave_time_for_everything_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused ones stay queued for a day, and are looked at each time."""
    deliver(world, 503)
    for _ in range(8):
        world.job("self-hosted, class:huge")
    world.tasks(task("fleet-1-1"))
    clock = [0]
    serve = Supply.serve

    def slowly(self: Supply, *args: Any, **more: Any) -> Any:
        clock[0] += 20
        return serve(self, *args, **more)

    monkeypatch.setattr(Supply, "serve", slowly)
    monkeypatch.setattr(reconcile_demand._reconciliation(), "_clock", lambda: clock[0])
    report = world.reconcile()
    assert report["failed"] == {"missing": "no time left"}
    assert (len(report["redelivered"]), report["swept"]) == (1, [TASK])


def test_the_lease_of_a_run_that_is_cut_ends_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.context.get_remaining_time_in_millis = lambda: 30_000
    monkeypatch.setattr(Ledger, "drop_lease", lambda *_, **__: None)
    world.reconcile()
    assert int(world.entry("lease/reconcile")["held_until"]["N"]) <= time.time() + 30


def test_a_row_that_cannot_be_read_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = world.job(), world.job()
    serve = Supply.serve

    def read(self: Supply, job: Any, **more: Any) -> Any:
        if job.job_id == bad.id:
            raise ValueError("a row without a name")
        return serve(self, job, **more)

    monkeypatch.setattr(Supply, "serve", read)
    world.tasks(task("fleet-1-1"))
    with pytest.raises(ValueError, match="without a name"):
        world.reconcile()
    assert (world.started, world.stopped) == ([f"fleet-{good.id}-1"], [TASK])
    ledger = Ledger(dynamodb=world.aws.dynamodb, table="ledger")
    assert ledger.take_lease("reconcile", owner="the next one", seconds=1), "it is given back"


def test_a_runner_whose_job_is_still_queued_is_not_surplus_because_the_list_is_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.job()
    name = f"fleet-{job.id}-1"
    world.waiting(name)
    world.open(name)
    monkeypatch.setattr(JobLister, "_jobs", lambda *_: [])
    assert world.reconcile()["released"] == []
    world.twin.board.cancel_run(job.run)
    assert world.reconcile()["released"] == [name]


def test_what_is_surplus_is_judged_as_of_the_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.environment.setenv("RECONCILE_GRACE_SECONDS", "60")
    start = int(time.time())
    world.waiting("fleet-1-1", claimed_at=start - 30)
    world.open("fleet-1-1")
    clock = [start]
    listed = JobLister.jobs

    def jobs(self: JobLister, repositories: Sequence[str]) -> Listing:
        clock[0] += 50
        return listed(self, repositories)

    monkeypatch.setattr(JobLister, "jobs", jobs)
    monkeypatch.setattr(RunnerRecords, "now", property(lambda _: clock[0]))
    assert world.reconcile()["released"] == [], "it is older than the grace only by now"


def test_long_waits_are_explained_a_few_at_a_time_the_oldest_first(world: World) -> None:
    names = [f"fleet-{number}-1" for number in range(1, 26)]
    now = int(time.time())
    for age, name in enumerate(names):
        world.row(name, waiting_for="capacity", waiting_reason="full", timestamp=now - 700 - age)
    world.open(*names)
    world.twin.api_faults.add(ApiFault(status=500, path="*/actions/runs"))  # none is surplus
    assert world.reconcile()["explained"] == names[:4:-1]


def test_long_waits_of_one_repository_keep_no_others_from_being_explained(world: World) -> None:
    """Nor do those hide it of whom there are more in line than a look reads of one repository."""
    world.environment.setattr("fleet_runtime.admission.starts._MOST_READ", 21)
    crowd = [f"fleet-{number}-1" for number in range(1, 31)]
    now = int(time.time())
    line = {"live": "in_line", "waiting_for": "turn", "waiting_reason": "full"}
    for name in crowd:
        start = json.dumps({"runner_id": name, "class_name": "small"})
        place = place_of("octo-org/crowd", queued_at=1, runner_id=name)
        row = {"repository": "octo-org/crowd", "place": place, "start_input": start}
        world.row(name, **line, **row, timestamp=now - 900)
    start = json.dumps({"runner_id": "fleet-99-1", "class_name": "small"})
    place = place_of(REPOSITORY, queued_at=2, runner_id="fleet-99-1")
    world.row("fleet-99-1", **line, place=place, start_input=start, timestamp=now - 700)
    world.aws.ledger.update("turns", values={"drained_at": now, "line": "fleet-99-1"})
    world.twin.api_faults.add(ApiFault(status=500, path="*/actions/runs"))  # none is surplus
    explained = world.reconcile()["explained"]
    assert len(explained) == 20
    assert "fleet-99-1" in explained


def test_a_wait_that_ended_meanwhile_is_not_explained(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = int(time.time()) - 700
    world.row("fleet-1-1", waiting_for="capacity", waiting_reason="full", timestamp=then)
    world.open("fleet-1-1")

    def next_in_line(_: Starts) -> tuple[str, ...]:
        world.row("fleet-1-1", waiting_for="runner", timestamp=then)
        return ()

    world.twin.api_faults.add(ApiFault(status=500, path="*/actions/runs"))  # none is surplus
    monkeypatch.setattr(Starts, "next_in_line", next_in_line)
    assert world.reconcile()["explained"] == []
