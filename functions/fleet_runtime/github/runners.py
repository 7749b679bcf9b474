"""Self-hosted runners at GitHub: registrations, groups, and releases of the runner itself. Pure.

``scope`` is everywhere the path of the repository, organization or enterprise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from fleet_runtime.github.message import (
    GitHubUnavailable,
    Page,
    Request,
    Response,
    expect,
    list_pages,
    read_document,
    read_json,
    read_list,
)

DEFAULT_RUNNER_GROUP = 1
"""The group that every scope has, and the only one of a repository."""
_REGISTRATION_SECONDS = 15.0
"""Registrations that took 10 to 11 seconds were seen (runs-on/runs-on#546). One that is not waited
for is made all the same, and its name is taken then."""
_DEPRECATIONS_API_VERSION = "2026-03-10"
"""The first that has the deprecations of runner versions."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A runner registered just in time. The configuration is a credential."""

    github_runner_id: int
    encoded_jit_config: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class RegisteredRunner:
    """A runner as GitHub lists it.

    Attributes:
        status: ``online`` or ``offline``.
        labels: Lower-cased.
    """

    github_runner_id: int
    name: str
    status: str
    busy: bool
    labels: frozenset[str]


class Removal(Enum):
    """What became of a runner's registration that was to be removed."""

    REMOVED = "removed"
    ABSENT = "absent"
    """GitHub has no such runner: it had removed it before."""
    BUSY = "busy"
    """It runs a job, and so is still there."""


@dataclass(frozen=True, kw_only=True)
class RunnerGroup:
    """A group of an organization's or enterprise's runners.

    Attributes:
        is_limited: Whether only those may use its runners who were selected: repositories of an
            organization, organizations of an enterprise.
    """

    group_id: int
    name: str
    is_limited: bool


@dataclass(frozen=True, kw_only=True)
class RunnerDownload:
    """An archive of the runner as GitHub offers it; ``sha256`` is empty if it does not say."""

    filename: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class RunnerDeprecation:
    """When GitHub retires a version of the runner: ISO 8601, None while it has set no date."""

    runtime_deprecates_at: str | None


def generate_jitconfig(
    *, scope: str, name: str, labels: Sequence[str], runner_group_id: int
) -> Request[Registration]:
    """Register a runner just in time. It gets exactly these labels and no implicit ones.

    A name in use is refused (409), and so is one that was in use a moment ago.

    Args:
        scope: Where.
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
    return Request.post(
        f"{scope}/actions/runners/generate-jitconfig",
        read=_read_registration,
        body=body,
        repository=_repository(scope),
        seconds=_REGISTRATION_SECONDS,
    )


def get_runner(*, scope: str, github_runner_id: int) -> Request[RegisteredRunner | None]:
    """Ask for a runner; None if there is none (404)."""
    return Request.get(
        f"{scope}/actions/runners/{github_runner_id}",
        read=_read_runner,
        repository=_repository(scope),
    )


def find_runner(*, scope: str, name: str) -> Request[RegisteredRunner | None]:
    """Ask for the runner of exactly this name, if there is one."""

    def read(response: Response) -> RegisteredRunner | None:
        # a server that does not know the filter lists them all
        return next((each for each in _read_runners(response) if each.name == name), None)

    return Request.get(
        f"{scope}/actions/runners", read=read, query={"name": name}, repository=_repository(scope)
    )


def list_runners(*, scope: str) -> Request[Page[RegisteredRunner]]:
    """Ask for all runners: 10,000 are the most that a group takes ("Actions limits")."""
    return list_pages(f"{scope}/actions/runners", read=_read_runners, repository=_repository(scope))


def delete_runner(*, scope: str, github_runner_id: int) -> Request[Removal]:
    """Remove a runner's registration: 204, 404 for one that is not there, 422 for a busy one."""
    return Request(
        method="DELETE",
        path=f"{scope}/actions/runners/{github_runner_id}",
        read=_read_deletion,
        repository=_repository(scope),
    )


def list_runner_groups(*, scope: str) -> Request[Page[RunnerGroup]]:
    """Ask for an organization's or enterprise's runner groups."""
    return list_pages(f"{scope}/actions/runner-groups", read=_read_groups)


def list_runner_downloads(*, scope: str) -> Request[list[RunnerDownload]]:
    """Ask for the archives of the runner's release that GitHub now has everyone install."""
    return Request.get(f"{scope}/actions/runners/downloads", read=_read_downloads)


def get_runner_deprecation(*, scope: str, version: str) -> Request[RunnerDeprecation | None]:
    """Ask when a version of the runner stops to work.

    The answer is None if GitHub does not know the version (404), or is a server that does not know
    the endpoint (404) or its version of the API (400).
    """
    return Request.get(
        f"{scope}/actions/runners/deprecations/{version}",
        read=_read_deprecation,
        api_version=_DEPRECATIONS_API_VERSION,
    )


def _repository(scope: str) -> str | None:
    """The repository that a scope is, which the fleet has to serve."""
    kind, _, name = scope.removeprefix("/").partition("/")
    return name if kind == "repos" else None


def _read_registration(response: Response) -> Registration:
    document = read_document(response, expected=201)
    runner, config = document.get("runner"), document.get("encoded_jit_config")
    if not isinstance(runner, dict) or not isinstance(runner.get("id"), int) or not config:
        raise GitHubUnavailable("GitHub answered 201 without a runner", status=201)
    return Registration(github_runner_id=runner["id"], encoded_jit_config=str(config))


def _read_runner(response: Response) -> RegisteredRunner | None:
    if response.status == 404:
        return None
    runner = read_document(response, expected=200)
    if not isinstance(runner.get("id"), int):
        raise GitHubUnavailable("GitHub answered 200 without a runner", status=200)
    return _registered(runner)


def _read_runners(response: Response) -> list[RegisteredRunner]:
    return [_registered(each) for each in read_list(response, key="runners")]


def _read_deletion(response: Response) -> Removal:
    expect(response, 204, 404, 422)
    return {204: Removal.REMOVED, 404: Removal.ABSENT, 422: Removal.BUSY}[response.status]


def _read_groups(response: Response) -> list[RunnerGroup]:
    return [
        RunnerGroup(
            group_id=each["id"],
            name=str(each.get("name")),
            is_limited=each.get("visibility") == "selected",
        )
        for each in read_list(response, key="runner_groups")
    ]


def _read_downloads(response: Response) -> list[RunnerDownload]:
    listed = read_json(response, expected=200)
    if not isinstance(listed, list):
        raise GitHubUnavailable("GitHub answered 200 without a list of archives", status=200)
    return [
        RunnerDownload(
            filename=str(each.get("filename")), sha256=str(each.get("sha256_checksum") or "")
        )
        for each in listed
        if isinstance(each, dict)
    ]


def _read_deprecation(response: Response) -> RunnerDeprecation | None:
    if response.status in (400, 404):
        return None
    date = read_document(response, expected=200).get("runtime_deprecates_at")
    try:
        if date is not None:
            datetime.fromisoformat(date)
    except (TypeError, ValueError) as error:
        raise GitHubUnavailable(f"GitHub gave {date!r} for a time"[:200], status=200) from error
    return RunnerDeprecation(runtime_deprecates_at=date)


def _registered(runner: Mapping[str, Any]) -> RegisteredRunner:
    labels = runner.get("labels")
    named = [each.get("name") for each in labels or () if isinstance(each, dict)]
    return RegisteredRunner(
        github_runner_id=int(runner["id"]),
        name=str(runner.get("name")),
        status=str(runner.get("status")),
        busy=runner.get("busy") is True,
        labels=frozenset(str(name).lower() for name in named),
    )
