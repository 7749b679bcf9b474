"""Workflow jobs at GitHub, their runs, and the repositories that may have some. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.github.message import (
    PAGE_SIZE,
    GitHubUnavailable,
    Page,
    Request,
    Response,
    expect,
    list_pages,
    read_document,
    read_list,
)
from fleet_runtime.job.job import Job, UnreadableJobError

OPEN_RUNS = ("queued", "in_progress", "waiting")
"""Statuses of runs that may have jobs for the fleet. A run that waits for an approval may have
other jobs beside the one that is gated; those that are pending or requested have none yet."""
MOST_PAGES = 10
"""Of runs, and of the jobs of one: GitHub lists no more than 1,000 runs of a status."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A workflow run that is not over."""

    run_id: int
    repository: str


def get_job(*, repository: str, job_id: int) -> Request[Job]:
    """Ask for a job."""

    def read(response: Response) -> Job:
        return _job(read_document(response, expected=200), repository=repository)

    return Request.get(
        f"/repos/{repository}/actions/jobs/{job_id}", read=read, repository=repository
    )


def list_jobs(*, repository: str, run_id: int) -> Request[Page[Job]]:
    """Ask for the jobs of a run's last attempt, those of GitHub's own runners too."""

    def read(response: Response) -> list[Job]:
        return [_job(each, repository=repository) for each in read_list(response, key="jobs")]

    return list_pages(
        f"/repos/{repository}/actions/runs/{run_id}/jobs", read=read, repository=repository
    )


def rerun_job(*, repository: str, job_id: int) -> Request[None]:
    """Run a job of a completed run once more, and what depends on it."""
    return Request.post(
        f"/repos/{repository}/actions/jobs/{job_id}/rerun",
        read=lambda response: expect(response, 201),
        repository=repository,
    )


def list_runs(*, repository: str, status: str) -> Request[Page[Run]]:
    """Ask for a repository's runs of one status, newest first."""

    def read(response: Response) -> list[Run]:
        found = read_list(response, key="workflow_runs")
        return [Run(run_id=each["id"], repository=repository) for each in found]

    return list_pages(
        f"/repos/{repository}/actions/runs",
        read=read,
        query={"status": status, "exclude_pull_requests": "true"},
        repository=repository,
    )


def get_ended_attempt(*, repository: str, run_id: int) -> Request[int | None]:
    """Ask for the number of a run's last attempt; None while that goes on."""
    return Request.get(
        f"/repos/{repository}/actions/runs/{run_id}",
        read=_read_ended_attempt,
        repository=repository,
    )


def force_cancel(*, repository: str, run_id: int) -> Request[None]:
    """Cancel a run, even where its runner does not answer. It may have ended meanwhile (409)."""
    return Request.post(
        f"/repos/{repository}/actions/runs/{run_id}/force-cancel",
        read=lambda response: expect(response, 202, 409),
        repository=repository,
    )


def list_active_repositories(*, organization: str, count: int) -> Request[list[str]]:
    """Ask for the full names of the repositories that were pushed to most recently.

    Args:
        organization: Its login.
        count: How many, up to a page.
    """
    return Request.get(
        f"/orgs/{organization}/repos",
        read=_read_repositories,
        query={"sort": "pushed", "direction": "desc", "per_page": min(count, PAGE_SIZE)},
    )


def _job(found: Mapping[str, Any], *, repository: str) -> Job:
    try:
        return Job.read(found, repository=repository)
    except UnreadableJobError as error:
        raise GitHubUnavailable(f"GitHub told of a job that cannot be read: {error}") from error


def _read_ended_attempt(response: Response) -> int | None:
    run = read_document(response, expected=200)
    return int(run.get("run_attempt") or 1) if run.get("status") == "completed" else None


def _read_repositories(response: Response) -> list[str]:
    return [str(each["full_name"]) for each in read_list(response) if each.get("full_name")]
