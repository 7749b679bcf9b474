"""What reconciliation asks GitHub: runs, jobs, hooks and deliveries. Pure.

Requests as values and answers as values or errors, like ``github``.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

from fleet_runtime.github.message import (
    PAGE_SIZE,
    GitHubUnavailable,
    Request,
    Response,
    failure,
    read_document,
)
from fleet_runtime.job import labels
from fleet_runtime.job.job import Job, UnreadableJobError

OPEN_RUNS = ("queued", "in_progress", "waiting")
"""Statuses of runs that may have jobs for the fleet. A run that waits for an approval may have
other jobs beside the one that is gated; those that are pending or requested have none yet."""

_NEXT_CURSOR = re.compile(r'[?&]cursor=([^&>]+)[^>]*>;\s*rel="next"')


@dataclass(frozen=True, kw_only=True)
class Run:
    """A workflow run that is not over."""

    run_id: int
    repository: str


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A webhook delivery as GitHub's log has it.

    Attributes:
        delivery_id: Of this attempt; later ones are greater.
        guid: Of the event: every attempt to deliver it has the same.
        delivered_at: Epoch seconds.
        is_redelivery: Whether somebody asked for this attempt.
        succeeded: Whether it was answered 2xx in time.
        event: ``workflow_job`` or another.
    """

    delivery_id: int
    guid: str
    delivered_at: int
    is_redelivery: bool
    succeeded: bool
    event: str


def list_runs(*, repository: str, status: str, page: int) -> Request:
    """Ask for a page of a repository's runs of one status, newest first; the first page is 1."""
    query = {
        "status": status,
        "exclude_pull_requests": "true",
        "per_page": PAGE_SIZE,
        "page": page,
    }
    return _get(f"/repos/{repository}/actions/runs", query)


def list_jobs(*, repository: str, run_id: int, page: int) -> Request:
    """Ask for a page of the jobs of a run's last attempt."""
    return _get(
        f"/repos/{repository}/actions/runs/{run_id}/jobs", {"per_page": PAGE_SIZE, "page": page}
    )


def get_run(*, repository: str, run_id: int) -> Request:
    """Ask for a run."""
    return _get(f"/repos/{repository}/actions/runs/{run_id}", {})


def list_repositories(*, organization: str, count: int) -> Request:
    """Ask for the organization's repositories that were pushed to most recently."""
    return _get(
        f"/orgs/{organization}/repos", {"sort": "pushed", "direction": "desc", "per_page": count}
    )


def force_cancel(*, repository: str, run_id: int) -> Request:
    """Cancel a run, even where its runner does not answer."""
    return Request(method="POST", path=f"/repos/{repository}/actions/runs/{run_id}/force-cancel")


def rerun_job(*, repository: str, job_id: int) -> Request:
    """Run a job of a completed run once more, and what depends on it."""
    return Request(method="POST", path=f"/repos/{repository}/actions/jobs/{job_id}/rerun")


def list_hooks(*, scope: str) -> Request:
    """Ask for the webhooks of a repository or organization; they have at most 20 for an event."""
    return _get(f"{scope}/hooks", {"per_page": PAGE_SIZE})


def get_app_hook() -> Request:
    """Ask where the App's own webhook goes."""
    return _get("/app/hook/config", {})


def list_deliveries(*, hook: str, cursor: str) -> Request:
    """Ask for a page of a hook's deliveries, newest first; the first page has no cursor."""
    query = {"per_page": str(PAGE_SIZE)} | ({"cursor": cursor} if cursor else {})
    return _get(f"{hook}/deliveries", query)


def redeliver(*, hook: str, delivery_id: int) -> Request:
    """Have a delivery attempted again."""
    return Request(method="POST", path=f"{hook}/deliveries/{delivery_id}/attempts")


def read_runs(response: Response, *, repository: str) -> list[Run]:
    """Read the answer to ``list_runs``; raises GitHubError."""
    found = _whole_list(read_document(response, expected=200).get("workflow_runs"))
    return [Run(run_id=int(each["id"]), repository=repository) for each in found]


