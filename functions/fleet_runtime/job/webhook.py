"""What a webhook delivery means to the fleet. Pure."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.environment import ImagePolicy
from fleet_runtime.job import image_reference as images
from fleet_runtime.job import labels
from fleet_runtime.job.labels import Refusal, shown
from fleet_runtime.job.scope import Scope

_ACTIONS = ("queued", "in_progress", "completed")
_LARGEST_ID = 2**63 - 1
_LARGEST_ATTEMPT = 10_000
_TEXT_LENGTH = 200
_URL_LENGTH = 500
_REPOSITORY = re.compile(r"[A-Za-z0-9_-]{1,100}/(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,100}")
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""A commit's SHA-1 or SHA-256: it becomes part of a path at GitHub."""
_LABELS_BYTES = 4096
"""More than labels.MAX_TOTAL_LENGTH: labels cut here are still refused behind the bus."""


class BadDeliveryError(Exception):
    """A signed delivery that cannot be read as a webhook event."""


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """The delivery is no business of the fleet, and why."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The delivery goes onto the bus.

    Attributes:
        detail: The event's detail, under 8 KB.
        message: What GitHub's delivery log shows.
    """

    detail: Mapping[str, Any]
    message: str


def read(
    body: bytes,
    *,
    event: str,
    delivery: str,
    received_at: int,
    scope: Scope,
    policy: ImagePolicy,
) -> Accepted | Ignored:
    """Read a delivery whose signature is good.

    Args:
        body: Raw bytes.
        event: ``X-GitHub-Event``.
        delivery: ``X-GitHub-Delivery``.
        received_at: When it came, epoch seconds.
        scope: Whose jobs are served.
        policy: Which images may be asked for.

    Raises:
        BadDeliveryError: if it is not a JSON object, or a ``workflow_job`` event that lacks
            what each has.
    """
    payload = _payload(body)
    if event != "workflow_job":
        if not event:
            raise BadDeliveryError("the X-GitHub-Event header is missing")
        return Ignored(reason="pong" if event == "ping" else f"event {shown(event)} is not used")
    job = payload.get("workflow_job")
    if not isinstance(job, dict):
        raise BadDeliveryError("the payload has no workflow_job object")
    action = payload.get("action")
    if action not in _ACTIONS:
        return Ignored(reason=f"action {shown(action)} is not used")
    if action == "queued" and job.get("status") == "waiting":
        return Ignored(reason="the job waits for an approval")
    origin = payload.get("repository")
    full_name = origin.get("full_name") if isinstance(origin, dict) else None
    # it becomes part of paths at GitHub
    if not isinstance(full_name, str) or not _REPOSITORY.fullmatch(full_name):
        return Ignored(reason=f"repository {shown(full_name)} is not owner/name")
    if not scope.covers_event(payload):
        return Ignored(reason=f"repository {shown(full_name)} is not in the {scope}")
    job_labels = job.get("labels")
    if not isinstance(job_labels, list):
        raise BadDeliveryError(f"workflow_job.labels is {shown(job_labels)} and not a list")
    if reason := labels.ignored(job_labels):
        return Ignored(reason=reason)
    detail = {
        "action": action,
        "delivery": _cut(delivery, _TEXT_LENGTH),
        "received_at": received_at,
        "repository": full_name,
        "job": trimmed(job, job_labels),
    }
    refusal = _refusal(job_labels, policy) if action == "queued" else None
    message = f"cannot be served: {refusal.reason}" if refusal else "accepted"
    return Accepted(detail=detail, message=message)


def _payload(body: bytes) -> dict[str, Any]:
    if not body:
        raise BadDeliveryError("the body is missing")
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        raise BadDeliveryError(
            "the body is not JSON, set the webhook's content type to application/json"
        ) from None
    if not isinstance(payload, dict):
        raise BadDeliveryError(f"the body is {shown(payload)} and not a JSON object")
    return payload


def _refusal(job_labels: list[object], policy: ImagePolicy) -> Refusal | None:
    request = labels.read(job_labels)
    if isinstance(request, Refusal):
        return request
    if request.image is None:
        return None
    image = images.allowed(request.image, globs=policy.allowed, building=policy.building)
    return image if isinstance(image, Refusal) else None


def trimmed(job: Mapping[str, Any], job_labels: list[object]) -> dict[str, Any]:
    """Reduce a ``workflow_job``, alike in webhooks and REST answers, to what the fleet needs.

    Raises:
        BadDeliveryError: if it lacks what each has.
    """
    return {
        "id": _whole(job, "id", largest=_LARGEST_ID),
        "run_id": _whole(job, "run_id", largest=_LARGEST_ID),
        # deliveries of old servers lack it
        "run_attempt": _whole(job, "run_attempt", largest=_LARGEST_ATTEMPT, default=1),
        "name": _cut(job.get("name"), _TEXT_LENGTH),
        "workflow_name": _cut(job.get("workflow_name"), _TEXT_LENGTH),
        "labels": _cut_labels(job_labels),
        "status": _cut(job.get("status"), _TEXT_LENGTH),
        "conclusion": _cut(job.get("conclusion"), _TEXT_LENGTH) or None,
        "runner_name": _cut(job.get("runner_name"), _TEXT_LENGTH) or None,
        "created_at": _epoch(job.get("created_at")),
        "started_at": _epoch(job.get("started_at")),
        "completed_at": _epoch(job.get("completed_at")),
        "html_url": _cut(job.get("html_url"), _URL_LENGTH),
        "head_sha": _sha(job.get("head_sha")),
    }


def _whole(job: Mapping[str, Any], key: str, *, largest: int, default: int | None = None) -> int:
    value = job.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise BadDeliveryError(f"workflow_job.{key} is {shown(value)} and not a number from 1")
    return value


def _cut(value: object, length: int) -> str:
    if not isinstance(value, str):
        return ""
    # JSON can spell lone surrogates, which no AWS API takes
    return value[:length].encode("utf-8", "replace").decode()


def _sha(value: object) -> str:
    return value if isinstance(value, str) and _SHA.fullmatch(value) else ""


def _cut_labels(job_labels: list[object]) -> list[object]:
    kept: list[object] = []
    room = _LABELS_BYTES
    for label in job_labels[: labels.MAX_LABELS + 1]:
        short = _cut(label, labels.MAX_LABEL_LENGTH + 1) if isinstance(label, str) else None
        kept.append(short)
        room -= len((short or "").encode())
        if room < 0:
            break
    return kept


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
