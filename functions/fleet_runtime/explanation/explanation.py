"""What is said at GitHub about a job that gets no runner: a check run or a commit status. Pure.

The cause and the job's name are in part written by whoever can edit a workflow, and are read by
whoever sees the commit: they are cut, made one line and shown as code, and AWS account numbers are
masked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.explanation.causes import Cause, cause_of
from fleet_runtime.explanation.unserved import WAITS
from fleet_runtime.github.message import Request, Response, read_document

_LONGEST_NAME = 100
_LONGEST_DESCRIPTION = 140
"""Of a commit status (REST API, "Create a commit status")."""
_LONGEST_CAUSE = 1000
_ACCOUNT = re.compile(r"(?<!\d)\d{12}(?!\d)")


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a job has no runner.

    Attributes:
        repository: ``owner/name``.
        runner_id: The runner that it was to have.
        job_name: The job's name.
        job_url: Its page; empty if it is not known.
        head_sha: The commit that it runs for; empty if it is not known.
        error: The error's name.
        cause: What went wrong, empty where that is not for the author.
        final: Whether no other runner will be tried. What may still come right must not stand in a
            merge's way, because nobody takes it back then.
    """

    repository: str
    runner_id: str
    job_name: str
    job_url: str
    head_sha: str
    error: str
    cause: str
    final: bool

    @classmethod
    def from_detail(cls, detail: Mapping[str, Any]) -> Explanation:
        """Read the detail of a ``job_unserved`` event; raises KeyError for any other."""
        return cls(
            repository=detail["repository"],
            runner_id=detail["runner_id"],
            job_name=_line(detail["job_name"], limit=_LONGEST_NAME),
            job_url=_url(detail["job_url"]),
            head_sha=detail["head_sha"],
            error=detail["error"],
            cause=_line(detail["cause"], limit=_LONGEST_CAUSE)
            if cause_of(detail["error"]).public
            else "",
            final=detail["final"],
        )

    @property
    def name(self) -> str:
        """What stands in the list of the commit's checks: of a name GitHub shows only the last."""
        return f"runner-fleet / {self.job_name}"

    @property
    def waits(self) -> bool:
        """Whether the job is only late."""
        return self.error == WAITS

    @property
    def meaning(self) -> Cause:
        """What the error means."""
        return cause_of(self.error)


def create_check_run(about: Explanation) -> Request:
    """Say it as a check run; only a GitHub App with *Checks: write* may."""
    body = {
        "name": about.name,
        "head_sha": about.head_sha,
        "external_id": about.runner_id,
        "status": "completed",
        "conclusion": "failure" if about.final else "neutral",
        "output": {
            "title": f"{'No runner' if about.final else 'No runner yet'}: {about.meaning.title}",
            "summary": _summary(about),
        },
    }
    if about.job_url:
        body["details_url"] = about.job_url
    return Request(
        method="POST",
        path=f"/repos/{about.repository}/check-runs",
        body=json.dumps(body).encode(),
    )


def create_commit_status(about: Explanation) -> Request:
    """Say it as a commit status, in 140 characters, with *Commit statuses: write*."""
    body = {
        "state": "failure" if about.final else "success",
        "context": about.name,
        "description": _cut(_status(about), _LONGEST_DESCRIPTION),
    }
    if about.job_url:
        body["target_url"] = about.job_url
    return Request(
        method="POST",
        path=f"/repos/{about.repository}/statuses/{about.head_sha}",
        body=json.dumps(body).encode(),
    )


def read_created(response: Response) -> None:
    """Read the answer to either; raises GitHubError unless GitHub has taken it."""
    read_document(response, expected=201)


def read_job_view(response: Response) -> dict[str, Any]:
    """Read what GitHub says of a job, as far as it explains something; raises GitHubError."""
    job = read_document(response, expected=200)
    return {
        name: job.get(name)
        for name in (
            "status",
            "conclusion",
            "labels",
            "runner_name",
            "created_at",
            "started_at",
            "completed_at",
            "head_sha",
            "html_url",
        )
    }


def _summary(about: Explanation) -> str:
    # one indented line is code whatever stands in it: no mention, no link, no markup
    first = "will not come" if about.final else "has not come yet"
    cause = f"    {about.cause}\n\n" if about.cause else ""
    return (
        f"The job's self-hosted runner {first}: {about.meaning.title}.\n\n{cause}"
        f"**What to do.** {about.meaning.remedy}\n\n"
        f"`{about.error}`, runner `{about.runner_id}`. GitHub itself shows the job as queued and "
        "cancels it after 24 hours; `runner-fleet explain` shows the fleet's operator all of it."
    )


def _status(about: Explanation) -> str:
    said = about.cause or about.meaning.title
    return said if about.final else f"No runner yet: {said}"


def _line(text: str, *, limit: int) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text)
    return _cut(_ACCOUNT.sub("(account)", " ".join(shown.split())), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _url(text: str) -> str:
    # GitHub takes no other scheme
    return text if text.startswith(("https://", "http://")) and text.isprintable() else ""
