"""Two repositories of an organization: what the one's jobs choose, the other's never run in."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.twin.workflows import read_workflow
from tests import settings
from tests.waiting import until

from .conftest import Fleet, runner_id

LESSER = "on: push\njobs: {a: {runs-on: [self-hosted], steps: [{run: 'true'}]}}"


@pytest.fixture(scope="module")
def by_repository() -> Iterator[Fleet]:
    """A fleet of an organization whose runners are registered for one repository each."""
    with LocalFleet(context=settings.BY_REPOSITORY) as local:
        yield Fleet(local)


def test_a_job_never_gets_a_runner_in_an_image_that_another_repository_chose(
    by_repository: Fleet,
) -> None:
    fleet, twin = by_repository, by_repository.local.twin
    assert twin
    others = twin.add_repository("others")
    bait = fleet.job("image:python:3.13")
    payload = {"action": "queued", "workflow_job": bait, "repository": {"full_name": others}}
    assert fleet.send_raw(json.dumps(payload).encode())[0] == 202
    waiting = fleet.status(runner_id(bait), "WAITING_FOR_JOB")
    assert (waiting["asked_by"], waiting["registered_for"]) == (others, f"repos/{others}")
    until(lambda: any(one.send for one in twin.board.runners.values()), "it is online")

    # its labels are among those of the runner that waits, which is there first
    run = twin.board.queue_run(
        read_workflow(LESSER, file_name="ci.yml"),
        file_name="ci.yml",
        workspace=None,
        protected_environments=frozenset(),
    )
    until(lambda: run.status == "completed", "the job has run")
    [job] = run.jobs
    assert (job.conclusion, job.runner_name) == ("success", f"fleet-{job.id}-1")
    ran = fleet.row(f"fleet-{job.id}-1")
    assert ran["image_tag"].startswith("default-")
    assert fleet.row(runner_id(bait))["status"] == "WAITING_FOR_JOB"

    cancelled = {**payload, "action": "completed"}
    cancelled["workflow_job"] = {**bait, "status": "completed", "conclusion": "cancelled"}
    assert fleet.send_raw(json.dumps(cancelled).encode())[0] == 202
    for name in (runner_id(bait), f"fleet-{job.id}-1"):
        fleet.status(name, "OFFLINE")
    until(lambda: not twin.board.runners, "no registration is left, in either repository")
