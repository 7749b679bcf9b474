"""Workflow jobs as GitHub tells of them, and what happened to one. Pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.job import labels
from fleet_runtime.job.labels import shown

LONGEST_QUEUED_SECONDS = 25 * 3600
"""How long a job is taken to be queued, and an hour for clocks and deliveries. GitHub cancels what
has been queued for 24 hours, if it may take a day more ("Usage limits for self-hosted runners")."""

_LARGEST_ID = 2**63 - 1
_LARGEST_ATTEMPT = 10_000
_TEXT_LENGTH = 200
_URL_LENGTH = 500
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""A commit's SHA-1 or SHA-256: it becomes part of a path at GitHub."""
_LABELS_BYTES = 4096
"""More than labels.MAX_TOTAL_LENGTH: labels cut here are still refused behind the bus."""


class UnreadableJobError(Exception):
    """A ``workflow_job`` lacks what each has."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A workflow job at GitHub. Texts are cut short, times are epoch seconds.

    Attributes:
        repository: ``owner/name``.
        labels: What stands in ``runs-on``; None in place of what is no text.
        status: ``queued``, ``in_progress``, ``completed``, ``waiting`` or another of GitHub's.
        runner_name: The runner that has it or had it, None while none has.
        github_runner_id: That runner's registration, as ``runner.id`` in the answer to it (who says
            that both are one id: docs/failure-modes.md); None if GitHub does not tell.
        head_sha: The commit it runs for; empty where GitHub does not tell.
    """

    repository: str
    job_id: int
    run_id: int
    run_attempt: int
    name: str
    workflow_name: str
    labels: tuple[object, ...]
    status: str
    conclusion: str | None
    runner_name: str | None
    github_runner_id: int | None
    created_at: int | None
    started_at: int | None
    completed_at: int | None
    url: str
    head_sha: str

    @classmethod
    def read(cls, document: Mapping[str, Any], *, repository: str) -> Job:
        """Read a ``workflow_job``, alike in webhooks and in answers of the REST API.

        Raises:
            UnreadableJobError: if it lacks what each has.
        """
        return cls(
            repository=repository,
            job_id=_whole(document, "id", largest=_LARGEST_ID),
            run_id=_whole(document, "run_id", largest=_LARGEST_ID),
            # old servers do not tell
            run_attempt=_whole(document, "run_attempt", largest=_LARGEST_ATTEMPT, default=1),
            name=cut(document.get("name")),
            workflow_name=cut(document.get("workflow_name")),
            labels=_labels(document.get("labels")),
            status=cut(document.get("status")),
            conclusion=cut(document.get("conclusion")) or None,
            runner_name=cut(document.get("runner_name")) or None,
            github_runner_id=_registration(document.get("runner_id")),
            created_at=_epoch(document.get("created_at")),
            started_at=_epoch(document.get("started_at")),
            completed_at=_epoch(document.get("completed_at")),
            url=cut(document.get("html_url"), length=_URL_LENGTH),
            head_sha=_sha(document.get("head_sha")),
        )

    @property
    def identity(self) -> dict[str, str | int]:
        """What a runner's row says about the job it has."""
        return {
            "repository": self.repository,
            "job_id": self.job_id,
            "run_id": self.run_id,
            "run_attempt": self.run_attempt,
            "job_name": self.name,
            "workflow_name": self.workflow_name,
            "job_url": self.url,
            "head_sha": self.head_sha,
        }


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """Something that happened to a job.

    Attributes:
        action: ``queued``, ``in_progress`` or ``completed``.
        job: The job, as it was then.
        delivery: GitHub's id of the webhook delivery that told of it; empty if none did.
        received_at: When that came, epoch seconds; None if none did.
    """

    action: str
    job: Job
    delivery: str = ""
    received_at: int | None = None

    @classmethod
    def missed(cls, job: Job) -> JobEvent:
        """The event that would have told what a job's status tells: actions are called alike."""
        return cls(action=job.status, job=job)

    @classmethod
    def from_detail(cls, detail: Mapping[str, Any]) -> JobEvent:
        """Read the detail that ``to_detail`` made; raises KeyError for any other."""
        job = detail["job"]
        return cls(
            action=detail["action"],
            job=Job(
                repository=detail["repository"],
                job_id=int(job["id"]),
                run_id=int(job["run_id"]),
                run_attempt=int(job["run_attempt"]),
                name=job["name"],
                workflow_name=job["workflow_name"],
                labels=tuple(job["labels"]),
                status=job["status"],
                conclusion=job["conclusion"],
                runner_name=job["runner_name"],
                github_runner_id=job["runner_id"],
                created_at=job["created_at"],
                started_at=job["started_at"],
                completed_at=job["completed_at"],
                url=job["html_url"],
                head_sha=job["head_sha"],
            ),
            delivery=detail["delivery"],
            received_at=detail["received_at"],
        )

    def to_detail(self) -> dict[str, Any]:
        """The detail of the bus event: under 8 KB, and named as GitHub names it."""
        job = self.job
        return {
            "action": self.action,
            "delivery": self.delivery,
            "received_at": self.received_at,
            "repository": job.repository,
            "job": {
                "id": job.job_id,
                "run_id": job.run_id,
                "run_attempt": job.run_attempt,
                "name": job.name,
                "workflow_name": job.workflow_name,
                "labels": list(job.labels),
                "status": job.status,
                "conclusion": job.conclusion,
                "runner_name": job.runner_name,
                "runner_id": job.github_runner_id,
                "created_at": job.created_at,
                "started_at": job.started_at,
                "completed_at": job.completed_at,
                "html_url": job.url,
                "head_sha": job.head_sha,
            },
        }

    @property
    def stamp(self) -> dict[str, str | int]:
        """What a row says about the delivery of this event; nothing if none brought it."""
        if self.received_at is None:
            return {}
        return {
            f"{self.action}_delivery": self.delivery,
            f"{self.action}_received_at": self.received_at,
        }


def cut(value: object, *, length: int = _TEXT_LENGTH) -> str:
    """Shorten a text that somebody else wrote; empty if it is none."""
    if not isinstance(value, str):
        return ""
    # JSON can spell lone surrogates, which no AWS API takes
    return value[:length].encode("utf-8", "replace").decode()


def _whole(job: Mapping[str, Any], key: str, *, largest: int, default: int | None = None) -> int:
    value = job.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise UnreadableJobError(f"workflow_job.{key} is {shown(value)} and not a number from 1")
    return value


def _registration(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    # 0 stands for none in some answers
    return value if 1 <= value <= _LARGEST_ID else None


def _labels(value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise UnreadableJobError(f"workflow_job.labels is {shown(value)} and not a list")
    kept: list[object] = []
    room = _LABELS_BYTES
    for label in value[: labels.MAX_LABELS + 1]:
        length = labels.MAX_LABEL_LENGTH + 1
        short = cut(label, length=length) if isinstance(label, str) else None
        kept.append(short)
        room -= len((short or "").encode())
        if room < 0:
            break
    return tuple(kept)


def _sha(value: object) -> str:
    return value if isinstance(value, str) and _SHA.fullmatch(value) else ""


def _epoch(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp())
