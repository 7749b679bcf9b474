"""What lost events left behind, and jobs whose runner is gone."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cdk_runner_fleet.local.twin.faults import ApiFault
from cdk_runner_fleet.local.twin.records import Job
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.reconciliation import listing, repairs

from ..aws_stand_in import EARLIER_TASK
from .conftest import (
    HOSTED,
    JOB,
    REPOSITORY,
    World,
    lose,
    lost,
)


@pytest.mark.parametrize("registered_as", [{}, {"github_runner_id": 999}])
def test_a_runner_hears_that_its_job_has_started(
    world: World, registered_as: dict[str, Any]
) -> None:
    """Whatever GitHub calls its registration, while it has had no other."""
    job = world.job()
    name = f"fleet-{job.id}-1"
    world.waiting(name)
    world.open(name)
    session = world.runner(name)
    world.aws.put_row(**{**(world.aws.row(name) or {}), **registered_as})
    session.receive()
    session.send("started")
    world.until(lambda: job.status == "in_progress")
    report = world.reconcile()
    assert report["repaired"] == [name]
    assert report["released"] == []
    row = world.aws.row(name)
    assert row is not None
    assert (row["job_id"], row["job_status"]) == (job.id, "in_progress")
    assert world.aws.resumed == [(f"token-{name}", "Success", "")]


@pytest.mark.parametrize(
    "another",
    [
        pytest.param({"stopped_tasks": {EARLIER_TASK}}, id="an earlier registration"),
        pytest.param({"asked_by": "octo-org/other"}, id="a namesake in another repository"),
    ],
)
def test_a_job_that_another_of_its_name_has_is_no_news_of_a_runner(
    world: World, another: dict[str, Any]
) -> None:
    job = world.job()
    name = f"fleet-{job.id}-1"
    world.waiting(name)
    world.open(name)
    session = world.runner(name)
    session.receive()
    session.send("started")
    world.until(lambda: job.status == "in_progress")
    row = world.aws.row(name) or {}
    world.aws.put_row(**{**row, "github_runner_id": 999, **another})
    assert world.reconcile()["repaired"] == []
    assert "started_at" not in (world.aws.row(name) or {})
    session.send("completed", conclusion="success", outputs={}, steps=[])
    world.until(lambda: job.status == "completed")
    assert world.reconcile()["repaired"] == []
    assert "completed_at" not in (world.aws.row(name) or {})


def done(world: World, job: Job, *, conclusion: str = "success") -> str:
    """Have a job done by its own runner; returns that."""
    name = f"fleet-{job.id}-1"
    session = world.runner(name)
    session.receive()
    session.send("started")
    session.send("completed", conclusion=conclusion, outputs={}, steps=[])
    world.until(lambda: job.status == "completed")
    return name


def test_a_runner_hears_that_its_job_has_ended(world: World) -> None:
    job = world.job()
    name = done(world, job, conclusion="failure")
    world.row(
        name,
        status="RUNNING",
        waiting_for="completion",
        task_token="t",
        started_at=int(time.time()) - 60,
    )
    world.open(name)
    assert world.reconcile()["repaired"] == [name]
    row = world.aws.row(name)
    assert row is not None
    assert row["job_status"] == "failure"
    assert world.aws.resumed == [("t", "Success", "")]


def test_a_runner_hears_that_its_job_has_ended_while_its_run_goes_on(world: World) -> None:
    job = world.run(JOB.format(labels="self-hosted"), HOSTED).jobs[0]
    name = done(world, job)
    world.row(
        name,
        status="RUNNING",
        waiting_for="completion",
        task_token="t",
        run_id=job.run.id,
        started_at=int(time.time()) - 60,
    )
    world.open(name)
    assert world.reconcile()["repaired"] == [name]
    assert world.aws.resumed == [("t", "Success", "")]
    assert world.reconcile()["repaired"] == []


def busy_once(world: World, runner_id: str, **row: Any) -> None:
    """The row of a runner that GitHub called busy when it was to go, and of which no word came."""
    values = {"claimed_at": int(time.time()) - 130, "github_runner_id": 999, **row}
    running = {"status": "RUNNING", "waiting_for": "completion", "task_token": "t"}
    world.row(runner_id, **running, **values)
    world.open(runner_id)


@pytest.mark.parametrize("is_registered", [True, False])
def test_a_runner_that_github_has_no_job_on_ends_however_its_heart_beats(
    world: World, *, is_registered: bool
) -> None:
    busy_once(world, "fleet-7-1")
    if is_registered:
        world.runner("fleet-7-1", "another")
    world.aws.put_row(runner_id="heartbeat/fleet-7-1", last_heartbeat=int(time.time()))
    assert world.reconcile()["repaired"] == ["fleet-7-1"]
    assert world.aws.resumed == [("t", "Success", "")]
    assert world.registered() == set()


def test_a_runner_without_a_job_is_removed_where_it_is_registered(world: World) -> None:
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    world.environment.setenv("REGISTER_FOR", "repository")
    busy_once(world, "fleet-7-1", registered_for=f"repos/{REPOSITORY}")
    world.runner("fleet-7-1", "another")
    assert world.reconcile()["repaired"] == ["fleet-7-1"]
    assert world.registered() == set()


def test_a_runner_that_github_calls_busy_goes_on_though_nobody_was_told_of_its_job(
    world: World,
) -> None:
    job = world.job()
    name = f"fleet-{job.id}-1"
    busy_once(world, name)
    session = world.runner(name)
    session.receive()  # and GitHub's list calls the job queued yet
    report = world.reconcile()
    assert (report["repaired"], report["released"], report["failed"]) == ([], [], {})
    assert world.aws.resumed == []
    assert world.registered() == {name}
    session.send("started")
    world.until(lambda: job.status == "in_progress")
    assert world.reconcile()["repaired"] == [name]
    assert (world.aws.row(name) or {})["job_status"] == "in_progress"


@pytest.mark.parametrize("is_young", [True, False])
def test_github_is_not_asked_about_a_runner_that_is_young_or_whose_start_it_has_told(
    *, world: World, is_young: bool
) -> None:
    row = {"claimed_at": int(time.time())} if is_young else {"started_at": 100}
    world.environment.setenv("RECONCILE_GRACE_SECONDS", "60")
    busy_once(world, "fleet-7-1", **row)
    world.runner("fleet-7-1", "another")
    assert world.reconcile()["repaired"] == []
    assert world.registered() == {"fleet-7-1"}


def test_the_end_of_an_earlier_registrations_job_is_no_news_for_this_one(world: World) -> None:
    job = world.run(JOB.format(labels="self-hosted"), HOSTED).jobs[0]
    name = done(world, job)
    # the task after that one has another job by now
    world.row(
        name,
        status="RUNNING",
        waiting_for="completion",
        task_token="t",
        job_id=4711,
        started_at=int(time.time()) - 60,
    )
    another = {"github_runner_id": 999, "stopped_tasks": {EARLIER_TASK}}
    world.aws.put_row(**{**(world.aws.row(name) or {}), **another})
    world.open(name)
    assert [world.reconcile()["repaired"] for _ in range(2)] == [[], []]
    assert world.aws.resumed == []


def test_each_runner_whose_job_is_not_listed_is_asked_for_in_turn(world: World) -> None:
    world.environment.setattr(repairs, "_MOST_LOOKUPS", 1)
    job = world.job()
    name = done(world, job)
    now = int(time.time())
    # GitHub knows nothing of the jobs of the two that are older
    for age, runner_id in ((300, "fleet-1-1"), (200, "fleet-2-1"), (100, name)):
        world.row(runner_id, status="RUNNING", started_at=now - age)
    world.open("fleet-1-1", "fleet-2-1", name)
    assert [world.reconcile()["repaired"] for _ in range(3)] == [[], [], [name]]


def test_many_unlisted_jobs_of_one_repository_keep_no_others_end_unheard(world: World) -> None:
    world.environment.setattr(repairs, "_MOST_LOOKUPS", 2)
    job = world.job()
    name = done(world, job)
    now = int(time.time())
    crowd = [f"fleet-{number}-1" for number in range(1, 6)]
    for runner_id in crowd:
        world.row(
            runner_id,
            status="RUNNING",
            started_at=now - 300,
            repository="octo-org/crowd",
            job_id=None,
        )
    world.row(name, status="RUNNING", started_at=now - 100)
    world.open(*crowd, name)
    assert world.reconcile()["repaired"] == [name]


def test_a_job_that_lost_its_runner_to_another_gets_one(world: World) -> None:
    """GitHub gave its runner to a lesser job, and no webhook said so."""
    labels = "self-hosted,class:medium"
    lesser, greater = world.job(), world.job("self-hosted, class:medium")
    name = f"fleet-{greater.id}-1"
    world.waiting(name, runner_labels=labels)
    world.open(name)
    world.execution("RUNNING", class_name="Medium", repository=REPOSITORY, image_tag="default-1")
    # the lesser one was queued first
    session = world.runner(name, *labels.split(","))
    message = session.receive()
    assert message is not None
    assert message["run_id"] == lesser.run.id
    session.send("started")
    world.until(lambda: lesser.status == "in_progress")
    report = world.reconcile()
    assert name in report["repaired"]
    assert f"{name}-r1" in world.started


def test_a_job_whose_runner_is_gone_is_noted_once(world: World) -> None:
    job, runner_id = lost(world)
    assert world.reconcile()["repaired"] == [runner_id]
    row = world.aws.row(runner_id)
    assert row is not None
    assert row["lost_at"] > 0
    assert world.reconcile()["repaired"] == []
    assert job.status == "in_progress"


def test_a_lost_job_runs_again_where_that_is_wanted(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, runner_id = lost(world)
    report = world.reconcile()
    assert report["failed"] == {}
    # its run was cancelled, so this very run of the function could ask for the next attempt
    assert (job.status, job.conclusion) == ("completed", "cancelled")
    (again,) = job.run.jobs
    assert (again.id > job.id, again.attempt, again.status) == (True, 2, "queued")
    assert world.reconcile()["started"] == [f"fleet-{again.id}-2"]
    assert "runners" not in world.entry("lost")
    row = world.aws.row(runner_id)
    assert row is not None
    assert row["rerun_requested_at"] > 0


def test_a_lost_job_is_run_again_once_and_no_more(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world)
    world.reconcile()
    (again,) = job.run.jobs
    name = f"fleet-{again.id}-2"
    lose(world, world.runner(name), again, name)
    assert world.reconcile()["repaired"] == [name], "it is noted"
    assert (again.status, job.run.attempt) == ("in_progress", 2)
    world.twin.board._complete(again, "failure")  # GitHub has given it up
    world.reconcile()
    assert job.run.attempt == 2
    assert "runners" not in world.entry("lost")


@pytest.mark.parametrize(
    "said",
    [
        {"error": "Runner.Terminated"},
        {"error": "Runner.JobTimeout"},
        {"cause": "OutOfMemoryError: Container killed due to memory usage"},
    ],
)
def test_a_job_that_would_not_fare_better_is_not_run_again(
    world: World, said: dict[str, str]
) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, runner_id = lost(world)
    row = world.aws.row(runner_id)
    assert row is not None
    world.aws.put_row(**row | said)
    assert world.reconcile()["repaired"] == [runner_id]
    assert job.status == "in_progress"
    # one that was kept for it by an earlier version
    Ledger(dynamodb=world.aws.dynamodb, table="ledger").write(
        "lost", "ADD runners :one", values={":one": frozenset({runner_id})}
    )
    world.twin.board._complete(job, "failure")
    world.reconcile()
    assert job.run.attempt == 1
    assert "runners" not in world.entry("lost")


@pytest.mark.parametrize("settings", [{}, {"REGISTER_FOR": "repository"}])
def test_a_run_is_not_cancelled_while_github_hears_from_its_runner(
    world: World, settings: dict[str, str]
) -> None:
    """The organization has no such runner where it is registered for the repository."""
    for name, value in {"GITHUB_SCOPE": "orgs/octo-org", **settings}.items():
        world.environment.setenv(name, value)
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, name = lost(world)
    if settings:
        world.aws.put_row(
            **{**(world.aws.row(name) or {}), "registered_for": f"repos/{REPOSITORY}"}
        )
    else:
        world.twin.board.registered[0].scope = "/orgs/octo-org"
    (runner,) = world.twin.board.runners.values()
    runner.send = lambda _: None
    world.reconcile()
    assert job.status == "in_progress"
    runner.send = None
    world.reconcile()
    assert job.conclusion == "cancelled"


def test_a_run_is_not_cancelled_for_a_job_that_the_listing_lacked(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world, HOSTED)
    whole = listing.JobLister._jobs

    def before_the_other(self: listing.JobLister, run: Any) -> Any:
        return [one for one in whole(self, run) if one.job_id == job.id]

    world.environment.setattr(listing.JobLister, "_jobs", before_the_other)
    world.reconcile()
    assert job.status == "in_progress"


def test_a_run_is_not_cancelled_for_a_job_on_a_later_page(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world, *(HOSTED.replace("b:", f"b{number}:") for number in range(100)))
    others = [one for one in job.run.jobs if one is not job]
    for other in others[:-1]:
        world.twin.board.cancel(other)
    world.reconcile()
    assert job.status == "in_progress"
    world.twin.board.cancel(others[-1])
    world.reconcile()
    assert job.conclusion == "cancelled"


def test_a_run_is_not_cancelled_while_another_job_of_it_goes_on(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world, HOSTED)
    world.reconcile()
    assert job.status == "in_progress"
    other = next(one for one in job.run.jobs if one is not job)
    world.twin.board.cancel(other)
    world.reconcile()
    assert job.conclusion == "cancelled"


def test_a_lost_job_waits_for_the_end_of_its_run(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, runner_id = lost(world, HOSTED)
    world.reconcile()
    world.twin.board._complete(job, "cancelled")  # GitHub has given it up
    world.reconcile()
    assert world.entry("lost")["runners"] == {"SS": [runner_id]}
    world.twin.board.cancel(next(one for one in job.run.jobs if one is not job))
    world.reconcile()
    assert [(one.spec.key, one.attempt) for one in job.run.jobs] == [("b", 1), ("a", 2)]


def test_a_job_that_somebody_has_run_again_is_not_run_again(world: World) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world, HOSTED)
    world.reconcile()
    world.twin.board.cancel_run(job.run)
    world.twin.board._complete(job, "cancelled")
    assert world.twin.board.rerun(job.run)
    world.twin.board.cancel_run(job.run)
    world.twin.api_faults.add(ApiFault(status=500, path="*/rerun"))
    assert world.reconcile()["failed"] == {}, "it does not even ask"
    assert job.run.attempt == 2
    assert "runners" not in world.entry("lost")


def test_a_job_that_ended_is_not_lost_because_githubs_list_is_behind(world: World) -> None:
    job, runner_id = lost(world)
    row = world.aws.row(runner_id)
    assert row is not None
    world.aws.put_row(**row, completed_at=int(time.time()) - 30)
    assert world.reconcile()["repaired"] == []
    assert job.status == "in_progress"


def test_what_is_listed_is_not_asked_for_one_by_one(world: World) -> None:
    job = world.job()
    name = f"fleet-{job.id}-1"
    session = world.runner(name)
    session.receive()
    session.send("started")
    world.until(lambda: job.status == "in_progress")
    world.row(name, status="RUNNING", started_at=int(time.time()) - 60)
    world.open(name)
    before = world.twin.requests_served
    assert world.reconcile()["repaired"] == []
    # hooks, deliveries, three lists of runs, one of jobs, one of runners
    assert world.twin.requests_served - before == 7
    assert world.aws.sfn.named("DescribeExecution") == []


def test_a_repository_that_refuses_keeps_nobody_elses_end_unheard(world: World) -> None:
    job = world.job()
    name = done(world, job)
    now = int(time.time())
    world.row("fleet-1-1", status="RUNNING", started_at=now - 300)
    world.row(name, status="RUNNING", started_at=now - 100)
    world.open("fleet-1-1", name)
    # renamed while its job ran
    world.twin.api_faults.add(ApiFault(status=301, path="*/actions/jobs/1"))
    report = world.reconcile()
    assert report["repaired"] == [name]
    assert "301" in report["failed"]["completed"]


def test_a_repository_that_refuses_keeps_nobody_elses_runner_without_a_job(world: World) -> None:
    for runner_id in ("fleet-7-1", "fleet-8-1"):
        busy_once(world, runner_id)
    world.open("fleet-7-1", "fleet-8-1")
    world.twin.api_faults.add(ApiFault(status=403, method="DELETE"))
    report = world.reconcile()
    assert len(report["repaired"]) == 1
    assert "403" in report["failed"]["jobless"]


def test_a_run_that_refuses_to_be_cancelled_keeps_nobody_elses_lost_job_unseen(
    world: World,
) -> None:
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    for name in ("fleet-1-1", "fleet-2-1"):
        lose(world, world.runner(name), world.job(), name)
    # archived while its job ran
    world.twin.api_faults.add(ApiFault(status=403, path="*/force-cancel"))
    report = world.reconcile()
    assert {"fleet-1-1", "fleet-2-1"} <= set(report["repaired"])
    assert "403" in report["failed"]["lost"]


def test_lost_jobs_whose_runs_go_on_keep_no_other_from_being_run_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may wait for an approval for a month."""
    monkeypatch.setattr(repairs, "_MOST_LOOKUPS", 1)
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    job, _ = lost(world)
    goes_on = world.job()
    world.row("fleet-0-1", status="FAILED", live=None, run_id=goes_on.run.id, job_id=goes_on.id)
    Ledger(dynamodb=world.aws.dynamodb, table="ledger").write(
        "lost", "ADD runners :one", values={":one": frozenset({"fleet-0-1"})}
    )
    for _ in range(2):
        world.reconcile()
    assert job.run.attempt == 2
    assert world.entry("lost")["runners"] == {"SS": ["fleet-0-1"]}


def test_of_many_lost_jobs_a_few_runs_are_cancelled_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is several questions to GitHub, and the others' leftovers come after them."""
    monkeypatch.setattr(repairs, "_MOST_LOOKUPS", 1)
    world.environment.setenv("RERUN_LOST_JOBS", "on")
    jobs = [world.job() for _ in range(2)]
    for number, job in enumerate(jobs, start=1):
        lose(world, world.runner(f"fleet-{number}-1"), job, f"fleet-{number}-1")
    report = world.reconcile()
    assert {"fleet-1-1", "fleet-2-1"} <= set(report["repaired"]), "they are noted all the same"
    assert [job.status for job in jobs].count("completed") == 1
    world.reconcile()
    assert [job.status for job in jobs] == ["completed"] * 2
