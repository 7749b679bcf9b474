"""What is said at GitHub about a job that gets no runner, in a check run or a commit status. Pure.

The cause and the job's name are in part written by whoever can edit a workflow, and are read by
whoever sees the commit: they are cut, made one line and shown as code, and AWS account numbers are
masked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.explanation.causes import Cause, cause_of
from fleet_runtime.explanation.unserved import SERVED, WAITS
from fleet_runtime.github import checks
from fleet_runtime.github.message import Request

_LONGEST_NAME = 100
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
            merge's way: what takes it back may be lost.
    """

    repository: str
    runner_id: str
    job_name: str
    job_url: str
    head_sha: str
    error: str
    cause: str
    final: bool
    log_only: bool

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
            log_only=detail["log_only"],
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

    def as_check_run(self) -> Request[None]:
        """Say it as a check run, which only a GitHub App may."""
        return checks.create_check_run(
            repository=self.repository,
            head_sha=self.head_sha,
            name=self.name,
            external_id=self.runner_id,
            conclusion="failure" if self.final else "neutral",
            title=f"{_headline(self)}: {self.meaning.title}",
            summary=_summary(self),
            details_url=self.job_url,
        )

    def as_commit_status(self) -> Request[None]:
        """Say it as a commit status, in fewer words."""
        return checks.create_commit_status(
            repository=self.repository,
            head_sha=self.head_sha,
            state="failure" if self.final else "success",
            context=self.name,
            description=_cut(_status(self), checks.LONGEST_DESCRIPTION),
            target_url=self.job_url,
        )


def _headline(about: Explanation) -> str:
    if about.error == SERVED:
        return "A runner after all"
    return "No runner" if about.final else "No runner yet"


def _summary(about: Explanation) -> str:
    # one indented line is code whatever stands in it: no mention, no link, no markup
    first = "will not come" if about.final else "has not come yet"
    if about.error == SERVED:
        return f"The job is served: {about.meaning.title}.\n\n    {about.cause}\n"
    cause = f"    {about.cause}\n\n" if about.cause else ""
    return (
        f"The job's self-hosted runner {first}: {about.meaning.title}.\n\n{cause}"
        f"**What to do.** {about.meaning.remedy}\n\n"
        f"`{about.error}`, runner `{about.runner_id}`. GitHub itself shows the job as queued and "
        "cancels it after 24 hours; `runner-fleet explain` shows the fleet's operator all of it."
    )


def _status(about: Explanation) -> str:
    said = about.cause or about.meaning.title
    return said if about.final else f"{_headline(about)}: {said}"


def _line(text: str, *, limit: int) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text)
    return _cut(_ACCOUNT.sub("(account)", " ".join(shown.split())), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _url(text: str) -> str:
    # GitHub takes no other scheme
    return text if text.startswith(("https://", "http://")) and text.isprintable() else ""
