"""Jobs and runs at GitHub: what is asked, and what is made of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_runtime.github.jobs import (
    force_cancel,
    get_ended_attempt,
    get_job,
    list_jobs,
    rerun_job,
)
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable, Request, Response
from fleet_runtime.job.job import Job, JobEvent

from ..events import bus_event, sample
from .conftest import (
    answer,
)


def listed_job(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = sample("queued")["workflow_job"]
    return {**found, **changes}


def read_jobs(response: Response) -> tuple[Job, ...]:
    return list_jobs(repository="octo-org/example", run_id=1).read(response).items


def test_a_listed_job_is_one_from_a_webhook() -> None:
    told = JobEvent.from_detail(bus_event(sample("queued"))["detail"]).job
    assert read_jobs(answer({"jobs": [listed_job()]})) == (told,)


def test_a_job_is_read_as_in_a_list() -> None:
    request = get_job(repository="octo-org/example", job_id=2832853555)
    assert request.path == "/repos/octo-org/example/actions/jobs/2832853555"
    assert request.repository == "octo-org/example"
    assert (request.read(answer(listed_job())),) == read_jobs(answer({"jobs": [listed_job()]}))


@pytest.mark.parametrize("change", [{"labels": None}, {"run_id": "x"}, {"id": 0}])
def test_a_job_that_cannot_be_read_makes_the_list_incomplete(change: dict[str, Any]) -> None:
    with pytest.raises(GitHubUnavailable):
        read_jobs(answer({"jobs": [listed_job(**change)]}))


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (answer({"message": "Not Found"}, status=404), GitHubRefused),
        (answer({}, status=500), GitHubUnavailable),
        (answer(b"not json"), GitHubUnavailable),
        (answer(listed_job(run_id=None)), GitHubUnavailable),
    ],
)
def test_what_is_no_job_is_none(response: Response, error: type[Exception]) -> None:
    with pytest.raises(error):
        get_job(repository="o/r", job_id=7).read(response)


@pytest.mark.parametrize(
    ("request_", "done"),
    [
        (force_cancel(repository="o/r", run_id=7), (202, 409)),
        (rerun_job(repository="o/r", job_id=7), (201,)),
    ],
)
def test_what_is_done_and_what_is_refused(request_: Request[None], done: tuple[int, ...]) -> None:
    assert (request_.method, request_.repository) == ("POST", "o/r")
    for status in done:
        assert request_.read(answer({}, status=status)) is None
    for status in {200, 201, 202, 403, 409} - {*done}:
        with pytest.raises(GitHubRefused, match=str(status)):
            request_.read(answer({}, status=status))


@pytest.mark.parametrize(
    ("run", "attempt"),
    [
        ({"status": "in_progress", "run_attempt": 2}, None),
        ({"status": "completed", "run_attempt": 2}, 2),
        ({"status": "completed"}, 1),
    ],
)
def test_the_attempt_of_a_run_that_has_ended(run: dict[str, Any], attempt: int | None) -> None:
    assert get_ended_attempt(repository="o/r", run_id=1).read(answer(run)) == attempt
