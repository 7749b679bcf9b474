"""A job as GitHub tells of it, and what happened to it, on the bus and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet_runtime.job import labels
from fleet_runtime.job.job import Job, JobEvent, UnreadableJobError
from fleet_runtime.job.runner_name import own_runner_id

from ..events import bus_event, sample


def document(**changes: Any) -> dict[str, Any]:
    return {**sample("in_progress")["workflow_job"], **changes}


def read(**changes: Any) -> Job:
    return Job.read(document(**changes), repository="octo-org/example")


def test_a_job_is_read() -> None:
    job = read()
    told = document()
    assert (job.repository, job.job_id, job.run_id) == (
        "octo-org/example",
        told["id"],
        told["run_id"],
    )
    assert (job.status, job.runner_name) == ("in_progress", told["runner_name"])
    assert (job.labels, job.created_at) == (tuple(told["labels"]), 1781551340)
    assert (job.url, job.head_sha) == (told["html_url"], told["head_sha"])
    assert job.completed_at is None
    assert own_runner_id(job, prefix="fleet") == f"fleet-{told['id']}-1"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"id": 0}, "workflow_job.id is 0 and not a number from 1"),
        ({"id": True}, "workflow_job.id is True"),
        ({"run_id": "x"}, "workflow_job.run_id is 'x'"),
        ({"run_attempt": 10_001}, "workflow_job.run_attempt is 10001"),
        ({"labels": None}, "workflow_job.labels is None and not a list"),
    ],
)
def test_a_job_that_lacks_what_each_has_is_none(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(UnreadableJobError, match=fault):
        read(**change)


def test_what_somebody_else_wrote_is_cut() -> None:
    job = read(
        name="n" * 999,
        html_url="u" * 999,
        labels=["l" * 999, 7, *"x" * 99],
        head_sha="../secret",
        created_at="soon",
        conclusion="",
        runner_name="",
        run_attempt=None,
    )
    assert (len(job.name), len(job.url)) == (200, 500)
    assert job.labels[:2] == ("l" * (labels.MAX_LABEL_LENGTH + 1), None)
    assert len(job.labels) == labels.MAX_LABELS + 1
    assert (job.head_sha, job.created_at, job.run_attempt) == ("", None, 1)
    assert (job.conclusion, job.runner_name) == (None, None)


@pytest.mark.parametrize("name", ["queued", "in_progress", "completed"])
def test_an_event_comes_off_the_bus_as_it_went_onto_it(name: str) -> None:
    event = JobEvent(
        action=name,
        job=Job.read(sample(name)["workflow_job"], repository="octo-org/example"),
        delivery="d",
        received_at=1781551342,
    )
    detail = json.loads(json.dumps(event.to_detail()))
    assert detail == bus_event(sample(name))["detail"]
    assert JobEvent.from_detail(detail) == event
    assert event.stamp == {f"{name}_delivery": "d", f"{name}_received_at": 1781551342}


def test_what_a_status_tells_stands_in_for_a_missed_event() -> None:
    event = JobEvent.missed(read(status="completed"))
    assert (event.action, event.job.status) == ("completed", "completed")
    assert event.stamp == {}, "no delivery told of it"
