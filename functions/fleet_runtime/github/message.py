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
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

_API_VERSION = "2022-11-28"
_DEPRECATIONS_API_VERSION = "2026-03-10"
"""The first that has the deprecations of runner versions."""
DEFAULT_RUNNER_GROUP = 1
"""The group that every scope has, and the only one of a repository."""
PAGE_SIZE = 100
"""The most that GitHub puts into one page of a list."""
_RETRY_AFTER_SECONDS = 5


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
    """A request to the REST API.

    Attributes:
        method: ``GET``, ``POST``, ``PATCH``, ``PUT`` or ``DELETE``.
        path: Relative to the API's URL.
        body: JSON.
        etag: The ``etag`` of an earlier answer. If it still holds, GitHub answers 304, which
            does not count against the primary rate limit.
        api_version: The version of the API that the path is of.
    """

    method: str
    path: str
    body: bytes | None = None
    etag: str = ""
    api_version: str = _API_VERSION


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


@dataclass(frozen=True, kw_only=True)
class RegisteredRunner:
    """A runner as GitHub lists it: ``status`` is ``online`` or ``offline``."""

    github_runner_id: int
    name: str
    status: str
    busy: bool


@dataclass(frozen=True, kw_only=True)
class RunnerDownload:
    """An archive of the runner as GitHub offers it; ``sha256`` is empty if it does not say."""

    filename: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class RunnerDeprecation:
    """When GitHub retires a version of the runner: ISO 8601, None while it has set no date."""

    runtime_deprecates_at: str | None


def headers(request: Request, *, token: str) -> dict[str, str]:
    """Return the headers that a request carries."""
    condition = {"if-none-match": request.etag} if request.etag else {}
    return {
        **condition,
        "accept": "application/vnd.github+json",
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "user-agent": "cdk-runner-fleet",
        "x-github-api-version": request.api_version,
    }


def get_job(*, repository: str, job_id: int) -> Request:
    """Ask for a job of a workflow run."""
    return Request(method="GET", path=f"/repos/{repository}/actions/jobs/{job_id}")


def generate_jitconfig(
    *, scope: str, name: str, labels: Sequence[str], runner_group_id: int
) -> Request:
    """Register a runner just in time. It gets exactly these labels and no implicit ones.

    Args:
        scope: The path of the repository, organization or enterprise, here and below.
        name: Of the runner, up to 64 characters.
        labels: 1 to 100.
        runner_group_id: The group that it joins.
    """
    body = {
        "name": name,
        "runner_group_id": runner_group_id,
        "labels": list(labels),
        "work_folder": "_work",
    }
    return Request(
        method="POST",
        path=f"{scope}/actions/runners/generate-jitconfig",
        body=json.dumps(body).encode(),
    )


def get_runner(*, scope: str, github_runner_id: int) -> Request:
    """Ask for a runner."""
    return Request(method="GET", path=f"{scope}/actions/runners/{github_runner_id}")


def find_runner(*, scope: str, name: str) -> Request:
    """Ask for the runners of a name."""
    return Request(method="GET", path=f"{scope}/actions/runners?{urlencode({'name': name})}")


def list_runners(*, scope: str, page: int) -> Request:
    """Ask for a page of the runners, the first being 1."""
    query = urlencode({"per_page": PAGE_SIZE, "page": page})
    return Request(method="GET", path=f"{scope}/actions/runners?{query}")


def delete_runner(*, scope: str, github_runner_id: int) -> Request:
    """Remove a runner's registration."""
    return Request(method="DELETE", path=f"{scope}/actions/runners/{github_runner_id}")


def list_runner_groups(*, scope: str, page: int) -> Request:
    """Ask for a page of an organization's or enterprise's runner groups, the first being 1."""
    query = urlencode({"per_page": PAGE_SIZE, "page": page})
    return Request(method="GET", path=f"{scope}/actions/runner-groups?{query}")


def list_runner_downloads(*, scope: str) -> Request:
    """Ask for the archives of the runner's release that GitHub now has everyone install."""
    return Request(method="GET", path=f"{scope}/actions/runners/downloads")


def get_runner_deprecation(*, scope: str, version: str) -> Request:
    """Ask when a version of the runner stops to work."""
    return Request(
        method="GET",
        path=f"{scope}/actions/runners/deprecations/{version}",
        api_version=_DEPRECATIONS_API_VERSION,
    )


def find_installation(*, scope: str) -> Request:
    """Ask, as an App, for its installation in a repository or an organization."""
    return Request(method="GET", path=f"{scope}/installation")


def create_installation_token(
    *, installation_id: int, permissions: Mapping[str, str], repository: str | None
) -> Request:
    """Ask, as an App, for a token that may do this and no more, in one repository or in all."""
    body: dict[str, object] = {"permissions": dict(permissions)}
    if repository is not None:
        # GitHub wants the name without its owner
        body["repositories"] = [repository.partition("/")[2]]
    return Request(
        method="POST",
        path=f"/app/installations/{installation_id}/access_tokens",
        body=json.dumps(body).encode(),
    )


def read_installation_id(response: Response) -> int:
    """Read the answer to ``find_installation``; raises GitHubError."""
    found = read_document(response, expected=200).get("id")
    if not isinstance(found, int):
        raise GitHubUnavailable("GitHub answered 200 without an installation", status=200)
    return found


