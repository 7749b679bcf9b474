"""A fleet that is not alone: another fleet and other machines serve the same repository."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests.waiting import PATIENCE_SECONDS, until

from .conftest import REPOSITORY, Fleet
from .test_explain import queue, settle, statuses

Add = Callable[..., None]


@pytest.fixture
def others(fleet: Fleet) -> Iterator[Add]:
    """Registers runners of somebody else's, and removes them."""
    added: list[int] = []

    def call(method: str, path: str, body: object = None) -> dict[str, int]:
        assert fleet.local.twin
        request = urllib.request.Request(
            f"{fleet.local.github_url}{path}",
            json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {fleet.local.twin.token}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            found: dict[str, int] = json.loads(answer.read() or b"{}")
        return found

    def add(name: str, *labels: str) -> None:
        body = {"name": name, "labels": ["self-hosted", *labels]}
        added.append(call("POST", "/_twin/runners", body)["id"])

    yield add
    for number in added:
        call("DELETE", f"/repos/{REPOSITORY}/actions/runners/{number}")


def test_a_job_that_both_could_serve_runs_once_and_the_other_runner_goes(
    fleet: Fleet, others: Add
) -> None:
    """Two fleets start a runner each; whose is the slower one is released."""
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
    row = fleet.until(f"fleet-{job.id}-1", lambda row: row.get("job_status") == "success")
    assert (row["status"], row["ran_on"]) == ("OFFLINE", "gpu-box-1")
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
