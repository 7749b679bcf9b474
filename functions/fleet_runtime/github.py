"""GitHub's REST API without its socket: requests as values, answers as values or errors. Pure.

    GitHubError
     +-- GitHubUnavailable   not now: network, 5xx, rate limits; ask again
     +-- GitHubRefused       never like this: 401, 403, 404, 409, 422 and redirects

The class names are what the state machine retries and catches. Their text has the status and
GitHub's short message, and never anything that was sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

_API_VERSION = "2022-11-28"
_DEFAULT_RUNNER_GROUP = 1
"""The only group that a repository's runners have."""
_RETRY_AFTER_SECONDS = 5
_LONGEST_RETRY_AFTER_SECONDS = 60


class GitHubError(Exception):
    """GitHub did not do what it was asked.

    Attributes:
        status: HTTP status, 0 where there was no answer.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class GitHubUnavailable(GitHubError):  # noqa: N818 - the name is in the state machine
    """GitHub cannot answer now; the same request may succeed later.

    Attributes:
        retry_after: Seconds to wait before asking again.
    """

    def __init__(
        self, message: str, *, status: int = 0, retry_after: int = _RETRY_AFTER_SECONDS
    ) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class GitHubRefused(GitHubError):  # noqa: N818 - the name is in the state machine
    """GitHub will not do this, however often it is asked."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to the REST API; ``path`` is relative to the API's URL."""

    method: str
    path: str
    body: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer of the REST API; header names are lower-cased."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Job:
    """What matters of a workflow job: ``status``, and whether a runner ever had it."""

    status: str
    runner_name: str


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A runner registered just in time. The configuration is a credential."""

    github_runner_id: int
    encoded_jit_config: str = field(repr=False)


def headers(*, token: str) -> dict[str, str]:
    """Return the headers that every request carries."""
    return {
        "accept": "application/vnd.github+json",
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "user-agent": "cdk-runner-fleet",
        "x-github-api-version": _API_VERSION,
    }


def get_job(*, repository: str, job_id: int) -> Request:
    """Ask for a job of a workflow run."""
    return Request(method="GET", path=f"/repos/{repository}/actions/jobs/{job_id}")


def generate_jitconfig(*, repository: str, name: str, labels: Sequence[str]) -> Request:
    """Register a runner just in time. It gets exactly these labels and no implicit ones."""
    body = {
        "name": name,
        "runner_group_id": _DEFAULT_RUNNER_GROUP,
        "labels": list(labels),
        "work_folder": "_work",
    }
    return Request(
        method="POST",
        path=f"/repos/{repository}/actions/runners/generate-jitconfig",
        body=json.dumps(body).encode(),
    )


def find_runner(*, repository: str, name: str) -> Request:
    """Ask for the runners of a name."""
    return Request(
        method="GET", path=f"/repos/{repository}/actions/runners?{urlencode({'name': name})}"
    )


def delete_runner(*, repository: str, github_runner_id: int) -> Request:
    """Remove a runner's registration."""
    return Request(
        method="DELETE",
        path=f"/repos/{repository}/actions/runners/{quote(str(github_runner_id))}",
    )


def read_job(response: Response) -> Job:
    """Read the answer to ``get_job``; raises GitHubError."""
    job = _document(response, expected=200)
    return Job(status=str(job.get("status")), runner_name=str(job.get("runner_name") or ""))


def read_registration(response: Response) -> Registration:
    """Read the answer to ``generate_jitconfig``; raises GitHubError (409: name in use)."""
    document = _document(response, expected=201)
    runner, config = document.get("runner"), document.get("encoded_jit_config")
    if not isinstance(runner, dict) or not isinstance(runner.get("id"), int) or not config:
        raise GitHubUnavailable("GitHub answered 201 without a runner", status=201)
    return Registration(github_runner_id=runner["id"], encoded_jit_config=str(config))


def read_runner_id(response: Response, *, name: str) -> int | None:
    """Read the answer to ``find_runner``: the id of the runner of exactly that name, if any.

    Raises:
        GitHubError: if GitHub did not answer 200.
    """
    runners = _document(response, expected=200).get("runners")
    for runner in runners if isinstance(runners, list) else []:
        # a server that does not know the filter lists them all
        if isinstance(runner, dict) and runner.get("name") == name:
            return int(runner["id"])
    return None


def read_deletion(response: Response) -> bool:
    """Read the answer to ``delete_runner``.

    Returns:
        Whether the runner is busy with a job and so was not removed (422). One that is not there
        (404) counts as removed.

    Raises:
        GitHubError: for any other answer.
    """
    if response.status in (204, 404):
        return False
    if response.status == 422:
        return True
    raise _failure(response)


def _document(response: Response, *, expected: int) -> dict[str, Any]:
    if response.status != expected:
        raise _failure(response)
    try:
        document = json.loads(response.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise GitHubUnavailable(
            f"GitHub answered {response.status} without a JSON object", status=response.status
        )
    return document


def _failure(response: Response) -> GitHubError:
    message = f"GitHub answered {response.status}: {_short_message(response)}"
    if response.status >= 500 or response.status in (408, 429) or _is_rate_limited(response):
        return GitHubUnavailable(
            message, status=response.status, retry_after=_retry_after(response)
        )
    return GitHubRefused(message, status=response.status)


def _is_rate_limited(response: Response) -> bool:
    # https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api: both limits
    # may come as 403, and only these tell them from a missing permission
    return response.status == 403 and (
        "retry-after" in response.headers
        or response.headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in _short_message(response).lower()
    )


def _retry_after(response: Response) -> int:
    value = response.headers.get("retry-after", "")
    if not value.isdecimal():
        return _RETRY_AFTER_SECONDS
    return min(int(value), _LONGEST_RETRY_AFTER_SECONDS)


def _short_message(response: Response) -> str:
    try:
        document = json.loads(response.body)
    except ValueError:
        document = None
    message = document.get("message") if isinstance(document, dict) else None
    return str(message or "no message")[:200]