def read_ended_attempt(response: Response) -> int | None:
    """Read the answer to ``get_run``: its last attempt, None while that goes on.

    Raises:
        GitHubError: if GitHub does not say.
    """
    run = read_document(response, expected=200)
    return int(run.get("run_attempt") or 1) if run.get("status") == "completed" else None


def read_jobs(response: Response, *, repository: str) -> list[Job]:
    """Read the answer to ``list_jobs``: all jobs, those of GitHub's own runners too.

    Raises:
        GitHubError: if the list is not there, or a job in it cannot be read.
    """
    found = _whole_list(read_document(response, expected=200).get("jobs"))
    return [_job(each, repository=repository) for each in found]


def read_listed_job(response: Response, *, repository: str) -> Job | None:
    """Read the answer to ``github.get_job`` like one of ``read_jobs``; None if it is gone.

    Raises:
        GitHubError: if GitHub does not say.
    """
    if response.status == 404:
        return None
    return _job(read_document(response, expected=200), repository=repository)


def read_repositories(response: Response) -> list[str]:
    """Read the answer to ``list_repositories``: full names; raises GitHubError."""
    return [str(each["full_name"]) for each in _read_list(response) if each.get("full_name")]


def read_hook_id(response: Response, *, url: str) -> int | None:
    """Read the answer to ``list_hooks``: the id of the one that goes to ``url``, if any.

    Raises:
        GitHubError: if GitHub does not say.
    """
    for hook in _read_list(response):
        config = hook.get("config")
        if isinstance(config, dict) and config.get("url") == url:
            return int(hook["id"])
    return None


def read_app_hook_url(response: Response) -> str:
    """Read the answer to ``get_app_hook``; empty if the App has none (404).

    Raises:
        GitHubError: if GitHub does not say.
    """
    if response.status == 404:
        return ""
    return str(read_document(response, expected=200).get("url") or "")


def read_deliveries(response: Response) -> list[Delivery]:
    """Read the answer to ``list_deliveries``; raises GitHubError."""
    return [
        Delivery(
            delivery_id=int(each["id"]),
            guid=str(each.get("guid")),
            delivered_at=_epoch(each.get("delivered_at")),
            is_redelivery=each.get("redelivery") is True,
            # the text is "OK" for every 2xx; only some of the other texts are documented
            succeeded=200 <= int(each.get("status_code") or 0) < 300,
            event=str(each.get("event")),
        )
        for each in _read_list(response)
    ]


def read_next_cursor(response: Response) -> str:
    """Read where the next page of deliveries begins; empty after the last one."""
    match = _NEXT_CURSOR.search(response.headers.get("link", ""))
    return unquote(match[1]) if match else ""


def _get(path: str, query: Mapping[str, object]) -> Request:
    return Request(method="GET", path=f"{path}?{urlencode(query)}" if query else path)


def _job(found: Mapping[str, Any], *, repository: str) -> Job:
    try:
        return Job.read(found, repository=repository)
    except UnreadableJobError as error:
        raise GitHubUnavailable(f"GitHub told of a job that cannot be read: {error}") from error


def _whole_list(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(
        isinstance(each, dict) and isinstance(each.get("id"), int) for each in value
    ):
        # taking half a list for a whole one would release runners that are needed
        raise GitHubUnavailable("GitHub answered 200 without the list that was asked for")
    return value


def _read_list(response: Response) -> Sequence[dict[str, Any]]:
    if response.status != 200:
        raise failure(response)
    try:
        document = json.loads(response.body)
    except ValueError:
        document = None
    return _whole_list(document)


def _epoch(value: object) -> int:
    try:
        return int(datetime.datetime.fromisoformat(str(value)).timestamp())
    except ValueError as error:
        raise GitHubUnavailable(f"GitHub gave {labels.shown(value)} for a time") from error
