"""A fleet that is not alone: another fleet and other machines serve the same repository."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator

import pytest

from cdk_runner_fleet.local.fleet import LocalFleet
from tests import settings
from tests.settings import REPOSITORY
from tests.waiting import PATIENCE_SECONDS, until

from .conftest import Fleet, Row
from .test_explain import queue, settle, statuses

Add = Callable[..., None]


@pytest.fixture
def others(fleet: Fleet) -> Iterator[Add]:
    """Registers runners of somebody else's, and removes them."""
    added: list[int] = []

    def add(name: str, *labels: str) -> None:
        body = {"name": name, "labels": ["self-hosted", *labels]}
        added.append(fleet.local.control("POST", "/_twin/runners", body)["id"])

    yield add
    assert fleet.local.twin
    for number in added:
        request = urllib.request.Request(
            f"{fleet.local.github_url}/repos/{REPOSITORY}/actions/runners/{number}",
            headers={"Authorization": f"Bearer {fleet.local.twin.token}"},
            method="DELETE",
        )
        urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()


@pytest.fixture
def second(fleet: Fleet) -> Iterator[Fleet]:
    """Another fleet for the same repository, with a prefix and a webhook of its own."""
    twin = fleet.local.twin
    assert twin
    with LocalFleet(context=settings.SECOND, github_url=twin.url) as local:
        local.client("secretsmanager").put_secret_value(
            SecretId=local.outputs["GithubTokenSecretArn"], SecretString=twin.token
        )
        yield Fleet(local)


def test_of_two_fleets_the_one_runs_the_job_and_the_other_lets_its_runner_go(
    fleet: Fleet, second: Fleet
) -> None:
    job = queue(fleet, "contested", "run-id=contested")
    runners = {name: f"{name}-{job.id}-1" for name in ("fleet", "second")}
    fleets = {"fleet": fleet, "second": second}
    told: set[str] = set()

    def rows() -> dict[str, Row]:
        assert fleet.local.twin
        for each in fleet.local.twin.deliveries:
            # GitHub has a hook for each fleet
            if each.job_id == job.id and each.guid not in told:
                told.add(each.guid)
                assert second.send_raw(each.body, delivery=each.guid)[0] == 202
        return {name: fleets[name].row(runner) for name, runner in runners.items()}

    def are_over() -> bool:
        return all(row.get("status") == "OFFLINE" for row in rows().values())

    until(lambda: are_over() and len(told) == len(("queued", "in_progress", "completed")), rows)
    (winner,) = (name for name, runner in runners.items() if runner == job.runner_name)
    (loser,) = {*runners} - {winner}
    assert job.conclusion == "success"
    # a short job's task may end, and a late task be sent away, before the events are handled
    until(lambda: rows()[winner]["job_status"] == "success", rows)
    until(lambda: rows()[loser].get("ran_on") == runners[winner], rows)
    assert "ran_on" not in rows()[winner]
    fleet.nothing_is_left_of(runners["fleet"])
    until(lambda: not second.running_tasks_of(runners["second"]))
    assert runners["second"] not in fleet.registered()
    assert statuses(fleet, "contested") == []


def test_a_job_that_both_could_serve_runs_once_and_the_other_runner_goes(
    fleet: Fleet, others: Add
) -> None:
    """The other runner was there before: this fleet's is released while it starts."""
    others("other-41000000001-1", "linux", "run-id=both")
    job = queue(fleet, "both", "linux", "run-id=both")
    runner = f"fleet-{job.id}-1"
    row = fleet.until(runner, lambda row: row.get("job_status") == "success")
    assert row["ran_on"] == "other-41000000001-1"
    assert fleet.status(runner, "OFFLINE")["released_at"]
    fleet.nothing_is_left_of(runner)
    assert statuses(fleet, "both") == []


def test_a_job_for_a_machine_of_somebody_elses_is_left_alone(fleet: Fleet, others: Add) -> None:
    assert fleet.local.twin
    fleet.local.twin.board.cancel(queue(fleet, "before", "gpu-a"))
    others("gpu-box-1", "gpu-a")
    job = queue(fleet, "on-the-box", "gpu-a")

    def is_over(row: Row) -> bool:
        # either may be there before the other: it is told that the job runs, then that it ended
        return (row.get("status"), row.get("job_status")) == ("OFFLINE", "success")

    assert fleet.until(f"fleet-{job.id}-1", is_over)["ran_on"] == "gpu-box-1"
    settle(fleet)
    assert statuses(fleet, "on-the-box") == []


def test_what_was_said_at_the_commit_is_taken_back_when_another_runner_comes(
    fleet: Fleet, others: Add
) -> None:
    job = queue(fleet, "late-box", "gpu-b")
    [said] = until(lambda: statuses(fleet, "late-box"))
    assert said["description"].startswith("No runner yet: no class has label 'gpu-b'")
    fleet.until(f"fleet-{job.id}-1", lambda row: "explained_at" in row)
    others("gpu-box-2", "gpu-b")
    fleet.until(f"fleet-{job.id}-1", lambda row: "taken_back_at" in row)
    last = statuses(fleet, "late-box")[-1]
    assert (last["state"], last["description"]) == (
        "success",
        "A runner after all: it runs on gpu-box-2",
    )
