"""How a job may be named."""

from __future__ import annotations

import pytest

from cdk_runner_fleet.cli.errors import FleetError
from cdk_runner_fleet.cli.references import JobReference, read_reference

JOB = JobReference(job_id=456, repository="octo-org/octo.repo")


@pytest.mark.parametrize(
    "text",
    [
        "https://github.com/octo-org/octo.repo/actions/runs/123/job/456",
        "https://github.com/octo-org/octo.repo/actions/runs/123/job/456?pr=7",
        "https://github.com/octo-org/octo.repo/actions/runs/123/job/456#step:3:14",
        "https://github.com/octo-org/octo.repo/actions/runs/123/job/456/",
        "https://github.com/octo-org/octo.repo/actions/runs/123/attempts/2/job/456",
        "https://github.com/octo-org/octo.repo/actions/runs/123/attempts/2/jobs/456",
        "https://github.com/octo-org/octo.repo/runs/456?check_suite_focus=true",
        "https://ghe.example.com:8443/octo-org/octo.repo/actions/runs/123/job/456",
        "https://octo.ghe.com/octo-org/octo.repo/actions/runs/123/job/456",
        "https://api.github.com/repos/octo-org/octo.repo/actions/jobs/456",
        "https://ghe.example.com/api/v3/repos/octo-org/octo.repo/actions/jobs/456",
        "http://127.0.0.1:8080/repos/octo-org/octo.repo/actions/jobs/456",
    ],
)
def test_a_jobs_page_in_every_form(text: str) -> None:
    assert read_reference(text) == JOB


def test_an_id() -> None:
    assert read_reference("70000000001") == JobReference(job_id=70000000001)


@pytest.mark.parametrize(
    ("text", "job_id"),
    [("fleet-456-1", 456), ("my-fleet-456-2-r3", 456), ("somebody-elses", None), ("fleet", None)],
)
def test_a_runner(text: str, job_id: int | None) -> None:
    assert read_reference(text) == JobReference(job_id=job_id, runner_id=text)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("https://github.com/o/r/actions/runs/123", "open the job"),
        ("https://github.com/o/r/actions/runs/123/attempts/2", "open the job"),
        ("https://github.com/o/r/actions/runs/123?pr=1", "open the job"),
        ("https://github.com/o/r", "give the URL"),
        ("https://github.com/o/r/actions/runs/1/job/x", "open the job"),
        ("../456", "give the URL"),
        ("", "give the URL"),
        ("१२३", "give the URL"),
        ("456 7", "give the URL"),
    ],
)
def test_anything_else_is_wrong_usage(text: str, remedy: str) -> None:
    with pytest.raises(FleetError, match=remedy) as wrong:
        read_reference(text)
    assert wrong.value.exit_code == 2