def read_installation_token(response: Response) -> str:
    """Read the answer to ``create_installation_token``; raises GitHubError."""
    token = read_document(response, expected=201).get("token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        raise GitHubUnavailable("GitHub answered 201 without a token", status=201)
    return token


def read_job(response: Response) -> Job:
    """Read the answer to ``get_job``; raises GitHubError."""
    job = read_document(response, expected=200)
    return Job(status=str(job.get("status")), runner_name=str(job.get("runner_name") or ""))


def read_registration(response: Response) -> Registration:
    """Read the answer to ``generate_jitconfig``; raises GitHubError (409: name in use)."""
    document = read_document(response, expected=201)
    runner, config = document.get("runner"), document.get("encoded_jit_config")
    if not isinstance(runner, dict) or not isinstance(runner.get("id"), int) or not config:
        raise GitHubUnavailable("GitHub answered 201 without a runner", status=201)
    return Registration(github_runner_id=runner["id"], encoded_jit_config=str(config))


def read_runner(response: Response) -> RegisteredRunner | None:
    """Read the answer to ``get_runner``: None if there is none (404).

    Raises:
        GitHubError: for any answer but 200 and 404.
    """
    if response.status == 404:
        return None
    runner = read_document(response, expected=200)
    if not isinstance(runner.get("id"), int):
        raise GitHubUnavailable("GitHub answered 200 without a runner", status=200)
    return _registered(runner)


def read_runner_id(response: Response, *, name: str) -> int | None:
    """Read the answer to ``find_runner``: the id of the runner of exactly that name, if any.

    Raises:
        GitHubError: if GitHub did not answer 200.
    """
    # a server that does not know the filter lists them all
    found = (each for each in read_runners(response) if each.name == name)
    return next((each.github_runner_id for each in found), None)


def read_runners(response: Response) -> list[RegisteredRunner]:
    """Read the answer to ``list_runners``; raises GitHubError."""
    return [_registered(each) for each in _list(response, "runners")]


def read_runner_groups(response: Response) -> dict[str, int]:
    """Read the answer to ``list_runner_groups``: ids by name; raises GitHubError."""
    return {str(each.get("name")): int(each["id"]) for each in _list(response, "runner_groups")}


def read_runner_downloads(response: Response) -> list[RunnerDownload]:
    """Read the answer to ``list_runner_downloads``; raises GitHubError."""
    listed = _read(response, expected=200)
    if not isinstance(listed, list):
        raise GitHubUnavailable("GitHub answered 200 without a list of archives", status=200)
    return [
        RunnerDownload(
            filename=str(each.get("filename")), sha256=str(each.get("sha256_checksum") or "")
        )
        for each in listed
        if isinstance(each, dict)
    ]


def read_runner_deprecation(response: Response) -> RunnerDeprecation | None:
    """Read the answer to ``get_runner_deprecation``.

    Returns:
        None if GitHub does not know the version (404), or is a server that does not know the
        endpoint (404) or its version of the API (400).

    Raises:
        GitHubError: if GitHub does not say.
    """
    if response.status in (400, 404):
        return None
    date = read_document(response, expected=200).get("runtime_deprecates_at")
    try:
        if date is not None:
            datetime.fromisoformat(date)
    except (TypeError, ValueError) as error:
        raise GitHubUnavailable(f"GitHub gave {date!r} for a time"[:200], status=200) from error
    return RunnerDeprecation(runtime_deprecates_at=date)


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
    raise failure(response)


def read_document(response: Response, *, expected: int) -> dict[str, Any]:
    """Read an answer that has to be a JSON object with this status; raises GitHubError."""
    document = _read(response, expected=expected)
    if not isinstance(document, dict):
        raise GitHubUnavailable(
            f"GitHub answered {response.status} without a JSON object", status=response.status
        )
    return document


def failure(response: Response) -> GitHubError:
    """Make the error that an answer means. Rate limits are told from refusals before this."""
    message = f"GitHub answered {response.status}: {short_message(response)}"
    if response.status >= 500 or response.status in (408, 429):
        after = response.headers.get("retry-after", "")
        seconds = int(after) if after.isdecimal() else _RETRY_AFTER_SECONDS
        return GitHubUnavailable(message, status=response.status, retry_after=seconds)
    return GitHubRefused(message, status=response.status)


def short_message(response: Response) -> str:
    """Return GitHub's own words, cut short."""
    try:
        document = json.loads(response.body)
    except ValueError:
        document = None
    message = document.get("message") if isinstance(document, dict) else None
    return str(message or "no message")[:200]


def _read(response: Response, *, expected: int) -> Any:
    """Read an answer that has to have this status; None if it is not JSON."""
    if response.status != expected:
        raise failure(response)
    try:
        return json.loads(response.body)
    except ValueError:
        return None


def _list(response: Response, key: str) -> list[dict[str, Any]]:
    items = read_document(response, expected=200).get(key)
    listed = items if isinstance(items, list) else []
    return [each for each in listed if isinstance(each, dict) and isinstance(each.get("id"), int)]


def _registered(runner: Mapping[str, Any]) -> RegisteredRunner:
    return RegisteredRunner(
        github_runner_id=int(runner["id"]),
        name=str(runner.get("name")),
        status=str(runner.get("status")),
        busy=runner.get("busy") is True,
    )
