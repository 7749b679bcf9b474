"""The local fleet with `--images buildah`: from a webhook to a job that ran in its own image."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.twin.workflows import read_workflow
from cdk_runner_fleet.local.watch import RunWatch

from .conftest import BASE, buildah, figure

WORKFLOW = """
on: push
jobs:
  inside:
    runs-on: [self-hosted, "image:{image}"]
    steps:
      - run: |
          echo "user=$(id -un)" "process=$(cat /etc/hostname)" "python=$(command -v python3)"
          sudo -n true && echo sudo=yes
          sleep {seconds}
"""
PATIENCE_SECONDS = 240


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    context = {
        "github_repo": "acme/rockets",
        "reconcile_minutes": 1440,
        "allowed_images": "localhost/fleet-test/*",
    }
    with LocalFleet(context=context, images="buildah") as fleet:
        yield fleet


@pytest.fixture(autouse=True)
def containers_are_gone() -> Iterator[None]:
    before = containers()
    yield
    # a task is over for its job a moment before buildah has removed what it ran in
    deadline = time.monotonic() + 20
    while containers() != before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert containers() == before


def containers() -> list[str]:
    found = json.loads(buildah("containers", "--json").stdout or "null") or []
    return sorted(
        each["containername"] for each in found if "runner-fleet-" in each["containername"]
    )


def queue(fleet: LocalFleet, *, image: str = BASE, seconds: int = 0) -> RunWatch:
    text = WORKFLOW.format(image=image, seconds=seconds)
    run = fleet.queue_run(read_workflow(text, file_name="inside.yml"), file_name="inside.yml")
    return RunWatch(fleet, run)


def until(watch: RunWatch, reached: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        watch.poll()
        for job in watch.jobs.values():
            if job.row and reached(dict(job.row)):
                return dict(job.row)
        time.sleep(0.1)
    raise AssertionError([dict(job.row) for job in watch.jobs.values()])


def test_a_job_runs_in_the_image_that_it_asked_for(fleet: LocalFleet) -> None:
    began = time.monotonic()
    watch = queue(fleet)
    row = until(watch, lambda row: row["status"] in ("OFFLINE", "FAILED"))
    assert row["status"] == "OFFLINE", row
    [job] = watch.jobs.values()
    until(watch, lambda _: watch.over)
    assert job.conclusion == "success"
    figure(f"a job with a build before it, on warm layers: {time.monotonic() - began:.1f} s")
    assert row["runner_version"]
    assert "shell" in str(row["capabilities"])
    again = time.monotonic()
    watch = queue(fleet)
    assert until(watch, lambda row: row["status"] in ("OFFLINE", "FAILED"))["status"] == "OFFLINE"
    figure(f"a job in an image that is there: {time.monotonic() - again:.1f} s")


def test_a_task_that_is_stopped_tells_its_job(fleet: LocalFleet) -> None:
    watch = queue(fleet, seconds=600)
    row = until(watch, lambda row: row["status"] == "RUNNING")
    cluster = fleet.outputs["ClusterName"]
    ecs = fleet.client("ecs")
    ecs.stop_task(cluster=cluster, task=row["task_id"], reason="test")
    until(watch, lambda row: row["status"] in ("OFFLINE", "FAILED"))
    [task] = ecs.describe_tasks(cluster=cluster, tasks=[row["task_id"]])["tasks"]
    deadline = time.monotonic() + 20
    while task["lastStatus"] != "STOPPED" and time.monotonic() < deadline:
        time.sleep(0.1)
        [task] = ecs.describe_tasks(cluster=cluster, tasks=[row["task_id"]])["tasks"]
    assert task["lastStatus"] == "STOPPED"


def test_a_base_that_cannot_be_had_fails_the_build_with_its_reason(fleet: LocalFleet) -> None:
    watch = queue(fleet, image="localhost/fleet-test/nowhere:1")
    row = until(watch, lambda row: row["status"] == "FAILED")
    assert row["error"] == "Image.BuildFailed"
    assert "localhost/fleet-test/nowhere:1" in row["cause"], row


def test_an_image_without_what_a_runner_needs_is_explained(
    fleet: LocalFleet, tmp_path: Path
) -> None:
    (tmp_path / "os-release").write_text("ID=alpine\n")
    container = buildah("from", "scratch").stdout.strip()
    buildah("copy", "--quiet", container, f"{tmp_path}/os-release", "/etc/os-release")
    buildah("commit", "--quiet", "--rm", container, "localhost/fleet-test/shell-less:1")
    watch = queue(fleet, image="localhost/fleet-test/shell-less:1")
    row = until(watch, lambda row: row["status"] == "FAILED")
    assert row["error"] == "Image.BuildFailed"
