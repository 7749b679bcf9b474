"""What is said about the repository's commits: check runs and commit statuses.

Refusals are worded as https://docs.github.com/rest/checks/runs and
https://docs.github.com/rest/commits/statuses have them, as far as they say.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cdk_runner_fleet.local.twin.payloads import HEAD_SHA

__all__ = ["Checks", "ChecksError"]

_CONCLUSIONS = (
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "success",
    "skipped",
    "stale",
    "timed_out",
)
_STATES = ("error", "failure", "pending", "success")
_LONGEST_DESCRIPTION = 140
_LONGEST_SUMMARY = 65_535


class ChecksError(Exception):
    """What was said is not taken.

    Args:
        message: why.
        status: the answer's status.
    """

    def __init__(self, message: str, *, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


class Checks:
    """Check runs and statuses of the one commit that every run of the twin is for.

    Attributes:
        runs: check runs, oldest first.
        statuses: commit statuses, oldest first; the last one of a context counts.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(81_000_001)
        self.runs: list[dict[str, Any]] = []
        self.statuses: list[dict[str, Any]] = []

    def add_run(self, body: Mapping[str, Any], *, app_id: str | None) -> dict[str, Any]:
        """A new check run.

        Args:
            body: the request's.
            app_id: the App that asks; None for a token, which may not.

        Raises:
            ChecksError: it is not taken.
        """
        if app_id is None:
            raise ChecksError("You must authenticate via a GitHub App.", status=403)
        for name in ("name", "head_sha"):
            if not isinstance(body.get(name), str) or not body[name]:
                raise ChecksError(f'Invalid request.\n\n"{name}" wasn\'t supplied.')
        _check_commit(body["head_sha"])
        status = body.get("status", "queued")
        conclusion = body.get("conclusion")
        if status == "completed" and conclusion not in _CONCLUSIONS:
            raise ChecksError(f"Invalid request.\n\n{conclusion!r} is not a conclusion.")
        output = body.get("output")
        if output is not None and not {"title", "summary"} <= set(output):
            raise ChecksError("Invalid request.\n\nAn output has a title and a summary.")
        if output and len(output["summary"]) > _LONGEST_SUMMARY:
            raise ChecksError("Invalid request.\n\nThe summary is too long.")
        _check_url(body.get("details_url"), "details_url")
        run = {
            "id": next(self._numbers),
            "status": status,
            "conclusion": conclusion,
            "external_id": "",
            "details_url": None,
            "output": {"title": None, "summary": None},
            "app": {"id": app_id},
            **body,
        }
        self.runs.append(run)
        return run

    def add_status(self, sha: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new commit status; raises ChecksError."""
        _check_commit(sha)
        if body.get("state") not in _STATES:
            raise ChecksError("Invalid request.\n\nstate is not included in the list")
        for name in ("context", "description"):
            if any(char > "\uffff" for char in body.get(name) or ""):
                raise ChecksError(f"Validation Failed: {name} doesn't accept 4-byte Unicode")
        description = body.get("description")
        if description is not None and len(description) > _LONGEST_DESCRIPTION:
            raise ChecksError("Validation Failed: description is too long (maximum is 140)")
        _check_url(body.get("target_url"), "target_url")
        status = {
            "id": next(self._numbers),
            "context": "default",
            "description": None,
            "target_url": None,
            "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **body,
        }
        self.statuses.append(status)
        return status


def _check_commit(sha: str) -> None:
    if sha != HEAD_SHA:
        raise ChecksError(f"No commit found for SHA: {sha}")


def _check_url(url: object, name: str) -> None:
    if url is not None and not str(url).startswith(("http://", "https://")):
        raise ChecksError(f"Validation Failed: {name} must use http(s) scheme")
