"""Something else is deployed over a fleet that is at work: no job is lost, and nothing is left."""

from __future__ import annotations

import itertools
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdk_runner_fleet.local.assembly import STACK
from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.twin.records import Job
from tests import settings
from tests.settings import Settings
from tests.waiting import until

from .conftest import Fleet, Row, own, runner_id

HALFWAY = "AWS::StepFunctions::StateMachine"
"""What it calls is of after by then; whoever starts it, and who serves the runners, is not."""
KEPT = Path(__file__).parent / "version_before.tar.xz"
MAY_BE_REPLACED = {"AWS::ECS::TaskDefinition", "AWS::Lambda::Permission"}
"""A revision of the one is registered for each change; the other holds nothing."""

_minor_versions = itertools.count(10)


class Earlier(LocalFleet):
    """What is deployed first is of the version that is kept."""

    def _deploy(self, assembly: Path) -> None:
        if not self.outputs:
            assembly = self._next_folder()
            with tarfile.open(KEPT) as kept:
                kept.extractall(assembly, filter="data")
        super()._deploy(assembly)


def in_line(row: Row) -> bool:
    return row.get("waiting_for") == "turn"


@pytest.fixture(scope="module")
def deployed() -> Iterator[Fleet]:
    with LocalFleet(context=settings.DEPLOYED) as local:
        yield Fleet(local)


def resources(fleet: Fleet) -> dict[str, tuple[str, str]]:
    """Type and physical id of all that the stack has."""
    pages = fleet.local.client("cloudformation").get_paginator("list_stack_resources")
    return {
        each["LogicalResourceId"]: (each["ResourceType"], each["PhysicalResourceId"])
        for page in pages.paginate(StackName=STACK)
        for each in page["StackResourceSummaries"]
    }


@contextmanager
def half_deployed(fleet: Fleet, after: Settings) -> Iterator[None]:
    """Deploy other settings; the block runs while that is done by half."""
    fleet.fault(on="update", outcome="held", match=HALFWAY)
    failed: list[BaseException] = []

    def deploy() -> None:
        try:
            fleet.local.update(after)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below
            failed.append(error)

    deployment = threading.Thread(target=deploy)
    deployment.start()
    try:
        used = lambda: any(  # noqa: E731
            rule["match"] == HALFWAY and rule["used"]
            for rule in fleet.local.control("GET", "/_fleet/faults")["faults"]
        )
        until(lambda: failed or used(), "half of it is deployed")
        if not failed:
            yield
    finally:
        fleet.local.control("DELETE", "/_fleet/faults", {"match": HALFWAY})
        deployment.join()
    if failed:
        raise failed[0]


class Gates:
    """Jobs of GitHub's own that run until they are let go."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self._fleet = fleet
        self._folder = folder
        self._gates: dict[int, Path] = {}

    def queue(self, name: str, *labels: str) -> Job:
        gate = self._folder / name
        script = f"until [ -e {gate} ]; do sleep 0.1; done"
        job = self._fleet.queue_real(name, "class:small", *labels, script=script)
        self._gates[job.id] = gate
        return job

    def open(self, *jobs: Job) -> None:
        for job in jobs:
            self._gates[job.id].touch()


def runs(*jobs: Job) -> None:
    """Wait until one of them runs."""
    until(
        lambda: "in_progress" in [job.status for job in jobs],
        lambda: f"one runs of {[(own(job), job.status) for job in jobs]}",
    )


def has_succeeded(job: Job) -> None:
    until(lambda: job.status == "completed", lambda: f"{own(job)} has ended: {job.status}")
    assert job.conclusion == "success", [*job.log]


@pytest.mark.parametrize(
    ("before", "after"), settings.UPGRADES.values(), ids=list(settings.UPGRADES)
)
def test_jobs_go_on_while_something_else_is_deployed(
    deployed: Fleet, before: Settings, after: Settings, tmp_path: Path
) -> None:
    deployed.local.update(before)
    jobs_go_on(deployed, after, tmp_path)


@pytest.fixture
def earlier() -> Iterator[Fleet]:
    """What tools/keep_assembly.py has kept."""
    with Earlier(context=settings.DEPLOYED) as local:
        yield Fleet(local)


def test_jobs_go_on_while_a_later_version_is_deployed(earlier: Fleet, tmp_path: Path) -> None:
    # other settings, too: it is an upgrade on the day on which it is kept
    _, after = settings.UPGRADES["other times, limits and classes"]
    jobs_go_on(earlier, after, tmp_path)


def jobs_go_on(fleet: Fleet, after: Settings, tmp_path: Path) -> None:
    """Jobs run, wait, stand in line and come while something else is deployed; all end well."""
    gates = Gates(fleet, tmp_path)
    base = f"python:3.{next(_minor_versions)}-slim"
    fleet.fault(on="build", outcome="held", match=base)
    running, built = gates.queue("running"), gates.queue("built", f"image:{base}")
    runs(running)
    fleet.status(own(built), "IMAGE_CREATING")
    gone = fleet.job("class:medium")
    fleet.send("queued", gone)
    fleet.status(runner_id(gone), "WAITING_FOR_JOB")
    waiting = gates.queue("waiting")
    fleet.until(own(waiting), in_line)
    there = resources(fleet)

    with half_deployed(fleet, after):
        during = gates.queue("during")
        fleet.until(own(during), in_line)
        gates.open(running)
        has_succeeded(running)
        # who comes next is launched by a machine of before with functions of after
        runs(waiting, during)

    replaced = {
        kind
        for name, (kind, physical_id) in resources(fleet).items()
        if name in there and there[name] != (kind, physical_id)
    }
    assert replaced <= MAY_BE_REPLACED
    fleet.local.control("DELETE", "/_fleet/faults", {"match": base})
    fleet.send("completed", gone | {"status": "completed", "conclusion": "cancelled"})
    last = gates.queue("last")
    jobs = [running, waiting, during, built, last]
    gates.open(*jobs)
    for job in jobs:
        has_succeeded(job)
    for runner in (*map(own, jobs), runner_id(gone)):
        fleet.status(runner, "OFFLINE")
        fleet.until(runner, lambda _, runner=runner: fleet.executions(runner) == ["SUCCEEDED"])
        fleet.nothing_is_left_of(runner)
    failed = fleet.local.client("sqs").receive_message(
        QueueUrl=fleet.local.outputs["FailedEventsQueueUrl"], MaxNumberOfMessages=10
    )
    assert failed.get("Messages", []) == []


def test_a_job_in_line_for_a_ready_image_gets_another_runner_where_images_are_built(
    deployed: Fleet, tmp_path: Path
) -> None:
    before, after = settings.BUILT_AGAIN
    fleet, gates = deployed, Gates(deployed, tmp_path)
    fleet.local.update(before)
    running = gates.queue("running")
    runs(running)
    waiting = gates.queue("waiting")
    fleet.until(own(waiting), in_line)

    fleet.local.update(after)
    gates.open(running, waiting)
    has_succeeded(running)
    # its family has the definition that those of built images are made from
    assert fleet.status(own(waiting), "FAILED")["error"] == "Runner.LaunchFailed"
    reports = fleet.reconcile_until(lambda: waiting.status == "completed")
    assert waiting.conclusion == "success", [*waiting.log]
    assert [one for report in reports for one in report["started"]] == [f"{own(waiting)}-r1"]
    assert waiting.runner_name == f"{own(waiting)}-r1"
    fleet.status(waiting.runner_name, "OFFLINE")
