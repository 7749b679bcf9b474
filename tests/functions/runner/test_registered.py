"""What the lifecycle asks about its runner, over the real handlers, with GitHub on loopback."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from fleet_runtime.runner.registered import RunnerOffline

from ..aws_stand_in import RUNNER, Aws
from ..entry_points import JOB, Check, silent
from ..github_stand_in import GitHub

# --- given up or not: no heartbeat came -----------------------------------------------------


def test_a_runner_that_github_hears_is_there(aws: Aws, github: GitHub, check: Check) -> None:
    github_id = github.add_runner(RUNNER, busy=True)
    silent(aws, github_id)
    assert check() == {"online": True}
    assert github.calls == [f"GET runners/{github_id}"]


def test_a_runner_that_github_has_lost_too_is_given_up(
    aws: Aws, github: GitHub, check: Check
) -> None:
    silent(aws, github.add_runner(RUNNER, busy=True, status="offline"))
    with pytest.raises(RunnerOffline, match=r"came for 30\d s, and GitHub says that it is offline"):
        check()


def test_a_runner_that_github_knows_no_more_is_given_up(
    aws: Aws, github: GitHub, check: Check
) -> None:
    silent(aws, 100)
    with pytest.raises(RunnerOffline, match="GitHub says that there is no such runner"):
        check()


@pytest.mark.parametrize("registered", [True, False])
def test_a_runner_whose_job_has_ended_is_left_to_the_jobs_end(
    aws: Aws, github: GitHub, check: Check, registered: bool
) -> None:
    github_id = github.add_runner(RUNNER, status="offline") if registered else 100
    silent(aws, github_id)
    github.jobs[JOB]["status"] = "completed"
    assert check() == {"online": False}
    github.jobs[JOB]["runner_name"] = "fleet-another-1"
    with pytest.raises(RunnerOffline):
        check()


@pytest.mark.parametrize("changes", [{}, {"repository": ""}])
def test_404_is_no_answer_if_the_job_cannot_be_seen_either(
    aws: Aws, github: GitHub, check: Check, changes: dict[str, Any]
) -> None:
    silent(aws, 100, **changes)
    github.fail("job", 404)
    assert check() == {"online": None}


def test_what_github_says_of_a_runner_is_enough_without_its_job(
    aws: Aws, github: GitHub, check: Check
) -> None:
    silent(aws, github.add_runner(RUNNER, status="offline"))
    github.fail("job", 500)
    with pytest.raises(RunnerOffline):
        check()


@pytest.mark.parametrize("status", [0, 401, 403, 429, 500, 502])
def test_github_that_cannot_be_asked_stops_nothing(
    aws: Aws, github: GitHub, check: Check, status: int
) -> None:
    silent(aws, github.add_runner(RUNNER, status="offline"))
    for _ in range(2):  # a refused token is read again once
        github.fail("find", status)
    assert check() == {"online": None}


def test_a_runner_without_sense_stops_nothing(aws: Aws, github: GitHub, check: Check) -> None:
    silent(aws, 100)
    github.faults["find"] = [(200, {}, b"{}"), (200, {}, b"[]"), (200, {}, b"no json")]
    for _ in range(3):
        assert check() == {"online": None}


def test_a_heartbeat_that_came_meanwhile_is_enough(aws: Aws, github: GitHub, check: Check) -> None:
    silent(aws, github.add_runner(RUNNER, status="offline"), seconds=5)
    assert check() == {"online": True}
    assert github.calls == []


def test_a_runner_never_heard_of_is_silent_since_its_claim(
    aws: Aws, github: GitHub, check: Check
) -> None:
    github_id = github.add_runner(RUNNER, status="offline")
    aws.park("completion", github_runner_id=github_id, claimed_at=int(time.time()) - 300)
    with pytest.raises(RunnerOffline, match=r"came for 30\d s"):
        check()


def test_a_heartbeat_of_the_task_before_is_none_of_this_ones(
    aws: Aws, github: GitHub, check: Check
) -> None:
    silent(
        aws,
        github.add_runner(RUNNER, status="offline"),
        seconds=900,
        claimed_at=int(time.time()) - 400,
    )
    with pytest.raises(RunnerOffline, match=r"came for 40\d s"):
        check()


@pytest.mark.parametrize("row", [True, False])
def test_what_is_not_known_is_left_alone(aws: Aws, github: GitHub, check: Check, row: bool) -> None:
    if row:
        aws.put_row(status="RUNNING", waiting_for="completion", claimed_at=90)
    assert check() == {"online": None}
    assert github.calls == []


# --- let go of ------------------------------------------------------------------------------


def test_a_registered_runner_is_removed(aws: Aws, github: GitHub, deregister: Any) -> None:
    github_id = github.add_runner(RUNNER)
    aws.park("job", github_runner_id=github_id)
    assert deregister() == {"busy": False, "registered": True}
    assert github.runners == {}
    assert github.calls == [f"DELETE runners/{github_id}"]
    assert deregister() == {"busy": False, "registered": False}


def test_a_busy_runner_stays(aws: Aws, github: GitHub, deregister: Any) -> None:
    github_id = github.add_runner(RUNNER, busy=True)
    aws.park("job", github_runner_id=github_id)
    assert deregister() == {"busy": True, "registered": True}
    assert list(github.runners) == [github_id]


@pytest.mark.parametrize("row", [True, False])
def test_a_runner_whose_id_is_not_known_is_found_by_its_name(
    aws: Aws, github: GitHub, deregister: Any, row: bool
) -> None:
    if row:
        aws.park("runner")
    github.add_runner("fleet-another-1")
    github.add_runner(RUNNER)
    assert deregister() == {"busy": False, "registered": True}
    assert [one["name"] for one in github.runners.values()] == ["fleet-another-1"]
    assert deregister() == {"busy": False, "registered": False}


# --- where runners are registered nowhere ---------------------------------------------------


def forget_github(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform without GitHub: its functions are given nothing to ask it with."""
    for name in [name for name in os.environ if name.startswith(("GITHUB", "RUNNER_GROUP"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("IMAGE_RUNNER_GROUP", raising=False)


def test_without_github_there_is_no_registration_to_remove(
    aws: Aws, github: GitHub, deregister: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_github(monkeypatch)
    silent(aws, github.add_runner(RUNNER))
    assert deregister() == {"busy": False, "registered": False}
    assert github.calls == []


def test_without_github_a_runner_that_is_silent_is_lost(
    aws: Aws, github: GitHub, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_github(monkeypatch)
    silent(aws, github.add_runner(RUNNER, busy=True))
    with pytest.raises(RunnerOffline, match=r"^no heartbeat came for 30\d s$"):
        check()
    assert github.calls == []
